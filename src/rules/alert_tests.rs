//! The life of alerts, step by step.

use std::time::Duration;

use proptest::prelude::*;

use super::testing::{SECOND, at};
use super::*;
use crate::model::{Labels, OutgoingAlert};

/// Plays a rule: at each instant whether its one series is there.
struct Play {
    alerts: Alerts,
    hold: Duration,
    keep_firing: Duration,
    settled: bool,
    held: bool,
}

impl Play {
    fn new(hold: u32, keep_firing: u32) -> Self {
        Self {
            alerts: Alerts::default(),
            hold: SECOND * hold,
            keep_firing: SECOND * keep_firing,
            settled: true,
            held: false,
        }
    }

    fn advance(&mut self, seconds: i64, found: Vec<Candidate>, limit: usize) -> Result<u64, AlertError> {
        let held = self.held;
        let mut held = |_: &Labels| Ok(held);
        let step = Step {
            at: at(seconds),
            hold: self.hold,
            keep_firing: self.keep_firing,
            limit,
            settled: self.settled,
            held: &mut held,
        };
        self.alerts.advance(found, step)
    }

    /// The state after an instant; "-" where there is none.
    fn step(&mut self, seconds: i64, is_there: bool) -> &'static str {
        let found = if is_there { vec![candidate("a", 1.0)] } else { Vec::new() };
        self.advance(seconds, found, 0).unwrap();
        self.state()
    }

    fn state(&self) -> &'static str {
        self.alerts.iter().next().map_or("-", |alert| alert.state.as_str())
    }

    fn only(&self) -> &Alert {
        self.alerts.iter().next().unwrap()
    }

    fn send(&mut self, seconds: i64) -> Vec<OutgoingAlert> {
        self.alerts.take_to_send(at(seconds), 60 * SECOND, 10 * SECOND, String::new)
    }
}

fn candidate(name: &str, value: f64) -> Candidate {
    let labels = Labels::from_pairs([("alertname", name)]);
    Candidate { labels, annotations: Labels::empty(), series: Labels::empty(), value }
}

#[test]
fn an_alert_is_pending_fires_and_is_resolved() {
    let mut play = Play::new(20, 0);
    for (seconds, is_there, state) in [
        (0, false, "-"),
        (10, true, "pending"),
        (20, true, "pending"),
        (25, false, "-"),
        (30, true, "pending"),
        (49, true, "pending"),
        (50, true, "firing"),
        (60, true, "firing"),
        (70, false, "inactive"),
        (970, false, "inactive"),
        (971, false, "-"),
    ] {
        assert_eq!(play.step(seconds, is_there), state, "{seconds}");
    }
    assert_eq!(play.alerts.forgotten.len(), 2);
}

#[test]
fn without_for_an_alert_fires_at_once_and_comes_back_as_a_new_one() {
    let mut play = Play::new(0, 0);
    assert_eq!(
        [play.step(10, true), play.step(20, false), play.step(30, true)],
        ["firing", "inactive", "firing"]
    );
    let alert = play.only();
    assert_eq!((alert.active_at, alert.fired_at, alert.resolved_at), (at(30), Some(at(30)), None));
}

#[test]
fn keep_firing_for_counts_from_the_first_evaluation_without_the_condition() {
    let mut play = Play::new(10, 30);
    for (seconds, is_there, state, since) in [
        (0, true, "pending", None),
        (10, true, "firing", None),
        (20, false, "firing", Some(20)),
        (40, false, "firing", Some(20)),
        // Back in between: it counts anew.
        (45, true, "firing", None),
        (50, false, "firing", Some(50)),
        (79, false, "firing", Some(50)),
        (80, false, "inactive", Some(50)),
    ] {
        assert_eq!(play.step(seconds, is_there), state, "{seconds}");
        assert_eq!(play.only().keep_firing_since, since.map(at), "{seconds}");
    }
    // A pending alert is not kept.
    let mut play = Play::new(10, 30);
    assert_eq!([play.step(0, true), play.step(5, false)], ["pending", "-"]);
}

#[test]
fn what_holds_an_alert_comes_before_keep_firing_for() {
    let mut play = Play::new(0, 30);
    play.step(0, true);
    play.held = true;
    assert_eq!([play.step(10, false), play.step(1_000, false)], ["firing", "firing"]);
    play.held = false;
    assert_eq!(
        [play.step(1_010, false), play.step(1_039, false), play.step(1_040, false)],
        ["firing", "firing", "inactive"]
    );
}

#[test]
fn a_longer_for_sends_a_firing_alert_back() {
    let mut play = Play::new(10, 0);
    play.step(0, true);
    assert_eq!(play.step(10, true), "firing");
    play.hold = 60 * SECOND;
    assert_eq!(
        [play.step(20, true), play.step(59, true), play.step(60, true)],
        ["pending", "pending", "firing"]
    );
    assert_eq!((play.only().active_at, play.only().fired_at), (at(0), Some(at(60))));
}

#[test]
fn firing_and_resolved_alerts_are_sent_again_and_again() {
    let mut play = Play::new(10, 0);
    let mut sent = Vec::new();
    for seconds in (0..=1_000).step_by(10) {
        play.step(seconds, seconds <= 200);
        let alerts = play.send(seconds);
        sent.extend(alerts.iter().map(|a| (seconds, a.is_resolved(at(seconds)), a.starts_at, a.ends_at)));
    }
    let firing = |seconds| (seconds, false, at(10), at(seconds + 240));
    assert_eq!(sent[..4], [firing(10), firing(80), firing(150), (210, true, at(10), at(210))]);
    assert!(sent[4..].iter().all(|(_, resolved, _, ends_at)| *resolved && *ends_at == at(210)));
    assert_eq!(sent.last().map(|(seconds, ..)| *seconds), Some(980));
}

#[test]
fn two_series_of_one_alert_fail_the_rule_and_change_nothing() {
    let mut play = Play::new(0, 0);
    play.step(0, true);
    let error = play.advance(10, vec![candidate("b", 1.0), candidate("b", 2.0)], 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "vector contains metrics with the same labelset after applying alert labels"
    );
    assert_eq!((play.state(), play.only().value), ("firing", 1.0));
}

#[test]
fn over_the_limit_all_alerts_are_cleared() {
    let mut play = Play::new(0, 0);
    play.step(0, true);
    let found = |names: &[&str]| names.iter().map(|name| candidate(name, 1.0)).collect::<Vec<_>>();
    assert_eq!(play.advance(10, found(&["a", "b"]), 2), Ok(1));
    let error = play.advance(20, found(&["a", "b", "c"]), 2).unwrap_err();
    assert_eq!(error.to_string(), "exceeded limit of 2 with 3 alerts");
    assert_eq!((play.state(), play.alerts.forgotten.len()), ("-", 3));
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    // Pending: its age is not known any more, and begins anew.
    let mut play = Play::new(60, 0);
    play.step(10_000, true);
    assert_eq!([play.step(1_000, true), play.step(1_060, true)], ["pending", "firing"]);
    assert_eq!(play.send(1_060).len(), 1);
    // Firing: sent at once, not when the clock has caught up.
    assert_eq!((play.step(500, true), play.send(500).len(), play.send(510).len()), ("firing", 1, 0));
    // Resolved: forgotten 15 minutes after the jump.
    play.step(600, false);
    play.step(100, false);
    assert_eq!([play.step(1_000, false), play.step(1_001, false)], ["inactive", "-"]);
    let mut play = Play::new(0, 30);
    play.step(10_000, true);
    play.step(10_010, false);
    assert_eq!([play.step(1_000, false), play.step(1_030, false)], ["firing", "inactive"]);
}

#[test]
fn what_was_restored_waits_for_its_series() {
    let restored = |state| {
        let mut play = Play::new(60, 0);
        play.settled = false;
        let labels = Labels::from_pairs([("alertname", "a")]);
        let instants = [(state == AlertState::Firing).then(|| at(60)), None, None, None];
        let empty = Labels::empty();
        play.alerts.restore(Alert::restored(labels, empty.clone(), empty, state, 1.0, at(0), instants));
        play
    };
    // It does not fire before its condition was seen, however old it is.
    let mut play = restored(AlertState::Pending);
    assert_eq!(
        [play.step(50, false), play.step(60, false), play.step(70, true)],
        ["pending", "pending", "firing"]
    );
    assert_eq!((play.only().active_at, play.only().fired_at), (at(0), Some(at(70))));
    let mut play = restored(AlertState::Pending);
    assert_eq!(
        [play.step(50, false), {
            play.settled = true;
            play.step(55, false)
        }],
        ["pending", "-"]
    );
    let mut play = restored(AlertState::Firing);
    assert_eq!(
        [play.step(100, false), {
            play.settled = true;
            play.step(110, false)
        }],
        ["firing", "inactive"]
    );
    // Seen once, its absence means what it always means.
    let mut play = restored(AlertState::Firing);
    assert_eq!([play.step(100, true), play.step(110, false)], ["firing", "inactive"]);
}

proptest! {
    /// Whatever happens, an alert fires only if its condition held at each evaluation for as long as `for` says.
    #[test]
    fn alerts_fire_exactly_when_the_condition_held_for_long_enough(
        steps in prop::collection::vec((1_i64..30, any::<bool>()), 1..60),
        hold in 0_u32..60,
    ) {
        let mut play = Play::new(hold, 0);
        let (mut now, mut since) = (0, None);
        for (later, is_there) in steps {
            now += later;
            since = if is_there { since.or(Some(now)) } else { None };
            let state = play.step(now, is_there);
            let expected = since.map(|since| if now - since >= i64::from(hold) { "firing" } else { "pending" });
            match expected {
                Some(expected) => prop_assert_eq!(state, expected),
                None => prop_assert!(state == "-" || state == "inactive"),
            }
        }
    }
}

/// `for` of an hour, pending for so long before the outage ended, and how long it then waits.
#[test]
fn a_restored_alert_waits_at_least_for_the_grace_period() {
    for (pending, grace, left) in [
        (1_000, 0, 2_600),
        (1_000, 600, 2_600),
        (3_500, 600, 600),
        (9_000, 600, 600),
        (9_000, 0, 0),
        (3_500, 7_200, 100),
    ] {
        let (labels, empty) = (Labels::from_pairs([("alertname", "A")]), Labels::empty());
        let mut alert =
            Alert::restored(labels, empty.clone(), empty, AlertState::Pending, 1.0, at(0), [None; 4]);
        let hold = Duration::from_secs(3_600);
        alert.wait_at_least(Duration::from_secs(grace), hold, at(pending));
        assert_eq!(
            hold.saturating_sub(at(pending).since(alert.active_at)).as_secs(),
            left,
            "{pending} {grace}"
        );
    }
}
