//! What sysfs says about CPUs: throttle counters by core and package, isolated and online CPUs.
//!
//! Which files there are is looked up when the set of CPUs changes and every [`LOOK_AGAIN`] passes;
//! in between only those that exist are read. Which CPUs are online the kernel also tells in one list: while that is
//! what it was, and said the same as the CPUs' own files, these are not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::collect::numbered::{Numbered, numbered};
use crate::collect::{CollectError, Files, parse};
use crate::model::{Batch, Kind};

const LOOK_AGAIN: u32 = 64;
/// An inverted or huge range in `isolated` must not fill memory.
const MOST_CPUS: u64 = 16_384;

struct CoreThrottle {
    package: String,
    core: String,
    path: PathBuf,
}

struct PackageThrottle {
    package: String,
    path: PathBuf,
}

struct Online {
    cpu: String,
    is_online: bool,
    /// `None` where the CPU cannot be taken offline by this file: it counts as offline, as in
    /// node_exporter, if only the first CPU has the file.
    path: Option<PathBuf>,
}

pub(super) struct Topology {
    directory: PathBuf,
    list_path: PathBuf,
    passes: u32,
    cores: Vec<CoreThrottle>,
    packages: Vec<PackageThrottle>,
    online: Vec<Online>,
    /// The list of online CPUs when their own files were read, if it said the same.
    list: Option<Vec<u8>>,
    /// Read once: it is set on the kernel's command line.
    isolated: Option<Vec<u64>>,
}

impl Topology {
    pub(super) fn new(directory: PathBuf) -> Self {
        let list_path = directory.join("online");
        let (cores, packages, online) = (vec![], vec![], vec![]);
        Self { directory, list_path, passes: 0, cores, packages, online, list: None, isolated: None }
    }

    pub(super) fn emit(
        &mut self,
        files: &mut Files,
        changed: bool,
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        if changed || self.passes.is_multiple_of(LOOK_AGAIN) {
            let cpus = numbered(&self.directory, "cpu").map_err(|e| CollectError::reading(&self.directory, e))?;
            self.look(&cpus, files);
        }
        self.passes = self.passes.wrapping_add(1);
        self.emit_isolated(files, out)?;
        self.emit_throttles(files, out);
        self.emit_online(files, out);
        Ok(())
    }

    fn look(&mut self, cpus: &[Numbered], files: &mut Files) {
        let (mut cores, mut packages) = (BTreeMap::new(), BTreeMap::new());
        let (mut cores_seen, mut packages_seen) = (BTreeSet::new(), BTreeSet::new());
        for cpu in cpus {
            let topology = cpu.path.join("topology");
            let Some(package) = count(files, &topology.join("physical_package_id")) else { continue };
            let Some(core) = count(files, &topology.join("core_id")) else { continue };
            let throttle = cpu.path.join("thermal_throttle");
            let path = throttle.join("core_throttle_count");
            if !cores_seen.contains(&(package, core)) && path.exists() {
                cores_seen.insert((package, core));
                let throttle = CoreThrottle { package: package.to_string(), core: core.to_string(), path };
                cores.insert((package, core), throttle);
            }
            let path = throttle.join("package_throttle_count");
            if !packages_seen.contains(&package) && path.exists() {
                packages_seen.insert(package);
                packages.insert(package, PackageThrottle { package: package.to_string(), path });
            }
        }
        self.cores = cores.into_values().collect();
        self.packages = packages.into_values().collect();
        self.online = online_files(cpus);
        self.list = None;
    }

    fn emit_isolated(&mut self, files: &mut Files, out: &mut Batch) -> Result<(), CollectError> {
        if self.isolated.is_none() {
            let path = self.directory.join("isolated");
            self.isolated = Some(match files.read_once(&path) {
                Ok(text) => {
                    let invalid = || CollectError::parsing(&path, "expected a list of CPUs");
                    cpu_list(text).ok_or_else(invalid)?
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(e) => return Err(CollectError::reading(&path, e)),
            });
        }
        let help = "Whether the CPU is isolated from the scheduler (kernel parameter isolcpus).";
        let mut digits = itoa::Buffer::new();
        for cpu in self.isolated.iter().flatten() {
            out.gauge("node_cpu_isolated", help, &[("cpu", digits.format(*cpu))], 1.0);
        }
        Ok(())
    }

    fn emit_throttles(&self, files: &mut Files, out: &mut Batch) {
        let help = "Times the package was throttled because of its temperature.";
        for throttle in &self.packages {
            let Some(n) = count(files, &throttle.path) else { continue };
            let labels = [("package", throttle.package.as_str())];
            out.counter("node_cpu_package_throttles_total", help, &labels, parse::value(n));
        }
        let help = "Times the core was throttled because of its temperature.";
        for throttle in &self.cores {
            let Some(n) = count(files, &throttle.path) else { continue };
            let labels = [("package", throttle.package.as_str()), ("core", &throttle.core)];
            out.counter("node_cpu_core_throttles_total", help, &labels, parse::value(n));
        }
    }

    fn emit_online(&mut self, files: &mut Files, out: &mut Batch) {
        if self.online.is_empty() {
            return;
        }
        self.refresh_online(files);
        let family = out.family("node_cpu_online", "Whether the CPU is online.", Kind::Gauge);
        for cpu in &self.online {
            out.sample(family, &[("cpu", &cpu.cpu)], f64::from(u8::from(cpu.is_online)));
        }
    }

    fn refresh_online(&mut self, files: &mut Files) {
        let list = files.attribute(&self.list_path).ok();
        if list.is_some() && list == self.list.as_deref() {
            return;
        }
        let list = list.map(<[u8]>::to_vec);
        for cpu in &mut self.online {
            cpu.is_online = cpu.path.as_ref().and_then(|p| files.attribute(p).ok()) == Some(b"1");
        }
        self.list = list.filter(|list| cpu_list(list).is_some_and(|listed| self.is_online(&listed)));
    }

    /// Whether these are the CPUs whose files say that they are online.
    fn is_online(&self, listed: &[u64]) -> bool {
        let mut online: Vec<u64> =
            self.online.iter().filter(|c| c.is_online).filter_map(|c| c.cpu.parse().ok()).collect();
        online.sort_unstable();
        online == listed
    }
}

/// Nothing unless the first CPU has the file: then the kernel tells it of every CPU.
fn online_files(cpus: &[Numbered]) -> Vec<Online> {
    if !cpus.first().is_some_and(|c| c.path.join("online").exists()) {
        return Vec::new();
    }
    let file = |c: &Numbered| Some(c.path.join("online")).filter(|p| p.exists());
    cpus.iter().map(|c| Online { cpu: c.number.clone(), is_online: false, path: file(c) }).collect()
}

fn count(files: &mut Files, path: &Path) -> Option<u64> {
    parse::unsigned(files.attribute(path).ok()?)
}

/// The kernel's list format: `0-3,8,10-11`.
fn cpu_list(text: &[u8]) -> Option<Vec<u64>> {
    let text = std::str::from_utf8(text).ok()?.trim_end();
    let mut cpus = BTreeSet::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        if last >= MOST_CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list(b"\n"), Some(vec![]));
        assert_eq!(cpu_list(b"1,3-5,9\n"), Some(vec![1, 3, 4, 5, 9]));
        for bad in [b"x".as_slice(), b"1-", b"1-99999999999", b"\xff"] {
            assert_eq!(cpu_list(bad), None);
        }
    }
}
