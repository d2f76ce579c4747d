//! Series while they are computed: one slot for each step of the evaluation.
//!
//! Invariants: a slot without a sample holds [`ABSENT`], which no arithmetic gives (it is a signalling NaN, and these
//! become quiet); slots before `first` and behind the last are absent too. So a series costs eight bytes a step, and
//! operators run over plain slices.

use rustc_hash::FxHashMap;

use super::super::engine::QueryError;
use crate::model::{Labels, METRIC_NAME, STALE_NAN, is_stale};

/// What a slot without a sample holds.
pub(super) const ABSENT: f64 = STALE_NAN;

/// Whether a slot is empty.
pub(super) const fn is_absent(value: f64) -> bool {
    is_stale(value)
}

/// The instants of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// The first, milliseconds.
    pub(super) start_ms: i64,
    /// Between two, milliseconds; at least 1.
    pub(super) step_ms: i64,
    /// How many; at least 1, except of a subquery that has none within its range.
    pub(super) count: usize,
}

impl Steps {
    /// One instant.
    pub(super) const fn single(at_ms: i64) -> Self {
        Self { start_ms: at_ms, step_ms: 1, count: 1 }
    }

    /// From the first to the last, as far as whole steps reach.
    pub(super) fn between(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let span = i128::from(end_ms) - i128::from(start_ms);
        let count =
            if span < 0 { 0 } else { usize::try_from(span / i128::from(step_ms) + 1).unwrap_or(usize::MAX) };
        Self { start_ms, step_ms, count }
    }

    /// The instant of a step.
    pub(super) fn at(&self, step: usize) -> i64 {
        let offset = i64::try_from(step).unwrap_or(i64::MAX).saturating_mul(self.step_ms);
        self.start_ms.saturating_add(offset)
    }

    /// The last instant.
    pub(super) fn last_ms(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    /// All instants.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, i64)> + '_ {
        (0..self.count).map(|step| (step, self.at(step)))
    }

    /// The first step at or after an instant; may be `count`.
    pub(super) fn first_from(&self, at_ms: i64) -> usize {
        if at_ms <= self.start_ms {
            return 0;
        }
        let distance = i128::from(at_ms) - i128::from(self.start_ms);
        let step = i128::from(self.step_ms);
        usize::try_from((distance + step - 1) / step).unwrap_or(usize::MAX).min(self.count)
    }
}

/// One series over the steps of an evaluation.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The series.
    pub(super) labels: Labels,
    /// Whether its name goes at the end of the query.
    pub(super) drop_name: bool,
    /// The step of the first slot.
    pub(super) first: usize,
    /// The slots.
    pub(super) values: Vec<f64>,
}

impl Column {
    /// The slot of a step.
    pub(super) fn at(&self, step: usize) -> f64 {
        step.checked_sub(self.first).and_then(|i| self.values.get(i)).copied().unwrap_or(ABSENT)
    }

    /// The step behind the last slot.
    pub(super) fn end(&self) -> usize {
        self.first + self.values.len()
    }

    /// How many slots hold a sample.
    pub(super) fn present(&self) -> usize {
        self.values.iter().filter(|v| !is_absent(**v)).count()
    }

    /// Whether no slot holds a sample.
    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(|v| is_absent(*v))
    }

    /// The steps and samples of the slots that hold one.
    pub(super) fn samples(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)).map(|(i, v)| (self.first + i, *v))
    }

    /// Replaces every sample by a function of its step and value.
    pub(super) fn map(&mut self, mut f: impl FnMut(usize, f64) -> f64) {
        let first = self.first;
        for (i, value) in self.values.iter_mut().enumerate() {
            if !is_absent(*value) {
                *value = f(first + i, *value);
            }
        }
    }

    /// What it costs of the query's budget: its samples, and where most slots are empty, their memory (a sample of
    /// the budget is meant as sixteen bytes).
    pub(super) fn cost(&self) -> usize {
        self.present().max(self.values.len() / 2)
    }
}

/// What many columns cost.
pub(super) fn cost(columns: &[Column]) -> usize {
    columns.iter().map(Column::cost).sum()
}

/// Slots while they are filled in rising order of their steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    first: usize,
    values: Vec<f64>,
}

impl Slots {
    /// Sets the slot of a step behind all that are set.
    pub(super) fn set(&mut self, step: usize, value: f64) {
        if self.values.is_empty() {
            self.first = step;
        } else {
            let filled = step.saturating_sub(self.first);
            if filled > self.values.len() {
                self.values.resize(filled, ABSENT);
            }
        }
        self.values.push(value);
    }

    /// Counts one more at a step that is the last one set, or behind it; says how many slots that took.
    pub(super) fn count(&mut self, step: usize) -> usize {
        let before = self.values.len();
        if before > 0 && self.first + before == step + 1 {
            if let Some(last) = self.values.last_mut() {
                *last += 1.0;
            }
            return 0;
        }
        self.set(step, 1.0);
        self.values.len() - before
    }

    /// Room for so many more.
    pub(super) fn reserve(&mut self, slots: usize) {
        self.values.reserve(slots);
    }

    /// Whether none is set.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The column; `None` where no slot is set.
    pub(super) fn into_column(self, labels: Labels, drop_name: bool) -> Option<Column> {
        let Self { first, values } = self;
        (!values.is_empty()).then_some(Column { labels, drop_name, first, values })
    }
}

/// Labels that say what a metric is, not which series: they go when a value is no longer the metric's own.
const METRIC_SCHEMA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Whether a label goes with the metric name.
pub(super) fn is_metric_schema(name: &str) -> bool {
    METRIC_SCHEMA.contains(&name)
}

/// Labels without the name, type and unit of the metric.
pub(super) fn without_metric_schema(labels: &Labels) -> Labels {
    labels.filtered(|name| !is_metric_schema(name))
}

/// The error of series that become one.
pub(super) fn same_labelset() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// Refuses two series with the same labels, even when they have no step in common.
pub(super) fn refuse_duplicates(columns: &[Column]) -> Result<(), QueryError> {
    let mut seen = rustc_hash::FxHashSet::with_capacity_and_hasher(columns.len(), rustc_hash::FxBuildHasher);
    match columns.iter().all(|c| seen.insert(&c.labels)) {
        true => Ok(()),
        false => Err(same_labelset()),
    }
}

/// Makes series with the same labels one, in the place of the first; two samples at one step are refused.
pub(super) fn merge_duplicates(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    let mut places: FxHashMap<Labels, usize> = FxHashMap::default();
    places.reserve(columns.len());
    for column in columns {
        let place = *places.entry(column.labels.clone()).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(known) => merge_into(known, &column)?,
            None => merged.push(column),
        }
    }
    Ok(merged)
}

fn merge_into(known: &mut Column, other: &Column) -> Result<(), QueryError> {
    let (first, end) = (known.first.min(other.first), known.end().max(other.end()));
    let mut values = vec![ABSENT; end - first];
    for (step, value) in known.samples().chain(other.samples()) {
        match values.get_mut(step - first) {
            Some(slot) if is_absent(*slot) => *slot = value,
            _ => return Err(same_labelset()),
        }
    }
    (known.first, known.values) = (first, values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, first: usize, values: &[f64]) -> Column {
        let labels = Labels::from_pairs([("n", name)]);
        Column { labels, drop_name: false, first, values: values.to_vec() }
    }

    #[test]
    fn steps_know_their_instants() {
        let steps = Steps::between(-1_000, 2_500, 1_000);
        assert_eq!(steps.iter().collect::<Vec<_>>(), [(0, -1_000), (1, 0), (2, 1_000), (3, 2_000)]);
        assert_eq!(steps.last_ms(), 2_000);
        assert_eq!([-2_000, -1_000, -999, 0, 2_001].map(|t| steps.first_from(t)), [0, 0, 1, 1, 4]);
        assert_eq!(Steps::between(0, -1, 5).count, 0);
        assert_eq!(
            Steps::between(i64::MIN, i64::MAX, 1).count,
            usize::try_from(u64::MAX).unwrap_or(usize::MAX)
        );
        assert_eq!(Steps::single(7).last_ms(), 7);
    }

    #[test]
    fn slots_between_samples_are_absent() {
        let mut slots = Slots::default();
        slots.set(3, 1.0);
        slots.set(6, f64::NAN);
        let column = slots.into_column(Labels::empty(), false).expect("filled");
        assert_eq!((column.first, column.values.len(), column.present(), column.end()), (3, 4, 2, 7));
        assert!(is_absent(column.at(2)) && is_absent(column.at(4)) && column.at(6).is_nan());
        assert!(Slots::default().into_column(Labels::empty(), false).is_none());
    }

    #[test]
    fn equal_series_become_one_unless_they_overlap() {
        let merged = merge_duplicates(vec![
            column("a", 2, &[1.0, 2.0]),
            column("b", 0, &[5.0]),
            column("a", 0, &[0.5]),
        ])
        .expect("no overlap");
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].samples().collect::<Vec<_>>(), [(0, 0.5), (2, 1.0), (3, 2.0)]);
        let overlap = merge_duplicates(vec![column("a", 0, &[1.0]), column("a", 0, &[1.0])]);
        assert_eq!(
            overlap.expect_err("overlap").to_string(),
            "vector cannot contain metrics with the same labelset"
        );
        assert!(refuse_duplicates(&[column("a", 0, &[1.0]), column("a", 9, &[1.0])]).is_err());
    }
}
