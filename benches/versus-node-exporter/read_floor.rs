//! The floor under a scrape: what the kernel must be asked for its data, and nothing else.
//!
//! Jobs come on standard input, one a line: `read PATH` (through a descriptor that is held), `list DIRECTORY`,
//! `statfs PATH`, `links` and `neighbours` (a dump of rtnetlink's). No answer is looked at. What cannot be opened is left
//! out, like a collector would.
//!
//! `read_floor rounds N` prints the files, the bytes read in a round, and the median CPU time of a round in microseconds,
//! user and system together. `read_floor serve BODY` is the least exporter there can be: it prints its port and answers
//! every request with the file BODY after a round, on one thread. Its CPU is the floor of a whole scrape.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::time::{ClockId, clock_gettime};

/// Holds nearly every file of procfs; the kernel clears a buffer of this size for some of them, so not larger.
const BUFFER_BYTES: usize = 1 << 15;

/// An attribute of sysfs or sysctl is at most a page, and one `pread` gives all of it.
const ATTRIBUTE_BYTES: usize = 4096;

const NETLINK_HEADER_BYTES: usize = 16;
const NLMSG_DONE: u16 = 3;
const NLMSG_DONE_BYTES: usize = NETLINK_HEADER_BYTES + 4;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x301;
const RTM_GETLINK: u16 = 18;
const RTM_GETNEIGH: u16 = 30;

enum Job {
    /// With the least work: an attribute is one `pread`.
    Read {
        file: File,
        is_attribute: bool,
    },
    List(String),
    StatFs(String),
    Dump {
        socket: OwnedFd,
        request: Vec<u8>,
    },
}

#[expect(clippy::print_stdout, reason = "its answer")]
fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: read_floor rounds N|serve BODY < jobs";
    let (mode, argument) = (std::env::args().nth(1).ok_or(usage)?, std::env::args().nth(2).ok_or(usage)?);
    let lines = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let jobs: Vec<Job> = lines.iter().filter_map(|line| job(line)).collect();
    match mode.as_str() {
        "rounds" => {
            let (bytes, median_us) = rounds(&jobs, argument.parse()?)?;
            let files = jobs.iter().filter(|job| matches!(job, Job::Read { .. })).count();
            println!("{files} {bytes} {median_us:.1}");
            Ok(())
        }
        "serve" => {
            let body = std::fs::read(argument)?;
            let listener = TcpListener::bind("127.0.0.1:0")?;
            println!("{}", listener.local_addr()?.port());
            for client in listener.incoming() {
                // A client that leaves in the middle is no reason to stop.
                let _ = serve(client?, &jobs, &body);
            }
            Ok(())
        }
        _ => Err(usage.into()),
    }
}

fn job(line: &str) -> Option<Job> {
    let (what, path) = line.split_once(' ').unwrap_or((line, ""));
    match what {
        "read" => {
            // Also below a root that is not the machine's own.
            let is_attribute = path.contains("/sys/");
            Some(Job::Read { file: File::open(path).ok()?, is_attribute })
        }
        "list" => Some(Job::List(path.to_owned())),
        "statfs" => Some(Job::StatFs(path.to_owned())),
        // `struct ifinfomsg` and `struct ndmsg` of zeros: everything.
        "links" => dump(RTM_GETLINK, 16),
        "neighbours" => dump(RTM_GETNEIGH, 12),
        _ => None,
    }
}

fn dump(kind: u16, payload_bytes: usize) -> Option<Job> {
    let length = NETLINK_HEADER_BYTES + payload_bytes;
    let mut request = u32::try_from(length).ok()?.to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&DUMP.to_ne_bytes());
    request.resize(length, 0);
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).ok()?;
    Some(Job::Dump { socket, request })
}

fn rounds(jobs: &[Job], rounds: usize) -> Result<(usize, f64), Box<dyn Error>> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let bytes = round(jobs, &mut buffer);
    let mut spent: Vec<f64> = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let before = cpu_us();
        round(jobs, &mut buffer);
        spent.push(cpu_us() - before);
    }
    spent.sort_by(f64::total_cmp);
    Ok((bytes, *spent.get(spent.len() / 2).ok_or("no rounds")?))
}

/// Does every job; one that fails in between counts with what it gave.
fn round(jobs: &[Job], buffer: &mut [u8]) -> usize {
    jobs.iter().map(|job| work(job, buffer)).sum()
}

fn work(job: &Job, buffer: &mut [u8]) -> usize {
    match job {
        Job::Read { file, is_attribute: true } => {
            let page = buffer.get_mut(..ATTRIBUTE_BYTES).unwrap_or_default();
            file.read_at(page, 0).unwrap_or(0)
        }
        Job::Read { file, is_attribute: false } => {
            let mut at = 0;
            while let Ok(read) = file.read_at(buffer, at as u64)
                && read > 0
            {
                at += read;
            }
            at
        }
        Job::List(directory) => std::fs::read_dir(directory).map_or(0, Iterator::count),
        Job::StatFs(path) => rustix::fs::statfs(path.as_str()).map_or(0, |_| size_of::<rustix::fs::StatFs>()),
        Job::Dump { socket, request } => receive_dump(socket, request, buffer).unwrap_or(0),
    }
}

fn receive_dump(socket: &OwnedFd, request: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::net::send(socket, request, SendFlags::empty())?;
    let mut all = 0;
    loop {
        let (_, length) = rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())?;
        all += length;
        // The last message of a dump has a status and nothing else.
        let last = length.saturating_sub(NLMSG_DONE_BYTES);
        if buffer.get(last + 4..last + 6) == Some(&NLMSG_DONE.to_ne_bytes()) || length == 0 {
            return Ok(all);
        }
    }
}

/// Answers requests without bodies until the client leaves.
fn serve(mut client: TcpStream, jobs: &[Job], body: &[u8]) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let mut got = 0;
        while !buffer.get(..got).unwrap_or_default().ends_with(b"\r\n\r\n") {
            match client.read(buffer.get_mut(got..).unwrap_or_default())? {
                0 => return Ok(()),
                read => got += read,
            }
        }
        round(jobs, &mut buffer);
        let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(body)];
        let mut left = parts.as_mut_slice();
        while !left.is_empty() {
            let written = client.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, written);
        }
    }
}

fn cpu_us() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}
