//! Receivers over real connections.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::context::Pauses;
use super::*;
use crate::config::{Document, Environment, Limits};
use crate::http_client::testing::{Answer, Peer};
use crate::model::{Labels, OutgoingAlert, Timestamp};
use crate::scrape::ScrapeMetrics;
use crate::store::{Store, StoreConfig};

thread_local! {
    /// The wall clock of a test: tests run on a thread of their own, and so do their tasks.
    static NOW_MS: Cell<i64> = const { Cell::new(1_700_000_000_000) };
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW_MS.get())
}

fn store() -> Store {
    Store::open(StoreConfig::default(), now()).expect("opens")
}

fn settings(text: &str) -> NotifySettings {
    let document = Document::parse("o.yml", text, &Limits::default()).expect("parsed");
    let external = Labels::from_pairs([("cluster", "c"), ("a", "external")]);
    document.read(&Environment::off(), |top| NotifySettings::read(top, &external)).expect("read")
}

fn notifier(store: &Store, text: &str) -> Notifier {
    let metrics = NotifyMetrics::default();
    let notifier = Notifier::new(store.clone(), now, "http://here", metrics, ScrapeMetrics::default());
    let notifier = notifier.with_pauses(Pauses::SHORT);
    notifier.apply(&settings(text));
    notifier
}

fn alert(name: &str, ends_in_seconds: i64) -> OutgoingAlert {
    OutgoingAlert {
        labels: Labels::from_pairs([("alertname", name), ("a", "own")]),
        annotations: Labels::from_pairs([("summary", "s")]),
        starts_at: Timestamp::from_millis(now().as_millis() - 60_000),
        ends_at: Timestamp::from_millis(now().as_millis() + ends_in_seconds * 1_000),
        generator_url: String::new(),
    }
}

/// Lets all tasks run until something is true.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        ticks.tick().await;
    }
}

fn webhook(peer: &Peer) -> String {
    format!("alerting: {{webhooks: [{{name: ops, url: '{}', group_wait: 0s}}]}}\n", peer.url("/hook"))
}

fn bodies(peer: &Peer) -> Vec<Value> {
    peer.bodies().iter().map(|body| serde_json::from_slice(body).expect("JSON")).collect()
}

#[tokio::test]
async fn what_a_webhook_is_owed_outlives_the_process_and_is_paid_once() {
    let store = store();
    let down = Peer::fixed(Answer::Text(500, "text/plain", String::new())).await;
    {
        let notifier = notifier(&store, &webhook(&down));
        notifier.send(&[alert("A", 300)]);
        until("two attempts", || down.requests().len() >= 2).await;
    }
    // A new process, the receiver is well again; the rule hands its alert over once more.
    let up = Peer::fixed(Answer::Text(200, "text/plain", String::new())).await;
    let notifier = notifier(&store, &webhook(&up));
    notifier.send(&[alert("A", 300)]);
    until("the debt is paid", || up.requests().len() == 1).await;
    let first = &bodies(&up)[0];
    assert_eq!(first["receiver"], "ops");
    assert_eq!(first["groupKey"], r#"{}:{alertname="A"}"#);
    assert_eq!(first["commonLabels"]["cluster"], "c");
    assert_eq!(first["commonLabels"]["a"], "own");
    // Its end is told; the beginning was not told again.
    notifier.send(&[alert("A", -1)]);
    NOW_MS.set(NOW_MS.get() + 301_000);
    until("the end is told", || up.requests().len() == 2).await;
    assert_eq!(bodies(&up)[1]["status"], "resolved");
    until("nothing is owed", || {
        let mut owed = 0;
        store
            .state("notify_owed")
            .range(b"", |_, _| {
                owed += 1;
                true
            })
            .expect("read");
        owed == 0
    })
    .await;
}

#[tokio::test]
async fn what_waits_in_groups_is_told_before_the_end() {
    let (peer, hangs) =
        (Peer::fixed(Answer::Text(200, "text/plain", String::new())).await, Peer::fixed(Answer::Hang).await);
    let notifier = notifier(&store(), &webhook(&peer));
    notifier.send(&[alert("A", 300)]);
    until("told", || peer.requests().len() == 1).await;
    // The group would wait for its interval.
    notifier.send(&[alert("A", -1)]);
    notifier.shutdown(tokio::time::Instant::now() + Duration::from_secs(30)).await;
    assert_eq!(bodies(&peer).iter().map(|body| &body["status"]).collect::<Vec<_>>(), ["firing", "resolved"]);
    // One that takes nothing is owed it at the next start.
    let store = store();
    let before = self::notifier(&store, &webhook(&hangs));
    before.send(&[alert("A", 300)]);
    until("called", || hangs.requests().len() == 1).await;
    before.send(&[alert("A", -1)]);
    before.shutdown(tokio::time::Instant::now() + Duration::from_millis(500)).await;
    let _after = self::notifier(&store, &webhook(&peer));
    until("both are told", || peer.requests().len() == 4).await;
    assert_eq!(bodies(&peer)[3]["status"], "resolved");
}

#[tokio::test]
async fn the_url_of_a_webhook_is_not_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("url");
    // Nobody listens at port 1.
    std::fs::write(&file, "http://127.0.0.1:1/token\n").expect("written");
    for url in ["url: 'http://127.0.0.1:1/token'".to_owned(), format!("url_file: '{}'", file.display())] {
        let text = format!("alerting: {{webhooks: [{{name: ops, {url}, group_wait: 0s}}]}}\n");
        let notifier = notifier(&store(), &text);
        notifier.send(&[alert("A", 300)]);
        until("it has failed", || !notifier.failing().0.is_empty()).await;
        let error = "Post \"<redacted>\": dial tcp 127.0.0.1:1: connect: connection refused";
        assert_eq!(notifier.failing().0, [("ops".to_owned(), error.to_owned())]);
    }
}

#[tokio::test]
async fn what_a_webhook_refuses_is_given_up() {
    let answers = Mutex::new(vec![200, 403]);
    let peer = Peer::start(move |_| {
        let status = answers.lock().expect("not poisoned").pop().unwrap_or(200);
        Answer::Text(status, "text/plain", String::new())
    })
    .await;
    let notifier = notifier(&store(), &webhook(&peer));
    notifier.send(&[alert("A", 300)]);
    until("refused", || peer.requests().len() == 1).await;
    notifier.send(&[alert("B", 300)]);
    until("taken", || peer.requests().len() == 2).await;
    assert_eq!(bodies(&peer)[1]["groupLabels"]["alertname"], "B");
}

#[tokio::test]
async fn one_that_hangs_costs_the_others_nothing() {
    let hangs = Peer::fixed(Answer::Hang).await;
    let takes = Peer::fixed(Answer::Text(200, "application/json", String::new())).await;
    let text = format!(
        "alerting:\n  alert_relabel_configs: [{{action: labeldrop, regex: cluster}}]\n  alertmanagers:\n  - static_configs: [{{targets: ['{}']}}]\n  - static_configs: [{{targets: ['{}']}}]\n    alert_relabel_configs: [{{action: drop, source_labels: [alertname], regex: B}}]\n",
        hangs.address, takes.address
    );
    let notifier = notifier(&store(), &text);
    notifier.send(&[alert("A", 300), alert("B", 300)]);
    until("it is told", || takes.requests().len() == 1).await;
    assert!(takes.requests()[0].starts_with("POST /api/v2/alerts HTTP/1.1\r\n"));
    let sent = &bodies(&takes)[0];
    assert_eq!(sent.as_array().expect("a list").len(), 1);
    assert_eq!(sent[0]["labels"].to_string(), r#"{"a":"own","alertname":"A"}"#);
    assert_eq!(notifier.alertmanagers().active.len(), 2);
    // The same set goes on; the other one is gone.
    let kept =
        format!("alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n", hangs.address);
    notifier.apply(&settings(&kept));
    assert_eq!(notifier.alertmanagers().active, [format!("http://{}/api/v2/alerts", hangs.address)]);
    notifier.shutdown(tokio::time::Instant::now() + Duration::from_secs(1)).await;
    assert!(notifier.alertmanagers().active.is_empty());
}

#[tokio::test]
async fn a_reload_keeps_the_alertmanagers_that_discovery_has_found() {
    let takes = Peer::fixed(Answer::Text(200, "application/json", String::new())).await;
    let list = format!("[{{\"targets\": [\"{}\"]}}]", takes.address);
    let asked = std::sync::atomic::AtomicUsize::new(0);
    // It answers once: whoever forgets what it said knows no Alertmanager any more.
    let discovery = Peer::start(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Answer::Text(200, "application/json", list.clone()),
        _ => Answer::Hang,
    })
    .await;
    let set = |more: &str| {
        let url = discovery.url("/");
        format!("alerting: {{alertmanagers: [{{http_sd_configs: [{{url: '{url}'}}], {more}}}]}}\n")
    };
    let notifier = notifier(&store(), &set("timeout: 10s"));
    until("discovered", || !notifier.alertmanagers().active.is_empty()).await;
    notifier.apply(&settings(&set("timeout: 9s")));
    // Before anything else can have run.
    assert_eq!(notifier.alertmanagers().active, [format!("http://{}/api/v2/alerts", takes.address)]);
    notifier.send(&[alert("A", 300)]);
    until("it is told", || takes.requests().len() == 1).await;
    // What another discovery has found is nobody else's.
    notifier
        .apply(&settings("alerting: {alertmanagers: [{http_sd_configs: [{url: 'http://127.0.0.1:1/'}]}]}\n"));
    assert!(notifier.alertmanagers().active.is_empty());
}
