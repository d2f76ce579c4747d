//! Btrfs file systems. Sources: kernel `fs/btrfs/sysfs.c` (`/sys/fs/btrfs/<uuid>`) and, for what only
//! `ioctl(2)` tells of devices, [`devices`].

mod devices;

use std::io;

use self::devices::{DeviceReader, DeviceStats};
use super::filesystem::MountTable;
use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "btrfs",
    on_by_default: true,
    help: "Btrfs allocation, commits and devices from /sys/fs/btrfs and device errors by ioctl.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Btrfs {
            tree: Tree::new(host.paths.sys("fs/btrfs"), host.descriptors.clone()),
            devices: DeviceReader::new(MountTable::new(host.paths.clone(), host.descriptors.clone())),
        }))
    },
};

struct Btrfs {
    tree: Tree,
    devices: DeviceReader,
}

/// Sizes in `/sys/fs/btrfs/<uuid>/devices` are in sectors of this many bytes.
const SECTOR_BYTES: f64 = 512.0;

impl Collector for Btrfs {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        let uuids = self.tree.names_if_any(&[], |name| name.contains('-'))?;
        if uuids.is_empty() {
            return Ok(());
        }
        let by_ioctl = self.devices.read();
        for uuid in uuids {
            let devices = by_ioctl.iter().find(|(id, _)| uuid.bytes().filter(|b| *b != b'-').eq(id.bytes()));
            self.file_system(&uuid, devices.map(|(_, devices)| &**devices), out)?;
        }
        Ok(())
    }
}

impl Btrfs {
    fn file_system(
        &mut self,
        uuid: &str,
        by_ioctl: Option<&[DeviceStats]>,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let label = valid_utf8(self.tree.required(&[uuid, "label"])?).into_owned();
        let labels = [("label", &*label), ("uuid", uuid)];
        out.gauge("node_btrfs_info", "Facts about the file system; always 1.", &labels, 1.0);
        let reserve = self.value(&[uuid, "allocation", "global_rsv_size"])?;
        let help = "Size of the global reserve.";
        out.gauge("node_btrfs_global_rsv_size_bytes", help, &[("uuid", uuid)], reserve);
        self.commits(uuid, out)?;
        let devices = self.tree.names_if_any(&[uuid, "devices"], |_| true)?;
        for group in ["data", "metadata", "system"] {
            self.allocation(uuid, group, devices.len(), out)?;
        }
        match by_ioctl {
            Some(stats) => stats.iter().for_each(|device| device.write(uuid, out)),
            None => {
                for device in &devices {
                    let sectors = self.value(&[uuid, "devices", device, "size"])?;
                    let labels = [("device", &**device), ("uuid", uuid)];
                    out.gauge(devices::SIZE.0, devices::SIZE.1, &labels, sectors * SECTOR_BYTES);
                }
            }
        }
        Ok(())
    }

    /// Kernels before 6.0 do not count commits; node_exporter exposes zeros then.
    fn commits(&mut self, uuid: &str, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.tree.optional(&[uuid, "commit_stats"])?.unwrap_or_default();
        for (key, name, help, kind, factor) in [
            (b"commits".as_slice(), "node_btrfs_commits_total", "Commits.", Kind::Counter, 1.0),
            (
                b"last_commit_ms",
                "node_btrfs_last_commit_seconds",
                "Duration of the last commit.",
                Kind::Gauge,
                1000.0,
            ),
            (
                b"max_commit_ms",
                "node_btrfs_max_commit_seconds",
                "Duration of the slowest commit.",
                Kind::Gauge,
                1000.0,
            ),
            (
                b"total_commit_ms",
                "node_btrfs_commit_seconds_total",
                "Duration of all commits.",
                Kind::Counter,
                1000.0,
            ),
        ] {
            let line = parse::lines(text).map(parse::fields).find_map(|mut fields| {
                if fields.next() == Some(key) { fields.next() } else { None }
            });
            let value = line.and_then(parse::number).unwrap_or(0.0);
            let family = out.family(name, help, kind);
            out.sample(family, &[("uuid", uuid)], value / factor);
        }
        Ok(())
    }

    fn allocation(
        &mut self,
        uuid: &str,
        group: &str,
        devices: usize,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let below = [uuid, "allocation", group];
        let reserved = self.value(&[uuid, "allocation", group, "bytes_reserved"])?;
        let labels = [("block_group_type", group), ("uuid", uuid)];
        out.gauge("node_btrfs_reserved_bytes", "Space reserved for this kind of data.", &labels, reserved);
        for mode in self.tree.names(&below, |_| true).unwrap_or_default() {
            let total = match self.value(&[uuid, "allocation", group, &mode, "total_bytes"]) {
                Ok(total) => total,
                // A file beside the profiles' directories.
                Err(CollectError::Io { source, .. })
                    if matches!(source.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let used = self.value(&[uuid, "allocation", group, &mode, "used_bytes"])?;
            let labels = [("block_group_type", group), ("mode", &*mode), ("uuid", uuid)];
            out.gauge("node_btrfs_used_bytes", "Space used by this kind of data.", &labels, used);
            out.gauge("node_btrfs_size_bytes", "Space allocated for this kind of data.", &labels, total);
            let help = "Bytes on disk for each byte of data.";
            out.gauge("node_btrfs_allocation_ratio", help, &labels, ratio(&mode, devices));
        }
        Ok(())
    }

    fn value(&mut self, below: &[&str]) -> Result<f64, CollectError> {
        self.tree.unsigned(below).map(parse::value)
    }
}

/// What redundancy costs in this profile.
fn ratio(mode: &str, devices: usize) -> f64 {
    let devices = parse::value(devices as u64);
    match mode {
        "single" | "raid0" => 1.0,
        "dup" | "raid1" | "raid10" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        "raid5" => devices / (devices - 1.0),
        "raid6" => devices / (devices - 2.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    fn fixture() -> Fixture {
        let groups = ["data", "metadata", "system"];
        let fixture = groups.iter().fold(Fixture::new(), |fixture, group| {
            let file = |name: &str| format!("sys/fs/btrfs/ab-cd/allocation/{group}/{name}");
            fixture
                .file(&file("bytes_reserved"), "7\n")
                .file(&file("flags"), "1\n")
                .file(&file("raid5/total_bytes"), "900\n")
                .file(&file("raid5/used_bytes"), "300\n")
        });
        fixture
            .files(&[
                ("sys/fs/btrfs/ab-cd/label", "fixture\n"),
                ("sys/fs/btrfs/ab-cd/allocation/global_rsv_size", "16777216\n"),
                ("sys/fs/btrfs/ab-cd/devices/sda/size", "100\n"),
                ("sys/fs/btrfs/ab-cd/devices/sdb/size", "200\n"),
                ("sys/fs/btrfs/ab-cd/devices/sdc/size", "300\n"),
            ])
            .dir("sys/fs/btrfs/features")
    }

    #[test]
    fn golden() {
        let commits = "commits 258051\nlast_commit_ms 1000\nmax_commit_ms 51462\ntotal_commit_ms 47836090\n";
        let text = fixture().file("sys/fs/btrfs/ab-cd/commit_stats", commits).samples("btrfs");
        for want in [
            r#"node_btrfs_info{label="fixture",uuid="ab-cd"} 1"#,
            r#"node_btrfs_global_rsv_size_bytes{uuid="ab-cd"} 16777216"#,
            r#"node_btrfs_commits_total{uuid="ab-cd"} 258051"#,
            r#"node_btrfs_last_commit_seconds{uuid="ab-cd"} 1"#,
            r#"node_btrfs_max_commit_seconds{uuid="ab-cd"} 51.462"#,
            r#"node_btrfs_commit_seconds_total{uuid="ab-cd"} 47836.09"#,
            r#"node_btrfs_reserved_bytes{block_group_type="system",uuid="ab-cd"} 7"#,
            r#"node_btrfs_used_bytes{block_group_type="data",mode="raid5",uuid="ab-cd"} 300"#,
            r#"node_btrfs_size_bytes{block_group_type="data",mode="raid5",uuid="ab-cd"} 900"#,
            r#"node_btrfs_allocation_ratio{block_group_type="metadata",mode="raid5",uuid="ab-cd"} 1.5"#,
            r#"node_btrfs_device_size_bytes{device="sdc",uuid="ab-cd"} 153600"#,
        ] {
            assert!(text.contains(&format!("{want}\n")), "{want}\n{text}");
        }
        assert_eq!(text.lines().count(), 6 + 3 * 4 + 3, "{text}");
    }

    #[test]
    fn absent_and_incomplete() {
        Fixture::new().expect("btrfs", "");
        assert!(fixture().samples("btrfs").contains("node_btrfs_commits_total{uuid=\"ab-cd\"} 0\n"));
        assert!(Fixture::new().dir("sys/fs/btrfs/ab-cd").error("btrfs").contains("label"));
    }

    #[test]
    fn ratios() {
        for (mode, devices, want) in
            [("single", 1, 1.0), ("raid10", 4, 2.0), ("raid6", 4, 2.0), ("raid1c3", 3, 3.0), ("new", 1, 0.0)]
        {
            assert!((ratio(mode, devices) - want).abs() < f64::EPSILON, "{mode}");
        }
    }
}
