//! What the readers of all formats share: names, texts, objectives and queries, each with its mistakes.

use super::query::Query;
use super::spec::{Objective, Texts};
use crate::config::{Section, Value};
use crate::model::{METRIC_NAME, NameScheme};

/// Longest name of a service or an objective: names become values of labels.
const LONGEST_NAME: usize = 200;

/// A name that becomes part of an identifier.
pub(super) fn take_name(section: &mut Section<'_>, key: &str) -> String {
    section.require(key);
    let name = section.take(key).and_then(|value| value.parse_with("a name", name));
    name.unwrap_or_default()
}

/// Letters, digits, `-`, `_` and `.`, with a letter or a digit at both ends, as Sloth has it.
pub(super) fn name(text: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let ends = end(text.bytes().next()) && end(text.bytes().last());
    if !ends || !text.bytes().all(inner) || text.len() > LONGEST_NAME {
        return Err(format!(
            "expected a name of letters, digits, \"-\", \"_\" and \".\", with a letter or a digit at both ends, found {text:?}"
        ));
    }
    Ok(text.to_owned())
}

/// Labels under a key; those that are written by the generator are refused.
pub(super) fn take_labels(section: &mut Section<'_>, key: &str) -> Texts {
    let mut labels = Texts::new();
    let Some(mut inner) = section.take_section(key) else { return labels };
    for field in inner.take_fields() {
        let name = field.key();
        if !NameScheme::Legacy.allows_label(name) || name == METRIC_NAME {
            field.error_at_key(|| format!("{name:?} is not a valid label name"));
        } else if name.starts_with("sloth_") {
            field.error_at_key(|| "labels that begin with sloth_ are written by the generator".to_owned());
        } else if let Some(text) = field.value().and_then(|value| value.str()) {
            labels.insert(name.to_owned(), text);
        }
    }
    labels
}

/// Annotations under a key.
pub(super) fn take_annotations(section: &mut Section<'_>, key: &str) -> Texts {
    let mut annotations = Texts::new();
    let Some(mut inner) = section.take_section(key) else { return annotations };
    for field in inner.take_fields() {
        if !NameScheme::Legacy.allows_label(field.key()) {
            field.error_at_key(|| format!("{:?} is not a valid annotation name", field.key()));
        } else if let Some(text) = field.value().and_then(|value| value.str()) {
            annotations.insert(field.key().to_owned(), text);
        }
    }
    annotations
}

/// An objective as a percentage.
pub(super) fn take_percent(section: &mut Section<'_>, key: &str) -> Option<Objective> {
    section.require(key);
    section.take(key)?.parse_with("a percentage such as 99.9", Objective::percent)
}

/// A query with a window.
pub(super) fn take_query(section: &mut Section<'_>, key: &str) -> Option<Query> {
    section.require(key);
    section.take(key)?.parse_with("a query", Query::parse)
}

/// A part of a whole: `25%` or `0.25`.
pub(super) fn part(value: &Value<'_>) -> Option<f64> {
    value.parse_with("a part such as 25%", |text| {
        let number = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
            None => text.parse::<f64>(),
        };
        let number = number.ok().filter(|part| (0.0..=1.0).contains(part));
        number.ok_or_else(|| format!("expected a part such as 25% or 0.25, found {text:?}"))
    })
}
