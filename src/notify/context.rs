//! What receivers need of the rest of the program.

use std::sync::Arc;
use std::time::Duration;

use super::metrics::NotifyMetrics;
use crate::model::Timestamp;
use crate::scrape::ScrapeMetrics;
use crate::store::Store;

/// Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) store: Store,
    pub(super) now: fn() -> Timestamp,
    pub(super) external_url: Arc<str>,
    pub(super) metrics: NotifyMetrics,
    pub(super) discovery: ScrapeMetrics,
    pub(super) pauses: Pauses,
}

/// Between attempts that fail: first `first`, then twice as long each time, up to `longest`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

impl Default for Pauses {
    /// Rules send again each minute what still fires, so a longer pause would save nothing.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

#[cfg(test)]
impl Pauses {
    /// So that a test need not wait.
    pub(super) const SHORT: Self =
        Self { first: Duration::from_millis(1), longest: Duration::from_millis(5) };
}

#[cfg(test)]
impl Context {
    pub(super) fn for_tests(metrics: NotifyMetrics) -> Self {
        let now = || Timestamp::from_millis(0);
        Self {
            store: Store::open(crate::store::StoreConfig::default(), now()).expect("opens"),
            now,
            external_url: "http://here".into(),
            metrics,
            discovery: ScrapeMetrics::default(),
            pauses: Pauses::SHORT,
        }
    }
}
