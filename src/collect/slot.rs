//! One collector's place in the engine: who holds it now, and what its last run gave.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::workers::Job;
use super::{BuildError, CollectError, Collector, Host, Options, Pass, Spec};
use crate::model::{Batch, OncePerState};

/// Runs of one collector at once, over all engines. More than one, so that a reload replaces a
/// collector that hangs; not many, so that reloads do not pile up threads in whatever it hangs in.
const RUNS_AT_ONCE: usize = 2;

/// After so long a collector looks anew for what it did not find, whatever the kernel announced: a file system may be
/// mounted over what is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What one run of a collector gave.
pub(super) struct Run {
    pub(super) batch: Batch,
    pub(super) duration: Duration,
    pub(super) result: Result<(), CollectError>,
}

/// One pass over some slots; counts those still to finish.
pub(super) struct PassRun {
    pub(super) number: u64,
    pub(super) pass: Pass,
    remaining: AtomicUsize,
    done: Notify,
    closed: AtomicBool,
}

impl PassRun {
    pub(super) fn new(number: u64, pass: Pass, collectors: usize) -> Self {
        Self { number, pass, remaining: collectors.into(), done: Notify::new(), closed: false.into() }
    }

    /// Its results are about to be taken: nothing may be started for it any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn finish_one(&self) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Returns when every collector of the pass has finished.
    pub(super) async fn finished(&self) {
        if self.remaining.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }
}

/// How a run went, as far as it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Works,
    NothingToRead,
    Fails,
}

struct Cell {
    /// `None` while a thread runs it, and after a panic: it is made anew for the next run.
    collector: Option<Box<dyn Collector>>,
    /// When the run in progress began, and in which pass.
    running: Option<(u64, Instant)>,
    finished: Option<(u64, Run)>,
    spare: Option<Batch>,
    /// How the last run went, so that it is said once per change.
    health: OncePerState<Health>,
    found_nothing: Option<FoundNothing>,
}

/// A run that found nothing to read, where what it looks for comes with an announcement of the kernel's.
struct FoundNothing {
    /// How many announcements there were when it began.
    announced: u64,
    at: Instant,
    what: String,
}

impl FoundNothing {
    /// What this run that began at `at` came to; `None` also where nobody would say when to look again.
    fn by_run(result: &Result<(), CollectError>, announced: Option<u64>, at: Instant) -> Option<Self> {
        match result {
            Err(CollectError::NoData(what)) => Some(Self { announced: announced?, at, what: what.clone() }),
            _ => None,
        }
    }

    /// Whether looking again would find no more.
    fn holds(&self, announced: Option<u64>, now: Instant) -> bool {
        announced == Some(self.announced) && now.saturating_duration_since(self.at) < LOOK_AGAIN
    }
}

pub(super) struct Slot {
    pub(super) spec: &'static Spec,
    host: Host,
    options: Arc<Options>,
    max_series: usize,
    /// Runs of this collector in progress, those of other engines included.
    runs: Arc<AtomicUsize>,
    /// Whether what it reads comes with an announcement of the kernel's.
    announced: bool,
    cell: Mutex<Cell>,
}

/// A collector's state as a pass finds it at its end.
#[expect(clippy::large_enum_variant, reason = "one of each collector a pass; boxing all would cost more")]
pub(super) enum Outcome {
    /// It ran in this pass.
    Ran(Run),
    /// It runs since `Duration`, in this pass or an earlier one, and was left behind.
    LeftBehind(Duration),
    /// It was not started, because of this.
    NotStarted(&'static str),
}

impl Slot {
    pub(super) fn build(
        spec: &'static Spec,
        host: Host,
        options: Arc<Options>,
        max_series: usize,
        runs: Arc<AtomicUsize>,
    ) -> Result<Self, BuildError> {
        let collector = (spec.build)(&host, &options)?;
        let cell = Cell {
            collector: Some(collector),
            running: None,
            finished: None,
            spare: None,
            health: OncePerState::starting_at(Health::Works),
            found_nothing: None,
        };
        let announced = super::host::ANNOUNCED.binary_search(&spec.name).is_ok();
        Ok(Self { spec, host, options, max_series, runs, announced, cell: Mutex::new(cell) })
    }

    fn lock(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be started: not if an earlier pass left it behind.
    pub(super) fn is_free(&self) -> bool {
        self.lock().running.is_none()
    }

    /// Gives a batch back for its buffers.
    pub(super) fn recycle(&self, batch: Batch) {
        self.lock().spare = Some(batch);
    }

    /// What became of it in the pass of this number.
    pub(super) fn outcome(&self, pass: u64) -> Outcome {
        let mut cell = self.lock();
        match cell.finished.take() {
            Some((number, run)) if number == pass => return Outcome::Ran(run),
            Some((_, stale)) => cell.spare = Some(stale.batch),
            None => {}
        }
        if let Some((_, since)) = cell.running {
            return Outcome::LeftBehind(since.elapsed());
        }
        Outcome::NotStarted(if self.runs.load(Ordering::Acquire) < RUNS_AT_ONCE {
            "no thread was free for it (--collector.max-threads)"
        } else {
            "runs of it from before a reload have still not returned"
        })
    }

    /// Logs how a run went when it went otherwise than the one before; a text that differs in each pass
    /// must not fill the log.
    pub(super) fn say(&self, result: &Result<(), CollectError>) {
        let now = match result {
            Ok(()) => Health::Works,
            Err(CollectError::NoData(_)) => Health::NothingToRead,
            Err(_) => Health::Fails,
        };
        let Some(change) = self.lock().health.observe(now) else { return };
        let (collector, passes) = (self.spec.name, change.repeats);
        match result {
            Ok(()) if change.before == Health::Fails => {
                tracing::info!(collector, failed_passes = passes, "Collector works again");
            }
            Ok(()) => tracing::debug!(collector, "Collector has something to read"),
            Err(error) if now == Health::Fails => {
                tracing::warn!(collector, %error, "Collector failed; its families may be absent");
            }
            Err(error) => tracing::debug!(collector, %error, "Collector has nothing to read"),
        }
    }

    /// Whether its last run failed; a machine that does not have what it reads is no failure.
    pub(super) fn fails(&self) -> bool {
        *self.lock().health.state() == Health::Fails
    }

    fn run(&self, run: &PassRun, start: Instant) {
        let Some(begun) = self.begin(run, start) else { return };
        let Begun { collector, mut batch, permit, found_nothing } = begun;
        batch.clear();
        batch.set_limit(self.max_series);
        let announced = if self.announced { self.host.announced(&run.pass) } else { None };
        let found_nothing = found_nothing.filter(|f| f.holds(announced, start));
        let (collector, result) = match &found_nothing {
            Some(FoundNothing { what, .. }) => (collector, Err(CollectError::NoData(what.clone()))),
            None => self.collect(collector, &run.pass, &mut batch),
        };
        let found_nothing = found_nothing.or_else(|| FoundNothing::by_run(&result, announced, start));
        let duration = start.elapsed();
        drop(permit);
        let mut cell = self.lock();
        cell.collector = collector;
        cell.running = None;
        cell.found_nothing = found_nothing;
        cell.finished = Some((run.number, Run { batch, duration, result }));
    }

    /// Runs the collector; it is `None` afterwards if it must be made anew.
    fn collect(
        &self,
        collector: Option<Box<dyn Collector>>,
        pass: &Pass,
        batch: &mut Batch,
    ) -> (Option<Box<dyn Collector>>, Result<(), CollectError>) {
        let collect = || {
            let made = collector.map_or_else(|| (self.spec.build)(&self.host, &self.options), Ok);
            let mut collector = made.map_err(|e| CollectError::Other(e.to_string()))?;
            let result = collector.collect(pass, batch);
            Ok((collector, result))
        };
        match std::panic::catch_unwind(AssertUnwindSafe(collect)) {
            Ok(Ok((collector, result))) => (Some(collector), result),
            Ok(Err(not_built)) => (None, Err(not_built)),
            // Its state may be torn: it was dropped while unwinding.
            Err(_) => {
                (None, Err(CollectError::Other("the collector panicked; please report this".to_owned())))
            }
        }
    }

    /// Takes the collector for a run, unless the pass is over, another run has it, or too many runs
    /// of it are stuck.
    fn begin(&self, run: &PassRun, start: Instant) -> Option<Begun> {
        let mut cell = self.lock();
        if cell.running.is_some() || run.closed.load(Ordering::Acquire) {
            return None;
        }
        let permit = RunPermit::take(&self.runs)?;
        cell.running = Some((run.number, start));
        if let Some((_, stale)) = cell.finished.take() {
            cell.spare.get_or_insert(stale.batch);
        }
        Some(Begun {
            collector: cell.collector.take(),
            batch: cell.spare.take().unwrap_or_default(),
            permit,
            found_nothing: cell.found_nothing.take(),
        })
    }
}

struct Begun {
    collector: Option<Box<dyn Collector>>,
    batch: Batch,
    permit: RunPermit,
    found_nothing: Option<FoundNothing>,
}

/// One of the runs that a collector may have at once.
struct RunPermit(Arc<AtomicUsize>);

impl RunPermit {
    fn take(runs: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |n: usize| (n < RUNS_AT_ONCE).then_some(n + 1);
        runs.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Self(Arc::clone(runs)))
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs one slot in one pass.
pub(super) struct SlotJob {
    pub(super) slot: Arc<Slot>,
    pub(super) run: Arc<PassRun>,
}

impl Job for SlotJob {
    fn run(self) {
        // A job that waited past the deadline is not worth starting: its result has no reader.
        let now = Instant::now();
        if now < self.run.pass.deadline {
            self.slot.run(&self.run, now);
        }
        self.run.finish_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_is_looked_for_after_an_announcement_or_a_while() {
        let (begun, nothing) = (Instant::now(), Err(CollectError::NoData("no such file".to_owned())));
        let found = FoundNothing::by_run(&nothing, Some(7), begun).unwrap();
        assert!(found.holds(Some(7), begun) && found.holds(Some(7), begun + LOOK_AGAIN / 2));
        assert!(!found.holds(Some(8), begun) && !found.holds(None, begun));
        assert!(!found.holds(Some(7), begun + LOOK_AGAIN));
        assert!(FoundNothing::by_run(&nothing, None, begun).is_none(), "nobody would tell");
        let failed = Err(CollectError::Other("broken".to_owned()));
        assert!(FoundNothing::by_run(&failed, Some(7), begun).is_none());
        assert!(FoundNothing::by_run(&Ok(()), Some(7), begun).is_none());
    }

    #[test]
    fn those_who_wait_for_announcements_are_collectors_in_order() {
        let names = super::super::host::ANNOUNCED;
        assert!(names.is_sorted(), "it is searched");
        for name in names {
            assert!(super::super::specs().iter().any(|s| s.name == *name), "{name}");
        }
    }
}
