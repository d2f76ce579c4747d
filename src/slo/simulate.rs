//! An outage played through: when each alert fires, when it goes, and what the outage costs.
//!
//! The model: before and after nothing fails, during the outage a constant part does, and events come evenly. Then the
//! error ratio over a window is the part of the outage in it times the error rate, and every instant is a quotient.
//! After the end it stays above a bound for as long as enough of the outage is in the window, and an alert that must
//! hold for some time may come only then. Where slices of time count, the outage begins with one, and what fails is
//! slices: all that it fills or none, as the error rate is beyond what a slice may have or not.
//! Rules add up to one interval of evaluation.
//!
//! Source: Google's SRE workbook, "Alerting on SLOs": detection time.

use std::time::Duration;

use super::generate::round_off;
use super::spec::{Budgeting, Severity, Slo};

/// What fails, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outage {
    /// Part of the events that fails, above 0 and at most 1.
    pub error_rate: f64,
    /// Its length; `None`: it goes on.
    pub lasts: Option<Duration>,
}

/// What an outage does to an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// Part of the period's budget that it spends: as much of it as a period holds. Where it goes on, that is a period.
    pub spent: f64,
    /// After how long the whole budget would be gone; `None`: never, not even in a period full of it.
    pub exhausted_after: Option<Duration>,
    /// Each pair of windows, and each condition, in the order of the objective.
    pub alerts: Vec<SimulatedAlert>,
}

/// What one pair of windows does.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedAlert {
    /// How bad.
    pub severity: Severity,
    /// The windows, the longer one first.
    pub windows: Vec<Duration>,
    /// Burn rate beyond which it fires.
    pub factor: f64,
    /// Error ratio beyond which it fires.
    pub threshold: f64,
    /// When it fires.
    pub outcome: SimulatedOutcome,
}

/// When an alert fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SimulatedOutcome {
    /// Fewer fail than it takes.
    BelowThreshold,
    /// The outage is over before it would.
    TooShort {
        /// How long it would have to last.
        needed: Duration,
    },
    /// It fires.
    Fires {
        /// So long after the beginning; with a time for which it must hold, that may be after the end.
        after: Duration,
        /// Part of the budget that is spent by then.
        spent: f64,
        /// So long after the end it is resolved; `None` where the outage goes on.
        resolved_after_end: Option<Duration>,
    },
}

/// Plays an outage through.
pub fn simulate(slo: &Slo, outage: &Outage) -> Simulation {
    let (alerting, period, budget) = (&slo.alerting, slo.period.length(), slo.objective.budget());
    let failure = Failure::new(slo.budgeting, outage);
    let pairs = alerting.windows.iter().filter(|pair| alerting.texts(pair.severity).is_some());
    let pairs = pairs.map(|pair| Burn {
        severity: pair.severity,
        windows: vec![pair.long, pair.short],
        factor: pair.factor(period),
        hold: Duration::ZERO,
    });
    let rising = alerting.conditions.iter().filter(|condition| condition.op.starts_with('>'));
    let conditions = rising.map(|condition| Burn {
        severity: condition.severity,
        windows: vec![condition.lookback],
        factor: condition.threshold,
        hold: condition.hold,
    });
    let burns: Vec<Burn> =
        if alerting.conditions.is_empty() { pairs.collect() } else { conditions.collect() };
    let spent =
        |length: Duration| failure.rate * length.min(period).as_secs_f64() / (budget * period.as_secs_f64());
    Simulation {
        spent: spent(failure.lasts.unwrap_or(period)),
        exhausted_after: (failure.rate >= budget).then(|| period.mul_f64(budget / failure.rate)),
        alerts: burns.into_iter().map(|burn| burn.simulate(budget, &failure, spent)).collect(),
    }
}

/// What fails of what is counted: events, or slices of time.
struct Failure {
    rate: f64,
    /// As what is counted sees it.
    lasts: Option<Duration>,
    /// What it really lasts: it may end within a slice.
    ends: Option<Duration>,
    /// No window is shorter: it still sees one slice.
    shortest_window: Duration,
    /// What fails as a whole or not at all; zero: events do.
    unit: Duration,
}

impl Failure {
    fn new(budgeting: Budgeting, outage: &Outage) -> Self {
        let Outage { error_rate, lasts } = *outage;
        let events = |shortest_window| Self {
            rate: error_rate,
            lasts,
            ends: lasts,
            shortest_window,
            unit: Duration::ZERO,
        };
        let (slice, most) = match budgeting {
            Budgeting::Occurrences => return events(Duration::ZERO),
            Budgeting::RatioTimeslices { slice } => return events(slice),
            Budgeting::Timeslices { slice, target } => (slice, round_off(1.0 - target)),
        };
        let bad_time = |lasts: Duration| {
            let rest = beyond(lasts, slice);
            let is_bad = error_rate * rest.as_secs_f64() > most * slice.as_secs_f64();
            lasts - rest + if is_bad { slice } else { Duration::ZERO }
        };
        let rate = if error_rate > most { 1.0 } else { 0.0 };
        Self { rate, lasts: lasts.map(bad_time), ends: lasts, shortest_window: slice, unit: slice }
    }
}

/// What is left of a length behind the last whole slice.
fn beyond(length: Duration, slice: Duration) -> Duration {
    let rest_ms = length.as_millis().checked_rem(slice.as_millis()).unwrap_or_default();
    Duration::from_millis(u64::try_from(rest_ms).unwrap_or_default())
}

struct Burn {
    severity: Severity,
    windows: Vec<Duration>,
    factor: f64,
    hold: Duration,
}

impl Burn {
    fn simulate(self, budget: f64, failure: &Failure, spent: impl Fn(Duration) -> f64) -> SimulatedAlert {
        let threshold = self.factor * budget;
        let outcome = if failure.rate <= threshold {
            SimulatedOutcome::BelowThreshold
        } else {
            self.outcome(threshold / failure.rate, failure, spent)
        };
        SimulatedAlert {
            severity: self.severity,
            windows: self.windows,
            factor: self.factor,
            threshold,
            outcome,
        }
    }

    /// `part` of each window must be outage, less than all of it.
    fn outcome(&self, part: f64, failure: &Failure, spent: impl Fn(Duration) -> f64) -> SimulatedOutcome {
        let windows = || self.windows.iter().map(|window| *window.max(&failure.shortest_window));
        let above = windows().map(|window| window.mul_f64(part)).max().unwrap_or_default();
        let below = windows().map(|window| window.saturating_sub(window.mul_f64(part))).min();
        let below = below.unwrap_or_default();
        // All windows are above from `above` on until `below` after the end, and must be for longer than the hold.
        let needed = above + self.hold.saturating_sub(below);
        match failure.lasts {
            Some(lasts) if lasts <= needed => {
                SimulatedOutcome::TooShort { needed: needed - beyond(needed, failure.unit) + failure.unit }
            }
            lasts => {
                let after = above + self.hold;
                SimulatedOutcome::Fires {
                    after,
                    spent: spent(lasts.map_or(after, |lasts| after.min(lasts))),
                    resolved_after_end: lasts
                        .zip(failure.ends)
                        .map(|(lasts, ends)| (lasts + below).saturating_sub(ends)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SLOTH, read};
    use super::*;

    /// An objective of OpenSLO over 30 days, with one alert; `budgeting` and `objective` as the file has them.
    fn open_slo(budgeting: &str, objective: &str, alert_after: &str) -> Slo {
        let text = format!(
            "apiVersion: openslo/v1
kind: AlertCondition
metadata: {{name: burn}}
spec:
  severity: page
  condition: {{kind: burnrate, op: gt, threshold: 14.4, lookbackWindow: 1h, alertAfter: {alert_after}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: s}}
spec:
  service: svc
  indicator:
    metadata: {{name: i}}
    spec:
      ratioMetric:
        counter: true
        bad: {{metricSource: {{type: Prometheus, spec: {{query: 'sum(bad_total)'}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: 'sum(all_total)'}}}}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: {budgeting}
  objectives: [{{{objective}}}]
  alertPolicies:
    - kind: AlertPolicy
      metadata: {{name: p}}
      spec: {{alertWhenBreaching: true, conditions: [{{conditionRef: burn}}]}}
"
        );
        read(&text).slos.remove(0)
    }

    #[test]
    fn an_alert_that_must_hold_may_come_after_the_outage() {
        let outcome = |alert_after: &str, minutes: u64| {
            let slo = open_slo("Occurrences", "target: 0.999", alert_after);
            let outage = Outage { error_rate: 1.0, lasts: Some(Duration::from_secs(60 * minutes)) };
            simulate(&slo, &outage).alerts[0].outcome
        };
        // Above 1.44 % from 51.84 s on, and until 3,548.16 s after the end.
        let SimulatedOutcome::Fires { after, spent, resolved_after_end } = outcome("10m", 5) else {
            panic!()
        };
        assert_eq!((after.as_secs(), resolved_after_end.map(|after| after.as_secs())), (651, Some(3_548)));
        assert!((spent - 300.0 / 2_592.0).abs() < 1e-9, "no more than the whole outage: {spent}");
        // The hour of the hold is more than what comes after the end: 51.84 s + 3,600 s - 3,548.16 s.
        let SimulatedOutcome::TooShort { needed } = outcome("1h", 1) else { panic!() };
        assert_eq!(needed.as_millis(), 103_680);
        assert!(matches!(outcome("1h", 2), SimulatedOutcome::Fires { .. }));
    }

    #[test]
    fn slices_are_bad_or_not_in_an_outage() {
        let slo = open_slo("Timeslices", "target: 0.99, timeSliceTarget: 0.95, timeSliceWindow: 5m", "0m");
        let simulated = |error_rate, lasts_s| {
            let lasts = Some(Duration::from_secs(lasts_s));
            simulate(&slo, &Outage { error_rate, lasts })
        };
        let few = simulated(0.04, 86_400);
        assert_eq!((few.spent, few.exhausted_after), (0.0, None));
        assert_eq!(few.alerts[0].outcome, SimulatedOutcome::BelowThreshold);
        // Any rate beyond the target fails all: 1 % of 30 days is 7.2 hours.
        let day = simulated(0.06, 86_400);
        assert!((day.spent - 24.0 / 7.2).abs() < 1e-9, "{}", day.spent);
        assert_eq!(day.exhausted_after.unwrap().as_secs_f64().round(), 25_920.0);
        // 30 s of total failure are 10 % of a slice, 10 s are 3.3 %.
        assert!((simulated(1.0, 30).spent - 300.0 / 25_920.0).abs() < 1e-9);
        assert_eq!(simulated(1.0, 10).spent, 0.0);
        // 14.4 % of an hour are 518.4 s: two slices.
        assert_eq!(
            simulated(1.0, 300).alerts[0].outcome,
            SimulatedOutcome::TooShort { needed: Duration::from_secs(600) }
        );
        let SimulatedOutcome::Fires { resolved_after_end, .. } = simulated(1.0, 590).alerts[0].outcome else {
            panic!()
        };
        assert_eq!(resolved_after_end.map(|after| after.as_millis()), Some(10_000 + 3_081_600));
    }

    #[test]
    fn a_period_holds_no_more_outage_than_itself() {
        let slo = &read(SLOTH).slos[0];
        let day = 86_400;
        for (error_rate, lasts_d, spent, exhausted_d) in [
            (0.000_5, None, 0.5, None),
            (0.000_5, Some(61), 0.5, None),
            (0.001, Some(60), 1.0, Some(30.0)),
            (0.002, Some(61), 2.0, Some(15.0)),
            (1e-300, None, 0.0, None),
            (1e-300, Some(1), 0.0, None),
        ] {
            let lasts = lasts_d.map(|days: u64| Duration::from_secs(days * day));
            let simulation = simulate(slo, &Outage { error_rate, lasts });
            assert!((simulation.spent - spent).abs() < 1e-9, "{error_rate}: {}", simulation.spent);
            let exhausted = simulation.exhausted_after.map(|after| after.as_secs_f64() / 86_400.0);
            assert_eq!(exhausted.map(f64::round), exhausted_d, "{error_rate}");
        }
    }
}
