//! The short form of an alert rule, for those who do not write PromQL: a metric, a threshold, how long.
//!
//! ```yaml
//! - alert: SlowAnswers
//!   metric: '*response_time*'
//!   above: 2
//!   for: 5m
//!   severity: high
//!   cooldown: 10m
//! ```
//!
//! Invariant: it is nothing but another way to write an ordinary rule. `metric` and its bounds become `expr`, `severity`
//! a label, `cooldown` is `keep_firing_for`; of several metrics each is an alert of its own, with its name as label
//! `metric`.

use std::time::Duration;

use crate::config::Section;
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// Its keys but `metric`.
const KEYS: [&str; 4] = ["above", "below", "severity", "cooldown"];

/// What the short form stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Short {
    /// `expr`
    pub(super) expr: String,
    /// The label of this name.
    pub(super) severity: Option<String>,
    /// `keep_firing_for`
    pub(super) cooldown: Duration,
    /// The annotation `summary`, where there is none.
    pub(super) summary: String,
}

impl Short {
    /// Reads the keys from a rule. `None` where it is not in the short form, or wrong, with an error.
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let metric = section.take_literal("metric");
        let (above, below) = (section.take_float("above"), section.take_float("below"));
        let severity = section.take_str("severity");
        let cooldown = section.take_duration("cooldown").unwrap_or_default();
        let Some(metric) = metric else {
            for key in KEYS.into_iter().filter(|key| section.has(key)) {
                section.error_here(key, format!("'{key}' goes with 'metric' only"));
            }
            return None;
        };
        for key in ["expr", "record"].into_iter().filter(|key| section.has(key)) {
            section.error_here(key, format!("only one of '{key}' and 'metric' must be set"));
        }
        if metric.is_empty() {
            section.error_here("metric", "'metric' is empty; write a metric's name, with * for any text");
            return None;
        }
        let is_pattern = metric.contains(['*', '?']);
        let selector = if is_pattern {
            Matcher::new(METRIC_NAME, MatchOp::Regex, regex(&metric)).ok()?
        } else {
            Matcher::equal(METRIC_NAME, metric.as_str())
        };
        // Each bound by itself: `or` does not look at the metric's name, and would take two metrics for one.
        let bound = |op: &str, bound: f64| {
            let condition = format!("{{{selector}}} {op} {bound}");
            if !is_pattern {
                return condition;
            }
            format!("label_replace({condition}, \"metric\", \"$1\", \"{METRIC_NAME}\", \"(.+)\")")
        };
        let (expr, words) = match (above, below) {
            (Some(above), None) => (bound(">", above), format!("above {above}")),
            (None, Some(below)) => (bound("<", below), format!("below {below}")),
            (Some(above), Some(below)) => {
                let either = format!("{} or {}", bound(">", above), bound("<", below));
                (either, format!("above {above} or below {below}"))
            }
            (None, None) => {
                section.error_here("metric", "'above' or 'below' must be set beside 'metric'");
                return None;
            }
        };
        let name = if is_pattern { "{{ $labels.metric }}".to_owned() } else { metric };
        Some(Self { expr, severity, cooldown, summary: format!("{name} is {words}: {{{{ $value }}}}") })
    }
}

/// A pattern with `*` and `?` as an expression.
fn regex(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    for c in pattern.chars() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::model::Labels;

    fn read(rule: &str) -> Result<GroupSpec, String> {
        let text = format!("groups:\n- name: g\n  rules:\n  - {rule}\n");
        let groups = parse_file("r.yml", &text, &FileOptions::default());
        groups.map(|mut groups| groups.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn it_becomes_an_ordinary_rule() {
        for (rule, query) in [
            ("{alert: A, metric: node_load1, above: 2}", r#"{__name__="node_load1"} > 2"#),
            ("{alert: A, metric: node_load1, below: 0.5}", r#"{__name__="node_load1"} < 0.5"#),
            ("{alert: A, metric: x, above: 5, below: -1}", r#"{__name__="x"} > 5 or {__name__="x"} < -1"#),
            (
                "{alert: A, metric: '*response.time?', above: 2}",
                r#"label_replace({__name__=~".*response\\.time."} > 2, "metric", "$1", "__name__", "(.+)")"#,
            ),
            (
                "{alert: A, metric: 't*', above: 5, below: -1}",
                r#"label_replace({__name__=~"t.*"} > 5, "metric", "$1", "__name__", "(.+)") or label_replace({__name__=~"t.*"} < -1, "metric", "$1", "__name__", "(.+)")"#,
            ),
        ] {
            assert_eq!(read(rule).unwrap().rules[0].query, query);
        }
        let group = read(
            "{alert: A, metric: 'x*', above: 2, for: 5m, severity: high, cooldown: 10m, labels: {a: b}}",
        )
        .unwrap();
        let (rule, alert) = (&group.rules[0], group.rules[0].alert().unwrap());
        assert_eq!(rule.labels, Labels::from_pairs([("a", "b"), ("severity", "high")]));
        assert_eq!((alert.hold.as_secs(), alert.keep_firing.as_secs()), (300, 600));
        let summary = "{{ $labels.metric }} is above 2: {{ $value }}";
        assert_eq!(alert.annotations, Labels::from_pairs([("summary", summary)]));
    }

    #[test]
    fn mistakes_have_their_places() {
        for (rule, error) in [
            (
                "{alert: A, above: 2, expr: up}",
                "4:23: group \"g\", rule 1, \"A\": 'above' goes with 'metric' only",
            ),
            (
                "{alert: A, metric: x}",
                "4:24: group \"g\", rule 1, \"A\": 'above' or 'below' must be set beside 'metric'",
            ),
            (
                "{alert: A, metric: x, above: 1, expr: up}",
                "4:43: group \"g\", rule 1, \"A\": only one of 'expr' and 'metric' must be set",
            ),
            (
                "{alert: A, metric: x, above: 1, cooldown: 1m, keep_firing_for: 1m}",
                "only one of 'keep_firing_for' and 'cooldown' must be set",
            ),
            (
                "{alert: A, metric: x, above: 1, severity: a, labels: {severity: b}}",
                "only one of 'severity' and the label of this name must be set",
            ),
            ("{alert: A, metric: x, above: many}", "above: expected a number, found \"many\""),
            ("{record: a, metric: x, above: 1}", "only one of 'record' and 'metric' must be set"),
        ] {
            let found = read(rule).unwrap_err();
            assert!(found.contains(error), "{rule}: {found}");
        }
    }
}
