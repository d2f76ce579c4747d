//! XFS statistics of each mounted file system. Source: kernel `Documentation/admin-guide/xfs.rst`,
//! `fs/xfs/xfs_stats.c`, `/sys/fs/xfs/<device>/stats/stats`.

use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "xfs",
    on_by_default: true,
    help: "XFS run-time statistics from /sys/fs/xfs.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Xfs { tree: Tree::new(host.paths.sys("fs/xfs"), host.descriptors.clone()) }))
    },
};

struct Xfs {
    tree: Tree,
}

/// Family and help of one counter.
type Counter = (&'static str, &'static str);

/// A line's key, and its counters in order; those beyond are not exposed.
const LINES: [(&[u8], &[Counter]); 8] = [
    (
        b"extent_alloc",
        &[
            ("node_xfs_extent_allocation_extents_allocated_total", "Extents allocated."),
            ("node_xfs_extent_allocation_blocks_allocated_total", "Blocks allocated."),
            ("node_xfs_extent_allocation_extents_freed_total", "Extents freed."),
            ("node_xfs_extent_allocation_blocks_freed_total", "Blocks freed."),
        ],
    ),
    (
        b"abt",
        &[
            ("node_xfs_allocation_btree_lookups_total", "Lookups in the allocation B-trees."),
            ("node_xfs_allocation_btree_compares_total", "Compares in the allocation B-trees."),
            ("node_xfs_allocation_btree_records_inserted_total", "Records inserted into the allocation B-trees."),
            ("node_xfs_allocation_btree_records_deleted_total", "Records deleted from the allocation B-trees."),
        ],
    ),
    (
        b"blk_map",
        &[
            ("node_xfs_block_mapping_reads_total", "Block maps for reads."),
            ("node_xfs_block_mapping_writes_total", "Block maps for writes."),
            ("node_xfs_block_mapping_unmaps_total", "Block unmaps."),
            ("node_xfs_block_mapping_extent_list_insertions_total", "Insertions into extent lists."),
            ("node_xfs_block_mapping_extent_list_deletions_total", "Deletions from extent lists."),
            ("node_xfs_block_mapping_extent_list_lookups_total", "Lookups in extent lists."),
            ("node_xfs_block_mapping_extent_list_compares_total", "Compares in extent lists."),
        ],
    ),
    (
        b"bmbt",
        &[
            ("node_xfs_block_map_btree_lookups_total", "Lookups in the block map B-trees."),
            ("node_xfs_block_map_btree_compares_total", "Compares in the block map B-trees."),
            ("node_xfs_block_map_btree_records_inserted_total", "Records inserted into the block map B-trees."),
            ("node_xfs_block_map_btree_records_deleted_total", "Records deleted from the block map B-trees."),
        ],
    ),
    (
        b"dir",
        &[
            ("node_xfs_directory_operation_lookup_total", "Directory lookups that missed the name cache."),
            ("node_xfs_directory_operation_create_total", "Directory entries created."),
            ("node_xfs_directory_operation_remove_total", "Directory entries removed."),
            ("node_xfs_directory_operation_getdents_total", "Directory listings."),
        ],
    ),
    (
        b"ig",
        &[
            ("node_xfs_inode_operation_attempts_total", "Inodes looked for in the inode cache."),
            ("node_xfs_inode_operation_found_total", "Inodes found in the inode cache."),
            ("node_xfs_inode_operation_recycled_total", "Inodes found while being reclaimed."),
            ("node_xfs_inode_operation_missed_total", "Inodes not found in the inode cache."),
            ("node_xfs_inode_operation_duplicates_total", "Inodes another thread put into the cache first."),
            ("node_xfs_inode_operation_reclaims_total", "Inodes reclaimed from the inode cache."),
            ("node_xfs_inode_operation_attribute_changes_total", "Changes of inode attributes."),
        ],
    ),
    (
        b"rw",
        &[
            ("node_xfs_write_calls_total", "Writes to files."),
            ("node_xfs_read_calls_total", "Reads from files."),
        ],
    ),
    (
        b"vnodes",
        &[
            ("node_xfs_vnode_active_total", "Vnodes not on free lists."),
            ("node_xfs_vnode_allocate_total", "Vnode allocations."),
            ("node_xfs_vnode_get_total", "Vnode gets."),
            ("node_xfs_vnode_hold_total", "Vnode holds."),
            ("node_xfs_vnode_release_total", "Vnode releases."),
            ("node_xfs_vnode_reclaim_total", "Vnode reclaims."),
            ("node_xfs_vnode_remove_total", "Vnode removals."),
        ],
    ),
];

impl Collector for Xfs {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        // `stats` is the sum over all file systems, and has no `stats/stats` below it.
        for device in self.tree.names_if_any(&[], |name| name != "stats")? {
            let below = [&*device, "stats", "stats"];
            let Some(text) = self.tree.optional(&below)? else { continue };
            if !write(out, &device, text) {
                return Err(self.tree.malformed(&below, "expected numbers"));
            }
        }
        Ok(())
    }
}

/// Whether every number was one.
fn write(out: &mut Batch, device: &str, text: &[u8]) -> bool {
    for line in parse::lines(text) {
        let mut fields = parse::fields(line);
        let key = fields.next().unwrap_or_default();
        let Some((_, counters)) = LINES.iter().find(|(k, _)| *k == key) else { continue };
        for ((family, help), value) in counters.iter().zip(fields) {
            let Some(value) = parse::unsigned(value) else { return false };
            let family = out.family(family, help, Kind::Counter);
            out.sample(family, &[("device", device)], parse::value(value));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const STATS: &str = "extent_alloc 1 2 3 4\nabt 5 6 7 8\nblk_map 9 10 11 12 13 14 15\nbmbt 16 17 18 19\n\
        dir 20 21 22 23\ntrans 4 1 0\nig 24 25 26 27 28 29 30\nlog 1 2 3\nrw 31 32\nattr 0 0 0 0\n\
        vnodes 33 34 35 36 37 38 39 40\nbuf 1 2\nxpc 1 18446744073709551615 3\ndebug 0\n";

    #[test]
    fn all_counters_of_each_file_system() {
        let fixture = Fixture::new()
            .files(&[("sys/fs/xfs/sda1/stats/stats", STATS), ("sys/fs/xfs/stats/stats", STATS)])
            .dir("sys/fs/xfs/sdb1");
        let text = fixture.samples("xfs");
        assert_eq!(text.lines().count(), 39, "{text}");
        for (family, value) in [
            ("extent_allocation_extents_allocated", 1),
            ("extent_allocation_blocks_freed", 4),
            ("allocation_btree_records_deleted", 8),
            ("block_mapping_unmaps", 11),
            ("block_mapping_extent_list_compares", 15),
            ("block_map_btree_lookups", 16),
            ("directory_operation_getdents", 23),
            ("inode_operation_missed", 27),
            ("inode_operation_attribute_changes", 30),
            ("write_calls", 31),
            ("read_calls", 32),
            ("vnode_active", 33),
            ("vnode_remove", 39),
        ] {
            let want = format!("node_xfs_{family}_total{{device=\"sda1\"}} {value}\n");
            assert!(text.contains(&want), "{want}{text}");
        }
        fixture.expect("xfs", &text);
    }

    #[test]
    fn absent_short_and_garbage() {
        Fixture::new().expect("xfs", "");
        let fixture = |text| Fixture::new().file("sys/fs/xfs/a/stats/stats", text);
        fixture("rw 1\nnew 1 2\n").expect("xfs", "node_xfs_write_calls_total{device=\"a\"} 1");
        assert!(fixture("rw x\n").error("xfs").contains("expected numbers"));
    }
}
