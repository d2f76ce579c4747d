//! Whether a result is the expected one.
//!
//! Invariant: values may differ by a millionth of their sum; labels, their number and, where asked for, their order may
//! not.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::reader::{Expectations, When};
use super::series::{Item, SeriesLine};
use crate::model::Labels;
use crate::promql::functions::almost_equal;
use crate::promql::value::{Series, Value, VectorSample};

/// Relative difference that counts as equal.
const EPSILON: f64 = 1e-6;
/// Most series that a message shows.
const MOST_SHOWN: usize = 20;

/// What was expected and what came instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// Compares a result.
pub(super) fn compare(expected: &Expectations, when: When, value: &Value) -> Result<(), Difference> {
    let fits = match value {
        Value::Scalar { value, .. } => expected.scalar.is_some_and(|e| almost_equal(e, *value, EPSILON)),
        Value::String { text, .. } => expected.string.as_deref() == Some(text),
        _ if expected.scalar.is_some() || expected.string.is_some() => false,
        Value::Vector(samples) => vector_fits(expected, samples),
        Value::Matrix(series) => matrix_fits(expected, when, series),
    };
    match fits {
        true => Ok(()),
        false => Err(Difference { expected: show_expected(expected), got: show(value) }),
    }
}

fn vector_fits(expected: &Expectations, samples: &[VectorSample]) -> bool {
    if expected.range_vector.is_some() {
        return false;
    }
    let value_fits = |line: &SeriesLine, value: f64| match line.items.as_slice() {
        [Item::Value(expected)] => almost_equal(*expected, value, EPSILON),
        _ => false,
    };
    let lines = by_labels(expected);
    let each_once = lines.len() == samples.len();
    let all_fit = samples.iter().all(|s| lines.get(&s.labels).is_some_and(|line| value_fits(line, s.value)));
    let in_order = !expected.ordered
        || samples.iter().zip(&expected.series).all(|(sample, (_, line))| sample.labels == line.labels);
    each_once && all_fit && in_order
}

/// Of a series that is expected twice, the last line counts.
fn by_labels(expected: &Expectations) -> BTreeMap<&Labels, &SeriesLine> {
    expected.series.iter().map(|(_, line)| (&line.labels, line)).collect()
}

fn matrix_fits(expected: &Expectations, when: When, series: &[Series]) -> bool {
    let (start_ms, step_ms) = match (expected.range_vector, when) {
        (Some((from, step)), _) => (from, step),
        (None, When::Range(from, _, step)) => (from, step),
        (None, When::Instant(_)) => return false,
    };
    let end_ms = match when {
        When::Instant(at) | When::Range(_, at, _) => at,
    };
    let lines = by_labels(expected);
    let sorted = series.is_sorted_by(|a, b| a.labels < b.labels);
    let all_fit = series.iter().all(|series| {
        lines.get(&series.labels).is_some_and(|line| points_fit(line, (start_ms, end_ms, step_ms), series))
    });
    sorted && lines.len() == series.len() && all_fit
}

fn points_fit(line: &SeriesLine, (start_ms, end_ms, step_ms): (i64, i64, i64), series: &Series) -> bool {
    let mut got = series.samples.iter();
    let mut at_ms = start_ms;
    for item in &line.items {
        let fits = match item {
            Item::Omitted => true,
            Item::Histogram => false,
            Item::Value(expected) => {
                got.next().is_some_and(|(t, value)| t == at_ms && almost_equal(*expected, value, EPSILON))
            }
        };
        if !fits || at_ms > end_ms {
            return false;
        }
        at_ms += step_ms;
    }
    got.next().is_none()
}

fn show_expected(expected: &Expectations) -> String {
    if let Some(scalar) = expected.scalar {
        return format!("scalar {scalar}");
    }
    if let Some(text) = &expected.string {
        return format!("string {text:?}");
    }
    shown(expected.series.iter().map(|(_, line)| {
        let items = line.items.iter().map(|item| match item {
            Item::Omitted => "_".to_owned(),
            Item::Value(value) => value.to_string(),
            Item::Histogram => "{{...}}".to_owned(),
        });
        format!("{} {}", line.labels, items.collect::<Vec<_>>().join(" "))
    }))
}

fn show(value: &Value) -> String {
    match value {
        Value::Scalar { value, .. } => format!("scalar {value}"),
        Value::String { text, .. } => format!("string {text:?}"),
        Value::Vector(samples) => shown(samples.iter().map(|s| format!("{} {}", s.labels, s.value))),
        Value::Matrix(series) => shown(series.iter().map(|series| {
            let mut line = series.labels.to_string();
            for (at_ms, value) in series.samples.iter() {
                let _ = write!(line, " {value}@{at_ms}");
            }
            line
        })),
    }
}

fn shown(lines: impl ExactSizeIterator<Item = String>) -> String {
    let count = lines.len();
    let mut text: Vec<String> = lines.take(MOST_SHOWN).collect();
    match count {
        0 => return "nothing".to_owned(),
        n if n > MOST_SHOWN => text.push(format!("... {} more", n - MOST_SHOWN)),
        _ => {}
    }
    text.join("\n")
}
