//! The words every other module shares: samples, labels, families, snapshots, time, sizes.
//!
//! Invariant: no IO and no clock. Whatever depends on "now" takes a [`Timestamp`] as an argument.

mod alert;
mod batch;
mod cold_sort;
mod duration;
mod labels;
mod labels_builder;
mod matcher;
mod queryable;
mod re2;
mod relabel;
mod row;
mod samples;
mod size;
mod snapshot;
mod state_change;
mod text;
mod time;

pub use alert::{OutgoingAlert, fingerprint};
pub use batch::{Batch, FamilyId, FamilyView, LabelsView, SampleView, Suffix};
pub use cold_sort::ColdSort;
pub use duration::{DurationError, PromDuration};
pub use labels::{Iter as LabelsIter, Labels, METRIC_NAME, Quoted};
pub use labels_builder::LabelsBuilder;
pub use matcher::{MatchOp, Matcher, MatcherError, anchored_regex, search_regex};
pub use queryable::{
    Page, Queryable, QueryableError, Segment, Select, SelectAny, SelectedSeries, Summary, ValueSummary,
};
pub use relabel::{
    Action as RelabelAction, RelabelError, RelabelRule, Replacement, RuleText as RelabelText, relabel,
};
pub use row::Row;
pub use samples::{STALE_NAN, STALE_NAN_BITS, Samples, is_stale};
pub use size::{ByteSize, SizeError};
pub use snapshot::{MergedFamily, Outline, Part, SamplePlace, Snapshot};
pub use state_change::{OncePerState, StateChange};
pub use text::{NameScheme, valid_label_name, valid_metric_name, valid_utf8};
pub use time::Timestamp;

/// What a family measures: the `# TYPE` of the exposition formats.
///
/// `Untyped` is called `unknown` in OpenMetrics. `Info` and `StateSet` exist only there and are
/// gauges in the 0.0.4 text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value that only grows, until its source restarts.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Cumulative buckets (`_bucket{le}`), `_sum` and `_count`.
    Histogram,
    /// OpenMetrics histogram of current values (`_bucket`, `_gsum`, `_gcount`).
    GaugeHistogram,
    /// Quantiles (`{quantile}`), `_sum` and `_count`.
    Summary,
    /// OpenMetrics `info`: constant 1, facts in labels.
    Info,
    /// OpenMetrics `stateset`: one 0/1 sample per state.
    StateSet,
    /// Nothing is known about the value.
    Untyped,
}
