//! Swap areas, one by one. Source: kernel `mm/swapfile.c`, `/proc/swaps`: sizes in KiB.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "swap",
    on_by_default: false,
    help: "Size, use and priority of each swap area from /proc/swaps.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Swap { path: host.paths.proc("swaps"), files: Files::new(host.descriptors.clone()) }))
    },
};

struct Swap {
    path: PathBuf,
    files: Files,
}

const COLUMNS: [(&str, &str, f64); 3] = [
    ("node_swap_size_bytes", "Size of the swap area in bytes.", 1024.0),
    ("node_swap_used_bytes", "Bytes of the swap area in use.", 1024.0),
    ("node_swap_priority", "Priority of the swap area.", 1.0),
];

impl Collector for Swap {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        for line in parse::lines(text).skip(1) {
            let mut fields = parse::fields(line);
            let (Some(device), Some(kind)) = (fields.next(), fields.next()) else { continue };
            let (device, kind) = (valid_utf8(device), valid_utf8(kind));
            for (family, help, unit) in COLUMNS {
                let value = fields.next().and_then(parse::number).ok_or_else(|| {
                    CollectError::parsing(&self.path, format!("expected five columns for {device:?}"))
                })?;
                let family = out.family(family, help, Kind::Gauge);
                out.sample(family, &[("device", &device), ("swap_type", &kind)], value * unit);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn golden() {
        let text = format!("{HEADER}/dev/zram0  partition\t1048572\t\t524\t\t100\n/swap\\040file file 4 0 -2\n");
        Fixture::new().file("proc/swaps", text).expect(
            "swap",
            r#"node_swap_priority{device="/dev/zram0",swap_type="partition"} 100
               node_swap_priority{device="/swap\\040file",swap_type="file"} -2
               node_swap_size_bytes{device="/dev/zram0",swap_type="partition"} 1073737728
               node_swap_size_bytes{device="/swap\\040file",swap_type="file"} 4096
               node_swap_used_bytes{device="/dev/zram0",swap_type="partition"} 536576
               node_swap_used_bytes{device="/swap\\040file",swap_type="file"} 0"#,
        );
    }

    #[test]
    fn no_swap_is_nothing_and_a_cut_line_is_an_error() {
        Fixture::new().file("proc/swaps", HEADER).expect("swap", "");
        let error = Fixture::new().file("proc/swaps", format!("{HEADER}/dev/sda2 partition 12")).error("swap");
        assert!(error.contains("five columns"), "{error}");
    }
}
