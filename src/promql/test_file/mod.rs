//! Test files in the format of Prometheus's own PromQL tests: data, queries, and what these must give.
//!
//! Invariant: reading goes on behind a line that is wrong, so that one unknown notation costs only its own block; a
//! query counts as skipped only where it needs native histograms, which there are none of here.
//!
//! Source: the file format of Prometheus 3's `promqltest`: `clear`, `load`, `eval`, `expect`.

mod annotations;
mod at_modifier;
mod compare;
mod reader;
mod runner;
mod series;
mod storage;

use std::fmt;

pub use reader::{Command, Eval, Expectations, Load, Remark, RemarkKind, TestFile, When};
pub use runner::{Outcome, Report, run};
pub use series::{Item, SeriesError, SeriesLine, parse_series};

/// Something that is wrong with a test file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// From 1.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
    /// What.
    pub message: String,
}

/// `line:column: message`
impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}
