//! `outrigger explain` asks a running instance.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use outrigger::model::Timestamp;
use outrigger::rules::{FileOptions, RuleManager, RuleMetrics, parse_file};

use super::api::{NOW, api_state_with, rules, store};
use super::{Running, config, start};
use crate::program::outrigger;

const FILE: &str = r#"
groups:
- name: one
  interval: 15s
  rules:
  - alert: High
    expr: g{job="a"} * 2 > 1
    for: 30s
    labels: {severity: high}
  - alert: Never
    expr: nothing > 1
"#;

/// High is pending for 30 s, then fires for 30 s.
async fn server() -> (Running, Arc<RuleManager>) {
    let store = store();
    let manager = rules(&store);
    let groups = parse_file("r.yml", FILE, &FileOptions::default()).unwrap();
    let context = (*manager.context()).clone();
    manager.apply(groups, Duration::from_secs(60), Duration::ZERO, context).unwrap();
    for seconds in [-60, -45, -30, -15, 0] {
        let at = Timestamp::from_millis((NOW + seconds) * 1_000);
        manager.groups()[0].evaluate(at, at, &manager.context(), &RuleMetrics::default());
    }
    (start(config(), api_state_with(store, Arc::clone(&manager))).await, manager)
}

async fn explain(url: String, more: &'static [&'static str]) -> Output {
    let mut command = outrigger();
    command.arg("explain").args(more).args(["--url", &url, "--at", &NOW.to_string()]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

const HIGH: &str = r#"High (r.yml:6:5, group one)
  expr             g{job="a"} * 2 > 1
  for              30s
  evaluated        every 15s

Timeline of {alertname="High", job="a", severity="high"}
  2023-11-14T22:12:20Z  pending
  2023-11-14T22:12:50Z  firing
  2023-11-14T22:13:20Z  still firing

Values
  g{job="a"} * 2 > 1
    | went pending 2023-11-14T22:12:20Z  3 (1 of 1 series)
    | fired        2023-11-14T22:12:50Z  3 (1 of 1 series)
    | now          2023-11-14T22:13:20Z  3 (1 of 1 series)
    g{job="a"} * 2
      | went pending 2023-11-14T22:12:20Z  3 (1 of 1 series)
      | fired        2023-11-14T22:12:50Z  3 (1 of 1 series)
      | now          2023-11-14T22:13:20Z  3 (1 of 1 series)
      g{job="a"}
        | went pending 2023-11-14T22:12:20Z  1.5 (1 of 1 series)
        | fired        2023-11-14T22:12:50Z  1.5 (1 of 1 series)
        | now          2023-11-14T22:13:20Z  1.5 (1 of 1 series)
      2
    1

Carried by, when it fired
  g{job="a"} 1.5
"#;

#[tokio::test]
async fn a_running_instance_is_asked_why() {
    let (server, manager) = server().await;
    let url = format!("http://{}", server.address());
    let told = explain(url.clone(), &["High"]).await;
    assert_eq!((String::from_utf8_lossy(&told.stdout).as_ref(), told.status.code()), (HIGH, Some(0)));
    let told = explain(url.clone(), &["Never", "-o", "json"]).await;
    let value: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&value[0]["alerts"], &value[0]["place"]), (&serde_json::json!([]), &"r.yml:10:5".into()));
    assert_eq!(value[0]["parts"][0]["values"][0]["series"], 0);

    let told = explain(url, &["Hihg"]).await;
    let error = String::from_utf8_lossy(&told.stderr);
    assert_eq!(error, "outrigger: no alert rule is named \"Hihg\", of 2; did you mean High?\n");
    assert_eq!(told.status.code(), Some(1));
    manager.shutdown();
}

#[tokio::test]
async fn who_does_not_answer_as_prometheus_does_is_named() {
    let page = start(config(), super::state()).await;
    let told = explain(format!("http://{}", page.address()), &["High"]).await;
    let error = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.code() == Some(1) && error.contains("/api/v1/rules?"), "{error}");
    assert!(
        error.contains("404 Not Found (text/plain") && error.contains("not JSON of Prometheus's API"),
        "{error}"
    );
    assert!(error.contains("--url is to be the address"), "{error}");
    let address = page.address();
    page.stop().await.unwrap();
    let told = explain(format!("http://{address}"), &["High"]).await;
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.code() == Some(1) && error.contains("connection refused"), "{error}");
    assert!(error.contains("is it running there? Another instance is named with --url"), "{error}");
}
