//! `POST /api/v1/write`: samples that others push, by Remote-Write 1.0 or 2.0, into history.
//!
//! Invariants: the bodies of at most [`MOST_AT_ONCE`] requests are in memory, each bounded before and after
//! decompression; what is taken is in the file when the answer says so; samples carry their own instants, so that no
//! series ends by not being sent again. What is wrong with some samples holds up no others, also in 1.0, where
//! Prometheus takes back the whole request; the status is the same.
//!
//! Source: Prometheus `storage/remote/write_handler.go` for status codes and texts.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::Limits;
use super::body::{self, BodyLimits};
use super::origin::{self, is_foreign};
use super::pages::{method_not_allowed, text};
use crate::model::{Row, Timestamp};
use crate::remote_write::Protocol;
use crate::remote_write::receive::{ReceiveError, Received, check_coding, protocol_of, receive};
use crate::store::{Appended, Store, StoreError};
use crate::tasks;

/// Requests whose bodies are in memory at once; others wait as long as a body may take.
const MOST_AT_ONCE: usize = 4;

/// How far in the future a sample may lie; Prometheus's.
const MOST_AHEAD: Duration = Duration::from_secs(600);

/// Name of the source in the store.
const SOURCE: &str = "remote_write";

/// What the route acts on.
#[derive(Clone, Debug)]
pub struct WriteApi {
    /// Where samples go.
    pub store: Store,
    /// How long samples are kept: older ones are not taken.
    pub retention: Duration,
    /// Largest body, before and after decompression.
    pub max_body_bytes: usize,
    /// Own metrics; the caller registers them.
    pub metrics: WriteMetrics,
}

/// What is left out, counted. Samples that the store refuses are in the store's own metrics.
#[derive(Clone, Debug, Default)]
pub struct WriteMetrics {
    invalid: Counter,
    out_of_bounds: Counter,
    histograms: Counter,
    exemplars: Counter,
}

impl WriteMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            (
                "prometheus_api_remote_write_invalid_labels_samples",
                "Received samples left out because of their series' labels",
                &self.invalid,
            ),
            (
                "outrigger_remote_write_received_out_of_bounds",
                "Received samples left out: older than the history, or too far in the future",
                &self.out_of_bounds,
            ),
            (
                "outrigger_remote_write_received_histograms_dropped",
                "Received samples of native histograms, which are not kept",
                &self.histograms,
            ),
            (
                "outrigger_remote_write_received_exemplars_dropped",
                "Received exemplars, which are not kept",
                &self.exemplars,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
    }
}

struct Writes {
    api: Option<WriteApi>,
    now: fn() -> Timestamp,
    external_url: Uri,
    turns: Arc<Semaphore>,
    limits: BodyLimits,
}

/// The route. It reads bodies itself. Without `api` it says how to switch it on.
pub(super) fn router<S: Clone + Send + Sync + 'static>(
    api: Option<WriteApi>,
    now: fn() -> Timestamp,
    external_url: &Uri,
    limits: &Limits,
) -> Router<S> {
    let mut limits = BodyLimits::from(limits);
    limits.bytes = api.as_ref().map_or(limits.bytes, |api| api.max_body_bytes);
    let turns = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let writes = Arc::new(Writes { api, now, external_url: external_url.clone(), turns, limits });
    Router::new()
        .route("/api/v1/write", post(write))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(writes)
}

async fn write(State(writes): State<Arc<Writes>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let Some(api) = writes.api.clone() else {
        if let Err(refusal) = body::read(&mut body, writes.limits).await {
            return refusal;
        }
        let message = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";
        return text(StatusCode::NOT_FOUND, message);
    };
    let busy = format!("More than {MOST_AT_ONCE} writes at once, try again later.\n");
    let read = body::read_in_turn(&mut body, writes.limits, &writes.turns, busy).await;
    let (body, turn) = match read {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    if is_foreign(&head.headers, &head.uri, &writes.external_url) {
        return origin::refused();
    }
    // It is not dropped with the connection: a request is taken whole.
    let work = tasks::blocking(move || {
        let response = api.write(&head.headers, &body, (writes.now)());
        drop(turn);
        response
    });
    work.await.unwrap_or_else(|error| {
        warn!(%error, "A remote write was not handled");
        text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n")
    })
}

/// What is to be said, and the samples that were taken.
type Judged = Result<u64, (StatusCode, String, u64)>;

impl WriteApi {
    fn write(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Response {
        let value = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let read = protocol_of(value(header::CONTENT_TYPE)).and_then(|protocol| {
            check_coding(value(header::CONTENT_ENCODING))?;
            Ok((protocol, receive(protocol, body, self.max_body_bytes)?))
        });
        let (protocol, received) = match read {
            Ok(read) => read,
            Err(error) => return refused(status_of(&error), &error.to_string()),
        };
        let judged = self.take(protocol, received, now);
        let (mut response, written) = match judged {
            Ok(written) => (StatusCode::NO_CONTENT.into_response(), written),
            Err((status, message, written)) => (refused(status, &message), written),
        };
        if protocol == Protocol::V2 {
            for (name, count) in [("samples", written), ("histograms", 0), ("exemplars", 0)] {
                let name = HeaderName::try_from(format!("x-prometheus-remote-write-{name}-written"));
                if let Ok(name) = name {
                    response.headers_mut().insert(name, HeaderValue::from(count));
                }
            }
        }
        response
    }

    fn take(&self, protocol: Protocol, received: Received, now: Timestamp) -> Judged {
        let Received { mut rows, wrong, wrong_samples, histograms, exemplars } = received;
        let metrics = &self.metrics;
        metrics.invalid.inc_by(wrong_samples as u64);
        metrics.histograms.inc_by(histograms as u64);
        metrics.exemplars.inc_by(exemplars as u64);
        let all = rows.len();
        self.keep_within_bounds(&mut rows, now);
        let out_of_bounds = all - rows.len();
        metrics.out_of_bounds.inc_by(out_of_bounds as u64);
        let appended = if rows.is_empty() {
            Appended::default()
        } else {
            self.store.source(SOURCE).append(now, &rows).map_err(|error| {
                let status = match error {
                    StoreError::Paused(_) => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, error.to_string(), 0)
            })?
        };
        // A sample that is there already, as it is, was written before.
        let written = appended.added + appended.repeated;
        let mut faults = Vec::new();
        let mut fault = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{what} ({count} of {all} samples)"));
            }
        };
        fault(appended.out_of_order, "out of order sample");
        fault(appended.duplicate, "duplicate sample for timestamp");
        fault(out_of_bounds as u64, "out of bounds");
        fault(appended.over_limit, "series limit reached (storage.max_series)");
        if histograms > 0 {
            faults.push("native histograms are disabled".to_owned());
        }
        // 1.0 leaves such series out in silence.
        if protocol == Protocol::V2 {
            faults.extend(wrong);
        }
        if faults.is_empty() {
            Ok(written)
        } else {
            Err((StatusCode::BAD_REQUEST, faults.join("\n"), written))
        }
    }

    fn keep_within_bounds(&self, rows: &mut Vec<Row>, now: Timestamp) {
        let kept_ms = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let within = now.as_millis().saturating_sub(kept_ms)..=now.plus(MOST_AHEAD).as_millis();
        rows.retain(|row| row.timestamp.is_none_or(|at| within.contains(&at.as_millis())));
    }
}

const fn status_of(error: &ReceiveError) -> StatusCode {
    match error {
        ReceiveError::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ReceiveError::Malformed(_) => StatusCode::BAD_REQUEST,
        ReceiveError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

fn refused(status: StatusCode, message: &str) -> Response {
    debug!(message, "Refused a remote write, or part of it");
    text(status, Body::from(format!("{message}\n")))
}
