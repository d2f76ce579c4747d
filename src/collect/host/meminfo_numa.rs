//! Memory by NUMA node. Source: kernel `Documentation/ABI/stable/sysfs-devices-node`.
//!
//! Fields become families as in the collector `meminfo`, but without a unit in the name: that is how
//! node_exporter has them, in bytes all the same.

use std::path::PathBuf;

use crate::collect::field_names::{FieldName, FieldNames, memory_field};
use crate::collect::numbered::{Numbered, numbered};
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "meminfo_numa",
    on_by_default: false,
    help: "Memory statistics by NUMA node.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(MemInfoNuma {
            directory: host.paths.sys("devices/system/node"),
            files: Files::new(host.descriptors.clone()),
            sizes: FieldNames::new(|field| Some(name(&memory_field(field)))),
            counts: FieldNames::new(|field| Some(name(&format!("{field}_total")))),
        }))
    },
};

fn name(field: &str) -> FieldName {
    FieldName {
        family: format!("node_memory_numa_{field}"),
        help: format!("Field {field} of the node's meminfo or numastat."),
    }
}

struct MemInfoNuma {
    directory: PathBuf,
    files: Files,
    /// Fields of `meminfo`.
    sizes: FieldNames,
    /// Fields of `numastat`.
    counts: FieldNames,
}

impl Collector for MemInfoNuma {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        let nodes = numbered(&self.directory, "node").map_err(|e| CollectError::reading(&self.directory, e))?;
        for node in nodes {
            self.emit_memory(&node, out)?;
            self.emit_statistics(&node, out)?;
        }
        Ok(())
    }
}

impl MemInfoNuma {
    /// `Node 0 Active(anon): 12 kB`.
    fn emit_memory(&mut self, node: &Numbered, out: &mut Batch) -> Result<(), CollectError> {
        let path = node.path.join("meminfo");
        let text = self.files.read(&path).map_err(|e| CollectError::reading(&path, e))?;
        for line in parse::lines(text).filter(|l| !l.trim_ascii().is_empty()) {
            let mut fields = parse::fields(line).skip(1);
            let invalid = || {
                let line = String::from_utf8_lossy(line);
                CollectError::parsing(&path, format!("expected \"Node N field: number [kB]\", found {line:?}"))
            };
            let (Some(number), Some(field)) = (fields.next(), fields.next()) else { return Err(invalid()) };
            let value = fields.next().and_then(parse::number).ok_or_else(invalid)?;
            let factor = match (fields.next(), fields.next()) {
                (None, _) => 1.0,
                (Some(b"kB"), None) => 1024.0,
                _ => return Err(invalid()),
            };
            let Some(name) = self.sizes.get(field) else { continue };
            let family = out.family(&name.family, &name.help, Kind::Gauge);
            out.sample(family, &[("node", &*valid_utf8(number))], value * factor);
        }
        Ok(())
    }

    /// `numa_hit 193460335812`.
    fn emit_statistics(&mut self, node: &Numbered, out: &mut Batch) -> Result<(), CollectError> {
        let path = node.path.join("numastat");
        let text = self.files.read(&path).map_err(|e| CollectError::reading(&path, e))?;
        for line in parse::lines(text).filter(|l| !l.trim_ascii().is_empty()) {
            let mut fields = parse::fields(line);
            let (Some(field), Some(Some(value)), None) =
                (fields.next(), fields.next().map(parse::number), fields.next())
            else {
                let line = String::from_utf8_lossy(line);
                return Err(CollectError::parsing(&path, format!("expected \"field number\", found {line:?}")));
            };
            let Some(name) = self.counts.get(field) else { continue };
            let family = out.family(&name.family, &name.help, Kind::Counter);
            out.sample(family, &[("node", &node.number)], value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const MEMINFO: &str = "\nNode 1 MemTotal:       134217728 kB\nNode 1 Active(anon):      5 kB\n\
        Node 1 HugePages_Total:     3\n";

    #[test]
    fn golden() {
        Fixture::new()
            .file("sys/devices/system/node/node1/meminfo", MEMINFO)
            .file("sys/devices/system/node/node1/numastat", "numa_hit 193460335812\nother_node 59858626709\n")
            .expect(
                "meminfo_numa",
                r#"node_memory_numa_MemTotal{node="1"} 137438953472
                   node_memory_numa_Active_anon{node="1"} 5120
                   node_memory_numa_HugePages_Total{node="1"} 3
                   node_memory_numa_numa_hit_total{node="1"} 193460335812
                   node_memory_numa_other_node_total{node="1"} 59858626709"#,
            );
        Fixture::new().expect("meminfo_numa", "");
    }

    #[test]
    fn missing_and_garbage() {
        let node = Fixture::new().file("sys/devices/system/node/node0/meminfo", MEMINFO);
        assert!(node.error("meminfo_numa").contains("numastat"));
        for bad in ["Node 0", "Node 0 MemTotal: x kB", "Node 0 MemTotal: 1 MB"] {
            let error = Fixture::new().file("sys/devices/system/node/node0/meminfo", bad).error("meminfo_numa");
            assert!(error.contains("Node N field"), "{error}");
        }
    }
}
