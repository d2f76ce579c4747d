//! The wall clock: read here, handed down as an argument everywhere else.

use std::time::SystemTime;

use crate::model::Timestamp;

/// The instant of the call.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    SystemTime::now().into()
}
