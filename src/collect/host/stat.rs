//! Kernel-wide counters. Source: kernel `Documentation/filesystems/proc.rst`, section 1.7, `/proc/stat`.
//!
//! The per-CPU lines of the same file belong to the collector `cpu`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Flag, FlagKind, Host, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "stat",
    on_by_default: true,
    help: "Boot time, forks, interrupts, context switches and runnable processes from /proc/stat.",
    flags: &[Flag {
        name: "stat.softirq",
        kind: FlagKind::Switch(false),
        help: "Expose the softirq calls per vector.",
        hidden: false,
    }],
    build: |host, options| {
        Ok(Box::new(Stat {
            path: host.paths.proc("stat"),
            host: host.clone(),
            softirq: options.switch("stat.softirq"),
        }))
    },
};

struct Stat {
    path: PathBuf,
    host: Host,
    softirq: bool,
}

/// Key in the file, family, help, type.
const LINES: [(&[u8], &str, &str, Kind); 6] = [
    (b"intr", "node_intr_total", "Interrupts serviced since boot.", Kind::Counter),
    (b"ctxt", "node_context_switches_total", "Context switches since boot.", Kind::Counter),
    (b"processes", "node_forks_total", "Forks since boot.", Kind::Counter),
    (b"btime", "node_boot_time_seconds", "When the machine booted, in Unix time.", Kind::Gauge),
    (b"procs_running", "node_procs_running", "Processes in runnable state.", Kind::Gauge),
    (b"procs_blocked", "node_procs_blocked", "Processes blocked waiting for IO.", Kind::Gauge),
];

/// Order of the vectors in the `softirq` line (kernel `include/linux/interrupt.h`).
const VECTORS: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "block_iopoll", "tasklet", "sched", "hrtimer", "rcu"];

impl Collector for Stat {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut stat = self.host.stat();
        let text = stat.read(pass, &self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        for line in parse::lines(text) {
            let mut fields = parse::fields(line);
            let Some(key) = fields.next() else { continue };
            if let Some((_, name, help, kind)) = LINES.iter().find(|(k, ..)| *k == key) {
                let value = fields.next().and_then(parse::number).ok_or_else(|| {
                    let what = format!("expected a number after {:?}", String::from_utf8_lossy(key));
                    CollectError::parsing(&self.path, what)
                })?;
                let family = out.family(name, help, *kind);
                out.sample(family, &[], value);
            } else if key == b"softirq" && self.softirq {
                let family = out.family("node_softirqs_total", "Softirq calls since boot.", Kind::Counter);
                for (vector, count) in VECTORS.iter().zip(fields.skip(1)) {
                    let value = parse::number(count)
                        .ok_or_else(|| CollectError::parsing(&self.path, "softirq: expected numbers"))?;
                    out.sample(family, &[("vector", vector)], value);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const STAT: &str = "cpu  1 2 3 4 5 6 7 8 9 10\n\
        cpu0 1 2 3 4 5 6 7 8 9 10\n\
        intr 18446744073709551615 1 2 3\n\
        ctxt 38014093\n\
        btime 1418183276\n\
        processes 26442\n\
        procs_running 2\n\
        procs_blocked 1\n\
        softirq 55 1 2 3 4 5 6 7 8 9 10\n";

    #[test]
    fn golden() {
        Fixture::new().file("proc/stat", STAT).expect(
            "stat",
            "node_boot_time_seconds 1418183276
             node_context_switches_total 38014093
             node_forks_total 26442
             node_intr_total 18446744073709552000
             node_procs_blocked 1
             node_procs_running 2",
        );
    }

    #[test]
    fn softirqs_on_request() {
        let text = Fixture::new().file("proc/stat", STAT).option("stat.softirq", "true").samples("stat");
        assert!(text.contains("node_softirqs_total{vector=\"hi\"} 1\n"), "{text}");
        assert!(text.contains("node_softirqs_total{vector=\"rcu\"} 10\n"), "{text}");
    }

    #[test]
    fn garbage_is_an_error() {
        let error = Fixture::new().file("proc/stat", "ctxt many\n").error("stat");
        assert!(error.contains("expected a number after \"ctxt\""), "{error}");
    }
}
