//! A directory tree of small files, as sysfs and procfs are: read by path parts, without building a path
//! for each read.
//!
//! Invariant: the path buffer is reused, listings are sorted, and descriptors are kept as
//! [`Files`] does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{DescriptorBudget, Files};
use super::{CollectError, directory, parse};

/// Reads the files below a base directory.
#[derive(Debug)]
pub struct Tree {
    base: PathBuf,
    path: PathBuf,
    files: Files,
}

impl Tree {
    /// Nothing is opened yet.
    pub fn new(base: PathBuf, descriptors: Arc<DescriptorBudget>) -> Self {
        Self { path: base.clone(), base, files: Files::new(descriptors) }
    }

    /// Call at the start of each pass: closes what has not been used for long.
    pub fn begin_pass(&mut self) {
        self.files.begin_pass();
    }

    /// The path of the parts below the base.
    pub fn path(&mut self, below: &[&str]) -> &Path {
        self.path.as_mut_os_string().clear();
        self.path.push(&self.base);
        for part in below {
            self.path.push(part);
        }
        &self.path
    }

    /// A sysfs attribute, trimmed, through a kept descriptor: one page at most.
    ///
    /// # Errors
    /// What the system says.
    pub fn attribute(&mut self, below: &[&str]) -> io::Result<&[u8]> {
        self.path(below);
        self.files.attribute(&self.path)
    }

    /// A whole file, through a kept descriptor.
    ///
    /// # Errors
    /// What the system says.
    pub fn text(&mut self, below: &[&str]) -> io::Result<&[u8]> {
        self.path(below);
        self.files.read(&self.path)
    }

    /// A whole file, opened for this read only.
    ///
    /// # Errors
    /// What the system says.
    pub fn text_once(&mut self, below: &[&str]) -> io::Result<&[u8]> {
        self.path(below);
        self.files.read_once(&self.path)
    }

    /// An attribute that must be there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn required(&mut self, below: &[&str]) -> Result<&[u8], CollectError> {
        self.path(below);
        match self.files.attribute(&self.path) {
            Ok(value) => Ok(value),
            Err(source) => Err(CollectError::Io { path: self.path.clone(), source }),
        }
    }

    /// An attribute that may be absent, or the directory that it would be in.
    ///
    /// # Errors
    /// It is there but cannot be read.
    pub fn optional(&mut self, below: &[&str]) -> Result<Option<&[u8]>, CollectError> {
        self.path(below);
        match self.files.attribute(&self.path) {
            Ok(value) => Ok(Some(value)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(CollectError::Io { path: self.path.clone(), source }),
        }
    }

    /// An attribute that must be there and hold a whole number.
    ///
    /// # Errors
    /// It cannot be read, or is no whole number.
    pub fn unsigned(&mut self, below: &[&str]) -> Result<u64, CollectError> {
        let number = parse::unsigned(self.required(below)?);
        number.ok_or_else(|| CollectError::parsing(&self.path, "expected a whole number"))
    }

    /// The names in a directory that `keep` accepts, sorted.
    ///
    /// # Errors
    /// What the system says.
    pub fn names(&mut self, below: &[&str], keep: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut names = directory::names(self.path(below))?;
        names.retain(|name| keep(name));
        Ok(names)
    }

    /// As [`Self::names`]; a directory that does not exist is empty.
    ///
    /// # Errors
    /// What the system says otherwise.
    pub fn names_if_any(
        &mut self,
        below: &[&str],
        keep: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, CollectError> {
        match self.names(below, keep) {
            Ok(names) => Ok(names),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            Err(source) => Err(CollectError::Io { path: self.path(below).to_path_buf(), source }),
        }
    }

    /// As [`Self::names`]; a directory that does not exist is [`CollectError::NoData`].
    ///
    /// # Errors
    /// What the system says otherwise.
    pub fn names_or_no_data(
        &mut self,
        below: &[&str],
        keep: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, CollectError> {
        self.names(below, keep).map_err(|e| CollectError::reading(self.path(below), e))
    }

    /// An error of form at this place.
    pub fn malformed(&mut self, below: &[&str], what: &str) -> CollectError {
        CollectError::parsing(self.path(below), what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_lists_below_the_base() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            std::fs::create_dir_all(dir.path().join("class").join(name)).unwrap();
            std::fs::write(dir.path().join("class").join(name).join("size"), " 12\n").unwrap();
        }
        let mut tree = Tree::new(dir.path().to_path_buf(), Arc::new(DescriptorBudget::new(1)));
        assert_eq!(tree.names(&["class"], |n| n != "c").unwrap(), ["a", "b"]);
        assert_eq!(tree.unsigned(&["class", "a", "size"]).unwrap(), 12);
        assert_eq!(tree.text(&["class", "b", "size"]).unwrap(), b" 12\n");
        assert_eq!(tree.optional(&["class", "a", "none"]).unwrap(), None);
        assert_eq!(tree.optional(&["class", "a", "size", "none"]).unwrap(), None);
        assert_eq!(tree.optional(&["class", "a", "size"]).unwrap(), Some(b"12".as_slice()));
        assert!(tree.optional(&["class"]).is_err(), "a directory");
        assert!(tree.names_if_any(&["none"], |_| true).unwrap().is_empty());
        assert!(matches!(tree.names_or_no_data(&["none"], |_| true), Err(CollectError::NoData(_))));
        assert!(matches!(tree.required(&["none"]), Err(CollectError::Io { .. })));
        std::fs::write(dir.path().join("text"), "x").unwrap();
        assert!(matches!(tree.unsigned(&["text"]), Err(CollectError::Parse { .. })));
    }
}
