//! Wireless facts from JSON files: `interfaces.json`, `NAME/bss.json`, `NAME/stationinfo.json`.
//!
//! Members are named as in the structs of node_exporter's library, times are nanoseconds, hardware
//! addresses are base64 as Go writes bytes. A missing file of an interface means it has no such facts.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Interface, Network, Source, Station, hardware_address, mode};
use crate::collect::case_insensitive::Members;
use crate::collect::{CollectError, Pass};

/// Longest file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    fn read(&self, below: impl AsRef<Path>) -> Result<Option<Value>, CollectError> {
        let path = self.0.join(below);
        let failed = |e| CollectError::reading(&path, e);
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_FILE_BYTES => return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge))),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        let text = std::fs::read(&path).map_err(failed)?;
        let value = serde_json::from_slice(&text);
        value.map(Some).map_err(|e| CollectError::parsing(&path, e.to_string()))
    }
}

impl Source for Directory {
    fn interfaces(&mut self, _: &Pass) -> Result<Vec<Interface>, CollectError> {
        let value = self.read("interfaces.json")?;
        let value = value.ok_or_else(|| CollectError::NoData("no interfaces.json".to_owned()))?;
        let interface = |entry: Members<'_>| Interface {
            index: u32::try_from(entry.unsigned("Index")).unwrap_or_default(),
            name: entry.text("Name").to_owned(),
            megahertz: entry.unsigned("Frequency"),
        };
        Ok(Members::of_array(&value).map(interface).collect())
    }

    fn network(&mut self, interface: &Interface, _: &Pass) -> Result<Option<Network>, CollectError> {
        let value = self.read(Path::new(&interface.name).join("bss.json"))?;
        Ok(value.as_ref().and_then(Members::of).map(|entry| Network {
            bssid: address(entry.get("BSSID")),
            ssid: entry.text("SSID").to_owned(),
            mode: mode(entry.unsigned("Status")),
        }))
    }

    fn stations(&mut self, interface: &Interface, _: &Pass) -> Result<Vec<Station>, CollectError> {
        let value = self.read(Path::new(&interface.name).join("stationinfo.json"))?;
        Ok(value.iter().flat_map(Members::of_array).map(station).collect())
    }
}

fn station(entry: Members<'_>) -> Station {
    Station {
        address: address(entry.get("HardwareAddr")),
        connected_seconds: entry.number("Connected") / 1e9,
        inactive_seconds: entry.number("Inactive") / 1e9,
        receive_bits_per_second: entry.number("ReceiveBitrate"),
        transmit_bits_per_second: entry.number("TransmitBitrate"),
        received_bytes: entry.number("ReceivedBytes"),
        transmitted_bytes: entry.number("TransmittedBytes"),
        received_packets: entry.number("ReceivedPackets"),
        transmitted_packets: entry.number("TransmittedPackets"),
        signal_dbm: entry.number("Signal"),
        transmit_retries: entry.number("TransmitRetries"),
        transmit_failed: entry.number("TransmitFailed"),
        beacon_loss: entry.number("BeaconLoss"),
    }
}

/// Bytes as base64 text or as an array of numbers; text with colons is taken as it is.
fn address(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) if text.contains(':') => text.to_lowercase(),
        Some(Value::String(text)) => hardware_address(&base64(text).unwrap_or_default()),
        Some(Value::Array(bytes)) => {
            let byte = |b: &Value| b.as_u64().and_then(|b| u8::try_from(b).ok());
            hardware_address(&bytes.iter().filter_map(byte).collect::<Vec<_>>())
        }
        _ => String::new(),
    }
}

/// RFC 4648, section 4.
fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = DIGITS.iter().position(|d| *d == digit)?;
        bits = (bits << 6 | u32::try_from(value).ok()?) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Fixture;
    use super::*;

    fn fixture() -> Fixture {
        let fixture = Fixture::new().files(&[
            ("wifi/interfaces.json", r#"[{"Name": "wlan0", "Frequency": 2412}, {"Name": "wlan1", "Frequency": 5180}, {"Name": ""}]"#),
            ("wifi/wlan0/bss.json", r#"{"SSID": "Exa\"mple", "BSSID": "ABEiM0RV", "Status": 1}"#),
            (
                "wifi/wlan0/stationinfo.json",
                r#"[{"HardwareAddr": "qrvM3e7/", "Connected": 30000000000, "Inactive": 400000000, "ReceiveBitrate": 128000000,
                "TransmitBitrate": 164000000, "ReceivedBytes": 0, "TransmittedBytes": 18446744073709551615, "Signal": -52,
                "TransmitRetries": 10, "TransmitFailed": 2, "BeaconLoss": 1, "ReceivedPackets": 3, "TransmittedPackets": 4}]"#,
            ),
        ]);
        let directory = fixture.path().join("wifi");
        fixture.option("wifi.fixtures", directory.to_str().unwrap())
    }

    #[test]
    fn golden() {
        let station = r#"{device="wlan0",mac_address="aa:bb:cc:dd:ee:ff"}"#;
        fixture().expect(
            "wifi",
            &format!(
                r#"node_wifi_interface_frequency_hertz{{device="wlan0"}} 2412000000
                node_wifi_interface_frequency_hertz{{device="wlan1"}} 5180000000
                node_wifi_station_info{{bssid="00:11:22:33:44:55",device="wlan0",mode="client",ssid="Exa\"mple"}} 1
                node_wifi_station_connected_seconds_total{station} 30
                node_wifi_station_inactive_seconds{station} 0.4
                node_wifi_station_receive_bits_per_second{station} 128000000
                node_wifi_station_transmit_bits_per_second{station} 164000000
                node_wifi_station_receive_bytes_total{station} 0
                node_wifi_station_transmit_bytes_total{station} 18446744073709552000
                node_wifi_station_received_packets_total{station} 3
                node_wifi_station_transmitted_packets_total{station} 4
                node_wifi_station_signal_dbm{station} -52
                node_wifi_station_transmit_retries_total{station} 10
                node_wifi_station_transmit_failed_total{station} 2
                node_wifi_station_beacon_loss_total{station} 1"#
            ),
        );
    }

    #[test]
    fn absent_and_garbage() {
        let none = Fixture::new();
        let directory = none.path().to_str().unwrap().to_owned();
        assert!(none.option("wifi.fixtures", &directory).error("wifi").contains("no data"));
        assert!(fixture().file("wifi/wlan0/bss.json", "{").error("wifi").contains("bss.json"));
    }

    #[test]
    fn addresses_in_every_spelling() {
        for (json, want) in [("\"AQIDBAUG\"", "01:02:03:04:05:06"), ("[1, 255]", "01:ff"), ("\"0A:1b\"", "0a:1b"), ("7", ""), ("\"!\"", "")] {
            assert_eq!(address(serde_json::from_str(json).ok().as_ref()), want, "{json}");
        }
        assert_eq!(base64("YWI="), Some(b"ab".to_vec()));
    }
}
