//! This process's resources, under the names of Prometheus's client libraries.
//!
//! Read from the real `/proc/self` - not from `--path.procfs`, which may be another machine's tree -
//! and chosen for cost: `statm` instead of `stat`, the CPU clock instead of a file, the size that
//! `/proc/self/fd` reports (Linux 6.2) instead of a walk. What cannot be read is left out.
//!
//! Sources: Prometheus, "Writing client libraries", process metrics; kernel
//! `Documentation/filesystems/proc.rst`. The Go client's two network counters are left out: they count
//! the network namespace, not the process, and the collectors `netdev` and `netstat` have them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::collect::{DescriptorBudget, Files, parse};
use crate::model::Batch;

const STATM: &str = "/proc/self/statm";
const DESCRIPTORS: &str = "/proc/self/fd";

/// Reads this process.
#[derive(Debug)]
pub(super) struct Process {
    files: Files,
    /// Held open: looking it up takes longer than asking it.
    descriptors: Option<File>,
    page_bytes: f64,
    start_time_seconds: Option<f64>,
}

impl Process {
    pub(super) fn new() -> Self {
        let mut files = Files::new(Arc::new(DescriptorBudget::new(1)));
        let start_time_seconds = start_time_seconds(&mut files);
        let page_bytes = parse::value(rustix::param::page_size() as u64);
        Self { files, descriptors: File::open(DESCRIPTORS).ok(), page_bytes, start_time_seconds }
    }

    pub(super) fn expose(&mut self, out: &mut Batch) {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "exact for 285 million years of CPU time")]
        let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let help = "User and system CPU time that this process has spent, in seconds.";
        out.counter("process_cpu_seconds_total", help, &[], cpu_seconds);
        self.memory(out);
        self.descriptors(out);
        if let Some(start) = self.start_time_seconds {
            let help = "When this process started, in seconds since the Unix epoch.";
            out.gauge("process_start_time_seconds", help, &[], start);
        }
    }

    fn memory(&mut self, out: &mut Batch) {
        if let Ok(text) = self.files.read_short_records(Path::new(STATM)) {
            let mut pages = parse::fields(text).map(parse::number);
            if let (Some(Some(virtual_pages)), Some(Some(resident_pages))) = (pages.next(), pages.next()) {
                let help = "Virtual memory of this process, in bytes.";
                out.gauge("process_virtual_memory_bytes", help, &[], virtual_pages * self.page_bytes);
                let help = "Resident memory of this process, in bytes.";
                out.gauge("process_resident_memory_bytes", help, &[], resident_pages * self.page_bytes);
            }
        }
        let help = "Most virtual memory that this process may have, in bytes.";
        out.gauge("process_virtual_memory_max_bytes", help, &[], soft_limit(Resource::As));
    }

    fn descriptors(&self, out: &mut Batch) {
        if let Some(open) = self.open_descriptors() {
            out.gauge(
                "process_open_fds",
                "File descriptors that this process has open.",
                &[],
                parse::value(open),
            );
        }
        let help = "Most file descriptors that this process may have open.";
        out.gauge("process_max_fds", help, &[], soft_limit(Resource::Nofile));
    }

    fn open_descriptors(&self) -> Option<u64> {
        let size = self.descriptors.as_ref()?.metadata().ok()?.len();
        if size > 0 {
            return Some(size);
        }
        let listed = std::fs::read_dir(DESCRIPTORS).ok()?.count() as u64;
        // The directory that is being listed counts itself.
        Some(listed.saturating_sub(1))
    }
}

/// Without a limit, the largest number there is, as the kernel and the Go client have it.
fn soft_limit(resource: Resource) -> f64 {
    parse::value(getrlimit(resource).current.unwrap_or(u64::MAX))
}

fn start_time_seconds(files: &mut Files) -> Option<f64> {
    let stat = files.read_once(Path::new("/proc/self/stat")).ok()?;
    // The name in parentheses may hold anything; the start is the 20th field after it.
    let after_name = memchr::memrchr(b')', stat).and_then(|at| stat.get(at + 1..))?;
    let ticks = parse::fields(after_name).nth(19).and_then(parse::number)?;
    let boot = files.read_once(Path::new("/proc/stat")).ok()?;
    let boot = parse::lines(boot).find_map(|l| l.strip_prefix(b"btime "))?;
    let ticks_per_second = parse::value(rustix::param::clock_ticks_per_second());
    Some(parse::number(boot.trim_ascii())? + ticks / ticks_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(batch: &Batch, name: &str) -> f64 {
        let family = batch.families().find(|f| f.name() == name);
        family.and_then(|f| f.samples().next()).map(|s| s.value()).unwrap_or(f64::NAN)
    }

    #[test]
    fn reports_this_very_process() {
        let mut process = Process::new();
        let held: Vec<_> = (0..5).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let mut batch = Batch::new();
        process.expose(&mut batch);
        let first_cpu = value(&batch, "process_cpu_seconds_total");
        assert!(first_cpu > 0.0 && value(&batch, "process_open_fds") >= (3 + held.len()) as f64);
        assert!(value(&batch, "process_max_fds") >= value(&batch, "process_open_fds"));
        let (resident, all) =
            (value(&batch, "process_resident_memory_bytes"), value(&batch, "process_virtual_memory_bytes"));
        assert!(
            resident > 1e5 && all >= resident && value(&batch, "process_virtual_memory_max_bytes") >= all
        );
        // 2020 to 2200: seconds, not milliseconds or ticks.
        assert!((1.5e9..7.3e9).contains(&value(&batch, "process_start_time_seconds")));
        batch.clear();
        process.expose(&mut batch);
        assert!(value(&batch, "process_cpu_seconds_total") >= first_cpu);
        assert_eq!(batch.len(), 7);
    }
}
