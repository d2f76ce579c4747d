//! One pass over a hierarchy of control groups. Source: the kernel's `admin-guide/cgroup-v2.rst`.
//!
//! A directory's count of links says whether it has any below it, so that the many groups without are not opened.
//! Bounds: [`MOST_GROUPS`], [`DEEPEST`]. Groups that vanish meanwhile are passed over.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};

/// Most groups that a pass looks at.
pub(super) const MOST_GROUPS: usize = 100_000;

/// Deepest nesting that a pass follows.
const DEEPEST: usize = 24;

/// A group that was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    /// Below the root, with a slash in front; the root's own is `/`.
    pub(super) path: &'a str,
    /// Its directory's number, which no other group of this boot has.
    pub(super) inode: u64,
    /// Whether there may be groups below it.
    pub(super) has_children: bool,
}

/// Visits all groups below a root, and the root first. How many it came by and did not look at, for want of room; there may be
/// more below those.
///
/// # Errors
/// The root cannot be opened.
pub(super) fn walk(root: &Path, visit: &mut dyn FnMut(Group<'_>)) -> io::Result<usize> {
    walk_some(root, MOST_GROUPS, visit)
}

fn walk_some(root: &Path, most: usize, visit: &mut dyn FnMut(Group<'_>)) -> io::Result<usize> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, root, flags, Mode::empty())?;
    let inode = rustix::fs::fstat(&fd)?.st_ino;
    visit(Group { path: "/", inode, has_children: true });
    let mut walk = Walk { path: String::new(), left: most, left_out: 0, visit };
    walk.descend(fd, 0);
    Ok(walk.left_out)
}

struct Walk<'v> {
    path: String,
    left: usize,
    left_out: usize,
    visit: &'v mut dyn FnMut(Group<'_>),
}

impl Walk<'_> {
    fn descend(&mut self, directory: OwnedFd, depth: usize) {
        let Ok(mut entries) = Dir::new(directory) else { return };
        let mut parents = Vec::new();
        while let Some(Ok(entry)) = entries.read() {
            if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                continue;
            }
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            if self.left == 0 {
                self.left_out += 1;
                continue;
            }
            let Ok(stat) = entries.fd().and_then(|fd| statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                continue;
            }
            self.left -= 1;
            let has_children = stat.st_nlink != 2;
            let length = self.path.len();
            self.path.push('/');
            self.path.push_str(name);
            (self.visit)(Group { path: &self.path, inode: stat.st_ino, has_children });
            self.path.truncate(length);
            if has_children && depth < DEEPEST {
                parents.push(name.to_owned());
            } else if has_children {
                // One of them at least.
                self.left_out += 1;
            }
        }
        for name in parents {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(below) = entries.fd().and_then(|fd| openat(fd, &*name, flags, Mode::empty())) else {
                continue;
            };
            let length = self.path.len();
            self.path.push('/');
            self.path.push_str(&name);
            self.descend(below, depth + 1);
            self.path.truncate(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_groups_once() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/d", "e"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::write(dir.path().join("cgroup.procs"), "").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let mut found = Vec::new();
        assert_eq!(walk(dir.path(), &mut |group| found.push(group.path.to_owned())).unwrap(), 0);
        found.sort();
        assert_eq!(found, ["/", "/a", "/a/b", "/a/b/c", "/a/d", "/e"]);
        assert!(walk(&dir.path().join("none"), &mut |_| {}).is_err());
    }

    #[test]
    fn counts_what_there_is_no_room_for() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..10 {
            std::fs::create_dir(dir.path().join(at.to_string())).unwrap();
        }
        for (most, looked_at, left_out) in [(0, 0, 10), (4, 4, 6), (10, 10, 0), (11, 10, 0)] {
            let mut found = 0;
            assert_eq!(walk_some(dir.path(), most, &mut |_| found += 1).unwrap(), left_out);
            assert_eq!(found, 1 + looked_at);
        }
    }

    #[test]
    fn follows_only_so_deep() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("x/".repeat(DEEPEST + 10))).unwrap();
        let mut found = 0;
        assert_eq!(walk(dir.path(), &mut |_| found += 1).unwrap(), 1);
        assert_eq!(found, DEEPEST + 2);
    }
}
