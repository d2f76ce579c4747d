//! What is right in a file of objectives, and yet not what its author can have meant.

use std::time::Duration;

use super::generate::round_off;
use super::query::Counts;
use super::spec::{Alerting, Budgeting, Indicator, Slo};
use crate::model::{ColdSort, PromDuration};

/// One such thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line of the objective, from 1.
    pub line: usize,
    /// Its id.
    pub slo: String,
    /// What is odd.
    pub message: String,
}

/// All of them.
pub(super) fn warnings(slos: &[Slo]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for slo in slos {
        let mut add = |message: String| warnings.push(Warning { line: slo.line, slo: slo.id(), message });
        thresholds(slo, &mut add);
        conditions(slo, &mut add);
        events(slo, &mut add);
        if let Budgeting::Timeslices { slice, .. } | Budgeting::RatioTimeslices { slice } = slo.budgeting
            && slice > Duration::from_secs(300)
        {
            add(format!(
                "slices of {} are longer than the shortest alert window; it sees one slice, and alerts no earlier",
                PromDuration::new(slice)
            ));
        }
        if slo.exclude.iter().any(|exclusion| exclusion.condition().is_none()) {
            add("exclude: PromQL knows no time zones but UTC; the budget leaves the time out, alerts do not"
                .to_owned());
        }
    }
    warnings.cold_sort_by_key(|warning| warning.line);
    warnings
}

fn is_heard(alerting: &Alerting) -> bool {
    alerting.page.is_some() || alerting.ticket.is_some()
}

/// Alerts that can never fire.
fn thresholds(slo: &Slo, add: &mut impl FnMut(String)) {
    let alerting = &slo.alerting;
    if !alerting.conditions.is_empty() || !is_heard(alerting) {
        return;
    }
    let (period, objective) = (slo.period.length(), slo.objective);
    for pair in alerting.windows.iter().filter(|pair| alerting.texts(pair.severity).is_some()) {
        let (factor, threshold) = (round_off(pair.factor(period)), pair.threshold(period, objective));
        let (short, long) = (PromDuration::new(pair.short), PromDuration::new(pair.long));
        let severity = pair.severity.as_str();
        if threshold >= 1.0 {
            add(format!(
                "the {severity} alert over {long} and {short} can never fire: it needs an error ratio above {} ({factor} times a budget of {}); with outrigger.alert_windows it can be given less of the budget",
                round_off(threshold),
                objective.budget()
            ));
        }
        if pair.long > period {
            add(format!("the {severity} alert looks back {long}, longer than the period"));
        }
    }
}

fn conditions(slo: &Slo, add: &mut impl FnMut(String)) {
    for condition in &slo.alerting.conditions {
        let threshold = condition.threshold * slo.objective.budget();
        if condition.op.starts_with('>') && threshold >= 1.0 {
            add(format!(
                "the condition {:?} can never hold: it needs an error ratio above {} ({} times a budget of {})",
                condition.name,
                round_off(threshold),
                condition.threshold,
                slo.objective.budget()
            ));
        }
    }
}

/// Queries that do not tell what they count.
fn events(slo: &Slo, add: &mut impl FnMut(String)) {
    let Indicator::Events { error, total } = &slo.indicator else {
        if slo.min_events > 0.0 {
            add("min_events has no effect: this indicator does not count events".to_owned());
        }
        return;
    };
    match (error.counts(), total.counts()) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Counts::PerSecond), Some(Counts::PerWindow))
        | (Some(Counts::PerWindow), Some(Counts::PerSecond)) => {
            add("one of the queries counts per second (rate), the other per window (increase); their quotient is no ratio".to_owned());
        }
        (_, None) if slo.min_events > 0.0 => {
            add("min_events has no effect: the total query shows neither rate nor increase, so that events cannot be counted".to_owned());
        }
        _ => {}
    }
}
