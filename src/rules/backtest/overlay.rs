//! History with a layer over it that takes what rules give.
//!
//! Invariant: of a series that the rules give, samples from the first evaluation on come from the layer alone, so that
//! what was recorded in service does not mix with what a changed rule gives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::read_ahead::ReadAhead;
use crate::model::{
    ColdSort, Labels, METRIC_NAME, MatchOp, Queryable, QueryableError, Row, Samples, Segment, Select,
    SelectAny, SelectedSeries, Timestamp,
};
use crate::rules::{GroupSpec, RuleMemory, RuleStorage, Written};
use crate::store::StateOp;

/// Series that every alert rule gives.
const ALERTS: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// See the module's page.
pub(super) struct Overlay {
    history: ReadAhead,
    results: RuleMemory,
    recorded: BTreeSet<Arc<str>>,
    alerts: BTreeSet<Arc<str>>,
    /// The first instant at which the rules' own series come from here, milliseconds.
    cut_ms: i64,
    samples: AtomicUsize,
    most_samples: usize,
}

impl Overlay {
    pub(super) fn new(
        history: Arc<dyn Queryable>,
        groups: &[GroupSpec],
        cut: Timestamp,
        most_samples: usize,
    ) -> Self {
        let (mut recorded, mut alerts) = (BTreeSet::new(), BTreeSet::new());
        for rule in groups.iter().flat_map(|group| &group.rules) {
            let names = if rule.alert().is_some() { &mut alerts } else { &mut recorded };
            names.insert(Arc::clone(&rule.name));
        }
        Self {
            history: ReadAhead::new(history),
            results: RuleMemory::default(),
            recorded,
            alerts,
            cut_ms: cut.as_millis(),
            samples: AtomicUsize::new(0),
            most_samples,
        }
    }

    /// Whether the rules gave more samples than may be kept.
    pub(super) fn is_full(&self) -> bool {
        self.samples.load(Ordering::Relaxed) > self.most_samples
    }

    fn is_own(&self, labels: &Labels) -> bool {
        let name = labels.metric_name();
        self.recorded.contains(name)
            || (ALERTS.contains(&name) && self.alerts.contains(labels.value("alertname")))
    }

    /// Whether series of the rules may be among those that a name selects; without a name they may.
    fn may_be_own(&self, request: &Select<'_>) -> bool {
        let name = request.matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        name.is_none_or(|name| self.recorded.contains(name.pattern()) || ALERTS.contains(&name.pattern()))
    }

    /// What a series held before the first evaluation.
    fn before(&self, series: SelectedSeries) -> Result<Option<SelectedSeries>, QueryableError> {
        let mut segments = Vec::new();
        for segment in series.segments {
            let samples = match &segment {
                Segment::Samples(samples) => Arc::clone(samples),
                Segment::Page(page) if page.summary().last_ms < self.cut_ms => {
                    segments.push(segment);
                    continue;
                }
                Segment::Page(page) if page.summary().first_ms >= self.cut_ms => continue,
                Segment::Page(page) => page.read()?,
            };
            let kept = samples.timestamps_ms().partition_point(|at| *at < self.cut_ms);
            if kept > 0 {
                let times = samples.timestamps_ms().iter().take(kept).copied().collect();
                let values = samples.values().iter().take(kept).copied().collect();
                segments.push(Segment::Samples(Arc::new(Samples::from_columns(times, values))));
            }
        }
        Ok((!segments.is_empty()).then_some(SelectedSeries { labels: series.labels, segments }))
    }
}

impl RuleStorage for Overlay {
    fn queryable(&self) -> &dyn Queryable {
        self
    }

    fn write(
        &self,
        group: &str,
        at: Timestamp,
        rows: &[Row],
        changes: Vec<StateOp>,
    ) -> Result<Written, String> {
        self.samples.fetch_add(rows.len(), Ordering::Relaxed);
        if self.is_full() {
            return Err(format!("more than {} samples", self.most_samples));
        }
        self.results.write(group, at, rows, changes)
    }

    fn end(&self, _: &str, _: Timestamp) -> Result<(), String> {
        Ok(())
    }

    fn forget(&self, _: Vec<StateOp>) -> Result<(), String> {
        Ok(())
    }

    fn saved(&self, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), String> {
        Ok(())
    }
}

impl Queryable for Overlay {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        let history = self.history.select(request)?;
        if !self.may_be_own(request) {
            return Ok(history);
        }
        let mut all = Vec::with_capacity(history.len());
        for series in history {
            if self.is_own(&series.labels) {
                all.extend(self.before(series)?);
            } else {
                all.push(series);
            }
        }
        let known = all.len();
        for mut given in self.results.select(request)? {
            let before = all.get(..known).unwrap_or_default();
            match before.binary_search_by(|series| series.labels.cmp(&given.labels)) {
                Ok(at) => all.get_mut(at).into_iter().for_each(|s| s.segments.append(&mut given.segments)),
                Err(_) => all.push(given),
            }
        }
        all.cold_sort_by(|one, other| one.labels.cmp(&other.labels));
        Ok(all)
    }

    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        self.history.series(request)
    }

    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.history.label_names(request)
    }

    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.history.label_values(name, request)
    }
}
