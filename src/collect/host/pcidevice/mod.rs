//! PCI devices: what they are, how they are linked, power states and virtual functions.
//!
//! Sources: kernel `Documentation/ABI/testing/sysfs-bus-pci`, `Documentation/PCI/sysfs-pci.rst`.

mod ids;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::collect::directory::names_or_no_data;
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, Host, Options, Pass, Spec, parse};
use crate::model::Batch;
use ids::{Codes, IdNames};

pub(super) static SPEC: Spec = Spec {
    name: "pcidevice",
    on_by_default: false,
    help: "PCI devices from /sys/bus/pci/devices.",
    flags: &[
        Flag {
            name: "pcidevice.idsfile",
            kind: FlagKind::Text(""),
            help: "The pci.ids file to take names from; by default the first of the usual places.",
            hidden: false,
        },
        Flag {
            name: "pcidevice.names",
            kind: FlagKind::Switch(false),
            help: "Add the names of vendors, devices and classes from the pci.ids file as labels.",
            hidden: false,
        },
    ],
    build: |host, options| Ok(Box::new(PciDevices::new(host, options))),
};

struct PciDevices {
    directory: PathBuf,
    files: Files,
    /// `None` unless names are wanted.
    names: Option<IdNames>,
}

/// Family, help, attribute, value where the device has no such attribute.
const LINK: [(&str, &str, &str, Reading); 4] = [
    (
        "node_pcidevice_max_link_transfers_per_second",
        "Most transfers per second that the device's link can do; -1 if not known.",
        "max_link_speed",
        Reading::Speed,
    ),
    (
        "node_pcidevice_max_link_width",
        "Most lanes that the device's link can have; -1 if not known.",
        "max_link_width",
        Reading::Number(-1.0),
    ),
    (
        "node_pcidevice_current_link_transfers_per_second",
        "Transfers per second of the device's link now; -1 if not known.",
        "current_link_speed",
        Reading::Speed,
    ),
    (
        "node_pcidevice_current_link_width",
        "Lanes of the device's link now; -1 if not known.",
        "current_link_width",
        Reading::Number(-1.0),
    ),
];

const FUNCTIONS: [(&str, &str, &str, Reading); 5] = [
    (
        "node_pcidevice_d3cold_allowed",
        "Whether the device may be put into D3cold.",
        "d3cold_allowed",
        Reading::Number(0.0),
    ),
    (
        "node_pcidevice_sriov_drivers_autoprobe",
        "Whether drivers are bound to new virtual functions.",
        "sriov_drivers_autoprobe",
        Reading::Number(0.0),
    ),
    (
        "node_pcidevice_sriov_numvfs",
        "Virtual functions that are enabled.",
        "sriov_numvfs",
        Reading::Number(0.0),
    ),
    (
        "node_pcidevice_sriov_totalvfs",
        "Virtual functions that the device can have.",
        "sriov_totalvfs",
        Reading::Number(0.0),
    ),
    (
        "node_pcidevice_sriov_vf_total_msix",
        "MSI-X vectors for all virtual functions together.",
        "sriov_vf_total_msix",
        Reading::Number(0.0),
    ),
];

#[derive(Clone, Copy)]
enum Reading {
    /// A number, this one where the attribute is missing.
    Number(f64),
    /// `8.0 GT/s PCIe`, or `Unknown`.
    Speed,
}

/// The states of `enum pci_power_t` as the kernel writes them.
const POWER_STATES: [&str; 7] = ["D0", "D1", "D2", "D3hot", "D3cold", "unknown", "error"];

/// Where a device sits: `0000:3b:00.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Location {
    segment: String,
    bus: String,
    device: String,
    function: String,
}

impl Location {
    fn parse(name: &str) -> Option<Self> {
        let (segment, rest) = name.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        let hexadecimal = |text: &str, digits: usize| {
            let number = parse::hexadecimal(text.as_bytes()).filter(|_| text.len() >= digits.min(2))?;
            Some(format!("{number:0digits$x}"))
        };
        Some(Self {
            segment: hexadecimal(segment, 4)?,
            bus: hexadecimal(bus, 2)?,
            device: hexadecimal(device, 2)?,
            function: hexadecimal(function, 1)?,
        })
    }

    fn labels(&self) -> [(&'static str, &str); 4] {
        [
            ("segment", &self.segment),
            ("bus", &self.bus),
            ("device", &self.device),
            ("function", &self.function),
        ]
    }
}

impl PciDevices {
    fn new(host: &Host, options: &Options) -> Self {
        Self {
            directory: host.paths.sys("bus/pci/devices"),
            files: Files::new(host.descriptors.clone()),
            names: options.switch("pcidevice.names").then(|| IdNames::new(options.text("pcidevice.idsfile"))),
        }
    }

    fn device(&mut self, name: &str, out: &mut Batch) -> Result<(), CollectError> {
        let path = self.directory.join(name);
        let bad_name = || CollectError::parsing(&path, "expected SEGMENT:BUS:DEVICE.FUNCTION");
        let location = Location::parse(name).ok_or_else(bad_name)?;
        // The link leads to the device's place in the tree: its bridge stands before it.
        let target = std::fs::read_link(&path).map_err(|e| CollectError::reading(&path, e))?;
        let parent = target.parent().and_then(|p| p.file_name()).and_then(|p| p.to_str());
        let parent = parent.and_then(Location::parse);
        self.info(name, &location, parent.as_ref(), out)?;
        for (family, help, attribute, reading) in LINK.iter().chain(&FUNCTIONS) {
            let value = self.value(name, attribute, *reading)?;
            out.gauge(family, help, &location.labels(), value);
        }
        self.power_state(name, &location, out);
        let node = self.value(name, "numa_node", Reading::Number(-1.0))?;
        if node >= 0.0 {
            let help = "NUMA node that the device is attached to.";
            out.gauge("node_pcidevice_numa_node", help, &location.labels(), node);
        }
        Ok(())
    }

    fn info(
        &mut self,
        name: &str,
        location: &Location,
        parent: Option<&Location>,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        let codes = Codes {
            class: self.code(name, "class")?,
            vendor: self.code(name, "vendor")?,
            device: self.code(name, "device")?,
            subsystem_vendor: self.code(name, "subsystem_vendor")?,
            subsystem_device: self.code(name, "subsystem_device")?,
        };
        let revision = format!("0x{:02x}", self.code(name, "revision")?);
        let texts = codes.texts();
        let part = |of: fn(&Location) -> &String| parent.map_or("*", |p| of(p).as_str());
        let mut labels = location.labels().to_vec();
        labels.extend([
            ("parent_segment", part(|p| &p.segment)),
            ("parent_bus", part(|p| &p.bus)),
            ("parent_device", part(|p| &p.device)),
            ("parent_function", part(|p| &p.function)),
            ("revision", &revision),
        ]);
        labels.extend(texts.iter().map(|(label, text)| (*label, text.as_str())));
        let found = self.names.as_mut().map(|names| names.of(&codes));
        labels.extend(found.into_iter().flatten().map(|(label, text)| (*label, text.as_str())));
        let help = "Constant 1; where the PCI device is and what it is, in labels.";
        out.gauge("node_pcidevice_info", help, &labels, 1.0);
        Ok(())
    }

    /// A number that every device has, in hexadecimal.
    fn code(&mut self, device: &str, attribute: &str) -> Result<u64, CollectError> {
        let path = self.directory.join(device).join(attribute);
        let text = self.files.attribute(&path).map_err(|e| match CollectError::reading(&path, e) {
            CollectError::NoData(what) => CollectError::Other(what),
            other => other,
        })?;
        parse::hexadecimal(text).ok_or_else(|| CollectError::parsing(&path, "expected a hexadecimal number"))
    }

    fn value(&mut self, device: &str, attribute: &str, reading: Reading) -> Result<f64, CollectError> {
        let path = self.directory.join(device).join(attribute);
        let text = self.files.attribute(&path).unwrap_or_default();
        let value = match reading {
            Reading::Number(missing) if text.is_empty() => Some(missing),
            Reading::Number(_) => parse::number(text),
            Reading::Speed if text.is_empty() || text.starts_with(b"Unknown") => Some(-1.0),
            Reading::Speed => parse::fields(text).next().and_then(parse::number).map(|gt| (gt * 1e9).trunc()),
        };
        value.ok_or_else(|| CollectError::parsing(&path, "expected a number"))
    }

    fn power_state(&mut self, device: &str, location: &Location, out: &mut Batch) {
        let path = self.directory.join(device).join("power_state");
        let Ok(now) = self.files.attribute(&path) else { return };
        for state in POWER_STATES {
            let mut labels = location.labels().to_vec();
            labels.push(("state", state));
            let help = "1 for the power state that the device is in, 0 for the others.";
            out.gauge("node_pcidevice_power_state", help, &labels, f64::from(u8::from(state.as_bytes() == now)));
        }
    }
}

impl Collector for PciDevices {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        let mut result = Ok(());
        for device in names_or_no_data(&self.directory)? {
            result = result.and(self.device(&device, out));
        }
        result
    }
}
