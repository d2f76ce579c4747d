//! All receivers: what the program starts, reloads and stops, and the bounds of what waits for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use super::feed::Feed;
use super::metrics::{RemoteMetrics, RemoteWriteMetrics};
use super::settings::RemoteSettings;
use super::worker::{Clock, MetadataSource, Place, Shared, Worker, locked};
use crate::model::{Labels, Timestamp};
use crate::store::{Outbox, OutboxMark, StateOp, StateTable, Store, StoreError};
use crate::tasks;

/// Name of the state table with the receivers' places.
const TABLE: &str = "remote_write";

/// How long a shutdown waits for requests in flight.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all receivers share.
pub struct RemoteWritesConfig {
    /// The wall clock.
    pub clock: Clock,
    /// Who knows types and help texts.
    pub metadata: MetadataSource,
    /// Most bytes of samples that wait; the oldest go first.
    pub most_bytes: u64,
    /// Longest that samples wait.
    pub most_age: Duration,
    /// Own metrics.
    pub metrics: RemoteWriteMetrics,
}

/// Sends to all receivers. To be used within a tokio runtime.
pub struct RemoteWrites {
    config: RemoteWritesConfig,
    outbox: Outbox,
    table: StateTable,
    running: Mutex<Vec<Running>>,
    follower: Mutex<Option<JoinHandle<()>>>,
}

struct Running {
    remote: Arc<RemoteSettings>,
    external: Labels,
    metrics: RemoteMetrics,
    place: Place,
    stop: watch::Sender<bool>,
    worker: JoinHandle<()>,
    metadata: Option<JoinHandle<()>>,
}

impl Running {
    /// Tells it to stop and hands over what still works.
    fn end(self) -> JoinHandle<()> {
        self.stop.send_replace(true);
        if let Some(metadata) = self.metadata {
            metadata.abort();
        }
        self.worker
    }
}

impl RemoteWrites {
    /// Without any receiver yet.
    pub fn new(store: &Store, config: RemoteWritesConfig) -> Self {
        Self {
            config,
            outbox: store.outbox(),
            table: store.state(TABLE),
            running: Mutex::default(),
            follower: Mutex::default(),
        }
    }

    /// Makes the receivers those of the settings. One that is the same goes on untouched; one that changed goes on
    /// from its place.
    pub fn apply(&self, remotes: &[Arc<RemoteSettings>], external: &Labels) {
        self.outbox.switch(!remotes.is_empty());
        let mut running = locked(&self.running);
        let mut before = std::mem::take(&mut *running);
        for remote in remotes {
            let old =
                before.iter().position(|old| old.remote.name == remote.name).map(|at| before.swap_remove(at));
            match old {
                Some(old) if *old.remote == **remote && old.external == *external => running.push(old),
                old => running.push(self.start(remote, external, old)),
            }
        }
        for gone in before {
            gone.metrics.forget();
            gone.end();
        }
        drop(running);
        let mut follower = locked(&self.follower);
        if !remotes.is_empty() && follower.is_none() {
            *follower = Some(tasks::spawn(follow(self.outbox.newest(), self.config.metrics.clone())));
        }
    }

    fn start(&self, remote: &Arc<RemoteSettings>, external: &Labels, old: Option<Running>) -> Running {
        for why in &remote.idle {
            warn!(remote = remote.name, "{why}");
        }
        let predecessor = old.map(|old| {
            if old.remote.url != remote.url {
                old.metrics.forget();
            }
            old.end()
        });
        let (stop, stopped) = watch::channel(false);
        let metrics = self.config.metrics.of(remote);
        let shared = Arc::new(Shared::new(remote, metrics.clone(), self.config.clock, stopped));
        let newest = self.outbox.newest();
        let place = Place::default();
        let begin = *newest.borrow();
        let worker = Worker {
            shared: Arc::clone(&shared),
            feed: Arc::new(Mutex::new(Feed::new(Arc::clone(remote), external.clone(), self.outbox.clone()))),
            table: self.table.clone(),
            newest,
            begin,
            place: Arc::clone(&place),
        };
        let metadata = remote
            .metadata
            .send
            .then(|| tasks::spawn(shared.run_metadata(Arc::clone(&self.config.metadata))));
        Running {
            remote: Arc::clone(remote),
            external: external.clone(),
            metrics,
            place,
            stop,
            worker: tasks::spawn(worker.run(predecessor)),
            metadata,
        }
    }

    /// Removes what all receivers have, what is beyond the bounds, and places of receivers that are gone. Blocks.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        let (names, places) = {
            let running = locked(&self.running);
            let names: Vec<Vec<u8>> = running.iter().map(|r| r.remote.name.clone().into_bytes()).collect();
            // A receiver whose place is not known yet holds everything.
            let places: Vec<u64> =
                running.iter().map(|r| locked(&r.place).map_or(0, |mark| mark.number)).collect();
            (names, places)
        };
        let mut gone = Vec::new();
        self.table.range(&[], |name, _| {
            if !names.iter().any(|known| known == name) {
                gone.push(StateOp::Delete(name.to_vec()));
            }
            true
        })?;
        if !gone.is_empty() {
            self.table.apply(gone)?;
        }
        let age_ms = i64::try_from(self.config.most_age.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_millis(now.as_millis().saturating_sub(age_ms));
        let before = places.into_iter().min().unwrap_or(u64::MAX);
        let newest = self.newest();
        if newest.number > 0 {
            self.outbox.trim(before, oldest, self.config.most_bytes)?;
        }
        for running in locked(&self.running).iter() {
            if let Some(place) = *locked(&running.place) {
                let pending = newest.samples.saturating_sub(place.samples);
                running.metrics.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
            }
        }
        Ok(())
    }

    fn newest(&self) -> OutboxMark {
        *self.outbox.newest().borrow()
    }

    /// Lets requests in flight end and stops. What waits goes out after the next start.
    pub async fn shutdown(&self) {
        let running = std::mem::take(&mut *locked(&self.running));
        let workers: Vec<JoinHandle<()>> = running.into_iter().map(Running::end).collect();
        let aborts: Vec<_> = workers.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for worker in workers {
                let _ = worker.await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
        if let Some(follower) = locked(&self.follower).take() {
            follower.abort();
        }
    }
}

/// Counts what is taken.
async fn follow(mut newest: watch::Receiver<OutboxMark>, metrics: RemoteWriteMetrics) {
    let mut known = newest.borrow_and_update().samples;
    while newest.changed().await.is_ok() {
        let mark = *newest.borrow_and_update();
        metrics.taken(mark.samples.saturating_sub(known), mark.at.as_seconds_f64());
        known = mark.samples;
    }
}
