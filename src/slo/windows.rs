//! How fast a budget may burn: pairs of a long and a short window, and the factor beyond which both must be.
//!
//! The long window says that it matters, the short one that it still goes on. The factor is the part of the budget that
//! may be spent within the long window, over the part of the period that this window is.
//!
//! Source: Google's SRE workbook, "Alerting on SLOs" (page 2 % in 1 h and 5 % in 6 h, ticket 10 % in 3 d); Sloth's
//! catalogue adds 10 % in 1 d.

use std::time::Duration;

use super::spec::{Objective, Severity};

/// One pair of windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnWindow {
    /// How bad it is.
    pub severity: Severity,
    /// Part of the budget that may be spent within `long`, in percent.
    pub budget_percent: f64,
    /// Says that it goes on.
    pub short: Duration,
    /// Says that it matters.
    pub long: Duration,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// The pairs for 30 days: severity, percent of the budget, short and long window in seconds.
const CATALOGUE: [(Severity, f64, u64, u64); 4] = [
    (Severity::Page, 2.0, 5 * MINUTE, HOUR),
    (Severity::Page, 5.0, 30 * MINUTE, 6 * HOUR),
    (Severity::Ticket, 10.0, 2 * HOUR, DAY),
    (Severity::Ticket, 10.0, 6 * HOUR, 3 * DAY),
];

/// Below this period, the catalogue's parts of the budget are raised: see [`catalogue`].
const SHORT_PERIOD: Duration = Duration::from_secs(28 * DAY);

/// The pairs of a period. Windows stay what they are, and so do the parts of the budget; the factor follows. Where the
/// period is shorter than four weeks, a part that is spent by burning slower than the budget allows is raised to what
/// burning exactly as allowed spends, a factor of 1. Windows longer than the period are left out.
pub fn catalogue(period: Duration) -> Vec<BurnWindow> {
    let pairs = CATALOGUE.iter().map(|&(severity, percent, short, long)| {
        let (short, long) = (Duration::from_secs(short), Duration::from_secs(long));
        let fair = 100.0 * long.as_secs_f64() / period.as_secs_f64();
        let budget_percent = if period < SHORT_PERIOD { percent.max(fair) } else { percent };
        BurnWindow { severity, budget_percent, short, long }
    });
    pairs.filter(|pair| pair.long <= period).collect()
}

impl BurnWindow {
    /// How many times faster than allowed the budget burns when the alert fires.
    pub fn factor(&self, period: Duration) -> f64 {
        self.budget_percent * period.as_secs_f64() / (self.long.as_secs_f64() * 100.0)
    }

    /// The part of bad events beyond which it fires. Above 1 it never does.
    pub fn threshold(&self, period: Duration, objective: Objective) -> f64 {
        self.factor(period) * objective.budget()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(days: u64) -> Vec<f64> {
        let period = Duration::from_secs(days * DAY);
        catalogue(period).iter().map(|pair| pair.factor(period)).collect()
    }

    #[test]
    fn factors_are_those_of_the_workbook_and_of_sloth() {
        assert_eq!(factors(30), [14.4, 6.0, 3.0, 1.0]);
        assert_eq!(factors(28), [13.44, 5.6, 2.8, 0.933_333_333_333_333_3]);
        assert_eq!(factors(90), [43.2, 18.0, 9.0, 3.0]);
    }

    #[test]
    fn short_periods_have_no_alert_on_what_leaves_the_budget_whole() {
        assert_eq!(factors(7), [3.36, 1.4, 1.0, 1.0]);
        assert_eq!(factors(1), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn thresholds_of_the_workbook() {
        let (period, objective) =
            (Duration::from_secs(30 * DAY), Objective::percent("99.9").expect("valid objective"));
        let thresholds: Vec<f64> =
            catalogue(period).iter().map(|pair| pair.threshold(period, objective)).collect();
        for (threshold, expected) in thresholds.iter().zip([0.0144, 0.006, 0.003, 0.001]) {
            assert!((threshold - expected).abs() < 1e-15, "{threshold}");
        }
        let lax = Objective::percent("90").expect("valid objective");
        assert!(catalogue(period)[0].threshold(period, lax) > 1.0);
    }
}
