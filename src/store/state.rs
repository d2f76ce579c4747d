//! State tables: what other parts keep in the same file, with the same durability. Retention never touches them.

use std::sync::Arc;

use super::disk::DiskError;
use super::engine::{Inner, Store, file_of, from_disk};
use super::error::StoreError;

/// Keys and values of one name: alerts, silences, a notification log.
#[derive(Clone, Debug)]
pub struct StateTable {
    store: Arc<Inner>,
    name: Box<str>,
}

/// One change of a table: a value for a key, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOp {
    /// The key has this value.
    Put(Vec<u8>, Vec<u8>),
    /// The key has none.
    Delete(Vec<u8>),
}

impl Store {
    /// The table of this name.
    pub fn state(&self, name: &str) -> StateTable {
        StateTable { store: Arc::clone(&self.0), name: name.into() }
    }
}

impl StateTable {
    /// The value of a key.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.store.disk.view().and_then(|view| view.state(&self.name, key));
        read.map_err(|e| self.failed(e))
    }

    /// All keys from `from` on in byte order with their values, until `each` answers false.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn range(&self, from: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let read = self.store.disk.view().and_then(|view| view.state_rows(&self.name, from, each));
        read.map_err(|e| self.failed(e))
    }

    /// Sets a value; it is in the file when this answers `Ok`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.apply(vec![StateOp::Put(key.to_vec(), value.to_vec())])
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn delete(&self, key: &[u8]) -> Result<(), StoreError> {
        self.apply(vec![StateOp::Delete(key.to_vec())])
    }

    /// All of these, or none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn apply(&self, changes: Vec<StateOp>) -> Result<(), StoreError> {
        self.apply_with(changes, self, Vec::new())
    }

    /// All of these and those of another table of the same store, or none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn apply_with(
        &self,
        changes: Vec<StateOp>,
        other: &Self,
        others: Vec<StateOp>,
    ) -> Result<(), StoreError> {
        self.store.check_writable()?;
        let ((), ticket) = self.store.enqueue(|_, batch| {
            for (table, changes) in [(self, changes), (other, others)] {
                batch.state.extend(changes.into_iter().map(|change| match change {
                    StateOp::Put(key, value) => (table.name.to_string(), key, Some(value)),
                    StateOp::Delete(key) => (table.name.to_string(), key, None),
                }));
            }
        });
        self.store.commit_until(ticket)
    }

    fn failed(&self, error: DiskError) -> StoreError {
        from_disk(&file_of(&self.store.config), error)
    }
}
