//! The files below `/proc/PID`: opened relative to procfs, read into one buffer, parsed in place.
//!
//! A process that ends while it is read is no error: [`Failure::Gone`]. Nothing here knows groups.
//!
//! Source: kernel `Documentation/filesystems/proc.rst`; proc_pid_stat(5), proc_pid_status(5), proc_pid_io(5).

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::collect::parse;

/// Longest file that is read. Of a command line that is longer the beginning counts.
const MAX_BYTES: usize = 128 << 10;

/// Why a file of a process could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The process has ended.
    Gone,
    /// The system refuses, or what it says cannot be understood.
    Unreadable,
}

/// Of `stat`, as far as it is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: String,
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// In ticks of the clock, as the two below.
    pub(super) user: u64,
    pub(super) system: u64,
    pub(super) threads: u64,
    pub(super) start: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
}

/// Of `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) effective_uid: u32,
    pub(super) swap_bytes: u64,
    pub(super) voluntary_switches: u64,
    pub(super) involuntary_switches: u64,
}

/// The kernel's view of processes, below one mount of procfs.
#[derive(Debug)]
pub(super) struct Procfs {
    root: OwnedFd,
    path: String,
    buffer: Vec<u8>,
}

impl Procfs {
    pub(super) fn open(procfs: &Path) -> io::Result<Self> {
        let root = openat(CWD, procfs, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root, path: String::new(), buffer: vec![0; 4096] })
    }

    /// The processes, in the kernel's order.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        numbers(Dir::read_from(self.root.as_fd())?, &mut pids)?;
        Ok(pids)
    }

    /// The threads of a process.
    pub(super) fn threads(&mut self, pid: u32) -> Result<Vec<u32>, Failure> {
        let mut threads = Vec::new();
        let directory = self.open_below(pid, None, "task", OFlags::RDONLY | OFlags::DIRECTORY)?;
        numbers(Dir::new(directory).map_err(failure)?, &mut threads).map_err(|_| Failure::Unreadable)?;
        Ok(threads)
    }

    pub(super) fn stat(&mut self, pid: u32, thread: Option<u32>) -> Result<Stat, Failure> {
        parse_stat(self.read(pid, thread, "stat")?).ok_or(Failure::Unreadable)
    }

    pub(super) fn status(&mut self, pid: u32, thread: Option<u32>) -> Result<Status, Failure> {
        Ok(parse_status(self.read(pid, thread, "status")?))
    }

    /// Bytes read from and written to storage.
    pub(super) fn io(&mut self, pid: u32, thread: Option<u32>) -> Result<(u64, u64), Failure> {
        Ok(parse_io(self.read(pid, thread, "io")?))
    }

    /// Where in the kernel it waits; empty if it does not, or if that is not told.
    pub(super) fn waits_in(&mut self, pid: u32, thread: Option<u32>) -> Result<&str, Failure> {
        let text = self.read(pid, thread, "wchan")?.trim_ascii();
        Ok(if text == b"0" { "" } else { std::str::from_utf8(text).unwrap_or_default() })
    }

    /// The most files that it may open; `u64::MAX` for no limit.
    pub(super) fn file_limit(&mut self, pid: u32) -> Result<u64, Failure> {
        parse_file_limit(self.read(pid, None, "limits")?).ok_or(Failure::Unreadable)
    }

    /// Open files: newer kernels say how many there are, older ones list them.
    pub(super) fn open_files(&mut self, pid: u32) -> Result<u64, Failure> {
        self.name(pid, None, "fd");
        let told = statat(&self.root, self.path.as_str(), AtFlags::empty()).map_err(failure)?;
        if let Some(files) = u64::try_from(told.st_size).ok().filter(|files| *files > 0)
            && rustix::fs::fstatfs(&self.root).is_ok_and(|fs| fs.f_type == rustix::fs::PROC_SUPER_MAGIC)
        {
            return Ok(files);
        }
        let directory = self.open_below(pid, None, "fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut files = Vec::new();
        numbers(Dir::new(directory).map_err(failure)?, &mut files).map_err(|_| Failure::Unreadable)?;
        Ok(files.len() as u64)
    }

    /// The shares of resident and swapped memory, in bytes.
    pub(super) fn proportional_bytes(&mut self, pid: u32) -> Result<(u64, u64), Failure> {
        Ok(parse_smaps(self.read(pid, None, "smaps_rollup")?))
    }

    /// The arguments, one after the other; none of a thread of the kernel. Whoever writes a title over its arguments
    /// leaves zeros behind it.
    pub(super) fn command_line(&mut self, pid: u32) -> Result<Vec<String>, Failure> {
        let text = self.read(pid, None, "cmdline")?;
        let end = text.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let Some(text) = text.get(..end).filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
        Ok(text.split(|b| *b == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
    }

    /// Paths of the control groups, one for each hierarchy.
    pub(super) fn cgroups(&mut self, pid: u32) -> Result<Vec<String>, Failure> {
        let path = |line: &[u8]| line.splitn(3, |b| *b == b':').nth(2).map(<[u8]>::to_vec);
        let lines = parse::lines(self.read(pid, None, "cgroup")?);
        Ok(lines.filter_map(path).map(|path| String::from_utf8_lossy(&path).into_owned()).collect())
    }

    /// When the machine was started, in seconds since 1970.
    pub(super) fn boot_time(&mut self) -> Option<u64> {
        "stat".clone_into(&mut self.path);
        let text = self.read_path(OFlags::RDONLY).ok()?;
        parse::lines(text).find_map(|line| parse::unsigned(line.strip_prefix(b"btime ")?.trim_ascii()))
    }

    fn read(&mut self, pid: u32, thread: Option<u32>, file: &str) -> Result<&[u8], Failure> {
        self.name(pid, thread, file);
        self.read_path(OFlags::RDONLY)
    }

    fn name(&mut self, pid: u32, thread: Option<u32>, file: &str) {
        self.path.clear();
        let written = match thread {
            None => write!(self.path, "{pid}/{file}"),
            Some(thread) => write!(self.path, "{pid}/task/{thread}/{file}"),
        };
        // Writing to a String cannot fail.
        let _ = written;
    }

    fn open_below(
        &mut self,
        pid: u32,
        thread: Option<u32>,
        file: &str,
        flags: OFlags,
    ) -> Result<OwnedFd, Failure> {
        self.name(pid, thread, file);
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(&self.root, self.path.as_str(), flags, Mode::empty()).map_err(failure)
    }

    fn read_path(&mut self, flags: OFlags) -> Result<&[u8], Failure> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.root, self.path.as_str(), flags, Mode::empty()).map_err(failure)?;
        let mut filled = 0;
        loop {
            let free = self.buffer.get_mut(filled..).unwrap_or_default();
            let read = match rustix::io::read(&file, free) {
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failure(error)),
            };
            filled += read;
            if read == 0 || filled >= MAX_BYTES {
                return Ok(self.buffer.get(..filled).unwrap_or_default());
            }
            if filled == self.buffer.len() {
                self.buffer.resize((filled * 2).min(MAX_BYTES), 0);
            }
        }
    }
}

fn failure(error: Errno) -> Failure {
    match error {
        Errno::NOENT | Errno::SRCH | Errno::NOTDIR => Failure::Gone,
        _ => Failure::Unreadable,
    }
}

/// The entries that are numbers.
fn numbers(directory: Dir, into: &mut Vec<u32>) -> io::Result<()> {
    for entry in directory {
        let entry = entry?;
        let number = parse::unsigned(entry.file_name().to_bytes());
        into.extend(number.and_then(|number| u32::try_from(number).ok()));
    }
    Ok(())
}

/// `pid (comm) state ppid ...`: the name may hold parentheses and spaces, so fields count from the last `)`.
pub(super) fn parse_stat(text: &[u8]) -> Option<Stat> {
    let (open, close) = (memchr::memchr(b'(', text)?, memchr::memrchr(b')', text)?);
    let comm = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
    let mut fields = parse::fields(text.get(close + 1..)?);
    let state = *fields.next()?.first()?;
    // From the fourth field on, as proc_pid_stat(5) counts them. Some are signed; none of those is asked for.
    let mut numbers = [0; 21];
    for number in &mut numbers {
        *number = parse::unsigned(fields.next()?).unwrap_or(0);
    }
    let [
        parent,
        _,
        _,
        _,
        _,
        _,
        minor_faults,
        _,
        major_faults,
        _,
        user,
        system,
        _,
        _,
        _,
        _,
        threads,
        _,
        start,
        virtual_bytes,
        resident_pages,
    ] = numbers;
    Some(Stat {
        comm,
        state,
        parent: u32::try_from(parent).unwrap_or(0),
        minor_faults,
        major_faults,
        user,
        system,
        threads,
        start,
        virtual_bytes,
        resident_pages,
    })
}

fn parse_status(text: &[u8]) -> Status {
    let mut status = Status::default();
    for line in parse::lines(text) {
        let Some((name, value)) = parse::split_once(line, b':') else { continue };
        let number = |at: usize| parse::fields(value).nth(at).and_then(parse::unsigned).unwrap_or(0);
        match name {
            b"Uid" => status.effective_uid = u32::try_from(number(1)).unwrap_or(0),
            b"VmSwap" => status.swap_bytes = number(0).saturating_mul(1024),
            b"voluntary_ctxt_switches" => status.voluntary_switches = number(0),
            b"nonvoluntary_ctxt_switches" => status.involuntary_switches = number(0),
            _ => {}
        }
    }
    status
}

fn parse_io(text: &[u8]) -> (u64, u64) {
    let of = |name: &[u8]| {
        let value = |line: &[u8]| parse::unsigned(line.strip_prefix(name)?.trim_ascii());
        parse::lines(text).find_map(value).unwrap_or(0)
    };
    (of(b"read_bytes:"), of(b"write_bytes:"))
}

fn parse_file_limit(text: &[u8]) -> Option<u64> {
    let line = parse::lines(text).find_map(|line| line.strip_prefix(b"Max open files"))?;
    match parse::fields(line).next()? {
        b"unlimited" => Some(u64::MAX),
        soft => parse::unsigned(soft),
    }
}

fn parse_smaps(text: &[u8]) -> (u64, u64) {
    let of = |name: &[u8]| {
        let value = |line: &[u8]| parse::unsigned(parse::fields(line.strip_prefix(name)?).next()?);
        parse::lines(text).filter_map(value).fold(0, u64::saturating_add).saturating_mul(1024)
    };
    (of(b"Pss:"), of(b"SwapPss:"))
}

/// Reads bytes as each of the files; for fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    let _ = (parse_stat(bytes), parse_status(bytes), parse_io(bytes));
    let _ = (parse_file_limit(bytes), parse_smaps(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_with_parentheses_and_the_fields_behind_them() {
        let stat =
            parse_stat(b"7 (a) R (b) S 3 7 7 0 -1 4194304 11 2 13 4 15 16 7 8 20 0 9 0 12345 4096 100 1\n");
        let want = Stat {
            comm: "a) R (b".to_owned(),
            state: b'S',
            parent: 3,
            minor_faults: 11,
            major_faults: 13,
            user: 15,
            system: 16,
            threads: 9,
            start: 12345,
            virtual_bytes: 4096,
            resident_pages: 100,
        };
        assert_eq!(stat, Some(want));
        for bad in [b"".as_slice(), b"7 (a", b"7 )a(", b"7 (a) S 1 2 3"] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn other_files() {
        let text = b"Name:\tx\nUid:\t1\t2\t3\t4\nVmSwap:\t     3 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
        let want =
            Status { effective_uid: 2, swap_bytes: 3072, voluntary_switches: 5, involuntary_switches: 6 };
        assert_eq!(parse_status(text), want);
        assert_eq!(parse_io(b"rchar: 1\nread_bytes: 2\nwrite_bytes: 3\ncancelled_write_bytes: 4\n"), (2, 3));
        let limits = |soft: &str| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax open files            {soft}     4096    files\n"
            )
        };
        assert_eq!(parse_file_limit(limits("1024").as_bytes()), Some(1024));
        assert_eq!(parse_file_limit(limits("unlimited").as_bytes()), Some(u64::MAX));
        assert_eq!(parse_file_limit(b""), None);
        assert_eq!(parse_smaps(b"Rss: 9 kB\nPss:   2 kB\nPss_Anon: 1 kB\nSwapPss:  3 kB\n"), (2048, 3072));
    }

    #[test]
    fn arguments_of_programs_that_write_a_title_over_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("7")).unwrap();
        let mut procfs = Procfs::open(dir.path()).unwrap();
        for (text, want) in [
            ("a\0-x\0", &["a", "-x"][..]),
            ("a\0\0-x", &["a", "", "-x"]),
            ("nginx: master process /usr/sbin/nginx\0\0\0\0", &["nginx: master process /usr/sbin/nginx"]),
            ("\0\0\0", &[]),
            ("", &[]),
        ] {
            std::fs::write(dir.path().join("7/cmdline"), text).unwrap();
            assert_eq!(procfs.command_line(7).unwrap(), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            survives(&bytes);
        }
    }
}
