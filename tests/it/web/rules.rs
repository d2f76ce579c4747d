//! `/api/v1/rules` and `/api/v1/alerts`: bodies to the byte, filters and pages.

use std::time::Duration;

use outrigger::model::Timestamp;
use outrigger::rules::{FileOptions, RuleManager, RuleMetrics, parse_file};

use super::api::{NOW, api_state_with, rules, store};
use super::{Running, config, start};

const FILE: &str = r#"
groups:
- name: one
  interval: 15s
  limit: 5
  rules:
  - record: g:sum
    expr: sum by(job)(g)
  - record: labelled
    expr: g
    labels: {severity: high, job: ""}
  - alert: High
    expr: g > 1
    for: 1m30s
    keep_firing_for: 10s
    labels: {severity: high}
    annotations: {summary: "a < b"}
- name: two
  rules:
  - alert: Low
    expr: g < 0
    labels: {severity: low}
- name: three
  rules:
  - record: x
    expr: "1"
"#;

async fn server() -> (Running, std::sync::Arc<RuleManager>) {
    let store = store();
    let manager = rules(&store);
    let groups = parse_file("r.yml", FILE, &FileOptions::default()).unwrap();
    let context = (*manager.context()).clone();
    manager.apply(groups, Duration::from_secs(60), Duration::ZERO, context).unwrap();
    (start(config(), api_state_with(store, std::sync::Arc::clone(&manager))).await, manager)
}

/// Without durations, which differ from run to run.
fn without_durations(text: &str) -> String {
    let mut parts = text.split("\"evaluationTime\":");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("\"evaluationTime\":0");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || ".e-".contains(c)));
    }
    out
}

const BEFORE: &str = r#"{"status":"success","data":{"groups":[{"name":"two","file":"r.yml","rules":[{"state":"unknown","name":"Low","query":"g \u003c 0","duration":0,"keepFiringFor":0,"labels":{"severity":"low"},"annotations":{},"alerts":[],"health":"unknown","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"alerting"}],"interval":60,"limit":0,"evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z"}]}}"#;

const AFTER: &str = r#"{"status":"success","data":{"groups":[{"name":"one","file":"r.yml","rules":[{"name":"g:sum","query":"sum by (job) (g)","health":"ok","evaluationTime":0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"recording"},{"name":"labelled","query":"g","labels":{"job":"","severity":"high"},"health":"err","lastError":"vector contains metrics with the same labelset after applying rule labels","evaluationTime":0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"recording"},{"state":"pending","name":"High","query":"g \u003e 1","duration":90,"keepFiringFor":10,"labels":{"severity":"high"},"annotations":{"summary":"a < b"},"alerts":[{"labels":{"alertname":"High","job":"a","severity":"high"},"annotations":{"summary":"a < b"},"state":"pending","activeAt":"2023-11-14T22:13:20Z","value":"1.5e+00"},{"labels":{"alertname":"High","job":"b\"<","severity":"high"},"annotations":{"summary":"a < b"},"state":"pending","activeAt":"2023-11-14T22:13:20Z","value":"+Inf"}],"health":"ok","evaluationTime":0,"lastEvaluation":"2023-11-14T22:13:20Z","type":"alerting"}],"interval":15,"limit":5,"evaluationTime":0,"lastEvaluation":"2023-11-14T22:13:20Z"}]}}"#;

#[tokio::test]
async fn rules_and_alerts_are_shown_to_the_byte() {
    let (server, manager) = server().await;
    assert_eq!(server.get("/api/v1/rules?rule_group[]=two").await.text(), BEFORE);
    assert_eq!(server.get("/api/v1/alerts").await.text(), r#"{"status":"success","data":{"alerts":[]}}"#);

    let now = Timestamp::from_millis(NOW * 1_000);
    let groups = manager.groups();
    let one = groups.iter().find(|group| &*group.spec().name == "one").unwrap();
    one.evaluate(now, now, &manager.context(), &RuleMetrics::default());
    let text = server.get("/api/v1/rules?rule_group[]=one").await.text();
    assert_eq!(without_durations(&text), AFTER);
    let alerts = server.get("/api/v1/alerts").await.text();
    let expected =
        AFTER.split("\"alerts\":").nth(1).and_then(|rest| rest.split(",\"health\"").next()).unwrap();
    assert_eq!(alerts, format!(r#"{{"status":"success","data":{{"alerts":{expected}}}}}"#));

    let text = server.get("/api/v1/rules?rule_name[]=High&exclude_alerts=true&evaluations=1").await.text();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rule = &value["data"]["groups"][0]["rules"][0];
    assert_eq!((&rule["alerts"], &rule["line"]), (&serde_json::json!([]), &serde_json::json!(12)));
    let evaluation = &rule["evaluations"][0];
    assert_eq!(
        (evaluation["seriesSeen"].as_u64(), evaluation["seriesReturned"].as_u64()),
        (Some(2), Some(4))
    );
    manager.shutdown();
}

#[tokio::test]
async fn rules_are_chosen_and_come_in_pages() {
    let (server, manager) = server().await;
    let names = |text: String| {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let groups = value["data"]["groups"].as_array().unwrap().clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let names: Vec<&str> = rules.map(|rule| rule["name"].as_str().unwrap()).collect();
        (names.join(" "), value["data"]["groupNextToken"].as_str().unwrap_or_default().to_owned())
    };
    for (query, expected) in [
        ("", "g:sum labelled High x Low"),
        ("type=alert", "High Low"),
        ("type=RECORD", "g:sum labelled x"),
        ("rule_name[]=x&rule_name[]=Low", "x Low"),
        ("file[]=other.yml", ""),
        ("file[]=r.yml&rule_group[]=three", "x"),
        ("match[]=%7Bseverity=%22high%22%7D", "labelled High"),
        ("match[]=%7Bseverity=%22high%22%7D&match[]=%7Bseverity=%22low%22%7D&type=alert", "High Low"),
    ] {
        assert_eq!(names(server.get(&format!("/api/v1/rules?{query}")).await.text()).0, expected, "{query}");
    }
    let (mut shown, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/rules?group_limit=1&group_next_token={token}");
        let page = names(server.get(&path).await.text());
        shown.push(page.0);
        token = page.1;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(shown, ["g:sum labelled High", "x", "Low"]);
    for (query, error) in [
        ("type=some", r#"invalid parameter \"type\": not supported value \"some\""#),
        ("group_limit=0", r#"invalid parameter \"group_limit\": group_limit needs to be greater than 0"#),
        (
            "group_limit=x",
            r#"invalid parameter \"group_limit\": group_limit needs to be a valid number: strconv.ParseInt: parsing \"x\": invalid syntax"#,
        ),
        (
            "group_next_token=x",
            r#"invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups"#,
        ),
        (
            "group_next_token=x&group_limit=2",
            r#"invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?"#,
        ),
        (
            "exclude_alerts=perhaps",
            r#"invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"perhaps\": invalid syntax"#,
        ),
    ] {
        let reply = server.get(&format!("/api/v1/rules?{query}")).await;
        let expected = format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
        assert_eq!((reply.status, reply.text()), (400, expected), "{query}");
    }
    manager.shutdown();
}
