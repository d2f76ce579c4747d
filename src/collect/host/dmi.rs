//! What the firmware says of the machine. Source: kernel `Documentation/ABI/testing/sysfs-class-dmi`
//! (`drivers/firmware/dmi-id.c`).
//!
//! Read once: it does not change while the machine runs.

use std::io;
use std::path::{Path, PathBuf};

use crate::collect::{CollectError, Collector, Files, Pass, Spec};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "dmi",
    on_by_default: true,
    help: "Vendor, product and firmware of the machine.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Dmi {
            directory: host.paths.sys("class/dmi/id"),
            files: Files::new(host.descriptors.clone()),
            facts: None,
        }))
    },
};

/// Labels; the file has the same name, but for `system_vendor`.
const FACTS: [&str; 20] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
    "system_vendor",
];

struct Dmi {
    directory: PathBuf,
    files: Files,
    facts: Option<Vec<(&'static str, String)>>,
}

impl Collector for Dmi {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let facts = match &mut self.facts {
            Some(facts) => facts,
            unread => unread.insert(read(&self.directory, &mut self.files)?),
        };
        if facts.is_empty() {
            return Err(CollectError::NoData(format!("{} does not exist", self.directory.display())));
        }
        let labels: Vec<_> = facts.iter().map(|(label, value)| (*label, value.as_str())).collect();
        out.gauge("node_dmi_info", "What the firmware says of the machine.", &labels, 1.0);
        Ok(())
    }
}

fn read(directory: &Path, files: &mut Files) -> Result<Vec<(&'static str, String)>, CollectError> {
    let mut facts = Vec::new();
    for label in FACTS {
        let path = directory.join(if label == "system_vendor" { "sys_vendor" } else { label });
        match files.read_once(&path) {
            Ok(text) => facts.push((label, valid_utf8(text.trim_ascii()).into_owned())),
            // Serial numbers and the UUID are for root only.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(e) => return Err(CollectError::reading(&path, e)),
        }
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        Fixture::new()
            .file("sys/class/dmi/id/sys_vendor", "Dell (\"I\")\n")
            .file("sys/class/dmi/id/bios_version", b" 2.2.4\xff\xfe \n")
            .file("sys/class/dmi/id/product_sku", "\n")
            .file("sys/class/dmi/id/chassis_type", "23\n")
            .expect(
                "dmi",
                "node_dmi_info{bios_version=\"2.2.4\u{fffd}\",product_sku=\"\",system_vendor=\"Dell (\\\"I\\\")\"} 1",
            );
        assert!(Fixture::new().error("dmi").contains("no data"));
    }
}
