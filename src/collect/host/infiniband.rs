//! InfiniBand and Omni-Path ports. Source: kernel `Documentation/ABI/stable/sysfs-class-infiniband`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::collect::directory::{names_or_no_data, names_or_none};
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "infiniband",
    on_by_default: true,
    help: "State and counters of InfiniBand ports from /sys/class/infiniband.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Infiniband {
            directory: host.paths.sys("class/infiniband"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Infiniband {
    directory: PathBuf,
    files: Files,
}

/// Data counters count words of 4 bytes (InfiniBand specification 16.1.3.5).
const WORD: f64 = 4.0;

/// File below `counters/`, family without prefix, help, unit.
const COUNTERS: [(&str, &str, &str, f64); 22] = [
    ("excessive_buffer_overrun_errors", "excessive_buffer_overrun_errors_total", "Buffer overruns.", 1.0),
    ("link_downed", "link_downed_total", "Times the link went down.", 1.0),
    ("link_error_recovery", "link_error_recovery_total", "Times the link recovered from an error.", 1.0),
    ("local_link_integrity_errors", "local_link_integrity_errors_total", "Local link integrity errors.", 1.0),
    ("multicast_rcv_packets", "multicast_packets_received_total", "Multicast packets received.", 1.0),
    ("multicast_xmit_packets", "multicast_packets_transmitted_total", "Multicast packets sent.", 1.0),
    ("port_rcv_constraint_errors", "port_constraint_errors_received_total", "Packets refused by the switch port on receipt.", 1.0),
    ("port_xmit_constraint_errors", "port_constraint_errors_transmitted_total", "Packets not sent by the switch port.", 1.0),
    ("port_rcv_data", "port_data_received_bytes_total", "Bytes received.", WORD),
    ("port_xmit_data", "port_data_transmitted_bytes_total", "Bytes sent.", WORD),
    ("port_rcv_discards", "port_discards_received_total", "Inbound packets discarded.", 1.0),
    ("port_xmit_discards", "port_discards_transmitted_total", "Outbound packets discarded.", 1.0),
    ("port_rcv_errors", "port_errors_received_total", "Packets received with an error.", 1.0),
    ("port_rcv_packets", "port_packets_received_total", "Packets received.", 1.0),
    ("port_xmit_packets", "port_packets_transmitted_total", "Packets sent.", 1.0),
    ("port_rcv_remote_physical_errors", "port_receive_remote_physical_errors_total", "Packets received with the end-bad-packet mark.", 1.0),
    ("port_rcv_switch_relay_errors", "port_receive_switch_relay_errors_total", "Packets that could not be forwarded.", 1.0),
    ("port_xmit_wait", "port_transmit_wait_total", "Ticks during which data waited to be sent.", 1.0),
    ("symbol_error", "symbol_error_total", "Minor link errors.", 1.0),
    ("VL15_dropped", "vl15_dropped_total", "Management packets dropped for lack of buffers.", 1.0),
    ("unicast_rcv_packets", "unicast_packets_received_total", "Unicast packets received.", 1.0),
    ("unicast_xmit_packets", "unicast_packets_transmitted_total", "Unicast packets sent.", 1.0),
];

/// The same for `counters_ext/` of old drivers.
const LEGACY: [(&str, &str, &str, f64); 8] = [
    ("port_multicast_rcv_packets", "legacy_multicast_packets_received_total", "Multicast packets received.", 1.0),
    ("port_multicast_xmit_packets", "legacy_multicast_packets_transmitted_total", "Multicast packets sent.", 1.0),
    ("port_rcv_data_64", "legacy_data_received_bytes_total", "Bytes received.", WORD),
    ("port_rcv_packets_64", "legacy_packets_received_total", "Packets received.", 1.0),
    ("port_unicast_rcv_packets", "legacy_unicast_packets_received_total", "Unicast packets received.", 1.0),
    ("port_unicast_xmit_packets", "legacy_unicast_packets_transmitted_total", "Unicast packets sent.", 1.0),
    ("port_xmit_data_64", "legacy_data_transmitted_bytes_total", "Bytes sent.", WORD),
    ("port_xmit_packets_64", "legacy_packets_transmitted_total", "Packets sent.", 1.0),
];

/// The same for `hw_counters/`, which RDMA drivers keep beside the standard ones; sorted by file.
const HARDWARE: [(&str, &str, &str, f64); 29] = [
    ("duplicate_request", "duplicate_requests_packets_total", "Requests received that had been executed before.", 1.0),
    ("implied_nak_seq_err", "implied_nak_seq_errors_total", "Acknowledgements with a sequence number beyond the one expected.", 1.0),
    ("local_ack_timeout_err", "local_ack_timeout_errors_total", "Times the sender's acknowledgement timer expired.", 1.0),
    ("np_cnp_sent", "np_cnp_packets_sent_total", "Congestion notifications sent.", 1.0),
    ("np_ecn_marked_roce_packets", "np_ecn_marked_roce_packets_received_total", "RoCE packets received with the mark of congestion.", 1.0),
    ("out_of_buffer", "out_of_buffer_drops_total", "Packets dropped because no receive buffer was posted.", 1.0),
    ("out_of_sequence", "out_of_sequence_packets_received_total", "Packets received out of sequence.", 1.0),
    ("packet_seq_err", "packet_sequence_errors_total", "Negative acknowledgements of sequence errors received.", 1.0),
    ("req_cqe_error", "req_cqes_errors_total", "Requests completed with an error.", 1.0),
    ("req_cqe_flush_error", "req_cqes_flush_errors_total", "Requests completed with a flush error.", 1.0),
    ("req_remote_access_errors", "req_remote_access_errors_total", "Remote access errors seen by the requester.", 1.0),
    ("req_remote_invalid_request", "req_remote_invalid_request_errors_total", "Remote invalid request errors seen by the requester.", 1.0),
    ("resp_cqe_error", "resp_cqes_errors_total", "Responses completed with an error.", 1.0),
    ("resp_cqe_flush_error", "resp_cqes_flush_errors_total", "Responses completed with a flush error.", 1.0),
    ("resp_local_length_error", "resp_local_length_errors_total", "Local length errors seen by the responder.", 1.0),
    ("resp_remote_access_errors", "resp_remote_access_errors_total", "Remote access errors seen by the responder.", 1.0),
    ("rnr_nak_retry_err", "rnr_nak_retry_packets_received_total", "Answers received that the receiver was not ready.", 1.0),
    ("roce_adp_retrans", "roce_adp_retransmits_total", "Adaptive retransmissions for RoCE.", 1.0),
    ("roce_adp_retrans_to", "roce_adp_retransmits_timeout_total", "Adaptive retransmissions for RoCE that timed out.", 1.0),
    ("roce_slow_restart", "roce_slow_restart_used_total", "Times RoCE slow restart was used.", 1.0),
    ("roce_slow_restart_cnps", "roce_slow_restart_cnps_total", "Congestion notifications made by RoCE slow restart.", 1.0),
    ("roce_slow_restart_trans", "roce_slow_restart_total", "Times RoCE changed its state to slow restart.", 1.0),
    ("rp_cnp_handled", "rp_cnp_packets_handled_total", "Congestion notifications handled.", 1.0),
    ("rp_cnp_ignored", "rp_cnp_ignored_packets_received_total", "Congestion notifications received and ignored.", 1.0),
    ("rx_atomic_requests", "rx_atomic_requests_total", "Atomic requests received.", 1.0),
    ("rx_dct_connect", "rx_dct_connect_requests_total", "Requests received to connect a dynamic transport.", 1.0),
    ("rx_icrc_encapsulated", "rx_icrc_encapsulated_errors_total", "RoCE packets received with a checksum error.", 1.0),
    ("rx_read_requests", "rx_read_requests_total", "Read requests received.", 1.0),
    ("rx_write_requests", "rx_write_requests_total", "Write requests received.", 1.0),
];

impl Collector for Infiniband {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        for device in names_or_no_data(&self.directory)? {
            let path = self.directory.join(&device);
            self.info(&path, &device, out)?;
            let ports = path.join("ports");
            for port in names_or_none(&ports) {
                self.port(&ports.join(&port), &[("device", &device), ("port", &port)], out)?;
            }
        }
        Ok(())
    }
}

impl Infiniband {
    fn info(&mut self, path: &Path, device: &str, out: &mut Batch) -> Result<(), CollectError> {
        let mut text = |file: &str| {
            let path = path.join(file);
            match self.files.attribute(&path) {
                Ok(text) => Ok(valid_utf8(text).into_owned()),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
                Err(e) => Err(CollectError::reading(&path, e)),
            }
        };
        let (board, firmware, kind) = (text("board_id")?, text("fw_ver")?, text("hca_type")?);
        let labels = [
            ("board_id", board.as_str()),
            ("device", device),
            ("firmware_version", firmware.as_str()),
            ("hca_type", kind.as_str()),
        ];
        out.gauge("node_infiniband_info", "Facts about the device; always 1.", &labels, 1.0);
        Ok(())
    }

    fn port(&mut self, path: &Path, labels: &[(&str, &str)], out: &mut Batch) -> Result<(), CollectError> {
        for (file, family, help, read) in [
            ("state", "state_id", "State of the port: 1 down, 2 initialising, 3 armed, 4 active, 5 deferred.", id as fn(&[u8]) -> Option<f64>),
            ("phys_state", "physical_state_id", "Physical state: 1 sleep, 2 polling, 3 disabled, 4 training, 5 link up, 6 error recovery, 7 test.", id),
            ("rate", "rate_bytes_per_second", "Signalling rate in bytes per second.", rate),
        ] {
            let path = path.join(file);
            let text = self.files.attribute(&path).map_err(|e| CollectError::reading(&path, e))?;
            let value = read(text).ok_or_else(|| CollectError::parsing(&path, "expected \"4: ACTIVE\" or \"40 Gb/sec\""))?;
            out.gauge(&format!("node_infiniband_{family}"), help, labels, value);
        }
        for (directory, counters) in [("counters", COUNTERS.as_slice()), ("counters_ext", LEGACY.as_slice())] {
            let directory = path.join(directory);
            counters.iter().for_each(|counter| self.counter(&directory, counter, labels, out));
        }
        // Few ports have any, so the directory is asked rather than each file.
        let directory = path.join("hw_counters");
        for name in names_or_none(&directory) {
            let found = HARDWARE.binary_search_by_key(&name.as_str(), |(file, ..)| file);
            if let Some(counter) = found.ok().and_then(|index| HARDWARE.get(index)) {
                self.counter(&directory, counter, labels, out);
            }
        }
        Ok(())
    }

    /// Not every driver has each; some say "N/A (no PMA)".
    fn counter(
        &mut self,
        directory: &Path,
        (file, family, help, unit): &(&str, &str, &str, f64),
        labels: &[(&str, &str)],
        out: &mut Batch,
    ) {
        let text = self.files.attribute(&directory.join(file)).unwrap_or_default();
        if let Some(count) = parse::unsigned(text) {
            out.counter(&format!("node_infiniband_{family}"), help, labels, parse::value(count) * unit);
        }
    }
}

/// `4: ACTIVE` as 4.
fn id(text: &[u8]) -> Option<f64> {
    parse::number(parse::split_once(text, b':')?.0)
}

/// `40 Gb/sec (4X QDR)` in bytes per second.
fn rate(text: &[u8]) -> Option<f64> {
    let mut fields = parse::fields(text);
    let gigabits = parse::number(fields.next()?)?;
    (fields.next()? == b"Gb/sec").then_some((gigabits * 125_000_000.0).floor())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    fn port() -> Fixture {
        Fixture::new().files(&[
            ("sys/class/infiniband/mlx4_0/fw_ver", "2.31.5050\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/state", "4: ACTIVE\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/phys_state", "5: LinkUp\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/rate", "2.5 Gb/sec (1X SDR)\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/counters/port_rcv_data", "10\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/counters/link_downed", "N/A (no PMA)\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/counters_ext/port_xmit_data_64", "4\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/hw_counters/out_of_buffer", "7\n"),
            ("sys/class/infiniband/mlx4_0/ports/1/hw_counters/lifespan", "10\n"),
        ])
    }

    #[test]
    fn golden() {
        port().expect(
            "infiniband",
            r#"node_infiniband_info{board_id="",device="mlx4_0",firmware_version="2.31.5050",hca_type=""} 1
               node_infiniband_legacy_data_transmitted_bytes_total{device="mlx4_0",port="1"} 16
               node_infiniband_out_of_buffer_drops_total{device="mlx4_0",port="1"} 7
               node_infiniband_physical_state_id{device="mlx4_0",port="1"} 5
               node_infiniband_port_data_received_bytes_total{device="mlx4_0",port="1"} 40
               node_infiniband_rate_bytes_per_second{device="mlx4_0",port="1"} 312500000
               node_infiniband_state_id{device="mlx4_0",port="1"} 4"#,
        );
    }

    #[test]
    fn hardware_counters_are_sorted_for_the_search() {
        assert!(super::HARDWARE.is_sorted_by_key(|(file, ..)| *file));
    }

    #[test]
    fn garbage_and_absence() {
        let error = port().file("sys/class/infiniband/mlx4_0/ports/1/rate", "fast").error("infiniband");
        assert!(error.contains("40 Gb/sec"), "{error}");
        assert!(Fixture::new().error("infiniband").starts_with("no data"));
    }
}
