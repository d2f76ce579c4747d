//! Rows of series, blocks and sources that are lost: what that costs, and that their numbers are not given to others.

use super::super::disk::{BLOCKS, SERIES, SOURCES};
use super::*;

/// What befalls the row with the highest number.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// One bit is another.
    Flipped,
    /// Its key is damaged, so that nobody finds it.
    Gone,
}

fn harm(folder: &Path, table: redb::TableDefinition<'_, u32, &'static [u8]>, harm: Harm) {
    use redb::ReadableTable;
    let database = redb::Database::open(folder.join("store.redb")).expect("opens");
    let transaction = database.begin_write().expect("begun");
    {
        let mut table = transaction.open_table(table).expect("there");
        let (id, mut bytes) = {
            let (id, value) = table.last().expect("readable").expect("a row");
            (id.value(), value.value().to_vec())
        };
        match harm {
            Harm::Flipped => {
                *bytes.last_mut().expect("bytes") ^= 1;
                table.insert(id, bytes.as_slice()).expect("written");
            }
            Harm::Gone => drop(table.remove(id).expect("removed")),
        }
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_number_whose_row_is_lost_is_not_given_to_others() {
    let (x, y, new) = (series("x", 1), series("y", 1), series("new", 1));
    // 300 ticks are in pages for the most part, 3 are in the log alone.
    for ticks in [3, 300] {
        for (table, lost) in [(SERIES, true), (SOURCES, false)] {
            for how in [Harm::Flipped, Harm::Gone] {
                let folder = tempfile::tempdir().expect("a folder");
                let store = open(folder.path());
                for i in 0..ticks {
                    let at = at(i * 1_000);
                    store.source("a").append_soon(at, &[row(&x, i as f64)]).expect("taken");
                    store.source("b").append_soon(at, &[row(&y, i as f64)]).expect("taken");
                }
                store.flush().expect("written");
                let before = all(&store);
                drop(store);
                harm(folder.path(), table, how);
                let store = open(folder.path());
                let added = store.source("c").append(at(900_000), &[row(&new, 7.0)]).expect("taken");
                assert_eq!(added.added, 1);
                let case = format!("{ticks} ticks, {} {how:?}", redb::TableHandle::name(&table));
                let found = all(&store);
                assert_eq!(found[&new.to_string()], shown(&[(900_000, "7")]), "{case}");
                assert_eq!(found[&x.to_string()], before[&x.to_string()], "{case}");
                assert_eq!(found.contains_key(&y.to_string()), !lost, "{case}");
                if !lost {
                    assert_eq!(found[&y.to_string()], before[&y.to_string()], "{case}");
                }
                drop(store);
                assert_eq!(all(&open(folder.path())), found, "{case}, after another restart");
            }
        }
    }
}

#[test]
fn a_lost_row_of_a_block_costs_no_page() {
    let names: Vec<Labels> = (0..520).map(|id| series("m", id)).collect();
    let write = |store: &Store, ticks: std::ops::Range<i64>| {
        for tick in ticks {
            let rows: Vec<Row> = names.iter().map(|labels| row(labels, tick as f64)).collect();
            store.source("a").append_soon(at(tick * 1_000), &rows).expect("taken");
        }
        store.flush().expect("written");
    };
    for how in [Harm::Flipped, Harm::Gone] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path());
        for tick in 0..250 {
            write(&store, tick..tick + 1);
        }
        drop(store);
        // Both blocks are in pages, the last ticks of both in the log alone.
        harm(folder.path(), BLOCKS, how);
        let mut end = 250;
        for more in [10, 300, 10] {
            let store = open(folder.path());
            write(&store, end..end + more);
            end += more;
            store.maintain(at(end * 1_000)).expect("maintained");
            let found = all(&store);
            for (id, labels) in names.iter().enumerate() {
                let samples = &found[&labels.to_string()];
                let ticks: Vec<i64> = samples.iter().map(|(ms, _)| ms / 1_000).collect();
                let in_pages = if id < 512 { 250 } else { 203 };
                let kept = ticks.iter().take_while(|tick| **tick < 250).count();
                assert!(kept >= in_pages, "{how:?}: {id} has {kept}");
                assert!(ticks.ends_with(&(250..end).collect::<Vec<_>>()), "{how:?}: {id} has {ticks:?}");
            }
            assert_eq!(
                store.0.head().next_numbers()[1],
                store.0.head().blocks.keys().max().expect("some") + 1
            );
        }
    }
}
