//! Memory, every line of `/proc/meminfo`. Source: kernel `Documentation/filesystems/proc.rst`.
//!
//! A field becomes a family of its own, so that one the kernel adds tomorrow is exposed tomorrow:
//! `Active(anon): 12 kB` is `node_memory_Active_anon_bytes 12288`.

use std::path::PathBuf;

use crate::collect::field_names::{FieldName, FieldNames, memory_field};
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "meminfo",
    on_by_default: true,
    help: "Memory statistics, every field of /proc/meminfo.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(MemInfo {
            path: host.paths.proc("meminfo"),
            files: Files::new(host.descriptors.clone()),
            sizes: FieldNames::new(|field| Some(name(field, "_bytes"))),
            counts: FieldNames::new(|field| Some(name(field, ""))),
        }))
    },
};

fn name(field: &str, unit: &str) -> FieldName {
    let name = memory_field(field);
    FieldName { family: format!("node_memory_{name}{unit}"), help: format!("Field {name} of /proc/meminfo.") }
}

struct MemInfo {
    path: PathBuf,
    files: Files,
    /// Fields with the unit kB.
    sizes: FieldNames,
    /// Fields without a unit: huge pages.
    counts: FieldNames,
}

impl Collector for MemInfo {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read_one_record(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        for line in parse::lines(text) {
            let mut fields = parse::fields(line);
            // CentOS 6 kernels print empty lines now and then.
            let Some(field) = fields.next() else { continue };
            let invalid = || {
                let line = String::from_utf8_lossy(line);
                CollectError::parsing(&self.path, format!("expected \"field: number [kB]\", found {line:?}"))
            };
            let value = fields.next().and_then(parse::number).ok_or_else(invalid)?;
            let (names, factor) = match (fields.next(), fields.next()) {
                (None, _) => (&mut self.counts, 1.0),
                (Some(_), None) => (&mut self.sizes, 1024.0),
                _ => return Err(invalid()),
            };
            let Some(name) = names.get(field) else { continue };
            let kind = if name.family.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
            let family = out.family(&name.family, &name.help, kind);
            out.sample(family, &[], value * factor);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let text = "MemTotal:        3742148 kB\nActive(anon):     18446744073709551615 kB\n\n\
                    HugePages_Total:       8\nDirectMap4k:      112640 kB\nSomethingNew:  1 kB\n";
        Fixture::new().file("proc/meminfo", text).expect(
            "meminfo",
            "node_memory_MemTotal_bytes 3831959552
             node_memory_Active_anon_bytes 18889465931478580000000
             node_memory_HugePages_Total 8
             node_memory_DirectMap4k_bytes 115343360
             node_memory_SomethingNew_bytes 1024",
        );
    }

    #[test]
    fn garbage_is_an_error_and_odd_names_are_left_out() {
        for bad in ["MemTotal:", "MemTotal: x kB", "MemTotal: 1 kB more"] {
            assert!(Fixture::new().file("proc/meminfo", bad).error("meminfo").contains("field: number"));
        }
        Fixture::new().file("proc/meminfo", b"a-b: 1 kB\n\xff: 1 kB\nB: 1 kB\n").expect(
            "meminfo",
            "node_memory_B_bytes 1024",
        );
        assert!(Fixture::new().error("meminfo").contains("does not exist"));
    }
}
