//! The web configuration file while the server runs: in force, and read again when it changes.
//!
//! Looked at when a connection or a request comes, not more often than the interval: an idle server
//! costs nothing, and a renewed certificate is used from the next connection on.
//!
//! Invariants: a file that has become wrong leaves what is in force, is logged once and shown as a
//! metric; a file that no longer asks for TLS or for users - an editor may just have emptied it -
//! counts as wrong, so that protection never goes away while the server runs; reading happens on a
//! blocking thread, one at a time, and nobody waits for a file system that hangs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Mutex;
use tracing::{debug, error, info};

use super::auth::{Authenticator, Verdict};
use super::config_file::Protection;
use super::pages::text;
use super::{HttpMetrics, WebError};
use crate::config::WatchedFiles;
use crate::tasks;

/// How long a connection or a request waits for the file to be looked at.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The protection in force.
pub(super) struct Gate {
    in_force: Arc<ArcSwap<Protection>>,
    file: Option<File>,
    authenticator: Authenticator,
}

struct File {
    interval: Duration,
    watch: Arc<Mutex<Watch>>,
}

struct Watch {
    path: PathBuf,
    looked: Instant,
    files: WatchedFiles,
    broken: bool,
    metrics: HttpMetrics,
}

impl Gate {
    /// Reads the file, if there is one; blocks. `interval` is how often it is looked at again.
    pub(super) fn open(
        path: Option<PathBuf>,
        interval: Duration,
        metrics: HttpMetrics,
    ) -> Result<Self, WebError> {
        let authenticator = Authenticator::new().ok_or(WebError::NoRandomness)?;
        metrics.web_config_loaded(true);
        let Some(path) = path else {
            return Ok(Self { in_force: Arc::default(), file: None, authenticator });
        };
        let mut files = WatchedFiles::default();
        let protection = Protection::load(&path, &mut files)?;
        let watch = Watch { path, looked: Instant::now(), files, broken: false, metrics };
        let file = File { interval, watch: Arc::new(Mutex::new(watch)) };
        Ok(Self { in_force: Arc::new(ArcSwap::from_pointee(protection)), file: Some(file), authenticator })
    }

    /// Whether clients must speak TLS. Cannot turn to no while the server runs.
    pub(super) fn asks_for_tls(&self) -> bool {
        self.in_force.load().tls.is_some()
    }

    /// What is in force now; after a change of the file, what it says now.
    pub(super) async fn protection(&self) -> Arc<Protection> {
        if let Some(file) = &self.file
            // Whoever comes while another looks takes what is there.
            && let Ok(mut watch) = Arc::clone(&file.watch).try_lock_owned()
            && watch.looked.elapsed() >= file.interval
        {
            let in_force = Arc::clone(&self.in_force);
            let look = tasks::blocking(move || watch.look(&in_force));
            // On a timeout it goes on, holding the lock: one thread at most is stuck.
            let _ = tokio::time::timeout(LOOK_TIMEOUT, look).await;
        }
        self.in_force.load_full()
    }
}

impl Watch {
    fn look(&mut self, in_force: &ArcSwap<Protection>) {
        self.looked = Instant::now();
        if !self.files.have_changed() {
            return;
        }
        let mut files = WatchedFiles::default();
        let loaded = Protection::load(&self.path, &mut files).map_err(|error| error.to_string());
        let result = loaded.and_then(|new| still_protects(&in_force.load(), new));
        self.files = files;
        let path = self.path.display();
        self.metrics.web_config_loaded(result.is_ok());
        match result {
            Ok(new) => {
                in_force.store(Arc::new(new));
                self.broken = false;
                info!(file = %path, "Web configuration read again");
            }
            Err(error) if self.broken => debug!(file = %path, error, "Web configuration is still wrong"),
            Err(error) => {
                self.broken = true;
                error!(file = %path, error, "Web configuration is wrong, the last good one stays in force");
            }
        }
    }
}

fn still_protects(old: &Protection, new: Protection) -> Result<Protection, String> {
    let lost = if old.tls.is_some() && new.tls.is_none() {
        "TLS"
    } else if !old.users.is_empty() && new.users.is_empty() {
        "basic authentication"
    } else {
        return Ok(new);
    };
    Err(format!("the file no longer asks for {lost}; to go on without, restart"))
}

/// Lets a request pass that may; sets the configured headers on every answer.
pub(super) async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let protection = gate.protection().await;
    let mut response = match admit(&gate, &protection, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal,
    };
    for (name, value) in &protection.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

async fn admit(gate: &Gate, protection: &Protection, headers: &HeaderMap) -> Result<(), Response> {
    if protection.rate_limit.as_ref().is_some_and(|limit| !limit.allow(Instant::now())) {
        return Err(text(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"));
    }
    if protection.users.is_empty() {
        return Ok(());
    }
    match gate.authenticator.check(&protection.users, headers).await {
        Verdict::Allowed => Ok(()),
        Verdict::Refused => {
            let mut refusal = text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            Err(refusal)
        }
        Verdict::Busy => {
            let mut refusal = text(StatusCode::SERVICE_UNAVAILABLE, "Too many logins are being checked\n");
            refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Err(refusal)
        }
    }
}
