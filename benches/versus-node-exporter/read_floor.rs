//! The floor under a pass: the same files, descriptors held, `pread` into one buffer, nothing parsed.
//!
//! Usage: `read_floor ROUNDS < paths`. Prints the files, the bytes of a round and the median CPU time of a round in
//! microseconds, user and system together. Files that cannot be opened are left out, like a collector would.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::fs::FileExt;

use rustix::time::{ClockId, clock_gettime};

/// More than any one `read` of a seq_file gives.
const BUFFER_BYTES: usize = 1 << 20;

#[expect(clippy::print_stdout, reason = "its answer")]
fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args().nth(1).ok_or("usage: read_floor ROUNDS < paths")?.parse()?;
    let paths = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let files: Vec<File> = paths.iter().filter_map(|p| File::open(p).ok()).collect();
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
fn read_round(files: &[File], buffer: &mut [u8]) -> usize {
    let mut total = 0;
    for file in files {
        let mut at = 0;
        while let Ok(read) = file.read_at(buffer, at)
            && read > 0
        {
            at += read as u64;
        }
        total += at as usize;
    }
    total
}

fn cpu_us() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}
