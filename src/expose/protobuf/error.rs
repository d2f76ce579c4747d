//! What can be wrong with a protobuf exposition, and where.

use crate::wire::protobuf::{WireError, WireProblem};

/// Why an exposition was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtobufError {
    /// Offset in the exposition, in bytes from 0.
    pub at: usize,
    /// The family that was being read; "" where its name is not known yet.
    pub family: String,
    /// What is wrong there.
    pub problem: ProtobufProblem,
}

impl std::error::Error for ProtobufError {}

impl std::fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {}: ", self.at)?;
        if !self.family.is_empty() {
            write!(f, "metric family {:?}: ", self.family)?;
        }
        write!(f, "{}", self.problem)
    }
}

impl ProtobufError {
    pub(super) fn new(located: Located, family: &str) -> Self {
        Self { at: located.at, family: shown(family), problem: located.problem }
    }
}

/// What is wrong. Quoted input is cut to a bearable length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufProblem {
    /// The encoding itself.
    #[error(transparent)]
    Wire(WireProblem),
    /// A family without a name.
    #[error("the metric family has no name")]
    NoName,
    /// A type that the schema does not have.
    #[error("unknown metric type {0}")]
    UnknownType(u64),
    /// A metric whose measurement is not of its family's type.
    #[error("a metric is not of its family's type")]
    OtherType,
    /// A metric beyond the limit, which is the number, in bytes.
    #[error("a metric is longer than {0} bytes")]
    MetricTooLong(usize),
    /// Labels of all samples together beyond the limit, which is the number, in bytes.
    #[error("the labels of all samples together are longer than {0} bytes")]
    UnfoldedTooLong(usize),
    /// A label without a name.
    #[error("a label has no name")]
    NoLabelName,
    /// `__name__` given as a label.
    #[error("label name \"__name__\" is reserved")]
    ReservedLabel,
    /// One label twice in one metric; `le` and `quantile` are there already by type.
    #[error("label {0:?} is there twice")]
    DuplicateLabel(String),
    /// More labels than the limit, which is the number.
    #[error("more than {0} labels")]
    TooManyLabels(usize),
}

impl ProtobufProblem {
    pub(super) fn duplicate_label(name: &str) -> Self {
        Self::DuplicateLabel(shown(name))
    }
}

/// A problem and its offset.
pub(super) struct Located {
    at: usize,
    problem: ProtobufProblem,
}

pub(super) type Step<T> = Result<T, Located>;

impl Located {
    pub(super) const fn at(at: usize, problem: ProtobufProblem) -> Self {
        Self { at, problem }
    }
}

impl From<WireError> for Located {
    fn from(error: WireError) -> Self {
        Self { at: error.at, problem: ProtobufProblem::Wire(error.problem) }
    }
}

/// Input as part of a message: at most 64 characters.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
