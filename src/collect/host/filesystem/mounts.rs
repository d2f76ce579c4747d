//! The mount table. Source: `proc_pid_mountinfo(5)`, kernel `Documentation/filesystems/proc.rst`, 3.5.
//!
//! Process 1's table is read, so that a process with a mount namespace of its own reports the machine's
//! mounts; where it is hidden (`hidepid`), our own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::collect::{CollectError, DescriptorBudget, Files, HostPaths, parse};
use crate::model::valid_utf8;

/// One mount, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::collect::host) struct Mount {
    /// The kernel's id of the mount.
    pub(in crate::collect::host) id: u64,
    /// What is mounted, in the kernel's spelling.
    pub(in crate::collect::host) device: String,
    /// Where, without the prefix of the root file system's path.
    pub(in crate::collect::host) mount_point: String,
    /// Where, as bytes to give to the system: below the root file system's path.
    pub(in crate::collect::host) path: PathBuf,
    /// Its type.
    pub(in crate::collect::host) fs_type: String,
    /// Device number of the superblock.
    pub(in crate::collect::host) major: u32,
    /// See `major`.
    pub(in crate::collect::host) minor: u32,
    /// Whether the mount or its superblock is read-only.
    pub(in crate::collect::host) read_only: bool,
    /// Whether a later mount at the same place hides it.
    pub(in crate::collect::host) covered: bool,
    /// Whether `statfs` cannot wait for a device, a server or a process, on the way there included.
    pub(in crate::collect::host) answers_from_memory: bool,
}

/// File systems whose `statfs`, and whose directories that hold mounts, the kernel has in memory.
const IN_MEMORY: [&[u8]; 7] = [b"ext2", b"ext3", b"ext4", b"tmpfs", b"ramfs", b"devtmpfs", b"sysfs"];

/// Reads the mount table only when the kernel says that it has changed, or cannot say so.
#[derive(Debug)]
pub(in crate::collect::host) struct MountTable {
    paths: HostPaths,
    init: PathBuf,
    own: PathBuf,
    files: Files,
    text: Vec<u8>,
}

impl MountTable {
    pub(in crate::collect::host) fn new(paths: HostPaths, descriptors: Arc<DescriptorBudget>) -> Self {
        let (init, own) = (paths.proc("1/mountinfo"), paths.proc("self/mountinfo"));
        Self { paths, init, own, files: Files::new(descriptors), text: Vec::new() }
    }

    /// The mounts in the kernel's order that `keep` (mount point, type) accepts, or `None` if the table
    /// is what it was at the last call.
    ///
    /// # Errors
    /// Neither table can be read.
    pub(in crate::collect::host) fn changed(
        &mut self,
        mut keep: impl FnMut(&str, &str) -> bool,
    ) -> Result<Option<Vec<Mount>>, CollectError> {
        if !self.text.is_empty() && self.files.mount_table_unchanged(&self.init) {
            return Ok(None);
        }
        // The change that was just told is told once: until the table is read, it is not known.
        let last = std::mem::take(&mut self.text);
        let text = match self.files.read(&self.init) {
            Ok(text) => text,
            Err(_) => self.files.read(&self.own).map_err(|e| CollectError::reading(&self.own, e))?,
        };
        if text == last {
            self.text = last;
            return Ok(None);
        }
        self.text = text.to_vec();
        let places = Places::new(&self.text);
        let at_root = self.paths.rootfs == Path::new("/");
        let mounts = parse::lines(&self.text).enumerate().filter_map(|(at, line)| {
            let mut mount = mount(&self.paths, line, &mut keep)?;
            let place = place(line)?;
            mount.covered = places.last.get(place).is_some_and(|last| *last != at);
            mount.answers_from_memory = at_root && !places.may_wait(place);
            Some(mount)
        });
        Ok(Some(mounts.collect()))
    }
}

/// All mount points, escaped as in the table.
struct Places<'a> {
    /// The line of the last mount there.
    last: FxHashMap<&'a [u8], usize>,
    /// Those of a file system that is not [`IN_MEMORY`].
    waiting: FxHashSet<&'a [u8]>,
}

impl<'a> Places<'a> {
    fn new(table: &'a [u8]) -> Self {
        let mut places = Self { last: FxHashMap::default(), waiting: FxHashSet::default() };
        for (at, line) in parse::lines(table).enumerate() {
            let Some(place) = place(line) else { continue };
            places.last.insert(place, at);
            if !type_of(line).is_some_and(|t| IN_MEMORY.contains(&t)) {
                places.waiting.insert(place);
            }
        }
        places
    }

    /// Whether there, or on the way there, is a file system that is not in memory.
    fn may_wait(&self, place: &[u8]) -> bool {
        let above = memchr::memchr_iter(b'/', place).filter_map(|slash| place.get(..slash.max(1)));
        above.chain([place]).any(|path| self.waiting.contains(path))
    }
}

fn place(line: &[u8]) -> Option<&[u8]> {
    parse::fields(line).nth(4)
}

fn type_of(line: &[u8]) -> Option<&[u8]> {
    let separator = memchr::memmem::find(line, b" - ")?;
    parse::fields(line.get(separator + 3..)?).next()
}

/// `id parent major:minor root mount-point options [optional fields] - type source super-options`
fn mount(paths: &HostPaths, line: &[u8], keep: &mut impl FnMut(&str, &str) -> bool) -> Option<Mount> {
    let separator = memchr::memmem::find(line, b" - ")?;
    let (before, after) = line.split_at_checked(separator)?;
    let mut before = parse::fields(before);
    let mut after = parse::fields(after.get(3..)?);
    let fs_type = valid_utf8(after.next()?);
    let id = parse::unsigned(before.next()?)?;
    let (major, minor) = parse::split_once(before.nth(1)?, b':')?;
    let mount_point = unescape(before.nth(1)?);
    let options = before.next()?;
    let shown = paths.strip_root(&valid_utf8(&mount_point));
    if !keep(&shown, &fs_type) {
        return None;
    }
    // The source may be empty, and the kernel then leaves nothing but a second space.
    let (device, super_options) = match (after.next(), after.next()) {
        (Some(device), Some(options)) => (device, options),
        (Some(options), None) => (b"".as_slice(), options),
        _ => return None,
    };
    let is_ro = |options: &[u8]| options.split(|b| *b == b',').any(|o| o == b"ro");
    Some(Mount {
        id,
        device: valid_utf8(device).into_owned(),
        path: paths.root(path_without_root(paths, &mount_point)),
        mount_point: shown,
        fs_type: fs_type.into_owned(),
        major: u32::try_from(parse::unsigned(major)?).ok()?,
        minor: u32::try_from(parse::unsigned(minor)?).ok()?,
        read_only: is_ro(options) || is_ro(super_options),
        covered: false,
        answers_from_memory: false,
    })
}

fn path_without_root<'a>(paths: &HostPaths, mount_point: &'a [u8]) -> &'a Path {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(mount_point));
    path.strip_prefix(&paths.rootfs).unwrap_or(path)
}

/// Undoes the kernel's octal escapes (`\040` for a space; also tab, newline, backslash, `#`).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(root: &str, line: &[u8]) -> Option<Mount> {
        let paths = HostPaths { rootfs: root.into(), ..HostPaths::default() };
        mount(&paths, line, &mut |_, _| true)
    }

    #[test]
    fn lines_of_all_shapes() {
        let m = table("/", b"36 35 98:0 /mnt1 /mnt/a\\040b\\134c rw master:1 shared:2 - ext3 /dev/root ro,x").unwrap();
        assert_eq!((m.id, m.major, m.minor, m.read_only), (36, 98, 0, true));
        assert_eq!((&*m.mount_point, &*m.device, &*m.fs_type), ("/mnt/a b\\c", "/dev/root", "ext3"));
        assert_eq!(m.path, Path::new("/mnt/a b\\c"));
        let m = table("/", b"1 2 0:5 / /a-b rw - tmpfs  rw,errors=remount-ro").unwrap();
        assert_eq!((&*m.mount_point, &*m.device, m.read_only), ("/a-b", "", false));
        for bad in [b"".as_slice(), b"1 2 0:5 / /a rw tmpfs t rw", b"1 2 x / /a rw - tmpfs t rw", b"1 - t t t"] {
            assert_eq!(table("/", bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_root_prefix_is_off_the_name_and_on_the_path() {
        for (point, name, path) in [
            ("/host", "/", "/host"),
            ("/host/var", "/var", "/host/var"),
            ("/etc/hosts", "/etc/hosts", "/host/etc/hosts"),
        ] {
            let m = table("/host", format!("1 2 0:5 / {point} rw - ext4 /dev/a rw").as_bytes()).unwrap();
            assert_eq!((&*m.mount_point, m.path.to_str().unwrap().trim_end_matches('/')), (name, path));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_stay_in_the_path() {
        use std::os::unix::ffi::OsStrExt;
        let m = table("/", b"1 2 0:5 / /a\xff rw - ext4 /dev/a rw").unwrap();
        assert_eq!((&*m.mount_point, m.path.as_os_str().as_bytes()), ("/a\u{fffd}", b"/a\xff".as_slice()));
    }

    #[test]
    fn a_line_cut_anywhere_is_a_mount_or_nothing() {
        let line = b"36 35 98:0 /m /mnt/a\\040b\\1 rw master:1 - ext3 /dev/root rw,x=\xff";
        for end in 0..=line.len() {
            let cut = table("/", &line[..end]);
            assert!(cut.is_none_or(|m| m.mount_point == "/mnt/a b\\1"), "{end}");
        }
    }

    #[test]
    fn hidden_mounts_and_those_that_may_wait() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
            2 1 0:5 / /net rw - nfs4 server:/ rw\n\
            3 2 0:6 / /net/t rw - tmpfs tmpfs rw\n\
            4 1 0:7 / /network rw - tmpfs tmpfs rw\n\
            5 1 8:2 / /twice rw - xfs /dev/b rw\n\
            6 1 0:8 / /twice rw - tmpfs tmpfs rw\n";
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("1")).unwrap();
        std::fs::write(directory.path().join("1/mountinfo"), table).unwrap();
        for (root, at_root) in [("/", true), ("/host", false)] {
            let paths = HostPaths {
                procfs: directory.path().to_path_buf(),
                rootfs: root.into(),
                ..HostPaths::default()
            };
            let mut table = MountTable::new(paths, Arc::default());
            let mounts = table.changed(|_, _| true).unwrap().unwrap();
            let ids = |keep: fn(&Mount) -> bool| mounts.iter().filter(|m| keep(m)).map(|m| m.id).collect::<Vec<_>>();
            assert_eq!(ids(|m| m.covered), [5]);
            assert_eq!(ids(|m| m.answers_from_memory), if at_root { &[1, 4][..] } else { &[] });
            assert!(table.changed(|_, _| true).unwrap().is_none(), "an ordinary file is compared");
        }
    }

    #[test]
    fn the_kernel_says_that_the_table_is_the_same() {
        let mut table = MountTable::new(HostPaths::default(), Arc::default());
        if !table.init.exists() {
            table.init = table.own.clone();
        }
        assert!(table.changed(|_, _| true).unwrap().is_some_and(|mounts| !mounts.is_empty()));
        // Were the text compared, this would be a change; other programs do mount now and then.
        table.text = b"not what is there".to_vec();
        let same = table.changed(|_, _| true).unwrap().is_none();
        assert_eq!(same, table.text == b"not what is there");
        table.text.clear();
        assert!(table.changed(|_, _| true).unwrap().is_some(), "what was not read is read");
    }
}
