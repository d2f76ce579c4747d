//! File systems: space, inodes, whether they are read-only, whether they answer.
//!
//! Sources: `proc_pid_mountinfo(5)`, `statfs(2)`. A mount that does not answer in time is exposed with
//! `device_error="mountpoint timeout"` and left alone until it does; see [`prober`](crate::collect::prober) for the bounds. Mounts that
//! the kernel answers for from memory are asked without another thread: two changes of thread cost more
//! than all of them.

mod mounts;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

pub(super) use self::mounts::{Mount, MountTable};
use crate::collect::prober::{Ask, Prober, Question, Threads};
use crate::collect::{
    BuildError, CollectError, Collector, Flag, FlagKind, Host, NameFilter, Options, Pass, Spec,
};
use crate::model::{Batch, Kind};

const fn flag(name: &'static str, kind: FlagKind, help: &'static str, hidden: bool) -> Flag {
    Flag { name, kind, help, hidden }
}

pub(super) static SPEC: Spec = Spec {
    name: "filesystem",
    on_by_default: true,
    help: "Space and inodes of mounted file systems; a dead mount costs only itself.",
    flags: &[
        flag(
            "filesystem.fs-types-exclude",
            FlagKind::Regex(
                "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|\
                 mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|\
                 tracefs)$",
            ),
            "Regular expression of file system types to leave out.",
            false,
        ),
        flag(
            "filesystem.fs-types-include",
            FlagKind::Regex(""),
            "Regular expression of file system types to expose, in place of the default exclusion.",
            false,
        ),
        flag(
            "filesystem.ignored-fs-types",
            FlagKind::Regex(""),
            "Deprecated spelling of filesystem.fs-types-exclude.",
            true,
        ),
        flag(
            "filesystem.ignored-mount-points",
            FlagKind::Regex(""),
            "Deprecated spelling of filesystem.mount-points-exclude.",
            true,
        ),
        flag(
            "filesystem.mount-points-exclude",
            FlagKind::Regex(
                "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
            ),
            "Regular expression of mount points to leave out.",
            false,
        ),
        flag(
            "filesystem.mount-points-include",
            FlagKind::Regex(""),
            "Regular expression of mount points to expose, in place of the default exclusion.",
            false,
        ),
        flag(
            "filesystem.mount-timeout",
            FlagKind::Duration("5s"),
            "How long a mount may take to answer before it is marked with a device_error.",
            false,
        ),
        flag(
            "filesystem.stat-workers",
            FlagKind::Number(4),
            "How many mounts may be asked at the same time, besides those that do not answer.",
            false,
        ),
    ],
    build: |host, options| build(host, options, Box::new(|question| statfs(&question.path))),
};

/// What `statfs` says, in bytes and numbers of inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Space {
    size: f64,
    free: f64,
    available: f64,
    files: f64,
    files_free: f64,
    read_only: bool,
}

/// A mount to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Tells a new mount from a stuck one at the same place.
    mount_id: u64,
    /// Where.
    path: Arc<PathBuf>,
    /// The file system's device number.
    device: (u32, u32),
}

impl Question for Place {
    type Answer = io::Result<Space>;
    type Group = (u32, u32);

    fn group(&self) -> (u32, u32) {
        self.device
    }
}

/// The mount's answer, or `None` if there was none in time.
type Answer = Option<io::Result<Space>>;

/// Threads of all probers of the process.
static ALIVE: Threads = Threads::named("statfs");

/// Part of the pass's time that is left to write the samples when a mount does not answer.
const RESERVED: u32 = 20;

fn build(host: &Host, options: &Options, statfs: Box<Ask<Place>>) -> Result<Box<dyn Collector>, BuildError> {
    let filter = |include, exclude, old| {
        NameFilter::with_default_exclude("filesystem", options, include, exclude, old)
    };
    let workers = usize::try_from(options.number("filesystem.stat-workers")).unwrap_or(1);
    let timeout = options.duration("filesystem.mount-timeout");
    Ok(Box::new(Filesystem {
        table: MountTable::new(host.paths.clone(), host.descriptors.clone()),
        mount_points: filter(
            "filesystem.mount-points-include",
            "filesystem.mount-points-exclude",
            "filesystem.ignored-mount-points",
        )?,
        fs_types: filter(
            "filesystem.fs-types-include",
            "filesystem.fs-types-exclude",
            "filesystem.ignored-fs-types",
        )?,
        prober: Prober::new(workers, timeout, statfs, &ALIVE),
        mounts: Vec::new(),
        questions: Vec::new(),
        at_once: Vec::new(),
    }))
}

/// `ST_RDONLY` of `statfs(2)`: the mount or its superblock is read-only.
const READ_ONLY: u64 = 1;

/// Asks the kernel. `f_bsize`, not `f_frsize`, is the unit that node_exporter multiplies with.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_lossless,
    clippy::unnecessary_cast,
    reason = "samples are f64; the fields' types differ between architectures"
)]
fn statfs(path: &Path) -> io::Result<Space> {
    let stat = loop {
        match rustix::fs::statfs(path) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let block = stat.f_bsize as f64;
    Ok(Space {
        size: stat.f_blocks as f64 * block,
        free: stat.f_bfree as f64 * block,
        available: stat.f_bavail as f64 * block,
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
        read_only: stat.f_flags as u64 & READ_ONLY != 0,
    })
}

struct Filesystem {
    table: MountTable,
    mount_points: NameFilter,
    fs_types: NameFilter,
    prober: Prober<Place>,
    mounts: Vec<Mount>,
    /// One for each mount that may keep us waiting, and one for each that cannot.
    questions: Vec<Place>,
    at_once: Vec<Place>,
}

impl Filesystem {
    fn refresh_mounts(&mut self) -> Result<(), CollectError> {
        let (points, types) = (&self.mount_points, &self.fs_types);
        let keep = |point: &str, fs_type: &str| types.passes(fs_type) && points.passes(point);
        let Some(mut mounts) = self.table.changed(keep)? else { return Ok(()) };
        // Of mounts that would give the same series the last one is on top, and is what `statfs` sees.
        let mut seen = FxHashSet::default();
        mounts.reverse();
        mounts.retain(|m| seen.insert((m.device.clone(), m.mount_point.clone(), m.fs_type.clone())));
        mounts.reverse();
        let question = |m: &Mount| Place {
            mount_id: m.id,
            path: Arc::new(m.path.clone()),
            device: (m.major, m.minor),
        };
        let (at_once, may_hang): (Vec<&Mount>, _) = mounts.iter().partition(|m| m.answers_from_memory);
        self.at_once = at_once.into_iter().map(question).collect();
        self.questions = Vec::into_iter(may_hang).map(question).collect();
        self.mounts = mounts;
        Ok(())
    }
}

impl Collector for Filesystem {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.refresh_mounts()?;
        let left = pass.deadline.saturating_duration_since(Instant::now());
        let reserved = (left / RESERVED).max(Duration::from_millis(1));
        let until = pass.deadline.checked_sub(reserved).unwrap_or(pass.deadline);
        let mut answers = self.prober.ask(&self.questions, until).into_iter();
        let mut at_once = self.at_once.iter();
        for mount in &self.mounts {
            let answer = match mount.answers_from_memory {
                true => at_once.next().map(|place| self.prober.ask_here(place)),
                false => answers.next().flatten(),
            };
            write(out, mount, answer);
        }
        Ok(())
    }
}

fn write(out: &mut Batch, mount: &Mount, answer: Answer) {
    let (space, error) = match answer {
        Some(Ok(space)) => (Some(space), String::new()),
        Some(Err(error)) => (None, message(&error)),
        None => (None, "mountpoint timeout".to_owned()),
    };
    let labels = [
        ("device", &*mount.device),
        ("device_error", &*error),
        ("fstype", &*mount.fs_type),
        ("mountpoint", &*mount.mount_point),
    ];
    let help = "Whether asking the mount for its space failed; `device_error` says how.";
    out.gauge("node_filesystem_device_error", help, &labels, f64::from(u8::from(space.is_none())));
    let help = "Whether the mount is read-only.";
    // An error can make a file system read-only without a change of the mount table.
    let read_only = mount.read_only || (!mount.covered && space.as_ref().is_some_and(|s| s.read_only));
    out.gauge("node_filesystem_readonly", help, &labels, f64::from(u8::from(read_only)));
    let Some(space) = space else { return };
    for (name, help, value) in [
        ("node_filesystem_size_bytes", "Size of the file system.", space.size),
        ("node_filesystem_free_bytes", "Free space of the file system.", space.free),
        ("node_filesystem_avail_bytes", "Space free to users without privileges.", space.available),
        ("node_filesystem_files", "Inodes of the file system.", space.files),
        ("node_filesystem_files_free", "Free inodes of the file system.", space.files_free),
    ] {
        let family = out.family(name, help, Kind::Gauge);
        out.sample(family, &labels, value);
    }
    let (mut major, mut minor) = (itoa::Buffer::new(), itoa::Buffer::new());
    let labels = [
        ("device", &*mount.device),
        ("major", major.format(mount.major)),
        ("minor", minor.format(mount.minor)),
        ("mountpoint", &*mount.mount_point),
    ];
    out.gauge("node_filesystem_mount_info", "Device number of the mount; always 1.", &labels, 1.0);
}

/// The C library's text in Go's spelling, which is what alerts match on: `permission denied`.
fn message(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(&*text, |(text, _)| text);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
