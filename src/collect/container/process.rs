//! What the processes of a container tell: which came first and when, whose network they see, what they may open.
//! Sources: proc_pid_stat(5), proc_pid_limits(5), namespaces(7).

use std::fs;
use std::path::Path;

use super::super::kept_file::Reader;
use super::super::parse::{fields, lines, unsigned, value};

/// The clock that the start of a process is told in: hundredths of a second on all architectures of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Ticks after the machine's start.
    pub(super) start: u64,
    /// Number of its network namespace.
    pub(super) network: Option<u64>,
}

/// Processes among which the first is looked for.
const MOST_ASKED: usize = 64;

/// Who of these came first.
pub(super) fn first(reader: &mut Reader, procfs: &Path, pids: &[u32]) -> Option<Process> {
    let mut name = String::new();
    let starts = pids.iter().take(MOST_ASKED).filter_map(|pid| {
        name.clear();
        std::fmt::Write::write_fmt(&mut name, format_args!("{pid}/stat")).ok()?;
        Some((start_ticks(reader.once(procfs, &name).ok()?)?, *pid))
    });
    let (start, pid) = starts.min()?;
    Some(Process { pid, start, network: network(procfs, &pid.to_string()) })
}

/// Seconds since the epoch at which a process started.
pub(super) fn started_at(boot_time: f64, process: &Process) -> f64 {
    boot_time + value(process.start) / TICKS_PER_SECOND
}

/// The network namespace of a process; only who may trace it is told.
pub(super) fn network(procfs: &Path, pid: &str) -> Option<u64> {
    let target = fs::read_link(procfs.join(pid).join("ns/net")).ok()?;
    namespace(target.to_str()?)
}

/// The network namespace of the host: that of its first process, or, where that may not be asked, of this one.
pub(super) fn host_network(procfs: &Path) -> Option<u64> {
    network(procfs, "1").or_else(|| network(procfs, "self"))
}

/// Whether this process sees the network of the machine, or of the virtual machine, that it is on: the kernel has these
/// settings in its first network only. Source: the kernel's `net/core/sysctl_net_core.c`.
pub(super) fn sees_host_network(procfs: &Path) -> bool {
    procfs.join("sys/net/core/netdev_max_backlog").exists()
}

/// `net:[4026531840]`.
fn namespace(target: &str) -> Option<u64> {
    target.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The 22nd field of `/proc/PID/stat`; the second, the name, may hold anything.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    let after_name = stat.get(memchr::memrchr(b')', stat)? + 1..)?;
    unsigned(fields(after_name).nth(19)?)
}

/// `btime` of `/proc/stat`: when the machine started, seconds since the epoch.
pub(super) fn boot_time(stat: &[u8]) -> Option<f64> {
    lines(stat).find_map(|line| unsigned(line.strip_prefix(b"btime ")?)).map(value)
}

/// The soft limit on open files out of `/proc/PID/limits`; unlimited is -1, as cAdvisor shows it.
pub(super) fn open_files_limit(limits: &[u8]) -> Option<f64> {
    let line = lines(limits).find_map(|line| line.strip_prefix(b"Max open files"))?;
    match fields(line).next()? {
        b"unlimited" => Some(-1.0),
        number => unsigned(number).map(value),
    }
}

/// What all processes of a container come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Details {
    pub(super) open_files: f64,
    pub(super) sockets: f64,
    pub(super) states: Vec<(&'static str, f64)>,
}

/// Open files, sockets among them, and states of processes; what is not ours to see counts nothing.
pub(super) fn details(reader: &mut Reader, procfs: &Path, pids: &[u32]) -> Details {
    let mut states = [("running", 0.0), ("sleeping", 0.0), ("stopped", 0.0), ("uninterruptible", 0.0)];
    let (mut open_files, mut sockets) = (0_u32, 0_u32);
    for pid in pids {
        let state = reader.once(procfs, &format!("{pid}/stat")).ok().and_then(state);
        if let Some((_, count)) = states.iter_mut().find(|(name, _)| Some(*name) == state) {
            *count += 1.0;
        }
        let Ok(files) = fs::read_dir(procfs.join(format!("{pid}/fd"))) else { continue };
        for file in files.flatten() {
            open_files += 1;
            let target = fs::read_link(file.path());
            sockets += u32::from(target.is_ok_and(|to| to.to_string_lossy().starts_with("socket:")));
        }
    }
    Details { open_files: open_files.into(), sockets: sockets.into(), states: states.into() }
}

/// The third field of `/proc/PID/stat`, in cAdvisor's words.
fn state(stat: &[u8]) -> Option<&'static str> {
    let after_name = stat.get(memchr::memrchr(b')', stat)? + 1..)?;
    match fields(after_name).next()? {
        b"R" => Some("running"),
        b"S" | b"I" => Some("sleeping"),
        b"T" | b"t" => Some("stopped"),
        b"D" => Some("uninterruptible"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn start_behind_any_name() {
        let stat = b"42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!((start_ticks(b""), start_ticks(b"1 (x) S 1")), (None, None));
    }

    #[test]
    fn small_texts() {
        assert_eq!(namespace("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!((namespace("mnt:[1]"), namespace("net:[]")), (None, None));
        assert_eq!(boot_time(b"cpu 1\nbtime 1700000000\n"), Some(1.7e9));
        let limits = b"Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(open_files_limit(limits), Some(1024.0));
        assert_eq!(open_files_limit(b"Max open files unlimited unlimited files"), Some(-1.0));
    }

    proptest! {
        #[test]
        fn any_bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (start_ticks(&bytes), boot_time(&bytes), open_files_limit(&bytes));
        }
    }
}
