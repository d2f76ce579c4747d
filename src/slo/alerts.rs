//! Alerts of an objective: on how fast its budget burns, on what is left of it, on silence.
//!
//! Invariant: page and ticket are Sloth's alerts, of one name and without `for`, told apart by `sloth_severity`.
//!
//! Source: the rules that Sloth writes; Google's SRE workbook, "Alerting on SLOs", approach 6.

use std::time::Duration;

use super::generate::{EVENTS, GeneratedKind, GeneratedRule, Generator, merged};
use super::spec::{Absent, BurnCondition, Format, PolicyStep, Severity, Texts};
use super::windows::BurnWindow;
use crate::model::PromDuration;

/// How long series must be gone before that is an alert.
const ABSENT_HOLD: Duration = Duration::from_secs(600);

/// Name of alerts that are there although the objective names none.
const DEFAULT_NAME: &str = "ErrorBudgetBurn";

const WHOSE: &str = "{{$labels.sloth_service}} {{$labels.sloth_slo}}";

pub(super) fn alert_rules(generator: &Generator<'_>) -> Vec<GeneratedRule> {
    let slo = generator.slo;
    let mut rules = Vec::new();
    if slo.alerting.conditions.is_empty() {
        rules.extend([Severity::Page, Severity::Ticket].into_iter().filter_map(|s| burn_rule(generator, s)));
    } else {
        rules.extend(slo.alerting.conditions.iter().map(|condition| condition_rule(generator, condition)));
    }
    if let Absent::Alert(severity) = slo.absent {
        rules.push(absent_rule(generator, severity));
    }
    rules.extend(slo.policy.iter().map(|step| policy_rule(generator, step)));
    rules
}

/// The name of the objective's alerts with a word behind it.
fn name(generator: &Generator<'_>, word: &str) -> String {
    let name = generator.slo.alerting.name.as_str();
    format!("{}{word}", if name.is_empty() { DEFAULT_NAME } else { name })
}

fn rule(
    generator: &Generator<'_>,
    name: String,
    severity: Severity,
    expr: String,
    hold: Duration,
    annotations: Texts,
) -> GeneratedRule {
    let alerting = &generator.slo.alerting;
    let own = alerting.texts(severity).cloned().unwrap_or_default();
    let mut labels = merged([&alerting.labels, &own.labels]);
    labels.insert("sloth_severity".to_owned(), severity.as_str().to_owned());
    // Sloth's files give each objective's alerts a name of their own. Where several share one, promtool takes the rules
    // for the same rule, unless their labels differ.
    if generator.slo.format != Format::Sloth || name != alerting.name {
        labels.insert("sloth_id".to_owned(), generator.id.clone());
    }
    let annotations = merged([&annotations, &alerting.annotations, &own.annotations]);
    let expr = outside_of_exclusions(generator, expr);
    let kind = GeneratedKind::Alert { hold, keep_firing: Duration::ZERO, annotations };
    GeneratedRule { kind, name, expr, labels }
}

fn texts<const N: usize>(texts: [(&str, String); N]) -> Texts {
    texts.map(|(name, text)| (name.to_owned(), text)).into_iter().collect()
}

/// Many windows, many burn rates: any of the pairs, both windows of it.
fn burn_rule(generator: &Generator<'_>, severity: Severity) -> Option<GeneratedRule> {
    let slo = generator.slo;
    slo.alerting.texts(severity)?;
    let pairs = slo.alerting.windows.iter().filter(|pair| pair.severity == severity);
    let conditions: Vec<String> = pairs.map(|pair| pair_condition(generator, pair)).collect();
    if conditions.is_empty() {
        return None;
    }
    let annotations = texts([
        ("summary", format!("{WHOSE} burns its error budget faster than the objective allows.")),
        ("title", format!("({}) {WHOSE}: the error budget burns too fast.", severity.as_str())),
    ]);
    let name = name(generator, "");
    Some(rule(generator, name, severity, conditions.join("\nor\n"), Duration::ZERO, annotations))
}

fn pair_condition(generator: &Generator<'_>, pair: &BurnWindow) -> String {
    let slo = generator.slo;
    let bound = format!("({} * {})", pair.factor(slo.period.length()), slo.objective.budget());
    let above = |window| format!("max({} > {bound}) without (sloth_window)", generator.ratio(window));
    let mut parts = vec![above(pair.short), above(pair.long)];
    if slo.min_events > 0.0 {
        let (events, selector) = (format!("{EVENTS}{}", PromDuration::new(pair.long)), generator.selector());
        parts.push(format!("max({events}{selector} >= {}) without (sloth_window)", slo.min_events));
    }
    format!("(\n    {}\n)", parts.join("\n    and\n    "))
}

fn condition_rule(generator: &Generator<'_>, condition: &BurnCondition) -> GeneratedRule {
    let BurnCondition { severity, op, threshold, lookback, hold, .. } = condition;
    let expr = format!(
        "max({} {op} ({threshold} * {})) without (sloth_window)",
        generator.ratio(*lookback),
        generator.slo.objective.budget()
    );
    let annotations = texts([
        ("condition", condition.name.clone()),
        ("summary", format!("{WHOSE}: burn rate over {} {op} {threshold}.", PromDuration::new(*lookback))),
        ("title", format!("({}) {WHOSE}: the error budget burns too fast.", severity.as_str())),
    ]);
    let name = name(generator, "");
    let mut rule = rule(generator, name, *severity, expr, *hold, annotations);
    // Two conditions of one severity are two alerts, also for who compares their labels.
    rule.labels.insert("condition".to_owned(), condition.name.clone());
    rule.labels.insert("severity".to_owned(), condition.severity_label.clone());
    rule
}

fn absent_rule(generator: &Generator<'_>, severity: Severity) -> GeneratedRule {
    let expr = format!("absent({})", generator.ratio(super::generate::BASE_WINDOW));
    let annotations = texts([
        ("summary", format!("Nothing tells how well {WHOSE} is kept: its series are gone.")),
        ("title", format!("({}) {WHOSE}: no data.", severity.as_str())),
    ]);
    rule(generator, name(generator, "Absent"), severity, expr, ABSENT_HOLD, annotations)
}

fn policy_rule(generator: &Generator<'_>, step: &PolicyStep) -> GeneratedRule {
    let (selector, below) = (generator.selector(), step.remaining_below);
    let expr = format!("slo:period_error_budget_remaining:ratio{selector} < {below}");
    let annotations = texts([
        ("action", step.action.clone()),
        (
            "summary",
            format!(
                "{WHOSE} has less than {} % of its error budget left.",
                super::generate::round_off(below * 100.0)
            ),
        ),
        ("title", format!("({}) {WHOSE}: {}", step.severity.as_str(), step.action)),
    ]);
    let mut rule =
        rule(generator, name(generator, "Budget"), step.severity, expr, Duration::ZERO, annotations);
    rule.labels.insert("budget_below".to_owned(), below.to_string());
    rule
}

/// No alert while a time lasts that does not count.
fn outside_of_exclusions(generator: &Generator<'_>, expr: String) -> String {
    let conditions: Vec<String> = generator.slo.exclude.iter().filter_map(|e| e.condition()).collect();
    if conditions.is_empty() {
        return expr;
    }
    format!("(\n{expr}\n)\nunless on ()\n(\n    ({})\n)", conditions.join(")\n    or\n    ("))
}
