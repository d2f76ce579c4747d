//! A group: its rules evaluated in order at one instant, their results kept together.
//!
//! Invariants: one evaluation at a time; alerts leave only after what is known of them was saved, so that a kill in
//! between sends late rather than twice.
//!
//! Source: Prometheus documentation, "Recording rules"; `rules/group.go`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::context::{AlertTiming, RuleContext};
use super::metrics::RuleMetrics;
use super::rule::{Evaluating, Rule};
use super::saved::{self, Saved};
use super::schedule::Slots;
use super::sink::Written;
use super::spec::GroupSpec;
use super::view::View;
use crate::model::{Labels, OncePerState, Timestamp};
use crate::store::StateOp;

/// A group and what is known of it.
#[derive(Debug)]
pub struct Group {
    spec: GroupSpec,
    is_builtin: bool,
    key: String,
    interval: Duration,
    query_offset: Duration,
    slots: Slots,
    rules: Vec<Rule>,
    state: Mutex<GroupState>,
    /// Held while it is evaluated.
    evaluating: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct GroupState {
    last_evaluation: Option<Timestamp>,
    evaluation_time: Duration,
    rules_time: Duration,
    restore_time: Duration,
    samples: usize,
}

#[derive(Debug)]
struct Progress {
    /// Another group has its state.
    retired: bool,
    /// When the program started, where it took over alerts that were saved.
    restored_at: Option<Timestamp>,
    evaluations: u64,
    writing: OncePerState<bool>,
    /// The file has a row that says when the group was evaluated last.
    is_saved: bool,
}

impl Group {
    /// A group that starts from nothing.
    pub fn new(spec: GroupSpec, interval: Duration, query_offset: Duration) -> Self {
        let interval = spec.interval.unwrap_or(interval);
        Self {
            key: spec.key(),
            is_builtin: spec.is_builtin(),
            interval,
            query_offset: spec.query_offset.unwrap_or(query_offset),
            slots: Slots::new(&spec.name, &spec.file, interval),
            rules: rules_of(&spec),
            spec,
            state: Mutex::default(),
            evaluating: Mutex::new(Progress {
                retired: false,
                restored_at: None,
                evaluations: 0,
                writing: OncePerState::starting_at(true),
                is_saved: false,
            }),
        }
    }

    /// What its file says.
    pub const fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// Whether it ships with the program.
    pub const fn is_builtin(&self) -> bool {
        self.is_builtin
    }

    /// `file;name`
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How often it is evaluated.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// When it is evaluated.
    pub const fn slots(&self) -> Slots {
        self.slots
    }

    /// Its rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// When it was evaluated last.
    pub fn last_evaluation(&self) -> Option<Timestamp> {
        self.state().last_evaluation
    }

    /// How long the last evaluation took.
    pub fn evaluation_time(&self) -> Duration {
        self.state().evaluation_time
    }

    /// How long its rules took in the last evaluation, together.
    pub fn rules_time(&self) -> Duration {
        self.state().rules_time
    }

    /// How long it took to take over its alerts at the start of the program.
    pub fn restore_time(&self) -> Duration {
        self.state().restore_time
    }

    /// Samples that the last evaluation gave.
    pub fn last_samples(&self) -> usize {
        self.state().samples
    }

    fn state(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.evaluating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it from being evaluated for as long as the answer lives, waiting for an evaluation that runs; `None` where
    /// another group has its state.
    pub(super) fn hold_still(&self) -> Option<impl Drop + '_> {
        Some(self.progress()).filter(|progress| !progress.retired)
    }

    /// Whether a group of these settings would be the same.
    pub fn is_same(&self, spec: &GroupSpec, interval: Duration, query_offset: Duration) -> bool {
        self.spec == *spec
            && self.interval == spec.interval.unwrap_or(interval)
            && self.query_offset == spec.query_offset.unwrap_or(query_offset)
    }

    /// Takes over what is known of a group's rules, by name and labels, and stops it. Waits for its evaluation.
    /// Answers what changes in what is saved: alerts of rules that are no more, or that have another key.
    pub fn take_state(&self, from: &Self) -> Vec<StateOp> {
        let mut before = from.progress();
        before.retired = true;
        let mut left: Vec<Option<&Rule>> = from.rules.iter().map(Some).collect();
        let (mut gone, mut moved) = (Vec::new(), Vec::new());
        for rule in &self.rules {
            let same = |old: &&mut Option<&Rule>| old.is_some_and(|old| old.spec().is_same_rule(rule.spec()));
            if let Some(old) = left.iter_mut().find(same).and_then(Option::take) {
                // Then its alerts have other keys.
                let moves = rule.twin() != old.twin();
                if moves {
                    gone.append(&mut self.forget_rule(old));
                }
                rule.take_state(old);
                if moves {
                    rule.with_alerts(|alerts| {
                        moved.extend(alerts.iter().map(|alert| saved::put(&self.key, rule, alert)));
                    });
                }
            }
        }
        *self.state() = *from.state();
        let mut mine = self.progress();
        (mine.restored_at, mine.evaluations) = (before.restored_at, before.evaluations);
        mine.is_saved = before.is_saved;
        gone.extend(left.into_iter().flatten().flat_map(|rule| self.forget_rule(rule)));
        // The last word: what goes to a key may be what another rule leaves there.
        gone.append(&mut moved);
        gone
    }

    fn forget_rule(&self, rule: &Rule) -> Vec<StateOp> {
        rule.with_alerts(|alerts| {
            let labels = alerts.forgotten.iter().chain(alerts.iter().map(|alert| &alert.labels));
            labels.map(|labels| saved::delete(&self.key, rule, labels)).collect()
        })
    }

    /// Stops it for good, and answers what has to be forgotten.
    pub fn retire(&self) -> Vec<StateOp> {
        self.progress().retired = true;
        let mut changes: Vec<StateOp> = self.rules.iter().flat_map(|rule| self.forget_rule(rule)).collect();
        changes.push(saved::forget_group(&self.key));
        changes
    }

    /// Takes over what was saved, at the start of the program.
    pub(super) fn restore(&self, saved: &mut Saved, now: Timestamp, timing: &AlertTiming) {
        let begun = Instant::now();
        let evaluated_at = saved.evaluated_at(&self.key);
        let too_long = evaluated_at.is_none_or(|at| now.since(at) > timing.outage_tolerance);
        let mut restored = 0;
        // A recording rule may have the name of an alert.
        for rule in self.rules.iter().filter(|rule| rule.spec().alert().is_some()) {
            let mut alerts = saved.take_alerts(&self.key, rule);
            let all = alerts.len();
            if too_long {
                let pending: Vec<_> =
                    alerts.extract_if(.., |alert| alert.state == super::AlertState::Pending).collect();
                rule.with_alerts(|alerts| {
                    alerts.forgotten.extend(pending.into_iter().map(|alert| alert.labels))
                });
            }
            restored += alerts.len();
            if all > alerts.len() {
                let (group, rule) = (&*self.key, &*rule.spec().name);
                info!(
                    group,
                    rule,
                    alerts = all - alerts.len(),
                    "Pending alerts from before a long outage are forgotten"
                );
            }
            let hold = rule.spec().alert().map_or(Duration::ZERO, |alert| alert.hold);
            alerts.iter_mut().for_each(|alert| alert.wait_at_least(timing.grace_period, hold, now));
            rule.restore(alerts);
        }
        let mut progress = self.progress();
        progress.is_saved = evaluated_at.is_some();
        if restored > 0 {
            progress.restored_at = Some(now);
            info!(group = &*self.key, alerts = restored, "Alerts restored");
        }
        self.state().restore_time = begun.elapsed();
    }

    /// Evaluates all rules at `at`; `now` is the clock's instant. Blocks.
    pub fn evaluate(&self, at: Timestamp, now: Timestamp, context: &RuleContext, metrics: &RuleMetrics) {
        let mut progress = self.progress();
        if progress.retired {
            return;
        }
        let begun = Instant::now();
        progress.evaluations += 1;
        // The clock was set back: what lies in the future counts from now, or nothing would settle until it has caught up.
        progress.restored_at = progress.restored_at.map(|start| start.min(now));
        // As in Prometheus: what is scraped again may not be there at the first evaluation after a start.
        let settled = progress.restored_at.is_none_or(|start| {
            progress.evaluations > 1 && now.since(start) >= self.interval.max(context.settle)
        });
        let how = Evaluating {
            at,
            query_offset: self.query_offset,
            interval: self.interval,
            limit: self.spec.limit,
            settled,
            group: &self.key,
            metrics,
        };
        let mut view = View::new(context.storage.queryable(), how.query_at());
        let (mut to_send, mut samples, mut failed, mut rules_time) = (Vec::new(), 0, 0, Duration::ZERO);
        for rule in &self.rules {
            let mut outcome = rule.evaluate(&view, context, &how);
            metrics.rule_evaluated(outcome.duration);
            rules_time += outcome.duration;
            failed += u64::from(outcome.failed);
            samples += outcome.returned;
            to_send.append(&mut outcome.to_send);
            let duplicates = view.add(outcome.rows);
            if duplicates > 0 {
                metrics.samples_refused(duplicates);
                rule.not_written("duplicate sample for timestamp");
            }
        }
        self.keep(view, &how, &mut progress, context, metrics);
        if !to_send.is_empty() {
            (context.notify)(to_send);
        }
        let took = begun.elapsed();
        {
            let mut state = self.state();
            let restore_time = state.restore_time;
            *state = GroupState {
                last_evaluation: Some(at),
                evaluation_time: took,
                rules_time,
                restore_time,
                samples,
            };
        }
        metrics.group_evaluated(self, took, self.rules.len() as u64, failed);
    }

    fn keep(
        &self,
        view: View<'_>,
        how: &Evaluating<'_>,
        progress: &mut Progress,
        context: &RuleContext,
        metrics: &RuleMetrics,
    ) {
        let mut changes = Vec::new();
        let mut has_alerts = false;
        for rule in self.rules.iter().filter(|rule| rule.spec().alert().is_some()) {
            rule.with_alerts(|alerts| {
                let forgotten = alerts.forgotten.iter();
                // One may have come back under the same labels.
                let gone = forgotten.filter(|labels| !alerts.has(labels));
                changes.extend(gone.map(|labels| saved::delete(&self.key, rule, labels)));
                let changed = alerts.iter().filter(|alert| alert.changed);
                changes.extend(changed.map(|alert| saved::put(&self.key, rule, alert)));
                has_alerts |= alerts.iter().next().is_some();
            });
        }
        if has_alerts {
            changes.push(saved::evaluated(&self.key, how.at));
        } else if progress.is_saved {
            changes.push(saved::forget_group(&self.key));
        }
        let rows = view.into_rows();
        let written = context.storage.write(&self.key, how.query_at(), &rows, changes);
        let group = &*self.key;
        match &written {
            Ok(written) => {
                progress.is_saved = has_alerts;
                self.rules.iter().for_each(|rule| rule.with_alerts(super::alert::Alerts::saved));
                self.note_refused(written, metrics);
            }
            Err(why) => {
                metrics.write_failed();
                self.rules.iter().for_each(|rule| rule.not_written(why));
            }
        }
        match (progress.writing.observe(written.is_ok()), &written) {
            (Some(_), Err(why)) => error!(group, error = why, "Results of rules are not kept"),
            (Some(change), Ok(_)) => info!(group, lost = change.repeats, "Results of rules are kept again"),
            (None, _) => {}
        }
    }

    fn note_refused(&self, written: &Written, metrics: &RuleMetrics) {
        let refused = written.out_of_order + written.duplicate + written.over_limit;
        if refused == 0 {
            return;
        }
        metrics.samples_refused(refused);
        let group = &*self.key;
        if written.out_of_order > 0 {
            warn!(
                group,
                num_dropped = written.out_of_order,
                "Error on ingesting out-of-order result from rule evaluation"
            );
            self.rules.iter().for_each(|rule| rule.not_written("out of order sample"));
        }
        if written.duplicate > 0 {
            let dropped = written.duplicate;
            warn!(
                group,
                num_dropped = dropped,
                "Error on ingesting results from rule evaluation with different value but same timestamp"
            );
            self.rules.iter().for_each(|rule| rule.not_written("duplicate sample for timestamp"));
        }
        if written.over_limit > 0 {
            self.rules
                .iter()
                .for_each(|rule| rule.not_written("the store has its most series (storage.max_series)"));
        }
    }
}

/// Rules, those of one name and labels told apart by their order. Only alerts are saved: recording rules do not count.
fn rules_of(spec: &GroupSpec) -> Vec<Rule> {
    let mut seen: BTreeMap<(&str, &Labels), usize> = BTreeMap::new();
    let mut rules = Vec::with_capacity(spec.rules.len());
    for rule in &spec.rules {
        let mut twin = 0;
        if rule.alert().is_some() {
            let next = seen.entry((&*rule.name, &rule.labels)).or_default();
            twin = *next;
            *next += 1;
        }
        rules.push(Rule::new(Arc::clone(rule), twin));
    }
    rules
}
