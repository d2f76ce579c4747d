//! Error budgets, exact: the quotient of what happened in the period, not an average of averages.
//!
//! Invariants: pure; what was consumed and what remains add up to 1; without events nothing is consumed.
//!
//! - Consumed is the part of bad events over the part that may be bad: of a rolling period all of it, of a calendar's what
//!   has passed.
//! - A burn rate is the same quotient over a window: 1 spends the budget exactly within the period.
//! - Time to exhaustion is what remains, spent at the burn rate of the last hour.
//! - Events left is how many more may fail before nothing remains, if nothing else happens; below 0, how many too many.
//!
//! Source: Google's SRE workbook, "Implementing SLOs".

use std::collections::BTreeSet;
use std::time::Duration;

use super::slots::{Events, SlotSum, Slots};
use super::spec::{Objective, Slo};
use crate::model::{Batch, Labels, PromDuration, Timestamp};

/// The window whose burn rate tells when the budget is gone.
const EXHAUSTION_WINDOW: Duration = Duration::from_secs(3_600);

/// How a budget stands.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetStatus {
    /// What happened in the period.
    pub period: SlotSum,
    /// When the period began and ends; of a rolling one the end is now.
    pub bounds: (Timestamp, Timestamp),
    /// Part of good events; `None`: no events.
    pub sli: Option<f64>,
    /// Part of the budget that is spent; above 1 it is overdrawn.
    pub consumed: f64,
    /// How many more may fail.
    pub events_left: f64,
    /// Burn rates by window; a window without events has none.
    pub burn_rates: Vec<(Duration, f64)>,
    /// When nothing remains at the burn rate of the last hour; `None`: never at this rate.
    pub exhausted_in: Option<Duration>,
}

impl BudgetStatus {
    /// Part of the budget that remains; below 0 it is overdrawn.
    pub fn remaining(&self) -> f64 {
        1.0 - self.consumed
    }
}

/// Bad over total, over what may be bad; `None` without events.
pub fn burn_rate(events: Events, objective: Objective) -> Option<f64> {
    (events.total > 0.0).then(|| events.bad / events.total / objective.budget())
}

/// How the budget of an objective stands at an instant. Slots count once they are over.
pub fn budget_status(slo: &Slo, slots: &Slots, now: Timestamp) -> BudgetStatus {
    let excluded =
        |start: Timestamp| slo.exclude.iter().any(|exclusion| exclusion.touches(start, slots.slot()));
    let now = slots.last_end(now);
    let bounds = slo.period.bounds(now);
    let period = slots.sum(bounds.0, now, excluded);
    let back = |window: Duration| {
        let ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(ms))
    };
    let rate = |window: Duration| burn_rate(slots.sum(back(window), now, excluded).events, slo.objective);
    let windows: BTreeSet<Duration> =
        slo.alerting.windows.iter().flat_map(|pair| [pair.short, pair.long]).collect();
    let burn_rates = windows.into_iter().filter_map(|window| Some((window, rate(window)?))).collect();
    let consumed = burn_rate(period.events, slo.objective).unwrap_or(0.0);
    let exhausted_in = match rate(EXHAUSTION_WINDOW) {
        _ if consumed >= 1.0 => Some(Duration::ZERO),
        Some(rate) if rate > 0.0 => {
            Duration::try_from_secs_f64(slo.period.length().as_secs_f64() * (1.0 - consumed) / rate).ok()
        }
        _ => None,
    };
    BudgetStatus {
        period,
        bounds,
        sli: (period.events.total > 0.0).then(|| 1.0 - period.events.bad / period.events.total),
        consumed,
        events_left: period.events.total * slo.objective.budget() - period.events.bad,
        burn_rates,
        exhausted_in,
    }
}

/// Writes the metrics of a budget; `group` are the labels of `group_by`.
pub fn write_metrics(batch: &mut Batch, slo: &Slo, group: &Labels, status: &BudgetStatus) {
    let id = slo.id();
    let mut labels: Vec<(&str, &str)> =
        vec![("sloth_id", &id), ("sloth_service", &slo.service), ("sloth_slo", &slo.name)];
    labels.extend(slo.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let own = labels.clone();
    labels.extend(group.iter().filter(|(name, _)| own.iter().all(|(taken, _)| taken != name)));
    let mut gauge = |name: &str, help: &str, value: f64| batch.gauge(name, help, &labels, value);
    gauge("outrigger_slo_objective_ratio", "Part of events that is to be good.", slo.objective.ratio());
    gauge(
        "outrigger_slo_error_budget_remaining_ratio",
        "Part of the period's error budget that is left; below 0 it is overdrawn.",
        status.remaining(),
    );
    gauge(
        "outrigger_slo_error_budget_consumed_ratio",
        "Part of the period's error budget that is spent.",
        status.consumed,
    );
    gauge(
        "outrigger_slo_time_to_exhaustion_seconds",
        "When the error budget is gone at the last hour's burn rate; +Inf: never at this rate.",
        status.exhausted_in.map_or(f64::INFINITY, |left| left.as_secs_f64()),
    );
    gauge(
        "outrigger_slo_events_left",
        "How many more events may fail; below 0: how many too many have.",
        status.events_left,
    );
    gauge("outrigger_slo_period_events", "Events of the period so far.", status.period.events.total);
    gauge("outrigger_slo_period_bad_events", "Bad events of the period so far.", status.period.events.bad);
    gauge(
        "outrigger_slo_slots_missing",
        "Slots of the period that nobody has measured and that do not count.",
        f64::from(u32::try_from(status.period.missing).unwrap_or(u32::MAX)),
    );
    gauge(
        "outrigger_slo_slots_excluded",
        "Slots of the period that maintenance takes out.",
        f64::from(u32::try_from(status.period.excluded).unwrap_or(u32::MAX)),
    );
    for (window, rate) in &status.burn_rates {
        let window = PromDuration::new(*window).to_string();
        let mut labels = labels.clone();
        labels.push(("window", &window));
        let help = "How many times faster than the objective allows the error budget burns.";
        batch.gauge("outrigger_slo_burn_rate", help, &labels, *rate);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FileOptions, parse_file};
    use super::*;

    const SLOT_MS: i64 = 300_000;

    fn slo(extras: &str) -> Slo {
        let text = format!(
            "version: prometheus/v1\nservice: s\nslos:\n- name: a\n  objective: 99.9\n  sli: {{raw: {{error_ratio_query: 'e[{{{{.window}}}}]'}}}}\n  outrigger: {{{extras}}}\n"
        )
        .replace("'e[", "'rate(e[")
        .replace("}}]'", "}}])'");
        let file =
            parse_file("f", &text, &FileOptions::default()).unwrap_or_else(|errors| panic!("{errors}"));
        file.slos[0].clone()
    }

    fn slots(values: impl IntoIterator<Item = (i64, f64, f64)>) -> Slots {
        let mut slots = Slots::new(Duration::from_millis(300_000), 10_000);
        for (slot, bad, total) in values {
            slots.record(Timestamp::from_millis(slot * SLOT_MS), Events { bad, total });
        }
        slots
    }

    #[test]
    fn an_outage_at_night_costs_what_it_was() {
        // A busy day, then one hour at a hundredth of the traffic that fails as a whole.
        let busy = (0..288).map(|slot| (slot, 0.0, 1_000.0));
        let night = (288..300).map(|slot| (slot, 10.0, 10.0));
        let status =
            budget_status(&slo(""), &slots(busy.chain(night)), Timestamp::from_millis(300 * SLOT_MS + 17));
        let total = 288_000.0 + 120.0;
        assert_eq!((status.period.events.bad, status.period.events.total), (120.0, total));
        assert!((status.consumed - 120.0 / total / 0.001).abs() < 1e-12);
        assert!((status.events_left - (total * 0.001 - 120.0)).abs() < 1e-9);
        assert_eq!(status.remaining() + status.consumed, 1.0);
        let rate = status.burn_rates.iter().find(|(window, _)| window.as_secs() == 3_600);
        assert!((rate.expect("an hour").1 - 1_000.0).abs() < 1e-9);
        let left = status.exhausted_in.expect("it burns").as_secs_f64();
        assert!((left - 2_592_000.0 * status.remaining() / 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_happened_is_nothing_consumed() {
        let status = budget_status(&slo(""), &slots([]), Timestamp::from_millis(300 * SLOT_MS));
        assert_eq!((status.consumed, status.sli, status.exhausted_in), (0.0, None, None));
        assert_eq!(status.period.missing, 8_640);
        let gone = budget_status(&slo(""), &slots([(299, 1.0, 2.0)]), Timestamp::from_millis(300 * SLOT_MS));
        assert_eq!((gone.sli, gone.exhausted_in), (Some(0.5), Some(Duration::ZERO)));
        assert!(gone.remaining() < 0.0 && gone.events_left < 0.0);
    }

    #[test]
    fn calendar_periods_begin_anew_and_maintenance_does_not_count() {
        let at = |text: &str| {
            let instant: jiff::Timestamp = text.parse().expect(text);
            Timestamp::from_millis(instant.as_millisecond())
        };
        let slot = |text: &str| at(text).as_millis() / SLOT_MS;
        let slots = slots([
            (slot("2026-01-31T22:55:00Z"), 5.0, 10.0),
            (slot("2026-01-31T23:00:00Z"), 1.0, 10.0),
            (slot("2026-02-03T03:00:00Z"), 7.0, 10.0),
        ]);
        let extras = "window: {calendar: month, time_zone: Europe/Berlin}, exclude: [{days: [tuesday], from: '03:00', to: '04:00'}]";
        let status = budget_status(&slo(extras), &slots, at("2026-02-10T00:00:00Z"));
        assert_eq!(status.period.events, Events { bad: 1.0, total: 10.0 });
        // One Tuesday; the second has only begun.
        assert_eq!(status.period.excluded, 12);
        assert_eq!(status.bounds, (at("2026-01-31T23:00:00Z"), at("2026-02-28T23:00:00Z")));
    }

    #[test]
    fn metrics_carry_the_labels_of_the_rules() {
        let mut batch = Batch::new();
        let slots = slots([(299, 1.0, 10_000.0)]);
        let slo = slo("");
        let status = budget_status(&slo, &slots, Timestamp::from_millis(300 * SLOT_MS));
        write_metrics(&mut batch, &slo, &Labels::from_pairs([("zone", "a")]), &status);
        let find = |name: &str| batch.families().find(|family| family.name() == name).expect("written");
        let sample = find("outrigger_slo_error_budget_remaining_ratio").samples().next().expect("one");
        assert_eq!((sample.labels().get("sloth_id"), sample.labels().get("zone")), (Some("s-a"), Some("a")));
        assert!((sample.value() - 0.9).abs() < 1e-12);
        assert_eq!(find("outrigger_slo_burn_rate").samples().count(), 7);
        assert_eq!(batch.conflicts(), 0);
    }

    proptest::proptest! {
        /// Raw events at any instants, put into slots, give the budget that the events themselves give.
        #[test]
        fn budget_from_slots_is_budget_from_events(
            events in proptest::collection::vec((0_i64..40 * 86_400_000, proptest::bool::weighted(0.1)), 1..200),
            end_slot in 0_i64..12_000,
        ) {
            let mut by_slot = std::collections::BTreeMap::<i64, Events>::new();
            for (at_ms, is_bad) in &events {
                let slot = by_slot.entry(at_ms / SLOT_MS).or_default();
                slot.total += 1.0;
                slot.bad += f64::from(u8::from(*is_bad));
            }
            let now = end_slot * SLOT_MS;
            let slo = slo("");
            let slots = slots(by_slot.iter().filter(|(slot, _)| **slot < end_slot).map(|(slot, e)| (*slot, e.bad, e.total)));
            let status = budget_status(&slo, &slots, Timestamp::from_millis(now));
            let within = |at_ms: i64| at_ms >= now - 30 * 86_400_000 && at_ms < now;
            let total = events.iter().filter(|(at, _)| within(*at)).count() as f64;
            let bad = events.iter().filter(|(at, is_bad)| within(*at) && *is_bad).count() as f64;
            assert_eq!(status.period.events, Events { bad, total });
            let consumed = if total > 0.0 { bad / total / 0.001 } else { 0.0 };
            assert_eq!(status.consumed, consumed);
        }
    }
}
