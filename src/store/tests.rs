//! The store as its users see it: ticks in, series out, across restarts, damage and a full disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::disk::Medium;
use super::summary::summarize;
use super::testing::FlakyFile;
use super::*;
use crate::model::{
    Labels, MatchOp, Matcher, Queryable, Row, STALE_NAN, Samples, Segment, Select, SelectAny, Timestamp,
    is_stale,
};

pub(super) const fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

mod clock;
mod full;
mod log;
mod numbers;

fn series(name: &str, id: usize) -> Labels {
    Labels::from_pairs([("__name__", name), ("id", &id.to_string())])
}

fn row(labels: &Labels, value: f64) -> Row {
    Row { labels: labels.clone(), value, timestamp: None }
}

fn memory() -> Store {
    Store::open(StoreConfig::default(), at(0)).expect("opens")
}

fn in_folder(path: &Path) -> StoreConfig {
    StoreConfig { path: Some(path.to_owned()), min_free_bytes: 0, ..StoreConfig::default() }
}

fn open(path: &Path) -> Store {
    Store::open(in_folder(path), at(0)).expect("opens")
}

/// All samples of all series, `stale` for markers; what pages say of themselves is held against what they hold.
fn all(store: &Store) -> BTreeMap<String, Vec<(i64, String)>> {
    select(store, &[], i64::MIN, i64::MAX)
}

fn select(store: &Store, matchers: &[Matcher], from: i64, to: i64) -> BTreeMap<String, Vec<(i64, String)>> {
    let request = Select { matchers, from: at(from), to: at(to) };
    let mut found = BTreeMap::new();
    for selected in store.select(&request).expect("readable") {
        let mut shown = Vec::new();
        for segment in &selected.segments {
            let samples: Arc<Samples> = match segment {
                Segment::Samples(samples) => Arc::clone(samples),
                Segment::Page(page) => {
                    let samples = page.read().expect("readable");
                    let known = summarize(samples.iter()).expect("samples");
                    let told = page.summary();
                    assert_eq!(
                        (told.samples, told.first_ms, told.last_ms),
                        (known.samples, known.first_ms, known.last_ms)
                    );
                    if let Some(told) = &told.values {
                        assert_eq!(Some(told), known.values.as_ref());
                    }
                    samples
                }
            };
            let inside = samples.iter().filter(|(t, _)| (from..=to).contains(t));
            shown.extend(
                inside.map(|(t, v)| (t, if is_stale(v) { "stale".to_owned() } else { v.to_string() })),
            );
        }
        assert!(shown.is_sorted_by(|a, b| a.0 < b.0), "{shown:?}");
        found.insert(selected.labels.to_string(), shown);
    }
    found
}

fn shown(samples: &[(i64, &str)]) -> Vec<(i64, String)> {
    samples.iter().map(|(t, v)| (*t, (*v).to_owned())).collect()
}

#[test]
fn what_vanishes_gets_a_marker_and_what_is_refused_is_counted() {
    let store = memory();
    let mut source = store.source("a");
    let (x, y) = (series("x", 1), series("y", 1));
    let first =
        source.append(at(1000), &[row(&x, 1.0), row(&y, 2.0), row(&x, 5.0), row(&x, 1.0)]).expect("taken");
    assert_eq!((first.added, first.new_series, first.duplicate, first.repeated), (2, 2, 1, 1));
    source.append(at(2000), &[row(&x, 1.0)]).expect("taken");
    let late = source.append(at(1500), &[row(&x, 3.0)]).expect("taken");
    assert_eq!((late.added, late.out_of_order), (0, 1));
    source.end(at(3000)).expect("taken");
    let found = all(&store);
    assert_eq!(found[&x.to_string()], shown(&[(1000, "1"), (2000, "1"), (3000, "stale")]));
    assert_eq!(found[&y.to_string()], shown(&[(1000, "2"), (2000, "stale")]));
    let stats = store.stats();
    assert_eq!((stats.series, stats.out_of_order, stats.duplicate, stats.head_samples), (2, 1, 1, 5));
    assert_eq!((stats.min_time, stats.max_time), (Some(at(1000)), Some(at(3000))));
}

#[test]
fn series_with_instants_of_their_own_get_no_marker() {
    let store = memory();
    let mut source = store.source("a");
    let x = series("x", 1);
    let own = |ms, value| Row { labels: x.clone(), value, timestamp: Some(at(ms)) };
    source.append(at(1000), &[own(900, 1.0), own(950, 2.0)]).expect("taken");
    let again = source.append(at(2000), &[own(950, 2.0)]).expect("taken");
    assert_eq!((again.added, again.repeated), (0, 1));
    assert_eq!(source.append(at(2500), &[own(950, 3.0)]).expect("taken").duplicate, 1);
    source.append(at(3000), &[]).expect("taken");
    source.append(at(4000), &[row(&x, 3.0)]).expect("taken");
    source.append(at(5000), &[]).expect("taken");
    let expected = shown(&[(900, "1"), (950, "2"), (4000, "3"), (5000, "stale")]);
    assert_eq!(all(&store)[&x.to_string()], expected);
}

#[test]
fn pages_and_tails_answer_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let mut source = store.source("a");
    let names: Vec<Labels> = (0..700).map(|i| series("m", i)).collect();
    for tick in 0..530_i64 {
        let rows: Vec<Row> = names
            .iter()
            .enumerate()
            .map(|(i, l)| row(l, if i % 3 == 0 { 7.0 } else { (tick * (i as i64 % 11)) as f64 * 0.5 }))
            .collect();
        source.append_soon(at(tick * 15_000), &rows).expect("taken");
        if tick % 50 == 0 {
            store.flush().expect("written");
        }
    }
    store.flush().expect("written");
    let before = all(&store);
    assert_eq!(before.len(), 700);
    assert!(before.values().all(|samples| samples.len() == 530));
    let stats = store.stats();
    assert!(stats.pages > 6 && stats.page_samples + stats.head_samples == 371_000, "{stats:?}");
    let one = select(&store, &[Matcher::equal("id", "4")], 1_000_000, 2_000_000);
    assert_eq!((one.len(), one.values().next().map(Vec::len)), (1, Some(67)));
    drop((source, store));
    let store = open(folder.path());
    assert!(all(&store) == before);
    assert_eq!(store.stats().page_samples, stats.page_samples);
}

#[test]
fn two_sources_of_one_series_are_merged() {
    let store = memory();
    let x = series("x", 1);
    let (mut a, mut b) = (store.source("a"), store.source("b"));
    for i in 0..400 {
        a.append(at(i * 20), &[row(&x, 1.0)]).expect("taken");
        b.append(at(i * 20 + 10), &[row(&x, 2.0)]).expect("taken");
    }
    let found = all(&store);
    assert_eq!(found[&x.to_string()].len(), 800);
}

#[test]
fn after_a_large_jump_back_history_goes_on() {
    let store = memory();
    let x = series("x", 1);
    let mut source = store.source("a");
    source.append(at(10_000_000), &[row(&x, 1.0)]).expect("taken");
    assert_eq!(source.append(at(9_900_000), &[row(&x, 2.0)]).expect("taken").out_of_order, 1);
    assert_eq!(source.append(at(1_000_000), &[row(&x, 3.0)]).expect("taken").added, 1);
    assert_eq!(source.append(at(1_015_000), &[row(&x, 4.0)]).expect("taken").added, 1);
    assert_eq!(all(&store)[&x.to_string()], shown(&[(1_000_000, "3"), (1_015_000, "4"), (10_000_000, "1")]));
    assert_eq!(store.stats().clock_jumps, 1);
}

#[test]
fn the_limit_of_series_is_held_and_counted() {
    let store = Store::open(StoreConfig { max_series: 2, ..StoreConfig::default() }, at(0)).expect("opens");
    let rows: Vec<Row> = (0..5).map(|i| row(&series("x", i), 1.0)).collect();
    let done = store.source("a").append(at(1), &rows).expect("taken");
    assert_eq!((done.added, done.over_limit, store.stats().over_limit), (2, 3, 3));
}

#[test]
fn retention_takes_pages_then_series_and_leaves_the_selected() {
    const HOUR: i64 = 3_600_000;
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    store.set_selected(vec![vec![Matcher::equal("__name__", "kept")]]);
    store.state("alerts").put(b"k", b"v").expect("written");
    let (kept, short) = (series("kept", 1), series("short", 1));
    let mut source = store.source("a");
    for i in 0..240 {
        source.append_soon(at(i * 60_000), &[row(&kept, i as f64), row(&short, i as f64)]).expect("taken");
    }
    source.end(at(5 * HOUR)).expect("taken");
    store.maintain(at(8 * HOUR)).expect("maintained");
    assert_eq!(store.stats().head_samples, 0);
    assert_eq!(store.maintain(at(9 * HOUR)).expect("maintained"), Maintained::default());
    let done = store.maintain(at(30 * HOUR)).expect("maintained");
    assert!(done.pages_deleted > 0 && done.series_deleted == 1, "{done:?}");
    let left = all(&store);
    assert_eq!(left.keys().collect::<Vec<_>>(), [&kept.to_string()]);
    assert_eq!(left[&kept.to_string()].len(), 241);
    let store = {
        drop(store);
        open(folder.path())
    };
    assert_eq!((store.stats().series, all(&store).len()), (1, 1));
    store.maintain(at(36 * 24 * HOUR)).expect("maintained");
    assert_eq!((store.stats().series, store.stats().pages, store.stats().page_samples), (0, 0, 0));
    assert_eq!(store.state("alerts").get(b"k").expect("read"), Some(b"v".to_vec()));
}

#[test]
fn the_limit_of_size_takes_the_oldest() {
    let config = StoreConfig { max_size_bytes: 60_000, ..StoreConfig::default() };
    let store = Store::open(config, at(0)).expect("opens");
    let mut source = store.source("a");
    let names: Vec<Labels> = (0..100).map(|i| series("m", i)).collect();
    for tick in 0..2_000_i64 {
        let value = |i: usize| ((tick * 7919 + i as i64 * 104_729) % 10_007) as f64;
        let rows: Vec<Row> = names.iter().enumerate().map(|(i, l)| row(l, value(i))).collect();
        source.append(at(tick * 1000), &rows).expect("taken");
    }
    let before = store.stats();
    assert!(before.page_bytes > 60_000);
    store.maintain(at(2_000_000)).expect("maintained");
    let after = store.stats();
    assert!(after.page_bytes <= 60_000 && after.page_bytes > 40_000, "{after:?}");
    let found = all(&store);
    let oldest = found.values().map(|samples| samples[0].0).min().expect("samples");
    assert!(oldest > 100_000 && found.values().all(|samples| samples.last().expect("some").0 == 1_999_000));
}

#[test]
fn names_and_values() {
    let store = memory();
    let mut source = store.source("a");
    source.append(at(1000), &[row(&series("x", 1), 1.0), row(&series("y", 2), 1.0)]).expect("taken");
    let any =
        |sets: &'static [Vec<Matcher>]| SelectAny { matcher_sets: sets, from: at(0), to: at(5000), limit: 0 };
    assert_eq!(store.label_names(&any(&[])).expect("names"), ["__name__", "id"]);
    assert_eq!(store.label_values("id", &any(&[])).expect("values"), ["1", "2"]);
    let sets = vec![vec![Matcher::new("__name__", MatchOp::Regex, "y.*").expect("valid")]];
    let request = SelectAny { matcher_sets: &sets, from: at(0), to: at(5000), limit: 0 };
    assert_eq!(store.label_values("id", &request).expect("values"), ["2"]);
    assert_eq!(store.series(&request).expect("series"), [series("y", 2)]);
    let past = SelectAny { from: at(2000), ..request };
    assert!(store.series(&past).expect("series").is_empty());
    assert!(store.label_names(&SelectAny { from: at(2000), ..any(&[]) }).expect("names").is_empty());
    assert_eq!(store.series(&SelectAny { limit: 1, ..any(&[]) }).expect("series").len(), 1);
    let cardinality = store.cardinality(1);
    assert_eq!(cardinality.series_by_metric_name, [("x".to_owned(), 1)]);
    assert_eq!(cardinality.values_by_label_name, [("__name__".to_owned(), 2)]);
}

#[test]
fn a_second_process_a_wrong_key_and_a_newer_format_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |key: Option<u8>| StoreConfig {
        encryption_key: key.map(|k| EncryptionKey::new([k; 32])),
        ..in_folder(folder.path())
    };
    let store = Store::open(with(Some(1)), at(0)).expect("opens");
    assert!(matches!(Store::open(with(Some(1)), at(0)), Err(StoreError::Locked { .. })));
    store.source("a").append(at(1), &[row(&series("secret_name", 1), 42.0)]).expect("taken");
    drop(store);
    assert!(matches!(Store::open(with(Some(2)), at(0)), Err(StoreError::WrongKey { .. })));
    assert!(matches!(Store::open(with(None), at(0)), Err(StoreError::KeyNeeded { .. })));
    let bytes = std::fs::read(folder.path().join("store.redb")).expect("the file");
    assert!(!bytes.windows(11).any(|w| w == b"secret_name"));
    assert_eq!(all(&Store::open(with(Some(1)), at(0)).expect("opens")).len(), 1);
    let plain = tempfile::tempdir().expect("a folder");
    drop(open(plain.path()));
    let locked = StoreConfig { path: Some(plain.path().to_owned()), ..with(Some(1)) };
    assert!(matches!(Store::open(locked, at(0)), Err(StoreError::NotEncrypted { .. })));
}

#[test]
fn a_file_that_makes_no_sense_is_moved_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("store.redb"), b"not a database, and never was".repeat(400))
        .expect("written");
    let store = Store::open(in_folder(folder.path()), at(77)).expect("opens");
    assert_eq!(store.stats().files_set_aside, 1);
    assert!(folder.path().join("store.redb.corrupt-77").exists());
    store.source("a").append(at(100), &[row(&series("x", 1), 1.0)]).expect("taken");
}

#[test]
fn a_flipped_bit_costs_at_most_its_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.redb");
    let store = open(folder.path());
    let mut source = store.source("a");
    let names: Vec<Labels> = (0..200).map(|i| series("m", i)).collect();
    for tick in 0..250_i64 {
        let value = |i: usize| ((tick * 7919 + i as i64 * 104_729) % 1_000_003) as f64 * 0.37;
        let rows: Vec<Row> = names.iter().enumerate().map(|(i, l)| row(l, value(i))).collect();
        source.append_soon(at(tick * 1000), &rows).expect("taken");
    }
    drop(source);
    store.close().expect("closed");
    let before = all(&{
        drop(store);
        open(folder.path())
    });
    let clean = std::fs::read(&file).expect("the file");
    // Where pages lie is redb's affair: hit one place after the other, past its header.
    let used = |chunk: &[u8]| chunk.iter().filter(|b| **b != 0).count() > 300;
    let candidates = clean
        .chunks(4096)
        .enumerate()
        .filter(|(_, chunk)| used(chunk))
        .skip(2)
        .map(|(at, _)| at * 4096 + 1_000);
    for place in candidates {
        let mut bad = clean.clone();
        bad[place] ^= 4;
        std::fs::write(&file, &bad).expect("written");
        let store = open(folder.path());
        let whole = readable_series(&store, &before);
        let stats = store.stats();
        if stats.damaged_pages > 0 {
            assert_eq!(stats.damaged_pages, 1);
            assert!((100..200).contains(&whole), "{whole}");
            return;
        }
    }
    panic!("no page was hit");
}

/// How many series have all the samples that they had.
fn readable_series(store: &Store, before: &BTreeMap<String, Vec<(i64, String)>>) -> usize {
    let request = Select { matchers: &[], from: at(0), to: at(300_000) };
    let read = |segment: &Segment| match segment {
        Segment::Samples(samples) => samples.len(),
        Segment::Page(page) => page.read().expect("readable").len(),
    };
    let selected = store.select(&request).expect("readable");
    let whole = selected.iter().filter(|s| {
        let count: usize = s.segments.iter().map(read).sum();
        count == before[&s.labels.to_string()].len()
    });
    whole.count()
}

#[test]
fn state_tables_keep_their_keys_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let (silences, other) = (store.state("silences"), store.state("silences2"));
    silences.apply((0..5_u8).map(|i| StateOp::Put(vec![i], vec![i * 2])).collect()).expect("written");
    other.put(b"x", b"y").expect("written");
    silences.delete(&[3]).expect("written");
    drop((silences, other, store));
    let store = open(folder.path());
    let mut seen = Vec::new();
    store
        .state("silences")
        .range(&[1], |k, v| {
            seen.push((k.to_vec(), v.to_vec()));
            true
        })
        .expect("read");
    assert_eq!(seen, [(vec![1], vec![2]), (vec![2], vec![4]), (vec![4], vec![8])]);
    assert_eq!(store.state("silences").get(&[3]).expect("read"), None);
}

/// One thing that happens to a store.
#[derive(Clone, Debug)]
enum Step {
    /// Source, milliseconds since the last one, values by series (none: missing).
    Tick(u8, i64, Vec<Option<i32>>),
    Reopen,
    Maintain,
}

fn any_step() -> impl Strategy<Value = Step> {
    let values = prop::collection::vec(prop::option::weighted(0.8, -3_i32..4), 6);
    prop_oneof![
        60 => (0_u8..2, 1_i64..5_000, values).prop_map(|(s, dt, v)| Step::Tick(s, dt, v)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Maintain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_is_remembered_across_restarts(steps in prop::collection::vec(any_step(), 1..400)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = open(folder.path());
        let mut model: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
        let mut present: [Vec<Labels>; 2] = [Vec::new(), Vec::new()];
        let mut now = 1_000_000;
        for step in &steps {
            match step {
                Step::Tick(source, dt, values) => {
                    now += dt;
                    let rows: Vec<Row> = (0..)
                        .zip(values)
                        .filter_map(|(i, v)| Some(row(&series(&format!("s{source}"), i), f64::from((*v)?) / 4.0)))
                        .collect();
                    let done = store.source(&source.to_string()).append_soon(at(now), &rows).expect("taken");
                    prop_assert_eq!(done.added, rows.len() as u64);
                    let before = &mut present[usize::from(*source)];
                    for gone in before.iter().filter(|l| !rows.iter().any(|r| r.labels == **l)) {
                        model.entry(gone.to_string()).or_default().push((now, "stale".to_owned()));
                    }
                    for row in &rows {
                        model.entry(row.labels.to_string()).or_default().push((now, row.value.to_string()));
                    }
                    *before = rows.into_iter().map(|r| r.labels).collect();
                }
                Step::Reopen => {
                    store.close().expect("closed");
                    drop(store);
                    store = open(folder.path());
                }
                Step::Maintain => drop(store.maintain(at(now)).expect("maintained")),
            }
        }
        prop_assert_eq!(all(&store), model);
    }
}

#[test]
fn a_stale_marker_from_a_source_is_a_sample_like_others() {
    let store = memory();
    let x = series("x", 1);
    let mut source = store.source("a");
    source.append(at(1), &[row(&x, 1.0)]).expect("taken");
    source.append(at(2), &[row(&x, STALE_NAN)]).expect("taken");
    source.append(at(3), &[]).expect("taken");
    assert_eq!(all(&store)[&x.to_string()], shown(&[(1, "1"), (2, "stale")]));
}

#[test]
fn appends_from_many_threads_share_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = StoreConfig { commit_linger: Duration::from_millis(20), ..in_folder(folder.path()) };
    let store = Store::open(config, at(0)).expect("opens");
    std::thread::scope(|scope| {
        for id in 0..8 {
            let store = store.clone();
            scope.spawn(move || {
                let mut source = store.source(&format!("s{id}"));
                for tick in 0..10 {
                    source.append(at(tick), &[row(&series("x", id), tick as f64)]).expect("taken");
                }
            });
        }
    });
    assert!(store.stats().commits < 60, "{}", store.stats().commits);
    drop(store);
    assert_eq!(all(&open(folder.path())).values().map(Vec::len).sum::<usize>(), 80);
}

#[test]
fn deleted_samples_are_gone_and_the_rest_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let (x, y, z) = (series("x", 1), series("y", 1), series("z", 1));
    let mut source = store.source("a");
    for i in 0..300 {
        let mut rows = vec![row(&x, i as f64), row(&y, 1.5)];
        rows.extend((i < 100).then(|| row(&z, 2.0)));
        source.append(at(i * 1000), &rows).expect("taken");
    }
    let sets = [vec![Matcher::equal("__name__", "x")], vec![Matcher::equal("__name__", "z")]];
    let deleted = store.delete_series(&sets, at(50_000), at(249_000)).expect("deleted");
    assert_eq!((deleted.samples, deleted.series), (200 + 51, 0));
    source.append(at(300_000), &[row(&x, 7.0), row(&y, 1.5)]).expect("taken");
    let found = all(&store);
    assert_eq!([&x, &y, &z].map(|l| found[&l.to_string()].len()), [101, 301, 50]);
    assert!(found[&x.to_string()].iter().all(|(t, _)| !(50_000..250_000).contains(t)));
    let gone =
        store.delete_series(&[vec![Matcher::equal("__name__", "z")]], at(0), at(400_000)).expect("deleted");
    assert_eq!((gone.samples, gone.series), (50, 1));
    let stats = store.stats();
    assert_eq!(stats.page_samples + stats.head_samples, 402);
    let before = all(&store);
    assert_eq!(before.len(), 2);
    drop((source, store));
    assert_eq!(all(&open(folder.path())), before);
}

#[test]
fn a_snapshot_is_a_store() {
    let (folder, copy) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let store = open(folder.path());
    let mut source = store.source("a");
    for i in 0..200 {
        source.append_soon(at(i * 1000), &[row(&series("x", 1), i as f64)]).expect("taken");
    }
    store.snapshot(copy.path()).expect("copied");
    assert!(store.snapshot(copy.path()).is_err());
    assert_eq!(all(&open(copy.path())), all(&store));
}

#[test]
fn a_file_that_breaks_while_it_is_used_is_replaced_without_a_pause() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    store.state("silences").put(b"k", b"v").expect("written");
    let x = series("x", 1);
    let mut source = store.source("a");
    for i in 0..10 {
        source.append(at(i * 1000), &[row(&x, i as f64)]).expect("taken");
    }
    store.0.replace_file("a test says so").expect("replaced");
    source.append(at(10_000), &[row(&x, 10.0)]).expect("taken");
    assert_eq!(store.stats().files_set_aside, 1);
    drop((source, store));
    let store = open(folder.path());
    assert_eq!(all(&store)[&x.to_string()].len(), 11);
    assert_eq!(store.state("silences").get(b"k").expect("read"), Some(b"v".to_vec()));
}

#[test]
fn a_long_range_is_few_segments_and_the_same_samples() {
    let store = memory();
    let mut source = store.source("a");
    let (x, y) = (series("x", 1), series("y", 1));
    let mut rows = [row(&x, 0.0), row(&y, 0.0)];
    for i in 0..24_000_i64 {
        rows[0].value += (i % 7) as f64;
        rows[1].value = if i % 3_000 == 0 { f64::NAN } else { (i % 100) as f64 / 8.0 };
        source.append_soon(at(i * 1000), &rows).expect("taken");
        if i % 120 == 0 {
            store.flush().expect("written");
        }
    }
    let request = Select { matchers: &[Matcher::equal("__name__", "x")], from: at(500), to: at(23_999_500) };
    let segments = store.select(&request).expect("readable").remove(0).segments.len();
    assert!((10..30).contains(&segments), "{segments}");
    // Holds every summary against its samples.
    let found = all(&store);
    assert!(found.values().all(|samples| samples.len() == 24_000));
}
