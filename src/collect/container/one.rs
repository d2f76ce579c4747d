//! One container: its files, and what they said last.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::files::{Extent, is_gone};
use super::super::kept_file::{KeptFile, Reader};
use super::layout::{Layout, Places};
use super::names::{LATELY, Named};
use super::network::NetworkFile;
use super::path::{Identity, Runtime};
use super::process::{self, Process};
use super::quiet::Quiet;
use super::sources::{PER_CPU, Source, VERSION_1, VERSION_2, When};
use super::values::Quantity::{
    self, InactiveFile, MemoryUsage, OpenFiles, OpenFilesSoft, Sockets, WorkingSet,
};
use super::values::Stats;
use super::write::Labels;
use super::{parse, walk};

/// Passes between two readings of all, also of what a container may have and of what seems not to change.
const ALL_EVERY: u32 = 8;

/// Most groups below a container's own in which its processes are looked for.
const MOST_GROUPS_BELOW: usize = 64;

/// Longest line of `cgroup.procs`, bytes.
const LONGEST_PID: usize = 32;

/// A container that is there.
pub(super) struct Container {
    /// Its group's path: the label `id`.
    pub(super) path: String,
    pub(super) inode: u64,
    pub(super) has_children: bool,
    pub(super) runtime: Runtime,
    /// The runtime's id or name of it.
    pub(super) id: String,
    pub(super) pod_uid: Option<String>,
    /// When it was first seen.
    pub(super) since: Instant,
    /// Number of the pass that saw it last.
    pub(super) seen: u64,
    pub(super) process: Option<Process>,
    /// Seconds since the epoch.
    pub(super) started: Option<f64>,
    pub(super) created: f64,
    places: Places,
    files: Vec<KeptFile>,
    procs: KeptFile,
    /// Read in this pass.
    vital: Stats,
    /// Read when something had happened.
    work: Stats,
    limits: Stats,
    quiet: Quiet,
    reads: u32,
    /// Something could not be read in this pass.
    pub(super) failed: bool,
    pub(super) labels: Labels,
    pub(super) network: NetworkFile,
    /// What files or the runtime say of it.
    pub(super) named: Option<Arc<Named>>,
    /// What the groups of this name had counted before this one.
    pub(super) kills_before: Option<f64>,
    /// On request: processes by state.
    pub(super) task_states: Vec<(&'static str, f64)>,
}

/// What is read on request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requests {
    pub(super) per_cpu: bool,
    /// Open files and states of each process.
    pub(super) processes: bool,
}

/// What a reading is of.
pub(super) struct Look<'a> {
    pub(super) layout: &'a Layout,
    pub(super) procfs: &'a Path,
    pub(super) requests: Requests,
    pub(super) now: Instant,
}

/// What reading a container came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    There,
    /// Its group is no more.
    Gone,
}

/// The group is no more.
struct Gone;

/// The files that are read, by the layout.
pub(super) fn sources(layout: &Layout) -> &'static [Source] {
    if layout.is_v2() { VERSION_2 } else { VERSION_1 }
}

impl Container {
    /// Finds its groups; reads nothing of them yet.
    pub(super) fn new(
        group: walk::Group<'_>,
        identity: &Identity<'_>,
        layout: &Layout,
        procfs: &Path,
    ) -> Self {
        let directory = layout.root().join(group.path.trim_start_matches('/'));
        let membership = || {
            let pids = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            let pid = pids.lines().find(|pid| *pid != "0").unwrap_or("none");
            std::fs::read_to_string(procfs.join(pid).join("cgroup")).unwrap_or_default()
        };
        Self {
            path: group.path.to_owned(),
            inode: group.inode,
            has_children: group.has_children,
            runtime: identity.runtime,
            id: identity.id.clone().into_owned(),
            pod_uid: identity.pod_uid.as_deref().map(str::to_owned),
            since: Instant::now(),
            seen: 0,
            process: None,
            started: None,
            created: created(&directory),
            places: layout.places(group.path, membership),
            files: Vec::new(),
            procs: KeptFile::default(),
            vital: Stats::default(),
            work: Stats::default(),
            limits: Stats::default(),
            quiet: Quiet::default(),
            reads: 0,
            failed: false,
            labels: Labels::default(),
            network: NetworkFile::default(),
            named: None,
            kills_before: None,
            task_states: Vec::new(),
        }
    }

    /// Reads all that is due.
    pub(super) fn read(&mut self, reader: &mut Reader, look: &Look<'_>) -> State {
        match self.read_what_is_due(reader, look) {
            Ok(()) => State::There,
            Err(Gone) => State::Gone,
        }
    }

    fn read_what_is_due(&mut self, reader: &mut Reader, look: &Look<'_>) -> Result<(), Gone> {
        self.vital.clear();
        self.failed = false;
        let all_due = self.reads.is_multiple_of(ALL_EVERY);
        // The first reading is of all; from then on containers take turns.
        let first = self.reads == 0 && all_due;
        self.reads += if first { 1 + turn(self.inode) } else { 1 };
        let got_vital = self.read_files(reader, look, When::Always)?;
        if !self.quiet.stands(&self.vital.values, look.now) || all_due {
            self.work.clear();
            let got_work = self.read_files(reader, look, When::Active)?;
            if all_due {
                self.read_files(reader, look, When::Seldom)?;
            }
            if !got_vital && !got_work && !self.failed {
                return Err(Gone);
            }
            if self.read_processes(reader, look.layout).is_err_and(|error| is_gone(&error)) {
                return Err(Gone);
            }
            self.find_process(reader, look.procfs);
            self.quiet.all_read(&self.work.values, !self.failed, look.now);
        }
        if all_due {
            self.read_process_limits(reader, look.procfs);
        }
        if look.requests.processes {
            self.read_each_process(reader, look.procfs);
        }
        if let (Some(usage), inactive) = (self.get(MemoryUsage), self.get(InactiveFile)) {
            self.vital.values.set(WorkingSet, (usage - inactive.unwrap_or_default()).max(0.0));
        }
        Ok(())
    }

    /// The files of one kind. Whether there was any.
    fn read_files(&mut self, reader: &mut Reader, look: &Look<'_>, when: When) -> Result<bool, Gone> {
        let sources = sources(look.layout);
        self.files.resize_with(sources.len() + 1, KeptFile::default);
        let stats = match when {
            When::Always => &mut self.vital,
            When::Active => &mut self.work,
            When::Seldom => &mut self.limits,
        };
        let extra = look.requests.per_cpu.then_some(&PER_CPU);
        let mut got_any = false;
        for (source, file) in sources.iter().chain(extra).zip(&mut self.files) {
            if source.when != when {
                continue;
            }
            let Some(directory) = self.places.of(source.hierarchy) else { continue };
            match file.read(reader, directory, source.file, Extent::OneRecord) {
                Ok(Some(text)) => {
                    got_any = true;
                    (source.parse)(text, stats);
                }
                Ok(None) => {}
                Err(error) if is_gone(&error) => return Err(Gone),
                Err(_) => self.failed = true,
            }
        }
        Ok(got_any)
    }

    fn read_processes(&mut self, reader: &mut Reader, layout: &Layout) -> io::Result<()> {
        let Some(directory) = self.places.of(layout.walked) else { return Ok(()) };
        if let Some(text) =
            self.procs.read(reader, directory, "cgroup.procs", Extent::Records(LONGEST_PID))?
        {
            parse::procs(text, &mut self.work);
        }
        if self.has_children {
            let mut left = MOST_GROUPS_BELOW;
            let work = &mut self.work;
            walk::walk(directory, &mut |group| {
                if group.path != "/" && left > 0 {
                    left -= 1;
                    let below = directory.join(group.path.trim_start_matches('/'));
                    if let Ok(text) = reader.once(&below, "cgroup.procs") {
                        parse::procs(text, work);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The first process; as long as it lives, it stays that.
    fn find_process(&mut self, reader: &mut Reader, procfs: &Path) {
        if self.process.is_some_and(|process| self.work.pids.contains(&process.pid)) {
            return;
        }
        self.process = process::first(reader, procfs, &self.work.pids);
    }

    fn read_process_limits(&mut self, reader: &mut Reader, procfs: &Path) {
        let Some(process) = self.process else { return };
        let limits = reader.once(procfs, &format!("{}/limits", process.pid));
        match limits.ok().and_then(process::open_files_limit) {
            Some(limit) => self.limits.values.set(OpenFilesSoft, limit),
            None => self.limits.values.unset(OpenFilesSoft),
        }
    }

    fn read_each_process(&mut self, reader: &mut Reader, procfs: &Path) {
        let details = process::details(reader, procfs, &self.work.pids);
        self.vital.values.set(OpenFiles, details.open_files);
        self.vital.values.set(Sockets, details.sockets);
        self.task_states = details.states;
    }

    /// It came lately, and nobody has said yet what it is called.
    pub(super) fn misses_its_name(&self) -> bool {
        let is_named =
            self.named.as_ref().is_some_and(|named| !named.name.is_empty() || !named.pod.is_empty());
        !is_named && self.runtime.names_containers() && self.since.elapsed() < LATELY
    }

    /// What was read of a quantity.
    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        [&self.vital, &self.work, &self.limits].into_iter().find_map(|stats| stats.values.get(quantity))
    }

    /// Devices and processors.
    pub(super) fn work(&self) -> &Stats {
        &self.work
    }
}

/// How many passes later than others all of a container is read.
fn turn(inode: u64) -> u32 {
    u32::try_from(inode % u64::from(ALL_EVERY)).unwrap_or_default()
}

/// When the group was made: the oldest change of its directory and of a file in it that nobody writes. The kernel
/// keeps no such time; each of them may have been made anew for want of memory.
fn created(directory: &Path) -> f64 {
    let of = |path: &Path| {
        let changed = rustix::fs::stat(path).ok()?;
        #[allow(clippy::cast_precision_loss, reason = "seconds since the epoch")]
        Some(changed.st_mtime as f64)
    };
    ["", "cgroup.clone_children", "cgroup.events"]
        .iter()
        .filter_map(|name| of(&directory.join(name)))
        .reduce(f64::min)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::files::DescriptorBudget;
    use super::super::path::identify;
    use super::super::values::Quantity::Rss;
    use super::super::walk::Group;
    use super::*;
    use crate::collect::host::testing::Fixture;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn group(fixture: Fixture, files: &[(&str, &str)]) -> Fixture {
        files.iter().fold(fixture, |fixture, (name, text)| {
            fixture.file(&format!("sys/fs/cgroup/docker/{ID}/{name}"), *text)
        })
    }

    #[test]
    fn where_nothing_happens_all_is_read_now_and_then_only() {
        let vital = [("cpu.stat", "usage_usec 1\n"), ("memory.current", "9\n"), ("pids.current", "1\n")];
        let fixture = group(Fixture::new().file("sys/fs/cgroup/cgroup.controllers", ""), &vital);
        let fixture = group(fixture, &[("memory.stat", "anon 1\n"), ("cgroup.procs", "")]);
        let (sysfs, procfs) = (fixture.path().join("sys"), fixture.path().join("proc"));
        let layout = Layout::detect(&sysfs).unwrap();
        let path = format!("/docker/{ID}");
        // Its turn comes `ALL_EVERY` passes after the first.
        let at = Group { path: &path, inode: u64::from(ALL_EVERY), has_children: false };
        let mut container = Container::new(at, &identify(&path).unwrap(), &layout, &procfs);
        let mut reader = Reader::new(Arc::new(DescriptorBudget::new(0)));
        let start = Instant::now();
        let mut read = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let look = Look { layout: &layout, procfs: &procfs, requests: Requests::default(), now };
            assert_eq!(container.read(&mut reader, &look), State::There);
            (container.get(Rss), container.get(WorkingSet))
        };
        assert_eq!([read(0), read(10)], [(Some(1.0), Some(9.0)); 2]);
        // What the kernel does to a group in which nothing happens.
        let fixture = group(fixture, &[("memory.stat", "anon 2\n")]);
        let passes = (11..).take_while(|seconds| read(*seconds).0 == Some(1.0)).count();
        assert_eq!(passes, 6, "the first pass and the second read all, so does the ninth");
        let fixture = group(fixture, &[("memory.stat", "anon 3\n")]);
        assert_eq!(read(20), (Some(2.0), Some(9.0)));
        let _fixture = group(fixture, &[("cpu.stat", "usage_usec 2\n"), ("memory.current", "8\n")]);
        assert_eq!(read(21), (Some(3.0), Some(8.0)), "something happened");
    }
}
