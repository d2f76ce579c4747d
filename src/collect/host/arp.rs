//! Entries of the ARP table by device. Sources: rtnetlink's RTM_GETNEIGH
//! (`include/uapi/linux/neighbour.h`), or `/proc/net/arp` with `--no-collector.arp.netlink`.
//!
//! rtnetlink describes the network namespace we run in, whatever `--path.procfs` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::collect::netlink::{Netlink, Protocol, u16_at, u32_at};
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, NameFilter, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "arp",
    on_by_default: true,
    help: "Entries of the ARP table by device.",
    flags: &[
        Flag::new("arp.device-include", FlagKind::Regex(""), "Devices to include; not with device-exclude."),
        Flag::new("arp.device-exclude", FlagKind::Regex(""), "Devices to exclude; not with device-include."),
        Flag::new("arp.netlink", FlagKind::Switch(true), "Read rtnetlink instead of /proc/net/arp."),
    ],
    build: |host, options| {
        Ok(Box::new(Arp {
            procfs: (!options.switch("arp.netlink")).then(|| host.paths.proc("net/arp")),
            filter: NameFilter::exclusive("arp", options, "arp.device-include", "arp.device-exclude")?,
            socket: Netlink::new(Protocol::Route),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Arp {
    procfs: Option<PathBuf>,
    filter: NameFilter,
    socket: Netlink,
    files: Files,
}

const ENTRIES: (&str, &str) = ("node_arp_entries", "ARP entries by device.");

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const AF_INET: u8 = 2;
/// Entries that need no resolution; `/proc/net/arp` leaves them out as well.
const NUD_NOARP: u16 = 0x40;
/// Bits of a neighbour's state (NUD_*) and their names.
const STATES: [(u16, &str); 8] = [
    (0x00, "none"),
    (0x01, "incomplete"),
    (0x02, "reachable"),
    (0x04, "stale"),
    (0x08, "delay"),
    (0x10, "probe"),
    (0x20, "failed"),
    (0x80, "permanent"),
];

impl Collector for Arp {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        match &self.procfs {
            Some(path) => from_procfs(path, &mut self.files, &self.filter, out),
            None => self.read_netlink(pass.deadline, out),
        }
    }
}

impl Arp {
    fn read_netlink(&mut self, deadline: Instant, out: &mut Batch) -> Result<(), CollectError> {
        let mut found: BTreeMap<(u32, u16), u32> = BTreeMap::new();
        // struct ndmsg: family, 3 bytes of padding, index, state, flags, type.
        let request = [AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.socket.dump(RTM_GETNEIGH, &request, deadline, |kind, payload| {
            let (Some(index), Some(state)) = (u32_at(payload, 4), u16_at(payload, 8)) else { return };
            if kind == RTM_NEWNEIGH && payload.first() == Some(&AF_INET) && state & NUD_NOARP == 0 {
                *found.entry((index, state)).or_default() += 1;
            }
        })?;
        let mut total: BTreeMap<u32, u32> = BTreeMap::new();
        for ((index, _), count) in &found {
            *total.entry(*index).or_default() += count;
        }
        let entries = out.family(ENTRIES.0, ENTRIES.1, Kind::Gauge);
        let states = out.family("node_arp_states", "ARP entries by device and state.", Kind::Gauge);
        for (index, total) in total {
            // A device that is gone by now has no entries either.
            let Some(device) = self.socket.interface_name(index) else { continue };
            if !self.filter.passes(&device) {
                continue;
            }
            out.sample(entries, &[("device", &device)], f64::from(total));
            for ((_, state), count) in found.range((index, 0)..=(index, u16::MAX)) {
                let state = STATES.iter().find(|(bits, _)| bits == state).map_or("unknown", |(_, name)| name);
                out.sample(states, &[("device", &device), ("state", state)], f64::from(*count));
            }
        }
        Ok(())
    }
}

/// A line of titles, then six columns an entry, the device last.
fn from_procfs(path: &Path, files: &mut Files, filter: &NameFilter, out: &mut Batch) -> Result<(), CollectError> {
    const TITLE_COLUMNS: usize = 9;
    let text = files.read(path).map_err(|e| CollectError::reading(path, e))?;
    let mut total: BTreeMap<&[u8], u32> = BTreeMap::new();
    for line in parse::lines(text) {
        let mut columns = parse::fields(line);
        match (columns.nth(5), columns.count()) {
            (Some(device), 0) => *total.entry(device).or_default() += 1,
            (Some(_), after) if after == TITLE_COLUMNS - 6 => {}
            (None, _) if line.trim_ascii().is_empty() => {}
            _ => {
                let what = format!("6 columns expected: {:?}", String::from_utf8_lossy(line));
                return Err(CollectError::parsing(path, what));
            }
        }
    }
    let entries = out.family(ENTRIES.0, ENTRIES.1, Kind::Gauge);
    for (device, total) in total {
        let device = valid_utf8(device);
        if filter.passes(&device) {
            out.sample(entries, &[("device", &device)], f64::from(total));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device\n\
        192.168.1.1      0x1         0x2         cc:aa:dd:ee:aa:bb     *        eth0\n\
        192.168.1.2      0x1         0x0         00:00:00:00:00:00     *        eth0\n\
        10.0.0.1         0x1         0x2         bb:cc:dd:ee:ff:aa     *        eth1\n\
        10.0.0.2         0x1         0x2         bb:cc:dd:ee:ff:aa     *        nope\n";

    fn fixture() -> Fixture {
        Fixture::new().file("proc/net/arp", ARP).option("arp.netlink", "false")
    }

    #[test]
    fn golden_of_procfs() {
        fixture().option("arp.device-exclude", "nope").expect(
            "arp",
            "node_arp_entries{device=\"eth0\"} 2\nnode_arp_entries{device=\"eth1\"} 1",
        );
        fixture().option("arp.device-include", "nope").expect("arp", "node_arp_entries{device=\"nope\"} 1");
    }

    #[test]
    fn truncated_is_an_error_and_missing_is_no_data() {
        assert!(fixture().file("proc/net/arp", "10.0.0.1 0x1 0x2\n").error("arp").contains("6 columns"));
        assert!(Fixture::new().option("arp.netlink", "false").error("arp").contains("no data"));
        assert!(fixture().option("arp.device-include", "a").option("arp.device-exclude", "b").refused("arp").contains("exclusive"));
    }

    #[test]
    fn the_kernel_answers() {
        let text = Fixture::new().samples("arp");
        assert!(text.lines().all(|l| l.starts_with("node_arp_entries{") || l.starts_with("node_arp_states{")), "{text}");
    }
}
