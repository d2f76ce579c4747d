//! Events posted, kept and counted, over a store in memory; time is passed in.

use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::*;
use crate::model::Timestamp;
use crate::store::{Store, StoreConfig};

/// 2023-11-14T22:13:20Z
const NOW_S: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((NOW_S + seconds) * 1_000)
}

fn store() -> Store {
    Store::open(StoreConfig::default(), at(0)).expect("memory")
}

fn open(store: &Store) -> EventLog {
    EventLog::open(store, || at(3_600))
}

fn post(log: &EventLog, body: &str, now: Timestamp) -> Result<Posted, String> {
    log.post(body.as_bytes(), now).map_err(|error| error.to_string())
}

fn counts(posted: Result<Posted, String>) -> (usize, usize, usize) {
    let posted = posted.expect("taken");
    (posted.created, posted.updated, posted.unchanged)
}

/// The samples of these metrics.
fn figures(log: &EventLog, part: &str) -> String {
    let mut registry = Registry::default();
    log.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("written");
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#') && line.contains(part)).collect();
    lines.join("\n")
}

const DEPLOYMENT: &str = r#"{"id": "d1", "type": "deployment", "time": 1700000000, "service": "shop", "environment": "prod",
    "commit_times": ["2023-11-14T20:13:20Z", "2023-11-12T22:13:20Z"], "labels": {"version": "1.2"}}"#;

#[test]
fn an_event_is_known_by_its_id() {
    let (store, now) = (store(), at(0));
    let log = open(&store);
    assert_eq!(counts(post(&log, DEPLOYMENT, now)), (1, 0, 0));
    assert_eq!(counts(post(&log, DEPLOYMENT, at(5))), (0, 0, 1));
    assert_eq!(counts(post(&log, r#"{"events": [{"id": "d1", "message": "x"}]}"#, at(5))), (0, 1, 0));
    let error = post(&log, r#"{"id": "d1", "type": "incident"}"#, now).expect_err("another type");
    assert_eq!(error, "\"d1\": type: it is known as deployment");
    // One without an id is the same where it says the same, its time included.
    let without = r#"[{"type": "note", "time": 1700000000}, {"type": "note", "time": 1700000000}, {"type": "note", "time": 1}]"#;
    assert_eq!(counts(post(&log, without, now)), (2, 0, 1));
    let all = log.list(&EventFilter { limit: 10, ..EventFilter::default() });
    let first = serde_json::to_string(&all[all.len() - 2].to_json()).expect("JSON");
    assert_eq!(all.len(), 3);
    assert!(first.contains("\"note\"") || first.contains("\"d1\""), "{first}");
    let deployment = all.iter().find(|event| event.id == "d1").expect("there");
    assert_eq!(
        deployment.to_json(),
        serde_json::json!({"id": "d1", "type": "deployment", "time": "2023-11-14T22:13:20Z", "service": "shop",
            "environment": "prod", "outcome": "success", "message": "x", "labels": {"version": "1.2"},
            "commit_times": ["2023-11-12T22:13:20Z", "2023-11-14T20:13:20Z"]})
    );
    // A restart finds all of it.
    assert_eq!(open(&store).list(&EventFilter { limit: 10, ..EventFilter::default() }), all);
    assert_eq!(counts(post(&open(&store), DEPLOYMENT, at(9))), (0, 0, 1));
}

#[test]
fn the_four_measures_are_counted_once() {
    let store = store();
    let log = open(&store);
    assert_eq!(figures(&log, "outrigger_delivery"), "");
    post(&log, DEPLOYMENT, at(0)).expect("taken");
    post(&log, r#"{"id": "d2", "type": "deployment", "time": 1700000600, "service": "shop", "environment": "prod", "outcome": "failure"}"#, at(700)).expect("taken");
    post(
        &log,
        r#"{"id": "i1", "type": "incident", "time": 1700000700, "service": "shop", "environment": "prod"}"#,
        at(700),
    )
    .expect("taken");
    post(
        &log,
        r#"{"id": "i2", "type": "incident", "time": 1700000800, "service": "shop", "environment": "prod"}"#,
        at(800),
    )
    .expect("taken");
    for log in [&log, &open(&store)] {
        assert_eq!(
            figures(log, "deployment"),
            "outrigger_delivery_deployments_total{service=\"shop\",environment=\"prod\",outcome=\"success\"} 1.0
outrigger_delivery_deployments_total{service=\"shop\",environment=\"prod\",outcome=\"failure\"} 1.0
outrigger_delivery_last_deployment_timestamp_seconds{service=\"shop\",environment=\"prod\"} 1700000600.0"
        );
        let lead = figures(log, "lead_time");
        for part in [
            "le=\"3600.0\",service=\"shop\",environment=\"prod\"} 0\n",
            "le=\"14400.0\",service=\"shop\",environment=\"prod\"} 1\n",
            "le=\"86400.0\",service=\"shop\",environment=\"prod\"} 1\n",
            "le=\"172800.0\",service=\"shop\",environment=\"prod\"} 2\n",
            "le=\"+Inf\",service=\"shop\",environment=\"prod\"} 2",
            "_count{service=\"shop\",environment=\"prod\"} 2",
            "_sum{service=\"shop\",environment=\"prod\"} 180000.0",
        ] {
            assert!(lead.contains(part), "{part}: {lead}");
        }
        assert_eq!(
            figures(log, "incident_start"),
            "outrigger_delivery_incident_start_timestamp_seconds{service=\"shop\",environment=\"prod\"} 1700000700.0"
        );
        assert!(figures(log, "recovery_time_seconds_count").ends_with(" 0"));
    }
    post(&log, r#"{"id": "i1", "end": 1700002500}"#, at(2_500)).expect("taken");
    assert!(figures(&log, "incident_start").ends_with(" 1700000800.0"));
    assert!(figures(&log, "recovery_time_seconds_sum").ends_with(" 1800.0"));
    post(&log, r#"{"id": "i2", "end": "2023-11-14T22:55:00Z"}"#, at(2_600)).expect("taken");
    assert_eq!(figures(&log, "incident_start"), "");
}

#[test]
fn corrections_never_let_a_counter_fall() {
    let store = store();
    let log = open(&store);
    let deploy = |id: &str, more: &str| {
        post(&log, &format!(r#"{{"id": "{id}", "type": "deployment", "service": "s"{more}}}"#), at(0))
            .expect("taken");
    };
    let shown = || {
        let all = figures(&log, "deployments_total");
        all.lines().map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    deploy("a", "");
    deploy("b", "");
    assert_eq!(shown(), ["2.0", "0.0"]);
    deploy("b", r#", "outcome": "failure""#);
    assert_eq!(shown(), ["2.0", "1.0"]);
    deploy("c", "");
    assert_eq!(shown(), ["2.0", "1.0"], "what was counted too early makes up for it");
    deploy("d", "");
    assert_eq!(shown(), ["3.0", "1.0"]);
    // It was another service's.
    deploy("d", r#", "service": "t""#.replace("service", "environment").as_str());
    assert_eq!(shown(), ["3.0", "1.0", "1.0", "0.0"]);
}

#[test]
fn an_event_that_is_deleted_is_gone_and_counts_no_more() {
    let store = store();
    let log = open(&store);
    post(&log, DEPLOYMENT, at(0)).expect("taken");
    let incident = r#"{"id": "i", "type": "incident", "service": "s", "time": 1700000000}"#;
    post(&log, incident, at(0)).expect("taken");
    assert!(log.delete("d1", at(1)).expect("kept") && log.delete("i", at(1)).expect("kept"));
    assert!(!log.delete("d1", at(1)).expect("kept") && !log.delete("", at(1)).expect("kept"));
    for log in [&log, &open(&store)] {
        assert!(log.list(&EventFilter { limit: 10, ..EventFilter::default() }).is_empty());
        // Counters do not fall, but wait; an incident that was none goes on no more.
        assert!(figures(log, "success").ends_with(" 1.0"));
        assert_eq!(figures(log, "incident_start"), "");
    }
    post(&log, DEPLOYMENT, at(2)).expect("taken");
    assert!(figures(&log, "success").ends_with(" 1.0"), "{}", figures(&log, "success"));
}

#[test]
fn the_last_deployment_is_the_newest_that_is_left() {
    let log = open(&store());
    let deploy = |id: &str, time: i64, service: &str| {
        let event =
            format!(r#"{{"id": "{id}", "type": "deployment", "service": "{service}", "time": {time}}}"#);
        post(&log, &event, at(0)).expect("taken");
    };
    let last = || {
        let all = figures(&log, "last_deployment");
        all.lines().map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    deploy("a", 100, "s");
    deploy("b", 200, "s");
    deploy("c", 300, "s");
    assert_eq!(last(), ["300.0"]);
    deploy("c", 150, "s");
    assert_eq!(last(), ["200.0"], "the newest happened earlier");
    deploy("c", 300, "s");
    assert!(log.delete("a", at(1)).expect("kept"));
    assert_eq!(last(), ["300.0"], "an older one is gone");
    assert!(log.delete("c", at(1)).expect("kept"));
    assert_eq!(last(), ["200.0"], "the newest is gone");
    deploy("d", 50, "s");
    deploy("b", 200, "t");
    assert_eq!(last(), ["50.0", "200.0"], "it was another service's");
    let both = r#"[{"id": "b", "time": 10}, {"id": "d", "time": 20}, {"id": "d", "time": 15}]"#;
    post(&log, both, at(0)).expect("taken");
    assert_eq!(last(), ["15.0", "10.0"], "all in one post");
    assert!(log.delete("b", at(1)).expect("kept"));
    assert_eq!(last(), ["15.0"], "none is left");
    assert_eq!(figures(&log, "success").lines().count(), 2, "counters stay");
}

/// As many events as are kept, all at 200 s.
fn fill(log: &EventLog) {
    for batch in 0..10 {
        let events = (0..1_000).map(|n| format!(r#"{{"id": "{batch}-{n}", "type": "note", "time": 200}}"#));
        post(log, &format!("[{}]", events.collect::<Vec<_>>().join(",")), at(0)).expect("taken");
    }
}

#[test]
fn what_is_older_than_a_full_log_is_refused_and_not_counted() {
    let log = open(&store());
    fill(&log);
    let old = r#"{"id": "back-1", "type": "deployment", "service": "s", "time": 100}"#;
    for body in
        [old, &format!(r#"[{{"id": "new", "type": "deployment", "service": "s", "time": 300}}, {old}]"#)]
    {
        let error = post(&log, body, at(0)).expect_err("too old");
        assert!(error.starts_with("\"back-1\": time: 10000 events are kept, and none is older"), "{error}");
    }
    assert_eq!(figures(&log, "deployments_total"), "");
    // One that goes on is kept however old it is, and one that is known may be moved.
    let open = r#"{"id": "i", "type": "incident", "service": "s", "time": 100}"#;
    assert_eq!(counts(post(&log, open, at(0))), (1, 0, 0));
    assert_eq!(counts(post(&log, open, at(0))), (0, 0, 1));
    assert_eq!(counts(post(&log, r#"{"id": "9-1", "time": 50}"#, at(0))), (0, 1, 0));
    assert_eq!(counts(post(&log, &old.replace("100", "201"), at(0))), (1, 0, 0));
    assert_eq!(counts(post(&log, &old.replace("100", "201"), at(0))), (0, 0, 1));
}

#[test]
fn the_time_of_an_evicted_deployment_stays() {
    let log = open(&store());
    let first = r#"{"id": "a", "type": "deployment", "service": "s", "time": 100}"#;
    post(&log, first, at(0)).expect("taken");
    fill(&log);
    assert!(!log.delete("a", at(1)).expect("kept"), "evicted");
    let old = r#"{"id": "b", "type": "deployment", "service": "s", "time": 90}"#;
    assert!(log.delete("0-0", at(1)).expect("kept"), "room");
    post(&log, old, at(0)).expect("taken");
    assert!(log.delete("b", at(1)).expect("kept"));
    assert!(figures(&log, "last_deployment").ends_with(" 100.0"));
}

#[test]
fn a_new_series_is_zero_before_it_counts() {
    let store = store();
    let log = EventLog::open(&store, || at(89));
    post(&log, DEPLOYMENT, at(0)).expect("taken");
    assert!(figures(&log, "success").ends_with(" 0.0"));
    assert!(figures(&EventLog::open(&store, || at(90)), "success").ends_with(" 1.0"));
    assert!(
        figures(&EventLog::open(&store, || at(-5)), "success").ends_with(" 1.0"),
        "a clock that was set back"
    );
}

#[test]
fn an_end_in_whole_seconds_may_fall_into_the_second_of_the_begin() {
    let begin = Timestamp::from_millis(NOW_S * 1_000 + 457);
    for (end, want_ms) in [
        (format!("{NOW_S}"), Some(457)),
        (format!("{NOW_S}.0"), Some(457)),
        (format!("{NOW_S}.458"), Some(458)),
        (format!("{}", NOW_S + 1), Some(1_000)),
        (format!("{NOW_S}.456"), None),
        (format!("{}", NOW_S - 1), None),
    ] {
        let log = open(&store());
        post(&log, r#"{"id": "i", "type": "incident", "service": "s"}"#, begin).unwrap();
        let ended = post(&log, &format!(r#"{{"id": "i", "end": {end}}}"#), at(2));
        match want_ms {
            Some(want) => {
                ended.unwrap();
                let events = log.list(&EventFilter { limit: 10, ..EventFilter::default() });
                assert_eq!(events[0].end_ms, Some(NOW_S * 1_000 + want), "{end}");
            }
            None => assert!(ended.unwrap_err().contains("end: lies before time"), "{end}"),
        }
    }
}

#[test]
fn every_mistake_of_a_post_is_told_and_nothing_is_taken() {
    let log = open(&store());
    for (body, message) in [
        ("", "the body is no JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "no event in it"),
        ("{}", "type: is missing"),
        ("[1]", "expected an object"),
        (r#"{"events": 1}"#, "events: expected a list"),
        (r#"{"type": "deployment"}"#, "service: is missing"),
        (r#"{"type": "Deployment", "service": "s"}"#, "type: expected deployment, incident, or another word"),
        (r#"{"type": "note", "time": "yesterday"}"#, "time: expected an instant as 2026-01-31T12:00:00Z"),
        (r#"{"type": "note", "time": 1e300}"#, "time: expected an instant"),
        (r#"{"type": "note", "time": -5}"#, "time: expected an instant"),
        (r#"{"type": "note", "time": 1700000601}"#, "time: lies in the future"),
        (r#"{"type": "note", "end": 5}"#, "end: lies before time"),
        (r#"{"type": "note", "servise": "s"}"#, "servise: unknown key; did you mean \"service\"?"),
        (r#"{"type": "note", "outcome": "success"}"#, "outcome: only a deployment has one"),
        (
            r#"{"type": "deployment", "service": "s", "outcome": "bad"}"#,
            "outcome: expected success or failure",
        ),
        (
            r#"{"type": "deployment", "service": "s", "time": 5, "commit_time": 6}"#,
            "commit_time: lies after time",
        ),
        (r#"{"type": "note", "service": " s"}"#, "service: expected a word"),
        (r#"{"type": "note", "labels": {"a": 1}}"#, "labels: expected texts"),
        (r#"{"type": "note", "id": 5}"#, "id: expected a text"),
    ] {
        let error = post(&log, body, at(0)).expect_err(body);
        assert!(error.contains(message), "{body}: {error}");
    }
    let error =
        post(&log, r#"[{"type": "note"}, {"type": "note", "time": true, "x": 1}, {"id": "z"}]"#, at(0));
    let error = error.expect_err("wrong");
    assert!(
        error.starts_with("event 2: x: unknown key; known are id,") && error.contains("; event 2: time: "),
        "{error}"
    );
    let error = post(&log, r#"[{"type": "note"}, {"id": "z"}, {"id": "y"}]"#, at(0)).expect_err("wrong");
    assert!(
        error.contains("\"z\": type: is missing") && error.contains("\"y\": type: is missing"),
        "{error}"
    );
    let long = format!(r#"{{"type": "note", "message": "{}"}}"#, "x".repeat(2_001));
    assert_eq!(post(&log, &long, at(0)), Err("message: more than 2000 characters".to_owned()));
    let many = format!("[{}1]", "1,".repeat(1_000));
    assert_eq!(post(&log, &many, at(0)), Err("1001 events in one post, more than 1000".to_owned()));
    let wrong = format!("[{}1]", "1,".repeat(99));
    assert!(post(&log, &wrong, at(0)).is_err_and(|error| error.ends_with("; and 80 more")));
    assert!(log.list(&EventFilter { limit: 10, ..EventFilter::default() }).is_empty());
    assert!(figures(&log, "refused").ends_with(" 24"), "{}", figures(&log, "refused"));
}

#[test]
fn events_and_services_are_bounded_and_what_was_counted_stays() {
    let store = store();
    let log = open(&store);
    for batch in 0..11 {
        let events = (0..1_000).map(|n| {
            format!(
                r#"{{"id": "{batch}-{n}", "type": "deployment", "service": "s", "time": {}}}"#,
                batch * 1_000 + n
            )
        });
        post(&log, &format!("[{}]", events.collect::<Vec<_>>().join(",")), at(0)).expect("taken");
    }
    let all = log.list(&EventFilter { limit: 20_000, ..EventFilter::default() });
    assert_eq!((all.len(), all.last().map(|event| event.id.clone())), (10_000, Some("1-0".to_owned())));
    assert!(figures(&log, "success").ends_with(" 11000.0"));
    let again = open(&store);
    assert_eq!(again.list(&EventFilter { limit: 20_000, ..EventFilter::default() }).len(), 10_000);
    assert!(figures(&again, "success").ends_with(" 11000.0"));
    let services =
        (0..100).map(|n| format!(r#"{{"type": "deployment", "service": "s{n}"}}"#)).collect::<Vec<_>>();
    let error = post(&log, &format!("[{}]", services.join(",")), at(0)).expect_err("too many");
    assert_eq!(error, "service: more than 100 services and environments");
}

#[test]
fn events_are_found_by_time_type_and_service() {
    let log = open(&store());
    let body = r#"[{"id": "a", "type": "note", "time": 100}, {"id": "b", "type": "incident", "service": "s", "time": 50},
        {"id": "c", "type": "incident", "service": "t", "time": 60, "end": 90}]"#;
    post(&log, body, at(0)).expect("taken");
    let found = |filter: EventFilter| {
        let all = log.list(&filter);
        all.iter().map(|event| event.id.clone()).collect::<Vec<_>>().join(" ")
    };
    let at = |seconds: i64| Some(Timestamp::from_millis(seconds * 1_000));
    let any = || EventFilter { limit: 10, ..EventFilter::default() };
    assert_eq!(found(any()), "a c b");
    assert_eq!(found(EventFilter { limit: 1, ..any() }), "a");
    assert_eq!(found(EventFilter { from: at(95), ..any() }), "a b", "b goes on");
    assert_eq!(found(EventFilter { from: at(80), to: at(99), ..any() }), "c b");
    assert_eq!(found(EventFilter { kinds: vec!["note".to_owned()], ..any() }), "a");
    assert_eq!(found(EventFilter { services: vec!["s".to_owned()], ..any() }), "b");
}

#[test]
fn what_cannot_be_read_costs_itself_only() {
    let store = store();
    post(&open(&store), DEPLOYMENT, at(0)).expect("taken");
    store.state("events").put(b"x", b"nonsense").expect("memory");
    store
        .state("events_tally")
        .put(b"[\"a\",\"\"]", b"{\"since_ms\":1,\"actual\":[],\"shown\":[1]}")
        .expect("memory");
    let log = open(&store);
    assert_eq!(log.list(&EventFilter { limit: 10, ..EventFilter::default() }).len(), 1);
    assert!(figures(&log, "unreadable").ends_with(" 2"));
}

proptest! {
    /// Whatever is posted is refused, or taken once.
    #[test]
    fn posts_are_taken_once_or_refused(
        kind in "deployment|incident|note|[a-zA-Z ]{0,3}|.",
        service in "[a-z]{0,3}|\\PC{0,3}",
        time in "[0-9]{1,13}|\"2023-11-1[0-9]T00:00:00Z\"|null|-1|1e9|true",
        more in "|, \"end\": [0-9]{1,10}|, \"commit_time\": 1|, \"outcome\": \"failure\"|, \"labels\": \\{\\}|, .{0,5}",
    ) {
        let log = open(&store());
        let body = format!("{{\"type\": \"{kind}\", \"service\": \"{service}\", \"time\": {time}{more}}}");
        if let Ok(first) = post(&log, &body, at(0)) {
            prop_assert_eq!((first.created, first.ids.len()), (1, 1));
            prop_assert_eq!(counts(post(&log, &body, at(0))), (0, 0, 1));
        }
    }
}
