//! The slots of an objective, filled by asking its queries: at the end of each slot, and for the past at a start.
//!
//! Invariants: no clock and no store: instants and answers are the caller's. A slot is asked once it is over; asked again,
//! it gets the same value. A slot whose query failed stays missing and is asked again.
//!
//! What a slot that ends at `t` counts, with `w` its length:
//! - queries of counters (`rate`, `increase`): what the counter grew by from its last sample at or before `t - w` to its
//!   last sample at or before `t`. Slots side by side share that sample, so that no event is lost between two of them;
//! - queries of samples (`count_over_time`, `sum_over_time`): the samples after `t - w`, up to `t`;
//! - thresholds: one event for each whole minute;
//! - ratios and composites: one event, as bad as the ratio over `w` at `t`;
//! - slices: one event for each slice of the slot, bad or not (`Timeslices`), or as bad as its part (`RatioTimeslices`);
//!   a slice without events is a good one;
//! - other queries count as they are: their values over `w` at `t` stand for events.

use std::collections::BTreeMap;
use std::time::Duration;

use super::budget::{BudgetStatus, budget_status};
use super::generate::{BASE_WINDOW, Generator, round_off};
use super::slots::{Events, Slots};
use super::spec::{Budgeting, Indicator, Slo};
use crate::model::{Labels, PromDuration, Samples, Timestamp};
use crate::promql::ast::Expr;
use crate::promql::{ParseOptions, parse};

/// Most sets of labels (`group_by`) of one objective. Each costs 138 KB for 30 days; more than this many are a query
/// that keeps a label it should not.
const MOST_GROUPS: usize = 50;

/// Why there is no ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SLO {id}: the query of a slot cannot be read: {message}")]
pub struct LedgerError {
    id: String,
    message: String,
}

/// What became of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many have a value, those of each set of labels counted; 0: there are no series.
    Recorded(usize),
    /// Sets of labels beyond the most that are kept; the others are recorded.
    TooManyGroups {
        /// So many are not kept.
        dropped: usize,
    },
}

/// What a query gave at an instant.
pub type Answer = Vec<(Labels, f64)>;

/// Which of an objective's queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Bad,
    Total,
}

/// The slots of an objective.
#[derive(Clone, Debug)]
pub struct Ledger {
    slo: Slo,
    /// Length of what is asked at once: a slice, or the slot.
    step: Duration,
    slot: Duration,
    capacity: usize,
    bad: Expr,
    /// `None`: each step is one event.
    total: Option<Expr>,
    groups: BTreeMap<Labels, Slots>,
}

impl Ledger {
    /// No slots yet.
    ///
    /// # Errors
    /// A query cannot be read: a mistake of this program, since objectives are checked.
    pub fn new(slo: &Slo) -> Result<Self, LedgerError> {
        let failed = |message: String| LedgerError { id: slo.id(), message };
        let (step, slot) = match slo.budgeting {
            Budgeting::Occurrences => (BASE_WINDOW, BASE_WINDOW),
            Budgeting::Timeslices { slice, .. } | Budgeting::RatioTimeslices { slice } => {
                let seconds = slice.as_secs().max(1);
                let slice = Duration::from_secs(seconds);
                let slices = BASE_WINDOW.as_secs().div_ceil(seconds);
                (slice, Duration::from_secs(seconds * slices))
            }
        };
        let read =
            |text: &str| parse(text, &ParseOptions::default()).map_err(|errors| failed(errors.to_string()));
        let (bad, total) = match &slo.indicator {
            Indicator::Events { error, total } => {
                let counted =
                    error.counted(step).zip(total.counted(step)).filter(|_| error.counts() == total.counts());
                let plain = || error.instant(step).zip(total.instant(step));
                let (bad, total) =
                    counted.or_else(plain).ok_or_else(|| failed("no expression".to_owned()))?;
                (bad, Some(total))
            }
            Indicator::Threshold { value, bad, bound } => {
                let flags =
                    format!("((({}) {bad} bool {bound})[{}:1m])", value.at(step), PromDuration::new(step));
                (read(&format!("sum_over_time{flags}"))?, Some(read(&format!("count_over_time{flags}"))?))
            }
            Indicator::Ratio(_) | Indicator::Composite { .. } => {
                (read(&Generator { slo, id: slo.id() }.error_ratio(step))?, None)
            }
        };
        // A calendar's longest period: a month of 31 days, a quarter of 92.
        let longest = slo.period.length().mul_f64(31.0 / 30.0) + 2 * slot;
        let capacity = usize::try_from(longest.as_secs() / slot.as_secs().max(1)).unwrap_or(usize::MAX);
        Ok(Self { slo: slo.clone(), step, slot, capacity, bad, total, groups: BTreeMap::new() })
    }

    /// The objective.
    pub const fn slo(&self) -> &Slo {
        &self.slo
    }

    /// The slots of each set of labels.
    pub const fn groups(&self) -> &BTreeMap<Labels, Slots> {
        &self.groups
    }

    /// What the queries are, as a text: slots that other queries filled are others.
    pub(super) fn queries(&self) -> String {
        let total = self.total.as_ref().map(Expr::to_string).unwrap_or_default();
        format!("{:?} {:?} {:?}\n{}\n{total}", self.slo.budgeting, self.step, self.slot, self.bad)
    }

    /// The end of the last slot that is over at an instant.
    pub(super) fn last_end(&self, at: Timestamp) -> Timestamp {
        Slots::new(self.slot, 1).last_end(at)
    }

    /// The end of the slot that runs at an instant.
    pub(super) fn next_end(&self, at: Timestamp) -> Timestamp {
        self.last_end(at).plus(self.slot)
    }

    /// Slots of a set of labels, to take in what was kept.
    pub fn restore(&mut self, group: &Labels) -> Option<&mut Slots> {
        let is_new = !self.groups.contains_key(group);
        if is_new && self.groups.len() >= MOST_GROUPS {
            return None;
        }
        let slots = || Slots::new(self.slot, self.capacity);
        Some(self.groups.entry(group.clone()).or_insert_with(slots))
    }

    /// Ends of the slots that are to be asked at an instant, the newest first: those of the period that no set of labels
    /// has, and that are not older than `oldest`, before which the caller has no samples.
    pub fn due(&self, now: Timestamp, oldest: Timestamp) -> Vec<Timestamp> {
        // The slot that ends with a calendar's period belongs to it.
        let last = Timestamp::from_millis(now.as_millis().saturating_sub(1));
        let (begin, _) = self.slo.period.bounds(last);
        let from = begin.max(oldest);
        let mut due = match self.groups.values().next() {
            None => Slots::new(self.slot, self.capacity).missing(from, now),
            Some(first) => {
                let mut due = first.missing(from, now);
                for slots in self.groups.values().skip(1) {
                    let missing = slots.missing(from, now);
                    due.retain(|end| missing.binary_search(end).is_ok());
                }
                due
            }
        };
        due.reverse();
        due
    }

    /// Asks for the slot that ends at an instant. `query` evaluates an expression at an instant.
    ///
    /// # Errors
    /// That of `query`; the slot stays as it was.
    pub fn record<E>(
        &mut self,
        end: Timestamp,
        mut query: impl FnMut(&Expr, Timestamp) -> Result<Answer, E>,
    ) -> Result<Outcome, E> {
        let (bad, total) = (self.bad.clone(), self.total.clone());
        self.add(end, |part, at| match (part, &total) {
            (Part::Total, Some(total)) => query(total, at),
            _ => query(&bad, at),
        })
    }

    /// Asks for all slots that are [due](Self::due), with one query of a range for each expression. `query` evaluates an
    /// expression from one instant to another, both included, every so long.
    ///
    /// # Errors
    /// That of `query`; all slots stay as they were.
    pub fn fill<E>(
        &mut self,
        now: Timestamp,
        oldest: Timestamp,
        mut query: impl FnMut(&Expr, (Timestamp, Timestamp), Duration) -> Result<Vec<(Labels, Samples)>, E>,
    ) -> Result<Outcome, E> {
        let due = self.due(now, oldest);
        let (Some(last), Some(first)) = (due.first(), due.last()) else { return Ok(Outcome::Recorded(0)) };
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let before_ms = first.as_millis().saturating_sub(ms(self.slot)).saturating_add(ms(self.step));
        let times = (Timestamp::from_millis(before_ms), *last);
        let mut answers = |expr: &Expr| -> Result<BTreeMap<i64, Answer>, E> {
            let mut by_time = BTreeMap::<i64, Answer>::new();
            for (labels, samples) in query(expr, times, self.step)? {
                for (at_ms, value) in samples.iter() {
                    by_time.entry(at_ms).or_default().push((labels.clone(), value));
                }
            }
            Ok(by_time)
        };
        let mut bad = answers(&self.bad)?;
        let mut total = self.total.as_ref().map(&mut answers).transpose()?.unwrap_or_default();
        let (mut recorded, mut most_dropped) = (0, 0);
        for end in due {
            let outcome = self.add(end, |part, at| {
                let answers = if part == Part::Total { &mut total } else { &mut bad };
                Ok(answers.remove(&at.as_millis()).unwrap_or_default())
            })?;
            match outcome {
                Outcome::Recorded(groups) => recorded += groups,
                Outcome::TooManyGroups { dropped } => most_dropped = most_dropped.max(dropped),
            }
        }
        Ok(match most_dropped {
            0 => Outcome::Recorded(recorded),
            dropped => Outcome::TooManyGroups { dropped },
        })
    }

    fn add<E>(
        &mut self,
        end: Timestamp,
        mut query: impl FnMut(Part, Timestamp) -> Result<Answer, E>,
    ) -> Result<Outcome, E> {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let start_ms = end.as_millis().saturating_sub(ms(self.slot));
        let mut sums: BTreeMap<Labels, Events> = BTreeMap::new();
        let mut step_end_ms = start_ms;
        while step_end_ms < end.as_millis() {
            step_end_ms = step_end_ms.saturating_add(ms(self.step));
            for (labels, events) in self.ask(Timestamp::from_millis(step_end_ms), &mut query)? {
                let sum = sums.entry(labels).or_default();
                let events = self.counted(events);
                sum.bad += events.bad;
                sum.total += events.total;
            }
        }
        let (mut recorded, mut dropped) = (0, 0);
        for (labels, events) in sums {
            match self.restore(&labels) {
                Some(slots) => {
                    slots.record(Timestamp::from_millis(start_ms), events);
                    recorded += 1;
                }
                None => dropped += 1,
            }
        }
        Ok(if dropped > 0 { Outcome::TooManyGroups { dropped } } else { Outcome::Recorded(recorded) })
    }

    /// Bad and total of the step that ends at an instant, by set of labels. A set that only the total has, has no errors.
    fn ask<E>(
        &self,
        at: Timestamp,
        query: &mut impl FnMut(Part, Timestamp) -> Result<Answer, E>,
    ) -> Result<BTreeMap<Labels, Events>, E> {
        let bad = query(Part::Bad, at)?.into_iter().map(|(labels, value)| (labels.without_name(), value));
        if self.total.is_none() {
            let one =
                |(labels, ratio): (Labels, f64)| (labels, Events { bad: ratio.clamp(0.0, 1.0), total: 1.0 });
            return Ok(bad.filter(|(_, ratio)| !ratio.is_nan()).map(one).collect());
        }
        let bad: BTreeMap<Labels, f64> = bad.collect();
        let events = |(labels, total): (Labels, f64)| {
            let labels = labels.without_name();
            // A counter of errors that is read a moment after that of all events may be ahead.
            let bad = bad.get(&labels).copied().unwrap_or(0.0).max(0.0).min(total);
            (labels, Events { bad, total })
        };
        Ok(query(Part::Total, at)?
            .into_iter()
            .filter(|(_, total)| total.is_finite() && *total >= 0.0)
            .map(events)
            .collect())
    }

    /// What the events of a step are for the budget.
    fn counted(&self, events: Events) -> Events {
        let ratio = if events.total > 0.0 { events.bad / events.total } else { 0.0 };
        match self.slo.budgeting {
            Budgeting::Occurrences => events,
            Budgeting::Timeslices { target, .. } => {
                let is_bad = ratio > round_off(1.0 - target);
                Events { bad: f64::from(u8::from(is_bad)), total: 1.0 }
            }
            Budgeting::RatioTimeslices { .. } => Events { bad: ratio, total: 1.0 },
        }
    }

    /// How the budget of each set of labels stands.
    pub fn status(&self, now: Timestamp) -> Vec<(&Labels, BudgetStatus)> {
        self.groups.iter().map(|(labels, slots)| (labels, budget_status(&self.slo, slots, now))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FileOptions, parse_file};
    use super::*;
    use crate::promql::{Engine, EngineOptions, Memory, QueryError, QueryOptions, Value};

    fn slo(indicator: &str) -> Slo {
        let text =
            format!("version: prometheus/v1\nservice: s\nslos:\n- name: a\n  objective: 99\n{indicator}");
        let file =
            parse_file("f", &text, &FileOptions::default()).unwrap_or_else(|errors| panic!("{errors}"));
        file.slos[0].clone()
    }

    const EVENTS: &str = "  sli:\n    events:\n      error_query: sum(rate(x_total{code=\"500\"}[{{.window}}]))\n      total_query: sum(rate(x_total[{{.window}}]))\n";

    fn asked(memory: &Memory) -> impl FnMut(&Expr, Timestamp) -> Result<Vec<(Labels, f64)>, QueryError> {
        let engine = Engine::new(EngineOptions::default());
        move |expr, at| match engine.instant(memory, expr, at, &QueryOptions::default())?.value {
            Value::Vector(samples) => Ok(samples.into_iter().map(|s| (s.labels, s.value)).collect()),
            Value::Scalar { value, .. } => Ok(vec![(Labels::empty(), value)]),
            other => panic!("{other:?}"),
        }
    }

    /// Two counters, scraped every 15 s from a second on that is no multiple of a slot, with one restart.
    fn counters() -> (Memory, f64, f64) {
        let mut memory = Memory::new();
        let labels = |code| Labels::from_pairs([("__name__", "x_total"), ("code", code)]);
        let (mut good, mut bad, mut good_sum, mut bad_sum) = (5.0, 2.0, 0.0, 0.0);
        for scrape in 0..960_i64 {
            let at_ms = scrape * 15_000 + 4_000;
            if scrape == 500 {
                (good, bad) = (0.0, 0.0);
            }
            // What is counted before the first slot begins belongs to none.
            let (more_good, more_bad) =
                (f64::from((scrape % 7) as i32), f64::from(u8::from(scrape % 11 == 0)));
            good += more_good;
            bad += more_bad;
            if at_ms > 300_000 {
                good_sum += more_good;
                bad_sum += more_bad;
            }
            memory.append(&labels("200"), at_ms, good).expect("in order");
            memory.append(&labels("500"), at_ms, bad).expect("in order");
        }
        (memory, bad_sum, good_sum + bad_sum)
    }

    #[test]
    fn budgets_are_exact_to_the_event() {
        let (memory, bad, total) = counters();
        let mut ledger = Ledger::new(&slo(EVENTS)).expect("checked");
        let now = Timestamp::from_millis(960 * 15_000);
        let oldest = Timestamp::from_millis(300_000);
        let due = ledger.due(now, oldest);
        assert_eq!((due.len(), due.first()), (47, Some(&now)));
        for end in due {
            assert_eq!(ledger.record(end, asked(&memory)), Ok(Outcome::Recorded(1)));
        }
        assert!(ledger.due(now, oldest).is_empty());
        let status = &ledger.status(now)[0].1;
        assert_eq!(status.period.events, Events { bad, total });
        assert_eq!(status.consumed, bad / total / 0.01);
    }

    #[test]
    fn one_query_of_a_range_fills_what_many_do() {
        let (memory, bad, total) = counters();
        let engine = Engine::new(EngineOptions::default());
        let mut ledger = Ledger::new(&slo(EVENTS)).expect("checked");
        let (now, oldest) = (Timestamp::from_millis(960 * 15_000), Timestamp::from_millis(300_000));
        let mut asked = 0;
        let outcome = ledger.fill(now, oldest, |expr, times, step| {
            asked += 1;
            match engine.range(&memory, expr, times, step, &QueryOptions::default())?.value {
                Value::Matrix(series) => {
                    Ok::<_, QueryError>(series.into_iter().map(|s| (s.labels, s.samples)).collect())
                }
                other => panic!("{other:?}"),
            }
        });
        assert_eq!((outcome, asked), (Ok(Outcome::Recorded(47)), 2));
        assert_eq!(ledger.status(now)[0].1.period.events, Events { bad, total });
        assert_eq!(ledger.fill(now, oldest, |_, _, _| Err(())), Ok(Outcome::Recorded(0)));
    }

    #[test]
    fn a_query_that_fails_leaves_the_slot_for_later() {
        let mut ledger = Ledger::new(&slo(EVENTS)).expect("checked");
        let end = Timestamp::from_millis(600_000);
        assert_eq!(ledger.record(end, |_, _| Err::<Vec<(Labels, f64)>, &str>("down")), Err("down"));
        assert_eq!(ledger.due(end, Timestamp::from_millis(300_000)), [end]);
        assert_eq!(ledger.record(end, |_, _| Ok::<_, ()>(Vec::new())), Ok(Outcome::Recorded(0)));
    }

    #[test]
    fn each_set_of_labels_has_a_budget_and_their_number_a_bound() {
        let text = EVENTS.replace("sum(", "sum by (zone) (") + "  outrigger: {group_by: [zone]}\n";
        let mut ledger = Ledger::new(&slo(&text)).expect("checked");
        let zones = |count: usize| {
            move |expr: &Expr, _| {
                let is_bad = expr.to_string().contains("500");
                let zone = |zone: usize| {
                    (Labels::from_pairs([("zone", zone.to_string())]), if is_bad { 1.0 } else { 4.0 })
                };
                // Errors of the first zone only.
                Ok::<_, ()>((0..if is_bad { 1 } else { count }).map(zone).collect())
            }
        };
        let end = Timestamp::from_millis(600_000);
        assert_eq!(ledger.record(end, zones(2)), Ok(Outcome::Recorded(2)));
        let status = ledger.status(end);
        let events: Vec<Events> = status.iter().map(|(_, status)| status.period.events).collect();
        assert_eq!(events, [Events { bad: 1.0, total: 4.0 }, Events { bad: 0.0, total: 4.0 }]);
        assert_eq!(ledger.record(end, zones(60)), Ok(Outcome::TooManyGroups { dropped: 10 }));
        assert_eq!(ledger.groups().len(), 50);
    }

    fn openslo(method: &str, objective: &str) -> Slo {
        let text = format!(
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: a}}\nspec:\n  service: s\n  budgetingMethod: {method}\n  indicator: {{spec: {{thresholdMetric: {{metricSource: {{spec: {{query: max(age)}}}}}}}}}}\n  objectives: [{{op: lte, value: 30, target: 0.9{objective}}}]\n"
        );
        let file =
            parse_file("f", &text, &FileOptions::default()).unwrap_or_else(|errors| panic!("{errors}"));
        file.slos[0].clone()
    }

    #[test]
    fn thresholds_and_slices() {
        let mut memory = Memory::new();
        let labels = Labels::from_pairs([("__name__", "age")]);
        // The value is too high in the minutes 6 and 7 of 10.
        for minute in 0..=10_i64 {
            let value = if (6..=7).contains(&minute) { 31.0 } else { 30.0 };
            memory.append(&labels, minute * 60_000, value).expect("in order");
        }
        let end = Timestamp::from_millis(600_000);
        for (method, objective, expected) in [
            ("Occurrences", "", Events { bad: 2.0, total: 5.0 }),
            ("Timeslices", ", timeSliceTarget: 0.5, timeSliceWindow: 1m", Events { bad: 2.0, total: 5.0 }),
            ("Timeslices", ", timeSliceTarget: 0.6, timeSliceWindow: 5m", Events { bad: 0.0, total: 1.0 }),
            ("Timeslices", ", timeSliceTarget: 0.61, timeSliceWindow: 5m", Events { bad: 1.0, total: 1.0 }),
            ("RatioTimeslices", ", timeSliceWindow: 5m", Events { bad: 0.4, total: 1.0 }),
        ] {
            let mut ledger = Ledger::new(&openslo(method, objective)).expect("checked");
            assert_eq!(ledger.record(end, asked(&memory)), Ok(Outcome::Recorded(1)));
            assert_eq!(ledger.status(end)[0].1.period.events, expected, "{method} {objective}");
        }
    }
}
