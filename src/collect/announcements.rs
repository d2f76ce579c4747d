//! What the kernel announces: devices, classes and modules that come or go.
//!
//! `/sys/kernel/uevent_seqnum` counts these announcements. While it stands still there is no new class of devices, no new
//! device and no new file of a module; so what a collector did not find it need not look for again. A third of all
//! system calls of a pass on a small machine looked for what is not there.
//!
//! Invariant: `None` - look - unless both trees are a kernel's own and the count has stood still for
//! [`SETTLING`].
//!
//! Source: kernel `Documentation/ABI/testing/sysfs-kernel-uevents` and `lib/kobject_uevent.c`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FsWord, PROC_SUPER_MAGIC};

use super::{HostPaths, Pass, parse};
use crate::model::Timestamp;

/// `SYSFS_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const SYSFS_MAGIC: FsWord = 0x6265_6572;

/// A device appears in sysfs a little before it is announced, and a module's files may come a little after.
const SETTLING: Duration = Duration::from_secs(1);

/// How many announcements there were, asked for once in a pass.
#[derive(Debug)]
pub(super) struct Announcements {
    procfs: PathBuf,
    path: PathBuf,
    /// Open while both trees are a kernel's own. `None` before the first pass.
    file: Option<Option<File>>,
    pass: Option<(Timestamp, Instant)>,
    /// The count, and since when it is that.
    count: Option<(u64, Instant)>,
}

impl Announcements {
    pub(super) fn new(paths: &HostPaths) -> Self {
        let (procfs, path) = (paths.procfs.clone(), paths.sys("kernel/uevent_seqnum"));
        Self { procfs, path, file: None, pass: None, count: None }
    }

    /// How many there were, if for a while there has been none.
    pub(super) fn settled(&mut self, pass: &Pass) -> Option<u64> {
        let this = Some((pass.now, pass.deadline));
        if self.pass != this {
            self.pass = this;
            self.count = self.read().map(|count| match self.count {
                Some((before, since)) if before == count => (count, since),
                _ => (count, Instant::now()),
            });
        }
        self.count.filter(|(_, since)| since.elapsed() >= SETTLING).map(|(count, _)| count)
    }

    fn read(&mut self) -> Option<u64> {
        if self.file.is_none() {
            self.file = Some(self.open());
        }
        let mut digits = [0; 32];
        let read = self.file.as_ref()?.as_ref()?.read_at(&mut digits, 0).ok()?;
        parse::unsigned(digits.get(..read)?.trim_ascii())
    }

    fn open(&self) -> Option<File> {
        let file = File::open(&self.path).ok()?;
        let is_sysfs = rustix::fs::fstatfs(&file).ok()?.f_type == SYSFS_MAGIC;
        let is_procfs = rustix::fs::statfs(&self.procfs).ok()?.f_type == PROC_SUPER_MAGIC;
        (is_sysfs && is_procfs).then_some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(at: i64) -> Pass {
        Pass { now: Timestamp::from_millis(at), deadline: Instant::now() }
    }

    #[test]
    fn only_a_kernels_own_trees_announce() {
        let dir = tempfile::tempdir().unwrap();
        let sysfs = dir.path().join("sys");
        std::fs::create_dir_all(sysfs.join("kernel")).unwrap();
        std::fs::write(sysfs.join("kernel/uevent_seqnum"), "7\n").unwrap();
        let fixture = HostPaths { sysfs, ..HostPaths::default() };
        let half = HostPaths { procfs: dir.path().to_path_buf(), ..HostPaths::default() };
        for paths in [fixture, half] {
            let mut announcements = Announcements::new(&paths);
            announcements.settled(&pass(1));
            assert_eq!(announcements.count, None, "{paths:?}");
        }
    }

    #[test]
    fn a_count_that_has_just_changed_is_not_settled() {
        let mut announcements = Announcements::new(&HostPaths::default());
        assert_eq!(announcements.settled(&pass(1)), None);
        let Some((count, since)) = announcements.count else { return };
        let Some(long_ago) = since.checked_sub(SETTLING) else { return };
        announcements.count = Some((count, long_ago));
        // As in the pass that asked, whatever the kernel says now.
        let same = Pass { now: Timestamp::from_millis(1), ..pass(1) };
        announcements.pass = Some((same.now, same.deadline));
        assert_eq!(announcements.settled(&same), Some(count));
        announcements.count = Some((count.wrapping_sub(1), long_ago));
        assert_eq!(announcements.settled(&pass(2)), None, "one more was announced");
    }
}
