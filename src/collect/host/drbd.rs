//! DRBD devices. Source: the DRBD 8.4 user's guide, "Status information in /proc/drbd".

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "drbd",
    on_by_default: false,
    help: "Replicated block devices from /proc/drbd (DRBD 8).",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Drbd { path: host.paths.proc("drbd"), files: Files::new(host.descriptors.clone()) }))
    },
};

struct Drbd {
    path: PathBuf,
    files: Files,
}

/// Key, family, help, what a unit of the file is in units of the family (sizes are in KiB).
const NUMBERS: [(&[u8], &str, &str, f64); 12] = [
    (b"ns", "node_drbd_network_sent_bytes_total", "Bytes sent to the partner.", 1024.0),
    (b"nr", "node_drbd_network_received_bytes_total", "Bytes received from the partner.", 1024.0),
    (b"dw", "node_drbd_disk_written_bytes_total", "Bytes written to the local disk.", 1024.0),
    (b"dr", "node_drbd_disk_read_bytes_total", "Bytes read from the local disk.", 1024.0),
    (b"al", "node_drbd_activitylog_writes_total", "Updates of the activity log.", 1.0),
    (b"bm", "node_drbd_bitmap_writes_total", "Updates of the bitmap.", 1.0),
    (b"lo", "node_drbd_local_pending", "Open requests to the local disk.", 1.0),
    (b"pe", "node_drbd_remote_pending", "Requests sent and not yet answered.", 1.0),
    (b"ua", "node_drbd_remote_unacknowledged", "Requests received and not yet answered.", 1.0),
    (b"ap", "node_drbd_application_pending", "Block IO requests not yet answered by DRBD.", 1.0),
    (b"ep", "node_drbd_epochs", "Epochs in flight.", 1.0),
    (b"oos", "node_drbd_out_of_sync_bytes", "Bytes out of sync with the partner.", 1024.0),
];

/// Key, family, help, the good state. The value is `local/remote`.
const STATES: [(&[u8], &str, &str, &[u8]); 2] = [
    (b"ro", "node_drbd_node_role_is_primary", "Whether the node is in the primary role.", b"Primary"),
    (b"ds", "node_drbd_disk_state_is_up_to_date", "Whether the node's disk is up to date.", b"UpToDate"),
];

impl Collector for Drbd {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut device = "unknown".to_owned();
        for word in parse::fields(text) {
            let Some((key, value)) = parse::split_once(word, b':') else { continue };
            if value.contains(&b':') {
                continue;
            }
            if let (Some(id), true) = (parse::unsigned(key), value.is_empty()) {
                device = format!("drbd{id}");
            } else if let Some((_, family, help, unit)) = NUMBERS.iter().find(|(k, ..)| *k == key) {
                let number = parse::number(value).ok_or_else(|| {
                    let word = String::from_utf8_lossy(word);
                    CollectError::parsing(&self.path, format!("expected a number in {word:?}"))
                })?;
                let kind = if family.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
                let family = out.family(family, help, kind);
                out.sample(family, &[("device", &device)], number * unit);
            } else if let Some((_, family, help, good)) = STATES.iter().find(|(k, ..)| *k == key) {
                for (node, state) in ["local", "remote"].iter().zip(value.split(|b| *b == b'/')) {
                    let labels = [("device", device.as_str()), ("node", *node)];
                    out.gauge(family, help, &labels, f64::from(u8::from(state == *good)));
                }
            } else if key == b"cs" {
                let connected = f64::from(u8::from(value == b"Connected"));
                let help = "Whether the device is connected to its partner.";
                out.gauge("node_drbd_connected", help, &[("device", &device)], connected);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const TEXT: &str = "version: 8.4.3 (api:1/proto:86-101)\nsrcversion: 1A9F77B1CA5FF92235C2213\n\
        \n 1: cs:Connected ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n    \
        ns:17324442 nr:10961011 lo:0 ep:1 wo:d oos:4\n 2: cs:WFConnection\n";

    #[test]
    fn golden() {
        Fixture::new().file("proc/drbd", TEXT).expect(
            "drbd",
            r#"node_drbd_connected{device="drbd1"} 1
               node_drbd_connected{device="drbd2"} 0
               node_drbd_disk_state_is_up_to_date{device="drbd1",node="local"} 1
               node_drbd_disk_state_is_up_to_date{device="drbd1",node="remote"} 0
               node_drbd_epochs{device="drbd1"} 1
               node_drbd_local_pending{device="drbd1"} 0
               node_drbd_network_received_bytes_total{device="drbd1"} 11224075264
               node_drbd_network_sent_bytes_total{device="drbd1"} 17740228608
               node_drbd_node_role_is_primary{device="drbd1",node="local"} 1
               node_drbd_node_role_is_primary{device="drbd1",node="remote"} 0
               node_drbd_out_of_sync_bytes{device="drbd1"} 4096"#,
        );
    }

    #[test]
    fn garbage_and_absence() {
        let error = Fixture::new().file("proc/drbd", "1: ns:many").error("drbd");
        assert!(error.contains("\"ns:many\""), "{error}");
        assert!(Fixture::new().error("drbd").starts_with("no data"));
    }
}
