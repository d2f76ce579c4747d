//! Files of procfs and sysfs: kept open between passes and read again from offset 0.
//!
//! Opening and closing costs three quarters of a small read; a kept descriptor costs one `pread`.
//! A descriptor whose object went away answers `ENODEV` or `ESTALE`; it is then opened anew, so hotplug
//! is seen. Any other answer is the file's own - many attributes of a network device that is down answer
//! `EINVAL` - and costs no second opening. Bounds: descriptors by [`DescriptorBudget`] (beyond it files are opened
//! for each read), file size by [`MAX_FILE_BYTES`], idle descriptors by passes without use.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashMap;
use rustix::event::{PollFd, PollFlags};

/// Longest file that is read; `/proc` files of the largest machines stay far below.
const MAX_FILE_BYTES: usize = 32 << 20;

/// A sysfs attribute is at most one page (kernel: `Documentation/filesystems/sysfs.rst`).
const ATTRIBUTE_BYTES: usize = 4096;

/// Longest record of the files that [`Files::read_short_records`] reads.
const SHORT_RECORD_BYTES: usize = 1024;

/// Longest record of the files that [`Files::read_numbers`] reads.
const NUMBER_RECORD_BYTES: usize = 128;

/// Passes a descriptor may stay unused before it is closed.
const IDLE_PASSES: u32 = 32;

/// How many descriptors all collectors together may keep open.
#[derive(Debug)]
pub struct DescriptorBudget {
    free: AtomicUsize,
}

impl Default for DescriptorBudget {
    /// A quarter of the soft limit of open files, 4,096 at most.
    fn default() -> Self {
        let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let soft = usize::try_from(soft.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        Self::new((soft / 4).min(4_096))
    }
}

impl DescriptorBudget {
    /// At most this many.
    pub const fn new(descriptors: usize) -> Self {
        Self { free: AtomicUsize::new(descriptors) }
    }

    pub(super) fn take(&self) -> bool {
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.free.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Kept {
    file: File,
    last_pass: u32,
}

/// A collector's open files and its read buffer.
#[derive(Debug)]
pub struct Files {
    /// By the bytes of the path: a `Path` is hashed and compared part by part, at many times the cost.
    kept: FxHashMap<Box<[u8]>, Kept>,
    /// All of it initialised; what was read last fills its first `filled` bytes.
    buffer: Vec<u8>,
    filled: usize,
    pass: u32,
    budget: Arc<DescriptorBudget>,
}

impl Files {
    /// No file yet; descriptors are drawn from `budget`.
    pub fn new(budget: Arc<DescriptorBudget>) -> Self {
        Self { kept: FxHashMap::default(), buffer: Vec::new(), filled: 0, pass: 0, budget }
    }

    /// Call at the start of each pass: closes what has not been used for long.
    pub fn begin_pass(&mut self) {
        self.pass = self.pass.wrapping_add(1);
        if self.pass.is_multiple_of(IDLE_PASSES) {
            let (pass, budget) = (self.pass, &self.budget);
            self.kept.retain(|_, kept| {
                let keep = pass.wrapping_sub(kept.last_pass) <= IDLE_PASSES;
                if !keep {
                    budget.give_back();
                }
                keep
            });
        }
    }

    /// The whole file, through a kept descriptor. For procfs and other files of any length.
    ///
    /// # Errors
    /// What the system says; `FileTooLarge` beyond [`MAX_FILE_BYTES`].
    pub fn read(&mut self, path: &Path) -> io::Result<&[u8]> {
        self.read_kept(path, Extent::Unknown)?;
        Ok(self.last_read())
    }

    /// As [`Self::read`] for a file of lines no longer than 1 KiB: a short one takes one `pread` instead of
    /// two. Finding the end again is costly in hash tables such as `/proc/net/udp`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_short_records(&mut self, path: &Path) -> io::Result<&[u8]> {
        self.read_kept(path, Extent::Records(SHORT_RECORD_BYTES))?;
        Ok(self.last_read())
    }

    /// As [`Self::read_short_records`] where a line is a name and a number, no longer than 128 bytes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_numbers(&mut self, path: &Path) -> io::Result<&[u8]> {
        self.read_kept(path, Extent::Records(NUMBER_RECORD_BYTES))?;
        Ok(self.last_read())
    }

    /// As [`Self::read`] for a file that the kernel shows as one record: a read that leaves room in the
    /// buffer has reached the end.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_one_record(&mut self, path: &Path) -> io::Result<&[u8]> {
        self.read_kept(path, Extent::OneRecord)?;
        Ok(self.last_read())
    }

    /// Whether the mount table at `path` is what it was when last asked: procfs tells by `poll` (kernel:
    /// `Documentation/filesystems/proc.rst`, since 2.6.15). `false` where it cannot be told, because
    /// it was not read before or is no file of procfs.
    pub fn mount_table_unchanged(&self, path: &Path) -> bool {
        let Some(Kept { file, .. }) = self.kept.get(key(path)) else { return false };
        let is_procfs = rustix::fs::fstatfs(file).is_ok_and(|s| s.f_type == rustix::fs::PROC_SUPER_MAGIC);
        let mut table = [PollFd::new(file, PollFlags::PRI)];
        let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        is_procfs && rustix::event::poll(&mut table, Some(&at_once)) == Ok(0)
    }

    /// A sysfs attribute with surrounding white space trimmed: one page at most, one `pread`.
    ///
    /// # Errors
    /// What the system says.
    pub fn attribute(&mut self, path: &Path) -> io::Result<&[u8]> {
        self.read_kept(path, Extent::OnePage)?;
        Ok(self.last_read().trim_ascii())
    }

    /// The whole file, opened for this read only. For files that are replaced rather than changed.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_once(&mut self, path: &Path) -> io::Result<&[u8]> {
        let file = open(path)?;
        self.filled = read_all(&file, &mut self.buffer, Extent::Unknown)?;
        Ok(self.last_read())
    }

    /// What the last read that did not fail gave.
    pub(super) fn last_read(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    fn read_kept(&mut self, path: &Path, extent: Extent) -> io::Result<()> {
        if let Some(kept) = self.kept.get_mut(key(path)) {
            kept.last_pass = self.pass;
            match read_all(&kept.file, &mut self.buffer, extent) {
                Err(error) if is_gone(&error) => {}
                result => {
                    self.filled = result?;
                    return Ok(());
                }
            }
            self.kept.remove(key(path));
            self.budget.give_back();
        }
        let file = open(path)?;
        let result = read_all(&file, &mut self.buffer, extent);
        if !result.as_ref().is_err_and(is_gone) && self.budget.take() {
            self.kept.insert(key(path).into(), Kept { file, last_pass: self.pass });
        }
        self.filled = result?;
        Ok(())
    }
}

fn key(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Whether the error says that the descriptor's object is no more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [rustix::io::Errno::NODEV, rustix::io::Errno::STALE, rustix::io::Errno::SRCH];
    gone.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// What a short read tells about where a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Nothing: a seq_file returns what fits its page, and a record may be as long as a page.
    Unknown,
    /// One page at most: a short read has reached the end.
    OnePage,
    /// One record: a seq_file makes room for it, so what it gives is all that fits the buffer.
    OneRecord,
    /// No record is longer than so many bytes: a read that leaves more of a page free has reached the end.
    Records(usize),
}

impl Extent {
    /// Whether a read of so many bytes into a buffer with so much room has reached the end.
    const fn is_end(self, bytes: usize, room: usize, is_first: bool) -> bool {
        match self {
            Self::Unknown => false,
            Self::OneRecord => bytes < room,
            Self::OnePage => is_first && bytes < room,
            Self::Records(longest) => is_first && bytes < ATTRIBUTE_BYTES.saturating_sub(longest),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for _ in self.kept.drain() {
            self.budget.give_back();
        }
    }
}

/// Opens without waiting: a FIFO put in place of a file must not hold a pass.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads from offset 0 to the end; returns how much of the buffer that filled. A seq_file may return
/// less than asked before its end, so `extent` says when that was all.
pub(super) fn read_all(file: &File, buffer: &mut Vec<u8>, extent: Extent) -> io::Result<usize> {
    if buffer.len() < ATTRIBUTE_BYTES * 2 {
        buffer.resize(ATTRIBUTE_BYTES * 2, 0);
    }
    let mut filled = 0;
    loop {
        // The kernel clears as much memory as a sysctl is read into, so no more room than an attribute needs.
        let most = if extent == Extent::OnePage { ATTRIBUTE_BYTES - 1 } else { usize::MAX };
        let free = buffer.get_mut(filled..).unwrap_or_default();
        let room = free.len().min(most);
        let free = free.get_mut(..room).unwrap_or_default();
        let n = match file.read_at(free, filled as u64) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            // Some special files (a FIFO, a socket) cannot seek.
            Err(e) if filled == 0 && e.kind() == io::ErrorKind::NotSeekable => (&*file).read(free)?,
            Err(e) => return Err(e),
        };
        filled += n;
        if n == 0 || extent.is_end(n, room, n == filled) {
            return Ok(filled);
        }
        if filled >= MAX_FILE_BYTES {
            *buffer = Vec::new();
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(descriptors: usize) -> Files {
        Files::new(Arc::new(DescriptorBudget::new(descriptors)))
    }

    #[test]
    fn rereads_from_the_start_with_and_without_a_free_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for descriptors in [0, 1] {
            let mut files = files(descriptors);
            for text in ["first", "2", &"long ".repeat(10_000)] {
                std::fs::write(&path, text).unwrap();
                assert_eq!(files.read(&path).unwrap(), text.as_bytes());
            }
            std::fs::write(&path, " 42\n").unwrap();
            assert_eq!(files.attribute(&path).unwrap(), b"42");
            for length in [ATTRIBUTE_BYTES - 1, ATTRIBUTE_BYTES, 3 * ATTRIBUTE_BYTES] {
                std::fs::write(&path, "x".repeat(length)).unwrap();
                assert_eq!(files.attribute(&path).unwrap().len(), length);
            }
            assert_eq!(files.kept.len(), descriptors);
        }
    }

    #[test]
    fn unused_descriptors_are_closed_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let mut files = files(1);
        files.read(&path).unwrap();
        for _ in 0..=2 * IDLE_PASSES {
            files.begin_pass();
        }
        assert!(files.kept.is_empty() && files.budget.take());
    }

    #[test]
    fn a_missing_file_and_a_directory_are_errors_not_panics() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(files(1).read(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(files(1).read(dir.path()).is_err());
    }

    #[test]
    fn an_endless_file_is_refused() {
        assert_eq!(files(1).read(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_fifo_without_a_writer_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(files(1).read(&path).unwrap(), b"");
    }
}
