//! The ledgers of the running program: filled at the end of each slot, and for the past at a start; kept in the store.
//!
//! Invariants: time comes from the caller's clock; a reload keeps the ledgers of objectives that stay; what was recorded
//! is in the store before the next slot is asked, or is tried again; a query that fails costs only its own objective.
//! All queries run on one thread of its own, one at a time, so that budgets never crowd out rules.

mod book;
mod figures;
mod report;
mod saved;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tracing::{error, warn};

use self::book::{Asking, Book, Turn};
use self::figures::Figures;
use self::saved::{Saved, TABLE};
use super::settings::SloSource;
use crate::model::Timestamp;
use crate::promql::{Cancel, Engine};
use crate::store::Store;

pub use self::report::BudgetReport;

/// How often the thread looks whether a slot is over.
const LOOK: Duration = Duration::from_secs(5);

/// The ledgers. Dropping it stops nothing; [`Books::shutdown`] does.
#[derive(Debug)]
pub struct Books {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stack_bytes: usize,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    clock: fn() -> Timestamp,
    engine: ArcSwap<Engine>,
    books: ArcSwap<Vec<Arc<Book>>>,
    cancel: Cancel,
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Books {
    /// Without objectives yet. `stack_bytes`: how much the deepest expression needs.
    pub fn new(store: Store, engine: Arc<Engine>, clock: fn() -> Timestamp, stack_bytes: usize) -> Self {
        let shared = Shared {
            store,
            clock,
            engine: ArcSwap::new(engine),
            books: ArcSwap::default(),
            cancel: Cancel::default(),
            stopped: Mutex::new(false),
            changed: Condvar::new(),
        };
        Self { shared: Arc::new(shared), thread: Mutex::default(), stack_bytes }
    }

    /// Adds their metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Figures(Arc::clone(&self.shared))));
    }

    /// Makes these the objectives: ledgers of those that stay the same go on, those of others begin with what the store
    /// holds. The past is asked for later, on the thread. Blocks while the store is read.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn apply(&self, sources: &[SloSource], engine: Arc<Engine>) -> std::io::Result<()> {
        self.replace(sources, engine);
        if sources.is_empty() {
            return Ok(());
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("slos".to_owned()).stack_size(self.stack_bytes);
            *thread = Some(builder.spawn(move || shared.work())?);
        }
        drop(thread);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn replace(&self, sources: &[SloSource], engine: Arc<Engine>) {
        let (shared, now) = (&self.shared, (self.shared.clock)());
        shared.engine.store(engine);
        let before = shared.books.load_full();
        let mut saved: Option<Saved> = None;
        let mut after = Vec::with_capacity(sources.len());
        for source in sources {
            if let Some(same) = before.iter().find(|book| book.source() == source) {
                after.push(Arc::clone(same));
                continue;
            }
            let saved = saved.get_or_insert_with(|| shared.saved(now));
            match Book::new(source.clone(), saved, shared.store.stats().min_time, now) {
                Ok(book) => after.push(Arc::new(book)),
                Err(error) => error!(%error, "An SLO has no budget; please report this"),
            }
        }
        shared.books.store(Arc::new(after));
    }

    /// How all budgets stand, as of the last slot that was recorded.
    pub fn reports(&self) -> Vec<BudgetReport> {
        self.shared.books.load().iter().flat_map(|book| book.reports()).collect()
    }

    /// Stops; a query that runs is ended. What was recorded is in the store. Blocks.
    pub fn shutdown(&self) {
        *self.shared.stopped() = true;
        self.shared.cancel.cancel();
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("The thread that records SLOs has panicked; please report this");
        }
    }
}

impl Shared {
    fn stopped(&self) -> MutexGuard<'_, bool> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saved(&self, now: Timestamp) -> Saved {
        let saved = Saved::read(&self.store.state(TABLE), now);
        saved.unwrap_or_else(|error| {
            warn!(%error, "Slots of before cannot be read; budgets are made from the history that is there");
            Saved::default()
        })
    }

    /// What the thread does.
    fn work(&self) {
        loop {
            let more = self.turn((self.clock)());
            let stopped = self.stopped();
            if *stopped {
                return;
            }
            if !more {
                drop(self.changed.wait_timeout(stopped, LOOK).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// One slot, or one day of the past, of each objective. Whether there is more to be asked at once.
    fn turn(&self, now: Timestamp) -> bool {
        let (engine, table) = (self.engine.load_full(), self.store.state(TABLE));
        let asking = Asking { store: &self.store, engine: &engine, table: &table, cancel: &self.cancel };
        let mut more = false;
        for book in self.books.load_full().iter() {
            if self.cancel.is_canceled() {
                return false;
            }
            more |= book.turn(now, &asking) == Turn::More;
        }
        more
    }
}
