//! Wireless interfaces and the stations they talk to. Source: nl80211 over generic netlink, see
//! [`nl80211`]; it describes the network namespace we run in.
//!
//! With `--collector.wifi.fixtures` the files of that directory are read instead, as node_exporter's
//! tests have them: see [`fixtures`].

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Flag, FlagKind, Pass, Spec};
use crate::model::{Batch, Kind};

mod fixtures;
mod nl80211;

pub(super) static SPEC: Spec = Spec {
    name: "wifi",
    on_by_default: false,
    help: "Frequency, signal and traffic of wireless interfaces.",
    flags: &[Flag::new(
        "wifi.fixtures",
        FlagKind::Text(""),
        "Directory with an interfaces.json to read instead of the kernel.",
    )],
    build: |_, options| {
        let directory = options.text("wifi.fixtures");
        Ok(if directory.is_empty() {
            Box::new(Wifi(nl80211::Kernel::default()))
        } else {
            Box::new(Wifi(fixtures::Directory(PathBuf::from(directory))))
        })
    },
};

/// Where the facts come from.
trait Source: Send {
    fn interfaces(&mut self, pass: &Pass) -> Result<Vec<Interface>, CollectError>;
    /// The network that the interface has joined.
    fn network(&mut self, interface: &Interface, pass: &Pass) -> Result<Option<Network>, CollectError>;
    fn stations(&mut self, interface: &Interface, pass: &Pass) -> Result<Vec<Station>, CollectError>;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Interface {
    index: u32,
    name: String,
    megahertz: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Network {
    bssid: String,
    ssid: String,
    /// `client`, `ad-hoc` or `unknown`.
    mode: &'static str,
}

/// 0 authenticated, 1 associated, 2 not associated, 3 joined an ad-hoc network.
const fn mode(status: u64) -> &'static str {
    match status {
        0 | 1 => "client",
        3 => "ad-hoc",
        _ => "unknown",
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Station {
    address: String,
    connected_seconds: f64,
    inactive_seconds: f64,
    receive_bits_per_second: f64,
    transmit_bits_per_second: f64,
    received_bytes: f64,
    transmitted_bytes: f64,
    received_packets: f64,
    transmitted_packets: f64,
    signal_dbm: f64,
    transmit_retries: f64,
    transmit_failed: f64,
    beacon_loss: f64,
}

struct Wifi<S>(S);

impl<S: Source> Collector for Wifi<S> {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        for interface in self.0.interfaces(pass)? {
            // Some virtual devices have no name.
            if interface.name.is_empty() {
                continue;
            }
            let device = interface.name.as_str();
            let hertz = crate::collect::parse::value(interface.megahertz) * 1e6;
            let help = "Frequency of a wireless interface, hertz.";
            out.gauge("node_wifi_interface_frequency_hertz", help, &[("device", device)], hertz);
            if let Some(Network { bssid, ssid, mode }) = self.0.network(&interface, pass)? {
                let labels = [("bssid", &*bssid), ("device", device), ("mode", mode), ("ssid", &*ssid)];
                out.gauge("node_wifi_station_info", "Network that a wireless interface has joined; always 1.", &labels, 1.0);
            }
            for station in self.0.stations(&interface, pass)? {
                station_samples(device, &station, out);
            }
        }
        Ok(())
    }
}

fn station_samples(device: &str, station: &Station, out: &mut Batch) {
    let labels = [("device", device), ("mac_address", station.address.as_str())];
    let (counter, gauge) = (Kind::Counter, Kind::Gauge);
    for (name, help, kind, value) in [
        ("node_wifi_station_connected_seconds_total", "Time a station has been connected, seconds.", counter, station.connected_seconds),
        ("node_wifi_station_inactive_seconds", "Time since a station was last active, seconds.", gauge, station.inactive_seconds),
        ("node_wifi_station_receive_bits_per_second", "Receive rate of a station.", gauge, station.receive_bits_per_second),
        ("node_wifi_station_transmit_bits_per_second", "Transmit rate of a station.", gauge, station.transmit_bits_per_second),
        ("node_wifi_station_receive_bytes_total", "Bytes received from a station.", counter, station.received_bytes),
        ("node_wifi_station_transmit_bytes_total", "Bytes sent to a station.", counter, station.transmitted_bytes),
        ("node_wifi_station_received_packets_total", "Packets received from a station.", counter, station.received_packets),
        ("node_wifi_station_transmitted_packets_total", "Packets sent to a station.", counter, station.transmitted_packets),
        ("node_wifi_station_signal_dbm", "Signal strength of a station, decibel-milliwatts.", gauge, station.signal_dbm),
        ("node_wifi_station_transmit_retries_total", "Packets sent to a station again.", counter, station.transmit_retries),
        ("node_wifi_station_transmit_failed_total", "Packets that could not be sent to a station.", counter, station.transmit_failed),
        ("node_wifi_station_beacon_loss_total", "Times the beacon of a station was missed.", counter, station.beacon_loss),
    ] {
        let family = out.family(name, help, kind);
        out.sample(family, &labels, value);
    }
}

/// `01:02:03:04:05:06`.
fn hardware_address(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}
