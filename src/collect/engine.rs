//! Runs passes: all enabled collectors once, under one deadline, into one [`Snapshot`].
//!
//! Passes are serial. A request within `min_interval` of the last pass's start shares its snapshot;
//! one that arrives during a pass waits for it, and if its own time is shorter, cuts the pass short.
//! A collector that misses the deadline is left behind on its thread: its families are absent, its
//! `node_scrape_collector_success` is 0, and it is not started again until it has returned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::slot::{Outcome, PassRun, Run, Slot, SlotJob};
use super::workers::Workers;
use super::{BuildError, CollectError, Host, Options, Pass, Spec, specs};
use crate::model::{Batch, Kind, Snapshot, Timestamp};

/// How long a pass may make no headway before another thread helps.
const HELP_AFTER: Duration = Duration::from_millis(10);
/// Snapshots of narrowed selections kept for sharing.
const KEPT_SELECTIONS: usize = 8;

/// What an [`Engine`] is built from.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The trees to read.
    pub host: Host,
    /// Values of the collectors' flags.
    pub options: Options,
    /// Names of the collectors to run; unknown names are ignored, they were refused by the parser.
    pub enabled: BTreeSet<&'static str>,
    /// Longest time a pass waits for a collector.
    pub timeout: Duration,
    /// Requests closer together than this share a pass; zero: every request has its own.
    pub min_interval: Duration,
    /// Most samples one collector may give in a pass.
    pub max_series: usize,
    /// Most collector threads, stuck ones included.
    pub max_threads: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            host: Host::default(),
            options: Options::default(),
            enabled: specs().iter().filter(|s| s.on_by_default).map(|s| s.name).collect(),
            timeout: Duration::from_secs(5),
            min_interval: Duration::from_secs(1),
            max_series: 100_000,
            max_threads: 32,
        }
    }
}

/// Which collectors a request wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selection {
    /// All that are enabled.
    All,
    /// These of the enabled ones.
    Only(BTreeSet<&'static str>),
}

impl Selection {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// Counts since the engine was built.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Passes run.
    pub passes: AtomicU64,
    /// Requests that shared another's pass.
    pub shared: AtomicU64,
    /// Series left out because an equal one was there.
    pub duplicates: AtomicU64,
    /// Samples left out because a collector exceeded `max_series`.
    pub over_limit: AtomicU64,
    /// Samples of the last full pass.
    pub last_series: AtomicU64,
    /// Duration of the last full pass, microseconds.
    pub last_duration_us: AtomicU64,
    /// Runs that failed, by collector; a missing subject (no data) is not counted.
    errors: BTreeMap<&'static str, AtomicU64>,
}

impl EngineStats {
    /// Failed runs of each collector.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.errors.iter().map(|(name, n)| (*name, n.load(Ordering::Relaxed)))
    }
}

struct Kept {
    started: Instant,
    snapshot: Arc<Snapshot>,
}

/// The collectors and the threads that run them.
pub struct Engine {
    slots: Vec<Arc<Slot>>,
    workers: Workers<SlotJob>,
    timeout: Duration,
    min_interval: Duration,
    /// Held during a pass: passes are serial.
    turn: tokio::sync::Mutex<u64>,
    /// The running pass's deadline; a waiter with less time moves it forward.
    deadline: watch::Sender<Instant>,
    kept: Mutex<BTreeMap<Selection, Kept>>,
    stats: EngineStats,
}

impl Engine {
    /// Builds every enabled collector.
    ///
    /// # Errors
    /// The first collector that refuses its options.
    pub fn new(config: EngineConfig) -> Result<Self, BuildError> {
        let enabled: Vec<_> = specs().iter().copied().filter(|s| config.enabled.contains(s.name)).collect();
        Self::with_specs(enabled.into_iter(), config)
    }

    fn with_specs(
        specs: impl Iterator<Item = &'static Spec>,
        config: EngineConfig,
    ) -> Result<Self, BuildError> {
        let options = Arc::new(config.options);
        let slots = specs
            .map(|s| {
                Slot::build(s, config.host.clone(), Arc::clone(&options), config.max_series).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let errors = slots.iter().map(|s| (s.spec.name, AtomicU64::new(0))).collect();
        Ok(Self {
            slots,
            workers: Workers::new(config.max_threads.max(1)),
            timeout: config.timeout,
            min_interval: config.min_interval,
            turn: tokio::sync::Mutex::new(0),
            deadline: watch::Sender::new(Instant::now()),
            kept: Mutex::default(),
            stats: EngineStats { errors, ..EngineStats::default() },
        })
    }

    /// Names of the enabled collectors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.slots.iter().map(|s| s.spec.name)
    }

    /// Counts since the engine was built.
    pub const fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Collector threads alive, those left behind included.
    pub fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// Gathers `selection` as of `now`, within `budget` (and never longer than the timeout).
    pub async fn gather(&self, now: Timestamp, selection: &Selection, budget: Duration) -> Arc<Snapshot> {
        let deadline = Instant::now() + budget.min(self.timeout);
        self.deadline.send_if_modified(|current| {
            let sooner = deadline < *current;
            if sooner {
                *current = deadline;
            }
            sooner
        });
        let mut number = self.turn.lock().await;
        if let Some(snapshot) = self.fresh(selection) {
            self.stats.shared.fetch_add(1, Ordering::Relaxed);
            return snapshot;
        }
        // Having waited for another's pass must not leave this one without any time.
        let deadline = deadline.max(Instant::now() + HELP_AFTER);
        *number += 1;
        self.pass(*number, now, selection, deadline).await
    }

    fn fresh(&self, selection: &Selection) -> Option<Arc<Snapshot>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let young = |k: &&Kept| k.started.elapsed() < self.min_interval;
        if let Some(same) = kept.get(selection).filter(young) {
            return Some(Arc::clone(&same.snapshot));
        }
        let full = kept.get(&Selection::All).filter(young)?;
        Some(Arc::new(full.snapshot.subset(|source| selection.includes(source))))
    }

    async fn pass(
        &self,
        number: u64,
        now: Timestamp,
        selection: &Selection,
        deadline: Instant,
    ) -> Arc<Snapshot> {
        let started = Instant::now();
        let wanted: Vec<_> = self.slots.iter().filter(|s| selection.includes(s.spec.name)).collect();
        let free: Vec<_> = wanted.iter().filter(|s| s.is_free()).collect();
        let run = Arc::new(PassRun::new(number, Pass { now, deadline }, free.len()));
        self.deadline.send_replace(deadline);
        self.workers.submit(free.iter().map(|s| SlotJob { slot: Arc::clone(s), run: Arc::clone(&run) }));
        self.wait(&run).await;

        let batches = wanted.iter().map(|s| (s.spec.name, self.conclude(s, s.outcome(number)))).collect();
        let snapshot = Arc::new(Snapshot::assemble(now, batches));
        self.stats.passes.fetch_add(1, Ordering::Relaxed);
        self.stats.duplicates.fetch_add(snapshot.duplicates(), Ordering::Relaxed);
        if *selection == Selection::All {
            self.stats.last_series.store(snapshot.series() as u64, Ordering::Relaxed);
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.stats.last_duration_us.store(micros, Ordering::Relaxed);
        }
        self.keep(selection, started, &snapshot);
        snapshot
    }

    /// Until all have finished or the deadline - which a waiter may move forward - has passed.
    async fn wait(&self, run: &PassRun) {
        let mut deadline = self.deadline.subscribe();
        let finished = run.finished();
        tokio::pin!(finished);
        loop {
            let until = *deadline.borrow_and_update();
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = &mut finished => return,
                () = tokio::time::sleep_until(until.into()) => return,
                _ = deadline.changed() => {}
                () = tokio::time::sleep(HELP_AFTER) => self.workers.add_helper(),
            }
        }
    }

    /// What the collector gave and how it went, which is also said and counted.
    fn conclude(&self, slot: &Slot, outcome: Outcome) -> Batch {
        let name = slot.spec.name;
        let (mut batch, duration, result) = match outcome {
            Outcome::Ran(Run { batch, duration, result }) => (batch, duration, result),
            Outcome::LeftBehind(since) => {
                let what = "missed the deadline and was left behind";
                (Batch::new(), since, Err(CollectError::Other(what.to_owned())))
            }
            Outcome::NotStarted => {
                let what = "no thread was free for it (--collector.max-threads)";
                (Batch::new(), Duration::ZERO, Err(CollectError::Other(what.to_owned())))
            }
        };
        self.stats.over_limit.fetch_add(batch.over_limit(), Ordering::Relaxed);
        describe(&mut batch, name, result.is_ok(), duration);
        match result {
            Ok(()) => slot.say(None),
            Err(error) => {
                let no_data = matches!(error, CollectError::NoData(_));
                slot.say(Some((&error.to_string(), no_data)));
                if !no_data && let Some(count) = self.stats.errors.get(name) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        batch
    }

    /// Keeps the snapshot for sharing; buffers of the one it replaces serve again if nobody reads it.
    fn keep(&self, selection: &Selection, started: Instant, snapshot: &Arc<Snapshot>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_SELECTIONS && !kept.contains_key(selection) {
            kept.retain(|s, _| *s == Selection::All);
        }
        let replaced = kept.insert(selection.clone(), Kept { started, snapshot: Arc::clone(snapshot) });
        drop(kept);
        let Some(old) = replaced.and_then(|k| Arc::into_inner(k.snapshot)) else { return };
        for part in old.into_parts() {
            let Some(batch) = Arc::into_inner(part.batch) else { continue };
            if let Some(slot) = self.slots.iter().find(|s| s.spec.name == part.source) {
                slot.recycle(batch);
            }
        }
    }
}

fn describe(batch: &mut Batch, collector: &str, success: bool, duration: Duration) {
    // These two always fit, also where the collector filled the batch to its limit.
    batch.set_limit(usize::MAX);
    let labels = [("collector", collector)];
    let help = "Seconds the collector took in this pass, or has been running if it was left behind.";
    let family = batch.family("node_scrape_collector_duration_seconds", help, Kind::Gauge);
    batch.sample(family, &labels, duration.as_secs_f64());
    let help = "Whether the collector succeeded in this pass.";
    let family = batch.family("node_scrape_collector_success", help, Kind::Gauge);
    batch.sample(family, &labels, f64::from(u8::from(success)));
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
