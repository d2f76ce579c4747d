//! What time does to a store: quiet blocks are sealed, old pages deleted, series without samples forgotten.
//!
//! Invariants: state tables are never touched; when there is too much, the pages whose newest sample is the oldest go
//! first, whatever series they belong to.

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashSet;
use tracing::info;

use super::block::{Logged, TICKS};
use super::disk::{Batch, DiskError, PageKey};
use super::engine::{Inner, Store, count, file_of, from_disk};
use super::error::StoreError;
use super::head::Head;
use super::page::Digest;
use super::view::View;
use crate::model::Timestamp;

/// A block to which nothing has come for so long is sealed, and its series are taken for gone.
const IDLE_MS: i64 = 2 * 3_600_000;

/// As long as nothing came for less than this, a block may hold the log of its source.
const QUIET_MS: i64 = 15 * 60_000;

/// A block whose samples have waited for so long is sealed even if it is not full.
const OLDEST_TAIL_MS: i64 = 12 * 3_600_000;

/// Bytes of log that a source may have for each block with something to seal: to seal one early costs some eight kilobytes,
/// and is worth it once the log is many times as long.
const LOG_PER_BLOCK: u64 = 128 << 10;

/// Beside those the log may be so many times what of it is not in pages; twice where blocks take turns as they should.
const LOG_TIMES: u64 = 4;

/// Pages deleted in one commit at most; the next call goes on.
const MOST_DELETED: usize = 4_096;

/// A file below this is not worth compacting.
const SMALL_FILE_BYTES: u64 = 32 << 20;

/// A page, its samples, and its bytes with those of its digest.
type PageSize = (PageKey, u64, u64);

/// What [`Store::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Blocks of samples written into pages.
    pub blocks_sealed: usize,
    /// Pages that were too old, or too many.
    pub pages_deleted: usize,
    /// Series that have no samples any more.
    pub series_deleted: usize,
    /// Whether the file was made smaller.
    pub compacted: bool,
}

impl Store {
    /// Does what is due at `now`: retention, limits of size, sealing of quiet series, a new attempt when ingestion is
    /// paused. Commits what [`Source::append_soon`](super::Source::append_soon) left. To be called every few seconds;
    /// costs little when nothing is due. Blocks.
    ///
    /// # Errors
    /// The file cannot be written; ingestion is paused, and the next call tries again.
    pub fn maintain(&self, now: Timestamp) -> Result<Maintained, StoreError> {
        let path = file_of(&self.0.config);
        let done = self.0.maintain(now.as_millis()).map_err(|e| match e {
            DiskError::Full(why) | DiskError::Io(why) => StoreError::Paused(why),
            damaged @ DiskError::Damaged(_) => from_disk(&path, damaged),
        })?;
        self.flush()?;
        Ok(done)
    }
}

impl Inner {
    fn maintain(&self, now_ms: i64) -> Result<Maintained, DiskError> {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        let _sealing = self.sealing();
        self.disk.ensure_open()?;
        let due = self.due_by_time(now_ms);
        let mut batch = Batch::default();
        let view = self.disk.view()?;
        let mut deleted = self.too_old(&view, now_ms)?;
        self.too_many(&view, &mut deleted)?;
        drop(view);
        let mut done =
            Maintained { blocks_sealed: due.len(), pages_deleted: deleted.len(), ..Maintained::default() };
        for (key, samples, bytes) in deleted {
            batch.pages_gone.push(key);
            let [pages, all_samples, all_bytes] = batch.gone;
            batch.gone = [pages + 1, all_samples + samples, all_bytes + bytes];
        }
        count(&self.counters.pages_deleted, done.pages_deleted as u64);
        let forgotten = self.without_samples(now_ms, &batch);
        done.series_deleted = forgotten.series.len();
        batch.series.extend(forgotten.series.iter().map(|id| (*id, None)));
        batch.blocks.extend(forgotten.blocks.iter().map(|id| (*id, None)));
        batch.sources.extend(forgotten.sources.iter().map(|id| (*id, None)));
        if !forgotten.is_empty() {
            batch.meta.push((super::load::NEXT, super::load::next_row(self.head().next_numbers())));
        }
        if !due.is_empty() || !batch.is_empty() || self.is_paused() {
            self.commit_or_replace(&due, batch)?;
            self.forget(&forgotten);
        }
        done.compacted = self.compact_if_worthwhile(done.pages_deleted)?;
        Ok(done)
    }

    /// Blocks that are due; the series of those to which nothing comes any more are taken for gone.
    fn due_by_time(&self, now_ms: i64) -> Vec<u32> {
        let mut head = self.head_mut();
        let holders = holders(&head);
        let Head { due: full, blocks, sources, .. } = &mut *head;
        let full = std::mem::take(full);
        let mut due = Vec::new();
        for (id, block) in blocks {
            let in_use = block.has_samples() || block.has_series();
            // The log of a source is kept from its oldest entry on that is not in pages.
            let behind = sources.get(&block.source).map_or(0, |s| s.seq.saturating_sub(block.last_seq));
            let holds_the_log = block.last_seq > block.sealed_seq && behind > TICKS as u64;
            let Some(newest_ms) = block.newest_ms().filter(|_| in_use) else {
                // Its last entry says that its places are free; so does its row when it is sealed once more.
                due.extend((holds_the_log || holders.contains(id)).then_some(*id));
                continue;
            };
            let idle = newest_ms < now_ms.saturating_sub(IDLE_MS);
            if idle {
                block.expire();
            }
            let oldest_kept = now_ms.saturating_sub(OLDEST_TAIL_MS);
            let waits = block.is_open() && block.logged.since_ms < oldest_kept;
            // Who brings other people's samples has many ticks between two of a block: those are no sign that it ended.
            let holds_the_log = holds_the_log && newest_ms < now_ms.saturating_sub(QUIET_MS);
            if idle || waits || holds_the_log || holders.contains(id) || full.contains(id) {
                due.push(*id);
            }
        }
        due
    }

    /// Pages of which all is older than their block's retention.
    fn too_old(&self, view: &View, now_ms: i64) -> Result<Vec<PageSize>, DiskError> {
        let blocks: Vec<(u32, bool)> = self.head().blocks.iter().map(|(id, b)| (*id, b.selected)).collect();
        let mut deleted = Vec::new();
        for (block, selected) in blocks {
            let kept = if selected { self.config.retention_selected } else { self.config.retention };
            let horizon = now_ms.saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
            view.digests(block, i64::MIN..=horizon, |key, bytes| {
                let digest = bytes.and_then(|bytes| Digest::read(bytes, key.1).ok());
                // One that is damaged goes when it begins before what is kept.
                if digest.is_none_or(|d| d.last_ms < horizon) {
                    deleted.push(sized(key, digest.as_ref(), bytes));
                }
                deleted.len() < MOST_DELETED
            })?;
        }
        Ok(deleted)
    }

    /// The oldest pages beyond the limit of size.
    fn too_many(&self, view: &View, deleted: &mut Vec<PageSize>) -> Result<(), DiskError> {
        let limit = self.config.max_size_bytes;
        let [_, _, bytes] = self.totals();
        let mut left = bytes.saturating_sub(deleted.iter().map(|(_, _, bytes)| bytes).sum());
        if limit == 0 || left <= limit {
            return Ok(());
        }
        // Down to a little less, so that this is not done at every call.
        let target = limit - limit / 16;
        let gone: FxHashSet<PageKey> = deleted.iter().map(|(key, _, _)| *key).collect();
        let blocks: Vec<u32> = self.head().blocks.keys().copied().collect();
        // By its newest sample: a page that was imported may hold the end of one series and the beginning of another.
        let mut oldest: BinaryHeap<(i64, PageSize)> = BinaryHeap::new();
        let most = MOST_DELETED.saturating_sub(deleted.len());
        for block in blocks {
            view.digests(block, i64::MIN..=i64::MAX, |key, bytes| {
                if !gone.contains(&key) {
                    let digest = bytes.and_then(|bytes| Digest::read(bytes, key.1).ok());
                    let newest = digest.as_ref().map_or(key.1, |digest| digest.last_ms);
                    oldest.push((newest, sized(key, digest.as_ref(), bytes)));
                    if oldest.len() > most {
                        oldest.pop();
                    }
                }
                true
            })?;
        }
        for (_, page) in oldest.into_sorted_vec() {
            if left <= target {
                break;
            }
            left = left.saturating_sub(page.2);
            deleted.push(page);
        }
        info!(
            limit,
            pages = deleted.len(),
            "Store has reached its size (storage.max_size); the oldest pages are deleted"
        );
        Ok(())
    }

    /// Series, blocks and sources of which nothing is left.
    fn without_samples(&self, now_ms: i64, batch: &Batch) -> Forgotten {
        let kept = |selected| if selected { self.config.retention_selected } else { self.config.retention };
        let head = self.head();
        let horizon =
            |selected| now_ms.saturating_sub(i64::try_from(kept(selected).as_millis()).unwrap_or(i64::MAX));
        let shortest = horizon(false);
        let in_selected =
            |home: super::series::Home| head.blocks.get(&home.block).is_some_and(|b| b.selected);
        let series = head.series.iter().filter(|(_, series)| {
            // Cheap for nearly all: what is written to, or was until lately, stays.
            series.last_ms < shortest
                && !series.is_written()
                && series.last_ms < horizon(series.homes().any(in_selected))
        });
        let series: Vec<u32> = series.map(|(id, _)| id).collect();
        let oldest_kept = |selected| horizon(selected);
        let blocks = head.blocks.iter().filter(|(_, block)| {
            !block.has_samples() && !block.has_series() && block.sealed_ms < oldest_kept(block.selected)
        });
        let blocks: Vec<u32> = blocks.map(|(id, _)| *id).collect();
        let ends = |id: &u32| blocks.contains(id);
        let sources = head.sources.iter().filter(|(_, source)| {
            !source.blocks.is_empty()
                && source.blocks.iter().all(ends)
                && batch.pages_gone.len() < MOST_DELETED
        });
        let sources = sources.map(|(id, _)| *id).collect();
        Forgotten { series, blocks, sources }
    }

    fn forget(&self, forgotten: &Forgotten) {
        if forgotten.is_empty() {
            return;
        }
        let mut head = self.head_mut();
        forgotten.series.iter().for_each(|id| head.series.remove(*id));
        for id in &forgotten.blocks {
            if let Some(block) = head.blocks.remove(id)
                && let Some(source) = head.sources.get_mut(&block.source)
            {
                source.blocks.retain(|b| b != id);
            }
        }
        let blocks: FxHashSet<u32> = forgotten.blocks.iter().copied().collect();
        if !blocks.is_empty() {
            head.series.iter_mut().for_each(|series| series.forget_homes(|block| blocks.contains(&block)));
        }
        forgotten.sources.iter().for_each(|id| head.forget_source(*id));
    }

    /// After much was deleted, a file that is mostly empty is made smaller.
    fn compact_if_worthwhile(&self, pages_deleted: usize) -> Result<bool, DiskError> {
        let file = self.disk.file_bytes();
        let [_, _, used] = self.totals();
        if pages_deleted == 0 || file < SMALL_FILE_BYTES || used.saturating_mul(3) > file {
            return Ok(false);
        }
        self.disk.compact()
    }
}

/// Blocks for which the log of their source has become too long: those that got little, while most of the log since is of
/// others and in pages.
fn holders(head: &Head) -> Vec<u32> {
    let mut holders = Vec::new();
    for source in head.sources.values() {
        let blocks = source.blocks.iter().filter_map(|id| Some((*id, head.blocks.get(id)?)));
        let open: Vec<(u32, Logged)> =
            blocks.filter(|(_, block)| block.is_open()).map(|(id, block)| (id, block.logged)).collect();
        let room: u64 = open.iter().map(|(_, logged)| LOG_PER_BLOCK + LOG_TIMES * logged.bytes).sum();
        let held = |logged: &Logged| source.logged.saturating_sub(logged.from);
        holders.extend(open.iter().filter(|(_, logged)| held(logged) > room).map(|(id, _)| *id));
    }
    holders
}

/// What is to be forgotten once the file has forgotten it.
#[derive(Debug)]
struct Forgotten {
    series: Vec<u32>,
    blocks: Vec<u32>,
    sources: Vec<u32>,
}

impl Forgotten {
    const fn is_empty(&self) -> bool {
        self.series.is_empty() && self.blocks.is_empty() && self.sources.is_empty()
    }
}

fn sized(key: PageKey, digest: Option<&Digest<'_>>, bytes: Option<&[u8]>) -> PageSize {
    let digest_bytes = bytes.map_or(0, <[u8]>::len);
    let samples = digest.map_or(0, Digest::samples);
    (key, samples, (digest.map_or(0, |d| d.page_bytes) + digest_bytes) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::StoreConfig;
    use super::super::block::SLOTS;
    use super::*;
    use crate::model::{Labels, Queryable as _, Row, Segment, Select};

    #[test]
    fn a_block_to_which_nothing_comes_does_not_hold_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            StoreConfig { path: Some(folder.path().into()), min_free_bytes: 0, ..StoreConfig::default() };
        let store = Store::open(config, Timestamp::from_millis(0)).unwrap();
        let mut source = store.source("a");
        let labels = |n: usize| Labels::from_pairs([("__name__", "x"), ("s", n.to_string().as_str())]);
        let names: Vec<Labels> = (0..600).map(labels).collect();
        for tick in 0..1_400_usize {
            // Those that fill the second block vanish early.
            let there = if tick < 5 { 600 } else { 50 };
            let row = |labels: &Labels| Row { labels: labels.clone(), value: tick as f64, timestamp: None };
            let rows: Vec<Row> = names.iter().take(there).map(row).collect();
            let at = Timestamp::from_millis(tick as i64 * 1_000);
            source.append_soon(at, &rows).unwrap();
            if tick % 40 == 0 {
                store.maintain(at).unwrap();
            }
        }
        store.flush().unwrap();
        let stats = store.stats();
        assert!(stats.wal_entries < 2 * TICKS as u64 + 100, "{stats:?}");
    }

    /// As remote write brings them: samples of many senders, of which one seldom sends.
    #[test]
    fn a_block_that_is_touched_now_and_then_holds_no_more_log_than_it_is_worth() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            StoreConfig { path: Some(folder.path().into()), min_free_bytes: 0, ..StoreConfig::default() };
        let open = || Store::open(config.clone(), Timestamp::from_millis(0)).unwrap();
        let labels = |n: usize| Labels::from_pairs([("__name__", "x"), ("s", n.to_string().as_str())]);
        let names: Vec<Labels> = (0..SLOTS + 100).map(labels).collect();
        let (mut longest, mut sealed) = (0, 0);
        let mut store = open();
        for tick in 0..3_000_usize {
            // A restart reads the log; it goes on from there.
            if tick == 1_500 {
                store.close().unwrap();
                drop(store);
                store = open();
            }
            let at = Timestamp::from_millis(tick as i64 * 1_000);
            let row = |labels: &Labels| Row { labels: labels.clone(), value: 0.1, timestamp: Some(at) };
            let often = names.iter().skip(SLOTS);
            let seldom = names.iter().take(if tick % 250 == 0 { SLOTS } else { 0 });
            let rows: Vec<Row> = seldom.chain(often).map(row).collect();
            store.source("a").append_soon(at, &rows).unwrap();
            if tick % 20 == 0 {
                sealed += store.maintain(at).unwrap().blocks_sealed;
                longest = longest.max(store.stats().wal_entries);
            }
        }
        // Some 1,400 bytes each: the room of two blocks, four times what these have, and what comes until the next look.
        assert!((200..800).contains(&longest), "{longest}");
        assert!(sealed < 40, "{sealed}");
    }

    #[test]
    fn samples_with_instants_of_their_own_wait_no_longer_than_others() {
        let store = Store::open(StoreConfig::default(), Timestamp::from_millis(0)).unwrap();
        let mut source = store.source("a");
        // Never idle, and full after days.
        let sealed = (0..100).find(|n| {
            let at = Timestamp::from_millis(n * IDLE_MS / 2);
            let labels = Labels::from_pairs([("__name__", "x")]);
            source.append(at, &[Row { labels, value: 1.0, timestamp: Some(at) }]).unwrap();
            store.maintain(at).unwrap().blocks_sealed > 0
        });
        assert_eq!(sealed, Some(OLDEST_TAIL_MS / (IDLE_MS / 2) + 1));
    }

    /// As remote write brings them: one source, a tick for each request.
    #[test]
    fn many_ticks_between_two_samples_of_a_series_do_not_seal_it() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            StoreConfig { path: Some(folder.path().into()), min_free_bytes: 0, ..StoreConfig::default() };
        let store = Store::open(config, Timestamp::from_millis(0)).unwrap();
        let mut source = store.source("a");
        for tick in 0..1_500_u16 {
            let at = Timestamp::from_millis(i64::from(tick) * 50);
            let row = |n: u16| {
                let labels = Labels::from_pairs([("__name__", "x"), ("s", n.to_string().as_str())]);
                Row { labels, value: f64::from(tick), timestamp: Some(at) }
            };
            // The first block gets a sample of each series every 300 ticks, the second some in each.
            let rows: Vec<Row> =
                if tick % 300 == 0 { (0..600).map(row).collect() } else { vec![row(520 + tick % 80)] };
            source.append_soon(at, &rows).unwrap();
            if tick % 100 == 0 {
                assert_eq!(store.maintain(at).unwrap().blocks_sealed, 0, "at {tick}");
            }
        }
    }

    /// As `tsdb import` of a dump brings them: one series after the other.
    #[test]
    fn the_newest_samples_of_imported_series_outlive_old_ones() {
        let (series, samples) = (5_i64, 12_000_i64);
        let config = StoreConfig { max_size_bytes: 60_000, ..StoreConfig::default() };
        let store = Store::open(config, Timestamp::from_millis(0)).unwrap();
        let mut source = store.source("import");
        let last = Timestamp::from_millis(samples * 15_000);
        let rows: Vec<Row> = (0..series * samples)
            .map(|n| Row {
                labels: Labels::from_pairs([("__name__", "x"), ("s", (n / samples).to_string().as_str())]),
                value: (n * 7_919 % 104_729) as f64,
                timestamp: Some(Timestamp::from_millis((n % samples + 1) * 15_000)),
            })
            .collect();
        for piece in rows.chunks(7_000) {
            let newest = piece.iter().filter_map(|row| row.timestamp).max().unwrap();
            assert_eq!(source.append(newest, piece).unwrap().added, piece.len() as u64);
        }
        let done = store.maintain(last).unwrap();
        let (pages, bytes) = (store.stats().pages, store.stats().page_bytes);
        assert!(done.pages_deleted > 0 && pages > 0 && bytes <= 60_000, "{done:?}, {pages} pages, {bytes} B");
        let request = Select { matchers: &[], from: last, to: last };
        let selected = store.select(&request).unwrap();
        let at_the_end = |segment: &Segment| match segment {
            Segment::Samples(samples) => samples.timestamps_ms().last() == Some(&last.as_millis()),
            Segment::Page(page) => page.read().unwrap().timestamps_ms().last() == Some(&last.as_millis()),
        };
        let whole = selected.iter().filter(|s| s.segments.iter().any(at_the_end)).count();
        assert_eq!(whole, usize::try_from(series).unwrap());
    }
}
