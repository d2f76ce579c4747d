//! A store whose process is killed a hundred times: whatever it had acknowledged is there afterwards, bit by bit.
//!
//! The writer is this test's own binary, started with a variable that says where to write. It says on its standard
//! output what was acknowledged; it is killed after some number of these, in the midst of what follows.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use outrigger::model::{Labels, Queryable, Row, Segment, Select, Timestamp};
use outrigger::store::{Store, StoreConfig};

const FOLDER: &str = "OUTRIGGER_TEST_CRASH_FOLDER";
const KILLS: u64 = 100;
const SOURCES: usize = 3;
const SERIES: usize = 12;
const TICK_MS: i64 = 1_000;

fn config(folder: &Path) -> StoreConfig {
    StoreConfig { path: Some(folder.to_owned()), min_free_bytes: 0, ..StoreConfig::default() }
}

fn labels(source: usize, series: usize) -> Labels {
    let (source, series) = (format!("source{source}"), series.to_string());
    Labels::from_pairs([("__name__", "crash_total"), ("source", &source), ("series", &series)])
}

/// What a series has at a tick: constants, counters, gauges.
fn value(source: usize, series: usize, tick: i64) -> f64 {
    let seed = (tick * 31 + (source * SERIES + series) as i64 * 7_919) % 1_009;
    match series % 3 {
        0 => 42.0,
        1 => (tick * 17 + series as i64) as f64,
        _ => seed as f64 / 7.0,
    }
}

fn at(tick: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + tick * TICK_MS)
}

/// Not a test of its own: the writer, when its variable is set.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let store = Store::open(config(&folder), at(0)).expect("opens");
    let first = persisted(&store).into_iter().map(|ticks| ticks + 1);
    std::thread::scope(|scope| {
        for (number, first) in first.enumerate() {
            let store = store.clone();
            scope.spawn(move || write_for_ever(&store, number, first));
        }
    });
}

fn write_for_ever(store: &Store, number: usize, first: i64) {
    let mut source = store.source(&format!("source{number}"));
    for tick in first.. {
        let rows: Vec<Row> = (0..SERIES)
            .map(|series| Row {
                labels: labels(number, series),
                value: value(number, series, tick),
                timestamp: None,
            })
            .collect();
        let appended = source.append(at(tick), &rows).expect("written");
        assert_eq!(appended.added, SERIES as u64, "{appended:?}");
        store.state("ticks").put(number.to_string().as_bytes(), &tick.to_le_bytes()).expect("written");
        if tick % 50 == 0 {
            store.maintain(at(tick)).expect("maintained");
        }
        // One write a line, so that a line is whole or not there.
        let line = format!("ack {number} {tick}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).expect("somebody listens");
    }
}

/// The last tick of each source in the store, after having looked at every sample up to there.
fn persisted(store: &Store) -> [i64; SOURCES] {
    let mut last = [-1; SOURCES];
    let mut counts = [0; SOURCES];
    let request =
        Select { matchers: &[], from: Timestamp::from_millis(0), to: Timestamp::from_millis(i64::MAX) };
    for selected in store.select(&request).expect("readable") {
        let number = |label: &str, prefix: &str| -> usize {
            selected.labels.value(label).trim_start_matches(prefix).parse().expect("a number")
        };
        let (source, series) = (number("source", "source"), number("series", ""));
        let mut tick = 0;
        for segment in &selected.segments {
            let samples = match segment {
                Segment::Samples(samples) => samples.clone(),
                Segment::Page(page) => page.read().expect("readable"),
            };
            for (at_ms, found) in samples.iter() {
                assert_eq!(at_ms, at(tick).as_millis(), "{}", selected.labels);
                assert_eq!(
                    found.to_bits(),
                    value(source, series, tick).to_bits(),
                    "{} at {tick}",
                    selected.labels
                );
                tick += 1;
            }
        }
        // A tick is whole: all series of a source end at the same one.
        assert!(last[source] == -1 || last[source] == tick - 1, "{}: {tick} ticks", selected.labels);
        last[source] = tick - 1;
        counts[source] += 1;
    }
    assert!(counts.iter().all(|count| *count == 0 || *count == SERIES), "{counts:?}");
    last
}

fn tick_in_state(store: &Store, source: usize) -> i64 {
    let value = store.state("ticks").get(source.to_string().as_bytes()).expect("readable");
    value.map_or(-1, |bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

#[test]
fn what_was_acknowledged_survives_a_hundred_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    // What was acknowledged, and what was found afterwards, which may be one tick more.
    let mut acknowledged = [-1_i64; SOURCES];
    let mut before = [-1_i64; SOURCES];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Some die before their first tick, in the midst of opening.
        run_and_kill(folder.path(), seed >> 58, &mut acknowledged);
        let store = Store::open(config(folder.path()), at(0)).expect("opens");
        let stats = store.stats();
        assert_eq!((stats.files_set_aside, stats.damaged_rows), (0, 0));
        let found = persisted(&store);
        for source in 0..SOURCES {
            let (found, acked, before) = (found[source], acknowledged[source], before[source]);
            let shown =
                format!("kill {kill}: source {source} has {found}, had {before}, acknowledged {acked}");
            assert!(found >= acked.max(before), "{shown}");
            assert!(found <= acked.max(before) + 1, "{shown}");
            let state = tick_in_state(&store, source);
            assert!(state >= acked && state <= found, "{shown}, state {state}");
        }
        before = found;
        assert_eq!(store.stats().damaged_pages, 0);
    }
    assert!(acknowledged.iter().all(|ticks| *ticks > 240), "{acknowledged:?}");
}

fn run_and_kill(folder: &Path, acks: u64, acknowledged: &mut [i64; SOURCES]) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture", "--test-threads=1", "store_crash::writer"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut note = |line: &str| {
        let numbers: Option<(usize, i64)> = line.split_once("ack ").and_then(|(_, rest)| {
            let (source, tick) = rest.split_once(' ')?;
            Some((source.parse().ok()?, tick.parse().ok()?))
        });
        if let Some((source, tick)) = numbers {
            acknowledged[source] = acknowledged[source].max(tick);
        }
        numbers.is_some()
    };
    let mut seen = 0;
    while seen < acks {
        let line = lines.next().expect("the writer goes on").expect("text");
        seen += u64::from(note(&line));
    }
    child.kill().expect("killed");
    // What it said until it died counts as well.
    for line in lines.map_while(Result::ok) {
        note(&line);
    }
    child.wait().expect("ended");
}
