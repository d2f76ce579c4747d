//! `rate`, `increase`, `delta`, `irate`, `idelta`, `changes`, `resets`, with plain, anchored and smoothed edges.
//!
//! Invariant: the same floating-point operations in the same order as Prometheus, so that results agree to the last bit.
//!
//! Source: Prometheus documentation, "Query functions"; its range extrapolation: up to 110 % of the average distance
//! between samples, else half of it, and for counters never below zero.

use super::window::{Notes, Window, duration_seconds, seconds};
use crate::promql::ast::Edges;

/// Whether the value only grows but for resets, and whether the result is per second.
#[derive(Clone, Copy)]
struct Kind {
    counter: bool,
    per_second: bool,
}

pub(super) fn rate(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    over_range(window, Kind { counter: true, per_second: true })
}

pub(super) fn increase(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    over_range(window, Kind { counter: true, per_second: false })
}

pub(super) fn delta(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    over_range(window, Kind { counter: false, per_second: false })
}

pub(super) fn irate(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    last_two(window, true)
}

pub(super) fn idelta(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    last_two(window, false)
}

pub(super) fn changes(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    count_steps(window, |previous, value| value != previous && !(value.is_nan() && previous.is_nan()))
}

pub(super) fn resets(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    count_steps(window, |previous, value| value < previous)
}

fn over_range(window: &Window<'_>, kind: Kind) -> Option<f64> {
    match window.edges {
        Edges::Plain => extrapolated(window, kind),
        Edges::Anchored | Edges::Smoothed => from_edge_to_edge(window, kind),
    }
}

fn extrapolated(window: &Window<'_>, kind: Kind) -> Option<f64> {
    let (first_ms, first) = window.samples().next()?;
    let (last_ms, last) = window.samples().next_back()?;
    if window.values.len() < 2 {
        return None;
    }
    let mut difference = last - first;
    if kind.counter {
        let mut previous = first;
        for &value in window.values.get(1..).unwrap_or_default() {
            if value < previous {
                difference += previous;
            }
            previous = value;
        }
    }
    let ends = Ends { first_ms, last_ms, first, intervals: window.values.len() - 1 };
    Some(extrapolate(window.range_start_ms, window.range_end_ms, &ends, difference, kind))
}

/// What the extrapolation needs of the samples within the range.
struct Ends {
    first_ms: i64,
    last_ms: i64,
    first: f64,
    intervals: usize,
}

fn extrapolate(start_ms: i64, end_ms: i64, ends: &Ends, difference: f64, kind: Kind) -> f64 {
    let mut to_start = seconds(ends.first_ms - start_ms);
    let mut to_end = seconds(end_ms - ends.last_ms);
    let sampled = seconds(ends.last_ms - ends.first_ms);
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
    let average = sampled / ends.intervals as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if kind.counter && difference > 0.0 && ends.first >= 0.0 {
        // A counter was not below zero: no further back than to where its line meets zero.
        let to_zero = sampled * (ends.first / difference);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if kind.per_second {
        factor /= duration_seconds(end_ms - start_ms);
    }
    difference * factor
}

/// The extrapolation for whoever knows first, last and resets without the samples between.
pub(super) fn extrapolate_summary(
    (start_ms, end_ms): (i64, i64),
    (first_ms, first): (i64, f64),
    last_ms: i64,
    samples: usize,
    difference: f64,
    (counter, per_second): (bool, bool),
) -> Option<f64> {
    let ends = Ends { first_ms, last_ms, first, intervals: samples.checked_sub(1).filter(|n| *n > 0)? };
    Some(extrapolate(start_ms, end_ms, &ends, difference, Kind { counter, per_second }))
}

/// `anchored` and `smoothed`: from the value at the left edge to that at the right edge, nothing extrapolated.
fn from_edge_to_edge(window: &Window<'_>, kind: Kind) -> Option<f64> {
    let (start_ms, end_ms) = (window.range_start_ms, window.range_end_ms);
    let smoothed = window.edges == Edges::Smoothed;
    let times = window.timestamps_ms;
    let mut last = times.len().checked_sub(1)?;
    let mut first = times.get(..last)?.partition_point(|t| *t <= start_ms).saturating_sub(1);
    if smoothed {
        last = times.get(..last)?.partition_point(|t| *t < end_ms);
    }
    let at = |index: usize| Some((*times.get(index)?, *window.values.get(index)?));
    let ((first_ms, first_value), (last_ms, last_value)) = (at(first)?, at(last)?);
    if last_ms <= start_ms {
        return None;
    }
    let left = match smoothed && first_ms < start_ms {
        true => interpolate((first_ms, first_value), at(first + 1)?, start_ms, kind.counter, true),
        false => first_value,
    };
    let right = match smoothed && last > 0 && last_ms > end_ms {
        true => interpolate(at(last - 1)?, (last_ms, last_value), end_ms, kind.counter, false),
        false => last_value,
    };
    let mut result = right - left;
    if kind.counter {
        // The edges account for their own resets: only what lies strictly within is left.
        if first_ms <= start_ms {
            first += 1;
        }
        let behind_last = if last_ms >= end_ms { last } else { last + 1 };
        result += reset_correction(left, right, window.values.get(first..behind_last).unwrap_or_default());
    }
    if kind.per_second {
        result /= window.range_seconds();
    }
    Some(result)
}

/// The value between two samples at an instant. A counter's reset between them counts from zero: at the left edge
/// the line starts there, at the right edge it goes on above the value before.
fn interpolate(
    (from_ms, mut from): (i64, f64),
    (to_ms, mut to): (i64, f64),
    at_ms: i64,
    counter: bool,
    left: bool,
) -> f64 {
    if counter && to < from {
        if left {
            from = 0.0;
        } else {
            to += from;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "as Prometheus")]
    let (part, whole) = ((at_ms - from_ms) as f64, (to_ms - from_ms) as f64);
    from + (to - from) * part / whole
}

fn reset_correction(left: f64, right: f64, between: &[f64]) -> f64 {
    let mut correction = 0.0;
    let mut previous = left;
    for &value in between.iter().chain([&right]) {
        if value < previous {
            correction += previous;
        }
        previous = value;
    }
    correction
}

fn last_two(window: &Window<'_>, per_second: bool) -> Option<f64> {
    let mut samples = window.samples().rev();
    let (last_ms, last) = samples.next()?;
    let (previous_ms, previous) = samples.next()?;
    let elapsed = seconds(last_ms - previous_ms);
    if last_ms == previous_ms {
        return None;
    }
    // A counter that fell was reset: what it shows now is all since.
    let difference = if per_second && last < previous { last } else { last - previous };
    Some(if per_second { difference / elapsed } else { difference })
}

fn count_steps(window: &Window<'_>, counts: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let mut values = window.values;
    if window.edges == Edges::Anchored {
        let times = window.timestamps_ms;
        if times.last().is_none_or(|t| *t <= window.range_start_ms) {
            return None;
        }
        let before = times.partition_point(|t| *t <= window.range_start_ms).saturating_sub(1);
        values = values.get(before..)?;
    }
    let steps = values.iter().zip(values.get(1..)?).filter(|(previous, value)| counts(**previous, **value));
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
    let steps = steps.count() as f64;
    Some(steps)
}
