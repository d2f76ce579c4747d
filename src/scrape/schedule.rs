//! When a target is due: each at its own place within the interval, on a grid that no delay shifts.
//!
//! Pure: "now" is an argument. A clock that jumps ahead skips slots, one that jumps back starts anew.

use std::time::Duration;

use crate::model::Timestamp;

/// How far behind its slot a scrape may begin, at most a hundredth of the interval, and still be given the slot's
/// timestamp: equal distances compress to nearly nothing. Prometheus allows 2 ms, which a small machine exceeds.
const TOLERANCE_MS: i64 = 10;

/// The slots of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    /// Slots at `hash` modulo the interval.
    pub(super) fn new(interval: Duration, hash: u64) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let offset = hash.checked_rem(interval_ms.unsigned_abs()).unwrap_or_default();
        Self { interval_ms, offset_ms: i64::try_from(offset).unwrap_or_default() }
    }

    /// The slot to wait for, after `last`.
    pub(super) fn next(&self, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let now_ms = now.as_millis();
        let last_ms = last.map(Timestamp::as_millis).filter(|last| *last - now_ms <= self.interval_ms);
        let after_ms = last_ms.map_or(now_ms.saturating_sub(1), |last| last.max(now_ms));
        let into_slot = (after_ms.saturating_sub(self.offset_ms)).rem_euclid(self.interval_ms);
        Timestamp::from_millis(after_ms.saturating_sub(into_slot).saturating_add(self.interval_ms))
    }

    /// The timestamp of a scrape that was due at `slot` and begins now.
    pub(super) fn aligned(&self, slot: Timestamp, now: Timestamp) -> Timestamp {
        let late_ms = now.as_millis().saturating_sub(slot.as_millis());
        let tolerance_ms = TOLERANCE_MS.min(self.interval_ms / 100);
        if (-TOLERANCE_MS..=tolerance_ms).contains(&late_ms) { slot } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn slots_lie_on_a_grid_whatever_happens() {
        let schedule = Schedule::new(Duration::from_secs(10), 10_000 * 7 + 1_234);
        for (last, now, next) in [
            (None, 0, 1_234),
            (None, 1_234, 1_234),
            (None, 1_235, 11_234),
            (Some(1_234), 1_234, 11_234),
            (Some(1_234), 1_233, 11_234),
            (Some(1_234), 5_000, 11_234),
            (Some(1_234), 11_234, 21_234),
            (Some(1_234), 35_000, 41_234),
            // The clock went back by more than a slot.
            (Some(1_001_234), 5_000, 11_234),
        ] {
            assert_eq!(schedule.next(last.map(at), at(now)), at(next), "{last:?} {now}");
        }
    }

    #[test]
    fn a_small_delay_is_none() {
        let schedule = Schedule::new(Duration::from_secs(10), 0);
        for (now, expected) in [(10_000, 10_000), (10_010, 10_000), (9_999, 10_000), (10_011, 10_011)] {
            assert_eq!(schedule.aligned(at(10_000), at(now)), at(expected), "{now}");
        }
        assert_eq!(Schedule::new(Duration::from_millis(50), 0).aligned(at(100), at(101)), at(101));
    }

    #[test]
    fn any_interval_has_slots() {
        for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let schedule = Schedule::new(interval, u64::MAX);
            assert!(schedule.next(None, at(5)) >= at(5), "{interval:?}");
        }
    }
}
