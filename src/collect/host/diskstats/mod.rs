//! Block devices: I/O counters and what the device is.
//!
//! Sources: kernel `Documentation/admin-guide/iostats.rst` (`/proc/diskstats`),
//! `Documentation/block/queue-sysfs.rst` (`rotational`), and udev's database (`udevadm(8)`).

use std::path::PathBuf;

use rustc_hash::FxHashMap;

use self::udev::{Properties, Udev};
use crate::collect::{
    BuildError, CollectError, Collector, Files, Flag, FlagKind, Host, NameFilter, Options, Pass, Spec, Tree,
    parse,
};
use crate::model::{Batch, FamilyId, Kind, valid_utf8};

mod udev;

pub(super) static SPEC: Spec = Spec {
    name: "diskstats",
    on_by_default: true,
    help: "I/O counters of block devices from /proc/diskstats, and device facts from udev.",
    flags: &[
        Flag {
            name: "diskstats.device-exclude",
            kind: FlagKind::Regex(r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$"),
            help: "Regular expression of block devices to leave out.",
            hidden: false,
        },
        Flag {
            name: "diskstats.device-include",
            kind: FlagKind::Regex(""),
            help: "Regular expression of block devices to expose, in place of the default exclusion.",
            hidden: false,
        },
        Flag {
            name: "diskstats.ignored-devices",
            kind: FlagKind::Regex(""),
            help: "Deprecated spelling of diskstats.device-exclude.",
            hidden: true,
        },
    ],
    build,
};

fn build(host: &Host, options: &Options) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Diskstats {
        path: host.paths.proc("diskstats"),
        stats: Files::new(host.descriptors.clone()),
        block: Tree::new(host.paths.sys("block"), host.descriptors.clone()),
        udev: Udev::new(host.paths.udev_data.clone(), host.descriptors.clone()),
        filter: NameFilter::with_default_exclude(
            "diskstats",
            options,
            "diskstats.device-include",
            "diskstats.device-exclude",
            "diskstats.ignored-devices",
        )?,
        devices: FxHashMap::default(),
        pass: 0,
    }))
}

/// Sectors of `/proc/diskstats` have this size whatever the device's own is.
const SECTOR_BYTES: f64 = 512.0;
const SECONDS_PER_MILLISECOND: f64 = 1.0 / 1000.0;

/// Name, help, type, factor; in the order of the fields after the device's name. A counter of a field
/// that an older kernel does not have is left out.
const FIELDS: [(&str, &str, Kind, f64); 17] = [
    ("node_disk_reads_completed_total", "Reads completed.", Kind::Counter, 1.0),
    ("node_disk_reads_merged_total", "Reads merged with an adjacent one.", Kind::Counter, 1.0),
    ("node_disk_read_bytes_total", "Bytes read.", Kind::Counter, SECTOR_BYTES),
    (
        "node_disk_read_time_seconds_total",
        "Seconds spent by all reads.",
        Kind::Counter,
        SECONDS_PER_MILLISECOND,
    ),
    ("node_disk_writes_completed_total", "Writes completed.", Kind::Counter, 1.0),
    ("node_disk_writes_merged_total", "Writes merged with an adjacent one.", Kind::Counter, 1.0),
    ("node_disk_written_bytes_total", "Bytes written.", Kind::Counter, SECTOR_BYTES),
    (
        "node_disk_write_time_seconds_total",
        "Seconds spent by all writes.",
        Kind::Counter,
        SECONDS_PER_MILLISECOND,
    ),
    ("node_disk_io_now", "I/Os in progress.", Kind::Gauge, 1.0),
    (
        "node_disk_io_time_seconds_total",
        "Seconds in which the device had I/O in progress.",
        Kind::Counter,
        SECONDS_PER_MILLISECOND,
    ),
    (
        "node_disk_io_time_weighted_seconds_total",
        "Seconds spent by all I/Os, the waiting ones included.",
        Kind::Counter,
        SECONDS_PER_MILLISECOND,
    ),
    ("node_disk_discards_completed_total", "Discards completed.", Kind::Counter, 1.0),
    ("node_disk_discards_merged_total", "Discards merged with an adjacent one.", Kind::Counter, 1.0),
    ("node_disk_discarded_sectors_total", "Sectors of 512 bytes discarded.", Kind::Counter, 1.0),
    (
        "node_disk_discard_time_seconds_total",
        "Seconds spent by all discards.",
        Kind::Counter,
        SECONDS_PER_MILLISECOND,
    ),
    ("node_disk_flush_requests_total", "Flush requests completed.", Kind::Counter, 1.0),
    (
        "node_disk_flush_requests_time_seconds_total",
        "Seconds spent by all flush requests.",
        Kind::Counter,
        SECONDS_PER_MILLISECOND,
    ),
];

/// A line has the device's number and name, and at least this many counters (partitions of kernels
/// before 2.6.25 have four, with another meaning).
const MIN_FIELDS: usize = 11;

struct Diskstats {
    path: PathBuf,
    stats: Files,
    block: Tree,
    udev: Udev,
    filter: NameFilter,
    devices: FxHashMap<String, Device>,
    pass: u64,
}

/// What is remembered of a device between passes.
#[derive(Default)]
struct Device {
    exposed: bool,
    major: String,
    minor: String,
    properties: Properties,
    last_pass: u64,
}

impl Collector for Diskstats {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.pass += 1;
        self.block.begin_pass();
        let text = self.stats.read_short_records(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let families = FIELDS.map(|(name, help, kind, _)| out.family(name, help, kind));
        let info = out.family("node_disk_info", "Facts about a block device; always 1.", Kind::Gauge);
        let udev = self.udev.is_there();
        for line in parse::lines(text) {
            let mut fields = parse::fields(line);
            let (Some(major), Some(minor), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let mut counters = [0; FIELDS.len()];
            let numbers = fields.map_while(parse::unsigned);
            let found = counters.iter_mut().zip(numbers).map(|(to, n)| *to = n).count();
            if found < MIN_FIELDS {
                continue;
            }
            let name = valid_utf8(name);
            if !self.devices.contains_key(&*name) {
                let exposed = self.filter.passes(&name);
                self.devices.insert(name.to_string(), Device { exposed, ..Device::default() });
            }
            let Some(device) = self.devices.get_mut(&*name) else { continue };
            device.last_pass = self.pass;
            if !device.exposed {
                continue;
            }
            set(&mut device.major, &valid_utf8(major));
            set(&mut device.minor, &valid_utf8(minor));
            if udev {
                self.udev.refresh(&device.major, &device.minor, &mut device.properties);
            } else {
                device.properties = Properties::default();
            }
            let rotational = self.block.attribute(&[&name, "queue", "rotational"]);
            let rotational = rotational.ok().and_then(parse::unsigned).map_or("0", |n| match n {
                0 => "0",
                _ => "1",
            });
            write_info(out, info, &name, device, rotational);
            for ((family, (.., factor)), counter) in families.iter().zip(&FIELDS).zip(counters).take(found) {
                out.sample(*family, &[("device", &name)], parse::value(counter) * factor);
            }
            udev::write(out, &name, &device.properties);
        }
        let pass = self.pass;
        self.devices.retain(|_, device| device.last_pass == pass);
        Ok(())
    }
}

fn set(text: &mut String, to: &str) {
    if text != to {
        to.clone_into(text);
    }
}

fn write_info(out: &mut Batch, info: FamilyId, name: &str, device: &Device, rotational: &str) {
    let properties = &device.properties;
    // SCSI_IDENT_SERIAL is what is printed on the disk; virtio disks have ID_SERIAL only.
    let serial = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"];
    let serial = serial.into_iter().map(|key| properties.get(key)).find(|v| !v.is_empty());
    let labels = [
        ("device", name),
        ("major", &device.major),
        ("minor", &device.minor),
        ("model", properties.get("ID_MODEL")),
        ("path", properties.get("ID_PATH")),
        ("revision", properties.get("ID_REVISION")),
        ("rotational", rotational),
        ("serial", serial.unwrap_or_default()),
        ("wwn", properties.get("ID_WWN")),
    ];
    out.sample(info, &labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const SDA: &str = "   8       0 sda 25354637 34367663 1003346126 18492372 28444756 11134226 505697032 63877960 0 \
                       9653880 82621804 11 22 33 44 55 66\n";

    #[test]
    fn golden() {
        Fixture::new()
            .files(&[
                ("proc/diskstats", &format!("   7       0 loop0 1 0 0 0 0 0 0 0 0 0 0\n{SDA}")),
                ("sys/block/sda/queue/rotational", "1\n"),
                (
                    "udev/b8:0",
                    "S:disk/by-id/x\nE:ID_ATA=1\nE:ID_ATA_WRITE_CACHE=1\nE:ID_ATA_WRITE_CACHE_ENABLED=0\n\
                     E:ID_ATA_ROTATION_RATE_RPM=7200\nE:ID_MODEL=MODEL_A=B\nE:ID_PATH=pci-0000:00\n\
                     E:ID_REVISION=0102\nE:ID_SERIAL=LONG\nE:ID_SERIAL_SHORT=SHORT\nE:ID_WWN=0x5000\n",
                ),
            ])
            .expect(
                "diskstats",
                r#"node_disk_ata_rotation_rate_rpm{device="sda"} 7200
                node_disk_ata_write_cache{device="sda"} 1
                node_disk_ata_write_cache_enabled{device="sda"} 0
                node_disk_discard_time_seconds_total{device="sda"} 0.044
                node_disk_discarded_sectors_total{device="sda"} 33
                node_disk_discards_completed_total{device="sda"} 11
                node_disk_discards_merged_total{device="sda"} 22
                node_disk_flush_requests_time_seconds_total{device="sda"} 0.066
                node_disk_flush_requests_total{device="sda"} 55
                node_disk_info{device="sda",major="8",minor="0",model="MODEL_A=B",path="pci-0000:00",revision="0102",rotational="1",serial="SHORT",wwn="0x5000"} 1
                node_disk_io_now{device="sda"} 0
                node_disk_io_time_seconds_total{device="sda"} 9653.880000000001
                node_disk_io_time_weighted_seconds_total{device="sda"} 82621.804
                node_disk_read_bytes_total{device="sda"} 513713216512
                node_disk_read_time_seconds_total{device="sda"} 18492.372
                node_disk_reads_completed_total{device="sda"} 25354637
                node_disk_reads_merged_total{device="sda"} 34367663
                node_disk_write_time_seconds_total{device="sda"} 63877.96
                node_disk_writes_completed_total{device="sda"} 28444756
                node_disk_writes_merged_total{device="sda"} 11134226
                node_disk_written_bytes_total{device="sda"} 258916880384"#,
            );
    }

    #[test]
    fn filesystem_and_device_mapper_facts() {
        let text = Fixture::new()
            .files(&[
                ("proc/diskstats", " 252 0 dm-0 1 2 3 4 5 6 7 8 9 10 11\n"),
                (
                    "udev/b252:0",
                    "E:DM_NAME=vg-root\nE:DM_UUID=LVM-1\nE:DM_VG_NAME=vg\nE:DM_LV_NAME=root\n\
                     E:ID_FS_TYPE=ext4\nE:ID_FS_USAGE=filesystem\nE:ID_FS_UUID=u\nE:ID_FS_VERSION=1.0\n",
                ),
            ])
            .samples("diskstats");
        for want in [
            r#"node_disk_device_mapper_info{device="dm-0",lv_layer="",lv_name="root",name="vg-root",uuid="LVM-1",vg_name="vg"} 1"#,
            r#"node_disk_filesystem_info{device="dm-0",type="ext4",usage="filesystem",uuid="u",version="1.0"} 1"#,
            r#"node_disk_info{device="dm-0",major="252",minor="0",model="",path="",revision="",rotational="0",serial="",wwn=""} 1"#,
        ] {
            assert!(text.contains(want), "{want}\n{text}");
        }
        assert!(!text.contains("discard") && !text.contains("flush"), "counters the kernel lacks: {text}");
    }

    #[test]
    fn odd_lines_are_left_out_and_full_counters_kept() {
        let line = format!("8 0 sda {}\n", ["18446744073709551615"; 25].join(" "));
        let text =
            Fixture::new().file("proc/diskstats", format!("{line}8 1 sdx 1 2 3 4\nx\n\n")).samples("diskstats");
        assert!(text.contains("node_disk_reads_completed_total{device=\"sda\"} 18446744073709552000\n"));
        assert!(!text.contains("sdx"), "{text}");
    }

    #[test]
    fn include_replaces_the_default_exclusion() {
        let fixture = || Fixture::new().file("proc/diskstats", SDA.replace("sda", "sda1"));
        assert_eq!(fixture().samples("diskstats"), "");
        assert_ne!(fixture().option("diskstats.device-include", "^sda1$").samples("diskstats"), "");
        assert_ne!(fixture().option("diskstats.device-exclude", "").samples("diskstats"), "");
        assert_eq!(
            fixture().option("diskstats.ignored-devices", "^sda").samples("diskstats"),
            "",
            "deprecated spelling"
        );
    }

    #[test]
    fn udev_changes_are_seen() {
        let fixture = Fixture::new().file("proc/diskstats", SDA).dir("udev");
        let mut collector = fixture.collector("diskstats");
        let model = |text: &str| text.contains("model=\"M\"");
        assert!(!model(&super::super::testing::run(&mut *collector).0));
        let fixture = fixture.file("udev/b8:0", "E:ID_MODEL=M\n");
        assert!(model(&super::super::testing::run(&mut *collector).0));
        std::fs::remove_file(fixture.path().join("udev/b8:0")).unwrap();
        assert!(!model(&super::super::testing::run(&mut *collector).0));
    }
}
