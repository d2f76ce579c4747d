//! One receiver's queue at work: windows of the outbox, sent shard by shard, and the place up to which they are.
//!
//! Invariants: the place moves, and is committed, only when the whole window before it was sent or given up for a
//! counted reason; a failure that may pass holds the queue, and loses nothing but what the outbox's bounds remove.
//!
//! After a start the last window may have reached the receiver without the place having been committed. Samples that
//! a receiver has already are refused by some together with all others of their request. So the first entries go out
//! one at a time, and a request that is refused is halved until what is refused stands alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::feed::{Batch, Feed, Window, WindowSize, oldest_ms};
use super::message::{Metadata, MetadataMap, Protocol, compress, encode_metadata};
use super::metrics::{RemoteMetrics, TOO_OLD};
use super::send::{Outcome, post};
use super::settings::RemoteSettings;
use crate::http_client::HttpClient;
use crate::model::{OncePerState, Timestamp};
use crate::store::{OutboxMark, StateTable, StoreError};
use crate::tasks;

/// What tells the time.
pub type Clock = fn() -> Timestamp;

/// Asks for what is known of all metrics.
pub type MetadataSource = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<Metadata>> + Send>> + Send + Sync>;

/// Requests that a refused one may be halved into, before what is left of it is given up.
const MOST_HALVINGS: usize = 64;

/// Pause after the store could not be read or written.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// What the queue of a receiver is doing, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Retrying,
    Refused,
}

/// What the tasks of one receiver share.
pub(super) struct Shared {
    pub(super) remote: Arc<RemoteSettings>,
    pub(super) client: HttpClient,
    pub(super) metrics: RemoteMetrics,
    pub(super) clock: Clock,
    pub(super) known: ArcSwap<MetadataMap>,
    pub(super) stop: watch::Receiver<bool>,
    state: Mutex<OncePerState<State>>,
}

/// The end of a queue's work: it was told to stop.
struct Stopped;

/// A batch that the receiver will not have.
struct Refusal {
    batch: Batch,
    why: String,
    /// Samples of it that it took all the same.
    written: usize,
    /// Whether single samples may be the cause.
    bad_request: bool,
}

/// The place of a receiver, as others see it.
pub(super) type Place = Arc<Mutex<Option<OutboxMark>>>;

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) feed: Arc<Mutex<Feed>>,
    pub(super) table: StateTable,
    pub(super) newest: watch::Receiver<OutboxMark>,
    /// Where a receiver that has no place yet begins.
    pub(super) begin: OutboxMark,
    pub(super) place: Place,
}

impl Shared {
    pub(super) fn new(
        remote: &Arc<RemoteSettings>,
        metrics: RemoteMetrics,
        clock: Clock,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            remote: Arc::clone(remote),
            client: HttpClient::new(&remote.client),
            metrics,
            clock,
            known: ArcSwap::default(),
            stop,
            state: Mutex::new(OncePerState::starting_at(State::Well)),
        }
    }

    fn note(&self, state: State, why: &str) {
        let Some(change) = locked(&self.state).observe(state) else { return };
        let remote = self.remote.name.as_str();
        match state {
            State::Well => info!(remote, requests = change.repeats, "Remote write goes well again"),
            State::Retrying => {
                warn!(remote, error = why, "Remote write fails; it is tried again until it goes well")
            }
            State::Refused => {
                error!(remote, error = why, "Remote write was refused; what it held is dropped and counted")
            }
        }
    }

    /// Waits, or learns that it is time to stop.
    async fn pause(&self, duration: Duration) -> Result<(), Stopped> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = sleep(duration) => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Err(Stopped),
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits between tries: doubled each time, or what the receiver asks for.
struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    fn new(remote: &RemoteSettings) -> Self {
        Self { next: remote.queue.min_backoff, most: remote.queue.max_backoff }
    }

    fn wait(&mut self, after: Option<Duration>) -> Duration {
        let wait = after.filter(|after| !after.is_zero()).unwrap_or(self.next);
        self.next = self.next.saturating_mul(2).min(self.most);
        wait
    }
}

/// What is committed of a queue: where it is, and how many shards it had then.
fn saved(mark: OutboxMark, shards: usize) -> Vec<u8> {
    [mark.number, mark.samples, mark.bytes, shards as u64].iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn read_saved(row: &[u8]) -> Option<(OutboxMark, usize)> {
    let mut numbers = row.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok().map(u64::from_be_bytes));
    let (number, samples, bytes) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let shards = usize::try_from(numbers.next()?).ok()?;
    Some((OutboxMark { number, samples, bytes, ..OutboxMark::default() }, shards))
}

impl Worker {
    /// Sends until told to stop. A predecessor of the same name is waited for.
    pub(super) async fn run(mut self, predecessor: Option<tokio::task::JoinHandle<()>>) {
        if let Some(predecessor) = predecessor {
            let _ = predecessor.await;
        }
        while self.work().await.is_err() && !self.is_over() {
            let remote = self.shared.remote.name.as_str();
            error!(remote, "Remote write stopped over a fault of its own; it goes on from its last place");
            if self.shared.pause(STORE_PAUSE).await.is_err() {
                return;
            }
        }
    }

    /// Whether it was told to stop, or the store is gone.
    fn is_over(&self) -> bool {
        *self.shared.stop.borrow() || self.newest.has_changed().is_err()
    }

    async fn work(&mut self) -> Result<(), Stopped> {
        let queue = self.shared.remote.queue.clone();
        let (mut place, saved_shards) = self.load().await?;
        let mut shards = saved_shards.clamp(queue.min_shards, queue.max_shards);
        // Twice: the number of shards may have grown for the window that was not committed.
        let mut doubtful = 2 * shards * queue.shard_samples();
        loop {
            self.show(place, shards);
            self.wait_for_samples(place).await?;
            let single = doubtful > 0;
            let before = place;
            let mut window = self.window(place, shards, single).await?;
            if window.end.number == place.number {
                // What waits is damaged: what comes next leads beyond it.
                self.shared.pause(STORE_PAUSE).await?;
                continue;
            }
            let full = window.full;
            place = window.end;
            let sent = self.send(std::mem::take(&mut window.shards), single);
            self.show_while(before, shards, sent).await?;
            // Counted when it is over: a window that is cut off is read again.
            window.dropped.iter().for_each(|(reason, samples)| self.shared.metrics.dropped(reason, *samples));
            doubtful = doubtful
                .saturating_sub(usize::try_from(place.samples - before.samples).unwrap_or(usize::MAX));
            if full {
                self.shared.metrics.enqueue_retries.inc();
                shards = (shards * 2).min(queue.max_shards);
            } else if !single {
                shards = (shards / 2).max(queue.min_shards);
            }
            self.save(place, shards).await?;
        }
    }

    /// The place of the last run, or the beginning.
    async fn load(&self) -> Result<(OutboxMark, usize), Stopped> {
        let name = self.shared.remote.name.clone();
        let table = self.table.clone();
        let row = self.with_store(move || table.get(name.as_bytes())).await?;
        let newest = *self.newest.borrow();
        // One beyond the end is of a store that was replaced, or damaged, since.
        let known = row
            .and_then(|row| read_saved(&row))
            .filter(|(mark, _)| mark.number <= newest.number && mark.samples <= newest.samples);
        let (mark, shards) = known.unwrap_or((self.begin, 1));
        *locked(&self.place) = Some(mark);
        if known.is_none() {
            self.save(mark, shards).await?;
        }
        Ok((mark, shards))
    }

    async fn save(&self, mark: OutboxMark, shards: usize) -> Result<(), Stopped> {
        let (name, row) = (self.shared.remote.name.clone(), saved(mark, shards));
        let table = self.table.clone();
        self.with_store(move || table.put(name.as_bytes(), &row)).await?;
        *locked(&self.place) = Some(mark);
        Ok(())
    }

    /// Does something with the store off the async threads, until it works.
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl Fn() -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, Stopped> {
        let work = Arc::new(work);
        loop {
            let turn = Arc::clone(&work);
            let why = match tasks::blocking(move || turn()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            self.shared.note(State::Retrying, &why);
            self.shared.pause(STORE_PAUSE).await?;
        }
    }

    fn show(&self, place: OutboxMark, shards: usize) {
        let pending = self.newest.borrow().samples.saturating_sub(place.samples);
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let desired = pending.div_ceil(self.shared.remote.queue.shard_samples() as u64);
        self.shared.metrics.pending.set(number(pending));
        self.shared.metrics.shards.set(number(shards as u64));
        self.shared.metrics.shards_desired.set(number(desired));
    }

    /// Shows what waits behind `place` until `sent` is: a receiver that hangs may take long.
    async fn show_while(
        &self,
        place: OutboxMark,
        shards: usize,
        sent: impl Future<Output = Result<(), Stopped>>,
    ) -> Result<(), Stopped> {
        let (mut newest, mut sent) = (self.newest.clone(), std::pin::pin!(sent));
        loop {
            tokio::select! {
                result = &mut sent => return result,
                Ok(()) = newest.changed() => self.show(place, shards),
            }
        }
    }

    /// Waits until a request would be full, or something has waited for long enough.
    async fn wait_for_samples(&mut self, place: OutboxMark) -> Result<(), Stopped> {
        let enough = self.shared.remote.queue.shard_samples() as u64;
        let mut stop = self.shared.stop.clone();
        let mut deadline = None;
        loop {
            if *stop.borrow() {
                return Err(Stopped);
            }
            let waiting = self.newest.borrow_and_update().samples.saturating_sub(place.samples);
            if waiting >= enough {
                return Ok(());
            }
            if waiting > 0 && deadline.is_none() {
                deadline = Some(Instant::now() + self.shared.remote.queue.batch_send_deadline);
            }
            let in_time = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Err(Stopped),
                () = in_time => return Ok(()),
                changed = self.newest.changed() => changed.map_err(|_| Stopped)?,
            }
        }
    }

    async fn window(&self, after: OutboxMark, shards: usize, single: bool) -> Result<Window, Stopped> {
        let size =
            WindowSize { shards, single, oldest_ms: oldest_ms(&self.shared.remote, (self.shared.clock)()) };
        let feed = Arc::clone(&self.feed);
        self.with_store(move || locked(&feed).window(after, size)).await
    }

    /// Sends the batches of all shards, the shards beside each other.
    async fn send(&self, shards: Vec<Vec<Batch>>, single: bool) -> Result<(), Stopped> {
        let mut tasks: JoinSet<Result<(), Stopped>> = JoinSet::new();
        for batches in shards {
            let shared = Arc::clone(&self.shared);
            tasks.spawn(async move {
                for batch in batches {
                    shared.deliver(batch, single).await?;
                }
                Ok(())
            });
        }
        let mut result = Ok(());
        while let Some(done) = tasks.join_next().await {
            if !matches!(done, Ok(Ok(()))) {
                result = Err(Stopped);
            }
        }
        result
    }
}

impl Shared {
    /// Sends one batch until it is sent or refused; a doubtful one in halves, if it is refused as a whole.
    async fn deliver(&self, batch: Batch, doubtful: bool) -> Result<(), Stopped> {
        let mut work = vec![batch];
        let mut halvings = 0;
        while let Some(batch) = work.pop() {
            let Some(refusal) = self.try_until_answered(batch).await? else { continue };
            let Refusal { batch, why, written, bad_request } = refusal;
            if doubtful && bad_request && written == 0 && batch.samples > 1 && halvings < MOST_HALVINGS {
                halvings += 1;
                if let Some((first, second)) = batch.halves() {
                    work.extend([second, first]);
                }
                continue;
            }
            self.note(State::Refused, &why);
            self.metrics.samples.inc_by(written as u64);
            self.metrics.failed.inc_by((batch.samples - written.min(batch.samples)) as u64);
        }
        Ok(())
    }

    /// `None` once it is sent.
    async fn try_until_answered(&self, mut batch: Batch) -> Result<Option<Refusal>, Stopped> {
        let mut backoff = Backoff::new(&self.remote);
        let mut body = None;
        loop {
            let too_old = batch.drop_older(oldest_ms(&self.remote, (self.clock)()));
            if too_old > 0 {
                self.metrics.dropped(TOO_OLD, too_old as u64);
                body = None;
            }
            if batch.samples == 0 {
                return Ok(None);
            }
            let bytes = match body.take() {
                Some(bytes) => bytes,
                None => {
                    let (remote, known) = (Arc::clone(&self.remote), self.known.load_full());
                    let encoding = tasks::blocking(move || {
                        let bytes = batch.body(&remote, &known);
                        (batch, bytes)
                    });
                    let (back, bytes) = encoding.await.map_err(|_| Stopped)?;
                    batch = back;
                    bytes
                }
            };
            let begun = Instant::now();
            let protocol = self.remote.protocol;
            let outcome =
                post(&self.client, &self.remote, protocol, bytes.clone(), batch.samples, (self.clock)())
                    .await;
            self.metrics.duration.observe(begun.elapsed().as_secs_f64());
            match outcome {
                Outcome::Sent { written } => {
                    self.sent(&batch, bytes.len(), written);
                    return Ok(None);
                }
                Outcome::Refused { why, written, bad_request } => {
                    return Ok(Some(Refusal { batch, why, written, bad_request }));
                }
                Outcome::Retry { why, after } => {
                    self.note(State::Retrying, &why);
                    self.pause(backoff.wait(after)).await?;
                    self.metrics.retried.inc_by(batch.samples as u64);
                    body = Some(bytes);
                }
            }
        }
    }

    fn sent(&self, batch: &Batch, bytes: usize, written: Option<usize>) {
        self.note(State::Well, "");
        let written = written.unwrap_or(batch.samples).min(batch.samples);
        self.metrics.samples.inc_by(written as u64);
        self.metrics.failed.inc_by((batch.samples - written) as u64);
        self.metrics.bytes.inc_by(bytes as u64);
        if let Some(newest_ms) = batch.newest_ms() {
            let newest = Timestamp::from_millis(newest_ms).as_seconds_f64();
            self.metrics.highest_sent.set(newest.max(self.metrics.highest_sent.get()));
        }
    }

    /// Sends metadata again and again (1.0), or keeps it at hand for what is sent (2.0).
    pub(super) async fn run_metadata(self: Arc<Self>, source: MetadataSource) {
        let settings = &self.remote.metadata;
        loop {
            let metadata = source().await;
            match self.remote.protocol {
                Protocol::V2 => {
                    let known = metadata.into_iter().map(|one| (one.name.clone(), one)).collect();
                    self.known.store(Arc::new(known));
                }
                Protocol::V1 => {
                    for part in metadata.chunks(settings.max_per_send) {
                        if self.deliver_metadata(part).await.is_err() {
                            return;
                        }
                    }
                }
            }
            if self.pause(settings.interval).await.is_err() {
                return;
            }
        }
    }

    async fn deliver_metadata(&self, metadata: &[Metadata]) -> Result<(), Stopped> {
        let mut backoff = Backoff::new(&self.remote);
        let body: bytes::Bytes = compress(&encode_metadata(metadata)).into();
        let count = metadata.len() as u64;
        // What is older than the next round is not worth a try.
        let until = Instant::now() + self.remote.metadata.interval;
        loop {
            match post(&self.client, &self.remote, Protocol::V1, body.clone(), 0, (self.clock)()).await {
                Outcome::Sent { .. } => {
                    self.metrics.metadata.inc_by(count);
                    self.metrics.metadata_bytes.inc_by(body.len() as u64);
                    return Ok(());
                }
                Outcome::Retry { after, .. } if Instant::now() < until => {
                    self.pause(backoff.wait(after)).await?;
                    self.metrics.metadata_retried.inc_by(count);
                }
                Outcome::Retry { .. } | Outcome::Refused { .. } => {
                    self.metrics.metadata_failed.inc_by(count);
                    return Ok(());
                }
            }
        }
    }
}
