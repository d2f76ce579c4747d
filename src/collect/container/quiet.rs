//! Whether anything happens in a group. Where nothing does, most of its files say what they said before, and are not read.
//! Sources: the kernel's `admin-guide/cgroup-v2.rst`, `accounting/psi.rst`, `mm/memcontrol.c`, `kernel/sched/psi.c`.
//!
//! Nothing happens where CPU time, memory in use and the number of threads stay as they are. Then no process of it ran, so
//! none asked for memory, faulted, was killed, forked or read. What can change nevertheless, and what is made of it:
//!
//! - The kernel gathers `memory.stat` and the totals of pressure in steps of two seconds. A group counts as quiet only
//!   when all was read [`SETTLES`] after the last sign of life.
//! - A process that waits for a device runs no more, but its pressure rises: a total that rises is a sign of life as well.
//!   A wait for a processor may begin while all is quiet; it is seen when it ends.
//! - Dirty pages are written later, and not by the group's processes. As long as it has some, it is not quiet.
//! - The kernel may move pages between the active and the inactive list for others' needs; an administrator may reset a
//!   peak. Both are seen within the passes that [`super::one`] lets go by between two readings of all.

use std::time::Instant;

use super::signs::SETTLES;
use super::values::Quantity::{self, *};
use super::values::{Readings, Values};

/// Read in each pass.
const VITAL: [Quantity; 3] = [CpuUsage, MemoryUsage, Threads];

/// Read with all else. What is missing, because the kernel does not have it, is no sign.
const PRESSURE: [Quantity; 6] = [CpuWaiting, CpuStalled, MemoryWaiting, MemoryStalled, IoWaiting, IoStalled];

/// What was seen last of a group, and since when it has been so.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    vital: Option<[f64; VITAL.len()]>,
    pressure: [Option<f64>; PRESSURE.len()],
    /// The last time that something had changed.
    changed: Option<Instant>,
    settled: bool,
}

impl Quiet {
    /// After the files of each pass: whether what the others said still stands.
    pub(super) fn stands(&mut self, vital: &Values, now: Instant) -> bool {
        let read = VITAL.map(|quantity| vital.get(quantity));
        // Where one of them is missing, nothing can be told.
        let vital = read.iter().all(Option::is_some).then(|| read.map(Option::unwrap_or_default));
        if vital.is_none() || vital != self.vital {
            self.changed(now);
        }
        self.vital = vital;
        self.settled
    }

    /// After all of its files; `complete` unless one could not be read.
    pub(super) fn all_read(&mut self, readings: &Readings, complete: bool, now: Instant) {
        let pressure = PRESSURE.map(|quantity| readings.get(quantity));
        let unwritten =
            [FileDirty, FileWriteback].iter().any(|pages| readings.get(*pages).is_some_and(|n| n > 0.0));
        if pressure != self.pressure || unwritten || !complete {
            self.changed(now);
        }
        self.pressure = pressure;
        self.settled = self.changed.is_some_and(|changed| now.saturating_duration_since(changed) >= SETTLES);
    }

    fn changed(&mut self, now: Instant) {
        self.changed = Some(now);
        self.settled = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::sources::When;
    use super::*;

    fn readings(of: &[(Quantity, f64)]) -> Readings {
        let mut readings = Readings::default();
        readings.of(When::Active).values = values(of);
        readings
    }

    fn values(of: &[(Quantity, f64)]) -> Values {
        let mut values = Values::default();
        for (quantity, value) in of {
            values.set(*quantity, *value);
        }
        values
    }

    #[test]
    fn quiet_when_all_was_read_after_the_last_sign_of_life() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let asleep = values(&[(CpuUsage, 1.0), (MemoryUsage, 2.0), (Threads, 1.0)]);
        let calm = readings(&[(IoWaiting, 3.0), (FileDirty, 0.0)]);
        let mut quiet = Quiet::default();
        let mut pass = |vital: &Values, work: &Readings, seconds| {
            let stands = quiet.stands(vital, at(seconds));
            if !stands {
                quiet.all_read(work, true, at(seconds));
            }
            stands
        };
        assert!(!pass(&asleep, &calm, 0));
        assert!(!pass(&asleep, &calm, 4), "what the kernel gathers may be older");
        assert!(!pass(&asleep, &calm, 5), "all is read once more");
        assert!(pass(&asleep, &calm, 6) && pass(&asleep, &calm, 7));
        let awake = values(&[(CpuUsage, 1.1), (MemoryUsage, 2.0), (Threads, 1.0)]);
        assert!(!pass(&awake, &calm, 8) && !pass(&awake, &calm, 20));
        assert!(pass(&awake, &calm, 21));
        assert!(!pass(&asleep, &calm, 22));
        let waits = readings(&[(IoWaiting, 4.0), (FileDirty, 0.0)]);
        assert!(!pass(&asleep, &waits, 40) && !pass(&asleep, &waits, 41), "it waits for a device");
        let dirty = readings(&[(IoWaiting, 4.0), (FileDirty, 4096.0)]);
        assert!(!pass(&asleep, &dirty, 60) && !pass(&asleep, &dirty, 80), "pages are yet to be written");
        let unknown = values(&[(CpuUsage, 1.0), (Threads, 1.0)]);
        assert!(!pass(&unknown, &calm, 100) && !pass(&unknown, &calm, 120), "a sign is missing");
    }

    #[test]
    fn what_could_not_be_read_is_read_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let asleep = values(&[(CpuUsage, 1.0), (MemoryUsage, 2.0), (Threads, 1.0)]);
        let mut quiet = Quiet::default();
        for (seconds, complete) in [(0, true), (10, false), (14, true)] {
            assert!(!quiet.stands(&asleep, at(seconds)));
            quiet.all_read(&Readings::default(), complete, at(seconds));
        }
        assert!(!quiet.stands(&asleep, at(14)));
        quiet.all_read(&Readings::default(), true, at(15));
        assert!(quiet.stands(&asleep, at(16)));
    }
}
