//! Groups of processes under process-exporter's names, from its configuration file. Source: process-exporter's
//! documentation; kernel `Documentation/filesystems/proc.rst`.
//!
//! One pass over procfs: a process that belongs to no group costs the reading of one file. What is counted outlives
//! the engine, so a reload, also one that groups anew, takes nothing from a group's totals.
//!
//! Invariants: bounded groups, names and files; a pass past its deadline stops, and forgets nobody.

mod config;
mod groups;
mod namer;
mod read;
#[cfg(test)]
mod tests;
mod tracker;
mod users;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use self::read::Procfs;
use self::tracker::{Recheck, Rules, Tracker};
use self::users::Users;
use super::{BuildError, CollectError, Collector, Files, Flag, FlagKind, Host, Options, Pass, Spec};
use crate::model::{Batch, OncePerState};

const NAME: &str = "process";
const CONFIG: &str = "process.config-path";
const NAMES: &str = "process.procnames";
const MAPPING: &str = "process.namemapping";
const CHILDREN: &str = "process.children";
const THREADS: &str = "process.threads";
const SMAPS: &str = "process.gather-smaps";
const RECHECK: &str = "process.recheck";
const RECHECK_TIME: &str = "process.recheck-with-time-limit";
const MOST_GROUPS: &str = "process.max-groups";

pub(super) static SPEC: Spec = Spec {
    name: NAME,
    on_by_default: false,
    help: "Groups of processes, under process-exporter's names; by command unless a file says otherwise.",
    flags: &[
        Flag::new(
            CONFIG,
            FlagKind::Path,
            "A configuration file of process-exporter's: `process_names` with matchers and templates of names. \
             Default: every process that has a command line, by its command.",
        ),
        Flag::new(
            NAMES,
            FlagKind::Text(""),
            "Commands to group by, separated by commas; not beside a configuration file.",
        ),
        Flag::new(
            MAPPING,
            FlagKind::Text(""),
            "Commands and expressions over their command lines, alternating, separated by commas: what the first \
             group captures becomes part of the name. Not beside a configuration file.",
        ),
        Flag::new(
            CHILDREN,
            FlagKind::Switch(true),
            "A process that fits no group belongs to that of its nearest ancestor in one.",
        ),
        Flag::new(
            THREADS,
            FlagKind::Switch(true),
            "Also show threads by name, of processes that have several.",
        ),
        Flag::new(
            SMAPS,
            FlagKind::Switch(false),
            "Also show shares of shared memory. The kernel may take seconds for a large process.",
        ),
        Flag::new(RECHECK, FlagKind::Switch(false), "Name processes again at each pass."),
        Flag::new(
            RECHECK_TIME,
            FlagKind::Duration("0s"),
            "Name processes again at each pass while they are younger than this.",
        ),
        Flag::new(
            MOST_GROUPS,
            FlagKind::Number(1_000),
            "Most groups. For a new one beyond that the one that has been empty for longest is forgotten.",
        ),
    ],
    build: |host, options| Ok(Box::new(Processes::new(host, options)?)),
};

/// What groups are made of where nothing was asked for: the file that process-exporter's packages bring.
const DEFAULT_FILE: &str = "process_names:\n  - name: '{{.Comm}}'\n    cmdline: ['.+']\n";

struct Processes {
    path: PathBuf,
    procfs: Option<Procfs>,
    rules: Rules,
    users: Users,
    tracker: Arc<Mutex<Tracker>>,
    fullness: OncePerState<usize>,
    name_errors: OncePerState<Option<String>>,
}

impl Processes {
    fn new(host: &Host, options: &Options) -> Result<Self, BuildError> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let refused = |what: String| BuildError { collector: NAME, what };
        let (file, names, mapping) = (options.text(CONFIG), options.text(NAMES), options.text(MAPPING));
        let namer = match (file, names, mapping) {
            ("", "", "") => config::from_text("<default>", DEFAULT_FILE),
            ("", ..) => config::from_names(names, mapping),
            (file, "", "") => config::from_file(Path::new(file)),
            _ => Err(format!(
                "--collector.{CONFIG} cannot stand beside --collector.{NAMES} or --collector.{MAPPING}"
            )),
        };
        let young = options.duration(RECHECK_TIME).as_secs();
        let rules = Rules {
            namer: namer.map_err(refused)?,
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            children: options.switch(CHILDREN),
            threads: options.switch(THREADS),
            proportional: options.switch(SMAPS),
            recheck: match (options.switch(RECHECK), young) {
                (false, 0) => Recheck::Never,
                (true, 0) => Recheck::Always,
                (_, seconds) => Recheck::WhileYoung(seconds),
            },
            most_groups: usize::try_from(options.number(MOST_GROUPS))
                .ok()
                .filter(|most| *most > 0)
                .ok_or_else(|| refused(format!("--collector.{MOST_GROUPS}: expected a number above 0")))?,
            ticks: rustix::param::clock_ticks_per_second(),
            page_bytes: rustix::param::page_size() as u64,
        };
        let path = host.paths.procfs.clone();
        Ok(Self {
            tracker: kept_tracker(&path),
            procfs: None,
            rules,
            users: Users::new(host.paths.root("etc/passwd"), Files::new(Arc::clone(&host.descriptors))),
            fullness: OncePerState::starting_at(0),
            name_errors: OncePerState::starting_at(None),
            path,
        })
    }
}

/// What the collector before this one counted below the same procfs, if that one is still there: a reload must
/// not begin anew.
fn kept_tracker(procfs: &Path) -> Arc<Mutex<Tracker>> {
    static KEPT: Mutex<Vec<(PathBuf, Weak<Mutex<Tracker>>)>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.retain(|(_, tracker)| tracker.strong_count() > 0);
    if let Some(tracker) =
        kept.iter().find(|(path, _)| path == procfs).and_then(|(_, tracker)| tracker.upgrade())
    {
        return tracker;
    }
    let tracker = Arc::default();
    kept.push((procfs.to_owned(), Arc::downgrade(&tracker)));
    tracker
}

impl Collector for Processes {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        let procfs = match &mut self.procfs {
            Some(procfs) => procfs,
            none => {
                let opened =
                    Procfs::open(&self.path).map_err(|error| CollectError::reading(&self.path, error))?;
                none.insert(opened)
            }
        };
        let result = tracker.pass(pass, procfs, &self.rules, &mut self.users);
        match result {
            Ok(()) => write::write(&tracker, &self.rules, out),
            // Too little would look like processes that ended.
            Err(_) => write::own(&tracker, &self.rules, out),
        }
        let (left_out, limit) = (tracker.left_out(), self.rules.most_groups);
        if self.fullness.observe(usize::from(left_out > 0)).is_some() && left_out > 0 {
            tracing::warn!(
                processes = left_out,
                limit,
                "There are too many groups of processes; these are in none. See --collector.process.max-groups"
            );
        }
        let error = tracker.name_error.clone();
        if self.name_errors.observe(error.clone()).is_some()
            && let Some(error) = error
        {
            tracing::warn!(error, "A group of processes has no name");
        }
        result.map_err(CollectError::Other)
    }
}

/// Reads bytes as files of a process and as a configuration; for fuzzing.
pub fn survives(bytes: &[u8]) {
    read::survives(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(namer) = config::from_text("fuzz", text)
    {
        let process = namer::Attributes { comm: "a".to_owned(), ..namer::Attributes::default() };
        let _ = namer.group(&process);
    }
}
