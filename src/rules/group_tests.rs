//! Groups: what they write, how failures and vanishing series show, what a restart and a reload keep.

use super::saved::Saved;
use super::testing::*;
use super::*;
use crate::model::{Labels, METRIC_NAME};

const ALERT: &str =
    "groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 0, for: 30s, labels: {severity: page}}\n";

#[test]
fn rules_see_what_those_before_them_gave() {
    let f = Fixture::new(
        "groups:\n- name: g\n  labels: {team: t}\n  rules:\n  - {record: a, expr: m + 1}\n  - {record: b, expr: a * 10, labels: {x: y}}\n  - {record: c, expr: 'count({__name__=~\"a|b\"})'}\n  - {record: d, expr: '7'}\n",
    );
    f.step(10, 4.0);
    let found = f.query("{__name__=~'a|b|c|d'}", 10);
    assert_eq!(
        found,
        [
            r#"{__name__="a", team="t"} 5"#,
            r#"{__name__="b", team="t", x="y"} 50"#,
            r#"{__name__="c", team="t"} 2"#,
            r#"{__name__="d", team="t"} 7"#,
        ]
    );
    // The second time there are samples of before below those of now.
    f.step(20, 5.0);
    assert_eq!(f.query("b", 20), [r#"{__name__="b", team="t", x="y"} 60"#]);
    assert_eq!(f.group.last_samples(), 4);
}

#[test]
fn labels_without_a_value_are_taken_away() {
    let f = Fixture::new("groups:\n- name: g\n  rules:\n  - {record: a, expr: m, labels: {job: ''}}\n");
    f.memory.add(&Labels::from_pairs([(METRIC_NAME, "m"), ("job", "x"), ("i", "1")]), at(10), 1.0);
    f.evaluate(10);
    assert_eq!(f.query("a", 10), [r#"{__name__="a", i="1"} 1"#]);
}

#[test]
fn series_that_vanish_end_and_those_of_a_rule_that_fails_go_on() {
    let f = Fixture::new(
        "groups:\n- name: g\n  rules:\n  - {record: a, expr: m > 0}\n  - {record: b, expr: m * on() group_left() n}\n",
    );
    f.add("n", 10, 1.0);
    f.step(10, 1.0);
    assert_eq!((f.query("a", 10).len(), f.query("b", 10).len()), (1, 1));
    // A second n: the second rule fails.
    f.memory.add(&Labels::from_pairs([(METRIC_NAME, "n"), ("x", "2")]), at(20), 1.0);
    f.step(20, 0.0);
    assert_eq!((f.query("a", 20).len(), f.query("b", 20).len()), (0, 1));
    let status = f.group.rules()[1].status();
    assert_eq!((status.health, f.group.rules()[0].status().health), (Health::Bad, Health::Good));
    assert!(status.last_error.unwrap().contains("many-to-many matching not allowed"));
}

#[test]
fn of_two_rules_that_give_one_series_the_first_counts() {
    let f = Fixture::new(
        "groups:\n- name: g\n  rules:\n  - {record: a, expr: m}\n  - {record: a, expr: m + 1}\n  - {record: b, expr: a}\n",
    );
    f.step(10, 1.0);
    f.step(20, 1.0);
    assert_eq!(f.query("b", 20), [r#"{__name__="b"} 1"#]);
    let health = |at: usize| f.group.rules()[at].status().last_error;
    assert_eq!(
        (health(0), health(1).as_deref(), health(2)),
        (None, Some("duplicate sample for timestamp"), None)
    );
}

#[test]
fn alerts_are_written_sent_and_counted() {
    let f = Fixture::new(ALERT);
    f.step(10, 2.0);
    assert_eq!(
        f.query("ALERTS", 10),
        [r#"{__name__="ALERTS", alertname="A", alertstate="pending", severity="page"} 1"#]
    );
    assert_eq!(
        f.query("ALERTS_FOR_STATE", 10),
        [r#"{__name__="ALERTS_FOR_STATE", alertname="A", severity="page"} 10"#]
    );
    for seconds in [20, 30, 40] {
        f.step(seconds, 2.0);
    }
    assert_eq!(
        f.query("ALERTS", 40),
        [r#"{__name__="ALERTS", alertname="A", alertstate="firing", severity="page"} 1"#]
    );
    f.step(50, 0.0);
    assert!(f.query("{__name__=~'ALERTS.*'}", 50).is_empty());
    let sent = f.sent.lock().unwrap();
    let shown: Vec<_> = sent.iter().map(|a| (a.starts_at, a.ends_at)).collect();
    assert_eq!(shown, [(at(40), at(280)), (at(40), at(50))]);
    assert_eq!(sent[0].generator_url, "http://host:1/graph?g0.expr=m+%3E+0&g0.tab=1");
    assert_eq!(f.group.rules()[0].status().turns, (2, 2));
}

#[test]
fn a_failed_query_leaves_alerts_as_they_are() {
    let f = Fixture::new("groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > on() n, for: 1m}\n");
    f.add("n", 10, 0.0);
    f.step(10, 1.0);
    f.memory.add(&Labels::from_pairs([(METRIC_NAME, "n"), ("x", "2")]), at(20), 1.0);
    f.step(20, 0.0);
    assert_eq!((f.alerts(20), f.query("ALERTS", 20).len()), (vec![("pending", 10)], 1));
}

#[test]
fn too_many_alerts_fail_the_rule() {
    let f = Fixture::new("groups:\n- name: g\n  rules:\n  - {alert: A, expr: many}\n");
    let many = |seconds, count: usize| {
        for i in 0..count {
            let labels = Labels::from_pairs([(METRIC_NAME, "many"), ("i", &i.to_string())]);
            f.memory.add(&labels, at(seconds), 1.0);
        }
        f.evaluate(seconds);
    };
    many(10, 100);
    assert_eq!(f.alerts(10).len(), 100);
    many(20, 101);
    assert_eq!(f.alerts(20).len(), 0);
    let error = f.group.rules()[0].status().last_error.unwrap();
    assert_eq!(&*error, "exceeded limit of 100 with 101 alerts");
}

#[test]
fn query_offset_looks_back_and_writes_there() {
    let f = Fixture::new(
        "groups:\n- name: g\n  query_offset: 5s\n  rules:\n  - {record: a, expr: m}\n  - {alert: A, expr: a}\n",
    );
    f.add("m", 1, 1.0);
    f.step(8, 2.0);
    assert_eq!(f.query("timestamp(a)", 10), ["{} 3"]);
    assert_eq!(f.query("a", 4), [r#"{__name__="a"} 1"#]);
    // The alert's own instants are those of the evaluation.
    let alerts = f.group.rules()[1].status().alerts;
    assert_eq!((alerts[0].active_at, f.query("timestamp(ALERTS)", 10).len()), (at(8), 1));
}

#[test]
fn resolve_when_holds_an_alert() {
    let f =
        Fixture::new("groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 80, resolve_when: m < 70}\n");
    let states: Vec<_> = [(10, 85.0), (20, 75.0), (30, 70.0), (40, 69.0), (50, 75.0), (60, 81.0)]
        .into_iter()
        .map(|(seconds, value)| {
            f.step(seconds, value);
            f.alerts(seconds).first().map_or("-", |(state, _)| *state)
        })
        .collect();
    assert_eq!(states, ["firing", "firing", "firing", "-", "-", "firing"]);
}

#[test]
fn the_last_evaluations_are_remembered() {
    let f = Fixture::new("groups:\n- name: g\n  rules:\n  - {record: a, expr: m or nothing}\n");
    (1..=25).for_each(|i| f.step(i * 10, 1.0));
    let evaluations = f.group.rules()[0].status().evaluations;
    assert_eq!((evaluations.len(), evaluations[0].at, evaluations[19].at), (20, at(60), at(250)));
    assert_eq!((evaluations[19].series_seen, evaluations[19].series_returned), (1, 1));
}

#[test]
fn alerts_survive_a_kill_in_every_state() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), ALERT, 0);
    assert_eq!(run.step(10, 1.0), [("pending", 0)]);
    // Pending, and still so.
    let folder = run.killed();
    let run = Running::start(folder.path(), ALERT, 15);
    assert_eq!(shown(&run.group, 15), [("pending", 5)]);
    assert_eq!(run.step(20, 1.0), [("pending", 10)]);
    // Pending, and the outage makes it fire.
    let folder = run.killed();
    let run = Running::start(folder.path(), ALERT, 50);
    assert_eq!((run.step(60, 1.0), run.sent.lock().unwrap().len()), (vec![("firing", 50)], 1));
    // Firing, and not announced again.
    let folder = run.killed();
    let run = Running::start(folder.path(), ALERT, 65);
    assert_eq!((run.step(70, 1.0), run.sent.lock().unwrap().len()), (vec![("firing", 60)], 0));
    // Firing, and its condition has gone: from the second evaluation on that counts.
    let folder = run.killed();
    let run = Running::start(folder.path(), ALERT, 75);
    assert_eq!(run.step(80, 0.0), [("firing", 70)]);
    assert_eq!((run.step(90, 0.0), run.sent.lock().unwrap().len()), (vec![], 1));
    // Resolved, and told again.
    let folder = run.killed();
    let run = Running::start(folder.path(), ALERT, 95);
    assert_eq!((run.step(160, 0.0), run.sent.lock().unwrap()[0].is_resolved(at(160))), (vec![], true));
    // Forgotten 15 minutes later, and nothing is left in the table.
    run.step(990, 0.0);
    run.step(1_000, 0.0);
    let mut rows = 0;
    run.context.storage.saved(&mut |_, _| rows += 1).unwrap();
    assert_eq!(rows, 0);
}

#[test]
fn what_was_pending_does_not_fire_after_a_start_without_its_condition() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), ALERT, 0);
    assert_eq!(run.step(10, 1.0), [("pending", 0)]);
    let folder = run.killed();
    let run = Running::start(folder.path(), ALERT, 50);
    assert_eq!(run.step(60, 0.0), [("pending", 50)]);
    assert_eq!((run.step(70, 0.0), run.sent.lock().unwrap().len()), (vec![], 0));
}

#[test]
fn what_was_restored_settles_after_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), "groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 0}\n", 0);
    assert_eq!(run.step(10, 1.0), [("firing", 0)]);
    let folder = run.killed();
    let run = Running::start(
        folder.path(),
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: gone > 0}\n",
        9_000,
    );
    let evaluate = |seconds| {
        run.group.evaluate(at(seconds), at(seconds), &run.context, &RuleMetrics::default());
        shown(&run.group, seconds).len()
    };
    // An interval from the jump on, not from the start.
    assert_eq!([evaluate(9_005), evaluate(1_000), evaluate(1_005), evaluate(1_010)], [1, 1, 1, 0]);
}

/// The condition of the second of two rules of one name and labels, over a kill and a reload.
#[test]
fn rules_of_one_name_and_labels_keep_their_own_alerts() {
    let twins = |second: &str, first: &str| {
        format!(
            "groups:\n- name: g\n  rules:\n  - {{record: A, expr: m}}\n  - {{alert: A, expr: {first}, for: 1h}}\n  - {{alert: A, expr: {second}}}\n"
        )
    };
    let text = twins("m > 0", "m > 100");
    let states = |group: &Group| {
        let states = |rule: &Rule| rule.status().alerts.iter().map(|a| a.state.as_str()).collect();
        group.rules()[1..].iter().map(states).collect::<Vec<Vec<_>>>()
    };
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &text, 0);
    run.step(10, 1.0);
    assert_eq!(states(&run.group), [vec![], vec!["firing"]]);
    let folder = run.killed();
    let run = Running::start(folder.path(), &text, 15);
    assert_eq!(states(&run.group), [vec![], vec!["firing"]]);
    // The same alert of both: neither takes the other's place.
    run.step(20, 101.0);
    let folder = run.killed();
    let run = Running::start(folder.path(), &text, 25);
    assert_eq!(states(&run.group), [["pending"], ["firing"]]);
    run.step(30, 101.0);
    assert!(run.sent.lock().unwrap().is_empty(), "it was told before");
    // The first is pending no more: only its row goes.
    run.step(40, 1.0);
    let folder = run.killed();
    let run = Running::start(folder.path(), &text, 45);
    assert_eq!(states(&run.group), [vec![], vec!["firing"]]);
}

/// Rules with the same key but for their number, and a reload that changes the numbers.
#[test]
fn alerts_of_a_rule_with_another_number_are_saved_anew() {
    let text = |rules: &[&str]| {
        let rule = |labels: &&str| format!("  - {{alert: A, expr: m, labels: {{{labels}: ''}}}}\n");
        format!("groups:\n- name: g\n  rules:\n{}", rules.iter().map(rule).collect::<String>())
    };
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &text(&["a", "b"]), 0);
    run.step(10, 1.0);
    let mut before = run.group;
    for (after, rows) in [(["b", "a"].as_slice(), 3), (&["a"], 2)] {
        let group = Group::new(groups(&text(after)).remove(0), 10 * SECOND, std::time::Duration::ZERO);
        run.context.storage.forget(group.take_state(&before)).unwrap();
        let mut found = 0;
        run.context.storage.saved(&mut |_, _| found += 1).unwrap();
        assert_eq!(found, rows, "{after:?}");
        before = group;
    }
}

#[test]
fn a_long_outage_forgets_what_was_pending_and_not_what_fired() {
    for (fires, expected) in [(false, vec![("pending", 0)]), (true, vec![("firing", 10_030)])] {
        let folder = tempfile::tempdir().unwrap();
        let run = Running::start(folder.path(), ALERT, 0);
        run.step(10, 1.0);
        if fires {
            run.step(40, 1.0);
        }
        let folder = run.killed();
        let run = Running::start(folder.path(), ALERT, 10_030);
        assert_eq!(run.step(10_040, 1.0), expected);
    }
}

#[test]
fn a_reload_keeps_state_by_name_and_labels() {
    let f = Fixture::new(ALERT);
    f.step(10, 1.0);
    let reloaded = |text: &str| {
        let group = Group::new(groups(text).remove(0), 10 * SECOND, std::time::Duration::ZERO);
        let gone = group.take_state(&f.group).len();
        (group, gone)
    };
    // Another expression, another `for`, another rule before it: the alert goes on.
    let longer = ALERT
        .replace("m > 0, for: 30s", "m > -1, for: 5m")
        .replace("rules:\n", "rules:\n  - {record: x, expr: m}\n");
    let (group, gone) = reloaded(&longer);
    assert_eq!(gone, 0);
    group.evaluate(at(20), at(20), &f.context, &f.metrics);
    assert_eq!(group.rules()[1].status().alerts[0].active_at, at(10));
    assert_eq!(f.query("ALERTS", 20).len(), 1);
    // The old one is no more: it evaluates nothing.
    f.evaluate(30);
    assert!(f.query("ALERTS offset -10s", 15).len() <= 1 && f.group.last_evaluation() == Some(at(10)));
}

#[test]
fn a_reload_forgets_a_rule_whose_labels_changed() {
    let f = Fixture::new(ALERT);
    f.step(10, 1.0);
    let group =
        Group::new(groups(&ALERT.replace("page", "low")).remove(0), 10 * SECOND, std::time::Duration::ZERO);
    assert_eq!(group.take_state(&f.group).len(), 1);
    assert!(group.rules()[0].status().alerts.is_empty());
}

#[test]
fn samples_of_a_clock_that_went_back_are_refused_and_told() {
    let f = Fixture::new("groups:\n- name: g\n  rules:\n  - {record: a, expr: vector(1)}\n");
    f.evaluate(100);
    f.evaluate(50);
    let status = f.group.rules()[0].status();
    assert_eq!((status.health, status.last_error.as_deref()), (Health::Bad, Some("out of order sample")));
    f.evaluate(110);
    assert_eq!(f.group.rules()[0].status().health, Health::Good);
}

#[test]
fn rows_that_cannot_be_read_cost_only_themselves() {
    let mut saved = Saved::default();
    for (key, value) in [
        (b"f;g\0A\0{}\0{}".as_slice(), b"".as_slice()),
        (b"f;g\0A\0{}\0{}", b"\x08\x02"),
        (b"f;g\0A\0{}\0{}", b"\xff\xff"),
        (b"f;g", b"\x08\x01"),
    ] {
        saved.add(key, value);
    }
    assert_eq!(saved.unreadable, 4);
}

proptest::proptest! {
    #[test]
    fn whatever_stands_in_the_table_is_survived(key: Vec<u8>, value: Vec<u8>) {
        Saved::default().add(&key, &value);
    }
}
