//! Results of queries as text: a table, CSV, or the API's JSON.

use std::fmt::Write as _;

use jiff::Timestamp as Instant;

use super::super::instance::plain;
use crate::model::{Labels, METRIC_NAME, Quoted};
use crate::promql::Value;
/// A value as the API writes it.
pub(in crate::cli) use crate::web::shown_value as number;

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Columns for people.
    Table,
    /// The API's `data`.
    Json,
    /// A column for each label, then time and value.
    Csv,
    /// A chart of a range.
    Plot,
}

impl Format {
    pub(super) const NAMES: [(&'static str, Self); 4] =
        [("table", Self::Table), ("json", Self::Json), ("csv", Self::Csv), ("plot", Self::Plot)];
}

/// One line of a result.
struct Point<'a> {
    labels: &'a Labels,
    at_ms: i64,
    value: String,
}

/// The samples of a result, series by series. Scalars and texts have no labels.
fn points<'a>(value: &'a Value, none: &'a Labels) -> Vec<Point<'a>> {
    match value {
        Value::Scalar { at_ms, value } => vec![Point { labels: none, at_ms: *at_ms, value: number(*value) }],
        Value::String { at_ms, text } => vec![Point { labels: none, at_ms: *at_ms, value: text.clone() }],
        Value::Vector(samples) => samples
            .iter()
            .map(|s| Point { labels: &s.labels, at_ms: s.at_ms, value: number(s.value) })
            .collect(),
        Value::Matrix(series) => series
            .iter()
            .flat_map(|s| {
                let point = |(at_ms, value)| Point { labels: &s.labels, at_ms, value: number(value) };
                s.samples.iter().map(point)
            })
            .collect(),
    }
}

/// Columns: the series as PromQL writes it, the time of ranges, the value. A text of others must not move the cursor.
pub(super) fn table(value: &Value) -> String {
    let none = Labels::empty();
    let mut points = points(value, &none);
    points.iter_mut().for_each(|point| point.value = plain(&point.value));
    let with_time = matches!(value, Value::Matrix(_));
    let series: Vec<String> = points.iter().map(|point| series_text(point.labels)).collect();
    let width = series.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let values_width = points.iter().map(|point| point.value.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (point, series) in points.iter().zip(&series) {
        if width > 0 {
            let _ = write!(out, "{series:width$}  ");
        }
        if with_time {
            let _ = write!(out, "{}  ", time(point.at_ms));
        }
        let _ = writeln!(out, "{:>values_width$}", point.value);
    }
    out
}

/// RFC 4180: a header line, then a line for each sample.
pub(super) fn csv(value: &Value) -> String {
    let none = Labels::empty();
    let points = points(value, &none);
    let mut names: Vec<&str> = points.iter().flat_map(|p| p.labels.iter().map(|(name, _)| name)).collect();
    names.sort_unstable();
    names.dedup();
    let mut out = String::new();
    for name in &names {
        let _ = write!(out, "{},", field(name));
    }
    out.push_str("timestamp,value\r\n");
    for point in &points {
        for name in &names {
            let _ = write!(out, "{},", field(point.labels.value(name)));
        }
        let _ = write!(out, "{},{}\r\n", time(point.at_ms), field(&point.value));
    }
    out
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// `name{a="b"}`; empty where there are no labels.
pub(in crate::cli) fn series_text(labels: &Labels) -> String {
    let mut out = plain(labels.metric_name());
    let rest: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME)
        .map(|(name, value)| format!("{}={}", plain(name), Quoted(value)))
        .collect();
    if !rest.is_empty() || (out.is_empty() && !labels.is_empty()) {
        let _ = write!(out, "{{{}}}", rest.join(", "));
    }
    out
}

/// RFC 3339 in UTC; the number where it is out of range.
pub(in crate::cli) fn time(at_ms: i64) -> String {
    Instant::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |instant| instant.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Samples;
    use crate::promql::{Series, VectorSample};

    fn vector() -> Value {
        let sample = |pairs: &[(&str, &str)], value| VectorSample {
            labels: Labels::from_pairs(pairs.iter().copied()),
            drop_name: false,
            at_ms: 1_500,
            value,
        };
        Value::Vector(vec![
            sample(&[("__name__", "up"), ("job", "a,\"b\"")], 1.0),
            sample(&[("__name__", "longer_name")], 12.5),
        ])
    }

    #[test]
    fn tables_align() {
        assert_eq!(table(&vector()), "up{job=\"a,\\\"b\\\"\"}     1\nlonger_name        12.5\n");
        assert_eq!(table(&Value::Scalar { at_ms: 0, value: f64::INFINITY }), "+Inf\n");
        let escape = Value::String { at_ms: 0, text: "a\u{1b}[31m\u{9b}é".to_owned() };
        assert_eq!(table(&escape), "a[31mé\n");
        assert_eq!(table(&Value::Scalar { at_ms: 0, value: 1e300 }), "1e+300\n");
        let samples = Samples::from_columns(vec![0, 1_000], vec![1.0, f64::NAN]);
        let matrix = Value::Matrix(vec![Series { labels: Labels::from_pairs([("a", "b")]), samples }]);
        assert_eq!(
            table(&matrix),
            "{a=\"b\"}  1970-01-01T00:00:00Z    1\n{a=\"b\"}  1970-01-01T00:00:01Z  NaN\n"
        );
    }

    #[test]
    fn csv_has_a_column_for_each_label() {
        assert_eq!(
            csv(&vector()),
            "__name__,job,timestamp,value\r\nup,\"a,\"\"b\"\"\",1970-01-01T00:00:01.5Z,1\r\nlonger_name,,1970-01-01T00:00:01.5Z,12.5\r\n"
        );
    }
}
