//! The Pushgateway's API: pushes, deletions, what is held, the status.
//!
//! Invariants: the bodies of at most [`MOST_AT_ONCE`] pushes are in memory, each bounded before and after
//! decompression; what a push costs is paid on a blocking thread, and goes on when the client leaves.
//!
//! Source: the Pushgateway's README for paths, status codes and JSON; `tests/peers/pushgateway.py` for the rest.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on, put};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::Limits;
use super::body::{self, BodyLimits};
use super::origin::{self, is_foreign};
use super::pages::{method_not_allowed, text};
use crate::expose::{DecompressError, decompress};
use crate::model::{PromDuration, Timestamp};
use crate::scrape::push::{Grouping, Push, PushError, PushFormat, PushGateway, PushMode};
use crate::tasks;

/// Pushes whose bodies are in memory at once; others wait as long as a body may take.
const MOST_AT_ONCE: usize = 8;

/// What the routes of the Pushgateway act on.
#[derive(Clone, Debug)]
pub struct PushApi {
    /// The groups.
    pub gateway: Arc<PushGateway>,
    /// Whether `PUT /api/v1/admin/wipe` is there.
    pub admin: bool,
    /// Facts about this build, for the status.
    pub build: Vec<(&'static str, String)>,
    /// Settings with their values, for the status.
    pub flags: Vec<(&'static str, String)>,
    /// When the program was started.
    pub started: Timestamp,
}

/// What a handler needs.
struct Pushes {
    api: PushApi,
    now: fn() -> Timestamp,
    external_url: Uri,
    turns: Arc<Semaphore>,
    limits: BodyLimits,
}

/// The routes. They read bodies themselves.
pub(super) fn router<S: Clone + Send + Sync + 'static>(
    api: PushApi,
    now: fn() -> Timestamp,
    external_url: &Uri,
    limits: &Limits,
) -> Router<S> {
    let limits = BodyLimits { bytes: api.gateway.settings().max_body_bytes, ..BodyLimits::from(limits) };
    let admin = api.admin;
    let turns = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let pushes = Arc::new(Pushes { api, now, external_url: external_url.clone(), turns, limits });
    let methods = || on(MethodFilter::PUT.or(MethodFilter::POST).or(MethodFilter::DELETE), change);
    let mut router = Router::new()
        .route("/metrics/job/{*grouping}", methods())
        .route("/metrics/job@base64/{*grouping}", methods())
        .route("/api/v1/metrics", get(groups))
        .route("/api/v1/status", get(status));
    if admin {
        router = router.route("/api/v1/admin/wipe", put(wipe));
    }
    router.method_not_allowed_fallback(method_not_allowed).with_state(pushes)
}

async fn change(State(pushes): State<Arc<Pushes>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let busy = format!("More than {MOST_AT_ONCE} pushes at once, try again later.\n");
    let read = body::read_in_turn(&mut body, pushes.limits, &pushes.turns, busy).await;
    let (body, turn) = match read {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    if is_foreign(&head.headers, &head.uri, &pushes.external_url) {
        return origin::refused();
    }
    if head.uri.path().contains("//") {
        return cleaned(&head.uri);
    }
    // It is not dropped with the connection: a push is taken whole.
    let work = tasks::blocking(move || {
        let response = pushes.change(&head.method, &head.uri, &head.headers, &body);
        drop(turn);
        response
    });
    work.await.unwrap_or_else(|error| {
        warn!(%error, "A push was not handled");
        text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n")
    })
}

impl Pushes {
    fn change(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
        let grouping = match Grouping::from_path(uri.path()) {
            Ok(grouping) => grouping,
            Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let mode = match *method {
            Method::DELETE => {
                self.api.gateway.delete(&grouping);
                return StatusCode::ACCEPTED.into_response();
            }
            Method::POST => PushMode::ReplaceFamilies,
            _ => PushMode::ReplaceGroup,
        };
        match self.push(&grouping, mode, uri, headers, body) {
            Ok(()) => StatusCode::OK.into_response(),
            Err((status, message)) => refused(status, &message),
        }
    }

    fn push(
        &self,
        grouping: &Grouping,
        mode: PushMode,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), (StatusCode, String)> {
        let header = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let ttl = ttl(uri).map_err(|message| (StatusCode::BAD_REQUEST, message))?;
        let coding = header(header::CONTENT_ENCODING);
        let unpacked = match coding {
            "" => None,
            coding => Some(decompress(coding, body, self.limits.bytes).map_err(undecodable)?),
        };
        let push = Push {
            grouping,
            mode,
            body: unpacked.as_deref().unwrap_or(body),
            format: PushFormat::from_content_type(header(header::CONTENT_TYPE)),
            ttl,
        };
        self.api.gateway.push(&push, (self.now)()).map_err(|error| (status_of(&error), error.to_string()))
    }
}

const fn status_of(error: &PushError) -> StatusCode {
    match error {
        PushError::Format(_) | PushError::Inconsistent(_) => StatusCode::BAD_REQUEST,
        PushError::TooManyGroups(_) | PushError::TooManySeries(_) => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

fn undecodable(error: DecompressError) -> (StatusCode, String) {
    let status = match error {
        DecompressError::Unknown(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DecompressError::Broken { .. } => StatusCode::BAD_REQUEST,
        DecompressError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    (status, error.to_string())
}

fn refused(status: StatusCode, message: &str) -> Response {
    debug!(message, "Refused a push");
    text(status, format!("{message}\n"))
}

/// `?ttl=10m`, our own addition: the group vanishes when no push follows in time; `0s`: it stays.
fn ttl(uri: &Uri) -> Result<Option<Duration>, String> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err("the query of the URL cannot be read".to_owned());
    };
    let Some((_, ttl)) = pairs.iter().find(|(name, _)| name == "ttl") else { return Ok(None) };
    let ttl = ttl.parse::<PromDuration>().map_err(|error| format!("invalid ttl: {error}"))?;
    Ok(Some(ttl.get()))
}

/// Go's servers redirect to the path without empty parts.
fn cleaned(uri: &Uri) -> Response {
    let mut path = String::with_capacity(uri.path().len());
    for c in uri.path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, path)]).into_response()
}

async fn groups(State(pushes): State<Arc<Pushes>>) -> Response {
    let work = tasks::blocking(move || {
        let data = pushes.api.gateway.groups((pushes.now)());
        json!({ "status": "success", "data": data }).to_string()
    });
    work.await.map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), json_body)
}

async fn status(State(pushes): State<Arc<Pushes>>) -> Response {
    let api = &pushes.api;
    let map = |pairs: &[(&'static str, String)]| -> serde_json::Map<String, serde_json::Value> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect()
    };
    let started = jiff::Timestamp::from_millisecond(api.started.as_millis());
    let data = json!({
        "build_information": map(&api.build),
        "flags": map(&api.flags),
        "start_time": started.map(|at| at.to_string()).unwrap_or_default(),
    });
    json_body(json!({ "status": "success", "data": data }).to_string())
}

async fn wipe(State(pushes): State<Arc<Pushes>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    // Read in any case: the connection goes on.
    if let Err(refusal) = body::read(&mut body, pushes.limits).await {
        return refusal;
    }
    if is_foreign(&head.headers, &head.uri, &pushes.external_url) {
        return origin::refused();
    }
    let work = tasks::blocking(move || pushes.api.gateway.wipe());
    work.await.map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::ACCEPTED).into_response()
}

fn json_body(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
