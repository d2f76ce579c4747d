//! `outrigger slo report`: how budgets stand, computed from the history in a store's folder, or asked of an instance.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Deserialize;

use super::super::{Outcome, complain, instance, print, tsdb};
use super::show::{about_percent, percent, rounded, two_decimals};
use crate::app::now;
use crate::model::{ColdSort, PromDuration, Timestamp};
use crate::promql::{Engine, EngineOptions, QueryError, QueryOptions, Value};
use crate::slo::{self, BudgetReport, Ledger, Slo, SloFile};
use crate::store::Store;

/// Longest time to wait for an instance.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn with_arguments(command: Command) -> Command {
    command
        .mut_arg("file", |file| file.required(false).required_unless_present("url").conflicts_with("url"))
        .arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .help("Ask this running instance for the budgets of its own slo_files instead"),
        )
        .arg(
            Arg::new("folder")
                .long("storage.path")
                .value_name("DIR")
                .required_unless_present("url")
                .conflicts_with("url")
                .value_parser(value_parser!(PathBuf))
                .help("Folder of the history; no instance may be running on it"),
        )
        .arg(
            Arg::new("encryption-key-file")
                .long("encryption-key-file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("File with the key of that folder's history"),
        )
        .arg(
            Arg::new("time")
                .long("time")
                .value_name("TIME")
                .value_parser(tsdb::instant)
                .help("Instant of the report: RFC 3339 or Unix seconds [default: now]"),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORMAT")
                .default_value("text")
                .value_parser(["text", "json", "markdown"])
                .help("How it is printed"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let reports = match matches.get_one::<String>("url") {
        Some(url) => asked(url)?,
        None => match super::load(matches) {
            Some(files) => computed(matches, &files)?,
            None => return Ok(ExitCode::FAILURE),
        },
    };
    match matches.get_one::<String>("output").map(String::as_str) {
        Some("json") => print(&format!("{}\n", serde_json::to_string(&reports)?)),
        Some("markdown") => print(&markdown(&reports)),
        _ => print(&text(&reports)),
    }
}

/// What an instance says.
#[derive(Deserialize)]
struct Envelope {
    data: Slos,
}

#[derive(Deserialize)]
struct Slos {
    slos: Vec<BudgetReport>,
}

fn asked(url: &str) -> anyhow::Result<Vec<BudgetReport>> {
    let body = instance::get(url, "/api/v1/slos", PATIENCE)?;
    let envelope: Envelope = serde_json::from_slice(&body)
        .with_context(|| format!("{url}: the answer is not that of an outrigger"))?;
    Ok(envelope.data.slos)
}

fn computed(matches: &ArgMatches, files: &[(&Path, SloFile)]) -> anyhow::Result<Vec<BudgetReport>> {
    let store = tsdb::existing(matches)?;
    let at = matches.get_one::<Timestamp>("time").copied().unwrap_or_else(now);
    let engine = Engine::new(EngineOptions::default());
    let mut reports = Vec::new();
    for slo in files.iter().flat_map(|(_, file)| &file.slos) {
        let ledger = filled(slo, &engine, &store, at)?;
        if ledger.groups().is_empty() {
            complain(&format!("{}: no history of its series in the period", slo.id()));
        }
        let status = ledger.status(at);
        reports.extend(status.into_iter().map(|(group, status)| BudgetReport::new(slo, group, &status)));
    }
    Ok(reports)
}

fn filled(slo: &Slo, engine: &Engine, store: &Store, at: Timestamp) -> anyhow::Result<Ledger> {
    let mut ledger = Ledger::new(slo)?;
    let oldest = Timestamp::from_millis(i64::MIN);
    let outcome = ledger.fill(at, oldest, |expr, times, step| {
        Ok::<_, QueryError>(match engine.range(store, expr, times, step, &QueryOptions::default())?.value {
            Value::Matrix(series) => series.into_iter().map(|s| (s.labels, s.samples)).collect(),
            _ => Vec::new(),
        })
    })?;
    if let slo::Outcome::TooManyGroups { dropped } = outcome {
        complain(&format!("{}: {dropped} sets of labels are too many and left out", slo.id()));
    }
    Ok(ledger)
}

fn exhaustion(report: &BudgetReport) -> String {
    match report.time_to_exhaustion_seconds {
        None => "never at the last hour's rate".to_owned(),
        Some(left) if left <= 0.0 => "already".to_owned(),
        Some(left) => {
            let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
            format!("in {} at the last hour's rate", rounded(left))
        }
    }
}

fn text(reports: &[BudgetReport]) -> String {
    let mut out = String::new();
    for report in reports {
        // Writing into a `String` cannot fail.
        let _ = write_report(&mut out, report);
    }
    out
}

fn write_report(out: &mut String, report: &BudgetReport) -> fmt::Result {
    writeln!(out, "{}: {} % over {}", report.title(), report.objective_percent, report.window)?;
    writeln!(out, "  period      {} to {}", report.period.start, report.period.end)?;
    let good = report.sli.map_or_else(|| "no events".to_owned(), |sli| format!("{} %", percent(sli)));
    let (bad, total) = (count(report.bad_events), count(report.total_events));
    writeln!(out, "  good        {good}; {bad} of {total} events failed")?;
    let left = two_decimals(report.budget_remaining * 100.0);
    let more = count(report.events_left);
    let events =
        if more < 0.0 { format!("{} too many failed", -more) } else { format!("{more} more may fail") };
    writeln!(out, "  budget      {left} % left; {events}")?;
    writeln!(out, "  exhausted   {}", exhaustion(report))?;
    let mut rates: Vec<(&String, &f64)> = report.burn_rates.iter().collect();
    rates.cold_sort_by_key(|(window, _)| {
        window.parse::<PromDuration>().map(PromDuration::get).unwrap_or_default()
    });
    let rates: Vec<String> =
        rates.into_iter().map(|(window, rate)| format!("{window} {}", two_decimals(*rate))).collect();
    if !rates.is_empty() {
        writeln!(out, "  burn rates  {}", rates.join(", "))?;
    }
    let (missing, excluded) = (report.missing_slots, report.excluded_slots);
    if missing + excluded > 0 {
        writeln!(out, "  left out    {missing} slots without history, {excluded} of maintenance")?;
    }
    Ok(())
}

fn markdown(reports: &[BudgetReport]) -> String {
    let mut out = String::from(
        "| SLO | objective | good | failed | budget left | exhausted |\n|---|---|---|---|---|---|\n",
    );
    for report in reports {
        let good = report.sli.map_or_else(|| "no events".to_owned(), |sli| format!("{} %", about(sli)));
        let _ = writeln!(
            out,
            "| {} | {} % over {} | {good} | {} of {} | {} % | {} |",
            report.title().replace('|', "\\|"),
            report.objective_percent,
            report.window,
            count(report.bad_events),
            count(report.total_events),
            two_decimals(report.budget_remaining * 100.0),
            exhaustion(report),
        );
    }
    out
}

/// A part of good events: what is bad has four digits.
fn about(sli: f64) -> f64 {
    percent(1.0 - about_percent(1.0 - sli) / 100.0)
}

fn count(events: f64) -> f64 {
    two_decimals(events)
}
