//! `/api/v1/slos` and `/api/v1/health`: budgets with their alerts, and verdicts with reasons.

use std::sync::Arc;
use std::time::Duration;

use outrigger::model::{Labels, Row, Timestamp};
use outrigger::promql::{Engine, EngineOptions};
use outrigger::rules::{RuleManager, RuleMetrics, parse_file};
use outrigger::slo::{
    FileOptions, GenerateOptions, SloSource, generate, parse_file as parse_slos, to_rule_file,
};
use outrigger::store::{Store, StoreConfig};
use serde_json::{Value, json};

use super::api::{NOW, api_state_with, rules};
use super::{Running, config, start};

const FILE: &str = r#"
version: prometheus/v1
service: shop
slos:
- name: orders
  objective: 90
  sli:
    events:
      error_query: sum(rate(orders_total{code="500"}[{{.window}}]))
      total_query: sum(rate(orders_total[{{.window}}]))
  alerting: {name: OrdersFail}
  outrigger: {group_by: [zone]}
"#;

/// In zone `a` half of all orders fail, in zone `b` none does.
fn store() -> Store {
    let store = Store::open(StoreConfig::default(), Timestamp::from_millis(NOW * 1_000)).unwrap();
    let mut source = store.source("test");
    for tick in 0..=80_i32 {
        let row = |code: &str, zone: &str, value: i32| Row {
            labels: Labels::from_pairs([("__name__", "orders_total"), ("code", code), ("zone", zone)]),
            value: value.into(),
            timestamp: None,
        };
        let rows =
            [row("200", "a", tick), row("500", "a", tick), row("200", "b", 2 * tick), row("500", "b", 0)];
        source.append(Timestamp::from_millis((NOW - 1_200 + i64::from(tick) * 15) * 1_000), &rows).unwrap();
    }
    store
}

/// Evaluates all groups, in their order.
fn evaluate(manager: &RuleManager) {
    let now = Timestamp::from_millis(NOW * 1_000);
    let groups = manager.groups();
    let mut groups: Vec<_> = groups.iter().collect();
    // Alerts read what the others have recorded.
    groups.sort_by_key(|group| group.spec().name.contains("alerts"));
    for group in groups {
        group.evaluate(now, now, &manager.context(), &RuleMetrics::default());
    }
}

async fn server() -> (Running, impl FnOnce(), Arc<RuleManager>) {
    let store = store();
    let manager = rules(&store);
    let slo = parse_slos("shop.yml", FILE, &FileOptions::default()).unwrap().slos.remove(0);
    let mut text = to_rule_file(&generate(&slo, &GenerateOptions::default()));
    text.push_str(
        "- name: odd\n  rules: [{record: x, expr: 'orders_total', labels: {code: '', zone: ''}}]\n",
    );
    let groups = parse_file("shop.yml", &text, &outrigger::rules::FileOptions::default()).unwrap();
    let context = (*manager.context()).clone();
    manager.apply(groups, Duration::from_secs(60), Duration::ZERO, context).unwrap();
    let mut state = api_state_with(store, Arc::clone(&manager));
    let api = Arc::get_mut(state.api.as_mut().unwrap()).unwrap();
    let books = Arc::clone(&api.slos);
    let source = SloSource { file: "shop.yml".into(), slo: Arc::new(slo) };
    let engine = Arc::new(Engine::new(EngineOptions::default()));
    books.apply(&[source], engine).unwrap();
    let ended = Arc::clone(&manager);
    let end = move || {
        books.shutdown();
        ended.shutdown();
    };
    (start(config(), state).await, end, manager)
}

async fn data(server: &Running, path: &str) -> Value {
    let reply = server.get(path).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let value: Value = serde_json::from_str(&reply.text()).unwrap();
    value["data"].clone()
}

#[tokio::test]
async fn budgets_are_shown_with_their_alerts() {
    let (server, end, manager) = server().await;
    let mut slos = data(&server, "/api/v1/slos").await;
    while slos["slos"].as_array().unwrap().len() < 2 {
        slos = data(&server, "/api/v1/slos").await;
    }
    let (a, b) = (&slos["slos"][0], &slos["slos"][1]);
    assert_eq!((&a["labels"], &b["labels"]), (&json!({"zone": "a"}), &json!({"zone": "b"})));
    // 20 orders of each zone and minute, in three whole slots.
    for (key, in_a, in_b) in [
        ("id", json!("shop-orders"), json!("shop-orders")),
        ("file", json!("shop.yml"), json!("shop.yml")),
        ("objective_percent", json!("90"), json!("90")),
        ("sli", json!(0.5), json!(1.0)),
        ("bad_events", json!(60.0), json!(0.0)),
        ("total_events", json!(120.0), json!(120.0)),
        ("time_to_exhaustion_seconds", json!(0.0), Value::Null),
        (
            "alerts",
            json!({"page": "inactive", "ticket": "inactive"}),
            json!({"page": "inactive", "ticket": "inactive"}),
        ),
    ] {
        assert_eq!((&a[key], &b[key]), (&in_a, &in_b), "{key}");
    }
    assert!((a["budget_consumed"].as_f64().unwrap() - 5.0).abs() < 1e-9);
    evaluate(&manager);
    let alerts = data(&server, "/api/v1/slos?id[]=shop-orders").await;
    assert_eq!(alerts["slos"][0]["alerts"], json!({"page": "inactive", "ticket": "firing"}));
    assert_eq!(alerts["slos"][1]["alerts"], json!({"page": "inactive", "ticket": "inactive"}));
    assert_eq!(data(&server, "/api/v1/slos?id[]=other").await, json!({"slos": []}));

    let health = data(&server, "/api/v1/health").await;
    assert_eq!(health["verdict"], "degraded");
    let reasons: Vec<String> = health["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{} {}", c["check"], c["reasons"]))
        .collect();
    assert_eq!(
        reasons,
        [
            r#""store" []"#,
            r#""configuration" []"#,
            r#""collectors" []"#,
            r#""targets" []"#,
            r#""rules" ["x of group odd fails: vector contains metrics with the same labelset after applying rule labels"]"#,
            r#""delivery" []"#,
            r#""slos" ["the error budget of shop-orders{zone=\"a\"} is exhausted: 5.00 times spent"]"#,
            r#""scorecard" []"#,
        ]
    );
    end();
}
