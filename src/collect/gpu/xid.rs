//! Critical errors (XID): a thread for each GPU waits for them, a ledger counts them by the GPU's name.
//!
//! Both are the process's, so that a reload resets no counter and misses no error: a collector that takes another's
//! place takes its threads over as they are. A thread that is told to stop counts nothing more, so that of two
//! sessions with the driver only one counts. Bounds: 64 different errors a GPU, the rest is `other`; GPUs as
//! [`MOST_GPUS`] says, threads as [`Asides`]; a GPU that fails is tried again after a second, then ever later.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::asides::{Alive, Asides};
use super::backend::{CriticalErrors, GpuBackend, GpuError};
use super::{FIRST_RETRY, LONGEST_RETRY};
use crate::model::OncePerState;

/// Different errors that are counted apart; NVIDIA has numbered fewer than 200, of which a GPU shows a few.
const MOST_CODES: usize = 64;

/// GPUs that the ledger knows; more than a machine sees in its life.
const MOST_GPUS: usize = 1_024;

/// How long one wait lasts; bounds how long a closed driver stays open.
const WAIT: Duration = Duration::from_secs(2);

/// The errors of one GPU since the program started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Xids {
    /// Number of the last one; 0 if there was none.
    pub(super) last: u64,
    /// How many of each.
    pub(super) counts: BTreeMap<String, u64>,
}

/// The errors of all GPUs by their names, which stay theirs when numbers change; by number where there are no names.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<String, Xids>>>);

impl Ledger {
    /// What is known of one GPU.
    pub(super) fn of(&self, gpu: u32, uuid: &str) -> Xids {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&key(gpu, uuid)).cloned().unwrap_or_default()
    }

    fn add(&self, gpu: u32, uuid: &str, code: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(gpu, uuid);
        if all.len() >= MOST_GPUS && !all.contains_key(&key) {
            return;
        }
        let xids = all.entry(key).or_default();
        xids.last = code;
        let mut name = code.to_string();
        if xids.counts.len() >= MOST_CODES && !xids.counts.contains_key(&name) {
            "other".clone_into(&mut name);
        }
        *xids.counts.entry(name).or_default() += 1;
    }
}

fn key(gpu: u32, uuid: &str) -> String {
    if uuid.is_empty() { gpu.to_string() } else { uuid.to_owned() }
}

/// Threads that listen to each GPU's errors and count them, until all who have them have dropped them.
pub(super) struct Watchers {
    ledger: Ledger,
    alive: Alive,
    running: Mutex<Option<Running>>,
}

/// Those over one session with the driver.
struct Running {
    threads: Asides,
    gpus: u32,
    /// One of them found that the session is at its end.
    is_over: Arc<AtomicBool>,
}

impl Watchers {
    /// None runs before [`Self::tend`].
    pub(super) fn new(ledger: &Ledger, alive: &Alive) -> Self {
        Self { ledger: ledger.clone(), alive: alive.clone(), running: Mutex::new(None) }
    }

    /// Starts the threads that are not there. Those of another session stay as long as it holds.
    pub(super) fn tend(&self, backend: &Arc<dyn GpuBackend>, gpus: u32) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|old| old.gpus != gpus || old.is_over.load(Ordering::Acquire)) {
            *running = None;
        }
        running.get_or_insert_with(|| self.begin(Arc::clone(backend), gpus)).threads.tend();
    }

    fn begin(&self, backend: Arc<dyn GpuBackend>, gpus: u32) -> Running {
        let is_over = Arc::new(AtomicBool::new(false));
        let (ledger, over) = (self.ledger.clone(), Arc::clone(&is_over));
        let work = move |gpu: u32, told: &Receiver<()>| watch(&*backend, gpu, &ledger, &over, told);
        Running { threads: Asides::new("gpu-xid", gpus, &self.alive, Arc::new(work)), gpus, is_over }
    }

    /// Has a GPU that failed tried again at once.
    pub(super) fn kick(&self, gpu: u32) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().for_each(|running| running.threads.kick(gpu));
    }

    /// Lets the driver go; the threads end in their own time.
    pub(super) fn close(&self) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Listens to one GPU until `told` is disconnected. What fails is tried again, at once when it is told to.
fn watch(backend: &dyn GpuBackend, gpu: u32, ledger: &Ledger, over: &AtomicBool, told: &Receiver<()>) {
    let (mut queue, mut pause): (Option<Box<dyn CriticalErrors>>, _) = (None, FIRST_RETRY);
    let mut health = OncePerState::starting_at(Ok(()));
    loop {
        let heard = match &mut queue {
            None => backend.listen(gpu).map(|new| {
                queue = Some(new);
                None
            }),
            Some(queue) => queue.next(WAIT).inspect(|_| {
                pause = FIRST_RETRY;
                say(gpu, &mut health, Ok(()));
            }),
        };
        match heard {
            Ok(code) => {
                if matches!(told.try_recv(), Err(TryRecvError::Disconnected)) {
                    return;
                }
                if let (Some(code), Some(queue)) = (code, &queue) {
                    let uuid = queue.uuid();
                    tracing::warn!(gpu, uuid, xid = code, "A GPU reported a critical error");
                    ledger.add(gpu, uuid, code);
                }
            }
            Err(error) => {
                // The queue is of no more use: a GPU that comes back has to be listened to anew.
                queue = None;
                over.fetch_or(matches!(error, GpuError::NoDriver(_)), Ordering::AcqRel);
                let for_good = matches!(error, GpuError::Unsupported(_));
                say(gpu, &mut health, Err(error));
                match told.recv_timeout(pause) {
                    Err(RecvTimeoutError::Disconnected) => return,
                    _ if for_good => return,
                    Err(RecvTimeoutError::Timeout) => pause = LONGEST_RETRY.min(pause * 2),
                    Ok(()) => pause = FIRST_RETRY,
                }
            }
        }
    }
}

/// Says once what became of listening; that there is no driver, others say.
fn say(gpu: u32, health: &mut OncePerState<Result<(), GpuError>>, now: Result<(), GpuError>) {
    if matches!(now, Err(GpuError::NoDriver(_))) || health.observe(now).is_none() {
        return;
    }
    match health.state() {
        Ok(()) => tracing::info!(gpu, "Critical errors of a GPU are waited for again"),
        Err(error) => tracing::info!(gpu, %error, "Critical errors of a GPU cannot be waited for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_apart_within_a_bound() {
        let ledger = Ledger::default();
        assert_eq!(ledger.of(0, "GPU-0"), Xids::default());
        for code in (0..100).chain([79, 79, 99]) {
            ledger.add(1, "GPU-1", code);
        }
        let xids = ledger.of(0, "GPU-1");
        assert_eq!((xids.last, xids.counts.len()), (99, MOST_CODES + 1));
        assert_eq!((xids.counts.get("5"), xids.counts.get("other")), (Some(&1), Some(&39)));
        assert_eq!(ledger.of(1, "GPU-0"), Xids::default());
        (0..2_000).for_each(|gpu| ledger.add(gpu, "", 13));
        assert_eq!(
            (ledger.of(5, "").last, ledger.of(1_999, "").last, ledger.of(1, "GPU-1").last),
            (13, 0, 99)
        );
    }
}
