//! Prometheus's HTTP API, `/api/v1/*`, and `/federate`; beside them what only this program has: `events`,
//! `health`, `scorecard`, `slos`.
//!
//! Invariants: what takes time - evaluating, reading the store, writing the answer - runs on blocking threads; a
//! query whose client leaves is cancelled; an answer's size is not held in memory (see [`reply`]). So many calls at most
//! are on threads at once; the others wait without one, so that whoever else needs a thread finds one.
//!
//! Source: Prometheus documentation, "HTTP API", and `web/api/v1`.

mod acknowledge;
mod admin;
mod change;
mod cors;
mod events;
mod federate;
mod health;
mod json;
mod params;
mod query;
mod reply;
mod rules;
mod scorecard;
mod series;
mod slos;
mod status;
mod targets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodFilter, any, on};
use regex::Regex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use self::json::shown_value;
pub use self::params::Forms;
use self::params::Params;
use self::reply::{Failure, Remarks, WriteData};
use crate::expose::{self, ContentEncoding};
use crate::model::{Labels, Queryable, Timestamp};
use crate::promql::{Engine, ParseOptions};

pub use self::query::write_query_data;
pub use self::status::Status;
use crate::collect::Engine as CollectEngine;
use crate::events::EventLog;
use crate::notify::Notifier;
use crate::rules::RuleManager;
use crate::scorecard::Scoreboard;
use crate::scrape::TargetManager;
use crate::slo::Books;
use crate::store::Store;
use crate::tasks;
use crate::web::pages::not_found;

/// What the API shows and asks.
pub struct Api {
    /// The history.
    pub history: Arc<dyn Queryable>,
    /// The store below it, for its figures.
    pub store: Store,
    /// What is evaluated.
    pub rules: Arc<RuleManager>,
    /// How budgets stand.
    pub slos: Arc<Books>,
    /// What others have posted.
    pub events: EventLog,
    /// How the pillars stand.
    pub scorecard: Scoreboard,
    /// Who is scraped.
    pub targets: Arc<TargetManager>,
    /// Who is told about alerts.
    pub notifier: Arc<Notifier>,
    /// The machine's own metrics, for their metadata.
    pub collect: Arc<ArcSwap<CollectEngine>>,
    /// Whether series may be deleted and snapshots taken.
    pub admin: bool,
    /// How the configuration fares.
    pub status: Status,
    /// What evaluates queries.
    pub engine: Arc<Engine>,
    /// What of the language is switched on.
    pub parse_options: ParseOptions,
    /// Added to what `/federate` hands out; a reload changes them.
    pub external_labels: Arc<ArcSwap<Labels>>,
    /// The wall clock, for queries without a time.
    pub now: fn() -> Timestamp,
    /// What `status/*` tells.
    pub facts: Facts,
    /// Pages of which origins may read answers (`--web.cors.origin`); fits the whole origin. `None`: of none.
    pub cors_origin: Option<Regex>,
    /// What forms in bodies may take.
    pub forms: Forms,
    /// Turns of calls on blocking threads: more than queries at once, fewer than there are threads.
    pub turns: Arc<Semaphore>,
}

impl Api {
    /// Waits for a turn, as long as a query may take.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(self.engine.options().timeout, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(query::failure(&self.engine.too_late())),
        }
    }
}

/// What does not change while the program runs, for `status/*`.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Version, revision, branch and so on, as `status/buildinfo` names them.
    pub build: BTreeMap<&'static str, String>,
    /// Flags with their values in force.
    pub flags: BTreeMap<String, String>,
    /// When the program started.
    pub started: Timestamp,
    /// Its working directory.
    pub directory: PathBuf,
    /// How long samples are kept.
    pub retention: Duration,
    /// Where they are kept; `None`: in memory.
    pub storage_path: Option<PathBuf>,
    /// Where others reach this program.
    pub external_url: Uri,
    /// The port that it listens on.
    pub port: u16,
}

/// All routes below `/api/v1`.
pub(super) fn router<S: Clone + Send + Sync + 'static>(api: Arc<Api>) -> Router<S> {
    // OPTIONS is answered by the layer.
    let get = MethodFilter::GET.or(MethodFilter::OPTIONS);
    let get_or_post = get.or(MethodFilter::POST);
    let post = MethodFilter::POST.or(MethodFilter::OPTIONS);
    let post_or_put = MethodFilter::POST.or(MethodFilter::PUT).or(MethodFilter::OPTIONS);
    let origins = cors::Origins::new(api.cors_origin.as_ref());
    Router::new()
        .route("/api/v1/query", on(get_or_post, query::instant))
        .route("/api/v1/query_range", on(get_or_post, query::range))
        .route("/api/v1/query_exemplars", on(get_or_post, query::exemplars))
        .route("/api/v1/format_query", on(get_or_post, query::format))
        .route("/api/v1/parse_query", on(get_or_post, query::parse))
        .route("/api/v1/series", on(get_or_post, series::series))
        .route("/api/v1/labels", on(get_or_post, series::labels))
        .route("/api/v1/label/{name}/values", on(get, series::label_values))
        .route("/api/v1/rules", on(get, rules::rules))
        .route("/api/v1/alerts", on(get, rules::alerts))
        .route("/api/v1/alerts/ack", on(post, acknowledge::acknowledge))
        .route("/api/v1/alerts/unack", on(post, acknowledge::take_back))
        .route("/api/v1/health", on(get, health::health))
        .route("/api/v1/events", on(get, events::list).on(MethodFilter::POST, events::post))
        .route("/api/v1/events/{id}", on(MethodFilter::DELETE.or(MethodFilter::OPTIONS), events::delete))
        .route("/api/v1/slos", on(get, slos::slos))
        .route("/api/v1/scorecard", on(get, scorecard::scorecard))
        .route("/api/v1/alertmanagers", on(get, status::alertmanagers))
        .route("/api/v1/status/buildinfo", on(get, status::build))
        .route("/api/v1/status/config", on(get, status::config))
        .route("/api/v1/status/runtimeinfo", on(get, status::runtime))
        .route("/api/v1/status/tsdb", on(get, status::tsdb))
        .route("/api/v1/status/flags", on(get, status::flags))
        .route("/api/v1/status/walreplay", on(get, status::log_replay))
        .route("/api/v1/targets", on(get, targets::targets))
        .route("/api/v1/targets/metadata", on(get, targets::targets_metadata))
        .route("/api/v1/scrape_pools", on(get, targets::pools))
        .route("/api/v1/metadata", on(get, targets::metadata))
        .route("/api/v1/admin/tsdb/delete_series", on(post_or_put, admin::delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", on(post_or_put, admin::clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", on(post_or_put, admin::snapshot))
        .route("/federate", on(get, federate::federate))
        // A preflight is answered for whatever path.
        .route("/api/v1/{*path}", any(not_found))
        .layer(from_fn_with_state(origins, cors::cross_origin))
        .with_state(api)
}

/// Reads the parameters, computes on a blocking thread and streams the answer.
async fn respond<F>(api: &Arc<Api>, request: Request<Body>, compute: F) -> Response
where
    F: FnOnce(&Api, &Params) -> Result<(Remarks, WriteData), Failure> + Send + 'static,
{
    respond_to(api, request, Box::new(compute)).await
}

/// What an answer is computed by.
type Compute = Box<dyn FnOnce(&Api, &Params) -> Result<(Remarks, WriteData), Failure> + Send>;

/// Of one type, so that it is in the binary once and not for each kind of answer.
async fn respond_to(api: &Arc<Api>, request: Request<Body>, compute: Compute) -> Response {
    let encoding = accepted_encoding(request.headers());
    let params = match Params::read(request, &api.forms).await {
        Ok(params) => params,
        Err(failure) => return failure.into_response(),
    };
    let turn = match api.turn().await {
        Ok(turn) => turn,
        Err(failure) => return failure.into_response(),
    };
    let (head, response) = oneshot::channel();
    let api = Arc::clone(api);
    tasks::blocking(move || {
        let _turn = turn;
        match compute(&api, &params) {
            Ok((remarks, write)) => reply::stream_success(head, encoding, &remarks, write),
            Err(failure) => drop(head.send(failure.into_response())),
        }
    });
    response.await.unwrap_or_else(|_| Failure::internal("the answer was not made").into_response())
}

fn accepted_encoding(headers: &HeaderMap) -> ContentEncoding {
    let values: Vec<&str> =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).collect();
    expose::negotiate_encoding((!values.is_empty()).then(|| values.join(", ")).as_deref())
}
