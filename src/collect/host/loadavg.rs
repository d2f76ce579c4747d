//! Load averages. Source: kernel `Documentation/filesystems/proc.rst`, `/proc/loadavg`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "loadavg",
    on_by_default: true,
    help: "Load averages over 1, 5 and 15 minutes.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(LoadAverage {
            path: host.paths.proc("loadavg"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct LoadAverage {
    path: PathBuf,
    files: Files,
}

impl Collector for LoadAverage {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read_one_record(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut loads = parse::fields(text).map(parse::number);
        for (name, help) in [
            ("node_load1", "Load average over 1 minute."),
            ("node_load5", "Load average over 5 minutes."),
            ("node_load15", "Load average over 15 minutes."),
        ] {
            let load = loads.next().flatten();
            let load = load.ok_or_else(|| CollectError::parsing(&self.path, "expected three numbers"))?;
            out.gauge(name, help, &[], load);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        Fixture::new().file("proc/loadavg", "0.21 0.37 0.39 1/719 19737\n").expect(
            "loadavg",
            "node_load1 0.21\n\
             node_load15 0.39\n\
             node_load5 0.37\n",
        );
    }

    #[test]
    fn truncated_and_garbage_are_errors() {
        for bad in ["", "0.21 0.37", "a b c"] {
            let error = Fixture::new().file("proc/loadavg", bad).error("loadavg");
            assert!(error.contains("expected three numbers"), "{error}");
        }
    }
}
