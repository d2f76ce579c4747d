//! Queues against receivers that answer well, late, wrongly, not at all: what arrives, in which order, how often.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::receive::receive;
use super::*;
use crate::config::{Document, Environment, Limits};
use crate::model::{Kind, Labels, Row, Timestamp, is_stale};
use crate::store::{Store, StoreConfig};

const NOW_MS: i64 = 1_700_000_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW_MS)
}

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// Takes it.
    Take,
    /// Takes it, or refuses all of it if one sample is not newer than what it has, as Prometheus 2 does.
    TakeNew,
    /// Refuses a request with a series whose labels hold this, and takes others.
    RefuseSeries(&'static str),
    /// This status, with these headers.
    Status(u16, &'static str),
    /// Takes it, and closes the connection before the answer is whole.
    TakeAndClose,
    /// Closes the connection amid the answer.
    Close,
    /// Never answers.
    Hang,
}

/// What arrived.
#[derive(Clone, Debug, Default)]
struct Arrived {
    /// Samples of each series as they were taken: instant, and value or "stale".
    samples: BTreeMap<String, Vec<(i64, String)>>,
    heads: Vec<String>,
    requests: usize,
    refused: usize,
    metadata: usize,
}

impl Arrived {
    fn count(&self) -> usize {
        self.samples.values().map(Vec::len).sum()
    }
}

type Answers = Box<dyn FnMut(usize) -> Answer + Send>;

struct Receiver {
    url: String,
    arrived: watch::Receiver<Arrived>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// `answer` gets the number of the request, from 0; those with metadata are taken and not counted.
    async fn start(answer: impl FnMut(usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/write", listener.local_addr().unwrap());
        let (sender, arrived) = watch::channel(Arrived::default());
        let (sender, answer) =
            (Arc::new(sender), Arc::new(std::sync::Mutex::new(Box::new(answer) as Answers)));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(stream, Arc::clone(&sender), Arc::clone(&answer)));
            }
        });
        Self { url, arrived, task }
    }

    /// Waits until what arrived is as it should be.
    async fn until(&self, what: &str, wanted: impl FnMut(&Arrived) -> bool) -> Arrived {
        let mut arrived = self.arrived.clone();
        let waited = tokio::time::timeout(Duration::from_secs(20), arrived.wait_for(wanted)).await;
        match waited {
            Ok(Ok(arrived)) => arrived.clone(),
            _ => panic!("{what}: {:?}", *self.arrived.borrow()),
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    arrived: Arc<watch::Sender<Arrived>>,
    answer: Arc<std::sync::Mutex<Answers>>,
) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        let length: usize = header(&head, "content-length").parse().unwrap();
        while buffer.len() < end + length {
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
        let protocol = receive::protocol_of(header(&head, "content-type")).ok();
        let protocol = protocol.unwrap_or(if head.contains(".v2.") { Protocol::V2 } else { Protocol::V1 });
        let received = receive(protocol, &buffer[end..end + length], 1 << 24).unwrap();
        buffer.drain(..end + length);
        let mut chosen = Answer::Take;
        let rows = received.rows;
        arrived.send_modify(|arrived| {
            if rows.is_empty() {
                arrived.metadata += 1;
                return;
            }
            chosen = (answer.lock().unwrap())(arrived.requests);
            arrived.requests += 1;
            arrived.heads.push(head.clone());
            let instant = |row: &Row| row.timestamp.map_or(0, Timestamp::as_millis);
            if chosen == Answer::TakeNew {
                let mut newest: BTreeMap<String, i64> = BTreeMap::new();
                let is_new = |row: &Row| {
                    let series = row.labels.to_string();
                    let last = arrived.samples.get(&series).and_then(|s| s.last()).map_or(i64::MIN, |s| s.0);
                    let last = newest.insert(series, instant(row)).unwrap_or(last);
                    instant(row) > last
                };
                if rows.iter().map(is_new).filter(|new| !new).count() > 0 {
                    chosen = Answer::Status(400, "");
                    arrived.refused += 1;
                }
            }
            if let Answer::RefuseSeries(part) = chosen {
                let holds = rows.iter().any(|row| row.labels.to_string().contains(part));
                chosen = if holds { Answer::Status(400, "") } else { Answer::Take };
            }
            if matches!(chosen, Answer::Take | Answer::TakeNew | Answer::TakeAndClose) {
                for row in &rows {
                    let value = if is_stale(row.value) { "stale".to_owned() } else { row.value.to_string() };
                    arrived.samples.entry(row.labels.to_string()).or_default().push((instant(row), value));
                }
            }
        });
        let written = match chosen {
            Answer::Take | Answer::TakeNew | Answer::RefuseSeries(_) => {
                let count = rows.len();
                format!("HTTP/1.1 204 x\r\nX-Prometheus-Remote-Write-Samples-Written: {count}\r\n\r\n")
            }
            Answer::Status(status, headers) => {
                format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: 4\r\n\r\nwhy\n")
            }
            Answer::TakeAndClose | Answer::Close => {
                let _ = stream.write_all(b"HTTP/1.1 20").await;
                return;
            }
            Answer::Hang => return std::future::pending().await,
        };
        if stream.write_all(written.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default()
}

fn remotes(text: &str) -> Vec<Arc<RemoteSettings>> {
    let document = Document::parse("o.yml", text, &Limits::default()).unwrap();
    document.read(&Environment::off(), RemoteSettings::read_all).unwrap()
}

const QUICK: &str = "batch_send_deadline: 10ms, min_backoff: 1ms, max_backoff: 5ms";

/// One receiver called `r`; `more` are further keys.
fn remote(receiver: &Receiver, queue: &str, more: &str) -> Vec<Arc<RemoteSettings>> {
    let url = &receiver.url;
    remotes(&format!("remote_write: [{{name: r, url: '{url}', queue_config: {{{QUICK}{queue}}}{more}}}]"))
}

fn open(path: Option<&Path>) -> Store {
    let path = path.map(Path::to_owned);
    Store::open(StoreConfig { path, min_free_bytes: 0, ..StoreConfig::default() }, now()).unwrap()
}

fn writes(store: &Store, most_bytes: u64) -> (RemoteWrites, RemoteWriteMetrics) {
    let metadata = Metadata { name: "m".into(), kind: Kind::Counter, help: "H.".into(), unit: String::new() };
    let metrics = RemoteWriteMetrics::default();
    let config = RemoteWritesConfig {
        clock: now,
        metadata: Arc::new(move || Box::pin(std::future::ready(vec![metadata.clone()]))),
        most_bytes,
        most_age: Duration::from_secs(3_600),
        metrics: metrics.clone(),
    };
    (RemoteWrites::new(store, config), metrics)
}

/// A metric as the registry shows it, summed over its series that hold `part`.
fn metric(metrics: &RemoteWriteMetrics, name: &str, part: &str) -> f64 {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let prefix = format!("prometheus_remote_storage_{name}{{");
    let lines = text.lines().filter(|line| line.starts_with(&prefix) && line.contains(part));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Ticks of one source with so many series, one second apart.
struct Ticks {
    store: Store,
    series: usize,
    next: i64,
}

impl Ticks {
    fn new(store: &Store, series: usize) -> Self {
        Self { store: store.clone(), series, next: 0 }
    }

    /// The instants of these ticks.
    fn add(&mut self, ticks: i64) {
        for _ in 0..ticks {
            self.next += 1;
            let rows: Vec<Row> = (0..self.series)
                .map(|id| Row {
                    labels: Labels::from_pairs([("__name__", "m_total"), ("id", &id.to_string())]),
                    value: self.next as f64,
                    timestamp: None,
                })
                .collect();
            let at = Timestamp::from_millis(NOW_MS + self.next * 1_000);
            self.store.source("ticks").append(at, &rows).unwrap();
        }
    }
}

/// Each series has each of the ticks, in order and once.
fn check_whole(arrived: &Arrived, series: usize, ticks: std::ops::RangeInclusive<i64>) {
    let expected: Vec<(i64, String)> =
        ticks.map(|tick| (NOW_MS + tick * 1_000, (tick as f64).to_string())).collect();
    assert_eq!(arrived.samples.len(), series);
    for (labels, samples) in &arrived.samples {
        assert_eq!(*samples, expected, "{labels}");
    }
}

#[tokio::test]
async fn samples_arrive_once_and_in_order_also_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for (path, protocol) in
        [(Some(dir.path()), "prometheus.WriteRequest"), (None, "io.prometheus.write.v2.Request")]
    {
        let receiver = Receiver::start(|_| Answer::Take).await;
        let settings = remote(
            &receiver,
            ", max_samples_per_send: 7, max_shards: 4",
            &format!(", protobuf_message: {protocol}"),
        );
        let mut store = open(path);
        let mut expected = 0;
        for round in 1..4 {
            let (writes, metrics) = writes(&store, 1 << 20);
            writes.apply(&settings, &Labels::empty());
            let mut ticks = Ticks { next: (round - 1) * 10, ..Ticks::new(&store, 5) };
            ticks.add(10);
            expected += 50;
            let arrived = receiver.until("all of it", |a| a.count() >= expected).await;
            check_whole(&arrived, 5, 1..=round * 10);
            assert!(arrived.requests >= expected / 7, "{arrived:?}");
            writes.shutdown().await;
            assert_eq!(metric(&metrics, "samples_total", ""), 50.0);
            assert_eq!(metric(&metrics, "samples_failed_total", ""), 0.0);
            writes.maintain(now()).unwrap();
            if path.is_some() {
                store.close().unwrap();
                drop((writes, ticks, store));
                store = open(path);
            }
        }
        let head = receiver.arrived.borrow().heads.last().unwrap().clone();
        let version = if path.is_some() { "0.1.0" } else { "2.0.0" };
        assert_eq!(header(&head, "x-prometheus-remote-write-version"), version);
        assert_eq!(header(&head, "content-encoding"), "snappy");
        assert!(header(&head, "user-agent").starts_with("outrigger/"), "{head}");
        let content_type = header(&head, "content-type");
        assert!(content_type.starts_with("application/x-protobuf"), "{content_type}");
        assert_eq!(content_type.contains("proto=io.prometheus.write.v2.request"), path.is_none());
        assert_eq!(receiver.arrived.borrow().metadata > 0, path.is_some());
    }
}

#[tokio::test]
async fn failures_that_pass_lose_nothing() {
    let answers = [
        Answer::Status(500, ""),
        Answer::Status(429, "Retry-After: 0\r\n"),
        Answer::Close,
        Answer::Take,
        Answer::Status(503, "Retry-After: x\r\n"),
        Answer::Hang,
        Answer::Take,
    ];
    let receiver = Receiver::start(move |n| answers.get(n).copied().unwrap_or(Answer::Take)).await;
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    let patient = ", retry_on_http_429: true";
    writes.apply(&remote(&receiver, patient, ", remote_timeout: 100ms"), &Labels::empty());
    let mut ticks = Ticks::new(&store, 3);
    ticks.add(4);
    receiver.until("the first", |a| a.count() >= 12).await;
    ticks.add(4);
    let arrived = receiver.until("the second", |a| a.count() >= 24).await;
    check_whole(&arrived, 3, 1..=8);
    writes.shutdown().await;
    assert!(metric(&metrics, "samples_retried_total", "") >= 15.0);
    assert_eq!(metric(&metrics, "samples_failed_total", ""), 0.0);
    assert_eq!(metric(&metrics, "samples_total", ""), 24.0);
}

#[tokio::test]
async fn what_is_refused_for_good_is_dropped_and_counted() {
    for (refusal, more) in
        [(Answer::Status(404, ""), ""), (Answer::Status(429, ""), ""), (Answer::Status(415, ""), "")]
    {
        let receiver = Receiver::start(move |n| if n == 0 { refusal } else { Answer::Take }).await;
        let store = open(None);
        let (writes, metrics) = writes(&store, 1 << 20);
        writes.apply(&remote(&receiver, more, ""), &Labels::empty());
        let mut ticks = Ticks::new(&store, 3);
        ticks.add(3);
        let arrived = receiver.until("the rest", |a| a.count() >= 6).await;
        check_whole(&arrived, 3, 2..=3);
        writes.shutdown().await;
        assert_eq!(metric(&metrics, "samples_failed_total", ""), 3.0);
        assert_eq!(metric(&metrics, "samples_total", ""), 6.0);
    }
}

#[tokio::test]
async fn what_waits_for_a_receiver_that_hangs_is_shown() {
    let receiver = Receiver::start(|_| Answer::Hang).await;
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    writes.apply(&remote(&receiver, "", ""), &Labels::empty());
    let mut ticks = Ticks::new(&store, 3);
    ticks.add(1);
    receiver.until("a request", |a| a.requests >= 1).await;
    for more in 1..4 {
        ticks.add(more);
        let waiting = store.outbox().newest().borrow().samples;
        let shown = async {
            while metric(&metrics, "samples_pending", "") != waiting as f64 {
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, shown).await.unwrap_or_else(|_| panic!("{waiting} wait"));
    }
    writes.apply(&[], &Labels::empty());
    writes.shutdown().await;
}

/// A receiver of 1.0 that answers 2.0 with 2xx takes nothing of it and says so by leaving out what it took.
#[tokio::test]
async fn a_receiver_that_does_not_speak_the_protocol_is_noticed() {
    let receiver = Receiver::start(|_| Answer::Status(200, "")).await;
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    writes.apply(
        &remote(&receiver, "", ", protobuf_message: io.prometheus.write.v2.Request"),
        &Labels::empty(),
    );
    Ticks::new(&store, 3).add(1);
    receiver.until("a request", |a| a.requests >= 1).await;
    writes.shutdown().await;
    assert_eq!(metric(&metrics, "samples_failed_total", ""), 3.0);
}

/// As after a kill between the receiver's answer and the commit of the place.
#[tokio::test]
async fn what_arrived_before_a_kill_costs_nothing_that_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Answer::TakeNew).await;
    let settings = remote(&receiver, "", "");
    let store = open(Some(dir.path()));
    let (first, _) = writes(&store, 1 << 20);
    first.apply(&settings, &Labels::empty());
    let mut ticks = Ticks::new(&store, 40);
    ticks.add(1);
    receiver.until("the beginning", |a| a.count() >= 40).await;
    first.shutdown().await;
    let place = store.state("remote_write").get(b"r").unwrap().unwrap();
    let (second, _) = writes(&store, 1 << 20);
    second.apply(&settings, &Labels::empty());
    ticks.add(5);
    receiver.until("what is in doubt", |a| a.count() >= 240).await;
    second.shutdown().await;
    // Some series of one more tick arrived, too: as if a window had been sent in part.
    store.state("remote_write").put(b"r", &place).unwrap();
    ticks.series = 60;
    ticks.add(1);
    let (third, metrics) = writes(&store, 1 << 20);
    third.apply(&settings, &Labels::empty());
    ticks.add(2);
    let arrived = receiver.until("the rest", |a| a.count() >= 420).await;
    third.shutdown().await;
    assert!(arrived.refused > 0);
    let lengths: Vec<usize> = arrived.samples.values().map(Vec::len).collect();
    assert_eq!(lengths.iter().filter(|n| **n == 9).count(), 40, "{lengths:?}");
    assert_eq!(lengths.iter().filter(|n| **n == 3).count(), 20, "{lengths:?}");
    assert_eq!(metric(&metrics, "samples_total", ""), 180.0);
}

#[tokio::test]
async fn a_request_in_which_one_sample_is_refused_is_halved_after_a_start() {
    let receiver = Receiver::start(|_| Answer::RefuseSeries("id=\"3\"")).await;
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    writes.apply(&remote(&receiver, "", ""), &Labels::empty());
    Ticks::new(&store, 16).add(1);
    let arrived = receiver.until("all others", |a| a.count() == 15).await;
    check_whole(&arrived, 15, 1..=1);
    writes.shutdown().await;
    assert_eq!(metric(&metrics, "samples_failed_total", ""), 1.0);
    assert_eq!(metric(&metrics, "samples_total", ""), 15.0);
}

/// The receiver has it, and the queue cannot know.
#[tokio::test]
async fn an_answer_that_is_lost_loses_no_sample() {
    let receiver = Receiver::start(|n| if n == 0 { Answer::TakeAndClose } else { Answer::TakeNew }).await;
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    writes.apply(&remote(&receiver, "", ""), &Labels::empty());
    let mut ticks = Ticks::new(&store, 3);
    ticks.add(2);
    let arrived = receiver.until("both ticks", |a| a.count() >= 6).await;
    check_whole(&arrived, 3, 1..=2);
    writes.shutdown().await;
    assert_eq!(metric(&metrics, "samples_failed_total", ""), 3.0);
}

#[tokio::test]
async fn external_labels_and_rules_make_the_names_and_markers_are_sent() {
    let receiver = Receiver::start(|_| Answer::Take).await;
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    let rules = ", write_relabel_configs: [{source_labels: [id], regex: '1', action: drop}, {target_label: x, replacement: y}]";
    let external = Labels::from_pairs([("site", "s"), ("id", "external")]);
    writes.apply(&remote(&receiver, "", rules), &external);
    let mut ticks = Ticks::new(&store, 3);
    ticks.add(1);
    ticks.series = 1;
    ticks.add(1);
    let arrived = receiver.until("all", |a| a.count() == 4).await;
    let shown: Vec<String> = arrived.samples.iter().map(|(k, v)| format!("{k} {v:?}")).collect();
    assert_eq!(
        shown,
        [
            r#"{__name__="m_total", id="0", site="s", x="y"} [(1700000001000, "1"), (1700000002000, "2")]"#,
            r#"{__name__="m_total", id="2", site="s", x="y"} [(1700000001000, "1"), (1700000002000, "stale")]"#,
        ]
    );
    writes.shutdown().await;
    assert_eq!(metric(&metrics, "samples_dropped_total", "reason=\"dropped_series\""), 2.0);
}

#[tokio::test]
async fn what_the_bounds_remove_is_counted() {
    let (open_gate, gate) = watch::channel(false);
    let receiver =
        Receiver::start(move |_| if *gate.borrow() { Answer::Take } else { Answer::Status(500, "") }).await;
    let store = open(None);
    // Room for some of the ticks.
    let (writes, metrics) = writes(&store, 1_000);
    writes.apply(&remote(&receiver, ", max_samples_per_send: 10", ""), &Labels::empty());
    let mut ticks = Ticks::new(&store, 10);
    ticks.add(1);
    receiver.until("a try", |a| a.requests >= 1).await;
    ticks.add(60);
    writes.maintain(now()).unwrap();
    open_gate.send_replace(true);
    receiver
        .until("the newest", |a| {
            a.samples.values().all(|s| s.last().is_some_and(|s| s.0 == NOW_MS + 61_000))
                && !a.samples.is_empty()
        })
        .await;
    writes.shutdown().await;
    let (sent, dropped) = (
        metric(&metrics, "samples_total", ""),
        metric(&metrics, "samples_dropped_total", "reason=\"queue_full\""),
    );
    assert!(dropped > 0.0 && sent > 10.0 && sent + dropped == 610.0, "{sent} sent, {dropped} dropped");
}

#[tokio::test]
async fn samples_beyond_the_age_limit_are_not_sent() {
    let receiver = Receiver::start(|_| Answer::Take).await;
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    writes.apply(&remote(&receiver, ", sample_age_limit: 1m", ""), &Labels::empty());
    let row = |id: &str, ms: i64| Row {
        labels: Labels::from_pairs([("__name__", "m"), ("id", id)]),
        value: 1.0,
        timestamp: Some(Timestamp::from_millis(NOW_MS - ms)),
    };
    store.source("a").append(now(), &[row("old", 60_001), row("young", 60_000)]).unwrap();
    let arrived = receiver.until("the young one", |a| a.count() == 1).await;
    assert!(arrived.samples.keys().all(|labels| labels.contains("young")));
    writes.shutdown().await;
    assert_eq!(metric(&metrics, "samples_dropped_total", "reason=\"too_old\""), 1.0);
}

#[tokio::test]
async fn a_reload_keeps_what_stays_moves_what_changed_and_forgets_what_is_gone() {
    let (stays, changes, goes) = (
        Receiver::start(|_| Answer::Take).await,
        Receiver::start(|_| Answer::Take).await,
        Receiver::start(|_| Answer::Take).await,
    );
    let store = open(None);
    let (writes, metrics) = writes(&store, 1 << 20);
    let settings = |timeout: &str, with_third: bool| {
        let entry = |name: &str, receiver: &Receiver, more: &str| {
            format!("{{name: {name}, url: '{}', queue_config: {{{QUICK}}}{more}}}", receiver.url)
        };
        let mut entries = vec![
            entry("stays", &stays, ""),
            entry("changes", &changes, &format!(", remote_timeout: {timeout}")),
        ];
        if with_third {
            entries.push(entry("goes", &goes, ""));
        }
        remotes(&format!("remote_write: [{}]", entries.join(", ")))
    };
    writes.apply(&settings("10s", true), &Labels::empty());
    let mut ticks = Ticks::new(&store, 2);
    ticks.add(5);
    for receiver in [&stays, &changes, &goes] {
        receiver.until("the first", |a| a.count() == 10).await;
    }
    writes.apply(&settings("20s", false), &Labels::empty());
    ticks.add(5);
    for receiver in [&stays, &changes] {
        let arrived = receiver.until("the second", |a| a.count() >= 20).await;
        check_whole(&arrived, 2, 1..=10);
    }
    writes.maintain(now()).unwrap();
    assert_eq!(goes.arrived.borrow().count(), 10);
    assert_eq!(store.state("remote_write").get(b"goes").unwrap(), None);
    assert_eq!(metric(&metrics, "samples_total", "goes"), 0.0);
    // Its end is where the last request was counted.
    writes.apply(&settings("30s", false), &Labels::empty());
    ticks.add(1);
    changes.until("the third", |a| a.count() >= 22).await;
    assert!(metric(&metrics, "samples_total", "changes") >= 20.0);
    // Without receivers nothing is noted.
    writes.apply(&[], &Labels::empty());
    let noted = store.outbox().newest().borrow().number;
    ticks.add(3);
    assert_eq!(store.outbox().newest().borrow().number, noted);
    writes.shutdown().await;
}
