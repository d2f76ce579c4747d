//! What the HTTP face knows of itself, as metrics.
//!
//! Invariant: labels are bounded - a handler is a route of ours or `not_found`, a method one of the
//! nine of RFC 9110 or `other` - so no client can make series.
//!
//! Source: `promhttp` of Prometheus's Go client for the `promhttp_metric_handler_*` families, whose
//! names dashboards know.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::connection::End;

/// Upper bounds of the duration buckets, in seconds.
const DURATION_BUCKETS_SECONDS: [f64; 13] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The handler label of a path that no route has.
const NOT_FOUND: &str = "not_found";

/// The HTTP face's own metrics; clones share the values.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: Family<RequestLabels, Counter>,
    durations: Family<HandlerLabel, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    refused: Counter,
    closed: Family<ReasonLabel, Counter>,
    metrics_requests: Family<CodeLabel, Counter>,
    metrics_in_flight: Gauge,
    exposition_bytes: Gauge,
    metrics_errors: Family<CauseLabel, Counter>,
    web_config_successful: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    handler: String,
    method: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabel {
    handler: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS_SECONDS)
}

impl Default for Inner {
    fn default() -> Self {
        let inner = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(duration_histogram),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            refused: Counter::default(),
            closed: Family::default(),
            metrics_requests: Family::default(),
            metrics_in_flight: Gauge::default(),
            exposition_bytes: Gauge::default(),
            metrics_errors: Family::default(),
            web_config_successful: Gauge::default(),
        };
        // A rate needs the zero before the first error.
        for code in [200, 500, 503] {
            drop(inner.metrics_requests.get_or_create(&CodeLabel { code }));
        }
        for cause in ["encoding", "gathering"] {
            drop(inner.metrics_errors.get_or_create(&CauseLabel { cause }));
        }
        inner
    }
}

impl HttpMetrics {
    /// Adds what is ours alone to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &self.0;
        registry.register(
            "outrigger_http_requests",
            "HTTP requests answered, by route, method and status",
            inner.requests.clone(),
        );
        registry.register(
            "outrigger_http_request_duration_seconds",
            "Time from the head of a request to the head of its response, by route",
            inner.durations.clone(),
        );
        registry.register(
            "outrigger_http_requests_in_flight",
            "HTTP requests being handled now",
            inner.in_flight.clone(),
        );
        registry.register(
            "outrigger_http_connections",
            "HTTP connections open now",
            inner.connections.clone(),
        );
        registry.register(
            "outrigger_http_connections_refused",
            "HTTP connections closed on arrival because as many as allowed were busy",
            inner.refused.clone(),
        );
        registry.register(
            "outrigger_http_connections_closed",
            "HTTP connections ended, by reason",
            inner.closed.clone(),
        );
        registry.register(
            "outrigger_web_config_last_reload_successful",
            "Whether the web configuration file and its certificates were good when last read",
            inner.web_config_successful.clone(),
        );
        registry.register(
            "outrigger_exposition_bytes",
            "Size of the last exposition that was encoded, before compression",
            inner.exposition_bytes.clone(),
        );
    }

    /// Adds the `promhttp_*` families, which `--web.disable-exporter-metrics` leaves out.
    pub fn register_exporter_metrics(&self, registry: &mut Registry) {
        let inner = &self.0;
        registry.register(
            "promhttp_metric_handler_requests",
            "Scrapes answered, by status",
            inner.metrics_requests.clone(),
        );
        registry.register(
            "promhttp_metric_handler_requests_in_flight",
            "Scrapes being served now",
            inner.metrics_in_flight.clone(),
        );
        registry.register(
            "promhttp_metric_handler_errors",
            "Errors while answering scrapes, by cause",
            inner.metrics_errors.clone(),
        );
    }

    /// To be set to the size of each exposition that is encoded, before compression.
    pub(super) fn exposition_bytes(&self) -> Gauge {
        self.0.exposition_bytes.clone()
    }

    pub(super) fn connection_opened(&self) -> OpenConnection {
        OpenConnection { _open: Raised::new(&self.0.connections) }
    }

    pub(super) fn connection_closed(&self, end: End) {
        self.0.closed.get_or_create(&ReasonLabel { reason: end.as_str() }).inc();
    }

    pub(super) fn connection_refused(&self) {
        self.0.refused.inc();
    }

    /// Counts a scrape as in flight until the value is dropped.
    pub(super) fn scrape_begun(&self) -> impl Drop + Send + use<> {
        Raised::new(&self.0.metrics_in_flight)
    }

    pub(super) fn scrape_answered(&self, status: StatusCode) {
        self.0.metrics_requests.get_or_create(&CodeLabel { code: status.as_u16() }).inc();
    }

    pub(super) fn web_config_loaded(&self, good: bool) {
        self.0.web_config_successful.set(i64::from(good));
    }

    pub(super) fn encoding_failed(&self) {
        self.0.metrics_errors.get_or_create(&CauseLabel { cause: "encoding" }).inc();
    }
}

/// A connection counted as open until dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    _open: Raised,
}

/// A gauge that is one higher until this is dropped.
#[derive(Debug)]
struct Raised(Gauge);

impl Raised {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts and times every request; the outermost layer of the router.
pub(super) async fn observe(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let in_flight = Raised::new(&metrics.0.in_flight);
    let handler = request.extensions().get::<MatchedPath>().map_or(NOT_FOUND, MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let begun = Instant::now();
    let response = next.run(request).await;
    let took = begun.elapsed().as_secs_f64();
    drop(in_flight);
    let labels = RequestLabels { handler: handler.clone(), method, code: response.status().as_u16() };
    metrics.0.requests.get_or_create(&labels).inc();
    metrics.0.durations.get_or_create(&HandlerLabel { handler }).observe(took);
    response
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "DELETE" => "delete",
        "PATCH" => "patch",
        "OPTIONS" => "options",
        "CONNECT" => "connect",
        "TRACE" => "trace",
        _ => "other",
    }
}
