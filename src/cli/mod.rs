//! The command line: flags and subcommands, one file each.
//!
//! Invariant: this is the only place that prints, and the only one that turns an outcome into an exit
//! status: 0 done, 1 failed, 2 not understood (`check metrics`, `check rules` and `slo check` add 3 for what is odd, as
//! promtool does; `health` answers 2 for what is degraded and 3 for what it does not understand).

mod alert;
mod backtest;
mod check_config;
mod check_metrics;
mod check_rules;
mod check_web_config;
mod completions;
mod events;
#[cfg(test)]
mod example_tests;
mod explain;
mod flags;
mod health;
mod healthcheck;
mod instance;
mod probe;
mod probe_tls;
mod promql;
mod query;
mod rule_files;
mod rules;
mod rules_export;
mod rules_show;
mod run;
mod scorecard;
mod slo;
mod test;
mod test_rules;
mod tsdb;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::app::version_text;

/// What a subcommand answers.
type Outcome = anyhow::Result<ExitCode>;

/// Understands the arguments, the program's name first, and does what they say.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let of_health = arguments.get(1).is_some_and(|word| word == "health");
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help is printed to standard output with status 0, a mistake to standard error with 2.
            let _ = error.print();
            return ExitCode::from(match (error.exit_code(), of_health) {
                (0, _) => 0,
                (_, true) => health::NOT_UNDERSTOOD,
                (_, false) => 2,
            });
        }
    };
    match dispatch(matches) {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut matches: ArgMatches) -> Outcome {
    if matches.get_flag("version") {
        return print(&version_text());
    }
    match matches.subcommand_name() {
        None => return run::run(matches),
        Some("run") => {
            let run = matches.remove_subcommand();
            return run.map_or_else(|| misunderstood("run"), |(_, matches)| run::run(matches));
        }
        Some(_) => {}
    }
    match matches.subcommand() {
        None => misunderstood("outrigger"),
        Some(("check", matches)) => match matches.subcommand() {
            Some(("config", matches)) => check_config::run(matches),
            Some(("metrics", _)) => check_metrics::run(),
            Some(("rules", matches)) => check_rules::run(matches),
            Some(("web-config", matches)) => check_web_config::run(matches),
            _ => misunderstood("check"),
        },
        Some(("alert", matches)) => alert::run(matches),
        Some(("backtest", matches)) => backtest::run(matches),
        Some(("events", matches)) => events::run(matches),
        Some(("explain", matches)) => explain::run(matches),
        Some(("query", matches)) => query::run(matches),
        Some(("health", matches)) => health::run(matches),
        Some(("healthcheck", matches)) => healthcheck::run(matches),
        Some(("promql", matches)) => promql::run(matches),
        Some(("rules", matches)) => rules::run(matches),
        Some(("scorecard", matches)) => scorecard::run(matches),
        Some(("slo", matches)) => slo::run(matches),
        Some(("tsdb", matches)) => tsdb::run(matches),
        Some(("completions", matches)) => completions::run(matches),
        Some(("test", matches)) => match matches.subcommand() {
            Some(("promql", matches)) => test::run_promql(matches),
            Some(("rules", matches)) => test_rules::run(matches),
            _ => misunderstood("test"),
        },
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
                .subcommand(check_rules::command("rules"))
                .subcommand(check_web_config::command()),
        )
        .subcommand(alert::command())
        .subcommand(backtest::command())
        .subcommand(events::command())
        .subcommand(explain::command())
        .subcommand(query::command())
        .subcommand(health::command())
        .subcommand(healthcheck::command())
        .subcommand(promql::command())
        .subcommand(rules::command())
        .subcommand(scorecard::command())
        .subcommand(slo::command())
        .subcommand(test::command())
        .subcommand(tsdb::command())
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

/// Most columns that are drawn, whatever the terminal says.
const MOST_COLUMNS: usize = 1_000;

/// Columns of the terminal; those of a usual one where it does not say.
fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok();
    columns_of(said.as_deref())
}

fn columns_of(said: Option<&str>) -> usize {
    said.and_then(|text| text.parse().ok()).unwrap_or(100).min(MOST_COLUMNS)
}

/// Writes an error to standard error, if there is one.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "outrigger: {text}");
}

/// Writes lines to standard error as they are.
fn complain_lines(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_terminal_costs_no_more_than_a_thousand_columns() {
        let most = usize::MAX.to_string();
        for (said, columns) in [(None, 100), (Some("x"), 100), (Some("80"), 80), (Some(most.as_str()), 1_000)]
        {
            assert_eq!(columns_of(said), columns);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
