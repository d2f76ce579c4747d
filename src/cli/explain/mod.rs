//! `outrigger explain ALERT`: why an alert fired, from its rule and the history of what that read.

mod history;
mod output;
mod source;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgGroup, ArgMatches, Command, value_parser};

use self::history::{Life, Moment, lives, played};
use self::source::{Found, Source};
use self::tree::{Carrier, Part};
use super::rule_files::RuleFile;
use super::{Outcome, complain, print, tsdb};
use crate::app::now;
use crate::config::closest;
use crate::model::{METRIC_NAME, MatchOp, Matcher, PromDuration, Quoted, Timestamp};
use crate::promql::{ParseOptions, Value, parse, parse_selector};
use crate::rules::backtest::SeriesTimeline;

pub(super) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("explain")
        .about("Tell why an alert fired: its expression part by part at the moments that decided")
        .after_help(
            "Of several alerts of the rule the one that was active last is explained. A series counts as the alert's \
             when no label of both says otherwise. When it was pending and fired, ALERTS tells; in a history that does \
             not hold it for this rule, the rules are played over the history as `outrigger backtest` does.",
        )
        .arg(
            Arg::new("alert")
                .value_name("ALERT")
                .required(true)
                .value_parser(Asked::read)
                .help("Name of the alert, with labels where it has several: 'Down{instance=\"a\"}'"),
        )
        .arg(
            Arg::new("rules")
                .value_name("RULES")
                .num_args(0..)
                .requires("history")
                .value_parser(value_parser!(PathBuf))
                .help("With --storage.path or --openmetrics: rule files, and files of objectives"),
        )
        .arg(text("url", "URL", "Instance to ask").default_value("http://127.0.0.1:9780"))
        .arg(
            Arg::new("folder")
                .long("storage.path")
                .value_name("DIR")
                .conflicts_with("url")
                .requires("rules")
                .value_parser(value_parser!(PathBuf))
                .help("Read this folder instead; no instance may be running on it"),
        )
        .arg(
            Arg::new("openmetrics")
                .long("openmetrics")
                .value_name("FILE")
                .conflicts_with("url")
                .requires("rules")
                .value_parser(value_parser!(PathBuf))
                .help("Read the samples of this OpenMetrics file instead"),
        )
        .group(ArgGroup::new("history").args(["folder", "openmetrics"]))
        .arg(
            Arg::new("encryption-key-file")
                .long("encryption-key-file")
                .value_name("FILE")
                .requires("folder")
                .value_parser(value_parser!(PathBuf))
                .help("File with the key of that folder's history"),
        )
        .arg(
            text("at", "TIME", "Explain the last time before: RFC 3339 or Unix seconds [default: now; of a folder or a file: its newest sample]")
                .allow_hyphen_values(true)
                .value_parser(tsdb::instant),
        )
        .arg(
            text("since", "DURATION", "How far back the alert is looked for")
                .default_value("1d")
                .value_parser(value_parser!(PromDuration)),
        )
        .arg(
            text("timeout", "DURATION", "Longest time to wait for each answer")
                .default_value("30s")
                .value_parser(value_parser!(PromDuration)),
        )
        .arg(
            text("output", "FORMAT", "How it is printed")
                .short('o')
                .default_value("text")
                .value_parser(["text", "json"]),
        )
}

/// The alert that is asked for.
#[derive(Clone, Debug)]
struct Asked {
    name: String,
    matchers: Vec<Matcher>,
}

impl Asked {
    /// A name, or a selector of alerts.
    fn read(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Ok(Self { name: text.to_owned(), matchers: Vec::new() });
        }
        let matchers = parse_selector(text).map_err(|errors| errors.to_string())?;
        let is_name = |matcher: &Matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
        let Some(name) = matchers.iter().find(|matcher| is_name(matcher)) else {
            return Err("expected the alert's name before the braces".to_owned());
        };
        let name = name.pattern().to_owned();
        Ok(Self { name, matchers: matchers.into_iter().filter(|matcher| !is_name(matcher)).collect() })
    }

    /// Its history over a time.
    fn query(&self, since: Duration) -> String {
        let more: String = self.matchers.iter().map(|matcher| format!(", {matcher}")).collect();
        format!("ALERTS{{alertname={}{more}}}[{}]", Quoted(&self.name), PromDuration::new(since))
    }

    /// Whether the history tells of any of the rule's alerts.
    fn is_known(&self, source: &Source, since: Duration, at: Timestamp) -> anyhow::Result<bool> {
        let any = Self { name: self.name.clone(), matchers: Vec::new() };
        Ok(matches!(source.value(&any.query(since), at)?, Value::Matrix(series) if !series.is_empty()))
    }
}

/// All that is known of one rule's alert.
struct Explained {
    rule: Found,
    at: Timestamp,
    since: Duration,
    /// The one that is explained first; none where there was none.
    lives: Vec<Life>,
    /// The history does not tell of its alerts; the rules were played over it.
    is_played: bool,
    moments: Vec<Moment>,
    parts: Vec<Part>,
    parts_left_out: usize,
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let asked = matches.get_one::<Asked>("alert").context("no alert")?;
    let duration = |name: &str| matches.get_one::<PromDuration>(name).map_or(Duration::ZERO, |d| d.get());
    let (since, timeout) = (duration("since"), duration("timeout"));
    if since.is_zero() {
        bail!("--since must be above 0s");
    }
    let at = matches.get_one::<Timestamp>("at").copied();
    let (source, at) = if matches.contains_id("history") {
        let store = match matches.get_one::<PathBuf>("openmetrics") {
            Some(path) => tsdb::from_openmetrics(path)?,
            None => tsdb::existing(matches)?,
        };
        let at = at.or(store.stats().max_time).context("the history is empty")?;
        let Some(groups) = RuleFile::load_all(matches.get_many::<PathBuf>("rules").into_iter().flatten())
        else {
            return Ok(ExitCode::FAILURE);
        };
        (Source::history(store, groups, timeout), at)
    } else {
        let url = matches.get_one::<String>("url").cloned().unwrap_or_default();
        (Source::Instance { url, timeout }, at.unwrap_or_else(now))
    };
    let rules = source.rules()?;
    let found: Vec<&Found> = rules.iter().filter(|rule| rule.name == asked.name).collect();
    if found.is_empty() {
        let names = rules.iter().map(|rule| rule.name.as_str());
        let hint =
            closest(&asked.name, names).map_or_else(String::new, |name| format!("; did you mean {name}?"));
        bail!("no alert rule is named {:?}, of {}{hint}", asked.name, rules.len());
    }
    if found.len() > 1 {
        complain(&format!(
            "{} rules are named {}; their history is one, and each is explained with it",
            found.len(),
            asked.name
        ));
    }
    let explained: Vec<Explained> =
        found.into_iter().map(|rule| explain(&source, asked, rule, at, since)).collect::<Result<_, _>>()?;
    match matches.get_one::<String>("output").map(String::as_str) {
        Some("json") => print(&format!("{}\n", output::json(&explained))),
        _ => print(&output::text(&explained)),
    }
}

fn explain(
    source: &Source,
    asked: &Asked,
    rule: &Found,
    at: Timestamp,
    since: Duration,
) -> anyhow::Result<Explained> {
    let series = match source.value(&asked.query(since), at)? {
        Value::Matrix(series) => series,
        _ => Vec::new(),
    };
    let mut lives = lives(series, rule.interval, at);
    let mut over = None;
    if lives.is_empty()
        && !asked.is_known(source, since, at)?
        && let Some((timeline, results)) = source.play(at, since)?
    {
        over = Some(results);
        let of_rule = timeline.rules.iter().filter(|played| *played.rule.name == rule.name);
        let fits = |series: &&SeriesTimeline| Matcher::all_match(&asked.matchers, &series.labels);
        lives = played(of_rule.flat_map(|rule| &rule.series).filter(fits), rule.interval);
    }
    let moments = lives.first().map_or_else(|| vec![Moment { what: "now", at }], Life::moments);
    let expr = parse(&rule.expr, &ParseOptions::all())?;
    let carrier = Carrier::new(lives.first().map(|life| &life.labels), &rule.own_labels);
    let (parts, parts_left_out) = tree::parts(over.as_ref().unwrap_or(source), &expr, &moments, &carrier);
    Ok(Explained {
        rule: rule.clone(),
        at,
        since,
        lives,
        is_played: over.is_some(),
        moments,
        parts,
        parts_left_out,
    })
}
