//! The store in numbers, for `/api/v1/status/tsdb` and the program's own metrics.

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use super::engine::{Inner, Store};
use crate::model::{METRIC_NAME, Timestamp};

/// Numbers of one moment; counters count since the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Series known.
    pub series: usize,
    /// Most series that there may be.
    pub max_series: usize,
    /// Distinct pairs of label and value.
    pub label_pairs: usize,
    /// Samples in memory, staleness markers included.
    pub head_samples: u64,
    /// Blocks of raw tails; Prometheus would call them head chunks.
    pub head_blocks: usize,
    /// Instant of the oldest sample known of, if there is any.
    pub min_time: Option<Timestamp>,
    /// Instant of the newest sample.
    pub max_time: Option<Timestamp>,
    /// Pages in the file.
    pub pages: u64,
    /// Samples in pages.
    pub page_samples: u64,
    /// Bytes of pages and their digests.
    pub page_bytes: u64,
    /// Log entries that are not yet in pages.
    pub wal_entries: u64,
    /// Bytes of the file on the disk.
    pub file_bytes: u64,
    /// Samples taken.
    pub samples_added: u64,
    /// Samples refused because they were older than their series' newest one.
    pub out_of_order: u64,
    /// Samples refused because their series had another value at that instant.
    pub duplicate: u64,
    /// Samples refused because of the limit of series.
    pub over_limit: u64,
    /// Series created.
    pub series_created: u64,
    /// Large jumps back of the clock.
    pub clock_jumps: u64,
    /// Commits tried.
    pub commits: u64,
    /// Commits that failed.
    pub commit_failures: u64,
    /// Ticks refused because nothing could be written.
    pub refused_ticks: u64,
    /// Whether ingestion is paused.
    pub paused: bool,
    /// Pages found damaged and set aside.
    pub damaged_pages: u64,
    /// Other rows found damaged and left out.
    pub damaged_rows: u64,
    /// Files that were moved aside because they were damaged as a whole.
    pub files_set_aside: u64,
    /// Pages deleted by retention or the limit of size.
    pub pages_deleted: u64,
}

/// The most frequent names and values, as Prometheus's `/api/v1/status/tsdb` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Metric names with the most series.
    pub series_by_metric_name: Vec<(String, u64)>,
    /// Label names with the most values.
    pub values_by_label_name: Vec<(String, u64)>,
    /// Label names whose values take the most bytes.
    pub bytes_by_label_name: Vec<(String, u64)>,
    /// Pairs, written `name=value`, with the most series.
    pub series_by_label_pair: Vec<(String, u64)>,
}

impl Store {
    /// Numbers of now.
    pub fn stats(&self) -> StoreStats {
        let mut stats = self.0.counted();
        let head = self.0.head();
        stats.series = head.series.len();
        stats.label_pairs = head.series.index().pairs();
        stats.head_blocks = head.blocks.values().filter(|b| b.has_samples()).count();
        stats.head_samples = head.blocks.values().map(super::block::Block::samples_in_memory).sum();
        let written = || head.series.iter().map(|(_, s)| s).filter(|s| s.last_ms != i64::MIN);
        stats.min_time = written().map(|s| s.first_ms).min().map(Timestamp::from_millis);
        stats.max_time = written().map(|s| s.last_ms).max().map(Timestamp::from_millis);
        drop(head);
        stats.wal_entries = self.0.disk.view().and_then(|view| view.wal_entries()).unwrap_or(0);
        stats.file_bytes = self.0.disk.file_bytes();
        stats
    }

    /// The `limit` most frequent names and values. Looks at the whole index.
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        let head = self.0.head();
        let index = head.series.index();
        let owned = |(name, n): (&str, u64)| (name.to_owned(), n);
        let bytes = |name| index.values(name).map(|(value, series)| (value.len() * series) as u64).sum();
        let pairs = index
            .names()
            .flat_map(|name| index.values(name).map(move |(value, n)| (format!("{name}={value}"), n as u64)));
        Cardinality {
            series_by_metric_name: most(index.values(METRIC_NAME).map(|(v, n)| owned((v, n as u64))), limit),
            values_by_label_name: most(
                index.names().map(|name| owned((name, index.values(name).count() as u64))),
                limit,
            ),
            bytes_by_label_name: most(index.names().map(|name| owned((name, bytes(name)))), limit),
            series_by_label_pair: most(pairs, limit),
        }
    }
}

/// The largest, largest first, equal ones by name; never more than `limit` held.
fn most(all: impl Iterator<Item = (String, u64)>, limit: usize) -> Vec<(String, u64)> {
    let mut heap = BinaryHeap::with_capacity(limit.saturating_add(1).min(1_024));
    for (name, n) in all {
        heap.push((std::cmp::Reverse(n), name));
        if heap.len() > limit {
            heap.pop();
        }
    }
    heap.into_sorted_vec().into_iter().map(|(n, name)| (name, n.0)).collect()
}

impl Inner {
    fn counted(&self) -> StoreStats {
        let c = &self.counters;
        let of = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        StoreStats {
            max_series: self.config.max_series,
            pages: of(&c.pages),
            page_samples: of(&c.page_samples),
            page_bytes: of(&c.page_bytes),
            samples_added: of(&c.added),
            out_of_order: of(&c.out_of_order),
            duplicate: of(&c.duplicate),
            over_limit: of(&c.over_limit),
            series_created: of(&c.new_series),
            clock_jumps: of(&c.clock_jumps),
            commits: of(&c.commits),
            commit_failures: of(&c.commit_failures),
            refused_ticks: of(&c.refused_ticks),
            paused: self.is_paused(),
            damaged_pages: of(&c.damaged_pages),
            damaged_rows: of(&c.damaged_rows),
            files_set_aside: of(&c.files_set_aside),
            pages_deleted: of(&c.pages_deleted),
            ..StoreStats::default()
        }
    }
}
