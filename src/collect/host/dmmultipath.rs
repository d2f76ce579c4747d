//! Multipath devices of the device mapper. Source: kernel `Documentation/ABI/testing/sysfs-block-dm`;
//! a device is multipath when its UUID starts with `mpath-`.

use std::path::Path;

use crate::collect::devices::Devices;
use crate::collect::directory::names_or_none;
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "dmmultipath",
    on_by_default: true,
    help: "Multipath devices and the state of their paths from /sys/block/dm-*.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Multipath {
            block: Devices::new(host, host.paths.sys("block")),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Multipath {
    block: Devices,
    files: Files,
}

const SECTOR_BYTES: f64 = 512.0;

impl Collector for Multipath {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        let names = self.block.names(pass);
        for name in &*names.map_err(|e| CollectError::reading(self.block.directory(), e))? {
            if name.starts_with("dm-") {
                let path = self.block.directory().join(name);
                self.device(&path, name, out);
            }
        }
        Ok(())
    }
}

impl Multipath {
    fn device(&mut self, path: &Path, sysfs_name: &str, out: &mut Batch) {
        let Some(uuid) = self.text(&path.join("dm/uuid")).filter(|u| u.starts_with("mpath-")) else { return };
        let device = self.text(&path.join("dm/name")).unwrap_or_default();
        let labels = [("device", device.as_str()), ("sysfs_name", sysfs_name), ("uuid", uuid.as_str())];
        out.gauge("node_dmmultipath_device_info", "Facts about the device; always 1.", &labels, 1.0);
        let (labels, _) = labels.split_at(2);
        let suspended = self.number(&path.join("dm/suspended")).is_some_and(|n| n != 0.0);
        let help = "Whether the device is active, not suspended.";
        out.gauge("node_dmmultipath_device_active", help, labels, f64::from(u8::from(!suspended)));
        let sectors = self.number(&path.join("size")).unwrap_or_default();
        let help = "Size of the device in bytes.";
        out.gauge("node_dmmultipath_device_size_bytes", help, labels, sectors * SECTOR_BYTES);

        let (mut paths, mut active) = (0_u32, 0_u32);
        for slave in names_or_none(&path.join("slaves")) {
            let state = self.text(&path.join("slaves").join(&slave).join("device/state"));
            let state = state.unwrap_or_else(|| "unknown".to_owned());
            paths += 1;
            // SCSI calls a working path running, NVMe live.
            active += u32::from(state == "running" || state == "live");
            let labels = [("device", device.as_str()), ("path", slave.as_str()), ("state", state.as_str())];
            out.gauge("node_dmmultipath_path_state", "State of the path, as a label; always 1.", &labels, 1.0);
        }
        for (family, help, count) in [
            ("node_dmmultipath_device_paths", "Paths of the device.", paths),
            ("node_dmmultipath_device_paths_active", "Paths that are running (SCSI) or live (NVMe).", active),
            ("node_dmmultipath_device_paths_failed", "Paths in any other state.", paths - active),
        ] {
            out.gauge(family, help, labels, f64::from(count));
        }
    }

    fn text(&mut self, path: &Path) -> Option<String> {
        Some(valid_utf8(self.files.attribute(path).ok()?).into_owned())
    }

    fn number(&mut self, path: &Path) -> Option<f64> {
        parse::number(self.files.attribute(path).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        Fixture::new()
            .files(&[
                ("sys/block/sda/size", "1\n"),
                ("sys/block/dm-0/dm/uuid", "LVM-abc\n"),
                ("sys/block/dm-5/dm/uuid", "mpath-3600508b400105e21\n"),
                ("sys/block/dm-5/dm/name", "mpathA\n"),
                ("sys/block/dm-5/dm/suspended", "0\n"),
                ("sys/block/dm-5/size", "4\n"),
                ("sys/block/dm-5/slaves/sdb/device/state", "running\n"),
                ("sys/block/dm-5/slaves/sdc/device/state", "transport-offline\n"),
            ])
            .expect(
                "dmmultipath",
                r#"node_dmmultipath_device_active{device="mpathA",sysfs_name="dm-5"} 1
                   node_dmmultipath_device_info{device="mpathA",sysfs_name="dm-5",uuid="mpath-3600508b400105e21"} 1
                   node_dmmultipath_device_paths_active{device="mpathA",sysfs_name="dm-5"} 1
                   node_dmmultipath_device_paths_failed{device="mpathA",sysfs_name="dm-5"} 1
                   node_dmmultipath_device_paths{device="mpathA",sysfs_name="dm-5"} 2
                   node_dmmultipath_device_size_bytes{device="mpathA",sysfs_name="dm-5"} 2048
                   node_dmmultipath_path_state{device="mpathA",path="sdb",state="running"} 1
                   node_dmmultipath_path_state{device="mpathA",path="sdc",state="transport-offline"} 1"#,
            );
    }
}
