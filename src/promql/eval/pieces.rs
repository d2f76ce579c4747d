//! Functions over long ranges from the summaries of pages: only the pages at a window's edges are read.
//!
//! Invariant: the result is the one of reading everything, to the last bit; where a function cannot promise that, the
//! series is read. At most the pages at both edges, and those without a summary, are held.

use std::sync::Arc;

use super::super::engine::QueryError;
use super::super::functions::{Piece, Pieces, SummaryFn};
use super::budget::Budget;
use super::column::{Slots, Steps};
use super::range::RangeArgument;
use super::reader::{read, segment_bounds};
use crate::model::{Samples, Segment, ValueSummary, is_stale};

/// So many pages must lie wholly within one window before their summaries are used.
const FEWEST_PAGES: usize = 2;

/// Whether a window is so long that summaries spare the reading of pages.
pub(super) fn is_worthwhile(segments: &[Segment], argument: &RangeArgument, steps: &Steps) -> bool {
    let covered = segments.iter().filter(|segment| {
        let (Segment::Page(_), Some((first_ms, last_ms))) = (segment, segment_bounds(segment)) else {
            return false;
        };
        let end_ms = match argument.shift.steps(steps) {
            Some(shifted) => {
                let step = shifted.first_from(last_ms);
                if step >= shifted.count {
                    return false;
                }
                shifted.at(step)
            }
            None => argument.shift.apply(steps.start_ms),
        };
        last_ms <= end_ms && first_ms > end_ms.saturating_sub(argument.range_ms)
    });
    covered.take(FEWEST_PAGES).count() == FEWEST_PAGES
}

/// Samples of one segment without staleness markers, while a window needs them.
struct Open {
    samples: Arc<Samples>,
    needed: bool,
}

/// One step's part of a segment.
enum Part {
    /// Index of a page that lies wholly within and has a summary.
    Page(usize),
    /// Index of an open segment, and which of its samples.
    Samples(usize, std::ops::Range<usize>),
}

/// The results of a function for one series; `None` where the samples must be read.
pub(super) fn results(
    segments: &[Segment],
    function: SummaryFn,
    argument: &RangeArgument,
    steps: &Steps,
    budget: &mut Budget,
) -> Result<Option<Slots>, QueryError> {
    let mut open: Vec<Option<Open>> = Vec::new();
    open.resize_with(segments.len(), || None);
    let mut slots = Slots::default();
    let mut parts = Vec::new();
    let mut first_segment = 0;
    for (step, at_ms) in steps.iter() {
        budget.check()?;
        let end_ms = argument.shift.apply(at_ms);
        let window = (end_ms.saturating_sub(argument.range_ms), end_ms);
        // Windows move forward: what ended before this one is not needed again.
        while segments
            .get(first_segment)
            .is_some_and(|s| segment_bounds(s).is_none_or(|(_, last)| last <= window.0))
        {
            first_segment += 1;
        }
        open_parts(segments, first_segment, window, &mut open, &mut parts, budget)?;
        let pieces: Vec<Piece<'_>> = parts.iter().filter_map(|part| piece(part, segments, &open)).collect();
        if !pieces.is_empty() {
            budget.count_read(pieces.iter().map(samples_of).sum());
            let range = Pieces { pieces: &pieces, range_start_ms: window.0, range_end_ms: window.1 };
            match function(&range) {
                None => return Ok(None),
                Some(Some(value)) => slots.set(step, value),
                Some(None) => {}
            }
        }
    }
    Ok(Some(slots))
}

/// Finds a window's parts, reads those that must be, and closes what is not needed any more.
fn open_parts(
    segments: &[Segment],
    first_segment: usize,
    (start_ms, end_ms): (i64, i64),
    open: &mut [Option<Open>],
    parts: &mut Vec<Part>,
    budget: &mut Budget,
) -> Result<(), QueryError> {
    parts.clear();
    open.iter_mut().flatten().for_each(|o| o.needed = false);
    for (index, segment) in segments.iter().enumerate().skip(first_segment) {
        let Some((first_ms, last_ms)) = segment_bounds(segment) else { continue };
        if first_ms > end_ms {
            break;
        }
        if first_ms > start_ms && last_ms <= end_ms && summary(segment).is_some() {
            parts.push(Part::Page(index));
            continue;
        }
        let Some(slot) = open.get_mut(index) else { continue };
        let opened = match slot {
            Some(opened) => opened,
            none => {
                let samples = without_markers(read(segment)?);
                budget.touch(samples.len())?;
                none.insert(Open { samples, needed: true })
            }
        };
        opened.needed = true;
        let timestamps = opened.samples.timestamps_ms();
        let from = timestamps.partition_point(|t| *t <= start_ms);
        let to = timestamps.partition_point(|t| *t <= end_ms);
        if from < to {
            parts.push(Part::Samples(index, from..to));
        }
    }
    for slot in open.iter_mut().filter(|slot| slot.as_ref().is_some_and(|o| !o.needed)) {
        *slot = None;
    }
    Ok(())
}

fn summary(segment: &Segment) -> Option<&ValueSummary> {
    match segment {
        Segment::Page(page) => page.summary().values.as_ref(),
        Segment::Samples(_) => None,
    }
}

fn piece<'a>(part: &Part, segments: &'a [Segment], open: &'a [Option<Open>]) -> Option<Piece<'a>> {
    match part {
        Part::Page(index) => segments.get(*index).and_then(summary).map(Piece::Summary),
        Part::Samples(index, range) => {
            let samples = &open.get(*index)?.as_ref()?.samples;
            let timestamps = samples.timestamps_ms().get(range.clone())?;
            Some(Piece::Samples(timestamps, samples.values().get(range.clone())?))
        }
    }
}

fn samples_of(piece: &Piece<'_>) -> usize {
    match piece {
        Piece::Samples(_, values) => values.len(),
        Piece::Summary(summary) => summary.count as usize,
    }
}

fn without_markers(samples: Arc<Samples>) -> Arc<Samples> {
    if !samples.values().iter().any(|v| is_stale(*v)) {
        return samples;
    }
    let (timestamps, values) = samples.iter().filter(|(_, v)| !is_stale(*v)).unzip();
    Arc::new(Samples::from_columns(timestamps, values))
}
