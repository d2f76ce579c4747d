//! The data of a test file: floats that queries see, and where native histograms would be.
//!
//! Invariant: a query that asks for a stretch in which a series has native histograms is noticed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::reader::Load;
use super::series::Item;
use crate::model::{
    Labels, METRIC_NAME, Matcher, Queryable, QueryableError, Select, SelectAny, SelectedSeries,
};
use crate::promql::functions::BUCKET_LABEL;
use crate::promql::memory::Memory;

/// Data as loaded so far.
#[derive(Debug, Default)]
pub(super) struct TestStorage {
    floats: Memory,
    /// Instants of native histograms, in order.
    histograms: BTreeMap<Labels, Vec<i64>>,
}

impl TestStorage {
    /// Adds the data of a block.
    pub(super) fn load(&mut self, load: &Load) -> Result<(), (usize, String)> {
        // Of a series that comes twice in a block, the last line counts.
        let series: BTreeMap<&Labels, _> =
            load.series.iter().map(|(line, series)| (&series.labels, (*line, series))).collect();
        for (labels, (line, series)) in series {
            let native = if load.with_native { native_labels(labels) } else { None };
            let mut at_ms = 0;
            for item in &series.items {
                match item {
                    Item::Omitted => {}
                    Item::Value(value) => {
                        self.floats.append(labels, at_ms, *value).map_err(|e| (line, e.to_string()))?;
                        if let Some(native) = &native {
                            self.histograms.entry(native.clone()).or_default().push(at_ms);
                        }
                    }
                    Item::Histogram => self.histograms.entry(labels.clone()).or_default().push(at_ms),
                }
                at_ms += load.step_ms;
            }
        }
        self.histograms.values_mut().for_each(|instants| instants.sort_unstable());
        Ok(())
    }

    fn has_histograms(&self, request: &Select<'_>) -> bool {
        let (from, to) = (request.from.as_millis(), request.to.as_millis());
        self.histograms.iter().any(|(labels, instants)| {
            Matcher::all_match(request.matchers, labels) && {
                let next = instants.partition_point(|t| *t < from);
                instants.get(next).is_some_and(|t| *t <= to)
            }
        })
    }
}

/// The native histogram that a classic one's buckets make.
fn native_labels(labels: &Labels) -> Option<Labels> {
    let base = labels.metric_name().strip_suffix("_bucket")?;
    labels.get(BUCKET_LABEL)?;
    Some(labels.with(BUCKET_LABEL, "").with(METRIC_NAME, base))
}

/// The data for one evaluation.
pub(super) struct Watched<'a> {
    storage: &'a TestStorage,
    met_histograms: AtomicBool,
}

impl<'a> Watched<'a> {
    pub(super) fn new(storage: &'a TestStorage) -> Self {
        Self { storage, met_histograms: AtomicBool::new(false) }
    }

    /// Whether the evaluation asked for what holds native histograms.
    pub(super) fn met_histograms(&self) -> bool {
        self.met_histograms.load(Ordering::Relaxed)
    }
}

impl Queryable for Watched<'_> {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        if self.storage.has_histograms(request) {
            self.met_histograms.store(true, Ordering::Relaxed);
        }
        self.storage.floats.select(request)
    }

    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        self.storage.floats.series(request)
    }

    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.storage.floats.label_names(request)
    }

    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.storage.floats.label_values(name, request)
    }
}
