//! Packet processing per CPU. Source: kernel `net/core/net-procfs.c`, `/proc/net/softnet_stat`.
//!
//! A line a CPU that is online, hexadecimal columns; newer kernels add columns at the end. From 5.14
//! on the line tells its CPU; before that it is the line's number.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "softnet",
    on_by_default: true,
    help: "Packets processed, dropped and delayed by each CPU.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(SoftNet {
            path: host.paths.proc("net/softnet_stat"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct SoftNet {
    path: PathBuf,
    files: Files,
}

/// Column, family, help, type.
const COLUMNS: [(usize, &str, &str, Kind); 7] = [
    (0, "node_softnet_processed_total", "Packets processed.", Kind::Counter),
    (1, "node_softnet_dropped_total", "Packets dropped because the backlog was full.", Kind::Counter),
    (2, "node_softnet_times_squeezed_total", "Times the budget or time ran out with packets left.", Kind::Counter),
    (8, "node_softnet_cpu_collision_total", "Collisions over a device's transmit lock.", Kind::Counter),
    (9, "node_softnet_received_rps_total", "Wake-ups to take over packets of other CPUs.", Kind::Counter),
    (10, "node_softnet_flow_limit_count_total", "Times the flow limit was reached.", Kind::Counter),
    (11, "node_softnet_backlog_len", "Packets in the backlog now.", Kind::Gauge),
];

/// Column that tells the CPU.
const CPU_COLUMN: usize = 12;
/// Columns of the oldest format.
const FEWEST_COLUMNS: usize = 9;

impl Collector for SoftNet {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read_short_records(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let families = COLUMNS.map(|(_, name, help, kind)| out.family(name, help, kind));
        for (number, line) in parse::lines(text).enumerate() {
            let bad = |what: &str| CollectError::parsing(&self.path, format!("line {}: {what}", number + 1));
            let mut columns = [0; CPU_COLUMN + 1];
            let mut width = 0;
            for (column, field) in columns.iter_mut().zip(parse::fields(line)) {
                *column = parse::hexadecimal(field).ok_or_else(|| bad("hexadecimal numbers expected"))?;
                width += 1;
            }
            if width < FEWEST_COLUMNS {
                return Err(bad("at least 9 columns expected"));
            }
            let mut digits = itoa::Buffer::new();
            let cpu = match columns {
                // Both columns came with the same kernel.
                [.., cpu] if width > CPU_COLUMN => digits.format(cpu),
                _ => {
                    if let Some(backlog) = columns.get_mut(11) {
                        *backlog = 0;
                    }
                    digits.format(number)
                }
            };
            for (family, (column, ..)) in families.iter().zip(COLUMNS) {
                let value = columns.get(column).copied().unwrap_or_default();
                out.sample(*family, &[("cpu", cpu)], parse::value(value));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_of_a_new_kernel_with_an_offline_cpu() {
        let line = "0000000a 00000001 000000ff 0 0 0 0 0 00000002 00000003 00000004 00000005 0000002a 0 0\n";
        Fixture::new().file("proc/net/softnet_stat", line).expect(
            "softnet",
            r#"node_softnet_processed_total{cpu="42"} 10
            node_softnet_dropped_total{cpu="42"} 1
            node_softnet_times_squeezed_total{cpu="42"} 255
            node_softnet_cpu_collision_total{cpu="42"} 2
            node_softnet_received_rps_total{cpu="42"} 3
            node_softnet_flow_limit_count_total{cpu="42"} 4
            node_softnet_backlog_len{cpu="42"} 5"#,
        );
    }

    #[test]
    fn older_kernels_have_fewer_columns_and_no_cpu() {
        let text = Fixture::new().file("proc/net/softnet_stat", "ffffffff 0 0 0 0 0 0 0 1\n2 0 0 0 0 0 0 0 1\n");
        let text = text.samples("softnet");
        for want in [
            "node_softnet_processed_total{cpu=\"0\"} 4294967295\n",
            "node_softnet_processed_total{cpu=\"1\"} 2\n",
            "node_softnet_received_rps_total{cpu=\"1\"} 0\n",
        ] {
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn truncated_and_garbage_are_errors() {
        for bad in ["1 2 3\n", "x 0 0 0 0 0 0 0 0\n", "\n"] {
            assert!(Fixture::new().file("proc/net/softnet_stat", bad).error("softnet").contains("line 1"));
        }
    }
}
