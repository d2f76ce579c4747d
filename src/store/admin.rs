//! What an administrator does: delete samples, copy the store, begin anew after damage.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustc_hash::FxHashSet;
use tracing::error;

use super::column::{ABSENT_BITS, MOST_VALUES};
use super::disk::{Batch, DiskError, PageKey};
use super::engine::{FILE_NAME, Inner, Store, aside_name, count, file_of, from_disk};
use super::error::StoreError;
use super::load;
use super::page::{self, Column, Digest, read_page};
use super::view::View;
use crate::model::{Matcher, Samples, Timestamp};

/// What [`Store::delete_series`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Samples that are gone.
    pub samples: u64,
    /// Series of which nothing was left.
    pub series: usize,
}

impl Store {
    /// Deletes the samples from `from` to `to`, both included, of all series that fit any of the sets. Pages are
    /// written anew without them. Series that are still written go on.
    ///
    /// # Errors
    /// The file cannot be read or written; then nothing is deleted.
    pub fn delete_series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Deleted, StoreError> {
        let path = file_of(&self.0.config);
        let range = (from.as_millis(), to.as_millis());
        self.0.delete(matcher_sets, range).map_err(|e| from_disk(&path, e))
    }

    /// Copies the store, as it is now, into a folder that does not have one. The copy has the same key.
    ///
    /// # Errors
    /// There is no file to copy, the folder has a store already, or writing fails.
    pub fn snapshot(&self, folder: &Path) -> Result<PathBuf, StoreError> {
        self.flush()?;
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let target = folder.join(FILE_NAME);
        if target.exists() {
            let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(StoreError::Io { path: target, source: exists });
        }
        let copied = self.0.disk.view().and_then(|view| view.copy_to(&target));
        copied.map_err(|e| from_disk(&target, e))?;
        Ok(target)
    }
}

impl Inner {
    fn delete(&self, sets: &[Vec<Matcher>], (from, to): (i64, i64)) -> Result<Deleted, DiskError> {
        let _sealing = self.sealing();
        let ids: FxHashSet<u32> = self.head().series.select_any(sets).into_iter().collect();
        let blocks: FxHashSet<u32> = {
            let head = self.head();
            let series = ids.iter().filter_map(|id| head.series.get(*id));
            series.flat_map(|s| s.homes()).map(|home| home.block).collect()
        };
        // What is in memory has to be in pages first; then all is found in one place, and the log does not know it.
        let due: Vec<u32> = blocks.iter().copied().collect();
        self.commit_sealing(&due, Batch::default())?;
        let view = self.disk.view()?;
        let mut deletion = Deletion { ids: &ids, from, to, batch: Batch::default(), samples: 0 };
        for block in &blocks {
            deletion.block(&view, *block)?;
        }
        let Deletion { mut batch, samples, .. } = deletion;
        let gone = self.series_of_which_nothing_is_left(&ids, (from, to));
        batch.series.extend(gone.iter().map(|id| (*id, None)));
        batch.meta.push((load::NEXT, load::next_row(self.head().next_numbers())));
        self.commit_sealing(&[], batch)?;
        let mut head = self.head_mut();
        gone.iter().for_each(|id| head.series.remove(*id));
        Ok(Deleted { samples, series: gone.len() })
    }

    fn series_of_which_nothing_is_left(&self, ids: &FxHashSet<u32>, (from, to): (i64, i64)) -> Vec<u32> {
        let head = self.head();
        let ended = |id: &&u32| {
            let series = head.series.get(**id);
            series.is_some_and(|s| !s.is_written() && s.first_ms >= from && s.last_ms <= to)
        };
        ids.iter().filter(ended).copied().collect()
    }

    /// The file is damaged as a whole: it is moved aside, and a new one gets what is in memory and what can be read of
    /// the state tables. The caller holds `sealing`.
    pub(super) fn replace_file(&self, why: &str) -> Result<u64, DiskError> {
        let path = file_of(&self.config);
        let aside = aside_name(&path, self.now_ms.load(Ordering::Relaxed));
        error!(file = %path.display(), moved_to = %aside.display(), why, "Store is damaged; a fresh one is begun");
        let state = self.disk.view().and_then(|view| view.all_state()).unwrap_or_default();
        self.disk.set_aside(&aside)?;
        count(&self.counters.files_set_aside, 1);
        load::mark_fresh(&self.disk)?;
        self.set_totals([0; 3]);
        self.drop_pending_log();
        let (due, mut batch) = {
            let head = self.head();
            let mut batch = Batch::default();
            batch.series.extend(head.series.iter().map(|(id, series)| (id, Some(series.to_row()))));
            let names = head.sources.iter().map(|(id, source)| (*id, Some(source.name.as_bytes().to_vec())));
            batch.sources.extend(names);
            let due: Vec<u32> = head.blocks.keys().copied().collect();
            (due, batch)
        };
        batch.state = state;
        self.commit_sealing(&due, batch)
    }
}

struct Deletion<'a> {
    ids: &'a FxHashSet<u32>,
    from: i64,
    to: i64,
    batch: Batch,
    samples: u64,
}

impl Deletion<'_> {
    fn block(&mut self, view: &View, block: u32) -> Result<(), DiskError> {
        let mut touched: Vec<(PageKey, u64)> = Vec::new();
        view.digests(block, i64::MIN..=self.to, |key, bytes| {
            let digest = bytes.and_then(|bytes| Digest::read(bytes, key.1).ok());
            let mut hit = false;
            let whole = digest.map(|digest| {
                digest.for_each(|id, entry| {
                    let inside = |s: crate::model::Summary| s.last_ms >= self.from && s.first_ms <= self.to;
                    hit |= self.ids.contains(&id) && entry.summary().is_none_or(inside);
                })
            });
            // One that cannot be read may hold anything: its page is looked at.
            if hit || !matches!(whole, Some(Ok(()))) {
                touched.push((key, bytes.map_or(0, |b| b.len() as u64)));
            }
            true
        })?;
        for (key, digest_bytes) in touched {
            self.page(view, key, digest_bytes)?;
        }
        Ok(())
    }

    fn page(&mut self, view: &View, key: PageKey, digest_bytes: u64) -> Result<(), DiskError> {
        let read = view.page(key, |bytes| (read_page(bytes, None), bytes.len() as u64))?;
        let Some((Ok(columns), page_bytes)) = read else { return Ok(()) };
        let before: u64 = columns.iter().map(|(_, samples)| samples.len() as u64).sum();
        let kept: Vec<(u32, Samples)> =
            columns.into_iter().map(|(id, samples)| self.without(id, samples)).collect();
        let left: u64 = kept.iter().map(|(_, samples)| samples.len() as u64).sum();
        if left == before {
            return Ok(());
        }
        self.samples += before - left;
        self.batch.pages_gone.push(key);
        let mut gone = [1, before, page_bytes + digest_bytes];
        if let Some(sealed) = repacked(&kept) {
            let bytes = (sealed.page.len() + sealed.digest.len()) as u64;
            gone = [0, before - left, (page_bytes + digest_bytes).saturating_sub(bytes)];
            self.batch.pages.push(((key.0, sealed.first_ms, key.2), sealed.page, sealed.digest));
        }
        let [pages, samples, bytes] = self.batch.gone;
        let [gone_pages, gone_samples, gone_bytes] = gone;
        self.batch.gone = [pages + gone_pages, samples + gone_samples, bytes + gone_bytes];
        Ok(())
    }

    fn without(&self, id: u32, samples: Samples) -> (u32, Samples) {
        if !self.ids.contains(&id) {
            return (id, samples);
        }
        let kept = samples.iter().filter(|(at, _)| *at < self.from || *at > self.to);
        let (instants, values) = kept.unzip();
        (id, Samples::from_columns(instants, values))
    }
}

/// A page's series in one page again, around the instants that most of them share.
fn repacked(series: &[(u32, Samples)]) -> Option<page::Sealed> {
    let longest = series.iter().map(|(_, samples)| samples.timestamps_ms()).max_by_key(|t| t.len())?;
    let shared = if longest.len() <= MOST_VALUES { longest } else { &[] };
    let columns: Vec<Column<'_>> = series
        .iter()
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(id, samples)| match spread(shared, samples) {
            Some(values) => Column { series: *id, own_instants: None, values },
            None => {
                let values = samples.values().to_vec();
                Column { series: *id, own_instants: Some(samples.timestamps_ms()), values }
            }
        })
        .collect();
    page::seal(shared, &columns, usize::MAX).into_iter().next()
}

/// Samples over shared instants, with gaps; `None` where they have others.
fn spread(shared: &[i64], samples: &Samples) -> Option<Vec<f64>> {
    let mut left = samples.iter().peekable();
    let values: Vec<f64> = shared
        .iter()
        .map(|at| left.next_if(|(t, _)| t == at).map_or(f64::from_bits(ABSENT_BITS), |(_, value)| value))
        .collect();
    left.peek().is_none().then_some(values)
}
