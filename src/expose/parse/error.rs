//! What can be wrong with an exposition, and where.

/// Why an exposition was refused. `line` and `column` count from 1, `column` in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {problem}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong. Quoted input is cut to a bearable length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
    /// A line beyond the limit; the number is the limit in bytes.
    #[error("line is longer than {0} bytes")]
    LineTooLong(usize),
    /// The last line was cut off.
    #[error("the last line does not end in a line feed")]
    UnfinishedLine,
    /// Something else was due here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A name of no characters.
    #[error("a name cannot be empty")]
    EmptyName,
    /// No closing quote on this line.
    #[error("this quote is not closed on its line")]
    UnclosedQuote,
    /// A backslash before something that needs none.
    #[error("invalid escape sequence; a backslash is written as \"\\\\\"")]
    InvalidEscape,
    /// A value that is not a number.
    #[error("expected a number, got {0:?}")]
    NotANumber(String),
    /// A timestamp that is not a number, or too large.
    #[error("expected a timestamp in {unit}, got {text:?}")]
    NotATimestamp {
        /// What was there.
        text: String,
        /// `milliseconds` or `seconds`.
        unit: &'static str,
    },
    /// Something after the end of a sample.
    #[error("unexpected {0:?} after the sample")]
    Trailing(String),
    /// A second metric name in one sample.
    #[error("the sample has two metric names")]
    TwoNames,
    /// Braces of a sample that has no name.
    #[error("the sample has no metric name")]
    NoName,
    /// `__name__` given as a label.
    #[error("label name \"__name__\" is reserved")]
    ReservedLabel,
    /// One label twice in one sample.
    #[error("label {0:?} is there twice")]
    DuplicateLabel(String),
    /// More labels than the limit, which is the number.
    #[error("more than {0} labels")]
    TooManyLabels(usize),
    /// A bucket without `le`, or a quantile without `quantile`.
    #[error("the sample needs label {0:?} with a number")]
    BoundMissing(&'static str),
    /// A `# TYPE` with an unknown type.
    #[error("unknown metric type {0:?}")]
    UnknownType(String),
    /// A second line of one kind for one family.
    #[error("second {keyword} for {name:?}")]
    DuplicateMetadata {
        /// `HELP`, `TYPE` or `UNIT`.
        keyword: &'static str,
        /// The family.
        name: String,
    },
    /// `# TYPE`, or in OpenMetrics any metadata, after samples of its family.
    #[error("{keyword} for {name:?} comes after its samples")]
    MetadataAfterSamples {
        /// `HELP`, `TYPE` or `UNIT`.
        keyword: &'static str,
        /// The family.
        name: String,
    },
    /// OpenMetrics: a comment that is not metadata.
    #[error("expected \"# HELP\", \"# TYPE\", \"# UNIT\" or \"# EOF\"")]
    UnknownMetadata,
    /// OpenMetrics: an empty line.
    #[error("empty line")]
    EmptyLine,
    /// OpenMetrics: a family in two places.
    #[error("the lines of {0:?} are not together")]
    Interleaved(String),
    /// OpenMetrics: a unit that the name does not end on.
    #[error("unit {unit:?} is not how {name:?} ends")]
    UnitMismatch {
        /// The family.
        name: String,
        /// Its unit.
        unit: String,
    },
    /// OpenMetrics: a sample name that its family's type does not allow.
    #[error("sample {0:?} has not the suffix that its type asks for")]
    WrongSuffix(String),
    /// OpenMetrics: an exemplar where none may be.
    #[error("exemplars are for counters and buckets only")]
    MisplacedExemplar,
    /// OpenMetrics: an exemplar with labels of more than 128 characters.
    #[error("the exemplar's labels have more than 128 characters")]
    ExemplarTooLong,
    /// OpenMetrics: no `# EOF`.
    #[error("no \"# EOF\" at the end")]
    NoEof,
    /// OpenMetrics: a line after `# EOF`.
    #[error("nothing may come after \"# EOF\"")]
    AfterEof,
}

/// Input as part of a message: at most 64 characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
