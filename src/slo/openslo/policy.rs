//! OpenSLO's alert policies: burn rates over one window each.

use std::collections::BTreeMap;
use std::time::Duration;

use super::window::shorthand;
use super::{find, take_head};
use crate::config::{Section, Value};
use crate::slo::spec::{BurnCondition, Severity};

/// An `AlertCondition`.
pub(super) type Condition = BurnCondition;

/// An `AlertPolicy`.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) conditions: Vec<Condition>,
    /// `alertWhenNoData`
    pub(super) no_data: bool,
}

/// Reads the `spec` of a condition.
pub(super) fn read_condition(name: &str, spec: &mut Section<'_>) -> Option<Condition> {
    spec.take_str("description");
    spec.require("severity");
    let severity = spec.take_str("severity").unwrap_or_default();
    spec.require("condition");
    let mut inner = spec.take_section("condition")?;
    for key in ["kind", "op", "threshold", "lookbackWindow"] {
        inner.require(key);
    }
    inner.take_choice("kind", &[("burnrate", ())]);
    let ops = [("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")];
    let op = inner.take_choice("op", &ops);
    let threshold = inner.take_float("threshold");
    let mut duration =
        |key| inner.take(key).and_then(|value| value.parse_with("a duration such as 1h", shorthand));
    let (lookback, hold) = (duration("lookbackWindow"), duration("alertAfter"));
    if lookback.is_some_and(|window| window < Duration::from_secs(60)) {
        inner.error("lookbackWindow", "must be at least 1m");
    }
    let is_page = ["page", "critical"].iter().any(|word| severity.eq_ignore_ascii_case(word));
    Some(BurnCondition {
        name: name.to_owned(),
        severity: if is_page { Severity::Page } else { Severity::Ticket },
        severity_label: severity,
        op: op?,
        threshold: threshold?,
        lookback: lookback?,
        hold: hold.unwrap_or_default(),
    })
}

/// Reads the `spec` of a policy.
pub(super) fn read_policy(spec: &mut Section<'_>, known: &BTreeMap<String, Option<Condition>>) -> Policy {
    spec.take_str("description");
    let breaching = spec.take_bool("alertWhenBreaching").unwrap_or(true);
    // Alertmanager says whether resolved alerts are sent.
    spec.take_bool("alertWhenResolved");
    let no_data = spec.take_bool("alertWhenNoData").unwrap_or(false);
    spec.require("conditions");
    let items = spec.take_list("conditions").unwrap_or_default();
    let conditions: Vec<Condition> = items.iter().filter_map(|item| condition_at(item, known)).collect();
    for item in spec.take_list("notificationTargets").unwrap_or_default() {
        let Some(mut target) = item.section() else { continue };
        if target.take_str("targetRef").is_none() {
            target.take_str("kind");
            take_head(&mut target);
            if let Some(mut inner) = target.take_section("spec") {
                inner.take_str("description");
                inner.take_str("target");
            }
        }
    }
    Policy { conditions: if breaching { conditions } else { Vec::new() }, no_data }
}

fn condition_at(item: &Value<'_>, known: &BTreeMap<String, Option<Condition>>) -> Option<Condition> {
    if item.is_scalar() {
        return find(known, item, "AlertCondition")?.clone();
    }
    let mut section = item.section()?;
    if let Some(reference) = section.take("conditionRef") {
        return find(known, &reference, "AlertCondition")?.clone();
    }
    section.take_choice("kind", &[("AlertCondition", ())]);
    let head = take_head(&mut section);
    section.require("spec");
    read_condition(&head.name, &mut section.take_section("spec")?)
}
