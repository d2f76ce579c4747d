//! The file of known incidents.
//!
//! Invariant: strict; every mistake with its place.

use std::path::Path;

use super::super::tsdb::instant;
use crate::config::{Document, Environment, Limits, LoadError, Value, read_labels};
use crate::model::NameScheme;
use crate::rules::backtest::Incident;

/// Reads a file: a list of `{name, from, to, labels}`.
///
/// # Errors
/// It cannot be read, or everything that is wrong with it.
pub(super) fn load(path: &Path) -> Result<Vec<Incident>, LoadError> {
    let document = Document::load(path, &Limits::default())?;
    Ok(document.read_value(&Environment::off(), |top| {
        let items = top.and_then(|top| top.list()).unwrap_or_default();
        items.iter().filter_map(incident).collect()
    })?)
}

fn incident(item: &Value<'_>) -> Option<Incident> {
    let mut section = item.section()?;
    for key in ["name", "from", "to"] {
        section.require(key);
    }
    let name = section.take_str("name");
    let mut time = |key: &str| {
        let value = section.take(key)?;
        value.parse_with("a time", instant)
    };
    let (from, to) = (time("from"), time("to"));
    let labels = read_labels(&mut section, "labels", NameScheme::default());
    let (name, from, to) = (name?, from?, to?);
    if from > to {
        section.error_here("to", "an incident ends after it begins");
    }
    Some(Incident { name, from, to, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Incident>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i.yml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_read() {
        let found = read(
            "- {name: disk, from: 2026-01-31T12:00:00Z, to: 1769864400, labels: {host: a}}\n- {name: b, from: 1, to: 2}\n",
        )
        .unwrap();
        assert_eq!((found.len(), found[0].labels.value("host")), (2, "a"));
        assert_eq!(found[0].to.since(found[0].from).as_secs(), 3_600);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_have_their_places() {
        for (text, part) in [
            ("- {name: a, from: 2, to: 1}", "i.yml:1:26: [0]: an incident ends after it begins"),
            ("- {name: a, from: soon, to: 1}", "i.yml:1:19"),
            ("- {name: a, from: 1, to: 2, host: x}", "unknown key"),
            ("- {from: 1, to: 2}", "\"name\" is missing"),
            ("name: a", "expected a list"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
