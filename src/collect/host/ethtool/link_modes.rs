//! The bits in which a link tells what it can do and what it offers.
//!
//! Source: kernel `include/uapi/linux/ethtool.h`, `ETHTOOL_LINK_MODE_*_BIT`; the request used here
//! carries the first 32.

use crate::model::{Batch, Kind};

/// Which of a link's two sets of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Supported,
    Advertised,
}

/// Bit, speed in megabits, duplex, mode.
const SPEEDS: [(u32, u32, &str, &str); 23] = [
    (0, 10, "half", "10baseT"),
    (1, 10, "full", "10baseT"),
    (2, 100, "half", "100baseT"),
    (3, 100, "full", "100baseT"),
    (4, 1_000, "half", "1000baseT"),
    (5, 1_000, "full", "1000baseT"),
    (12, 10_000, "full", "10000baseT"),
    (15, 2_500, "full", "2500baseX"),
    (17, 1_000, "full", "1000baseKX"),
    (18, 10_000, "full", "10000baseKX4"),
    (19, 10_000, "full", "10000baseKR"),
    (20, 10_000, "full", "10000baseR_FEC"),
    (21, 20_000, "full", "20000baseMLD2"),
    (22, 20_000, "full", "20000baseKR2"),
    (23, 40_000, "full", "40000baseKR4"),
    (24, 40_000, "full", "40000baseCR4"),
    (25, 40_000, "full", "40000baseSR4"),
    (26, 40_000, "full", "40000baseLR4"),
    (27, 56_000, "full", "56000baseKR4"),
    (28, 56_000, "full", "56000baseCR4"),
    (29, 56_000, "full", "56000baseSR4"),
    (30, 56_000, "full", "56000baseLR4"),
    (31, 25_000, "full", "25000baseCR"),
];

/// Bit, type of port.
const PORTS: [(u32, &str); 6] = [(7, "TP"), (8, "AUI"), (9, "MII"), (10, "FIBRE"), (11, "BNC"), (16, "Backplane")];

/// Bit, family when supported, family when advertised, what it is.
const CAPABILITIES: [(u32, &str, &str, &str); 3] = [
    (6, "node_network_autonegotiate_supported", "node_network_autonegotiate_advertised", "autonegotiation"),
    (13, "node_network_pause_supported", "node_network_pause_advertised", "pause frames"),
    (14, "node_network_asymmetricpause_supported", "node_network_asymmetricpause_advertised", "asymmetric pause frames"),
];

/// Speeds and capabilities in `bits`; ports too where they are told.
pub(super) fn samples(device: &str, side: Side, bits: u32, out: &mut Batch) {
    let has = |bit: u32| bits & (1 << bit) != 0;
    let (family, help) = match side {
        Side::Supported => ("node_network_supported_speed_bytes", "Speeds that the device supports, bytes a second."),
        Side::Advertised => ("node_network_advertised_speed_bytes", "Speeds that the device offers, bytes a second."),
    };
    let family = out.family(family, help, Kind::Gauge);
    for (_, megabits, duplex, mode) in SPEEDS.iter().filter(|(bit, ..)| has(*bit)) {
        let labels = [("device", device), ("duplex", *duplex), ("mode", *mode)];
        out.sample(family, &labels, f64::from(*megabits) * 1e6 / 8.0);
    }
    if side == Side::Supported {
        let help = "Kinds of ports that the device has; always 1.";
        for (_, port) in PORTS.iter().filter(|(bit, _)| has(*bit)) {
            out.gauge("node_network_supported_port_info", help, &[("device", device), ("type", *port)], 1.0);
        }
    }
    for (bit, supported, advertised, what) in CAPABILITIES {
        let (family, help) = match side {
            Side::Supported => (supported, format!("Whether the device supports {what}.")),
            Side::Advertised => (advertised, format!("Whether the device offers {what}.")),
        };
        out.gauge(family, &help, &[("device", device)], if has(bit) { 1.0 } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_samples() {
        let mut batch = Batch::new();
        samples("eth0", Side::Supported, 1 << 5 | 1 << 7 | 1 << 9 | 1 << 13 | 1 << 31, &mut batch);
        samples("eth0", Side::Advertised, 1 << 6, &mut batch);
        let mut shown = Vec::new();
        for family in batch.families() {
            for sample in family.samples() {
                let labels: Vec<_> = sample.labels().iter().skip(1).map(|(_, value)| value).collect();
                shown.push(format!("{} {} {}", family.name(), labels.join(","), sample.value()));
            }
        }
        assert_eq!(
            shown,
            [
                "node_network_supported_speed_bytes full,1000baseT 125000000",
                "node_network_supported_speed_bytes full,25000baseCR 3125000000",
                "node_network_supported_port_info TP 1",
                "node_network_supported_port_info MII 1",
                "node_network_autonegotiate_supported  0",
                "node_network_pause_supported  1",
                "node_network_asymmetricpause_supported  0",
                "node_network_autonegotiate_advertised  1",
                "node_network_pause_advertised  0",
                "node_network_asymmetricpause_advertised  0",
            ]
        );
    }
}
