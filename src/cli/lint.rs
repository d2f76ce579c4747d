//! What is legal in an exposition and yet not how Prometheus's conventions want it.
//!
//! Source: Prometheus's "Metric and label naming" and "Writing exporters" pages; the same faults that
//! `promtool check metrics` names.

use std::collections::HashSet;

use crate::model::{Batch, FamilyView, Kind, SampleView};

/// One fault of one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) metric: String,
    pub(super) text: String,
}

/// Every fault, in the order of the families' names.
pub(super) fn lint(batch: &Batch) -> Vec<Fault> {
    let mut faults: Vec<Fault> = batch
        .families()
        .flat_map(|family| {
            let mut texts = Vec::new();
            help(&family, &mut texts);
            suffixes(&family, &mut texts);
            words(&family, &mut texts);
            labels(&family, &mut texts);
            let metric = family.name().to_owned();
            texts.into_iter().map(move |text| Fault { metric: metric.clone(), text })
        })
        .collect();
    faults.sort();
    faults.dedup();
    faults
}

fn help(family: &FamilyView<'_>, faults: &mut Vec<String>) {
    if family.help().is_empty() {
        faults.push("no help text".to_owned());
    }
}

fn suffixes(family: &FamilyView<'_>, faults: &mut Vec<String>) {
    let (name, kind) = (family.name(), family.kind());
    let composed = matches!(kind, Kind::Histogram | Kind::GaugeHistogram | Kind::Summary);
    match kind {
        Kind::Untyped => {}
        Kind::Counter if name.ends_with("_total") => {}
        Kind::Counter => faults.push("counter metrics should have \"_total\" suffix".to_owned()),
        _ if name.ends_with("_total") => {
            faults.push("non-counter metrics should not have \"_total\" suffix".to_owned());
        }
        _ => {}
    }
    for (suffix, fits) in [
        ("_bucket", matches!(kind, Kind::Histogram | Kind::GaugeHistogram | Kind::Untyped)),
        ("_count", composed || kind == Kind::Untyped),
        ("_sum", composed || kind == Kind::Untyped),
    ] {
        if name.ends_with(suffix) && !fits {
            faults.push(format!("only histograms and summaries should have \"{suffix}\" suffix"));
        }
    }
}

/// Units that are no base unit, as words of a name, and the base unit to take.
const UNITS: &[(&[&str], &str)] = &[
    (
        &[
            "nanoseconds",
            "microseconds",
            "milliseconds",
            "minutes",
            "hours",
            "days",
            "weeks",
            "months",
            "years",
        ],
        "seconds",
    ),
    (
        &["kilobytes", "megabytes", "gigabytes", "terabytes", "petabytes", "kibibytes", "mebibytes", "bits"],
        "bytes",
    ),
    (&["fahrenheit", "kelvin"], "celsius"),
    (&["kilometers", "centimeters", "millimeters", "miles", "feet", "inches"], "meters"),
    (&["kilojoules", "megajoules", "calories"], "joules"),
    (&["millivolts", "kilovolts"], "volts"),
    (&["milliamperes", "milliamps"], "amperes"),
    (&["percent", "percents"], "ratio"),
    (&["kilograms", "milligrams", "pounds"], "grams"),
];

/// Abbreviations of units, which a reader has to guess.
const ABBREVIATIONS: &[&str] = &["ms", "us", "ns", "sec", "secs", "kb", "mb", "gb", "tb", "pb", "b"];

fn words(family: &FamilyView<'_>, faults: &mut Vec<String>) {
    let name = family.name();
    if name.contains(':') {
        faults.push("metric names should not contain \":\"".to_owned());
    }
    if is_camel_case(name) {
        faults.push("metric names should be written in \"snake_case\", not \"camelCase\"".to_owned());
    }
    let own_kind = match family.kind() {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram | Kind::GaugeHistogram => "histogram",
        Kind::Summary => "summary",
        Kind::Info | Kind::StateSet | Kind::Untyped => "",
    };
    for word in name.split('_') {
        if !own_kind.is_empty() && word == own_kind {
            faults.push(format!("metric name should not include type {word:?}"));
        }
        if ABBREVIATIONS.contains(&word) {
            faults.push("metric names should not contain abbreviated units".to_owned());
        }
        if let Some((_, base)) = UNITS.iter().find(|(units, _)| units.contains(&word)) {
            faults.push(format!("use base unit {base:?} instead of {word:?}"));
        }
    }
}

fn labels(family: &FamilyView<'_>, faults: &mut Vec<String>) {
    let histogram = matches!(family.kind(), Kind::Histogram | Kind::GaugeHistogram | Kind::Untyped);
    let summary = matches!(family.kind(), Kind::Summary | Kind::Untyped);
    let mut seen = HashSet::new();
    for sample in family.samples() {
        for (name, _) in sample.labels().iter() {
            match name {
                "le" if !histogram => faults.push("only histograms should have label \"le\"".to_owned()),
                "quantile" if !summary => {
                    faults.push("only summaries should have label \"quantile\"".to_owned())
                }
                _ if is_camel_case(name) => faults.push(format!(
                    "label names should be written in \"snake_case\", not \"camelCase\": {name:?}"
                )),
                _ => {}
            }
        }
        if !seen.insert(identity(&sample)) {
            faults.push(format!("metric not unique: {}", shown(family.name(), &sample)));
        }
    }
}

/// What tells one series of a family from another, and samples of one series by their time.
fn identity(sample: &SampleView<'_>) -> (&'static str, Option<i64>, Vec<(String, String)>) {
    let labels = sample.labels().iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    (sample.suffix().as_str(), sample.timestamp().map(|time| time.as_millis()), labels.collect())
}

fn shown(name: &str, sample: &SampleView<'_>) -> String {
    let labels: Vec<String> =
        sample.labels().iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let text = format!("{name}{}{{{}}}", sample.suffix().as_str(), labels.join(","));
    text.chars().take(200).collect()
}

fn is_camel_case(name: &str) -> bool {
    let mut before = None;
    name.bytes().any(|byte| {
        let humped = byte.is_ascii_uppercase() && before.is_some_and(|b: u8| b.is_ascii_lowercase());
        before = Some(byte);
        humped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::{Limits, Syntax, parse};

    fn check(text: &str, faults: &[&str]) {
        let mut batch = Batch::new();
        parse(text.as_bytes(), Syntax::Text004, Limits::default(), &mut batch).unwrap();
        let found: Vec<_> = lint(&batch).into_iter().map(|f| format!("{} {}", f.metric, f.text)).collect();
        assert_eq!(found, faults, "{text}");
    }

    #[test]
    fn conventions() {
        check("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n", &[]);
        check(
            "# HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"+Inf\"} 1\nh_seconds_sum 1\nh_seconds_count 1\n",
            &[],
        );
        check("a 1\n", &["a no help text"]);
        check("# HELP a A.\n# TYPE a counter\na 1\n", &["a counter metrics should have \"_total\" suffix"]);
        check(
            "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
            &["a_total non-counter metrics should not have \"_total\" suffix"],
        );
        check(
            "# HELP a_count A.\n# TYPE a_count gauge\na_count{le=\"1\",quantile=\"0\"} 1\n",
            &[
                "a_count only histograms and summaries should have \"_count\" suffix",
                "a_count only histograms should have label \"le\"",
                "a_count only summaries should have label \"quantile\"",
            ],
        );
        check(
            "# HELP a:bC_ms A.\n# TYPE a:bC_ms gauge\na:bC_ms{dE=\"1\"} 1\n",
            &[
                "a:bC_ms label names should be written in \"snake_case\", not \"camelCase\": \"dE\"",
                "a:bC_ms metric names should be written in \"snake_case\", not \"camelCase\"",
                "a:bC_ms metric names should not contain \":\"",
                "a:bC_ms metric names should not contain abbreviated units",
            ],
        );
        check(
            "# HELP a_gauge_milliseconds A.\n# TYPE a_gauge_milliseconds gauge\na_gauge_milliseconds 1\n",
            &[
                "a_gauge_milliseconds metric name should not include type \"gauge\"",
                "a_gauge_milliseconds use base unit \"seconds\" instead of \"milliseconds\"",
            ],
        );
        check(
            "# HELP a A.\na{b=\"1\"} 1\na{b=\"2\"} 1\na{b=\"1\"} 2\n",
            &["a metric not unique: a{b=\"1\"}"],
        );
    }
}
