//! Memory zones. Source: kernel `Documentation/filesystems/proc.rst` and `mm/vmstat.c`, `/proc/zoneinfo`.
//!
//! A node's `per-node stats` stand inside the block of its first zone and carry that zone's label.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "zoneinfo",
    on_by_default: false,
    help: "Pages of each memory zone from /proc/zoneinfo.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Zoneinfo {
            path: host.paths.proc("zoneinfo"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Zoneinfo {
    path: PathBuf,
    files: Files,
}

/// Key in the file, family, help. A family ending on `_total` is a counter.
const FIELDS: [(&[u8], &str, &str); 34] = [
    (b"nr_free_pages", "node_zoneinfo_nr_free_pages", "Free pages of the zone."),
    (b"min", "node_zoneinfo_min_pages", "Watermark below which allocation reclaims directly."),
    (b"low", "node_zoneinfo_low_pages", "Watermark below which kswapd wakes."),
    (b"high", "node_zoneinfo_high_pages", "Watermark at which kswapd sleeps."),
    (b"scanned", "node_zoneinfo_scanned_pages", "Pages scanned since the last reclaim."),
    (b"spanned", "node_zoneinfo_spanned_pages", "Pages spanned by the zone, holes included."),
    (b"present", "node_zoneinfo_present_pages", "Physical pages of the zone."),
    (b"managed", "node_zoneinfo_managed_pages", "Pages managed by the buddy allocator."),
    (b"nr_active_anon", "node_zoneinfo_nr_active_anon_pages", "Recently used anonymous pages."),
    (b"nr_inactive_anon", "node_zoneinfo_nr_inactive_anon_pages", "Less recently used anonymous pages."),
    (b"nr_isolated_anon", "node_zoneinfo_nr_isolated_anon_pages", "Anonymous pages isolated for reclaim."),
    (b"nr_anon_pages", "node_zoneinfo_nr_anon_pages", "Anonymous pages mapped."),
    (
        b"nr_anon_transparent_hugepages",
        "node_zoneinfo_nr_anon_transparent_hugepages",
        "Anonymous transparent huge pages.",
    ),
    (b"nr_active_file", "node_zoneinfo_nr_active_file_pages", "Recently used pages with a file behind."),
    (b"nr_inactive_file", "node_zoneinfo_nr_inactive_file_pages", "Less recently used pages with a file behind."),
    (b"nr_isolated_file", "node_zoneinfo_nr_isolated_file_pages", "File pages isolated for reclaim."),
    (b"nr_file_pages", "node_zoneinfo_nr_file_pages", "File pages."),
    (b"nr_slab_reclaimable", "node_zoneinfo_nr_slab_reclaimable_pages", "Reclaimable slab pages."),
    (b"nr_slab_unreclaimable", "node_zoneinfo_nr_slab_unreclaimable_pages", "Slab pages that cannot be reclaimed."),
    (b"nr_mlock_stack", "node_zoneinfo_nr_mlock_stack_pages", "Pages locked with mlock."),
    (b"nr_kernel_stack", "node_zoneinfo_nr_kernel_stacks", "Kernel stacks."),
    (b"nr_mapped", "node_zoneinfo_nr_mapped_pages", "File pages mapped."),
    (b"nr_dirty", "node_zoneinfo_nr_dirty_pages", "Dirty pages."),
    (b"nr_writeback", "node_zoneinfo_nr_writeback_pages", "Pages being written back."),
    (b"nr_unevictable", "node_zoneinfo_nr_unevictable_pages", "Pages that cannot be evicted."),
    (b"nr_shmem", "node_zoneinfo_nr_shmem_pages", "Shared memory pages."),
    (b"nr_dirtied", "node_zoneinfo_nr_dirtied_total", "Pages dirtied since boot."),
    (b"nr_written", "node_zoneinfo_nr_written_total", "Pages written since boot."),
    (b"numa_hit", "node_zoneinfo_numa_hit_total", "Pages allocated on the intended node."),
    (b"numa_miss", "node_zoneinfo_numa_miss_total", "Pages allocated here though another node was intended."),
    (b"numa_foreign", "node_zoneinfo_numa_foreign_total", "Pages intended for here but allocated elsewhere."),
    (b"numa_interleave", "node_zoneinfo_numa_interleave_total", "Interleaved pages allocated on the intended node."),
    (b"numa_local", "node_zoneinfo_numa_local_total", "Pages allocated by processes of this node."),
    (b"numa_other", "node_zoneinfo_numa_other_total", "Pages allocated by processes of other nodes."),
];

impl Collector for Zoneinfo {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut zone: Option<(String, String)> = None;
        for line in parse::lines(text) {
            if let Some(header) = line.strip_prefix(b"Node ") {
                zone = zone_of(header);
                if zone.is_none() {
                    return Err(CollectError::parsing(&self.path, "expected \"Node 0, zone Normal\""));
                }
                continue;
            }
            let Some((node, name)) = &zone else { continue };
            let labels = [("node", node.as_str()), ("zone", name.as_str())];
            let mut fields = parse::fields(line);
            let (Some(key), Some(first)) = (fields.next(), fields.next()) else { continue };
            if key == b"protection:" {
                protection(std::iter::once(first).chain(fields), &labels, out);
            } else if let Some((_, family, help)) = FIELDS.iter().find(|(k, ..)| *k == key)
                && let Some(value) = parse::number(first)
            {
                let kind = if family.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
                let family = out.family(family, help, kind);
                out.sample(family, &labels, value);
            }
        }
        Ok(())
    }
}

/// `0, zone   Normal` as node and zone.
fn zone_of(header: &[u8]) -> Option<(String, String)> {
    let (node, rest) = parse::split_once(header, b',')?;
    let name = parse::fields(rest).nth(1)?;
    Some((valid_utf8(node.trim_ascii()).into_owned(), valid_utf8(name).into_owned()))
}

/// `(0, 2871, 7986)`: one family per position.
fn protection<'a>(fields: impl Iterator<Item = &'a [u8]>, labels: &[(&str, &str)], out: &mut Batch) {
    const FAMILIES: [&str; 8] = [
        "node_zoneinfo_protection_0",
        "node_zoneinfo_protection_1",
        "node_zoneinfo_protection_2",
        "node_zoneinfo_protection_3",
        "node_zoneinfo_protection_4",
        "node_zoneinfo_protection_5",
        "node_zoneinfo_protection_6",
        "node_zoneinfo_protection_7",
    ];
    for (family, field) in FAMILIES.iter().zip(fields) {
        let digits = field.strip_prefix(b"(").unwrap_or(field);
        let digits = digits.strip_suffix(b",").or_else(|| digits.strip_suffix(b")")).unwrap_or(digits);
        if let Some(pages) = parse::number(digits) {
            out.gauge(family, "Pages held back from allocations that could use a lower zone.", labels, pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const TEXT: &str = "Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 95612
      nr_dirtied   3667
  pages free     3952
        min      33
        low      41
        protection: (0, 2877, 7826)
      nr_free_pages 3952
      nr_unheard_of 7
      numa_hit     18446744073709551615
  pagesets
    cpu: 0
              count: 0
              high:  0
Node 0, zone  Normal
        protection: (0)
";

    #[test]
    fn golden() {
        Fixture::new().file("proc/zoneinfo", TEXT).expect(
            "zoneinfo",
            r#"node_zoneinfo_low_pages{node="0",zone="DMA"} 41
               node_zoneinfo_min_pages{node="0",zone="DMA"} 33
               node_zoneinfo_nr_dirtied_total{node="0",zone="DMA"} 3667
               node_zoneinfo_nr_free_pages{node="0",zone="DMA"} 3952
               node_zoneinfo_nr_inactive_anon_pages{node="0",zone="DMA"} 95612
               node_zoneinfo_numa_hit_total{node="0",zone="DMA"} 18446744073709552000
               node_zoneinfo_protection_0{node="0",zone="DMA"} 0
               node_zoneinfo_protection_0{node="0",zone="Normal"} 0
               node_zoneinfo_protection_1{node="0",zone="DMA"} 2877
               node_zoneinfo_protection_2{node="0",zone="DMA"} 7826"#,
        );
    }

    #[test]
    fn a_broken_header_is_an_error() {
        let error = Fixture::new().file("proc/zoneinfo", "Node 0\n").error("zoneinfo");
        assert!(error.contains("expected \"Node 0, zone"), "{error}");
    }
}
