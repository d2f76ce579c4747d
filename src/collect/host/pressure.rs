//! Pressure stall information. Source: kernel `Documentation/accounting/psi.rst`.

use std::io;
use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "pressure",
    on_by_default: true,
    help: "Time that tasks waited for CPU, memory and IO.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Pressure {
            paths: RESOURCES.map(|r| host.paths.proc("pressure").join(r.file)),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

/// A file, and name and help of the family of its line `some` and of its line `full`.
struct Resource {
    file: &'static str,
    some: Option<(&'static str, &'static str)>,
    full: Option<(&'static str, &'static str)>,
}

/// `full` has no meaning for CPUs on the whole system; interrupts have `full` only.
const RESOURCES: [Resource; 4] = [
    Resource {
        file: "cpu",
        some: Some(("node_pressure_cpu_waiting_seconds_total", "Seconds in which some task waited for a CPU.")),
        full: None,
    },
    Resource {
        file: "io",
        some: Some(("node_pressure_io_waiting_seconds_total", "Seconds in which some task waited for IO.")),
        full: Some(("node_pressure_io_stalled_seconds_total", "Seconds in which all tasks waited for IO.")),
    },
    Resource {
        file: "memory",
        some: Some((
            "node_pressure_memory_waiting_seconds_total",
            "Seconds in which some task waited for memory.",
        )),
        full: Some(("node_pressure_memory_stalled_seconds_total", "Seconds in which all tasks waited for memory.")),
    },
    Resource {
        file: "irq",
        some: None,
        full: Some(("node_pressure_irq_stalled_seconds_total", "Seconds in which interrupts stalled all tasks.")),
    },
];

/// Seconds of microseconds, divided twice as node_exporter does: dividing once rounds to other last digits.
fn seconds(microseconds: u64) -> f64 {
    parse::value(microseconds) / 1e3 / 1e3
}

struct Pressure {
    paths: [PathBuf; RESOURCES.len()],
    files: Files,
}

impl Collector for Pressure {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut found = false;
        for (path, resource) in self.paths.iter().zip(&RESOURCES) {
            let text = match self.files.read_short_records(path) {
                Ok(text) => text,
                Err(e) if is_unavailable(&e) => continue,
                Err(e) => return Err(CollectError::reading(path, e)),
            };
            found = true;
            for (line, family) in [(b"some", resource.some), (b"full", resource.full)] {
                let Some((name, help)) = family else { continue };
                let total = total_us(text, line).ok_or_else(|| {
                    let line = String::from_utf8_lossy(line);
                    CollectError::parsing(path, format!("expected a line \"{line} ... total=N\""))
                })?;
                out.counter(name, help, &[], seconds(total));
            }
        }
        if found { Ok(()) } else { Err(CollectError::NoData("the kernel keeps no pressure information".to_owned())) }
    }
}

/// Missing before Linux 4.20 (`irq`: 6.1); `EOPNOTSUPP` when switched off on the kernel's command line.
fn is_unavailable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn total_us(text: &[u8], line: &[u8]) -> Option<u64> {
    let mut fields = parse::lines(text)
        .map(parse::fields)
        .find_map(|mut fields| (fields.next() == Some(line)).then_some(fields))?;
    fields.find_map(|f| f.strip_prefix(b"total=")).and_then(parse::unsigned)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const BOTH: &str = "some avg10=0.10 avg60=2.00 avg300=3.85 total=15000000\n\
        full avg10=0.20 avg60=3.00 avg300=4.95 total=20500000\n";

    #[test]
    fn golden() {
        Fixture::new()
            .files(&[("proc/pressure/cpu", BOTH), ("proc/pressure/io", BOTH), ("proc/pressure/memory", BOTH)])
            .file("proc/pressure/irq", "full avg10=0.00 avg60=0.00 avg300=0.00 total=8494\n")
            .expect(
                "pressure",
                "node_pressure_cpu_waiting_seconds_total 15
                 node_pressure_io_stalled_seconds_total 20.5
                 node_pressure_io_waiting_seconds_total 15
                 node_pressure_irq_stalled_seconds_total 0.008494
                 node_pressure_memory_stalled_seconds_total 20.5
                 node_pressure_memory_waiting_seconds_total 15",
            );
    }

    #[test]
    fn missing_and_garbage() {
        assert!(Fixture::new().error("pressure").contains("no data"));
        Fixture::new()
            .file("proc/pressure/cpu", BOTH)
            .expect("pressure", "node_pressure_cpu_waiting_seconds_total 15");
        for bad in ["", "some avg10=0.10\n", "some total=x\n"] {
            let error = Fixture::new().file("proc/pressure/cpu", bad).error("pressure");
            assert!(error.contains("total=N"), "{error}");
        }
    }
}
