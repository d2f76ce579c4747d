//! Pyrra's `pyrra.dev/v1alpha1`, kind `ServiceLevelObjective`.
//!
//! Its objectives become the same rules as all others, under Sloth's names; the `pyrra_*` series, which only its own
//! server reads, are not written. A `grouping` is one objective for each set of the labels' values.
//!
//! Source: Pyrra's documentation of its resource.

use super::extras::take_extras;
use super::fields::{name, take_annotations, take_percent};
use super::file::Reader;
use super::period::Period;
use super::query::Query;
use super::spec::{
    Absent, AlertTexts, Alerting, Budgeting, Format, Indicator, Objective, Severity, Slo, Texts,
};
use super::windows::catalogue;
use crate::config::{Section, Value};
use crate::model::{MatchOp, Matcher, NameScheme};
use crate::promql::parse_selector;

/// Labels of the resource that become labels of the series, without this beginning.
const PREFIX: &str = "pyrra.dev/";

/// Reads a document, whose `apiVersion` has been taken.
pub(super) fn read<'d>(value: &Value<'d>, section: &mut Section<'d>, reader: &mut Reader<'d>) {
    section.require("kind");
    section.take_choice("kind", &[("ServiceLevelObjective", ())]);
    section.take("status");
    let head = take_metadata(section);
    section.require("spec");
    let Some(mut spec) = section.take_section("spec") else { return };
    if let (Some(head), Some(slo)) = (head, read_spec(&mut spec, value.line(), reader)) {
        reader.add(value, Slo { service: head.service, name: head.name, labels: head.labels, ..slo });
    }
}

struct Head {
    name: String,
    service: String,
    labels: Texts,
}

/// The service is what the label `pyrra.dev/service` says, else the namespace, else the name.
fn take_metadata(section: &mut Section<'_>) -> Option<Head> {
    section.require("metadata");
    let mut metadata = section.take_section("metadata")?;
    metadata.require("name");
    let own_name = metadata.take("name").and_then(|value| value.parse_with("a name", name));
    let namespace = metadata.take("namespace").and_then(|value| value.parse_with("a name", name));
    metadata.take("annotations");
    let mut labels = Texts::new();
    for (key, value) in metadata.take_section("labels").map(|mut inner| inner.take_rest()).unwrap_or_default()
    {
        let Some(label) = key.strip_prefix(PREFIX) else { continue };
        if !NameScheme::Legacy.allows_label(label) || label.starts_with("sloth_") {
            value.error(format!("{label:?} is not a valid label name"));
        } else if let Some(text) = value.str() {
            labels.insert(label.to_owned(), text);
        }
    }
    let own_name = own_name?;
    let service = labels.get("service").filter(|service| name(service).is_ok()).cloned();
    let service = service.or(namespace).unwrap_or_else(|| own_name.clone());
    Some(Head { name: own_name, service, labels })
}

fn read_spec(spec: &mut Section<'_>, line: usize, reader: &Reader<'_>) -> Option<Slo> {
    let objective = take_percent(spec, "target");
    let description = spec.take_str("description").unwrap_or_default();
    let window = spec.take("window").and_then(|value| value.parse_with("a duration", super::extras::rolling));
    spec.require("indicator");
    let indicator = spec.take_section("indicator").and_then(|mut inner| read_indicator(&mut inner));
    let mut extras = take_extras(spec);
    if extras.composite.is_some() {
        spec.error("outrigger", "a composite has no indicator of its own, and Pyrra's objectives need one");
    }
    let (alerting, absent) = read_alerting(spec);
    let (indicator, grouping) = indicator?;
    let period = extras.window.or(window);
    let period = period.unwrap_or_else(|| Period::Rolling(reader.options.default_period));
    extras.group_by.extend(grouping);
    Some(Slo {
        service: String::new(),
        name: String::new(),
        objective: objective.unwrap_or(Objective::HALF),
        description,
        labels: Texts::new(),
        indicator,
        budgeting: Budgeting::Occurrences,
        alerting: Alerting {
            windows: extras.alert_windows.unwrap_or_else(|| catalogue(period.length())),
            ..alerting
        },
        period,
        min_events: extras.min_events,
        absent: extras.absent.unwrap_or(absent),
        group_by: extras.group_by,
        exclude: extras.exclude,
        policy: extras.policy,
        format: Format::Pyrra,
        line,
    })
}

fn read_indicator(section: &mut Section<'_>) -> Option<(Indicator, Vec<String>)> {
    section.refuse(
        "latencyNative",
        "latencyNative needs native histograms, which are not kept here; write latency with buckets",
    );
    let kinds = ["ratio", "latency", "bool_gauge"];
    let set = kinds.iter().filter(|kind| section.has(kind)).count();
    if set != 1 && !section.has("latencyNative") {
        section.error("ratio", "exactly one of ratio, latency and bool_gauge is needed");
    }
    let ratio = section.take_section("ratio");
    let latency = section.take_section("latency");
    let gauge = section.take_section("bool_gauge");
    if let Some(mut ratio) = ratio {
        let (errors, total) = (take_metric(&mut ratio, "errors"), take_metric(&mut ratio, "total"));
        let grouping = take_grouping(&mut ratio);
        let sum = |metric: &str| summed(&format!("rate({metric}[{{{{.window}}}}])"), &grouping);
        let (error, total) = (sum(&errors?)?, sum(&total?)?);
        return Some((Indicator::Events { error, total }, grouping));
    }
    if let Some(mut latency) = latency {
        let success = take_metric(&mut latency, "success");
        let total = take_metric(&mut latency, "total");
        let grouping = take_grouping(&mut latency);
        if let Some(success) = &success
            && !has_bound(success)
        {
            latency.error("success", "the metric needs the bucket that counts as success: le=\"0.5\"");
        }
        let sum = |metric: &str| summed(&format!("rate({metric}[{{{{.window}}}}])"), &grouping);
        let (success, total) = (sum(&success?)?, sum(&total?)?);
        let error = Query::parse(&format!("{} - {}", total.template(), success.template())).ok()?;
        return Some((Indicator::Events { error, total }, grouping));
    }
    let mut gauge = gauge?;
    gauge.require("metric");
    let metric = gauge.take("metric").and_then(|value| metric(&value));
    let grouping = take_grouping(&mut gauge);
    let metric = metric?;
    let sum = |function: &str| summed(&format!("{function}({metric}[{{{{.window}}}}])"), &grouping);
    let (total, good) = (sum("count_over_time")?, sum("sum_over_time")?);
    let error = Query::parse(&format!("{} - {}", total.template(), good.template())).ok()?;
    Some((Indicator::Events { error, total }, grouping))
}

/// A sum over all series, of each set of the labels' values. It holds a valid selector and valid labels, so that it is
/// always a query.
fn summed(inner: &str, grouping: &[String]) -> Option<Query> {
    let by = if grouping.is_empty() { String::new() } else { format!(" by ({})", grouping.join(", ")) };
    Query::parse(&format!("sum{by} ({inner})")).ok()
}

fn take_metric(section: &mut Section<'_>, key: &str) -> Option<String> {
    section.require(key);
    let mut inner = section.take_section(key)?;
    inner.require("metric");
    metric(&inner.take("metric")?)
}

/// A selector.
fn metric(value: &Value<'_>) -> Option<String> {
    value.parse_with("a metric such as http_requests_total{job=\"api\"}", |text| {
        let text = text.trim();
        parse_selector(text).map_err(|errors| format!("expected a metric with matchers: {errors}"))?;
        Ok(text.to_owned())
    })
}

fn has_bound(selector: &str) -> bool {
    let is_bound = |matcher: &Matcher| matcher.name() == "le" && matcher.op() == MatchOp::Equal;
    parse_selector(selector).is_ok_and(|matchers| matchers.iter().any(is_bound))
}

fn take_grouping(section: &mut Section<'_>) -> Vec<String> {
    let items = section.take_list("grouping").unwrap_or_default();
    let label = |item: &Value<'_>| {
        item.parse_with("a label name", |text| {
            let allowed = NameScheme::Legacy.allows_label(text) && !text.starts_with("sloth_");
            if allowed { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a valid label name")) }
        })
    };
    items.iter().filter_map(label).collect()
}

/// Alerts are on unless they are switched off, and so is the one on silence.
fn read_alerting(spec: &mut Section<'_>) -> (Alerting, Absent) {
    let mut alerting = Alerting {
        name: "ErrorBudgetBurn".to_owned(),
        page: Some(texts("critical")),
        ticket: Some(texts("warning")),
        ..Alerting::default()
    };
    let Some(mut inner) = spec.take_section("alerting") else {
        return (alerting, Absent::Alert(Severity::Page));
    };
    let disabled = inner.take_bool("disabled").unwrap_or(false);
    let burn_rates = inner.take_bool("burnrates").unwrap_or(true) && !disabled;
    let absent = inner.take_bool("absent").unwrap_or(true) && !disabled;
    if let Some(name) = inner.take_str("name").filter(|name| !name.is_empty()) {
        alerting.name = name;
    }
    alerting.labels = super::fields::take_labels(&mut inner, "labels");
    alerting.annotations = take_annotations(&mut inner, "annotations");
    if let Some(mut severities) = inner.take_section("severities") {
        if let Some(word) = severities.take_str("critical") {
            alerting.page = Some(texts(&word));
        }
        if let Some(word) = severities.take_str("warning") {
            alerting.ticket = Some(texts(&word));
        }
    }
    if !burn_rates {
        alerting.page = None;
        alerting.ticket = None;
    }
    (alerting, if absent { Absent::Alert(Severity::Page) } else { Absent::Ignore })
}

/// Pyrra's alerts carry the label `severity`.
fn texts(severity: &str) -> AlertTexts {
    let labels = [("severity".to_owned(), severity.to_owned())].into_iter().collect();
    AlertTexts { labels, annotations: Texts::new() }
}
