//! Opening: what the file says becomes the state in memory.
//!
//! Invariant: a row that does not make sense is left out and counted; only a file that does not make sense as a whole
//! is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;
use tracing::error;

use super::block::{Block, FREE, MISSING, NOBODY, TICKS};
use super::bytes::{Reader, put_varint};
use super::disk::{Batch, Disk, DiskError};
use super::engine::{Counters, Inner, count, from_disk};
use super::error::StoreError;
use super::head::Head;
use super::page::Digest;
use super::seal::{Seal, block_from_row};
use super::series::Home;
use super::view::View;

/// The format that this version writes, and the last one that it reads.
const FORMAT: u64 = 1;

const FORMAT_KEY: &str = "format";
const KEY_CHECK: &str = "key_check";
const KEY_CHECK_TEXT: &[u8] = b"outrigger";
pub(super) const TOTALS: &str = "totals";
pub(super) const NEXT: &str = "next_numbers";

pub(super) fn load(disk: &Disk, path: &Path, head: &mut Head, counters: &Counters) -> Result<(), StoreError> {
    let view = disk.view().map_err(|e| from_disk(path, e))?;
    check_format(disk, &view, path)?;
    let failed = |e| from_disk(path, e);
    view.sources(|id, row| bad_if(counters, !load_source(head, id, row))).map_err(failed)?;
    view.series(|id, row| bad_if(counters, !load_series(head, id, row))).map_err(failed)?;
    let mut lost = BTreeSet::new();
    view.blocks(|id, row| {
        let whole = load_block(head, id, row);
        bad_if(counters, !whole);
        lost.extend((!whole && id < MOST_NUMBER).then_some(id));
    })
    .map_err(failed)?;
    load_lost_blocks(head, &view, lost).map_err(failed)?;
    view.wal(|source, seq, row| bad_if(counters, !head.replay(source, seq, row))).map_err(failed)?;
    let bad = counters.damaged_rows.load(Ordering::Relaxed);
    if bad > 0 {
        error!(file = %path.display(), rows = bad, "Rows of the store are damaged; what they held is lost, all else is served");
    }
    let next = view.meta(NEXT).map_err(failed)?;
    head.outbox.load(&view).map_err(failed)?;
    head.start_numbers_at(next.and_then(|row| read_next(&row)).unwrap_or_default());
    free_ended(head);
    let totals = view.meta(TOTALS).map_err(failed)?;
    set_totals(counters, totals.and_then(|row| read_totals(&row)).unwrap_or_default());
    find_ends(head, &view).map_err(failed)?;
    Ok(())
}

/// How far back from a block's last page the ends of its series are mostly found.
const RECENT_MS: i64 = 24 * 3_600_000;

/// When series had their last sample that had ended before their block was written last: the digests of pages know.
fn find_ends(head: &mut Head, view: &View) -> Result<(), DiskError> {
    let ended = head.series.iter().filter(|(_, series)| series.last_ms == i64::MIN);
    let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (id, series) in ended {
        series.homes().for_each(|home| wanted.entry(home.block).or_default().push(id));
    }
    for (id, series) in wanted {
        let Some(sealed_ms) = head.blocks.get(&id).map(|block| block.sealed_ms) else { continue };
        let mut ends: FxHashMap<u32, i64> = series.into_iter().map(|id| (id, i64::MIN)).collect();
        let recent = sealed_ms.saturating_sub(RECENT_MS);
        for range in [recent..=i64::MAX, i64::MIN..=recent.saturating_sub(1)] {
            if ends.values().all(|end| *end != i64::MIN) {
                break;
            }
            view.digests(id, range, |key, digest| {
                if let Some(digest) = digest.and_then(|bytes| Digest::read(bytes, key.1).ok()) {
                    // A damaged one is counted when it is asked for.
                    let _ = digest.for_each(|id, entry| {
                        let Some(end) = ends.get_mut(&id) else { return };
                        *end = (*end).max(entry.summary().map_or(i64::MIN, |summary| summary.last_ms));
                    });
                }
                true
            })?;
        }
        for (id, end_ms) in ends {
            let Some(series) = head.series.get_mut(id) else { continue };
            // Where no page can be read: the last instant at which it can have had a sample.
            series.last_ms = series.last_ms.max(if end_ms == i64::MIN { sealed_ms } else { end_ms });
        }
    }
    Ok(())
}

/// Places of series that had ended before the restart are not worth keeping.
fn free_ended(head: &mut Head) {
    for (id, block) in &mut head.blocks {
        for series in block.free_idle(|_, alive| !alive) {
            if let Some(series) = head.series.get_mut(series) {
                series.move_out(*id);
            }
        }
    }
}

fn bad_if(counters: &Counters, bad: bool) {
    count(&counters.damaged_rows, u64::from(bad));
}

fn check_format(disk: &Disk, view: &View, path: &Path) -> Result<(), StoreError> {
    let failed = |e| from_disk(path, e);
    let Some(format) = view.meta(FORMAT_KEY).map_err(failed)? else {
        return mark_fresh(disk).map_err(failed);
    };
    match Reader::new(&format).varint() {
        Some(found) if found > FORMAT => {
            return Err(StoreError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
        }
        Some(_) => {}
        None => return Err(StoreError::Damaged("its format is not a number".to_owned())),
    }
    let check = view.meta(KEY_CHECK).map_err(failed)?;
    match (check, disk.vault().is_locked()) {
        (None, false) => Ok(()),
        (None, true) => Err(StoreError::NotEncrypted { path: path.to_owned() }),
        (Some(_), false) => Err(StoreError::KeyNeeded { path: path.to_owned() }),
        (Some(check), true) => match disk.vault().open(KEY_CHECK.as_bytes(), &check) {
            Some(text) if &*text == KEY_CHECK_TEXT => Ok(()),
            _ => Err(StoreError::WrongKey { path: path.to_owned() }),
        },
    }
}

pub(super) fn mark_fresh(disk: &Disk) -> Result<(), DiskError> {
    let mut batch = Batch::default();
    let mut format = Vec::new();
    put_varint(&mut format, FORMAT);
    batch.meta.push((FORMAT_KEY, format));
    if disk.vault().is_locked() {
        batch.meta.push((KEY_CHECK, disk.vault().seal(KEY_CHECK.as_bytes(), KEY_CHECK_TEXT)?));
    }
    disk.commit(&[&batch])
}

/// Keys of damaged rows count only below this: one that is damaged itself must not use up all numbers.
const MOST_NUMBER: u32 = FREE - (1 << 24);

/// The number behind that of a damaged row. It stays taken: pages may name it.
const fn behind(id: u32) -> u32 {
    if id < MOST_NUMBER { id + 1 } else { 0 }
}

fn load_source(head: &mut Head, id: u32, row: Option<&[u8]>) -> bool {
    match row {
        Some(name) => head.load_source(id, &String::from_utf8_lossy(name)),
        None if id < MOST_NUMBER => head.load_nameless(id),
        None => {}
    }
    row.is_some()
}

fn load_series(head: &mut Head, id: u32, row: Option<&[u8]>) -> bool {
    let whole = row.is_some_and(|row| head.series.load(id, row));
    let blocks = head.series.get(id).and_then(|series| series.homes().map(|home| home.block).max());
    head.start_numbers_at([behind(id), blocks.map_or(0, behind), 0]);
    whole
}

fn load_block(head: &mut Head, id: u32, row: Option<&[u8]>) -> bool {
    head.start_numbers_at([0, behind(id), 0]);
    let Some(block) = row.and_then(block_from_row) else { return false };
    let series = block.slots.iter().map(|slot| slot.series).filter(|series| *series != FREE).max();
    head.start_numbers_at([series.map_or(0, behind), 0, 0]);
    head.load_nameless(block.source);
    let Some(source) = head.sources.get_mut(&block.source) else { return false };
    source.blocks.push(id);
    source.seq = source.seq.max(block.sealed_seq);
    // Of samples with instants of their own a slot keeps no last value.
    if block.slots.iter().any(|slot| slot.last != MISSING) {
        source.clock_ms = source.clock_ms.max(block.sealed_ms);
    }
    for (slot, at) in block.slots.iter().zip(0..).filter(|(slot, _)| slot.series != FREE) {
        if let Some(series) = head.series.get_mut(slot.series) {
            series.move_in(Home { block: id, slot: at });
            if slot.is_alive() {
                series.last_ms = series.last_ms.max(block.sealed_ms);
            }
        }
    }
    head.blocks.insert(id, block);
    true
}

/// Blocks whose rows are damaged, or not to be found: their pages are served, and that is all.
fn load_lost_blocks(head: &mut Head, view: &View, damaged: BTreeSet<u32>) -> Result<(), DiskError> {
    let homes = head.series.iter().flat_map(|(_, series)| series.homes());
    let missing = homes.map(|home| home.block).filter(|id| !head.blocks.contains_key(id));
    let mut lost: BTreeSet<u32> = missing.collect();
    lost.extend(&damaged);
    for id in lost {
        let block = block_from_pages(view, id)?;
        // A block that was never written into pages has no row; the log knows all of it.
        if block.next_page > 0 || damaged.contains(&id) {
            head.blocks.insert(id, block);
        }
    }
    Ok(())
}

/// What the pages of a block say of it. Whose it was they do not say, nor how long it is kept: as long as any.
fn block_from_pages(view: &View, id: u32) -> Result<Block, DiskError> {
    let mut block = Block::new(NOBODY, true, TICKS);
    block.retired = true;
    view.digests(id, i64::MIN..=i64::MAX, |(_, first_ms, number), digest| {
        let digest = digest.and_then(|bytes| Digest::read(bytes, first_ms).ok());
        let last_ms = digest.map_or(first_ms, |digest| digest.last_ms);
        block.next_page = block.next_page.max(number.saturating_add(1));
        block.sealed_ms = block.sealed_ms.max(last_ms);
        block.longest_page_ms = block.longest_page_ms.max(last_ms.saturating_sub(first_ms));
        true
    })?;
    Ok(block)
}

/// Pages, samples and bytes in the file.
pub(super) type Totals = [u64; 3];

pub(super) fn totals_row(totals: Totals) -> Vec<u8> {
    let mut row = Vec::new();
    totals.iter().for_each(|n| put_varint(&mut row, *n));
    row
}

/// The row that keeps numbers from being given twice.
pub(super) fn next_row(numbers: [u32; 3]) -> Vec<u8> {
    totals_row(numbers.map(u64::from))
}

fn read_next(row: &[u8]) -> Option<[u32; 3]> {
    let mut reader = Reader::new(row);
    Some([reader.u32_varint()?, reader.u32_varint()?, reader.u32_varint()?])
}

fn read_totals(row: &[u8]) -> Option<Totals> {
    let mut reader = Reader::new(row);
    Some([reader.varint()?, reader.varint()?, reader.varint()?])
}

fn set_totals(counters: &Counters, [pages, samples, bytes]: Totals) {
    counters.pages.store(pages, Ordering::Relaxed);
    counters.page_samples.store(samples, Ordering::Relaxed);
    counters.page_bytes.store(bytes, Ordering::Relaxed);
}

impl Inner {
    pub(super) fn totals(&self) -> Totals {
        let counters = &self.counters;
        [&counters.pages, &counters.page_samples, &counters.page_bytes].map(|n| n.load(Ordering::Relaxed))
    }

    pub(super) fn set_totals(&self, totals: Totals) {
        set_totals(&self.counters, totals);
    }

    /// What the totals are once these seals are written and `extra`'s pages are gone.
    pub(super) fn totals_with(&self, seals: &[Seal], extra: &super::disk::Batch) -> Totals {
        let [pages, samples, bytes] = self.totals();
        let sealed = |of: fn(&Seal) -> u64| seals.iter().map(of).sum::<u64>();
        let [gone_pages, gone_samples, gone_bytes] = extra.gone;
        [
            (pages + sealed(|s| u64::from(s.pages))).saturating_sub(gone_pages),
            (samples + sealed(|s| s.samples)).saturating_sub(gone_samples),
            (bytes + sealed(|s| s.bytes)).saturating_sub(gone_bytes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Store, StoreConfig};
    use crate::model::{Labels, Queryable, Row, SelectAny, Timestamp};

    const SERIES: usize = 8;

    /// How many series are listed from a tick on.
    fn listed(store: &Store, tick: usize) -> usize {
        let (from, to) = (at(tick), Timestamp::from_millis(i64::MAX));
        store.series(&SelectAny { matcher_sets: &[], from, to, limit: 0 }).unwrap().len()
    }

    fn at(tick: usize) -> Timestamp {
        Timestamp::from_millis(i64::try_from(tick).unwrap() * 1_000)
    }

    #[test]
    fn series_are_listed_until_their_end_after_a_restart_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            || StoreConfig { path: Some(folder.path().into()), min_free_bytes: 0, ..StoreConfig::default() };
        let mut store = Store::open(config(), at(0)).unwrap();
        // Series number i has 70 i ticks, and then one that says that it has ended.
        for tick in 0..500 {
            let there = (1..=SERIES).filter(|i| tick < 70 * i);
            let labels = there.map(|i| Labels::from_pairs([("i", i.to_string())]));
            let rows: Vec<Row> =
                labels.map(|labels| Row { labels, value: tick as f64, timestamp: None }).collect();
            store.source("a").append(at(tick), &rows).unwrap();
        }
        let wanted = |store: &Store| -> Vec<usize> { (0..520).map(|tick| listed(store, tick)).collect() };
        let before = wanted(&store);
        assert_eq!((before[70], before[71], before[499], before[500]), (8, 7, 1, 0));
        for way in ["killed", "closed"] {
            if way == "closed" {
                store.close().unwrap();
            }
            drop(store);
            store = Store::open(config(), at(500)).unwrap();
            assert_eq!(wanted(&store), before, "{way}");
        }
    }
}
