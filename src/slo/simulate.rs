//! An outage played through: when each alert fires, when it goes, and what the outage costs.
//!
//! The model: before and after nothing fails, during the outage a constant part does, and events come evenly. Then the
//! error ratio over a window is the part of the outage in it times the error rate, and every instant is a quotient.
//! Rules add up to one interval of evaluation, and alerts of rules with `for` that.
//!
//! Source: Google's SRE workbook, "Alerting on SLOs": detection time.

use std::time::Duration;

use super::spec::{Severity, Slo};

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
    /// Part of the period's budget that it spends; `None` where it goes on.
    pub spent: Option<f64>,
    /// After how long the whole budget would be gone.
    pub exhausted_after: Duration,
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
        /// So long after the beginning.
        after: Duration,
        /// Part of the budget that is spent by then.
        spent: f64,
        /// So long after the end it is resolved; `None` where the outage goes on.
        resolved_after_end: Option<Duration>,
    },
}

/// Plays an outage through.
pub fn simulate(slo: &Slo, outage: &Outage) -> Simulation {
    let (alerting, period) = (&slo.alerting, slo.period.length());
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
    let spent = |length: Duration| {
        outage.error_rate * length.as_secs_f64() / (slo.objective.budget() * period.as_secs_f64())
    };
    Simulation {
        spent: outage.lasts.map(spent),
        exhausted_after: period.mul_f64(slo.objective.budget() / outage.error_rate),
        alerts: burns.into_iter().map(|burn| burn.simulate(slo, outage, spent)).collect(),
    }
}

struct Burn {
    severity: Severity,
    windows: Vec<Duration>,
    factor: f64,
    hold: Duration,
}

impl Burn {
    fn simulate(self, slo: &Slo, outage: &Outage, spent: impl Fn(Duration) -> f64) -> SimulatedAlert {
        let threshold = self.factor * slo.objective.budget();
        // So much of the outage must be in a window.
        let part = |window: &Duration| window.mul_f64(threshold / outage.error_rate);
        let outcome = if outage.error_rate <= threshold {
            SimulatedOutcome::BelowThreshold
        } else {
            let needed = self.windows.iter().map(part).max().unwrap_or_default() + self.hold;
            match outage.lasts {
                // After the end the ratio over a window only stays or falls.
                Some(lasts) if lasts <= needed => SimulatedOutcome::TooShort { needed },
                lasts => {
                    let gone = self.windows.iter().map(|window| window.saturating_sub(part(window))).min();
                    SimulatedOutcome::Fires {
                        after: needed,
                        spent: spent(needed),
                        resolved_after_end: lasts.and(gone),
                    }
                }
            }
        };
        SimulatedAlert {
            severity: self.severity,
            windows: self.windows,
            factor: self.factor,
            threshold,
            outcome,
        }
    }
}
