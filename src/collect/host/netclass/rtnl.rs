//! netclass over netlink: a few requests for all devices instead of some twenty files for each.
//!
//! Sources: rtnetlink (`include/uapi/linux/if_link.h`) for most; ethtool netlink
//! (`Documentation/networking/ethtool-netlink.rst`, LINKMODES_GET) for speed and duplex; sysfs for the
//! three attributes that neither has. Netlink describes the network namespace we run in.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::{Families, Filter, Info, bytes_a_second, whole};
use crate::collect::generic_netlink::GenericNetlink;
use crate::collect::links::{COUNTER_NAMES, Link, attribute};
use crate::collect::netlink::{Attributes, NetlinkError};
use crate::collect::{CollectError, Collector, Host, Pass, Tree, parse};
use crate::model::{Batch, Kind, valid_utf8};

const ETHTOOL_MSG_LINKMODES_GET: u8 = 4;
const ETHTOOL_A_LINKMODES_HEADER: u16 = 1;
const ETHTOOL_A_LINKMODES_SPEED: u16 = 5;
const ETHTOOL_A_LINKMODES_DUPLEX: u16 = 6;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;

/// IF_OPER_*, RFC 2863.
pub(super) const OPERATIONAL_STATES: [&str; 7] =
    ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"];

/// Attributes that only sysfs has.
const FROM_SYSFS: [&str; 3] = ["addr_assign_type", "dev_id", "name_assign_type"];

pub(super) struct NetClassRtnl {
    filter: Filter,
    tree: Tree,
    with_counters: bool,
    host: Host,
    ethtool: GenericNetlink,
}

struct LinkMode {
    duplex: &'static str,
    speed_bytes: Option<i64>,
}

impl NetClassRtnl {
    pub(super) const fn new(filter: Filter, tree: Tree, with_counters: bool, host: Host) -> Self {
        Self { filter, tree, with_counters, host, ethtool: GenericNetlink::new("ethtool") }
    }

    fn link_modes(&mut self, pass: &Pass) -> Result<BTreeMap<Vec<u8>, LinkMode>, NetlinkError> {
        let mut modes = BTreeMap::new();
        let header: &[(u16, &[u8])] = &[(ETHTOOL_A_LINKMODES_HEADER | NLA_F_NESTED, &[])];
        let result = self.ethtool.dump(ETHTOOL_MSG_LINKMODES_GET, header, pass.deadline, |entry| {
            if let Some(name) = entry.nested(ETHTOOL_A_LINKMODES_HEADER).text(ETHTOOL_A_HEADER_DEV_NAME) {
                modes.insert(name.to_vec(), link_mode(entry));
            }
        });
        match result {
            // A kernel before 5.6.
            Err(e) if e.errno() == Some(Errno::NOENT) => Ok(modes),
            result => result.map(|()| modes),
        }
    }
}

fn link_mode(entry: Attributes<'_>) -> LinkMode {
    let duplex = match entry.get(ETHTOOL_A_LINKMODES_DUPLEX).and_then(<[u8]>::first) {
        Some(0) => "Half",
        Some(1) => "Full",
        _ => "Unknown",
    };
    // The kernel's SPEED_UNKNOWN is -1.
    let megabits = entry.u32(ETHTOOL_A_LINKMODES_SPEED).filter(|speed| *speed != u32::MAX);
    LinkMode { duplex, speed_bytes: megabits.map(|m| bytes_a_second(m.into())) }
}

impl Collector for NetClassRtnl {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        let modes = self.link_modes(pass)?;
        let families = Families::new(out);
        let counters = self.with_counters.then(|| {
            COUNTER_NAMES.map(|name| {
                let help = "Network device counter of the kernel's rtnetlink statistics.";
                out.family(&format!("node_network_{name}_total"), help, Kind::Counter)
            })
        });
        let (filter, tree) = (&self.filter, &mut self.tree);
        let mut table = self.host.links();
        table.refresh(pass)?;
        for link in table.links() {
            let device = valid_utf8(link.name);
            if filter.ignores(&device) {
                continue;
            }
            link_samples(&link, &device, modes.get(link.name), &families, out);
            for attribute in FROM_SYSFS {
                if let Some(value) = tree.attribute(&[&device, attribute]).ok().and_then(whole) {
                    families.number(attribute, &device, value, out);
                }
            }
            for (family, value) in counters.iter().flatten().zip(link.counters().into_iter().flatten()) {
                out.sample(*family, &[("device", &device)], parse::value(value));
            }
        }
        Ok(())
    }
}

fn link_samples(link: &Link<'_>, device: &str, mode: Option<&LinkMode>, families: &Families, out: &mut Batch) {
    let byte = |kind| link.attributes.get(kind).and_then(|v| v.first().copied());
    let word = |kind| link.attributes.u32(kind).map(i64::from);
    let state = usize::from(byte(attribute::OPERATIONAL_STATE).unwrap_or_default());
    let info = Info {
        device,
        address: &hardware_address(link.attributes.get(attribute::ADDRESS)),
        broadcast: &hardware_address(link.attributes.get(attribute::BROADCAST)),
        duplex: mode.map_or("", |m| m.duplex),
        operstate: OPERATIONAL_STATES.get(state).copied().unwrap_or("unknown"),
        ifalias: &valid_utf8(link.attributes.text(attribute::ALIAS).unwrap_or_default()),
        flags: Some(link.flags.into()),
    };
    families.info(&info, out);
    let link_mode = byte(attribute::LINK_MODE).map(i64::from);
    let numbers = [
        ("speed", mode.and_then(|m| m.speed_bytes)),
        ("carrier", byte(attribute::CARRIER).map(i64::from)),
        ("carrier_changes", word(attribute::CARRIER_CHANGES)),
        ("carrier_up_count", word(attribute::CARRIER_UP_COUNT)),
        ("carrier_down_count", word(attribute::CARRIER_DOWN_COUNT)),
        ("flags", Some(link.flags.into())),
        ("ifindex", Some(link.index.into())),
        // The kernel sends the attribute only where it is another device's.
        ("iflink", word(attribute::LINK).or(Some(link.index.into()))),
        ("link_mode", link_mode),
        ("dormant", link_mode),
        ("mtu", word(attribute::MTU)),
        ("netdev_group", word(attribute::GROUP)),
        ("tx_queue_len", word(attribute::TRANSMIT_QUEUE_LENGTH)),
        ("type", Some(link.hardware_type.into())),
    ];
    for (attribute, value) in numbers {
        if let Some(value) = value {
            families.number(attribute, device, value, out);
        }
    }
}

pub(super) fn hardware_address(bytes: Option<&[u8]>) -> String {
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    let mut text = String::with_capacity(3 * bytes.map_or(0, <[u8]>::len));
    for byte in bytes.unwrap_or_default() {
        if !text.is_empty() {
            text.push(':');
        }
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Fixture;
    use super::hardware_address;

    #[test]
    fn the_loopback_over_netlink() {
        let text = Fixture::new()
            .option("netclass.netlink", "true")
            .option("netclass_rtnl.with-stats", "true")
            .option("netclass.ignored-devices", "^[^l]|^l[^o]")
            .file("sys/class/net/lo/name_assign_type", "2\n")
            .samples("netclass");
        for want in [
            "node_network_iface_id{device=\"lo\"} 1\n",
            "node_network_iface_link{device=\"lo\"} 1\n",
            "node_network_name_assign_type{device=\"lo\"} 2\n",
            "node_network_protocol_type{device=\"lo\"} 772\n",
            "node_network_receive_nohandler_total{device=\"lo\"} ",
            "node_network_info{address=\"00:00:00:00:00:00\",",
        ] {
            assert!(text.contains(want), "{want}: {text}");
        }
    }

    #[test]
    fn hardware_addresses_of_any_length() {
        assert_eq!(hardware_address(None), "");
        assert_eq!(hardware_address(Some(&[0x0a, 0, 1, 0xff])), "0a:00:01:ff");
    }
}
