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
use super::signs::{Sign, Signs};
use super::sources::{Moves, PER_CPU, RECURSIVE, Source, VERSION_1, VERSION_2, When};
use super::values::Quantity::{
    self, CpuQuota, InactiveFile, MemoryHigh, MemoryLimit, MemoryMaxUsage, MemoryUsage, OpenFiles,
    OpenFilesSoft, Sockets, Swap, WorkingSet,
};
use super::values::Readings;
use super::write::Labels;
use super::{parse, walk};

/// Passes between two readings of all, also of what a container may have and of what seems not to change.
const ALL_EVERY: u32 = 8;

/// Of the passes that read all those in which groups are looked for that were not there before; and until when, because a
/// runtime makes them one after another, every pass does.
const FIND_EVERY: u32 = 8 * ALL_EVERY;
const FIND_UNTIL: u32 = 2 * ALL_EVERY;

/// Most groups below a container's own in which its processes are looked for; each costs a file. The rest is counted.
const MOST_GROUPS_BELOW: usize = 4096;

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
    files: Vec<GroupFile>,
    procs: KeptFile,
    pub(super) readings: Readings,
    /// Reads and writes that the bytes were read for.
    transfers: Option<f64>,
    quiet: Quiet,
    reads: u32,
    /// Something could not be read in this pass.
    pub(super) failed: bool,
    /// Groups below its own in which processes were not looked for.
    pub(super) groups_left_out: usize,
    pub(super) labels: Labels,
    pub(super) network: NetworkFile,
    /// What files or the runtime say of it.
    pub(super) named: Option<Arc<Named>>,
    /// What the groups of this name had counted before this one.
    pub(super) kills_before: Option<f64>,
    /// On request: processes by state.
    pub(super) task_states: Vec<(&'static str, f64)>,
}

/// A file of the group.
#[derive(Debug, Default)]
struct GroupFile {
    file: KeptFile,
    /// The pass that read it last.
    read: Option<Instant>,
    /// It told of some device.
    has_devices: bool,
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
    pub(super) signs: &'a Signs,
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
            places: layout.places(group.path, || membership(&directory, procfs)),
            files: Vec::new(),
            procs: KeptFile::default(),
            readings: Readings::default(),
            transfers: None,
            quiet: Quiet::default(),
            reads: 0,
            failed: false,
            groups_left_out: 0,
            labels: Labels::default(),
            network: NetworkFile::default(),
            named: None,
            kills_before: None,
            task_states: Vec::new(),
        }
    }

    pub(super) fn group(&self) -> walk::Group<'_> {
        walk::Group { path: &self.path, inode: self.inode, has_children: self.has_children }
    }

    /// Reads all that is due.
    pub(super) fn read(&mut self, reader: &mut Reader, look: &Look<'_>) -> State {
        match self.read_what_is_due(reader, look) {
            Ok(()) => State::There,
            Err(Gone) => State::Gone,
        }
    }

    fn read_what_is_due(&mut self, reader: &mut Reader, look: &Look<'_>) -> Result<(), Gone> {
        self.readings.of(When::Always).clear();
        self.failed = false;
        let all_due = self.found_groups(look) || self.reads.is_multiple_of(ALL_EVERY);
        // The first reading is of all; from then on containers take turns.
        let first = self.reads == 0 && all_due;
        self.reads += if first { 1 + turn(self.inode) } else { 1 };
        let is_always = |when| when == When::Always;
        let got_vital = self.read_files(reader, look, is_always, all_due)?;
        if !self.quiet.stands(self.readings.vital(), look.now) || all_due {
            self.readings.of(When::Active).clear();
            let is_usage = |when| matches!(when, When::Active | When::Moved(_));
            let got_usage = self.read_files(reader, look, is_usage, all_due)?;
            if !got_vital && !got_usage && !self.failed {
                return Err(Gone);
            }
            if self.read_processes(reader, look.layout).is_err_and(|error| is_gone(&error)) {
                return Err(Gone);
            }
            self.find_process(reader, look.procfs);
            self.quiet.all_read(&self.readings, !self.failed, look.now);
        }
        if all_due {
            self.readings.of(When::Seldom).clear();
            self.read_files(reader, look, |when| when == When::Seldom, all_due)?;
            self.read_process_limits(reader, look.procfs);
        }
        if look.requests.processes {
            self.read_each_process(reader, look.procfs);
        }
        if let (Some(usage), inactive) = (self.get(MemoryUsage), self.get(InactiveFile)) {
            let working_set = (usage - inactive.unwrap_or_default()).max(0.0);
            self.readings.of(When::Always).values.set(WorkingSet, working_set);
        }
        Ok(())
    }

    /// Looks for groups of its that were not there, if it is time to. Whether some are by now.
    fn found_groups(&mut self, look: &Look<'_>) -> bool {
        let is_time = matches!(self.reads, 1..=FIND_UNTIL) || self.reads.is_multiple_of(FIND_EVERY);
        let ask = || {
            let directory = look.layout.root().join(self.path.trim_start_matches('/'));
            membership(&directory, look.procfs)
        };
        is_time && self.reads > 0 && look.layout.find_missing(&mut self.places, &self.path, ask)
    }

    /// The files of some kinds. Whether there was any.
    fn read_files(
        &mut self,
        reader: &mut Reader,
        look: &Look<'_>,
        is_wanted: fn(When) -> bool,
        all_due: bool,
    ) -> Result<bool, Gone> {
        let sources = sources(look.layout);
        self.files.resize_with(sources.len() + 1, GroupFile::default);
        let extra = look.requests.per_cpu.then_some(&PER_CPU);
        let (mut got_any, mut got_transfers) = (false, false);
        for (at, source) in sources.iter().chain(extra).enumerate().filter(|(_, s)| is_wanted(s.when)) {
            let Some(GroupFile { read, has_devices, .. }) = self.files.get(at) else { continue };
            if let (When::Moved(moves), Some(read), false) = (source.when, *read, all_due)
                && !self.has_moved(moves, read, *has_devices, look.signs)
            {
                got_any = true;
                continue;
            }
            let (Some(directory), Some(file)) = (self.places.of(source.hierarchy), self.files.get_mut(at))
            else {
                continue;
            };
            let name = match source.file.strip_suffix(RECURSIVE) {
                Some(plain) if !look.layout.is_recursive => plain,
                _ => source.file,
            };
            match file.file.read(reader, directory, name, Extent::OneRecord) {
                Ok(Some(text)) => {
                    got_any = true;
                    (source.parse)(text, self.readings.of(source.when));
                    (file.read, file.has_devices) = (Some(look.now), text.contains(&b':'));
                    got_transfers |= source.when == When::Moved(Moves::Transfers);
                }
                Ok(None) => {}
                Err(error) if is_gone(&error) => return Err(Gone),
                Err(_) => self.failed = true,
            }
        }
        if got_transfers {
            self.transfers = Some(self.readings.transfers());
        }
        Ok(got_any)
    }

    /// Whether a file may say something else than when it was read.
    fn has_moved(&self, moves: Moves, read: Instant, has_devices: bool, signs: &Signs) -> bool {
        let outdated = |sign: &Sign| sign.outdates(read);
        match moves {
            Moves::Kills => outdated(&signs.kills),
            Moves::Swaps => self.get(Swap) != Some(0.0) || outdated(&signs.swaps),
            Moves::MemoryStalls => outdated(&signs.memory_stalls),
            Moves::IoStalls => outdated(&signs.io_stalls),
            Moves::Limit => self.was_near_limit(),
            // What happens in groups below counts here as well.
            Moves::KillsOrLimit => self.has_children || self.was_near_limit() || outdated(&signs.kills),
            Moves::Quota => self.get(CpuQuota).is_some(),
            Moves::Transfers => self.transfers != Some(self.readings.transfers()),
            Moves::Life => true,
            Moves::LifeOfKnown => has_devices,
        }
    }

    /// Whether memory was ever so near to a limit that the kernel may have counted a failure: it asks for more at a time
    /// than is needed. Source: the kernel's `mm/page_counter.c`.
    fn was_near_limit(&self) -> bool {
        let Some(most) = self.get(MemoryMaxUsage) else { return true };
        let (Some(limit), high) = (self.get(MemoryLimit), self.get(MemoryHigh)) else { return true };
        [limit, high.unwrap_or_default()]
            .iter()
            .any(|limit| *limit > 0.0 && most + most_at_a_time() >= *limit)
    }

    fn read_processes(&mut self, reader: &mut Reader, layout: &Layout) -> io::Result<()> {
        let Some(directory) = self.places.of(layout.walked) else { return Ok(()) };
        if let Some(text) =
            self.procs.read(reader, directory, "cgroup.procs", Extent::Records(LONGEST_PID))?
        {
            parse::procs(text, self.readings.of(When::Active));
        }
        self.groups_left_out = 0;
        if self.has_children {
            let mut left = MOST_GROUPS_BELOW;
            let left_out = &mut self.groups_left_out;
            let work = self.readings.of(When::Active);
            let passed_by = walk::walk(directory, &mut |group| {
                if group.path == "/" {
                    return;
                }
                if left == 0 {
                    *left_out += 1;
                } else {
                    left -= 1;
                    let below = directory.join(group.path.trim_start_matches('/'));
                    if let Ok(text) = reader.once(&below, "cgroup.procs") {
                        parse::procs(text, work);
                    }
                }
            })?;
            self.groups_left_out += passed_by;
        }
        Ok(())
    }

    /// The first process; as long as it lives, it stays that.
    fn find_process(&mut self, reader: &mut Reader, procfs: &Path) {
        if self.process.is_some_and(|process| self.readings.pids().contains(&process.pid)) {
            return;
        }
        self.process = process::first(reader, procfs, self.readings.pids());
    }

    fn read_process_limits(&mut self, reader: &mut Reader, procfs: &Path) {
        let Some(process) = self.process else { return };
        let limits = reader.once(procfs, &format!("{}/limits", process.pid));
        let limit = limits.ok().and_then(process::open_files_limit);
        let limits = self.readings.of(When::Seldom);
        match limit {
            Some(limit) => limits.values.set(OpenFilesSoft, limit),
            None => limits.values.unset(OpenFilesSoft),
        }
    }

    fn read_each_process(&mut self, reader: &mut Reader, procfs: &Path) {
        let details = process::details(reader, procfs, self.readings.pids());
        let vital = &mut self.readings.of(When::Always).values;
        vital.set(OpenFiles, details.open_files);
        vital.set(Sockets, details.sockets);
        self.task_states = details.states;
    }

    /// It came lately, and nobody has said yet what it is called.
    pub(super) fn misses_its_name(&self) -> bool {
        !self.named.as_deref().is_some_and(Named::is_named)
            && self.runtime.names_containers()
            && self.since.elapsed() < LATELY
    }

    /// What was read of a quantity.
    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        self.readings.get(quantity)
    }
}

/// What `/proc/PID/cgroup` says of the first process of a group.
fn membership(directory: &Path, procfs: &Path) -> String {
    let pids = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let pid = pids.lines().find(|pid| *pid != "0").unwrap_or("none");
    std::fs::read_to_string(procfs.join(pid).join("cgroup")).unwrap_or_default()
}

/// Twice the largest folio, bytes: what a whole page table maps, of eight bytes an entry.
fn most_at_a_time() -> f64 {
    let page = super::super::parse::value(rustix::param::page_size() as u64);
    page * page / 8.0 * 2.0
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
    use super::super::values::Quantity::{IoWaiting, MemoryWaiting, OomKills, Rss};
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
        let (start, mut signs) = (Instant::now(), Signs::default());
        let mut read = |seconds| {
            let now = start + Duration::from_secs(seconds);
            signs.read(&mut reader, &procfs, now);
            let requests = Requests::default();
            let look = Look { layout: &layout, procfs: &procfs, requests, signs: &signs, now };
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

    #[test]
    fn what_has_not_moved_is_not_read() {
        let still = [
            ("cpu.stat", "usage_usec 1\n"),
            ("memory.current", "9\n"),
            ("pids.current", "1\n"),
            ("memory.max", "max\n"),
            ("memory.peak", "9\n"),
            ("memory.swap.current", "0\n"),
            ("memory.events", "max 1\noom_kill 1\n"),
            ("memory.pressure", "some total=1000000\nfull total=0\n"),
            ("io.pressure", "some total=1000000\nfull total=0\n"),
            ("cgroup.procs", ""),
        ];
        let fixture = group(Fixture::new().file("sys/fs/cgroup/cgroup.controllers", ""), &still)
            .file("proc/vmstat", "pswpout 1\noom_kill 1\n")
            .file("proc/pressure/memory", "some total=1\n")
            .file("proc/pressure/io", "some total=1\n");
        let (sysfs, procfs) = (fixture.path().join("sys"), fixture.path().join("proc"));
        let layout = Layout::detect(&sysfs).unwrap();
        let path = format!("/docker/{ID}");
        let at = Group { path: &path, inode: u64::from(ALL_EVERY), has_children: false };
        let mut container = Container::new(at, &identify(&path).unwrap(), &layout, &procfs);
        let mut reader = Reader::new(Arc::new(DescriptorBudget::new(0)));
        let (start, mut signs) = (Instant::now(), Signs::default());
        let mut read = |seconds| {
            let now = start + Duration::from_secs(seconds);
            signs.read(&mut reader, &procfs, now);
            let requests = Requests::default();
            let look = Look { layout: &layout, procfs: &procfs, requests, signs: &signs, now };
            assert_eq!(container.read(&mut reader, &look), State::There);
            [Swap, OomKills, MemoryWaiting, IoWaiting].map(|quantity| container.get(quantity))
        };
        assert_eq!([read(0), read(10)], [[Some(0.0), Some(1.0), Some(1.0), Some(1.0)]; 2]);
        // The group is busy, but for what the machine tells nothing of this kind happened.
        let moved = [
            ("cpu.stat", "usage_usec 2\n"),
            ("memory.swap.current", "2\n"),
            ("memory.events", "max 2\noom_kill 2\n"),
            ("memory.pressure", "some total=2000000\n"),
            ("io.pressure", "some total=2000000\n"),
        ];
        let fixture = group(fixture, &moved);
        assert_eq!(read(20), [Some(0.0), Some(1.0), Some(1.0), Some(1.0)]);
        let fixture = fixture.file("proc/pressure/io", "some total=2\n");
        assert_eq!(read(21), [Some(0.0), Some(1.0), Some(1.0), Some(2.0)]);
        let fixture = fixture.file("proc/vmstat", "pswpout 1\noom_kill 2\n");
        assert_eq!(read(22), [Some(0.0), Some(2.0), Some(1.0), Some(2.0)]);
        let fixture = fixture.file("proc/vmstat", "pswpout 2\noom_kill 2\n");
        assert_eq!(read(23), [Some(2.0), Some(2.0), Some(1.0), Some(2.0)]);
        // Without the machine's total nothing is taken for granted.
        let _fixture = fixture.file("proc/pressure/memory", "");
        assert_eq!(read(24), [Some(2.0), Some(2.0), Some(2.0), Some(2.0)]);
    }

    #[test]
    fn failures_are_counted_anew_near_a_limit_only() {
        let limit = 100.0 * most_at_a_time();
        for (most, limit, high, want) in [
            (Some(limit), Some(limit), None, true),
            (Some(limit - most_at_a_time()), Some(limit), None, true),
            (Some(limit / 2.0), Some(limit), None, false),
            (Some(limit / 2.0), Some(limit), Some(limit / 2.0), true),
            (Some(limit / 2.0), Some(0.0), Some(0.0), false),
            (None, Some(limit), None, true),
            (Some(limit / 2.0), None, None, true),
        ] {
            let fixture = Fixture::new().file("sys/fs/cgroup/cgroup.controllers", "");
            let layout = Layout::detect(&fixture.path().join("sys")).unwrap();
            let path = format!("/docker/{ID}");
            let at = Group { path: &path, inode: 1, has_children: false };
            let mut container = Container::new(at, &identify(&path).unwrap(), &layout, Path::new("/none"));
            let limits = &mut container.readings.of(When::Seldom).values;
            for (quantity, value) in [(MemoryMaxUsage, most), (MemoryLimit, limit), (MemoryHigh, high)] {
                value.into_iter().for_each(|value| limits.set(quantity, value));
            }
            assert_eq!(container.was_near_limit(), want, "{most:?} {limit:?} {high:?}");
        }
    }
}
