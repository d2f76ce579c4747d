//! What a function over a range is given, and what it says beside its result.
//!
//! Invariants: the samples of a [`Window`] are in time order and free of staleness markers; a [`Note`] names the
//! argument it is about, and whoever knows the query's text adds the place.

use crate::promql::annotations::{Annotation, ForcedMonotonicity};
use crate::promql::ast::{Call, Edges, Expr};

/// One series over one range, for one step of a query.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Milliseconds, strictly rising, as many as `values`. Within (`range_start_ms`, `range_end_ms`]; with
    /// `anchored` also the samples of the lookback before, with `smoothed` those of the lookback behind too.
    pub timestamps_ms: &'a [i64],
    /// The values, staleness markers left out.
    pub values: &'a [f64],
    /// Before the first instant of the range; excluded, ranges are left-open.
    pub range_start_ms: i64,
    /// The last instant of the range.
    pub range_end_ms: i64,
    /// The step's own instant: other than the range's end where there is an `offset` or `@`.
    pub eval_ms: i64,
    /// How the range treats its edges.
    pub edges: Edges,
}

impl<'a> Window<'a> {
    /// Samples in order: milliseconds and value.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = (i64, f64)> + ExactSizeIterator + use<'a> {
        self.timestamps_ms.iter().copied().zip(self.values.iter().copied())
    }

    /// Length of the range in seconds.
    pub fn range_seconds(&self) -> f64 {
        duration_seconds(self.range_end_ms - self.range_start_ms)
    }
}

/// The seconds of a duration as Go's `Duration.Seconds` computes them: whole ones and the rest apart. The last bit
/// can differ from that of [`seconds`].
#[expect(clippy::cast_precision_loss, reason = "as Go")]
pub(super) fn duration_seconds(milliseconds: i64) -> f64 {
    (milliseconds / 1000) as f64 + ((milliseconds % 1000) * 1_000_000) as f64 / 1e9
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus: exact for 285,000 years")]
pub(super) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// A function over a range: the window, the scalar arguments in order, and where to say what is odd.
///
/// It is called only for windows with at least one sample. `None`: the series has no result at this step.
pub type RangeFn = fn(&Window<'_>, &[f64], &mut Notes) -> Option<f64>;

/// What functions say beside their results, at one step or over many.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    notes: Vec<Note>,
    failure: Option<String>,
}

impl Notes {
    /// Says something, once.
    pub fn say(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Ends the query with an error. The first counts.
    pub fn fail(&mut self, error: String) {
        self.failure.get_or_insert(error);
    }

    /// The error that ends the query.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Takes what was said, each thing once.
    pub fn drain(&mut self) -> impl Iterator<Item = Note> + '_ {
        self.notes.drain(..)
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.failure.is_none()
    }
}

/// One thing that is odd about a function's arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Which argument of the call it is about, from 0.
    pub argument: usize,
    /// What.
    pub kind: NoteKind,
}

/// The kinds of [`Note`].
#[derive(Clone, Debug)]
pub enum NoteKind {
    /// A quantile that is NaN, below 0 or above 1.
    InvalidQuantile(f64),
    /// A bucket whose `le` is no number.
    BadBucketLabel {
        /// The series' metric name.
        metric_name: String,
        /// What its `le` says.
        le: String,
    },
    /// A bucket counts less than the one below it.
    ForcedMonotonicity {
        /// The series' metric name; "" where it is already dropped.
        metric_name: String,
        /// By how much and when.
        extent: ForcedMonotonicity,
    },
}

impl Note {
    /// The same with its place: that of the call's argument.
    pub fn annotation(&self, call: &Call) -> Annotation {
        let span = call.args.get(self.argument).map_or(call.span, Expr::span);
        match &self.kind {
            NoteKind::InvalidQuantile(q) => Annotation::invalid_quantile(*q, span),
            NoteKind::BadBucketLabel { metric_name, le } => {
                Annotation::bad_bucket_label(metric_name, le, span)
            }
            NoteKind::ForcedMonotonicity { metric_name, extent } => {
                Annotation::forced_monotonicity(metric_name, *extent, span)
            }
        }
    }
}

/// NaN is itself.
impl PartialEq for NoteKind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::InvalidQuantile(a), Self::InvalidQuantile(b)) => a.to_bits() == b.to_bits(),
            (
                Self::BadBucketLabel { metric_name: a, le },
                Self::BadBucketLabel { metric_name: b, le: other_le },
            ) => a == b && le == other_le,
            (
                Self::ForcedMonotonicity { metric_name: a, extent },
                Self::ForcedMonotonicity { metric_name: b, extent: other_extent },
            ) => a == b && extent == other_extent,
            _ => false,
        }
    }
}
