//! Control group controllers. Source: kernel `Documentation/admin-guide/cgroup-v1/cgroups.rst`, `/proc/cgroups`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "cgroups",
    on_by_default: false,
    help: "Number of control groups of each controller from /proc/cgroups.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Cgroups { path: host.paths.proc("cgroups"), files: Files::new(host.descriptors.clone()) }))
    },
};

struct Cgroups {
    path: PathBuf,
    files: Files,
}

impl Collector for Cgroups {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        for line in parse::lines(text).filter(|l| !l.starts_with(b"#")) {
            let mut fields = parse::fields(line);
            let Some(name) = fields.next() else { continue };
            let name = valid_utf8(name);
            let mut numbers = fields.skip(1).map(parse::number);
            let (Some(Some(groups)), Some(Some(enabled))) = (numbers.next(), numbers.next()) else {
                return Err(CollectError::parsing(&self.path, format!("expected four columns for {name:?}")));
            };
            let labels = [("subsys_name", &*name)];
            out.gauge("node_cgroups_cgroups", "Control groups of the controller.", &labels, groups);
            out.gauge("node_cgroups_enabled", "Whether the controller is enabled.", &labels, enabled);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_and_garbage() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t5\t47\t1\nhugetlb\t0\t1\t0\n";
        Fixture::new().file("proc/cgroups", text).expect(
            "cgroups",
            r#"node_cgroups_cgroups{subsys_name="cpuset"} 47
               node_cgroups_cgroups{subsys_name="hugetlb"} 1
               node_cgroups_enabled{subsys_name="cpuset"} 1
               node_cgroups_enabled{subsys_name="hugetlb"} 0"#,
        );
        let error = Fixture::new().file("proc/cgroups", "cpu 1 x 1\n").error("cgroups");
        assert!(error.contains("four columns for \"cpu\""), "{error}");
    }
}
