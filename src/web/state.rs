//! What the HTTP face is given: its configuration, and handles to the parts that it shows.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::Uri;
use tokio::sync::{mpsc, oneshot};

use super::{Api, HttpMetrics, Limits, ListenAddress, PushApi, WriteApi};
use crate::collect::Engine;
use crate::config::LoadError;
use crate::model::Timestamp;

/// How to serve HTTP. Fixed for as long as the server runs, except what the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Where to listen; each address gets the same pages.
    pub listen: Vec<ListenAddress>,
    /// TLS, users and headers in exporter-toolkit's format (`--web.config.file`).
    pub config_file: Option<PathBuf>,
    /// How often it, and the files it names, are looked at for changes while clients come.
    pub config_file_interval: Duration,
    /// Where the metrics are (`--web.telemetry-path`); starts with `/`.
    pub metrics_path: String,
    /// What stands before the path of every page; empty, or with a slash before and none behind.
    pub prefix: String,
    /// What clients may cost.
    pub limits: Limits,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp { host: None, port: 9780 }],
            config_file: None,
            config_file_interval: Duration::from_secs(1),
            metrics_path: "/metrics".to_owned(),
            prefix: String::new(),
            limits: Limits::default(),
        }
    }
}

/// What the pages show and act on.
#[derive(Clone)]
pub struct WebState {
    /// The collectors; a reload swaps them whole.
    pub engine: Arc<ArcSwap<Engine>>,
    /// The wall clock, read once a scrape.
    pub now: fn() -> Timestamp,
    /// Whether the program is ready to serve.
    pub ready: Readiness,
    /// How to ask for a reload; `None` while the lifecycle API is off.
    pub reload: Option<ReloadHandle>,
    /// The HTTP face's own metrics; the caller registers them.
    pub metrics: HttpMetrics,
    /// The Pushgateway; `None` while it is off.
    pub push: Option<PushApi>,
    /// Prometheus's HTTP API; `None` where there is no history to ask.
    pub api: Option<Arc<Api>>,
    /// Remote write from others; `None` while it is off.
    pub write: Option<WriteApi>,
    /// Where others reach this program: pages of this host may change something.
    pub external_url: Uri,
    /// What the landing page calls this build, as "0.1.0 (revision abc)".
    pub version: String,
}

/// Whether the program is ready; set by its owner, read by `/-/ready`. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says that requests will be answered from now on, or no longer.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether requests are answered.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A client's wish that the configuration be read again.
#[derive(Debug)]
pub struct ReloadRequest {
    done: oneshot::Sender<Result<(), String>>,
}

impl ReloadRequest {
    /// Tells the client how it went; an error's text is shown to it.
    pub fn finish(self, result: Result<(), String>) {
        // A client that left does not want to know.
        let _ = self.done.send(result);
    }
}

/// The receiving end of [`ReloadHandle`].
pub type ReloadRequests = mpsc::Receiver<ReloadRequest>;

/// Asks the owner of the configuration to reload it.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

impl ReloadHandle {
    /// A handle and the requests made through it; at most one waits while one is worked on.
    pub fn new() -> (Self, ReloadRequests) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// What is wrong with the new configuration, or that nobody reloads any more.
    pub(super) async fn reload(&self) -> Result<(), String> {
        let gone = || "the program is stopping".to_owned();
        let (done, answer) = oneshot::channel();
        self.0.send(ReloadRequest { done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Why the HTTP face could not start.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as configured.
        address: ListenAddress,
        /// What the kernel says.
        source: io::Error,
    },
    /// `--web.systemd-socket` without a socket.
    #[error(
        "the service manager handed over no socket (LISTEN_PID, LISTEN_FDS); start the .socket unit, or leave out --web.systemd-socket"
    )]
    NoSystemdSocket,
    /// What was handed over cannot be served.
    #[error("socket {index} of those that the service manager handed over")]
    SystemdSocket {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The web configuration file is wrong; the text has every error, each with its place.
    #[error(transparent)]
    ConfigFile(#[from] LoadError),
    /// The system gives no random numbers, without which credentials cannot be remembered safely.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The runtime is shutting down.
    #[error("the program is stopping")]
    Stopping,
    /// The path of the metrics cannot be a route.
    #[error(
        "metrics path {0:?}: it must start with \"/\", hold only letters, digits and \"/-._~\", and not be under \"/-/\", \"/api/\" or another path of the program's own"
    )]
    MetricsPath(String),
}

impl WebConfig {
    /// Checks what can be checked without opening anything.
    ///
    /// # Errors
    /// A metrics path that cannot be a route.
    pub fn check(&self) -> Result<(), WebError> {
        let path = &self.metrics_path;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        let taken =
            ["/-/", "/api/", "/federate", "/metrics/job", "/alerts/"].iter().any(|own| path.starts_with(own))
                || ["/alerts", "/graph", "/rules"].contains(&path.as_str());
        if path.starts_with('/') && !taken && path.bytes().all(plain) {
            return Ok(());
        }
        Err(WebError::MetricsPath(path.chars().take(128).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metrics_path_must_be_a_plain_one_of_its_own() {
        let check = |path: &str| WebConfig { metrics_path: path.to_owned(), ..WebConfig::default() }.check();
        for fine in ["/", "/metrics", "/a/b-c_d.e~f", "/-metrics"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
        for bad in [
            "",
            "metrics",
            "/rules",
            "/alerts/ack",
            "/{x}",
            "/a b",
            "/*",
            "/-/healthy",
            "/api/v1/query",
            "/federate",
            "/a?b",
            "/é",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
