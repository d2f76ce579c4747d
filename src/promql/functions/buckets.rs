//! Classic histograms: series with an `le` label, put together and asked for quantiles and fractions.
//!
//! Invariant: buckets of a histogram are sorted by upper bound, equal bounds are added up, and counts are made to rise
//! before a quantile is taken.
//!
//! Source: Prometheus documentation, `histogram_quantile` and `histogram_fraction`.

use rustc_hash::FxHashMap;

use super::go_float::OpenMetricsFloat;
use super::window::{Note, NoteKind, Notes};
use crate::model::Labels;
use crate::promql::annotations::ForcedMonotonicity;

/// The label with a bucket's upper bound.
pub const BUCKET_LABEL: &str = "le";

/// Relative difference of neighbouring counts that is rounding, not a falling count.
const SMALL_DIFFERENCE: f64 = 1e-12;

/// A bucket: how much was observed up to a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The bound, included.
    pub upper_bound: f64,
    /// Observations up to it: cumulative.
    pub count: f64,
}

/// Series sorted into histograms. Made once for a query; the counts change from step to step.
#[derive(Debug, Default)]
pub struct Histograms {
    groups: Vec<HistogramSeries>,
    malformed: Vec<(usize, NoteKind)>,
}

/// The series of one histogram.
#[derive(Debug)]
pub struct HistogramSeries {
    /// Labels without `le`; with the metric name.
    pub labels: Labels,
    /// Upper bound and which of the series given to [`Histograms::group`] has the count.
    pub buckets: Vec<(f64, usize)>,
}

impl Histograms {
    /// Groups series by their labels without `le`.
    pub fn group<'a>(series: impl IntoIterator<Item = &'a Labels>) -> Self {
        let mut histograms = Self::default();
        let mut by_labels: FxHashMap<Labels, usize> = FxHashMap::default();
        for (index, labels) in series.into_iter().enumerate() {
            let le = labels.value(BUCKET_LABEL);
            let Some(upper_bound) = parse_go_float(le) else {
                let metric_name = labels.metric_name().to_owned();
                let kind = NoteKind::BadBucketLabel { metric_name, le: le.to_owned() };
                histograms.malformed.push((index, kind));
                continue;
            };
            let labels = labels.filtered(|name| name != BUCKET_LABEL);
            let next = histograms.groups.len();
            let group = *by_labels.entry(labels.clone()).or_insert(next);
            if group == next {
                histograms.groups.push(HistogramSeries { labels, buckets: Vec::new() });
            }
            if let Some(group) = histograms.groups.get_mut(group) {
                group.buckets.push((upper_bound, index));
            }
        }
        histograms
    }

    /// The histograms, in the order of their first series.
    pub fn groups(&self) -> &[HistogramSeries] {
        &self.groups
    }

    /// Says which of the series that are there at a step have an `le` that is no number.
    pub fn note_malformed(&self, is_there: impl Fn(usize) -> bool, argument: usize, notes: &mut Notes) {
        for (_, kind) in self.malformed.iter().filter(|(series, _)| is_there(*series)) {
            notes.say(Note { argument, kind: kind.clone() });
        }
    }
}

/// Says that a quantile is outside of 0 to 1, if it is.
pub fn note_invalid_quantile(q: f64, argument: usize, notes: &mut Notes) {
    if !(0.0..=1.0).contains(&q) {
        notes.say(Note { argument, kind: NoteKind::InvalidQuantile(q) });
    }
}

/// The quantile label of `histogram_quantiles`.
pub fn quantile_label(q: f64) -> String {
    OpenMetricsFloat(q).to_string()
}

/// A quantile, and how far the buckets had to be lifted for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketQuantile {
    /// The value; NaN where there are too few buckets or observations.
    pub value: f64,
    /// Set where a bucket counted less than the one below it.
    pub forced: Option<ForcedMonotonicity>,
}

/// `histogram_quantile` of one histogram at one step. Sorts and mends the buckets. Empty: NaN.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>, at_ms: i64) -> BucketQuantile {
    let plain = |value| BucketQuantile { value, forced: None };
    if q.is_nan() {
        return plain(f64::NAN);
    }
    if q < 0.0 {
        return plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return plain(f64::INFINITY);
    }
    if !sort_and_coalesce(buckets) {
        return plain(f64::NAN);
    }
    let forced = make_monotonic(buckets, at_ms);
    BucketQuantile { value: interpolate_quantile(q, buckets), forced }
}

/// Sorts by bound and adds equal bounds up. False where the last bucket is not `+Inf`.
fn sort_and_coalesce(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
    if buckets.last().is_none_or(|last| last.upper_bound != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper_bound == kept.upper_bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

fn make_monotonic(buckets: &mut [Bucket], at_ms: i64) -> Option<ForcedMonotonicity> {
    let (first, rest) = buckets.split_first_mut()?;
    let mut previous = first.count;
    let mut forced: Option<ForcedMonotonicity> = None;
    for bucket in rest {
        let count = bucket.count;
        if count == previous {
            continue;
        }
        if almost_equal(previous, count, SMALL_DIFFERENCE) {
            bucket.count = previous;
        } else if count < previous {
            bucket.count = previous;
            let so_far = forced.unwrap_or(ForcedMonotonicity {
                lowest_bucket: bucket.upper_bound,
                highest_bucket: bucket.upper_bound,
                largest_difference: 0.0,
                first_ms: at_ms,
                last_ms: at_ms,
                samples: 1,
            });
            forced = Some(ForcedMonotonicity {
                highest_bucket: bucket.upper_bound,
                largest_difference: so_far.largest_difference.max(previous - count),
                ..so_far
            });
        } else {
            previous = count;
        }
    }
    forced
}

fn interpolate_quantile(q: f64, buckets: &[Bucket]) -> f64 {
    let [lower @ .., second_last, last] = buckets else { return f64::NAN };
    let observations = last.count;
    if observations == 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    let finite = lower.len() + 1;
    let at = buckets.get(..finite).map_or(finite, |below| {
        // A count that is NaN is stepped over.
        below.partition_point(|bucket| bucket.count < rank || bucket.count.is_nan() || rank.is_nan())
    });
    if at == finite {
        return second_last.upper_bound;
    }
    let Some(bucket) = buckets.get(at) else { return f64::NAN };
    let Some(below) = at.checked_sub(1).and_then(|at| buckets.get(at)) else {
        // The lowest bucket starts at zero, unless it ends there or below.
        return match bucket.upper_bound <= 0.0 {
            true => bucket.upper_bound,
            false => 0.0 + bucket.upper_bound * (rank / bucket.count),
        };
    };
    let start = below.upper_bound;
    start + (bucket.upper_bound - start) * ((rank - below.count) / (bucket.count - below.count))
}

/// `histogram_fraction` of one histogram at one step. Sorts the buckets. Empty: NaN.
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !sort_and_coalesce(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |last| last.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |bound| rank(bound, buckets).filter(|rank| *rank <= count).unwrap_or(count);
    (rank_of(upper) - rank_of(lower)) / count
}

/// Observations up to a value; `None` where it lies above all buckets.
fn rank(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let (mut below, mut lower_bound) = (0.0, f64::NEG_INFINITY);
    for bucket in buckets {
        if lower_bound >= value {
            return Some(below);
        }
        if lower_bound < value && bucket.upper_bound > value {
            // Nothing can be told within a bucket without a lower end; within `+Inf` the second term is 0.
            return Some(match lower_bound == f64::NEG_INFINITY {
                true => bucket.count,
                false => {
                    below
                        + (bucket.count - below) * (value - lower_bound) / (bucket.upper_bound - lower_bound)
                }
            });
        }
        below = bucket.count;
        lower_bound = bucket.upper_bound;
    }
    None
}

/// Whether two numbers differ by less than a fraction of their sum.
pub fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if crate::model::is_stale(a) || crate::model::is_stale(b) {
        return crate::model::is_stale(a) && crate::model::is_stale(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}

/// A number as Go's `strconv.ParseFloat` reads it; underscores are not allowed, as without a base prefix.
pub fn parse_go_float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let magnitude = parse_hex_float(hex)?;
        return Some(if text.starts_with('-') { -magnitude } else { magnitude });
    }
    if unsigned.eq_ignore_ascii_case("nan") {
        return (unsigned.len() == text.len()).then_some(f64::NAN);
    }
    let value: f64 = text.parse().ok()?;
    let spelled = unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity");
    // What is too large is an error in Go, not infinity.
    (spelled || value.is_finite()).then_some(value)
}

/// `1.8p3`: hexadecimal digits and a binary exponent, which Go demands.
fn parse_hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent: i32 = exponent.parse().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?.checked_mul(4)?)?;
    Some(value * 2_f64.powi(shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(of: &[(f64, f64)]) -> Vec<Bucket> {
        of.iter().map(|&(upper_bound, count)| Bucket { upper_bound, count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_follow_the_rules_of_the_edges() {
        let plain = [(0.1, 5.0), (0.2, 7.0), (1.0, 11.0), (INF, 12.0)];
        for (q, of, expected) in [
            (0.0, &plain[..], 0.0),
            (0.25, &plain[..], 0.06),
            (0.5, &plain[..], 0.15),
            (1.0, &plain[..], 1.0),
            (-0.1, &plain[..], -INF),
            (1.01, &plain[..], INF),
            (0.5, &[(0.1, 5.0), (0.2, 7.0)], f64::NAN),
            (0.5, &[(INF, 5.0)], f64::NAN),
            (0.5, &[(1.0, 0.0), (INF, 0.0)], f64::NAN),
            (0.2, &[(-0.2, 1.0), (-0.1, 2.0), (INF, 3.0)], -0.2),
            (0.5, &[(1.0, 2.0), (1.0, 2.0), (2.0, 4.0), (INF, 4.0)], 0.5),
            (0.75, &[(2.0, 4.0), (1.0, 2.0), (INF, 4.0)], 1.5),
        ] {
            let got = bucket_quantile(q, &mut buckets(of), 0);
            assert!(
                (got.value - expected).abs() < 1e-12
                    || got.value == expected
                    || got.value.is_nan() && expected.is_nan(),
                "{q} of {of:?}: {got:?}"
            );
            assert_eq!(got.forced, None);
        }
    }

    #[test]
    fn falling_counts_are_lifted_and_told_small_ones_only_lifted() {
        let falling = [(0.1, 2.0), (1.0, 1.0), (10.0, 5.0), (100.0, 4.0), (1000.0, 9.0), (INF, 8.0)];
        let got = bucket_quantile(0.5, &mut buckets(&falling), 7);
        let forced = got.forced.expect("lifted");
        assert_eq!(
            (forced.lowest_bucket, forced.highest_bucket, forced.largest_difference, forced.first_ms),
            (1.0, INF, 1.0, 7)
        );
        assert_eq!(got.value, 8.5);
        let rounding = [(1.0, 10.0), (2.0, 10.0 - 1e-12), (INF, 10.0)];
        assert_eq!(
            bucket_quantile(0.5, &mut buckets(&rounding), 0),
            BucketQuantile { value: 0.5, forced: None }
        );
    }

    #[test]
    fn fractions_are_interpolated_within_buckets_with_two_ends() {
        let plain = [(0.0, 0.0), (0.1, 5.0), (0.2, 7.0), (1.0, 11.0), (INF, 12.0)];
        for (lower, upper, expected) in [
            (0.0, 0.2, 7.0 / 12.0),
            (0.0, 0.15, 0.5),
            (-INF, INF, 1.0),
            (0.2, 0.2, 0.0),
            (0.3, 0.2, 0.0),
            (1.0, INF, 1.0 / 12.0),
            (f64::NAN, 1.0, f64::NAN),
        ] {
            let got = bucket_fraction(lower, upper, &mut buckets(&plain));
            assert!(
                (got - expected).abs() < 1e-12 || got.is_nan() && expected.is_nan(),
                "{lower} {upper}: {got}"
            );
        }
        assert!(bucket_fraction(0.0, 1.0, &mut buckets(&[(1.0, 1.0)])).is_nan());
        assert_eq!(bucket_fraction(0.5, 1.0, &mut buckets(&[(1.0, 1.0), (INF, 1.0)])), 0.0);
    }

    #[test]
    fn series_are_grouped_without_their_bound() {
        let series: Vec<Labels> = [("a", "1"), ("a", "+Inf"), ("b", "1"), ("a", "x"), ("a", "")]
            .iter()
            .map(|(l, le)| Labels::from_pairs([("__name__", "m_bucket"), ("l", l), ("le", le)]))
            .collect();
        let histograms = Histograms::group(&series);
        let shown: Vec<_> =
            histograms.groups().iter().map(|g| (g.labels.value("l"), g.buckets.clone())).collect();
        assert_eq!(shown, [("a", vec![(1.0, 0), (INF, 1)]), ("b", vec![(1.0, 2)])]);
        let mut notes = Notes::default();
        histograms.note_malformed(|series| series == 3, 1, &mut notes);
        let said: Vec<NoteKind> = notes.drain().map(|n| n.kind).collect();
        assert_eq!(said, [NoteKind::BadBucketLabel { metric_name: "m_bucket".into(), le: "x".into() }]);
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("+Inf", Some(INF)),
            ("-infinity", Some(-INF)),
            ("1e0", Some(1.0)),
            (".1", Some(0.1)),
            ("0x1p-2", Some(0.25)),
            ("0x1.8p1", Some(3.0)),
            ("0x10", None),
            ("1e999", None),
            ("+-1", None),
            ("", None),
            ("1 ", None),
        ] {
            assert_eq!(parse_go_float(text), expected, "{text}");
        }
        assert!(parse_go_float("nan").is_some_and(f64::is_nan) && parse_go_float("+NaN").is_none());
    }
}
