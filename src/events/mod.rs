//! Events that others post - deployments, incidents, whatever else - and what they say about delivery.
//!
//! Invariants: an event is known by its id: posting it again changes it, or nothing; all events of a post are taken or none;
//! what was taken is in the store before the answer. Events, services and texts are bounded. Counters never fall, also
//! where an event is corrected or forgotten. The four measures are those of DORA's research.

mod draft;
mod event;
mod figures;
mod log;
mod tally;
#[cfg(test)]
mod tests;

pub use draft::EventErrors;
pub use event::{Event, Outcome};
pub use log::{EventFilter, EventLog, PostError, Posted};
