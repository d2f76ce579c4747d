//! The text of one file: read within bounds, and asked for lines and columns.
//!
//! Invariant: opening never blocks. A FIFO without a writer, a device or a directory given as a
//! configuration file is refused, not waited for.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::model::ByteSize;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system said no.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A directory, FIFO, socket or device.
    #[error("not a regular file but {0}")]
    NotRegular(&'static str),
    /// Larger than allowed.
    #[error("larger than the {limit} that this kind of file may have")]
    TooLarge {
        /// The limit.
        limit: ByteSize,
    },
}

/// Reads a regular file of at most `limit` bytes without ever waiting for one that is none.
pub fn read_bounded(path: &Path, limit: ByteSize) -> Result<Vec<u8>, ReadError> {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let size_bytes = regular_size(&file)?;
    if size_bytes > limit.bytes() {
        return Err(ReadError::TooLarge { limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or_default());
    // A file may grow after it was measured, and those under /proc claim to be empty.
    file.take(limit.bytes().saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit.bytes() {
        return Err(ReadError::TooLarge { limit });
    }
    Ok(bytes)
}

fn regular_size(file: &File) -> Result<u64, ReadError> {
    use std::os::unix::fs::FileTypeExt as _;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(metadata.len());
    }
    Err(ReadError::NotRegular(if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }))
}

/// A named text with an index of its lines.
#[derive(Debug)]
pub(super) struct Source {
    /// The name as the user gave it.
    pub(super) name: String,
    /// The whole text.
    pub(super) text: String,
    line_starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: String, text: String) -> Self {
        let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        let line_starts = std::iter::once(0).chain(newlines).collect();
        Self { name, text, line_starts }
    }

    /// Line and column of a byte offset, both from 1; the column counts characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let before = self.slice(start..offset.max(start));
        // The byte order mark is part of the first line but shown by no editor.
        (line, before.trim_start_matches('\u{feff}').chars().count() + 1)
    }

    /// Where the line that holds the offset starts and ends, its line break left out.
    pub(super) fn line_range(&self, offset: usize) -> Range<usize> {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        start..start + self.slice(start..end).trim_end_matches(['\n', '\r']).len()
    }

    /// The text of a byte range; empty when it is none.
    pub(super) fn slice(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new("f".into(), "\u{feff}a: ü\r\nb: x\n".into());
        let at = |needle: &str| source.position(source.text.find(needle).unwrap());
        assert_eq!(at("a:"), (1, 1));
        assert_eq!(at("ü"), (1, 4));
        assert_eq!(at("b:"), (2, 1));
        assert_eq!(at("x"), (2, 4));
        assert_eq!(source.position(source.text.len()), (3, 1));
        assert_eq!(source.slice(source.line_range(source.text.find('x').unwrap())), "b: x");
        assert_eq!(source.slice(source.line_range(5)), "\u{feff}a: ü");
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_bounded(&file, ByteSize::new(5)).unwrap(), b"12345");
        let limit = ByteSize::new(4);
        assert!(matches!(read_bounded(&file, limit), Err(ReadError::TooLarge { .. })));
        assert!(matches!(read_bounded(&dir.path().join("none"), limit), Err(ReadError::Io(_))));

        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for (path, what) in
            [(fifo.as_path(), "a pipe"), (dir.path(), "a directory"), (Path::new("/dev/zero"), "a device")]
        {
            match read_bounded(path, limit) {
                Err(ReadError::NotRegular(kind)) => assert_eq!(kind, what),
                other => panic!("{}: {other:?}", path.display()),
            }
        }
        // An endless file that claims to be empty stops at the limit as well.
        let claims_empty = Path::new("/proc/self/smaps");
        assert!(matches!(read_bounded(claims_empty, limit), Err(ReadError::TooLarge { .. })));
    }
}
