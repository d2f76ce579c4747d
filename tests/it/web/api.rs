//! Prometheus's HTTP API over a store with known samples: bodies to the byte.

use std::sync::Arc;
use std::time::Duration;

use outrigger::events::EventLog;
use outrigger::model::{Labels, Row, Timestamp, anchored_regex};
use outrigger::notify::{Notifier, NotifyMetrics};
use outrigger::promql::{Cancel, Engine, EngineOptions, EngineStats, ParseOptions};
use outrigger::rules::{AlertTiming, RuleContext, RuleManager, RuleMetrics};
use outrigger::scorecard::Scoreboard;
use outrigger::scrape::{ScrapeLimits, ScrapeMetrics, Sink, TargetKey, TargetManager};
use outrigger::slo::Books;
use outrigger::store::{Store, StoreConfig};
use outrigger::web::{Api, Facts, Forms, Status, WebState};

use tokio::io::AsyncWriteExt;

use super::{Reply, Running, config, read_reply, start, state};

/// The instant that the server takes for now, in seconds.
pub(super) const NOW: i64 = 1_700_000_000;

/// Nothing is scraped here.
struct NoSink;

impl Sink for NoSink {
    fn tick(&self, _: &TargetKey, _: Timestamp, _: Vec<Row>) {}
    fn end(&self, _: &TargetKey, _: Timestamp) {}
}

/// A store with a counter, a gauge of two series, and a series that ended.
pub(super) fn store() -> Store {
    let store = Store::open(StoreConfig::default(), Timestamp::from_millis(NOW * 1_000)).unwrap();
    let mut source = store.source("test");
    for tick in 0..=20 {
        let at = Timestamp::from_millis((NOW - 300 + tick * 15) * 1_000);
        let row = |pairs: &[(&str, &str)], value: f64| Row {
            labels: Labels::from_pairs(pairs.iter().copied()),
            value,
            timestamp: None,
        };
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let mut rows = vec![
            row(&[("__name__", "c_total"), ("job", "a")], tick as f64 * 3.0),
            row(&[("__name__", "g"), ("job", "a")], 1.5),
            row(&[("__name__", "g"), ("job", "b\"<")], f64::INFINITY),
        ];
        if tick < 10 {
            rows.push(row(&[("__name__", "old"), ("job", "a")], 1.0));
        }
        source.append(at, &rows).unwrap();
    }
    store
}

/// Rules over a store, at the server's instant.
pub(super) fn rules(store: &Store) -> Arc<RuleManager> {
    let context = RuleContext {
        storage: Arc::new(store.clone()),
        engine: Arc::new(Engine::new(EngineOptions::default())),
        parse: ParseOptions::default(),
        external_labels: Labels::empty(),
        external_url: String::new(),
        timing: AlertTiming::default(),
        most_alerts: 1_000,
        settle: Duration::ZERO,
        notify: Arc::new(drop),
        cancel: Cancel::default(),
    };
    Arc::new(RuleManager::new(
        context,
        || Timestamp::from_millis(NOW * 1_000),
        RuleMetrics::default(),
        8 << 20,
    ))
}

pub(super) fn api_state() -> WebState {
    let store = store();
    let rules = rules(&store);
    api_state_with(store, rules)
}

pub(super) fn api_state_with(store: Store, rules: Arc<RuleManager>) -> WebState {
    let now = || Timestamp::from_millis(NOW * 1_000);
    let notifier = Notifier::new(store.clone(), now, "", NotifyMetrics::default(), ScrapeMetrics::default());
    let books = Books::new(store.clone(), Arc::new(Engine::new(EngineOptions::default())), now, 8 << 20);
    let (history, engine) = (Arc::new(store.clone()), Arc::new(Engine::new(EngineOptions::default())));
    let books = Arc::new(books);
    let scorecard = Scoreboard::new(history, Arc::clone(&rules), Arc::clone(&books), engine);
    let api = Api {
        rules,
        scorecard,
        events: EventLog::open(&store, now),
        slos: books,
        notifier: Arc::new(notifier),
        history: Arc::new(store.clone()),
        store,
        targets: Arc::new(TargetManager::new(
            Arc::new(NoSink),
            || Timestamp::from_millis(NOW * 1_000),
            ScrapeLimits::default(),
            ScrapeMetrics::default(),
        )),
        collect: state().engine,
        admin: false,
        status: Status::default(),
        engine: Arc::new(Engine::new(EngineOptions::default())),
        parse_options: ParseOptions::default(),
        external_labels: Arc::new(arc_swap::ArcSwap::from_pointee(Labels::from_pairs([("site", "x")]))),
        now: || Timestamp::from_millis(NOW * 1_000),
        facts: Facts { build: [("version", "1.2.3".to_owned())].into(), ..Facts::default() },
        cors_origin: anchored_regex(r"https://a\.example").ok(),
        forms: Forms::new(1_000),
        turns: Arc::new(tokio::sync::Semaphore::new(4)),
    };
    WebState { api: Some(Arc::new(api)), ..state() }
}

async fn post(server: &Running, path: &str, form: &str) -> Reply {
    let length = form.len();
    let head = "Content-Type: application/x-www-form-urlencoded\r\nHost: x\r\nConnection: close";
    server.send(&format!("POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{form}")).await
}

const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"g","job":"a"},"value":[1700000000,"1.5"]},{"metric":{"__name__":"g","job":"b\"<"},"value":[1700000000,"+Inf"]}]}}"#;

#[tokio::test]
async fn queries_are_answered_to_the_byte() {
    let server = start(config(), api_state()).await;
    for (path, status, body) in [
        ("/api/v1/query?query=g", 200, VECTOR),
        (
            "/api/v1/query?query=1%2B1&time=1700000000.123",
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000.123,"2"]}}"#,
        ),
        (
            "/api/v1/query?query=%22x%22&time=2023-11-14T22:13:20Z",
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1700000000,"x"]}}"#,
        ),
        (
            "/api/v1/query?query=c_total[30s]",
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"c_total","job":"a"},"values":[[1699999985,"57"],[1700000000,"60"]]}]}}"#,
        ),
        (
            "/api/v1/query_range?query=rate(c_total[1m])&start=1699999940&end=1700000000&step=30",
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"a"},"values":[[1699999940,"0.19999999999999998"],[1699999970,"0.19999999999999998"],[1700000000,"0.19999999999999998"]]}]}}"#,
        ),
        (
            "/api/v1/query?query=g&limit=1",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"g","job":"a"},"value":[1700000000,"1.5"]}]},"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "/api/v1/query?query=rate(g%7Bjob%3D%22a%22%7D[1m])",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[1700000000,"0"]}]},"infos":["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"g\" (1:6)"]}"#,
        ),
        (
            "/api/v1/query?query=sum(",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}"#,
        ),
        (
            "/api/v1/query?query=g&time=yesterday",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": Invalid time value for 'time': cannot parse \"yesterday\" to a valid timestamp"}"#,
        ),
        (
            "/api/v1/query_range?query=g&start=10&end=9&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}"#,
        ),
        (
            "/api/v1/query_range?query=g&start=0&end=11001&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}"#,
        ),
        (
            "/api/v1/query?query=g%20%2F%20on()%20g",
            422,
            r#"{"status":"error","errorType":"execution","error":"found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"g\", job=\"b\\\"\u003c\"}, {__name__=\"g\", job=\"a\"}];many-to-many matching not allowed: matching labels must be unique on one side"}"#,
        ),
        (
            "/api/v1/format_query?query=sum(g)by(job)",
            200,
            r#"{"status":"success","data":"sum by (job) (g)"}"#,
        ),
        ("/api/v1/query_exemplars?query=g&start=0&end=1", 200, r#"{"status":"success","data":[]}"#),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{path}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
    }
    assert_eq!(post(&server, "/api/v1/query", "query=g").await.text(), VECTOR);
    assert_eq!(post(&server, "/api/v1/query?query=nothing", "query=g").await.text(), VECTOR);
    let large = post(&server, "/api/v1/query", &format!("query=g{}", "+".repeat(1_000))).await;
    assert_eq!((large.status, large.text().contains("request body too large")), (400, true));
}

#[tokio::test]
async fn series_and_labels_are_listed() {
    let server = start(config(), api_state()).await;
    for (path, body) in [
        (
            "/api/v1/series?match[]=g&match[]=old",
            r#"{"status":"success","data":[{"__name__":"g","job":"a"},{"__name__":"g","job":"b\"<"},{"__name__":"old","job":"a"}]}"#,
        ),
        (
            "/api/v1/series?match[]=g&limit=1",
            r#"{"status":"success","data":[{"__name__":"g","job":"a"}],"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "/api/v1/series",
            r#"{"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#,
        ),
        ("/api/v1/labels", r#"{"status":"success","data":["__name__","job"]}"#),
        ("/api/v1/label/job/values", r#"{"status":"success","data":["a","b\"\u003c"]}"#),
        ("/api/v1/label/job/values?match[]=old", r#"{"status":"success","data":["a"]}"#),
        ("/api/v1/label/none/values", r#"{"status":"success","data":[]}"#),
        (
            "/api/v1/targets",
            r#"{"status":"success","data":{"activeTargets":[],"droppedTargetCounts":{},"droppedTargets":[]}}"#,
        ),
        (
            "/api/v1/targets?state=none",
            r#"{"status":"success","data":{"activeTargets":[],"droppedTargetCounts":null,"droppedTargets":[]}}"#,
        ),
        ("/api/v1/metadata?limit=0", r#"{"status":"success","data":{}}"#),
        ("/api/v1/scrape_pools", r#"{"status":"success","data":{"scrapePools":[]}}"#),
        ("/api/v1/targets/metadata", r#"{"status":"success","data":[]}"#),
        ("/api/v1/label/%6Aob/values", r#"{"status":"success","data":["a","b\"\u003c"]}"#),
        (
            "/api/v1/label/a%ffb%22/values",
            r#"{"status":"error","errorType":"bad_data","error":"invalid label name: \"a\\xffb\\\"\""}"#,
        ),
        ("/api/v1/status/walreplay", r#"{"status":"success","data":{"current":0,"max":0,"min":0}}"#),
        ("/api/v1/metadata?metric=none", r#"{"status":"success","data":{}}"#),
        ("/api/v1/rules", r#"{"status":"success","data":{"groups":[]}}"#),
        ("/api/v1/status/buildinfo", r#"{"status":"success","data":{"version":"1.2.3"}}"#),
        (
            "/api/v1/series?match[]=g%7B",
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": 1:3: parse error: unexpected end of input inside braces"}"#,
        ),
    ] {
        assert_eq!(server.get(path).await.text(), body, "{path}");
    }
    assert_eq!(post(&server, "/api/v1/labels", "match[]=old").await.status, 200);
    let refused = post(&server, "/api/v1/admin/tsdb/delete_series", "match[]=g").await;
    assert_eq!(
        refused.text(),
        r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#
    );
}

#[tokio::test]
async fn what_the_store_may_hold_up_is_made_in_turns_on_blocking_threads() {
    let mut state = api_state();
    let api = state.api.as_mut().and_then(Arc::get_mut).unwrap();
    // Nobody gets a turn: whoever answers at once has not asked for a thread.
    api.turns = Arc::new(tokio::sync::Semaphore::new(0));
    api.engine = Arc::new(Engine::new(EngineOptions { timeout: Duration::ZERO, ..EngineOptions::default() }));
    let server = start(config(), state).await;
    for path in [
        "status/runtimeinfo",
        "status/tsdb",
        "alertmanagers",
        "alerts",
        "events",
        "health",
        "labels",
        "metadata",
        "query?query=1",
        "rules",
        "scorecard",
        "scrape_pools",
        "slos",
        "targets",
    ] {
        assert_eq!(server.get(&format!("/api/v1/{path}")).await.status, 503, "{path}");
    }
    for path in ["buildinfo", "config", "flags", "walreplay"] {
        assert_eq!(server.get(&format!("/api/v1/status/{path}")).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_delete_nothing() {
    let mut state = api_state();
    state.api.as_mut().and_then(Arc::get_mut).unwrap().admin = true;
    let server = start(config(), state).await;
    let ask = async |call: &str, more: &str| {
        let head = format!("POST /api/v1/admin/tsdb/{call} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let reply = server.send(&format!("{head}Content-Length: 0\r\n{more}\r\n")).await;
        (reply.status, reply.text().contains("other origins"))
    };
    for call in ["delete_series?match[]=g", "clean_tombstones", "snapshot"] {
        for more in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
            assert_eq!(ask(call, more).await, (403, true), "{call} {more}");
        }
    }
    assert_eq!(server.get("/api/v1/query?query=g").await.text(), VECTOR);
    // Programs say nothing of origins.
    assert_eq!(ask("delete_series?match[]=g", "").await, (204, false));
    assert_eq!(ask("clean_tombstones", "Origin: http://x\r\n").await, (204, false));
}

#[tokio::test]
async fn a_federation_gets_the_last_samples_with_their_instants() {
    let server = start(config(), api_state()).await;
    let reply = server.get("/federate?match[]=g&match[]=old&match[]=%7Bjob%3D%22a%22%7D").await;
    assert_eq!(
        reply.text(),
        "# TYPE c_total untyped\nc_total{instance=\"\",job=\"a\",site=\"x\"} 60 1700000000000\n\
         # TYPE g untyped\ng{instance=\"\",job=\"a\",site=\"x\"} 1.5 1700000000000\n\
         g{instance=\"\",job=\"b\\\"<\",site=\"x\"} +Inf 1700000000000\n"
    );
    assert_eq!(server.get("/federate?match[]=%7B").await.status, 400);
    assert_eq!(server.get("/federate").await.text(), "");
}

#[tokio::test]
async fn answers_are_compressed_and_may_be_read_across_origins() {
    let server = start(config(), api_state()).await;
    let request = |method: &str, more: &str| {
        format!("{method} /api/v1/query?query=g HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n")
    };
    let packed = server.send(&request("GET", "Accept-Encoding: gzip\r\n")).await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.body.as_slice()), &mut text)
        .unwrap();
    assert_eq!(text, VECTOR);
    let allowed = server.send(&request("GET", "Origin: https://a.example\r\n")).await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example"));
    let other = server.send(&request("GET", "Origin: https://b.example\r\n")).await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
    let preflight = server.send(&request("OPTIONS", "Origin: https://a.example\r\n")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-methods"), Some("get, post, options"));
    assert_eq!(server.send(&request("DELETE", "")).await.status, 405);
}

/// A query that takes minutes.
const LONG: &str =
    "/api/v1/query_range?query=quantile_over_time(0.5,vector(1)[1w:10s])&start=0&end=10000&step=1";

/// Waits until the engine's figures are as they should be.
async fn figures_become(engine: &Engine, as_they_should: impl Fn(&EngineStats) -> bool) {
    let polling = async {
        while !as_they_should(&engine.stats()) {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), polling).await;
    assert!(waited.is_ok(), "{:?}", engine.stats());
}

#[tokio::test]
async fn a_query_ends_when_its_client_leaves_or_stops_sending() {
    let state = api_state();
    let engine = Arc::clone(&state.api.as_ref().unwrap().engine);
    let server = start(config(), state).await;
    let request = format!("GET {LONG} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut client = server.connect().await;
    client.write_all(request.as_bytes()).await.unwrap();
    figures_become(&engine, |stats| stats.running == 1).await;
    drop(client);
    figures_become(&engine, |stats| stats.canceled == 1 && stats.running == 0).await;
    // What has been sent ahead does not hide that.
    let mut client = server.connect().await;
    client.write_all(request.repeat(2).as_bytes()).await.unwrap();
    figures_become(&engine, |stats| stats.running == 1).await;
    client.shutdown().await.unwrap();
    let reply = read_reply(&mut client).await;
    assert_eq!(reply.status, 499, "{}", reply.text());
    // Behind it may be the answer to the second request: that one began, too, or it did not.
    let text = reply.text();
    let canceled =
        r#"{"status":"error","errorType":"canceled","error":"query was canceled in expression evaluation"}"#;
    assert!(text.starts_with(canceled), "{text}");
    figures_become(&engine, |stats| stats.canceled >= 2 && stats.running == 0).await;
}

#[tokio::test]
async fn more_calls_than_have_turns_wait_no_longer_than_a_query_may_take() {
    let mut state = api_state();
    let api = Arc::get_mut(state.api.as_mut().unwrap()).unwrap();
    api.engine = Arc::new(Engine::new(EngineOptions {
        timeout: Duration::from_millis(100),
        ..EngineOptions::default()
    }));
    let turns = Arc::clone(&api.turns);
    let engine = Arc::clone(&api.engine);
    let server = start(config(), state).await;
    let held = turns.acquire_many_owned(4).await.unwrap();
    let reply = server.get("/api/v1/labels").await;
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.text(),
        r#"{"status":"error","errorType":"timeout","error":"query timed out in query queue"}"#
    );
    assert_eq!(server.get("/federate?match[]=g").await.status, 503);
    assert_eq!(engine.stats().timed_out, 2);
    drop(held);
    assert_eq!(server.get("/api/v1/labels").await.status, 200);
}
