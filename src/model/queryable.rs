//! The seam between who keeps samples and who asks for them: [`Queryable`].
//!
//! A selected series comes as segments in time order: samples at hand, or a [`Page`] that can be read when its
//! samples are needed, and has a [`Summary`] for when they are not. A function over 30 days then touches the
//! summaries of the pages that lie wholly within, and reads only those at the edges.
//!
//! Invariants: series sorted by labels, each once; segments do not overlap and are in time order; staleness markers
//! are handed out like other samples.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Labels, Matcher, Samples, Timestamp};

/// Keeps samples and answers for them. Calls block; they do not run on async threads.
pub trait Queryable: Send + Sync {
    /// The series that all matchers fit, with their samples from `from` to `to`, both included.
    ///
    /// A page at an edge may hold samples outside; the caller leaves these out.
    ///
    /// # Errors
    /// The samples cannot be read, or there are more series than `limit`.
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError>;

    /// Labels of the series that fit any of the sets (no set: all), sorted, each once, `limit` at most.
    ///
    /// # Errors
    /// The index cannot be read.
    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError>;

    /// Names of their labels, sorted.
    ///
    /// # Errors
    /// The index cannot be read.
    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError>;

    /// Values that one label has in them, sorted, without "".
    ///
    /// # Errors
    /// The index cannot be read.
    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError>;
}

/// What [`Queryable::select`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// All of them must fit.
    pub matchers: &'a [Matcher],
    /// The first instant.
    pub from: Timestamp,
    /// The last instant.
    pub to: Timestamp,
}

/// What the calls about series, not samples, are asked for.
#[derive(Clone, Copy, Debug)]
pub struct SelectAny<'a> {
    /// Sets of matchers: a series must fit all of one set.
    pub matcher_sets: &'a [Vec<Matcher>],
    /// Series without samples from here
    pub from: Timestamp,
    /// to here may be left out.
    pub to: Timestamp,
    /// Most results; 0: no limit.
    pub limit: usize,
}

/// A series and its samples.
#[derive(Clone, Debug)]
pub struct SelectedSeries {
    /// Its identity.
    pub labels: Labels,
    /// Its samples, in time order.
    pub segments: Vec<Segment>,
}

/// A stretch of one series.
#[derive(Clone, Debug)]
pub enum Segment {
    /// At hand.
    Samples(Arc<Samples>),
    /// To be read when needed.
    Page(Arc<dyn Page>),
}

/// A stretch of one series that is not yet read.
pub trait Page: Send + Sync + Debug {
    /// What is known without reading. Exact.
    fn summary(&self) -> &Summary;

    /// The samples. Empty only where they turned out to be damaged, which the store has then counted and said.
    ///
    /// # Errors
    /// The page is damaged or cannot be read.
    fn read(&self) -> Result<Arc<Samples>, QueryableError>;
}

/// What is known of a page's samples. Staleness markers count nowhere but in `samples` and the two instants.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Samples in the page, staleness markers included.
    pub samples: u32,
    /// Instant of the first of them, milliseconds.
    pub first_ms: i64,
    /// Instant of the last of them, milliseconds.
    pub last_ms: i64,
    /// What can be said about the values; `None` where a value is NaN or infinite, or all are markers.
    pub values: Option<ValueSummary>,
}

/// What is known of a page's values when all are finite. Each figure is what reading the samples would give, to the last bit.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueSummary {
    /// Values, staleness markers left out.
    pub count: u32,
    /// Instant of the first value, milliseconds.
    pub first_ms: i64,
    /// Instant of the last value, milliseconds.
    pub last_ms: i64,
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their sum where it is exact in any order (whole numbers, partial sums within 2^53).
    pub exact_sum: Option<f64>,
    /// How often a value differs from the one before it.
    pub changes: u32,
    /// How often a value is below the one before it.
    pub resets: u32,
    /// Sum of the values before each reset, which `increase` adds; exact in any order, else `None`.
    pub exact_reset_sum: Option<f64>,
}

/// Why samples cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryableError(pub String);
