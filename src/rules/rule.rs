//! One rule: its expression evaluated, its result turned into samples or alerts, and what is known of it.
//!
//! Invariants: a rule that fails keeps its state, and its series go on; what is shown is whole: it is changed in one
//! step at the end of an evaluation.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::alert::{Alert, AlertError, AlertState, Alerts, Candidate, Step};
use super::context::RuleContext;
use super::metrics::RuleMetrics;
use super::spec::{AlertSpec, RuleSpec};
use super::template::{Template, TemplateData};
use super::view::View;
use crate::model::{
    Labels, LabelsBuilder, METRIC_NAME, OncePerState, OutgoingAlert, Row, STALE_NAN, Timestamp,
};

/// Evaluations of a rule that are remembered.
const REMEMBERED: usize = 20;

/// How far back alerts that began to fire or were resolved count as restlessness.
const TURNS_WINDOW: Duration = Duration::from_secs(3_600);

/// Most turns counted within it; a rule that has more is restless enough.
const MOST_TURNS: usize = 1_000;

/// How the last evaluation went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// There was none.
    #[default]
    Unknown,
    /// Well.
    Good,
    /// It failed.
    Bad,
}

impl Health {
    /// As the API names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }
}

/// One evaluation that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Its instant.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Series that its selectors found.
    pub series_seen: u64,
    /// Series of its result.
    pub series_returned: usize,
    /// Why it failed.
    pub error: Option<Box<str>>,
}

/// A rule and what is known of it.
#[derive(Debug)]
pub struct Rule {
    spec: Arc<RuleSpec>,
    twin: usize,
    state: Mutex<RuleState>,
}

#[derive(Debug)]
struct RuleState {
    health: Health,
    last_error: Option<Box<str>>,
    last_evaluation: Option<Timestamp>,
    evaluation_time: Duration,
    total_time: Duration,
    alerts: Alerts,
    /// The samples of the last evaluation that went well.
    previous: Vec<Row>,
    evaluations: VecDeque<Evaluation>,
    turns: VecDeque<Timestamp>,
    turns_total: u64,
    failing: OncePerState<bool>,
}

impl Default for RuleState {
    fn default() -> Self {
        Self {
            health: Health::Unknown,
            last_error: None,
            last_evaluation: None,
            evaluation_time: Duration::ZERO,
            total_time: Duration::ZERO,
            alerts: Alerts::default(),
            previous: Vec::new(),
            evaluations: VecDeque::new(),
            turns: VecDeque::new(),
            turns_total: 0,
            failing: OncePerState::starting_at(false),
        }
    }
}

/// What is known of a rule at one moment.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// How the last evaluation went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<Box<str>>,
    /// When it began.
    pub last_evaluation: Option<Timestamp>,
    /// How long it took.
    pub evaluation_time: Duration,
    /// All evaluations together.
    pub total_time: Duration,
    /// Alerts that are pending or fire, in the order of their labels.
    pub alerts: Vec<Alert>,
    /// The last evaluations, oldest first.
    pub evaluations: Vec<Evaluation>,
    /// How often an alert began to fire or was resolved within the last hour, and ever.
    pub turns: (usize, u64),
}

impl RuleStatus {
    /// The gravest state of its alerts; `None` where none is known yet.
    pub fn state(&self) -> Option<AlertState> {
        let gravest = self.alerts.iter().map(|alert| alert.state).max();
        gravest.or(self.last_evaluation.map(|_| AlertState::Inactive))
    }

    /// Series that the selectors found last.
    pub fn series_seen(&self) -> Option<u64> {
        self.evaluations.last().map(|evaluation| evaluation.series_seen)
    }
}

/// What an evaluation of one rule comes to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Samples of this instant; of series that vanished, markers.
    pub(super) rows: Vec<Row>,
    /// Alerts to be sent.
    pub(super) to_send: Vec<OutgoingAlert>,
    /// Series of the result, markers not counted.
    pub(super) returned: usize,
    /// Whether it failed.
    pub(super) failed: bool,
    /// How long it took.
    pub(super) duration: Duration,
}

/// When and how a group evaluates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evaluating<'a> {
    pub(super) at: Timestamp,
    pub(super) query_offset: Duration,
    pub(super) interval: Duration,
    pub(super) limit: usize,
    pub(super) settled: bool,
    pub(super) group: &'a str,
    pub(super) metrics: &'a RuleMetrics,
}

impl Evaluating<'_> {
    /// The instant that expressions are evaluated at.
    pub(super) fn query_at(&self) -> Timestamp {
        let offset_ms = i64::try_from(self.query_offset.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.at.as_millis().saturating_sub(offset_ms))
    }
}

impl Rule {
    /// `twin`: how many alert rules of its name and labels stand before it in its group.
    pub(super) fn new(spec: Arc<RuleSpec>, twin: usize) -> Self {
        Self { spec, twin, state: Mutex::default() }
    }

    /// How many alert rules of its name and labels stand before it in its group.
    pub(super) const fn twin(&self) -> usize {
        self.twin
    }

    /// What its file says.
    pub fn spec(&self) -> &Arc<RuleSpec> {
        &self.spec
    }

    /// What is known of it now.
    pub fn status(&self) -> RuleStatus {
        let state = self.lock();
        RuleStatus {
            health: state.health,
            last_error: state.last_error.clone(),
            last_evaluation: state.last_evaluation,
            evaluation_time: state.evaluation_time,
            total_time: state.total_time,
            alerts: state.alerts.active().cloned().collect(),
            evaluations: state.evaluations.iter().cloned().collect(),
            turns: (state.turns.len(), state.turns_total),
        }
    }

    /// Why the last evaluation failed.
    pub(super) fn last_error(&self) -> Option<Box<str>> {
        self.lock().last_error.clone()
    }

    /// Counts series seen last, time of all evaluations in seconds, turns of the last hour; cheaper than all.
    pub(super) fn figures(&self) -> Option<(u64, f64, usize)> {
        let state = self.lock();
        let seen = state.evaluations.back()?.series_seen;
        Some((seen, state.total_time.as_secs_f64(), state.turns.len()))
    }

    /// Alerts that somebody looks after.
    pub(super) fn acknowledged(&self) -> usize {
        self.with_alerts(|alerts| alerts.iter().filter(|alert| alert.acknowledged.is_some()).count())
    }

    /// Series seen last, and whether an alert fires; `None` before the first evaluation. Cheaper than all.
    pub fn standing(&self) -> Option<(u64, bool)> {
        let state = self.lock();
        let firing = state.alerts.iter().any(|alert| alert.state == AlertState::Firing);
        Some((state.evaluations.back()?.series_seen, firing))
    }

    fn lock(&self) -> MutexGuard<'_, RuleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is known of a rule that was the same.
    pub(super) fn take_state(&self, from: &Self) {
        let taken = std::mem::take(&mut *from.lock());
        *self.lock() = taken;
    }

    /// Takes over what was saved.
    pub(super) fn restore(&self, alerts: Vec<Alert>) {
        let mut state = self.lock();
        alerts.into_iter().for_each(|alert| state.alerts.restore(alert));
    }

    /// Calls back with the alerts, to see what has to be saved; the second are those that are no more.
    /// The alerts that fire, as if they had ended at an instant.
    pub(super) fn resolved_alerts(&self, at: Timestamp, context: &RuleContext) -> Vec<OutgoingAlert> {
        let url = || context.generator_url(&self.spec.query);
        self.with_alerts(|alerts| alerts.resolved_now(at, url))
    }

    pub(super) fn with_alerts<T>(&self, look: impl FnOnce(&mut Alerts) -> T) -> T {
        look(&mut self.lock().alerts)
    }

    /// Evaluates; later rules of the group see the rows through `view` once the caller has added them.
    pub(super) fn evaluate(&self, view: &View<'_>, context: &RuleContext, now: &Evaluating<'_>) -> Outcome {
        let begun = Instant::now();
        view.take_series();
        let result = match self.spec.alert() {
            None => self.record(view, context, now).map(|rows| (rows, Vec::new())),
            Some(alert) => self.alert(alert, view, context, now),
        };
        let series_seen = view.take_series();
        let mut outcome = Outcome::default();
        let mut state = self.lock();
        let error = match result {
            Ok((rows, to_send)) => {
                outcome.returned = rows.len();
                outcome.to_send = to_send;
                outcome.rows = state.take_rows(rows, now.query_at());
                None
            }
            Err(error) => {
                // They neither go on nor end: the store must not take them for vanished.
                outcome.rows.clone_from(&state.previous);
                outcome.failed = true;
                Some(error.into_boxed_str())
            }
        };
        outcome.duration = begun.elapsed();
        // What a shutdown ended is no failure.
        if !context.cancel.is_canceled() {
            self.say(&mut state.failing, error.as_deref(), now);
        }
        state.note(Evaluation {
            at: now.at,
            duration: outcome.duration,
            series_seen,
            series_returned: outcome.returned,
            error,
        });
        outcome
    }

    /// Notes that its results were not kept.
    pub(super) fn not_written(&self, why: &str) {
        let mut state = self.lock();
        if state.health == Health::Good {
            (state.health, state.last_error) = (Health::Bad, Some(why.into()));
        }
    }

    fn say(&self, failing: &mut OncePerState<bool>, error: Option<&str>, now: &Evaluating<'_>) {
        let (group, rule) = (now.group, &*self.spec.name);
        match (failing.observe(error.is_some()), error) {
            (Some(_), Some(error)) => warn!(group, rule, error, "Evaluating rule failed"),
            (Some(change), None) => info!(group, rule, failures = change.repeats, "Rule is evaluated again"),
            (None, _) => {}
        }
    }

    fn record(
        &self,
        view: &View<'_>,
        context: &RuleContext,
        now: &Evaluating<'_>,
    ) -> Result<Vec<Row>, String> {
        let found = context.vector(view, &self.spec.expr, now.query_at())?;
        let labels = |found: &Labels| {
            let is_own = |name: &str| {
                name == METRIC_NAME
                    || self.spec.labels.get(name).is_some()
                    || self.spec.removed_labels.iter().any(|removed| removed == name)
            };
            let others = found.iter().filter(|(name, _)| !is_own(name));
            let own = std::iter::once((METRIC_NAME, &*self.spec.name)).chain(&self.spec.labels);
            Labels::from_pairs(others.chain(own))
        };
        let row = |(found, value): (Labels, f64)| Row { labels: labels(&found), value, timestamp: None };
        let rows: Vec<Row> = found.into_iter().map(row).collect();
        if rows.len() > 1 {
            let distinct: HashSet<&Labels> = rows.iter().map(|row| &row.labels).collect();
            if distinct.len() < rows.len() {
                return Err(
                    "vector contains metrics with the same labelset after applying rule labels".to_owned()
                );
            }
        }
        if now.limit > 0 && rows.len() > now.limit {
            return Err(format!("exceeded limit of {} with {} series", now.limit, rows.len()));
        }
        Ok(rows)
    }

    fn alert(
        &self,
        alert: &AlertSpec,
        view: &View<'_>,
        context: &RuleContext,
        now: &Evaluating<'_>,
    ) -> Result<(Vec<Row>, Vec<OutgoingAlert>), String> {
        let found = context.vector(view, &self.spec.expr, now.query_at())?;
        let most = context.most_alerts;
        if found.len() > most && (now.limit == 0 || now.limit > most) {
            // Their texts are not even made.
            self.lock().alerts.clear();
            return Err(AlertError::TooMany { limit: most, alerts: found.len() }.to_string());
        }
        let candidates = found
            .into_iter()
            .map(|(series, value)| self.candidate(alert, &series, value, view, context, now));
        let candidates: Vec<Candidate> = candidates.collect();
        let resolving = self.resolving(alert, &candidates, view, context, now);
        let mut held = |series: &Labels| match &resolving {
            None => Ok(false),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(found)) => Ok(!found.iter().any(|labels| labels.is_empty() || labels == series)),
        };
        let step = Step {
            at: now.at,
            hold: alert.hold,
            keep_firing: alert.keep_firing,
            limit: now.limit,
            settled: now.settled,
            held: &mut held,
        };
        let mut state = self.lock();
        let turned = state.alerts.advance(candidates, step).map_err(|error| error.to_string())?;
        state.note_turns(turned, now.at);
        let mut rows = Vec::new();
        for alert in state.alerts.iter_mut().filter(|alert| alert.state != AlertState::Inactive) {
            let [is, since] = alert.rows();
            // Whole seconds, as Prometheus writes it.
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let since_seconds = alert.active_at.as_millis().div_euclid(1_000) as f64;
            rows.push(Row { labels: is, value: 1.0, timestamp: None });
            rows.push(Row { labels: since, value: since_seconds, timestamp: None });
        }
        let url = || context.generator_url(&self.spec.query);
        let to_send = state.alerts.take_to_send(now.at, context.timing.resend_delay, now.interval, url);
        Ok((rows, to_send))
    }

    /// What `resolve_when` gives, if an alert depends on it. It is asked before the state is locked: a slow query must not
    /// hide the state from others. Only evaluations change what fires, and there is one at a time.
    fn resolving(
        &self,
        alert: &AlertSpec,
        found: &[Candidate],
        view: &View<'_>,
        context: &RuleContext,
        now: &Evaluating<'_>,
    ) -> Option<Result<Vec<Labels>, AlertError>> {
        let expr = alert.resolve_when.as_ref()?;
        if !self.with_alerts(|alerts| alerts.fire_without(found)) {
            return None;
        }
        let found = context.vector(view, expr, now.query_at()).map_err(AlertError::ResolveWhen);
        Some(found.map(|found| found.into_iter().map(|(labels, _)| labels.without_name()).collect()))
    }

    fn candidate(
        &self,
        alert: &AlertSpec,
        series: &Labels,
        value: f64,
        view: &View<'_>,
        context: &RuleContext,
        now: &Evaluating<'_>,
    ) -> Candidate {
        let data = TemplateData {
            labels: series,
            external_labels: &context.external_labels,
            external_url: &context.external_url,
            value,
        };
        let query = context.template_query(view);
        let expand = |(name, template): &'_ (String, Arc<Template>)| {
            let expanded = template.expand(&data, now.at, &query);
            now.metrics.template_expanded(expanded.is_ok());
            let text = expanded.unwrap_or_else(|error| {
                warn!(group = now.group, rule = &*self.spec.name, error, "Expanding alert template failed");
                format!("<error expanding template: {error}>")
            });
            (name.clone(), text)
        };
        let bare = series.without_name();
        let mut labels = LabelsBuilder::from(&bare);
        self.spec.removed_labels.iter().for_each(|name| labels.remove(name));
        for (name, text) in alert.label_templates.0.iter().map(expand) {
            labels.set(&name, text);
        }
        labels.set("alertname", &*self.spec.name);
        let annotations = Labels::texts(alert.annotation_templates.0.iter().map(expand));
        Candidate { labels: labels.build(), annotations, series: bare, value }
    }
}

impl RuleState {
    /// The rows of this evaluation with markers for the series that have vanished; remembers them.
    fn take_rows(&mut self, mut rows: Vec<Row>, at: Timestamp) -> Vec<Row> {
        let same = self.previous.len() == rows.len()
            && self.previous.iter().zip(&rows).all(|(before, now)| before.labels == now.labels);
        let kept = |row: &Row| Row { timestamp: Some(at), ..row.clone() };
        let next: Vec<Row> = rows.iter().map(kept).collect();
        if !same {
            let there: HashSet<&Labels> = next.iter().map(|row| &row.labels).collect();
            let vanished = self.previous.iter().filter(|row| !there.contains(&row.labels));
            let marker = |row: &Row| Row { labels: row.labels.clone(), value: STALE_NAN, timestamp: None };
            rows.extend(vanished.map(marker));
        }
        self.previous = next;
        rows
    }

    fn note(&mut self, evaluation: Evaluation) {
        self.health = if evaluation.error.is_some() { Health::Bad } else { Health::Good };
        self.last_error.clone_from(&evaluation.error);
        self.last_evaluation = Some(evaluation.at);
        self.evaluation_time = evaluation.duration;
        self.total_time += evaluation.duration;
        // No more room than is needed: there may be thousands of rules.
        if self.evaluations.capacity() == 0 {
            self.evaluations.reserve_exact(REMEMBERED);
        }
        if self.evaluations.len() >= REMEMBERED {
            self.evaluations.pop_front();
        }
        self.evaluations.push_back(evaluation);
    }

    fn note_turns(&mut self, turned: u64, at: Timestamp) {
        self.turns_total += turned;
        while self.turns.front().is_some_and(|turn| at.since(*turn) > TURNS_WINDOW || *turn > at) {
            self.turns.pop_front();
        }
        for _ in 0..turned.min(MOST_TURNS as u64) {
            if self.turns.len() >= MOST_TURNS {
                self.turns.pop_front();
            }
            self.turns.push_back(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::RuleMemory;
    use super::super::testing::{SECOND, at, context, groups};
    use super::*;
    use crate::model::{Queryable, QueryableError, Select, SelectAny, SelectedSeries};

    /// Sees at each query whether the rule can be looked at meanwhile.
    struct Watched<'a> {
        memory: &'a RuleMemory,
        rule: &'a Rule,
        queries: AtomicUsize,
    }

    impl Queryable for Watched<'_> {
        fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
            assert!(self.rule.state.try_lock().is_ok(), "the rule is locked while it is evaluated");
            self.queries.fetch_add(1, Ordering::SeqCst);
            self.memory.select(request)
        }

        fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
            self.memory.series(request)
        }

        fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
            self.memory.label_names(request)
        }

        fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
            self.memory.label_values(name, request)
        }
    }

    #[test]
    fn a_rule_can_be_looked_at_while_it_is_evaluated() {
        let text = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 80, resolve_when: m < 70}\n";
        let rule = Rule::new(Arc::clone(&groups(text)[0].rules[0]), 0);
        let memory = Arc::new(RuleMemory::default());
        let (context, _) = context(Arc::<RuleMemory>::clone(&memory));
        let watched = Watched { memory: &memory, rule: &rule, queries: AtomicUsize::new(0) };
        let metrics = RuleMetrics::default();
        for (seconds, value, fires, queries) in
            [(10, 85.0, true, 1), (20, 75.0, true, 3), (30, 85.0, true, 4), (40, 69.0, false, 6)]
        {
            memory.add(&Labels::from_pairs([(METRIC_NAME, "m")]), at(seconds), value);
            let now = Evaluating {
                at: at(seconds),
                query_offset: Duration::ZERO,
                interval: 10 * SECOND,
                limit: 0,
                settled: true,
                group: "g",
                metrics: &metrics,
            };
            let outcome = rule.evaluate(&View::new(&watched, at(seconds)), &context, &now);
            assert!(!outcome.failed);
            assert_eq!(rule.standing().map(|(_, fires)| fires), Some(fires), "{seconds}");
            assert_eq!(watched.queries.load(Ordering::SeqCst), queries, "{seconds}");
        }
    }
}
