//! What only this program has: events, acknowledgements, the scorecard, pages for people, a prefix before all paths.

use std::sync::Arc;
use std::time::Duration;

use outrigger::model::Timestamp;
use outrigger::rules::{FileOptions, RuleManager, RuleMetrics, RuleSettings, parse_file};
use outrigger::scorecard::{Known, ScorecardSettings};
use serde_json::{Value, json};

use super::api::{NOW, api_state, api_state_with, rules, store};
use super::{Reply, Running, config, start};

const FILE: &str = r#"
groups:
- name: g<i>
  interval: 15s
  rules:
  - alert: High
    expr: g > 1
    labels: {severity: high}
    annotations: {summary: "<script>{{ $labels.job }}</script>"}
  - {record: x, expr: "g * on() group_left() g"}
"#;

async fn server() -> (Running, Arc<RuleManager>) {
    let store = store();
    let manager = rules(&store);
    let groups = parse_file("r.yml", FILE, &FileOptions::default()).unwrap();
    let context = (*manager.context()).clone();
    manager.apply(groups, Duration::from_secs(60), Duration::ZERO, context).unwrap();
    let state = api_state_with(store, Arc::clone(&manager));
    (start(config(), state).await, manager)
}

fn evaluate(manager: &RuleManager) {
    let now = Timestamp::from_millis(NOW * 1_000);
    for group in manager.groups().iter() {
        group.evaluate(now, now, &manager.context(), &RuleMetrics::default());
    }
}

async fn post(server: &Running, path: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    server.send(request).await
}

const JSON: &str = "Content-Type: application/json\r\n";

fn data(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let value: Value = serde_json::from_str(&reply.text()).unwrap();
    value["data"].clone()
}

#[tokio::test]
async fn events_are_posted_and_listed() {
    let server = start(config(), api_state()).await;
    let event = r#"{"id": "d", "type": "deployment", "service": "s<", "time": 1700000000}"#;
    let posted = post(&server, "/api/v1/events", JSON, event).await;
    assert_eq!(data(&posted), json!({"created": 1, "updated": 0, "unchanged": 0, "ids": ["d"]}));
    let listed = data(&server.get("/api/v1/events?type[]=deployment").await);
    let expected = json!({"id": "d", "type": "deployment", "service": "s<", "outcome": "success", "time": "2023-11-14T22:13:20Z"});
    assert_eq!(listed, json!({"events": [expected]}));
    assert_eq!(data(&server.get("/api/v1/events?type[]=incident").await), json!({"events": []}));
    assert!(!server.get("/api/v1/events?limit=1").await.text().contains("truncated"), "it was all");
    post(&server, "/api/v1/events", JSON, r#"{"type": "note", "time": 1600000000}"#).await;
    let cut = server.get("/api/v1/events?limit=1").await;
    assert!(cut.text().contains("results truncated due to limit"), "{}", cut.text());
    assert_eq!(data(&cut)["events"][0]["id"], "d");
    assert_eq!(server.get("/api/v1/events?start=5&end=4").await.status, 400);
    assert_eq!(server.get("/api/v1/events?start=x").await.status, 400);
    let large = format!(r#"{{"message": "{}"}}"#, "x".repeat(1 << 20));
    for (headers, body, status, part) in [
        (JSON, r#"{"type": "deployment"}"#, 400, "service: is missing"),
        (JSON, "nonsense", 400, "the body is no JSON"),
        ("", event, 400, "application/json"),
        ("Content-Type: text/plain\r\n", event, 400, "application/json"),
        ("Content-Type: application/json; charset=utf-8\r\n", event, 200, "unchanged"),
        ("Content-Type: application/json\r\nOrigin: http://evil.example\r\n", event, 403, "other origins"),
        ("Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n", event, 403, "other origins"),
        ("Content-Type: application/json\r\nOrigin: http://x\r\n", event, 200, "unchanged"),
        (JSON, large.as_str(), 413, ""),
    ] {
        let reply = post(&server, "/api/v1/events", headers, body).await;
        assert!(
            reply.status == status && reply.text().contains(part),
            "{headers}{body:.80}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn events_are_deleted() {
    let server = start(config(), api_state()).await;
    post(&server, "/api/v1/events", JSON, r#"{"id": "a/b c", "type": "note"}"#).await;
    let path = "/api/v1/events/a%2Fb%20c";
    for (path, headers, status, part) in [
        (path, "Origin: http://evil.example\r\n", 403, "other origins"),
        (path, "Sec-Fetch-Site: cross-site\r\n", 403, "other origins"),
        ("/api/v1/events/b", "", 404, r#""errorType":"not_found","error":"no event has the id "b""#),
        ("/api/v1/events", "", 405, ""),
        (path, "Origin: http://x\r\n", 204, ""),
        (path, "", 404, "a/b c"),
    ] {
        let request = format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let reply = server.send(request).await;
        let said = reply.text().replace("\\\"", "\"");
        assert!(reply.status == status && said.contains(part), "{path} {headers}: {} {said}", reply.status);
    }
    assert_eq!(data(&server.get("/api/v1/events").await), json!({"events": []}));
}

#[tokio::test]
async fn alerts_are_acknowledged_and_shown_with_it_when_asked() {
    let (server, manager) = server().await;
    let ack = |body: &'static str| post(&server, "/api/v1/alerts/ack", JSON, body);
    let early = ack(r#"{"alert": "High", "by": "ann"}"#).await;
    assert!(
        early.status == 400 && early.text().contains("no pending or firing alert fits"),
        "{}",
        early.text()
    );
    evaluate(&manager);
    let plain = server.get("/api/v1/alerts").await.text();
    let given =
        data(&ack(r#"{"alert": "High{job='a'}", "by": "ann", "comment": "on it", "for": "4h"}"#).await);
    assert_eq!(given, json!({"alerts": [{"alertname": "High", "job": "a", "severity": "high"}]}));
    assert_eq!(server.get("/api/v1/alerts").await.text(), plain, "Prometheus's bytes");
    let alerts = data(&server.get("/api/v1/alerts?acknowledgements=true").await);
    assert_eq!(
        alerts["alerts"][0]["acknowledgement"],
        json!({"by": "ann", "comment": "on it", "at": "2023-11-14T22:13:20Z", "until": "2023-11-15T02:13:20Z"})
    );
    assert_eq!(alerts["alerts"][1].get("acknowledgement"), None);
    let fingerprint = alerts["alerts"][0]["fingerprint"].as_str().unwrap().to_owned();
    let body = format!(r#"{{"alert": "{fingerprint}"}}"#);
    let taken = post(&server, "/api/v1/alerts/unack", JSON, &body).await;
    assert_eq!(data(&taken)["alerts"][0]["job"], "a");
    let alerts = data(&server.get("/api/v1/alerts?acknowledgements=true").await);
    assert_eq!(alerts["alerts"][0].get("acknowledgement"), None);
    for (body, part) in [
        (r#"{"alert": "High"}"#, "by: who"),
        (r#"{"alert": "", "by": "ann"}"#, "alert: "),
        (r#"{"alert": "{}", "by": "ann"}"#, "alert: "),
        (r#"{"alert": "High", "by": "ann", "for": "0s"}"#, "for: expected"),
        (r#"{"alert": "High", "by": "ann", "until": "x"}"#, "unknown field"),
        ("[]", "invalid"),
    ] {
        let reply = ack(body).await;
        assert!(reply.status == 400 && reply.text().contains(part), "{body}: {}", reply.text());
    }
    manager.shutdown();
}

#[tokio::test]
async fn pages_show_rules_and_alerts_and_escape_them() {
    let (server, manager) = server().await;
    assert!(server.get("/alerts").await.text().contains("No alert is pending or fires"));
    evaluate(&manager);
    let page = server.get("/alerts").await;
    let text = page.text();
    assert!(text.contains("&lt;script&gt;a&lt;/script&gt;") && !text.contains("<script"), "{text}");
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("form-action 'self'"))
    );
    let fingerprint = text.split("name=alert value=").nth(1).unwrap().get(..16).unwrap().to_owned();
    let form = "Content-Type: application/x-www-form-urlencoded\r\nOrigin: http://x\r\n";
    let body = format!("alert={fingerprint}&by=%3Cann%3E&comment=on+it");
    let foreign = post(&server, "/alerts/ack", "Origin: http://evil\r\n", &body).await;
    assert_eq!(foreign.status, 403);
    let given = post(&server, "/alerts/ack", form, &body).await;
    assert_eq!((given.status, given.header("location")), (303, Some("../alerts")));
    let text = server.get("/alerts").await.text();
    assert!(text.contains("by &lt;ann&gt; 0s ago") && text.contains("Take back"), "{text}");
    let taken = post(&server, "/alerts/ack", form, &format!("alert={fingerprint}&take=back")).await;
    assert_eq!(taken.status, 303);
    assert!(!server.get("/alerts").await.text().contains("Take back"));
    assert_eq!(post(&server, "/alerts/ack", form, &format!("alert={fingerprint}&by=")).await.status, 400);

    let text = server.get("/rules").await.text();
    for part in ["g&lt;i&gt;", "last 1 evaluations", "many-to-many", "alert <b>High</b>", "<td>2, "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = server.get("/graph?g0.expr=g%20%3E%201&g0.tab=1").await.text();
    assert!(text.contains("g &gt; 1") && text.contains("<td>1.5"), "{text}");
    let text = server.get("/graph?g0.expr=%3Cb%3E").await.text();
    assert!(text.contains("parse error") && !text.contains("<b>"), "{text}");
    let long = format!("{}{}", "g", "%20or%20vector(1)".repeat(200));
    let text = server.get(&format!("/graph?g0.expr={long}")).await.text();
    assert!(text.contains(&format!(">g{}</textarea>", " or vector(1)".repeat(200))), "{text}");
    for (expr, shown) in [("1e300", "<p>1e+300"), ("Inf", "<p>+Inf"), ("vector(-Inf)", "<td>-Inf")] {
        let text = server.get(&format!("/graph?g0.expr={expr}")).await.text();
        assert!(text.contains(shown), "{text}");
    }
    assert_eq!(server.get("/graph").await.status, 200);
    manager.shutdown();
}

#[tokio::test]
async fn the_scorecard_is_computed_when_it_is_asked_for() {
    let (server, manager) = server().await;
    assert_eq!(data(&server.get("/api/v1/scorecard").await), json!({"scorecard": null}));
    manager.shutdown();

    let store = store();
    let manager = rules(&store);
    let mut state = api_state_with(store, Arc::clone(&manager));
    let api = Arc::get_mut(state.api.as_mut().unwrap()).unwrap();
    let text = "scorecard: {pillars: {a: {target: 1, values: {x: {query: 'sum(c_total)'}}}, b: {target: 100, values: {x: {query: g}}}, c: {target: 5, worst: 9, values: {x: {query: '20'}}}}}";
    let document =
        outrigger::config::Document::parse("o.yml", text, &outrigger::config::Limits::default()).unwrap();
    let settings = document.read(&outrigger::config::Environment::off(), ScorecardSettings::read).unwrap();
    let known = Known { slos: Vec::new(), alerts: [].into(), parse: &api.parse_options };
    api.scorecard.apply(settings.card(&known).unwrap(), Arc::clone(&api.engine));
    let server = start(config(), state).await;
    let health = data(&server.get("/api/v1/health").await);
    assert_eq!(health["verdict"], "healthy", "nobody has computed it: {health}");
    let card = data(&server.get("/api/v1/scorecard").await)["scorecard"].clone();
    let told = |pillar: usize| {
        (card["pillars"][pillar]["status"].clone(), card["pillars"][pillar]["reason"].clone())
    };
    assert_eq!(told(0), (json!("met"), Value::Null));
    assert_eq!(told(1), (json!("unknown"), json!("x: the query gives 2 series; aggregate them to one")));
    assert_eq!(told(2), (json!("missed"), Value::Null));
    assert_eq!(
        (&card["grade"], &card["score"], &card["configured"]),
        (&json!("F"), &json!(0.5), &json!(true))
    );
    let health = data(&server.get("/api/v1/health").await);
    let check = health["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&health["verdict"], &check["reasons"]),
        (
            &json!("degraded"),
            &json!([
                "b cannot be computed: x: the query gives 2 series; aggregate them to one",
                "c is at 20, far from its target of 5"
            ])
        )
    );
    manager.shutdown();
}

#[tokio::test]
async fn the_built_in_scorecard_comes_from_the_rules_that_ship() {
    let groups = RuleSettings::default().load(&FileOptions::default()).unwrap();
    let alerts = groups.iter().flat_map(|group| &group.rules).map(|rule| &*rule.name).collect();
    let parse = outrigger::promql::ParseOptions::default();
    let card = ScorecardSettings::default().card(&Known { slos: Vec::new(), alerts, parse: &parse }).unwrap();
    let mut state = api_state();
    let api = Arc::get_mut(state.api.as_mut().unwrap()).unwrap();
    api.scorecard.apply(card, Arc::clone(&api.engine));
    let server = start(config(), state).await;
    let card = data(&server.get("/api/v1/scorecard").await)["scorecard"].clone();
    assert_eq!((&card["grade"], &card["configured"]), (&Value::Null, &json!(false)));
    assert_eq!(card["pillars"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_prefix_stands_before_all_paths() {
    let config = outrigger::web::WebConfig { prefix: "/o".to_owned(), ..config() };
    let server = start(config, api_state()).await;
    for (path, status, location) in [
        ("/", 302, Some("/o/")),
        ("/o", 302, Some("/o/")),
        ("/o/", 200, None),
        ("/o/metrics", 200, None),
        ("/o/-/healthy", 200, None),
        ("/o/api/v1/query?query=1", 200, None),
        ("/o/rules", 200, None),
        ("/metrics", 404, None),
        ("/ometrics", 404, None),
        ("/o/o/metrics", 404, None),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.header("location")), (status, location), "{path}");
    }
}
