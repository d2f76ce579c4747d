//! The store itself: opening, taking ticks, committing them together, keeping on when the disk does not.
//!
//! Invariants: an append that answered `Ok` is in the file and synchronised; ticks reach the log in the order in which
//! they were applied; nobody holds the head's lock while waiting for the disk.
//!
//! Order of locks: `sealing`, then `head`, then `queue`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustc_hash::FxHashSet;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::config::StoreConfig;
use super::disk::{Batch, Disk, DiskError, Medium, PageKey};
use super::error::StoreError;
use super::head::Head;
use super::load;
use super::lock::Lock;
use super::outbox::OutboxMark;
use super::seal::{self, Seal};
use super::vault::Vault;
use crate::model::{Matcher, OncePerState, Timestamp};

/// The file's name in its folder.
pub(super) const FILE_NAME: &str = "store.redb";

/// History of samples, and tables of state. A clone is another handle on the same store.
#[derive(Clone, Debug)]
pub struct Store(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) config: StoreConfig,
    pub(super) disk: Disk,
    head: RwLock<Head>,
    queue: Mutex<Queue>,
    committed: Condvar,
    pub(super) sealing: Mutex<()>,
    pub(super) counters: Counters,
    said: Mutex<Said>,
    bad_pages: Mutex<FxHashSet<PageKey>>,
    paused: AtomicBool,
    /// The last instant that a caller told, to name files by.
    pub(super) now_ms: AtomicI64,
    /// How far the outbox can be read.
    pub(super) noted: watch::Sender<OutboxMark>,
    /// Held for as long as the store is open.
    _lock: Option<Lock>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.config.path).finish_non_exhaustive()
    }
}

/// What waits for a commit.
#[derive(Debug, Default)]
struct Queue {
    pending: Batch,
    /// Numbers of the last append and of the last one that is in the file.
    appended: u64,
    done: u64,
    committing: bool,
    /// How far the outbox reaches with what is pending.
    noted: OutboxMark,
    /// Commits that failed, and why the last did.
    failures: u64,
    failure: String,
}

/// What is said once for as long as it lasts.
#[derive(Debug)]
struct Said {
    paused: OncePerState<bool>,
    clock: OncePerState<bool>,
    limit: OncePerState<bool>,
}

/// What happened since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) added: AtomicU64,
    pub(super) out_of_order: AtomicU64,
    pub(super) duplicate: AtomicU64,
    pub(super) over_limit: AtomicU64,
    pub(super) new_series: AtomicU64,
    pub(super) clock_jumps: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) commit_failures: AtomicU64,
    pub(super) refused_ticks: AtomicU64,
    pub(super) damaged_pages: AtomicU64,
    pub(super) damaged_rows: AtomicU64,
    pub(super) files_set_aside: AtomicU64,
    pub(super) pages_deleted: AtomicU64,
    /// Of what is in pages now.
    pub(super) pages: AtomicU64,
    pub(super) page_samples: AtomicU64,
    pub(super) page_bytes: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Whether a folder has a store's file.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE_NAME).is_file()
    }

    /// Opens a store, and makes it if it is not there. Blocks: after a kill, a large file takes seconds.
    ///
    /// A file that is damaged as a whole is moved aside (`store.redb.corrupt-TIME`), said loudly and counted; a fresh
    /// one is begun.
    ///
    /// # Errors
    /// The folder cannot be used, another process has the store, the key is wrong, or a newer version wrote it.
    pub fn open(config: StoreConfig, now: Timestamp) -> Result<Self, StoreError> {
        let Some(folder) = config.path.clone() else {
            return Self::open_medium(config, Medium::Memory, None, now);
        };
        std::fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        let lock = Lock::take(&folder.join("lock"))?;
        Self::open_medium(config, Medium::File(folder.join(FILE_NAME)), Some(lock), now)
    }

    pub(super) fn open_medium(
        config: StoreConfig,
        medium: Medium,
        lock: Option<Lock>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let counters = Counters::default();
        let path = file_of(&config);
        let attempt = || {
            let vault = Vault::new(config.encryption_key.as_ref());
            let disk = Disk::open(medium.clone(), config.cache_bytes, config.min_free_bytes, vault)
                .map_err(|error| from_disk(&path, error))?;
            let clock_jump_ms = i64::try_from(config.clock_jump.as_millis()).unwrap_or(i64::MAX);
            let mut head = Head::new(config.max_series, clock_jump_ms);
            load::load(&disk, &path, &mut head, &counters)?;
            Ok((disk, head))
        };
        let (disk, head) = match attempt() {
            Err(StoreError::Damaged(why)) if config.replace_damaged => {
                let aside = aside_name(&path, now.as_millis());
                error!(file = %path.display(), moved_to = %aside.display(), %why, "Store is damaged; a fresh one is begun");
                std::fs::rename(&path, &aside).map_err(StoreError::io(&path))?;
                count(&counters.files_set_aside, 1);
                attempt()?
            }
            other => other?,
        };
        let noted = head.outbox.last;
        let store = Self(Arc::new(Inner {
            disk,
            head: RwLock::new(head),
            queue: Mutex::new(Queue { noted, ..Queue::default() }),
            noted: watch::Sender::new(noted),
            committed: Condvar::new(),
            sealing: Mutex::default(),
            counters,
            said: Mutex::new(Said {
                paused: OncePerState::starting_at(false),
                clock: OncePerState::starting_at(false),
                limit: OncePerState::starting_at(false),
            }),
            bad_pages: Mutex::default(),
            paused: AtomicBool::new(false),
            now_ms: AtomicI64::new(now.as_millis()),
            _lock: lock,
            config,
        }));
        Ok(store)
    }

    /// Which series are kept for [`StoreConfig::retention_selected`]: those that fit all matchers of any set. What a
    /// series got before it was selected keeps its shorter time. In force within an hour of ticks every 15 seconds.
    pub fn set_selected(&self, matcher_sets: Vec<Vec<Matcher>>) {
        self.0.head_mut().series.set_selected(matcher_sets);
    }

    /// Commits whatever waits for one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&self) -> Result<(), StoreError> {
        let ticket = locked(&self.0.queue).appended;
        self.0.commit_until(ticket)
    }

    /// Commits and closes the file. Other handles answer from memory at best from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn close(&self) -> Result<(), StoreError> {
        let flushed = self.flush();
        let _sealing = locked(&self.0.sealing);
        self.0.disk.close();
        flushed
    }
}

impl Inner {
    pub(super) fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sealing(&self) -> MutexGuard<'_, ()> {
        locked(&self.sealing)
    }

    pub(super) fn bad_pages(&self) -> MutexGuard<'_, FxHashSet<PageKey>> {
        locked(&self.bad_pages)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Changes the head and notes what has to be written; answers the number to wait for.
    pub(super) fn enqueue<T>(&self, change: impl FnOnce(&mut Head, &mut Batch) -> T) -> (T, u64) {
        let mut head = self.head_mut();
        let mut queue = locked(&self.queue);
        let result = change(&mut head, &mut queue.pending);
        queue.noted = head.outbox.last;
        if !self.disk.is_file() {
            // What is in memory needs no copy of itself.
            queue.pending.series.clear();
            queue.pending.sources.clear();
            queue.pending.wal.clear();
            self.tell_noted(queue.noted);
        }
        queue.appended += 1;
        (result, queue.appended)
    }

    /// Refuses while nothing can be written, after having tried whether that is over. Where there is no room, before the
    /// head has the tick: it comes again, and must not be there.
    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        let paused = self.is_paused();
        let room = self.disk.check_room().map_err(|e| self.refusal(&e));
        if !paused && room.is_ok() {
            return Ok(());
        }
        let tried = room.and_then(|()| {
            let ticket = locked(&self.queue).appended;
            self.commit_until(ticket)
        });
        match &tried {
            Ok(()) => self.note_outcome(None),
            Err(_) => count(&self.counters.refused_ticks, 1),
        }
        tried
    }

    /// Waits until a tick is in the file. Without a file there is nothing to wait for, but what is due is sealed.
    pub(super) fn commit_tick(&self, ticket: u64) -> Result<(), StoreError> {
        if !self.disk.is_file() && self.head().due.is_empty() {
            return Ok(());
        }
        self.commit_until(ticket)
    }

    /// Waits until a change is in the file. One of those who wait commits for all.
    pub(super) fn commit_until(&self, ticket: u64) -> Result<(), StoreError> {
        let mut queue = locked(&self.queue);
        let failures = queue.failures;
        loop {
            if queue.done >= ticket {
                return Ok(());
            }
            if queue.failures > failures {
                return Err(StoreError::Paused(queue.failure.clone()));
            }
            if queue.committing {
                queue = self.committed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.committing = true;
            if !self.config.commit_linger.is_zero() {
                queue = self.linger(queue);
            }
            drop(queue);
            let result = self.commit();
            queue = locked(&self.queue);
            queue.committing = false;
            match result {
                Ok(done) => queue.done = queue.done.max(done),
                Err(error) => {
                    queue.failures += 1;
                    queue.failure = error.to_string();
                }
            }
            self.committed.notify_all();
        }
    }

    /// Lets others join the commit. Nobody wakes this one before its time but by chance.
    fn linger<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let linger: Duration = self.config.commit_linger;
        let waited = self.committed.wait_timeout_while(queue, linger, |_| true);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// One commit: whatever is pending and the blocks that are due. Answers the last append that is in it.
    fn commit(&self) -> Result<u64, DiskError> {
        let _sealing = self.sealing();
        let due = std::mem::take(&mut self.head_mut().due);
        self.commit_or_replace(&due, Batch::default())
    }

    /// As [`Self::commit_sealing`]; a file that turns out to be damaged as a whole is replaced, and the commit is made
    /// into the new one. The caller holds `sealing`.
    pub(super) fn commit_or_replace(&self, due: &[u32], extra: Batch) -> Result<u64, DiskError> {
        match self.commit_sealing(due, extra) {
            Err(DiskError::Damaged(why)) => self.replace_file(&why),
            other => other,
        }
    }

    /// Takes back what waits for a commit of ticks: it is about to be sealed as a whole.
    pub(super) fn drop_pending_log(&self) {
        locked(&self.queue).pending.wal.clear();
    }

    /// A commit that seals these blocks and writes `extra`. The caller holds `sealing`.
    pub(super) fn commit_sealing(&self, due: &[u32], extra: Batch) -> Result<u64, DiskError> {
        let (pending, ticket, noted, seals, mut sealed) = {
            // One guard over both: what a page or a block's row names must not be younger than what is pending. A
            // series whose samples came in between would be in this commit, and the row with its name in the next.
            let head = self.head();
            let (pending, ticket, noted) = {
                let mut queue = locked(&self.queue);
                (std::mem::take(&mut queue.pending), queue.appended, queue.noted)
            };
            let (seals, sealed) = seal_blocks(&head, due);
            (pending, ticket, noted, seals, sealed)
        };
        let totals = self.totals_with(&seals, &extra);
        sealed.append(extra);
        if !seals.is_empty() || !sealed.pages_gone.is_empty() {
            sealed.meta.push((load::TOTALS, load::totals_row(totals)));
        }
        if pending.is_empty() && sealed.is_empty() {
            return Ok(ticket);
        }
        let result = self.disk.commit(&[&pending, &sealed]);
        self.note_outcome(result.as_ref().err());
        if let Err(error) = result {
            self.put_back(pending, due);
            return Err(error);
        }
        let mut head = self.head_mut();
        seals.iter().for_each(|seal| seal.finish(&mut head));
        drop(head);
        self.set_totals(totals);
        self.tell_noted(noted);
        Ok(ticket)
    }

    fn tell_noted(&self, noted: OutboxMark) {
        self.noted.send_if_modified(|known| {
            let moved = noted.number > known.number;
            if moved {
                *known = noted;
            }
            moved
        });
    }

    fn put_back(&self, mut pending: Batch, due: &[u32]) {
        let mut head = self.head_mut();
        let mut queue = locked(&self.queue);
        head.note_kept(pending.wal.iter().map(|((source, _), _)| *source));
        pending.append(std::mem::take(&mut queue.pending));
        queue.pending = pending;
        let missing: Vec<u32> = due.iter().copied().filter(|id| !head.due.contains(id)).collect();
        head.due.extend(missing);
    }

    fn note_outcome(&self, error: Option<&DiskError>) {
        count(&self.counters.commits, 1);
        count(&self.counters.commit_failures, u64::from(error.is_some()));
        self.paused.store(error.is_some(), Ordering::Relaxed);
        let change = locked(&self.said).paused.observe(error.is_some());
        match (change, error) {
            (Some(_), Some(error)) => {
                warn!(%error, "Store cannot be written; ingestion is paused, queries go on");
            }
            (Some(change), None) => info!(failed_attempts = change.repeats, "Store can be written again"),
            (None, _) => {}
        }
    }

    fn refusal(&self, error: &DiskError) -> StoreError {
        self.note_outcome(Some(error));
        StoreError::Paused(error.to_string())
    }

    /// Says once that samples come from before the newest ones, and when that is over.
    pub(super) fn note_clock(&self, source: &str, behind: bool, jumped: bool) {
        if jumped {
            count(&self.counters.clock_jumps, 1);
        }
        let change = locked(&self.said).clock.observe(behind);
        if change.is_some() && behind {
            warn!(
                source,
                continued = jumped,
                "Clock went back; until it has caught up, samples are refused, or - after a large jump - history goes on from there"
            );
        } else if let Some(change) = change {
            info!(source, ticks = change.repeats, "Clock has caught up");
        }
    }

    pub(super) fn note_limit(&self, refused: u64) {
        count(&self.counters.over_limit, refused);
        if locked(&self.said).limit.observe(refused > 0).is_some() && refused > 0 {
            warn!(
                limit = self.config.max_series,
                refused, "Store has its most series (storage.max_series); new ones are refused"
            );
        }
    }
}

fn seal_blocks(head: &Head, due: &[u32]) -> (Vec<Seal>, Batch) {
    let mut batch = Batch::default();
    if due.is_empty() {
        return (Vec::new(), batch);
    }
    let seals: Vec<Seal> = due.iter().filter_map(|id| seal::seal(head, *id, &mut batch)).collect();
    let mut sources: Vec<u32> = due.iter().filter_map(|id| head.blocks.get(id).map(|b| b.source)).collect();
    sources.sort_unstable();
    sources.dedup();
    let done = sources.iter().filter_map(|s| seal::log_done(head, *s, &seals).map(|seq| (*s, seq)));
    batch.wal_done.extend(done);
    (seals, batch)
}

pub(super) fn file_of(config: &StoreConfig) -> PathBuf {
    config.path.as_deref().map_or_else(|| PathBuf::from("(memory)"), |folder| folder.join(FILE_NAME))
}

/// Where a damaged file goes. Never over another one.
pub(super) fn aside_name(path: &Path, now_ms: i64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".corrupt-{now_ms}"));
    PathBuf::from(name)
}

pub(super) fn from_disk(path: &Path, error: DiskError) -> StoreError {
    match error {
        DiskError::Damaged(why) => StoreError::Damaged(why),
        DiskError::Full(why) => StoreError::Paused(why),
        DiskError::Io(why) => StoreError::Io { path: path.to_owned(), source: std::io::Error::other(why) },
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::FREE;
    use super::super::seal::block_from_row;
    use super::*;
    use crate::model::{Labels, Row};

    fn row(name: &str) -> Row {
        Row { labels: Labels::from_pairs([("__name__", name)]), value: 1.0, timestamp: None }
    }

    /// A kill after any commit must leave no number without a name.
    #[test]
    fn a_commit_names_the_series_that_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            StoreConfig { path: Some(folder.path().into()), min_free_bytes: 0, ..StoreConfig::default() };
        let at = Timestamp::from_millis;
        let store = Store::open(config, at(0)).unwrap();
        store.source("a").append_soon(at(1), &[row("x")]).unwrap();
        std::thread::scope(|scope| {
            let mut head = store.0.head_mut();
            let committing = scope.spawn(|| store.0.commit_sealing(&[0], Batch::default()).unwrap());
            // A tick with a new series is being taken while the commit begins.
            for _ in 0..20_000 {
                if locked(&store.0.queue).pending.is_empty() {
                    break;
                }
                std::thread::yield_now();
            }
            head.apply(0, at(2), &[row("x"), row("new")], true, &mut locked(&store.0.queue).pending);
            drop(head);
            committing.join().unwrap();
        });
        let view = store.0.disk.view().unwrap();
        let (mut named, mut held) = (Vec::new(), Vec::new());
        view.series(|id, _| named.push(id)).unwrap();
        view.blocks(|_, row| {
            let slots = row.and_then(block_from_row).unwrap().slots;
            held.extend(slots.iter().map(|slot| slot.series).filter(|id| *id != FREE));
        })
        .unwrap();
        assert!(!held.is_empty() && held.iter().all(|id| named.contains(id)), "{held:?} {named:?}");
    }
}
