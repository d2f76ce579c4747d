//! Rules played over history: when each alert would have been pending and firing, and what that is worth.
//!
//! Invariants: groups are evaluated as they are in service, at the same slots, by the same code; what they give goes into
//! memory, never into the history, whose own results of these rules are left out from the first evaluation on.

mod incidents;
mod overlay;
mod read_ahead;
mod replay;
#[cfg(test)]
mod tests;
mod variant;

pub use incidents::{Incident, Verdict, judge};
pub use replay::{BacktestError, Replay, RuleTimeline, SeriesTimeline, Span, Timeline};
pub use variant::{Variant, threshold_of};
