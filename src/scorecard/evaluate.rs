//! From a card to a report: values gathered, formulas computed, scores and words. Pure but for what is handed in.

use std::collections::BTreeMap;

use super::formula::FormulaError;
use super::report::{PillarReport, PillarStatus, ScorecardReport};
use super::settings::{Card, Named, Pillar, RULE_FIELDS, SLO_FIELDS, Source, fits};
use crate::model::Timestamp;
use crate::promql::ast::Expr;
use crate::slo::BudgetReport;

/// What is judged by.
pub(super) struct Evidence<'a> {
    /// Alert rules as they stand.
    pub(super) rules: &'a [RuleStanding],
    /// Budgets as they stand.
    pub(super) budgets: &'a [BudgetReport],
    /// The value of a query; `None`: it has no series.
    pub(super) query: &'a mut dyn FnMut(&Expr) -> Result<Option<f64>, String>,
}

/// How an alert rule stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RuleStanding {
    pub(super) name: String,
    pub(super) severity: String,
    /// Its selectors found something.
    pub(super) measured: bool,
    pub(super) firing: bool,
}

/// The report of a card.
pub(super) fn evaluate(card: &Card, at: Timestamp, evidence: &mut Evidence<'_>) -> ScorecardReport {
    let pillars = card.pillars.iter().map(|pillar| report(pillar, evidence)).collect();
    ScorecardReport::new(at, card.is_configured, pillars)
}

fn report(pillar: &Pillar, evidence: &mut Evidence<'_>) -> PillarReport {
    let (mut shown, mut known, mut faults) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (name, named) in &pillar.values {
        for (name, value) in gather(name, named, evidence, &mut faults) {
            let value = value.filter(|value| value.is_finite()).or(named.default);
            shown.insert(name.clone(), value);
            known.extend(value.map(|value| (name, value)));
        }
    }
    let computed = pillar.formula.compute(&known);
    let (current, reason, failed) = match computed {
        Ok(current) => (Some(current), None, false),
        Err(FormulaError::Missing(names)) if faults.is_empty() => {
            (None, Some(format!("not measured: {}", names.join(", "))), false)
        }
        Err(FormulaError::Missing(_)) => (None, Some(faults.join("; ")), true),
        Err(FormulaError::Failed(why)) => (None, Some(why), true),
    };
    let score = current.map(|current| pillar.score(current));
    PillarReport {
        pillar: pillar.name.clone(),
        status: current.map_or(PillarStatus::Unknown, |current| pillar.status(current)),
        target: pillar.target,
        current,
        unit: pillar.unit.clone(),
        score,
        weight: pillar.weight,
        reason,
        failed,
        formula: pillar.formula.text().to_owned(),
        values: shown,
    }
}

impl Pillar {
    fn score(&self, current: f64) -> f64 {
        ((current - self.worst) / (self.target - self.worst)).clamp(0.0, 1.0)
    }

    fn status(&self, current: f64) -> PillarStatus {
        let reaches = |bound: f64| {
            if self.target > self.worst { current >= bound } else { current <= bound }
        };
        if reaches(self.target) {
            PillarStatus::Met
        } else if reaches(self.near) {
            PillarStatus::Near
        } else {
            PillarStatus::Missed
        }
    }
}

/// The names that a value gives, each with what it is now.
fn gather(
    name: &str,
    named: &Named,
    evidence: &mut Evidence<'_>,
    faults: &mut Vec<String>,
) -> Vec<(String, Option<f64>)> {
    let below = |field: &str| format!("{name}.{field}");
    match &named.source {
        Source::Query { expr, .. } => {
            let value = (evidence.query)(expr).unwrap_or_else(|why| {
                faults.push(format!("{name}: {why}"));
                None
            });
            vec![(name.to_owned(), value)]
        }
        Source::Slo { id, .. } => {
            // Of several budgets the one with the least left speaks for all; one without events says nothing.
            let ours =
                evidence.budgets.iter().filter(|budget| fits(id, &budget.id) && budget.total_events > 0.0);
            let worst = ours.min_by(|a, b| a.budget_remaining.total_cmp(&b.budget_remaining));
            SLO_FIELDS
                .iter()
                .map(|field| (below(field), worst.and_then(|budget| slo_field(budget, field))))
                .collect()
        }
        Source::Rules { patterns, .. } => {
            let named = |rule: &&RuleStanding| patterns.iter().any(|pattern| fits(pattern, &rule.name));
            // A rule that fires on the absence of series has found none.
            let ours: Vec<&RuleStanding> =
                evidence.rules.iter().filter(named).filter(|rule| rule.measured || rule.firing).collect();
            RULE_FIELDS.iter().map(|field| (below(field), rules_field(&ours, field))).collect()
        }
    }
}

fn slo_field(budget: &BudgetReport, field: &str) -> Option<f64> {
    match field {
        "remaining" => Some(budget.budget_remaining),
        "consumed" => Some(budget.budget_consumed),
        "objective" => Some(budget.objective),
        "events_left" => Some(budget.events_left),
        "sli" => budget.sli,
        "burn_rate" => budget.burn_rates.get("1h").copied(),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn rules_field(rules: &[&RuleStanding], field: &str) -> Option<f64> {
    let firing = || rules.iter().filter(|rule| rule.firing);
    match field {
        _ if rules.is_empty() => None,
        "measured" => Some(rules.len() as f64),
        "firing" => Some(firing().count() as f64),
        _ => Some((1.0 - firing().map(|rule| cost(&rule.severity)).sum::<f64>()).max(0.0)),
    }
}

/// What a rule that fires takes from the health of all.
fn cost(severity: &str) -> f64 {
    match severity {
        "critical" | "page" => 0.5,
        "high" | "error" => 0.25,
        "low" | "info" => 0.02,
        "none" => 0.0,
        _ => 0.1,
    }
}
