//! Critical errors (XID): a thread for each GPU waits for them, a ledger counts them.
//!
//! The ledger is the process's, so that a reload resets no counter. A thread that is told to stop counts
//! nothing more, so that of two sessions with the driver only one counts. Bounds: 64 different errors a GPU,
//! the rest is `other`; threads as [`Asides`] says; a GPU that fails is tried again after a second, then ever later.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::asides::Asides;
use super::backend::{GpuBackend, GpuError};
use super::{FIRST_RETRY, Kept, LONGEST_RETRY};
use crate::model::OncePerState;

/// Different errors that are counted apart; NVIDIA has numbered fewer than 200, of which a GPU shows a few.
const MOST_CODES: usize = 64;

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

/// The errors of all GPUs, by their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<u32, Xids>>>);

impl Ledger {
    /// What is known of one GPU.
    pub(super) fn of(&self, gpu: u32) -> Xids {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&gpu).cloned().unwrap_or_default()
    }

    fn add(&self, gpu: u32, code: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let xids = all.entry(gpu).or_default();
        xids.last = code;
        let mut name = code.to_string();
        if xids.counts.len() >= MOST_CODES && !xids.counts.contains_key(&name) {
            "other".clone_into(&mut name);
        }
        *xids.counts.entry(name).or_default() += 1;
    }
}

/// Threads that listen to each GPU's errors and count them.
pub(super) fn watchers(backend: Arc<dyn GpuBackend>, gpus: u32, kept: &Kept) -> Asides {
    let ledger = kept.ledger.clone();
    let work = move |gpu: u32, told: &Receiver<()>| watch(&*backend, gpu, &ledger, told);
    Asides::new("gpu-xid", gpus, &kept.alive, Arc::new(work))
}

/// Listens to one GPU until `told` is disconnected. What fails is tried again, at once when it is told to.
fn watch(backend: &dyn GpuBackend, gpu: u32, ledger: &Ledger, told: &Receiver<()>) {
    let (mut queue, mut pause) = (None, FIRST_RETRY);
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
                if let Some(code) = code {
                    tracing::warn!(gpu, xid = code, "A GPU reported a critical error");
                    ledger.add(gpu, code);
                }
            }
            Err(error) => {
                // The queue is of no more use: a GPU that comes back has to be listened to anew.
                queue = None;
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
        assert_eq!(ledger.of(0), Xids::default());
        for code in (0..100).chain([79, 79, 99]) {
            ledger.add(1, code);
        }
        let xids = ledger.of(1);
        assert_eq!((xids.last, xids.counts.len()), (99, MOST_CODES + 1));
        assert_eq!((xids.counts.get("5"), xids.counts.get("other")), (Some(&1), Some(&39)));
        assert_eq!(ledger.of(0), Xids::default());
    }
}
