//! A file that fails when a test wants it to.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// A file whose writes fail with "no space left" while the switch is on.
#[derive(Debug)]
pub(super) struct FlakyFile {
    file: FileBackend,
    full: Arc<AtomicBool>,
    panics: bool,
}

impl FlakyFile {
    pub(super) fn open(path: &Path, full: Arc<AtomicBool>) -> Self {
        let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
        Self { file: FileBackend::new(options.expect("a file")).expect("a backend"), full, panics: false }
    }

    /// Panics instead, as redb does over pages that make no sense.
    pub(super) fn panicking(self) -> Self {
        Self { panics: true, ..self }
    }

    fn check(&self) -> io::Result<()> {
        match self.full.load(Ordering::SeqCst) {
            true if self.panics => panic!("a page that makes no sense"),
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for FlakyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
