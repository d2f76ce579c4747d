//! `outrigger query EXPR`: asks a running instance, or a store's folder, and prints a table, CSV, JSON or a chart.

pub(super) mod answer;
pub(super) mod output;
mod plot;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Arg, ArgMatches, Command, value_parser};

use self::output::Format;
use super::{Outcome, columns, complain, instance, print, tsdb};
use crate::app::now;
use crate::model::{PromDuration, Timestamp};
use crate::promql::{self, Engine, EngineOptions, ParseOptions, QueryOptions, Value};
use crate::store::Store;

/// Points of a range unless `--step` says otherwise.
const DEFAULT_POINTS: u64 = 250;

pub(super) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("query")
        .about("Evaluate a PromQL expression on a running instance, or on the folder of a store")
        .arg(Arg::new("expression").value_name("EXPR").required(true).help("The expression"))
        .arg(text("url", "URL", "Instance to ask").default_value("http://127.0.0.1:9780"))
        .arg(
            Arg::new("folder")
                .long("storage.path")
                .value_name("DIR")
                .help("Read this folder instead; no instance may be running on it")
                .conflicts_with("url")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("encryption-key-file")
                .long("encryption-key-file")
                .value_name("FILE")
                .help("File with the key of that folder's history")
                .requires("folder")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(text("time", "TIME", "Instant to evaluate at: RFC 3339 or Unix seconds [default: now]"))
        .arg(text("range", "DURATION", "Evaluate over this long before --time instead, as 1h"))
        .arg(text("step", "DURATION", "Distance of the range's points [default: 250 points]"))
        .arg(text("timeout", "DURATION", "Longest time to wait for the answer").default_value("2m"))
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORMAT")
                .default_value("table")
                .value_parser(Format::NAMES.map(|(name, _)| name))
                .help("How the result is printed"),
        )
}

/// What is asked for.
struct Asked {
    expression: String,
    at: Timestamp,
    range: Option<(Duration, Duration)>,
    timeout: Duration,
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let asked = match Asked::read(matches) {
        Ok(asked) => asked,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(ExitCode::from(2));
        }
    };
    let chosen = matches.get_one::<String>("output").map_or("table", String::as_str);
    let format = Format::NAMES.iter().find(|(name, _)| *name == chosen).map_or(Format::Table, |(_, f)| *f);
    let answer = if matches.contains_id("folder") {
        on_store(&asked, &tsdb::existing(matches)?)?
    } else {
        ask(&asked, matches.get_one::<String>("url").map_or("", String::as_str))?
    };
    for remark in &answer.remarks {
        complain(&instance::plain(remark));
    }
    match format {
        Format::Json => print(&format!("{}\n", answer.data)),
        Format::Table => print(&output::table(&answer.value)),
        Format::Csv => print(&output::csv(&answer.value)),
        Format::Plot => {
            let stdout = std::io::stdout();
            let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let chart = plot::plot(&answer.value, columns(), colour).map_err(|why| anyhow!(why))?;
            print(&chart)
        }
    }
}

impl Asked {
    fn read(matches: &ArgMatches) -> anyhow::Result<Self> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        let duration = |name: &str| {
            let parse = |text: &str| text.parse::<PromDuration>().map(PromDuration::get);
            text(name).map(parse).transpose().with_context(|| format!("--{name}"))
        };
        let at = match text("time") {
            None => now(),
            Some(text) => instant(text)
                .with_context(|| format!("--time {text:?}: expected RFC 3339 or Unix seconds"))?,
        };
        let (range, step) = (duration("range")?, duration("step")?);
        if range.is_none() && step.is_some() {
            bail!("--step needs --range");
        }
        let default_step = |range: Duration| {
            let ms = u64::try_from(range.as_millis()).unwrap_or(u64::MAX) / DEFAULT_POINTS;
            Duration::from_millis(ms.div_ceil(1_000).max(1) * 1_000)
        };
        let range = range.map(|range| (range, step.unwrap_or_else(|| default_step(range))));
        if range.is_some_and(|(_, step)| step.is_zero()) {
            bail!("--step must be above 0s");
        }
        let timeout = duration("timeout")?.unwrap_or(Duration::from_secs(120));
        Ok(Self { expression: text("expression").unwrap_or_default().to_owned(), at, range, timeout })
    }

    fn start(&self, range: Duration) -> Timestamp {
        let range_ms = i64::try_from(range.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.at.as_millis().saturating_sub(range_ms))
    }

    /// Path and query of the API call.
    fn path(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", &self.expression);
        let seconds = |at: Timestamp| format!("{:.3}", at.as_seconds_f64());
        match self.range {
            None => format!("/api/v1/query?{}", form.append_pair("time", &seconds(self.at)).finish()),
            Some((range, step)) => {
                form.append_pair("start", &seconds(self.start(range)))
                    .append_pair("end", &seconds(self.at))
                    .append_pair("step", &step.as_secs_f64().to_string());
                format!("/api/v1/query_range?{}", form.finish())
            }
        }
    }
}

fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and such a time has no samples")]
        return seconds.is_finite().then(|| Timestamp::from_millis((seconds * 1_000.0).round() as i64));
    }
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond()))
}

/// Asks an instance.
fn ask(asked: &Asked, url: &str) -> anyhow::Result<Answer> {
    answer::read(&instance::get(url, &asked.path(), asked.timeout)?)
}

fn on_store(asked: &Asked, store: &Store) -> anyhow::Result<Answer> {
    let expr = promql::parse(&asked.expression, &ParseOptions::all())?;
    let engine = Engine::new(EngineOptions { timeout: asked.timeout, ..EngineOptions::default() });
    let options = QueryOptions::default();
    let result = match asked.range {
        None => engine.instant(store, &expr, asked.at, &options)?,
        Some((range, step)) => engine.range(store, &expr, (asked.start(range), asked.at), step, &options)?,
    };
    answer::of(&asked.expression, &result)
}

/// A result with what was remarked about it.
pub(super) struct Answer {
    /// The result.
    pub(super) value: Value,
    /// The API's `data`, as JSON.
    data: String,
    /// Warnings and infos.
    remarks: Vec<String>,
}
