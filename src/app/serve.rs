//! `run`: everything wired, then serving until a signal says stop.
//!
//! Signals: SIGHUP reloads. SIGTERM and SIGINT let what is in flight end (see `web.limits.drain_timeout`);
//! a second one ends at once.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::log::Log;
use super::reload::Reloader;
use super::settings::Settings;
use super::{BUILD, Invocation, SettingsError, clock};
use crate::collect::{BuildError, Own};
use crate::web::{Drained, HttpMetrics, Readiness, ReloadHandle, ReloadRequests, Server, WebError, WebState};

/// How long the last log lines may take to be read.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Threads that answer HTTP unless told otherwise: they only shuffle bytes, and waking one more for
/// each request costs more than it helps.
const DEFAULT_WORKER_THREADS: usize = 1;

/// Most threads that encode, compress, check passwords and read files.
const BLOCKING_THREADS: usize = 16;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After a signal, once what was in flight had its time to end.
    Drained,
    /// At a second signal, or because the server failed.
    Cut,
}

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration or a flag is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A collector's options do not go together.
    #[error(transparent)]
    Collectors(#[from] BuildError),
    /// An address cannot be listened on, or the web configuration is wrong.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The system refuses threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Serves until told to stop.
///
/// # Errors
/// It could not start.
pub fn run(invocation: Invocation) -> Result<Ended, StartError> {
    let settings = invocation.settings()?;
    let log = Log::install(settings.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.worker_threads.unwrap_or(DEFAULT_WORKER_THREADS))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("outrigger")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(invocation, settings, log.clone()));
    // What still runs, an encoding or a hung collector, holds nobody up.
    runtime.shutdown_background();
    log.close(LOG_PATIENCE);
    ended
}

async fn serve(invocation: Invocation, settings: Settings, log: Log) -> Result<Ended, StartError> {
    // Before anything that takes time: a signal must not kill a program that can stop in order.
    let mut stops = Stops::new()?;
    let hangup = signal(SignalKind::hangup())?;
    let file = invocation.config_file.as_ref().map(|path| path.display().to_string());
    info!(version = BUILD.version, revision = BUILD.revision, branch = BUILD.branch, "Starting Outrigger");
    info!(file = file.as_deref().unwrap_or("(built in)"), "Configuration loaded");

    let own = Arc::new(Own::new(BUILD, !settings.web.disable_exporter_metrics));
    let http_metrics = HttpMetrics::default();
    own.register(|registry| http_metrics.register(registry));
    if !settings.web.disable_exporter_metrics {
        own.register(|registry| http_metrics.register_exporter_metrics(registry));
    }
    own.config_loaded(true, clock::now());
    let engine = Arc::new(ArcSwap::from_pointee(settings.engine(Arc::clone(&own))?));
    let collectors = engine.load().names().collect::<Vec<_>>().join(",");
    info!(collectors, "Enabled collectors");

    let (reload_handle, reload_requests) = ReloadHandle::new();
    let ready = Readiness::default();
    let state = WebState {
        engine: Arc::clone(&engine),
        now: clock::now,
        ready: ready.clone(),
        reload: settings.web.enable_lifecycle.then_some(reload_handle),
        metrics: http_metrics,
        version: format!("{} (revision {})", BUILD.version, BUILD.revision),
    };
    let server = Server::bind(settings.web.serve.clone(), state).await?;
    let reloader = Reloader { invocation, current: settings, engine, log, own };
    let reloading = tokio::spawn(reload_when_asked(reloader, hangup, reload_requests));

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    ready.set(true);
    let name = stops.next().await;
    info!(signal = name, "Stopping: letting requests in flight end");
    ready.set(false);
    reloading.abort();
    let _ = stop.send(());
    Ok(wind_down(serving, stops.next()).await)
}

/// Waits until the server has drained, or for the signal that does not want to wait.
async fn wind_down<E: Display>(
    serving: impl Future<Output = Result<Drained, E>>,
    second_signal: impl Future<Output = &'static str>,
) -> Ended {
    let drained = tokio::select! {
        biased;
        drained = serving => drained,
        name = second_signal => {
            warn!(signal = name, "Stopping at once");
            return Ended::Cut;
        }
    };
    match drained {
        Ok(Drained { cut_connections: 0 }) => {
            info!("Stopped");
            Ended::Drained
        }
        Ok(Drained { cut_connections }) => {
            warn!(connections = cut_connections, "Stopped; connections were cut");
            Ended::Drained
        }
        Err(error) => {
            warn!(%error, "Stopped; the HTTP server had failed");
            Ended::Cut
        }
    }
}

/// Reloads at SIGHUP and at requests, one after the other, until aborted.
async fn reload_when_asked(mut reloader: Reloader, mut hangup: Signal, mut requests: ReloadRequests) {
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => {
                // The mistakes are in the log; nobody else asked.
                let _ = reloader.reload("SIGHUP").await;
            }
            Some(request) = requests.recv() => {
                let result = reloader.reload("POST /-/reload").await;
                request.finish(result);
            }
            else => return,
        }
    }
}

/// The signals that end the program.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn the_end_is_the_drain_or_the_second_signal() {
        let drained = |cut_connections| ready(Ok::<_, String>(Drained { cut_connections }));
        assert_eq!(wind_down(drained(0), pending()).await, Ended::Drained);
        // Its time was over: that is how a drain ends, no failure.
        assert_eq!(wind_down(drained(3), pending()).await, Ended::Drained);
        assert_eq!(wind_down(drained(0), ready("SIGTERM")).await, Ended::Drained);
        assert_eq!(wind_down(pending::<Result<_, String>>(), ready("SIGINT")).await, Ended::Cut);
        assert_eq!(wind_down(ready(Err("panicked")), pending()).await, Ended::Cut);
    }
}
