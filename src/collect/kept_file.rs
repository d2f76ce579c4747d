//! A file that its owner keeps open, where [`Files`](super::Files) would have to find each among thousands.
//!
//! Invariant: never more descriptors than the budget gives, each given back when its file is dropped. A file that is
//! not there is looked for again only after [`RETRY`] reads.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{DescriptorBudget, Extent, is_gone, open, read_all};

/// Reads of an absent file before it is looked for again.
const RETRY: u8 = 32;

/// What reading needs, and many files share.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    buffer: Vec<u8>,
    budget: Arc<DescriptorBudget>,
}

impl Reader {
    /// Nothing is kept yet; descriptors are drawn from `budget`.
    pub(super) fn new(budget: Arc<DescriptorBudget>) -> Self {
        Self { path: PathBuf::new(), buffer: Vec::new(), budget }
    }

    /// A file of a directory, opened for this read only.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn once(&mut self, directory: &Path, name: &str) -> io::Result<&[u8]> {
        let file = open(self.path(directory, name))?;
        self.read(&file)
    }

    /// A file, opened for this read only.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn once_at(&mut self, path: &Path) -> io::Result<&[u8]> {
        let file = open(path)?;
        self.read(&file)
    }

    fn read(&mut self, file: &File) -> io::Result<&[u8]> {
        let filled = read_all(file, &mut self.buffer, Extent::Unknown)?;
        Ok(self.buffer.get(..filled).unwrap_or_default())
    }

    fn path(&mut self, directory: &Path, name: &str) -> &Path {
        self.path.as_mut_os_string().clear();
        self.path.push(directory);
        self.path.push(name);
        &self.path
    }
}

/// One file.
#[derive(Debug, Default)]
pub(super) enum KeptFile {
    /// Not opened, or not to be kept open.
    #[default]
    Closed,
    /// Not there; how often more it is not looked for.
    Absent(u8),
    /// Open.
    Open(Held),
}

/// An open file that counts.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    budget: Arc<DescriptorBudget>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back();
    }
}

impl KeptFile {
    /// All of the file, or `None` where there is none. `extent` says when a read has reached the end.
    ///
    /// # Errors
    /// What the system says; its object may be no more.
    pub(super) fn read<'a>(
        &mut self,
        reader: &'a mut Reader,
        directory: &Path,
        name: &str,
        extent: Extent,
    ) -> io::Result<Option<&'a [u8]>> {
        let filled = match self {
            Self::Absent(left @ 1..) => {
                *left -= 1;
                return Ok(None);
            }
            Self::Open(held) => match read_all(&held.file, &mut reader.buffer, extent) {
                Err(error) if is_gone(&error) => {
                    *self = Self::Closed;
                    return Err(error);
                }
                result => result?,
            },
            Self::Closed | Self::Absent(0) => {
                let file = match open(reader.path(directory, name)) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        *self = Self::Absent(RETRY);
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                };
                let filled = match read_all(&file, &mut reader.buffer, extent) {
                    // The kernel was built or booted without what the file tells of.
                    Err(error)
                        if error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) =>
                    {
                        *self = Self::Absent(RETRY);
                        return Ok(None);
                    }
                    result => result?,
                };
                *self = if reader.budget.take() {
                    Self::Open(Held { file, budget: Arc::clone(&reader.budget) })
                } else {
                    Self::Closed
                };
                filled
            }
        };
        Ok(Some(reader.buffer.get(..filled).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_again_within_the_budget_and_looks_seldom_for_what_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let budget = Arc::new(DescriptorBudget::new(1));
        let mut reader = Reader::new(Arc::clone(&budget));
        let (mut first, mut second, mut absent) =
            (KeptFile::default(), KeptFile::default(), KeptFile::default());
        for text in ["one", "two"] {
            std::fs::write(dir.path().join("a"), text).unwrap();
            std::fs::write(dir.path().join("b"), text).unwrap();
            for file in [(&mut first, "a"), (&mut second, "b")] {
                let got = file.0.read(&mut reader, dir.path(), file.1, Extent::OneRecord).unwrap();
                assert_eq!(got, Some(text.as_bytes()));
            }
            assert_eq!(absent.read(&mut reader, dir.path(), "c", Extent::OneRecord).unwrap(), None);
        }
        assert!(matches!((&first, &second), (KeptFile::Open(_), KeptFile::Closed)));
        std::fs::write(dir.path().join("c"), "there").unwrap();
        let absent_for = (0..=RETRY)
            .take_while(|_| absent.read(&mut reader, dir.path(), "c", Extent::OneRecord).unwrap().is_none());
        assert_eq!(absent_for.count(), usize::from(RETRY) - 1);
        drop(first);
        assert!(budget.take());
        assert_eq!(reader.once(dir.path(), "a").unwrap(), b"two");
    }
}
