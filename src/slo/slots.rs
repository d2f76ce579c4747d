//! Bad and total events of one slot of time after another: what an exact budget is made of.
//!
//! Invariants: a slot has one value, and writing it again changes nothing else; no more slots are kept than the capacity,
//! the oldest go first. A slot that nobody has measured is missing, which is not the same as one without events.
//!
//! 30 days of 5 minutes are 8,640 slots of 16 bytes, 138 KB. They are kept in a state table in chunks of 288 (a day),
//! so that a new slot writes 4.6 KB, not all.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;

/// Slots of one chunk.
const CHUNK_SLOTS: i64 = 288;

/// Begins every encoded chunk; another one means that the bytes are of another version.
const VERSION: u8 = 1;

/// Bad and total events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Events {
    /// The bad ones; at least 0.
    pub bad: f64,
    /// All of them.
    pub total: f64,
}

/// What the slots of a time sum up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SlotSum {
    /// Events of the slots that count.
    pub events: Events,
    /// Slots that nobody has measured.
    pub missing: usize,
    /// Slots that an exclusion touches.
    pub excluded: usize,
}

/// Why bytes are no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Written by another version.
    #[error("slots of version {0}, which this program does not know")]
    Version(u8),
    /// Of slots of another length.
    #[error("slots of {found} s, not of {expected} s")]
    SlotLength {
        /// In the bytes.
        found: u32,
        /// Here.
        expected: u32,
    },
    /// Of a time beyond all that can be named.
    #[error("chunk {0} lies beyond time")]
    Key(i64),
    /// Too short or too long.
    #[error("{0} bytes are no chunk of slots")]
    Size(usize),
}

/// Slots of equal length, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    slot: Duration,
    capacity: usize,
    /// Index of the first one kept, counted from the epoch.
    first: i64,
    /// NaN as total: missing.
    values: VecDeque<Events>,
}

const MISSING: Events = Events { bad: 0.0, total: f64::NAN };

impl Slots {
    /// None yet. `slot` is at least a second; `capacity` at least 1.
    pub fn new(slot: Duration, capacity: usize) -> Self {
        let slot = Duration::from_secs(slot.as_secs().max(1));
        Self { slot, capacity: capacity.max(1), first: 0, values: VecDeque::new() }
    }

    /// Length of a slot.
    pub const fn slot(&self) -> Duration {
        self.slot
    }

    fn slot_ms(&self) -> i64 {
        i64::try_from(self.slot.as_millis()).unwrap_or(i64::MAX)
    }

    /// Index of the slot in which an instant lies.
    fn index(&self, at: Timestamp) -> i64 {
        at.as_millis().div_euclid(self.slot_ms())
    }

    fn start(&self, index: i64) -> Timestamp {
        Timestamp::from_millis(index.saturating_mul(self.slot_ms()))
    }

    /// The end of the last slot that is over at an instant.
    pub fn last_end(&self, at: Timestamp) -> Timestamp {
        self.start(self.index(at))
    }

    fn get(&self, index: i64) -> Option<Events> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.values.get(at).copied().filter(|events| !events.total.is_nan())
    }

    /// Sets the slot that begins at an instant. Whatever is no number, or below 0, makes it missing; a slot older than
    /// all that are kept is forgotten at once.
    pub fn record(&mut self, start: Timestamp, events: Events) {
        let sound =
            events.bad >= 0.0 && events.total >= 0.0 && events.total.is_finite() && events.bad.is_finite();
        self.set(self.index(start), if sound { events } else { MISSING });
    }

    fn set(&mut self, index: i64, events: Events) {
        let capacity = i64::try_from(self.capacity).unwrap_or(i64::MAX);
        let end = self.first.saturating_add(i64::try_from(self.values.len()).unwrap_or(i64::MAX));
        if self.values.is_empty() || index >= end.saturating_add(capacity) {
            self.values.clear();
            self.first = index;
        } else if index < end.saturating_sub(capacity) {
            return;
        }
        while index < self.first {
            self.values.push_front(MISSING);
            self.first -= 1;
        }
        let at = usize::try_from(index - self.first).unwrap_or(0);
        if at >= self.values.len() {
            self.values.resize(at + 1, MISSING);
        }
        if let Some(value) = self.values.get_mut(at) {
            *value = events;
        }
        while self.values.len() > self.capacity {
            self.values.pop_front();
            self.first += 1;
        }
    }

    /// Ends of the slots between two instants that are missing, in order; none that a full memory would forget.
    pub fn missing(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let (first, end) = self.whole(from, to);
        let capacity = i64::try_from(self.capacity).unwrap_or(i64::MAX);
        let first = first.max(end.saturating_sub(capacity));
        (first..end).filter(|index| self.get(*index).is_none()).map(|index| self.start(index + 1)).collect()
    }

    /// Indices of the slots that lie between two instants as a whole.
    fn whole(&self, from: Timestamp, to: Timestamp) -> (i64, i64) {
        let first = from.as_millis().div_euclid(self.slot_ms());
        let first = if self.start(first) < from { first + 1 } else { first };
        (first, self.index(to).max(first))
    }

    /// Sums the slots that lie between two instants as a whole, without those that `is_excluded` names by their start.
    pub fn sum(&self, from: Timestamp, to: Timestamp, is_excluded: impl Fn(Timestamp) -> bool) -> SlotSum {
        let (first, end) = self.whole(from, to);
        let mut sum = SlotSum::default();
        for index in first..end {
            if is_excluded(self.start(index)) {
                sum.excluded += 1;
            } else if let Some(events) = self.get(index) {
                sum.events.bad += events.bad;
                sum.events.total += events.total;
            } else {
                sum.missing += 1;
            }
        }
        sum
    }

    /// The chunk in which an instant lies: the key under which it is kept.
    pub fn chunk_of(&self, at: Timestamp) -> i64 {
        self.index(at).div_euclid(CHUNK_SLOTS)
    }

    /// When a chunk ends.
    pub fn chunk_end(&self, chunk: i64) -> Timestamp {
        self.start(chunk.saturating_add(1).saturating_mul(CHUNK_SLOTS))
    }

    /// The oldest chunk of which a slot is kept; older ones can be deleted.
    pub fn first_chunk(&self) -> i64 {
        self.first.div_euclid(CHUNK_SLOTS)
    }

    /// A chunk as bytes: version, length of a slot in seconds, then bad and total of 288 slots, little-endian.
    pub fn encode(&self, chunk: i64) -> Vec<u8> {
        let slots = usize::try_from(CHUNK_SLOTS).unwrap_or_default();
        let mut bytes = Vec::with_capacity(5 + 16 * slots);
        bytes.push(VERSION);
        bytes.extend(self.slot_seconds().to_le_bytes());
        for index in chunk * CHUNK_SLOTS..(chunk + 1) * CHUNK_SLOTS {
            let events = self.get(index).unwrap_or(MISSING);
            bytes.extend(events.bad.to_le_bytes());
            bytes.extend(events.total.to_le_bytes());
        }
        bytes
    }

    /// Takes in the slots of a chunk.
    ///
    /// # Errors
    /// The bytes are no such chunk; nothing is taken in then.
    pub fn decode(&mut self, chunk: i64, bytes: &[u8]) -> Result<(), ChunkError> {
        let (version, rest) = bytes.split_first().ok_or(ChunkError::Size(0))?;
        if *version != VERSION {
            return Err(ChunkError::Version(*version));
        }
        let (slot, rest) = rest.split_first_chunk::<4>().ok_or(ChunkError::Size(bytes.len()))?;
        let found = u32::from_le_bytes(*slot);
        if found != self.slot_seconds() {
            return Err(ChunkError::SlotLength { found, expected: self.slot_seconds() });
        }
        let (pairs, remainder) = rest.as_chunks::<16>();
        if !remainder.is_empty() || pairs.len() as i64 != CHUNK_SLOTS {
            return Err(ChunkError::Size(bytes.len()));
        }
        let end = chunk.checked_add(1).and_then(|next| next.checked_mul(CHUNK_SLOTS));
        if end.and_then(|end| end.checked_mul(self.slot_ms())).is_none() || chunk < 0 {
            return Err(ChunkError::Key(chunk));
        }
        for (index, pair) in (chunk * CHUNK_SLOTS..).zip(pairs) {
            let number = |half: Option<&[u8; 8]>| half.copied().map_or(f64::NAN, f64::from_le_bytes);
            let events = Events { bad: number(pair.first_chunk()), total: number(pair.last_chunk()) };
            if !events.total.is_nan() {
                self.record(self.start(index), events);
            }
        }
        Ok(())
    }

    fn slot_seconds(&self) -> u32 {
        u32::try_from(self.slot.as_secs()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Duration = Duration::from_secs(300);

    fn at(slot: i64) -> Timestamp {
        Timestamp::from_millis(slot * 300_000)
    }

    fn events(bad: f64, total: f64) -> Events {
        Events { bad, total }
    }

    #[test]
    fn missing_is_not_idle() {
        let mut slots = Slots::new(SLOT, 10);
        slots.record(at(100), events(1.0, 10.0));
        slots.record(at(102), events(0.0, 0.0));
        slots.record(at(103), events(f64::NAN, 5.0));
        let sum = slots.sum(at(99), at(104), |_| false);
        assert_eq!(sum, SlotSum { events: events(1.0, 10.0), missing: 3, excluded: 0 });
        assert_eq!(slots.missing(at(99), at(104)), [at(100), at(102), at(104)]);
        slots.record(at(99), events(2.0, 2.0));
        slots.record(at(99), events(2.0, 2.0));
        let sum = slots.sum(at(99), at(104), |start| start == at(100));
        assert_eq!(sum, SlotSum { events: events(2.0, 2.0), missing: 2, excluded: 1 });
    }

    #[test]
    fn slots_count_as_a_whole() {
        let mut slots = Slots::new(SLOT, 10);
        for slot in 0..4 {
            slots.record(at(slot), events(0.0, 1.0));
        }
        let ms = |ms: i64| Timestamp::from_millis(ms);
        assert_eq!(slots.sum(ms(1), ms(900_000), |_| false).events.total, 2.0);
        assert_eq!(slots.sum(ms(0), ms(899_999), |_| false).events.total, 2.0);
        assert_eq!(slots.sum(ms(900_000), ms(0), |_| false), SlotSum::default());
    }

    #[test]
    fn the_oldest_go_and_the_past_stays_away() {
        let mut slots = Slots::new(SLOT, 3);
        for slot in 0..5 {
            slots.record(at(slot), events(0.0, 1.0));
        }
        slots.record(at(1), events(0.0, 7.0));
        assert_eq!(slots.sum(at(0), at(5), |_| false).events.total, 3.0);
        slots.record(at(1_000_000), events(0.0, 2.0));
        assert_eq!((slots.values.len(), slots.sum(at(0), at(1_000_001), |_| false).events.total), (1, 2.0));
        slots.record(at(i64::MAX / 300_000), events(0.0, 1.0));
        assert_eq!(slots.values.len(), 1);
    }

    #[test]
    fn chunks_come_back_and_others_are_refused() {
        let mut slots = Slots::new(SLOT, 8_640);
        for slot in 280..300 {
            slots.record(at(slot), events(f64::from(slot as i32) / 3.0, 1e15));
        }
        let mut again = Slots::new(SLOT, 8_640);
        for chunk in slots.first_chunk()..=slots.chunk_of(at(299)) {
            let bytes = slots.encode(chunk);
            assert_eq!(bytes.len(), 5 + 16 * 288);
            again.decode(chunk, &bytes).expect("own bytes");
        }
        assert_eq!(again, slots);
        let bytes = slots.encode(0);
        assert_eq!(again.decode(0, &[]), Err(ChunkError::Size(0)));
        assert_eq!(again.decode(0, &bytes[..100]), Err(ChunkError::Size(100)));
        assert_eq!(again.decode(0, &[9]), Err(ChunkError::Version(9)));
        assert!(matches!(Slots::new(2 * SLOT, 9).decode(0, &bytes), Err(ChunkError::SlotLength { .. })));
        assert_eq!(again, slots);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_chunk_or_an_error(chunk in proptest::num::i64::ANY, bytes in proptest::collection::vec(0_u8.., 0..40)) {
            let mut slots = Slots::new(SLOT, 100);
            let _ = slots.decode(chunk, &bytes);
            let mut whole = vec![VERSION, 44, 1, 0, 0];
            whole.extend(bytes.iter().cycle().take(16 * 288));
            whole.resize(5 + 16 * 288, 0);
            let _ = slots.decode(chunk, &whole);
            assert!(slots.values.len() <= 100);
        }
    }
}
