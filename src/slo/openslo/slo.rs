//! OpenSLO's objectives: each of a document's becomes one; several with weights or indicators of their own become a
//! composite beside.

use std::time::Duration;

use super::indicator::{self, Sli};
use super::policy::{Policy, read_policy};
use super::window::{shorthand, take_window};
use super::{Head, Known, find, take_head};
use crate::config::{Section, Value};
use crate::slo::extras::{Extras, take_extras};
use crate::slo::fields::take_name;
use crate::slo::file::Reader;
use crate::slo::period::Period;
use crate::slo::spec::{
    Absent, AlertTexts, Alerting, Budgeting, CompositeMethod, Format, Indicator, Objective, Severity, Slo,
};
use crate::slo::windows::catalogue;

/// Most objectives of one document.
const MOST_OBJECTIVES: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Occurrences,
    Timeslices,
    RatioTimeslices,
}

/// Reads the `spec` of an SLO.
pub(super) fn read<'d>(
    value: &Value<'d>,
    head: &Head,
    spec: &mut Section<'d>,
    known: &Known,
    reader: &mut Reader<'d>,
) {
    let description = spec.take_str("description").unwrap_or_default();
    let service = take_name(spec, "service");
    let shared = take_sli(spec, known);
    let methods = [
        ("Occurrences", Method::Occurrences),
        ("Timeslices", Method::Timeslices),
        ("RatioTimeslices", Method::RatioTimeslices),
    ];
    let method = spec.take_choice("budgetingMethod", &methods).unwrap_or(Method::Occurrences);
    let window = take_window(spec);
    let policies = take_policies(spec, known);
    let extras = take_extras(spec);
    if extras.composite.is_some() {
        spec.error(
            "outrigger",
            "a composite of OpenSLO has objectives with compositeWeight, not outrigger.composite",
        );
    }
    let period = extras.window.clone().or(window);
    let period = period.unwrap_or_else(|| Period::Rolling(reader.options.default_period));
    let base = Slo {
        service,
        name: head.name.clone(),
        objective: Objective::HALF,
        description,
        labels: head.labels.clone(),
        indicator: Indicator::Composite { members: Vec::new(), method: CompositeMethod::Any },
        budgeting: Budgeting::Occurrences,
        alerting: alerting(policies.as_deref(), &extras, &period),
        period,
        min_events: extras.min_events,
        absent: extras.absent.unwrap_or_else(|| absent(policies.as_deref())),
        group_by: extras.group_by,
        exclude: extras.exclude,
        policy: extras.policy,
        format: Format::OpenSlo,
        line: value.line(),
    };
    spec.require("objectives");
    let items = spec.take_list("objectives").unwrap_or_default();
    if items.len() > MOST_OBJECTIVES || (spec.has("objectives") && items.is_empty()) {
        spec.error("objectives", format!("1 to {MOST_OBJECTIVES} objectives are needed"));
        return;
    }
    let objectives: Vec<Read> =
        items.iter().filter_map(|item| read_objective(item, shared.as_ref(), method, known)).collect();
    add_all(value, base, &objectives, reader);
}

fn add_all<'d>(value: &Value<'d>, base: Slo, objectives: &[Read], reader: &mut Reader<'d>) {
    let is_one = objectives.len() == 1;
    let named = |index: usize| if is_one { base.name.clone() } else { format!("{}-{index}", base.name) };
    for (index, read) in objectives.iter().enumerate() {
        let slo = Slo {
            name: named(index),
            objective: read.objective,
            indicator: read.indicator.clone(),
            budgeting: read.budgeting,
            ..base.clone()
        };
        reader.add(value, slo);
    }
    if is_one || !objectives.iter().any(|read| read.own_indicator) {
        return;
    }
    // Weights make an average of what burns; without them it burns when any does.
    let is_weighted = objectives.iter().any(|read| read.weight.is_some());
    let method = if is_weighted { CompositeMethod::Weighted } else { CompositeMethod::Any };
    let member = |(index, read): (usize, &Read)| {
        (format!("{}-{}", base.service, named(index)), read.weight.unwrap_or(1.0))
    };
    let strictest =
        objectives.iter().map(|read| read.objective).max_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let members = objectives.iter().enumerate().map(member).collect();
    let indicator = Indicator::Composite { members, method };
    reader.add(value, Slo { objective: strictest.unwrap_or(Objective::HALF), indicator, ..base });
}

/// `indicator` or `indicatorRef`; `None`: neither, or wrong.
fn take_sli(section: &mut Section<'_>, known: &Known) -> Option<Sli> {
    let (inline, reference) = (section.take("indicator"), section.take("indicatorRef"));
    if inline.is_some() && reference.is_some() {
        section.error("indicatorRef", "both indicator and indicatorRef are set; leave out one");
    }
    if let Some(reference) = reference {
        return find(&known.slis, &reference, "SLI")?.clone();
    }
    let mut inner = inline?.section()?;
    if inner.has("metadata") {
        take_head(&mut inner);
    }
    inner.require("spec");
    indicator::read(&mut inner.take_section("spec")?)
}

/// The policies that are named or written here; `None`: no such key.
fn take_policies(spec: &mut Section<'_>, known: &Known) -> Option<Vec<Policy>> {
    let items = spec.take_list("alertPolicies")?;
    let policy = |item: &Value<'_>| {
        if item.is_scalar() {
            return find(&known.policies, item, "AlertPolicy").cloned();
        }
        let mut section = item.section()?;
        if let Some(reference) = section.take("alertPolicyRef") {
            return find(&known.policies, &reference, "AlertPolicy").cloned();
        }
        section.take_choice("kind", &[("AlertPolicy", ())]);
        take_head(&mut section);
        section.require("spec");
        Some(read_policy(&mut section.take_section("spec")?, &known.conditions))
    };
    Some(items.iter().filter_map(policy).collect())
}

/// Policies say who hears of what. Where there are none, the SRE workbook's windows do; an empty list is nobody.
fn alerting(policies: Option<&[Policy]>, extras: &Extras, period: &Period) -> Alerting {
    let conditions =
        policies.unwrap_or_default().iter().flat_map(|policy| policy.conditions.clone()).collect();
    let heard = policies.is_none().then(AlertTexts::default);
    let windows = extras.alert_windows.clone().unwrap_or_else(|| catalogue(period.length()));
    let name = "ErrorBudgetBurn".to_owned();
    Alerting { name, page: heard.clone(), ticket: heard, windows, conditions, ..Alerting::default() }
}

fn absent(policies: Option<&[Policy]>) -> Absent {
    let telling = policies.unwrap_or_default().iter().find(|policy| policy.no_data);
    let severity = |policy: &Policy| policy.conditions.iter().map(|condition| condition.severity).min();
    telling.map_or(Absent::Ignore, |policy| Absent::Alert(severity(policy).unwrap_or(Severity::Ticket)))
}

/// One of `objectives`.
struct Read {
    objective: Objective,
    indicator: Indicator,
    own_indicator: bool,
    budgeting: Budgeting,
    weight: Option<f64>,
}

fn read_objective(item: &Value<'_>, shared: Option<&Sli>, method: Method, known: &Known) -> Option<Read> {
    let mut section = item.section()?;
    section.take_str("displayName");
    let own_indicator = section.has("indicator") || section.has("indicatorRef");
    let own = take_sli(&mut section, known);
    let objective = take_target(&mut section);
    let weight = section.take("compositeWeight").and_then(|value| {
        value.parse_with("a weight above 0", |text| {
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
            number.ok_or_else(|| format!("expected a weight above 0, found {text:?}"))
        })
    });
    let budgeting = take_budgeting(&mut section, method);
    let bounds = [("lte", ">"), ("lt", ">="), ("gte", "<"), ("gt", "<=")];
    let (op, bound) = (section.take_choice("op", &bounds), section.take_float("value"));
    if own_indicator && shared.is_some() {
        section.error("indicator", "the SLO has an indicator already; leave out one");
    }
    let sli = if own_indicator { own? } else { shared.cloned().or_else(|| no_indicator(&section))? };
    let indicator = match sli {
        Sli::Threshold(value) => {
            section.require("op");
            section.require("value");
            Indicator::Threshold { value, bad: op?, bound: bound? }
        }
        Sli::Ready(indicator) => {
            if section.has("op") || section.has("value") {
                section.error("op", "op and value are for a thresholdMetric; a ratio has none");
            }
            indicator
        }
    };
    Some(Read { objective: objective?, indicator, own_indicator, budgeting: budgeting?, weight })
}

/// The mistake is told once: an indicator that is there, and wrong, has been told.
fn no_indicator(section: &Section<'_>) -> Option<Sli> {
    section.error("indicatorRef", "no indicator: neither here nor in the SLO is one that is right");
    None
}

fn take_target(section: &mut Section<'_>) -> Option<Objective> {
    let (ratio, percent) = (section.take("target"), section.take("targetPercent"));
    match (ratio, percent) {
        (Some(ratio), None) => ratio.parse_with("a ratio such as 0.999", Objective::ratio_text),
        (None, Some(percent)) => percent.parse_with("a percentage such as 99.9", Objective::percent),
        _ => {
            section.error("target", "exactly one of target and targetPercent is needed");
            None
        }
    }
}

fn take_budgeting(section: &mut Section<'_>, method: Method) -> Option<Budgeting> {
    let target = section.take("timeSliceTarget").and_then(|value| {
        value.parse_with("a ratio such as 0.95", |text| {
            let number = text.parse::<f64>().ok().filter(|n| *n > 0.0 && *n <= 1.0);
            number.ok_or_else(|| format!("expected a ratio above 0 and at most 1, found {text:?}"))
        })
    });
    let slice = section.take("timeSliceWindow").and_then(|value| {
        value.parse_with("a duration such as 5m", |text| {
            // A plain number counts minutes.
            let minutes = text.parse::<u32>().map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
            let slice = minutes.or_else(|_| shorthand(text))?;
            let range = Duration::from_secs(60)..=Duration::from_secs(86_400);
            if range.contains(&slice) { Ok(slice) } else { Err("a slice lasts from 1m to 1d".to_owned()) }
        })
    });
    match method {
        Method::Occurrences => {
            for key in ["timeSliceTarget", "timeSliceWindow"] {
                if section.has(key) {
                    section.error(key, "is for the budgetingMethod Timeslices or RatioTimeslices");
                }
            }
            Some(Budgeting::Occurrences)
        }
        Method::Timeslices => {
            section.require("timeSliceTarget");
            section.require("timeSliceWindow");
            Some(Budgeting::Timeslices { slice: slice?, target: target? })
        }
        Method::RatioTimeslices => {
            section.require("timeSliceWindow");
            Some(Budgeting::RatioTimeslices { slice: slice? })
        }
    }
}
