//! Where the machine's trees are: `/` on the machine itself, `/host` in a container, a fixture in a test.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Pass;
use super::announcements::Announcements;
use super::container_names::ContainerNames;
use super::files::DescriptorBudget;
use super::handed::Handed;
use super::links::LinkTable;
use super::shared_file::SharedFile;

/// Mount points of the trees that collectors read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPaths {
    /// procfs, `/proc`.
    pub procfs: PathBuf,
    /// sysfs, `/sys`.
    pub sysfs: PathBuf,
    /// The root file system, `/`.
    pub rootfs: PathBuf,
    /// udev's database, `/run/udev/data`.
    pub udev_data: PathBuf,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev_data: "/run/udev/data".into(),
        }
    }
}

impl HostPaths {
    /// A path below procfs.
    pub fn proc(&self, below: impl AsRef<Path>) -> PathBuf {
        self.procfs.join(below)
    }

    /// A path below sysfs.
    pub fn sys(&self, below: impl AsRef<Path>) -> PathBuf {
        self.sysfs.join(below)
    }

    /// A path below the root file system; `below` may be absolute.
    pub fn root(&self, below: impl AsRef<Path>) -> PathBuf {
        let below = below.as_ref();
        self.rootfs.join(below.strip_prefix("/").unwrap_or(below))
    }

    /// A mount point as the host sees it: with the prefix of `rootfs` taken off. `/` stays `/`.
    pub fn strip_root(&self, path: &str) -> String {
        let root = self.rootfs.to_string_lossy();
        let root = root.trim_end_matches('/');
        match path.strip_prefix(root) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => path.to_owned(),
        }
    }
}

/// What every collector is built from: the trees, and the descriptors they may keep open together.
#[derive(Clone, Debug)]
pub struct Host {
    /// The trees.
    pub paths: HostPaths,
    /// Shared bound on files that stay open between passes.
    pub descriptors: Arc<DescriptorBudget>,
    /// What rtnetlink says in a pass, for all collectors that want it.
    links: Arc<Mutex<LinkTable>>,
    /// `/proc/stat`, for the same reason.
    stat: Arc<Mutex<SharedFile>>,
    announcements: Arc<Mutex<Announcements>>,
    /// Results that others keep.
    pub(super) handed: Arc<Handed>,
    containers: Arc<Mutex<ContainerNames>>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new(HostPaths::default())
    }
}

impl Host {
    /// With the default bound on kept descriptors.
    pub fn new(paths: HostPaths) -> Self {
        let descriptors = Arc::default();
        let stat = Arc::new(Mutex::new(SharedFile::new(Arc::clone(&descriptors))));
        let announcements = Arc::new(Mutex::new(Announcements::new(&paths)));
        Self {
            paths,
            descriptors,
            links: Arc::default(),
            stat,
            announcements,
            handed: Arc::default(),
            containers: Arc::default(),
        }
    }

    /// The links, for as long as the collector is at them.
    pub(super) fn links(&self) -> MutexGuard<'_, LinkTable> {
        lock(&self.links)
    }

    /// `/proc/stat`, for as long as the collector is at it.
    pub(super) fn stat(&self) -> MutexGuard<'_, SharedFile> {
        lock(&self.stat)
    }

    /// What containers are called, for as long as the collector is at it.
    pub(super) fn containers(&self) -> MutexGuard<'_, ContainerNames> {
        lock(&self.containers)
    }

    /// How many devices, classes and modules the kernel has announced, if it announces none just now and the
    /// trees are its own. While that stays the same, none of these has come.
    pub(super) fn announced(&self, pass: &Pass) -> Option<u64> {
        lock(&self.announcements).settled(pass)
    }
}

/// A panic leaves at worst something that belongs to no pass.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_prefix_comes_off_whole_components_only() {
        let host = HostPaths { rootfs: "/host".into(), ..HostPaths::default() };
        for (given, want) in [
            ("/host", "/"),
            ("/host/var", "/var"),
            ("/hostile", "/hostile"),
            ("/host/", "/"),
            ("/etc", "/etc"),
        ] {
            assert_eq!(host.strip_root(given), want, "{given}");
        }
        assert_eq!(HostPaths::default().strip_root("/var"), "/var");
        assert_eq!(HostPaths::default().strip_root("/"), "/");
        assert_eq!(host.root("/etc/os-release"), Path::new("/host/etc/os-release"));
    }
}
