//! What a query gives back, and the element of an instant vector while it is being computed.
//!
//! Invariant: float samples only. Native histograms will be a second column beside [`Series::samples`] and a second
//! kind of element beside [`VectorSample::value`], as Prometheus keeps them; all that is public here is open for that.
//!
//! Source: Prometheus documentation, "HTTP API", expression query result formats.

use super::ast::ValueType;
use crate::model::{Labels, Samples};

/// One series' sample at the instant of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// The series; a name that is to be dropped is still among them while the removal of names is delayed.
    pub labels: Labels,
    /// Whether `__name__` (with `__type__` and `__unit__`) goes when the query is done.
    pub drop_name: bool,
    /// Milliseconds since the epoch: of a selected sample its own instant, otherwise that of the evaluation.
    pub at_ms: i64,
    /// The value; never the staleness marker.
    pub value: f64,
}

/// One series' samples over a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The series.
    pub labels: Labels,
    /// Its samples, without staleness markers; never empty in a result.
    pub samples: Samples,
}

/// What an expression evaluated to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A number at an instant.
    Scalar {
        /// Milliseconds since the epoch.
        at_ms: i64,
        /// The number.
        value: f64,
    },
    /// A text at an instant.
    String {
        /// Milliseconds since the epoch.
        at_ms: i64,
        /// The text.
        text: String,
    },
    /// Series with one sample each; in the order of the expression (`sort`, `topk`).
    Vector(Vec<VectorSample>),
    /// Series with samples over a range, sorted by labels.
    Matrix(Vec<Series>),
}

impl Value {
    /// The type it has.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar { .. } => ValueType::Scalar,
            Self::String { .. } => ValueType::String,
            Self::Vector(_) => ValueType::InstantVector,
            Self::Matrix(_) => ValueType::RangeVector,
        }
    }

    /// The `resultType` of the HTTP API.
    pub const fn result_type(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "scalar",
            Self::String { .. } => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        }
    }
}
