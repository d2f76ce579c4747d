//! Clocks that jump back, and samples that do not come from a clock.

use super::super::block::TICKS;
use super::super::disk::Batch;
use super::*;

fn own(labels: &Labels, ms: i64) -> Row {
    Row { labels: labels.clone(), value: ms as f64, timestamp: Some(at(ms)) }
}

#[test]
fn after_a_start_with_the_clock_ahead_history_goes_on() {
    const AHEAD: i64 = 1_000_000_000;
    let (x, y) = (series("x", 1), series("y", 1));
    // The first block is in pages with the last of so many ticks, and the log is empty.
    for (ticks, last) in [(TICKS - 1, true), (TICKS, true), (TICKS, false), (TICKS + 1, true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        for tick in 1..=ticks {
            let there = last || tick < ticks;
            let rows: Vec<Row> = [row(&x, 1.0)].into_iter().filter(|_| there).collect();
            store.source("a").append(at(AHEAD + tick as i64 * 1_000), &rows).expect("taken");
        }
        drop(store);
        let store = open(folder.path());
        for tick in 1..=2 {
            let done = store.source("a").append(at(tick * 1_000), &[row(&x, 2.0)]).expect("taken");
            assert_eq!((done.added, done.out_of_order), (1, 0), "{ticks} ticks, {last}");
        }
        let found = all(&store);
        assert_eq!(found[&x.to_string()].len(), ticks + 2, "{ticks} ticks, {last}");
        assert_eq!(found[&x.to_string()][..2], shown(&[(1_000, "2"), (2_000, "2")]));
        // What has instants of its own in the future is no clock.
        store.source("b").append(at(5_000), &[own(&y, AHEAD)]).expect("taken");
        drop(store);
        let store = open(folder.path());
        let late = store.source("b").append(at(6_000), &[own(&y, 6_000)]).expect("taken");
        assert_eq!((late.added, late.out_of_order, store.stats().clock_jumps), (0, 1, 0));
    }
}

#[test]
fn samples_with_instants_of_their_own_do_not_tell_the_clock() {
    let store = memory();
    let (x, y) = (series("x", 1), series("y", 1));
    let mut source = store.source("a");
    source.append(at(9_000_000), &[own(&x, 8_000_000), own(&x, 9_000_000)]).expect("taken");
    // Another series, far before; then the first once more, and between what it has.
    source.append(at(1_000_000), &[own(&y, 1_000_000)]).expect("taken");
    let again = source.append(at(8_500_000), &[own(&x, 8_000_000), own(&x, 8_500_000)]).expect("taken");
    assert_eq!((again.added, again.out_of_order), (0, 2));
    let found = all(&store);
    assert_eq!(found[&x.to_string()], shown(&[(8_000_000, "8000000"), (9_000_000, "9000000")]));
    assert_eq!(store.stats().clock_jumps, 0);
}

#[test]
fn another_value_at_the_newest_instant_is_refused_also_when_that_is_in_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let (x, y) = (series("x", 1), series("y", 1));
    for seal in [false, true] {
        let store = open(folder.path());
        let now = if seal { 20_000 } else { 10_000 };
        let rows = [own(&x, now), row(&y, 1.0)];
        store.source("a").append(at(now), &rows).expect("taken");
        if seal {
            store.0.commit_sealing(&[0], Batch::default()).expect("sealed");
            assert_eq!(store.stats().head_samples, 0);
        }
        let mut again = rows.to_vec();
        let done = store.source("a").append(at(now), &again).expect("taken");
        assert_eq!((done.repeated, done.duplicate), (2, 0), "{seal}");
        again.iter_mut().for_each(|row| row.value += 1.0);
        let done = store.source("a").append(at(now), &again).expect("taken");
        assert_eq!((done.repeated, done.duplicate), (0, 2), "{seal}");
        // Of another source.
        let done = store.source("b").append(at(now), &again).expect("taken");
        assert_eq!((done.repeated, done.duplicate), (0, 2), "{seal}");
    }
    // What is in pages alone is not read for it.
    let store = open(folder.path());
    let other = Row { value: 5.0, ..own(&x, 20_000) };
    let done = store.source("a").append(at(20_000), &[other]).expect("taken");
    assert_eq!((done.added, done.repeated), (0, 1));
}
