//! Devices of mounted btrfs file systems, asked by `ioctl(2)`: their size, what is not allocated, and the
//! error counters that sysfs does not have. Source: kernel `include/uapi/linux/btrfs.h`.

use std::fs::File;
use std::io;

use crate::collect::host::filesystem::{Mount, MountTable};
use crate::collect::os::btrfs::{self as ioctl, DevInfo, DevStats};
use crate::collect::parse;
use crate::model::{Batch, valid_utf8};

/// Highest device id that is asked for; ids are not reused, so they exceed the number of devices.
const MAX_DEVICE_ID: u64 = 4096;

/// Family and help, shared with the sizes from sysfs.
pub(super) const SIZE: (&str, &str) =
    ("node_btrfs_device_size_bytes", "Size of a device of the file system.");

/// Kinds of errors, in the kernel's order.
const ERRORS: [&str; 5] = ["write", "read", "flush", "corruption", "generation"];

/// One device of a file system.
#[derive(Debug)]
pub(super) struct DeviceStats {
    info: DevInfo,
    errors: DevStats,
}

impl DeviceStats {
    pub(super) fn write(&self, uuid: &str, out: &mut Batch) {
        let path = valid_utf8(&self.info.path);
        let device = path.rsplit('/').next().unwrap_or_default();
        let device_uuid = with_dashes(&self.info.uuid);
        let labels = [("btrfs_dev_uuid", &*device_uuid), ("device", device), ("uuid", uuid)];
        out.gauge(SIZE.0, SIZE.1, &labels, parse::value(self.info.total_bytes));
        let unused = self.info.total_bytes.saturating_sub(self.info.bytes_used);
        let help = "Part of a device that is not allocated.";
        out.gauge("node_btrfs_device_unused_bytes", help, &labels, parse::value(unused));
        for (kind, count) in ERRORS.into_iter().zip(self.errors) {
            let labels = [
                ("btrfs_dev_uuid", &*device_uuid),
                ("device", device),
                ("type", kind),
                ("uuid", uuid),
            ];
            let help = "Errors of a device since they were last reset.";
            out.counter("node_btrfs_device_errors_total", help, &labels, parse::value(count));
        }
    }
}

fn with_dashes(uuid: &[u8; 16]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut rest = uuid.as_slice();
    let groups = [4, 2, 2, 2, 6].map(|length| {
        let (group, tail) = rest.split_at_checked(length).unwrap_or_default();
        rest = tail;
        hex(group)
    });
    groups.join("-")
}

/// Finds the file systems by their mounts.
pub(super) struct DeviceReader {
    table: MountTable,
    mounts: Vec<Mount>,
}

impl DeviceReader {
    pub(super) fn new(table: MountTable) -> Self {
        Self { table, mounts: Vec::new() }
    }

    /// File system id (32 hexadecimal digits) and devices of each file system that could be asked.
    pub(super) fn read(&mut self) -> Vec<(String, Vec<DeviceStats>)> {
        if let Ok(Some(mounts)) = self.table.changed(|_, fs_type| fs_type == "btrfs") {
            self.mounts = mounts;
        }
        let mut found: Vec<(String, Vec<DeviceStats>)> = Vec::new();
        let mut done: Vec<&str> = Vec::new();
        for mount in &self.mounts {
            if done.contains(&&*mount.device) {
                continue;
            }
            match read_mount(mount, &found) {
                Ok(Some(stats)) => {
                    found.push(stats);
                    done.push(&mount.device);
                }
                // Another mount point of it may be open to us.
                Ok(None) => {}
                Err(error) => tracing::debug!(mount = mount.mount_point, %error, "btrfs ioctl"),
            }
        }
        found
    }
}

fn read_mount(
    mount: &Mount,
    found: &[(String, Vec<DeviceStats>)],
) -> io::Result<Option<(String, Vec<DeviceStats>)>> {
    let directory = File::open(&mount.path)?;
    let fs = ioctl::fs_info(&directory)?;
    let id: String = fs.fsid.iter().map(|b| format!("{b:02x}")).collect();
    if found.iter().any(|(known, _)| *known == id) {
        return Ok(None);
    }
    let mut devices = Vec::new();
    for device_id in 0..=fs.max_id.min(MAX_DEVICE_ID) {
        match ioctl::dev_info(&directory, device_id) {
            Ok(info) => devices.push(DeviceStats { info, errors: ioctl::dev_stats(&directory, device_id)? }),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some((id, devices)))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::NOW;
    use super::*;
    use crate::model::Snapshot;

    #[test]
    fn device_labels_and_values() {
        let info = DevInfo { uuid: [0xab; 16], bytes_used: 40, total_bytes: 100, path: b"/dev/mapper/x".to_vec() };
        let stats = DeviceStats { info, errors: [1, 2, 3, 4, u64::MAX] };
        let mut out = Batch::new();
        stats.write("u", &mut out);
        let snapshot = Snapshot::assemble(NOW, vec![("btrfs", out)]);
        assert_eq!((snapshot.series(), snapshot.duplicates()), (7, 0));
        let family = |name: &str| snapshot.families().find(|f| f.name() == name).unwrap();
        let size = family("node_btrfs_device_size_bytes").samples().next().unwrap();
        assert_eq!(size.labels().get("btrfs_dev_uuid"), Some("abababab-abab-abab-abab-abababababab"));
        assert_eq!((size.labels().get("device"), size.value()), (Some("x"), 100.0));
        assert_eq!(family("node_btrfs_device_unused_bytes").samples().next().unwrap().value(), 60.0);
    }

    #[test]
    fn what_is_no_btrfs_is_an_error() {
        let file = File::open("/proc/self").unwrap();
        assert!(ioctl::fs_info(&file).is_err());
    }
}
