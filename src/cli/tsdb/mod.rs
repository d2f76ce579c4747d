//! `outrigger tsdb`: a store's folder looked at, written out as OpenMetrics, and filled from it.

mod dump;
mod import;

use std::fmt::Write as _;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Outcome, complain, print};
use crate::model::{Matcher, Queryable as _, SelectAny, Timestamp};
use crate::promql::parse_selector;
use crate::store::{EncryptionKey, Store, StoreConfig, StoreStats};

/// Rows of each table that `stats` prints.
const TABLE_ROWS: usize = 10;

pub(super) fn command() -> Command {
    let stats = Command::new("stats").about("Print how much a store holds, and what takes the most series");
    let list = Command::new("list").about("Print the labels of its series, one a line");
    let dump = Command::new("dump")
        .about("Print samples as OpenMetrics, with timestamps")
        .after_help("Staleness markers have no place in OpenMetrics and are left out.");
    let import = Command::new("import")
        .about("Add the samples of an OpenMetrics file, each with a timestamp, in time order for each series")
        .after_help(
            "The file is read piece by piece. Samples older than the newest of their series are refused. \
             Exit status: 1 if any was.",
        );
    Command::new("tsdb")
        .about("Look into a store's folder while no outrigger runs on it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_folder(stats))
        .subcommand(with_matchers(with_folder(list)))
        .subcommand(with_times(with_matchers(with_folder(dump))))
        .subcommand(
            with_folder(import).arg(
                Arg::new("file")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("The file; - or none: standard input"),
            ),
        )
}

fn with_folder(command: Command) -> Command {
    command
        .arg(
            Arg::new("folder")
                .value_name("FOLDER")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("What --storage.path names"),
        )
        .arg(
            Arg::new("encryption-key-file")
                .long("encryption-key-file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("The key of an encrypted store: 32 bytes, or 64 hexadecimal digits"),
        )
}

fn with_matchers(command: Command) -> Command {
    command.arg(
        Arg::new("match")
            .long("match")
            .value_name("SELECTOR")
            .action(ArgAction::Append)
            .value_parser(|text: &str| parse_selector(text).map_err(|errors| errors.to_string()))
            .help("Only series that fit, as in 'up{job=\"a\"}'; may be given more than once"),
    )
}

fn with_times(command: Command) -> Command {
    let time = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("TIME")
            .allow_hyphen_values(true)
            .value_parser(instant)
            .help(help)
    };
    command
        .arg(time("min-time", "The first instant: RFC 3339, or seconds since the epoch"))
        .arg(time("max-time", "The last instant"))
}

/// Seconds since the epoch, or RFC 3339.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is neither seconds since the epoch nor a time as 2026-01-31T12:00:00Z");
    if let Ok(seconds) = text.parse::<f64>() {
        let millis = (seconds * 1_000.0).round();
        #[expect(clippy::cast_possible_truncation, reason = "checked to be far within")]
        return if millis.abs() < 9e15 { Ok(Timestamp::from_millis(millis as i64)) } else { Err(wrong()) };
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    let Some((name, matches)) = matches.subcommand() else { return super::misunderstood("tsdb") };
    match name {
        "stats" => stats(&existing(matches)?),
        "list" => list(&existing(matches)?, &selectors(matches)),
        "dump" => {
            let edge = |name, otherwise| matches.get_one::<Timestamp>(name).copied().unwrap_or(otherwise);
            let from = edge("min-time", Timestamp::from_millis(i64::MIN));
            let to = edge("max-time", Timestamp::from_millis(i64::MAX));
            dump::run(&existing(matches)?, &selectors(matches), from, to)
        }
        _ => import::run(&opened(matches)?, matches.get_one::<PathBuf>("file")),
    }
}

fn selectors(matches: &ArgMatches) -> Vec<Vec<Matcher>> {
    matches.get_many::<Vec<Matcher>>("match").into_iter().flatten().cloned().collect()
}

fn folder(matches: &ArgMatches) -> anyhow::Result<&PathBuf> {
    matches.get_one::<PathBuf>("folder").context("no folder")
}

/// A store that has to be there; looking at one must not make it.
pub(super) fn existing(matches: &ArgMatches) -> anyhow::Result<Store> {
    let folder = folder(matches)?;
    if !Store::is_in(folder) {
        bail!("{}: no store there", folder.display());
    }
    opened(matches)
}

fn opened(matches: &ArgMatches) -> anyhow::Result<Store> {
    let encryption_key = matches.get_one::<PathBuf>("encryption-key-file").map(key_from).transpose()?;
    let config = StoreConfig {
        path: Some(folder(matches)?.clone()),
        // Nothing that is there is ever touched because somebody looked at it.
        replace_damaged: false,
        encryption_key,
        ..StoreConfig::default()
    };
    // Its words hold those of the error behind it.
    Store::open(config, Timestamp::from_millis(0)).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The samples of an OpenMetrics file, in memory. Those that have no place there are told.
///
/// # Errors
/// The file cannot be read, or is wrong.
pub(super) fn from_openmetrics(path: &Path) -> anyhow::Result<Store> {
    // Nothing is too old: the file says what there is.
    let config =
        StoreConfig { retention: Duration::MAX, retention_selected: Duration::MAX, ..StoreConfig::default() };
    let store = Store::open(config, Timestamp::from_millis(0))?;
    let file = fs::File::open(path).with_context(|| path.display().to_string())?;
    let done =
        import::import(&store, &mut BufReader::new(file)).with_context(|| path.display().to_string())?;
    if let Some(refused) = import::refused(&done) {
        complain(&format!("{}: warning: {refused}", path.display()));
    }
    Ok(store)
}

fn key_from(path: &PathBuf) -> anyhow::Result<EncryptionKey> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    EncryptionKey::from_file_bytes(&bytes)
        .with_context(|| format!("{}: neither 32 bytes nor 64 hexadecimal digits", path.display()))
}

fn list(store: &Store, matcher_sets: &[Vec<Matcher>]) -> Outcome {
    let (from, to) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    let mut text = String::new();
    for labels in store.series(&SelectAny { matcher_sets, from, to, limit: 0 })? {
        writeln!(text, "{labels}")?;
    }
    print(&text)
}

fn stats(store: &Store) -> Outcome {
    let stats = store.stats();
    let cardinality = store.cardinality(TABLE_ROWS);
    let mut text = numbers(&stats)?;
    for (title, rows) in [
        ("Metric names with the most series", cardinality.series_by_metric_name),
        ("Labels with the most values", cardinality.values_by_label_name),
        ("Pairs of label and value with the most series", cardinality.series_by_label_pair),
    ] {
        writeln!(text, "\n{title}:")?;
        for (name, count) in rows {
            writeln!(text, "{count:>10}  {name}")?;
        }
    }
    print(&text)
}

fn numbers(stats: &StoreStats) -> anyhow::Result<String> {
    let samples = stats.page_samples + stats.head_samples;
    let time = |at: Option<Timestamp>| match at.map(|at| jiff::Timestamp::from_millisecond(at.as_millis())) {
        Some(Ok(time)) => time.to_string(),
        Some(Err(_)) => "beyond the calendar".to_owned(),
        None => "none".to_owned(),
    };
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let each = if samples == 0 { 0.0 } else { stats.file_bytes as f64 / samples as f64 };
    let mut text = String::new();
    for (name, value) in [
        ("Series", stats.series.to_string()),
        ("Label pairs", stats.label_pairs.to_string()),
        ("Samples", samples.to_string()),
        ("Samples in pages", stats.page_samples.to_string()),
        ("Pages", stats.pages.to_string()),
        ("Log entries", stats.wal_entries.to_string()),
        ("Oldest sample", time(stats.min_time)),
        ("Newest sample", time(stats.max_time)),
        ("Bytes on disk", stats.file_bytes.to_string()),
        ("Bytes a sample", format!("{each:.2}")),
        ("Damaged rows", (stats.damaged_rows + stats.damaged_pages).to_string()),
    ] {
        writeln!(text, "{name:<18}{value}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_store_cannot_be_opened_is_said_once() {
        let file = tempfile::NamedTempFile::new().expect("made");
        let args = [std::ffi::OsStr::new("tsdb"), "import".as_ref(), file.path().as_os_str()];
        let matches = command().try_get_matches_from(args).expect("understood");
        let error = opened(matches.subcommand().expect("import").1).expect_err("a file is no folder");
        assert_eq!(format!("{error:#}").matches("os error").count(), 1, "{error:#}");
    }

    #[test]
    fn instants_are_seconds_or_rfc_3339() {
        assert_eq!(instant("1700000000.5"), Ok(Timestamp::from_millis(1_700_000_000_500)));
        assert_eq!(instant("-1"), Ok(Timestamp::from_millis(-1_000)));
        assert_eq!(instant("2023-11-14T22:13:20Z"), Ok(Timestamp::from_millis(1_700_000_000_000)));
        for bad in ["", "yesterday", "1e300", "NaN"] {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }
}
