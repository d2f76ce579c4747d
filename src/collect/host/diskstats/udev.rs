//! udev's record of a block device: `b<major>:<minor>`, lines `E:KEY=value` (`udevadm(8)`).
//!
//! udev replaces a record by renaming a new file over it, so a record is read again only when its
//! inode, time or length has changed.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::collect::{DescriptorBudget, Files, parse};
use crate::model::{Batch, valid_utf8};

/// udev property, family, help.
const ATA: [(&str, &str, &str); 3] = [
    ("ID_ATA_WRITE_CACHE", "node_disk_ata_write_cache", "Whether the ATA disk has a write cache."),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        "node_disk_ata_write_cache_enabled",
        "Whether the ATA disk's write cache is enabled.",
    ),
    (
        "ID_ATA_ROTATION_RATE_RPM",
        "node_disk_ata_rotation_rate_rpm",
        "Rotations per minute of the ATA disk; 0 for one that does not rotate.",
    ),
];

/// The properties that are exposed; others are not kept.
const EXPOSED: [&str; 20] = [
    "DM_LV_LAYER",
    "DM_LV_NAME",
    "DM_NAME",
    "DM_UUID",
    "DM_VG_NAME",
    "ID_ATA",
    "ID_ATA_ROTATION_RATE_RPM",
    "ID_ATA_WRITE_CACHE",
    "ID_ATA_WRITE_CACHE_ENABLED",
    "ID_FS_TYPE",
    "ID_FS_USAGE",
    "ID_FS_UUID",
    "ID_FS_VERSION",
    "ID_MODEL",
    "ID_PATH",
    "ID_REVISION",
    "ID_SERIAL",
    "ID_SERIAL_SHORT",
    "ID_WWN",
    "SCSI_IDENT_SERIAL",
];

/// A device's properties as last read.
#[derive(Debug, Default)]
pub(super) struct Properties {
    values: Vec<(&'static str, String)>,
    /// Inode, modification time in seconds and nanoseconds, length.
    version: Option<(u64, i64, i64, u64)>,
}

impl Properties {
    /// The value, or "" if the device does not have the property.
    pub(super) fn get(&self, key: &str) -> &str {
        self.values.iter().rfind(|(k, _)| *k == key).map_or("", |(_, value)| value)
    }
}

/// udev's database.
#[derive(Debug)]
pub(super) struct Udev {
    directory: PathBuf,
    path: PathBuf,
    files: Files,
}

impl Udev {
    pub(super) fn new(directory: PathBuf, descriptors: Arc<DescriptorBudget>) -> Self {
        Self { directory, path: PathBuf::new(), files: Files::new(descriptors) }
    }

    /// Whether the machine has the database at all; containers often do not.
    pub(super) fn is_there(&self) -> bool {
        self.directory.is_dir()
    }

    /// Brings `properties` up to date.
    pub(super) fn refresh(&mut self, major: &str, minor: &str, properties: &mut Properties) {
        let path = self.path.as_mut_os_string();
        path.clear();
        for part in [self.directory.as_os_str(), "/b".as_ref(), major.as_ref(), ":".as_ref(), minor.as_ref()] {
            path.push(part);
        }
        let version = std::fs::metadata(&self.path).ok();
        let version = version.map(|m| (m.ino(), m.mtime(), m.mtime_nsec(), m.len()));
        if version == properties.version {
            return;
        }
        properties.values.clear();
        properties.version = None;
        let Ok(text) = self.files.read_once(&self.path) else { return };
        properties.version = version;
        for (key, value) in parse::lines(text).filter_map(property) {
            if let Some(key) = EXPOSED.iter().find(|k| k.as_bytes() == key) {
                properties.values.push((key, valid_utf8(value).into_owned()));
            }
        }
    }
}

fn property(line: &[u8]) -> Option<(&[u8], &[u8])> {
    parse::split_once(line.strip_prefix(b"E:")?, b'=')
}

/// Writes the families that only some devices have.
pub(super) fn write(out: &mut Batch, device: &str, properties: &Properties) {
    let get = |key| properties.get(key);
    if !get("ID_FS_TYPE").is_empty() {
        let labels = [
            ("device", device),
            ("type", get("ID_FS_TYPE")),
            ("usage", get("ID_FS_USAGE")),
            ("uuid", get("ID_FS_UUID")),
            ("version", get("ID_FS_VERSION")),
        ];
        let help = "The file system on a block device; always 1.";
        out.gauge("node_disk_filesystem_info", help, &labels, 1.0);
    }
    if !get("DM_NAME").is_empty() {
        let labels = [
            ("device", device),
            ("name", get("DM_NAME")),
            ("uuid", get("DM_UUID")),
            ("vg_name", get("DM_VG_NAME")),
            ("lv_name", get("DM_LV_NAME")),
            ("lv_layer", get("DM_LV_LAYER")),
        ];
        out.gauge("node_disk_device_mapper_info", "Facts about a mapped device; always 1.", &labels, 1.0);
    }
    if !get("ID_ATA").is_empty() {
        for (key, family, help) in ATA {
            if let Some(value) = parse::number(get(key).as_bytes()) {
                out.gauge(family, help, &[("device", device)], value);
            }
        }
    }
}
