//! The kernel's slab caches. Source: `slabinfo(5)`, kernel `mm/slab_common.c`, `/proc/slabinfo` version 2.1.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, NameFilter, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "slabinfo",
    on_by_default: false,
    help: "Objects and sizes of the kernel's slab caches from /proc/slabinfo (readable by root only).",
    flags: &[
        Flag {
            name: "slabinfo.slabs-include",
            kind: FlagKind::Regex(".*"),
            help: "Regular expression of slabs to include.",
            hidden: false,
        },
        Flag {
            name: "slabinfo.slabs-exclude",
            kind: FlagKind::Regex(""),
            help: "Regular expression of slabs to exclude.",
            hidden: false,
        },
    ],
    build: |host, options| {
        Ok(Box::new(Slabinfo {
            path: host.paths.proc("slabinfo"),
            files: Files::new(host.descriptors.clone()),
            filter: NameFilter::new(options, "slabinfo.slabs-include", "slabinfo.slabs-exclude"),
        }))
    },
};

struct Slabinfo {
    path: PathBuf,
    files: Files,
    filter: NameFilter,
}

/// Columns after the name.
const COLUMNS: [(&str, &str); 5] = [
    ("node_slabinfo_active_objects", "Objects of the slab that are in use."),
    ("node_slabinfo_objects", "Objects of the slab that are allocated."),
    ("node_slabinfo_object_size_bytes", "Size of an object in bytes."),
    ("node_slabinfo_objects_per_slab", "Objects in one slab."),
    ("node_slabinfo_pages_per_slab", "Pages of one slab."),
];

impl Collector for Slabinfo {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        for line in parse::lines(text) {
            if line.starts_with(b"slabinfo - version:") || line.starts_with(b"#") {
                continue;
            }
            let mut fields = parse::fields(line);
            let Some(name) = fields.next() else { continue };
            let name = valid_utf8(name);
            if !self.filter.passes(&name) {
                continue;
            }
            for (family, help) in COLUMNS {
                let value = fields.next().and_then(parse::number).ok_or_else(|| {
                    CollectError::parsing(&self.path, format!("expected five numbers after {name:?}"))
                })?;
                out.gauge(family, help, &[("slab", &name)], value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const TEXT: &str = "slabinfo - version: 2.1\n\
        # name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n\
        tw_sock_TCP 704 864 256 32 2 : tunables 0 0 0 : slabdata 27 27 0\n\
        dentry 1 2 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n";

    #[test]
    fn golden_filter_and_truncated() {
        Fixture::new().file("proc/slabinfo", TEXT).option("slabinfo.slabs-exclude", "^dentry$").expect(
            "slabinfo",
            r#"node_slabinfo_active_objects{slab="tw_sock_TCP"} 704
               node_slabinfo_object_size_bytes{slab="tw_sock_TCP"} 256
               node_slabinfo_objects_per_slab{slab="tw_sock_TCP"} 32
               node_slabinfo_objects{slab="tw_sock_TCP"} 864
               node_slabinfo_pages_per_slab{slab="tw_sock_TCP"} 2"#,
        );
        let error = Fixture::new().file("proc/slabinfo", "dentry 1 2").error("slabinfo");
        assert!(error.contains("after \"dentry\""), "{error}");
    }
}
