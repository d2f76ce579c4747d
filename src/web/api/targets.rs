//! `targets`, `targets/metadata`, `scrape_pools`, `metadata`.
//!
//! Source: Prometheus `web/api/v1/api.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::{Value, json};

use super::json::write_json;
use super::params::{Params, invalid};
use super::reply::{Failure, Remarks, WriteData};
use super::status::rfc3339;
use super::{Api, respond};
use crate::collect::Selection;
use crate::model::{Kind, Labels, Matcher, PromDuration, Timestamp};
use crate::promql;
use crate::scrape::{MetricMetadata, PoolSnapshot, TargetSnapshot};

/// What Go prints for an instant that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// How long the machine's own metrics may take to be gathered for their metadata.
const GATHER_BUDGET: Duration = Duration::from_secs(5);

/// `GET /api/v1/targets`
pub(super) async fn targets(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let pool = params.get("scrapePool");
        let mut pools = api.targets.targets();
        pools.retain(|p| pool.is_empty() || p.name == pool);
        let state = params.get("state").to_ascii_lowercase();
        let (active, dropped) = match state.as_str() {
            "active" => (true, false),
            "dropped" => (false, true),
            "" | "any" => (true, true),
            _ => (false, false),
        };
        let mut answer =
            json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": Value::Null });
        if active {
            put(
                &mut answer,
                "activeTargets",
                pools.iter().flat_map(|p| &p.active).map(|t| target(api, t)).collect(),
            );
        }
        if dropped {
            let all = pools.iter().flat_map(|p| p.dropped.iter().map(move |labels| (labels, &p.name)));
            let shown =
                all.map(|(labels, pool)| json!({ "discoveredLabels": map(labels), "scrapePool": pool }));
            put(&mut answer, "droppedTargets", shown.collect());
            let counts = |p: &PoolSnapshot| (p.name.clone(), Value::from(p.dropped_count));
            put(&mut answer, "droppedTargetCounts", Value::Object(pools.iter().map(counts).collect()));
        }
        Ok((Remarks::default(), written(answer)))
    })
    .await
}

/// `GET /api/v1/scrape_pools`
pub(super) async fn pools(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, _| {
        Ok((Remarks::default(), written(json!({ "scrapePools": api.targets.pool_names() }))))
    })
    .await
}

/// `GET /api/v1/targets/metadata`
pub(super) async fn targets_metadata(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let matchers: Vec<Matcher> = match params.get("match_target") {
            "" => Vec::new(),
            text => {
                promql::parse_selector(text).map_err(|error| invalid("match_target", &error.to_string()))?
            }
        };
        let limit = limit_of(params, "limit", "limit must be a number")?;
        let metric = Some(params.get("metric")).filter(|name| !name.is_empty());
        let found = api.targets.metadata(|labels| Matcher::all_match(&matchers, labels), metric);
        let shown = found.iter().take(limit).map(|found| {
            let mut row = shown_metadata(&found.metadata);
            put(&mut row, "target", map(&found.target));
            if metric.is_none() {
                put(&mut row, "metric", Value::from(found.metric.as_str()));
            }
            row
        });
        let shown: Vec<Value> = shown.collect();
        Ok((Remarks::default(), written(Value::from(shown))))
    })
    .await
}

/// `GET /api/v1/metadata`
pub(super) async fn metadata(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let own = own_metadata(&api).await;
    respond(&api, request, move |api, params| {
        let limit = limit_of(params, "limit", "limit must be a number")?;
        let per_metric = match limit_of(params, "limit_per_metric", "limit_per_metric must be a number")? {
            // Of this one zero is "all", too.
            0 => usize::MAX,
            limit => limit,
        };
        let metric = Some(params.get("metric")).filter(|name| !name.is_empty());
        let targets = api.targets.metadata(|_| true, metric);
        let targets = targets.into_iter().map(|found| (found.metric, found.metadata));
        let own = own.into_iter().filter(|(name, _)| metric.is_none_or(|wanted| wanted == name));
        let mut metrics: BTreeMap<String, BTreeSet<(&'static str, String, String)>> = BTreeMap::new();
        for (name, found) in targets.chain(own) {
            let known = metrics.len();
            let entry = match metrics.entry(name) {
                std::collections::btree_map::Entry::Vacant(_) if known >= limit => continue,
                entry => entry.or_default(),
            };
            entry.insert((type_name(found.kind), found.help, found.unit));
        }
        let shown =
            |(kind, help, unit): &(&str, String, String)| json!({ "type": kind, "help": help, "unit": unit });
        let answer = metrics.iter().map(|(name, rows)| {
            (name.clone(), Value::from(rows.iter().take(per_metric).map(shown).collect::<Vec<_>>()))
        });
        Ok((Remarks::default(), written(Value::Object(answer.collect()))))
    })
    .await
}

/// What this machine's own metrics are.
async fn own_metadata(api: &Api) -> Vec<(String, MetricMetadata)> {
    let engine = api.collect.load_full();
    let snapshot = engine.gather((api.now)(), &Selection::All, GATHER_BUDGET).await;
    let families = snapshot.families();
    let metadata = families.map(|family| {
        let (help, unit) = (family.help().to_owned(), family.unit().to_owned());
        (family.name().to_owned(), MetricMetadata { kind: family.kind(), help, unit })
    });
    metadata.collect()
}

fn target(api: &Api, target: &TargetSnapshot) -> Value {
    let duration = |duration| PromDuration::new(duration).to_string();
    json!({
        "discoveredLabels": map(&target.discovered),
        "labels": map(target.labels()),
        "scrapePool": target.pool(),
        "scrapeUrl": target.url(),
        "globalUrl": target.global_url(&api.facts.external_url, api.facts.port),
        "lastError": target.last.error,
        "lastScrape": target.last.at.map_or_else(|| NEVER.to_owned(), |at: Timestamp| rfc3339(at)),
        "lastScrapeDuration": target.last.duration.as_secs_f64(),
        "health": target.last.health.as_str(),
        "scrapeInterval": duration(target.interval),
        "scrapeTimeout": duration(target.timeout),
    })
}

fn map(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn shown_metadata(metadata: &MetricMetadata) -> Value {
    json!({ "type": type_name(metadata.kind), "help": metadata.help, "unit": metadata.unit })
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::GaugeHistogram => "gaugehistogram",
        Kind::Summary => "summary",
        Kind::Info => "info",
        Kind::StateSet => "stateset",
        Kind::Untyped => "unknown",
    }
}

/// A limit that means "all" when it is missing or negative; zero is zero, as in Prometheus.
fn limit_of(params: &Params, name: &str, wrong: &str) -> Result<usize, Failure> {
    match params.get(name) {
        "" => Ok(usize::MAX),
        text => match text.parse::<i64>() {
            // One that is negative does not fit.
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(_) => Err(Failure::bad_data(wrong)),
        },
    }
}

fn written(answer: Value) -> WriteData {
    Box::new(move |out| write_json(out, &answer))
}
