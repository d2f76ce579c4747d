//! Where samples go.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::model::{Labels, Row, Timestamp};

/// Takes the samples of targets. Called on blocking threads, for one target one call after the other.
pub trait Sink: Send + Sync {
    /// All samples of one scrape of a target: of a failed scrape only `up` and its kin. A series of an earlier tick
    /// that is missing in this one has vanished; it is the sink that marks it as stale, unless its rows had
    /// instants of their own.
    fn tick(&self, target: &TargetKey, at: Timestamp, rows: Vec<Row>);

    /// The target is gone: all its series have vanished.
    fn end(&self, target: &TargetKey, at: Timestamp);
}

/// What tells a target from all others, also over reloads: pool, labels, URL. A clone costs a reference count.
#[derive(Clone)]
pub struct TargetKey(Arc<Parts>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Parts {
    pool: String,
    labels: Labels,
    url: String,
}

impl TargetKey {
    /// The key of a target.
    pub fn new(pool: impl Into<String>, labels: Labels, url: impl Into<String>) -> Self {
        Self(Arc::new(Parts { pool: pool.into(), labels, url: url.into() }))
    }

    /// The job that it was found for: `scrapePool` of the API.
    pub fn pool(&self) -> &str {
        &self.0.pool
    }

    /// Its labels, those that start with `__` left out.
    pub fn labels(&self) -> &Labels {
        &self.0.labels
    }

    /// The URL that is scraped.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// A number that is the same for the same target in every run of the program.
    pub fn hash64(&self) -> u64 {
        let mut hasher = rustc_hash::FxHasher::default();
        self.0.hash(&mut hasher);
        // The low bits of this hasher know little of the last bytes.
        hasher.finish().wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
    }
}

impl PartialEq for TargetKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for TargetKey {}

impl Hash for TargetKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.pool(), self.url(), self.labels())
    }
}
