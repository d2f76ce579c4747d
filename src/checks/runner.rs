//! Runs the checks: one task each, results kept for whoever asks.
//!
//! Invariant: a check whose settings stay the same over a reload goes on undisturbed; one whose settings change keeps
//! what it knows until it has looked anew, and its counters.

use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{info, warn};

use super::backup::{self, BackupSettings};
use super::certificate::{self, Answer, CertificateSettings, Found};
use super::failing::{Failing, Outcome};
use super::probe::{self, ProbeSettings};
use super::sample::{self, Family, Sample, Samples};
use super::settings::{ChecksSettings, MOST_CHECKS};
use crate::model::{Batch, Timestamp};
use crate::tasks;

/// Endpoints that are asked for their certificates at once.
const TURNS: usize = 32;

/// Probes at once. Each is a socket that mostly waits: what hangs must not keep others from their turn.
const PROBE_TURNS: usize = 512;

/// Threads in file systems at once, those that hang included.
const FILE_TURNS: usize = 16;

static ENDPOINT_TURNS: Semaphore = Semaphore::const_new(TURNS);

/// How long a look at files may wait for a thread: if it does, others hang.
const THREAD_PATIENCE: Duration = Duration::from_secs(30);

/// A kind of check; each is handed out as a collector of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Of backups.
    Backup,
    /// Of certificates.
    Certificate,
    /// Of endpoints.
    Probe,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Backup, Self::Certificate, Self::Probe];

    /// As users name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Certificate => "certificate",
            Self::Probe => "probe",
        }
    }

    const fn families(self) -> &'static [Family] {
        match self {
            Self::Backup => backup::FAMILIES,
            Self::Certificate => certificate::FAMILIES,
            Self::Probe => probe::FAMILIES,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Check {
    Backup(BackupSettings),
    Certificate(CertificateSettings),
    Probe(ProbeSettings),
}

impl Check {
    fn key(&self) -> (Kind, &str, &str) {
        match self {
            Self::Backup(settings) => (Kind::Backup, &settings.name, ""),
            Self::Certificate(settings) => (Kind::Certificate, &settings.name, ""),
            Self::Probe(settings) => (Kind::Probe, &settings.name, &settings.target),
        }
    }

    const fn interval(&self) -> Duration {
        match self {
            Self::Backup(settings) => settings.interval,
            Self::Certificate(settings) => settings.interval,
            Self::Probe(settings) => settings.interval,
        }
    }
}

/// What is known of a check.
#[derive(Debug, Default)]
struct Known {
    samples: Arc<[Sample]>,
    errors: u64,
    /// Whether it was looked at.
    looked: bool,
    failing: Failing,
    /// Of a backup.
    past: backup::Past,
}

/// A check that runs.
#[derive(Debug)]
struct Running {
    check: Arc<Check>,
    known: Arc<Mutex<Known>>,
    /// Whether a thread is in the file system for it.
    busy: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all checks of a kind count.
#[derive(Debug, Default)]
struct Counts {
    runs: AtomicU64,
    failures: AtomicU64,
    late: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    clock: fn() -> Timestamp,
    running: Mutex<Vec<Running>>,
    counts: [Counts; Kind::ALL.len()],
    file_turns: Arc<Semaphore>,
    probe_turns: Semaphore,
}

/// The checks of the running program. Dropping the last clone ends them.
#[derive(Clone, Debug)]
pub struct Checks(Arc<Inner>);

const CHECKS: &str = "outrigger_checks";
const LIMIT: &str = "outrigger_checks_limit";
const RUNS: &str = "outrigger_check_runs_total";
const FAILURES: &str = "outrigger_check_failures_total";
const LATE: &str = "outrigger_check_late_runs_total";

static OWN_FAMILIES: &[Family] = &[
    Family::gauge(CHECKS, "Checks that are configured, probes counted by target."),
    Family::gauge(LIMIT, "Most checks of a kind."),
    Family::counter(RUNS, "Checks that were run."),
    Family::counter(
        FAILURES,
        "Checks that failed: an endpoint that is not well, a source that cannot be read.",
    ),
    Family::counter(LATE, "Probes that did not begin in time, and failed, because too many others ran."),
];

/// Every family that checks have.
#[cfg(test)]
pub(super) fn all_families() -> impl Iterator<Item = &'static Family> {
    Kind::ALL.into_iter().flat_map(Kind::families).chain(OWN_FAMILIES)
}

impl Checks {
    /// None yet.
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self::with_probe_turns(clock, PROBE_TURNS)
    }

    pub(super) fn with_probe_turns(clock: fn() -> Timestamp, turns: usize) -> Self {
        Self(Arc::new(Inner {
            clock,
            running: Mutex::default(),
            counts: Default::default(),
            file_turns: Arc::new(Semaphore::new(FILE_TURNS)),
            probe_turns: Semaphore::new(turns),
        }))
    }

    /// Puts settings into force. To be called within a runtime, on which the checks run from then on.
    pub fn apply(&self, settings: &ChecksSettings) {
        let backups = settings.backups.iter().cloned().map(Check::Backup);
        let certificates = settings.certificates.iter().cloned().map(Check::Certificate);
        let probes = settings.probes.iter().cloned().map(Check::Probe);
        let mut running = lock(&self.0.running);
        let mut before = std::mem::take(&mut *running);
        for check in backups.chain(certificates).chain(probes) {
            let at = before.iter().position(|other| other.check.key() == check.key());
            let old = at.map(|at| before.swap_remove(at));
            running.push(match old {
                Some(old) if *old.check == check => old,
                old => self.start(check, old.as_ref()),
            });
        }
    }

    fn start(&self, check: Check, old: Option<&Running>) -> Running {
        let check = Arc::new(check);
        let known = old.map(|old| Arc::clone(&old.known)).unwrap_or_default();
        let busy = old.map(|old| Arc::clone(&old.busy)).unwrap_or_default();
        let run = Run {
            inner: Arc::downgrade(&self.0),
            check: Arc::clone(&check),
            known: Arc::clone(&known),
            busy: Arc::clone(&busy),
        };
        let task = tasks::spawn(run.for_ever()).abort_handle();
        Running { check, known, busy, task }
    }

    /// Writes what the checks of a kind found last.
    pub fn write(&self, kind: Kind, now: Timestamp, out: &mut Batch) {
        let running = lock(&self.0.running);
        let of_kind = running.iter().filter(|running| running.check.key().0 == kind);
        let results: Vec<Arc<[Sample]>> =
            of_kind.map(|running| Arc::clone(&lock(&running.known).samples)).collect();
        drop(running);
        if results.is_empty() {
            return;
        }
        sample::write(kind.families(), results.iter().map(|samples| &**samples), now, out);
        let own = self.own_samples(kind, results.len());
        sample::write(OWN_FAMILIES, std::iter::once(own.as_slice()), now, out);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts")]
    fn own_samples(&self, kind: Kind, checks: usize) -> Vec<Sample> {
        let mut own = Samples::new(vec![("kind".to_owned(), kind.name().to_owned())]);
        own.add(CHECKS, checks as f64);
        own.add(LIMIT, MOST_CHECKS as f64);
        if let Some(counts) = self.0.counts.get(kind as usize) {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
            own.add(RUNS, of(&counts.runs));
            own.add(FAILURES, of(&counts.failures));
            own.add(LATE, of(&counts.late));
        }
        own.finish()
    }

    /// Whether each check has been run since its settings came into force.
    #[cfg(test)]
    pub(super) fn all_known(&self) -> bool {
        lock(&self.0.running).iter().all(|running| lock(&running.known).looked)
    }
}

/// What a check's task works with. It does not keep the checks alive.
struct Run {
    inner: std::sync::Weak<Inner>,
    check: Arc<Check>,
    known: Arc<Mutex<Known>>,
    busy: Arc<AtomicBool>,
}

impl Run {
    async fn for_ever(self) {
        let interval = self.check.interval();
        // Now, and from then on at an instant of its own: not all at once.
        let mut ticks = interval_at(Instant::now() + spread(self.check.key(), interval), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(inner) = self.inner.upgrade() {
            self.once(&inner).await;
            drop(inner);
            ticks.tick().await;
        }
    }

    async fn once(&self, inner: &Inner) {
        let (kind, name, target) = self.check.key();
        let mut late = false;
        let whole = |result: Result<(), String>| vec![(target.to_owned(), result.err())];
        let outcomes: Vec<Outcome> = match &*self.check {
            Check::Probe(settings) => {
                let turn = timeout(settings.timeout, inner.probe_turns.acquire()).await;
                late = turn.is_err();
                let (samples, result) = match turn {
                    Ok(_turn) => probe::run(settings).await,
                    // What was found last says nothing of now.
                    Err(_) => probe::not_begun(settings),
                };
                self.keep(samples);
                whole(result)
            }
            Check::Backup(settings) => whole(self.look_at_backups(inner, settings).await),
            Check::Certificate(settings) => self.look_at_certificates(inner, settings).await,
        };
        let failed = outcomes.iter().any(|(_, problem)| problem.is_some());
        if let Some(counts) = inner.counts.get(kind as usize) {
            counts.runs.fetch_add(1, Ordering::Relaxed);
            counts.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
            counts.late.fetch_add(u64::from(late), Ordering::Relaxed);
        }
        let mut known = lock(&self.known);
        known.looked = true;
        for (target, problem) in known.failing.turn(&outcomes) {
            match problem {
                Some(why) => warn!(check = kind.name(), name, target, why, "A check fails"),
                None => info!(check = kind.name(), name, target, "A check is well again"),
            }
        }
    }

    fn keep(&self, samples: Vec<Sample>) {
        lock(&self.known).samples = samples.into();
    }

    async fn look_at_backups(&self, inner: &Inner, settings: &BackupSettings) -> Result<(), String> {
        let (clock, owned, mut past) = (inner.clock, settings.clone(), lock(&self.known).past.clone());
        let look = move || (backup::look(&owned, &mut past, clock()), past);
        let looked = self.on_thread(inner, settings.timeout, look).await;
        let mut known = lock(&self.known);
        let (samples, result) = match looked {
            Ok((looked, past)) => {
                known.past = past;
                looked
            }
            Err(why) => (backup::unreadable(settings), Err(why)),
        };
        known.samples = backup::still_known(samples, &known.samples, result.is_ok()).into();
        result
    }

    async fn look_at_certificates(&self, inner: &Inner, settings: &CertificateSettings) -> Vec<Outcome> {
        let mut found = Vec::new();
        if !settings.files.is_empty() || !settings.kubeconfigs.is_empty() {
            let owned = settings.clone();
            let read = self.on_thread(inner, settings.timeout, move || certificate::read_files(&owned)).await;
            let hung = |why| {
                let first = settings.files.first().or(settings.kubeconfigs.first()).cloned();
                vec![Found::nothing(first.unwrap_or_default(), why)]
            };
            found = read.unwrap_or_else(hung);
        }
        for (index, answer) in ask_endpoints(settings).await {
            let Some(endpoint) = settings.endpoints.get(index) else { continue };
            let Answer { chain: certificates, trusted, problem } = answer;
            let trusted = (!certificates.is_empty()).then_some(trusted);
            found.push(Found { place: endpoint.place(), certificates, trusted, problem });
        }
        let looked = certificate::write(settings, &found, (inner.clock)());
        let mut known = lock(&self.known);
        known.errors += looked.errors;
        let mut samples = looked.samples;
        samples.extend(error_sample(settings, known.errors));
        known.samples = samples.into();
        found.into_iter().map(Found::outcome).collect()
    }

    /// Work that may hang in a file system, on a thread of its own.
    async fn on_thread<T: Send + 'static>(
        &self,
        inner: &Inner,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        if self.busy.load(Ordering::Acquire) {
            return Err("the file system has not answered since an earlier look".to_owned());
        }
        let turn = timeout(THREAD_PATIENCE, Arc::clone(&inner.file_turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(format!("{FILE_TURNS} other checks wait for file systems that do not answer"));
        };
        let (answer, answered) = oneshot::channel();
        self.busy.store(true, Ordering::Release);
        let busy = Arc::clone(&self.busy);
        let spawned = std::thread::Builder::new().name("check".to_owned()).spawn(move || {
            let result = work();
            busy.store(false, Ordering::Release);
            drop(turn);
            // Nobody may wait any more.
            let _ = answer.send(result);
        });
        if let Err(error) = spawned {
            self.busy.store(false, Ordering::Release);
            return Err(format!("no thread to look with: {error}"));
        }
        match timeout(patience, answered).await {
            Ok(Ok(result)) => Ok(result),
            // The thread panicked: its turn is back, and so is the next look's.
            Ok(Err(_)) => {
                self.busy.store(false, Ordering::Release);
                Err("the look ended too early; please report this".to_owned())
            }
            Err(_) => Err(format!("the file system has not answered within {patience:?}")),
        }
    }
}

/// What all endpoints showed, in their order.
async fn ask_endpoints(settings: &CertificateSettings) -> Vec<(usize, Answer)> {
    let mut asked = JoinSet::new();
    for (index, endpoint) in settings.endpoints.iter().cloned().enumerate() {
        let patience = settings.timeout;
        asked.spawn(async move {
            let _turn = ENDPOINT_TURNS.acquire().await;
            let answer = timeout(patience, endpoint.ask()).await;
            let late =
                || Answer { problem: Some(format!("no answer within {patience:?}")), ..Answer::default() };
            (index, answer.unwrap_or_else(|_| late()))
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        answers.extend(answer.ok());
    }
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn error_sample(settings: &CertificateSettings, errors: u64) -> Vec<Sample> {
    let mut samples = Samples::new(Vec::new());
    let labels =
        [("source_name", settings.name.as_str()), ("source_type", certificate::source_type(settings))];
    samples.with(certificate::SOURCE_ERRORS, &labels, errors as f64);
    samples.finish()
}

/// A share of the interval that is always the same for a check.
fn spread(key: impl Hash, interval: Duration) -> Duration {
    let share = FxBuildHasher.hash_one(key) >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits")]
    let share = share as f64 / f64::from(u32::MAX);
    interval.mul_f64(share.clamp(0.05, 1.0))
}

/// The mutexes guard plain values, which no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
