//! Samples in memory that queries run over: for test files, and for whoever has samples but no store.
//!
//! Invariant: a series' samples are in time order, one for each instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    ColdSort, Labels, METRIC_NAME, MatchOp, Matcher, Queryable, QueryableError, Samples, Segment, Select,
    SelectAny, SelectedSeries,
};

/// Series and their samples.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By metric name, which nearly every selector has: what rules gave over a month is not searched each time.
    names: BTreeMap<String, BTreeMap<Labels, Samples>>,
}

/// A sample that does not come behind the last one of its series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of order sample of {labels} at {timestamp_ms} ms")]
pub struct OutOfOrder {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl Memory {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample at the end of its series. The very sample that is there already changes nothing.
    ///
    /// # Errors
    /// The series has a sample at this instant or later.
    pub fn append(&mut self, labels: &Labels, timestamp_ms: i64, value: f64) -> Result<(), OutOfOrder> {
        let name = labels.metric_name();
        let series = match self.names.get_mut(name) {
            Some(series) => series,
            None => self.names.entry(name.to_owned()).or_default(),
        };
        let samples = match series.get_mut(labels) {
            Some(samples) => samples,
            None => series.entry(labels.clone()).or_default(),
        };
        let last = samples.iter().next_back();
        match last {
            Some((last_ms, last)) if last_ms == timestamp_ms && last.to_bits() == value.to_bits() => Ok(()),
            Some((last_ms, _)) if last_ms >= timestamp_ms => {
                Err(OutOfOrder { labels: labels.clone(), timestamp_ms })
            }
            _ => {
                samples.push(timestamp_ms, value);
                Ok(())
            }
        }
    }

    /// All series with their samples, in order of the labels.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &Samples)> {
        let mut all: Vec<(&Labels, &Samples)> = self.names.values().flatten().collect();
        all.cold_sort_by_key(|(labels, _)| *labels);
        all.into_iter()
    }

    /// Those that some matchers can fit, by the name that they ask for.
    fn candidates(&self, matchers: &[Matcher]) -> impl Iterator<Item = (&Labels, &Samples)> {
        let name = matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
        let (one, all) = match name {
            Some(name) => (self.names.get(name.pattern()), None),
            None => (None, Some(self.names.values().flatten())),
        };
        one.into_iter().flatten().chain(all.into_iter().flatten())
    }

    fn matching<'a>(&'a self, request: &SelectAny<'a>) -> impl Iterator<Item = &'a Labels> {
        let sets = request.matcher_sets;
        let (from, to) = (request.from.as_millis(), request.to.as_millis());
        self.iter()
            .filter(move |(_, samples)| !within(samples, from, to).is_empty())
            .map(|(labels, _)| labels)
            .filter(move |labels| sets.is_empty() || sets.iter().any(|set| Matcher::all_match(set, labels)))
    }
}

/// Indices of the samples from one instant to another, both included.
fn within(samples: &Samples, from_ms: i64, to_ms: i64) -> std::ops::Range<usize> {
    let times = samples.timestamps_ms();
    let start = times.partition_point(|t| *t < from_ms);
    start..times.partition_point(|t| *t <= to_ms).max(start)
}

fn limited<T>(items: impl Iterator<Item = T>, limit: usize) -> Vec<T> {
    items.take(if limit == 0 { usize::MAX } else { limit }).collect()
}

impl Queryable for Memory {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        let (from, to) = (request.from.as_millis(), request.to.as_millis());
        let candidates = self.candidates(request.matchers);
        let fitting = candidates.filter(|(labels, _)| Matcher::all_match(request.matchers, labels));
        let selected = fitting.filter_map(|(labels, samples)| {
            let range = within(samples, from, to);
            let times = samples.timestamps_ms().get(range.clone())?.to_vec();
            let values = samples.values().get(range)?.to_vec();
            if times.is_empty() {
                return None;
            }
            let segments = vec![Segment::Samples(Arc::new(Samples::from_columns(times, values)))];
            Some(SelectedSeries { labels: labels.clone(), segments })
        });
        let mut selected: Vec<SelectedSeries> = selected.collect();
        if !selected.is_sorted_by(|a, b| a.labels < b.labels) {
            selected.cold_sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(selected)
    }

    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        Ok(limited(self.matching(request).cloned(), request.limit))
    }

    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        let names: BTreeSet<&str> =
            self.matching(request).flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        Ok(limited(names.into_iter().map(String::from), request.limit))
    }

    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        let values: BTreeSet<&str> = self.matching(request).filter_map(|labels| labels.get(name)).collect();
        Ok(limited(values.into_iter().map(String::from), request.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn labels(name: &str, job: &str) -> Labels {
        Labels::from_pairs([("__name__", name), ("job", job)])
    }

    #[test]
    fn samples_are_kept_in_order_and_found_by_matchers_and_time() {
        let mut memory = Memory::new();
        for (name, job, at, value) in [("b", "1", 10, 1.0), ("b", "1", 20, 2.0), ("a", "2", 30, 3.0)] {
            memory.append(&labels(name, job), at, value).expect("in order");
        }
        assert!(memory.append(&labels("b", "1"), 20, 2.0).is_ok());
        let error = memory.append(&labels("b", "1"), 20, 9.0).expect_err("another value");
        assert_eq!(error.to_string(), r#"out of order sample of {__name__="b", job="1"} at 20 ms"#);

        let at = Timestamp::from_millis;
        let matchers = [Matcher::equal("job", "1")];
        let selected =
            memory.select(&Select { matchers: &matchers, from: at(11), to: at(20) }).expect("found");
        assert_eq!(selected.len(), 1);
        let Segment::Samples(samples) = &selected[0].segments[0] else { panic!("samples") };
        assert_eq!(samples.iter().collect::<Vec<_>>(), [(20, 2.0)]);

        let sets = [vec![Matcher::equal("__name__", "a")], matchers.to_vec()];
        let any = SelectAny { matcher_sets: &sets, from: at(0), to: at(99), limit: 0 };
        assert_eq!(memory.series(&any).expect("found").len(), 2);
        assert_eq!(memory.label_values("job", &any).expect("found"), ["1", "2"]);
        assert_eq!(memory.label_names(&SelectAny { limit: 1, ..any }).expect("found"), ["__name__"]);
        assert!(memory.series(&SelectAny { from: at(31), ..any }).expect("found").is_empty());
    }
}
