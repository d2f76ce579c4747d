//! What all targets together may take, and the memory that their bodies share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, watch};

/// Bounds over all jobs; they hold beside the limits of each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeLimits {
    /// Most targets; further ones are not scraped.
    pub targets: usize,
    /// Most samples of a scrape where `sample_limit` does not say less.
    pub samples: usize,
    /// Largest body after decompression where `body_size_limit` does not say less.
    pub body_bytes: usize,
}

impl Default for ScrapeLimits {
    fn default() -> Self {
        Self { targets: 1_000, samples: 200_000, body_bytes: 64 << 20 }
    }
}

/// Scrapes that wait for an answer at a time; more than targets of an ordinary host, fewer than descriptors.
const MOST_FETCHES: usize = 512;

/// Bodies read into samples at a time: one that is huge must not stop all others.
const MOST_APPENDS: usize = 2;

/// Bodies of all scrapes together, in multiples of the largest one.
const BODIES: usize = 3;

/// A body of this size never waits for memory, so that no huge one harms small ones.
const SMALL_BODY_BYTES: usize = 1 << 20;

/// What scrapes share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: ScrapeLimits,
    pub(super) fetches: Semaphore,
    pub(super) appends: Semaphore,
    /// Targets that are scraped.
    pub(super) targets: AtomicUsize,
    /// Told when a target has ended: there may be room for one that was refused.
    pub(super) room: watch::Sender<()>,
    body_bytes: AtomicUsize,
}

impl Shared {
    pub(super) fn new(limits: ScrapeLimits) -> Self {
        Self {
            limits,
            fetches: Semaphore::new(MOST_FETCHES),
            appends: Semaphore::new(MOST_APPENDS),
            targets: AtomicUsize::new(0),
            room: watch::Sender::new(()),
            body_bytes: AtomicUsize::new(0),
        }
    }

    /// Bytes of bodies held now.
    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }
}

/// The memory of one body, given back when dropped.
#[derive(Debug)]
pub(super) struct BodyBudget {
    shared: Arc<Shared>,
    held: usize,
    limit: usize,
}

impl BodyBudget {
    /// For a body of less than `limit` bytes.
    pub(super) const fn new(shared: Arc<Shared>, limit: usize) -> Self {
        Self { shared, held: 0, limit }
    }

    /// Whether the body may grow by so much.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let size = self.held.saturating_add(bytes);
        let all = self.shared.body_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.held = size;
        size < self.limit && (size <= SMALL_BODY_BYTES || all <= BODIES * self.shared.limits.body_bytes)
    }
}

impl Drop for BodyBudget {
    fn drop(&mut self) {
        self.shared.body_bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_bodies_share_and_small_ones_always_fit() {
        let limits = ScrapeLimits { body_bytes: 2 << 20, ..ScrapeLimits::default() };
        let shared = Arc::new(Shared::new(limits));
        let mut huge: Vec<BodyBudget> =
            (0..4).map(|_| BodyBudget::new(Arc::clone(&shared), 2 << 20)).collect();
        let grown: Vec<bool> = huge.iter_mut().map(|body| body.grow((2 << 20) - 1)).collect();
        assert_eq!(grown, [true, true, true, false]);
        let mut small = BodyBudget::new(Arc::clone(&shared), 10);
        assert!(small.grow(9) && !small.grow(1));
        drop((huge, small));
        assert_eq!(shared.body_bytes(), 0);
    }
}
