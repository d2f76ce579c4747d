//! What each family of a container is made of, under cAdvisor's names, labels and types. Help texts are ours.

use super::values::Quantity::{self, *};
use crate::model::Kind::{self, Counter, Gauge};

/// A family with one sample, or some with fixed labels, of a container.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// Besides those of the container; sorted.
    pub(super) labels: &'static [(&'static str, &'static str)],
    pub(super) value: Quantity,
    /// Shown only where this was read as well.
    pub(super) needs: Option<Quantity>,
}

const fn counter(name: &'static str, help: &'static str, value: Quantity) -> Family {
    Family { name, help, kind: Counter, labels: &[], value, needs: None }
}

const fn gauge(name: &'static str, help: &'static str, value: Quantity) -> Family {
    Family { name, help, kind: Gauge, labels: &[], value, needs: None }
}

const fn with(family: Family, labels: &'static [(&'static str, &'static str)]) -> Family {
    Family { labels, ..family }
}

/// A container without a quota has no periods.
const fn of_quota(name: &'static str, help: &'static str, value: Quantity) -> Family {
    Family { needs: Some(CpuQuota), ..counter(name, help, value) }
}

pub(super) const CPU_USAGE: (&str, &str) =
    ("container_cpu_usage_seconds_total", "CPU time that the container used.");

const fn faults(value: Quantity, labels: &'static [(&'static str, &'static str)]) -> Family {
    let help = "Page faults of the container's own processes, or with the groups below it.";
    with(counter("container_memory_failures_total", help, value), labels)
}

pub(super) static FAMILIES: &[Family] = &[
    with(counter(CPU_USAGE.0, CPU_USAGE.1, CpuUsage), &[("cpu", "total")]),
    counter("container_cpu_user_seconds_total", "CPU time that the container spent in user mode.", CpuUser),
    counter(
        "container_cpu_system_seconds_total",
        "CPU time that the kernel spent for the container.",
        CpuSystem,
    ),
    of_quota(
        "container_cpu_cfs_periods_total",
        "Periods of the CPU limit in which the container ran.",
        CfsPeriods,
    ),
    of_quota(
        "container_cpu_cfs_throttled_periods_total",
        "Periods in which the container had used up its CPU limit and had to wait.",
        CfsThrottledPeriods,
    ),
    of_quota(
        "container_cpu_cfs_throttled_seconds_total",
        "Time that the container had to wait because of its CPU limit, summed over processors.",
        CfsThrottled,
    ),
    of_quota(
        "container_cpu_cfs_burst_periods_total",
        "Periods in which the container used more than its quota, from what it had saved.",
        CfsBurstPeriods,
    ),
    of_quota(
        "container_cpu_cfs_burst_seconds_total",
        "CPU time beyond the quota that the container used from what it had saved.",
        CfsBurst,
    ),
    gauge(
        "container_memory_usage_bytes",
        "Memory in use, the page cache included: what counts against the limit.",
        MemoryUsage,
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Memory in use without the files' pages that were not used lately, which the kernel takes back first.",
        WorkingSet,
    ),
    gauge("container_memory_max_usage_bytes", "Most memory that was ever in use.", MemoryMaxUsage),
    counter("container_memory_failcnt", "Times that the memory limit was hit.", MemoryFailures),
    gauge(
        "container_memory_kernel_usage",
        "Memory that the kernel holds for the container, bytes.",
        MemoryKernel,
    ),
    gauge("container_memory_cache", "Page cache, bytes.", Cache),
    gauge("container_memory_rss", "Anonymous memory, without swap and shared memory, bytes.", Rss),
    gauge("container_memory_swap", "Swap in use, bytes.", Swap),
    gauge("container_memory_mapped_file", "Files mapped into memory, bytes.", MappedFile),
    gauge("container_memory_total_active_file_bytes", "Files' pages that were used lately.", ActiveFile),
    gauge(
        "container_memory_total_inactive_file_bytes",
        "Files' pages that were not used lately.",
        InactiveFile,
    ),
    gauge("container_memory_file_dirty_bytes", "Files' pages that are to be written.", FileDirty),
    gauge("container_memory_file_writeback_bytes", "Files' pages that are being written.", FileWriteback),
    faults(PageFaults, &[("failure_type", "pgfault"), ("scope", "container")]),
    faults(MajorPageFaults, &[("failure_type", "pgmajfault"), ("scope", "container")]),
    faults(PageFaultsBelow, &[("failure_type", "pgfault"), ("scope", "hierarchy")]),
    faults(MajorPageFaultsBelow, &[("failure_type", "pgmajfault"), ("scope", "hierarchy")]),
    counter("container_memory_pgscan_total", "Pages that were looked at to take some back.", PagesScanned),
    counter("container_memory_pgsteal_total", "Pages that were taken back.", PagesReclaimed),
    counter(
        "container_memory_workingset_refault_anon_total",
        "Anonymous pages that were needed soon after they had been taken.",
        RefaultsAnonymous,
    ),
    counter(
        "container_memory_workingset_refault_file_total",
        "Files' pages that were needed soon after they had been taken.",
        RefaultsFile,
    ),
    counter(
        "container_memory_events_high_total",
        "Times that processes were slowed down because memory was over its high boundary.",
        EventsHigh,
    ),
    counter(
        "container_memory_events_max_total",
        "Times that memory was about to go over its limit.",
        EventsMax,
    ),
    gauge(
        "container_memory_migrate",
        "Whether pages move along when the memory nodes of the container change.",
        MemoryMigrate,
    ),
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Time in which at least one task waited for a processor.",
        CpuWaiting,
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Time in which all tasks waited for a processor.",
        CpuStalled,
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time in which at least one task waited for memory.",
        MemoryWaiting,
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Time in which all tasks waited for memory.",
        MemoryStalled,
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Time in which at least one task waited for a device.",
        IoWaiting,
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Time in which all tasks waited for a device.",
        IoStalled,
    ),
    gauge("container_processes", "Processes in the container.", Processes),
    gauge("container_threads", "Threads in the container.", Threads),
    gauge(
        "container_threads_max",
        "Most threads that the container may have; 0 without a limit.",
        ThreadsMax,
    ),
    with(
        gauge(
            "container_ulimits_soft",
            "Soft limits of the container's first process; -1 without one.",
            OpenFilesSoft,
        ),
        &[("ulimit", "max_open_files")],
    ),
    gauge("container_file_descriptors", "Files that the container's processes have open.", OpenFiles),
    gauge("container_sockets", "Sockets that the container's processes have open.", Sockets),
    gauge("container_spec_cpu_period", "Period of the CPU limit, microseconds.", CpuPeriod),
    gauge(
        "container_spec_cpu_quota",
        "CPU time that the container may use in a period, microseconds.",
        CpuQuota,
    ),
    gauge(
        "container_spec_cpu_shares",
        "Share of CPU time where it is short; by default 1024 with control groups of version 1, 2597 with version 2.",
        CpuShares,
    ),
    gauge("container_spec_memory_limit_bytes", "Memory limit; 0 without one.", MemoryLimit),
    gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is left to the container when memory is short; 0 without one.",
        MemoryReservation,
    ),
    gauge(
        "container_spec_memory_swap_limit_bytes",
        "Limit of swap, in version 1 of memory and swap together; 0 without one.",
        SwapLimit,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_once_with_one_type_and_help() {
        for (at, family) in FAMILIES.iter().enumerate() {
            assert!(family.labels.is_sorted());
            for other in FAMILIES.iter().skip(at + 1).filter(|other| other.name == family.name) {
                assert_ne!(family.labels, other.labels, "{}", family.name);
                assert_eq!((family.kind, family.help), (other.kind, other.help), "{}", family.name);
            }
        }
    }
}
