//! What network drivers tell of themselves: link capabilities, versions, and counters under names of
//! their own. Source: kernel `include/uapi/linux/ethtool.h`.
//!
//! Devices are those of `/sys/class/net`; the questions go to the network namespace we run in. A
//! driver that cannot answer one question is asked the next.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use regex::Regex;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::collect::links::devices_in;
use crate::collect::os::ethtool::{Counters, DriverInfo, LinkSettings, NAME_BYTES, driver_info, link_settings};
use crate::collect::{BuildError, CollectError, Collector, Flag, FlagKind, NameFilter, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

mod link_modes;

pub(super) static SPEC: Spec = Spec {
    name: "ethtool",
    on_by_default: false,
    help: "Link capabilities, versions and counters of network drivers.",
    flags: &[
        Flag::new("ethtool.device-include", FlagKind::Regex(""), "Devices to include; not with device-exclude."),
        Flag::new("ethtool.device-exclude", FlagKind::Regex(""), "Devices to exclude; not with device-include."),
        Flag::new("ethtool.metrics-include", FlagKind::Regex(".*"), "Driver counters to include."),
    ],
    build: |host, options| {
        Ok(Box::new(Ethtool {
            directory: host.paths.sys("class/net"),
            filter: NameFilter::exclusive("ethtool", options, "ethtool.device-include", "ethtool.device-exclude")?,
            naming: Naming::new(options.regex("ethtool.metrics-include"))?,
            socket: None,
            counters: Counters::default(),
            known: BTreeMap::new(),
        }))
    },
};

struct Ethtool {
    directory: PathBuf,
    filter: NameFilter,
    naming: Naming,
    socket: Option<OwnedFd>,
    counters: Counters,
    /// Of each device, the counters it had last and their families.
    known: BTreeMap<String, Known>,
}

/// Names as the driver has them, and the family of each; `None` for those left out.
#[derive(Default)]
struct Known {
    names: Vec<[u8; NAME_BYTES]>,
    families: Vec<Option<Named>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    family: String,
    help: String,
}

impl Collector for Ethtool {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let devices = match devices_in(&self.directory) {
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(CollectError::NoData(format!("{}: {e}", self.directory.display())));
            }
            devices => devices.map_err(|e| CollectError::reading(&self.directory, e))?,
        };
        if devices.is_empty() {
            return Err(CollectError::Other("no network devices found".to_owned()));
        }
        self.known.retain(|device, _| devices.contains(device));
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open().map_err(|e| CollectError::Other(format!("socket: {e}")))?,
        };
        for device in devices.iter().filter(|device| self.filter.passes(device)) {
            // A driver may have to ask its firmware.
            if Instant::now() >= pass.deadline {
                break;
            }
            if let Ok(settings) = link_settings(&socket, device) {
                link_samples(device, settings, out);
            }
            let Ok(driver) = driver_info(&socket, device) else { continue };
            info_sample(device, &driver, out);
            if driver.counters > 0 && self.counters.read(&socket, device, driver.counters).is_ok() {
                let known = self.known.entry(device.clone()).or_default();
                counter_samples(device, &self.counters, known, &self.naming, out);
            }
        }
        self.socket = Some(socket);
        Ok(())
    }
}

fn open() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

fn link_samples(device: &str, settings: LinkSettings, out: &mut Batch) {
    link_modes::samples(device, link_modes::Side::Supported, settings.supported, out);
    link_modes::samples(device, link_modes::Side::Advertised, settings.advertised, out);
    let help = "Whether the port uses autonegotiation.";
    out.gauge("node_network_autonegotiate", help, &[("device", device)], f64::from(settings.autonegotiation));
}

fn info_sample(device: &str, driver: &DriverInfo, out: &mut Batch) {
    let labels = [
        ("bus_info", &*valid_utf8(&driver.bus_info)),
        ("device", device),
        ("driver", &*valid_utf8(&driver.driver)),
        ("expansion_rom_version", &*valid_utf8(&driver.expansion_rom_version)),
        ("firmware_version", &*valid_utf8(&driver.firmware_version)),
        ("version", &*valid_utf8(&driver.version)),
    ];
    out.gauge("node_ethtool_info", "Driver of a network device; always 1.", &labels, 1.0);
}

fn counter_samples(device: &str, counters: &Counters, known: &mut Known, naming: &Naming, out: &mut Batch) {
    if !counters.iter().map(|(name, _)| name).eq(known.names.iter().copied()) {
        known.names = counters.iter().map(|(name, _)| name).collect();
        known.families = naming.families(&known.names);
    }
    for (named, (_, value)) in known.families.iter().zip(counters.iter()) {
        if let Some(Named { family, help }) = named {
            out.untyped(family, help, &[("device", device)], parse::value(value));
        }
    }
}

/// How a driver's names become families.
struct Naming {
    include: Option<Regex>,
    not_in_names: Regex,
    received: Regex,
    transmitted: Regex,
}

/// Counters that nearly every driver has: their families are older than the rule.
const COMMON: [(&str, &str, &str); 7] = [
    ("rx_bytes", "node_ethtool_received_bytes_total", "Bytes received."),
    ("rx_dropped", "node_ethtool_received_dropped_total", "Frames dropped on reception."),
    ("rx_errors", "node_ethtool_received_errors_total", "Frames received with errors."),
    ("rx_packets", "node_ethtool_received_packets_total", "Packets received."),
    ("tx_bytes", "node_ethtool_transmitted_bytes_total", "Bytes sent."),
    ("tx_errors", "node_ethtool_transmitted_errors_total", "Frames sent with errors."),
    ("tx_packets", "node_ethtool_transmitted_packets_total", "Packets sent."),
];

impl Naming {
    fn new(include: Option<Regex>) -> Result<Self, BuildError> {
        let regex = |pattern| {
            Regex::new(pattern).map_err(|e| BuildError { collector: "ethtool", what: e.to_string() })
        };
        Ok(Self {
            include,
            not_in_names: regex("_*[^0-9A-Za-z_]+_*")?,
            received: regex("(^|_)rx(_|$)")?,
            transmitted: regex("(^|_)tx(_|$)")?,
        })
    }

    /// The family of each name. Two names that come to the same family are both left out, and of a
    /// name that a driver has twice the last counts.
    fn families(&self, names: &[[u8; NAME_BYTES]]) -> Vec<Option<Named>> {
        let names: Vec<_> = names
            .iter()
            .map(|name| valid_utf8(name.split(|b| *b == 0).next().unwrap_or_default()))
            .collect();
        let last: BTreeMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (&**name, at)).collect();
        let mut families: Vec<Option<Named>> = vec![None; names.len()];
        let mut users: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (name, at) in last {
            if name.is_empty() || self.include.as_ref().is_some_and(|r| !r.is_match(name)) {
                continue;
            }
            users.entry(self.family(name)).or_default().push(at);
        }
        for (family, users) in users {
            let [at] = users.as_slice() else { continue };
            let (Some(name), Some(slot)) = (names.get(*at), families.get_mut(*at)) else { continue };
            let common = COMMON.iter().find(|(common, ..)| common == name);
            *slot = Some(match common {
                Some((_, family, help)) => Named { family: (*family).to_owned(), help: (*help).to_owned() },
                None => Named { help: format!("Driver counter {name}."), family },
            });
        }
        families
    }

    fn family(&self, name: &str) -> String {
        let name = self.not_in_names.replace_all(name, "_").to_lowercase();
        let name = self.received.replace_all(name.trim_start_matches('_'), "${1}received${2}");
        format!("node_ethtool_{}", self.transmitted.replace_all(&name, "${1}transmitted${2}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    fn families(names: &[&str], include: &str) -> Vec<String> {
        let names: Vec<_> = names
            .iter()
            .map(|name| {
                let mut bytes = [0; NAME_BYTES];
                bytes[..name.len()].copy_from_slice(name.as_bytes());
                bytes
            })
            .collect();
        let naming = Naming::new(Regex::new(include).ok()).unwrap();
        naming.families(&names).into_iter().map(|f| f.map_or("-".to_owned(), |f| f.family)).collect()
    }

    #[test]
    fn names_of_families() {
        for (name, want) in [
            ("rx_bytes", "node_ethtool_received_bytes_total"),
            ("tx_multi_collisions", "node_ethtool_transmitted_multi_collisions"),
            ("port.rx_dropped", "node_ethtool_port_received_dropped"),
            ("queue_0_tx", "node_ethtool_queue_0_transmitted"),
            ("  tx-Weird__(name)", "node_ethtool_transmitted_weird_name_"),
            ("matrix", "node_ethtool_matrix"),
            ("", "-"),
        ] {
            assert_eq!(families(&[name], ".*"), [want], "{name}");
        }
    }

    #[test]
    fn clashing_names_are_left_out_and_of_equal_ones_the_last_counts() {
        assert_eq!(families(&["a-b", "a_b", "a.b", "c"], ".*"), ["-", "-", "-", "node_ethtool_c"]);
        assert_eq!(families(&["a", "a"], ".*"), ["-", "node_ethtool_a"]);
        assert_eq!(families(&["rx_errors", "b"], "^rx"), ["node_ethtool_received_errors_total", "-"]);
    }

    #[test]
    fn live_and_without_devices() {
        let text = Fixture::new().dir("sys/class/net/lo").dir("sys/class/net/none").samples("ethtool");
        assert!(!text.contains("none"), "{text}");
        assert!(Fixture::new().error("ethtool").contains("no data"));
        assert!(Fixture::new().dir("sys/class/net").error("ethtool").contains("no network devices"));
    }
}
