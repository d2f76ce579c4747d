//! Properties of network devices: addresses, state, speed, MTU.
//!
//! Sources: kernel `Documentation/ABI/testing/sysfs-class-net`, most of it as rtnetlink says the same for all
//! devices at once, see [`told`]; with `--collector.netclass.netlink` rtnetlink and ethtool netlink, see [`rtnl`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use regex::Regex;
use rustc_hash::FxHashMap;

use crate::collect::links::devices_in;
use crate::collect::{CollectError, Collector, Flag, FlagKind, Host, Pass, Spec, Tree, parse};
use crate::model::{Batch, FamilyId, Kind, valid_utf8};

mod rtnl;
mod told;

use told::{Said, Told};

pub(super) static SPEC: Spec = Spec {
    name: "netclass",
    on_by_default: true,
    help: "Addresses, state, speed and MTU of network devices.",
    flags: &[
        Flag::new("netclass.ignored-devices", FlagKind::Regex("^$"), "Devices to leave out."),
        Flag::new(
            "netclass.ignore-invalid-speed",
            FlagKind::Switch(false),
            "Leave out the speed of devices that report an unknown speed as a negative one.",
        ),
        Flag::new("netclass.netlink", FlagKind::Switch(false), "Read netlink instead of /sys/class/net."),
        Flag::new(
            "netclass_rtnl.with-stats",
            FlagKind::Switch(false),
            "With netclass.netlink: expose the traffic counters too, in place of the collector netdev.",
        ),
    ],
    build: |host, options| {
        let directory = host.paths.sys("class/net");
        let filter = Filter {
            ignored: options.regex("netclass.ignored-devices"),
            ignore_invalid_speed: options.switch("netclass.ignore-invalid-speed"),
        };
        let tree = Tree::new(directory.clone(), host.descriptors.clone());
        if options.switch("netclass.netlink") {
            let with_counters = options.switch("netclass_rtnl.with-stats");
            return Ok(Box::new(rtnl::NetClassRtnl::new(filter, tree, with_counters, host.clone())));
        }
        let told = Told::of_running_kernel(host);
        Ok(Box::new(NetClass {
            directory,
            host: host.clone(),
            listed: None,
            lasting: Lasting::default(),
            tree,
            filter,
            told,
            texts: Default::default(),
        }))
    },
};

struct Filter {
    ignored: Option<Regex>,
    ignore_invalid_speed: bool,
}

impl Filter {
    fn ignores(&self, device: &str) -> bool {
        self.ignored.as_ref().is_some_and(|r| r.is_match(device))
    }
}

struct NetClass {
    directory: PathBuf,
    host: Host,
    /// The devices, and how many announcements of the kernel's there were before they were listed.
    listed: Option<(u64, Arc<[String]>)>,
    /// What they said of [`LASTING`] since then.
    lasting: Lasting,
    tree: Tree,
    filter: Filter,
    told: Option<Told>,
    texts: [String; TEXTS.len()],
}

/// See [`LASTING`].
#[derive(Default)]
struct Lasting {
    known: FxHashMap<String, [Option<i64>; LASTING.len()]>,
    /// Whether the kernel would say when a device is another one.
    remembers: bool,
}

impl Lasting {
    /// The number in a file; of what lasts, the one that was read before.
    fn read(&mut self, tree: &mut Tree, device: &str, attribute: &str) -> Option<i64> {
        let mut read = |name| tree.attribute(&[device, name]).ok().and_then(whole);
        let Some(at) = LASTING.iter().position(|lasting| *lasting == attribute) else { return read(attribute) };
        if let Some(known) = self.known.get(device) {
            return known.get(at).copied().flatten();
        }
        let numbers = LASTING.map(read);
        if self.remembers {
            self.known.insert(device.to_owned(), numbers);
        }
        numbers.get(at).copied().flatten()
    }
}

/// Attributes that become labels of `node_network_info`.
const TEXTS: [&str; 5] = ["address", "broadcast", "duplex", "operstate", "ifalias"];

/// Attributes that a device has from its beginning, or from when it was given another name: that is announced as well.
const LASTING: [&str; 2] = ["dev_id", "name_assign_type"];

/// Attribute, family, help, type.
const NUMBERS: [(&str, &str, &str, Kind); 17] = [
    ("addr_assign_type", "node_network_address_assign_type", "How the address was chosen (0: permanent, 1: random, 2: stolen, 3: set).", Kind::Gauge),
    ("carrier", "node_network_carrier", "Whether there is a link.", Kind::Gauge),
    ("carrier_changes", "node_network_carrier_changes_total", "Times the link came or went.", Kind::Counter),
    ("carrier_up_count", "node_network_carrier_up_changes_total", "Times the link came.", Kind::Counter),
    ("carrier_down_count", "node_network_carrier_down_changes_total", "Times the link went.", Kind::Counter),
    ("dev_id", "node_network_device_id", "Number of the device among those that share an address.", Kind::Gauge),
    ("dormant", "node_network_dormant", "Whether the device waits for something, such as authentication.", Kind::Gauge),
    ("flags", "node_network_flags", "Flags of the device (IFF_*).", Kind::Gauge),
    ("ifindex", "node_network_iface_id", "Index of the device.", Kind::Gauge),
    ("iflink", "node_network_iface_link", "Index of the device it is linked to, or its own.", Kind::Gauge),
    ("link_mode", "node_network_iface_link_mode", "Link mode (0: default, 1: dormant).", Kind::Gauge),
    ("mtu", "node_network_mtu_bytes", "Largest packet, bytes.", Kind::Gauge),
    ("name_assign_type", "node_network_name_assign_type", "How the name was chosen (1: by the kernel, 2: predictably, 3: by the user, 4: renamed).", Kind::Gauge),
    ("netdev_group", "node_network_net_dev_group", "Group of the device.", Kind::Gauge),
    ("speed", "node_network_speed_bytes", "Speed of the link, bytes a second.", Kind::Gauge),
    ("tx_queue_len", "node_network_transmit_queue_length", "Packets the transmit queue holds.", Kind::Gauge),
    ("type", "node_network_protocol_type", "Hardware type (ARPHRD_*).", Kind::Gauge),
];

/// Families that both sources fill.
struct Families {
    up: FamilyId,
    info: FamilyId,
    numbers: [FamilyId; NUMBERS.len()],
}

/// Labels of `node_network_info`.
struct Info<'a> {
    device: &'a str,
    address: &'a str,
    broadcast: &'a str,
    duplex: &'a str,
    operstate: &'a str,
    ifalias: &'a str,
    flags: Option<i64>,
}

impl Families {
    fn new(out: &mut Batch) -> Self {
        Self {
            up: out.family("node_network_up", "Whether the operational state is up.", Kind::Gauge),
            info: out.family("node_network_info", "Properties of a network device; always 1.", Kind::Gauge),
            numbers: NUMBERS.map(|(_, name, help, kind)| out.family(name, help, kind)),
        }
    }

    fn info(&self, info: &Info<'_>, out: &mut Batch) {
        const IFF_UP: i64 = 1;
        let up = if info.operstate == "up" { 1.0 } else { 0.0 };
        out.sample(self.up, &[("device", info.device)], up);
        let adminstate = match info.flags {
            None => "unknown",
            Some(flags) if flags & IFF_UP != 0 => "up",
            Some(_) => "down",
        };
        let labels = [
            ("address", info.address),
            ("adminstate", adminstate),
            ("broadcast", info.broadcast),
            ("device", info.device),
            ("duplex", info.duplex),
            ("ifalias", info.ifalias),
            ("operstate", info.operstate),
        ];
        out.sample(self.info, &labels, 1.0);
    }

    fn number(&self, attribute: &str, device: &str, value: i64, out: &mut Batch) {
        let at = NUMBERS.iter().position(|(name, ..)| *name == attribute);
        if let Some(family) = at.and_then(|at| self.numbers.get(at)) {
            #[expect(clippy::cast_precision_loss, reason = "samples are f64")]
            out.sample(*family, &[("device", device)], value as f64);
        }
    }
}

/// A whole number, decimal or `0x` hexadecimal.
fn whole(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"0x") {
        Some(digits) => i64::try_from(parse::hexadecimal(digits)?).ok(),
        None => parse::signed(text),
    }
}

/// From megabits; an unknown speed is -1.
const fn bytes_a_second(megabits: i64) -> i64 {
    megabits.saturating_mul(1_000_000) / 8
}

impl Collector for NetClass {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        let devices = self.devices(pass)?;
        if let Some(told) = &mut self.told {
            told.refresh(pass, &devices, &mut self.tree);
        }
        let families = Families::new(out);
        for device in &*devices {
            if !self.filter.ignores(device) {
                self.device(device, &families, out);
            }
        }
        Ok(())
    }
}

impl NetClass {
    /// The devices: listed again once the kernel has announced one that came, went or was renamed.
    fn devices(&mut self, pass: &Pass) -> Result<Arc<[String]>, CollectError> {
        let announced = self.host.announced(pass);
        if let Some((at, devices)) = &self.listed
            && announced == Some(*at)
        {
            return Ok(Arc::clone(devices));
        }
        self.lasting.known.clear();
        self.listed = None;
        let devices: Arc<[String]> = match devices_in(&self.directory) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                return Err(CollectError::NoData(format!("{}: {e}", self.directory.display())));
            }
            devices => devices.map_err(|e| CollectError::reading(&self.directory, e))?.into(),
        };
        self.listed = announced.map(|at| (at, Arc::clone(&devices)));
        self.lasting.remembers = self.listed.is_some();
        Ok(devices)
    }

    /// An attribute that cannot be read is left out: many drivers answer "invalid argument".
    fn device(&mut self, device: &str, families: &Families, out: &mut Batch) {
        let said = self.told.as_ref().and_then(|told| told.device(device));
        for (text, name) in self.texts.iter_mut().zip(TEXTS) {
            text.clear();
            if let Some(value) = said.and_then(|s| s.text(name)) {
                text.push_str(value);
            } else if let Ok(value) = self.tree.attribute(&[device, name]) {
                text.push_str(&valid_utf8(value));
            }
        }
        let mut flags = None;
        for (attribute, ..) in NUMBERS {
            let value = match said.map_or(Said::Unknown, |s| s.number(attribute)) {
                Said::Number(value) => Some(value),
                Said::Nothing => None,
                Said::Unknown => self.lasting.read(&mut self.tree, device, attribute),
            };
            let Some(mut value) = value else { continue };
            match attribute {
                "flags" => flags = Some(value),
                "speed" if value < 0 && self.filter.ignore_invalid_speed => continue,
                "speed" => value = bytes_a_second(value),
                _ => {}
            }
            families.number(attribute, device, value, out);
        }
        let [address, broadcast, duplex, operstate, ifalias] = &self.texts;
        families.info(&Info { device, address, broadcast, duplex, operstate, ifalias, flags }, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    fn fixture() -> Fixture {
        let attributes = [
            ("addr_assign_type", "3"),
            ("address", "01:01:01:01:01:01"),
            ("broadcast", "ff:ff:ff:ff:ff:ff"),
            ("carrier", "1"),
            ("carrier_changes", "2"),
            ("carrier_up_count", "1"),
            ("carrier_down_count", "1"),
            ("dev_id", "0x20"),
            ("dormant", "1"),
            ("duplex", "full"),
            ("flags", "0x1303"),
            ("ifalias", ""),
            ("ifindex", "2"),
            ("iflink", "2"),
            ("link_mode", "1"),
            ("mtu", "1500"),
            ("name_assign_type", "2"),
            ("netdev_group", "0"),
            ("operstate", "up"),
            ("speed", "1000"),
            ("tx_queue_len", "1000"),
            ("type", "1"),
        ];
        let fixture = Fixture::new().file("sys/devices/bond0/operstate", "down\n").dir("sys/class/net/dmz");
        let fixture = fixture
            .file("sys/class/net/bonding_masters", "bond0\n")
            .file("sys/devices/bond0/speed", "-1\n")
            .file("sys/devices/bond0/flags", "0x1002\n")
            .link("sys/class/net/bond0", "../../devices/bond0");
        attributes.iter().fold(fixture, |f, (name, value)| {
            f.file(&format!("sys/class/net/eth0/{name}"), format!("{value}\n"))
        })
    }

    const ETH0: &str = r#"node_network_address_assign_type{device="eth0"} 3
        node_network_carrier{device="eth0"} 1
        node_network_carrier_changes_total{device="eth0"} 2
        node_network_carrier_down_changes_total{device="eth0"} 1
        node_network_carrier_up_changes_total{device="eth0"} 1
        node_network_device_id{device="eth0"} 32
        node_network_dormant{device="eth0"} 1
        node_network_flags{device="eth0"} 4867
        node_network_iface_id{device="eth0"} 2
        node_network_iface_link{device="eth0"} 2
        node_network_iface_link_mode{device="eth0"} 1
        node_network_info{address="01:01:01:01:01:01",adminstate="up",broadcast="ff:ff:ff:ff:ff:ff",device="eth0",duplex="full",ifalias="",operstate="up"} 1
        node_network_mtu_bytes{device="eth0"} 1500
        node_network_name_assign_type{device="eth0"} 2
        node_network_net_dev_group{device="eth0"} 0
        node_network_protocol_type{device="eth0"} 1
        node_network_speed_bytes{device="eth0"} 125000000
        node_network_transmit_queue_length{device="eth0"} 1000
        node_network_up{device="eth0"} 1
        "#;
    const BOND0: &str = r#"node_network_up{device="bond0"} 0
        node_network_flags{device="bond0"} 4098
        node_network_info{address="",adminstate="down",broadcast="",device="bond0",duplex="",ifalias="",operstate="down"} 1
        "#;

    #[test]
    fn golden() {
        let fixture = fixture().option("netclass.ignored-devices", "(dmz|int)");
        let bad_speed = "node_network_speed_bytes{device=\"bond0\"} -125000";
        fixture.expect("netclass", &format!("{ETH0}{BOND0}{bad_speed}"));
        let fixture = fixture.option("netclass.ignore-invalid-speed", "true");
        fixture.expect("netclass", &format!("{ETH0}{BOND0}"));
    }

    #[test]
    fn a_device_without_attributes_and_one_with_garbage() {
        let fixture = fixture().option("netclass.ignored-devices", "0$");
        let nothing = r#"node_network_info{address="",adminstate="unknown",broadcast="",device="dmz",duplex="",ifalias="",operstate=""} 1
            node_network_up{device="dmz"} 0"#;
        fixture.expect("netclass", nothing);
        fixture.file("sys/class/net/dmz/mtu", "99999999999999999999\n").expect("netclass", nothing);
        assert!(Fixture::new().error("netclass").contains("no data"));
    }

    #[test]
    fn numbers() {
        for (text, want) in [("0x20", Some(32)), ("-1", Some(-1)), ("7", Some(7)), ("0xg", None), ("", None)] {
            assert_eq!(whole(text.as_bytes()), want, "{text}");
        }
    }
}
