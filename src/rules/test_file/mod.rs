//! Unit tests of rules, in the format of promtool's `test rules`: series, rule files, and the alerts and samples that
//! must come of them.
//!
//! Invariant: what is tested is what runs: groups are evaluated by [`Group`](super::Group), over memory, at the instants
//! of the test. Time, values and evaluations of a file are bounded.
//!
//! Source: Prometheus documentation, "Unit testing for rules"; what its promtool prints.

mod diff;
mod reader;
mod runner;
mod shown;
#[cfg(test)]
mod tests;

pub use reader::{AlertTest, ExpectedAlert, ExprTest, UnitTest, UnitTests};
pub use runner::{CaseReport, FileReport, UnitTestOptions, run_file};
