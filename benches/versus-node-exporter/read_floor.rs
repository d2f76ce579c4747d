//! The floor under a pass: the same files, descriptors held, `pread` into one buffer, nothing parsed.
//!
//! Usage: `read_floor ROUNDS < paths`. Prints the files, the bytes of a round and the median CPU time of a round in
//! microseconds, user and system together. Files that cannot be opened are left out, like a collector would.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::fs::FileExt;

use rustix::time::{ClockId, clock_gettime};

/// Holds nearly every file of procfs; the kernel clears a buffer of this size for some of them, so not larger.
const BUFFER_BYTES: usize = 1 << 15;

/// An attribute of sysfs or sysctl is at most a page, and one `pread` gives all of it.
const ATTRIBUTE_BYTES: usize = 4096;

/// A descriptor, and how it is read with the least work.
struct Held {
    file: File,
    is_attribute: bool,
}

#[expect(clippy::print_stdout, reason = "its answer")]
fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args().nth(1).ok_or("usage: read_floor ROUNDS < paths")?.parse()?;
    let paths = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let held = |path: &String| {
        let is_attribute = path.starts_with("/sys/") || path.starts_with("/proc/sys/");
        File::open(path).ok().map(|file| Held { file, is_attribute })
    };
    let files: Vec<Held> = paths.iter().filter_map(held).collect();
    let mut buffer = vec![0; BUFFER_BYTES];
    let bytes = read_round(&files, &mut buffer);
    let mut spent: Vec<f64> = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let before = cpu_us();
        read_round(&files, &mut buffer);
        spent.push(cpu_us() - before);
    }
    spent.sort_by(f64::total_cmp);
    let median = spent.get(spent.len() / 2).ok_or("no rounds")?;
    println!("{} {bytes} {median:.1}", files.len());
    Ok(())
}

/// Reads every file to its end; a file that fails in between counts with what it gave.
fn read_round(files: &[Held], buffer: &mut [u8]) -> usize {
    files.iter().map(|held| read_file(held, buffer)).sum()
}

fn read_file(held: &Held, buffer: &mut [u8]) -> usize {
    if held.is_attribute {
        let page = buffer.get_mut(..ATTRIBUTE_BYTES).unwrap_or_default();
        return held.file.read_at(page, 0).unwrap_or(0);
    }
    let mut at = 0;
    while let Ok(read) = held.file.read_at(buffer, at as u64)
        && read > 0
    {
        at += read;
    }
    at
}

fn cpu_us() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}
