//! The series there are: by number, by labels, and through the index.
//!
//! Invariant: numbers rise and are never used twice, so that a page that names a series that is gone names nobody.

use hashbrown::HashTable;
use rustc_hash::FxHashMap;

use super::bytes::{Reader, put_signed, put_varint};
use super::index::Index;
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher};

/// Where samples of a series are: a block, and its place there while it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) block: u32,
    pub(super) slot: u16,
}

/// A home that holds only pages.
pub(super) const HISTORY: u16 = u16::MAX;

#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) first_ms: i64,
    /// The newest sample; `i64::MIN` when there is none yet.
    pub(super) last_ms: i64,
    /// What tells its value from others, [`mark_of`] it: it may be in a page, where looking is dear. 0: not known.
    pub(super) last_mark: u16,
    /// Kept for the long time.
    pub(super) selected: bool,
    home: Option<Home>,
    more_homes: Vec<Home>,
}

impl Series {
    const fn new(labels: Labels, first_ms: i64, selected: bool) -> Self {
        Self {
            labels,
            first_ms,
            last_ms: i64::MIN,
            last_mark: 0,
            selected,
            home: None,
            more_homes: Vec::new(),
        }
    }

    pub(super) fn homes(&self) -> impl Iterator<Item = Home> + '_ {
        self.home.iter().copied().chain(self.more_homes.iter().copied())
    }

    /// Notes a sample that may be the newest.
    pub(super) const fn note_last(&mut self, at_ms: i64, bits: u64) {
        if at_ms >= self.last_ms {
            self.last_ms = at_ms;
            self.last_mark = mark_of(bits);
        }
    }

    /// Whether the newest sample may have this value; after a restart that is not known of what is in pages.
    pub(super) const fn may_end_with(&self, bits: u64) -> bool {
        self.last_mark == 0 || self.last_mark == mark_of(bits)
    }

    /// Notes a home; true when its block is a new one, which the row of the series must then name.
    pub(super) fn move_in(&mut self, home: Home) -> bool {
        let mut known = self.home.iter_mut().chain(self.more_homes.iter_mut());
        if let Some(place) = known.find(|h| h.block == home.block) {
            place.slot = home.slot;
            return false;
        }
        match self.home {
            None => self.home = Some(home),
            Some(_) => self.more_homes.push(home),
        }
        true
    }

    /// Notes that a block no longer writes this series.
    pub(super) fn move_out(&mut self, block: u32) {
        let mut known = self.home.iter_mut().chain(self.more_homes.iter_mut());
        if let Some(place) = known.find(|h| h.block == block) {
            place.slot = HISTORY;
        }
    }

    /// Forgets blocks that are gone.
    pub(super) fn forget_homes(&mut self, gone: impl Fn(u32) -> bool) {
        self.more_homes.retain(|h| !gone(h.block));
        if self.home.is_some_and(|h| gone(h.block)) {
            self.home = self.more_homes.pop();
        }
    }

    pub(super) fn is_written(&self) -> bool {
        self.homes().any(|h| h.slot != HISTORY)
    }

    /// The row of the file: first instant, blocks, labels.
    pub(super) fn to_row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.labels.size_bytes() + 16);
        put_signed(&mut row, self.first_ms);
        put_varint(&mut row, self.homes().count() as u64);
        self.homes().for_each(|h| put_varint(&mut row, u64::from(h.block)));
        put_varint(&mut row, self.labels.len() as u64);
        for text in self.labels.iter().flat_map(|(name, value)| [name, value]) {
            put_varint(&mut row, text.len() as u64);
            row.extend_from_slice(text.as_bytes());
        }
        row
    }

    fn from_row(row: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(row);
        let first_ms = reader.signed()?;
        let homes = reader.length(row.len())?;
        let homes: Option<Vec<u32>> = (0..homes).map(|_| reader.u32_varint()).collect();
        let pairs = reader.length(row.len())?;
        let mut text = || {
            let length = reader.length(row.len())?;
            std::str::from_utf8(reader.take(length)?).ok()
        };
        let pairs: Option<Vec<(&str, &str)>> = (0..pairs).map(|_| Some((text()?, text()?))).collect();
        let mut series = Self::new(Labels::from_pairs(pairs?), first_ms, false);
        for block in homes? {
            series.move_in(Home { block, slot: HISTORY });
        }
        Some(series)
    }
}

/// Tells values apart, but for one in some 65,000; never 0. Wider ones would make each series larger.
pub(super) const fn mark_of(bits: u64) -> u16 {
    let [high, low, ..] = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mark = u16::from_be_bytes([high, low]);
    if mark == 0 { 1 } else { mark }
}

/// All series.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    by_number: FxHashMap<u32, Series>,
    by_labels: HashTable<u32>,
    index: Index,
    next: u32,
    selected: Selected,
}

/// Which series are kept for the long time: sets of matchers, by the metric's name where a set asks for one.
#[derive(Debug, Default)]
struct Selected {
    by_name: FxHashMap<String, Vec<Vec<Matcher>>>,
    of_any_name: Vec<Vec<Matcher>>,
}

impl SeriesTable {
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) const fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn get(&self, id: u32) -> Option<&Series> {
        self.by_number.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Series> {
        self.by_number.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Series)> {
        self.by_number.iter().map(|(id, series)| (*id, series))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.by_number.values_mut()
    }

    pub(super) fn find(&self, labels: &Labels) -> Option<u32> {
        let same = |id: &u32| self.by_number.get(id).is_some_and(|s| s.labels == *labels);
        self.by_labels.find(labels.hash64(), same).copied()
    }

    /// A series that is not there yet.
    pub(super) fn add(&mut self, labels: &Labels, first_ms: i64) -> u32 {
        let id = self.next;
        let selected = self.selected.has(labels);
        self.put(id, Series::new(labels.clone(), first_ms, selected));
        id
    }

    /// A series as its row says; false where the row is damaged.
    pub(super) fn load(&mut self, id: u32, row: &[u8]) -> bool {
        let Some(series) = Series::from_row(row) else { return false };
        self.put(id, series);
        true
    }

    fn put(&mut self, id: u32, series: Series) {
        self.next = self.next.max(id.saturating_add(1));
        self.index.insert(id, &series.labels);
        let hash = series.labels.hash64();
        self.by_number.insert(id, series);
        let by_number = &self.by_number;
        self.by_labels.insert_unique(hash, id, |id| by_number.get(id).map_or(0, |s| s.labels.hash64()));
    }

    pub(super) fn remove(&mut self, id: u32) {
        let Some(series) = self.by_number.remove(&id) else { return };
        self.index.remove(id, &series.labels);
        if let Ok(entry) = self.by_labels.find_entry(series.labels.hash64(), |other| *other == id) {
            entry.remove();
        }
    }

    /// The number that the next series gets, and a lower bound for it after a restart.
    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    pub(super) fn start_at(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    /// Which series are kept for the long time: those that fit any of the sets.
    pub(super) fn set_selected(&mut self, sets: Vec<Vec<Matcher>>) {
        self.selected = Selected::new(sets);
        for series in self.by_number.values_mut() {
            series.selected = self.selected.has(&series.labels);
        }
    }

    /// Series that fit all matchers, sorted by number.
    pub(super) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        self.index.select(matchers, |id| self.get(id).map(|s| &s.labels))
    }

    /// Series that fit any of the sets; without a set all.
    pub(super) fn select_any(&self, sets: &[Vec<Matcher>]) -> Vec<u32> {
        match sets {
            [] => self.index.all().to_vec(),
            [only] => self.select(only),
            many => {
                let mut ids: Vec<u32> = many.iter().flat_map(|set| self.select(set)).collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            }
        }
    }
}

impl Selected {
    fn new(sets: Vec<Vec<Matcher>>) -> Self {
        let mut selected = Self::default();
        for set in sets {
            let name = set.iter().find(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal);
            match name.map(|name| name.pattern().to_owned()) {
                Some(name) => selected.by_name.entry(name).or_default().push(set),
                None => selected.of_any_name.push(set),
            }
        }
        selected
    }

    fn has(&self, labels: &Labels) -> bool {
        let named = self.by_name.get(labels.metric_name()).into_iter().flatten();
        named.chain(&self.of_any_name).any(|set| Matcher::all_match(set, labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_comes_back_from_its_row() {
        let mut table = SeriesTable::default();
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "é")]);
        let id = table.add(&labels, -5);
        let series = table.get_mut(id).expect("there");
        assert!(series.move_in(Home { block: 3, slot: 1 }) && series.move_in(Home { block: 9, slot: 2 }));
        assert!(!series.move_in(Home { block: 3, slot: 7 }));
        let row = series.to_row();
        let mut again = SeriesTable::default();
        assert!(again.load(41, &row) && !again.load(42, &row[..row.len() - 1]));
        let back = again.get(41).expect("there");
        assert_eq!((&back.labels, back.first_ms, back.homes().count()), (&labels, -5, 2));
        assert_eq!((again.find(&labels), again.next()), (Some(41), 42));
        again.remove(41);
        assert_eq!((again.find(&labels), again.len(), again.index().pairs()), (None, 0, 0));
    }

    #[test]
    fn what_a_mark_takes_no_series_is_larger_for() {
        let without = size_of::<(Labels, i64, i64, bool, Option<Home>, Vec<Home>)>();
        assert_eq!(size_of::<Series>(), without);
        let values = [0.0, -0.0, 1.0, 1.5, 2.0, 5.0, 999.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE];
        let mut marks: Vec<u16> = values.iter().map(|value| mark_of(value.to_bits())).collect();
        marks.sort_unstable();
        marks.dedup();
        assert!(marks.len() == values.len() && !marks.contains(&0), "{marks:?}");
    }

    #[test]
    fn selected_series_are_those_of_any_set() {
        let mut table = SeriesTable::default();
        let label = |job: &str| Labels::from_pairs([("job", job)]);
        let (a, b) = (table.add(&label("a"), 0), table.add(&label("b"), 0));
        table.set_selected(vec![vec![Matcher::equal("job", "a")], vec![Matcher::equal("job", "c")]]);
        let c = table.add(&label("c"), 0);
        let selected = |id| table.get(id).expect("there").selected;
        assert_eq!([selected(a), selected(b), selected(c)], [true, false, true]);
        table.set_selected(vec![vec![Matcher::equal("__name__", "up"), Matcher::equal("job", "d")]]);
        let up = |job: &str| Labels::from_pairs([("__name__", "up"), ("job", job)]);
        let (d, e) = (table.add(&up("d"), 0), table.add(&up("e"), 0));
        let selected = |id| table.get(id).expect("there").selected;
        assert_eq!([selected(a), selected(d), selected(e)], [false, true, false]);
        let sets = [vec![Matcher::equal("job", "c")], vec![Matcher::equal("job", "a")]];
        assert_eq!(table.select_any(&sets), [a, c]);
    }
}
