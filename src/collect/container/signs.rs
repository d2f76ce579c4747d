//! What the machine as a whole counts. Where the whole has not moved, no group's part of it has, and the group's file need
//! not be read. Sources: proc_vmstat(5), the kernel's `accounting/psi.rst`, `mm/oom_kill.c`, `kernel/sched/psi.c`.
//!
//! Invariant: what cannot be read moves all the time, so that the groups' files are read.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::files::Extent;
use super::super::kept_file::{KeptFile, Reader};
use super::super::parse::{fields, lines, unsigned};

/// Longer than two steps of two seconds, in which the kernel gathers each total of pressure and `memory.stat`.
pub(super) const SETTLES: Duration = Duration::from_secs(5);

/// Longest line of the files, bytes.
const LONGEST_LINE: usize = 128;

/// A total, and when it was seen to be another.
#[derive(Debug, Default)]
pub(super) struct Sign {
    total: Option<u64>,
    moved: Option<Instant>,
}

impl Sign {
    fn see(&mut self, total: Option<u64>, now: Instant) {
        if total.is_none() || total != self.total {
            self.moved = Some(now);
        }
        self.total = total;
    }

    /// Whether what was read at an instant may be older than what moved the total.
    pub(super) fn outdates(&self, read: Instant) -> bool {
        self.moved.is_none_or(|moved| read.saturating_duration_since(moved) < SETTLES)
    }
}

/// The totals.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Processes that were killed for lack of memory.
    pub(super) kills: Sign,
    /// Pages that were swapped out.
    pub(super) swaps: Sign,
    /// Time in which some task waited for memory.
    pub(super) memory_stalls: Sign,
    /// Time in which some task waited for a device.
    pub(super) io_stalls: Sign,
    files: [KeptFile; 3],
}

impl Signs {
    /// Reads all of them, before the groups are.
    pub(super) fn read(&mut self, reader: &mut Reader, procfs: &Path, now: Instant) {
        let [vmstat, memory, io] = &mut self.files;
        let mut read = |file: &mut KeptFile, name: &str, total: fn(&[u8]) -> Option<u64>| {
            let text = file.read(reader, procfs, name, Extent::Records(LONGEST_LINE)).ok()??;
            Some((total(text), swapped_out(text)))
        };
        let counts = read(vmstat, "vmstat", killed).unwrap_or_default();
        self.kills.see(counts.0, now);
        self.swaps.see(counts.1, now);
        for (sign, file, name) in
            [(&mut self.memory_stalls, memory, "pressure/memory"), (&mut self.io_stalls, io, "pressure/io")]
        {
            sign.see(read(file, name, waited).and_then(|(total, _)| total), now);
        }
    }
}

/// `oom_kill` of `/proc/vmstat`.
fn killed(text: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| unsigned(line.strip_prefix(b"oom_kill ")?))
}

/// Of `/proc/vmstat`: to a device, to memory in packed form, and what was all zeros.
fn swapped_out(text: &[u8]) -> Option<u64> {
    let counts = lines(text).filter_map(|line| {
        [b"pswpout ".as_slice(), b"zswpout ", b"swpout_zero "]
            .iter()
            .find_map(|name| unsigned(line.strip_prefix(*name)?))
    });
    counts.reduce(u64::wrapping_add)
}

/// The total of `some` in `/proc/pressure/*`, microseconds; `full` rises only with it.
fn waited(text: &[u8]) -> Option<u64> {
    let some = lines(text).find(|line| line.starts_with(b"some "))?;
    fields(some).find_map(|field| unsigned(field.strip_prefix(b"total=")?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::files::DescriptorBudget;
    use super::*;
    use crate::collect::host::testing::Fixture;

    #[test]
    fn what_moved_lately_and_what_is_missing_outdates() {
        let vmstat = "nr_free_pages 1\npswpout 2\noom_kill 3\nzswpout 4\n";
        let fixture = Fixture::new()
            .file("proc/vmstat", vmstat)
            .file("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull total=9\n");
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut signs, mut reader) = (Signs::default(), Reader::new(Arc::new(DescriptorBudget::new(9))));
        let procfs = fixture.path().join("proc");
        let mut outdated = |seconds, read| {
            signs.read(&mut reader, &procfs, at(seconds));
            let Signs { kills, swaps, memory_stalls, io_stalls, .. } = &signs;
            [kills, swaps, memory_stalls, io_stalls].map(|sign| sign.outdates(at(read)))
        };
        assert_eq!(outdated(0, 0), [true; 4], "it may have moved a moment before");
        assert_eq!(outdated(20, 4), [true; 4]);
        assert_eq!(outdated(20, 5), [false, false, false, true], "the kernel does not tell of devices");
        let _fixture = fixture
            .file("proc/vmstat", vmstat.replace("oom_kill 3", "oom_kill 4"))
            .file("proc/pressure/memory", "some total=8\n");
        assert_eq!(outdated(40, 20), [true, false, true, true]);
        assert_eq!(outdated(60, 45), [false, false, false, true]);
    }
}
