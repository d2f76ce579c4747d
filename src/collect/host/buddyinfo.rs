//! Free memory blocks by order. Source: kernel `Documentation/filesystems/proc.rst`, `/proc/buddyinfo`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "buddyinfo",
    on_by_default: false,
    help: "Free blocks of memory per order from /proc/buddyinfo.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Buddyinfo {
            path: host.paths.proc("buddyinfo"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Buddyinfo {
    path: PathBuf,
    files: Files,
}

impl Collector for Buddyinfo {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let family = out.family("node_buddyinfo_blocks", "Free blocks of 2^size pages.", Kind::Gauge);
        let bad = || CollectError::parsing(&self.path, "expected lines \"Node 0, zone Normal 1 2 3\"");
        for line in parse::lines(text) {
            let mut fields = parse::fields(line);
            if fields.next() != Some(b"Node") {
                continue;
            }
            let node = fields.next().and_then(|n| n.strip_suffix(b",")).ok_or_else(bad)?;
            let zone = fields.nth(1).ok_or_else(bad)?;
            let (node, zone) = (valid_utf8(node), valid_utf8(zone));
            for (order, count) in fields.enumerate() {
                let count = parse::number(count).ok_or_else(bad)?;
                let mut digits = itoa::Buffer::new();
                let labels = [("node", &*node), ("size", digits.format(order)), ("zone", &*zone)];
                out.sample(family, &labels, count);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_and_truncated() {
        let text = "Node 0, zone      DMA      1      0\nNode 1, zone   Normal   4381   1093\n";
        Fixture::new().file("proc/buddyinfo", text).expect(
            "buddyinfo",
            r#"node_buddyinfo_blocks{node="0",size="0",zone="DMA"} 1
               node_buddyinfo_blocks{node="0",size="1",zone="DMA"} 0
               node_buddyinfo_blocks{node="1",size="0",zone="Normal"} 4381
               node_buddyinfo_blocks{node="1",size="1",zone="Normal"} 1093"#,
        );
        let error = Fixture::new().file("proc/buddyinfo", "Node 0, zone").error("buddyinfo");
        assert!(error.contains("expected lines"), "{error}");
    }
}
