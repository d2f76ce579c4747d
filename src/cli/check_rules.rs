//! `outrigger check rules`, also `outrigger rules check`: every mistake of rule files, and what is seldom meant.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, complain_lines, print};
use crate::model::ByteSize;
use crate::promql::ParseOptions;
use crate::rules::{FileOptions, GroupSpec, duplicates_message, load_file, parse_file};

/// Largest text on standard input, as of a file.
const STDIN_LIMIT: ByteSize = ByteSize::new(16 << 20);

/// The status of findings with `--lint-fatal`, as promtool's.
const LINT_STATUS: u8 = 3;

pub(super) fn command(name: &'static str) -> Command {
    Command::new(name)
        .about("Check rule files: every mistake, each with its place")
        .after_help("Status as promtool's: 0 good, 1 a file is wrong, 3 findings with --lint-fatal")
        .arg(
            Arg::new("lint")
                .long("lint")
                .value_name("CHECKS")
                .value_parser(["all", "duplicate-rules", "none"])
                .default_value("duplicate-rules")
                .help("What is allowed but to be told"),
        )
        .arg(
            Arg::new("lint-fatal")
                .long("lint-fatal")
                .action(ArgAction::SetTrue)
                .help("End with status 3 when there is something to be told"),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .num_args(0..)
                .value_parser(value_parser!(PathBuf))
                .help("Rule files; none: standard input"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    // Whether experimental syntax is on is a setting of the server; here everything is understood.
    let options = FileOptions { parse: ParseOptions::all(), ..FileOptions::default() };
    let (mut failed, mut linted) = (false, false);
    let lints = matches.get_one::<String>("lint").is_some_and(|lint| lint != "none");
    let mut check = |read: Result<Vec<GroupSpec>, String>| {
        let groups = match read {
            Ok(groups) => groups,
            Err(errors) => {
                failed = true;
                complain_lines(&format!("  FAILED:\n{errors}"));
                return Ok(ExitCode::SUCCESS);
            }
        };
        if let Some(message) = lints.then(|| duplicates_message(&groups)).flatten() {
            linted = true;
            complain_lines(&format!("  FAILED:\nlint error {message}"));
            return print("\n");
        }
        let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
        print(&format!("  SUCCESS: {rules} rules found\n\n"))
    };
    match matches.get_many::<PathBuf>("file") {
        None => {
            print("Checking standard input\n")?;
            check(read_stdin(&options)?)?;
        }
        Some(files) => {
            for file in files {
                print(&format!("Checking {}\n", file.display()))?;
                check(load_file(file, &options).map_err(|error| error.to_string()))?;
            }
        }
    }
    Ok(match (failed, linted && matches.get_flag("lint-fatal")) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(LINT_STATUS),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn read_stdin(options: &FileOptions) -> anyhow::Result<Result<Vec<GroupSpec>, String>> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(STDIN_LIMIT.bytes() + 1);
    input.read_to_string(&mut text).context("cannot read standard input")?;
    Ok(parse_file("standard input", &text, options).map_err(|error| error.to_string()))
}
