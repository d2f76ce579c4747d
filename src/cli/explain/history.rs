//! What `ALERTS`, or a rule played anew, tells of an alert's life: its stretches of time, and the moments that decided.
//!
//! Invariant: instants are those at which the rule's expression was evaluated, so that it gives now what it gave then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ColdSort, Labels, LabelsBuilder, METRIC_NAME, Timestamp};
use crate::promql::Series;
use crate::rules::AlertState;
use crate::rules::backtest::SeriesTimeline;

/// Gaps of so many intervals end an alert: one evaluation may have been missed.
const GAP_INTERVALS: u32 = 2;

/// One alert, as its history tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Life {
    pub(super) labels: Labels,
    /// Where it changed: the instant and what it was from then on.
    pub(super) turns: Vec<(Timestamp, AlertState)>,
    /// The last evaluation at which it was pending or fired.
    pub(super) last: Timestamp,
    /// Whether that is now.
    pub(super) goes_on: bool,
}

/// A moment that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) what: &'static str,
    pub(super) at: Timestamp,
}

/// The alerts in series of `ALERTS`, the one that was active last first.
pub(super) fn lives(series: Vec<Series>, interval: Duration, now: Timestamp) -> Vec<Life> {
    let mut by_labels: BTreeMap<Labels, Vec<(Timestamp, AlertState)>> = BTreeMap::new();
    for series in series {
        let state = match series.labels.value("alertstate") {
            "firing" => AlertState::Firing,
            _ => AlertState::Pending,
        };
        let mut labels = LabelsBuilder::from(&series.labels);
        labels.remove("alertstate");
        labels.remove(METRIC_NAME);
        let samples = series.samples.iter().map(|(at_ms, _)| (Timestamp::from_millis(at_ms), state));
        by_labels.entry(labels.build()).or_default().extend(samples);
    }
    let gap = interval.saturating_mul(GAP_INTERVALS);
    let mut lives: Vec<Life> = by_labels
        .into_iter()
        .filter_map(|(labels, samples)| life(labels, samples, interval, gap, now))
        .collect();
    lives.cold_sort_by_key(|life| std::cmp::Reverse((life.last, life.state())));
    lives
}

fn life(
    labels: Labels,
    mut samples: Vec<(Timestamp, AlertState)>,
    interval: Duration,
    gap: Duration,
    now: Timestamp,
) -> Option<Life> {
    samples.sort_unstable();
    let last = samples.last()?.0;
    let mut turns: Vec<(Timestamp, AlertState)> = Vec::new();
    let mut before: Option<Timestamp> = None;
    for (at, state) in samples {
        if let Some(before) = before.filter(|before| at.since(*before) > gap) {
            turns.push((before.plus(interval), AlertState::Inactive));
        }
        if turns.last().is_none_or(|(_, was)| *was != state) {
            turns.push((at, state));
        }
        before = Some(at);
    }
    let goes_on = now.since(last) <= gap;
    if !goes_on {
        turns.push((last.plus(interval), AlertState::Inactive));
    }
    Some(Life { labels, turns, last, goes_on })
}

/// The alerts of a rule that was played over the history, the one that was active last first.
pub(super) fn played<'a>(series: impl Iterator<Item = &'a SeriesTimeline>, interval: Duration) -> Vec<Life> {
    let mut lives: Vec<Life> = series.filter_map(|series| played_life(series, interval)).collect();
    lives.cold_sort_by_key(|life| std::cmp::Reverse((life.last, life.state())));
    lives
}

fn played_life(series: &SeriesTimeline, interval: Duration) -> Option<Life> {
    let last = series.spans.last()?;
    let mut turns: Vec<(Timestamp, AlertState)> = Vec::new();
    let mut until = None;
    for span in &series.spans {
        turns.extend(until.filter(|until| *until < span.from).map(|until| (until, AlertState::Inactive)));
        turns.push((span.from, span.state));
        until = Some(span.to);
    }
    if !last.is_open {
        turns.push((last.to, AlertState::Inactive));
    }
    // At its end it was no more.
    let steps =
        (last.length().as_millis() / interval.as_millis().max(1)).saturating_sub(u128::from(!last.is_open));
    let later = interval.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
    let labels = series.labels.clone();
    Some(Life { labels, turns, last: last.from.plus(later), goes_on: last.is_open })
}

impl Life {
    /// What it is, or was last.
    pub(super) fn state(&self) -> AlertState {
        let active = self.turns.iter().rev().find(|(_, state)| *state != AlertState::Inactive);
        active.map_or(AlertState::Inactive, |(_, state)| *state)
    }

    /// What decided its last stretch.
    pub(super) fn moments(&self) -> Vec<Moment> {
        let ended = usize::from(!self.goes_on);
        let active = self.turns.len().saturating_sub(ended);
        let turns = self.turns.get(..active).unwrap_or_default();
        let begin =
            turns.iter().rposition(|(_, state)| *state == AlertState::Inactive).map_or(0, |at| at + 1);
        let mut moments = Vec::new();
        for (at, state) in turns.iter().skip(begin) {
            let what = if *state == AlertState::Firing { "fired" } else { "went pending" };
            // It may have gone back and forth, where `for` was changed.
            moments.retain(|moment: &Moment| moment.what != what);
            moments.push(Moment { what, at: *at });
        }
        if moments.iter().all(|moment| moment.at != self.last) {
            moments.push(Moment { what: if self.goes_on { "now" } else { "last" }, at: self.last });
        }
        if let Some((at, AlertState::Inactive)) = self.turns.last() {
            moments.push(Moment { what: "ended", at: *at });
        }
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Samples;
    use crate::rules::backtest::Span;

    fn series(state: &str, minutes: &[i64]) -> Series {
        let labels = Labels::from_pairs([("__name__", "ALERTS"), ("alertname", "A"), ("alertstate", state)]);
        let mut samples = Samples::default();
        minutes.iter().for_each(|minute| samples.push(minute * 60_000, 1.0));
        Series { labels, samples }
    }

    /// Minutes with the state from there on, and what is to be explained with its minute.
    type Told = (Vec<(i64, &'static str)>, Vec<(&'static str, i64)>);

    fn told(series: Vec<Series>, now: i64) -> Told {
        let lives = lives(series, Duration::from_secs(60), Timestamp::from_millis(now * 60_000));
        assert_eq!(lives.len(), 1);
        let minute = |at: Timestamp| at.as_millis() / 60_000;
        let turns = lives[0].turns.iter().map(|(at, state)| (minute(*at), state.as_str()));
        let moments = lives[0].moments().into_iter().map(|moment| (moment.what, minute(moment.at)));
        (turns.collect(), moments.collect())
    }

    #[test]
    fn a_rule_that_was_played_tells_the_same() {
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let span = |state, from, to, is_open| Span { state, from: at(from), to: at(to), is_open };
        let (pending, firing) = (AlertState::Pending, AlertState::Firing);
        let check = |spans: Vec<Span>, turns: &[(i64, &str)], moments: &[(&str, i64)], last: i64| {
            let series = SeriesTimeline { labels: Labels::from_pairs([("alertname", "A")]), spans };
            let lives = played([&series].into_iter(), Duration::from_secs(60));
            let minute = |at: Timestamp| at.as_millis() / 60_000;
            let told: Vec<_> = lives[0].turns.iter().map(|(at, s)| (minute(*at), s.as_str())).collect();
            assert_eq!((told.as_slice(), minute(lives[0].last)), (turns, last));
            let told: Vec<_> = lives[0].moments().into_iter().map(|m| (m.what, minute(m.at))).collect();
            assert_eq!(told, moments);
        };
        check(
            vec![span(pending, 1, 3, false), span(pending, 10, 12, false), span(firing, 12, 14, false)],
            &[(1, "pending"), (3, "inactive"), (10, "pending"), (12, "firing"), (14, "inactive")],
            &[("went pending", 10), ("fired", 12), ("last", 13), ("ended", 14)],
            13,
        );
        check(vec![span(firing, 5, 9, true)], &[(5, "firing")], &[("fired", 5), ("now", 9)], 9);
        assert!(played(std::iter::empty(), Duration::ZERO).is_empty());
    }

    #[test]
    fn turns_and_moments_follow_from_samples() {
        let (turns, moments) =
            told(vec![series("pending", &[1, 2, 10, 11]), series("firing", &[12, 13])], 14);
        assert_eq!(turns, [(1, "pending"), (3, "inactive"), (10, "pending"), (12, "firing")]);
        assert_eq!(moments, [("went pending", 10), ("fired", 12), ("now", 13)]);
        let (turns, moments) = told(vec![series("firing", &[5])], 60);
        assert_eq!(turns, [(5, "firing"), (6, "inactive")]);
        assert_eq!(moments, [("fired", 5), ("ended", 6)]);
    }
}
