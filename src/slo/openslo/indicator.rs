//! OpenSLO's indicators: a value with a bound, good or bad over total, or a ratio made elsewhere.
//!
//! The specification leaves the query's language, and with it the window, to the source. A query that holds
//! `{{.window}}` is taken as it is; else its ranges become the window, and series without a range become `rate` of a
//! counter, `sum_over_time` of what is none, `avg_over_time` of a ratio.

use crate::config::{Section, Value};
use crate::slo::query::Query;
use crate::slo::spec::Indicator;

/// An indicator before the objective's bound is known.
#[derive(Clone, Debug)]
pub(super) enum Sli {
    /// `thresholdMetric`
    Threshold(Query),
    /// `ratioMetric`
    Ready(Indicator),
}

/// Reads the `spec` of an SLI.
pub(super) fn read(spec: &mut Section<'_>) -> Option<Sli> {
    spec.take_str("description");
    let (has_threshold, has_ratio) = (spec.has("thresholdMetric"), spec.has("ratioMetric"));
    if has_threshold == has_ratio {
        spec.error("ratioMetric", "exactly one of thresholdMetric and ratioMetric is needed");
    }
    let threshold = spec.take("thresholdMetric");
    let ratio = spec.take_section("ratioMetric");
    match (threshold, ratio) {
        (Some(metric), _) => take_query(&metric, Query::parse_any).map(Sli::Threshold),
        (None, Some(mut ratio)) => read_ratio(&mut ratio).map(Sli::Ready),
        (None, None) => None,
    }
}

fn read_ratio(section: &mut Section<'_>) -> Option<Indicator> {
    let counter = section.take_bool("counter");
    let (good, bad, total) = (section.take("good"), section.take("bad"), section.take("total"));
    let (raw, raw_type) =
        (section.take("raw"), section.take_choice("rawType", &[("success", true), ("failure", false)]));
    if let Some(raw) = raw {
        if good.is_some() || bad.is_some() || total.is_some() {
            section.error("raw", "raw stands alone, without good, bad and total");
        }
        section.require("rawType");
        let query = take_query(&raw, |text| windowed(text, "avg_over_time"))?;
        return match raw_type? {
            false => Some(Indicator::Ratio(query)),
            true => built(&raw, &format!("1 - ({})", query.template())).map(Indicator::Ratio),
        };
    }
    section.require("counter");
    section.require("total");
    let function = if counter.unwrap_or(true) { "rate" } else { "sum_over_time" };
    let query = |metric: &Value<'_>| take_query(metric, |text| windowed(text, function));
    let total_query = total.as_ref().and_then(query);
    match (&good, &bad) {
        (Some(good), None) => {
            let (good_query, total) = (query(good)?, total_query?);
            let error = built(good, &format!("({}) - ({})", total.template(), good_query.template()))?;
            Some(Indicator::Events { error, total })
        }
        (None, Some(bad)) => Some(Indicator::Events { error: query(bad)?, total: total_query? }),
        _ => {
            section.error("good", "exactly one of good and bad is needed, or raw");
            None
        }
    }
}

fn windowed(text: &str, function: &str) -> Result<Query, String> {
    if text.contains("{{") { Query::parse(text) } else { Query::with_window(text, function) }
}

/// A query put together from others.
fn built(place: &Value<'_>, text: &str) -> Option<Query> {
    Query::parse(text).map_err(|message| place.error(message)).ok()
}

/// The query of `metricSource`.
fn take_query(metric: &Value<'_>, read: impl FnOnce(&str) -> Result<Query, String>) -> Option<Query> {
    let mut section = metric.section()?;
    section.require("metricSource");
    let mut source = section.take_section("metricSource")?;
    source.take_str("metricSourceRef");
    let kind = source.take("type");
    if let Some(kind) = kind {
        kind.parse_with("Prometheus", |text| match text.eq_ignore_ascii_case("prometheus") {
            true => Ok(()),
            false => Err(format!("only sources of type Prometheus are known here, not {text:?}")),
        });
    }
    source.require("spec");
    let mut spec = source.take_section("spec")?;
    let key = if spec.has("promql") { "promql" } else { "query" };
    if key == "query" {
        spec.require("query");
    }
    spec.take(key)?.parse_with("a query", read)
}
