//! Functions over long ranges from what is known of whole pages, without reading their samples.
//!
//! Invariant: a result is the one that reading all samples gives, to the last bit, or there is none and the caller reads.
//! Sums are taken only where every addend is a whole number and no partial sum reaches 2^53, for then their order
//! does not matter; minimum, maximum, counts and ends are exact by nature.

use super::rate::extrapolate_summary;
use super::window::seconds;
use crate::model::ValueSummary;

/// A stretch of a range: samples, or what is known of a page that lies wholly within.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// At hand: milliseconds and values in order, staleness markers left out.
    Samples(&'a [i64], &'a [f64]),
    /// A page with at least one value, all finite.
    Summary(&'a ValueSummary),
}

/// A range in pieces, in time order.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    /// Together, all samples in (`range_start_ms`, `range_end_ms`].
    pub pieces: &'a [Piece<'a>],
    /// Before the first instant of the range.
    pub range_start_ms: i64,
    /// The last instant of the range.
    pub range_end_ms: i64,
}

/// What the function gives over the range: `None`: read the samples. An inner `None`: the series has no result.
pub type SummaryFn = fn(&Pieces<'_>) -> Option<Option<f64>>;

/// What computes a function over a range in pieces; `None` where it needs every sample.
///
/// Notes that the function of whole samples says, such as on names of counters, the caller says where there is a result.
pub fn summary_function(name: &str) -> Option<SummaryFn> {
    Some(match name {
        "count_over_time" => |pieces| Some(whole(Total::of(pieces)?.count)),
        "present_over_time" => |pieces| Some((Total::of(pieces)?.count > 0).then_some(1.0)),
        "first_over_time" => |pieces| Some(Some(Total::of(pieces)?.first)),
        "last_over_time" => |pieces| Some(Some(Total::of(pieces)?.last)),
        "ts_of_first_over_time" => |pieces| Some(Some(seconds(Total::of(pieces)?.first_ms))),
        "ts_of_last_over_time" => |pieces| Some(Some(seconds(Total::of(pieces)?.last_ms))),
        "min_over_time" => |pieces| Some(Some(Total::of(pieces)?.finite()?.min)),
        "max_over_time" => |pieces| Some(Some(Total::of(pieces)?.finite()?.max)),
        "sum_over_time" => |pieces| Some(Some(Total::of(pieces)?.finite()?.sum?)),
        "avg_over_time" => |pieces| {
            let total = Total::of(pieces)?.finite()?;
            Some(Some(total.sum? / whole(total.count)?))
        },
        "changes" => |pieces| Some(whole(Total::of(pieces)?.finite()?.changes)),
        "resets" => |pieces| Some(whole(Total::of(pieces)?.finite()?.resets)),
        "delta" => |pieces| over_range(pieces, false, false),
        "increase" => |pieces| over_range(pieces, true, false),
        "rate" => |pieces| over_range(pieces, true, true),
        _ => return None,
    })
}

fn over_range(pieces: &Pieces<'_>, counter: bool, per_second: bool) -> Option<Option<f64>> {
    let total = Total::of(pieces)?.finite()?;
    let mut difference = total.last - total.first;
    if counter && total.resets > 0 {
        // The additions are exact only among whole numbers.
        let ends_are_whole = is_whole(total.last) && is_whole(total.first);
        difference = ends_are_whole.then(|| exact(difference + total.reset_sum?)).flatten()?;
    }
    let range = (pieces.range_start_ms, pieces.range_end_ms);
    let samples = usize::try_from(total.count).ok()?;
    let first = (total.first_ms, total.first);
    Some(extrapolate_summary(range, first, total.last_ms, samples, difference, (counter, per_second)))
}

/// All pieces together.
#[derive(Clone, Copy, Debug)]
struct Total {
    count: u64,
    first_ms: i64,
    first: f64,
    last_ms: i64,
    last: f64,
    min: f64,
    max: f64,
    changes: u64,
    resets: u64,
    sum: Option<f64>,
    reset_sum: Option<f64>,
    all_finite: bool,
}

impl Total {
    /// `None` where there is no sample at all.
    fn of(pieces: &Pieces<'_>) -> Option<Self> {
        let mut total: Option<Self> = None;
        let mut add = |next: Self| total = Some(total.map_or(next, |before: Self| before.followed_by(next)));
        for piece in pieces.pieces {
            match piece {
                Piece::Summary(summary) => add(Self::of_summary(summary)),
                Piece::Samples(times, values) => {
                    times.iter().zip(*values).for_each(|(at_ms, value)| add(Self::of_sample(*at_ms, *value)));
                }
            }
        }
        total
    }

    fn of_sample(at_ms: i64, value: f64) -> Self {
        Self {
            count: 1,
            first_ms: at_ms,
            first: value,
            last_ms: at_ms,
            last: value,
            min: value,
            max: value,
            changes: 0,
            resets: 0,
            sum: is_whole(value).then_some(value),
            reset_sum: Some(0.0),
            all_finite: value.is_finite(),
        }
    }

    fn of_summary(summary: &ValueSummary) -> Self {
        Self {
            count: u64::from(summary.count),
            first_ms: summary.first_ms,
            first: summary.first,
            last_ms: summary.last_ms,
            last: summary.last,
            min: summary.min,
            max: summary.max,
            changes: u64::from(summary.changes),
            resets: u64::from(summary.resets),
            sum: summary.exact_sum,
            reset_sum: summary.exact_reset_sum,
            all_finite: true,
        }
    }

    fn followed_by(self, next: Self) -> Self {
        let reset = next.first < self.last;
        let reset_sum = self.reset_sum.zip(next.reset_sum).and_then(|(a, b)| exact(a + b));
        Self {
            count: self.count + next.count,
            first_ms: self.first_ms,
            first: self.first,
            last_ms: next.last_ms,
            last: next.last,
            min: if next.min < self.min { next.min } else { self.min },
            max: if next.max > self.max { next.max } else { self.max },
            changes: self.changes + next.changes + u64::from(next.first != self.last),
            resets: self.resets + next.resets + u64::from(reset),
            sum: self.sum.zip(next.sum).and_then(|(a, b)| exact(a + b)),
            reset_sum: match reset {
                true => reset_sum.filter(|_| is_whole(self.last)).and_then(|sum| exact(sum + self.last)),
                false => reset_sum,
            },
            all_finite: self.all_finite && next.all_finite,
        }
    }

    fn finite(self) -> Option<Self> {
        self.all_finite.then_some(self)
    }
}

/// Whole numbers up to this are added without rounding.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn is_whole(value: f64) -> bool {
    value.abs() < EXACT && value.fract() == 0.0 && !(value == 0.0 && value.is_sign_negative())
}

fn exact(sum: f64) -> Option<f64> {
    (sum.abs() < EXACT).then_some(sum)
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
fn whole(count: u64) -> Option<f64> {
    Some(count as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::promql::ast::Edges;
    use crate::promql::functions::{Notes, Window, range_function};

    const NAMES: [&str; 15] = [
        "avg_over_time",
        "changes",
        "count_over_time",
        "delta",
        "first_over_time",
        "increase",
        "last_over_time",
        "max_over_time",
        "min_over_time",
        "present_over_time",
        "rate",
        "resets",
        "sum_over_time",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
    ];

    /// What a store knows of a page, computed from its samples the slow way.
    fn summary_of(times: &[i64], values: &[f64]) -> ValueSummary {
        let falls: Vec<f64> = values.windows(2).filter(|w| w[1] < w[0]).map(|w| w[0]).collect();
        let in_any_order = |of: &[f64]| of.iter().map(|v| v.abs()).sum::<f64>() < 9_007_199_254_740_992.0;
        let exact_sum =
            |of: &[f64]| (of.iter().all(|v| is_whole(*v)) && in_any_order(of)).then(|| of.iter().sum());
        ValueSummary {
            count: u32::try_from(values.len()).expect("small"),
            first_ms: times[0],
            last_ms: times[times.len() - 1],
            first: values[0],
            last: values[values.len() - 1],
            min: values.iter().copied().fold(f64::INFINITY, |a, b| if b < a { b } else { a }),
            max: values.iter().copied().fold(f64::NEG_INFINITY, |a, b| if b > a { b } else { a }),
            exact_sum: exact_sum(values),
            changes: u32::try_from(values.windows(2).filter(|w| w[1] != w[0]).count()).expect("small"),
            resets: u32::try_from(falls.len()).expect("small"),
            exact_reset_sum: exact_sum(&falls),
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (0..50_i32).prop_map(f64::from),
            1 => (-1_000..1_000_i32).prop_map(|n| f64::from(n) / 7.0),
            1 => Just(9e15),
        ]
    }

    proptest! {
        #[test]
        fn a_result_from_pieces_is_that_of_the_samples(
            values in prop::collection::vec(value(), 1..40),
            pages in prop::collection::vec((1..12_usize, any::<bool>()), 40),
        ) {
            let times: Vec<i64> = (1..=values.len()).map(|i| i64::try_from(i).expect("small") * 15_000 - 7).collect();
            let end = times[times.len() - 1] + 3_000;
            let mut bounds = vec![];
            let mut at = 0;
            for (length, summarized) in pages {
                let to = (at + length).min(values.len());
                if to > at {
                    bounds.push((at..to, summarized));
                }
                at = to;
            }
            let summaries: Vec<ValueSummary> =
                bounds.iter().map(|(r, _)| summary_of(&times[r.clone()], &values[r.clone()])).collect();
            let pieces: Vec<Piece<'_>> = bounds.iter().zip(&summaries).map(|((r, summarized), summary)| {
                if *summarized { Piece::Summary(summary) } else { Piece::Samples(&times[r.clone()], &values[r.clone()]) }
            }).collect();
            let pieces = Pieces { pieces: &pieces, range_start_ms: 0, range_end_ms: end };
            let window = Window {
                timestamps_ms: &times,
                values: &values,
                range_start_ms: 0,
                range_end_ms: end,
                eval_ms: end,
                edges: Edges::Plain,
            };
            for name in NAMES {
                let slow = range_function(name).expect(name)(&window, &[], &mut Notes::default());
                if let Some(fast) = summary_function(name).expect(name)(&pieces) {
                    prop_assert_eq!(fast.map(f64::to_bits), slow.map(f64::to_bits), "{} {:?} {:?}", name, fast, slow);
                }
            }
        }
    }

    #[test]
    fn whole_numbers_are_always_summed_from_pieces() {
        let (times, values) = ([1, 2, 3], [5.0, 7.0, 2.0]);
        let summary = summary_of(&times, &values);
        let pieces = [Piece::Summary(&summary), Piece::Samples(&[4, 5], &[1.0, 9.0])];
        let pieces = Pieces { pieces: &pieces, range_start_ms: 0, range_end_ms: 5 };
        let of = |name: &str| summary_function(name).expect(name)(&pieces);
        assert_eq!(of("sum_over_time"), Some(Some(24.0)));
        assert_eq!(of("resets"), Some(Some(2.0)));
        assert!(of("increase").is_some());
        assert!(summary_function("quantile_over_time").is_none());
    }
}
