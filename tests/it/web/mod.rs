//! The HTTP face over real sockets: a server per test on a port of the kernel's choice.

mod api;
mod auth;
pub(crate) mod authority;
mod explain;
mod judging;
mod limits;
mod listener;
mod pages;
mod push;
mod rules;
mod slos;
mod tls;
mod write;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use outrigger::collect::{Engine, EngineConfig};
use outrigger::model::Timestamp;
use outrigger::web::{BoundAddress, Drained, HttpMetrics, Readiness, Server, WebConfig, WebState};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that runs until told to stop.
pub(crate) struct Running {
    pub(crate) addresses: Vec<BoundAddress>,
    pub(crate) metrics: HttpMetrics,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

/// Configuration with one address on the loopback.
pub(crate) fn config() -> WebConfig {
    WebConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], ..WebConfig::default() }
}

/// What a server shows when nothing is collected.
pub(crate) fn state() -> WebState {
    let engine = Engine::new(EngineConfig { enabled: BTreeSet::new(), ..EngineConfig::default() }).unwrap();
    let ready = Readiness::default();
    ready.set(true);
    WebState {
        engine: Arc::new(ArcSwap::from_pointee(engine)),
        now: || Timestamp::from_millis(1_700_000_000_000),
        ready,
        reload: None,
        api: None,
        write: None,
        metrics: HttpMetrics::default(),
        push: None,
        external_url: "https://o.example/x".parse().unwrap(),
        version: "1.2.3".to_owned(),
    }
}

pub(crate) async fn start(config: WebConfig, state: WebState) -> Running {
    let metrics = state.metrics.clone();
    let server = Server::bind(config, state).await.expect("bind");
    let addresses = server.addresses().to_vec();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    Running { addresses, metrics, stop, task }
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.iter().find_map(BoundAddress::tcp).expect("a TCP address")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("connect")
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    /// Sends `request` and reads until the server closes.
    pub(crate) async fn send(&self, request: impl AsRef<[u8]>) -> Reply {
        exchange(self.connect().await, request).await
    }

    /// The value of one series of the server's own metrics.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        self.metrics.register_exporter_metrics(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.and_then(|value| value.parse().ok())
    }

    /// Waits until the series has the value; a task of the server may be about to set it.
    pub(crate) async fn metric_becomes(&self, series: &str, value: f64) {
        while self.metric(series) != Some(value) {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn stop(self) -> JoinHandle<Drained> {
        let _ = self.stop.send(());
        self.task
    }
}

pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: impl AsRef<[u8]>,
) -> Reply {
    stream.write_all(request.as_ref()).await.expect("send");
    let mut bytes = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut bytes).await;
    Reply::parse(&bytes)
}

/// A response, as far as tests look at it.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Reads until the server closes; true if it sent nothing before.
pub(crate) async fn closed_without_a_word(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes.is_empty()
}

/// Reads one response that has a `Content-Length`, leaving the connection open.
pub(crate) async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let mut bytes = Vec::new();
    loop {
        let reply = Reply::parse(&bytes);
        let length = reply.header("content-length").and_then(|l| l.parse::<usize>().ok());
        if length.is_some_and(|length| reply.body.len() >= length) {
            return reply;
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.expect("read");
        assert!(read > 0, "closed amid a response: {reply:?}");
        bytes.extend_from_slice(&buffer[..read]);
    }
}
