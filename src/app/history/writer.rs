//! The one thread that writes history: ticks in, in the order in which they came, committed together.
//!
//! Invariants: nobody waits for the disk; when it is slow, at most [`WAITING_TICKS`] ticks wait and further ones are
//! left out, counted and said once.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::error;

use super::metrics::Figures;
use crate::app::clock;
use crate::model::{Row, Timestamp};
use crate::scrape::{Sink, TargetKey};
use crate::store::{Source, Store};

/// Ticks that may wait for the disk.
const WAITING_TICKS: usize = 1_024;

/// What the thread does.
enum Work {
    Tick { source: Arc<str>, at: Timestamp, rows: Vec<Row> },
    End { source: Arc<str>, at: Timestamp },
    Maintain,
    Close,
}

/// Hands ticks to the thread. Clones share it; it ends when the last is dropped.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    work: mpsc::Sender<Work>,
    left_out: Counter,
}

impl Writer {
    /// Starts the thread; `left_out` counts ticks for which there was no room.
    pub(super) fn start(
        store: Store,
        figures: Figures,
        left_out: Counter,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (work, queue) = mpsc::channel(WAITING_TICKS);
        let thread = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || write(&store, &figures, queue))?;
        Ok((Self { work, left_out }, thread))
    }

    /// One tick of a source. Series that it had before and that are missing here end.
    pub(super) fn tick(&self, source: &Arc<str>, at: Timestamp, rows: Vec<Row>) {
        self.send(Work::Tick { source: Arc::clone(source), at, rows });
    }

    /// The source is no more: what it had ends.
    pub(super) fn end(&self, source: &Arc<str>, at: Timestamp) {
        self.send(Work::End { source: Arc::clone(source), at });
    }

    /// Time to seal, to delete what is old, to commit what waits.
    pub(super) fn maintain(&self) {
        self.send(Work::Maintain);
    }

    /// Nothing more comes: the thread writes what waits and ends.
    pub(super) fn close(&self) {
        self.send(Work::Close);
    }

    fn send(&self, work: Work) {
        if let Err(TrySendError::Full(_)) = self.work.try_send(work) {
            self.left_out.inc();
        }
    }
}

fn write(store: &Store, figures: &Figures, mut queue: mpsc::Receiver<Work>) {
    let mut sources: HashMap<Arc<str>, Source> = HashMap::new();
    while let Some(work) = queue.blocking_recv() {
        // What waits already shares a commit.
        let mut next = Some(work);
        while let Some(work) = next {
            if matches!(work, Work::Close) {
                queue.close();
            }
            next = queue.try_recv().ok();
            let last = next.is_none();
            // The store says itself, once, when it cannot write and when it can again.
            let _ = match work {
                Work::Tick { source, at, rows } => {
                    let handle = sources.entry(Arc::clone(&source)).or_insert_with(|| store.source(&source));
                    if last { handle.append(at, &rows) } else { handle.append_soon(at, &rows) }.map(drop)
                }
                Work::End { source, at } => {
                    let mut handle = sources.remove(&source).unwrap_or_else(|| store.source(&source));
                    // Many targets may go at once; each commit is a wait for the disk.
                    if last { handle.end(at) } else { handle.append_soon(at, &[]).map(drop) }
                }
                Work::Close => Ok(()),
                Work::Maintain => {
                    let maintained = store.maintain(clock::now());
                    figures.update(store.stats());
                    maintained.map(drop)
                }
            };
        }
    }
    if let Err(error) = store.close() {
        error!(%error, "The history was not closed in order; the log in its file covers what was acknowledged");
    }
}

impl Sink for Writer {
    fn tick(&self, target: &TargetKey, at: Timestamp, rows: Vec<Row>) {
        Self::tick(self, &source_of(target), at, rows);
    }

    fn end(&self, target: &TargetKey, at: Timestamp) {
        Self::end(self, &source_of(target), at);
    }
}

/// A target's source in the store, the same in every run.
fn source_of(target: &TargetKey) -> Arc<str> {
    format!("scrape/{}/{:016x}", target.pool(), target.hash64()).into()
}
