//! Routes of the network. Source: rtnetlink's RTM_GETROUTE (`include/uapi/linux/rtnetlink.h`); it
//! describes the network namespace we run in.

use std::collections::BTreeMap;

use crate::collect::netlink::{Attributes, Netlink, Protocol, u16_at, u32_at};
use crate::collect::{CollectError, Collector, Pass, Spec, addresses};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "network_route",
    on_by_default: false,
    help: "Routes by device, with their properties.",
    flags: &[],
    build: |_, _| Ok(Box::new(NetworkRoute { socket: Netlink::new(Protocol::Route) })),
};

struct NetworkRoute {
    socket: Netlink,
}

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// Bytes of `struct rtmsg`.
const ROUTE_HEADER_BYTES: usize = 12;
/// A gateway or direct route; local, broadcast and multicast ones are left out.
const RTN_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
/// The address that packets on this route are sent from, which `ip route` calls `src`; not `RTA_SRC`, a match.
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
/// Bytes of `struct rtnexthop`.
const NEXT_HOP_HEADER_BYTES: usize = 8;

/// One way a route goes.
#[derive(Debug, PartialEq, Eq)]
struct Hop {
    interface: u32,
    source: String,
    destination: String,
    gateway: String,
    priority: u32,
    protocol: &'static str,
    /// Empty unless the route has several ways.
    weight: String,
}

impl Collector for NetworkRoute {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut hops = Vec::new();
        self.socket.dump(RTM_GETROUTE, &[0; ROUTE_HEADER_BYTES], pass.deadline, |kind, payload| {
            if kind == RTM_NEWROUTE {
                push_hops(payload, &mut hops);
            }
        })?;
        let info = out.family("node_network_route_info", "Properties of a route; always 1.", Kind::Gauge);
        let count = out.family("node_network_routes", "Routes over a device.", Kind::Gauge);
        let mut names: BTreeMap<u32, String> = BTreeMap::new();
        let mut routes: BTreeMap<u32, u32> = BTreeMap::new();
        for hop in &hops {
            let device = names
                .entry(hop.interface)
                .or_insert_with(|| self.socket.interface_name(hop.interface).unwrap_or_default());
            let labels = [
                ("dest", hop.destination.as_str()),
                ("device", device.as_str()),
                ("gw", &hop.gateway),
                ("priority", &hop.priority.to_string()),
                ("proto", hop.protocol),
                ("src", &hop.source),
                ("weight", &hop.weight),
            ];
            out.sample(info, &labels, 1.0);
            *routes.entry(hop.interface).or_default() += 1;
        }
        for (interface, routes) in routes {
            let device = names.get(&interface).map_or("", String::as_str);
            out.sample(count, &[("device", device)], f64::from(routes));
        }
        Ok(())
    }
}

fn push_hops(payload: &[u8], hops: &mut Vec<Hop>) {
    let (Some(prefix_bits), Some(protocol), Some(&RTN_UNICAST)) =
        (payload.get(1), payload.get(5), payload.get(7))
    else {
        return;
    };
    let attributes = Attributes::after(payload, ROUTE_HEADER_BYTES);
    let address = |bytes: Option<&[u8]>| bytes.and_then(addresses::from_bytes).map(addresses::shown);
    let destination = address(attributes.get(RTA_DST)).map(|ip| format!("{ip}/{prefix_bits}"));
    let hop = |interface, gateway, weight| Hop {
        interface,
        source: address(attributes.get(RTA_PREFSRC)).unwrap_or_default(),
        destination: destination.clone().unwrap_or_else(|| "default".to_owned()),
        gateway: address(gateway).unwrap_or_default(),
        priority: attributes.u32(RTA_PRIORITY).unwrap_or_default(),
        protocol: protocol_name(*protocol),
        weight,
    };
    match attributes.get(RTA_MULTIPATH) {
        Some(ways) => hops.extend(next_hops(ways).map(|way| {
            hop(way.interface, way.attributes.get(RTA_GATEWAY), (u32::from(way.hops) + 1).to_string())
        })),
        None => {
            let interface = attributes.u32(RTA_OIF).unwrap_or_default();
            hops.push(hop(interface, attributes.get(RTA_GATEWAY), String::new()));
        }
    }
}

struct NextHop<'a> {
    /// Weight less one.
    hops: u8,
    interface: u32,
    attributes: Attributes<'a>,
}

fn next_hops(bytes: &[u8]) -> impl Iterator<Item = NextHop<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let attributes = Attributes::new(rest.get(NEXT_HOP_HEADER_BYTES..length)?);
        let way = NextHop { hops: *rest.get(3)?, interface: u32_at(rest, 4)?, attributes };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(way)
    })
}

/// Who made a route (RTPROT_*).
const fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        0 => "unspec",
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        18 => "keepalived",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;
    use crate::collect::netlink::push_attribute;

    fn route(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut payload = vec![2, 24, 0, 0, 254, 16, 0, kind, 0, 0, 0, 0];
        attributes.iter().for_each(|(kind, value)| push_attribute(&mut payload, *kind, value));
        payload
    }

    fn hops(payload: &[u8]) -> Vec<String> {
        let mut hops = Vec::new();
        push_hops(payload, &mut hops);
        let shown = |h: &Hop| {
            let Hop { interface, destination, source, gateway, priority, protocol, weight } = h;
            format!("{interface} {destination} from {source} via {gateway} {priority} {protocol} {weight}")
        };
        hops.iter().map(shown).collect()
    }

    #[test]
    fn one_way_and_several() {
        let oif = 7_u32.to_ne_bytes();
        let direct = route(1, &[(RTA_DST, &[10, 1, 2, 0]), (RTA_OIF, &oif), (RTA_PREFSRC, &[10, 1, 2, 3])]);
        assert_eq!(hops(&direct), ["7 10.1.2.0/24 from 10.1.2.3 via  0 dhcp "]);
        let default = route(1, &[(RTA_OIF, &oif), (RTA_GATEWAY, &[10, 0, 0, 1]), (RTA_PRIORITY, &oif)]);
        assert_eq!(hops(&default), ["7 default from  via 10.0.0.1 7 dhcp "]);
        let mut ways = Vec::new();
        for (interface, gateway) in [(3_u32, [10, 0, 0, 1]), (4, [10, 0, 0, 2])] {
            let mut way = vec![16, 0, 0, 4];
            way[..2].copy_from_slice(&16_u16.to_ne_bytes());
            way.extend(interface.to_ne_bytes());
            push_attribute(&mut way, RTA_GATEWAY, &gateway);
            ways.extend(way);
        }
        let several = route(1, &[(RTA_MULTIPATH, &ways)]);
        assert_eq!(hops(&several), ["3 default from  via 10.0.0.1 0 dhcp 5", "4 default from  via 10.0.0.2 0 dhcp 5"]);
    }

    #[test]
    fn local_routes_and_garbage_are_left_out() {
        assert!(hops(&route(2, &[])).is_empty() && hops(&[1, 2, 3]).is_empty());
    }

    #[test]
    fn the_kernel_answers() {
        let text = Fixture::new().samples("network_route");
        assert!(text.lines().all(|l| l.starts_with("node_network_route")), "{text}");
    }
}
