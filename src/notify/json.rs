//! Alerts in JSON, as Alertmanager reads and writes them.

use serde_json::{Map, Value};

use crate::model::{Labels, Timestamp};

/// What Go prints for an instant that never was.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Labels as an object, in their order.
pub(super) fn object(labels: &Labels) -> Value {
    Value::Object(
        labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>(),
    )
}

/// RFC 3339 in UTC, with as many digits of the second as it takes.
pub(super) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| NEVER.to_owned(), |at| at.to_string())
}
