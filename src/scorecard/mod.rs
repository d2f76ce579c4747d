//! The scorecard: a few pillars, each a formula over objectives, rules and queries with a target, and a grade over all.
//!
//! Invariants: time is an argument; a pillar of which something is not known is unknown, never good or bad; what cannot be
//! computed costs its own pillar only. The built-in card (`default.yml`) is read by the same reader as everybody's.

mod board;
mod evaluate;
mod formula;
mod report;
mod settings;
#[cfg(test)]
mod tests;

pub use board::Scoreboard;
pub use report::{PillarReport, PillarStatus, ScorecardReport};
pub use settings::{Card, Known, ScorecardSettings};
