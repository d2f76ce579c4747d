//! Warnings and infos that an evaluation leaves beside its result.
//!
//! Invariants: one text comes once, with the place where it was said last; at most [`MOST_KEPT`] of them are kept,
//! the rest is counted. Texts are Prometheus's own, so that tools which look for them find them.
//!
//! Source: Prometheus documentation, "HTTP API" (`warnings`, `infos`), and what its server prints.

use std::fmt;

use super::ast::Span;
use super::functions::{GoG, GoGWithDigits};
use crate::model::{Quoted, Timestamp};

/// Most annotations kept of one query, of both kinds together.
const MOST_KEPT: usize = 1_000;

/// How much an annotation matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The result is likely not what was meant.
    Warning,
    /// The result may not be what was meant.
    Info,
}

/// One remark about a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    severity: Severity,
    /// Without the leading `PromQL warning: ` and without the place; identifies the annotation.
    text: String,
    /// `None`: said by the storage, and shown as it is.
    span: Option<Span>,
    forced: Option<ForcedMonotonicity>,
}

/// How far `histogram_quantile` had to bend buckets that were not cumulative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForcedMonotonicity {
    /// Upper bound of the first bucket that was bent.
    pub lowest_bucket: f64,
    /// Upper bound of the last bucket that was bent.
    pub highest_bucket: f64,
    /// By how much at most.
    pub largest_difference: f64,
    /// Instant of the first such sample, milliseconds.
    pub first_ms: i64,
    /// Instant of the last such sample, milliseconds.
    pub last_ms: i64,
    /// How many samples.
    pub samples: u64,
}

impl ForcedMonotonicity {
    fn merged(self, other: Self) -> Self {
        Self {
            lowest_bucket: self.lowest_bucket.min(other.lowest_bucket),
            highest_bucket: self.highest_bucket.max(other.highest_bucket),
            largest_difference: self.largest_difference.max(other.largest_difference),
            first_ms: self.first_ms.min(other.first_ms),
            last_ms: self.last_ms.max(other.last_ms),
            samples: self.samples.saturating_add(other.samples),
        }
    }
}

/// ` for metric name "x"`, or nothing where the name is not known.
fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", Quoted(name)) }
}

impl Annotation {
    fn warning(span: Span, text: String) -> Self {
        Self { severity: Severity::Warning, text, span: Some(span), forced: None }
    }

    fn info(span: Span, text: String) -> Self {
        Self { severity: Severity::Info, text, span: Some(span), forced: None }
    }

    /// A warning of the storage; shown as it is.
    pub fn storage_warning(text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, text: text.into(), span: None, forced: None }
    }

    /// `quantile`, `quantile_over_time`, `histogram_quantile` with a quantile outside 0 to 1.
    pub fn invalid_quantile(quantile: f64, span: Span) -> Self {
        let shown = GoG(quantile);
        Self::warning(span, format!("quantile value should be between 0 and 1, got {shown}"))
    }

    /// `limit_ratio` with a ratio outside -1 to 1.
    pub fn invalid_ratio(ratio: f64, capped_to: f64, span: Span) -> Self {
        let (shown, capped) = (GoG(ratio), GoG(capped_to));
        Self::warning(
            span,
            format!("ratio value should be between -1 and 1, got {shown}, capping to {capped}"),
        )
    }

    /// A classic bucket whose `le` is no number.
    pub fn bad_bucket_label(metric_name: &str, label_value: &str, span: Span) -> Self {
        let (value, metric) = (Quoted(label_value), for_metric(metric_name));
        Self::warning(
            span,
            format!("bucket label \"le\" is missing or has a malformed value of {value}{metric}"),
        )
    }

    /// A range that holds floats and native histograms.
    pub fn mixed_floats_histograms(metric_name: &str, span: Span) -> Self {
        Self::warning(span, format!("encountered a mix of histograms and floats{}", for_metric(metric_name)))
    }

    /// An aggregation over floats and native histograms.
    pub fn mixed_floats_histograms_in_aggregation(span: Span) -> Self {
        Self::warning(span, "encountered a mix of histograms and floats for aggregation".to_owned())
    }

    /// A histogram that is there both as classic buckets and natively.
    pub fn mixed_classic_native_histograms(metric_name: &str, span: Span) -> Self {
        Self::warning(
            span,
            format!("vector contains a mix of classic and native histograms{}", for_metric(metric_name)),
        )
    }

    /// `rate`, `increase` of a native histogram that is a gauge.
    pub fn native_histogram_not_counter(metric_name: &str, span: Span) -> Self {
        Self::warning(span, format!("this native histogram metric is not a counter: {}", Quoted(metric_name)))
    }

    /// `delta` of a native histogram that is a counter.
    pub fn native_histogram_not_gauge(metric_name: &str, span: Span) -> Self {
        Self::warning(span, format!("this native histogram metric is not a gauge: {}", Quoted(metric_name)))
    }

    /// Native histograms of both schemas.
    pub fn mixed_exponential_custom_histograms(metric_name: &str, span: Span) -> Self {
        Self::warning(
            span,
            format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas{}",
                for_metric(metric_name)
            ),
        )
    }

    /// Native histograms whose custom buckets differ.
    pub fn incompatible_custom_buckets(metric_name: &str, span: Span) -> Self {
        Self::warning(
            span,
            format!("vector contains histograms with incompatible custom buckets{}", for_metric(metric_name)),
        )
    }

    /// Native histograms of different layouts around an operator.
    pub fn incompatible_bucket_layout(operator: &str, span: Span) -> Self {
        Self::warning(span, format!("incompatible bucket layout encountered for binary operator {operator}"))
    }

    /// `sort` and its kin in a range query.
    pub fn sort_in_range_query(span: Span) -> Self {
        Self::warning(
            span,
            "sort is ineffective for range queries since results are always ordered by labels".to_owned(),
        )
    }

    /// `rate`, `increase`, ... of a metric whose name is not that of a counter.
    pub fn possible_non_counter(metric_name: &str, span: Span) -> Self {
        Self::info(
            span,
            format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                Quoted(metric_name)
            ),
        )
    }

    /// `rate`, `increase`, ... of a metric whose `__type__` is not that of a counter.
    pub fn possible_non_counter_type(metric_name: &str, type_label: &str, span: Span) -> Self {
        Self::info(
            span,
            format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
                 got {}: {}",
                Quoted(type_label),
                Quoted(metric_name)
            ),
        )
    }

    /// `histogram_quantile` over buckets that were not cumulative.
    pub fn forced_monotonicity(metric_name: &str, forced: ForcedMonotonicity, span: Span) -> Self {
        let text = format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
            for_metric(metric_name)
        );
        Self { forced: Some(forced), ..Self::info(span, text) }
    }

    /// An operator between sample types that it does not take.
    pub fn incompatible_types(left: &str, operator: &str, right: &str, span: Span) -> Self {
        Self::info(
            span,
            format!(
                "incompatible sample types encountered for binary operator {}: {left} {operator} {right}",
                Quoted(operator)
            ),
        )
    }

    /// An aggregation that leaves native histograms out.
    pub fn histogram_ignored_in_aggregation(aggregation: &str, span: Span) -> Self {
        Self::info(span, format!("ignored histogram in {aggregation} aggregation"))
    }

    /// A function that leaves native histograms out of a mixed range.
    pub fn histogram_ignored_in_mixed_range(metric_name: &str, span: Span) -> Self {
        Self::info(
            span,
            format!(
                "ignored histograms in a range containing both floats and histograms{}",
                for_metric(metric_name)
            ),
        )
    }

    /// How much it matters.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// As the API prints it: `PromQL warning: ... (1:5)`, lines and columns of the query counted from 1, in bytes.
    pub fn render(&self, query: &str) -> String {
        let Some(span) = self.span else { return self.text.clone() };
        let kind = match self.severity {
            Severity::Warning => "PromQL warning",
            Severity::Info => "PromQL info",
        };
        let place = Place(span, query);
        match self.forced {
            None => format!("{kind}: {} ({place})", self.text),
            Some(forced) => format!(
                "{kind}: {}, from buckets {} to {}, with a max diff of {}, over {} samples from {} to {} ({place})",
                self.text,
                GoG(forced.lowest_bucket),
                GoG(forced.highest_bucket),
                GoGWithDigits(forced.largest_difference, 2),
                forced.samples,
                Rfc3339(forced.first_ms),
                Rfc3339(forced.last_ms),
            ),
        }
    }
}

/// The remarks about one query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    kept: Vec<Annotation>,
    warnings_left_out: usize,
    infos_left_out: usize,
}

impl Annotations {
    /// None yet.
    pub const fn new() -> Self {
        Self { kept: Vec::new(), warnings_left_out: 0, infos_left_out: 0 }
    }

    /// Adds one; replaces the one with the same text. That a metric may be no counter the engine says once per
    /// series; what a function adds costs an allocation each time, and belongs to rare cases.
    pub fn add(&mut self, annotation: Annotation) {
        let room = self.kept.len() < MOST_KEPT;
        let same =
            self.kept.iter_mut().find(|a| a.severity == annotation.severity && a.text == annotation.text);
        match same {
            Some(known) => {
                let forced = match (known.forced, annotation.forced) {
                    (Some(old), Some(new)) => Some(old.merged(new)),
                    (old, new) => new.or(old),
                };
                *known = Annotation { forced, ..annotation };
            }
            None if room => self.kept.push(annotation),
            None => match annotation.severity {
                Severity::Warning => self.warnings_left_out += 1,
                Severity::Info => self.infos_left_out += 1,
            },
        }
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: Self) {
        for annotation in other.kept {
            self.add(annotation);
        }
        self.warnings_left_out += other.warnings_left_out;
        self.infos_left_out += other.infos_left_out;
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// All of them, in the order in which they were first said.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.kept.iter()
    }

    /// The warnings as the API prints them, `most` at most (0: all); then one line says how many more there are.
    pub fn warnings(&self, query: &str, most: usize) -> Vec<String> {
        self.rendered(Severity::Warning, query, most, self.warnings_left_out, "warning")
    }

    /// The infos, likewise.
    pub fn infos(&self, query: &str, most: usize) -> Vec<String> {
        self.rendered(Severity::Info, query, most, self.infos_left_out, "info")
    }

    fn rendered(
        &self,
        severity: Severity,
        query: &str,
        most: usize,
        left_out: usize,
        word: &str,
    ) -> Vec<String> {
        let of_kind = self.kept.iter().filter(|a| a.severity == severity);
        let most = if most == 0 { usize::MAX } else { most };
        let mut texts: Vec<String> = of_kind.clone().take(most).map(|a| a.render(query)).collect();
        let more = of_kind.count() - texts.len() + left_out;
        if more > 0 {
            texts.push(format!("{more} more {word} annotations omitted"));
        }
        texts
    }
}

/// `line:column` of a span's start in its query, both from 1, columns in bytes.
struct Place<'a>(Span, &'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(before) = self.1.as_bytes().get(..self.0.start as usize) else {
            return f.write_str("invalid position");
        };
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        write!(f, "{line}:{column}")
    }
}

/// Whole seconds, UTC.
struct Rfc3339(i64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Timestamp::from_millis(self.0).as_millis().div_euclid(1_000);
        match jiff::Timestamp::from_second(seconds) {
            Ok(at) => write!(f, "{}", at.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Err(_) => write!(f, "{seconds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u32) -> Span {
        Span { start, end: start + 1 }
    }

    #[test]
    fn texts_and_places_are_prometheus_own() {
        let query = "sum(\n  rate(é[5m]))";
        let render = |a: Annotation| a.render(query);
        assert_eq!(
            render(Annotation::possible_non_counter("x", span(7))),
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"x\" (2:3)"
        );
        assert_eq!(
            render(Annotation::bad_bucket_label("", "abc", span(0))),
            "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"abc\" (1:1)"
        );
        assert_eq!(
            render(Annotation::bad_bucket_label("m", "", span(4))),
            "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"\" for metric name \"m\" (1:5)"
        );
        assert_eq!(
            render(Annotation::invalid_ratio(1.5, 1.0, span(99))),
            "PromQL warning: ratio value should be between -1 and 1, got 1.5, capping to 1 (invalid position)"
        );
        assert_eq!(render(Annotation::storage_warning("disk")), "disk");
    }

    #[test]
    fn one_text_comes_once_with_its_last_place() {
        let mut annotations = Annotations::new();
        for start in [3, 5] {
            annotations.add(Annotation::invalid_quantile(f64::NAN, span(start)));
        }
        annotations.add(Annotation::invalid_quantile(2.0, span(1)));
        assert_eq!(
            annotations.warnings("quantile", 0),
            [
                "PromQL warning: quantile value should be between 0 and 1, got NaN (1:6)",
                "PromQL warning: quantile value should be between 0 and 1, got 2 (1:2)"
            ]
        );
        assert_eq!(annotations.warnings("quantile", 1).last().unwrap(), "1 more warning annotations omitted");
        assert!(annotations.infos("quantile", 0).is_empty());
    }

    #[test]
    fn forced_monotonicity_is_summed_up() {
        let one = |bucket: f64, at_ms: i64| ForcedMonotonicity {
            lowest_bucket: bucket,
            highest_bucket: bucket,
            largest_difference: 0.012_5 * bucket,
            first_ms: at_ms,
            last_ms: at_ms,
            samples: 1,
        };
        let mut annotations = Annotations::new();
        annotations.add(Annotation::forced_monotonicity("m", one(5.0, 60_000), span(0)));
        annotations.add(Annotation::forced_monotonicity("m", one(0.5, 120_000), span(0)));
        let infos = annotations.infos("q", 0);
        assert_eq!(infos.len(), 1);
        assert!(
            infos[0].ends_with(
                "for metric name \"m\", from buckets 0.5 to 5, with a max diff of 0.062, over 2 samples \
                 from 1970-01-01T00:01:00Z to 1970-01-01T00:02:00Z (1:1)"
            ),
            "{infos:?}"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut annotations = Annotations::new();
        for n in 0..(MOST_KEPT + 7) {
            annotations.add(Annotation::possible_non_counter(&format!("m{n}"), span(0)));
        }
        let infos = annotations.infos("q", 0);
        assert_eq!(infos.len(), MOST_KEPT + 1);
        assert_eq!(infos[MOST_KEPT], "7 more info annotations omitted");
    }
}
