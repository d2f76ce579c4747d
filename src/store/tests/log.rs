//! What the log gives back after a restart.

use super::super::disk::WAL;
use super::*;

#[test]
fn many_samples_of_few_series_in_one_tick_come_back_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let rows: Vec<Row> = (0..3)
        .flat_map(|id| {
            let labels = series("m", id);
            (0..2_001 - id as i64 * 700).map(move |i| Row {
                labels: labels.clone(),
                value: i as f64 / 8.0,
                timestamp: Some(at(i * 15)),
            })
        })
        .collect();
    store.source("a").append(at(0), &rows).expect("taken");
    assert_eq!(store.stats().head_samples, 0);
    let counts: Vec<usize> = all(&store).values().map(Vec::len).collect();
    assert_eq!(counts, [2_001, 1_301, 601]);
}

/// Slots of series that went are freed and given to those that came, many of them in one tick.
#[test]
fn series_with_instants_of_their_own_come_back_under_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let names: Vec<Labels> = (0..600).map(|i| series("m", i)).collect();
    let store = open(folder.path());
    let mut source = store.source("a");
    for tick in 0..300_i64 {
        let own = |(i, labels): (usize, &Labels)| Row {
            labels: labels.clone(),
            value: i as f64,
            timestamp: Some(at(tick * 1_000 - 1)),
        };
        let rows: Vec<Row> = names.iter().enumerate().map(own).collect();
        assert_eq!(source.append(at(tick * 1_000), &rows).expect("taken").added, 600);
    }
    let before = all(&store);
    assert!(before.values().all(|samples| samples.len() == 300));
    drop((source, store));
    let store = open(folder.path());
    assert_eq!(store.stats().damaged_rows, 0);
    assert!(all(&store) == before);
}

/// What befalls an entry of the log.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// One bit is another.
    Flipped,
    /// It is not there.
    Gone,
    /// One bit of its number is another, so that it stands behind all others.
    Misplaced,
}

fn harm(folder: &Path, seq: u64, harm: Harm) {
    let database = redb::Database::open(folder.join("store.redb")).expect("opens");
    let transaction = database.begin_write().expect("begun");
    {
        let mut table = transaction.open_table(WAL).expect("there");
        let mut bytes = table.remove((0, seq)).expect("removed").expect("there").value().to_vec();
        match harm {
            Harm::Flipped => {
                *bytes.last_mut().expect("bytes") ^= 1;
                table.insert((0, seq), bytes.as_slice()).expect("written");
            }
            Harm::Gone => {}
            Harm::Misplaced => drop(table.insert((0, seq | 1 << 40), bytes.as_slice()).expect("written")),
        }
    }
    transaction.commit().expect("committed");
}

/// Whole numbers are logged as what they differ by.
fn value_of(id: usize, tick: i64) -> f64 {
    (tick * tick + id as i64 * 1_000_000) as f64
}

fn write_ticks(store: &Store, names: &[Labels], ticks: std::ops::Range<i64>) {
    let mut source = store.source("a");
    for tick in ticks {
        // From tick 8 on there is one more.
        let there = names.iter().enumerate().skip(usize::from(tick < 8));
        let rows: Vec<Row> = there.map(|(id, labels)| row(labels, value_of(id, tick))).collect();
        source.append_soon(at(tick * 1_000), &rows).expect("taken");
    }
    store.flush().expect("written");
}

/// The ticks that each series has; what is told of them must be true.
fn ticks_of(store: &Store, names: &[Labels], case: &str) -> Vec<Vec<i64>> {
    let found = all(store);
    let ticks = |(id, labels): (usize, &Labels)| {
        let samples = found.get(&labels.to_string()).map(Vec::as_slice).unwrap_or_default();
        let true_tick = |(ms, told): &(i64, String)| {
            assert_eq!(*told, value_of(id, ms / 1_000).to_string(), "{case}: {id} at {ms}");
            ms / 1_000
        };
        samples.iter().map(true_tick).collect()
    };
    names.iter().enumerate().map(ticks).collect()
}

#[test]
fn behind_a_damaged_entry_the_log_tells_nothing_that_is_wrong() {
    for (series_count, entries) in [(2, [1, 5, 9, 20].as_slice()), (520, &[9])] {
        let names: Vec<Labels> = (0..series_count).map(|i| series("m", i)).collect();
        for how in [Harm::Flipped, Harm::Gone, Harm::Misplaced] {
            for seq in entries.iter().copied() {
                let case = format!("{series_count} series, entry {seq} {how:?}");
                let folder = tempfile::tempdir().expect("a folder");
                write_ticks(&open(folder.path()), &names, 1..21);
                harm(folder.path(), seq, how);
                let store = open(folder.path());
                let before = ticks_of(&store, &names, &case);
                let seen = !matches!(how, Harm::Gone) || seq != 20;
                assert_eq!(store.stats().damaged_rows > 0, seen, "{case}");
                for (id, ticks) in before.iter().enumerate() {
                    let first = if id == 0 { 8 } else { 1 };
                    let kept: Vec<i64> = (first..seq as i64).collect();
                    assert!(ticks.starts_with(&kept), "{case}: {id} has {ticks:?}");
                }
                drop(store);
                // What comes after it stays, however often the log is read again.
                let mut next = 30;
                for more in [5, 240, 10] {
                    write_ticks(&open(folder.path()), &names, next..next + more);
                    next += more;
                    let after = ticks_of(&open(folder.path()), &names, &case);
                    for (before, after) in before.iter().zip(&after) {
                        let expected: Vec<i64> = before.iter().copied().chain(30..next).collect();
                        assert_eq!(*after, expected, "{case}");
                    }
                }
            }
        }
    }
}
