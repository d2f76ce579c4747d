//! Names of block devices by their numbers. Source: the kernel's `ABI/testing/sysfs-dev`.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

/// Most devices that are remembered.
const MOST_DEVICES: usize = 4096;

/// Names that were looked up.
#[derive(Debug)]
pub(super) struct Devices {
    base: PathBuf,
    names: FxHashMap<(u32, u32), String>,
    /// How many devices the kernel had announced when they were.
    announced: Option<u64>,
}

impl Devices {
    pub(super) fn new(sysfs: &Path) -> Self {
        Self { base: sysfs.join("dev/block"), names: FxHashMap::default(), announced: None }
    }

    /// What was looked up stands until the kernel announces some device, which may have the number of one that is gone;
    /// where that is not told, for one pass.
    pub(super) fn begin_pass(&mut self, announced: Option<u64>) {
        if announced.is_none() || announced != self.announced {
            self.names.clear();
        }
        self.announced = announced;
    }

    /// Looks a device up, if it was not.
    pub(super) fn look_up(&mut self, major: u32, minor: u32) {
        if self.names.contains_key(&(major, minor)) {
            return;
        }
        if self.names.len() >= MOST_DEVICES {
            self.names.clear();
        }
        let number = format!("{major}:{minor}");
        let link = std::fs::read_link(self.base.join(&number)).ok();
        let name = link.as_deref().and_then(Path::file_name);
        let name = name.map_or(number, |name| format!("/dev/{}", name.to_string_lossy()));
        self.names.insert((major, minor), name);
    }

    /// `/dev/sda`, or `8:0` of one that sysfs does not name.
    pub(super) fn name(&self, major: u32, minor: u32) -> &str {
        self.names.get(&(major, minor)).map_or("", |name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::host::testing::Fixture;

    #[test]
    fn a_number_that_another_device_has_by_now() {
        let fixture = Fixture::new().link("sys/dev/block/8:0", "../../block/sda");
        let link = fixture.path().join("sys/dev/block/8:0");
        let mut devices = Devices::new(&fixture.path().join("sys"));
        let mut name = |announced, minor| {
            devices.begin_pass(announced);
            devices.look_up(8, minor);
            devices.name(8, minor).to_owned()
        };
        assert_eq!((name(Some(1), 0), name(Some(1), 1)), ("/dev/sda".to_owned(), "8:1".to_owned()));
        std::fs::remove_file(&link).unwrap();
        let fixture = fixture.link("sys/dev/block/8:0", "../../block/sdb");
        let _fixture = fixture.link("sys/dev/block/8:1", "../../block/sdc");
        assert_eq!((name(Some(1), 0), name(Some(1), 1)), ("/dev/sda".to_owned(), "8:1".to_owned()));
        assert_eq!((name(Some(2), 0), name(Some(2), 1)), ("/dev/sdb".to_owned(), "/dev/sdc".to_owned()));
        std::fs::remove_file(link).unwrap();
        assert_eq!(name(None, 0), "8:0");
    }
}
