//! File handles of the whole system. Source: kernel `Documentation/admin-guide/sysctl/fs.rst`, `file-nr`.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "filefd",
    on_by_default: true,
    help: "File handles allocated and their limit.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(FileHandles {
            path: host.paths.proc("sys/fs/file-nr"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct FileHandles {
    path: PathBuf,
    files: Files,
}

impl Collector for FileHandles {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read_short_records(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut numbers = parse::fields(text).map(parse::number);
        // The second, free handles, is 0 since Linux 2.6.
        let (Some(Some(allocated)), Some(_), Some(Some(maximum))) = (numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(CollectError::parsing(&self.path, "expected three numbers"));
        };
        out.gauge("node_filefd_allocated", "File handles allocated.", &[], allocated);
        out.gauge("node_filefd_maximum", "Most file handles that may be allocated.", &[], maximum);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        // The limit of recent kernels is 2^63 - 1.
        Fixture::new().file("proc/sys/fs/file-nr", "1024\t0\t9223372036854775807\n").expect(
            "filefd",
            "node_filefd_allocated 1024
             node_filefd_maximum 9223372036854776000",
        );
    }

    #[test]
    fn garbage_is_an_error() {
        for bad in ["", "1024\t0\n", "a b c\n"] {
            let error = Fixture::new().file("proc/sys/fs/file-nr", bad).error("filefd");
            assert!(error.contains("three numbers"), "{error}");
        }
    }
}
