//! Sloth's `prometheus/v1`.
//!
//! Source: Sloth's documentation of the specification; what needs Go code of its plugins is refused by name.

use super::extras::{Composite, Extras, take_extras};
use super::fields::{take_annotations, take_labels, take_name, take_percent, take_query};
use super::file::Reader;
use super::period::Period;
use super::spec::{Absent, AlertTexts, Alerting, Budgeting, Format, Indicator, Objective, Slo, Texts};
use super::windows::catalogue;
use crate::config::{Section, Value};

/// Reads a document, whose `version` has been taken.
pub(super) fn read<'d>(section: &mut Section<'d>, reader: &mut Reader<'d>) {
    let service = take_name(section, "service");
    let labels = take_labels(section, "labels");
    section.refuse("slo_plugins", "plugins of Sloth are Go code and cannot run here; leave the key out");
    section.require("slos");
    let items = section.take_list("slos").unwrap_or_default();
    if section.has("slos") && items.is_empty() {
        section.error("slos", "at least one SLO is needed");
    }
    for item in items {
        if let Some(slo) = read_slo(&item, &service, &labels, reader) {
            reader.add(&item, slo);
        }
    }
}

fn read_slo(item: &Value<'_>, service: &str, shared: &Texts, reader: &Reader<'_>) -> Option<Slo> {
    let mut section = item.section()?;
    let name = take_name(&mut section, "name");
    let objective = take_percent(&mut section, "objective");
    let description = section.take_str("description").unwrap_or_default();
    let mut labels = shared.clone();
    labels.extend(take_labels(&mut section, "labels"));
    section.refuse("plugins", "plugins of Sloth are Go code and cannot run here; leave the key out");
    let extras = take_extras(&mut section);
    let indicator = read_indicator(&mut section, &extras, service);
    let mut alerting = read_alerting(&mut section);
    let period = extras.window.unwrap_or_else(|| Period::Rolling(reader.options.default_period));
    alerting.windows = extras.alert_windows.unwrap_or_else(|| catalogue(period.length()));
    Some(Slo {
        service: service.to_owned(),
        name,
        objective: objective.unwrap_or(Objective::HALF),
        description,
        labels,
        indicator: indicator?,
        budgeting: Budgeting::Occurrences,
        period,
        alerting,
        min_events: extras.min_events,
        absent: extras.absent.unwrap_or(Absent::Ignore),
        group_by: extras.group_by,
        exclude: extras.exclude,
        policy: extras.policy,
        format: Format::Sloth,
        line: item.line(),
    })
}

fn read_indicator(section: &mut Section<'_>, extras: &Extras, service: &str) -> Option<Indicator> {
    if let Some(composite) = &extras.composite {
        if section.has("sli") {
            section.error("sli", "a composite (outrigger.composite) has no sli of its own; leave out one");
        }
        section.take("sli");
        return Some(composite_of(composite, service));
    }
    section.require("sli");
    let mut sli = section.take_section("sli")?;
    sli.refuse(
        "plugin",
        "SLI plugins of Sloth are Go code and cannot run here; write its query under events or raw",
    );
    let (has_events, has_raw) = (sli.has("events"), sli.has("raw"));
    if has_events && has_raw {
        sli.error("raw", "both events and raw are set; leave out one");
    } else if !has_events && !has_raw && !sli.has("plugin") {
        section.error("sli", "one of events and raw is needed");
    }
    let events = sli
        .take_section("events")
        .map(|mut events| (take_query(&mut events, "error_query"), take_query(&mut events, "total_query")));
    let raw = sli.take_section("raw").map(|mut raw| take_query(&mut raw, "error_ratio_query"));
    match (events, raw) {
        (Some((error, total)), _) => Some(Indicator::Events { error: error?, total: total? }),
        (None, Some(ratio)) => Some(Indicator::Ratio(ratio?)),
        (None, None) => None,
    }
}

/// A composite whose members are named within the service, or as `service/name`.
pub(super) fn composite_of(composite: &Composite, service: &str) -> Indicator {
    let id = |name: &String| match name.split_once('/') {
        Some((service, name)) => format!("{service}-{name}"),
        None => format!("{service}-{name}"),
    };
    let members = composite.members.iter().map(|(name, weight)| (id(name), *weight)).collect();
    Indicator::Composite { members, method: composite.method }
}

fn read_alerting(section: &mut Section<'_>) -> Alerting {
    let Some(mut inner) = section.take_section("alerting") else { return Alerting::default() };
    let name = inner.take_str("name").unwrap_or_default();
    let alerting = Alerting {
        labels: take_labels(&mut inner, "labels"),
        annotations: take_annotations(&mut inner, "annotations"),
        page: read_texts(&mut inner, "page_alert"),
        ticket: read_texts(&mut inner, "ticket_alert"),
        name,
        ..Alerting::default()
    };
    if alerting.name.is_empty() && (alerting.page.is_some() || alerting.ticket.is_some()) {
        inner.error("name", "alerts need a name; or disable both page_alert and ticket_alert");
    }
    alerting
}

fn read_texts(section: &mut Section<'_>, key: &str) -> Option<AlertTexts> {
    let Some(mut inner) = section.take_section(key) else { return Some(AlertTexts::default()) };
    let disabled = inner.take_bool("disable").unwrap_or(false);
    let texts = AlertTexts {
        labels: take_labels(&mut inner, "labels"),
        annotations: take_annotations(&mut inner, "annotations"),
    };
    (!disabled).then_some(texts)
}
