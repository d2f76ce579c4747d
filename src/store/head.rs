//! What is in memory: series, blocks and sources; how a tick is applied and logged.
//!
//! Invariant: a sample is taken only if it is newer than its series' newest one.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::block::{Block, ELSEWHERE, FREE, MISSING, TICKS};
use super::bytes::put_signed;
use super::column::ABSENT_BITS;
use super::disk::Batch;
use super::log_entry::put_section;
use super::outbox::{Noted, OutboxSample};
use super::series::{HISTORY, Home, SeriesTable, mark_of};
use crate::model::{Row, Timestamp};

/// What became of a tick's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Samples taken, staleness markers not counted.
    pub added: u64,
    /// Refused: older than the newest sample of their series.
    pub out_of_order: u64,
    /// Refused: another value at an instant that the series has already.
    pub duplicate: u64,
    /// Left out: the very sample that is there already, as a source with instants of its own repeats it.
    pub repeated: u64,
    /// Refused: series beyond the store's limit.
    pub over_limit: u64,
    /// Series that the store did not have.
    pub new_series: u64,
}

/// Where a source's row went last time: the same place, most likely, this time.
#[derive(Clone, Copy, Debug)]
struct Place {
    series: u32,
    home: Home,
}

#[derive(Debug)]
pub(super) struct SourceRecord {
    pub(super) name: Box<str>,
    pub(super) blocks: Vec<u32>,
    pub(super) seq: u64,
    /// Bytes of all its log entries so far; those of before the start only as far as the log still had them.
    pub(super) logged: u64,
    pub(super) last_at_ms: i64,
    /// The last tick by the clock: rows with instants of their own say nothing of it.
    pub(super) clock_ms: i64,
    /// The last log entry that was read back.
    pub(super) replayed: Option<u64>,
    /// Whether a tick was kept though its commit failed: who brought it may bring it again.
    kept: bool,
    places: Vec<Place>,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) series: SeriesTable,
    pub(super) blocks: BTreeMap<u32, Block>,
    pub(super) sources: FxHashMap<u32, SourceRecord>,
    source_names: FxHashMap<Box<str>, u32>,
    pub(super) next_block: u32,
    next_source: u32,
    max_series: usize,
    clock_jump_ms: i64,
    /// Blocks whose samples wait to be sealed.
    pub(super) due: Vec<u32>,
    pub(super) outbox: Noted,
}

/// What one tick does to one block.
#[derive(Debug)]
pub(super) struct Touched {
    pub(super) block: u32,
    pub(super) pending: Vec<u64>,
    pub(super) assigned: Vec<(u16, u32)>,
    pub(super) own: Vec<(u16, i64, f64)>,
}

/// A tick being applied.
struct Tick<'a> {
    source: u32,
    at_ms: i64,
    by_clock: bool,
    touched: Vec<Touched>,
    places: Vec<Place>,
    result: Appended,
    batch: &'a mut Batch,
}

impl Head {
    pub(super) fn new(max_series: usize, clock_jump_ms: i64) -> Self {
        Self {
            series: SeriesTable::default(),
            blocks: BTreeMap::new(),
            sources: FxHashMap::default(),
            source_names: FxHashMap::default(),
            next_block: 0,
            next_source: 0,
            max_series,
            clock_jump_ms,
            due: Vec::new(),
            outbox: Noted::default(),
        }
    }

    /// The number of a source, new or known.
    pub(super) fn source(&mut self, name: &str, batch: &mut Batch) -> u32 {
        if let Some(id) = self.source_names.get(name) {
            return *id;
        }
        let id = self.next_source;
        self.load_source(id, name);
        batch.sources.push((id, Some(name.as_bytes().to_vec())));
        id
    }

    pub(super) fn load_source(&mut self, id: u32, name: &str) {
        self.next_source = self.next_source.max(id.saturating_add(1));
        self.source_names.insert(name.into(), id);
        let record = SourceRecord {
            name: name.into(),
            blocks: Vec::new(),
            seq: 0,
            logged: 0,
            last_at_ms: i64::MIN,
            clock_ms: i64::MIN,
            replayed: None,
            kept: false,
            places: Vec::new(),
        };
        self.sources.insert(id, record);
    }

    /// A source whose name is lost, unless it is known: its history is served, and nobody else gets its number.
    pub(super) fn load_nameless(&mut self, id: u32) {
        if !self.sources.contains_key(&id) {
            self.load_source(id, &format!("\0{id}"));
        }
    }

    pub(super) fn forget_source(&mut self, id: u32) {
        if let Some(record) = self.sources.remove(&id) {
            self.source_names.remove(&record.name);
        }
    }

    /// Numbers that the next series, block and source get; in the file, so that they are not given twice.
    pub(super) const fn next_numbers(&self) -> [u32; 3] {
        [self.series.next(), self.next_block, self.next_source]
    }

    pub(super) fn start_numbers_at(&mut self, [series, block, source]: [u32; 3]) {
        self.series.start_at(series);
        self.next_block = self.next_block.max(block);
        self.next_source = self.next_source.max(source);
    }

    /// Whether a tick lies so far behind the source's last one that only the clock can be the cause.
    pub(super) fn jumped_back(&self, source: u32, at: Timestamp) -> bool {
        let last = self.sources.get(&source).map_or(i64::MIN, |s| s.clock_ms);
        last != i64::MIN && last.saturating_sub(at.as_millis()) > self.clock_jump_ms
    }

    /// Whether a tick lies before the source's last one.
    pub(super) fn is_behind(&self, source: u32, at: Timestamp) -> bool {
        self.sources.get(&source).is_some_and(|s| s.clock_ms > at.as_millis())
    }

    /// Ticks of these sources were answered with an error, and are kept.
    pub(super) fn note_kept(&mut self, sources: impl Iterator<Item = u32>) {
        for source in sources {
            if let Some(record) = self.sources.get_mut(&source) {
                record.kept = true;
            }
        }
    }

    /// Applies a tick. What has to be written goes into `batch`; `log` says whether ticks are logged at all.
    pub(super) fn apply(
        &mut self,
        source: u32,
        at: Timestamp,
        rows: &[Row],
        log: bool,
        batch: &mut Batch,
    ) -> Appended {
        let by_clock = is_by_clock(rows);
        if by_clock && self.jumped_back(source, at) {
            self.begin_anew(source);
        }
        let places = self.sources.get_mut(&source).map(|s| std::mem::take(&mut s.places)).unwrap_or_default();
        let mut tick = Tick {
            source,
            at_ms: at.as_millis(),
            by_clock,
            touched: Vec::new(),
            places: Vec::with_capacity(rows.len()),
            result: Appended::default(),
            batch,
        };
        for (at, row) in rows.iter().enumerate() {
            self.take_row(&mut tick, places.get(at).copied(), row);
        }
        self.finish_tick(tick, log)
    }

    fn take_row(&mut self, tick: &mut Tick<'_>, hint: Option<Place>, row: &Row) {
        let at_ms = row.timestamp.map_or(tick.at_ms, Timestamp::as_millis);
        let hint = hint.filter(|place| self.is_place_of(*place, row));
        let Some(place) = hint.or_else(|| self.find_place(tick, row, at_ms)) else {
            tick.result.over_limit += 1;
            return;
        };
        tick.places.push(place);
        let bits = match row.value.to_bits() {
            ABSENT_BITS | ELSEWHERE => 0x7ff8_0000_0000_0001,
            bits => bits,
        };
        let Some(touched) = touched(&mut tick.touched, place.home.block) else { return };
        let slot = usize::from(place.home.slot);
        if touched.pending.len() <= slot {
            touched.pending.resize(slot + 1, MISSING);
        }
        let Some(pending) = touched.pending.get_mut(slot) else { return };
        let Some(block) = self.blocks.get(&place.home.block) else { return };
        let Some(series) = self.series.get_mut(place.series) else { return };
        if at_ms <= series.last_ms {
            let known = match *pending {
                MISSING | ELSEWHERE => {
                    let newest = touched.own.last().filter(|own| (own.0, own.1) == (place.home.slot, at_ms));
                    newest.map(|own| own.2.to_bits()).or_else(|| block.value_at(place.home.slot, at_ms))
                }
                bits => Some(bits),
            };
            if *pending == MISSING {
                *pending = ELSEWHERE;
            }
            let is_kept = || {
                self.sources.get(&tick.source).is_some_and(|source| source.kept)
                    && block.own_value_at(place.home.slot, at_ms) == Some(bits)
            };
            match at_ms < series.last_ms {
                true if is_kept() => tick.result.repeated += 1,
                true => tick.result.out_of_order += 1,
                false if known.map_or_else(|| series.may_end_with(bits), |known| known == bits) => {
                    tick.result.repeated += 1
                }
                false => tick.result.duplicate += 1,
            }
            return;
        }
        series.last_ms = at_ms;
        series.last_mark = mark_of(bits);
        series.first_ms = series.first_ms.min(at_ms);
        tick.result.added += 1;
        let in_step = row.timestamp.is_none() && block.ticks.last().is_none_or(|last| *last < tick.at_ms);
        if in_step {
            *pending = bits;
        } else {
            *pending = ELSEWHERE;
            touched.own.push((place.home.slot, at_ms, f64::from_bits(bits)));
        }
    }

    fn is_place_of(&self, place: Place, row: &Row) -> bool {
        let block = self.blocks.get(&place.home.block).filter(|block| !block.retired);
        let slot = block.and_then(|b| b.slots.get(usize::from(place.home.slot)));
        slot.is_some_and(|slot| slot.series == place.series)
            && self.series.get(place.series).is_some_and(|series| series.labels == row.labels)
    }

    /// The row's series in a block of its source; both are made if need be. `None`: there are too many.
    fn find_place(&mut self, tick: &mut Tick<'_>, row: &Row, at_ms: i64) -> Option<Place> {
        let series = match self.series.find(&row.labels) {
            Some(series) => series,
            None if self.series.len() >= self.max_series => return None,
            None => {
                tick.result.new_series += 1;
                self.series.add(&row.labels, at_ms)
            }
        };
        let found = self.series.get(series)?;
        let mine = |home: &Home| {
            home.slot != HISTORY
                && self.blocks.get(&home.block).is_some_and(|b| b.source == tick.source && !b.retired)
        };
        if let Some(home) = found.homes().filter(mine).last() {
            return Some(Place { series, home });
        }
        let selected = found.selected;
        let home = self.assign(tick, series, selected)?;
        let found = self.series.get_mut(series)?;
        // It had ended when the clock jumped back, so that nobody has told it.
        if row.timestamp.is_none() && found.last_ms.saturating_sub(at_ms) > self.clock_jump_ms {
            found.last_ms = i64::MIN;
        }
        if found.move_in(home) {
            tick.batch.series.push((series, Some(found.to_row())));
        }
        Some(Place { series, home })
    }

    fn assign(&mut self, tick: &mut Tick<'_>, series: u32, selected: bool) -> Option<Home> {
        let record = self.sources.get_mut(&tick.source)?;
        let blocks = &mut self.blocks;
        let known = record.blocks.iter().rev().find_map(|id| {
            let block = blocks.get_mut(id).filter(|b| b.selected == selected && !b.retired)?;
            block.assign(series).map(|slot| Home { block: *id, slot })
        });
        let home = match known {
            Some(home) => home,
            None => {
                let id = self.next_block;
                self.next_block += 1;
                // Blocks of one source take turns in being sealed.
                let due = TICKS - record.blocks.len() * 37 % (TICKS * 3 / 4);
                let mut block = Block::new(tick.source, selected, due);
                let slot = block.assign(series)?;
                blocks.insert(id, block);
                record.blocks.push(id);
                Home { block: id, slot }
            }
        };
        touched(&mut tick.touched, home.block)?.assigned.push((home.slot, series));
        Some(home)
    }

    fn finish_tick(&mut self, mut tick: Tick<'_>, log: bool) -> Appended {
        let Some(record) = self.sources.get_mut(&tick.source) else { return tick.result };
        record.last_at_ms = record.last_at_ms.max(tick.at_ms);
        if tick.by_clock {
            record.clock_ms = record.clock_ms.max(tick.at_ms);
        }
        let seq = record.seq + 1;
        // Also those of which no series came: theirs have vanished.
        for id in &record.blocks {
            touched(&mut tick.touched, *id);
        }
        let mut entry = Vec::new();
        put_signed(&mut entry, tick.at_ms);
        let empty = entry.len();
        let mut noted = Vec::new();
        for touched in &mut tick.touched {
            let Some(block) = self.blocks.get_mut(&touched.block) else { continue };
            let behind = block.ticks.last().is_some_and(|last| *last >= tick.at_ms);
            let ticked = !behind && !block.retired && block.settle(&mut touched.pending);
            // Slots that were freed since, before they are given to others.
            let freed = std::mem::take(&mut block.freed);
            touched.assigned.splice(0..0, freed.into_iter().map(|slot| (slot, FREE)));
            if !ticked && touched.assigned.is_empty() && touched.own.is_empty() {
                continue;
            }
            let before = entry.len();
            if log {
                put_section(&mut entry, block, touched, ticked, tick.at_ms);
            }
            if self.outbox.is_on() {
                note_samples(&mut noted, block, touched, ticked.then_some(tick.at_ms));
            }
            if ticked {
                mark_stale(&mut self.series, block, &touched.pending, tick.at_ms);
                block.push_tick(tick.at_ms, &touched.pending);
            }
            for (slot, at_ms, value) in &touched.own {
                block.push_own(*slot, *at_ms, *value);
            }
            block.note_logged(seq, tick.at_ms, record.logged, entry.len() - before);
            if block.is_due() && !self.due.contains(&touched.block) {
                self.due.push(touched.block);
            }
        }
        record.places = tick.places;
        tick.batch.state.extend(self.outbox.note(tick.at_ms, noted));
        if entry.len() > empty {
            record.seq = seq;
            record.logged += entry.len() as u64;
            tick.batch.wal.push(((tick.source, seq), entry));
        } else if !log {
            record.seq = seq;
        }
        tick.result
    }

    /// After the clock has jumped back: what there is is sealed as it is, and history goes on in new blocks. A query
    /// sorts out which is which by the instants.
    fn begin_anew(&mut self, source: u32) {
        let Some(record) = self.sources.get_mut(&source) else { return };
        record.last_at_ms = i64::MIN;
        record.clock_ms = i64::MIN;
        for id in self.retire_blocks(source, u64::MAX) {
            let Some(block) = self.blocks.get(&id) else { continue };
            for slot in block.slots.iter().filter(|slot| slot.series != FREE) {
                if let Some(series) = self.series.get_mut(slot.series) {
                    series.last_ms = i64::MIN;
                }
            }
        }
    }

    /// Has the blocks of a source sealed as they are and written no more, but for those whose pages reach up to a log
    /// entry.
    pub(super) fn retire_blocks(&mut self, source: u32, seq: u64) -> Vec<u32> {
        let Some(record) = self.sources.get_mut(&source) else { return Vec::new() };
        let blocks = &self.blocks;
        let is_whole = |id: &u32| blocks.get(id).is_some_and(|block| block.sealed_seq >= seq);
        let (kept, retired) = std::mem::take(&mut record.blocks).into_iter().partition(is_whole);
        record.blocks = kept;
        for id in &retired {
            let Some(block) = self.blocks.get_mut(id) else { continue };
            block.retired = true;
            block.expire();
            if !self.due.contains(id) {
                self.due.push(*id);
            }
        }
        retired
    }
}

/// Whether the instant of a tick is the clock's: that of samples which all have their own may be any of theirs. What has
/// ended has no rows, and did so by the clock.
pub(super) fn is_by_clock(rows: &[Row]) -> bool {
    rows.is_empty() || rows.iter().any(|row| row.timestamp.is_none())
}

/// The part of a tick that concerns a block; blocks come in order, so it is mostly the last one.
fn touched(all: &mut Vec<Touched>, block: u32) -> Option<&mut Touched> {
    let at = all.iter().rposition(|t| t.block == block).unwrap_or_else(|| {
        all.push(Touched { block, pending: Vec::new(), assigned: Vec::new(), own: Vec::new() });
        all.len() - 1
    });
    all.get_mut(at)
}

/// Series that end or go on at this tick have their newest sample there.
pub(super) fn mark_stale(series: &mut SeriesTable, block: &Block, values: &[u64], at_ms: i64) {
    for (slot, value) in block.slots.iter().zip(values) {
        if *value != MISSING
            && let Some(series) = series.get_mut(slot.series)
        {
            series.note_last(at_ms, *value);
        }
    }
}

/// What a tick brings to one block, markers included.
fn note_samples(noted: &mut Vec<OutboxSample>, block: &Block, touched: &Touched, ticked_ms: Option<i64>) {
    let series = |slot: u16| block.slots.get(usize::from(slot)).map_or(FREE, |slot| slot.series);
    let own = touched.own.iter().map(|(slot, at_ms, value)| (series(*slot), *at_ms, *value));
    let values = block.slots.iter().zip(&touched.pending).filter(|(_, bits)| **bits != MISSING);
    let in_step = ticked_ms.into_iter().flat_map(|at_ms| {
        values.clone().map(move |(slot, bits)| (slot.series, at_ms, f64::from_bits(*bits)))
    });
    let known = own.chain(in_step).filter(|(series, ..)| *series != FREE);
    noted.extend(known.map(|(series, at_ms, value)| OutboxSample { series, at_ms, value }));
}
