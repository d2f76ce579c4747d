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
use super::sources::{PER_CPU, Source, VERSION_1, VERSION_2};
use super::values::Quantity::{
    self, InactiveFile, MemoryUsage, OpenFiles, OpenFilesSoft, Sockets, WorkingSet,
};
use super::values::Stats;
use super::write::Labels;
use super::{parse, walk};

/// Passes between two readings of what a container may have.
const LIMITS_EVERY: u32 = 8;

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
    now: Stats,
    limits: Stats,
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

/// What reading a container came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    There,
    /// Its group is no more.
    Gone,
}

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
            now: Stats::default(),
            limits: Stats::default(),
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
    pub(super) fn read(
        &mut self,
        reader: &mut Reader,
        layout: &Layout,
        procfs: &Path,
        requests: Requests,
    ) -> State {
        self.now.clear();
        self.failed = false;
        let limits_due = self.reads.is_multiple_of(LIMITS_EVERY);
        // The first reading is of all; from then on containers take turns.
        let first = self.reads == 0 && limits_due;
        self.reads += if first { 1 + turn(self.inode) } else { 1 };
        let sources = sources(layout);
        self.files.resize_with(sources.len() + 1, KeptFile::default);
        let extra = requests.per_cpu.then_some(&PER_CPU);
        let mut got_any = false;
        for (source, file) in sources.iter().chain(extra).zip(&mut self.files) {
            if source.is_limit && !limits_due {
                continue;
            }
            let Some(directory) = self.places.of(source.hierarchy) else { continue };
            match file.read(reader, directory, source.file, Extent::OneRecord) {
                Ok(Some(text)) => {
                    got_any = true;
                    (source.parse)(text, if source.is_limit { &mut self.limits } else { &mut self.now });
                }
                Ok(None) => {}
                Err(error) if is_gone(&error) => return State::Gone,
                Err(_) => self.failed = true,
            }
        }
        if !got_any && !self.failed {
            return State::Gone;
        }
        if self.read_processes(reader, layout).is_err_and(|error| is_gone(&error)) {
            return State::Gone;
        }
        self.find_process(reader, procfs);
        if limits_due {
            self.read_process_limits(reader, procfs);
        }
        if requests.processes {
            self.read_each_process(reader, procfs);
        }
        if let (Some(usage), inactive) = (self.get(MemoryUsage), self.get(InactiveFile)) {
            self.now.values.set(WorkingSet, (usage - inactive.unwrap_or_default()).max(0.0));
        }
        State::There
    }

    fn read_processes(&mut self, reader: &mut Reader, layout: &Layout) -> io::Result<()> {
        let Some(directory) = self.places.of(layout.walked) else { return Ok(()) };
        if let Some(text) =
            self.procs.read(reader, directory, "cgroup.procs", Extent::Records(LONGEST_PID))?
        {
            parse::procs(text, &mut self.now);
        }
        if self.has_children {
            let mut left = MOST_GROUPS_BELOW;
            let now = &mut self.now;
            walk::walk(directory, &mut |group| {
                if group.path != "/" && left > 0 {
                    left -= 1;
                    let below = directory.join(group.path.trim_start_matches('/'));
                    if let Ok(text) = reader.once(&below, "cgroup.procs") {
                        parse::procs(text, now);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The first process; as long as it lives, it stays that.
    fn find_process(&mut self, reader: &mut Reader, procfs: &Path) {
        if self.process.is_some_and(|process| self.now.pids.contains(&process.pid)) {
            return;
        }
        self.process = process::first(reader, procfs, &self.now.pids);
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
        let details = process::details(reader, procfs, &self.now.pids);
        self.now.values.set(OpenFiles, details.open_files);
        self.now.values.set(Sockets, details.sockets);
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
        self.now.values.get(quantity).or_else(|| self.limits.values.get(quantity))
    }

    /// Everything that was read in this pass.
    pub(super) fn stats(&self) -> &Stats {
        &self.now
    }
}

/// How many passes later than others the limits of a container are read.
fn turn(inode: u64) -> u32 {
    u32::try_from(inode % u64::from(LIMITS_EVERY)).unwrap_or_default()
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
