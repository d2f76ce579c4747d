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
}

impl Devices {
    pub(super) fn new(sysfs: &Path) -> Self {
        Self { base: sysfs.join("dev/block"), names: FxHashMap::default() }
    }

    /// Looks a device up, if it was not.
    pub(super) fn look_up(&mut self, major: u32, minor: u32) {
        if self.names.contains_key(&(major, minor)) {
            return;
        }
        if self.names.len() >= MOST_DEVICES {
            self.names.clear();
        }
        let link = std::fs::read_link(self.base.join(format!("{major}:{minor}"))).ok();
        let name =
            link.as_deref().and_then(Path::file_name).map(|name| format!("/dev/{}", name.to_string_lossy()));
        self.names.insert((major, minor), name.unwrap_or_default());
    }

    /// `/dev/sda`; nothing for one that is gone.
    pub(super) fn name(&self, major: u32, minor: u32) -> &str {
        self.names.get(&(major, minor)).map_or("", |name| &**name)
    }
}
