//! Where rules read and write: the store, or memory for tests of rules and for looking back.
//!
//! Invariant: what a group gives at one instant and what is to be remembered of its alerts are kept together.

use std::sync::{PoisonError, RwLock};

use crate::model::{
    Labels, Queryable, QueryableError, Row, Samples, Select, SelectAny, SelectedSeries, Timestamp,
};
use crate::promql::Memory;
use crate::store::{StateOp, Store};

/// Name of the table in the store.
pub(super) const STATE_TABLE: &str = "rules";

/// What became of a group's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples refused because their series has a newer one.
    pub out_of_order: u64,
    /// Samples refused because their series has another value at that instant.
    pub duplicate: u64,
    /// Samples refused because there are too many series.
    pub over_limit: u64,
}

/// Reads for rules, and keeps what they give.
pub trait RuleStorage: Send + Sync {
    /// What expressions are evaluated over.
    fn queryable(&self) -> &dyn Queryable;

    /// Takes all results of a group at one instant, and changes of what is saved.
    ///
    /// # Errors
    /// Nothing could be kept.
    fn write(
        &self,
        group: &str,
        at: Timestamp,
        rows: &[Row],
        changes: Vec<StateOp>,
    ) -> Result<Written, String>;

    /// A group is no more: its series end.
    ///
    /// # Errors
    /// The markers cannot be kept.
    fn end(&self, group: &str, at: Timestamp) -> Result<(), String>;

    /// Takes changes of what is saved alone.
    ///
    /// # Errors
    /// They cannot be kept.
    fn forget(&self, changes: Vec<StateOp>) -> Result<(), String>;

    /// What is saved, key by key.
    ///
    /// # Errors
    /// It cannot be read.
    fn saved(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), String>;
}

fn source_name(group: &str) -> String {
    format!("rules/{group}")
}

impl RuleStorage for Store {
    fn queryable(&self) -> &dyn Queryable {
        self
    }

    fn write(
        &self,
        group: &str,
        at: Timestamp,
        rows: &[Row],
        changes: Vec<StateOp>,
    ) -> Result<Written, String> {
        let mut source = self.source(&source_name(group));
        let text = |error: crate::store::StoreError| error.to_string();
        let appended = if changes.is_empty() {
            source.append(at, rows).map_err(text)?
        } else {
            // One commit for both.
            let appended = source.append_soon(at, rows).map_err(text)?;
            self.state(STATE_TABLE).apply(changes).map_err(text)?;
            appended
        };
        let (out_of_order, duplicate) = (appended.out_of_order, appended.duplicate);
        Ok(Written { out_of_order, duplicate, over_limit: appended.over_limit })
    }

    fn end(&self, group: &str, at: Timestamp) -> Result<(), String> {
        self.source(&source_name(group)).end(at).map_err(|error| error.to_string())
    }

    fn forget(&self, changes: Vec<StateOp>) -> Result<(), String> {
        self.state(STATE_TABLE).apply(changes).map_err(|error| error.to_string())
    }

    fn saved(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), String> {
        let table = self.state(STATE_TABLE);
        let read = table.range(&[], |key, value| {
            each(key, value);
            true
        });
        read.map_err(|error| error.to_string())
    }
}

/// Results in memory; nothing is saved.
#[derive(Debug, Default)]
pub struct RuleMemory(RwLock<Memory>);

impl RuleMemory {
    /// Over samples that are there already.
    pub fn new(samples: Memory) -> Self {
        Self(RwLock::new(samples))
    }

    /// Adds a sample, unless its series has a newer one.
    pub fn add(&self, labels: &Labels, at: Timestamp, value: f64) -> bool {
        let mut memory = self.0.write().unwrap_or_else(PoisonError::into_inner);
        memory.append(labels, at.as_millis(), value).is_ok()
    }

    /// All series with their samples.
    pub fn each_series(&self, mut each: impl FnMut(&Labels, &Samples)) {
        self.read(|memory| memory.iter().for_each(|(labels, samples)| each(labels, samples)));
    }

    fn read<T>(&self, read: impl FnOnce(&Memory) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RuleStorage for RuleMemory {
    fn queryable(&self) -> &dyn Queryable {
        self
    }

    fn write(&self, _: &str, at: Timestamp, rows: &[Row], _: Vec<StateOp>) -> Result<Written, String> {
        let mut written = Written::default();
        for row in rows {
            let taken = self.add(&row.labels, row.timestamp.unwrap_or(at), row.value);
            written.out_of_order += u64::from(!taken && row.timestamp.is_none());
        }
        Ok(written)
    }

    fn end(&self, _: &str, _: Timestamp) -> Result<(), String> {
        Ok(())
    }

    fn forget(&self, _: Vec<StateOp>) -> Result<(), String> {
        Ok(())
    }

    fn saved(&self, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), String> {
        Ok(())
    }
}

impl Queryable for RuleMemory {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        self.read(|memory| memory.select(request))
    }

    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        self.read(|memory| memory.series(request))
    }

    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.read(|memory| memory.label_names(request))
    }

    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.read(|memory| memory.label_values(name, request))
    }
}
