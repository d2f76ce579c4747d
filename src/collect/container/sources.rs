//! Which files of a group are read, and by what. Sources: as in `parse`.

use super::layout::Hierarchy::{self, *};
use super::parse;
use super::values::Stats;

/// One file of a group.
pub(super) struct Source {
    pub(super) hierarchy: Hierarchy,
    pub(super) file: &'static str,
    pub(super) parse: fn(&[u8], &mut Stats),
    pub(super) when: When,
}

/// When a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// In each pass: it is cheap, and tells whether anything happens in the group.
    Always,
    /// While something happens, and now and then; see `quiet`.
    Active,
    /// While something happens and this may have moved, and now and then.
    Moved(Moves),
    /// Now and then: it says what the container may have, not what it does.
    Seldom,
}

/// What must have come about for a file to say something else than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// The kernel killed some process of the machine for lack of memory.
    Kills,
    /// A page was swapped out, or the group has some that were.
    Swaps,
    /// Some task of the machine waited for memory.
    MemoryStalls,
    /// Some task of the machine waited for a device.
    IoStalls,
    /// The group's memory came near its limit.
    Limit,
    /// One of [`Moves::Kills`] and [`Moves::Limit`].
    KillsOrLimit,
    /// There is a limit of CPU time.
    Quota,
    /// Something in the group.
    Life,
    /// Something in the group, on a device of which the file has told before.
    LifeOfKnown,
    /// The number of the group's reads and writes, which files before this one tell.
    Transfers,
}

const fn sign(hierarchy: Hierarchy, file: &'static str, parse: fn(&[u8], &mut Stats)) -> Source {
    Source { hierarchy, file, parse, when: When::Always }
}

const fn usage(hierarchy: Hierarchy, file: &'static str, parse: fn(&[u8], &mut Stats)) -> Source {
    Source { hierarchy, file, parse, when: When::Active }
}

const fn moved(
    hierarchy: Hierarchy,
    file: &'static str,
    parse: fn(&[u8], &mut Stats),
    what: Moves,
) -> Source {
    Source { hierarchy, file, parse, when: When::Moved(what) }
}

const fn limit(hierarchy: Hierarchy, file: &'static str, parse: fn(&[u8], &mut Stats)) -> Source {
    Source { hierarchy, file, parse, when: When::Seldom }
}

// Those of each pass come first: what they say decides about the others.

pub(super) static VERSION_2: &[Source] = &[
    sign(Unified, "cpu.stat", parse::cpu_stat),
    sign(Unified, "memory.current", parse::memory_usage),
    sign(Unified, "pids.current", parse::threads),
    usage(Unified, "memory.stat", parse::memory_stat),
    usage(Unified, "memory.peak", parse::memory_max_usage),
    moved(Unified, "memory.swap.current", parse::swap_usage, Moves::Swaps),
    moved(Unified, "memory.events", parse::memory_events, Moves::KillsOrLimit),
    moved(Unified, "io.stat", parse::io_stat, Moves::Life),
    usage(Unified, "cpu.pressure", parse::cpu_pressure),
    moved(Unified, "memory.pressure", parse::memory_pressure, Moves::MemoryStalls),
    moved(Unified, "io.pressure", parse::io_pressure, Moves::IoStalls),
    limit(Unified, "cpu.max", parse::cpu_max),
    limit(Unified, "cpu.weight", parse::cpu_weight),
    limit(Unified, "memory.max", parse::memory_limit),
    limit(Unified, "memory.high", parse::memory_high),
    limit(Unified, "memory.low", parse::memory_reservation),
    limit(Unified, "memory.swap.max", parse::swap_limit),
    limit(Unified, "pids.max", parse::threads_max),
];

/// What files that count groups below as well have at the end of their names. Older kernels have them without, for the
/// group's own processes.
pub(super) const RECURSIVE: &str = "_recursive";

pub(super) static VERSION_1: &[Source] = &[
    sign(Cpuacct, "cpuacct.usage", parse::cpuacct_usage),
    sign(Memory, "memory.usage_in_bytes", parse::memory_usage),
    sign(Pids, "pids.current", parse::threads),
    usage(Cpuacct, "cpuacct.stat", parse::cpuacct_stat),
    moved(Cpu, "cpu.stat", parse::cpu_stat, Moves::Quota),
    usage(Memory, "memory.stat", parse::memory_stat_v1),
    usage(Memory, "memory.max_usage_in_bytes", parse::memory_max_usage),
    moved(Memory, "memory.failcnt", parse::memory_failcnt, Moves::Limit),
    usage(Memory, "memory.kmem.usage_in_bytes", parse::memory_kernel),
    moved(Memory, "memory.oom_control", parse::oom_control, Moves::Kills),
    moved(Blkio, "blkio.throttle.io_serviced_recursive", parse::serviced, Moves::Life),
    moved(Blkio, "blkio.bfq.io_serviced_recursive", parse::serviced_by_bfq, Moves::LifeOfKnown),
    moved(Blkio, "blkio.throttle.io_service_bytes_recursive", parse::service_bytes, Moves::Transfers),
    moved(Blkio, "blkio.bfq.io_service_bytes_recursive", parse::service_bytes_of_bfq, Moves::Transfers),
    usage(Unified, "cpu.pressure", parse::cpu_pressure),
    moved(Unified, "memory.pressure", parse::memory_pressure, Moves::MemoryStalls),
    moved(Unified, "io.pressure", parse::io_pressure, Moves::IoStalls),
    limit(Cpu, "cpu.cfs_quota_us", parse::cfs_quota),
    limit(Cpu, "cpu.cfs_period_us", parse::cfs_period),
    limit(Cpu, "cpu.shares", parse::cpu_shares),
    limit(Memory, "memory.limit_in_bytes", parse::memory_limit),
    limit(Memory, "memory.soft_limit_in_bytes", parse::memory_reservation),
    limit(Memory, "memory.memsw.limit_in_bytes", parse::swap_limit),
    limit(Cpuset, "cpuset.memory_migrate", parse::memory_migrate),
    limit(Pids, "pids.max", parse::threads_max),
];

/// On request; the kernel has it for version 1 only.
pub(super) static PER_CPU: Source = usage(Cpuacct, "cpuacct.usage_percpu", parse::cpuacct_per_cpu);
