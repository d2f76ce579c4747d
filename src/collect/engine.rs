//! Runs passes: all enabled collectors once, under one deadline, into one [`Snapshot`].
//!
//! Passes are serial. A request shares a snapshot whose pass began after the request came, or less
//! than `min_interval` before; so any number of requests at once cost two passes. One that arrives
//! during a pass waits for it, and if its own time is shorter, cuts the pass short.
//! A collector that misses the deadline is left behind on its thread: its families are absent, its
//! `node_scrape_collector_success` is 0, and it is not started again until it has returned.
//!
//! Invariant: what bounds threads and counts runs lives in [`Own`] and so holds over all engines, a
//! reload while a collector hangs included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::own::{self, Own, PassResult};
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
    /// Requests closer together than this share a pass; zero: only those that wait for the same one.
    pub min_interval: Duration,
    /// Most samples one collector may give in a pass.
    pub max_series: usize,
    /// Most collector threads, stuck ones and those of earlier engines included.
    pub max_threads: usize,
    /// What counts and bounds over all engines: the same for each.
    pub own: Arc<Own>,
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
            own: Arc::default(),
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
    /// Held during a pass: passes are serial. The number is the last pass's.
    turn: tokio::sync::Mutex<u64>,
    waiting: Waiting,
    kept: Mutex<BTreeMap<Selection, Kept>>,
    own: Arc<Own>,
}

impl Engine {
    /// Builds every enabled collector.
    ///
    /// # Errors
    /// The first collector that refuses its options.
    pub fn new(mut config: EngineConfig) -> Result<Self, BuildError> {
        config.host.handed = Arc::clone(config.own.handed());
        config.options.set_enabled(config.enabled.clone());
        let enabled: Vec<_> = specs().iter().copied().filter(|s| config.enabled.contains(s.name)).collect();
        Self::with_specs(enabled.into_iter(), config)
    }

    fn with_specs(
        specs: impl Iterator<Item = &'static Spec>,
        config: EngineConfig,
    ) -> Result<Self, BuildError> {
        let own = config.own;
        let options = Arc::new(config.options);
        let slots = specs
            .map(|s| {
                own.stats().expect_collector(s.name);
                let runs = own.runs(s.name);
                Slot::build(s, config.host.clone(), Arc::clone(&options), config.max_series, runs)
                    .map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            slots,
            workers: Workers::new(config.max_threads.max(1), own.stats().threads().clone()),
            timeout: config.timeout,
            min_interval: config.min_interval,
            turn: tokio::sync::Mutex::new(0),
            waiting: Waiting::default(),
            kept: Mutex::default(),
            own,
        })
    }

    /// Names of the enabled collectors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.slots.iter().map(|s| s.spec.name)
    }

    /// Collectors whose last run failed.
    pub fn failing(&self) -> Vec<&'static str> {
        self.slots.iter().filter(|slot| slot.fails()).map(|slot| slot.spec.name).collect()
    }

    /// What this engine and those before it belong to.
    pub const fn own(&self) -> &Arc<Own> {
        &self.own
    }

    /// Gathers `selection` as of `now`, within `budget` (and never longer than the timeout).
    ///
    /// Dropping the future leaves a pass that it runs without result; what its collectors were at is
    /// finished on their threads.
    pub async fn gather(&self, now: Timestamp, selection: &Selection, budget: Duration) -> Arc<Snapshot> {
        let arrived = Instant::now();
        let deadline = arrived + budget.min(self.timeout);
        let _waiting = self.waiting.enter(deadline);
        let mut number = self.turn.lock().await;
        if let Some(snapshot) = self.fresh(selection, arrived) {
            self.own.stats().request_shared();
            return snapshot;
        }
        // Having waited for another's pass must not leave this one without any time.
        let deadline = deadline.max(Instant::now() + HELP_AFTER);
        *number += 1;
        self.pass(*number, now, selection, deadline).await
    }

    fn fresh(&self, selection: &Selection, arrived: Instant) -> Option<Arc<Snapshot>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |k: &&Kept| k.started >= arrived || k.started.elapsed() < self.min_interval;
        if let Some(same) = kept.get(selection).filter(fresh) {
            return Some(Arc::clone(&same.snapshot));
        }
        let full = kept.get(&Selection::All).filter(fresh)?;
        let wanted = |source: &str| source == own::SOURCE || selection.includes(source);
        Some(Arc::new(full.snapshot.subset(wanted)))
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
        self.workers.submit(free.iter().map(|s| SlotJob { slot: Arc::clone(s), run: Arc::clone(&run) }));
        self.wait(&run, started).await;
        run.close();

        let outcomes = wanted.iter().map(|s| (s.spec.name, self.conclude(s, s.outcome(number))));
        let mut batches: Vec<_> = outcomes.collect();
        batches.push((own::SOURCE, self.own.gather()));
        let previous = self.last(selection);
        let snapshot = Arc::new(Snapshot::assemble_after(previous.as_deref(), now, batches));
        drop(previous);
        self.own.stats().pass_finished(&PassResult {
            duration: started.elapsed(),
            duplicates: snapshot.duplicates(),
            all_series: (*selection == Selection::All).then(|| snapshot.series()),
        });
        self.keep(selection, started, &snapshot);
        snapshot
    }

    /// Until all have finished or the first deadline of those who wait has passed, this pass's own
    /// request among them. One that came too late gets a little time all the same.
    async fn wait(&self, run: &PassRun, started: Instant) {
        let mut waiting = self.waiting.subscribe();
        let finished = run.finished();
        tokio::pin!(finished);
        // Kept over the turns of the loop, so that a crowd of requests does not put help off.
        let mut help_at = Instant::now() + HELP_AFTER;
        loop {
            let until = waiting.borrow_and_update().first_deadline().max(started + HELP_AFTER);
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = &mut finished => return,
                _ = waiting.changed() => {}
                () = tokio::time::sleep_until(help_at.min(until).into()) => {
                    if help_at < until {
                        self.workers.add_helper();
                        help_at = Instant::now() + HELP_AFTER;
                    }
                }
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
            Outcome::NotStarted(why) => {
                (Batch::new(), Duration::ZERO, Err(CollectError::Other(why.to_owned())))
            }
        };
        self.own.stats().over_limit(name, batch.over_limit());
        describe(&mut batch, name, result.is_ok(), duration);
        slot.say(&result);
        if result.is_err_and(|error| !matches!(error, CollectError::NoData(_))) {
            self.own.stats().collector_failed(name);
        }
        batch
    }

    fn last(&self, selection: &Selection) -> Option<Arc<Snapshot>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(selection).map(|k| Arc::clone(&k.snapshot))
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
        // Parts are in the order of the slots.
        let mut slots = self.slots.iter();
        for part in old.into_parts() {
            let slot = slots.find(|s| s.spec.name == part.source);
            let Some(batch) = Arc::into_inner(part.batch) else { continue };
            match slot {
                Some(slot) => slot.recycle(batch),
                None => self.own.recycle(batch),
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

/// The deadlines of all requests that wait for a pass.
#[derive(Debug, Default)]
struct Waiting {
    deadlines: watch::Sender<Deadlines>,
}

#[derive(Debug, Default)]
struct Deadlines {
    next_ticket: u64,
    by_ticket: BTreeMap<u64, Instant>,
}

impl Deadlines {
    /// Now if nobody waits.
    fn first_deadline(&self) -> Instant {
        self.by_ticket.values().min().copied().unwrap_or_else(Instant::now)
    }
}

impl Waiting {
    /// Counts until the ticket is dropped.
    fn enter(&self, deadline: Instant) -> Ticket<'_> {
        let mut number = 0;
        self.deadlines.send_modify(|d| {
            number = d.next_ticket;
            d.next_ticket += 1;
            d.by_ticket.insert(number, deadline);
        });
        Ticket { waiting: self, number }
    }

    fn subscribe(&self) -> watch::Receiver<Deadlines> {
        self.deadlines.subscribe()
    }
}

struct Ticket<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // Those who wait for the others' deadlines need not hear that one left.
        self.waiting.deadlines.send_if_modified(|d| {
            d.by_ticket.remove(&self.number);
            false
        });
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
