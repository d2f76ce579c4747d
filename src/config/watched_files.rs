//! Files that were read, and whether they have changed since.
//!
//! A change is told by device, inode, size and both times: enough to see a rename over the file
//! (certbot, Kubernetes' swapped links - links are followed) and a rewrite in place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::source::{ReadError, read_bounded};
use crate::model::ByteSize;

/// Far above any chain of certificates or bundle of authorities.
const LARGEST_FILE: ByteSize = ByteSize::new(4 << 20);

/// The files that one reading of the configuration looked at.
#[derive(Debug, Default)]
pub struct WatchedFiles(Vec<(PathBuf, Option<Identity>)>);

/// `None` stands for a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl WatchedFiles {
    /// Reads a file and remembers its state from before.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.watch(path);
        read_bounded(path, LARGEST_FILE)
    }

    /// Remembers the state of a file that is about to be read.
    pub fn watch(&mut self, path: &Path) {
        self.0.push((path.to_owned(), identity(path)));
    }

    /// Whether any of them is not what it was.
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, before)| identity(path) != *before)
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::metadata(path).ok()?;
    Some(Identity {
        device: found.dev(),
        inode: found.ino(),
        size_bytes: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        let mut watched = WatchedFiles::default();
        assert!(watched.read(&path).is_err() && !watched.have_changed());
        fs::write(&path, "one").unwrap();
        assert!(watched.have_changed(), "appeared");
        let mut watched = WatchedFiles::default();
        assert_eq!(watched.read(&path).unwrap(), b"one");
        assert!(!watched.have_changed());
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(watched.have_changed(), "replaced");
        let mut watched = WatchedFiles::default();
        watched.watch(&path);
        fs::write(&path, "longer").unwrap();
        assert!(watched.have_changed(), "rewritten");
        watched = WatchedFiles::default();
        watched.watch(&path);
        fs::remove_file(&path).unwrap();
        assert!(watched.have_changed(), "gone");
    }
}
