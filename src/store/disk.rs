//! The file: redb's tables, one transaction a commit, and what happens when the file or its disk fails.
//!
//! Invariants: a commit is whole or not at all; an error or a panic inside redb never leaves this module as a panic;
//! after a failed write the database is opened anew before it is used again, as redb demands.
//!
//! Tables: `meta`, `series`, `sources`, `blocks`, `wal` (source, entry), `pages` and `digests` (block, first instant,
//! number), `state` (table, key).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Builder, Database, ReadableDatabase, TableDefinition, WriteTransaction};

use super::memory::Memory;
use super::vault::Vault;
use super::view::View;

/// Block, first instant, number.
pub(super) type PageKey = (u32, i64, u32);

pub(super) type Bytes = &'static [u8];

pub(super) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
pub(super) const SERIES: TableDefinition<'_, u32, Bytes> = TableDefinition::new("series");
pub(super) const SOURCES: TableDefinition<'_, u32, Bytes> = TableDefinition::new("sources");
pub(super) const BLOCKS: TableDefinition<'_, u32, Bytes> = TableDefinition::new("blocks");
pub(super) const WAL: TableDefinition<'_, (u32, u64), Bytes> = TableDefinition::new("wal");
pub(super) const PAGES: TableDefinition<'_, PageKey, Bytes> = TableDefinition::new("pages");
pub(super) const DIGESTS: TableDefinition<'_, PageKey, Bytes> = TableDefinition::new("digests");
pub(super) const STATE: TableDefinition<'_, (&str, &[u8]), Bytes> = TableDefinition::new("state");

/// Why the file does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiskError {
    #[error("no space left: {0}")]
    Full(String),
    #[error("{0}")]
    Io(String),
    #[error("damaged: {0}")]
    Damaged(String),
}

impl From<redb::Error> for DiskError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::from(error),
            redb::Error::Corrupted(what) => Self::Damaged(what),
            redb::Error::UpgradeRequired(version) => Self::Damaged(format!("file format {version} of redb")),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<std::io::Error> for DiskError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full(error.to_string())
            }
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

macro_rules! from_parts_of_redb {
    ($($error:ty),*) => { $(
        impl From<$error> for DiskError {
            fn from(error: $error) -> Self { Self::from(redb::Error::from(error)) }
        }
    )* };
}

from_parts_of_redb!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::DatabaseError,
    redb::CompactionError
);

/// redb trusts the inside of a page that it has written, and panics where a damaged one makes no sense.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(DiskError::Damaged("the database stopped over a page that makes no sense".to_owned()))
    })
}

/// Where the bytes lie.
#[derive(Clone)]
pub(super) enum Medium {
    File(PathBuf),
    Memory,
    /// For tests: what opens a storage that can be made to fail.
    #[cfg(test)]
    Made(Arc<dyn Fn() -> super::testing::FlakyFile + Send + Sync>),
}

/// The database, opened.
pub(super) struct Disk {
    medium: Medium,
    cache_bytes: usize,
    min_free_bytes: u64,
    vault: Arc<Vault>,
    database: RwLock<Option<Database>>,
}

/// What one commit writes and removes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) meta: Vec<(&'static str, Vec<u8>)>,
    pub(super) series: Vec<(u32, Option<Vec<u8>>)>,
    pub(super) sources: Vec<(u32, Option<Vec<u8>>)>,
    pub(super) blocks: Vec<(u32, Option<Vec<u8>>)>,
    pub(super) wal: Vec<((u32, u64), Vec<u8>)>,
    /// Sources and the last of their log entries that are no longer needed.
    pub(super) wal_done: Vec<(u32, u64)>,
    /// Key, page, digest.
    pub(super) pages: Vec<(PageKey, Vec<u8>, Vec<u8>)>,
    pub(super) pages_gone: Vec<PageKey>,
    /// How many pages, samples and bytes these were.
    pub(super) gone: [u64; 3],
    pub(super) state: Vec<StateChange>,
}

/// A change of a state table; `None` removes.
pub(super) type StateChange = (String, Vec<u8>, Option<Vec<u8>>);

impl Batch {
    pub(super) const fn is_empty(&self) -> bool {
        self.meta.is_empty()
            && self.series.is_empty()
            && self.sources.is_empty()
            && self.blocks.is_empty()
            && self.wal.is_empty()
            && self.wal_done.is_empty()
            && self.pages.is_empty()
            && self.pages_gone.is_empty()
            && self.state.is_empty()
    }

    /// Adds a later batch.
    pub(super) fn append(&mut self, mut later: Self) {
        self.meta.append(&mut later.meta);
        self.series.append(&mut later.series);
        self.sources.append(&mut later.sources);
        self.blocks.append(&mut later.blocks);
        self.wal.append(&mut later.wal);
        self.wal_done.append(&mut later.wal_done);
        self.pages.append(&mut later.pages);
        self.pages_gone.append(&mut later.pages_gone);
        self.gone = std::array::from_fn(|at| {
            let of = |gone: &[u64; 3]| gone.get(at).copied().unwrap_or(0);
            of(&self.gone) + of(&later.gone)
        });
        self.state.append(&mut later.state);
    }
}

/// Bytes that name a row, for the vault.
pub(super) fn place(table: &str, key: &[&[u8]]) -> Vec<u8> {
    let mut place = table.as_bytes().to_vec();
    for part in key {
        place.push(0);
        place.extend_from_slice(part);
    }
    place
}

pub(super) fn page_place(table: &str, key: PageKey) -> Vec<u8> {
    place(table, &[&key.0.to_be_bytes(), &key.1.to_be_bytes(), &key.2.to_be_bytes()])
}

impl Drop for Disk {
    fn drop(&mut self) {
        close_guarded(self.database.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Disk {
    pub(super) fn open(
        medium: Medium,
        cache_bytes: usize,
        min_free_bytes: u64,
        vault: Vault,
    ) -> Result<Self, DiskError> {
        let disk =
            Self { medium, cache_bytes, min_free_bytes, vault: Arc::new(vault), database: RwLock::default() };
        disk.reopen()?;
        Ok(disk)
    }

    /// Opens the database, again if it was open.
    pub(super) fn reopen(&self) -> Result<(), DiskError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        close_guarded(&mut slot);
        *slot = Some(guarded(|| self.opened())?);
        Ok(())
    }

    /// Opens the database if it could not be opened after a failure.
    pub(super) fn ensure_open(&self) -> Result<(), DiskError> {
        let is_open = self.database.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_open { Ok(()) } else { self.reopen() }
    }

    fn opened(&self) -> Result<Database, DiskError> {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        let database = match &self.medium {
            Medium::File(path) => builder.create(path)?,
            Medium::Memory => builder.create_with_backend(Memory::default())?,
            #[cfg(test)]
            Medium::Made(make) => builder.create_with_backend(make())?,
        };
        let transaction = database.begin_read()?;
        let fresh = transaction.list_tables()?.next().is_none();
        drop(transaction);
        if fresh {
            let transaction = database.begin_write()?;
            make_tables(&transaction)?;
            transaction.commit()?;
        }
        Ok(database)
    }

    pub(super) const fn is_file(&self) -> bool {
        !matches!(self.medium, Medium::Memory)
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether the file system has room for a commit.
    pub(super) fn check_room(&self) -> Result<(), DiskError> {
        let Medium::File(path) = &self.medium else { return Ok(()) };
        let free = free_bytes(path.parent().unwrap_or(Path::new(".")));
        match free {
            Some(free) if free < self.min_free_bytes => {
                Err(DiskError::Full(format!("{free} bytes free, {} needed", self.min_free_bytes)))
            }
            _ => Ok(()),
        }
    }

    /// Writes batches in order and together, durably. After an error nothing of them is there.
    pub(super) fn commit(&self, batches: &[&Batch]) -> Result<(), DiskError> {
        self.check_room()?;
        self.ensure_open()?;
        let result = {
            let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
            guarded(|| {
                let database = slot.as_ref().ok_or_else(closed)?;
                let transaction = database.begin_write()?;
                for batch in batches {
                    self.write(&transaction, batch)?;
                }
                Ok(transaction.commit()?)
            })
        };
        if result.is_err() {
            // What fails here fails again with the next commit, which tries anew.
            self.reopen().ok();
        }
        result
    }

    fn write(&self, transaction: &WriteTransaction, batch: &Batch) -> Result<(), DiskError> {
        if !batch.meta.is_empty() {
            let mut table = transaction.open_table(META)?;
            for (key, value) in &batch.meta {
                table.insert(key, value.as_slice())?;
            }
        }
        self.write_numbered(transaction, SERIES, &batch.series)?;
        self.write_numbered(transaction, SOURCES, &batch.sources)?;
        self.write_numbered(transaction, BLOCKS, &batch.blocks)?;
        self.write_wal(transaction, batch)?;
        self.write_pages(transaction, batch)?;
        if !batch.state.is_empty() {
            let mut table = transaction.open_table(STATE)?;
            for (name, key, value) in &batch.state {
                match value {
                    Some(value) => {
                        let place = place("state", &[name.as_bytes(), key]);
                        table.insert(
                            (name.as_str(), key.as_slice()),
                            self.vault.seal(&place, value)?.as_slice(),
                        )?;
                    }
                    None => drop(table.remove((name.as_str(), key.as_slice()))?),
                }
            }
        }
        Ok(())
    }

    fn write_numbered(
        &self,
        transaction: &WriteTransaction,
        definition: TableDefinition<'_, u32, Bytes>,
        rows: &[(u32, Option<Vec<u8>>)],
    ) -> Result<(), DiskError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut table = transaction.open_table(definition)?;
        for (id, value) in rows {
            match value {
                Some(value) => {
                    let place = place(redb::TableHandle::name(&definition), &[&id.to_be_bytes()]);
                    table.insert(id, self.vault.seal(&place, value)?.as_slice())?;
                }
                None => drop(table.remove(id)?),
            }
        }
        Ok(())
    }

    fn write_wal(&self, transaction: &WriteTransaction, batch: &Batch) -> Result<(), DiskError> {
        if batch.wal.is_empty() && batch.wal_done.is_empty() {
            return Ok(());
        }
        let mut table = transaction.open_table(WAL)?;
        for ((source, seq), value) in &batch.wal {
            let place = place("wal", &[&source.to_be_bytes(), &seq.to_be_bytes()]);
            table.insert((*source, *seq), self.vault.seal(&place, value)?.as_slice())?;
        }
        for (source, seq) in &batch.wal_done {
            table.retain_in((*source, 0)..=(*source, *seq), |_, _| false)?;
        }
        Ok(())
    }

    fn write_pages(&self, transaction: &WriteTransaction, batch: &Batch) -> Result<(), DiskError> {
        if batch.pages.is_empty() && batch.pages_gone.is_empty() {
            return Ok(());
        }
        let mut pages = transaction.open_table(PAGES)?;
        let mut digests = transaction.open_table(DIGESTS)?;
        for key in &batch.pages_gone {
            pages.remove(key)?;
            digests.remove(key)?;
        }
        for (key, page, digest) in &batch.pages {
            pages.insert(key, self.vault.seal(&page_place("pages", *key), page)?.as_slice())?;
            digests.insert(key, self.vault.seal(&page_place("digests", *key), digest)?.as_slice())?;
        }
        Ok(())
    }

    /// The store as it is now, for as long as the answer is held.
    pub(super) fn view(&self) -> Result<View, DiskError> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        guarded(|| {
            let transaction = slot.as_ref().ok_or_else(closed)?.begin_read()?;
            Ok(View::new(transaction, Arc::clone(&self.vault)))
        })
    }

    /// Gives space back to the file system. Waits for nobody: with a view open it does nothing.
    pub(super) fn compact(&self) -> Result<bool, DiskError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = slot.as_mut() else { return Ok(false) };
        match guarded(|| Ok(database.compact())) {
            Ok(Ok(compacted)) => Ok(compacted),
            Ok(Err(redb::CompactionError::TransactionInProgress)) => Ok(false),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error),
        }
    }

    /// Bytes on the disk, which may be fewer than the file is long.
    pub(super) fn file_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        match &self.medium {
            Medium::File(path) => std::fs::metadata(path).map_or(0, |m| m.blocks() * 512),
            _ => 0,
        }
    }

    /// Moves the file out of the way and begins a fresh one.
    pub(super) fn set_aside(&self, to: &Path) -> Result<(), DiskError> {
        self.close();
        if let Medium::File(path) = &self.medium {
            std::fs::rename(path, to)?;
        }
        self.reopen()
    }

    pub(super) fn close(&self) {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        close_guarded(&mut slot);
    }
}

/// redb writes when it is closed, and may stop over a damaged page there too. What was committed stays.
fn close_guarded(slot: &mut Option<Database>) {
    guarded(|| {
        drop(slot.take());
        Ok(())
    })
    .ok();
}

fn closed() -> DiskError {
    DiskError::Io("the store's file is not open".to_owned())
}

pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<(), DiskError> {
    transaction.open_table(META)?;
    transaction.open_table(SERIES)?;
    transaction.open_table(SOURCES)?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(WAL)?;
    transaction.open_table(PAGES)?;
    transaction.open_table(DIGESTS)?;
    transaction.open_table(STATE)?;
    Ok(())
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::testing::FlakyFile;
    use super::*;

    #[test]
    fn a_panic_while_it_is_closed_goes_no_further() {
        let folder = tempfile::tempdir().expect("a folder");
        let broken = Arc::new(AtomicBool::new(false));
        let opened = |name: &str| {
            let (path, broken) = (folder.path().join(name), Arc::clone(&broken));
            let medium =
                Medium::Made(Arc::new(move || FlakyFile::open(&path, Arc::clone(&broken)).panicking()));
            Disk::open(medium, 1 << 20, 0, Vault::new(None)).expect("opens")
        };
        let (disk, other) = (opened("a.redb"), opened("b.redb"));
        broken.store(true, Ordering::SeqCst);
        let database = other.database.write().expect("nobody else").take();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(database))).is_err(), "redb writes when it is closed");
        drop(disk);
    }
}
