//! Names in a directory of devices, such as `/sys/class/thermal`: listed anew once the kernel has announced a device.
//!
//! Only for directories whose entries the kernel announces one by one, see [`Announcements`](super::announcements):
//! classes and `/sys/block`, not what is below a device.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Host, Pass, directory};

/// The directory, and what was in it.
#[derive(Debug)]
pub(super) struct Devices {
    directory: PathBuf,
    host: Host,
    /// The names - `None` if there is no directory - and how many announcements there were before they were listed.
    listed: Option<(u64, Option<Arc<[String]>>)>,
}

impl Devices {
    /// Nothing is listed yet.
    pub(super) fn new(host: &Host, directory: PathBuf) -> Self {
        Self { directory, host: host.clone(), listed: None }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names, sorted.
    ///
    /// # Errors
    /// What the system says of the directory.
    pub(super) fn names(&mut self, pass: &Pass) -> io::Result<Arc<[String]>> {
        let announced = self.host.announced(pass);
        if let Some((at, names)) = &self.listed
            && announced == Some(*at)
        {
            return names.clone().ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        self.listed = None;
        let names = directory::names(&self.directory).map(Arc::from);
        match (&names, announced) {
            (Ok(names), Some(at)) => self.listed = Some((at, Some(Arc::clone(names)))),
            (Err(e), Some(at)) if e.kind() == io::ErrorKind::NotFound => self.listed = Some((at, None)),
            _ => {}
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::collect::HostPaths;
    use crate::model::Timestamp;

    #[test]
    fn a_tree_that_announces_nothing_is_listed_in_each_pass() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(HostPaths { sysfs: dir.path().to_path_buf(), ..HostPaths::default() });
        let mut devices = Devices::new(&host, dir.path().join("class"));
        let pass = Pass { now: Timestamp::default(), deadline: Instant::now() };
        assert!(devices.names(&pass).is_err());
        for name in ["a", "b"] {
            std::fs::create_dir_all(devices.directory().join(name)).unwrap();
            assert_eq!(devices.names(&pass).unwrap().last().map(String::as_str), Some(name));
        }
    }

    #[test]
    fn a_kernel_lists_the_same_with_and_without_memory() {
        let host = Host::default();
        let mut devices = Devices::new(&host, host.paths.sys("class"));
        let pass = |at| Pass { now: Timestamp::from_millis(at), deadline: Instant::now() };
        let Ok(first) = devices.names(&pass(1)) else { return };
        assert_eq!(first.to_vec(), directory::names(devices.directory()).unwrap());
        // Only a count that has stood still for a while is remembered.
        assert!(devices.listed.is_none());
    }
}
