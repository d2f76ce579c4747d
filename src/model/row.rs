//! One sample on its way into history.

use super::{Labels, Timestamp};

/// A sample of one series, as a source hands it to the store. A clone costs a reference count.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The series, metric name included.
    pub labels: Labels,
    /// The value; [`STALE_NAN`](super::STALE_NAN) ends the series.
    pub value: f64,
    /// Its own instant, where the source gave one; else that of the tick. A series with instants of its own
    /// gets no staleness marker when it vanishes, as in Prometheus.
    pub timestamp: Option<Timestamp>,
}
