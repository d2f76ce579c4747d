//! The life of alerts: pending, firing, resolved.
//!
//! Pure: the alerts of before, the series that an expression gives now, and the instant make the alerts of after.
//!
//! Invariants: an alert is known by its labels; when the rule fails nothing has changed, unless there are too many.
//! Where Prometheus's clock runs on whatever happens, a clock that was set back must not keep an alert from firing, from
//! being sent or from being forgotten: what then lies in the future counts from now.
//!
//! Source: Prometheus documentation, "Alerting rules"; `rules/alerting.go` for the order of steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::acknowledge::Acknowledgement;
use crate::model::{Labels, METRIC_NAME, OutgoingAlert, Timestamp};

/// How long a resolved alert is kept and sent.
pub(super) const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Resolved.
    Inactive,
    /// The condition holds, but not yet for long enough.
    Pending,
    /// It holds.
    Firing,
}

impl AlertState {
    /// As the API and `alertstate` name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// An alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its identity.
    pub labels: Labels,
    /// What people read.
    pub annotations: Labels,
    /// The series that it came from, without the metric's name.
    pub series: Labels,
    /// Where it is in its life.
    pub state: AlertState,
    /// The last value.
    pub value: f64,
    /// Since when the condition holds.
    pub active_at: Timestamp,
    /// Since when it fires.
    pub fired_at: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// When it was last handed over to be sent.
    pub last_sent_at: Option<Timestamp>,
    /// Since when it fires without its condition.
    pub keep_firing_since: Option<Timestamp>,
    /// Who looks after it, where somebody has said so; see [`Alert::acknowledgement`].
    pub(super) acknowledged: Option<Acknowledgement>,
    /// Known from before a restart and not seen since.
    pub unconfirmed: bool,
    /// Differs from what was saved last.
    pub(super) changed: bool,
    rows: Option<(AlertState, [Labels; 2])>,
}

/// A series of the expression's result, as the alert that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// As of [`Alert`].
    pub labels: Labels,
    /// As of [`Alert`].
    pub annotations: Labels,
    /// As of [`Alert`].
    pub series: Labels,
    /// As of [`Alert`].
    pub value: f64,
}

/// What a rule says about time, and what else decides in one evaluation.
pub struct Step<'a> {
    /// The instant of the evaluation.
    pub at: Timestamp,
    /// `for`
    pub hold: Duration,
    /// `keep_firing_for`
    pub keep_firing: Duration,
    /// Most pending and firing alerts; 0: any number.
    pub limit: usize,
    /// Whether the absence of an alert that was restored means anything yet.
    pub settled: bool,
    /// Whether a firing alert of this series goes on without its condition (`resolve_when` does not hold).
    pub held: &'a mut dyn FnMut(&Labels) -> Result<bool, AlertError>,
}

/// Why a rule has no alerts. The texts are Prometheus's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// Two series would be the same alert.
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    Duplicate,
    /// More than the group's `limit`.
    #[error("exceeded limit of {limit} with {alerts} alerts")]
    TooMany {
        /// The limit.
        limit: usize,
        /// How many there are.
        alerts: usize,
    },
    /// `resolve_when` cannot be evaluated.
    #[error("resolve_when: {0}")]
    ResolveWhen(String),
}

/// The alerts of one rule.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    by_labels: BTreeMap<Labels, Alert>,
    /// Of alerts that are no more and were saved.
    pub(super) forgotten: Vec<Labels>,
}

impl Alert {
    fn new(found: Candidate, at: Timestamp) -> Self {
        Self {
            labels: found.labels,
            annotations: found.annotations,
            series: found.series,
            state: AlertState::Pending,
            value: found.value,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            last_sent_at: None,
            keep_firing_since: None,
            acknowledged: None,
            unconfirmed: false,
            changed: true,
            rows: None,
        }
    }

    /// From what was saved.
    pub(super) const fn restored(
        labels: Labels,
        annotations: Labels,
        series: Labels,
        state: AlertState,
        value: f64,
        active_at: Timestamp,
        [fired_at, resolved_at, last_sent_at, keep_firing_since]: [Option<Timestamp>; 4],
    ) -> Self {
        Self {
            labels,
            annotations,
            series,
            state,
            value,
            active_at,
            fired_at,
            resolved_at,
            last_sent_at,
            keep_firing_since,
            acknowledged: None,
            unconfirmed: true,
            changed: false,
            rows: None,
        }
    }

    /// As Prometheus's grace period: one that was restored while pending fires no sooner than this from now.
    pub(super) fn wait_at_least(&mut self, grace: Duration, hold: Duration, now: Timestamp) {
        let left = hold.saturating_sub(now.since(self.active_at));
        if self.state != AlertState::Pending || hold < grace || left >= grace {
            return;
        }
        let back_ms = i64::try_from((hold - grace).as_millis()).unwrap_or(i64::MAX);
        self.active_at = Timestamp::from_millis(now.as_millis().saturating_sub(back_ms));
        self.changed = true;
    }

    /// The series of `ALERTS` and `ALERTS_FOR_STATE`, made once for each state.
    pub(super) fn rows(&mut self) -> [Labels; 2] {
        if let Some((state, rows)) = &self.rows
            && *state == self.state
        {
            return rows.clone();
        }
        let named = |name: &str| self.labels.with(METRIC_NAME, name);
        let rows = [named("ALERTS").with("alertstate", self.state.as_str()), named("ALERTS_FOR_STATE")];
        self.rows = Some((self.state, rows.clone()));
        rows
    }

    fn outgoing(&self, ends_at: Timestamp, generator_url: String) -> OutgoingAlert {
        OutgoingAlert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.fired_at.unwrap_or(self.active_at),
            ends_at,
            generator_url,
        }
    }

    fn needs_sending(&self, at: Timestamp, resend: Duration) -> bool {
        let Some(sent) = self.last_sent_at else { return self.state != AlertState::Pending };
        match self.state {
            AlertState::Pending => false,
            // After the clock was set back the last time means nothing.
            _ => self.resolved_at.is_some_and(|r| r > sent) || sent.plus(resend) < at || sent > at,
        }
    }
}

impl Alerts {
    /// All, in the order of their labels; resolved ones too.
    pub fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.by_labels.values()
    }

    /// Those that are pending or fire.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.iter().filter(|alert| alert.state != AlertState::Inactive)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Alert> {
        self.by_labels.values_mut()
    }

    /// Puts one in that was saved.
    pub(super) fn restore(&mut self, alert: Alert) {
        self.by_labels.insert(alert.labels.clone(), alert);
    }

    pub(super) fn has(&self, labels: &Labels) -> bool {
        self.by_labels.contains_key(labels)
    }

    /// Whether one that fires has no series among these.
    pub(super) fn fire_without(&self, found: &[Candidate]) -> bool {
        let found: BTreeSet<&Labels> = found.iter().map(|candidate| &candidate.labels).collect();
        self.iter().any(|alert| alert.state == AlertState::Firing && !found.contains(&alert.labels))
    }

    /// All changes are in the store.
    pub(super) fn saved(&mut self) {
        self.by_labels.values_mut().for_each(|alert| alert.changed = false);
        self.forgotten.clear();
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.forgotten.extend(std::mem::take(&mut self.by_labels).into_keys());
    }

    /// Goes one evaluation further. Answers how many alerts began to fire or were resolved.
    ///
    /// # Errors
    /// See [`AlertError`]; nothing has changed, but with too many alerts, of which none is left.
    pub fn advance(&mut self, found: Vec<Candidate>, step: Step<'_>) -> Result<u64, AlertError> {
        let mut by_labels: BTreeMap<Labels, Candidate> = BTreeMap::new();
        for candidate in found {
            if by_labels.insert(candidate.labels.clone(), candidate).is_some() {
                return Err(AlertError::Duplicate);
            }
        }
        let held = self.held_alerts(&by_labels, step.held)?;
        let (mut gone, mut active, mut turned) = (Vec::new(), 0, 0);
        for (labels, alert) in &mut self.by_labels {
            let before = alert.state;
            let here = match by_labels.remove(labels) {
                Some(candidate) => alert.is_seen(candidate, &step),
                None => alert.is_missing(&step, held.binary_search(labels).is_ok()),
            };
            match here {
                Missing::Gone => gone.push(labels.clone()),
                Missing::Kept => {}
                Missing::No => {
                    alert.settle(&step);
                    active += 1;
                }
            }
            alert.end_acknowledgement(step.at);
            turned += u64::from((before == AlertState::Firing) != (alert.state == AlertState::Firing));
        }
        for labels in gone {
            self.by_labels.remove(&labels);
            self.forgotten.push(labels);
        }
        for candidate in by_labels.into_values() {
            let mut alert = Alert::new(candidate, step.at);
            alert.settle(&step);
            turned += u64::from(alert.state == AlertState::Firing);
            active += 1;
            self.by_labels.insert(alert.labels.clone(), alert);
        }
        if step.limit > 0 && active > step.limit {
            self.clear();
            return Err(AlertError::TooMany { limit: step.limit, alerts: active });
        }
        Ok(turned)
    }

    /// Firing alerts without their condition that go on because `resolve_when` does not hold; in order.
    fn held_alerts(
        &self,
        found: &BTreeMap<Labels, Candidate>,
        held: &mut dyn FnMut(&Labels) -> Result<bool, AlertError>,
    ) -> Result<Vec<Labels>, AlertError> {
        let mut all = Vec::new();
        for alert in self.iter().filter(|a| a.state == AlertState::Firing && !found.contains_key(&a.labels)) {
            if held(&alert.series)? {
                all.push(alert.labels.clone());
            }
        }
        Ok(all)
    }

    /// Those that fire, as if they had ended at an instant. Nothing changes.
    pub(super) fn resolved_now(
        &self,
        at: Timestamp,
        generator_url: impl Fn() -> String,
    ) -> Vec<OutgoingAlert> {
        let firing = self.iter().filter(|alert| alert.state == AlertState::Firing);
        firing.map(|alert| alert.outgoing(at, generator_url())).collect()
    }

    /// Those to be sent now, marked as sent.
    pub fn take_to_send(
        &mut self,
        at: Timestamp,
        resend: Duration,
        interval: Duration,
        generator_url: impl Fn() -> String,
    ) -> Vec<OutgoingAlert> {
        let ends_at = at.plus(interval.max(resend).saturating_mul(4));
        let due = self.by_labels.values_mut().filter(|alert| alert.needs_sending(at, resend));
        due.map(|alert| {
            alert.last_sent_at = Some(at);
            alert.changed = true;
            alert.outgoing(alert.resolved_at.unwrap_or(ends_at), generator_url())
        })
        .collect()
    }
}

/// Whether an alert has its condition, or what stands for it.
enum Missing {
    /// It goes on.
    No,
    /// It is resolved, and kept.
    Kept,
    /// It is to be forgotten.
    Gone,
}

impl Alert {
    fn is_seen(&mut self, candidate: Candidate, step: &Step<'_>) -> Missing {
        if self.state == AlertState::Inactive {
            *self = Self::new(candidate, step.at);
            return Missing::No;
        }
        self.value = candidate.value;
        self.changed |= self.annotations != candidate.annotations || self.keep_firing_since.is_some();
        self.annotations = candidate.annotations;
        self.keep_firing_since = None;
        self.unconfirmed = false;
        // `for` has become longer.
        if self.state == AlertState::Firing
            && step.at.since(self.active_at) < step.hold
            && step.at >= self.active_at
        {
            (self.state, self.fired_at, self.changed) = (AlertState::Pending, None, true);
        }
        Missing::No
    }

    fn is_missing(&mut self, step: &Step<'_>, held: bool) -> Missing {
        let waits = self.unconfirmed && !step.settled;
        if self.state != AlertState::Inactive && waits {
            return Missing::No;
        }
        if self.state == AlertState::Firing && held {
            self.changed |= self.keep_firing_since.is_some();
            self.keep_firing_since = None;
            return Missing::No;
        }
        if self.state == AlertState::Firing && !step.keep_firing.is_zero() {
            let since = self.keep_firing_since.filter(|since| *since <= step.at);
            self.changed |= since.is_none();
            let since = *self.keep_firing_since.insert(since.unwrap_or(step.at));
            if step.at.since(since) < step.keep_firing {
                return Missing::No;
            }
        }
        match self.state {
            AlertState::Pending => Missing::Gone,
            AlertState::Firing => {
                (self.state, self.resolved_at) = (AlertState::Inactive, Some(step.at));
                self.changed = true;
                Missing::Kept
            }
            AlertState::Inactive => {
                let resolved = self.resolved_at.filter(|resolved| *resolved <= step.at);
                self.changed |= resolved.is_none();
                let resolved = *self.resolved_at.insert(resolved.unwrap_or(step.at));
                if step.at.since(resolved) > RESOLVED_RETENTION { Missing::Gone } else { Missing::Kept }
            }
        }
    }

    /// Whether it fires now. One that only waits for its series does not: nobody knows whether its condition holds.
    fn settle(&mut self, step: &Step<'_>) {
        if self.state != AlertState::Pending {
            return;
        }
        if self.active_at > step.at {
            (self.active_at, self.changed) = (step.at, true);
        }
        if !self.unconfirmed && step.at.since(self.active_at) >= step.hold {
            (self.state, self.fired_at, self.changed) = (AlertState::Firing, Some(step.at), true);
        }
    }
}
