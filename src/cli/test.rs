//! `outrigger test promql FILE...`: PromQL test files against the evaluator.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{Outcome, complain, print, test_rules};
use crate::promql::test_file::{self, Report, TestFile};

pub(super) fn command() -> Command {
    Command::new("test")
        .about("Test queries and rules against data written down in files")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("promql")
                .about("Run PromQL test files in the format of Prometheus's promqltest")
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .num_args(1..)
                        .required(true)
                        .value_parser(value_parser!(PathBuf))
                        .help("Files to run"),
                ),
        )
        .subcommand(test_rules::command())
}

pub(super) fn run_promql(matches: &ArgMatches) -> Outcome {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut unreadable = false;
    for path in matches.get_many::<PathBuf>("file").into_iter().flatten() {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                complain(&format!("{}: {error}", path.display()));
                unreadable = true;
                continue;
            }
        };
        let report = test_file::run(&TestFile::parse(&text));
        print(&shown(path, &report))?;
        passed += report.passed();
        failed += report.failed();
        skipped += report.skipped();
    }
    print(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"))?;
    Ok(match (unreadable, failed) {
        (true, _) => ExitCode::from(2),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    })
}

fn shown(path: &Path, report: &Report) -> String {
    let file = path.display();
    let mut out = String::new();
    for error in &report.errors {
        let _ = writeln!(out, "{file}:{error}");
    }
    for (line, expression, outcome) in &report.evals {
        match outcome {
            test_file::Outcome::Passed => {}
            test_file::Outcome::Skipped => {
                let _ = writeln!(out, "{file}:{line}: skipped, needs native histograms: {expression}");
            }
            test_file::Outcome::Failed { run, expected, got } => {
                let _ = writeln!(out, "{file}:{line}: failed: {expression}");
                if !run.is_empty() {
                    let _ = writeln!(out, "  {run}");
                }
                let _ = writeln!(out, "  expected:\n{}\n  got:\n{}", indented(expected), indented(got));
            }
        }
    }
    let _ = writeln!(
        out,
        "{file}: {} passed, {} failed, {} skipped",
        report.passed(),
        report.failed(),
        report.skipped()
    );
    out
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
