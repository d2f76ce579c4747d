//! `outrigger backtest`: rules played over history, as they are and as they might be.

mod incidents;
mod json;
mod svg;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgGroup, ArgMatches, Command, value_parser};

use super::rule_files::RuleFile;
use super::{Outcome, columns, complain, print, tsdb};
use crate::model::{PromDuration, Queryable, Timestamp};
use crate::rules::GroupSpec;
use crate::rules::backtest::{Incident, Replay, Timeline, Variant, threshold_of};

/// Most variants: each is a whole replay.
const MOST_VARIANTS: usize = 64;

pub(super) fn command() -> Command {
    let command = Command::new("backtest")
        .about("Play rules over history: when alerts would have fired, and what another threshold or `for` would change")
        .after_help(
            "The rules are evaluated as in service, at each group's slots. Nothing is written into the history; what it \
             holds of these rules' own series is left out from the first instant on; a rule that looks back on a series \
             that was never recorded finds nothing before it. An alert flapped when it fired \
             again within an hour of its end. An alarm is false when it overlaps no incident with its labels.",
        )
        .arg(
            Arg::new("rules")
                .value_name("RULES")
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Rule files, and files of objectives"),
        );
    with_variants(with_output(with_history(command)))
}

fn with_history(command: Command) -> Command {
    let file = |id: &'static str, name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(id).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
    };
    let time = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("TIME")
            .allow_hyphen_values(true)
            .value_parser(tsdb::instant)
            .help(help)
    };
    command
        .arg(file("folder", "storage.path", "DIR", "Folder of the history; no instance may be running on it"))
        .arg(file(
            "encryption-key-file",
            "encryption-key-file",
            "FILE",
            "File with the key of that folder's history",
        ))
        .arg(file(
            "openmetrics",
            "openmetrics",
            "FILE",
            "Play over the samples of this OpenMetrics file instead",
        ))
        .group(ArgGroup::new("history").args(["folder", "openmetrics"]).required(true))
        .arg(time("from", "The first instant: RFC 3339 or Unix seconds [default: the oldest sample]"))
        .arg(time("to", "The last instant [default: the newest sample]"))
        .arg(
            Arg::new("evaluation-interval")
                .long("evaluation-interval")
                .value_name("DURATION")
                .default_value("1m")
                .value_parser(value_parser!(PromDuration))
                .help("Interval of groups that name none"),
        )
}

fn with_variants(command: Command) -> Command {
    command
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("DURATIONS")
                .value_delimiter(',')
                .value_parser(value_parser!(PromDuration))
                .help("Play with these `for` as well, as 5m,10m"),
        )
        .arg(
            Arg::new("threshold")
                .long("threshold")
                .value_name("NUMBERS")
                .value_delimiter(',')
                .allow_hyphen_values(true)
                .value_parser(value_parser!(f64))
                .help("Play with these numbers on the right of each alert's comparison as well, as 80,90"),
        )
        .arg(
            Arg::new("incidents")
                .long("incidents")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Known incidents, a YAML list of {name, from, to, labels}: which would have been caught, and how late"),
        )
}

fn with_output(command: Command) -> Command {
    command
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORMAT")
                .default_value("text")
                .value_parser(["text", "json"])
                .help("How the result is printed"),
        )
        .arg(
            Arg::new("svg")
                .long("svg")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Draw the timelines into this file, too"),
        )
}

/// All that was found.
struct Backtest {
    from: Timestamp,
    to: Timestamp,
    incidents: Vec<Incident>,
    /// As written first.
    runs: Vec<Run>,
}

/// The rules played once.
struct Run {
    variant: Variant,
    timeline: Timeline,
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let rules = matches.get_many::<PathBuf>("rules").into_iter().flatten();
    let Some(groups) = RuleFile::load_all(rules) else { return Ok(ExitCode::FAILURE) };
    let incidents = match matches.get_one::<PathBuf>("incidents") {
        None => Vec::new(),
        Some(path) => incidents::load(path)?,
    };
    let variants = variants(matches)?;
    if variants.iter().any(|variant| variant.threshold.is_some()) {
        tell_without_threshold(&groups);
    }
    let store = match matches.get_one::<PathBuf>("openmetrics") {
        Some(path) => tsdb::from_openmetrics(path)?,
        None => tsdb::existing(matches)?,
    };
    let (from, to) = times(matches, &store)?;
    let interval = matches.get_one::<PromDuration>("evaluation-interval").map_or(Duration::ZERO, |d| d.get());
    if interval.is_zero() {
        bail!("--evaluation-interval must be above 0s");
    }
    let replay = Replay { from, to, interval, query_offset: Duration::ZERO };
    let history: Arc<dyn Queryable> = Arc::new(store);
    let mut runs = Vec::with_capacity(variants.len());
    for variant in variants {
        let timeline = replay.run(&variant.of(&groups), Arc::clone(&history))?;
        runs.push(Run { variant, timeline });
    }
    let backtest = Backtest { from, to, incidents, runs };
    tell_failures(&backtest);
    if let Some(path) = matches.get_one::<PathBuf>("svg") {
        std::fs::write(path, svg::drawn(&backtest)).with_context(|| path.display().to_string())?;
    }
    match matches.get_one::<String>("output").map(String::as_str) {
        Some("json") => print(&format!("{}\n", json::value(&backtest))),
        _ => print(&text::text(&backtest, columns())),
    }
}

/// As written, then every `for` with every threshold.
fn variants(matches: &ArgMatches) -> anyhow::Result<Vec<Variant>> {
    let holds = matches.get_many::<PromDuration>("for").into_iter().flatten().map(|hold| Some(hold.get()));
    let thresholds = matches.get_many::<f64>("threshold").into_iter().flatten().copied().map(Some);
    let or_as_written = |given: usize| usize::from(given == 0);
    let holds: Vec<Option<Duration>> = holds.collect();
    let thresholds: Vec<Option<f64>> = thresholds.collect();
    let as_written = (vec![None; or_as_written(holds.len())], vec![None; or_as_written(thresholds.len())]);
    let mut variants = vec![Variant::default()];
    for hold in holds.iter().chain(&as_written.0) {
        for threshold in thresholds.iter().chain(&as_written.1) {
            let variant = Variant { hold: *hold, threshold: *threshold };
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
    }
    if variants.len() > MOST_VARIANTS {
        bail!("{} variants are more than {MOST_VARIANTS}; give fewer --for or --threshold", variants.len());
    }
    Ok(variants)
}

fn tell_without_threshold(groups: &[GroupSpec]) {
    for (group, rule) in groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule))) {
        if rule.alert().is_some() && threshold_of(&rule.expr).is_none() {
            let place = super::rules_show::place(Path::new(&*group.file), rule);
            complain(&format!(
                "{place}: {}: its expression does not end in a comparison with a number; --threshold leaves it as it is",
                rule.name
            ));
        }
    }
}

fn tell_failures(backtest: &Backtest) {
    for run in &backtest.runs {
        for (rule, failures, why) in &run.timeline.failures {
            let variant = text::variant_name(&run.variant);
            complain(&format!("{rule} ({variant}): {failures} evaluations failed, the first: {why}"));
        }
    }
}

fn times(matches: &ArgMatches, store: &crate::store::Store) -> anyhow::Result<(Timestamp, Timestamp)> {
    let stats = store.stats();
    let given = |name: &str| matches.get_one::<Timestamp>(name).copied();
    let (Some(from), Some(to)) = (given("from").or(stats.min_time), given("to").or(stats.max_time)) else {
        bail!("the history is empty; there is nothing to play over");
    };
    if from > to {
        bail!("--from is after --to, or after the newest sample");
    }
    Ok((from, to))
}
