//! NVMe controllers and their namespaces. Source: kernel `drivers/nvme/host/sysfs.c`, `/sys/class/nvme`.

use crate::collect::directory::number_after;
use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "nvme",
    on_by_default: true,
    help: "NVMe controllers and namespaces from /sys/class/nvme.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Nvme { class: Tree::new(host.paths.sys("class/nvme"), host.descriptors.clone()) }))
    },
};

struct Nvme {
    class: Tree,
}

/// File, label.
const FACTS: [(&str, &str); 5] = [
    ("firmware_rev", "firmware_revision"),
    ("model", "model"),
    ("serial", "serial"),
    ("state", "state"),
    ("cntlid", "cntlid"),
];

impl Collector for Nvme {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.class.begin_pass();
        for device in self.class.names_or_no_data(&[], |_| true)? {
            self.controller(&device, out)?;
        }
        Ok(())
    }
}

impl Nvme {
    fn controller(&mut self, device: &str, out: &mut Batch) -> Result<(), CollectError> {
        let mut values = FACTS.map(|_| String::new());
        for (value, (file, _)) in values.iter_mut().zip(FACTS) {
            *value = valid_utf8(self.class.required(&[device, file])?).into_owned();
        }
        let mut labels = [("device", device); FACTS.len() + 1];
        for ((label, (_, name)), value) in labels.iter_mut().zip(FACTS).zip(&values) {
            *label = (name, value);
        }
        out.gauge("node_nvme_info", "Facts about an NVMe controller; always 1.", &labels, 1.0);
        for directory in self.class.names_if_any(&[device], |name| path_number(name).is_some())? {
            self.namespace(device, &directory, out)?;
        }
        Ok(())
    }

    fn namespace(&mut self, device: &str, directory: &str, out: &mut Batch) -> Result<(), CollectError> {
        let nsid = path_number(directory).unwrap_or_default();
        let used = self.class.unsigned(&[device, directory, "nuse"])?;
        let size = self.class.unsigned(&[device, directory, "size"])?;
        let block = self.class.unsigned(&[device, directory, "queue", "logical_block_size"])?;
        let state = self.class.optional(&[device, directory, "ana_state"])?.unwrap_or(b"unknown");
        let state = valid_utf8(state);
        let labels = [("ana_state", &*state), ("device", device), ("nsid", nsid)];
        out.gauge("node_nvme_namespace_info", "Facts about an NVMe namespace; always 1.", &labels, 1.0);
        let labels = [("device", device), ("nsid", nsid)];
        // node_exporter multiplies `size` too, although the kernel counts it in sectors of 512 bytes.
        let bytes = |blocks: u64| parse::value(blocks.wrapping_mul(block));
        for (family, help, value) in [
            ("node_nvme_namespace_capacity_bytes", "Capacity of the namespace.", bytes(size)),
            ("node_nvme_namespace_size_bytes", "Size of the namespace.", bytes(size)),
            ("node_nvme_namespace_used_bytes", "Used part of the namespace.", bytes(used)),
            (
                "node_nvme_namespace_logical_block_size_bytes",
                "Logical block size of the namespace.",
                parse::value(block),
            ),
        ] {
            let family = out.family(family, help, Kind::Gauge);
            out.sample(family, &labels, value);
        }
        Ok(())
    }
}

/// The namespace's number in `nvme0c1n2`: a namespace's path through one controller.
fn path_number(name: &str) -> Option<&str> {
    let (controller, rest) = name.strip_prefix("nvme")?.split_once('c')?;
    let (path, _) = rest.split_once('n')?;
    number_after(controller, "")?;
    number_after(path, "")?;
    number_after(rest.strip_prefix(path)?, "n")
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    fn controller() -> Fixture {
        Fixture::new().files(&[
            ("sys/class/nvme/nvme0/cntlid", "1997\n"),
            ("sys/class/nvme/nvme0/firmware_rev", "1B2Q\n"),
            ("sys/class/nvme/nvme0/model", "Fast SSD 1TB            \n"),
            ("sys/class/nvme/nvme0/serial", "S680\n"),
            ("sys/class/nvme/nvme0/state", "live\n"),
            ("sys/class/nvme/nvme0/nvme0n1/size", "5\n"),
        ])
    }

    #[test]
    fn golden() {
        controller()
            .files(&[
                ("sys/class/nvme/nvme0/nvme0c0n1/nuse", "100\n"),
                ("sys/class/nvme/nvme0/nvme0c0n1/size", "200\n"),
                ("sys/class/nvme/nvme0/nvme0c0n1/queue/logical_block_size", "4096\n"),
                ("sys/class/nvme/nvme0/nvme0c0n1/ana_state", "optimized\n"),
            ])
            .expect(
                "nvme",
                r#"node_nvme_info{cntlid="1997",device="nvme0",firmware_revision="1B2Q",model="Fast SSD 1TB",serial="S680",state="live"} 1
                node_nvme_namespace_capacity_bytes{device="nvme0",nsid="1"} 819200
                node_nvme_namespace_info{ana_state="optimized",device="nvme0",nsid="1"} 1
                node_nvme_namespace_logical_block_size_bytes{device="nvme0",nsid="1"} 4096
                node_nvme_namespace_size_bytes{device="nvme0",nsid="1"} 819200
                node_nvme_namespace_used_bytes{device="nvme0",nsid="1"} 409600"#,
            );
    }

    #[test]
    fn absent_and_incomplete() {
        assert!(Fixture::new().error("nvme").contains("no data"));
        assert_eq!(controller().samples("nvme").lines().count(), 1, "no path directories");
        assert!(Fixture::new().dir("sys/class/nvme/nvme0").error("nvme").contains("firmware_rev"));
    }

    #[test]
    fn names_of_paths() {
        for (name, want) in
            [("nvme0c1n12", Some("12")), ("nvme0n1", None), ("nvme0c1n1p2", None), ("nvmec1n1", None), ("power", None)]
        {
            assert_eq!(super::path_number(name), want, "{name}");
        }
    }
}
