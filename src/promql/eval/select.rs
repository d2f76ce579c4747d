//! Instant vector selectors: the last sample of each series within the lookback before each step.
//!
//! Invariant: a sample counts for the instants from its own until the lookback has passed, that one excluded; a
//! staleness marker ends its series at once.

use super::super::ast::{Edges, VectorSelector};
use super::super::engine::QueryError;
use super::Evaluator;
use super::budget::Budget;
use super::column::{Column, Slots, Steps};
use super::range::{Extent, for_each_window};
use super::reader::{LastBefore, Stretch, series_bounds};
use super::timing::Shift;
use crate::model::{Matcher, Segment, Select, SelectedSeries, Timestamp, is_stale};

/// What becomes of a sample.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Its value.
    Value,
    /// Its instant in seconds, for `timestamp`.
    Instant,
}

impl Evaluator<'_> {
    /// The samples of a selector.
    pub(super) fn select(
        &mut self,
        selector: &VectorSelector,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        self.select_as(selector, steps, Take::Value)
    }

    /// The samples of a selector, or their instants.
    pub(super) fn select_as(
        &mut self,
        selector: &VectorSelector,
        steps: &Steps,
        take: Take,
    ) -> Result<Vec<Column>, QueryError> {
        let shift = self.times.shift(&selector.time)?;
        if selector.edges == Edges::Smoothed {
            return self.select_smoothed(selector, shift, steps);
        }
        let (first_ms, last_ms) = shift.bounds(steps);
        let lookback_ms = self.limits.lookback_ms;
        let from_ms = first_ms.saturating_sub(lookback_ms).saturating_add(1);
        let selected = self.fetch(&selector.matchers, from_ms, last_ms)?;
        let mut columns = Vec::with_capacity(selected.len());
        for series in selected {
            self.budget.check()?;
            let slots = match shift.steps(steps) {
                Some(shifted) => last_samples(&series.segments, &shifted, lookback_ms, take)?,
                None => {
                    let one = Steps::single(first_ms);
                    let once = last_samples(&series.segments, &one, lookback_ms, take)?;
                    match once.into_column(series.labels.clone(), false) {
                        Some(column) => repeated(column.at(0), steps.count),
                        None => Slots::default(),
                    }
                }
            };
            if let Some(column) = slots.into_column(series.labels, false) {
                self.budget.hold(column.cost())?;
                self.budget.count_read(column.present());
                columns.push(column);
            }
        }
        Ok(columns)
    }

    /// Series of the storage, with their samples between two instants, both included.
    pub(super) fn fetch(
        &mut self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<SelectedSeries>, QueryError> {
        let request =
            Select { matchers, from: Timestamp::from_millis(from_ms), to: Timestamp::from_millis(to_ms) };
        self.storage.select(&request).map_err(QueryError::Storage)
    }

    /// Values on the line between the samples around each step; the last sample where none follows.
    fn select_smoothed(
        &mut self,
        selector: &VectorSelector,
        shift: Shift,
        steps: &Steps,
    ) -> Result<Vec<Column>, QueryError> {
        let lookback_ms = self.limits.lookback_ms;
        let extent = Extent { before_ms: lookback_ms, behind_ms: lookback_ms };
        let (from_ms, to_ms) = extent.bounds(shift, steps);
        let selected = self.fetch(&selector.matchers, from_ms, to_ms)?;
        let mut columns = Vec::with_capacity(selected.len());
        let mut stretch = Stretch::default();
        for series in selected {
            stretch.load(&series.segments, (from_ms, to_ms), &mut self.budget)?;
            let mut slots = Slots::default();
            let budget: &mut Budget = &mut self.budget;
            for_each_window(&stretch, shift, extent, steps, budget, |step, at_ms, timestamps, values| {
                if let Some(value) = interpolated(timestamps, values, at_ms) {
                    slots.set(step, value);
                }
                Ok(())
            })?;
            if let Some(column) = slots.into_column(series.labels, false) {
                self.budget.hold(column.cost())?;
                columns.push(column);
            }
        }
        stretch.clear(&mut self.budget);
        Ok(columns)
    }
}

fn repeated(value: f64, count: usize) -> Slots {
    let mut slots = Slots::default();
    slots.reserve(count);
    (0..count).for_each(|step| slots.set(step, value));
    slots
}

fn last_samples(
    segments: &[Segment],
    steps: &Steps,
    lookback_ms: i64,
    take: Take,
) -> Result<Slots, QueryError> {
    let mut slots = Slots::default();
    let Some((first_ms, last_ms)) = series_bounds(segments) else { return Ok(slots) };
    let range = steps.first_from(first_ms)..steps.first_from(last_ms.saturating_add(lookback_ms));
    slots.reserve(range.len());
    let mut last = LastBefore::new(segments);
    for step in range {
        let at_ms = steps.at(step);
        match last.at(at_ms)? {
            Some((found_ms, value)) if found_ms > at_ms.saturating_sub(lookback_ms) && !is_stale(value) => {
                slots.set(step, if take == Take::Value { value } else { seconds(found_ms) });
            }
            _ => {}
        }
    }
    Ok(slots)
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus: exact for 285,000 years")]
pub(super) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

fn interpolated(timestamps: &[i64], values: &[f64], at_ms: i64) -> Option<f64> {
    let next = timestamps.partition_point(|t| *t < at_ms);
    let sample = |i: usize| Some((*timestamps.get(i)?, *values.get(i)?));
    match (next.checked_sub(1).and_then(sample), sample(next)) {
        (_, Some((t, value))) if t == at_ms => Some(value),
        (Some((t1, v1)), Some((t2, v2))) => Some(v1 + (v2 - v1) * seconds(at_ms - t1) / seconds(t2 - t1)),
        (before, _) => before.map(|(_, value)| value),
    }
}
