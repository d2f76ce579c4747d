//! What the attributes of `/sys/class/net` would say, from one rtnetlink dump instead of a file each.
//!
//! Used only where `/sys` is the running kernel's own and shows the network namespace that rtnetlink
//! answers for: of each device that is new, the two must say the same. What rtnetlink does not have
//! (`addr_assign_type`, `dev_id`, `name_assign_type`, `duplex`, `speed`, and `flags` as sysfs shows them) is read.
//!
//! Source: kernel `net/core/net-sysfs.c` beside `net/core/rtnetlink.c`; both are answered from the same fields.

use rustc_hash::FxHashMap;

use super::rtnl::{OPERATIONAL_STATES, hardware_address};
use super::whole;
use crate::collect::links::{Link, attribute};
use crate::collect::netlink::u32_at;
use crate::collect::{Host, HostPaths, Pass, Tree};
use crate::model::valid_utf8;

/// IFF_* of `ifinfomsg`.
const UP: u32 = 1;
const DORMANT: u32 = 1 << 17;

/// What there is to say of an attribute without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Its value.
    Number(i64),
    /// Reading it would fail.
    Nothing,
    /// It must be read.
    Unknown,
}

/// A device as rtnetlink tells it; `None` is what an older kernel does not tell.
#[derive(Debug, Default)]
pub(super) struct Device {
    address: String,
    broadcast: String,
    alias: String,
    operational_state: Option<u8>,
    flags: u32,
    index: u32,
    hardware_type: u16,
    link: Option<u32>,
    link_mode: Option<u8>,
    mtu: Option<u32>,
    group: Option<u32>,
    transmit_queue_length: Option<u32>,
    carrier: Option<u8>,
    carrier_changes: Option<u32>,
    carrier_up_count: Option<u32>,
    carrier_down_count: Option<u32>,
}

impl Device {
    fn new(link: &Link<'_>) -> Self {
        let mut device = Self {
            flags: link.flags,
            index: link.index,
            hardware_type: link.hardware_type,
            ..Self::default()
        };
        for (kind, value) in link.attributes.iter() {
            match kind {
                attribute::ADDRESS => device.address = hardware_address(Some(value)),
                attribute::BROADCAST => device.broadcast = hardware_address(Some(value)),
                attribute::ALIAS => {
                    let text = value.split(|b| *b == 0).next().unwrap_or_default();
                    device.alias = valid_utf8(text.trim_ascii()).into_owned();
                }
                attribute::OPERATIONAL_STATE => device.operational_state = value.first().copied(),
                attribute::LINK => device.link = u32_at(value, 0),
                attribute::LINK_MODE => device.link_mode = value.first().copied(),
                attribute::MTU => device.mtu = u32_at(value, 0),
                attribute::GROUP => device.group = u32_at(value, 0),
                attribute::TRANSMIT_QUEUE_LENGTH => device.transmit_queue_length = u32_at(value, 0),
                attribute::CARRIER => device.carrier = value.first().copied(),
                attribute::CARRIER_CHANGES => device.carrier_changes = u32_at(value, 0),
                attribute::CARRIER_UP_COUNT => device.carrier_up_count = u32_at(value, 0),
                attribute::CARRIER_DOWN_COUNT => device.carrier_down_count = u32_at(value, 0),
                _ => {}
            }
        }
        device
    }

    /// A text attribute; `None` if it must be read.
    pub(super) fn text(&self, attribute: &str) -> Option<&str> {
        match attribute {
            "address" => Some(&self.address),
            "broadcast" => Some(&self.broadcast),
            "ifalias" => Some(&self.alias),
            "duplex" if self.flags & UP == 0 => Some(""),
            "operstate" => OPERATIONAL_STATES.get(usize::from(self.operational_state?)).copied(),
            _ => None,
        }
    }

    /// A numeric attribute.
    pub(super) fn number(&self, attribute: &str) -> Said {
        let number = |value: Option<i64>| value.map_or(Said::Unknown, Said::Number);
        // Shown as `%d` of an unsigned field.
        let signed = |value: Option<u32>| number(value.map(|v| v.cast_signed().into()));
        let count = |value: Option<u32>| number(value.map(i64::from));
        match attribute {
            // Of a device that is down these answer EINVAL.
            "carrier" | "dormant" | "speed" if self.flags & UP == 0 => Said::Nothing,
            "carrier" => number(self.carrier.map(i64::from)),
            "dormant" => Said::Number(i64::from(self.flags & DORMANT != 0)),
            "carrier_changes" => count(self.carrier_changes),
            "carrier_up_count" => count(self.carrier_up_count),
            "carrier_down_count" => count(self.carrier_down_count),
            "ifindex" => Said::Number(self.index.into()),
            // The kernel sends it only where it is not the device's own index.
            "iflink" => signed(self.link.or(Some(self.index))),
            "link_mode" => number(self.link_mode.map(i64::from)),
            "mtu" => signed(self.mtu),
            "netdev_group" => signed(self.group),
            "tx_queue_len" => count(self.transmit_queue_length),
            "type" => Said::Number(self.hardware_type.into()),
            _ => Said::Unknown,
        }
    }

    /// Whether the files say so too.
    fn agrees(&self, name: &str, files: &mut Tree) -> bool {
        let text = |files: &mut Tree, attribute: &str| {
            files.attribute(&[name, attribute]).ok().is_some_and(|v| Some(&*valid_utf8(v)) == self.text(attribute))
        };
        let number = |files: &mut Tree, attribute: &str| {
            let read = files.attribute(&[name, attribute]).ok().and_then(whole);
            read.is_some_and(|read| self.number(attribute) == Said::Number(read))
        };
        text(files, "address")
            && text(files, "broadcast")
            && number(files, "ifindex")
            && number(files, "iflink")
            && number(files, "type")
            && number(files, "mtu")
    }
}

/// Passes in which only files are read after the two have differed.
const FILES_ONLY_PASSES: u32 = 64;

/// The devices of a pass by name.
pub(super) struct Told {
    host: Host,
    devices: FxHashMap<String, Device>,
    /// Indices of devices that sysfs showed alike.
    verified: FxHashMap<String, u32>,
    files_only: u32,
}

impl Told {
    /// `None` where other trees than the running kernel's are read.
    pub(super) fn of_running_kernel(host: &Host) -> Option<Self> {
        let of_kernel = HostPaths::default();
        let is_own = host.paths.sysfs == of_kernel.sysfs && host.paths.procfs == of_kernel.procfs;
        is_own.then(|| Self {
            host: host.clone(),
            devices: FxHashMap::default(),
            verified: FxHashMap::default(),
            files_only: 0,
        })
    }

    /// Asks again. Nothing is told of any device unless the kernel names exactly those that sysfs has.
    pub(super) fn refresh(&mut self, pass: &Pass, in_sysfs: &[String], files: &mut Tree) {
        self.devices.clear();
        if self.files_only > 0 {
            self.files_only -= 1;
        } else if !self.is_same(pass, in_sysfs, files) {
            // Another namespace's, or a device that came, went or changed at this moment.
            self.devices.clear();
            self.verified.clear();
            self.files_only = FILES_ONLY_PASSES;
        }
    }

    /// What is told of a device, if anything.
    pub(super) fn device(&self, name: &str) -> Option<&Device> {
        self.devices.get(name)
    }

    fn is_same(&mut self, pass: &Pass, in_sysfs: &[String], files: &mut Tree) -> bool {
        let mut table = self.host.links();
        if table.refresh(pass).is_err() {
            return false;
        }
        for link in table.links() {
            let (name, device) = (valid_utf8(link.name), Device::new(&link));
            if self.verified.get(&*name) != Some(&device.index) {
                if !device.agrees(&name, files) {
                    return false;
                }
                self.verified.insert(name.to_string(), device.index);
            }
            self.devices.insert(name.into_owned(), device);
        }
        self.verified.retain(|name, _| self.devices.contains_key(name));
        self.devices.len() == in_sysfs.len() && in_sysfs.iter().all(|name| self.devices.contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Fixture, run};
    use crate::collect::{Collector, Host, HostPaths, Options};

    fn collector(paths: HostPaths) -> Box<dyn Collector> {
        (super::super::SPEC.build)(&Host::new(paths), &Options::default()).unwrap()
    }

    #[test]
    fn both_sources_say_the_same_of_this_machine() {
        // Not the kernel's own paths, so the files are read.
        let by_files = HostPaths { procfs: "/proc/../proc".into(), ..HostPaths::default() };
        let (mut told, mut read) = (collector(HostPaths::default()), collector(by_files));
        // A counter may move between the two.
        let mut same = false;
        for _ in 0..50 {
            let before = run(&mut *read).0;
            let (text, _) = run(&mut *told);
            same |= text == before;
            if same {
                break;
            }
        }
        assert!(same, "told: {}\nread: {}", run(&mut *told).0, run(&mut *read).0);
    }

    #[test]
    fn other_trees_are_read() {
        let fixture = Fixture::new().file("sys/class/net/lo/mtu", "7\n");
        assert!(fixture.samples("netclass").contains("node_network_mtu_bytes{device=\"lo\"} 7\n"));
    }
}
