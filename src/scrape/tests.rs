//! Whole jobs against peers: what reaches the sink, what the API shows, what a reload keeps.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::*;
use crate::config::{Document, Environment, Limits};
use crate::http_client::testing::{Answer, Peer};
use crate::model::{Kind, Labels, Row, Timestamp};

/// Milliseconds since the tests began, after an instant of our choice.
fn clock() -> Timestamp {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Timestamp::from_millis(1_700_000_000_000).plus(BEGUN.elapsed())
}

#[derive(Clone, Debug)]
struct Tick {
    key: TargetKey,
    rows: Vec<Row>,
}

/// Keeps everything that it is given.
#[derive(Default)]
struct Kept {
    ticks: Mutex<Vec<Tick>>,
    ended: Mutex<Vec<TargetKey>>,
    changed: Notify,
}

impl Sink for Kept {
    fn tick(&self, target: &TargetKey, _at: Timestamp, rows: Vec<Row>) {
        self.ticks.lock().unwrap().push(Tick { key: target.clone(), rows });
        self.changed.notify_waiters();
    }

    fn end(&self, target: &TargetKey, _at: Timestamp) {
        self.ended.lock().unwrap().push(target.clone());
        self.changed.notify_waiters();
    }
}

impl Kept {
    /// Waits until a condition holds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect(what);
    }

    fn of(&self, url: &str) -> Vec<Tick> {
        self.ticks.lock().unwrap().iter().filter(|tick| tick.key.url() == url).cloned().collect()
    }
}

impl Tick {
    fn value(&self, metric: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.labels.metric_name() == metric).map(|row| row.value)
    }
}

fn settings(text: &str) -> ScrapeSettings {
    let document = Document::parse("p.yml", text, &Limits::default()).unwrap();
    document.read(&Environment::off(), ScrapeSettings::read).unwrap()
}

fn manager(limits: ScrapeLimits) -> (TargetManager, Arc<Kept>) {
    let sink = Arc::new(Kept::default());
    (TargetManager::new(sink.clone(), clock, limits, ScrapeMetrics::default()), sink)
}

/// A job `j` with these targets.
fn job(keys: &str, peers: &[&Peer]) -> String {
    let addresses: Vec<String> = peers.iter().map(|peer| format!("'{}'", peer.address)).collect();
    format!(
        "scrape_configs:\n- job_name: j\n  static_configs: [{{targets: [{}]}}]\n{keys}",
        addresses.join(", ")
    )
}

const FAST: &str = "  scrape_interval: 300ms\n  scrape_timeout: 250ms\n";

fn url(peer: &Peer) -> String {
    peer.url("/metrics").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_misbehaving_target_harms_no_other() {
    let many: String = (0..20_000).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect();
    let bomb = Answer::gzip("text/plain", &vec![b'\n'; 8 << 20]);
    let unsupported = "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target";
    let peers = [
        (Answer::metrics("good 1\n"), ""),
        (Answer::Hang, "context deadline exceeded"),
        (Answer::Stall, "context deadline exceeded"),
        (Answer::Endless, "body size limit exceeded"),
        (bomb, "body size limit exceeded"),
        (Answer::metrics(many), "sample limit exceeded"),
        (Answer::Text(200, "text/html", "<html>".into()), unsupported),
        (
            Answer::metrics("<html>"),
            "expected a valid start token, got \"<\" (\"INVALID\") while parsing: \"<\"",
        ),
        (
            Answer::metrics("\0\0\0\0"),
            "expected a valid start token, got \"\\x00\" (\"INVALID\") while parsing: \"\\x00\"",
        ),
        (Answer::Text(500, "text/plain", "a 1\n".into()), "server returned HTTP status 500 x"),
        (Answer::Raw(b"\0\0\0\0\0\0".to_vec()), "malformed HTTP response"),
        (Answer::Raw(Vec::new()), "EOF"),
    ];
    let mut running = Vec::new();
    for (answer, error) in peers {
        running.push((Peer::fixed(answer).await, error));
    }
    let addresses: Vec<&Peer> = running.iter().map(|(peer, _)| peer).collect();
    let limits = ScrapeLimits { samples: 10_000, body_bytes: 1 << 20, ..ScrapeLimits::default() };
    let (manager, sink) = manager(limits);
    // A timeout that a busy machine's good target keeps.
    manager.apply(&settings(&job("  scrape_interval: 3s\n  scrape_timeout: 2900ms\n", &addresses)));
    sink.until("two scrapes of each", |sink| running.iter().all(|(peer, _)| sink.of(&url(peer)).len() >= 2))
        .await;
    let targets = manager.targets();
    for (peer, error) in &running {
        let target = targets[0].active.iter().find(|t| t.url() == url(peer)).unwrap();
        assert!(
            target.last.error.ends_with(error) || target.last.error.contains(error),
            "{error}: {target:?}"
        );
        let up = if error.is_empty() { 1.0 } else { 0.0 };
        for tick in sink.of(&url(peer)) {
            assert_eq!(tick.value("up"), Some(up), "{error}");
            assert_eq!(tick.rows.len(), if error.is_empty() { 6 } else { 5 }, "{error}");
        }
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn a_target_is_asked_as_prometheus_asks() {
    let peer = Peer::fixed(Answer::metrics("# TYPE a counter\n# HELP a Help.\na_total 1\na 2\n")).await;
    let (manager, sink) = manager(ScrapeLimits::default());
    let keys = format!(
        "{FAST}  metrics_path: /m\n  params: {{x: ['y z']}}\n  basic_auth: {{username: u, password: p}}\n"
    );
    manager.apply(&settings(&job(&keys, &[&peer])));
    sink.until("a scrape", |sink| !sink.ticks.lock().unwrap().is_empty()).await;
    let request = peer.requests().remove(0).to_lowercase();
    for part in [
        "get /m?x=y+z http/1.1\r\n",
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n",
        "accept-encoding: gzip\r\n",
        "x-prometheus-scrape-timeout-seconds: 0.25\r\n",
        "user-agent: outrigger/",
        "authorization: basic dtpw\r\n",
    ] {
        assert!(request.contains(part), "{part}\n{request}");
    }
    let tick = sink.ticks.lock().unwrap()[0].clone();
    assert_eq!(
        (tick.value("a_total"), tick.value("scrape_samples_scraped"), tick.value("scrape_series_added")),
        (Some(1.0), Some(2.0), Some(2.0))
    );
    let metadata = manager.metadata(|labels| labels.value("job") == "j", Some("a"));
    assert_eq!((metadata.len(), metadata[0].metadata.kind), (1, Kind::Counter));
    assert_eq!(manager.metadata(|_| false, None), []);
    let snapshot = &manager.targets()[0].active[0];
    assert_eq!((snapshot.pool(), snapshot.last.health.as_str()), ("j", "up"));
    assert_eq!(snapshot.discovered.value("__metrics_path__"), "/m");
    manager.shutdown().await;
}

#[tokio::test]
async fn a_body_that_is_compressed_without_being_asked_is_unpacked_within_bounds() {
    let good = Peer::fixed(Answer::gzip("text/plain", b"good 1\n")).await;
    let bomb = Peer::fixed(Answer::gzip("text/plain", &vec![b'\n'; 8 << 20])).await;
    let (manager, sink) = manager(ScrapeLimits { body_bytes: 1 << 20, ..ScrapeLimits::default() });
    manager.apply(&settings(&job("  scrape_interval: 3s\n  enable_compression: false\n", &[&good, &bomb])));
    sink.until("a scrape of both", |sink| [&good, &bomb].iter().all(|peer| !sink.of(&url(peer)).is_empty()))
        .await;
    assert!(good.requests()[0].contains("accept-encoding: identity\r\n"));
    assert_eq!(sink.of(&url(&good))[0].value("good"), Some(1.0));
    assert_eq!(sink.of(&url(&bomb))[0].value("up"), Some(0.0));
    let targets = manager.targets();
    let last = targets[0].active.iter().find(|target| target.url() == url(&bomb)).unwrap();
    assert_eq!(last.last.error, "body size limit exceeded");
    manager.shutdown().await;
}

#[tokio::test]
async fn a_reload_keeps_what_stays_and_ends_what_goes() {
    let (stays, goes) =
        (Peer::fixed(Answer::metrics("a 1\n")).await, Peer::fixed(Answer::metrics("b 1\n")).await);
    let (manager, sink) = manager(ScrapeLimits::default());
    let first = settings(&job(FAST, &[&stays, &goes]));
    manager.apply(&first);
    sink.until("scrapes", |sink| !sink.of(&url(&stays)).is_empty() && !sink.of(&url(&goes)).is_empty()).await;
    manager.apply(&first);
    // Another interval, another target less.
    let second = job("  scrape_interval: 400ms\n  scrape_timeout: 250ms\n", &[&stays]);
    manager.apply(&settings(&second));
    let before = sink.of(&url(&stays)).len();
    sink.until("the end", |sink| sink.ended.lock().unwrap().iter().any(|key| key.url() == url(&goes))).await;
    sink.until("more scrapes", |sink| sink.of(&url(&stays)).len() > before + 1).await;
    let added: Vec<Option<f64>> =
        sink.of(&url(&stays)).iter().map(|tick| tick.value("scrape_series_added")).collect();
    assert!(added[0] == Some(1.0) && added[1..].iter().all(|value| *value == Some(0.0)), "{added:?}");
    assert_eq!(manager.targets()[0].active.len(), 1);
    assert_eq!(sink.ended.lock().unwrap().len(), 1);
    manager.apply(&ScrapeSettings::default());
    sink.until("the other end", |sink| sink.ended.lock().unwrap().len() == 2).await;
    assert_eq!(manager.pool_names(), [""; 0]);
}

#[tokio::test]
async fn a_target_that_comes_back_in_time_is_not_ended() {
    let peer = Peer::fixed(Answer::metrics("a 1\n")).await;
    let (manager, sink) = manager(ScrapeLimits::default());
    let with = settings(&job("  scrape_interval: 2s\n", &[&peer]));
    manager.apply(&with);
    sink.until("a scrape", |sink| !sink.of(&url(&peer)).is_empty()).await;
    manager.apply(&settings(&job("  scrape_interval: 2s\n", &[])));
    manager.apply(&with);
    let before = sink.of(&url(&peer)).len();
    sink.until("two more scrapes", |sink| sink.of(&url(&peer)).len() > before + 1).await;
    assert_eq!(sink.ended.lock().unwrap().len(), 0);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_job_that_comes_back_in_time_ends_no_series() {
    let peer = Peer::fixed(Answer::metrics("a 1\n")).await;
    let (manager, sink) = manager(ScrapeLimits::default());
    let with = settings(&job("  scrape_interval: 2s\n", &[&peer]));
    manager.apply(&with);
    sink.until("a scrape", |sink| !sink.of(&url(&peer)).is_empty()).await;
    manager.apply(&ScrapeSettings::default());
    manager.apply(&with);
    let before = sink.of(&url(&peer)).len();
    sink.until("two more scrapes", |sink| sink.of(&url(&peer)).len() > before + 1).await;
    assert_eq!(sink.ended.lock().unwrap().len(), 0);
    manager.apply(&ScrapeSettings::default());
    manager.apply(&ScrapeSettings::default());
    sink.until("the end", |sink| sink.ended.lock().unwrap().len() == 1).await;
}

#[tokio::test]
async fn a_target_that_was_refused_starts_when_there_is_room() {
    let (a, b) = (Peer::fixed(Answer::metrics("a 1\n")).await, Peer::fixed(Answer::metrics("b 1\n")).await);
    let (manager, sink) = manager(ScrapeLimits { targets: 1, ..ScrapeLimits::default() });
    let first = job(FAST, &[&a]);
    let second = job(FAST, &[&b]).replace("job_name: j", "job_name: k");
    let second = second.trim_start_matches("scrape_configs:\n");
    manager.apply(&settings(&format!("{first}{second}")));
    let active = |manager: &TargetManager| -> Vec<usize> {
        manager.targets().iter().map(|pool| pool.active.len()).collect()
    };
    assert_eq!(active(&manager), [1, 0]);
    // The other job is the same as before.
    manager.apply(&settings(&format!("scrape_configs:\n{second}")));
    sink.until("the refused one", |sink| !sink.of(&url(&b)).is_empty()).await;
    assert_eq!(active(&manager), [1]);
    manager.shutdown().await;
}

#[tokio::test]
async fn targets_are_limited_dropped_and_counted() {
    let (a, b) = (Peer::fixed(Answer::metrics("a 1\n")).await, Peer::fixed(Answer::metrics("b 1\n")).await);
    let (manager, sink) = manager(ScrapeLimits::default());
    manager.apply(&settings(&job(&format!("{FAST}  target_limit: 1\n"), &[&a, &b])));
    sink.until("scrapes", |sink| !sink.of(&url(&a)).is_empty() && !sink.of(&url(&b)).is_empty()).await;
    assert_eq!(sink.of(&url(&a))[0].value("up"), Some(0.0));
    let error = &manager.targets()[0].active[0].last.error;
    assert_eq!(error, "target_limit exceeded (number of targets: 2, limit: 1)");
    let drop_b = format!(
        "{FAST}  relabel_configs: [{{source_labels: [__address__], regex: '{}', action: drop}}]\n",
        b.address
    );
    manager.apply(&settings(&job(&drop_b, &[&a, &b])));
    let pool = manager.targets().remove(0);
    assert_eq!((pool.active.len(), pool.dropped.len(), pool.dropped_count), (1, 1, 1));
    assert_eq!(pool.dropped[0].value("__address__"), b.address.to_string());
    manager.shutdown().await;

    let limits = ScrapeLimits { targets: 1, ..ScrapeLimits::default() };
    let (manager, _sink) = super::tests::manager(limits);
    manager.apply(&settings(&job(FAST, &[&a, &b])));
    assert_eq!(manager.targets()[0].active.len(), 1);
    manager.apply(&settings(&job(FAST, &[])));
    manager.apply(&settings(&job(FAST, &[&b])));
    assert_eq!(manager.targets()[0].active.len(), 1);
    manager.shutdown().await;
}

#[tokio::test]
async fn files_of_targets_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.json");
    let (a, b) = (Peer::fixed(Answer::metrics("a 1\n")).await, Peer::fixed(Answer::metrics("b 1\n")).await);
    let write = |peer: &Peer| {
        let text = format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"env\": \"e\"}}}}]", peer.address);
        std::fs::write(&file, text).unwrap();
    };
    write(&a);
    let (manager, sink) = manager(ScrapeLimits::default());
    let keys =
        format!("{FAST}  file_sd_configs: [{{files: ['{}'], refresh_interval: 100ms}}]\n", file.display());
    manager.apply(&settings(&format!("scrape_configs:\n- job_name: j\n{keys}")));
    sink.until("the first", |sink| !sink.of(&url(&a)).is_empty()).await;
    let expected = Labels::from_pairs([("env", "e"), ("instance", &a.address.to_string()), ("job", "j")]);
    assert_eq!(*sink.of(&url(&a))[0].key.labels(), expected);
    write(&b);
    sink.until("the second", |sink| !sink.of(&url(&b)).is_empty()).await;
    sink.until("the end of the first", |sink| sink.ended.lock().unwrap().len() == 1).await;
    std::fs::write(&file, "broken").unwrap();
    let before = sink.of(&url(&b)).len();
    sink.until("still the second", |sink| sink.of(&url(&b)).len() > before + 2).await;
    manager.measure();
    manager.shutdown().await;
}

#[tokio::test]
async fn a_reload_keeps_the_targets_of_a_broken_file() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Peer::fixed(Answer::metrics("a 1\n")).await, Peer::fixed(Answer::metrics("b 1\n")).await);
    for (name, peer) in [("a.json", &a), ("b.json", &b)] {
        std::fs::write(dir.path().join(name), format!("[{{\"targets\": [\"{}\"]}}]", peer.address)).unwrap();
    }
    let (manager, sink) = manager(ScrapeLimits::default());
    // The source changes along with the job.
    let with = |keys: &str, refresh: &str| {
        let files = format!("files: ['{}/*.json'], refresh_interval: {refresh}", dir.path().display());
        settings(&format!("scrape_configs:\n- job_name: j\n{keys}  file_sd_configs: [{{{files}}}]\n"))
    };
    manager.apply(&with(FAST, "100ms"));
    sink.until("scrapes", |sink| !sink.of(&url(&a)).is_empty() && !sink.of(&url(&b)).is_empty()).await;
    std::fs::write(dir.path().join("b.json"), "broken").unwrap();
    manager.apply(&with("  scrape_interval: 400ms\n  scrape_timeout: 250ms\n", "200ms"));
    let before = sink.of(&url(&b)).len();
    sink.until("still the second", |sink| sink.of(&url(&b)).len() > before + 4).await;
    assert_eq!(sink.ended.lock().unwrap().len(), 0);
    manager.shutdown().await;
}

#[tokio::test]
async fn the_metrics_have_prometheus_names() {
    let metrics = ScrapeMetrics::default();
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let peer = Peer::fixed(Answer::metrics("a 1\na 2\n")).await;
    let sink = Arc::new(Kept::default());
    let manager = TargetManager::new(sink.clone(), clock, ScrapeLimits::default(), metrics);
    manager.apply(&settings(&job(FAST, &[&peer])));
    sink.until("a scrape", |sink| sink.of(&url(&peer)).len() > 1).await;
    manager.measure();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "prometheus_target_scrape_pools_total 1",
        "prometheus_target_scrape_pool_targets{scrape_job=\"j\"} 1",
        "prometheus_sd_discovered_targets{name=\"scrape\",config=\"j\"} 1",
        "prometheus_target_metadata_cache_entries{scrape_job=\"j\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains("prometheus_target_scrapes_sample_duplicate_timestamp_total 0\n"), "{text}");
    manager.shutdown().await;
}
