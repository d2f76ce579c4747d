//! Containers, under cAdvisor's names. Sources: the kernel's `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/`,
//! cgroups(7), cAdvisor's list of metrics.
//!
//! A pass walks the tree of control groups once: a container that came is seen, one that went is gone from what is
//! exposed. Its files stay open while it lives. Invariant: a runtime that does not answer costs names, nothing else.

mod devices;
mod families;
mod labels;
mod layout;
mod machine;
mod names;
mod network;
mod one;
mod oom;
mod own;
mod parse;
mod path;
mod process;
mod quiet;
mod signs;
mod sources;
#[cfg(test)]
mod tests;
mod values;
mod walk;
mod write;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use self::devices::Devices;
use self::labels::labels_of;
use self::layout::Layout;
use self::machine::Machine;
use self::names::{LATELY, NameSettings, Named, Names, Socket, Wanted};
use self::one::{Container, Look, Requests, State};
use self::oom::OomKills;
use self::own::OwnContainer;
use self::path::{Identity, Runtime};
use self::signs::Signs;
use self::values::Quantity;
use self::walk::Group;
use self::write::{Told, Writer};
use super::container_names::ContainerName;
use super::kept_file::Reader;
use super::{BuildError, CollectError, Collector, Flag, FlagKind, Host, HostPaths, Options, Pass, Spec};
use crate::model::{Batch, Timestamp};

const MAX: &str = "container.max";
const PER_CPU: &str = "container.per-cpu";
const PROCESSES: &str = "container.processes";
const LABELS: &str = "container.label";
const DOCKER: &str = "container.docker-socket";
const PODMAN: &str = "container.podman-socket";
const TIMEOUT: &str = "container.name-timeout";

pub(super) static SPEC: Spec = Spec {
    name: "container",
    on_by_default: true,
    help: "Containers, under cAdvisor's names; costs next to nothing where there are none.",
    flags: &[
        Flag::new(
            MAX,
            FlagKind::Number(500),
            "Most containers that are exposed; those that came later are left out and counted.",
        ),
        Flag::new(
            LABELS,
            FlagKind::List,
            "Label of containers to expose as container_label_NAME; one that ends on * stands for all that begin so.",
        ),
        Flag::new(
            DOCKER,
            FlagKind::Text("/run/docker.sock"),
            "Docker's socket, asked for names that its files do not tell; empty: not asked. The default is looked for \
             below path.rootfs as well.",
        ),
        Flag::new(PODMAN, FlagKind::Text("/run/podman/podman.sock"), "Podman's socket, the same way."),
        Flag::new(
            TIMEOUT,
            FlagKind::Duration("2s"),
            "How long each runtime may take to tell names. Nothing but names waits for it.",
        ),
        Flag::new(
            PER_CPU,
            FlagKind::Switch(false),
            "Expose the CPU time of each processor instead of the total, where control groups are of version 1.",
        ),
        Flag::new(
            PROCESSES,
            FlagKind::Switch(false),
            "Look at each process of a container: open files, sockets, states. Costs much where there are many.",
        ),
    ],
    build,
};

/// Passes for which what is known of the machine stands.
const MACHINE_EVERY: u64 = 240;

/// Most samples that the collector says of itself.
const OWN_SAMPLES: usize = 8;

fn build(host: &Host, options: &Options) -> Result<Box<dyn Collector>, BuildError> {
    Ok(Box::new(Containers::new(host, options)?))
}

/// A socket as given; the default first below the root of the host.
fn socket(
    paths: &HostPaths,
    options: &Options,
    name: &'static str,
    runtime: Runtime,
    flag: &str,
) -> Option<Socket> {
    let (path, is_given) = (options.text(flag), options.is_set(flag));
    if path.is_empty() {
        return None;
    }
    let candidates = if is_given { vec![path.into()] } else { vec![paths.root(path), path.into()] };
    Some(Socket { name, runtime, candidates, is_given })
}

struct Containers {
    host: Host,
    reader: Reader,
    layout: Option<Layout>,
    max: usize,
    requests: Requests,
    exposed_labels: Vec<String>,
    names: Names,
    /// Of the changes of names: up to which labels are made.
    names_seen: u64,
    /// How many that came lately had no name in the last pass.
    missing: usize,
    kills: Arc<Mutex<OomKills>>,
    devices: Devices,
    machine: Option<Machine>,
    /// The pass from which on it is read anew, when containers change.
    machine_due: u64,
    signs: Signs,
    own: OwnContainer,
    host_network: Option<u64>,
    /// In the order in which they came.
    known: Vec<Container>,
    /// Places in `known`.
    by_inode: FxHashMap<u64, usize>,
    boot_time: Option<f64>,
    pass: u64,
}

impl Collector for Containers {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.pass += 1;
        if self.layout.is_none() {
            self.layout = Layout::detect(&self.host.paths.sysfs);
        }
        let Some(layout) = self.layout.take() else {
            return Err(CollectError::NoData("no control groups are mounted".to_owned()));
        };
        // Before those that were killed are forgotten.
        self.read_log(pass.now);
        // An error: unmounted; looked for anew in the next pass.
        let found = self.discover(&layout).map_err(|error| CollectError::reading(layout.root(), error))?;
        let gone = self.read(&layout) || found.gone;
        // What groups have counted meanwhile.
        self.read_log(pass.now);
        let is_own = layout.is_own;
        self.layout = Some(layout);
        // In a container, the log tells of others' kills.
        let unseen = if is_own { Vec::new() } else { self.unseen(pass.now) };
        let is_told_of = self.machine.is_some() || found.groups_left_out > 0;
        if self.known.is_empty() && !is_told_of && oom::lock(&self.kills).len() == 0 {
            return Ok(());
        }
        if found.came || gone {
            self.changed(is_own);
        }
        let known = &self.known;
        let missing = known.iter().filter(|container| container.misses_its_name()).count();
        let wanted = || {
            let known = known.iter().filter(|c| c.runtime.names_containers()).map(wanted);
            known.chain(unseen.iter().filter_map(|(group, _)| wanted_unseen(group))).collect()
        };
        if !is_own || known.len() > 1 {
            self.names.ask(found.came || !unseen.is_empty(), missing > 0, pass.deadline, wanted);
        }
        // One may have waited for its name long enough.
        let given_up = std::mem::replace(&mut self.missing, missing) != missing;
        self.label(found.came || gone || given_up);
        self.label_unseen(&unseen);
        self.write(pass, &found, out);
        Ok(())
    }
}

/// What a walk came to.
struct Found {
    /// There are some that were not there before.
    came: bool,
    /// Some that were there before are not.
    gone: bool,
    /// Containers that there was no room for.
    left_out: usize,
    /// Groups that were not looked at.
    groups_left_out: usize,
}

impl Containers {
    fn new(host: &Host, options: &Options) -> Result<Self, BuildError> {
        let max = usize::try_from(options.number(MAX)).ok().filter(|max| *max > 0);
        let Some(max) = max else {
            let what = format!("--collector.{MAX} must be at least 1");
            return Err(BuildError { collector: SPEC.name, what });
        };
        let sockets = [
            socket(&host.paths, options, "docker", Runtime::Docker, DOCKER),
            socket(&host.paths, options, "podman", Runtime::Podman, PODMAN),
        ];
        let settings = NameSettings {
            paths: host.paths.clone(),
            sockets: sockets.into_iter().flatten().collect(),
            timeout: options.duration(TIMEOUT),
        };
        Ok(Self {
            host: host.clone(),
            reader: Reader::new(host.descriptors.clone()),
            layout: None,
            max,
            requests: Requests { per_cpu: options.switch(PER_CPU), processes: options.switch(PROCESSES) },
            exposed_labels: options.list(LABELS).to_vec(),
            names: Names::new(settings),
            names_seen: 0,
            missing: 0,
            kills: oom::of_host(&host.paths),
            devices: Devices::new(&host.paths.sysfs),
            machine: None,
            machine_due: 0,
            signs: Signs::default(),
            own: OwnContainer::default(),
            host_network: None,
            known: Vec::new(),
            by_inode: FxHashMap::default(),
            boot_time: None,
            pass: 0,
        })
    }

    /// Walks the tree: takes in what came, forgets what went.
    fn discover(&mut self, layout: &Layout) -> std::io::Result<Found> {
        let Self { known, by_inode, max, pass, .. } = self;
        let mut left_out = 0;
        let mut new: Vec<(String, u64, bool)> = Vec::new();
        let groups_left_out = walk::walk(layout.root(), &mut |group: Group<'_>| {
            let at = by_inode.get(&group.inode).copied();
            if let Some(container) = at.and_then(|at| known.get_mut(at))
                && container.path == group.path
            {
                container.seen = *pass;
                container.has_children = group.has_children;
                return;
            }
            // How much room there is, is known when the walk is over.
            if identity_of(&group, layout).is_some() {
                if new.len() < *max {
                    new.push((group.path.to_owned(), group.inode, group.has_children));
                } else {
                    left_out += 1;
                }
            }
        })?;
        // What the walk did not come to may be there; its files tell.
        let may_be_there = |container: &Container| {
            groups_left_out > 0 && !new.iter().any(|(path, ..)| *path == container.path)
        };
        let gone = self.forget(|container, pass| container.seen == pass || may_be_there(container));
        let Self { known, .. } = self;
        let room = self.max.saturating_sub(known.len());
        left_out += new.len().saturating_sub(room);
        new.truncate(room);
        for (path, inode, has_children) in &new {
            let group = Group { path, inode: *inode, has_children: *has_children };
            let Some(identity) = identity_of(&group, layout) else { continue };
            let mut container = Container::new(group, &identity, layout, &self.host.paths.procfs);
            container.seen = self.pass;
            if container.runtime == Runtime::Own {
                self.own = OwnContainer::find(&self.host.paths);
                container.id.clone_from(&self.own.id);
            }
            known.push(container);
        }
        Ok(Found { came: !new.is_empty(), gone, left_out, groups_left_out })
    }

    fn read_log(&self, now: Timestamp) {
        oom::lock(&self.kills).read(now, |group| container_of(&self.known, group));
    }

    /// Forgets those that are not to be kept; what is known of their kills stays.
    fn forget(&mut self, mut keep: impl FnMut(&mut Container, u64) -> bool) -> bool {
        let Self { known, kills, pass, .. } = self;
        let before = known.len();
        known.retain_mut(|container| {
            let keep = keep(container, *pass);
            if !keep {
                oom::lock(kills).gone(&container.path, &container.labels);
            }
            keep
        });
        known.len() != before
    }

    /// Other containers than before.
    fn changed(&mut self, is_own: bool) {
        self.by_inode.clear();
        self.by_inode.extend(self.known.iter().enumerate().map(|(at, container)| (container.inode, at)));
        let paths = &self.host.paths;
        self.host_network = if !is_own {
            process::host_network(&paths.procfs)
        } else if process::sees_host_network(&paths.procfs) {
            // The first process that is seen here is the container's.
            process::network(&paths.procfs, "self")
        } else {
            None
        };
        if self.machine.is_none() || self.pass >= self.machine_due {
            self.machine = Some(Machine::read(&mut self.reader, paths));
            self.machine_due = self.pass + MACHINE_EVERY;
        }
    }

    /// Reads all. Whether some went meanwhile.
    fn read(&mut self, layout: &Layout) -> bool {
        let procfs = self.host.paths.procfs.clone();
        if self.known.iter().any(|container| container.started.is_none()) {
            let stat = self.reader.once(&procfs, "stat");
            self.boot_time = stat.ok().and_then(process::boot_time);
        }
        let boot_time = self.boot_time;
        let now = Instant::now();
        let mut reader = std::mem::replace(&mut self.reader, Reader::new(self.host.descriptors.clone()));
        let mut signs = std::mem::take(&mut self.signs);
        if !self.known.is_empty() {
            signs.read(&mut reader, &procfs, now);
        }
        let look = Look { layout, procfs: &procfs, requests: self.requests, signs: &signs, now };
        let kills = Arc::clone(&self.kills);
        let gone = self.forget(|container, _| {
            let state = container.read(&mut reader, &look);
            if let (None, Some(counted)) = (container.kills_before, container.get(Quantity::OomKills)) {
                container.kills_before = Some(oom::lock(&kills).before(container.group(), counted));
            }
            if container.started.is_none() && state == State::There {
                let by_process = boot_time.zip(container.process.as_ref());
                let started = by_process.map(|(boot, process)| process::started_at(boot, process));
                container.started = started.or(Some(container.created));
            }
            state == State::There
        });
        self.reader = reader;
        self.signs = signs;
        gone
    }

    /// Makes labels anew where containers or names are others.
    fn label(&mut self, changed: bool) {
        let changes = self.names.changes();
        if !changed && changes == self.names_seen {
            return;
        }
        self.names_seen = changes;
        let Self { known, names, own, exposed_labels, .. } = self;
        for container in known {
            container.named = match container.runtime {
                Runtime::Own => Some(Arc::new(own.named.clone())),
                Runtime::Lxc | Runtime::Machine => Some(Arc::default()),
                _ => names.of(&container.id),
            };
            let may_come = names.may_come(&container.id, container.runtime, container.misses_its_name());
            let unnamed = if may_come { "" } else { &container.id };
            let named = container.named.as_deref();
            container.labels = labels_of(&container.path, named, unnamed, exposed_labels);
        }
        let name = |container: &Container| {
            let named = container.named.as_deref()?;
            let in_pod = !named.pod.is_empty();
            let name = ContainerName {
                container: if in_pod { named.container.clone() } else { named.name.clone() },
                pod: named.pod.clone(),
                namespace: named.namespace.clone(),
            };
            Some((container.id.clone(), name))
        };
        self.host.containers().set(self.known.iter().filter_map(name));
    }

    /// Groups of containers that came, were killed and went between two passes, and how long ago that was.
    fn unseen(&self, now: Timestamp) -> Vec<(String, Duration)> {
        oom::lock(&self.kills).unseen(now, |group| self.known.iter().any(|container| container.path == group))
    }

    /// Gives them the labels under which their counts are shown: once, when it is known what they were called.
    fn label_unseen(&self, unseen: &[(String, Duration)]) {
        for (group, since) in unseen {
            let Some(identity) = path::identify(group) else { continue };
            let named = self.names.of(&identity.id);
            if !named.as_deref().is_some_and(Named::is_named)
                && self.names.may_come(&identity.id, identity.runtime, false)
                && *since < LATELY
            {
                continue;
            }
            let labels = labels_of(group, named.as_deref(), &identity.id, &self.exposed_labels);
            oom::lock(&self.kills).gone(group, &labels);
        }
    }

    fn write(&mut self, pass: &Pass, found: &Found, out: &mut Batch) {
        let now = pass.now;
        if self.known.iter().any(|container| !container.readings.devices().is_empty()) {
            self.devices.begin_pass(self.host.announced(pass));
        }
        for device in self.known.iter().flat_map(|container| container.readings.devices()) {
            self.devices.look_up(device.major, device.minor);
        }
        let shared_kills = Arc::clone(&self.kills);
        let mut kills = oom::lock(&shared_kills);
        let owners = network::owners(&self.known, self.host_network);
        let procfs: &Path = &self.host.paths.procfs;
        // What comes after the containers has its room in any case.
        let after = OWN_SAMPLES + kills.len() + self.machine.as_ref().map_or(0, Machine::len);
        let mut written = 0;
        for (at, container) in self.known.iter_mut().enumerate() {
            let owner = owners.get(&at);
            if out.room() < after + write::most_samples(container, owner.is_some()) {
                break;
            }
            written += 1;
            let counted = container.get(Quantity::OomKills).zip(container.kills_before);
            let oom_kills = counted.map(|(n, before)| kills.of(container.group(), n, before, now));
            let told = Told { now: now.as_seconds_f64(), oom_kills, devices: &self.devices };
            let mut writer = Writer::new(out, &container.labels);
            write::container(&mut writer, container, &told);
            if let Some(pid) = owner {
                network::write(&mut writer, &mut self.reader, procfs, *pid, &mut container.network);
            }
        }
        self.write_own(found.left_out + (self.known.len() - written), found.groups_left_out, out);
        let known = &self.known;
        for (labels, count) in
            kills.of_gone(now, |group| known.iter().any(|container| container.path == group))
        {
            write::oom_kills(&mut Writer::new(out, labels), count);
        }
        if let Some(machine) = &self.machine {
            machine.write(out);
        }
    }

    /// What is said of the reading itself; first what tells that there is more.
    fn write_own(&self, left_out: usize, groups_left_out: usize, out: &mut Batch) {
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        out.gauge(
            "outrigger_containers_left_out",
            "Containers that are not exposed because there are more than --collector.container.max, or have more series than \
             --collector.max-series.",
            &[],
            left_out as f64,
        );
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        out.gauge(
            "outrigger_control_groups_left_out",
            "Control groups in which containers were not looked for, because there are more than 100000 or they are nested \
             deeper than 24; those below them are not counted.",
            &[],
            groups_left_out as f64,
        );
        let failed = self.known.iter().any(|container| container.failed);
        let help = "Whether some file of a container could not be read.";
        out.gauge("container_scrape_error", help, &[], f64::from(u8::from(failed)));
        let groups: usize = self.known.iter().map(|container| container.groups_left_out).sum();
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        out.gauge(
            "outrigger_container_groups_left_out",
            "Groups below containers in which processes were not looked for, because a container has more than 4096.",
            &[],
            groups as f64,
        );
        let help = "Whether a container runtime answered when it was asked for names.";
        for (runtime, answered) in self.names.answers() {
            let labels = [("runtime", runtime)];
            out.gauge("outrigger_container_runtime_up", help, &labels, f64::from(u8::from(answered)));
        }
    }
}

/// The container that a group is: the one that this program is in, or as the path tells.
fn identity_of<'a>(group: &Group<'a>, layout: &Layout) -> Option<Identity<'a>> {
    if group.path == "/" {
        return layout.is_own.then(|| Identity { runtime: Runtime::Own, id: "".into(), pod_uid: None });
    }
    path::identify(group.path)
}

/// The container that a group is in, known or not.
fn container_of(known: &[Container], group: &str) -> Option<String> {
    let mut at = group;
    loop {
        if known.iter().any(|container| container.path == at) || path::identify(at).is_some() {
            return Some(at.to_owned());
        }
        at = at.rsplit_once('/')?.0;
    }
}

fn wanted(container: &Container) -> Wanted {
    Wanted {
        id: container.id.clone(),
        inode: container.inode,
        runtime: container.runtime,
        pod_uid: container.pod_uid.clone(),
    }
}

/// Of a container whose group is no more.
fn wanted_unseen(group: &str) -> Option<Wanted> {
    let Identity { runtime, id, pod_uid } = path::identify(group)?;
    let (id, pod_uid) = (id.into_owned(), pod_uid.map(Cow::into_owned));
    runtime.names_containers().then_some(Wanted { id, inode: 0, runtime, pod_uid })
}

/// The container of a process out of its `/proc/PID/cgroup`: the innermost of any hierarchy. Source: cgroups(7).
pub(super) fn id_of_process(membership: &str) -> Option<&str> {
    membership.lines().find_map(|line| {
        let (_, path) = path::membership(line)?;
        path::innermost_id(path)
    })
}

/// Reads bytes as every text that is read here of the kernel and of runtimes; for fuzzing.
pub fn survives(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(identity) = path::identify(&text) {
        assert!(!identity.id.is_empty());
    }
    let mut stats = values::Stats::default();
    for parse in parse::ALL {
        parse(bytes, &mut stats);
    }
    names::survives(bytes);
    network::survives(bytes);
    oom::survives(bytes);
}
