//! What is known of a stretch of one series without its samples: made, merged, and kept in a few bytes.
//!
//! Invariant: each figure is what reading the samples in order gives, to the last bit; what cannot be promised to be
//! that is left out. Sums are promised where all values are whole and their absolute values stay within 2^53
//! together: then no order of adding rounds.

use super::bytes::{Reader, put_f64, put_signed, put_varint};
use super::column::{scaled_value, unscaled_value};
use crate::model::{Summary, ValueSummary, is_stale};

/// Whole numbers up to here, and sums of them, are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What samples in time order amount to; `None` where there are none.
pub(super) fn summarize(samples: impl Iterator<Item = (i64, f64)> + Clone) -> Option<Summary> {
    let (first_ms, _) = samples.clone().next()?;
    let mut summary = Summary { samples: 0, first_ms, last_ms: first_ms, values: None };
    for (at_ms, _) in samples.clone() {
        summary.samples += 1;
        summary.last_ms = at_ms;
    }
    let mut values = samples.filter(|(_, v)| !is_stale(*v)).peekable();
    let finite = values.peek().is_some() && values.clone().all(|(_, v)| v.is_finite());
    if finite {
        summary.values = summarize_values(values);
    }
    Some(summary)
}

fn summarize_values(values: impl Iterator<Item = (i64, f64)>) -> Option<ValueSummary> {
    let mut sum = ExactSum::default();
    let mut reset_sum = ExactSum::default();
    let mut all: Option<ValueSummary> = None;
    for (at_ms, value) in values {
        sum.add(value);
        let Some(so_far) = &mut all else {
            all = Some(one_value(at_ms, value));
            continue;
        };
        so_far.count += 1;
        so_far.last_ms = at_ms;
        if value < so_far.min {
            so_far.min = value;
        }
        if value > so_far.max {
            so_far.max = value;
        }
        if differs(so_far.last, value) {
            so_far.changes += 1;
        }
        if value < so_far.last {
            so_far.resets += 1;
            reset_sum.add(so_far.last);
        }
        so_far.last = value;
    }
    let mut all = all?;
    all.exact_sum = sum.value();
    all.exact_reset_sum = reset_sum.value();
    Some(all)
}

const fn one_value(at_ms: i64, value: f64) -> ValueSummary {
    ValueSummary {
        count: 1,
        first_ms: at_ms,
        last_ms: at_ms,
        first: value,
        last: value,
        min: value,
        max: value,
        exact_sum: None,
        changes: 0,
        resets: 0,
        exact_reset_sum: None,
    }
}

#[expect(clippy::float_cmp, reason = "a change is any difference, as in PromQL")]
fn differs(a: f64, b: f64) -> bool {
    a != b
}

/// A sum for as long as no order of adding could round.
struct ExactSum {
    sum: f64,
    absolute: f64,
    exact: bool,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { sum: 0.0, absolute: 0.0, exact: true }
    }
}

impl ExactSum {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.absolute += value.abs();
        self.exact &= value.fract() == 0.0 && self.absolute <= EXACT;
    }

    fn value(&self) -> Option<f64> {
        self.exact.then_some(self.sum)
    }
}

/// What two stretches of one series, the second behind the first, amount to together.
pub(super) fn merge(a: &Summary, b: &Summary) -> Summary {
    let values = match (&a.values, &b.values) {
        (Some(x), Some(y)) => Some(merge_values(x, y)),
        // None says "all markers" or "not finite"; which of them is not known, hence nothing is.
        _ => None,
    };
    Summary { samples: a.samples + b.samples, first_ms: a.first_ms, last_ms: b.last_ms, values }
}

fn merge_values(a: &ValueSummary, b: &ValueSummary) -> ValueSummary {
    let reset = b.first < a.last;
    let mut reset_sum = ExactSum::default();
    let mut resets_exact = true;
    for part in [a.exact_reset_sum, b.exact_reset_sum, reset.then_some(a.last).or(Some(0.0))] {
        match part {
            Some(part) => reset_sum.add(part),
            None => resets_exact = false,
        }
    }
    ValueSummary {
        count: a.count + b.count,
        first_ms: a.first_ms,
        last_ms: b.last_ms,
        first: a.first,
        last: b.last,
        min: if b.min < a.min { b.min } else { a.min },
        max: if b.max > a.max { b.max } else { a.max },
        exact_sum: merged_sum(a, b),
        changes: a.changes + b.changes + u32::from(differs(a.last, b.first)),
        resets: a.resets + b.resets + u32::from(reset),
        exact_reset_sum: reset_sum.value().filter(|_| resets_exact),
    }
}

/// The parts' absolute sums are not known, but bounded by count and extremes.
fn merged_sum(a: &ValueSummary, b: &ValueSummary) -> Option<f64> {
    let (x, y) = (a.exact_sum?, b.exact_sum?);
    let bound = |v: &ValueSummary| f64::from(v.count) * v.min.abs().max(v.max.abs());
    (bound(a) + bound(b) <= EXACT).then_some(x + y)
}

// In bytes. Instants are relative to those of the whole row that the summary stands in.

const OWN_INSTANTS: u8 = 1;
const NO_VALUES: u8 = 2;
const CONSTANT: u8 = 4;
const SOME_STALE: u8 = 8;
const FLOATS: u8 = 16;
const SUM: u8 = 32;
const RESETS: u8 = 64;
const RESET_SUM: u8 = 128;

/// The instants that a series has when it was there at every tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) samples: u32,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
}

pub(super) fn put_summary(out: &mut Vec<u8>, summary: &Summary, frame: Frame) {
    let flags_at = out.len();
    out.push(0);
    let mut flags = 0;
    let shown = Frame { samples: summary.samples, first_ms: summary.first_ms, last_ms: summary.last_ms };
    if shown != frame {
        flags |= OWN_INSTANTS;
        put_varint(out, u64::from(summary.samples));
        put_signed(out, summary.first_ms.wrapping_sub(frame.first_ms));
        put_signed(out, summary.last_ms.wrapping_sub(summary.first_ms));
    }
    match &summary.values {
        None => flags |= NO_VALUES,
        Some(values) => {
            if values.count != summary.samples {
                flags |= SOME_STALE;
                put_varint(out, u64::from(values.count));
                put_signed(out, values.first_ms.wrapping_sub(summary.first_ms));
                put_signed(out, values.last_ms.wrapping_sub(values.first_ms));
            }
            flags |= put_value_summary(out, values);
        }
    }
    if let Some(place) = out.get_mut(flags_at) {
        *place = flags;
    }
}

fn put_value_summary(out: &mut Vec<u8>, v: &ValueSummary) -> u8 {
    let mut flags = 0;
    let all = [v.first, v.last, v.min, v.max];
    let whole = (0..10_u8).find_map(|scale| {
        let [first, last, min, max] = all.map(|value| scaled_value(value, scale));
        Some((scale, [first?, last?, min?, max?]))
    });
    let constant = all.iter().all(|value| value.to_bits() == v.first.to_bits()) && v.changes == 0;
    match whole {
        Some((scale, [first, last, min, max])) => {
            out.push(scale);
            put_signed(out, first);
            if !constant {
                put_signed(out, last - first);
                put_signed(out, first - min);
                put_signed(out, max - first);
            }
        }
        None => {
            flags |= FLOATS;
            let kept = if constant { 1 } else { all.len() };
            all.iter().take(kept).for_each(|value| put_f64(out, *value));
        }
    }
    if constant {
        flags |= CONSTANT;
    } else {
        put_varint(out, u64::from(v.changes));
    }
    // The sum as its distance from what it were if all values were the first: few bytes for counters.
    if let Some(sum) = v.exact_sum {
        flags |= SUM;
        put_signed(out, whole_distance(sum, v));
    }
    if v.resets > 0 {
        flags |= RESETS;
        put_varint(out, u64::from(v.resets));
    }
    if let Some(sum) = v.exact_reset_sum.filter(|_| v.resets > 0) {
        flags |= RESET_SUM;
        put_f64(out, sum);
    }
    flags
}

/// Whole numbers, their products with a count and their sums stay within 2^53 * 2^32 < 2^127.
#[expect(
    clippy::cast_possible_truncation,
    reason = "whole numbers within 2^53, and a distance of sums within 2^53"
)]
fn whole_distance(sum: f64, v: &ValueSummary) -> i64 {
    (sum as i64).wrapping_sub((v.first as i64).wrapping_mul(i64::from(v.count)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the inverse of whole_distance"
)]
fn sum_at_distance(distance: i64, first: f64, count: u32) -> f64 {
    (first as i64).wrapping_mul(i64::from(count)).wrapping_add(distance) as f64
}

pub(super) fn read_summary(reader: &mut Reader<'_>, frame: Frame) -> Option<Summary> {
    let flags = reader.u8()?;
    let has = |flag: u8| flags & flag != 0;
    let mut summary =
        Summary { samples: frame.samples, first_ms: frame.first_ms, last_ms: frame.last_ms, values: None };
    if has(OWN_INSTANTS) {
        summary.samples = reader.u32_varint()?;
        summary.first_ms = frame.first_ms.wrapping_add(reader.signed()?);
        summary.last_ms = summary.first_ms.wrapping_add(reader.signed()?);
    }
    if has(NO_VALUES) {
        return Some(summary);
    }
    let (mut count, mut first_ms, mut last_ms) = (summary.samples, summary.first_ms, summary.last_ms);
    if has(SOME_STALE) {
        count = reader.u32_varint()?;
        first_ms = summary.first_ms.wrapping_add(reader.signed()?);
        last_ms = first_ms.wrapping_add(reader.signed()?);
    }
    let [first, last, min, max] = read_extremes(reader, has(FLOATS), has(CONSTANT))?;
    let changes = if has(CONSTANT) { 0 } else { reader.u32_varint()? };
    let exact_sum = match has(SUM) {
        true => Some(sum_at_distance(reader.signed()?, first, count)),
        false => None,
    };
    let resets = if has(RESETS) { reader.u32_varint()? } else { 0 };
    let exact_reset_sum = match (resets, has(RESET_SUM)) {
        (0, _) => Some(0.0),
        (_, true) => Some(reader.f64()?),
        (_, false) => None,
    };
    summary.values = Some(ValueSummary {
        count,
        first_ms,
        last_ms,
        first,
        last,
        min,
        max,
        exact_sum,
        changes,
        resets,
        exact_reset_sum,
    });
    Some(summary)
}

fn read_extremes(reader: &mut Reader<'_>, floats: bool, constant: bool) -> Option<[f64; 4]> {
    if floats {
        let first = reader.f64()?;
        if constant {
            return Some([first; 4]);
        }
        return Some([first, reader.f64()?, reader.f64()?, reader.f64()?]);
    }
    let scale = reader.u8()?;
    let first = reader.signed()?;
    let value = |whole: i64| unscaled_value(whole, scale);
    if constant {
        return value(first).map(|v| [v; 4]);
    }
    let last = first.wrapping_add(reader.signed()?);
    let min = first.wrapping_sub(reader.signed()?);
    let max = first.wrapping_add(reader.signed()?);
    Some([value(first)?, value(last)?, value(min)?, value(max)?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_NAN;

    /// NaN-proof and to the last bit.
    fn shown(summary: &Option<Summary>) -> String {
        let bits = |v: f64| v.to_bits();
        let Some(s) = summary else { return String::new() };
        let values = s.values.as_ref().map(|v| {
            (
                (v.count, v.first_ms, v.last_ms, bits(v.first), bits(v.last), bits(v.min), bits(v.max)),
                (v.exact_sum.map(bits), v.changes, v.resets, v.exact_reset_sum.map(bits)),
            )
        });
        format!("{} {} {} {values:?}", s.samples, s.first_ms, s.last_ms)
    }

    fn back(summary: &Summary, frame: Frame) -> (Option<Summary>, usize) {
        let mut out = Vec::new();
        put_summary(&mut out, summary, frame);
        let mut reader = Reader::new(&out);
        let read = read_summary(&mut reader, frame);
        assert!(reader.is_empty());
        (read, out.len())
    }

    #[test]
    fn a_counter_with_a_reset_and_a_marker() {
        let samples = [(0, 10.0), (15, 12.0), (30, 12.0), (45, 3.0), (60, STALE_NAN), (75, 4.0)];
        let summary = summarize(samples.into_iter()).expect("samples");
        assert_eq!((summary.samples, summary.first_ms, summary.last_ms), (6, 0, 75));
        let v = summary.values.expect("finite");
        assert_eq!((v.count, v.first, v.last, v.min, v.max), (5, 10.0, 4.0, 3.0, 12.0));
        assert_eq!((v.changes, v.resets, v.exact_sum, v.exact_reset_sum), (3, 1, Some(41.0), Some(12.0)));
    }

    #[test]
    fn what_is_not_finite_has_no_figures() {
        for odd in [f64::NAN, f64::INFINITY] {
            assert_eq!(summarize([(0, 1.0), (1, odd)].into_iter()).expect("samples").values, None);
        }
        assert_eq!(summarize([(0, STALE_NAN)].into_iter()).expect("samples").values, None);
        assert!(summarize(std::iter::empty()).is_none());
    }

    #[test]
    fn counters_take_few_bytes() {
        let samples: Vec<(i64, f64)> = (0..120).map(|i| (i * 15_000, (1_000_000 + i * 7) as f64)).collect();
        let frame = Frame { samples: 120, first_ms: 0, last_ms: 119 * 15_000 };
        let summary = summarize(samples.iter().copied()).expect("samples");
        let (read, size) = back(&summary, frame);
        assert_eq!(shown(&read), shown(&Some(summary)));
        assert!(size <= 14, "{size}");
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1000_i32..1000).prop_map(f64::from),
            2 => (-100_000_i32..100_000).prop_map(|n| f64::from(n) / 1000.0),
            1 => any::<f64>(),
            1 => Just(STALE_NAN),
            1 => Just(-0.0),
            1 => Just(9_007_199_254_740_991.0),
        ]
    }

    proptest! {
        #[test]
        fn bytes_hold_all_of_it(values in prop::collection::vec(any_value(), 1..60), shift in 0_i64..2) {
            let samples = values.iter().enumerate().map(|(i, v)| (i as i64 * 1000, *v));
            let summary = summarize(samples).expect("samples");
            let frame = Frame { samples: values.len() as u32, first_ms: shift, last_ms: summary.last_ms };
            prop_assert_eq!(shown(&back(&summary, frame).0), shown(&Some(summary)));
        }

        #[test]
        fn merging_promises_nothing_that_reading_does_not_give(
            values in prop::collection::vec(any_value(), 2..60), cut in 1_usize..59,
        ) {
            let cut = cut.min(values.len() - 1);
            let samples: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, v)| (i as i64, *v)).collect();
            let (a, b) = samples.split_at(cut);
            let whole = summarize(samples.iter().copied()).expect("samples");
            let mut merged = merge(
                &summarize(a.iter().copied()).expect("samples"),
                &summarize(b.iter().copied()).expect("samples"),
            );
            prop_assert_eq!(merged.samples, whole.samples);
            if let (Some(m), Some(w)) = (&mut merged.values, &whole.values) {
                // What merging leaves out need not be said; what it says must be so.
                m.exact_sum = m.exact_sum.or(w.exact_sum);
                m.exact_reset_sum = m.exact_reset_sum.or(w.exact_reset_sum);
                prop_assert_eq!(shown(&Some(merged.clone())), shown(&Some(whole.clone())));
            }
        }
    }
}
