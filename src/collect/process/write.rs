//! Groups as process-exporter's families: names, types and labels are its own.

use super::groups::{Counts, Group, STATES};
use super::tracker::{Rules, Tracker};
use crate::collect::parse::value;
use crate::model::{Batch, Kind};

/// Writes the families of all groups, one family after the other.
pub(super) fn write(tracker: &Tracker, rules: &Rules, out: &mut Batch) {
    let groups = || tracker.groups.iter();
    let gauge = |out: &mut Batch, name: &str, help: &str, of: &dyn Fn(&Group) -> Option<f64>| {
        let family = out.family(name, help, Kind::Gauge);
        for (group, value) in groups().filter_map(|group| Some((group, of(group)?))) {
            out.sample(family, &[("groupname", &group.name)], value);
        }
    };
    gauge(out, "namedprocess_namegroup_num_procs", "Processes of the group.", &|g| {
        Some(value(g.now.processes))
    });
    counters(tracker, rules, out);
    memory(tracker, rules, out);
    let name = "namedprocess_namegroup_open_filedesc";
    gauge(out, name, "Open files of the group's processes.", &|g| Some(value(g.now.open_files)));
    let name = "namedprocess_namegroup_worst_fd_ratio";
    let help = "Open files of the process of the group that is nearest to its limit, as a share of that.";
    gauge(out, name, help, &|g| Some(g.now.worst_file_ratio));
    let name = "namedprocess_namegroup_oldest_start_time_seconds";
    let help =
        "When the oldest process of the group began, in seconds since 1970; absent where there is none.";
    let seconds = |start: u64| value(tracker.boot_seconds.saturating_add(start / rules.ticks.max(1)));
    gauge(out, name, help, &|g| g.now.oldest_start.map(seconds));
    let name = "namedprocess_namegroup_num_threads";
    gauge(out, name, "Threads of the group's processes.", &|g| Some(value(g.now.threads)));

    let help = "Processes of the group, and threads of those that have several, by state.";
    let family = out.family("namedprocess_namegroup_states", help, Kind::Gauge);
    for group in groups() {
        for (state, count) in STATES.iter().zip(group.now.states) {
            out.sample(family, &[("groupname", &group.name), ("state", state)], value(count));
        }
    }
    let help = "Threads of the group that wait, by where in the kernel.";
    let family = out.family("namedprocess_namegroup_threads_wchan", help, Kind::Gauge);
    for group in groups() {
        for (place, count) in &group.now.waits {
            out.sample(family, &[("groupname", &group.name), ("wchan", place)], value(*count));
        }
    }
    if rules.threads {
        threads(tracker, rules, out);
    }
    own(tracker, rules, out);
}

#[expect(clippy::cast_precision_loss, reason = "ticks of the clock, far below 2^53")]
fn seconds(ticks: u64, rules: &Rules) -> f64 {
    ticks as f64 / rules.ticks.max(1) as f64
}

/// Name, help, and which of the counts.
type Plain = (&'static str, &'static str, fn(&Counts) -> u64);

fn counters(tracker: &Tracker, rules: &Rules, out: &mut Batch) {
    let help = "CPU time of the group's processes.";
    let family = out.family("namedprocess_namegroup_cpu_seconds_total", help, Kind::Counter);
    for Group { name, counts, .. } in tracker.groups.iter() {
        out.sample(family, &[("groupname", name), ("mode", "user")], seconds(counts.user, rules));
        out.sample(family, &[("groupname", name), ("mode", "system")], seconds(counts.system, rules));
    }
    let plain: [Plain; 4] = [
        ("namedprocess_namegroup_read_bytes_total", "Bytes that the group read from storage.", |c| {
            c.read_bytes
        }),
        ("namedprocess_namegroup_write_bytes_total", "Bytes that the group wrote to storage.", |c| {
            c.written_bytes
        }),
        ("namedprocess_namegroup_major_page_faults_total", "Page faults that needed storage.", |c| {
            c.major_faults
        }),
        ("namedprocess_namegroup_minor_page_faults_total", "Page faults that memory answered.", |c| {
            c.minor_faults
        }),
    ];
    for (name, help, of) in plain {
        let family = out.family(name, help, Kind::Counter);
        for group in tracker.groups.iter() {
            out.sample(family, &[("groupname", &group.name)], value(of(&group.counts)));
        }
    }
    let help = "Context switches of the group.";
    let family = out.family("namedprocess_namegroup_context_switches_total", help, Kind::Counter);
    for Group { name, counts, .. } in tracker.groups.iter() {
        let labels = |kind| [("ctxswitchtype", kind), ("groupname", &**name)];
        out.sample(family, &labels("voluntary"), value(counts.voluntary));
        out.sample(family, &labels("nonvoluntary"), value(counts.involuntary));
    }
}

fn memory(tracker: &Tracker, rules: &Rules, out: &mut Batch) {
    let help = "Memory of the group; shares of shared pages (proportional) if asked for.";
    let family = out.family("namedprocess_namegroup_memory_bytes", help, Kind::Gauge);
    for Group { name, now, .. } in tracker.groups.iter() {
        let mut sample = |kind, bytes| {
            out.sample(family, &[("groupname", &**name), ("memtype", kind)], value(bytes));
        };
        sample("resident", now.resident_bytes);
        sample("virtual", now.virtual_bytes);
        sample("swapped", now.swapped_bytes);
        if rules.proportional {
            sample("proportionalResident", now.proportional_bytes);
            sample("proportionalSwapped", now.proportional_swapped_bytes);
        }
    }
}

fn threads(tracker: &Tracker, rules: &Rules, out: &mut Batch) {
    let all = || {
        tracker
            .groups
            .iter()
            .flat_map(|group| group.threads.iter().map(|(name, of)| (&*group.name, &**name, of)))
    };
    let help = "Threads of this name.";
    let family = out.family("namedprocess_namegroup_thread_count", help, Kind::Gauge);
    for (group, thread, of) in all() {
        out.sample(family, &[("groupname", group), ("threadname", thread)], value(of.threads));
    }
    let help = "CPU time of threads of this name.";
    let family = out.family("namedprocess_namegroup_thread_cpu_seconds_total", help, Kind::Counter);
    for (group, thread, of) in all() {
        let labels = |mode| [("groupname", group), ("mode", mode), ("threadname", thread)];
        out.sample(family, &labels("user"), seconds(of.counts.user, rules));
        out.sample(family, &labels("system"), seconds(of.counts.system, rules));
    }
    let help = "Bytes that threads of this name read from storage and wrote there.";
    let family = out.family("namedprocess_namegroup_thread_io_bytes_total", help, Kind::Counter);
    for (group, thread, of) in all() {
        let labels = |mode| [("groupname", group), ("iomode", mode), ("threadname", thread)];
        out.sample(family, &labels("read"), value(of.counts.read_bytes));
        out.sample(family, &labels("write"), value(of.counts.written_bytes));
    }
    let faults: [Plain; 2] = [
        (
            "namedprocess_namegroup_thread_major_page_faults_total",
            "Page faults of threads of this name that needed storage.",
            |c| c.major_faults,
        ),
        (
            "namedprocess_namegroup_thread_minor_page_faults_total",
            "Page faults of threads of this name that memory answered.",
            |c| c.minor_faults,
        ),
    ];
    for (name, help, of_counts) in faults {
        let family = out.family(name, help, Kind::Counter);
        for (group, thread, of) in all() {
            out.sample(family, &[("groupname", group), ("threadname", thread)], value(of_counts(&of.counts)));
        }
    }
    let help = "Context switches of threads of this name.";
    let family = out.family("namedprocess_namegroup_thread_context_switches_total", help, Kind::Counter);
    for (group, thread, of) in all() {
        let labels = |kind| [("ctxswitchtype", kind), ("groupname", group), ("threadname", thread)];
        out.sample(family, &labels("voluntary"), value(of.counts.voluntary));
        out.sample(family, &labels("nonvoluntary"), value(of.counts.involuntary));
    }
}

/// process-exporter's counters of itself, and ours of what was left out.
pub(super) fn own(tracker: &Tracker, rules: &Rules, out: &mut Batch) {
    let failures = &tracker.failures;
    let help = "Passes in which processes could not be read at all, or not within the time.";
    out.counter("namedprocess_scrape_errors", help, &[], value(failures.scrape));
    let help = "Parts of processes that could not be read, such as their I/O without the right to.";
    out.counter("namedprocess_scrape_partial_errors", help, &[], value(failures.partial));
    let help = "Processes that could not be read.";
    out.counter("namedprocess_scrape_procread_errors", help, &[], value(failures.procread));
    let count = |n: usize| value(n as u64);
    out.gauge(
        "outrigger_process_groups",
        "Groups of processes, empty ones included.",
        &[],
        count(tracker.groups.len()),
    );
    let help = "Most groups of processes that there may be.";
    out.gauge("outrigger_process_groups_limit", help, &[], count(rules.most_groups));
    let help = "Processes that are in no group because there are too many groups.";
    out.gauge("outrigger_process_left_out", help, &[], count(tracker.left_out()));
    let help = "Empty groups whose totals were forgotten to make room for others.";
    out.counter("outrigger_process_groups_forgotten_total", help, &[], value(tracker.groups.forgotten));
    let help = "Threads that are shown under no name because their group has too many names of threads.";
    out.gauge("outrigger_process_threads_left_out", help, &[], value(tracker.groups.threads_left_out));
    let help = "Names of groups that could not be made of their templates.";
    out.counter("outrigger_process_name_errors_total", help, &[], value(failures.names));
}
