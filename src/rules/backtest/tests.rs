//! Rules over written history: when they fire, with which variant, and what is left untouched.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{Labels, Row, Timestamp};
use crate::promql::Memory;
use crate::rules::{AlertState, FileOptions, GroupSpec, RuleMemory, parse_file};
use crate::store::{Store, StoreConfig};

const RULES: &str = "
groups:
- name: g
  interval: 1m
  rules:
  - {record: 'cpu:avg', expr: 'avg by (host) (cpu)'}
  - {alert: Hot, expr: 'cpu:avg > 80', for: 5m, labels: {severity: page}, annotations: {a: '{{ $value }}'}}
  - {alert: Odd, expr: 'absent(cpu)'}
";

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

/// 0 to 120 minutes; hot from 20 to 40, and from 60 to 63; what was recorded in service says that it always was.
fn history() -> Memory {
    let mut memory = Memory::new();
    let cpu = Labels::from_pairs([("__name__", "cpu"), ("host", "a")]);
    let recorded = Labels::from_pairs([("__name__", "cpu:avg"), ("host", "a")]);
    for at in 0..=480 {
        let (now, at_ms) = (at / 4, i64::from(at) * 15_000);
        let hot = (20..40).contains(&now) || (60..63).contains(&now);
        memory.append(&cpu, at_ms, if hot { 90.0 } else { 10.0 }).unwrap();
        memory.append(&recorded, at_ms, 99.0).unwrap();
    }
    memory
}

fn groups(text: &str) -> Vec<GroupSpec> {
    parse_file("r.yml", text, &FileOptions::default()).unwrap()
}

fn replay() -> Replay {
    Replay {
        from: minute(0),
        to: minute(120),
        interval: Duration::from_secs(60),
        query_offset: Duration::ZERO,
    }
}

fn played(variant: Variant) -> Timeline {
    let groups = variant.of(&groups(RULES));
    replay().run(&groups, Arc::new(RuleMemory::new(history()))).unwrap()
}

#[test]
fn alerts_are_pending_and_fire_at_the_groups_slots() {
    let timeline = played(Variant::default());
    assert_eq!((timeline.evaluations, timeline.rules.len()), (120, 2));
    assert_eq!(timeline.failures, []);
    let hot = &timeline.rules[0].series;
    assert_eq!(hot.len(), 1);
    assert_eq!(hot[0].labels.to_string(), r#"{alertname="Hot", host="a", severity="page"}"#);
    let spans: Vec<_> = hot[0].spans.iter().map(|span| (span.state, span.length().as_secs() / 60)).collect();
    assert_eq!(
        spans,
        [(AlertState::Pending, 5), (AlertState::Firing, 15), (AlertState::Pending, 3)],
        "{:?}",
        hot[0].spans
    );
    // The first slot at which it is hot.
    assert!(hot[0].spans[0].from >= minute(20) && hot[0].spans[0].from < minute(21));
    assert_eq!((hot[0].flaps(), hot[0].pending_only()), (0, 1));
    assert!(timeline.rules[1].series.is_empty());
}

#[test]
fn before_the_first_evaluation_rules_see_what_was_recorded() {
    let groups = groups(
        "groups: [{name: g, rules: [{record: 'cpu:avg', expr: 'avg by (host) (cpu)'}, \
         {alert: Was, expr: 'max_over_time(cpu:avg[10m]) > 98'}]}]",
    );
    let late = Replay { from: minute(50), ..replay() };
    let from_memory = late.run(&groups, Arc::new(RuleMemory::new(history()))).unwrap();
    let spans = &from_memory.rules[0].series[0].spans;
    assert!(spans.len() == 1 && spans[0].length() == Duration::from_secs(600), "{spans:?}");

    // The same from a store, whose samples partly come as pages.
    let store = Store::open(StoreConfig::default(), minute(0)).unwrap();
    let mut source = store.source("test");
    let history = history();
    let series: Vec<(&Labels, Vec<(i64, f64)>)> =
        history.iter().map(|(labels, samples)| (labels, samples.iter().collect())).collect();
    for at in 0..=480 {
        let row = |(labels, samples): &(&Labels, Vec<(i64, f64)>)| Row {
            labels: (*labels).clone(),
            value: samples[at].1,
            timestamp: None,
        };
        let rows: Vec<Row> = series.iter().map(row).collect();
        source.append(Timestamp::from_millis(i64::try_from(at).unwrap() * 15_000), &rows).unwrap();
    }
    assert!(store.stats().page_samples > 0);
    assert_eq!(late.run(&groups, Arc::new(store)).unwrap(), from_memory);
}

#[test]
fn another_for_and_another_threshold_change_what_fires() {
    let at_once = played(Variant { hold: Some(Duration::ZERO), threshold: None });
    assert_eq!(at_once.rules[0].series[0].firings().count(), 2);
    assert_eq!(at_once.rules[0].series[0].flaps(), 1);
    let high = played(Variant { hold: None, threshold: Some(95.0) });
    assert!(high.rules[0].series.is_empty());
    assert_eq!(high.rules[0].rule.query, "cpu:avg > 95");
    let low = played(Variant { hold: None, threshold: Some(5.0) });
    let spans = &low.rules[0].series[0].spans;
    assert!(spans.len() == 2 && spans[1].is_open && spans[1].to == minute(120), "{spans:?}");
}

#[test]
fn thresholds_are_found_where_an_expression_ends_in_one() {
    for (expr, threshold) in [
        ("x > 80", Some(80.0)),
        ("(x < -0.5)", Some(-0.5)),
        ("x == bool 1", Some(1.0)),
        ("rate(x[5m]) / y >= 1e3", Some(1e3)),
        (r#"label_replace(x > 2, "a", "b", "c", "d")"#, Some(2.0)),
        ("x > y", None),
        ("80 < x", None),
        ("x > 80 and y > 2", None),
        ("absent(x)", None),
    ] {
        let expr = crate::promql::parse(expr, &crate::promql::ParseOptions::all()).unwrap();
        assert_eq!(threshold_of(&expr), threshold, "{expr}");
    }
}

#[test]
fn incidents_are_caught_or_missed_and_alarms_true_or_false() {
    let incident = |name: &str, from, to, host: &str| Incident {
        name: name.to_owned(),
        from: minute(from),
        to: minute(to),
        labels: Labels::from_pairs([("host", host)]),
    };
    let incidents =
        [incident("hot", 18, 40, "a"), incident("other", 18, 40, "b"), incident("late", 80, 90, "a")];
    let timeline = played(Variant { hold: Some(Duration::ZERO), threshold: None });
    let verdict = judge(&incidents, &timeline.rules[0].series);
    assert_eq!(verdict.missed, [1, 2]);
    assert_eq!((verdict.alarms, verdict.false_alarms), (2, 1));
    assert_eq!(verdict.false_alarm_rate(), Some(0.5));
    let (mean, longest) = verdict.delays().unwrap();
    assert!(mean == longest && mean >= Duration::from_secs(120) && mean < Duration::from_secs(180));
    assert_eq!(judge(&incidents, []).delays(), None);
}

#[test]
fn rules_that_fail_are_told_and_bounds_hold() {
    let groups = groups(
        "groups: [{name: g, rules: [{record: r, expr: 'cpu * on () group_left () cpu{a=~\".*\"} + on () (cpu or other)'}, {alert: A, expr: 'label_replace(cpu, \"__name__\", \"\", \"\", \"\") or cpu', labels: {host: x}}]}]",
    );
    let mut memory = history();
    memory.append(&Labels::from_pairs([("__name__", "cpu"), ("host", "b")]), 0, 1.0).unwrap();
    let timeline = replay().run(&groups, Arc::new(RuleMemory::new(memory))).unwrap();
    assert!(!timeline.failures.is_empty() && timeline.failures[0].1 > 0, "{timeline:?}");
    let long = Replay { to: minute(100_000_000), ..replay() };
    let error = long.run(&groups, Arc::new(RuleMemory::default())).unwrap_err();
    assert!(error.to_string().contains("more than 2000000"), "{error}");
}
