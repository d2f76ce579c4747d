//! What the series of a target became, so that a steady target has nothing decoded, relabelled or allocated.
//!
//! Invariants: a series is known by a keyed hash of how it was written, 128 bits wide, so that its text need not be
//! kept; what a successful scrape did not have is forgotten, so that the cache is bounded by what the target exposes.

use std::hash::{BuildHasher, RandomState};

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::model::Labels;

/// A series as the target wrote it.
pub(super) type RawKey = (u64, u64);

/// Index of a series as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotId(u32);

#[derive(Debug)]
struct Raw {
    /// `None`: relabelling dropped it.
    slot: Option<SlotId>,
    seen: u64,
}

#[derive(Debug, Default)]
struct Slot {
    labels: Option<Labels>,
    seen: u64,
    /// The tick in which it last had a timestamp of its own.
    timed: u64,
}

/// The cache of one target.
#[derive(Debug)]
pub(super) struct Cache {
    keys: RandomState,
    raw: FxHashMap<RawKey, Raw>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_labels: FxHashMap<Labels, SlotId>,
    tick: u64,
    /// Entries after the last scrape that succeeded.
    settled: usize,
}

/// What is known of a series that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is dropped.
    Dropped,
    /// It is stored as this; `again` says that this tick has had it.
    Stored { slot: SlotId, again: bool },
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            keys: RandomState::new(),
            raw: FxHashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            by_labels: FxHashMap::default(),
            tick: 1,
            settled: 0,
        }
    }
}

impl Cache {
    /// Hashes how a series was written. One half is keyed, so that no target can make two of its series meet.
    pub(super) fn key(&self, raw: &[u8]) -> RawKey {
        (self.keys.hash_one(raw), FxBuildHasher.hash_one(raw))
    }

    /// Looks a series up and marks it as seen.
    pub(super) fn get(&mut self, key: RawKey) -> Option<Known> {
        let tick = self.tick;
        let raw = self.raw.get_mut(&key)?;
        raw.seen = tick;
        let Some(id) = raw.slot else { return Some(Known::Dropped) };
        let slot = self.slots.get_mut(id.0 as usize)?;
        let again = slot.seen == tick;
        slot.seen = tick;
        Some(Known::Stored { slot: id, again })
    }

    /// Notes that a series is dropped.
    pub(super) fn add_dropped(&mut self, key: RawKey) {
        self.raw.insert(key, Raw { slot: None, seen: self.tick });
    }

    /// Notes what a series is stored as; two ways of writing may mean one.
    pub(super) fn add(&mut self, key: RawKey, labels: Labels) -> (SlotId, bool) {
        let tick = self.tick;
        let id = match self.by_labels.get(&labels) {
            Some(id) => *id,
            None => {
                let slot = Slot { labels: Some(labels.clone()), seen: 0, timed: 0 };
                let id = self.place(slot);
                self.by_labels.insert(labels, id);
                id
            }
        };
        self.raw.insert(key, Raw { slot: Some(id), seen: tick });
        let again = self
            .slots
            .get_mut(id.0 as usize)
            .is_some_and(|slot| std::mem::replace(&mut slot.seen, tick) == tick);
        (id, again)
    }

    fn place(&mut self, slot: Slot) -> SlotId {
        if let Some(free) = self.free.pop()
            && let Some(place) = self.slots.get_mut(free as usize)
        {
            *place = slot;
            return SlotId(free);
        }
        self.slots.push(slot);
        SlotId(u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(u32::MAX))
    }

    /// The labels of a series.
    pub(super) fn labels(&self, slot: SlotId) -> Option<&Labels> {
        self.slots.get(slot.0 as usize)?.labels.as_ref()
    }

    /// Notes that a series came with a timestamp of its own.
    pub(super) fn mark_timed(&mut self, slot: SlotId) {
        if let Some(slot) = self.slots.get_mut(slot.0 as usize) {
            slot.timed = self.tick;
        }
    }

    /// Series that had timestamps of their own in the last tick and are missing in this one.
    pub(super) fn vanished_timed(&self) -> impl Iterator<Item = &Labels> {
        let tick = self.tick;
        let vanished = move |slot: &&Slot| slot.timed > 0 && slot.timed + 1 == tick && slot.seen != tick;
        self.slots.iter().filter(vanished).filter_map(|slot| slot.labels.as_ref())
    }

    /// Ends a tick. Returns whether entries had to be forgotten although the scrape failed.
    pub(super) fn end_tick(&mut self, succeeded: bool) -> bool {
        let forced = !succeeded && self.raw.len() > 2 * self.settled + 1_000;
        if succeeded || forced {
            self.forget_unseen();
        }
        if succeeded {
            self.settled = self.raw.len();
        }
        self.tick += 1;
        forced
    }

    fn forget_unseen(&mut self) {
        let tick = self.tick;
        let before = self.raw.len();
        self.raw.retain(|_, raw| raw.seen == tick);
        if self.raw.len() == before {
            return;
        }
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.seen != tick
                && let Some(labels) = slot.labels.take()
            {
                self.by_labels.remove(&labels);
                self.free.extend(u32::try_from(at));
            }
        }
        if self.raw.len() * 4 < self.raw.capacity() {
            self.raw.shrink_to(self.raw.len() * 2);
            self.by_labels.shrink_to(self.raw.len() * 2);
        }
    }

    /// Number of entries.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    #[test]
    fn series_are_known_again_and_forgotten_when_they_vanish() {
        let mut cache = Cache::default();
        let keys: Vec<RawKey> = ["a", "b", "a{}"].iter().map(|raw| cache.key(raw.as_bytes())).collect();
        assert_eq!(cache.get(keys[0]), None);
        let (a, again) = cache.add(keys[0], labels("a"));
        assert!(!again);
        cache.add_dropped(keys[1]);
        assert_eq!(cache.add(keys[2], labels("a")), (a, true), "two ways to write one series");
        cache.end_tick(true);
        assert_eq!(cache.get(keys[0]), Some(Known::Stored { slot: a, again: false }));
        assert_eq!(cache.get(keys[0]), Some(Known::Stored { slot: a, again: true }));
        assert_eq!(cache.get(keys[1]), Some(Known::Dropped));
        cache.end_tick(true);
        assert_eq!((cache.len(), cache.get(keys[2])), (2, None));
        cache.end_tick(true);
        assert_eq!((cache.len(), cache.labels(a)), (0, None));
        let (reused, _) = cache.add(keys[1], labels("b"));
        assert_eq!((reused, cache.labels(reused)), (a, Some(&labels("b"))));
    }

    #[test]
    fn a_failed_scrape_forgets_only_what_would_grow_for_ever() {
        let mut cache = Cache::default();
        let key = cache.key(b"a");
        cache.add(key, labels("a"));
        cache.end_tick(true);
        assert!(!cache.end_tick(false));
        assert!(cache.get(key).is_some());
        cache.end_tick(false);
        for n in 0..1_003_u32 {
            let key = cache.key(&n.to_le_bytes());
            cache.add(key, labels(&n.to_string()));
        }
        assert!(cache.end_tick(false));
        assert_eq!(cache.len(), 1_003);
        assert!(cache.end_tick(false));
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn series_with_timestamps_are_missed_once() {
        let mut cache = Cache::default();
        let key = cache.key(b"a");
        let (slot, _) = cache.add(key, labels("a"));
        cache.mark_timed(slot);
        cache.end_tick(true);
        assert_eq!(cache.vanished_timed().collect::<Vec<_>>(), [&labels("a")]);
        cache.end_tick(false);
        assert_eq!(cache.vanished_timed().count(), 0);
    }
}
