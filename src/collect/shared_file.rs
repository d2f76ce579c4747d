//! A file that several collectors read: read once in a pass, for all of them.
//!
//! `/proc/stat` takes the kernel a walk over all interrupts of all CPUs, and two collectors want it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Pass;
use super::files::{DescriptorBudget, Files};
use crate::model::Timestamp;

/// One file, as of one pass.
#[derive(Debug)]
pub(super) struct SharedFile {
    files: Files,
    /// When the pass began and had to end: no two passes have both the same.
    pass: Option<(Timestamp, Instant)>,
}

impl SharedFile {
    pub(super) fn new(budget: Arc<DescriptorBudget>) -> Self {
        Self { files: Files::new(budget), pass: None }
    }

    /// What [`Files::read_one_record`] gave in this pass. The path must always be the same.
    ///
    /// # Errors
    /// As there; what failed is tried again.
    pub(super) fn read(&mut self, pass: &Pass, path: &Path) -> io::Result<&[u8]> {
        let this = Some((pass.now, pass.deadline));
        if self.pass != this {
            self.pass = None;
            self.files.read_one_record(path)?;
            self.pass = this;
        }
        Ok(self.files.last_read())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pass_sees_one_state() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stat");
        let mut file = SharedFile::new(Arc::default());
        let first = Pass { now: Timestamp::default(), deadline: Instant::now() };
        let second = Pass { deadline: first.deadline + Duration::from_secs(1), ..first };
        assert!(file.read(&first, &path).is_err());
        for (content, pass, want) in [("a", first, "a"), ("bb", first, "a"), ("bb", second, "bb")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(file.read(&pass, &path).unwrap(), want.as_bytes());
        }
    }
}
