//! Kernel samepage merging. Source: kernel `Documentation/admin-guide/mm/ksm.rst`, `/sys/kernel/mm/ksm`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "ksmd",
    on_by_default: false,
    help: "Kernel samepage merging from /sys/kernel/mm/ksm.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Ksmd {
            paths: FILES.iter().map(|(file, ..)| host.paths.sys("kernel/mm/ksm").join(file)).collect(),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Ksmd {
    paths: Vec<PathBuf>,
    files: Files,
}

/// File, family, help, and what the file's number is divided by.
const FILES: [(&str, &str, &str, f64); 9] = [
    ("full_scans", "node_ksmd_full_scans_total", "Times all mergeable areas have been scanned.", 1.0),
    ("merge_across_nodes", "node_ksmd_merge_across_nodes", "Whether pages of all NUMA nodes are merged.", 1.0),
    ("pages_shared", "node_ksmd_pages_shared", "Shared pages in use.", 1.0),
    ("pages_sharing", "node_ksmd_pages_sharing", "Sites that share them: how much is saved.", 1.0),
    ("pages_to_scan", "node_ksmd_pages_to_scan", "Pages scanned before ksmd sleeps.", 1.0),
    ("pages_unshared", "node_ksmd_pages_unshared", "Unique pages checked repeatedly for merging.", 1.0),
    ("pages_volatile", "node_ksmd_pages_volatile", "Pages that change too fast to be merged.", 1.0),
    ("run", "node_ksmd_run", "Whether ksmd is stopped (0), runs (1) or unmerges (2).", 1.0),
    ("sleep_millisecs", "node_ksmd_sleep_seconds", "Seconds ksmd sleeps between scans.", 1000.0),
];

impl Collector for Ksmd {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        for ((_, family, help, divisor), path) in FILES.iter().zip(&self.paths) {
            let text = self.files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
            let value = parse::number(text).ok_or_else(|| CollectError::parsing(path, "expected a number"))?;
            let kind = if family.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
            let family = out.family(family, help, kind);
            out.sample(family, &[], value / divisor);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let mut fixture = Fixture::new();
        for (i, (file, ..)) in super::FILES.iter().enumerate() {
            fixture = fixture.file(&format!("sys/kernel/mm/ksm/{file}"), format!("{}\n", i + 1));
        }
        fixture.expect(
            "ksmd",
            "node_ksmd_full_scans_total 1\nnode_ksmd_merge_across_nodes 2\nnode_ksmd_pages_shared 3
             node_ksmd_pages_sharing 4\nnode_ksmd_pages_to_scan 5\nnode_ksmd_pages_unshared 6
             node_ksmd_pages_volatile 7\nnode_ksmd_run 8\nnode_ksmd_sleep_seconds 0.009",
        );
    }

    #[test]
    fn a_kernel_without_ksm_has_no_data() {
        assert!(Fixture::new().error("ksmd").starts_with("no data"));
    }
}
