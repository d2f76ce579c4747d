//! `deriv`, `predict_linear`, `double_exponential_smoothing`.
//!
//! Source: simple linear regression by least squares with compensated sums; Holt's linear method for the smoothing.

use super::go_float::GoF;
use super::statistics::KahanSum;
use super::window::{Notes, Window, seconds};

struct Line {
    slope: f64,
    intercept: f64,
}

pub(super) fn deriv(window: &Window<'_>, _: &[f64], _: &mut Notes) -> Option<f64> {
    // The slope is the same wherever the line is anchored; nearby it loses fewer digits.
    let origin_ms = *window.timestamps_ms.first()?;
    Some(regression(window, origin_ms)?.slope)
}

pub(super) fn predict_linear(window: &Window<'_>, arguments: &[f64], _: &mut Notes) -> Option<f64> {
    let ahead_seconds = *arguments.first()?;
    let line = regression(window, window.eval_ms)?;
    Some(line.slope * ahead_seconds + line.intercept)
}

/// `None` for fewer than two samples.
fn regression(window: &Window<'_>, origin_ms: i64) -> Option<Line> {
    let first = match window.values {
        [first, _, ..] => *first,
        _ => return None,
    };
    if window.values.iter().all(|value| *value == first) {
        return Some(match first.is_infinite() {
            true => Line { slope: f64::NAN, intercept: f64::NAN },
            false => Line { slope: 0.0, intercept: first },
        });
    }
    let (mut x_sum, mut y_sum) = (KahanSum::default(), KahanSum::default());
    let (mut xy_sum, mut xx_sum) = (KahanSum::default(), KahanSum::default());
    for (at_ms, y) in window.samples() {
        let x = seconds(at_ms - origin_ms);
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 samples")]
    let count = window.values.len() as f64;
    let (x, y, xy, xx) = (x_sum.total(), y_sum.total(), xy_sum.total(), xx_sum.total());
    let covariance = xy - x * y / count;
    let variance = xx - x * x / count;
    let slope = covariance / variance;
    Some(Line { slope, intercept: y / count - slope * x / count })
}

pub(super) fn double_exponential_smoothing(
    window: &Window<'_>,
    arguments: &[f64],
    notes: &mut Notes,
) -> Option<f64> {
    let [smoothing, trend_factor] = *arguments else { return None };
    for (what, symbol, factor) in [("smoothing", "sf", smoothing), ("trend", "tf", trend_factor)] {
        if factor <= 0.0 || factor >= 1.0 {
            notes.fail(format!("invalid {what} factor. Expected: 0 < {symbol} < 1, got: {}", GoF(factor)));
            return None;
        }
    }
    let [first, second, ..] = *window.values else { return None };
    let (mut before, mut level, mut trend) = (0.0, first, second - first);
    for (at, value) in window.values.iter().enumerate().skip(1) {
        let scaled = smoothing * value;
        if at > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let carried = (1.0 - smoothing) * (level + trend);
        (before, level) = (level, scaled + carried);
    }
    Some(level)
}
