//! IPsec errors. Source: kernel `Documentation/networking/xfrm_proc.rst`, `/proc/net/xfrm_stat`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "xfrm",
    on_by_default: false,
    help: "Errors of packet transformation (IPsec).",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Xfrm {
            path: host.paths.proc("net/xfrm_stat"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Xfrm {
    path: PathBuf,
    files: Files,
}

/// Name in the file, family, help.
const COUNTERS: [(&str, &str, &str); 28] = [
    ("XfrmInError", "node_xfrm_in_error_packets_total", "Errors not counted elsewhere, inbound."),
    ("XfrmInBufferError", "node_xfrm_in_buffer_error_packets_total", "No buffer left, inbound."),
    ("XfrmInHdrError", "node_xfrm_in_hdr_error_packets_total", "Header errors, inbound."),
    ("XfrmInNoStates", "node_xfrm_in_no_states_packets_total", "No state found: wrong SPI, address or protocol."),
    ("XfrmInStateProtoError", "node_xfrm_in_state_proto_error_packets_total", "Errors of the transformation's protocol, such as a wrong key, inbound."),
    ("XfrmInStateModeError", "node_xfrm_in_state_mode_error_packets_total", "Errors of the transformation's mode, inbound."),
    ("XfrmInStateSeqError", "node_xfrm_in_state_seq_error_packets_total", "Sequence number out of window, inbound."),
    ("XfrmInStateExpired", "node_xfrm_in_state_expired_packets_total", "State expired, inbound."),
    ("XfrmInStateMismatch", "node_xfrm_in_state_mismatch_packets_total", "State has mismatching options, inbound."),
    ("XfrmInStateInvalid", "node_xfrm_in_state_invalid_packets_total", "State is invalid, inbound."),
    ("XfrmInTmplMismatch", "node_xfrm_in_tmpl_mismatch_packets_total", "No matching template for states, inbound."),
    ("XfrmInNoPols", "node_xfrm_in_no_pols_packets_total", "No policy found for states, inbound."),
    ("XfrmInPolBlock", "node_xfrm_in_pol_block_packets_total", "Policy discards, inbound."),
    ("XfrmInPolError", "node_xfrm_in_pol_error_packets_total", "Policy errors, inbound."),
    ("XfrmOutError", "node_xfrm_out_error_packets_total", "Errors not counted elsewhere, outbound."),
    ("XfrmOutBundleGenError", "node_xfrm_out_bundle_gen_error_packets_total", "Bundle could not be made."),
    ("XfrmOutBundleCheckError", "node_xfrm_out_bundle_check_error_packets_total", "Bundle failed its check."),
    ("XfrmOutNoStates", "node_xfrm_out_no_states_packets_total", "No state found, outbound."),
    ("XfrmOutStateProtoError", "node_xfrm_out_state_proto_error_packets_total", "Errors of the transformation's protocol, outbound."),
    ("XfrmOutStateModeError", "node_xfrm_out_state_mode_error_packets_total", "Errors of the transformation's mode, outbound."),
    ("XfrmOutStateSeqError", "node_xfrm_out_state_seq_error_packets_total", "Sequence number overflow, outbound."),
    ("XfrmOutStateExpired", "node_xfrm_out_state_expired_packets_total", "State expired, outbound."),
    ("XfrmOutPolBlock", "node_xfrm_out_pol_block_packets_total", "Policy discards, outbound."),
    ("XfrmOutPolDead", "node_xfrm_out_pol_dead_packets_total", "Policy is dead, outbound."),
    ("XfrmOutPolError", "node_xfrm_out_pol_error_packets_total", "Policy errors, outbound."),
    ("XfrmFwdHdrError", "node_xfrm_fwd_hdr_error_packets_total", "Header errors while forwarding."),
    ("XfrmOutStateInvalid", "node_xfrm_out_state_invalid_packets_total", "State is invalid, outbound."),
    ("XfrmAcquireError", "node_xfrm_acquire_error_packets_total", "State was not fully acquired before use."),
];

impl Collector for Xfrm {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut values = [0.0; COUNTERS.len()];
        for line in parse::lines(text) {
            let mut fields = parse::fields(line);
            let (Some(name), value, None) = (fields.next(), fields.next(), fields.next()) else {
                return Err(bad(&self.path, line));
            };
            let value = value.and_then(parse::number).ok_or_else(|| bad(&self.path, line))?;
            let at = COUNTERS.iter().position(|(known, ..)| known.as_bytes() == name);
            if let Some(kept) = at.and_then(|at| values.get_mut(at)) {
                *kept = value;
            }
        }
        // An older kernel does not list them all; those it does not know stay 0.
        for ((_, family, help), value) in COUNTERS.iter().zip(values) {
            out.counter(family, help, &[], value);
        }
        Ok(())
    }
}

fn bad(path: &std::path::Path, line: &[u8]) -> CollectError {
    CollectError::parsing(path, format!("name and number expected: {:?}", String::from_utf8_lossy(line)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let text = Fixture::new()
            .file("proc/net/xfrm_stat", "XfrmInError   \t3\nXfrmAcquireError 24532\nXfrmNew 1\n")
            .samples("xfrm");
        assert_eq!(text.lines().count(), 28);
        for want in [
            "node_xfrm_in_error_packets_total 3\n",
            "node_xfrm_acquire_error_packets_total 24532\n",
            "node_xfrm_out_pol_dead_packets_total 0\n",
        ] {
            assert!(text.contains(want), "{want}");
        }
    }

    #[test]
    fn absent_truncated_and_garbage() {
        assert!(Fixture::new().error("xfrm").contains("no data"));
        for bad in ["XfrmInError\n", "XfrmInError 1 2\n", "XfrmInError x\n"] {
            assert!(Fixture::new().file("proc/net/xfrm_stat", bad).error("xfrm").contains("expected"));
        }
    }
}
