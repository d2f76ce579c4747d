//! What a rule's expression reads: the store, and what the rules before it in the group have just given.
//!
//! Invariant: a group's results reach the store together, at the end of its evaluation; until then its later rules see
//! them here as if they were stored.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use crate::model::{
    ColdSort, Labels, METRIC_NAME, MatchOp, Matcher, Queryable, QueryableError, Row, Samples, Segment,
    Select, SelectAny, SelectedSeries, Timestamp, is_stale,
};

/// The store with a group's results of this instant. Counts the series that it hands out.
pub(super) struct View<'a> {
    storage: &'a dyn Queryable,
    at: Timestamp,
    rows: Vec<Row>,
    by_name: FxHashMap<String, Vec<usize>>,
    /// Series that have a sample already, and its value.
    given: FxHashMap<Labels, f64>,
    series: AtomicU64,
}

impl<'a> View<'a> {
    pub(super) fn new(storage: &'a dyn Queryable, at: Timestamp) -> Self {
        Self {
            storage,
            at,
            rows: Vec::new(),
            by_name: FxHashMap::default(),
            given: FxHashMap::default(),
            series: AtomicU64::new(0),
        }
    }

    /// Adds results of a rule. Of two rules that give one series the first counts; answers how many samples with
    /// another value were left out for that.
    pub(super) fn add(&mut self, rows: Vec<Row>) -> u64 {
        let mut duplicates = 0;
        for row in rows {
            match self.given.entry(row.labels.clone()) {
                Entry::Occupied(first) => {
                    let same = first.get().to_bits() == row.value.to_bits();
                    duplicates += u64::from(!same && !is_stale(row.value) && row.timestamp.is_none());
                    continue;
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(row.value);
                }
            }
            // Those with an instant of their own are in the store already.
            if row.timestamp.is_none() {
                let name = row.labels.metric_name();
                match self.by_name.get_mut(name) {
                    Some(places) => places.push(self.rows.len()),
                    None => drop(self.by_name.insert(name.to_owned(), vec![self.rows.len()])),
                }
            }
            self.rows.push(row);
        }
        duplicates
    }

    /// All results.
    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Series handed out since this was asked last.
    pub(super) fn take_series(&self) -> u64 {
        self.series.swap(0, Ordering::Relaxed)
    }

    fn fitting(&self, matchers: &[Matcher]) -> Vec<&Row> {
        let name = matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        let candidates: Vec<usize> = match name {
            Some(name) => self.by_name.get(name.pattern()).cloned().unwrap_or_default(),
            None => self.by_name.values().flatten().copied().collect(),
        };
        let rows = candidates.into_iter().filter_map(|at| self.rows.get(at));
        rows.filter(|row| Matcher::all_match(matchers, &row.labels)).collect()
    }
}

impl Queryable for View<'_> {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        let mut selected = self.storage.select(request)?;
        if !self.by_name.is_empty() && request.from <= self.at && self.at <= request.to {
            let stored = selected.len();
            for row in self.fitting(request.matchers) {
                let segment = Segment::Samples(Arc::new(Samples::from_columns(
                    vec![self.at.as_millis()],
                    vec![row.value],
                )));
                let known = selected.get(..stored).unwrap_or_default();
                match known.binary_search_by(|series| series.labels.cmp(&row.labels)) {
                    Ok(at) => {
                        if let Some(series) = selected.get_mut(at)
                            && ends_before(&series.segments, self.at.as_millis())
                        {
                            series.segments.push(segment);
                        }
                    }
                    Err(_) => {
                        selected.push(SelectedSeries { labels: row.labels.clone(), segments: vec![segment] });
                    }
                }
            }
            if selected.len() > stored {
                selected.cold_sort_by(|a, b| a.labels.cmp(&b.labels));
            }
        }
        self.series.fetch_add(selected.len() as u64, Ordering::Relaxed);
        Ok(selected)
    }

    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        self.storage.series(request)
    }

    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.storage.label_names(request)
    }

    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.storage.label_values(name, request)
    }
}

fn ends_before(segments: &[Segment], at_ms: i64) -> bool {
    segments.last().is_none_or(|segment| match segment {
        Segment::Samples(samples) => samples.timestamps_ms().last().is_none_or(|last| *last < at_ms),
        Segment::Page(page) => page.summary().last_ms < at_ms,
    })
}
