//! `/metrics`: which collectors, within what time, in which format - and one body for all who ask
//! for the same at once.
//!
//! Invariants: gathering and encoding go on when the client leaves (others may be waiting for the
//! same pass), yet never more than `max_requests` at once; compression and the encoding of many series run on
//! blocking threads; a body is encoded once per snapshot, format and compression.
//!
//! Source: node_exporter's handler for `collect[]` and `exclude[]` and their errors, `promhttp` for
//! the limit, blackbox_exporter for the scrape timeout and its offset.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OnceCell, Semaphore};
use tracing::{debug, warn};

use super::pages::text;
use super::{HttpMetrics, Limits, WebState};
use crate::collect::{Engine, Selection, specs};
use crate::expose::{self, Compressor, ContentEncoding, Format, Template};
use crate::model::{Batch, Kind, Snapshot, Timestamp};
use crate::scrape::push::PushGateway;
use crate::tasks;

/// Prometheus says here how long it will wait, in seconds.
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// Kept of the scraper's time for encoding and the network, as blackbox_exporter does; at most half.
const TIMEOUT_OFFSET: Duration = Duration::from_millis(500);

/// A pass is cut short for all who wait for it when the time of one of them is up. One who gives it next
/// to none must not make slow collectors fail for the others.
const LEAST_BUDGET: Duration = Duration::from_millis(250);

/// Encoded bodies kept: two selections in four combinations of format and compression.
const MAX_ENCODED: usize = 8;

/// A snapshot of no more series is encoded where it is: that takes less than handing it to another thread
/// and back (about 0.1 microseconds a series).
const INLINE_SERIES: usize = 2_000;

/// Last expositions kept, from which the next are made: two scrapers may differ in format or selection.
const MAX_TEMPLATES: usize = 2;

/// Buffers of forgotten bodies, and compressors, kept for the next encoding.
const MAX_SPARE: usize = 2;

/// What answers `/metrics`.
pub(super) struct Scrapes {
    engine: Arc<arc_swap::ArcSwap<Engine>>,
    now: fn() -> Timestamp,
    metrics: HttpMetrics,
    limits: Limits,
    turns: Arc<Semaphore>,
    encoded: Arc<EncodedBodies>,
    /// Pushed metrics that are shown beside what is gathered.
    pushed: Option<Arc<PushGateway>>,
}

impl Scrapes {
    pub(super) fn new(state: &WebState, limits: &Limits) -> Arc<Self> {
        let turns = match limits.max_requests {
            0 => Semaphore::MAX_PERMITS,
            limit => limit.min(Semaphore::MAX_PERMITS),
        };
        Arc::new(Self {
            engine: Arc::clone(&state.engine),
            now: state.now,
            metrics: state.metrics.clone(),
            limits: limits.clone(),
            turns: Arc::new(Semaphore::new(turns)),
            pushed: shown_pushes(state),
            encoded: Arc::new(EncodedBodies {
                kept: Mutex::default(),
                exposition_bytes: state.metrics.exposition_bytes(),
            }),
        })
    }
}

/// The handler.
pub(super) async fn metrics(State(scrapes): State<Arc<Scrapes>>, uri: Uri, headers: HeaderMap) -> Response {
    let engine = scrapes.engine.load_full();
    let selection = match selection(&uri, &engine) {
        Ok(selection) => selection,
        Err(message) => {
            debug!(message, "Refused a scrape");
            return text(StatusCode::BAD_REQUEST, message);
        }
    };
    let in_flight = scrapes.metrics.scrape_begun();
    let response = scrape(&scrapes, engine, selection, &headers).await;
    drop(in_flight);
    scrapes.metrics.scrape_answered(response.status());
    response
}

async fn scrape(
    scrapes: &Scrapes,
    engine: Arc<Engine>,
    selection: Selection,
    headers: &HeaderMap,
) -> Response {
    let (begun, budget) = (Instant::now(), budget(headers));
    let turn = Arc::clone(&scrapes.turns).acquire_owned();
    let Ok(Ok(turn)) = tokio::time::timeout(scrapes.limits.max_requests_wait.min(budget), turn).await else {
        let limit = scrapes.limits.max_requests;
        let message = format!("Limit of concurrent requests reached ({limit}), try again later.\n");
        return text(StatusCode::SERVICE_UNAVAILABLE, message);
    };
    let format = expose::negotiate(joined(headers, &header::ACCEPT).as_deref());
    let encoding = expose::negotiate_encoding(joined(headers, &header::ACCEPT_ENCODING).as_deref());
    let (now, encoded) = (scrapes.now, Arc::clone(&scrapes.encoded));
    // Who names collectors wants those and nothing else.
    let pushed = scrapes.pushed.clone().filter(|_| matches!(selection, Selection::All));
    // A task of its own: were it dropped with the connection, the pass would be cut for all.
    let work = tokio::spawn(async move {
        let snapshot = engine.gather(now(), &selection, budget.saturating_sub(begun.elapsed())).await;
        let snapshot = match pushed.filter(|pushed| !pushed.is_empty()) {
            Some(pushed) => with_pushed(snapshot, pushed, now()).await?,
            None => snapshot,
        };
        let body = encoded.get(&snapshot, format, encoding).await;
        drop(turn);
        body
    });
    let body = work.await.map_err(|e| e.to_string()).and_then(std::convert::identity);
    body.map_or_else(
        |error| {
            scrapes.metrics.encoding_failed();
            warn!(error, "Cannot answer a scrape");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("An error has occurred while serving metrics:\n\n{error}\n"),
            )
        },
        |body| exposition(body, format, encoding),
    )
}

fn shown_pushes(state: &WebState) -> Option<Arc<PushGateway>> {
    let gateway = &state.push.as_ref()?.gateway;
    gateway.settings().expose_on_metrics.then(|| Arc::clone(gateway))
}

/// The same snapshot with what was pushed beside it.
async fn with_pushed(
    snapshot: Arc<Snapshot>,
    pushed: Arc<PushGateway>,
    now: Timestamp,
) -> Result<Arc<Snapshot>, String> {
    let work = tasks::blocking(move || {
        let mut batch = Batch::new();
        let own: HashMap<&str, Kind> = snapshot.families().map(|f| (f.name(), f.kind())).collect();
        pushed.expose(now, |name, kind| own.get(name).is_none_or(|own| *own == kind), &mut batch);
        drop(own);
        Arc::new(snapshot.joined("push", batch))
    });
    work.await.map_err(|error| error.to_string())
}

fn exposition(body: Bytes, format: Format, encoding: ContentEncoding) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(&format.content_type()) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some(encoding) = encoding.header() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// How long the pass may take; the engine's own timeout bounds it as well.
fn budget(headers: &HeaderMap) -> Duration {
    let seconds =
        headers.get(TIMEOUT_HEADER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<f64>().ok());
    let timeout = seconds.filter(|s| *s > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
    let budget =
        |timeout: Duration| timeout.saturating_sub(TIMEOUT_OFFSET.min(timeout / 2)).max(LEAST_BUDGET);
    timeout.map_or(Duration::MAX, budget)
}

/// The values of all headers of this name as one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// What `collect[]` and `exclude[]` ask for; the error is the body of the 400.
fn selection(uri: &Uri, engine: &Engine) -> Result<Selection, String> {
    // A query that is not one selects nothing, as in Go.
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Ok(Selection::All);
    };
    let named = |key| pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str());
    let (collect, exclude): (BTreeSet<_>, BTreeSet<_>) =
        (named("collect[]").collect(), named("exclude[]").collect());
    match (collect.is_empty(), exclude.is_empty()) {
        (true, true) => Ok(Selection::All),
        (false, false) => Err("Combined collect and exclude queries are not allowed.".to_owned()),
        (true, false) => Ok(Selection::Only(engine.names().filter(|name| !exclude.contains(name)).collect())),
        (false, true) => {
            let enabled: BTreeSet<&'static str> = engine.names().collect();
            let found: Result<_, String> =
                collect.into_iter().map(|name| enabled_collector(name, &enabled)).collect();
            found.map(Selection::Only)
        }
    }
}

fn enabled_collector(name: &str, enabled: &BTreeSet<&'static str>) -> Result<&'static str, String> {
    enabled.get(name).copied().ok_or_else(|| {
        let why = if specs().iter().any(|s| s.name == name) { "disabled" } else { "missing" };
        let shown: String = name.chars().take(128).collect();
        format!(
            "Couldn't create filtered metrics handler: couldn't create collector: {why} collector: {shown}"
        )
    })
}

/// Bodies of the snapshots that are still being handed out.
#[derive(Default)]
struct EncodedBodies {
    kept: Mutex<Kept>,
    /// Size of the last one, before compression.
    exposition_bytes: Gauge,
}

#[derive(Default)]
struct Kept {
    bodies: Vec<Encoded>,
    spare: Vec<Vec<u8>>,
    compressors: Vec<Compressor>,
    templates: Vec<Template>,
}

struct Encoded {
    /// Weak, so that the engine can take a snapshot's buffers back. Its allocation, and with that
    /// its address, is not used again while this refers to it.
    snapshot: Weak<Snapshot>,
    format: Format,
    encoding: ContentEncoding,
    body: Arc<OnceCell<Bytes>>,
}

impl EncodedBodies {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body, encoded by the first who asks for it.
    async fn get(
        self: Arc<Self>,
        snapshot: &Arc<Snapshot>,
        format: Format,
        encoding: ContentEncoding,
    ) -> Result<Bytes, String> {
        let cell = self.kept().cell(snapshot, format, encoding);
        let encode = || async {
            if encoding == ContentEncoding::Identity && snapshot.series() <= INLINE_SERIES {
                return self.encode(snapshot, format, encoding).map_err(|e| e.to_string());
            }
            let (snapshot, bodies) = (Arc::clone(snapshot), Arc::clone(&self));
            let work = tasks::blocking(move || bodies.encode(&snapshot, format, encoding));
            work.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
        };
        cell.get_or_try_init(encode).await.cloned()
    }

    fn encode(
        &self,
        snapshot: &Snapshot,
        format: Format,
        encoding: ContentEncoding,
    ) -> std::io::Result<Bytes> {
        let plain = self.write(snapshot, format);
        self.exposition_bytes.set(i64::try_from(plain.len()).unwrap_or(i64::MAX));
        if encoding == ContentEncoding::Identity {
            return Ok(plain);
        }
        let mut packed = self.buffer();
        let mut compressor = self.kept().compressors.pop().unwrap_or_default();
        compressor.compress(encoding, &plain, &mut packed)?;
        self.kept().give_compressor_back(compressor);
        Ok(Bytes::from(packed))
    }

    fn write(&self, snapshot: &Snapshot, format: Format) -> Bytes {
        let (buffer, mut template) = {
            let mut kept = self.kept();
            (kept.buffer(), kept.template(snapshot, format))
        };
        let (text, before) = template.encode(snapshot, format, buffer);
        let mut kept = self.kept();
        kept.give_template_back(template);
        kept.give_back(before);
        text
    }

    fn buffer(&self) -> Vec<u8> {
        self.kept().buffer()
    }
}

impl Kept {
    fn cell(
        &mut self,
        snapshot: &Arc<Snapshot>,
        format: Format,
        encoding: ContentEncoding,
    ) -> Arc<OnceCell<Bytes>> {
        let forgotten = self.bodies.extract_if(.., |kept| kept.snapshot.strong_count() == 0);
        for old in forgotten.collect::<Vec<_>>() {
            let body = Arc::into_inner(old.body).and_then(OnceCell::into_inner);
            self.give_back(body.unwrap_or_default());
        }
        let same = |kept: &&Encoded| {
            std::ptr::eq(kept.snapshot.as_ptr(), Arc::as_ptr(snapshot))
                && kept.format == format
                && kept.encoding == encoding
        };
        if let Some(found) = self.bodies.iter().find(same) {
            return Arc::clone(&found.body);
        }
        let body = Arc::new(OnceCell::new());
        if self.bodies.len() >= MAX_ENCODED {
            self.bodies.remove(0);
        }
        let snapshot = Arc::downgrade(snapshot);
        self.bodies.push(Encoded { snapshot, format, encoding, body: Arc::clone(&body) });
        body
    }

    /// One that fits, unless another encoding has it.
    fn template(&mut self, snapshot: &Snapshot, format: Format) -> Template {
        match self.templates.iter().position(|t| t.fits(snapshot, format)) {
            Some(fitting) => self.templates.remove(fitting),
            None if self.templates.len() < MAX_TEMPLATES => Template::default(),
            // For its buffers: the one that was used longest ago.
            None => self.templates.remove(0),
        }
    }

    fn give_template_back(&mut self, template: Template) {
        if self.templates.len() < MAX_TEMPLATES {
            self.templates.push(template);
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn give_compressor_back(&mut self, compressor: Compressor) {
        if self.compressors.len() < MAX_SPARE {
            self.compressors.push(compressor);
        }
    }

    /// Keeps the buffer of a text that nobody else has, if there is room.
    fn give_back(&mut self, text: Bytes) {
        if self.spare.len() < MAX_SPARE && !text.is_empty() && text.is_unique() {
            // As it is: a text that is cut to nothing first may lose its buffer.
            let mut buffer = Vec::from(text);
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pass_gets_the_scrapers_time_less_an_offset() {
        for (value, milliseconds) in
            [("10", 9_500), ("10.000000", 9_500), ("1.2", 700), ("1", 500), ("0.1", 250), ("1e-9", 250)]
        {
            let headers = HeaderMap::from_iter([(TIMEOUT_HEADER, HeaderValue::from_static(value))]);
            assert_eq!(budget(&headers), Duration::from_millis(milliseconds), "{value}");
        }
        for nonsense in ["", "-1", "0", "NaN", "inf", "1e300", "ten", "\u{7f}"] {
            let Ok(value) = HeaderValue::from_str(nonsense) else { continue };
            assert_eq!(budget(&HeaderMap::from_iter([(TIMEOUT_HEADER, value)])), Duration::MAX, "{nonsense}");
        }
        assert_eq!(budget(&HeaderMap::new()), Duration::MAX);
    }

    #[tokio::test]
    async fn a_body_is_encoded_once_and_its_buffer_serves_again() {
        let snapshot = |previous: Option<&Snapshot>, value| {
            let mut batch = Batch::new();
            batch.gauge("a", "A.", &[], value);
            let parts = vec![("one", batch)];
            Arc::new(Snapshot::assemble_after(previous, Timestamp::from_millis(0), parts))
        };
        let bodies = Arc::new(EncodedBodies::default());
        let first = snapshot(None, 1.0);
        let get = |s: &Arc<Snapshot>, encoding| {
            let (bodies, s) = (Arc::clone(&bodies), Arc::clone(s));
            async move { bodies.get(&s, Format::TEXT, encoding).await }
        };
        let one = get(&first, ContentEncoding::Identity).await.unwrap();
        let two = get(&first, ContentEncoding::Identity).await.unwrap();
        assert_eq!(one.as_ptr(), two.as_ptr(), "shared");
        let gzip = get(&first, ContentEncoding::Gzip).await.unwrap();
        assert_ne!(one, gzip);
        let (address, second) = (one.as_ptr(), snapshot(Some(&*first), 2.0));
        drop((one, two, gzip, first));
        let other = get(&second, ContentEncoding::Identity).await.unwrap();
        assert!(other.ends_with(b"a 2\n"), "{other:?}");
        let spare_has_it = bodies.kept().spare.iter().any(|b| b.as_ptr() == address);
        assert!(other.as_ptr() == address || spare_has_it, "the buffer is kept");
        assert_eq!(bodies.kept().bodies.len(), 1);
    }

    #[tokio::test]
    async fn bodies_kept_are_bounded() {
        let bodies = Arc::new(EncodedBodies::default());
        let empty = || Arc::new(Snapshot::assemble(Timestamp::from_millis(0), Vec::new()));
        let snapshots: Vec<_> = (0..MAX_ENCODED + 5).map(|_| empty()).collect();
        for snapshot in &snapshots {
            Arc::clone(&bodies).get(snapshot, Format::TEXT, ContentEncoding::Identity).await.unwrap();
        }
        assert_eq!(bodies.kept().bodies.len(), MAX_ENCODED);
    }
}
