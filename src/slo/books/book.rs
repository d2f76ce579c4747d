//! One objective of the running program: its ledger, and what of it has been asked.
//!
//! Slots are asked once they are over and their last samples had the time to arrive: forwards from the newest that was
//! asked, then backwards to where history or the period begins, a day at a time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest;
use tracing::{info, warn};

use super::report::BudgetReport;
use super::saved::{Saved, key, prefix};
use crate::model::{Batch, Labels, OncePerState, Timestamp};
use crate::promql::{Cancel, Engine, QueryError, QueryOptions, Value};
use crate::slo::budget::{BudgetStatus, budget_status, write_metrics};
use crate::slo::ledger::{Ledger, LedgerError, Outcome};
use crate::slo::settings::SloSource;
use crate::slo::slots::Slots;
use crate::store::{StateOp, StateTable, Store};

/// How long after its end a slot is asked for: a sample carries the instant at which its scrape began, and a scrape may
/// take some time.
const SETTLE: Duration = Duration::from_secs(30);

/// What is asked for at once: of 288 slots a query stays far below every limit.
const STRETCH: Duration = Duration::from_secs(86_400);

/// How long nothing is asked after a query failed.
const RETRY: Duration = Duration::from_secs(60);

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is more to be asked.
    More,
    /// Nothing for now.
    Idle,
}

/// What a book asks.
pub(super) struct Asking<'a> {
    pub(super) store: &'a Store,
    pub(super) engine: &'a Engine,
    pub(super) table: &'a StateTable,
    pub(super) cancel: &'a Cancel,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    groups_dropped: AtomicU64,
    query_failures: AtomicU64,
    save_failures: AtomicU64,
}

impl Counts {
    pub(super) fn groups_dropped(&self) -> u64 {
        self.groups_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn query_failures(&self) -> u64 {
        self.query_failures.load(Ordering::Relaxed)
    }

    pub(super) fn save_failures(&self) -> u64 {
        self.save_failures.load(Ordering::Relaxed)
    }
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Book {
    source: SloSource,
    /// Tells the queries from those that the objective had at other times.
    queries: String,
    counts: Counts,
    progress: Mutex<Progress>,
    /// How the budgets stand; apart from the ledger, which is held while a query runs.
    shown: Mutex<Shown>,
}

#[derive(Debug)]
struct Progress {
    ledger: Ledger,
    /// Slots that end after `oldest` and up to `newest` have been asked.
    newest: Timestamp,
    oldest: Timestamp,
    /// Before this there is nothing to ask.
    floor: Timestamp,
    /// Chunks that are not in the store.
    unsaved: BTreeSet<(Labels, i64)>,
    retry_at: Option<Timestamp>,
    failing: OncePerState<bool>,
    crowded: OncePerState<bool>,
    unwritten: OncePerState<bool>,
}

#[derive(Debug)]
struct Shown {
    at: Timestamp,
    budgets: Vec<(Labels, BudgetStatus)>,
}

impl Book {
    /// With the slots of before. `first_sample` is the oldest of the history.
    pub(super) fn new(
        source: SloSource,
        saved: &mut Saved,
        first_sample: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, LedgerError> {
        let mut ledger = Ledger::new(&source.slo)?;
        let hash = digest::digest(&digest::SHA256, ledger.queries().as_bytes());
        let queries: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let id = source.slo.id();
        for (labels, chunks) in saved.take(&id, &queries) {
            let Some(slots) = ledger.restore(&labels) else { continue };
            for (chunk, bytes) in chunks {
                if let Err(error) = slots.decode(chunk, &bytes) {
                    warn!(slo = id, %error, "Slots of before cannot be read; they are asked for again");
                }
            }
        }
        let settled = ledger.last_end(back(now, SETTLE));
        let (begin, _) = source.slo.period.bounds(now);
        let floor = first_sample.map_or(settled, |first| begin.max(first).min(settled));
        let progress = Progress {
            newest: settled,
            oldest: settled,
            floor,
            unsaved: BTreeSet::new(),
            retry_at: None,
            failing: OncePerState::starting_at(false),
            crowded: OncePerState::starting_at(false),
            unwritten: OncePerState::starting_at(false),
            ledger,
        };
        let shown = Mutex::new(progress.shown());
        Ok(Self { source, queries, counts: Counts::default(), progress: Mutex::new(progress), shown })
    }

    pub(super) const fn source(&self) -> &SloSource {
        &self.source
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the budgets stand; one without labels where nothing has been measured.
    pub(super) fn reports(&self) -> Vec<BudgetReport> {
        let shown = self.shown();
        let report = |(labels, status): &(Labels, BudgetStatus)| {
            let report = BudgetReport::new(&self.source.slo, labels, status);
            BudgetReport { file: Some(self.source.file.to_string()), ..report }
        };
        if shown.budgets.is_empty() {
            let nothing = Slots::new(Duration::from_secs(300), 1);
            return vec![report(&(Labels::empty(), budget_status(&self.source.slo, &nothing, shown.at)))];
        }
        shown.budgets.iter().map(report).collect()
    }

    pub(super) fn write_metrics(&self, batch: &mut Batch) {
        for (labels, status) in &self.shown().budgets {
            write_metrics(batch, &self.source.slo, labels, status);
        }
    }

    /// Asks for what is due: what is new first, then a day of the past.
    pub(super) fn turn(&self, now: Timestamp, asking: &Asking<'_>) -> Turn {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.was_set_back(now) {
            *self.shown() = progress.shown();
        }
        let Some((from, to)) = progress.due(now) else {
            if !progress.unsaved.is_empty() {
                self.save(&mut progress, asking);
            }
            return Turn::Idle;
        };
        match progress.ask(from, to, asking) {
            Ok(outcome) => self.recorded(&mut progress, outcome),
            Err(_) if asking.cancel.is_canceled() => return Turn::Idle,
            Err(error) => {
                self.counts.query_failures.fetch_add(1, Ordering::Relaxed);
                progress.retry_at = Some(now.plus(RETRY));
                if progress.failing.observe(true).is_some() {
                    warn!(slo = self.source.slo.id(), %error, "A query for an SLO's budget failed; it is asked again");
                }
                return Turn::Idle;
            }
        }
        self.save(&mut progress, asking);
        *self.shown() = progress.shown();
        if progress.due(now).is_some() { Turn::More } else { Turn::Idle }
    }

    fn recorded(&self, progress: &mut Progress, outcome: Outcome) {
        progress.retry_at = None;
        if progress.failing.observe(false).is_some() {
            info!(slo = self.source.slo.id(), "Queries for an SLO's budget are answered again");
        }
        let dropped = match outcome {
            Outcome::Recorded(_) => 0,
            Outcome::TooManyGroups { dropped } => dropped,
        };
        self.counts.groups_dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        if progress.crowded.observe(dropped > 0).is_some() && dropped > 0 {
            let slo = self.source.slo.id();
            warn!(slo, dropped, "An SLO has more sets of labels than are kept; see outrigger.group_by");
        }
    }

    /// Puts into the store what is not there yet.
    fn save(&self, progress: &mut Progress, asking: &Asking<'_>) {
        let (id, mut changes) = (self.source.slo.id(), Vec::new());
        for (labels, chunk) in &progress.unsaved {
            let Some(slots) = progress.ledger.groups().get(labels) else { continue };
            let prefix = prefix(&id, &self.queries, labels);
            changes.push(StateOp::Put(key(&prefix, *chunk), slots.encode(*chunk)));
            changes.push(StateOp::Delete(key(&prefix, slots.first_chunk().saturating_sub(1))));
        }
        let result = if changes.is_empty() { Ok(()) } else { asking.table.apply(changes) };
        let is_new = progress.unwritten.observe(result.is_err()).is_some();
        match result {
            Ok(()) => progress.unsaved.clear(),
            Err(error) => {
                self.counts.save_failures.fetch_add(1, Ordering::Relaxed);
                if is_new {
                    warn!(slo = id, %error, "Slots of an SLO cannot be kept; it is tried again");
                }
            }
        }
    }
}

impl Progress {
    /// Begins again at an instant before what was asked: the clock was set back.
    fn was_set_back(&mut self, now: Timestamp) -> bool {
        let settled = self.ledger.last_end(back(now, SETTLE));
        let set_back = settled < self.newest;
        if set_back {
            self.newest = settled;
            self.oldest = self.oldest.min(settled);
        }
        if self.retry_at.is_some_and(|at| at > now.plus(RETRY)) {
            self.retry_at = None;
        }
        set_back
    }

    /// The stretch that is to be asked for next.
    fn due(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let settled = self.ledger.last_end(back(now, SETTLE));
        if settled > self.newest {
            // After a long sleep, or a clock that was wrong, the period alone counts.
            let from = self.newest.max(self.ledger.slo().period.bounds(settled).0);
            let stretch = self.ledger.last_end(from.plus(STRETCH)).max(self.ledger.next_end(from));
            return Some((from, stretch.min(settled)));
        }
        // Whole slots: one that two stretches share would be asked by neither.
        let begin = self.ledger.last_end(back(self.oldest, STRETCH));
        (self.oldest > self.floor).then(|| (self.floor.max(begin), self.oldest))
    }

    fn ask(&mut self, from: Timestamp, to: Timestamp, asking: &Asking<'_>) -> Result<Outcome, QueryError> {
        let options = QueryOptions { cancel: asking.cancel.clone(), ..QueryOptions::default() };
        let outcome = self.ledger.fill(to, from, |expr, times, step| {
            let result = asking.engine.range(asking.store, expr, times, step, &options)?;
            Ok::<_, QueryError>(match result.value {
                Value::Matrix(series) => series.into_iter().map(|s| (s.labels, s.samples)).collect(),
                _ => Vec::new(),
            })
        })?;
        if to > self.newest {
            self.newest = to;
        } else {
            self.oldest = from;
        }
        if outcome != Outcome::Recorded(0) {
            for (labels, slots) in self.ledger.groups() {
                let chunks = slots.chunk_of(from)..=slots.chunk_of(back(to, Duration::from_millis(1)));
                self.unsaved.extend(chunks.map(|chunk| (labels.clone(), chunk)));
            }
        }
        Ok(outcome)
    }

    fn shown(&self) -> Shown {
        let status = self.ledger.status(self.newest);
        Shown {
            at: self.newest,
            budgets: status.into_iter().map(|(labels, status)| (labels.clone(), status)).collect(),
        }
    }
}

/// An instant so long before another.
fn back(at: Timestamp, by: Duration) -> Timestamp {
    let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(by_ms))
}
