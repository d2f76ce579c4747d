//! One source's way into the store: a tick is what it has at one instant.

use std::sync::Arc;

use super::engine::{Inner, Store, count};
use super::error::StoreError;
use super::head::{Appended, is_by_clock};
use crate::model::{Row, Timestamp};

/// A collect pass, a scrape target, a group of pushes, a group of rules. Series that it had at its last tick and not
/// at this one get a staleness marker; this is also so for the last tick before a restart.
///
/// Two handles of one name are one source.
#[derive(Debug)]
pub struct Source {
    store: Arc<Inner>,
    name: Box<str>,
}

impl Store {
    /// The source of this name.
    pub fn source(&self, name: &str) -> Source {
        Source { store: Arc::clone(&self.0), name: name.into() }
    }
}

impl Source {
    /// The name that it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes one tick. `Ok` says that it is in the file and survives a kill; it may have waited for that together with
    /// others. Samples that do not fit are refused one by one and counted in the answer.
    ///
    /// `at` is when the tick began; series that were there before and are missing get a staleness marker at `at`,
    /// except those whose rows carry instants of their own.
    ///
    /// After a small jump back of the clock samples are refused until it has caught up, as Prometheus does. After one
    /// of more than [`StoreConfig::clock_jump`](super::StoreConfig::clock_jump), history goes on from there: what lies
    /// in the future stays, and a query sorts both by their instants. Rows that all carry instants of their own say nothing
    /// of the clock: each is held against its series alone.
    ///
    /// # Errors
    /// Nothing can be written: the tick was refused as a whole, or - if it was the first to fail - is kept in memory
    /// and written when that is possible again.
    pub fn append(&mut self, at: Timestamp, rows: &[Row]) -> Result<Appended, StoreError> {
        let (appended, ticket) = self.apply(at, rows)?;
        self.store.commit_tick(ticket)?;
        Ok(appended)
    }

    /// As [`Self::append`], but answers at once. Queries see the tick; a kill before the next commit - of anyone, or
    /// by [`Store::maintain`] - loses it.
    ///
    /// # Errors
    /// Ingestion is paused; the tick was refused as a whole.
    pub fn append_soon(&mut self, at: Timestamp, rows: &[Row]) -> Result<Appended, StoreError> {
        self.apply(at, rows).map(|(appended, _)| appended)
    }

    /// The source is no more: staleness markers for all that it had.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn end(mut self, at: Timestamp) -> Result<(), StoreError> {
        self.append(at, &[]).map(drop)
    }

    fn apply(&self, at: Timestamp, rows: &[Row]) -> Result<(Appended, u64), StoreError> {
        self.store.check_writable()?;
        let log = self.store.disk.is_file();
        let ((appended, clock), ticket) = self.store.enqueue(|head, batch| {
            let id = head.source(&self.name, batch);
            let clock = is_by_clock(rows).then(|| (head.is_behind(id, at), head.jumped_back(id, at)));
            (head.apply(id, at, rows, log, batch), clock)
        });
        let counters = &self.store.counters;
        count(&counters.added, appended.added);
        count(&counters.out_of_order, appended.out_of_order);
        count(&counters.duplicate, appended.duplicate);
        count(&counters.new_series, appended.new_series);
        if let Some((behind, jumped)) = clock {
            self.store.note_clock(&self.name, behind, jumped);
        }
        self.store.note_limit(appended.over_limit);
        Ok((appended, ticket))
    }
}
