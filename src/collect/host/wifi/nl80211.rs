//! Wireless facts from the kernel. Source: `include/uapi/linux/nl80211.h`; IEEE 802.11, element 0 (SSID).

use rustix::io::Errno;

use super::{Interface, Network, Source, Station, hardware_address, mode};
use crate::collect::generic_netlink::GenericNetlink;
use crate::collect::netlink::{Attributes, NetlinkError, u16_at, u64_at};
use crate::collect::{CollectError, Pass};
use crate::model::valid_utf8;

const GET_INTERFACE: u8 = 5;
const GET_STATION: u8 = 17;
const GET_SCAN: u8 = 32;
const IFINDEX: u16 = 3;
const IFNAME: u16 = 4;
const MAC: u16 = 6;
const STA_INFO: u16 = 21;
const WIPHY_FREQ: u16 = 38;
const BSS: u16 = 47;
const BSS_BSSID: u16 = 1;
const BSS_INFORMATION_ELEMENTS: u16 = 6;
const BSS_STATUS: u16 = 9;

pub(super) struct Kernel(GenericNetlink);

impl Default for Kernel {
    fn default() -> Self {
        Self(GenericNetlink::new("nl80211"))
    }
}

impl Source for Kernel {
    fn interfaces(&mut self, pass: &Pass) -> Result<Vec<Interface>, CollectError> {
        let mut found = Vec::new();
        let result = self.0.dump(GET_INTERFACE, &[], pass.deadline, |entry| {
            found.push(Interface {
                index: entry.u32(IFINDEX).unwrap_or_default(),
                name: valid_utf8(entry.text(IFNAME).unwrap_or_default()).into_owned(),
                megahertz: entry.u32(WIPHY_FREQ).unwrap_or_default().into(),
            });
        });
        match result {
            Ok(()) => Ok(found),
            Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::PERM | Errno::ACCESS)) => {
                Err(CollectError::NoData("no wireless interfaces to be seen".to_owned()))
            }
            Err(e) => Err(e.into()),
        }
    }

    fn network(&mut self, interface: &Interface, pass: &Pass) -> Result<Option<Network>, CollectError> {
        let mut found = None;
        let index = interface.index.to_ne_bytes();
        let result = self.0.dump(GET_SCAN, &[(IFINDEX, &index)], pass.deadline, |entry| {
            // Only the network that was joined has a status.
            let bss = entry.nested(BSS);
            if let (None, Some(status)) = (&found, bss.u32(BSS_STATUS)) {
                let elements = bss.get(BSS_INFORMATION_ELEMENTS).unwrap_or_default();
                found = Some(Network {
                    bssid: hardware_address(bss.get(BSS_BSSID).unwrap_or_default()),
                    ssid: ssid(elements).unwrap_or_default(),
                    mode: mode(status.into()),
                });
            }
        });
        if_supported(result)?;
        Ok(found)
    }

    fn stations(&mut self, interface: &Interface, pass: &Pass) -> Result<Vec<Station>, CollectError> {
        let mut found = Vec::new();
        let index = interface.index.to_ne_bytes();
        let result = self.0.dump(GET_STATION, &[(IFINDEX, &index)], pass.deadline, |entry| {
            found.push(station(entry));
        });
        if_supported(result)?;
        Ok(found)
    }
}

/// Not every kind of interface has networks or stations.
fn if_supported(result: Result<(), NetlinkError>) -> Result<(), CollectError> {
    match result {
        Err(e) if matches!(e.errno(), Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV)) => Ok(()),
        result => Ok(result?),
    }
}

/// NL80211_STA_INFO_*.
fn station(entry: Attributes<'_>) -> Station {
    let info = entry.nested(STA_INFO);
    let word = |kind| f64::from(info.u32(kind).unwrap_or_default());
    // The 64-bit counters came later; the 32-bit ones wrap.
    #[expect(clippy::cast_precision_loss, reason = "samples are f64")]
    let long = |kind, old| info.get(kind).and_then(|v| u64_at(v, 0)).map_or_else(|| word(old), |n| n as f64);
    let signal = info.get(7).and_then(<[u8]>::first).map_or(0, |b| b.cast_signed());
    Station {
        address: hardware_address(entry.get(MAC).unwrap_or_default()),
        connected_seconds: word(16),
        inactive_seconds: word(1) / 1e3,
        receive_bits_per_second: rate(info.nested(14)),
        transmit_bits_per_second: rate(info.nested(8)),
        received_bytes: long(23, 2),
        transmitted_bytes: long(24, 3),
        received_packets: word(9),
        transmitted_packets: word(10),
        signal_dbm: signal.into(),
        transmit_retries: word(11),
        transmit_failed: word(12),
        beacon_loss: word(18),
    }
}

/// NL80211_RATE_INFO_BITRATE32, or the 16-bit one of old kernels; units of 100 kilobits a second.
fn rate(info: Attributes<'_>) -> f64 {
    let old = || info.get(1).and_then(|v| u16_at(v, 0)).map(u32::from);
    f64::from(info.u32(5).or_else(old).unwrap_or_default()) * 1e5
}

/// Elements are a type, a length and that many bytes. Control characters of a name are left out.
fn ssid(elements: &[u8]) -> Option<String> {
    let mut rest = elements;
    loop {
        let [kind, length, after @ ..] = rest else { return None };
        let (value, tail) = after.split_at_checked((*length).into())?;
        if *kind == 0 {
            return Some(valid_utf8(value).chars().filter(|c| !c.is_control()).collect());
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::collect::netlink::push_attribute;
    use crate::model::Timestamp;

    #[test]
    fn names_of_networks() {
        assert_eq!(ssid(&[1, 2, 9, 9, 0, 3, b'a', 0, b'b']).as_deref(), Some("ab"));
        assert_eq!(ssid(&[0, 5, b'a']), None);
        assert_eq!(ssid(&[1]), None);
    }

    #[test]
    fn stations_of_old_and_new_kernels() {
        let (mut rate, mut info, mut entry) = (Vec::new(), Vec::new(), Vec::new());
        push_attribute(&mut rate, 1, &650_u16.to_ne_bytes());
        push_attribute(&mut info, 1, &1_500_u32.to_ne_bytes());
        push_attribute(&mut info, 2, &7_u32.to_ne_bytes());
        push_attribute(&mut info, 24, &u64::MAX.to_ne_bytes());
        push_attribute(&mut info, 7, &[0xcc]);
        push_attribute(&mut info, 14, &rate);
        push_attribute(&mut entry, MAC, &[1, 2, 3, 4, 5, 6]);
        push_attribute(&mut entry, STA_INFO, &info);
        let got = station(Attributes::after(&entry, 0));
        assert_eq!((got.address.as_str(), got.inactive_seconds, got.signal_dbm), ("01:02:03:04:05:06", 1.5, -52.0));
        assert_eq!((got.received_bytes, got.receive_bits_per_second, got.beacon_loss), (7.0, 65e6, 0.0));
        assert!(got.transmitted_bytes > 1e19);
        assert_eq!(station(Attributes::after(&[], 0)), Station::default());
    }

    #[test]
    fn a_machine_with_or_without_wireless_answers() {
        let pass = Pass { now: Timestamp::from_millis(0), deadline: Instant::now() + Duration::from_secs(20) };
        match Kernel::default().interfaces(&pass) {
            Ok(_) | Err(CollectError::NoData(_)) => {}
            Err(e) => panic!("{e}"),
        }
    }
}
