//! The server: sockets bound, connections admitted within the limit, and an orderly end.
//!
//! Invariants: never more than `max_connections` connections hold a slot; a new client is turned
//! away only when every slot is busy with a request, for a connection without one makes room (so
//! ten thousand silent connections do not keep the next scrape out); running out of descriptors
//! pauses the accepting instead of spinning.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, info, warn};

use super::config_file::Protection;
use super::connection::{self, Activity, End, Protocol};
use super::gate::Gate;
use super::handshake::handshake;
use super::listen::{BoundAddress, Listener, Stream};
use super::watched_stream::WatchedStream;
use super::{HttpMetrics, InheritedSockets, Limits, WebConfig, WebError, WebState, pages};
use crate::config::WatchedFiles;
use crate::tasks;

/// How long accepting pauses when the machine is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a new client waits for the connection that makes room for it.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// Descriptors that collectors, logs and the store need beside the connections.
const RESERVED_DESCRIPTORS: u64 = 256;

/// The HTTP face, bound to its addresses.
pub struct Server {
    listeners: Vec<Listener>,
    addresses: Vec<BoundAddress>,
    shared: Arc<Shared>,
}

/// What [`Server::serve`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut because they did not end within the drain's time.
    pub cut_connections: usize,
}

impl Server {
    /// Binds every address of `config`; nothing is answered before [`Server::serve`].
    ///
    /// # Errors
    /// What is wrong with the web configuration file; the first address that cannot be listened on.
    pub async fn bind(config: WebConfig, state: WebState) -> Result<Self, WebError> {
        config.check()?;
        let gate = Arc::new(open_gate(&config, &state).await?);
        let mut listeners = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            let failed = |source| WebError::Listen { address: address.clone(), source };
            let listener = Listener::bind(address).await.map_err(failed)?;
            listeners.push((listener.address().map_err(failed)?, listener));
        }
        Ok(Self::with_listeners(listeners, &config, state, gate))
    }

    /// Serves sockets that the process was started with; the addresses of `config` are not looked at.
    ///
    /// # Errors
    /// What is wrong with the web configuration file, or with a socket.
    pub async fn on_inherited(
        sockets: InheritedSockets,
        config: WebConfig,
        state: WebState,
    ) -> Result<Self, WebError> {
        config.check()?;
        let gate = Arc::new(open_gate(&config, &state).await?);
        Ok(Self::with_listeners(sockets.listeners()?, &config, state, gate))
    }

    fn with_listeners(
        listeners: Vec<(BoundAddress, Listener)>,
        config: &WebConfig,
        state: WebState,
        gate: Arc<Gate>,
    ) -> Self {
        let (addresses, listeners) = listeners.into_iter().unzip();
        let limits = Limits { max_connections: connection_limit(&config.limits), ..config.limits.clone() };
        let metrics = state.metrics.clone();
        let router = pages::below(&config.prefix, pages::router(config, state, Arc::clone(&gate)));
        let slots = Arc::new(Slots::new(limits.max_connections));
        let shared = Arc::new(Shared { router, limits, metrics, gate, slots });
        Self { listeners, addresses, shared }
    }

    /// Where it listens, in the order of the configuration, with the ports that the kernel chose.
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.addresses
    }

    /// Answers requests until `shutdown` resolves, then lets those in flight end.
    ///
    /// Takes at most the drain time of [`Limits`] after `shutdown`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Drained {
        let (stop, stopped) = watch::channel(false);
        for (listener, address) in self.listeners.into_iter().zip(self.addresses) {
            info!(%address, tls = self.shared.gate.asks_for_tls(), "Listening on");
            tasks::spawn(accept(listener, Arc::clone(&self.shared), stopped.clone()));
        }
        drop(stopped);
        shutdown.await;
        // Ends the accepting, which closes the sockets, and every connection without a request.
        stop.send_replace(true);
        self.shared.drain().await
    }
}

/// Checks a web configuration file and the certificates it names; blocks.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check_config_file(path: &Path) -> Result<(), WebError> {
    Protection::load(path, &mut WatchedFiles::default())?;
    Ok(())
}

async fn open_gate(config: &WebConfig, state: &WebState) -> Result<Gate, WebError> {
    let (file, interval) = (config.config_file.clone(), config.config_file_interval);
    let metrics = state.metrics.clone();
    let opening = tasks::blocking(move || Gate::open(file, interval, metrics));
    opening.await.map_err(|_| WebError::Stopping)?
}

/// What is asked for, or what the descriptor limit leaves room for.
fn connection_limit(limits: &Limits) -> usize {
    let asked = limits.max_connections.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let Some(descriptors) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current else {
        return asked;
    };
    let room = descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(descriptors / 4).max(1);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if room < asked {
        warn!(
            asked,
            limit = room,
            descriptors,
            "The limit on open files (RLIMIT_NOFILE) leaves room for fewer connections"
        );
    }
    asked.min(room)
}

struct Shared {
    router: Router,
    limits: Limits,
    metrics: HttpMetrics,
    gate: Arc<Gate>,
    slots: Arc<Slots>,
}

/// Takes clients from one socket until told to stop.
async fn accept(listener: Listener, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let mut stopping = pin!(connection::stopped(stop.clone()));
    let mut short_of_resources = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopping => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                if std::mem::take(&mut short_of_resources) {
                    info!("Accepting connections again");
                }
                shared.admit(stream, &stop).await;
            }
            // The client left before its turn came; the next one may be fine.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut short_of_resources, true) {
                    warn!(%error, "Cannot accept connections for now");
                }
                // Most likely EMFILE: a connection without a request gives its descriptor back.
                shared.slots.evict_quietest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Shared {
    /// Serves the client in a task of its own, or closes the connection if there is no room.
    async fn admit(self: &Arc<Self>, stream: Stream, stop: &watch::Receiver<bool>) {
        let Some(slot) = self.slots.take().await else {
            self.metrics.connection_refused();
            return;
        };
        let shared = Arc::clone(self);
        let stop = stop.clone();
        tasks::spawn(async move {
            let open = shared.metrics.connection_opened();
            let end = shared.serve_connection(stream, &slot.activity, stop).await;
            debug!(reason = end.as_str(), "Connection ended");
            shared.metrics.connection_closed(end);
            drop(open);
            drop(slot);
        });
    }

    async fn serve_connection(
        &self,
        stream: Stream,
        activity: &Arc<Activity>,
        stop: watch::Receiver<bool>,
    ) -> End {
        let (router, limits) = (self.router.clone(), &self.limits);
        let Some(tls) = self.gate.protection().await.tls.clone() else {
            let stream = WatchedStream::new(stream, Arc::clone(activity));
            return connection::serve(stream, Protocol::Http1, activity, router, limits, stop).await;
        };
        let shaking_hands = handshake(stream, Arc::clone(activity), tls);
        let shaken = tokio::select! {
            biased;
            () = activity.evicted() => return End::Evicted,
            () = connection::stopped(stop.clone()) => return End::Shutdown,
            shaken = tokio::time::timeout(limits.header_timeout, shaking_hands) => shaken,
        };
        match shaken {
            Ok(Ok((stream, http))) => connection::serve(stream, http, activity, router, limits, stop).await,
            Ok(Err(_)) => End::Handshake,
            Err(_) => End::HeaderTimeout,
        }
    }

    /// Waits for all connections to end; cuts those that take too long.
    async fn drain(&self) -> Drained {
        let all = u32::try_from(self.limits.max_connections).unwrap_or(u32::MAX);
        let ended = self.slots.free.acquire_many(all);
        if tokio::time::timeout(self.limits.drain_timeout, ended).await.is_ok() {
            return Drained { cut_connections: 0 };
        }
        let cut_connections = self.slots.evict_all();
        warn!(connections = cut_connections, "Connections were cut: they did not end in time");
        Drained { cut_connections }
    }
}

/// Room for connections, and who has it.
struct Slots {
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Activity>>>,
    next_id: AtomicU64,
    limit: usize,
    full: AtomicBool,
}

/// One connection's room, free again when dropped.
struct Slot {
    id: u64,
    activity: Arc<Activity>,
    slots: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.forget(self.id);
    }
}

impl Slots {
    fn new(limit: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            taken: Mutex::default(),
            next_id: AtomicU64::new(0),
            limit,
            full: AtomicBool::new(false),
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot; if need be that of the connection without a request for longest.
    async fn take(self: &Arc<Self>) -> Option<Slot> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room().await?,
        };
        let activity = Activity::new(Instant::now());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.taken().insert(id, Arc::clone(&activity));
        Some(Slot { id, activity, slots: Arc::clone(self), _permit: permit })
    }

    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        if !self.full.swap(true, Ordering::Relaxed) {
            warn!(limit = self.limit, "Connection limit reached: new connections replace idle ones");
        }
        if !self.evict_quietest() {
            return None;
        }
        let permit = Arc::clone(&self.free).acquire_owned();
        tokio::time::timeout(ROOM_TIMEOUT, permit).await.ok()?.ok()
    }

    /// Closes the connection that has been without a request for longest; false if all are busy.
    fn evict_quietest(&self) -> bool {
        let taken = self.taken();
        let quiet = taken.values().filter_map(|a| a.quiet_since().map(|since| (since, a)));
        let quietest = quiet.min_by_key(|(since, _)| *since);
        if let Some((_, activity)) = quietest {
            activity.evict();
        }
        quietest.is_some()
    }

    fn evict_all(&self) -> usize {
        let taken = self.taken();
        taken.values().for_each(|activity| activity.evict());
        taken.len()
    }

    fn forget(&self, id: u64) {
        let left = {
            let mut taken = self.taken();
            taken.remove(&id);
            taken.len()
        };
        // Well below the limit, so that a load around it does not log all the time.
        if left <= self.limit / 2 && self.full.swap(false, Ordering::Relaxed) {
            info!(connections = left, limit = self.limit, "Connections are below the limit again");
        }
    }
}
