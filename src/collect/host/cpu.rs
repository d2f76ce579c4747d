//! CPU times, topology counters and facts.
//!
//! Invariant: a CPU's counters never go backwards while it stays online, whatever the kernel says.
//! Sources: kernel `Documentation/filesystems/proc.rst` section 1.7 (`/proc/stat`),
//! `Documentation/ABI/testing/sysfs-devices-system-cpu`, `Documentation/admin-guide/cputopology.rst`.

mod cpuinfo;
mod times;
mod topology;

use std::path::PathBuf;

use regex::Regex;

use self::times::{Times, read_times};
use self::topology::Topology;
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, Host, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "cpu",
    on_by_default: true,
    help: "CPU time by mode, throttling, isolated and online CPUs; on request facts from /proc/cpuinfo.",
    flags: &[
        Flag {
            name: "cpu.guest",
            kind: FlagKind::Switch(true),
            help: "Expose node_cpu_guest_seconds_total.",
            hidden: false,
        },
        Flag {
            name: "cpu.info",
            kind: FlagKind::Switch(false),
            help: "Expose node_cpu_info and, while cpufreq is enabled, node_cpu_frequency_hertz.",
            hidden: false,
        },
        Flag {
            name: "cpu.info.bugs-include",
            kind: FlagKind::Regex(""),
            help: "Entries of the `bugs` line of /proc/cpuinfo to expose; implies cpu.info.",
            hidden: false,
        },
        Flag {
            name: "cpu.info.flags-include",
            kind: FlagKind::Regex(""),
            help: "Entries of the `flags` line of /proc/cpuinfo to expose; implies cpu.info.",
            hidden: false,
        },
    ],
    build: |host, options| {
        let facts = Facts {
            path: host.paths.proc("cpuinfo"),
            flags: options.regex("cpu.info.flags-include"),
            bugs: options.regex("cpu.info.bugs-include"),
            frequency: options.is_enabled("cpufreq"),
        };
        let info = options.switch("cpu.info") || facts.flags.is_some() || facts.bugs.is_some();
        Ok(Box::new(Cpu {
            stat: host.paths.proc("stat"),
            host: host.clone(),
            files: Files::new(host.descriptors.clone()),
            guest: options.switch("cpu.guest"),
            facts: info.then_some(facts),
            held: Vec::new(),
            topology: Topology::new(host.paths.sys("devices/system/cpu")),
        }))
    },
};

struct Facts {
    path: PathBuf,
    flags: Option<Regex>,
    bugs: Option<Regex>,
    /// The clock rates of `/proc/cpuinfo` go with the collector `cpufreq`, as in node_exporter.
    frequency: bool,
}

struct Cpu {
    stat: PathBuf,
    host: Host,
    files: Files,
    guest: bool,
    facts: Option<Facts>,
    held: Vec<Times>,
    topology: Topology,
}

/// Modes in the order of the columns of `/proc/stat`; guest times are also within user and nice.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];

/// Ticks a second in `/proc/stat` (`USER_HZ`): 100 on every architecture that Linux runs Rust on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Cpu {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        if let Some(facts) = &self.facts {
            let text = self.files.read(&facts.path).map_err(|e| CollectError::reading(&facts.path, e))?;
            facts.emit(text, out)?;
        }
        let mut stat = self.host.stat();
        let text = stat.read(pass, &self.stat).map_err(|e| CollectError::reading(&self.stat, e))?;
        let changed = read_times(text, &mut self.held).map_err(|what| CollectError::parsing(&self.stat, what))?;
        drop(stat);
        self.emit_times(out);
        self.topology.emit(&mut self.files, changed, out)
    }
}

impl Cpu {
    fn emit_times(&self, out: &mut Batch) {
        let seconds =
            out.family("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.", Kind::Counter);
        let mut digits = itoa::Buffer::new();
        for times in &self.held {
            let cpu = digits.format(times.cpu);
            for (mode, ticks) in MODES.iter().zip(times.ticks) {
                out.sample(seconds, &[("cpu", cpu), ("mode", mode)], parse::value(ticks) / TICKS_PER_SECOND);
            }
        }
        if !self.guest {
            return;
        }
        let help = "Seconds the CPUs spent running guests (VMs), by mode.";
        let guest = out.family("node_cpu_guest_seconds_total", help, Kind::Counter);
        for times in &self.held {
            let cpu = digits.format(times.cpu);
            for (mode, ticks) in GUEST_MODES.iter().zip(times.ticks.into_iter().skip(MODES.len())) {
                out.sample(guest, &[("cpu", cpu), ("mode", mode)], parse::value(ticks) / TICKS_PER_SECOND);
            }
        }
    }
}

impl Facts {
    fn emit(&self, text: &[u8], out: &mut Batch) -> Result<(), CollectError> {
        let cpus = cpuinfo::parse(text)
            .ok_or_else(|| CollectError::parsing(&self.path, "expected a first line \"processor : 0\""))?;
        let info = out.family("node_cpu_info", "Facts about each CPU from /proc/cpuinfo.", Kind::Gauge);
        for cpu in &cpus {
            let labels = [
                ("package", cpu.package.as_str()),
                ("core", &cpu.core),
                ("cpu", &cpu.number),
                ("vendor", &cpu.vendor),
                ("family", &cpu.family),
                ("model", &cpu.model),
                ("model_name", &cpu.model_name),
                ("microcode", &cpu.microcode),
                ("stepping", &cpu.stepping),
                ("cachesize", &cpu.cache_size),
            ];
            out.sample(info, &labels, 1.0);
        }
        if self.frequency {
            for cpu in &cpus {
                let labels = [("package", cpu.package.as_str()), ("core", &cpu.core), ("cpu", &cpu.number)];
                out.gauge(super::cpufreq::CURRENT.0, super::cpufreq::CURRENT.1, &labels, cpu.megahertz * 1e6);
            }
        }
        if let Some(first) = cpus.first() {
            emit_entries(&self.flags, &first.flags, "node_cpu_flag_info", "flag", out);
            emit_entries(&self.bugs, &first.bugs, "node_cpu_bug_info", "bug", out);
        }
        Ok(())
    }
}

fn emit_entries(wanted: &Option<Regex>, entries: &str, name: &str, label: &str, out: &mut Batch) {
    let Some(wanted) = wanted else { return };
    let help = "Selected entries of a line of /proc/cpuinfo, of the first CPU.";
    for entry in entries.split_ascii_whitespace().filter(|e| wanted.is_match(e)) {
        out.gauge(name, help, &[(label, entry)], 1.0);
    }
}

#[cfg(test)]
mod tests;
