//! `outrigger check config`: every mistake of a configuration file, without running it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, complain, print};
use crate::app::{Invocation, settings};
use crate::collect::specs;
use crate::config::Environment;
use crate::web::check_config_file;

pub(super) fn command() -> Command {
    Command::new("config")
        .about("Check configuration files: every mistake, each with its place")
        .arg(
            Arg::new("print-default")
                .long("print-default")
                .action(ArgAction::SetTrue)
                .help("Print the configuration that outrigger runs with without a file, and exit"),
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .num_args(1..)
                .required_unless_present("print-default")
                .value_parser(value_parser!(PathBuf))
                .help("Files to check"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    if matches.get_flag("print-default") {
        return print(settings::DEFAULT_FILE);
    }
    let mut status = ExitCode::SUCCESS;
    for file in matches.get_many::<PathBuf>("file").into_iter().flatten() {
        match check(file) {
            Ok(line) => {
                print(&line)?;
            }
            Err(message) => {
                complain(&message);
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

fn check(file: &Path) -> Result<String, String> {
    let shown = file.display();
    let failed = |error: &dyn std::fmt::Display| format!("FAILED: {shown}\n{error}");
    let invocation = Invocation {
        config_file: Some(file.to_owned()),
        environment: Environment::process(),
        ..Invocation::default()
    };
    let settings = invocation.settings().map_err(|error| failed(&error))?;
    if let Some(web_file) = &settings.web.serve.config_file {
        check_config_file(web_file).map_err(|error| failed(&error))?;
    }
    // Some mistakes only a collector sees: two options that exclude each other.
    settings.engine(Arc::default()).map_err(|error| failed(&format_args!("{shown}: {error}")))?;
    let judges = settings.judges().map_err(|error| failed(&error))?;
    let (enabled, all) = (settings.collect.enabled().len(), specs().len());
    let jobs = match settings.scrape.jobs.len() {
        0 => String::new(),
        1 => ", 1 scrape job".to_owned(),
        jobs => format!(", {jobs} scrape jobs"),
    };
    let own = judges.groups.iter().filter(|group| !group.is_builtin());
    let rules = match own.map(|group| group.rules.len()).sum() {
        0_usize => String::new(),
        1 => ", 1 rule".to_owned(),
        rules => format!(", {rules} rules"),
    };
    let slos = match judges.slos.slos.len() {
        0 => String::new(),
        1 => ", 1 SLO".to_owned(),
        slos => format!(", {slos} SLOs"),
    };
    for (file, warning) in &judges.slos.warnings {
        complain(&format!("{file}:{}: {}: warning: {}", warning.line, warning.slo, warning.message));
    }
    Ok(format!(
        "SUCCESS: {shown} is a valid configuration; {enabled} of {all} collectors run{jobs}{rules}{slos}\n"
    ))
}
