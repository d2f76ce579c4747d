//! Files of a control group, as text, into [`Stats`]. Sources: the kernel's `admin-guide/cgroup-v2.rst`,
//! `admin-guide/cgroup-v1/`, `accounting/psi.rst`.
//!
//! Invariant: no panic on any input; a line or a key that is not known is passed over, and so is a number that is
//! none: a kernel that knows more, or less, costs at most what it does not say.

use super::values::Quantity::{self, *};
use super::values::{Device, Stats};
use crate::collect::parse::{fields, lines, split_once, unsigned, value};

// In a second; divided by, which gives the nearest number.
const MICROSECONDS: f64 = 1e6;
const NANOSECONDS: f64 = 1e9;
/// What user space sees of the clock, on all architectures of today.
const TICKS: f64 = 100.0;

/// A limit above this stands for none: version 1 says so with a number near 2^63.
const NO_LIMIT: u64 = 1 << 62;

/// Most processors of which single times are kept.
const MOST_CPUS: usize = 4096;

/// Processes of a group that are kept by number.
pub(super) const MOST_PIDS: usize = 1024;

/// Pairs of a key and a number, one a line.
fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    lines(text).filter_map(|line| {
        let (key, number) = split_once(line, b' ')?;
        Some((key, unsigned(number.trim_ascii())?))
    })
}

fn one(text: &[u8]) -> Option<u64> {
    unsigned(text.trim_ascii())
}

fn set_seconds(stats: &mut Stats, quantity: Quantity, number: u64, in_a_second: f64) {
    stats.values.set(quantity, value(number) / in_a_second);
}

// Both versions.

/// `cpu.stat`: version 2 has all of it, version 1 only what the bandwidth controller did, in nanoseconds.
pub(super) fn cpu_stat(text: &[u8], stats: &mut Stats) {
    for (key, n) in pairs(text) {
        match key {
            b"usage_usec" => set_seconds(stats, CpuUsage, n, MICROSECONDS),
            b"user_usec" => set_seconds(stats, CpuUser, n, MICROSECONDS),
            b"system_usec" => set_seconds(stats, CpuSystem, n, MICROSECONDS),
            b"nr_periods" => stats.values.set(CfsPeriods, value(n)),
            b"nr_throttled" => stats.values.set(CfsThrottledPeriods, value(n)),
            b"throttled_usec" => set_seconds(stats, CfsThrottled, n, MICROSECONDS),
            b"throttled_time" => set_seconds(stats, CfsThrottled, n, NANOSECONDS),
            b"nr_bursts" => stats.values.set(CfsBurstPeriods, value(n)),
            b"burst_usec" => set_seconds(stats, CfsBurst, n, MICROSECONDS),
            b"burst_time" => set_seconds(stats, CfsBurst, n, NANOSECONDS),
            _ => {}
        }
    }
}

pub(super) fn memory_usage(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, MemoryUsage);
}

pub(super) fn memory_max_usage(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, MemoryMaxUsage);
}

pub(super) fn threads(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, Threads);
}

/// `max` is shown as 0: no limit.
pub(super) fn threads_max(text: &[u8], stats: &mut Stats) {
    stats.values.set(ThreadsMax, value(one(text).unwrap_or(0)));
}

pub(super) fn memory_limit(text: &[u8], stats: &mut Stats) {
    set_limit(text, stats, MemoryLimit);
}

/// `memory.high`: beyond it processes are slowed down.
pub(super) fn memory_high(text: &[u8], stats: &mut Stats) {
    set_limit(text, stats, MemoryHigh);
}

pub(super) fn memory_reservation(text: &[u8], stats: &mut Stats) {
    set_limit(text, stats, MemoryReservation);
}

pub(super) fn swap_limit(text: &[u8], stats: &mut Stats) {
    set_limit(text, stats, SwapLimit);
}

fn set_one(text: &[u8], stats: &mut Stats, quantity: Quantity) {
    if let Some(n) = one(text) {
        stats.values.set(quantity, value(n));
    }
}

fn set_limit(text: &[u8], stats: &mut Stats, quantity: Quantity) {
    let limit = one(text).filter(|n| *n <= NO_LIMIT).unwrap_or(0);
    stats.values.set(quantity, value(limit));
}

/// `cgroup.procs`: how many processes, and the first of them. Those of another namespace read 0.
pub(super) fn procs(text: &[u8], stats: &mut Stats) {
    let before = stats.values.get(Processes).unwrap_or_default();
    let mut count = 0_u64;
    for line in lines(text) {
        count += 1;
        if stats.pids.len() < MOST_PIDS
            && let Some(pid) = unsigned(line).and_then(|pid| u32::try_from(pid).ok())
            && pid > 0
        {
            stats.pids.push(pid);
        }
    }
    stats.values.set(Processes, before + value(count));
}

/// `*.pressure`: `some` is called waiting, `full` stalled.
fn pressure(text: &[u8], stats: &mut Stats, waiting: Quantity, stalled: Quantity) {
    for line in lines(text) {
        let quantity = match line.get(..5) {
            Some(b"some ") => waiting,
            Some(b"full ") => stalled,
            _ => continue,
        };
        let total = fields(line).find_map(|field| unsigned(field.strip_prefix(b"total=")?));
        if let Some(total) = total {
            set_seconds(stats, quantity, total, MICROSECONDS);
        }
    }
}

pub(super) fn cpu_pressure(text: &[u8], stats: &mut Stats) {
    pressure(text, stats, CpuWaiting, CpuStalled);
}

pub(super) fn memory_pressure(text: &[u8], stats: &mut Stats) {
    pressure(text, stats, MemoryWaiting, MemoryStalled);
}

pub(super) fn io_pressure(text: &[u8], stats: &mut Stats) {
    pressure(text, stats, IoWaiting, IoStalled);
}

// Version 2.

/// `memory.stat`.
pub(super) fn memory_stat(text: &[u8], stats: &mut Stats) {
    for (key, n) in pairs(text) {
        let quantity = match key {
            b"anon" => Rss,
            b"file" => Cache,
            b"kernel" => MemoryKernel,
            b"file_mapped" => MappedFile,
            b"file_dirty" => FileDirty,
            b"file_writeback" => FileWriteback,
            b"active_file" => ActiveFile,
            b"inactive_file" => InactiveFile,
            b"workingset_refault_anon" => RefaultsAnonymous,
            b"workingset_refault_file" => RefaultsFile,
            b"pgscan" => PagesScanned,
            b"pgsteal" => PagesReclaimed,
            // Version 2 counts what is below as well, and only so.
            b"pgfault" => {
                stats.values.set(PageFaultsBelow, value(n));
                PageFaults
            }
            b"pgmajfault" => {
                stats.values.set(MajorPageFaultsBelow, value(n));
                MajorPageFaults
            }
            _ => continue,
        };
        stats.values.set(quantity, value(n));
    }
}

pub(super) fn swap_usage(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, Swap);
}

/// `memory.events`; how often the limit was hit is what version 1 calls `failcnt`.
pub(super) fn memory_events(text: &[u8], stats: &mut Stats) {
    for (key, n) in pairs(text) {
        match key {
            b"high" => stats.values.set(EventsHigh, value(n)),
            b"max" => {
                stats.values.set(EventsMax, value(n));
                stats.values.set(MemoryFailures, value(n));
            }
            b"oom_kill" => stats.values.set(OomKills, value(n)),
            _ => {}
        }
    }
}

/// `io.stat`: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7 ...`.
pub(super) fn io_stat(text: &[u8], stats: &mut Stats) {
    stats.devices.clear();
    for line in lines(text) {
        let mut fields = fields(line);
        let Some((major, minor)) = fields.next().and_then(device_number) else { continue };
        let Some(device) = stats.device(major, minor) else { continue };
        for field in fields {
            let Some((key, n)) = split_once(field, b'=').and_then(|(k, n)| Some((k, unsigned(n)?))) else {
                continue;
            };
            let [usage, wait, indebt, indelay] = &mut device.cost;
            match key {
                b"rbytes" => device.read_bytes = Some(value(n)),
                b"wbytes" => device.written_bytes = Some(value(n)),
                b"rios" => device.reads = Some(value(n)),
                b"wios" => device.writes = Some(value(n)),
                b"cost.usage" => *usage = Some(value(n) / MICROSECONDS),
                b"cost.wait" => *wait = Some(value(n) / MICROSECONDS),
                b"cost.indebt" => *indebt = Some(value(n) / MICROSECONDS),
                b"cost.indelay" => *indelay = Some(value(n) / MICROSECONDS),
                _ => {}
            }
        }
    }
}

/// `cpu.max`: quota and period, `max` for no quota.
pub(super) fn cpu_max(text: &[u8], stats: &mut Stats) {
    let mut fields = fields(text);
    let (quota, period) = (fields.next(), fields.next());
    set_or_unset(stats, CpuQuota, quota.and_then(unsigned).map(value));
    set_or_unset(stats, CpuPeriod, period.and_then(unsigned).map(value));
}

/// `cpu.weight`, 1 to 10,000, as shares, 2 to 262,144: the inverse of what runtimes do with shares.
pub(super) fn cpu_weight(text: &[u8], stats: &mut Stats) {
    if let Some(weight) = one(text).filter(|weight| (1..=10_000).contains(weight)) {
        stats.values.set(CpuShares, value(2 + (weight - 1) * 262_142 / 9_999));
    }
}

// Version 1.

/// `cpuacct.usage`.
pub(super) fn cpuacct_usage(text: &[u8], stats: &mut Stats) {
    if let Some(n) = one(text) {
        set_seconds(stats, CpuUsage, n, NANOSECONDS);
    }
}

/// `cpuacct.usage_percpu`: nanoseconds of each possible processor.
pub(super) fn cpuacct_per_cpu(text: &[u8], stats: &mut Stats) {
    stats.per_cpu.clear();
    let times = fields(text).take(MOST_CPUS).filter_map(unsigned);
    stats.per_cpu.extend(times.map(|n| value(n) / NANOSECONDS));
}

/// `cpuacct.stat`.
pub(super) fn cpuacct_stat(text: &[u8], stats: &mut Stats) {
    for (key, n) in pairs(text) {
        match key {
            b"user" => set_seconds(stats, CpuUser, n, TICKS),
            b"system" => set_seconds(stats, CpuSystem, n, TICKS),
            _ => {}
        }
    }
}

/// `memory.stat`: `total_*` counts what is below as well.
pub(super) fn memory_stat_v1(text: &[u8], stats: &mut Stats) {
    // Without a swap device the file has no such line.
    stats.values.set(Swap, 0.0);
    for (key, n) in pairs(text) {
        let quantity = match key {
            b"total_cache" => Cache,
            b"total_rss" => Rss,
            b"total_swap" => Swap,
            b"total_mapped_file" => MappedFile,
            b"total_dirty" => FileDirty,
            b"total_writeback" => FileWriteback,
            b"total_active_file" => ActiveFile,
            b"total_inactive_file" => InactiveFile,
            b"pgfault" => PageFaults,
            b"pgmajfault" => MajorPageFaults,
            b"total_pgfault" => PageFaultsBelow,
            b"total_pgmajfault" => MajorPageFaultsBelow,
            b"total_pgscan" => PagesScanned,
            b"total_pgsteal" => PagesReclaimed,
            b"total_workingset_refault_anon" => RefaultsAnonymous,
            b"total_workingset_refault_file" => RefaultsFile,
            _ => continue,
        };
        stats.values.set(quantity, value(n));
    }
}

pub(super) fn memory_failcnt(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, MemoryFailures);
}

pub(super) fn memory_kernel(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, MemoryKernel);
}

pub(super) fn memory_migrate(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, MemoryMigrate);
}

/// `memory.oom_control`.
pub(super) fn oom_control(text: &[u8], stats: &mut Stats) {
    if let Some((_, n)) = pairs(text).find(|(key, _)| *key == b"oom_kill") {
        stats.values.set(OomKills, value(n));
    }
}

pub(super) fn cpu_shares(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, CpuShares);
}

pub(super) fn cfs_period(text: &[u8], stats: &mut Stats) {
    set_one(text, stats, CpuPeriod);
}

/// `cpu.cfs_quota_us`: -1 for none.
pub(super) fn cfs_quota(text: &[u8], stats: &mut Stats) {
    set_or_unset(stats, CpuQuota, one(text).map(value));
}

/// `blkio.throttle.io_service_bytes`: `8:0 Read 4096`.
pub(super) fn service_bytes(text: &[u8], stats: &mut Stats) {
    for device in &mut stats.devices {
        (device.read_bytes, device.written_bytes) = (None, None);
    }
    service_bytes_of_bfq(text, stats);
}

/// `blkio.bfq.io_service_bytes`, after what throttling has counted.
pub(super) fn service_bytes_of_bfq(text: &[u8], stats: &mut Stats) {
    by_operation(text, stats, |device| [&mut device.read_bytes, &mut device.written_bytes]);
}

/// `blkio.throttle.io_serviced`.
pub(super) fn serviced(text: &[u8], stats: &mut Stats) {
    // Those of which no file told any more in the last reading leave their place to others.
    stats.devices.retain(Device::has_any);
    for device in &mut stats.devices {
        (device.reads, device.writes) = (None, None);
    }
    stats.transfers = 0.0;
    serviced_by_bfq(text, stats);
}

/// `blkio.bfq.io_serviced`, after what throttling has counted.
pub(super) fn serviced_by_bfq(text: &[u8], stats: &mut Stats) {
    stats.transfers += by_operation(text, stats, |device| [&mut device.reads, &mut device.writes]);
}

/// Of what two files count of a device the larger: newer kernels count for throttling only where it is in use, and a
/// scheduler counts only its own devices. Neither count ever falls, so this does not. Returns the sum of what the file has.
fn by_operation(text: &[u8], stats: &mut Stats, counts: fn(&mut Device) -> [&mut Option<f64>; 2]) -> f64 {
    let mut sum = 0.0;
    for line in lines(text) {
        let mut fields = fields(line);
        let (device, operation, n) = (fields.next(), fields.next(), fields.next());
        if let (Some((major, minor)), Some(operation), Some(n)) =
            (device.and_then(device_number), operation, n.and_then(unsigned))
            && let Some(device) = stats.device(major, minor)
        {
            let [read, written] = counts(device);
            let count = match operation {
                b"Read" => read,
                b"Write" => written,
                _ => continue,
            };
            sum += value(n);
            *count = Some(count.unwrap_or_default().max(value(n)));
        }
    }
    sum
}

fn device_number(text: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = split_once(text, b':')?;
    Some((u32::try_from(unsigned(major)?).ok()?, u32::try_from(unsigned(minor)?).ok()?))
}

fn set_or_unset(stats: &mut Stats, quantity: Quantity, value: Option<f64>) {
    match value {
        Some(value) => stats.values.set(quantity, value),
        None => stats.values.unset(quantity),
    }
}

/// Every parser of this file, for tests and fuzzing.
pub(super) const ALL: &[fn(&[u8], &mut Stats)] = &[
    cpu_stat,
    memory_usage,
    memory_max_usage,
    threads,
    threads_max,
    memory_limit,
    memory_high,
    memory_reservation,
    swap_limit,
    procs,
    cpu_pressure,
    memory_pressure,
    io_pressure,
    memory_stat,
    swap_usage,
    memory_events,
    io_stat,
    cpu_max,
    cpu_weight,
    cpuacct_usage,
    cpuacct_per_cpu,
    cpuacct_stat,
    memory_stat_v1,
    memory_failcnt,
    memory_kernel,
    memory_migrate,
    oom_control,
    cpu_shares,
    cfs_period,
    cfs_quota,
    service_bytes,
    service_bytes_of_bfq,
    serviced,
    serviced_by_bfq,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(parse: fn(&[u8], &mut Stats), text: &str) -> Stats {
        let mut stats = Stats::default();
        parse(text.as_bytes(), &mut stats);
        stats
    }

    #[test]
    fn limits_and_weights() {
        for (text, want) in [("max\n", 0.0), ("9223372036854771712\n", 0.0), ("1048576\n", 1_048_576.0)] {
            assert_eq!(read(memory_limit, text).values.get(MemoryLimit), Some(want), "{text}");
        }
        for (weight, shares) in [("1", 2.0), ("39", 998.0), ("100", 2597.0), ("10000", 262_144.0)] {
            assert_eq!(read(cpu_weight, weight).values.get(CpuShares), Some(shares), "{weight}");
        }
        for (text, want) in [
            ("max 100000\n", (None, Some(1e5))),
            ("50000 100000", (Some(5e4), Some(1e5))),
            ("", (None, None)),
        ] {
            let values = read(cpu_max, text).values;
            assert_eq!((values.get(CpuQuota), values.get(CpuPeriod)), want, "{text:?}");
        }
        assert_eq!(read(cfs_quota, "-1\n").values.get(CpuQuota), None);
    }

    #[test]
    fn pressure_of_both_kinds_or_one() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 total=500000\n";
        let values = read(cpu_pressure, text).values;
        assert_eq!((values.get(CpuWaiting), values.get(CpuStalled)), (Some(1.5), Some(0.5)));
        let values = read(io_pressure, "some avg10=0 total=x\n").values;
        assert_eq!((values.get(IoWaiting), values.get(IoStalled)), (None, None));
    }

    #[test]
    fn devices_of_both_versions() {
        let text =
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.usage=5 cost.wait=6\n7:1\nrubbish\n";
        let devices = read(io_stat, text).devices;
        assert_eq!(devices.len(), 2);
        let sda = &devices[0];
        assert_eq!((sda.major, sda.minor, sda.read_bytes, sda.writes), (8, 0, Some(1.0), Some(4.0)));
        assert_eq!((sda.cost[0], sda.cost[2]), (Some(5e-6), None));
        let mut stats = read(service_bytes, "8:16 Read 5\n8:16 Write 6\n8:16 Total 11\nTotal 11\n");
        serviced(b"8:16 Read 1\n", &mut stats);
        let [only] = &*stats.devices else { panic!("{:?}", stats.devices) };
        assert_eq!((only.read_bytes, only.written_bytes, only.reads), (Some(5.0), Some(6.0), Some(1.0)));
        serviced_by_bfq(b"8:16 Read 0\n8:32 Read 7\nTotal 7\n", &mut stats);
        let reads = |stats: &Stats| stats.devices.iter().map(|device| device.reads).collect::<Vec<_>>();
        assert_eq!(reads(&stats), [Some(1.0), Some(7.0)], "either counts a device, or both do");
        serviced(b"8:16 Read 2\n", &mut stats);
        assert_eq!(reads(&stats), [Some(2.0), None], "one that is gone");
    }

    #[test]
    fn devices_that_come_and_go() {
        let mut stats = Stats::default();
        for minor in 0..200 {
            // One is used, then another.
            let text = format!("253:{minor} Read {minor}\n253:{minor} Write 1\n");
            serviced(text.as_bytes(), &mut stats);
            service_bytes(text.as_bytes(), &mut stats);
            let device = stats.devices.iter().find(|device| device.minor == minor).unwrap();
            assert_eq!(
                (device.reads, device.read_bytes),
                (Some(value(minor.into())), Some(value(minor.into())))
            );
            assert!(stats.devices.len() <= 2);
        }
    }

    #[test]
    fn processes_are_counted_beyond_those_that_are_kept() {
        let text: String = (0..2000).map(|pid| format!("{pid}\n")).collect();
        let stats = read(procs, &text);
        assert_eq!((stats.values.get(Processes), stats.pids.len()), (Some(2000.0), MOST_PIDS));
        assert_eq!(stats.pids.first(), Some(&1), "0 is a process of another namespace");
    }

    proptest! {
        #[test]
        fn any_bytes_survive_any_parser(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut stats = Stats::default();
            for parse in ALL {
                parse(&bytes, &mut stats);
            }
        }

        #[test]
        fn unknown_keys_change_nothing(unknown in "[a-z_]{1,20}x", n in any::<u64>()) {
            let text = format!("{unknown} {n}\nanon 7\n");
            let stats = read(memory_stat, &text);
            prop_assert_eq!(stats.values.get(Rss), Some(7.0));
            prop_assert_eq!(stats.values.get(Cache), None);
        }
    }
}
