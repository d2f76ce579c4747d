//! `outrigger slo`: files of objectives, checked, shown, turned into rules, and played through.

mod report;
mod show;
mod simulate;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, complain, misunderstood, print};
use crate::model::PromDuration;
use crate::slo::{
    FileOptions, GenerateOptions, GeneratedGroup, Outage, SloFile, generate, load_file, to_rule_file,
};

pub(super) fn command() -> Command {
    let files = |command: Command| {
        command
            .arg(
                Arg::new("file")
                    .value_name("FILE")
                    .num_args(1..)
                    .required(true)
                    .value_parser(value_parser!(PathBuf))
                    .help("Files of Sloth (prometheus/v1), OpenSLO (v1) or Pyrra (v1alpha1)"),
            )
            .arg(
                Arg::new("default-period")
                    .long("default-period")
                    .value_name("DURATION")
                    .default_value("30d")
                    .value_parser(value_parser!(PromDuration))
                    .help("Period of objectives that name none"),
            )
    };
    Command::new("slo")
        .about("Check, show and play through service level objectives, and write their rules")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            files(Command::new("check").about("Check files: every mistake and whatever is odd")).arg(
                Arg::new("lint-fatal")
                    .long("lint-fatal")
                    .action(ArgAction::SetTrue)
                    .help("Exit with 3 when something is odd"),
            ),
        )
        .subcommand(files(
            Command::new("show").about("Show objectives, their alerts in words, and their rules"),
        ))
        .subcommand(
            files(Command::new("generate").about("Write the rules of objectives as a Prometheus rule file"))
                .arg(
                    Arg::new("output")
                        .short('o')
                        .long("output")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("Write them to this file instead of standard output"),
                ),
        )
        .subcommand(
            files(
                Command::new("simulate")
                    .about("Tell when each alert fires in an outage, and what that costs"),
            )
            .arg(
                Arg::new("error-rate")
                    .long("error-rate")
                    .value_name("PART")
                    .required(true)
                    .value_parser(simulate::error_rate)
                    .help("Part of the events that fails: 5% or 0.05"),
            )
            .arg(
                Arg::new("for")
                    .long("for")
                    .value_name("DURATION")
                    .value_parser(value_parser!(PromDuration))
                    .help("How long it lasts [default: without end]"),
            ),
        )
        .subcommand(report::with_arguments(files(
            Command::new("report").about(
                "Tell how the budgets stand, from the history in a store's folder or from an instance",
            ),
        )))
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("check", matches)) => check(matches),
        Some(("show", matches)) => {
            with_files(matches, |files| print(&show::show(files, &GenerateOptions::default())))
        }
        Some(("simulate", matches)) => with_files(matches, |files| {
            let error_rate = matches.get_one::<f64>("error-rate").copied().unwrap_or(1.0);
            let lasts = matches.get_one::<PromDuration>("for").copied().map(PromDuration::get);
            print(&simulate::text(files.iter().map(|(_, file)| file), &Outage { error_rate, lasts }))
        }),
        Some(("report", matches)) => report::run(matches),
        Some(("generate", matches)) => with_files(matches, |files| write_rules(matches, files)),
        _ => misunderstood("slo"),
    }
}

/// All files, or `None` when one of them is wrong; each has been told.
fn load(matches: &ArgMatches) -> Option<Vec<(&Path, SloFile)>> {
    let default_period = matches.get_one::<PromDuration>("default-period").copied().map(PromDuration::get);
    let options =
        default_period.map_or_else(FileOptions::default, |default_period| FileOptions { default_period });
    let paths: Vec<&PathBuf> = matches.get_many::<PathBuf>("file").into_iter().flatten().collect();
    let mut files = Vec::with_capacity(paths.len());
    for path in &paths {
        match load_file(path, &options) {
            Ok(file) => files.push((path.as_path(), file)),
            Err(error) => complain(&error.to_string()),
        }
    }
    (files.len() == paths.len()).then_some(files)
}

fn with_files(matches: &ArgMatches, act: impl FnOnce(&[(&Path, SloFile)]) -> Outcome) -> Outcome {
    match load(matches) {
        Some(files) => act(&files),
        None => Ok(ExitCode::FAILURE),
    }
}

/// The objectives of a file, as `slo show` shows them.
pub(super) fn shown(path: &Path, file: SloFile) -> String {
    show::show(&[(path, file)], &GenerateOptions::default())
}

fn all_groups(files: &[(&Path, SloFile)]) -> Vec<GeneratedGroup> {
    let options = GenerateOptions::default();
    files.iter().flat_map(|(_, file)| &file.slos).flat_map(|slo| generate(slo, &options)).collect()
}

fn check(matches: &ArgMatches) -> Outcome {
    with_files(matches, |files| {
        let mut odd = 0;
        for (path, file) in files {
            let rules: usize = file
                .slos
                .iter()
                .flat_map(|slo| generate(slo, &GenerateOptions::default()))
                .map(|g| g.rules.len())
                .sum();
            print(&format!("SUCCESS: {}: {}, {rules} rules\n", path.display(), counted(file.slos.len())))?;
            for warning in &file.warnings {
                complain(&format!(
                    "{}:{}: {}: warning: {}",
                    path.display(),
                    warning.line,
                    warning.slo,
                    warning.message
                ));
            }
            odd += file.warnings.len();
        }
        Ok(if odd > 0 && matches.get_flag("lint-fatal") { ExitCode::from(3) } else { ExitCode::SUCCESS })
    })
}

fn write_rules(matches: &ArgMatches, files: &[(&Path, SloFile)]) -> Outcome {
    let text = to_rule_file(&all_groups(files));
    match matches.get_one::<PathBuf>("output") {
        None => print(&text),
        Some(path) => {
            // Who reads the file never sees half of it.
            let mut part = path.clone().into_os_string();
            part.push(".part");
            std::fs::write(&part, text)
                .and_then(|()| std::fs::rename(&part, path))
                .with_context(|| path.display().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn counted(slos: usize) -> String {
    format!("{slos} SLO{}", if slos == 1 { "" } else { "s" })
}
