//! Softirqs by CPU and vector. Source: kernel `Documentation/filesystems/proc.rst`, section 1.3.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "softirqs",
    on_by_default: false,
    help: "Softirqs by CPU and vector from /proc/softirqs.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(SoftIrqs {
            path: host.paths.proc("softirqs"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct SoftIrqs {
    path: PathBuf,
    files: Files,
}

impl Collector for SoftIrqs {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut lines = parse::lines(text);
        let cpus = super::interrupts::cpus(lines.next().unwrap_or_default());
        if cpus.is_empty() {
            return Err(CollectError::parsing(&self.path, "expected a header of CPUs"));
        }
        let help = "Softirqs handled, by CPU and vector.";
        let family = out.family("node_softirqs_functions_total", help, Kind::Counter);
        for line in lines {
            let Some((vector, counts)) = parse::split_once(line, b':') else { continue };
            let vector = valid_utf8(vector.trim_ascii());
            for (cpu, count) in cpus.iter().zip(parse::fields(counts)) {
                let value = parse::number(count).ok_or_else(|| {
                    CollectError::parsing(&self.path, format!("expected numbers after {vector:?}"))
                })?;
                out.sample(family, &[("cpu", cpu), ("type", &vector)], value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let text = "                    CPU0       CPU3\n          HI:          7          1\n\
                    \x20    NET_RX:      43066     104508\n";
        Fixture::new().file("proc/softirqs", text).expect(
            "softirqs",
            r#"node_softirqs_functions_total{cpu="0",type="HI"} 7
               node_softirqs_functions_total{cpu="3",type="HI"} 1
               node_softirqs_functions_total{cpu="0",type="NET_RX"} 43066
               node_softirqs_functions_total{cpu="3",type="NET_RX"} 104508"#,
        );
    }

    #[test]
    fn garbage_is_an_error() {
        for (bad, want) in [("", "header"), ("CPU0\nHI: x\n", "after \"HI\"")] {
            assert!(Fixture::new().file("proc/softirqs", bad).error("softirqs").contains(want));
        }
    }
}
