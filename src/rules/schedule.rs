//! When a group is due: at its own place within the interval, on a grid that no delay shifts.
//!
//! Pure: "now" is an argument. Slots that passed are left out and counted; after the clock was set back by more than an
//! interval the grid is entered anew.
//!
//! Source: Prometheus `rules/group.go`: the place is the hash of name and file, in nanoseconds, modulo the interval.

use std::time::Duration;

use twox_hash::XxHash64;

use crate::model::Timestamp;

/// The slots of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    interval_ms: i64,
    offset_ms: i64,
}

impl Slots {
    /// The slots of a group. Its hash is that of Prometheus before 3.0 (and of builds with plain labels since), so that
    /// one beside us that reads the same files evaluates them at the same instants.
    pub fn new(name: &str, file: &str, interval: Duration) -> Self {
        let mut text = Vec::with_capacity(name.len() + file.len() + 12);
        for part in ["file", file, "name", name] {
            text.extend_from_slice(part.as_bytes());
            text.push(0xff);
        }
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let interval_ns = interval_ms.unsigned_abs().saturating_mul(1_000_000);
        let offset_ns = XxHash64::oneshot(0, &text).checked_rem(interval_ns).unwrap_or_default();
        Self { interval_ms, offset_ms: i64::try_from(offset_ns / 1_000_000).unwrap_or_default() }
    }

    /// The first slot after `now`.
    pub fn after(&self, now: Timestamp) -> Timestamp {
        let now_ms = now.as_millis();
        let into_slot = now_ms.saturating_sub(self.offset_ms).rem_euclid(self.interval_ms);
        Timestamp::from_millis(now_ms.saturating_sub(into_slot).saturating_add(self.interval_ms))
    }

    /// The slot that follows one.
    pub fn next(&self, slot: Timestamp) -> Timestamp {
        Timestamp::from_millis(slot.as_millis().saturating_add(self.interval_ms))
    }

    /// The slot to take now instead of `slot`, which is due, and how many were missed: the last one that has passed.
    pub fn catch_up(&self, slot: Timestamp, now: Timestamp) -> (Timestamp, u64) {
        let missed = now.as_millis().saturating_sub(slot.as_millis()).max(0) / self.interval_ms;
        let caught_up = slot.as_millis().saturating_add(missed.saturating_mul(self.interval_ms));
        (Timestamp::from_millis(caught_up), missed.unsigned_abs())
    }

    /// Whether a slot lies so far ahead that the clock must have been set back.
    pub fn is_beyond(&self, slot: Timestamp, now: Timestamp) -> bool {
        slot.as_millis().saturating_sub(now.as_millis()) > self.interval_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn slots_lie_on_a_grid_and_missed_ones_are_counted() {
        let slots = Slots { interval_ms: 10_000, offset_ms: 1_234 };
        for (now, next) in [(0, 1_234), (1_233, 1_234), (1_234, 11_234), (11_233, 11_234), (-1, 1_234)] {
            assert_eq!(slots.after(at(now)), at(next), "{now}");
        }
        for (now, expected) in
            [(1_234, (1_234, 0)), (11_233, (1_234, 0)), (11_234, (11_234, 1)), (35_000, (31_234, 3))]
        {
            assert_eq!(slots.catch_up(at(1_234), at(now)), (at(expected.0), expected.1), "{now}");
        }
        assert_eq!(slots.next(at(1_234)), at(11_234));
        assert!(slots.is_beyond(at(21_234), at(1_234)) && !slots.is_beyond(at(11_234), at(1_234)));
    }

    #[test]
    fn any_interval_has_slots() {
        for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let slots = Slots::new("g", "f", interval);
            assert!(slots.after(at(5)) > at(5), "{interval:?}");
            slots.catch_up(at(i64::MIN), at(i64::MAX));
        }
    }

    #[test]
    fn places_are_spread_over_the_interval() {
        let interval = Duration::from_secs(60);
        let quarter = |i: u32| Slots::new(&i.to_string(), "rules.yml", interval).offset_ms / 15_000;
        for wanted in 0..4 {
            assert!((0..400).filter(|i| quarter(*i) == wanted).count() > 60, "{wanted}");
        }
    }
}
