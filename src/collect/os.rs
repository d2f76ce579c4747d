//! System calls that no safe crate offers. The only module of the program with `unsafe`.

#![expect(unsafe_code, reason = "raw system calls, each with its own safety argument")]

pub(super) mod btrfs;
pub(super) mod ethtool;
pub(super) mod nvml;

use std::io;

/// What the kernel says of its clock: `adjtimex(2)`.
pub(super) struct ClockState {
    /// The call's answer; [`libc::TIME_ERROR`] when the clock is not synchronised.
    pub(super) state: libc::c_int,
    /// The kernel's variables.
    pub(super) timex: libc::timex,
}

/// Reads the kernel's clock variables without changing them.
pub(super) fn clock_state() -> io::Result<ClockState> {
    // SAFETY: `timex` is a plain C structure of integers, for which all zeros is a valid value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live, exclusively borrowed `timex`; `modes` 0 makes the call read only.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(ClockState { state, timex }) }
}

/// Hands memory that the program has freed back to the system. glibc keeps it: what a burst of connections or one large
/// answer took would otherwise stay for good. Takes milliseconds; not for an async thread.
pub fn release_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and holds the allocator's own locks while it works.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has threads share the allocator's arenas. glibc gives each its own, up to eight a CPU, and what one has freed the
/// others cannot use. For a start, while there is one thread.
pub fn share_arenas() {
    /// One for the main thread, one for all others: they allocate little while they work.
    #[cfg(target_env = "gnu")]
    const ARENAS: libc::c_int = 2;
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and changes a number that is read when a thread first allocates.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Hands pages of the program and its libraries back that are in files all the same: most of the text serves the start
/// only, or a query now and then. What is needed again comes from the page cache. Takes a fraction of a millisecond.
pub fn release_unused_text() {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for mapping in text_mappings(&smaps) {
        let start = std::ptr::without_provenance_mut(mapping.start);
        // SAFETY: the mapping is of a file, private, cannot be written to, and no page of it has been: each page that is
        // dropped is read from the file again, with the same bytes. Nothing in this program unmaps its text, and a
        // range that is no longer mapped is only an error.
        unsafe {
            libc::madvise(start, mapping.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Places of mappings that hold what is in their file and nothing else, after `/proc/PID/smaps`.
///
/// Source: `proc_pid_smaps(5)`. "Anonymous" counts pages that are no longer the file's: of what was relocated, say, or
/// where a debugger has set a breakpoint.
fn text_mappings(smaps: &str) -> Vec<std::ops::Range<usize>> {
    let (mut found, mut current) = (Vec::new(), None);
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some(kibibytes)) => {
                found.extend(current.take().filter(|_| kibibytes == "0"));
            }
            (Some(range), Some(permissions)) if !range.ends_with(':') => {
                // Offset, device, inode and path follow; what is no file has no inode.
                let is_file = words.nth(2).is_some_and(|inode| inode != "0");
                let is_text = matches!(permissions, "r-xp" | "r--p");
                current = range.split_once('-').filter(|_| is_file && is_text).and_then(|(start, end)| {
                    let place = |hex| usize::from_str_radix(hex, 16).ok();
                    Some(place(start)?..place(end)?)
                });
            }
            _ => {}
        }
    }
    found
}

#[cfg(target_env = "gnu")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wholly_in_a_file_is_text() {
        let mapping = |head: &str, anonymous: u32| {
            format!("{head}\nSize: 8 kB\nRss: 8 kB\nAnonymous:    {anonymous} kB\nVmFlags: rd mr mw me\n")
        };
        let smaps: String = [
            mapping("1000-2000 r--p 00000000 fe:00 12 /bin/x", 0),
            mapping("2000-4000 r-xp 00001000 fe:00 12 /bin/x", 0),
            mapping("4000-5000 r-xp 00003000 fe:00 12 /bin/breakpoint", 4),
            mapping("5000-6000 r--p 00004000 fe:00 12 /bin/relocated", 4),
            mapping("6000-7000 rw-p 00005000 fe:00 12 /bin/data", 0),
            mapping("7000-8000 r--s 00000000 fe:00 13 /shared", 0),
            mapping("8000-9000 r-xp 00000000 00:00 0 [vdso]", 0),
            mapping("9000-a000 r--p 00000000 00:00 0", 0),
            mapping("a000-b000 r--p 00000000 fe:00 14 /lib/with blanks.so (deleted)", 0),
        ]
        .concat();
        assert_eq!(text_mappings(&smaps), [0x1000..0x2000, 0x2000..0x4000, 0xa000..0xb000]);
    }

    #[test]
    fn text_that_was_given_back_still_runs() {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!text_mappings(&smaps).is_empty());
        let rss_of_files = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let row = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            row.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = rss_of_files();
        release_unused_text();
        let after = rss_of_files();
        assert!(after < before, "{before} KiB before, {after} after");
        assert_eq!("still here".to_uppercase(), "STILL HERE");
    }

    const PIECE_BYTES: usize = 4 << 10;
    const PIECES: usize = 32 << 10;

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let row = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        row.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn freed_memory_between_what_is_in_use_is_given_back() {
        let mut pieces: Vec<Vec<u8>> = (0..PIECES).map(|_| vec![1; PIECE_BYTES]).collect();
        let mut at = 0;
        pieces.retain(|_| {
            at += 1;
            at % 64 == 0
        });
        let before = resident_kib();
        release_freed_memory();
        let after = resident_kib();
        let freed_kib = ((PIECES * PIECE_BYTES) >> 10) as u64;
        assert!(
            after + freed_kib / 2 < before,
            "{before} KiB before, {after} after, {} in use",
            pieces.len()
        );
    }
}
