//! Functions over a range of one series: `*_over_time` and the table of all of them.
//!
//! Source: Prometheus documentation, "Query functions", `<aggregation>_over_time()`.

use super::rate::{changes, delta, idelta, increase, irate, rate, resets};
use super::regression::{deriv, double_exponential_smoothing, predict_linear};
use super::statistics::{KahanSum, Mean, Variance, quantile};
use super::window::{Note, NoteKind, Notes, RangeFn, Window, seconds};

/// What computes a function over a range, by its name in PromQL.
///
/// `absent_over_time` is not among them: it is about the series that are not there.
pub fn range_function(name: &str) -> Option<RangeFn> {
    Some(match name {
        "avg_over_time" => |window, _, _| mean(window.values),
        "changes" => changes,
        "count_over_time" => |window, _, _| Some(count(window)),
        "delta" => delta,
        "deriv" => deriv,
        "double_exponential_smoothing" => double_exponential_smoothing,
        "first_over_time" => |window, _, _| window.values.first().copied(),
        "idelta" => idelta,
        "increase" => increase,
        "irate" => irate,
        "last_over_time" => |window, _, _| window.values.last().copied(),
        "mad_over_time" => |window, _, _| median_absolute_deviation(window.values),
        "max_over_time" => |window, _, _| extreme(window, |value, best| value > best).map(|(_, v)| v),
        "min_over_time" => |window, _, _| extreme(window, |value, best| value < best).map(|(_, v)| v),
        "predict_linear" => predict_linear,
        "present_over_time" => |_, _, _| Some(1.0),
        "quantile_over_time" => quantile_over_time,
        "rate" => rate,
        "resets" => resets,
        "stddev_over_time" => |window, _, _| Some(variance(window.values).sqrt()),
        "stdvar_over_time" => |window, _, _| Some(variance(window.values)),
        "sum_over_time" => |window, _, _| Some(sum(window.values)),
        "ts_of_first_over_time" => |window, _, _| window.timestamps_ms.first().copied().map(seconds),
        "ts_of_last_over_time" => |window, _, _| window.timestamps_ms.last().copied().map(seconds),
        // Of equal values the last counts.
        "ts_of_max_over_time" => {
            |window, _, _| Some(seconds(extreme(window, |value, best| value >= best)?.0))
        }
        "ts_of_min_over_time" => {
            |window, _, _| Some(seconds(extreme(window, |value, best| value <= best)?.0))
        }
        _ => return None,
    })
}

/// Whether the result of a function over a range is still a sample of the series: it keeps the metric name.
pub fn keeps_metric_name(name: &str) -> bool {
    matches!(name, "last_over_time" | "first_over_time")
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
fn count(window: &Window<'_>) -> f64 {
    window.values.len() as f64
}

fn sum(values: &[f64]) -> f64 {
    let mut sum = KahanSum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.bounded_total()
}

fn mean(values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    let mut mean = Mean::of(*first);
    rest.iter().for_each(|value| mean.add(*value));
    Some(mean.value())
}

fn variance(values: &[f64]) -> f64 {
    let mut variance = Variance::default();
    values.iter().for_each(|value| variance.add(*value));
    variance.value()
}

/// The first sample that `better` puts above all before it; any number is better than NaN.
fn extreme(window: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> Option<(i64, f64)> {
    window.samples().reduce(
        |best, sample| {
            if better(sample.1, best.1) || best.1.is_nan() { sample } else { best }
        },
    )
}

fn quantile_over_time(window: &Window<'_>, arguments: &[f64], notes: &mut Notes) -> Option<f64> {
    let q = *arguments.first()?;
    if !(0.0..=1.0).contains(&q) {
        notes.say(Note { argument: 0, kind: NoteKind::InvalidQuantile(q) });
    }
    Some(quantile(q, &mut window.values.to_vec()))
}

fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let mut values = values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(quantile(0.5, &mut values))
}
