//! The network links of our namespace, from rtnetlink's RTM_GETLINK.
//!
//! Sources: kernel `include/uapi/linux/if_link.h`, `Documentation/networking/statistics.rst`.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::Pass;
use super::netlink::{Attributes, Netlink, NetlinkError, Protocol, push_attribute, u16_at, u32_at, u64_at};
use crate::model::Timestamp;

const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
/// Bytes of `struct ifinfomsg`.
const LINK_HEADER_BYTES: usize = 16;
const IFLA_EXT_MASK: u16 = 29;
/// Leaves out the per-address-family statistics, half of an answer and read by nobody here.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

/// Attributes of a link.
pub(crate) mod attribute {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const BROADCAST: u16 = 2;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const MTU: u16 = 4;
    pub(crate) const LINK: u16 = 5;
    pub(crate) const STATISTICS_32: u16 = 7;
    pub(crate) const TRANSMIT_QUEUE_LENGTH: u16 = 13;
    pub(crate) const OPERATIONAL_STATE: u16 = 16;
    pub(crate) const LINK_MODE: u16 = 17;
    pub(crate) const ALIAS: u16 = 20;
    pub(crate) const STATISTICS_64: u16 = 23;
    pub(crate) const GROUP: u16 = 27;
    pub(crate) const CARRIER: u16 = 33;
    pub(crate) const CARRIER_CHANGES: u16 = 35;
    pub(crate) const CARRIER_UP_COUNT: u16 = 47;
    pub(crate) const CARRIER_DOWN_COUNT: u16 = 48;
}

/// Counters of a link, in the order of `struct rtnl_link_stats64`; what an older kernel does not
/// know is 0.
pub(crate) type LinkCounters = [u64; 24];

/// Names of [`LinkCounters`], as node_exporter's detailed metrics have them.
pub(crate) const COUNTER_NAMES: [&str; 24] = [
    "receive_packets",
    "transmit_packets",
    "receive_bytes",
    "transmit_bytes",
    "receive_errors",
    "transmit_errors",
    "receive_dropped",
    "transmit_dropped",
    "multicast",
    "collisions",
    "receive_length_errors",
    "receive_over_errors",
    "receive_crc_errors",
    "receive_frame_errors",
    "receive_fifo_errors",
    "receive_missed_errors",
    "transmit_aborted_errors",
    "transmit_carrier_errors",
    "transmit_fifo_errors",
    "transmit_heartbeat_errors",
    "transmit_window_errors",
    "receive_compressed",
    "transmit_compressed",
    "receive_nohandler",
];

/// One link of a dump.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) index: u32,
    /// ARPHRD_*: 1 is Ethernet.
    pub(crate) hardware_type: u16,
    /// IFF_*.
    pub(crate) flags: u32,
    pub(crate) name: &'a [u8],
    pub(crate) attributes: Attributes<'a>,
}

impl<'a> Link<'a> {
    fn parse(payload: &'a [u8]) -> Option<Self> {
        let attributes = Attributes::after(payload, LINK_HEADER_BYTES);
        Some(Self {
            index: u32_at(payload, 4)?,
            hardware_type: u16_at(payload, 2)?,
            flags: u32_at(payload, 8)?,
            name: attributes.text(attribute::NAME)?,
            attributes,
        })
    }

    /// The 64-bit counters, or the 32-bit ones of a kernel without; `None` where it sends neither.
    pub(crate) fn counters(&self) -> Option<LinkCounters> {
        let mut counters = LinkCounters::default();
        if let Some(bytes) = self.attributes.get(attribute::STATISTICS_64) {
            for (at, counter) in counters.iter_mut().enumerate() {
                *counter = u64_at(bytes, at * 8).unwrap_or_default();
            }
        } else {
            let bytes = self.attributes.get(attribute::STATISTICS_32)?;
            for (at, counter) in counters.iter_mut().enumerate() {
                *counter = u32_at(bytes, at * 4).map_or(0, u64::from);
            }
        }
        Some(counters)
    }
}

/// The links as of one pass, asked for once for all collectors that want them.
#[derive(Debug)]
pub(crate) struct LinkTable {
    socket: Netlink,
    /// When it was asked for, and by when the answer had to be there: no two passes have both the same.
    pass: Option<(Timestamp, Instant)>,
    /// The kernel's messages, one after the other, and where each ends.
    messages: Vec<u8>,
    ends: Vec<usize>,
}

impl Default for LinkTable {
    fn default() -> Self {
        Self { socket: Netlink::new(Protocol::Route), pass: None, messages: Vec::new(), ends: Vec::new() }
    }
}

impl LinkTable {
    /// Asks the kernel, unless that was done in this pass.
    ///
    /// # Errors
    /// As [`Netlink::dump`].
    pub(crate) fn refresh(&mut self, pass: &Pass) -> Result<(), NetlinkError> {
        let this = Some((pass.now, pass.deadline));
        if self.pass == this {
            return Ok(());
        }
        self.pass = None;
        self.messages.clear();
        self.ends.clear();
        let mut request = vec![0; LINK_HEADER_BYTES];
        push_attribute(&mut request, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        let (messages, ends) = (&mut self.messages, &mut self.ends);
        self.socket.dump(RTM_GETLINK, &request, pass.deadline, |kind, payload| {
            if kind == RTM_NEWLINK {
                messages.extend_from_slice(payload);
                ends.push(messages.len());
            }
        })?;
        self.pass = this;
        Ok(())
    }

    /// The links, in the kernel's order.
    pub(crate) fn links(&self) -> impl Iterator<Item = Link<'_>> {
        let mut begin = 0;
        self.ends.iter().filter_map(move |end| {
            let message = self.messages.get(begin..*end)?;
            begin = *end;
            Link::parse(message)
        })
    }
}

/// Names of the devices in `/sys/class/net`, sorted; regular files beside them (`bonding_masters`)
/// are none, and neither are names that are not UTF-8.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn devices_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut devices = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            devices.push(name);
        }
    }
    devices.sort_unstable();
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn link(statistics: u16, value: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; LINK_HEADER_BYTES];
        payload[4] = 7;
        push_attribute(&mut payload, attribute::NAME, b"eth0\0");
        push_attribute(&mut payload, statistics, value);
        payload
    }

    #[test]
    fn counters_of_both_widths_and_short_ones() {
        let wide: Vec<u8> = (1..=25_u64).flat_map(u64::to_ne_bytes).collect();
        let narrow: Vec<u8> = (1..=24_u32).flat_map(u32::to_ne_bytes).collect();
        for (kind, value, last) in [
            (attribute::STATISTICS_64, wide.as_slice(), 24),
            (attribute::STATISTICS_32, &narrow, 24),
            (attribute::STATISTICS_64, &wide[..23 * 8], 0),
        ] {
            let payload = link(kind, value);
            let link = Link::parse(&payload).unwrap();
            assert_eq!((link.index, link.name), (7, b"eth0".as_slice()));
            let counters = link.counters().unwrap();
            assert_eq!((counters[0], counters[22], counters[23]), (1, 23, last));
        }
        assert!(Link::parse(&link(attribute::MTU, &[0; 4])).unwrap().counters().is_none());
        assert!(Link::parse(&[0; 15]).is_none());
    }

    #[test]
    fn the_loopback_is_there() {
        let mut table = LinkTable::default();
        let pass = Pass { now: Timestamp::default(), deadline: Instant::now() + Duration::from_secs(20) };
        for _ in 0..2 {
            table.refresh(&pass).unwrap();
            assert!(table.links().all(|link| link.counters().is_some()));
            assert_eq!(table.links().filter(|link| link.name == b"lo").count(), 1);
        }
        let late = Pass { deadline: Instant::now(), ..pass };
        assert!(table.refresh(&late).is_err());
        assert_eq!(table.links().count(), 0, "nothing old is left");
        table.refresh(&pass).unwrap();
        assert!(table.links().next().is_some(), "what failed is asked again");
    }
}
