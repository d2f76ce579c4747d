//! Reads the samples of one selected series: the last one before each step, or all of a stretch in one piece.
//!
//! Invariant: a page is read only when a sample is needed that its summary does not know; staleness markers never
//! leave this module as values.

use std::sync::Arc;

use super::super::engine::QueryError;
use super::budget::Budget;
use crate::model::{Page, Samples, Segment, is_stale};

/// Steps by one sample so often before it searches.
const LINEAR_STEPS: usize = 8;

/// First and last instant of a segment; `None` where it holds nothing.
pub(super) fn segment_bounds(segment: &Segment) -> Option<(i64, i64)> {
    match segment {
        Segment::Samples(samples) => {
            let timestamps = samples.timestamps_ms();
            Some((*timestamps.first()?, *timestamps.last()?))
        }
        Segment::Page(page) => {
            let summary = page.summary();
            (summary.samples > 0).then_some((summary.first_ms, summary.last_ms))
        }
    }
}

/// First and last instant of a series.
pub(super) fn series_bounds(segments: &[Segment]) -> Option<(i64, i64)> {
    let first = segments.iter().find_map(segment_bounds)?.0;
    let last = segments.iter().rev().find_map(segment_bounds)?.1;
    Some((first, last))
}

/// The samples of a segment.
pub(super) fn read(segment: &Segment) -> Result<Arc<Samples>, QueryError> {
    match segment {
        Segment::Samples(samples) => Ok(Arc::clone(samples)),
        Segment::Page(page) => read_page(page.as_ref()),
    }
}

/// The samples of a page.
pub(super) fn read_page(page: &dyn Page) -> Result<Arc<Samples>, QueryError> {
    page.read().map_err(QueryError::Storage)
}

/// Finds the last sample at or before instants that rise.
pub(super) struct LastBefore<'a> {
    segments: std::iter::Peekable<std::slice::Iter<'a, Segment>>,
    /// The segment that the last answer came from.
    current: Option<&'a Segment>,
    /// Its samples, once they were needed.
    samples: Option<Arc<Samples>>,
    position: usize,
}

impl<'a> LastBefore<'a> {
    /// Over the segments of one series.
    pub(super) fn new(segments: &'a [Segment]) -> Self {
        Self { segments: segments.iter().peekable(), current: None, samples: None, position: 0 }
    }

    /// The last sample at or before an instant, which may be a staleness marker. Instants must not fall.
    pub(super) fn at(&mut self, at_ms: i64) -> Result<Option<(i64, f64)>, QueryError> {
        while let Some(next) = self.segments.peek() {
            if segment_bounds(next).is_some_and(|(first, _)| first > at_ms) {
                break;
            }
            if segment_bounds(next).is_some() {
                self.current = Some(next);
                (self.samples, self.position) = (None, 0);
            }
            self.segments.next();
        }
        let Some(current) = self.current else { return Ok(None) };
        if let Some(known) = last_of_summary(current, at_ms) {
            return Ok(Some(known));
        }
        let samples = match &mut self.samples {
            Some(samples) => samples,
            none => none.insert(read(current)?),
        };
        let timestamps = samples.timestamps_ms();
        self.position = behind_last_before(timestamps, self.position, at_ms);
        let found = self.position.checked_sub(1);
        Ok(found.and_then(|i| Some((*timestamps.get(i)?, *samples.values().get(i)?))))
    }
}

/// The last sample of a page that ends before an instant, where the summary knows it.
fn last_of_summary(segment: &Segment, at_ms: i64) -> Option<(i64, f64)> {
    let Segment::Page(page) = segment else { return None };
    let summary = page.summary();
    let values = summary.values.as_ref()?;
    (summary.last_ms <= at_ms && values.last_ms == summary.last_ms).then_some((values.last_ms, values.last))
}

/// Index behind the last instant at or before `at_ms`, searched from `from`.
pub(super) fn behind_last_before(timestamps: &[i64], from: usize, at_ms: i64) -> usize {
    let rest = timestamps.get(from..).unwrap_or_default();
    let near = rest.iter().take(LINEAR_STEPS).take_while(|t| **t <= at_ms).count();
    if near < LINEAR_STEPS {
        return from + near;
    }
    from + near + rest.get(near..).unwrap_or_default().partition_point(|t| *t <= at_ms)
}

/// Samples of one series in two columns, without staleness markers; filled anew for each series.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// Milliseconds, strictly rising.
    pub(super) timestamps_ms: Vec<i64>,
    /// As many values.
    pub(super) values: Vec<f64>,
    held: usize,
}

impl Stretch {
    /// Forgets all.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        self.timestamps_ms.clear();
        self.values.clear();
        budget.release(std::mem::take(&mut self.held));
    }

    /// Adds samples from `from_ms` to `to_ms`, both included, behind those that are here.
    pub(super) fn extend(
        &mut self,
        samples: &Samples,
        (from_ms, to_ms): (i64, i64),
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        let timestamps = samples.timestamps_ms();
        let from = timestamps.partition_point(|t| *t < from_ms);
        let to = timestamps.partition_point(|t| *t <= to_ms).max(from);
        let (Some(timestamps), Some(values)) = (timestamps.get(from..to), samples.values().get(from..to))
        else {
            return Ok(());
        };
        self.hold(values.len(), budget)?;
        if values.iter().any(|v| is_stale(*v)) {
            let kept = timestamps.iter().zip(values).filter(|(_, v)| !is_stale(**v));
            for (timestamp, value) in kept {
                self.push(*timestamp, *value);
            }
        } else {
            self.timestamps_ms.extend_from_slice(timestamps);
            self.values.extend_from_slice(values);
        }
        Ok(())
    }

    /// Adds one sample behind those that are here; its cost is the caller's.
    pub(super) fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// Counts samples that are about to come.
    pub(super) fn hold(&mut self, samples: usize, budget: &mut Budget) -> Result<(), QueryError> {
        self.held += samples;
        budget.hold(samples)
    }

    /// Fills itself with what a series has within bounds, both included.
    pub(super) fn load(
        &mut self,
        segments: &[Segment],
        bounds_ms: (i64, i64),
        budget: &mut Budget,
    ) -> Result<(), QueryError> {
        self.clear(budget);
        for segment in segments {
            let overlaps = segment_bounds(segment)
                .is_some_and(|(first, last)| first <= bounds_ms.1 && last >= bounds_ms.0);
            if overlaps {
                budget.check()?;
                self.extend(read(segment)?.as_ref(), bounds_ms, budget)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{page, samples};
    use super::*;
    use crate::model::STALE_NAN;
    use crate::promql::engine::Cancel;

    fn segments() -> Vec<Segment> {
        vec![
            Segment::Samples(Arc::new(samples(&[(0, 1.0), (10, 2.0)]))),
            Segment::Samples(Arc::new(Samples::default())),
            page(&[(20, 3.0), (30, STALE_NAN), (40, 4.0)]),
            page(&[(50, 5.0), (60, STALE_NAN)]),
        ]
    }

    #[test]
    fn the_last_sample_before_each_instant_is_found() {
        let segments = segments();
        let mut last = LastBefore::new(&segments);
        assert_eq!(last.at(-1).expect("read"), None);
        for (at, expected) in [(0, (0, 1.0)), (9, (0, 1.0)), (10, (10, 2.0)), (25, (20, 3.0))] {
            assert_eq!(last.at(at).expect("read"), Some(expected), "{at}");
        }
        assert!(last.at(30).expect("read").is_some_and(|(at, v)| at == 30 && is_stale(v)));
        assert_eq!(last.at(45).expect("read"), Some((40, 4.0)));
        assert!(last.at(100).expect("read").is_some_and(|(at, v)| at == 60 && is_stale(v)));
        assert_eq!(series_bounds(&segments), Some((0, 60)));
    }

    #[test]
    fn pages_whose_end_is_known_are_not_read() {
        let segments = vec![page(&[(0, 1.0), (10, 2.0)]), page(&[(20, 3.0), (30, 4.0)])];
        let mut last = LastBefore::new(&segments);
        assert_eq!(last.at(15).expect("read"), Some((10, 2.0)));
        assert_eq!(last.at(99).expect("read"), Some((30, 4.0)));
        assert_eq!(super::super::testing::pages_read(), 0);
        assert_eq!(LastBefore::new(&segments).at(25).expect("read"), Some((20, 3.0)));
        assert_eq!(super::super::testing::pages_read(), 1);
    }

    #[test]
    fn stretches_are_cut_and_free_of_markers() {
        let mut budget = Budget::new(100, None, Cancel::default());
        let mut stretch = Stretch::default();
        stretch.load(&segments(), (10, 50), &mut budget).expect("within the budget");
        assert_eq!(stretch.timestamps_ms, [10, 20, 40, 50]);
        assert_eq!(stretch.values, [2.0, 3.0, 4.0, 5.0]);
        stretch.clear(&mut budget);
        budget.hold(100).expect("all was given back");
    }

    #[test]
    fn far_instants_are_searched() {
        let timestamps: Vec<i64> = (0..1_000).collect();
        for (from, at, expected) in [(0, -1, 0), (0, 3, 4), (0, 500, 501), (400, 2_000, 1_000), (7, 3, 7)] {
            assert_eq!(behind_last_before(&timestamps, from, at), expected);
        }
    }
}
