//! The store's figures as metrics: those of the last maintenance, because counting takes longer than a scrape should.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::promql::{Engine, EngineStats};
use crate::store::StoreStats;

/// What becomes of queries.
#[derive(Clone, Debug)]
pub(super) struct QueryFigures(pub(super) Arc<Engine>);

impl Collector for QueryFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let stats: EngineStats = self.0.stats();
        let (name, help) = ("outrigger_queries", "Queries evaluated now");
        let running = ConstGauge::new(i64::try_from(stats.running).unwrap_or(i64::MAX));
        running.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        let (name, help) = ("outrigger_queries_ended", "Queries by what became of them");
        let mut ended = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (result, count) in [
            ("answered", stats.answered),
            ("failed", stats.failed),
            ("timed_out", stats.timed_out),
            ("too_large", stats.too_large),
            ("canceled", stats.canceled),
        ] {
            ConstCounter::new(count).encode(ended.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }
}

/// The figures. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(Arc<Mutex<StoreStats>>);

impl Figures {
    /// Takes the figures of now.
    pub(super) fn update(&self, stats: StoreStats) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    /// Adds them to a registry.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

/// What a figure is, and where it is found.
struct Figure {
    name: &'static str,
    help: &'static str,
    counter: bool,
    get: fn(&StoreStats) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, get: fn(&StoreStats) -> u64) -> Figure {
    Figure { name, help, counter: false, get }
}

const fn counter(name: &'static str, help: &'static str, get: fn(&StoreStats) -> u64) -> Figure {
    Figure { name, help, counter: true, get }
}

/// Counters get their `_total` from the encoder.
const FIGURES: &[Figure] = &[
    gauge("outrigger_store_series", "Series known", |s| s.series as u64),
    gauge("outrigger_store_series_limit", "Most series that there may be", |s| s.max_series as u64),
    gauge("outrigger_store_head_samples", "Samples in memory", |s| s.head_samples),
    gauge("outrigger_store_pages", "Pages in the file", |s| s.pages),
    gauge("outrigger_store_page_bytes", "Bytes of pages and their summaries", |s| s.page_bytes),
    gauge("outrigger_store_file_bytes", "Bytes of the file on the disk", |s| s.file_bytes),
    gauge("outrigger_store_log_entries", "Log entries that are not yet in pages", |s| s.wal_entries),
    counter("outrigger_store_samples_added", "Samples taken", |s| s.samples_added),
    counter(
        "outrigger_store_samples_out_of_order",
        "Samples refused because they were older than their series' newest",
        |s| s.out_of_order,
    ),
    counter(
        "outrigger_store_samples_duplicate",
        "Samples refused because their series had another value at that instant",
        |s| s.duplicate,
    ),
    counter("outrigger_store_samples_over_limit", "Samples refused because of the limit of series", |s| {
        s.over_limit
    }),
    counter("outrigger_store_series_created", "Series created", |s| s.series_created),
    counter("outrigger_store_clock_jumps", "Large jumps back of the clock", |s| s.clock_jumps),
    counter("outrigger_store_commits", "Commits tried", |s| s.commits),
    counter("outrigger_store_commit_failures", "Commits that failed", |s| s.commit_failures),
    gauge("outrigger_store_paused", "Whether nothing can be written, and ingestion is paused", |s| {
        u64::from(s.paused)
    }),
    counter("outrigger_store_ticks_refused", "Ticks refused because nothing could be written", |s| {
        s.refused_ticks
    }),
    counter("outrigger_store_damaged_pages", "Pages found damaged and set aside", |s| s.damaged_pages),
    counter("outrigger_store_damaged_rows", "Other rows of the file found damaged and left out", |s| {
        s.damaged_rows
    }),
    counter(
        "outrigger_store_files_set_aside",
        "Files moved aside because they were damaged as a whole",
        |s| s.files_set_aside,
    ),
    counter("outrigger_store_pages_deleted", "Pages deleted by retention or the limit of size", |s| {
        s.pages_deleted
    }),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for figure in FIGURES {
            let value = (figure.get)(&stats);
            if figure.counter {
                let metric = ConstCounter::new(value);
                metric.encode(encoder.encode_descriptor(
                    figure.name,
                    figure.help,
                    None,
                    metric.metric_type(),
                )?)?;
            } else {
                let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                metric.encode(encoder.encode_descriptor(
                    figure.name,
                    figure.help,
                    None,
                    metric.metric_type(),
                )?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_damage_are_seen() {
        let figures = Figures::default();
        let mut registry = Registry::default();
        figures.register(&mut registry);
        figures.update(StoreStats {
            paused: true,
            refused_ticks: 2,
            damaged_pages: 3,
            damaged_rows: 4,
            files_set_aside: 5,
            pages_deleted: 6,
            ..StoreStats::default()
        });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "outrigger_store_paused 1",
            "outrigger_store_ticks_refused_total 2",
            "outrigger_store_damaged_pages_total 3",
            "outrigger_store_damaged_rows_total 4",
            "outrigger_store_files_set_aside_total 5",
            "outrigger_store_pages_deleted_total 6",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
