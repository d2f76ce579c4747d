//! SCSI tape drives. Source: kernel `Documentation/scsi/st.rst`, `/sys/class/scsi_tape/*/stats`.

use std::path::PathBuf;

use regex::Regex;

use crate::collect::directory::{names_or_no_data, number_after};
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "tapestats",
    on_by_default: true,
    help: "Input and output of SCSI tape drives from /sys/class/scsi_tape.",
    flags: &[Flag {
        name: "tapestats.ignored-devices",
        kind: FlagKind::Regex("^$"),
        help: "Regular expression of devices to leave out.",
        hidden: false,
    }],
    build: |host, options| {
        Ok(Box::new(Tapestats {
            directory: host.paths.sys("class/scsi_tape"),
            files: Files::new(host.descriptors.clone()),
            ignored: options.regex("tapestats.ignored-devices"),
        }))
    },
};

struct Tapestats {
    directory: PathBuf,
    files: Files,
    ignored: Option<Regex>,
}

/// File, family, help, and what the file's number is divided by.
const FILES: [(&str, &str, &str, f64); 10] = [
    ("in_flight", "node_tape_io_now", "IOs in progress.", 1.0),
    ("io_ns", "node_tape_io_time_seconds_total", "Seconds spent on all IO.", 1e9),
    ("other_cnt", "node_tape_io_others_total", "IOs other than reads and writes.", 1.0),
    ("read_byte_cnt", "node_tape_read_bytes_total", "Bytes read.", 1.0),
    ("read_cnt", "node_tape_reads_completed_total", "Reads completed.", 1.0),
    ("read_ns", "node_tape_read_time_seconds_total", "Seconds spent on reads.", 1e9),
    ("resid_cnt", "node_tape_residual_total", "Reads and writes that moved less than asked.", 1.0),
    ("write_byte_cnt", "node_tape_written_bytes_total", "Bytes written.", 1.0),
    ("write_cnt", "node_tape_writes_completed_total", "Writes completed.", 1.0),
    ("write_ns", "node_tape_write_time_seconds_total", "Seconds spent on writes.", 1e9),
];

impl Collector for Tapestats {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        for device in names_or_no_data(&self.directory)? {
            // st0 only: st0a, st0l, nst0 ... are the same drive in other modes.
            let is_drive = number_after(&device, "st").is_some();
            if !is_drive || self.ignored.as_ref().is_some_and(|r| r.is_match(&device)) {
                continue;
            }
            for (file, family, help, divisor) in FILES {
                let path = self.directory.join(&device).join("stats").join(file);
                let text = self.files.attribute(&path).map_err(|e| CollectError::reading(&path, e))?;
                let value =
                    parse::number(text).ok_or_else(|| CollectError::parsing(&path, "expected a number"))?;
                let kind = if family.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
                let family = out.family(family, help, kind);
                out.sample(family, &[("device", &device)], value / divisor);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_and_ignored() {
        let mut fixture = Fixture::new().dir("sys/class/scsi_tape/nst0").dir("sys/class/scsi_tape/st0a");
        for (i, (file, ..)) in super::FILES.iter().enumerate() {
            let value = if file.ends_with("_ns") { 1_500_000_000 } else { i };
            fixture = fixture.file(&format!("sys/class/scsi_tape/st0/stats/{file}"), value.to_string());
        }
        fixture.expect(
            "tapestats",
            r#"node_tape_io_now{device="st0"} 0
               node_tape_io_others_total{device="st0"} 2
               node_tape_io_time_seconds_total{device="st0"} 1.5
               node_tape_read_bytes_total{device="st0"} 3
               node_tape_read_time_seconds_total{device="st0"} 1.5
               node_tape_reads_completed_total{device="st0"} 4
               node_tape_residual_total{device="st0"} 6
               node_tape_write_time_seconds_total{device="st0"} 1.5
               node_tape_writes_completed_total{device="st0"} 8
               node_tape_written_bytes_total{device="st0"} 7"#,
        );
        fixture.option("tapestats.ignored-devices", "^st0$").expect("tapestats", "");
        assert!(Fixture::new().error("tapestats").starts_with("no data"));
    }
}
