//! The command line: flags and subcommands, one file each.
//!
//! Invariant: this is the only place that prints, and the only one that turns an outcome into an exit
//! status: 0 done, 1 failed, 2 not understood (`check metrics` adds 3, as promtool does).

mod check_config;
mod check_metrics;
mod check_web_config;
mod completions;
mod flags;
mod healthcheck;
mod probe;
mod probe_tls;
mod run;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::app::version_text;

/// What a subcommand answers.
type Outcome = anyhow::Result<ExitCode>;

/// Understands the arguments, the program's name first, and does what they say.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help is printed to standard output with status 0, a mistake to standard error with 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(&matches) {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Outcome {
    if matches.get_flag("version") {
        return print(&version_text());
    }
    match matches.subcommand() {
        None => run::run(matches),
        Some(("run", matches)) => run::run(matches),
        Some(("check", matches)) => match matches.subcommand() {
            Some(("config", matches)) => check_config::run(matches),
            Some(("metrics", _)) => check_metrics::run(),
            Some(("web-config", matches)) => check_web_config::run(matches),
            _ => misunderstood("check"),
        },
        Some(("healthcheck", matches)) => healthcheck::run(matches),
        Some(("completions", matches)) => completions::run(matches),
        Some((name, _)) => misunderstood(name),
    }
}

/// The whole command line.
fn command() -> Command {
    let root = Command::new("outrigger")
        .about("Metrics of the machine, in Prometheus's own formats.")
        .after_help("-h prints a summary, --help all flags. Reference: docs/reference/flags.md")
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .disable_help_subcommand(true)
        .infer_long_args(false)
        .max_term_width(120)
        .arg(
            Arg::new("version")
                .long("version")
                .action(ArgAction::SetTrue)
                .help("Print version, revision and build, and exit"),
        );
    flags::with_run_flags(root)
        .subcommand(
            flags::with_run_flags(Command::new("run"))
                .about("Serve the machine's metrics; what outrigger does without a subcommand"),
        )
        .subcommand(
            Command::new("check")
                .about("Check files without running anything")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(check_config::command())
                .subcommand(check_metrics::command())
                .subcommand(check_web_config::command()),
        )
        .subcommand(healthcheck::command())
        .subcommand(completions::command())
}

fn misunderstood(name: &str) -> Outcome {
    anyhow::bail!("no such subcommand: {name}")
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes an error to standard error, if there is one.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "outrigger: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
