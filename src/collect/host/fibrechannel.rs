//! Fibre Channel host adapters. Source: kernel `drivers/scsi/scsi_transport_fc.c`, `/sys/class/fc_host`.

use std::path::{Path, PathBuf};

use crate::collect::directory::names_or_no_data;
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "fibrechannel",
    on_by_default: true,
    help: "State and counters of Fibre Channel adapters from /sys/class/fc_host.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(FibreChannel {
            directory: host.paths.sys("class/fc_host"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct FibreChannel {
    directory: PathBuf,
    files: Files,
}

/// Files of a host that are labels of the same name; the addresses lose their `0x`.
const FACTS: [(&str, bool); 10] = [
    ("dev_loss_tmo", false),
    ("fabric_name", true),
    ("port_id", true),
    ("port_name", true),
    ("port_state", false),
    ("port_type", false),
    ("speed", false),
    ("supported_classes", false),
    ("supported_speeds", false),
    ("symbolic_name", false),
];

/// Files below `statistics/`, hexadecimal.
const COUNTERS: [(&str, &str, &str); 14] = [
    ("dumped_frames", "node_fibrechannel_dumped_frames_total", "Frames dumped."),
    ("error_frames", "node_fibrechannel_error_frames_total", "Frames with errors."),
    ("fcp_packet_aborts", "node_fibrechannel_fcp_packet_aborts_total", "Aborted packets."),
    ("invalid_crc_count", "node_fibrechannel_invalid_crc_total", "Frames with an invalid checksum."),
    ("invalid_tx_word_count", "node_fibrechannel_invalid_tx_words_total", "Invalid words transmitted."),
    ("link_failure_count", "node_fibrechannel_link_failure_total", "Link failures."),
    ("loss_of_signal_count", "node_fibrechannel_loss_of_signal_total", "Times the signal was lost."),
    ("loss_of_sync_count", "node_fibrechannel_loss_of_sync_total", "Times synchronisation was lost."),
    ("nos_count", "node_fibrechannel_nos_total", "Not-operational sequences transmitted."),
    ("rx_frames", "node_fibrechannel_rx_frames_total", "Frames received."),
    ("rx_words", "node_fibrechannel_rx_words_total", "Words received."),
    (
        "seconds_since_last_reset",
        "node_fibrechannel_seconds_since_last_reset_total",
        "Seconds since the counters were reset.",
    ),
    ("tx_frames", "node_fibrechannel_tx_frames_total", "Frames transmitted."),
    ("tx_words", "node_fibrechannel_tx_words_total", "Words transmitted."),
];

impl Collector for FibreChannel {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        for host in names_or_no_data(&self.directory)? {
            let path = self.directory.join(&host);
            self.info(&path, &host, out);
            for (file, family, help) in &COUNTERS {
                // A driver need not offer each; some are write-only.
                let path = path.join("statistics").join(file);
                let Ok(text) = self.files.attribute(&path) else { continue };
                let value = if text.starts_with(b"0x") { parse::hexadecimal(text) } else { parse::unsigned(text) };
                let value = value.ok_or_else(|| CollectError::parsing(&path, "expected a number"))?;
                out.counter(family, help, &[("fc_host", &host)], parse::value(value));
            }
        }
        Ok(())
    }
}

impl FibreChannel {
    fn info(&mut self, path: &Path, host: &str, out: &mut Batch) {
        let values = FACTS.map(|(file, is_address)| {
            let text = self.files.attribute(&path.join(file)).unwrap_or_default();
            let text = if is_address { text.strip_prefix(b"0x").unwrap_or(text) } else { text };
            valid_utf8(text).into_owned()
        });
        let mut labels = vec![("fc_host", host)];
        labels.extend(FACTS.iter().zip(&values).map(|((name, _), value)| (*name, value.as_str())));
        out.gauge("node_fibrechannel_info", "Facts about the adapter; always 1.", &labels, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_with_a_driver_that_offers_little() {
        Fixture::new()
            .files(&[
                ("sys/class/fc_host/host0/port_state", "Online\n"),
                ("sys/class/fc_host/host0/port_name", "0x1000e0071bce95f2\n"),
                ("sys/class/fc_host/host0/speed", "16 Gbit\n"),
                ("sys/class/fc_host/host0/statistics/rx_frames", "0x3\n"),
                ("sys/class/fc_host/host0/statistics/tx_words", "0xffffffffffffffff\n"),
                ("sys/class/fc_host/host0/statistics/seconds_since_last_reset", "0x7\n"),
            ])
            .expect(
                "fibrechannel",
                r#"node_fibrechannel_info{dev_loss_tmo="",fabric_name="",fc_host="host0",port_id="",port_name="1000e0071bce95f2",port_state="Online",port_type="",speed="16 Gbit",supported_classes="",supported_speeds="",symbolic_name=""} 1
                   node_fibrechannel_rx_frames_total{fc_host="host0"} 3
                   node_fibrechannel_seconds_since_last_reset_total{fc_host="host0"} 7
                   node_fibrechannel_tx_words_total{fc_host="host0"} 18446744073709552000"#,
            );
        assert!(Fixture::new().error("fibrechannel").starts_with("no data"));
    }
}
