//! Alerts held against incidents that are known: which were caught, how late, and which alarms meant nothing.
//!
//! Invariant: an incident is caught when an alert with its labels fires within it; an alarm is false when it overlaps
//! no incident with its labels.

use std::time::Duration;

use super::replay::{SeriesTimeline, Span};
use crate::model::{Labels, Timestamp};

/// Something that happened, and that somebody should have heard of.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// What people call it.
    pub name: String,
    /// Its first instant.
    pub from: Timestamp,
    /// Its last instant.
    pub to: Timestamp,
    /// Only alerts with all of these are about it.
    pub labels: Labels,
}

/// What alerts are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Incidents that were caught, by their places, and how long after their begin.
    pub caught: Vec<(usize, Duration)>,
    /// Incidents that were not, by their places.
    pub missed: Vec<usize>,
    /// How often alerts fired.
    pub alarms: usize,
    /// How often without an incident.
    pub false_alarms: usize,
}

impl Verdict {
    /// The part of alarms that meant nothing; `None` without alarms.
    pub fn false_alarm_rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        (self.alarms > 0).then(|| self.false_alarms as f64 / self.alarms as f64)
    }

    /// The mean and the longest delay; `None` where nothing was caught.
    pub fn delays(&self) -> Option<(Duration, Duration)> {
        let longest = self.caught.iter().map(|(_, delay)| *delay).max()?;
        let sum: Duration = self.caught.iter().map(|(_, delay)| *delay).sum();
        Some((sum / u32::try_from(self.caught.len()).ok()?, longest))
    }
}

impl Incident {
    fn is_met_by(&self, labels: &Labels, firing: &Span) -> bool {
        firing.from <= self.to
            && firing.to > self.from
            && self.labels.iter().all(|(name, value)| labels.value(name) == value)
    }
}

/// Holds alerts against incidents.
pub fn judge<'a>(
    incidents: &[Incident],
    alerts: impl IntoIterator<Item = &'a SeriesTimeline> + Clone,
) -> Verdict {
    let mut verdict = Verdict::default();
    let firings =
        || alerts.clone().into_iter().flat_map(|alert| alert.firings().map(|span| (&alert.labels, span)));
    for (place, incident) in incidents.iter().enumerate() {
        let met = firings().filter(|(labels, firing)| incident.is_met_by(labels, firing));
        match met.map(|(_, firing)| firing.from).min() {
            Some(first) => verdict.caught.push((place, first.since(incident.from))),
            None => verdict.missed.push(place),
        }
    }
    for (labels, firing) in firings() {
        verdict.alarms += 1;
        let meant = incidents.iter().any(|incident| incident.is_met_by(labels, firing));
        verdict.false_alarms += usize::from(!meant);
    }
    verdict
}
