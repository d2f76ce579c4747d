//! `outrigger health`: how the running instance does, with reasons; for cron, containers and people.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgMatches, Command};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Outcome, healthcheck, print};

/// The status for arguments that are wrong, of which it says nothing about the instance: 2 is taken.
pub(super) const NOT_UNDERSTOOD: u8 = 3;

pub(super) fn command() -> Command {
    healthcheck::with_instance(
        Command::new("health").about(
            "Tell how the running instance does: status 0 healthy, 2 degraded, 1 unhealthy or no answer, 3 not understood",
        ),
    )
    .arg(
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("FORMAT")
            .default_value("text")
            .value_parser(["text", "json"])
            .help("How it is printed"),
    )
}

/// The envelope of the API.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    verdict: String,
    checks: Vec<Check>,
}

#[derive(Serialize, Deserialize)]
struct Check {
    check: String,
    verdict: String,
    reasons: Vec<String>,
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let answer = match healthcheck::ask_instance(matches, "/api/v1/health")? {
        Ok(answer) => answer,
        Err(_) => return Ok(ExitCode::from(NOT_UNDERSTOOD)),
    };
    if answer.status != 200 {
        bail!("status {}: {}", answer.status, answer.text);
    }
    let wrong = "the answer is not that of an outrigger";
    let envelope: Envelope<'_> = serde_json::from_str(&answer.body).context(wrong)?;
    let health: Answer = serde_json::from_str(envelope.data.get()).context(wrong)?;
    let status = match health.verdict.as_str() {
        "healthy" => 0,
        "degraded" => 2,
        _ => 1,
    };
    match matches.get_one::<String>("output").map(String::as_str) {
        Some("json") => print(&format!("{}\n", envelope.data))?,
        _ => print(&text(&health))?,
    };
    Ok(ExitCode::from(status))
}

/// The verdict, then each reason.
fn text(health: &Answer) -> String {
    let mut out = format!("{}\n", health.verdict);
    for check in &health.checks {
        for reason in &check.reasons {
            // What others have said must not move the cursor.
            let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
            // Writing into a `String` cannot fail.
            let _ = writeln!(out, "  {:9} {}: {reason}", check.verdict, check.check);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_and_do_not_move_the_cursor() {
        let check = |check: &str, verdict: &str, reasons: &[&str]| Check {
            check: check.to_owned(),
            verdict: verdict.to_owned(),
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
        };
        let checks =
            vec![check("store", "healthy", &[]), check("targets", "degraded", &["a is \u{1b}[2Jdown", "b"])];
        let health = Answer { verdict: "degraded".to_owned(), checks };
        assert_eq!(text(&health), "degraded\n  degraded  targets: a is [2Jdown\n  degraded  targets: b\n");
    }
}
