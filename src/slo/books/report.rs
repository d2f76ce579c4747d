//! How a budget stands, as the API and `outrigger slo report` tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Labels, PromDuration, Timestamp};
use crate::slo::budget::BudgetStatus;
use crate::slo::spec::Slo;

/// A budget: an objective, a set of labels, and how it stands. Ratios are parts of 1; instants are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BudgetReport {
    /// The objective's id.
    pub id: String,
    /// Whose it is.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The file that it comes from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Labels of `group_by`.
    pub labels: BTreeMap<String, String>,
    /// What is promised.
    pub objective: f64,
    /// The same in percent, digit by digit as it was written.
    pub objective_percent: String,
    /// Over how long, in words.
    pub window: String,
    /// The period.
    pub period: ReportPeriod,
    /// Part of good events; `None`: no events.
    pub sli: Option<f64>,
    /// Events that failed.
    pub bad_events: f64,
    /// All events.
    pub total_events: f64,
    /// Part of the budget that is spent.
    pub budget_consumed: f64,
    /// What is left of it; below 0 it is overdrawn.
    pub budget_remaining: f64,
    /// How many more may fail.
    pub events_left: f64,
    /// When nothing remains at the last hour's rate, in seconds; `None`: never.
    pub time_to_exhaustion_seconds: Option<f64>,
    /// Burn rates by window.
    pub burn_rates: BTreeMap<String, f64>,
    /// Slots that nobody has measured.
    pub missing_slots: usize,
    /// Slots that maintenance takes out.
    pub excluded_slots: usize,
}

/// When a period began and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportPeriod {
    /// Its begin.
    pub start: String,
    /// Its end; of a rolling period now.
    pub end: String,
}

impl BudgetReport {
    /// The report of a status.
    pub fn new(slo: &Slo, labels: &Labels, status: &BudgetStatus) -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            id: slo.id(),
            service: slo.service.clone(),
            name: slo.name.clone(),
            file: None,
            labels: labels.iter().map(|(name, value)| (text(name), text(value))).collect(),
            objective: slo.objective.ratio(),
            objective_percent: slo.objective.to_string(),
            window: slo.period.words(),
            period: ReportPeriod { start: instant(status.bounds.0), end: instant(status.bounds.1) },
            sli: status.sli,
            bad_events: status.period.events.bad,
            total_events: status.period.events.total,
            budget_consumed: status.consumed,
            budget_remaining: status.remaining(),
            events_left: status.events_left,
            time_to_exhaustion_seconds: status.exhausted_in.map(|left| left.as_secs_f64()),
            burn_rates: status
                .burn_rates
                .iter()
                .map(|(window, rate)| (PromDuration::new(*window).to_string(), *rate))
                .collect(),
            missing_slots: status.period.missing,
            excluded_slots: status.period.excluded,
        }
    }

    /// The objective's id, with the labels of its group.
    pub fn title(&self) -> String {
        match self.labels.is_empty() {
            true => self.id.clone(),
            false => format!("{}{}", self.id, Labels::from_pairs(&self.labels)),
        }
    }

    /// Whether nothing of the budget is left.
    pub fn is_exhausted(&self) -> bool {
        self.budget_remaining <= 0.0
    }
}

fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| String::new(), |at| at.to_string())
}
