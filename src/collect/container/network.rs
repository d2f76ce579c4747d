//! What a container sends and receives: `/proc/PID/net/dev` of its first process. Source: proc_pid_net(5).
//!
//! Containers of a pod share a network: its counts belong to the one that came first. The host's belong to nobody.

use std::path::Path;

use rustc_hash::FxHashMap;

use super::super::files::Extent;
use super::super::kept_file::{KeptFile, Reader};
use super::super::parse::{fields, lines, split_once, unsigned, value};
use super::one::Container;
use super::write::Writer;
use crate::model::Kind;

/// Interfaces that are no container's traffic: cAdvisor leaves out the same.
const LEFT_OUT: &[&str] = &["lo", "veth", "docker", "nerdctl"];

/// Most interfaces of one container.
const MOST_INTERFACES: usize = 64;

/// Columns of the file that are exposed, with the families' names and help texts.
const COLUMNS: &[(usize, &str, &str)] = &[
    (0, "container_network_receive_bytes_total", "Bytes received."),
    (1, "container_network_receive_packets_total", "Packets received."),
    (2, "container_network_receive_errors_total", "Errors while receiving."),
    (3, "container_network_receive_packets_dropped_total", "Packets that came and were dropped."),
    (8, "container_network_transmit_bytes_total", "Bytes sent."),
    (9, "container_network_transmit_packets_total", "Packets sent."),
    (10, "container_network_transmit_errors_total", "Errors while sending."),
    (
        11,
        "container_network_transmit_packets_dropped_total",
        "Packets that were to be sent and were dropped.",
    ),
];

/// Most samples of one container's network.
pub(super) const MOST_SAMPLES: usize = MOST_INTERFACES * COLUMNS.len();

/// The place of the container that shows each network: of those in it, the one that started first. One whose image is
/// not known comes last: dashboards for Kubernetes look only at those that have one.
pub(super) fn owners(containers: &[Container], host: Option<u64>) -> FxHashMap<usize, u32> {
    let mut first: FxHashMap<u64, (bool, u64, usize, u32)> = FxHashMap::default();
    for (at, container) in containers.iter().enumerate() {
        let Some(process) = container.process else { continue };
        let Some(network) = process.network.filter(|network| Some(*network) != host) else { continue };
        let has_image = container.named.as_ref().is_some_and(|named| !named.image.is_empty());
        let this = (!has_image, process.start, at, process.pid);
        first.entry(network).and_modify(|known| *known = this.min(*known)).or_insert(this);
    }
    first.into_values().map(|(.., at, pid)| (at, pid)).collect()
}

/// The file of a network, open as long as the process is the one through which it is read.
#[derive(Debug, Default)]
pub(super) struct NetworkFile {
    pid: u32,
    file: KeptFile,
}

/// Longest line of the file, bytes.
const LONGEST_LINE: usize = 512;

/// The counts of one network. Opening the file takes four times as long as reading it, so it stays open; the network
/// of a container that went is held until the next pass for that.
pub(super) fn write(
    writer: &mut Writer<'_, '_>,
    reader: &mut Reader,
    procfs: &Path,
    pid: u32,
    kept: &mut NetworkFile,
) {
    if kept.pid != pid {
        *kept = NetworkFile { pid, file: KeptFile::default() };
    }
    let name = format!("{pid}/net/dev");
    let Ok(Some(text)) = kept.file.read(reader, procfs, &name, Extent::Records(LONGEST_LINE)) else { return };
    for (interface, counts) in interfaces(text).take(MOST_INTERFACES) {
        for (column, name, help) in COLUMNS {
            if let Some(Some(count)) = counts.get(*column) {
                writer.sample(name, help, Kind::Counter, &[("interface", interface)], value(*count));
            }
        }
    }
}

/// Interfaces and their numbers.
fn interfaces(text: &[u8]) -> impl Iterator<Item = (&str, [Option<u64>; 16])> {
    lines(text).filter_map(|line| {
        let (name, numbers) = split_once(line, b':')?;
        let name = std::str::from_utf8(name.trim_ascii()).ok()?;
        if name.is_empty() || LEFT_OUT.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        let mut counts = [None; 16];
        for (count, field) in counts.iter_mut().zip(fields(numbers)) {
            *count = unsigned(field);
        }
        Some((name, counts))
    })
}

/// For fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    assert!(interfaces(bytes).all(|(name, _)| !name.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_a_container() {
        let text = b"Inter-|   Receive      |  Transmit\n face |bytes packets\n    lo: 1 1\n  eth0: 10 2 0 1 0 0 0 0 20 3 0 0 0 0 0 0\nveth1: 1\n x:\n";
        let found: Vec<_> = interfaces(text).collect();
        let [(eth0, counts), (short, none)] = &*found else { panic!("{found:?}") };
        assert_eq!((*eth0, counts[0], counts[3], counts[8]), ("eth0", Some(10), Some(1), Some(20)));
        assert_eq!((*short, none[0]), ("x", None));
    }
}
