//! Acknowledgements: somebody says that they look after an alert.
//!
//! Invariants: an acknowledgement ends with its alert, when it is resolved, or at its own time; it is in the store before
//! whoever gave it hears so, and a restart finds it with the alert. It changes neither labels nor annotations, and nothing
//! of what is sent: keeping an alert from being told is what silences are for.

use super::alert::{Alert, AlertState};
use super::context::RuleContext;
use super::group::Group;
use super::manager::RuleManager;
use super::saved;
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Timestamp, fingerprint};
use crate::promql::parse_selector;

/// Who looks after an alert, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What they have to say.
    pub comment: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when, at most; `None`: until the alert is resolved.
    pub until: Option<Timestamp>,
}

/// Which alerts are meant.
#[derive(Clone, Debug)]
pub enum AlertChoice {
    /// The one with this fingerprint.
    Fingerprint(u64),
    /// Those that all of these match.
    Matchers(Vec<Matcher>),
}

impl AlertChoice {
    /// A fingerprint of 16 hexadecimal digits, or a selector with the alert's name: `Down`, `Down{instance="a"}`,
    /// `{severity="low"}`.
    ///
    /// # Errors
    /// It is neither, or would fit every alert.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() == 16
            && let Ok(fingerprint) = u64::from_str_radix(text, 16)
        {
            return Ok(Self::Fingerprint(fingerprint));
        }
        let matchers = parse_selector(text).map_err(|error| error.to_string())?;
        if matchers.iter().all(Matcher::matches_empty) {
            return Err("at least one condition must not fit everything".to_owned());
        }
        let about_alerts = |matcher: Matcher| match matcher.name() {
            METRIC_NAME => Matcher::new("alertname", matcher.op(), matcher.pattern()),
            _ => Ok(matcher),
        };
        let matchers: Result<Vec<Matcher>, _> = matchers.into_iter().map(about_alerts).collect();
        Ok(Self::Matchers(matchers.map_err(|error| error.to_string())?))
    }

    fn fits(&self, labels: &Labels) -> bool {
        match self {
            Self::Fingerprint(wanted) => fingerprint(labels) == *wanted,
            Self::Matchers(matchers) => Matcher::all_match(matchers, labels),
        }
    }

    /// Whether an alert of this name could fit: most groups need not be waited for.
    fn could_fit(&self, alertname: &str) -> bool {
        let Self::Matchers(matchers) = self else { return true };
        let about_name = |matcher: &&Matcher| matcher.name() == "alertname" && matcher.op() == MatchOp::Equal;
        matchers.iter().find(about_name).is_none_or(|matcher| matcher.pattern() == alertname)
    }
}

impl Alert {
    /// Who looks after it at an instant.
    pub fn acknowledgement(&self, now: Timestamp) -> Option<&Acknowledgement> {
        self.acknowledged.as_ref().filter(|given| given.until.is_none_or(|until| now < until))
    }

    /// Takes away an acknowledgement that has ended.
    pub(super) fn end_acknowledgement(&mut self, now: Timestamp) {
        if self.acknowledged.is_some()
            && (self.state == AlertState::Inactive || self.acknowledgement(now).is_none())
        {
            (self.acknowledged, self.changed) = (None, true);
        }
    }
}

impl RuleManager {
    /// Acknowledges all pending and firing alerts that are meant, or takes their acknowledgements away. Answers whose. May
    /// wait for an evaluation. Blocks.
    ///
    /// # Errors
    /// It cannot be kept; alerts of some groups may have it.
    pub fn acknowledge(
        &self,
        choice: &AlertChoice,
        given: Option<&Acknowledgement>,
    ) -> Result<Vec<Labels>, String> {
        let (context, mut whose) = (self.context(), Vec::new());
        for group in self.groups().iter() {
            whose.append(&mut group.acknowledge(choice, given, &context)?);
        }
        Ok(whose)
    }
}

impl Group {
    pub(super) fn acknowledge(
        &self,
        choice: &AlertChoice,
        given: Option<&Acknowledgement>,
        context: &RuleContext,
    ) -> Result<Vec<Labels>, String> {
        let meant = |alert: &Alert| alert.state != AlertState::Inactive && choice.fits(&alert.labels);
        let rules = self.rules().iter().filter(|rule| {
            rule.spec().alert().is_some()
                && choice.could_fit(&rule.spec().name)
                && rule.with_alerts(|alerts| alerts.iter().any(meant))
        });
        let rules: Vec<_> = rules.collect();
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        // An evaluation that runs would write what was before over it.
        let Some(_still) = self.hold_still() else { return Ok(Vec::new()) };
        let (mut changes, mut before) = (Vec::new(), Vec::new());
        for rule in rules {
            rule.with_alerts(|alerts| {
                for alert in alerts.iter_mut().filter(|alert| meant(alert)) {
                    let old = std::mem::replace(&mut alert.acknowledged, given.cloned());
                    changes.push(saved::put(self.key(), rule, alert));
                    before.push((rule, alert.labels.clone(), old));
                }
            });
        }
        if let Err(error) = context.storage.forget(changes) {
            for (rule, labels, old) in before {
                rule.with_alerts(|alerts| {
                    if let Some(alert) = alerts.iter_mut().find(|alert| alert.labels == labels) {
                        alert.acknowledged = old;
                    }
                });
            }
            return Err(error);
        }
        Ok(before.into_iter().map(|(_, labels, _)| labels).collect())
    }
}
