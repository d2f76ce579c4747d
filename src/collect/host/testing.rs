//! Fixture trees for collector tests: a few files written to a temporary directory, a collector run
//! over them, and its samples as text.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::collect::{BuildError, CollectError, Collector, Host, HostPaths, Options, Pass, specs};
use crate::model::{Batch, Snapshot, Timestamp};

/// The instant at which fixtures are read: 2023-11-14T22:13:20Z.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A tree with `proc/`, `sys/`, `root/` and `udev/` below a temporary directory.
pub(crate) struct Fixture {
    dir: TempDir,
    options: Options,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), options: Options::default() }
    }

    /// Where the tree is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file, its directories with it.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Writes many files: `("sys/class/net/lo/mtu", "65536\n")`.
    pub(crate) fn files(self, files: &[(&str, &str)]) -> Self {
        files.iter().fold(self, |fixture, (path, content)| fixture.file(path, content))
    }

    /// Makes an empty directory.
    pub(crate) fn dir(self, path: &str) -> Self {
        std::fs::create_dir_all(self.dir.path().join(path)).unwrap();
        self
    }

    /// Makes a symbolic link at `path` to `target`, as sysfs has them.
    pub(crate) fn link(self, path: &str, target: impl Into<PathBuf>) -> Self {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target.into(), path).unwrap();
        self
    }

    /// Sets a collector's flag.
    pub(crate) fn option(mut self, name: &str, value: &str) -> Self {
        self.options.set(name, value).unwrap();
        self
    }

    /// A collector over this tree, to be run several times.
    pub(crate) fn collector(&self, name: &str) -> Box<dyn Collector> {
        self.build(name).unwrap()
    }

    /// Why the collector refuses its options.
    pub(crate) fn refused(&self, name: &str) -> String {
        self.build(name).err().unwrap().to_string()
    }

    fn build(&self, name: &str) -> Result<Box<dyn Collector>, BuildError> {
        let below = |part: &str| self.dir.path().join(part);
        let host = Host::new(HostPaths {
            procfs: below("proc"),
            sysfs: below("sys"),
            rootfs: below("root"),
            udev_data: below("udev"),
        });
        let spec = specs().iter().find(|s| s.name == name).unwrap();
        (spec.build)(&host, &self.options)
    }

    /// Runs the collector twice - kept descriptors must read the same - and compares the samples, as
    /// sorted text lines without HELP and TYPE, with `want`.
    #[track_caller]
    pub(crate) fn expect(&self, collector: &str, want: &str) {
        let mut collector = self.collector(collector);
        for _ in 0..2 {
            let (text, result) = run(&mut *collector);
            assert!(result.is_ok(), "{result:?}\n{text}");
            assert_same_lines(&text, want);
        }
    }

    /// Runs the collector, which must fail; what it wrote before is dropped.
    #[track_caller]
    pub(crate) fn error(&self, collector: &str) -> String {
        run(&mut *self.collector(collector)).1.unwrap_err().to_string()
    }

    /// The samples of one run as text, whatever the result.
    pub(crate) fn samples(&self, collector: &str) -> String {
        run(&mut *self.collector(collector)).0
    }
}

/// One run: samples as sorted text lines, and the result.
pub(crate) fn run(collector: &mut dyn Collector) -> (String, Result<(), CollectError>) {
    let mut batch = Batch::new();
    let pass = Pass { now: NOW, deadline: Instant::now() + Duration::from_secs(30) };
    let result = collector.collect(&pass, &mut batch);
    assert_eq!(batch.conflicts(), 0, "one family, two types");
    let snapshot = Snapshot::assemble(NOW, vec![("test", batch)]);
    assert_eq!(snapshot.duplicates(), 0, "duplicate series");
    let mut lines = Vec::new();
    for family in snapshot.families() {
        assert!(!family.help().is_empty(), "{} has no help", family.name());
        for sample in family.samples() {
            let labels: Vec<_> = sample.labels().iter().map(|(n, v)| format!("{n}={v:?}")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            lines.push(format!("{}{labels} {}\n", family.name(), sample.value()));
        }
    }
    lines.sort();
    (lines.concat(), result)
}

#[track_caller]
fn assert_same_lines(got: &str, want: &str) {
    let mut wanted: Vec<_> = want.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    wanted.sort_unstable();
    let got: Vec<_> = got.lines().collect();
    let missing: Vec<_> = wanted.iter().filter(|l| !got.contains(l)).collect();
    let surplus: Vec<_> = got.iter().filter(|l| !wanted.contains(l)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}\nnot wanted: {surplus:#?}");
}
