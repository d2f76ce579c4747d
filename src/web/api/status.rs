//! `status/*`, and the parts of the API whose subject this program does not have yet.
//!
//! Source: Prometheus `web/api/v1`. Names in the answers are Prometheus's, also where a value is another program's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::{Value, json};

use super::json::write_json;
use super::reply::{Failure, Remarks, WriteData, success};
use super::{Api, respond};
use crate::model::{PromDuration, Timestamp};

/// Entries of a list in `status/tsdb` unless `limit` says otherwise, and the most that it may ask for.
const TSDB_LIMIT: usize = 10;
const TSDB_MOST: usize = 10_000;

/// What a reload changes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<Loaded>>);

#[derive(Debug, Default)]
struct Loaded {
    config: String,
    successful: bool,
    at: Timestamp,
}

impl Status {
    /// A configuration is in force; its text without secrets.
    pub fn config_loaded(&self, text: &str, at: Timestamp) {
        *self.lock() = Loaded { config: text.to_owned(), successful: true, at };
    }

    /// An attempt to reload ended.
    pub fn reloaded(&self, successful: bool) {
        self.lock().successful = successful;
    }

    /// Whether what the file says is in force; also before anything was loaded.
    pub(super) fn is_loaded(&self) -> bool {
        let loaded = self.lock();
        loaded.successful || loaded.at == Timestamp::default()
    }

    fn lock(&self) -> MutexGuard<'_, Loaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /api/v1/status/config`
pub(super) async fn config(State(api): State<Arc<Api>>) -> Response {
    success(&json!({ "yaml": api.status.lock().config }))
}

/// `GET /api/v1/status/runtimeinfo`
pub(super) async fn runtime(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, _| {
        let (successful, at) = {
            let loaded = api.status.lock();
            (loaded.successful, loaded.at)
        };
        let facts = &api.facts;
        Ok(answer(json!({
            "startTime": rfc3339(facts.started),
            "CWD": facts.directory,
            "hostname": rustix::system::uname().nodename().to_string_lossy(),
            "serverTime": rfc3339((api.now)()),
            "reloadConfigSuccess": successful,
            "lastConfigTime": rfc3339(at),
            "corruptionCount": api.store.stats().damaged_pages,
            // There are no goroutines; threads are the nearest thing.
            "goroutineCount": threads(),
            "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "GOMEMLIMIT": 0,
            "GOGC": "",
            "GODEBUG": "",
            "storageRetention": PromDuration::new(facts.retention).to_string(),
        })))
    })
    .await
}

fn answer(data: Value) -> (Remarks, WriteData) {
    (Remarks::default(), Box::new(move |out: &mut dyn std::io::Write| write_json(out, &data)))
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| String::new(), |at| at.to_string())
}

/// `GET /api/v1/status/tsdb`
pub(super) async fn tsdb(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let limit = match params.get("limit") {
            "" => TSDB_LIMIT,
            text => match text.parse() {
                Ok(limit @ 1..) => usize::min(limit, TSDB_MOST),
                _ => return Err(Failure::bad_data("limit must be a positive number")),
            },
        };
        let stats = api.store.stats();
        let time = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_millis);
        let head = json!({
            "numSeries": stats.series,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.head_blocks as u64 + stats.pages,
            "minTime": time(stats.min_time),
            "maxTime": time(stats.max_time),
        });
        let found = api.store.cardinality(limit);
        let list = |rows: Vec<(String, u64)>| {
            rows.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Value>()
        };
        Ok(answer(json!({
            "headStats": head,
            "seriesCountByMetricName": list(found.series_by_metric_name),
            "labelValueCountByLabelName": list(found.values_by_label_name),
            "memoryInBytesByLabelName": list(found.bytes_by_label_name),
            "seriesCountByLabelValuePair": list(found.series_by_label_pair),
        })))
    })
    .await
}

/// `GET /api/v1/status/walreplay`: whoever can ask has missed it, for the log is read before the first request.
pub(super) async fn log_replay() -> Response {
    success(&json!({ "min": 0, "max": 0, "current": 0 }))
}

/// `GET /api/v1/status/buildinfo`
pub(super) async fn build(State(api): State<Arc<Api>>) -> Response {
    success(&api.facts.build)
}

/// `GET /api/v1/status/flags`
pub(super) async fn flags(State(api): State<Arc<Api>>) -> Response {
    success(&api.facts.flags)
}

/// `GET /api/v1/alertmanagers`. A reload holds the list while the store tells what is owed.
pub(super) async fn alertmanagers(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, _| {
        let found = api.notifier.alertmanagers();
        let list = |urls: Vec<String>| urls.into_iter().map(|url| json!({ "url": url })).collect::<Value>();
        let (active, dropped) = (list(found.active), list(found.dropped));
        Ok(answer(json!({ "activeAlertmanagers": active, "droppedAlertmanagers": dropped })))
    })
    .await
}
