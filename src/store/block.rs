//! The tails of up to 512 series of one source that share their instants.
//!
//! A *tick* adds one instant and, for each series, a value or a gap. A series that stays as it is costs nothing. A
//! series with instants of its own keeps them beside its values.
//!
//! Invariants: instants of ticks rise strictly; a tail of changes has as many values as there are instants; `Slot::last` is the
//! value at the last tick (a gap where there is none), also after the tail has been sealed, since the next tick's log
//! entry says only what has changed.

use super::bytes::{Reader, put_signed, put_varint};
use super::bytes::{unzigzag, zigzag};
use super::column::ABSENT_BITS;
use super::tail::Changes;
use crate::model::{STALE_NAN_BITS, Samples};

/// Most series of a block.
pub(super) const SLOTS: usize = 512;

/// Ticks after which a block is sealed. Longer columns take fewer bytes a sample, in tails that take few bytes anyway; but
/// until then the log grows, and one page is the least that a query reads.
pub(super) const TICKS: usize = 240;

/// The same in samples of a series with instants of its own, which take 16 bytes each.
const OWN_SAMPLES: usize = 120;

/// A slot without a series.
pub(super) const FREE: u32 = u32::MAX;

/// The source of a block whose row is lost.
pub(super) const NOBODY: u32 = u32::MAX;

/// What a tick holds for a series: the bits of its value, or one of these two.
pub(super) const MISSING: u64 = ABSENT_BITS;
/// The series was there, but not with a value for this tick; it has not vanished.
pub(super) const ELSEWHERE: u64 = ABSENT_BITS + 1;

#[derive(Debug)]
pub(super) enum Tail {
    /// Gaps before tick `from`, then always the slot's last value.
    Run { from: u16 },
    /// A value a tick.
    Changes(Changes),
    /// Instants of its own.
    Own(Box<OwnTail>),
}

#[derive(Debug, Default)]
pub(super) struct OwnTail {
    pub(super) instants: Vec<i64>,
    pub(super) values: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) series: u32,
    pub(super) last: u64,
    pub(super) tail: Tail,
}

impl Slot {
    const fn new(series: u32) -> Self {
        Self { series, last: MISSING, tail: Tail::Run { from: 0 } }
    }

    pub(super) const fn is_alive(&self) -> bool {
        self.last != MISSING && self.last != STALE_NAN_BITS
    }

    /// Whether it has no sample in memory.
    fn is_empty(&self, ticks: usize) -> bool {
        match &self.tail {
            Tail::Run { from } => self.last == MISSING || usize::from(*from) >= ticks,
            Tail::Changes(changes) => changes.samples() == 0,
            Tail::Own(own) => own.values.is_empty(),
        }
    }
}

/// What the log has for a block, from the first entry on that is not in pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    /// When that entry came.
    pub(super) since_ms: i64,
    /// What its source had logged before it, of which the log keeps the rest.
    pub(super) from: u64,
    /// Bytes that are the block's own.
    pub(super) bytes: u64,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) source: u32,
    /// Whether its series are kept for the long time.
    pub(super) selected: bool,
    pub(super) ticks: Vec<i64>,
    pub(super) slots: Vec<Slot>,
    /// The last log entry that concerns this block, and the last one that is in pages.
    pub(super) last_seq: u64,
    pub(super) sealed_seq: u64,
    pub(super) logged: Logged,
    pub(super) next_page: u32,
    /// The longest time that a page of this block spans.
    pub(super) longest_page_ms: i64,
    /// The last instant in pages.
    pub(super) sealed_ms: i64,
    /// Ticks until it is sealed: blocks of one source take turns.
    pub(super) due_ticks: usize,
    pub(super) free_slots: usize,
    /// Slots that were freed since the last tick; the next one logs them.
    pub(super) freed: Vec<u16>,
    /// Written no more: the clock has jumped back, and history goes on in other blocks.
    pub(super) retired: bool,
    own_samples: usize,
}

impl Block {
    pub(super) const fn new(source: u32, selected: bool, due_ticks: usize) -> Self {
        Self {
            source,
            selected,
            ticks: Vec::new(),
            slots: Vec::new(),
            last_seq: 0,
            sealed_seq: 0,
            logged: Logged { since_ms: 0, from: 0, bytes: 0 },
            next_page: 0,
            longest_page_ms: 0,
            sealed_ms: i64::MIN,
            due_ticks,
            free_slots: 0,
            freed: Vec::new(),
            retired: false,
            own_samples: 0,
        }
    }

    /// Whether the log has entries of it that are not in pages.
    pub(super) const fn is_open(&self) -> bool {
        self.last_seq > self.sealed_seq
    }

    /// A log entry concerns it: its number, its instant, what the source had logged before, and the block's part.
    pub(super) const fn note_logged(&mut self, seq: u64, at_ms: i64, from: u64, bytes: usize) {
        if !self.is_open() {
            self.logged = Logged { since_ms: at_ms, from, bytes: 0 };
        }
        self.logged.bytes += bytes as u64;
        self.last_seq = seq;
    }

    /// A slot for a series; `None` when the block is full.
    pub(super) fn assign(&mut self, series: u32) -> Option<u16> {
        if self.free_slots > 0 {
            let at = self.slots.iter().position(|slot| slot.series == FREE)?;
            self.assign_at(at, series);
            return u16::try_from(at).ok();
        }
        let at = u16::try_from(self.slots.len()).ok().filter(|at| usize::from(*at) < SLOTS)?;
        self.assign_at(usize::from(at), series);
        Some(at)
    }

    /// The slot with this number for a series, as the log says.
    pub(super) fn assign_at(&mut self, at: usize, series: u32) {
        while self.slots.len() <= at.min(SLOTS - 1) {
            self.slots.push(Slot::new(FREE));
            self.free_slots += 1;
        }
        if let Some(slot) = self.slots.get_mut(at) {
            self.free_slots -= usize::from(slot.series == FREE);
            self.free_slots += usize::from(series == FREE);
            *slot = Slot::new(series);
            // Gaps up to here.
            slot.tail = Tail::Run { from: u16::try_from(self.ticks.len()).unwrap_or(u16::MAX) };
        }
    }

    /// Whether a series has its place here.
    pub(super) fn has_series(&self) -> bool {
        self.slots.len() > self.free_slots
    }

    /// The newest instant that is known of.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        let own = self.slots.iter().filter_map(|slot| match &slot.tail {
            Tail::Own(own) => own.instants.last().copied(),
            Tail::Run { .. } | Tail::Changes(_) => None,
        });
        let sealed = (self.sealed_ms != i64::MIN).then_some(self.sealed_ms);
        own.chain(self.ticks.last().copied()).chain(sealed).max()
    }

    pub(super) fn has_samples(&self) -> bool {
        !self.ticks.is_empty() || self.own_samples > 0
    }

    pub(super) fn is_due(&self) -> bool {
        self.ticks.len() >= self.due_ticks
            || self.own_samples >= SLOTS * OWN_SAMPLES
            || self.slots.iter().any(|s| matches!(&s.tail, Tail::Own(own) if own.values.len() >= OWN_SAMPLES))
    }

    /// A sample with an instant of its own; the caller has checked the order.
    pub(super) fn push_own(&mut self, slot: u16, at_ms: i64, value: f64) {
        let Some(slot) = self.slots.get_mut(usize::from(slot)) else { return };
        let Some(own) = own_tail(&self.ticks, slot) else { return };
        own.instants.push(at_ms);
        own.values.push(value);
        self.own_samples += 1;
    }

    /// What a tick comes to for each slot: a series that was there and is missing gets its marker. `pending` holds the
    /// bits of values, [`MISSING`] or [`ELSEWHERE`]. Whether there is anything at all.
    pub(super) fn settle(&self, pending: &mut Vec<u64>) -> bool {
        pending.resize(self.slots.len(), MISSING);
        let mut any = false;
        for (slot, value) in self.slots.iter().zip(pending.iter_mut()) {
            match *value {
                MISSING if slot.is_alive() && slot.series != FREE => *value = STALE_NAN_BITS,
                ELSEWHERE => *value = MISSING,
                _ => {}
            }
            any |= *value != MISSING;
        }
        any
    }

    /// Adds a tick; `at_ms` lies behind all others, `values` has been through [`Self::settle`].
    pub(super) fn push_tick(&mut self, at_ms: i64, values: &[u64]) {
        let before = self.ticks.len();
        self.ticks.push(at_ms);
        for (slot, value) in self.slots.iter_mut().zip(values) {
            match &mut slot.tail {
                Tail::Run { .. } if slot.last == *value => {}
                Tail::Run { from } if slot.last == MISSING || usize::from(*from) >= before => {
                    *from = u16::try_from(before).unwrap_or(u16::MAX);
                }
                Tail::Run { from } => {
                    let values = run(usize::from(*from), before, slot.last).chain([*value]);
                    slot.tail = Tail::Changes(Changes::new(values));
                }
                Tail::Changes(changes) => changes.push(slot.last, *value),
                Tail::Own(own) if *value != MISSING => {
                    own.instants.push(at_ms);
                    own.values.push(f64::from_bits(*value));
                    self.own_samples += 1;
                }
                Tail::Own(_) => {}
            }
            slot.last = *value;
        }
    }

    /// The samples of a slot from one instant to another, both included.
    pub(super) fn samples(&self, slot: u16, from_ms: i64, to_ms: i64) -> Samples {
        let Some(slot) = self.slots.get(usize::from(slot)) else { return Samples::default() };
        let mut samples = Samples::default();
        let mut keep = |at_ms: i64, bits: u64| {
            if bits != MISSING && (from_ms..=to_ms).contains(&at_ms) {
                samples.push(at_ms, f64::from_bits(bits));
            }
        };
        match &slot.tail {
            Tail::Run { from } => {
                let ticks = self.ticks.get(usize::from(*from)..).unwrap_or_default();
                ticks.iter().for_each(|at| keep(*at, slot.last));
            }
            Tail::Changes(changes) => self.ticks.iter().zip(changes.iter()).for_each(|(at, v)| keep(*at, v)),
            Tail::Own(own) => own.instants.iter().zip(&own.values).for_each(|(at, v)| keep(*at, v.to_bits())),
        }
        samples
    }

    /// The bits of a slot's newest sample if that is at an instant, and still here.
    pub(super) fn value_at(&self, slot: u16, at_ms: i64) -> Option<u64> {
        let slot = self.slots.get(usize::from(slot))?;
        match &slot.tail {
            Tail::Own(own) => {
                (own.instants.last() == Some(&at_ms)).then(|| own.values.last().map(|v| v.to_bits()))?
            }
            Tail::Run { .. } | Tail::Changes(_) => (self.ticks.last() == Some(&at_ms)).then_some(slot.last),
        }
    }

    /// The bits of a sample with an instant of its own, if it is still here.
    pub(super) fn own_value_at(&self, slot: u16, at_ms: i64) -> Option<u64> {
        let Tail::Own(own) = &self.slots.get(usize::from(slot))?.tail else { return None };
        let at = own.instants.binary_search(&at_ms).ok()?;
        own.values.get(at).map(|value| value.to_bits())
    }

    /// The values of a slot, one for each tick; `None` for one with instants of its own.
    pub(super) fn column(&self, slot: &Slot) -> Option<Vec<f64>> {
        match &slot.tail {
            Tail::Run { from } => {
                let from = usize::from(*from).min(self.ticks.len());
                let mut values = vec![f64::from_bits(MISSING); from];
                values.resize(self.ticks.len(), f64::from_bits(slot.last));
                Some(values)
            }
            Tail::Changes(changes) => {
                let mut values = Vec::with_capacity(self.ticks.len());
                values.extend(changes.iter().map(f64::from_bits));
                Some(values)
            }
            Tail::Own(_) => None,
        }
    }

    /// Forgets what has been sealed: so many ticks, and of each slot so many samples with own instants.
    pub(super) fn drop_sealed(&mut self, sealed: &SealedExtent) {
        let ticks = sealed.ticks.min(self.ticks.len());
        self.ticks.drain(..ticks);
        let left = self.ticks.len();
        self.ticks.shrink_to(TICKS);
        let mut own_samples = 0;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            match &mut slot.tail {
                Tail::Run { from } => *from = from.saturating_sub(u16::try_from(ticks).unwrap_or(u16::MAX)),
                Tail::Changes(_) if left == 0 => slot.tail = Tail::Run { from: 0 },
                Tail::Changes(changes) => changes.drop_first(ticks),
                Tail::Own(own) => {
                    let gone = sealed.own.get(at).copied().unwrap_or(0).min(own.values.len());
                    own.instants.drain(..gone);
                    own.values.drain(..gone);
                    own_samples += own.values.len();
                    if own.values.is_empty() && left == 0 {
                        slot.tail = Tail::Run { from: 0 };
                    }
                }
            }
        }
        self.own_samples = own_samples;
        self.due_ticks = TICKS;
    }

    /// Nothing more will come of the series that are here: they are taken for gone, without a marker.
    pub(super) fn expire(&mut self) {
        let ticks = self.ticks.len();
        for slot in &mut self.slots {
            if let Tail::Run { from } = slot.tail {
                let from = usize::from(from);
                slot.tail = match slot.last == MISSING || from >= ticks {
                    true => Tail::Run { from: 0 },
                    false => Tail::Changes(Changes::new(run(from, ticks, slot.last))),
                };
            }
            slot.last = MISSING;
        }
    }

    /// How much there is to seal.
    pub(super) fn extent(&self) -> SealedExtent {
        let own = |slot: &Slot| match &slot.tail {
            Tail::Own(own) => own.values.len(),
            Tail::Run { .. } | Tail::Changes(_) => 0,
        };
        SealedExtent { ticks: self.ticks.len(), own: self.slots.iter().map(own).collect() }
    }

    /// Frees the slots of series that `gone` names among those without samples and without a present value; the
    /// freed series are returned.
    pub(super) fn free_idle(&mut self, mut gone: impl FnMut(u32, bool) -> bool) -> Vec<u32> {
        let ticks = self.ticks.len();
        let mut freed = Vec::new();
        for (at, slot) in (0..).zip(&mut self.slots) {
            if slot.series != FREE && slot.is_empty(ticks) && gone(slot.series, slot.is_alive()) {
                freed.push(slot.series);
                *slot = Slot::new(FREE);
                self.free_slots += 1;
                self.freed.push(at);
            }
        }
        freed
    }

    pub(super) fn samples_in_memory(&self) -> u64 {
        let ticks = self.ticks.len();
        let of = |slot: &Slot| match &slot.tail {
            Tail::Run { .. } if slot.last == MISSING => 0,
            Tail::Run { from } => ticks.saturating_sub(usize::from(*from)),
            Tail::Changes(changes) => usize::from(changes.samples()),
            Tail::Own(own) => own.values.len(),
        };
        self.slots.iter().map(|slot| of(slot) as u64).sum()
    }
}

/// How much of a block has been written into pages.
#[derive(Clone, Debug, Default)]
pub(super) struct SealedExtent {
    pub(super) ticks: usize,
    pub(super) own: Vec<usize>,
}

/// The slot's samples with instants of their own; what it had at ticks is moved there.
fn own_tail<'a>(ticks: &[i64], slot: &'a mut Slot) -> Option<&'a mut OwnTail> {
    if !matches!(slot.tail, Tail::Own(_)) {
        let mut own = OwnTail::default();
        let mut keep = |at: &i64, bits: u64| {
            if bits != MISSING {
                own.instants.push(*at);
                own.values.push(f64::from_bits(bits));
            }
        };
        match &slot.tail {
            Tail::Run { from } => {
                ticks.iter().skip(usize::from(*from)).for_each(|at| keep(at, slot.last));
            }
            Tail::Changes(changes) => ticks.iter().zip(changes.iter()).for_each(|(at, v)| keep(at, v)),
            Tail::Own(_) => {}
        }
        slot.tail = Tail::Own(Box::new(own));
    }
    match &mut slot.tail {
        Tail::Own(own) => Some(own),
        Tail::Run { .. } | Tail::Changes(_) => None,
    }
}

/// A value a tick: gaps before tick `from`, then `value`.
fn run(from: usize, ticks: usize, value: u64) -> impl Iterator<Item = u64> {
    (0..ticks).map(move |tick| if tick < from { MISSING } else { value })
}

// A value in the log, relative to the one before it.

const RAW: u64 = 1;
const STALE: u64 = 3;
const GAP: u64 = 5;

/// Appends a value that may have been `before` at the last tick: a varint whose lowest bit says what it is.
pub(super) fn put_change(out: &mut Vec<u8>, before: u64, value: u64) {
    match value {
        STALE_NAN_BITS => return put_varint(out, STALE),
        MISSING => return put_varint(out, GAP),
        _ => {}
    }
    match (whole(before), whole(value)) {
        (Some(a), Some(b)) if (b - a).unsigned_abs() < 1 << 42 => put_varint(out, zigzag(b - a) << 1),
        _ => {
            put_varint(out, RAW);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Reads what [`put_change`] wrote.
pub(super) fn read_change(reader: &mut Reader<'_>, before: u64) -> Option<u64> {
    match reader.varint()? {
        RAW => reader.u64_le(),
        STALE => Some(STALE_NAN_BITS),
        GAP => Some(MISSING),
        delta if delta & 1 == 0 => whole(before)?.checked_add(unzigzag(delta >> 1)).map(bits_of_whole),
        _ => None,
    }
}

/// Appends an instant relative to the tick's.
pub(super) fn put_own_instant(out: &mut Vec<u8>, tick_ms: i64, at_ms: i64) {
    put_signed(out, at_ms.wrapping_sub(tick_ms));
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be within 2^53")]
fn whole(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    let fits = value.abs() <= 9_007_199_254_740_992.0 && value.fract() == 0.0 && bits != (-0.0_f64).to_bits();
    fits.then_some(value as i64)
}

#[expect(clippy::cast_precision_loss, reason = "whole numbers within 2^53")]
const fn bits_of_whole(whole: i64) -> u64 {
    (whole as f64).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn shown(block: &Block, slot: u16) -> Vec<(i64, String)> {
        block.samples(slot, i64::MIN, i64::MAX).iter().map(|(t, v)| (t, shown_value(v))).collect()
    }

    fn shown_value(v: f64) -> String {
        if crate::model::is_stale(v) { "stale".into() } else { v.to_string() }
    }

    fn tick(block: &mut Block, at: i64, values: &[Option<f64>]) {
        let mut pending: Vec<u64> = values.iter().map(|v| v.map_or(MISSING, f64::to_bits)).collect();
        if block.settle(&mut pending) {
            block.push_tick(at, &pending);
        }
    }

    #[test]
    fn constants_changes_gaps_and_ends() {
        let mut block = Block::new(0, false, TICKS);
        (0..3).for_each(|series| assert!(block.assign(series).is_some()));
        tick(&mut block, 1, &[Some(5.0), Some(1.0), None]);
        tick(&mut block, 2, &[Some(5.0), Some(2.0), None]);
        tick(&mut block, 3, &[None, Some(2.0), Some(7.0)]);
        tick(&mut block, 4, &[None, Some(2.0), Some(7.0)]);
        tick(&mut block, 5, &[Some(6.0), None, Some(7.0)]);
        let text =
            |pairs: &[(i64, &str)]| pairs.iter().map(|(t, v)| (*t, (*v).to_owned())).collect::<Vec<_>>();
        assert_eq!(shown(&block, 0), text(&[(1, "5"), (2, "5"), (3, "stale"), (5, "6")]));
        assert_eq!(shown(&block, 1), text(&[(1, "1"), (2, "2"), (3, "2"), (4, "2"), (5, "stale")]));
        assert_eq!(shown(&block, 2), text(&[(3, "7"), (4, "7"), (5, "7")]));
        assert!(matches!(block.slots[2].tail, Tail::Run { from: 2 }));
        assert_eq!(block.samples_in_memory(), 12);
        assert_eq!(block.samples(1, 2, 3).timestamps_ms(), [2, 3]);

        let extent = block.extent();
        tick(&mut block, 6, &[Some(6.5), None, Some(7.0)]);
        block.drop_sealed(&extent);
        assert_eq!(shown(&block, 0), text(&[(6, "6.5")]));
        assert_eq!(shown(&block, 1), text(&[]));
        assert_eq!(shown(&block, 2), text(&[(6, "7")]));
        assert_eq!(block.free_idle(|_, alive| !alive), [1]);
        assert_eq!(block.assign(9), Some(1));
        tick(&mut block, 7, &[Some(6.5), Some(3.0), Some(8.0)]);
        assert_eq!(shown(&block, 1), text(&[(7, "3")]));
        assert_eq!(shown(&block, 2), text(&[(6, "7"), (7, "8")]));
    }

    #[test]
    fn own_instants_take_over_what_was_there() {
        let mut block = Block::new(0, false, TICKS);
        let slot = block.assign(1).expect("room");
        tick(&mut block, 10, &[Some(1.0)]);
        block.push_own(slot, 15, 2.0);
        let mut pending = vec![ELSEWHERE];
        assert!(!block.settle(&mut pending));
        tick(&mut block, 20, &[Some(3.0)]);
        assert_eq!(block.samples(slot, 0, 99).iter().collect::<Vec<_>>(), [(10, 1.0), (15, 2.0), (20, 3.0)]);
        let extent = block.extent();
        block.drop_sealed(&extent);
        assert!(!block.has_samples());
    }

    #[test]
    fn changes_come_back() {
        let odd = [0.0, -0.0, 1.0, 1.5, -7.0, 1e300, f64::NAN, f64::INFINITY, 9_007_199_254_740_991.0, 3e15];
        let mut all = bits(&odd);
        all.extend([MISSING, STALE_NAN_BITS]);
        for before in &all {
            for value in &all {
                let mut out = Vec::new();
                put_change(&mut out, *before, *value);
                assert_eq!(read_change(&mut Reader::new(&out), *before), Some(*value));
            }
        }
    }
}
