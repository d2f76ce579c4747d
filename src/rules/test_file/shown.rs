//! What was expected and what came, as promtool prints it.

use std::fmt::Write as _;

use super::reader::ExpectedAlert;
use crate::gotemplate::{Value, format_float, sprintf};
use crate::model::{Labels, Quoted, valid_label_name};

/// `{a="b", c="d"}`, empty texts too.
fn pairs(pairs: &[(String, String)]) -> String {
    let shown = pairs.iter().map(|(name, value)| match valid_label_name(name) {
        true => format!("{name}={}", Quoted(value)),
        false => format!("{}={}", Quoted(name), Quoted(value)),
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

/// Alerts, each behind its number.
pub(super) fn alerts(alerts: &[ExpectedAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let mut out = "[".to_owned();
    for (i, alert) in alerts.iter().enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(
            out,
            "{}\n{i}:\n  Labels:{}\n  Annotations:{}",
            if i > 0 { "," } else { "" },
            pairs(&alert.labels),
            pairs(&alert.annotations)
        );
    }
    out + "\n]"
}

/// Every line but the first behind spaces.
pub(super) fn indented(text: &str, spaces: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(spaces)))
}

/// Samples in one line.
pub(super) fn samples(samples: &[(Labels, f64)]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let shown = samples.iter().map(|(labels, value)| format!("{labels} {}", format_float(*value, 'E', None)));
    shown.collect::<Vec<_>>().join(", ")
}

/// `1m30s`, as Go prints a duration.
pub(super) fn duration(duration: std::time::Duration) -> String {
    let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    sprintf("%v", &[Value::Duration(nanos)], 100)
}
