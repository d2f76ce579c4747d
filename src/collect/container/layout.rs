//! Where the hierarchies of control groups are mounted: version 2, version 1, or both. Sources: cgroups(7),
//! systemd's page on its "hybrid" mode.
//!
//! Invariant: a hybrid machine counts as version 1; of its version 2 hierarchy, which has no controllers, only pressure
//! is read.

use std::path::{Path, PathBuf};

/// A hierarchy that files are in. Version 2 has only [`Hierarchy::Unified`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Hierarchy {
    Unified,
    Memory,
    Cpu,
    Cpuacct,
    Pids,
    Blkio,
    Cpuset,
}

pub(super) const HIERARCHIES: [Hierarchy; 7] = [
    Hierarchy::Unified,
    Hierarchy::Memory,
    Hierarchy::Cpu,
    Hierarchy::Cpuacct,
    Hierarchy::Pids,
    Hierarchy::Blkio,
    Hierarchy::Cpuset,
];

impl Hierarchy {
    /// The controller's name, as version 1 mounts it and `/proc/PID/cgroup` lists it.
    pub(super) const fn controller(self) -> &'static str {
        match self {
            Self::Unified => "",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Pids => "pids",
            Self::Blkio => "blkio",
            Self::Cpuset => "cpuset",
        }
    }
}

/// One directory for each hierarchy that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places([Option<PathBuf>; HIERARCHIES.len()]);

impl Places {
    pub(super) fn of(&self, hierarchy: Hierarchy) -> Option<&Path> {
        self.0.get(hierarchy as usize)?.as_deref()
    }

    /// Takes from others what there is none of yet. Whether that was any.
    fn fill(&mut self, others: Self) -> bool {
        let mut filled = false;
        for (own, other) in self.0.iter_mut().zip(others.0) {
            if own.is_none() && other.is_some() {
                (*own, filled) = (other, true);
            }
        }
        filled
    }

    pub(super) fn set(&mut self, hierarchy: Hierarchy, place: Option<PathBuf>) {
        if let Some(entry) = self.0.get_mut(hierarchy as usize) {
            *entry = place;
        }
    }
}

/// The machine's hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) roots: Places,
    /// The one that is walked for containers.
    pub(super) walked: Hierarchy,
    /// The roots are those of a container that this program is in, not the machine's.
    pub(super) is_own: bool,
    /// Of version 1: the kernel counts reads and writes of groups below as well.
    pub(super) is_recursive: bool,
}

impl Layout {
    /// What is mounted below `sysfs`, if anything.
    pub(super) fn detect(sysfs: &Path) -> Option<Self> {
        let base = sysfs.join("fs/cgroup");
        let mut roots = Places::default();
        if base.join("cgroup.controllers").exists() {
            // The machine's own root has none: it cannot be frozen, killed or emptied.
            let is_own = base.join("cgroup.events").exists();
            roots.set(Hierarchy::Unified, Some(base));
            return Some(Self { roots, walked: Hierarchy::Unified, is_own, is_recursive: false });
        }
        for hierarchy in HIERARCHIES {
            let found = match hierarchy {
                Hierarchy::Unified => {
                    Some(base.join("unified")).filter(|unified| unified.join("cgroup.controllers").exists())
                }
                Hierarchy::Cpu | Hierarchy::Cpuacct => [hierarchy.controller(), "cpu,cpuacct", "cpuacct,cpu"]
                    .iter()
                    .map(|name| base.join(name))
                    .find(|d| d.is_dir()),
                other => Some(base.join(other.controller())).filter(|d| d.is_dir()),
            };
            roots.set(hierarchy, found);
        }
        let walked = [Hierarchy::Memory, Hierarchy::Cpuacct, Hierarchy::Cpu, Hierarchy::Pids]
            .into_iter()
            .find(|hierarchy| roots.of(*hierarchy).is_some())?;
        let is_own = roots.of(walked).is_some_and(|root| !root.join("release_agent").exists());
        let is_recursive = ["throttle", "bfq"].iter().any(|policy| {
            let file = format!("blkio.{policy}.io_serviced{}", super::sources::RECURSIVE);
            roots.of(Hierarchy::Blkio).is_some_and(|root| root.join(file).exists())
        });
        Some(Self { roots, walked, is_own, is_recursive })
    }

    /// Whether what is read are the files of version 2.
    pub(super) fn is_v2(&self) -> bool {
        self.walked == Hierarchy::Unified
    }

    /// The root of the hierarchy that is walked.
    pub(super) fn root(&self) -> &Path {
        self.roots.of(self.walked).unwrap_or(Path::new("/"))
    }

    /// Where the files of a group are. Where version 1 does not have it under this path in a hierarchy, its member
    /// tells what it is called there, in `membership`: the text of `/proc/PID/cgroup`.
    pub(super) fn places(&self, path: &str, membership: impl FnOnce() -> String) -> Places {
        let mut places = Places::default();
        let (mut asked, mut membership) = (None, Some(membership));
        for hierarchy in HIERARCHIES {
            let Some(root) = self.roots.of(hierarchy) else { continue };
            let place = root.join(path.trim_start_matches('/'));
            if self.is_v2() || hierarchy == self.walked || place.is_dir() {
                places.set(hierarchy, Some(place));
                continue;
            }
            if let Some(ask) = membership.take() {
                asked = Some(ask());
            }
            let text = asked.as_deref().unwrap_or_default();
            let other = text.lines().filter_map(super::path::membership).find(|(controllers, _)| {
                controllers.split(',').any(|controller| controller == hierarchy.controller())
            });
            // Where it has no group of its own, its members are in the runtime's or the machine's, whose files tell of
            // more than it.
            let other = other.filter(|(_, other)| is_same(path, other));
            places.set(hierarchy, other.map(|(_, path)| root.join(path.trim_start_matches('/'))));
        }
        places
    }

    /// Looks again for the places of a group that were not there. Whether some are by now.
    pub(super) fn find_missing(
        &self,
        places: &mut Places,
        path: &str,
        membership: impl FnOnce() -> String,
    ) -> bool {
        let is_missing = |at| self.roots.of(at).is_some() && places.of(at).is_none();
        HIERARCHIES.into_iter().any(is_missing) && places.fill(self.places(path, membership))
    }
}

/// Whether groups of two hierarchies belong to the same container.
fn is_same(path: &str, other: &str) -> bool {
    match (super::path::innermost_id(path), super::path::innermost_id(other)) {
        (Some(id), Some(other)) => id == other,
        _ => path != "/" && other.rsplit('/').next() == path.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::host::testing::Fixture;

    fn detect(fixture: &Fixture) -> Layout {
        Layout::detect(&fixture.path().join("sys")).unwrap()
    }

    #[test]
    fn versions() {
        let v2 = Fixture::new().file("sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
        let layout = detect(&v2);
        assert!(layout.is_v2() && !layout.is_own);
        assert!(detect(&v2.file("sys/fs/cgroup/cgroup.events", "populated 1\n")).is_own);

        let hybrid = Fixture::new()
            .file("sys/fs/cgroup/unified/cgroup.controllers", "")
            .file("sys/fs/cgroup/memory/release_agent", "")
            .dir("sys/fs/cgroup/cpu,cpuacct");
        let layout = detect(&hybrid);
        assert!(!layout.is_v2() && !layout.is_own);
        assert_eq!(layout.walked, Hierarchy::Memory);
        assert_eq!(layout.roots.of(Hierarchy::Cpu), layout.roots.of(Hierarchy::Cpuacct));
        assert!(layout.roots.of(Hierarchy::Unified).is_some() && layout.roots.of(Hierarchy::Pids).is_none());

        assert!(Layout::detect(Path::new("/nonexistent")).is_none());
        assert!(detect(&Fixture::new().dir("sys/fs/cgroup/pids")).is_own);
    }

    #[test]
    fn a_group_that_is_called_otherwise_in_another_hierarchy() {
        let fixture = Fixture::new()
            .file("sys/fs/cgroup/memory/release_agent", "")
            .dir("sys/fs/cgroup/memory/run/docker/1")
            .dir("sys/fs/cgroup/cpu/docker/1")
            .dir("sys/fs/cgroup/pids/run/docker/1")
            .dir("sys/fs/cgroup/cpuacct/docker.service")
            .file("sys/fs/cgroup/unified/cgroup.controllers", "")
            .dir("sys/fs/cgroup/blkio");
        let layout = detect(&fixture);
        let text =
            "4:cpuacct:/docker.service\n3:cpu:/docker/1\n2:blkio:/\n1:pids:/elsewhere\n0::/docker.service\n";
        let places = layout.places("/run/docker/1", || text.to_owned());
        let of = |hierarchy| {
            let place = places.of(hierarchy)?.strip_prefix(fixture.path().join("sys/fs/cgroup")).unwrap();
            Some(place.display().to_string())
        };
        assert_eq!(of(Hierarchy::Memory).as_deref(), Some("memory/run/docker/1"));
        assert_eq!(of(Hierarchy::Cpu).as_deref(), Some("cpu/docker/1"));
        assert_eq!(of(Hierarchy::Pids).as_deref(), Some("pids/run/docker/1"));
        for none in [Hierarchy::Blkio, Hierarchy::Cpuset, Hierarchy::Cpuacct, Hierarchy::Unified] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
