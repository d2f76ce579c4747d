//! One collector's place in the engine: who holds it now, and what its last run gave.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::workers::Job;
use super::{BuildError, CollectError, Collector, Host, Options, Pass, Spec};
use crate::model::Batch;

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
    remaining: std::sync::atomic::AtomicUsize,
    done: Notify,
}

impl PassRun {
    pub(super) fn new(number: u64, pass: Pass, collectors: usize) -> Self {
        Self { number, pass, remaining: collectors.into(), done: Notify::new() }
    }

    fn finish_one(&self) {
        if self.remaining.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Returns when every collector of the pass has finished.
    pub(super) async fn finished(&self) {
        if self.remaining.load(std::sync::atomic::Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }
}

struct Cell {
    /// `None` while a thread runs it.
    collector: Option<Box<dyn Collector>>,
    /// When the run in progress began, and in which pass.
    running: Option<(u64, Instant)>,
    finished: Option<(u64, Run)>,
    spare: Option<Batch>,
    /// The error of the last run as logged, so that it is said once per change.
    said: Option<String>,
}

pub(super) struct Slot {
    pub(super) spec: &'static Spec,
    host: Host,
    options: Arc<Options>,
    max_series: usize,
    cell: Mutex<Cell>,
}

/// A collector's state as a pass finds it at its end.
pub(super) enum Outcome {
    /// It ran in this pass.
    Ran(Run),
    /// It runs since `Duration`, in this pass or an earlier one, and was left behind.
    LeftBehind(Duration),
    /// No thread was free for it.
    NotStarted,
}

impl Slot {
    pub(super) fn build(
        spec: &'static Spec,
        host: Host,
        options: Arc<Options>,
        max_series: usize,
    ) -> Result<Self, BuildError> {
        let collector = (spec.build)(&host, &options)?;
        let cell =
            Cell { collector: Some(collector), running: None, finished: None, spare: None, said: None };
        Ok(Self { spec, host, options, max_series, cell: Mutex::new(cell) })
    }

    fn lock(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be started: not if an earlier pass left it behind.
    pub(super) fn is_free(&self) -> bool {
        self.lock().collector.is_some()
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
        cell.running.map_or(Outcome::NotStarted, |(_, since)| Outcome::LeftBehind(since.elapsed()))
    }

    /// Logs a result when it differs from the last one; `NoData` only at debug level.
    pub(super) fn say(&self, error: Option<(&str, bool)>) {
        let mut cell = self.lock();
        let collector = self.spec.name;
        match (error, cell.said.as_deref()) {
            (Some((now, _)), Some(before)) if now == before => {}
            (Some((error, true)), _) => {
                tracing::debug!(collector, error, "collector has nothing to read");
                cell.said = Some(error.to_owned());
            }
            (Some((error, false)), _) => {
                tracing::warn!(collector, error, "collector failed; its families may be absent");
                cell.said = Some(error.to_owned());
            }
            (None, Some(_)) => {
                tracing::info!(collector, "collector works again");
                cell.said = None;
            }
            (None, None) => {}
        }
    }

    fn run(&self, run: &PassRun) {
        let (mut collector, mut batch) = {
            let mut cell = self.lock();
            let Some(collector) = cell.collector.take() else { return };
            cell.running = Some((run.number, Instant::now()));
            if let Some((_, stale)) = cell.finished.take() {
                cell.spare.get_or_insert(stale.batch);
            }
            (collector, cell.spare.take().unwrap_or_default())
        };
        batch.clear();
        batch.set_limit(self.max_series);
        let start = Instant::now();
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| collector.collect(&run.pass, &mut batch)));
        let duration = start.elapsed();
        let (collector, result) = match caught {
            Ok(result) => (Some(collector), result),
            // Its state may be torn: a new one takes its place.
            Err(_) => (
                (self.spec.build)(&self.host, &self.options).ok(),
                Err(CollectError::Other("the collector panicked; please report this".to_owned())),
            ),
        };
        let mut cell = self.lock();
        cell.collector = collector;
        cell.running = None;
        cell.finished = Some((run.number, Run { batch, duration, result }));
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
        if Instant::now() < self.run.pass.deadline {
            self.slot.run(&self.run);
        }
        self.run.finish_one();
    }
}
