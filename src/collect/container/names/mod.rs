//! What containers are called: asked of files and of runtimes, on a thread of its own.
//!
//! The thread starts with the first container. It is asked when a container came and every [`REFRESH`]; a pass in which
//! one came waits for it a moment, so that a container is seldom seen without its name. Invariant: whatever a runtime
//! does - hangs, is upgraded, answers nonsense - containers keep the names that they have, others get theirs when it
//! answers again, and no pass waits longer than [`PATIENCE`].

mod files;
mod http;
mod json;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use self::files::StateFiles;
use self::http::HttpError;
pub(super) use self::json::survives;
use super::path::Runtime;
use crate::collect::HostPaths;
use crate::model::{ColdSort as _, OncePerState};

/// How often is asked anew: health and names may have changed.
const REFRESH: Duration = Duration::from_secs(10);

/// How often, as long as one that came lately has no name.
const RETRY: Duration = Duration::from_secs(1);

/// How long a runtime may take to list what it has started.
pub(super) const LATELY: Duration = Duration::from_secs(30);

/// Those that are there or about to be: a group may be there before the runtime calls the container running. The
/// filter is `{"status":["created","running","paused"]}`.
const LIST: &str = "/containers/json?all=1&filters=\
                    %7B%22status%22%3A%5B%22created%22%2C%22running%22%2C%22paused%22%5D%7D";

/// How long a pass waits for the name of a container that came.
const PATIENCE: Duration = Duration::from_millis(100);

/// Most containers of which a runtime is asked one by one in a round.
const MOST_INSPECTED: usize = 64;

/// Most threads, those included that hang in a file of an earlier configuration.
const MOST_THREADS: usize = 4;

/// Longest text of a name that is taken from a runtime.
const LONGEST_TEXT: usize = 1024;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// What a check of the runtime's says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    /// Or not yet.
    NotHealthy,
}

/// What is known of a container besides its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) image: String,
    /// Of Kubernetes.
    pub(super) container: String,
    pub(super) pod: String,
    pub(super) namespace: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) health: Option<Health>,
    pub(super) restarts: Option<u64>,
}

impl Named {
    /// Somebody has said what it is called.
    pub(super) fn is_named(&self) -> bool {
        !self.name.is_empty() || !self.pod.is_empty()
    }

    /// Takes from another what is not known yet.
    fn fill(&mut self, other: Self) {
        for (own, other) in [
            (&mut self.name, other.name),
            (&mut self.image, other.image),
            (&mut self.container, other.container),
            (&mut self.pod, other.pod),
            (&mut self.namespace, other.namespace),
        ] {
            if own.is_empty() && other.len() <= LONGEST_TEXT {
                *own = other;
            }
        }
        if self.labels.is_empty() {
            self.labels = other.labels;
        }
        self.health = self.health.or(other.health);
        self.restarts = self.restarts.or(other.restarts);
    }
}

/// A container whose name is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: String,
    /// Of its group: another after a restart.
    pub(super) inode: u64,
    pub(super) runtime: Runtime,
    pub(super) pod_uid: Option<String>,
}

/// A runtime that may be asked.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    /// Its name, as told.
    pub(super) name: &'static str,
    pub(super) runtime: Runtime,
    /// Where it may be: the first that is there counts.
    pub(super) candidates: Vec<PathBuf>,
    /// Somebody said that it is there: where it is not, that is a fault.
    pub(super) is_given: bool,
}

impl Socket {
    fn path(&self) -> Option<&Path> {
        let found = self.candidates.iter().find(|path| path.exists());
        found.or(self.candidates.first().filter(|_| self.is_given)).map(PathBuf::as_path)
    }
}

/// Where names come from.
#[derive(Clone, Debug)]
pub(super) struct NameSettings {
    pub(super) paths: HostPaths,
    pub(super) sockets: Vec<Socket>,
    /// How long each runtime may take in a round.
    pub(super) timeout: Duration,
}

#[derive(Debug, Default)]
struct Table {
    names: FxHashMap<String, Arc<Named>>,
    /// Whether each socket that was asked answered.
    answers: Vec<(&'static str, bool)>,
    /// Rounds asked for and finished.
    asked: u64,
    finished: u64,
    /// How long the last one took.
    took: Duration,
    /// How often what is said has changed.
    changes: u64,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    answered: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread, and what it found.
#[derive(Debug)]
pub(super) struct Names {
    settings: NameSettings,
    shared: Arc<Shared>,
    ask: Option<SyncSender<(u64, Vec<Wanted>)>>,
    asked_at: Option<Instant>,
}

impl Names {
    pub(super) fn new(settings: NameSettings) -> Self {
        Self { settings, shared: Arc::default(), ask: None, asked_at: None }
    }

    /// Asks, if one came or it is time again, which is soon if one is `missing`; waits a moment if one came.
    pub(super) fn ask(
        &mut self,
        came: bool,
        missing: bool,
        until: Instant,
        wanted: impl FnOnce() -> Vec<Wanted>,
    ) {
        let again = if missing { RETRY } else { REFRESH };
        let due = self.asked_at.is_none_or(|at| at.elapsed() >= again);
        if !came && !due {
            return;
        }
        if self.ask.is_none() {
            self.start();
        }
        let round = {
            let mut table = self.shared.lock();
            if table.asked > table.finished {
                // Still at it; asked again in the next pass.
                self.asked_at = None;
                return;
            }
            table.asked += 1;
            table.asked
        };
        let sent = self.ask.as_ref().is_some_and(|ask| ask.try_send((round, wanted())).is_ok());
        if !sent {
            self.shared.lock().asked -= 1;
            return;
        }
        self.asked_at = Some(Instant::now());
        if came {
            self.wait(round, until.min(Instant::now() + PATIENCE));
        }
    }

    fn wait(&self, round: u64, until: Instant) {
        let mut table = self.shared.lock();
        // Who took long before is not waited for.
        while table.finished < round && table.took < PATIENCE {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            table = self.shared.answered.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A number that is another when something has changed.
    pub(super) fn changes(&self) -> u64 {
        self.shared.lock().changes
    }

    pub(super) fn of(&self, id: &str) -> Option<Arc<Named>> {
        self.shared.lock().names.get(id).cloned()
    }

    /// Whether the name of a container may still come: no round has asked of it yet, the runtime did not answer, or it may
    /// not have listed yet what came `lately`. Until it does, a container has none: one that changed would look like two
    /// containers, of which one is gone.
    pub(super) fn may_come(&self, id: &str, runtime: Runtime, lately: bool) -> bool {
        let table = self.shared.lock();
        let not_asked = self.ask.is_some() && runtime.names_containers() && !table.names.contains_key(id);
        let may_tell = |socket: &Socket| match table.answers.iter().find(|(of, _)| *of == socket.name) {
            Some((_, answered)) if socket.runtime == runtime => lately || !answered,
            // A bare id may be of any runtime, and of one that nobody can ask.
            Some((_, answered)) => runtime == Runtime::Unknown && lately && !answered,
            None => false,
        };
        not_asked || self.settings.sockets.iter().any(may_tell)
    }

    /// Runtimes that were asked in the last round, and whether they answered.
    pub(super) fn answers(&self) -> Vec<(&'static str, bool)> {
        self.shared.lock().answers.clone()
    }

    fn start(&mut self) {
        if THREADS.load(Ordering::Relaxed) >= MOST_THREADS {
            return;
        }
        let (ask, asked) = sync_channel(1);
        let (shared, settings) = (Arc::clone(&self.shared), self.settings.clone());
        let started = std::thread::Builder::new().name("container-names".into()).spawn(move || {
            work(&settings, &shared, &asked);
            THREADS.fetch_sub(1, Ordering::Relaxed);
        });
        match started {
            Ok(_) => {
                THREADS.fetch_add(1, Ordering::Relaxed);
                self.ask = Some(ask);
            }
            Err(error) => tracing::warn!(%error, "cannot start the thread that asks for names of containers"),
        }
    }
}

/// Rounds until nobody asks any more.
fn work(settings: &NameSettings, shared: &Shared, asked: &Receiver<(u64, Vec<Wanted>)>) {
    let mut files = StateFiles::default();
    let mut runtimes: Vec<_> = settings.sockets.iter().cloned().map(Asking::new).collect();
    for (round, wanted) in asked {
        let began = Instant::now();
        let mut named = files.look_up(&settings.paths, &wanted);
        let before = shared.lock().names.clone();
        let mut answers = Vec::new();
        for runtime in &mut runtimes {
            let deadline = Instant::now() + settings.timeout;
            if let Some(answered) = runtime.ask(&wanted, &mut named, deadline) {
                answers.push((runtime.socket.name, answered));
            }
        }
        let mut names = FxHashMap::default();
        for (container, mut named) in wanted.into_iter().zip(named) {
            let before = before.get(&container.id);
            // What was known stays known while nobody answers.
            if let Some(before) = before {
                named.fill((**before).clone());
            }
            let named = match before {
                Some(before) if **before == named => Arc::clone(before),
                _ => Arc::new(named),
            };
            names.insert(container.id, named);
        }
        let mut table = shared.lock();
        if table.names != names || table.answers != answers || table.finished == 0 {
            table.names = names;
            table.answers = answers;
            table.changes += 1;
        }
        table.finished = round;
        table.took = began.elapsed();
        drop(table);
        shared.answered.notify_all();
    }
}

/// What a runtime said of one container when it was asked of that alone.
#[derive(Default)]
struct Inspected {
    /// Of the container's group at that time.
    inode: u64,
    /// When it was asked last, whatever came of it.
    round: u64,
    details: Option<Named>,
}

/// A runtime, and what it said.
struct Asking {
    socket: Socket,
    /// By id.
    inspected: FxHashMap<String, Inspected>,
    /// Number of times that it was asked for its list.
    round: u64,
    /// Whether it answered last, and if not why.
    health: OncePerState<Option<String>>,
    answered: bool,
}

impl Asking {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            inspected: FxHashMap::default(),
            round: 0,
            health: OncePerState::starting_at(None),
            answered: false,
        }
    }

    /// Asks of those that files do not name, or not tell all of. `None` if there is none of them, or no such runtime.
    fn ask(&mut self, wanted: &[Wanted], named: &mut [Named], deadline: Instant) -> Option<bool> {
        let may_know = |container: &Wanted, named: &Named| match container.runtime {
            // Docker's file has all; Podman's have neither restarts, nor labels and health.
            own if own == self.socket.runtime => !named.is_named() || named.restarts.is_none(),
            Runtime::Unknown => !named.is_named(),
            _ => false,
        };
        let open: Vec<_> = wanted.iter().zip(named).filter(|(w, n)| may_know(w, n)).collect();
        if open.is_empty() {
            return None;
        }
        let path = self.socket.path()?.to_owned();
        // What does not change is not asked again: Podman's service is started for each question.
        let stands = |container: &Wanted, named: &Named| {
            let known = self.inspected.get(&container.id).filter(|known| known.inode == container.inode);
            let details = known.and_then(|known| known.details.as_ref());
            named.is_named() && details.is_some_and(|details| details.health.is_none())
        };
        if self.answered && open.iter().all(|(container, named)| stands(container, named)) {
            for (container, named) in open {
                let known = self.inspected.get(&container.id);
                named.fill(known.and_then(|known| known.details.clone()).unwrap_or_default());
            }
            return Some(true);
        }
        let answer = self.list(&path, open, deadline);
        let now = answer.err().map(|error| error.to_string());
        self.answered = now.is_none();
        if let Some(change) = self.health.observe(now.clone()) {
            let (runtime, socket) = (self.socket.name, path.display());
            match (&now, &change.before) {
                (Some(error), _) => tracing::warn!(
                    runtime, %socket, error,
                    "Cannot ask for names, labels and health of containers; those that are not known are shown by id"
                ),
                (None, Some(_)) => tracing::info!(runtime, %socket, "Names of containers are known again"),
                (None, None) => {}
            }
        }
        Some(self.answered)
    }

    fn list(
        &mut self,
        path: &Path,
        open: Vec<(&Wanted, &mut Named)>,
        deadline: Instant,
    ) -> Result<(), HttpError> {
        let body = http::get(path, LIST, deadline)?;
        let listed = json::list(&body).map_err(HttpError::Io)?;
        drop(body);
        let mut listed: FxHashMap<String, Named> = listed.into_iter().collect();
        let there = open.into_iter().filter_map(|(container, named)| {
            let found = listed.remove(&container.id)?;
            Some((container, named, found, self.inspected.remove(&container.id).unwrap_or_default()))
        });
        let mut there: Vec<_> = there.collect();
        // Who waits longest comes first: one that is slow tells of all after some rounds, also where it never tells of one.
        there.cold_sort_by_key(|(.., known)| known.round);
        self.round += 1;
        self.inspected.clear();
        let mut left = MOST_INSPECTED;
        for (container, named, mut found, mut known) in there {
            // Podman says nothing of health in its list.
            let stands = |details: &Named| details.health.is_none() || found.health.is_some();
            let is_known = known.inode == container.inode && known.details.as_ref().is_some_and(stands);
            if !is_known && left > 0 {
                left -= 1;
                known.round = self.round;
                match inspect(path, &container.id, deadline) {
                    Ok(details) => (known.inode, known.details) = (container.inode, details),
                    // What the list says must do, and what is known from earlier.
                    Err(_) => left = 0,
                }
            }
            let health = found.health;
            // Since it was asked of alone, somebody may have renamed it.
            named.fill(Named { name: std::mem::take(&mut found.name), ..Named::default() });
            // The list's image is an id where another image has the name by now.
            if let Some(details) = &known.details {
                named.fill(details.clone());
            }
            named.fill(found);
            named.health = health.or(named.health);
            self.inspected.insert(container.id.clone(), known);
        }
        Ok(())
    }
}

/// What a runtime says of one container; nothing if that went meanwhile.
fn inspect(path: &Path, id: &str, deadline: Instant) -> Result<Option<Named>, HttpError> {
    match http::get(path, &format!("/containers/{id}/json"), deadline) {
        Ok(body) => Ok(json::inspected(&body).ok()),
        Err(HttpError::Status(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
