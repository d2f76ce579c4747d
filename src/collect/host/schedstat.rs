//! Scheduler statistics per CPU. Source: kernel `Documentation/scheduler/sched-stats.rst`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "schedstat",
    on_by_default: true,
    help: "Time tasks ran and waited on each CPU, from /proc/schedstat.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(SchedStat {
            path: host.paths.proc("schedstat"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct SchedStat {
    path: PathBuf,
    files: Files,
}

/// Columns after the name of the CPU that count calls of the scheduler.
const CALL_COUNTS: usize = 6;

/// The columns after those: family, help, divisor.
const COLUMNS: [(&str, &str, f64); 3] = [
    ("node_schedstat_running_seconds_total", "Seconds tasks ran on the CPU.", 1e9),
    ("node_schedstat_waiting_seconds_total", "Seconds tasks waited to run on the CPU.", 1e9),
    ("node_schedstat_timeslices_total", "Time slices run on the CPU.", 1.0),
];

impl Collector for SchedStat {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let families = COLUMNS.map(|(name, help, _)| out.family(name, help, Kind::Counter));
        for line in parse::lines(text) {
            let mut fields = parse::fields(line);
            // `domain` lines follow each CPU on machines with several.
            let Some(cpu) = fields.next().and_then(|f| f.strip_prefix(b"cpu")) else { continue };
            let cpu = valid_utf8(cpu);
            let mut columns = fields.skip(CALL_COUNTS);
            for ((.., divisor), family) in COLUMNS.iter().zip(families) {
                let value = columns.next().and_then(parse::number).ok_or_else(|| {
                    CollectError::parsing(&self.path, format!("expected nine numbers for CPU {cpu}"))
                })?;
                out.sample(family, &[("cpu", &cpu)], value / divisor);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_with_domains_and_an_offline_cpu() {
        let text = "version 15\ntimestamp 15819019232\n\
            cpu0 498494191 0 3533438552 2553969831 3853684107 2465731542 2045936778163039 343796328169361 4767485306\n\
            domain0 00000000,00000003 212499247 210112015\n\
            cpu2 0 0 0 0 0 0 1904686152592476 364107263788241 5145567945\n";
        Fixture::new().file("proc/schedstat", text).expect(
            "schedstat",
            r#"node_schedstat_running_seconds_total{cpu="0"} 2045936.778163039
               node_schedstat_running_seconds_total{cpu="2"} 1904686.152592476
               node_schedstat_timeslices_total{cpu="0"} 4767485306
               node_schedstat_timeslices_total{cpu="2"} 5145567945
               node_schedstat_waiting_seconds_total{cpu="0"} 343796.328169361
               node_schedstat_waiting_seconds_total{cpu="2"} 364107.263788241"#,
        );
    }

    #[test]
    fn missing_and_truncated() {
        assert!(Fixture::new().error("schedstat").contains("no data"));
        let error = Fixture::new().file("proc/schedstat", "cpu0 1 2 3\n").error("schedstat");
        assert!(error.contains("nine numbers for CPU 0"), "{error}");
    }
}
