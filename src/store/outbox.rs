//! The outbox: what ticks brought, in the order in which it was taken, for those who pass it on to others.
//!
//! While it is on, every tick leaves one entry: its samples and the staleness markers that it caused. The entry is
//! written in the tick's own commit, so that it is there after a kill exactly when the tick is.
//!
//! Invariants: entries are numbered without gaps; their samples and bytes are counted through, so that how much lies
//! between two marks is known without reading; within a series samples rise in time. The newest entry is never
//! removed: it keeps numbers from being given twice.
//!
//! Shape: an entry is a row of the state table `outbox` under its number (eight bytes, big-endian): its instant,
//! samples and bytes up to and with it, then for each sample in order of series: the difference of its number to the
//! one before, shifted by one bit that says whether an instant of its own follows; the value: a whole number, zigzag
//! and shifted by one bit, or 1 and the eight bytes of a float.

use std::sync::Arc;

use tokio::sync::watch;

use super::bytes::{Reader, put_f64, put_signed, put_varint, unzigzag, zigzag};
use super::disk::{DiskError, StateChange};
use super::engine::{Inner, Store, count, file_of, from_disk};
use super::error::StoreError;
use super::view::View;
use crate::model::{Labels, Timestamp};

/// Name of the state table.
const TABLE: &str = "outbox";

/// Bytes of a row beside its value: key, and what guards it.
const ROW_BYTES: u64 = 48;

/// Whole numbers below this have their own, short shape; 2^53 with room for two shifts.
const MOST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Most rows that one commit removes.
const REMOVED_AT_ONCE: u64 = 4_096;

/// A place between two entries: everything up to and with entry `number` lies before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxMark {
    /// Number of the entry; 0 lies before the first.
    pub number: u64,
    /// Samples up to here.
    pub samples: u64,
    /// Bytes up to here.
    pub bytes: u64,
    /// When that entry's tick began.
    pub at: Timestamp,
}

/// One sample of an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutboxSample {
    /// The series' number in the store.
    pub series: u32,
    /// Its instant, milliseconds.
    pub at_ms: i64,
    /// Its value, or the staleness marker.
    pub value: f64,
}

/// What one tick brought.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    /// The place behind it.
    pub mark: OutboxMark,
    /// Its samples, sorted by series and time.
    pub samples: Vec<OutboxSample>,
}

impl OutboxEntry {
    /// Samples before this entry.
    pub fn samples_before(&self) -> u64 {
        self.mark.samples.saturating_sub(self.samples.len() as u64)
    }
}

/// What the head knows of the outbox.
#[derive(Debug, Default)]
pub(super) struct Noted {
    on: bool,
    /// The number of the oldest entry.
    first: u64,
    pub(super) last: OutboxMark,
}

impl Noted {
    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// The row of a tick; `None` where it brought nothing.
    pub(super) fn note(&mut self, at_ms: i64, mut samples: Vec<OutboxSample>) -> Option<StateChange> {
        if samples.is_empty() {
            return None;
        }
        // Stable: what is of one instant stays in its order.
        samples.sort_by_key(|sample| (sample.series, sample.at_ms));
        let mut body = Vec::with_capacity(samples.len() * 6);
        put_samples(&mut body, at_ms, &samples);
        let mark = OutboxMark {
            number: self.last.number + 1,
            samples: self.last.samples + samples.len() as u64,
            bytes: self.last.bytes + body.len() as u64 + ROW_BYTES,
            at: Timestamp::from_millis(at_ms),
        };
        let mut row = Vec::with_capacity(body.len() + 24);
        put_signed(&mut row, at_ms);
        put_varint(&mut row, mark.samples);
        put_varint(&mut row, mark.bytes);
        row.extend_from_slice(&body);
        if self.first == 0 {
            self.first = mark.number;
        }
        self.last = mark;
        Some((TABLE.to_owned(), key(mark.number), Some(row)))
    }

    /// What the file has; called once, when it is opened.
    pub(super) fn load(&mut self, view: &View) -> Result<(), DiskError> {
        if let Some((key, row)) = view.last_state_row(TABLE)?
            && let Some(number) = number_of(&key)
        {
            // Its number counts also where it is damaged: it must not be given again.
            let read = row.and_then(|row| read_head(number, &mut Reader::new(&row)));
            self.last = read.unwrap_or(OutboxMark { number, ..OutboxMark::default() });
            view.state_rows_that_are_there(TABLE, &[], |key, _| {
                self.first = number_of(key).unwrap_or(number);
                false
            })?;
        }
        Ok(())
    }
}

/// The outbox of a store. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Inner>);

impl Store {
    /// What ticks brought, for those who pass it on.
    pub fn outbox(&self) -> Outbox {
        Outbox(Arc::clone(&self.0))
    }
}

impl Outbox {
    /// Whether ticks leave entries from now on. What is there stays.
    pub fn switch(&self, on: bool) {
        self.0.head_mut().outbox.on = on;
    }

    /// The place behind the newest entry that can be read, and word of when it moves.
    pub fn newest(&self) -> watch::Receiver<OutboxMark> {
        self.0.noted.subscribe()
    }

    /// Entries behind a mark, the oldest first, until `each` answers false. An entry that is damaged is left out and
    /// counted; gaps in the numbers say so.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, after: u64, mut each: impl FnMut(OutboxEntry) -> bool) -> Result<(), StoreError> {
        if !self.0.disk.is_file() {
            // In memory nobody else waits for a commit.
            Store(Arc::clone(&self.0)).flush()?;
        }
        let read = self.0.disk.view().and_then(|view| {
            view.state_rows_that_are_there(TABLE, &key(after.saturating_add(1)), |key, row| {
                let entry = number_of(key).and_then(|number| read_entry(number, row?));
                count(&self.0.counters.damaged_rows, u64::from(entry.is_none()));
                entry.is_none_or(&mut each)
            })
        });
        read.map_err(|error| self.failed(error))
    }

    /// The labels of a series; `None` once retention has removed it.
    pub fn labels(&self, series: u32) -> Option<Labels> {
        self.0.head().series.get(series).map(|series| series.labels.clone())
    }

    /// Number of series that the store knows.
    pub fn series(&self) -> usize {
        self.0.head().series.len()
    }

    /// Removes what lies before a mark, what was noted before `oldest`, and what is more than `most_bytes`; the newest
    /// entry stays. Answers the number of the oldest entry that is left.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn trim(&self, before: u64, oldest: Timestamp, most_bytes: u64) -> Result<u64, StoreError> {
        let (mut first, last) = {
            let head = self.0.head();
            (head.outbox.first, head.outbox.last)
        };
        let begun = first;
        self.read(0, |entry| {
            let too_much = last.bytes.saturating_sub(entry.mark.bytes) >= most_bytes;
            let gone = entry.mark.number < last.number
                && (entry.mark.number <= before || entry.mark.at < oldest || too_much);
            if gone {
                first = entry.mark.number + 1;
            }
            gone
        })?;
        let mut from = begun;
        while from < first {
            let to = first.min(from.saturating_add(REMOVED_AT_ONCE));
            let ((), ticket) = self.0.enqueue(|head, batch| {
                batch.state.extend((from..to).map(|number| (TABLE.to_owned(), key(number), None)));
                head.outbox.first = to;
            });
            self.0.commit_until(ticket)?;
            from = to;
        }
        Ok(first)
    }

    fn failed(&self, error: DiskError) -> StoreError {
        from_disk(&file_of(&self.0.config), error)
    }
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn number_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

fn put_samples(out: &mut Vec<u8>, at_ms: i64, samples: &[OutboxSample]) {
    let mut before = 0;
    for sample in samples {
        let own = sample.at_ms != at_ms;
        put_varint(out, u64::from(sample.series - before) << 1 | u64::from(own));
        before = sample.series;
        if own {
            put_signed(out, sample.at_ms.wrapping_sub(at_ms));
        }
        match whole(sample.value) {
            Some(number) => put_varint(out, zigzag(number) << 1),
            None => {
                put_varint(out, 1);
                put_f64(out, sample.value);
            }
        }
    }
}

/// The number that a value is, where it comes back from it to the last bit.
fn whole(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and far below 2^63")]
    let number = || value as i64;
    let fits = value.abs() < MOST_WHOLE && value.fract() == 0.0 && (value != 0.0 || value.is_sign_positive());
    fits.then(number)
}

fn read_head(number: u64, reader: &mut Reader<'_>) -> Option<OutboxMark> {
    let at = Timestamp::from_millis(reader.signed()?);
    Some(OutboxMark { number, samples: reader.varint()?, bytes: reader.varint()?, at })
}

fn read_entry(number: u64, row: &[u8]) -> Option<OutboxEntry> {
    let mut reader = Reader::new(row);
    let mark = read_head(number, &mut reader)?;
    let at_ms = mark.at.as_millis();
    let mut samples = Vec::new();
    let mut series = 0_u32;
    while !reader.is_empty() {
        let head = reader.varint()?;
        series = series.checked_add(u32::try_from(head >> 1).ok()?)?;
        let sample_ms = if head & 1 == 1 { at_ms.wrapping_add(reader.signed()?) } else { at_ms };
        let code = reader.varint()?;
        #[expect(clippy::cast_precision_loss, reason = "below 2^53, as it was written")]
        let value = if code & 1 == 1 { reader.f64()? } else { unzigzag(code >> 1) as f64 };
        samples.push(OutboxSample { series, at_ms: sample_ms, value });
    }
    Some(OutboxEntry { mark, samples })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::{EncryptionKey, StoreConfig};
    use super::*;
    use crate::model::{Row, is_stale};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn row(name: &str, value: f64) -> Row {
        Row { labels: Labels::from_pairs([("__name__", name)]), value, timestamp: None }
    }

    fn open(path: Option<&Path>) -> Store {
        let key = Some(EncryptionKey::new([3; 32]));
        let path = path.map(Path::to_owned);
        let config = StoreConfig { path, min_free_bytes: 0, encryption_key: key, ..StoreConfig::default() };
        let store = Store::open(config, at(0)).expect("opens");
        store.outbox().switch(true);
        store
    }

    fn entries(store: &Store, after: u64) -> Vec<OutboxEntry> {
        let mut found = Vec::new();
        store
            .outbox()
            .read(after, |entry| {
                found.push(entry);
                true
            })
            .expect("readable");
        found
    }

    fn shown(store: &Store, entry: &OutboxEntry) -> BTreeMap<String, String> {
        let sample = |s: &OutboxSample| {
            let labels = store.outbox().labels(s.series).expect("known").to_string();
            let value = if is_stale(s.value) { "stale".to_owned() } else { s.value.to_string() };
            (labels, format!("{} {value}", s.at_ms))
        };
        entry.samples.iter().map(sample).collect()
    }

    #[test]
    fn ticks_leave_entries_also_across_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        for path in [None, Some(dir.path())] {
            let store = open(path);
            let mut source = store.source("a");
            source.append(at(10), &[row("x", 1.5), row("y", -2.0)]).expect("taken");
            source.append(at(20), &[row("x", 1.5)]).expect("taken");
            // Refused: nothing is new.
            source.append(at(20), &[row("x", 7.0)]).expect("taken");
            let own = Row { timestamp: Some(at(15)), ..row("z", f64::NAN) };
            store.source("b").append(at(30), &[own]).expect("taken");
            let store = match path {
                None => store,
                Some(_) => {
                    store.close().expect("closes");
                    drop((store, source));
                    open(path)
                }
            };
            let found = entries(&store, 0);
            let shown: Vec<String> = found.iter().map(|e| format!("{:?}", shown(&store, e))).collect();
            assert_eq!(
                shown,
                [
                    r#"{"{__name__=\"x\"}": "10 1.5", "{__name__=\"y\"}": "10 -2"}"#,
                    r#"{"{__name__=\"x\"}": "20 1.5", "{__name__=\"y\"}": "20 stale"}"#,
                    r#"{"{__name__=\"z\"}": "15 NaN"}"#,
                ]
            );
            let marks: Vec<_> = found.iter().map(|e| (e.mark.number, e.mark.samples)).collect();
            assert_eq!(marks, [(1, 2), (2, 4), (3, 5)]);
            assert_eq!(store.outbox().newest().borrow().number, 3);
            store.source("b").append(at(40), &[row("z", 1.0)]).expect("taken");
            assert_eq!(entries(&store, 3).len(), 1);
        }
    }

    /// As a sender does that could not know what had arrived.
    #[test]
    fn a_tick_that_repeats_several_samples_of_a_series_is_no_fault() {
        let store = open(None);
        let own = |ms: i64, value: f64| Row { timestamp: Some(at(ms)), ..row("x", value) };
        let rows = [own(1, 1.0), own(2, 2.0), own(2, 2.0), own(2, 3.0)];
        let first = store.source("a").append(at(10), &rows).expect("taken");
        assert_eq!((first.added, first.repeated, first.duplicate), (2, 1, 1));
        let again = store.source("a").append(at(20), &rows).expect("taken");
        assert_eq!((again.added, again.repeated, again.duplicate, again.out_of_order), (0, 2, 1, 1));
        assert_eq!(entries(&store, 0).len(), 1);
    }

    #[test]
    fn a_damaged_entry_costs_only_itself() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(Some(dir.path()));
        let mut source = store.source("a");
        for ms in 1..=4 {
            source.append(at(ms), &[row("x", ms as f64)]).expect("taken");
        }
        // Rows that are no entries, at the places of two: what a wrong checksum amounts to.
        let table = store.state(TABLE);
        table.put(&key(2), b"").expect("written");
        table.put(&key(4), b"").expect("written");
        let numbers = |store: &Store| entries(store, 0).iter().map(|e| e.mark.number).collect::<Vec<_>>();
        assert_eq!(numbers(&store), [1, 3]);
        store.close().expect("closes");
        drop((store, source, table));
        let store = open(Some(dir.path()));
        assert_eq!(store.outbox().newest().borrow().number, 4);
        store.source("a").append(at(5), &[row("x", 5.0)]).expect("taken");
        assert_eq!(numbers(&store), [1, 3, 5]);
        assert_eq!(store.outbox().trim(4, at(0), u64::MAX).expect("trimmed"), 4);
        assert_eq!(numbers(&store), [5]);
    }

    #[test]
    fn trimming_keeps_the_newest_and_what_is_within_bounds() {
        let store = open(None);
        let mut source = store.source("a");
        let mut fill = |from: i64| {
            for ms in from..from + 10 {
                source.append(at(ms), &[row("x", ms as f64)]).expect("taken");
            }
        };
        fill(1);
        let left = |store: &Store| entries(store, 0).iter().map(|e| e.mark.number).collect::<Vec<_>>();
        let outbox = store.outbox();
        assert_eq!(outbox.trim(3, at(0), u64::MAX).expect("trimmed"), 4);
        assert_eq!(left(&store).first(), Some(&4));
        assert_eq!(outbox.trim(0, at(7), u64::MAX).expect("trimmed"), 7);
        let each = entries(&store, 9)[0].mark.bytes - entries(&store, 8)[0].mark.bytes;
        assert_eq!(outbox.trim(0, at(0), 2 * each).expect("trimmed"), 9);
        assert_eq!(left(&store), [9, 10]);
        assert_eq!(outbox.trim(99, at(99), 0).expect("trimmed"), 10);
        fill(11);
        assert_eq!(left(&store), (10..=20).collect::<Vec<_>>());
        outbox.switch(false);
        fill(21);
        assert_eq!(left(&store).last(), Some(&20));
    }

    proptest! {
        #[test]
        fn entries_come_back(
            at_ms in any::<i64>(),
            samples in prop::collection::vec((0_u32..9, any::<i64>(), any::<u64>(), -3_i64..3, any::<bool>()), 1..50),
        ) {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let made = samples.into_iter().map(|(series, own, bits, small, is_small)| OutboxSample {
                series,
                at_ms: if is_small { at_ms } else { own },
                value: if is_small { small as f64 } else { f64::from_bits(bits) },
            });
            let samples: Vec<_> = made.collect();
            let mut noted = Noted::default();
            let (_, _, row) = noted.note(at_ms, samples.clone()).expect("an entry");
            let entry = read_entry(1, &row.expect("a row")).expect("reads");
            let bits = |s: &OutboxSample| (s.series, s.at_ms, s.value.to_bits());
            let mut expected: Vec<_> = samples.iter().map(bits).collect();
            expected.sort_by_key(|(series, at_ms, _)| (*series, *at_ms));
            prop_assert_eq!(entry.samples.iter().map(bits).collect::<Vec<_>>(), expected);
            prop_assert_eq!((entry.mark.at, entry.mark), (at(at_ms), noted.last));
        }

        #[test]
        fn any_bytes_are_read_or_refused(row in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read_entry(1, &row));
        }
    }
}
