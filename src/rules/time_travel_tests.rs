//! Alerts over kills, reloads, missed slots and clocks that are set: hours in milliseconds.

use std::time::Duration;

use super::testing::*;
use super::*;
use crate::model::{Labels, METRIC_NAME, OutgoingAlert, Timestamp};

const PLAIN: &str =
    "groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 0, for: 30s, labels: {severity: page}}\n";
const KEPT: &str = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 0, keep_firing_for: 60s}\n";
const HELD: &str = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 80, resolve_when: m < 70}\n";

/// Killed, and started again at an instant.
fn restarted(run: Running, text: &str, seconds: i64) -> Running {
    let folder = run.killed();
    Running::start(folder.path(), text, seconds)
}

fn begun(text: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    Running::start(folder.path(), text, 0)
}

fn rows(run: &Running) -> usize {
    let mut rows = 0;
    run.context.storage.saved(&mut |_, _| rows += 1).unwrap();
    rows
}

fn told(run: &Running) -> Vec<(Timestamp, Timestamp)> {
    let told = |alert: OutgoingAlert| (alert.starts_at, alert.ends_at);
    std::mem::take(&mut *run.sent.lock().unwrap()).into_iter().map(told).collect()
}

#[test]
fn what_is_inactive_stays_so_and_leaves_nothing() {
    let run = begun(PLAIN);
    assert_eq!(run.step(10, 0.0), []);
    let run = restarted(run, PLAIN, 15);
    assert_eq!((run.step(20, 0.0), rows(&run), told(&run)), (vec![], 0, vec![]));
    // It begins as if nothing had been.
    assert_eq!(run.step(30, 1.0), [("pending", 0)]);
}

#[test]
fn an_alert_that_is_kept_firing_goes_on_from_where_it_was() {
    let run = begun(KEPT);
    assert_eq!((run.step(10, 1.0), run.step(20, 0.0)), (vec![("firing", 0)], vec![("firing", 10)]));
    let run = restarted(run, KEPT, 35);
    assert_eq!(run.step(40, 0.0), [("firing", 30)]);
    let since = |run: &Running| run.group.rules()[0].status().alerts[0].keep_firing_since;
    assert_eq!(since(&run), Some(at(20)));
    let run = restarted(run, KEPT, 60);
    assert_eq!(run.step(70, 0.0), [("firing", 60)]);
    told(&run);
    // 60 s after the first evaluation without it, not after the restart.
    assert_eq!((run.step(80, 0.0), told(&run)), (vec![], vec![(at(10), at(80))]));
    // Its condition comes back before the time is over, over a kill: it counts anew.
    let run = begun(KEPT);
    run.step(10, 1.0);
    run.step(20, 0.0);
    let run = restarted(run, KEPT, 55);
    assert_eq!((run.step(60, 1.0), since(&run)), (vec![("firing", 50)], None));
    assert_eq!((run.step(70, 0.0), run.step(120, 0.0)), (vec![("firing", 60)], vec![("firing", 110)]));
    assert_eq!(run.step(130, 0.0), []);
}

#[test]
fn what_holds_an_alert_holds_it_over_a_kill() {
    let run = begun(HELD);
    assert_eq!((run.step(10, 85.0), run.step(20, 75.0)), (vec![("firing", 0)], vec![("firing", 10)]));
    let run = restarted(run, HELD, 25);
    assert_eq!((run.step(30, 75.0), run.step(40, 75.0)), (vec![("firing", 20)], vec![("firing", 30)]));
    assert_eq!(run.step(50, 69.0), []);
}

/// What waits for an Alertmanager is in memory only. What was lost there is told again, within the resend delay, as what it
/// was: nobody takes it for a new alert.
#[test]
fn what_was_lost_on_its_way_is_told_again_as_what_it_was() {
    let run = begun(PLAIN);
    run.step(10, 1.0);
    run.step(40, 1.0);
    assert_eq!(told(&run), [(at(40), at(280))]);
    let run = restarted(run, PLAIN, 45);
    let mut again = Vec::new();
    for seconds in (50..=110).step_by(10) {
        run.step(seconds, 1.0);
        again.extend(told(&run).into_iter().map(|(starts_at, _)| (seconds, starts_at)));
    }
    assert_eq!(again, [(110, at(40))]);
    // Resolved, handed over, and killed before it was told.
    run.step(120, 0.0);
    assert_eq!(told(&run), [(at(40), at(120))]);
    let run = restarted(run, PLAIN, 125);
    let mut again = Vec::new();
    for seconds in (130..=190).step_by(10) {
        assert_eq!(run.step(seconds, 0.0), []);
        again.extend(told(&run).into_iter().map(|sent| (seconds, sent)));
    }
    assert_eq!(again, [(190, (at(40), at(120)))]);
    // Within the 15 minutes it comes back: that is a new alert, which begins anew.
    let run = restarted(run, PLAIN, 200);
    assert_eq!((run.step(210, 1.0), run.step(240, 1.0)), (vec![("pending", 0)], vec![("firing", 30)]));
    assert_eq!(told(&run), [(at(240), at(480))]);
}

/// A kill between the commit and the sending of what has just begun to fire.
#[test]
fn an_alert_that_nobody_was_told_of_is_told() {
    let run = begun(PLAIN);
    run.step(10, 1.0);
    let run = restarted(run, PLAIN, 3_000);
    // It fires at the first evaluation, as of now: that is when it was first known to.
    assert_eq!((run.step(3_010, 1.0), told(&run)), (vec![("firing", 3_000)], vec![(at(3_010), at(3_250))]));
}

#[test]
fn a_reload_in_mid_pending_keeps_the_age() {
    let reloaded = |f: &Fixture, text: &str| {
        let group = Group::new(groups(text).remove(0), 10 * SECOND, Duration::ZERO);
        assert!(group.take_state(&f.group).is_empty());
        group
    };
    for (hold, fires_at) in [("10s", 20), ("30s", 40), ("60s", 70)] {
        let f = Fixture::new(PLAIN);
        f.step(10, 1.0);
        let group = reloaded(&f, &PLAIN.replace("30s", hold));
        let mut fired = None;
        for seconds in (20..=100).step_by(10) {
            f.add("m", seconds, 1.0);
            group.evaluate(at(seconds), at(seconds), &f.context, &f.metrics);
            if shown(&group, seconds)[0].0 == "firing" {
                fired.get_or_insert(seconds);
            }
        }
        assert_eq!(fired, Some(fires_at), "for: {hold}");
        let sent = f.sent.lock().unwrap();
        assert!(sent.iter().all(|alert| alert.starts_at == at(fires_at)), "for: {hold}");
    }
    // The condition is gone at the first evaluation after it.
    let f = Fixture::new(PLAIN);
    f.step(10, 1.0);
    let group = reloaded(&f, &PLAIN.replace("m > 0", "m > 5"));
    f.add("m", 20, 1.0);
    group.evaluate(at(20), at(20), &f.context, &f.metrics);
    assert_eq!((shown(&group, 20), f.sent.lock().unwrap().len()), (vec![], 0));
}

#[test]
fn a_reload_and_a_kill_one_after_the_other_lose_nothing() {
    let run = begun(PLAIN);
    run.step(10, 1.0);
    // Killed, started with the rules of after, where another rule stands before it.
    let after = PLAIN.replace("rules:\n", "rules:\n  - {record: x, expr: m}\n").replace("30s", "60s");
    let folder = run.killed();
    let run = Running::start(folder.path(), &after, 20);
    let states = |run: &Running, seconds: i64| {
        run.step(seconds, 1.0);
        let alerts = run.group.rules()[1].status().alerts;
        alerts.iter().map(|alert| (alert.state.as_str(), alert.active_at)).collect::<Vec<_>>()
    };
    assert_eq!((states(&run, 30), states(&run, 60)), (vec![("pending", at(10))], vec![("pending", at(10))]));
    assert_eq!(states(&run, 70), [("firing", at(10))]);
    // Killed, started with rules that have it no more: it is forgotten for good.
    let folder = run.killed();
    let run = Running::start(folder.path(), &after.replace("alert: A", "alert: B"), 80);
    assert_eq!(states(&run, 90), [("pending", at(90))]);
}

#[test]
fn missed_slots_count_into_the_age() {
    let f = Fixture::new(PLAIN);
    f.step(10, 1.0);
    // The evaluations of 20 to 40 were missed.
    f.step(50, 1.0);
    assert_eq!(f.alerts(50), [("firing", 40)]);
    let f = Fixture::new(KEPT);
    f.step(10, 1.0);
    f.step(20, 0.0);
    f.step(200, 0.0);
    assert_eq!(f.alerts(200), []);
}

#[test]
fn a_clock_that_is_set_forward_makes_alerts_older_and_nothing_worse() {
    let run = begun(PLAIN);
    run.step(10, 1.0);
    // An hour forward: as old as it seems to be, as in Prometheus.
    assert_eq!(run.step(3_610, 1.0), [("firing", 3_600)]);
    assert_eq!(told(&run), [(at(3_610), at(3_850))]);
    run.step(3_620, 0.0);
    assert_eq!(told(&run), [(at(3_610), at(3_620))]);
    // And an hour more: what was resolved is forgotten, and may come back.
    run.step(7_220, 0.0);
    assert_eq!((rows(&run), run.step(7_230, 1.0)), (0, vec![("pending", 0)]));
}

/// The store refuses samples of before; alerts are judged and told all the same.
#[test]
fn a_clock_that_is_set_back_over_a_restart_stops_nothing() {
    let run = begun(PLAIN);
    for seconds in [10_000, 10_030] {
        run.step(seconds, 1.0);
    }
    assert_eq!(told(&run).len(), 1);
    let run = restarted(run, PLAIN, 5_000);
    let labels = Labels::from_pairs([(METRIC_NAME, "n")]);
    let evaluate = |seconds: i64, value: f64| {
        let row = crate::model::Row { labels: labels.clone(), value, timestamp: None };
        run.store.source("n").append(at(seconds), &[row]).unwrap();
        run.group.evaluate(at(seconds), at(seconds), &run.context, &RuleMetrics::default());
        (shown(&run.group, seconds).len(), told(&run).len())
    };
    // Its series has no samples yet at this time; the alert waits for them, is told at once, and then ends.
    assert_eq!(evaluate(5_010, 1.0), (1, 1));
    assert_eq!(evaluate(5_020, 1.0), (0, 1));
}

/// One alert a series, and a hundred thousand of them: the rule fails, and costs no more than its limit.
#[test]
fn a_hundred_thousand_alerts_are_refused_at_the_limit() {
    let f = Fixture::new(
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: many > 0, annotations: {x: '{{ $labels.i }}'}}\n  - {record: n, expr: count(many)}\n",
    );
    for i in 0..100_000 {
        let labels = Labels::from_pairs([(METRIC_NAME, "many"), ("i", &i.to_string())]);
        f.memory.add(&labels, at(10), 1.0);
    }
    let context = RuleContext { most_alerts: MOST_ALERTS, ..f.context.clone() };
    f.group.evaluate(at(10), at(10), &context, &f.metrics);
    let [alert, count] = [0, 1].map(|rule| f.group.rules()[rule].status());
    assert_eq!(alert.last_error.as_deref(), Some("exceeded limit of 10000 with 100000 alerts"));
    assert!(alert.alerts.is_empty() && f.sent.lock().unwrap().is_empty());
    // The rules beside it go on.
    assert_eq!((count.health, f.query("n", 10)), (Health::Good, vec![r#"{__name__="n"} 100000"#.to_owned()]));
    // Series of `ALERTS` are not made, either.
    assert_eq!(f.group.last_samples(), 1);
}
