//! The kernel's entropy pool. Source: kernel `Documentation/admin-guide/sysctl/kernel.rst`, `random`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "entropy",
    on_by_default: true,
    help: "Entropy available and the pool's size.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Entropy {
            available: host.paths.proc("sys/kernel/random/entropy_avail"),
            pool_size: host.paths.proc("sys/kernel/random/poolsize"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Entropy {
    available: PathBuf,
    pool_size: PathBuf,
    files: Files,
}

impl Collector for Entropy {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        for (path, name, help) in [
            (&self.available, "node_entropy_available_bits", "Bits of entropy available."),
            (&self.pool_size, "node_entropy_pool_size_bits", "Bits of entropy the pool can hold."),
        ] {
            let text = self.files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
            let bits =
                parse::unsigned(text).ok_or_else(|| CollectError::parsing(path, "expected a number"))?;
            out.gauge(name, help, &[], parse::value(bits));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let fixture = Fixture::new().file("proc/sys/kernel/random/entropy_avail", "256\n");
        assert!(fixture.error("entropy").contains("poolsize"));
        fixture.file("proc/sys/kernel/random/poolsize", "4096\n").expect(
            "entropy",
            "node_entropy_available_bits 256
             node_entropy_pool_size_bits 4096",
        );
    }
}
