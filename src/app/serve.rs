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
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::history::{self, History, HistoryError};
use super::log::Log;
use super::reload::Reloader;
use super::rules::Rules;
use super::settings::Settings;
use super::{BUILD, Invocation, SettingsError, clock, push};
use crate::checks::{Checks, Kind};
use crate::collect::{BuildError, Own, release_freed_memory, release_unused_text, share_arenas};
use crate::scorecard::Scoreboard;
use crate::tasks;
use crate::web::{
    Drained, HttpMetrics, InheritedSockets, Readiness, ReloadHandle, ReloadRequests, Server, Status,
    WebConfig, WebError, WebState,
};

/// How long the last log lines may take to be read.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How often memory that is not needed is given back to the system: rare enough to cost nothing, and a minute after a
/// burst the program is small again. The start is such a burst, so the first times come sooner, each after four times
/// as long as the one before.
const RELEASE_INTERVAL: Duration = Duration::from_secs(60);
const FIRST_RELEASE: Duration = Duration::from_secs(1);

/// How often the scorecard is computed though nobody asks.
const SCORECARD_INTERVAL: Duration = Duration::from_secs(30);

/// How long Alertmanagers may take for what waits for them when the program ends.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(3);

/// Threads that answer HTTP unless told otherwise: they only shuffle bytes, and waking one more for
/// each request costs more than it helps.
const DEFAULT_WORKER_THREADS: usize = 1;

/// Most threads that encode, compress, check passwords and read files; calls of the API have their own beside these.
const BLOCKING_THREADS: usize = 32;

/// Stack of a thread. The deepest expression that the parser takes is evaluated on it; what is not used is not
/// memory.
pub(super) const STACK_BYTES: usize = 16 << 20;

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
    /// Pushed metrics of the last run cannot be read.
    #[error("cannot read pushed metrics below storage.path: {0}")]
    Pushes(#[source] io::Error),
    /// The history cannot be opened.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The system refuses threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Serves until told to stop.
///
/// # Errors
/// It could not start.
pub fn run(invocation: Invocation) -> Result<Ended, StartError> {
    share_arenas();
    raise_descriptor_limit();
    let settings = invocation.settings()?;
    // While there is one thread.
    let inherited = settings.web.systemd_socket.then(InheritedSockets::take).transpose()?;
    let log = Log::install(settings.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.worker_threads.unwrap_or(DEFAULT_WORKER_THREADS))
        .max_blocking_threads(BLOCKING_THREADS + history::turns(&settings.query))
        .thread_stack_size(STACK_BYTES)
        .thread_name("outrigger")
        .enable_all()
        .build()?;
    runtime.spawn(release_memory());
    let ended = runtime.block_on(serve(invocation, settings, inherited, log.clone()));
    // What still runs, an encoding or a hung collector, holds nobody up.
    runtime.shutdown_background();
    log.close(LOG_PATIENCE);
    ended
}

/// Descriptors that are asked for: thousands of files of the kernel stay open where there are hundreds of containers.
const DESCRIPTORS: u64 = 16_384;

/// Raises the soft limit on open files, as far as the hard one allows. It is low by default for programs that use
/// `select`, which this one does not, and it is not handed on: no other program is started.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |hard| hard.min(DESCRIPTORS));
    if current.is_some_and(|soft| soft < wanted) {
        // Refused, it stays as it was, and fewer files stay open.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

async fn serve(
    invocation: Invocation,
    settings: Settings,
    inherited: Option<InheritedSockets>,
    log: Log,
) -> Result<Ended, StartError> {
    // Before anything that takes time: a signal must not kill a program that can stop in order.
    let mut stops = Stops::new()?;
    let hangup = signal(SignalKind::hangup())?;
    let file = invocation.config_file.as_ref().map(|path| path.display().to_string());
    info!(version = BUILD.version, revision = BUILD.revision, branch = BUILD.branch, "Starting Outrigger");
    let reading = settings.clone();
    let judges = tasks::blocking(move || reading.judges()).await;
    let judges = judges.map_err(io::Error::other)?.map_err(SettingsError::from)?;
    judges.warn();
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
    if !invocation.overrides.absent.is_empty() {
        let collectors = invocation.overrides.absent.join(",");
        warn!(collectors, "These collectors of node_exporter's are not there; their flags do nothing");
    }

    let checks = start_checks(&settings, &own);
    let pushes = push::open(&settings, &own).map_err(StartError::Pushes)?;
    let (opening, registering, gathering) = (settings.clone(), Arc::clone(&own), Arc::clone(&engine));
    // Opening reads what a kill left in the log.
    let opened = tasks::blocking(move || History::open(&opening, &registering, gathering)).await;
    let mut history = opened.map_err(io::Error::other)??;
    let status = Status::default();
    status.config_loaded(&settings.shown_file, clock::now());
    let write = history.write_api(&settings, &own);
    let rules = Arc::new(Rules::new(&settings, history.store(), history.discovery_metrics(), &own));
    let api = Arc::new(history.api(&settings, status.clone(), Arc::clone(&engine), &rules));
    let gateway = pushes.as_ref().map(|pushes| Arc::clone(&pushes.gateway));
    history.start(&settings, Arc::clone(&engine), gateway);
    let (applied, global, told) =
        (Arc::clone(&rules), settings.scrape.global.clone(), settings.notify.clone());
    let timing = settings.rules.timing;
    let applying = tasks::blocking(move || applied.apply(judges, &global, &told, timing));
    applying.await.map_err(io::Error::other)??;

    tasks::spawn(keep_score(rules.scoreboard()));

    let (reload_handle, reload_requests) = ReloadHandle::new();
    let ready = Readiness::default();
    let state = WebState {
        engine: Arc::clone(&engine),
        now: clock::now,
        ready: ready.clone(),
        reload: settings.web.enable_lifecycle.then_some(reload_handle),
        metrics: http_metrics,
        push: pushes,
        external_url: api.facts.external_url.clone(),
        api: Some(api),
        write,
        version: format!("{} (revision {})", BUILD.version, BUILD.revision),
    };
    let config = WebConfig { prefix: settings.web.prefix(), ..settings.web.serve.clone() };
    let server = match inherited {
        Some(sockets) => Server::on_inherited(sockets, config, state).await?,
        None => Server::bind(config, state).await?,
    };
    let reloader = Reloader {
        invocation,
        current: settings,
        engine,
        log,
        own,
        status,
        targets: history.targets(),
        remotes: history.remotes(),
        queries: history.queries(),
        rules: Arc::clone(&rules),
        checks: checks.clone(),
    };
    let reloading = tasks::spawn(reload_when_asked(reloader, hangup, reload_requests));

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
    let ended = wind_down(serving, stops.next()).await;
    if ended == Ended::Drained {
        tokio::select! {
            () = close(rules, history) => {}
            name = stops.next() => {
                warn!(signal = name, "Stopping at once; what the history's log holds is read at the next start");
                return Ok(Ended::Cut);
            }
        }
    }
    Ok(ended)
}

/// Checks on their own clocks; passes hand out what they find.
fn start_checks(settings: &Settings, own: &Own) -> Checks {
    let checks = Checks::new(clock::now);
    for kind in Kind::ALL {
        let asked = checks.clone();
        own.handed().put(kind.name(), Arc::new(move |now, out| asked.write(kind, now, out)));
    }
    checks.apply(&settings.checks);
    checks
}

/// Gives back now and then what a burst took, for as long as the runtime is there.
async fn release_memory() {
    let mut wait = FIRST_RELEASE;
    loop {
        tokio::time::sleep(wait).await;
        let release = || {
            release_freed_memory();
            release_unused_text();
        };
        let _ = tasks::blocking(release).await;
        wait = wait.saturating_mul(4).min(RELEASE_INTERVAL);
    }
}

/// Computes the scorecard now and then, for its metrics and for health; who asks for it has it computed anew.
async fn keep_score(scoreboard: Scoreboard) {
    let mut ticks = tokio::time::interval(SCORECARD_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let scoreboard = scoreboard.clone();
        let _ = tasks::blocking(move || scoreboard.current(clock::now())).await;
    }
}

/// Ends the rules, then who is told by them, then what they read and write.
async fn close(rules: Arc<Rules>, history: History) {
    let notifier = rules.notifier();
    let _ = tasks::blocking(move || rules.close()).await;
    notifier.shutdown(Instant::now() + DELIVERY_PATIENCE).await;
    history.close().await;
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
