//! Hung tasks found. Source: kernel `Documentation/admin-guide/sysctl/kernel.rst`, `hung_task_detect_count`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "kernel_hung",
    on_by_default: true,
    help: "Hung tasks found by the kernel since boot.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(KernelHung {
            path: host.paths.proc("sys/kernel/hung_task_detect_count"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct KernelHung {
    path: PathBuf,
    files: Files,
}

impl Collector for KernelHung {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.attribute(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let tasks =
            parse::unsigned(text).ok_or_else(|| CollectError::parsing(&self.path, "expected a number"))?;
        let help = "Tasks found hung since boot.";
        out.counter("node_kernel_hung_tasks_total", help, &[], parse::value(tasks));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let file = "proc/sys/kernel/hung_task_detect_count";
        Fixture::new().file(file, "1\n").expect("kernel_hung", "node_kernel_hung_tasks_total 1");
        assert!(Fixture::new().file(file, "x\n").error("kernel_hung").contains("expected a number"));
        assert!(Fixture::new().error("kernel_hung").contains("no data"));
    }
}
