//! Memory errors found by error detection and correction. Source: kernel
//! `Documentation/admin-guide/ras.rst`, `/sys/devices/system/edac/mc`.

use std::path::Path;

use crate::collect::devices::Devices;
use crate::collect::directory::{names_or_none, number_after};
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "edac",
    on_by_default: true,
    help: "Memory errors by controller, row and channel from /sys/devices/system/edac.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Edac {
            controllers: Devices::new(host, host.paths.sys("devices/system/edac/mc")),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Edac {
    controllers: Devices,
    files: Files,
}

/// One kind of errors: prefix of its files, families by level.
struct Errors {
    file: &'static str,
    word: &'static str,
    controller: &'static str,
    csrow: &'static str,
    channel: &'static str,
}

const KINDS: [Errors; 2] = [
    Errors {
        file: "ce",
        word: "corrected",
        controller: "node_edac_correctable_errors_total",
        csrow: "node_edac_csrow_correctable_errors_total",
        channel: "node_edac_channel_correctable_errors_total",
    },
    Errors {
        file: "ue",
        word: "uncorrected",
        controller: "node_edac_uncorrectable_errors_total",
        csrow: "node_edac_csrow_uncorrectable_errors_total",
        channel: "node_edac_channel_uncorrectable_errors_total",
    },
];

impl Collector for Edac {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        for name in &*self.controllers.names(pass).unwrap_or_default() {
            if let Some(controller) = number_after(name, "mc") {
                let path = self.controllers.directory().join(name);
                self.controller(&path, controller, out)?;
            }
        }
        Ok(())
    }
}

impl Edac {
    fn controller(&mut self, path: &Path, controller: &str, out: &mut Batch) -> Result<(), CollectError> {
        for kind in &KINDS {
            let total = self.count(&path.join(format!("{}_count", kind.file)))?;
            let help = format!("Memory errors {} by the controller.", kind.word);
            out.counter(kind.controller, &help, &[("controller", controller)], total);
            let unplaced = self.count(&path.join(format!("{}_noinfo_count", kind.file)))?;
            csrow_sample(kind, controller, "unknown", unplaced, out);
        }
        for name in names_or_none(path) {
            let Some(csrow) = number_after(&name, "csrow") else { continue };
            let path = path.join(&name);
            for kind in &KINDS {
                let errors = self.count(&path.join(format!("{}_count", kind.file)))?;
                csrow_sample(kind, controller, csrow, errors, out);
            }
            self.channels(&path, controller, csrow, out)?;
        }
        Ok(())
    }

    /// `ch0_ce_count`, `ch0_dimm_label`; drivers that do not tell channels apart have none.
    fn channels(
        &mut self,
        path: &Path,
        controller: &str,
        csrow: &str,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        for name in names_or_none(path) {
            let Some((channel, rest)) = name.strip_prefix("ch").and_then(|n| n.split_once('_')) else { continue };
            let Some(kind) = KINDS.iter().find(|k| rest.strip_suffix("_count") == Some(k.file)) else { continue };
            let label = self.files.attribute(&path.join(format!("ch{channel}_dimm_label")));
            let label = label.map(|l| valid_utf8(l).into_owned()).unwrap_or_default();
            let errors = self.count(&path.join(&name))?;
            let help = format!("Memory errors {} in the channel.", kind.word);
            let labels =
                [("channel", channel), ("controller", controller), ("csrow", csrow), ("dimm_label", &label)];
            out.counter(kind.channel, &help, &labels, errors);
        }
        Ok(())
    }

    fn count(&mut self, path: &Path) -> Result<f64, CollectError> {
        let text = self.files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
        parse::number(text).ok_or_else(|| CollectError::parsing(path, "expected a number"))
    }
}

fn csrow_sample(kind: &Errors, controller: &str, csrow: &str, errors: f64, out: &mut Batch) {
    let help = format!("Memory errors {} in the chip-select row.", kind.word);
    out.counter(kind.csrow, &help, &[("controller", controller), ("csrow", csrow)], errors);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        Fixture::new()
            .files(&[
                ("sys/devices/system/edac/mc/power/control", "auto\n"),
                ("sys/devices/system/edac/mc/mc0/ce_count", "1\n"),
                ("sys/devices/system/edac/mc/mc0/ce_noinfo_count", "2\n"),
                ("sys/devices/system/edac/mc/mc0/ue_count", "5\n"),
                ("sys/devices/system/edac/mc/mc0/ue_noinfo_count", "6\n"),
                ("sys/devices/system/edac/mc/mc0/csrow0/ce_count", "3\n"),
                ("sys/devices/system/edac/mc/mc0/csrow0/ue_count", "4\n"),
                ("sys/devices/system/edac/mc/mc0/csrow0/ch1_ce_count", "7\n"),
                ("sys/devices/system/edac/mc/mc0/csrow0/ch1_dimm_label", "CPU_SrcID#0_DIMM#1\n"),
            ])
            .expect(
                "edac",
                r#"node_edac_channel_correctable_errors_total{channel="1",controller="0",csrow="0",dimm_label="CPU_SrcID#0_DIMM#1"} 7
                   node_edac_correctable_errors_total{controller="0"} 1
                   node_edac_csrow_correctable_errors_total{controller="0",csrow="0"} 3
                   node_edac_csrow_correctable_errors_total{controller="0",csrow="unknown"} 2
                   node_edac_csrow_uncorrectable_errors_total{controller="0",csrow="0"} 4
                   node_edac_csrow_uncorrectable_errors_total{controller="0",csrow="unknown"} 6
                   node_edac_uncorrectable_errors_total{controller="0"} 5"#,
            );
    }

    #[test]
    fn without_memory_controllers_it_succeeds_with_nothing() {
        Fixture::new().expect("edac", "");
    }
}
