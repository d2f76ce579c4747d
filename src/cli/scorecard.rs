//! `outrigger scorecard`: how the running instance's pillars stand against their targets.

use std::fmt::Write as _;

use anyhow::bail;
use clap::{Arg, ArgMatches, Command};
use serde::Deserialize;

use super::instance::plain;
use super::{Outcome, healthcheck, instance, print};
use crate::scorecard::{PillarReport, ScorecardReport};
use crate::web::shown_value;

pub(super) fn command() -> Command {
    healthcheck::with_instance(
        Command::new("scorecard")
            .about("Tell how the running instance's pillars stand against their targets, with a grade"),
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

/// What the API answers.
#[derive(Deserialize)]
struct Data {
    scorecard: Option<ScorecardReport>,
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let data: Data = match instance::call(matches, "/api/v1/scorecard", None::<&()>)? {
        Ok(data) => data,
        Err(status) => return Ok(status),
    };
    match (matches.get_one::<String>("output").map(String::as_str), data.scorecard) {
        (Some("json"), report) => print(&format!("{}\n", serde_json::to_string(&report)?)),
        (_, Some(report)) => print(&text(&report)),
        (_, None) => {
            bail!("this instance has no scorecard: it is switched off, or there are no rules and no SLOs")
        }
    }
}

/// The grade, then a line for each pillar.
fn text(report: &ScorecardReport) -> String {
    let mut out = match (&report.grade, report.score) {
        (Some(grade), Some(score)) => format!("grade {grade}, {} of 100", shown(score * 100.0)),
        _ => "no grade: nothing is measured".to_owned(),
    };
    // Writing into a `String` cannot fail.
    let _ = writeln!(out, "{}", if report.configured { "" } else { " (the built-in scorecard)" });
    let width = report.pillars.iter().map(|pillar| pillar.pillar.len()).max().unwrap_or_default();
    for pillar in &report.pillars {
        let line = line(pillar);
        let _ = writeln!(out, "  {:width$}  {:7}  {line}", plain(&pillar.pillar), pillar.status.as_str());
    }
    out
}

fn line(pillar: &PillarReport) -> String {
    let unit = plain(&pillar.unit);
    let target = format!("target {}{unit}", shown(pillar.target));
    match (pillar.current, &pillar.reason) {
        (Some(current), _) => format!("{}{unit}, {target}", shown(current)),
        (None, Some(reason)) => format!("{target}; {}", plain(reason)),
        (None, None) => target,
    }
}

/// At most two digits behind the point, or four significant ones of what is small.
fn shown(value: f64) -> String {
    let digits = if value.abs() < 1.0 { format!("{value:.3e}") } else { format!("{value:.2}") };
    shown_value(digits.parse().unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorecard::PillarStatus;

    #[test]
    fn numbers_are_short_and_none_is_lost() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_01, "0.00001"),
            (1.234_56e-9, "1.235e-09"),
            (0.098_765_43, "0.09877"),
            (-0.5, "-0.5"),
            (98.271, "98.27"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn a_line_tells_where_a_pillar_is_or_why_it_is_not_known() {
        let pillar = |name: &str, status, current, reason: Option<&str>| PillarReport {
            pillar: name.to_owned(),
            status,
            target: 99.5,
            current,
            unit: "%".to_owned(),
            score: current.map(|current: f64| current / 99.5),
            weight: 1.0,
            reason: reason.map(str::to_owned),
            failed: false,
            formula: "a".to_owned(),
            values: [].into(),
        };
        let report = ScorecardReport {
            time: String::new(),
            configured: true,
            grade: Some("A".to_owned()),
            score: Some(0.987_654),
            pillars: vec![
                pillar("reliability", PillarStatus::Near, Some(98.271), None),
                pillar("cost", PillarStatus::Unknown, None, Some("not\u{1b}[2J measured: a")),
            ],
        };
        assert_eq!(
            text(&report),
            "grade A, 98.77 of 100\n  reliability  near     98.27%, target 99.5%\n  cost         unknown  target 99.5%; not[2J measured: a\n"
        );
    }
}
