//! One Alertmanager: what waits for it, and the task that hands it over.
//!
//! Invariants: one request at a time; what fails waits and is tried again, later and later; a request that the
//! Alertmanager refuses as wrong is not repeated.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::queue::Queue;
use crate::http_client::HttpClient;
use crate::model::{OncePerState, OutgoingAlert};
use crate::notify::context::{Context, Pauses};
use crate::notify::json::{object, rfc3339};
use crate::notify::metrics::{NotifyMetrics, ToAlertmanager};
use crate::tasks;

/// Most alerts that wait (Prometheus's `--alerting.notification-queue-capacity`).
pub(in crate::notify) const CAPACITY: usize = 10_000;

/// Most alerts of one request, as in Prometheus.
const BATCH: usize = 256;

/// Hands alerts to one Alertmanager; dropping it gives up what waits.
#[derive(Debug)]
pub(super) struct Sender {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    labels: ToAlertmanager,
    queue: Mutex<Queue>,
    /// How many wait, those in flight included.
    waiting: watch::Sender<usize>,
    metrics: NotifyMetrics,
}

impl Sender {
    pub(super) fn start(
        url: &str,
        uri: Uri,
        client: HttpClient,
        timeout: Duration,
        context: &Context,
    ) -> Self {
        let metrics = context.metrics.clone();
        let labels = ToAlertmanager { alertmanager: url.to_owned() };
        let m = metrics.get();
        // There from the first scrape on.
        drop((m.sent.get_or_create(&labels), m.errors.get_or_create(&labels)));
        drop((m.dropped.get_or_create(&labels), m.queue_length.get_or_create(&labels)));
        let shared = Arc::new(Shared {
            url: url.to_owned(),
            labels,
            queue: Mutex::new(Queue::new(CAPACITY)),
            waiting: watch::Sender::new(0),
            metrics,
        });
        let task = tasks::spawn(run(Arc::clone(&shared), uri, client, timeout, context.pauses));
        Self { shared, task }
    }

    pub(super) fn push(&self, alerts: &[Arc<OutgoingAlert>]) {
        let pushed_out = {
            let mut queue = self.shared.lock();
            let pushed_out = alerts.iter().filter(|alert| queue.push(alert)).count();
            self.shared.waiting.send_replace(queue.len());
            pushed_out
        };
        self.shared.dropped(pushed_out);
        self.shared.measure();
    }

    /// Ends when nothing waits.
    pub(super) fn idle(&self) -> impl Future<Output = ()> + use<> {
        let mut waiting = self.shared.waiting.subscribe();
        async move {
            let _ = waiting.wait_for(|waiting| *waiting == 0).await;
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.metrics.forget_alertmanager(&self.shared.url);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped(&self, count: usize) {
        if count > 0 {
            self.metrics.get().dropped.get_or_create(&self.labels).inc_by(count as u64);
        }
    }

    fn measure(&self) {
        let length = i64::try_from(self.lock().len()).unwrap_or(i64::MAX);
        self.metrics.get().queue_length.get_or_create(&self.labels).set(length);
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// Worth another attempt.
    Passing(String),
    /// The same request would fail again.
    Lasting(String),
}

impl Failure {
    fn error(&self) -> &str {
        let (Self::Passing(error) | Self::Lasting(error)) = self;
        error
    }
}

async fn run(shared: Arc<Shared>, uri: Uri, client: HttpClient, timeout: Duration, pauses: Pauses) {
    let mut waiting = shared.waiting.subscribe();
    let mut told: OncePerState<Option<String>> = OncePerState::starting_at(None);
    let mut pause = pauses.first;
    while waiting.wait_for(|waiting| *waiting > 0).await.is_ok() {
        let batch = shared.lock().take(BATCH);
        let count = batch.len() as u64;
        let begun = Instant::now();
        let sent = post(&client, &uri, &batch, begun + timeout).await;
        let m = shared.metrics.get();
        m.latency.get_or_create(&shared.labels).observe(begun.elapsed().as_secs_f64());
        let failure = sent.err();
        tell(&mut told, &shared.url, failure.as_ref());
        shared.metrics.attempted(&shared.url, failure.as_ref().map(Failure::error));
        match failure {
            None => {
                m.sent.get_or_create(&shared.labels).inc_by(count);
                pause = pauses.first;
            }
            Some(Failure::Lasting(_)) => {
                m.errors.get_or_create(&shared.labels).inc_by(count);
                shared.dropped(batch.len());
            }
            Some(Failure::Passing(_)) => {
                m.errors.get_or_create(&shared.labels).inc_by(count);
                let refused = shared.lock().put_back(batch);
                shared.dropped(refused);
                shared.measure();
                tokio::time::sleep(pause).await;
                pause = pauses.longest.min(2 * pause);
            }
        }
        let left = shared.lock().len();
        shared.waiting.send_replace(left);
        shared.measure();
    }
}

fn tell(told: &mut OncePerState<Option<String>>, alertmanager: &str, failure: Option<&Failure>) {
    let error = failure.map(|failure| failure.error().to_owned());
    if told.observe(error.clone()).is_some() {
        match error {
            Some(error) => warn!(alertmanager, error, "Alerts cannot be handed to an Alertmanager"),
            None => info!(alertmanager, "The Alertmanager takes alerts again"),
        }
    }
}

async fn post(
    client: &HttpClient,
    uri: &Uri,
    batch: &[Arc<OutgoingAlert>],
    deadline: Instant,
) -> Result<(), Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body: Value = batch.iter().map(|alert| postable(alert)).collect();
    let sent = client.send(Method::POST, uri, headers, Bytes::from(body.to_string()), deadline).await;
    let response = sent.map_err(|error| Failure::Passing(error.to_string()))?;
    let (status, text) = (response.status(), response.status_text());
    response.discard().await;
    if status.is_success() {
        return Ok(());
    }
    let error = format!("bad response status {text}");
    let lasting = status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 404 | 408 | 429);
    Err(if lasting { Failure::Lasting(error) } else { Failure::Passing(error) })
}

/// An alert as `POST /api/v2/alerts` takes it.
fn postable(alert: &OutgoingAlert) -> Value {
    json!({
        "annotations": object(&alert.annotations),
        "endsAt": rfc3339(alert.ends_at),
        "startsAt": rfc3339(alert.starts_at),
        "generatorURL": alert.generator_url,
        "labels": object(&alert.labels),
    })
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    use super::*;
    use crate::http_client::HttpClientSettings;
    use crate::http_client::testing::{Answer, Peer};
    use crate::model::{Labels, Timestamp};

    fn alert(name: &str) -> Arc<OutgoingAlert> {
        Arc::new(OutgoingAlert {
            labels: Labels::from_pairs([("alertname", name), ("a", "\"b\"")]),
            annotations: Labels::from_pairs([("summary", "s")]),
            starts_at: Timestamp::from_millis(1_700_000_000_123),
            ends_at: Timestamp::from_millis(1_700_000_240_000),
            generator_url: "http://here/graph".to_owned(),
        })
    }

    fn sender(peer: &Peer, metrics: &NotifyMetrics) -> Sender {
        let client = HttpClient::new(&HttpClientSettings::default());
        let uri = peer.url("/api/v2/alerts");
        let context = Context::for_tests(metrics.clone());
        Sender::start("am", uri, client, Duration::from_secs(30), &context)
    }

    fn counts(metrics: &NotifyMetrics) -> (u64, u64, u64) {
        let (m, labels) = (metrics.get(), ToAlertmanager { alertmanager: "am".to_owned() });
        let count = |family: &Family<_, Counter>| family.get_or_create(&labels).get();
        (count(&m.sent), count(&m.errors), count(&m.dropped))
    }

    #[test]
    fn an_alert_is_written_as_alertmanager_reads_it() {
        assert_eq!(
            postable(&alert("A")).to_string(),
            r#"{"annotations":{"summary":"s"},"endsAt":"2023-11-14T22:17:20Z","generatorURL":"http://here/graph","labels":{"a":"\"b\"","alertname":"A"},"startsAt":"2023-11-14T22:13:20.123Z"}"#
        );
    }

    #[tokio::test]
    async fn one_that_hangs_or_closes_midway_is_asked_again_until_it_takes_them() {
        let taken = Answer::Text(200, "application/json", String::new());
        let answers = Mutex::new(vec![
            taken.clone(),
            Answer::Text(500, "text/plain", "no".to_owned()),
            Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
            Answer::Raw(Vec::new()),
            Answer::Hang,
        ]);
        let peer = Peer::start(move |_| {
            answers.lock().expect("not poisoned").pop().unwrap_or_else(|| taken.clone())
        })
        .await;
        let metrics = NotifyMetrics::default();
        let client = HttpClient::new(&HttpClientSettings::default());
        let context = Context::for_tests(metrics.clone());
        let timeout = Duration::from_millis(200);
        let sender = Sender::start("am", peer.url("/api/v2/alerts"), client, timeout, &context);
        sender.push(&[alert("A"), alert("B")]);
        sender.idle().await;
        let (sent, errors, dropped) = counts(&metrics);
        assert!(sent == 2 && errors >= 8 && dropped == 0, "{sent} {errors} {dropped}");
        // Each time all of them, and the very same.
        let bodies = peer.bodies();
        assert!(bodies.len() >= 5 && bodies.iter().all(|body| *body == bodies[0]));
    }

    #[tokio::test]
    async fn what_fails_is_tried_again_and_what_is_refused_is_not() {
        let answers = Mutex::new(vec![200, 400, 500, 503]);
        let peer = Peer::start(move |_| {
            let status = answers.lock().expect("not poisoned").pop().unwrap_or(200);
            Answer::Text(status, "application/json", String::new())
        })
        .await;
        let metrics = NotifyMetrics::default();
        let sender = sender(&peer, &metrics);
        sender.push(&[alert("A"), alert("B")]);
        sender.idle().await;
        // 503 and 500 are tried again, 400 is not.
        assert_eq!(counts(&metrics), (0, 6, 2));
        sender.push(&[alert("C")]);
        sender.idle().await;
        assert_eq!(counts(&metrics), (1, 6, 2));
        assert_eq!(peer.requests().len(), 4);
    }
}
