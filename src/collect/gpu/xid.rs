//! Critical errors (XID): a thread waits for them, a ledger counts them.
//!
//! The ledger is the process's, so that a reload resets no counter. A watcher that is told to stop counts
//! nothing more, so that of two sessions with the driver only one counts. Bounds: 64 different errors a GPU,
//! the rest is `other`; [`MOST_WATCHERS`] threads, should the driver not return from a wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::backend::GpuBackend;

/// Different errors that are counted apart; NVIDIA has numbered fewer than 200, of which a GPU shows a few.
const MOST_CODES: usize = 64;

/// Threads that wait, those of drivers that were closed included.
const MOST_WATCHERS: usize = 16;

/// How long one wait lasts; bounds how long a closed driver stays open.
const WAIT: Duration = Duration::from_secs(2);

/// Watchers of the process.
static WATCHERS: AtomicUsize = AtomicUsize::new(0);

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

/// Waits for errors until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
}

impl Watcher {
    /// Starts the thread; what it cannot do is said once and costs only the errors.
    pub(super) fn start(backend: Arc<dyn GpuBackend>, ledger: Ledger) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watcher = Self { stop: Arc::clone(&stop) };
        if WATCHERS.fetch_add(1, Ordering::AcqRel) >= MOST_WATCHERS {
            WATCHERS.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!("Waits for GPU errors have not returned; no further one is begun");
            return watcher;
        }
        let watch = move || {
            watch(&*backend, &ledger, &stop);
            drop(backend);
            WATCHERS.fetch_sub(1, Ordering::AcqRel);
        };
        if let Err(error) = std::thread::Builder::new().name("gpu-xid".into()).spawn(watch) {
            WATCHERS.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "cannot start the thread that waits for GPU errors");
        }
        watcher
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn watch(backend: &dyn GpuBackend, ledger: &Ledger, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match backend.next_xid(WAIT) {
            Ok(Some(xid)) if !stop.load(Ordering::Acquire) => {
                tracing::warn!(gpu = xid.gpu, xid = xid.code, "A GPU reported a critical error");
                ledger.add(xid.gpu, xid.code);
            }
            Ok(_) => {}
            Err(error) => {
                if !stop.load(Ordering::Acquire) {
                    tracing::info!(%error, "Critical errors of GPUs cannot be waited for; XID errors stay 0");
                }
                return;
            }
        }
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
