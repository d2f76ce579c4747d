//! Reading the file: what was committed, as of one instant.
//!
//! Invariant: a row that its checksum or tag does not vouch for is never handed out as if it were good.

use std::path::Path;
use std::sync::Arc;

use redb::{Builder, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::disk::{
    BLOCKS, Bytes, DIGESTS, DiskError, META, PAGES, PageKey, SERIES, SOURCES, STATE, StateChange, WAL,
    guarded, make_tables, page_place, place,
};
use super::vault::Vault;

/// Key and value of a row of a state table; the value is missing where it is damaged.
pub(super) type StateRow = (Vec<u8>, Option<Vec<u8>>);

/// The store at one instant. Later commits do not change it.
pub(super) struct View {
    transaction: ReadTransaction,
    vault: Arc<Vault>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl View {
    pub(super) const fn new(transaction: ReadTransaction, vault: Arc<Vault>) -> Self {
        Self { transaction, vault }
    }

    pub(super) fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, DiskError> {
        guarded(|| {
            let table = self.transaction.open_table(META)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    pub(super) fn series(&self, each: impl FnMut(u32, Option<&[u8]>)) -> Result<(), DiskError> {
        self.numbered(SERIES, each)
    }

    pub(super) fn sources(&self, each: impl FnMut(u32, Option<&[u8]>)) -> Result<(), DiskError> {
        self.numbered(SOURCES, each)
    }

    pub(super) fn blocks(&self, each: impl FnMut(u32, Option<&[u8]>)) -> Result<(), DiskError> {
        self.numbered(BLOCKS, each)
    }

    /// Calls back with every row; one that is damaged is handed over without its value, since its number stays taken.
    fn numbered(
        &self,
        definition: TableDefinition<'_, u32, Bytes>,
        mut each: impl FnMut(u32, Option<&[u8]>),
    ) -> Result<(), DiskError> {
        guarded(|| {
            for row in self.transaction.open_table(definition)?.range::<u32>(..)? {
                let (id, value) = row?;
                let place = place(redb::TableHandle::name(&definition), &[&id.value().to_be_bytes()]);
                each(id.value(), self.vault.open(&place, value.value()).as_deref());
            }
            Ok(())
        })
    }

    /// Calls back with every log entry, in order of source and entry; one that is damaged is handed over without its
    /// value, since what comes behind it rests on it.
    pub(super) fn wal(&self, mut each: impl FnMut(u32, u64, Option<&[u8]>)) -> Result<(), DiskError> {
        guarded(|| {
            for row in self.transaction.open_table(WAL)?.range::<(u32, u64)>(..)? {
                let (key, value) = row?;
                let (source, seq) = key.value();
                let place = place("wal", &[&source.to_be_bytes(), &seq.to_be_bytes()]);
                each(source, seq, self.vault.open(&place, value.value()).as_deref());
            }
            Ok(())
        })
    }

    /// Number of log entries.
    pub(super) fn wal_entries(&self) -> Result<u64, DiskError> {
        guarded(|| Ok(redb::ReadableTableMetadata::len(&self.transaction.open_table(WAL)?)?))
    }

    /// Calls back with the digests of a block whose pages begin within the instants given, until it answers false.
    pub(super) fn digests(
        &self,
        block: u32,
        first_ms: std::ops::RangeInclusive<i64>,
        mut each: impl FnMut(PageKey, Option<&[u8]>) -> bool,
    ) -> Result<(), DiskError> {
        guarded(|| {
            let table = self.transaction.open_table(DIGESTS)?;
            let range = (block, *first_ms.start(), 0)..=(block, *first_ms.end(), u32::MAX);
            for row in table.range(range)? {
                let (key, value) = row?;
                let key = key.value();
                let digest = self.vault.open(&page_place("digests", key), value.value());
                if !each(key, digest.as_deref()) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Hands a page's bytes to `read`.
    pub(super) fn page<T>(
        &self,
        key: PageKey,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, DiskError> {
        guarded(|| {
            let table = self.transaction.open_table(PAGES)?;
            let Some(row) = table.get(key)? else { return Ok(None) };
            let page = self.vault.open(&page_place("pages", key), row.value());
            Ok(page.map(|page| read(&page)))
        })
    }

    pub(super) fn state(&self, name: &str, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        guarded(|| {
            let table = self.transaction.open_table(STATE)?;
            let Some(row) = table.get((name, key))? else { return Ok(None) };
            let value = self.vault.open(&place("state", &[name.as_bytes(), key]), row.value());
            value.map(|v| Some(v.into_owned())).ok_or_else(|| DiskError::Damaged(format!("a row of {name}")))
        })
    }

    /// Rows of a state table in the order of their keys, from a key on, until the callback answers false.
    pub(super) fn state_rows(
        &self,
        name: &str,
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        let mut damaged = false;
        self.state_rows_that_are_there(name, from, |key, value| match value {
            Some(value) => each(key, value),
            None => {
                damaged = true;
                false
            }
        })?;
        if damaged { Err(DiskError::Damaged(format!("a row of {name}"))) } else { Ok(()) }
    }

    /// As [`Self::state_rows`], but a row that is damaged is handed over without its value.
    pub(super) fn state_rows_that_are_there(
        &self,
        name: &str,
        from: &[u8],
        mut each: impl FnMut(&[u8], Option<&[u8]>) -> bool,
    ) -> Result<(), DiskError> {
        guarded(|| {
            let table = self.transaction.open_table(STATE)?;
            for row in table.range((name, from)..)? {
                let (key, value) = row?;
                let (table_name, key) = key.value();
                if table_name != name {
                    break;
                }
                let place = place("state", &[name.as_bytes(), key]);
                if !each(key, self.vault.open(&place, value.value()).as_deref()) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The last row of a state table, in the order of keys.
    pub(super) fn last_state_row(&self, name: &str) -> Result<Option<StateRow>, DiskError> {
        guarded(|| {
            let table = self.transaction.open_table(STATE)?;
            // Sorts behind every key of eight bytes.
            let behind = [0xff_u8; 9];
            let empty: &[u8] = &[];
            let Some(row) = table.range((name, empty)..(name, behind.as_slice()))?.next_back() else {
                return Ok(None);
            };
            let (key, value) = row?;
            let (_, key) = key.value();
            let value = self.vault.open(&place("state", &[name.as_bytes(), key]), value.value());
            Ok(Some((key.to_vec(), value.map(std::borrow::Cow::into_owned))))
        })
    }

    /// All rows of all state tables, as changes that would make them.
    pub(super) fn all_state(&self) -> Result<Vec<StateChange>, DiskError> {
        guarded(|| {
            let mut all = Vec::new();
            for row in self.transaction.open_table(STATE)?.iter()? {
                let (key, value) = row?;
                let (name, key) = key.value();
                if let Some(value) = self.vault.open(&place("state", &[name.as_bytes(), key]), value.value())
                {
                    all.push((name.to_owned(), key.to_vec(), Some(value.into_owned())));
                }
            }
            Ok(all)
        })
    }

    /// Copies everything into a new file.
    pub(super) fn copy_to(&self, path: &Path) -> Result<(), DiskError> {
        guarded(|| {
            let target = Builder::new().create(path)?;
            let transaction = target.begin_write()?;
            make_tables(&transaction)?;
            self.copy_table(&transaction, META)?;
            self.copy_table(&transaction, SERIES)?;
            self.copy_table(&transaction, SOURCES)?;
            self.copy_table(&transaction, BLOCKS)?;
            self.copy_table(&transaction, WAL)?;
            self.copy_table(&transaction, PAGES)?;
            self.copy_table(&transaction, DIGESTS)?;
            self.copy_table(&transaction, STATE)?;
            Ok(transaction.commit()?)
        })
    }

    fn copy_table<K: redb::Key + 'static>(
        &self,
        target: &WriteTransaction,
        definition: TableDefinition<'_, K, Bytes>,
    ) -> Result<(), DiskError> {
        let source = self.transaction.open_table(definition)?;
        let mut table = target.open_table(definition)?;
        for row in source.iter()? {
            let (key, value) = row?;
            table.insert(key.value(), value.value())?;
        }
        Ok(())
    }
}
