//! Groups evaluated slot by slot over a stretch of history, and the states of their alerts noted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use super::overlay::Overlay;
use crate::model::{Labels, Queryable, Timestamp};
use crate::promql::{Cancel, Engine, EngineOptions, ParseOptions};
use crate::rules::{
    AlertState, AlertTiming, Group, GroupSpec, MOST_ALERTS, RuleContext, RuleMetrics, RuleSpec, RuleStorage,
};

/// Most evaluations of groups: a month of a group at every 15 s is 172,800.
pub(super) const MOST_EVALUATIONS: u64 = 2_000_000;

/// Most samples that the rules may give, some 320 MB.
const MOST_RESULTS: usize = 20_000_000;

/// Most stretches of alerts, some 20 MB; with more nobody sees anything.
const MOST_SPANS: usize = 200_000;

/// Fired again within this time after its end, an alert flapped; as long as the server looks back for its turns.
const FLAP_WINDOW: Duration = Duration::from_secs(3_600);

/// What is played, and over which time.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The first instant.
    pub from: Timestamp,
    /// The last instant.
    pub to: Timestamp,
    /// Interval of groups that name none.
    pub interval: Duration,
    /// `query_offset` of groups that name none.
    pub query_offset: Duration,
}

/// Why rules cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BacktestError {
    /// Of all groups together.
    #[error(
        "{asked} evaluations of groups are more than {MOST_EVALUATIONS}; choose a shorter time, or fewer groups"
    )]
    TooManyEvaluations {
        /// How many it would be.
        asked: u64,
    },
    /// Recorded series and those of alerts.
    #[error(
        "the rules gave more than {MOST_RESULTS} samples by {at}; choose a shorter time, or leave rules out"
    )]
    TooManyResults {
        /// When, as people read it.
        at: String,
    },
    /// Alerts come and go.
    #[error("alerts changed their state more than {MOST_SPANS} times; choose a shorter time")]
    TooManySpans,
}

/// What all alert rules did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// The alert rules, in the order of their files.
    pub rules: Vec<RuleTimeline>,
    /// Evaluations of groups.
    pub evaluations: u64,
    /// Rules of any kind that failed: their names, how often, and why first.
    pub failures: Vec<(Arc<str>, u64, Box<str>)>,
}

/// What one alert rule did.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleTimeline {
    /// The rule.
    pub rule: Arc<RuleSpec>,
    /// Its file.
    pub file: Arc<str>,
    /// Its group.
    pub group: Arc<str>,
    /// Its alerts, in the order of their labels.
    pub series: Vec<SeriesTimeline>,
}

/// What one alert did.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesTimeline {
    /// Its labels.
    pub labels: Labels,
    /// When it was pending and when it fired, in order.
    pub spans: Vec<Span>,
}

/// A stretch of time in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Pending or firing.
    pub state: AlertState,
    /// The evaluation at which it began.
    pub from: Timestamp,
    /// The evaluation at which it ended; the last instant where it did not.
    pub to: Timestamp,
    /// Whether it went on when the time was over.
    pub is_open: bool,
}

impl Span {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

impl SeriesTimeline {
    /// The stretches in which it fired.
    pub fn firings(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.state == AlertState::Firing)
    }

    /// How often it fired again within an hour of its end.
    pub fn flaps(&self) -> usize {
        let pairs = self.firings().zip(self.firings().skip(1));
        pairs.filter(|(before, after)| after.from.since(before.to) <= FLAP_WINDOW).count()
    }

    /// How often it was pending and did not come to fire.
    pub fn pending_only(&self) -> usize {
        let fired = |span: &Span| self.firings().any(|firing| firing.from == span.to);
        let pending = self.spans.iter().filter(|span| span.state == AlertState::Pending && !span.is_open);
        pending.filter(|span| !fired(span)).count()
    }
}

impl Replay {
    /// Plays groups over history.
    ///
    /// # Errors
    /// See [`BacktestError`].
    pub fn run(&self, groups: &[GroupSpec], history: Arc<dyn Queryable>) -> Result<Timeline, BacktestError> {
        self.run_over(groups, history).map(|(timeline, _)| timeline)
    }

    /// The same; and the history with what the rules gave, for who asks what an expression read.
    ///
    /// # Errors
    /// See [`BacktestError`].
    pub fn run_over(
        &self,
        groups: &[GroupSpec],
        history: Arc<dyn Queryable>,
    ) -> Result<(Timeline, Arc<dyn Queryable>), BacktestError> {
        let live: Vec<Group> =
            groups.iter().map(|spec| Group::new(spec.clone(), self.interval, self.query_offset)).collect();
        let asked = live.iter().map(|group| self.evaluations_of(group)).fold(0, u64::saturating_add);
        if asked > MOST_EVALUATIONS {
            return Err(BacktestError::TooManyEvaluations { asked });
        }
        let offsets = groups.iter().map(|group| group.query_offset.unwrap_or(self.query_offset));
        let offset_ms = i64::try_from(offsets.max().unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
        let cut = Timestamp::from_millis(self.from.as_millis().saturating_sub(offset_ms));
        let overlay = Arc::new(Overlay::new(history, groups, cut, MOST_RESULTS));
        let context = self.context(Arc::clone(&overlay) as Arc<dyn RuleStorage>);
        let timeline = self.play(&live, &overlay, &context)?;
        Ok((timeline, overlay))
    }

    fn evaluations_of(&self, group: &Group) -> u64 {
        let interval_ms = group.interval().as_millis().max(1);
        u64::try_from(self.to.since(self.from).as_millis() / interval_ms)
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn context(&self, storage: Arc<dyn RuleStorage>) -> RuleContext {
        let options = EngineOptions { default_subquery_step: self.interval, ..EngineOptions::default() };
        RuleContext {
            storage,
            engine: Arc::new(Engine::new(options)),
            parse: ParseOptions::all(),
            external_labels: Labels::empty(),
            external_url: String::new(),
            timing: AlertTiming::default(),
            most_alerts: MOST_ALERTS,
            settle: Duration::ZERO,
            notify: Arc::new(|_| {}),
            cancel: Cancel::default(),
        }
    }

    fn play(
        &self,
        groups: &[Group],
        overlay: &Overlay,
        context: &RuleContext,
    ) -> Result<Timeline, BacktestError> {
        let metrics = RuleMetrics::default();
        let mut watched: Vec<Vec<Watched>> =
            groups.iter().map(|group| group.rules().iter().map(|_| Watched::default()).collect()).collect();
        let just_before = Timestamp::from_millis(self.from.as_millis().saturating_sub(1));
        let due = groups.iter().enumerate().map(|(place, group)| (group.slots().after(just_before), place));
        let mut due: BinaryHeap<Reverse<(Timestamp, usize)>> = due.map(Reverse).collect();
        let (mut evaluations, mut spans) = (0, 0);
        while let Some(Reverse((at, place))) = due.pop() {
            let (Some(group), Some(watched)) = (groups.get(place), watched.get_mut(place)) else { continue };
            if at > self.to {
                continue;
            }
            group.evaluate(at, at, context, &metrics);
            evaluations += 1;
            for (rule, watched) in group.rules().iter().zip(watched) {
                watched.look(rule, at, &mut spans);
            }
            if overlay.is_full() {
                let at = jiff::Timestamp::from_millisecond(at.as_millis());
                let at = at.map_or_else(|_| "then".to_owned(), |at| at.to_string());
                return Err(BacktestError::TooManyResults { at });
            }
            if spans > MOST_SPANS {
                return Err(BacktestError::TooManySpans);
            }
            due.push(Reverse((group.slots().next(at), place)));
        }
        let mut timeline = Timeline { evaluations, ..Timeline::default() };
        for (group, watched) in groups.iter().zip(watched) {
            for (rule, watched) in group.rules().iter().zip(watched) {
                watched.into_timeline(group, rule.spec(), self.to, &mut timeline);
            }
        }
        Ok(timeline)
    }
}

/// What was seen of a rule so far.
#[derive(Default)]
struct Watched {
    series: BTreeMap<Labels, Track>,
    failures: u64,
    first_failure: Option<Box<str>>,
}

#[derive(Default)]
struct Track {
    spans: Vec<Span>,
    open: Option<(AlertState, Timestamp)>,
    /// The evaluation at which it was seen last.
    seen: Timestamp,
}

impl Track {
    fn close(&mut self, at: Timestamp) {
        if let Some((state, from)) = self.open.take() {
            self.spans.push(Span { state, from, to: at, is_open: false });
        }
    }
}

impl Watched {
    fn look(&mut self, rule: &crate::rules::Rule, at: Timestamp, spans: &mut usize) {
        if let Some(failure) = rule.last_error() {
            self.failures += 1;
            self.first_failure.get_or_insert(failure);
        }
        if rule.spec().alert().is_none() {
            return;
        }
        rule.with_alerts(|alerts| {
            for alert in alerts.active() {
                let track = match self.series.get_mut(&alert.labels) {
                    Some(track) => track,
                    None => self.series.entry(alert.labels.clone()).or_default(),
                };
                if track.open.is_none_or(|(state, _)| state != alert.state) {
                    track.close(at);
                    track.open = Some((alert.state, at));
                    *spans += 1;
                }
                track.seen = at;
            }
        });
        for track in self.series.values_mut().filter(|track| track.seen < at) {
            track.close(at);
        }
    }

    fn into_timeline(self, group: &Group, rule: &Arc<RuleSpec>, end: Timestamp, into: &mut Timeline) {
        if let Some(why) = self.first_failure {
            into.failures.push((Arc::clone(&rule.name), self.failures, why));
        }
        if rule.alert().is_none() {
            return;
        }
        let series = self.series.into_iter().map(|(labels, mut track)| {
            let open = track.open.map(|(state, from)| Span { state, from, to: end, is_open: true });
            track.spans.extend(open);
            SeriesTimeline { labels, spans: track.spans }
        });
        into.rules.push(RuleTimeline {
            rule: Arc::clone(rule),
            file: Arc::clone(&group.spec().file),
            group: Arc::clone(&group.spec().name),
            series: series.collect(),
        });
    }
}
