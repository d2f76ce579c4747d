//! `relabel_configs` and its kin, and `labels`, as every Prometheus file has them.
//!
//! Invariant: `${1}` in a rule is a group of its expression, never a variable of the environment.

use crate::model::{Labels, LabelsBuilder, METRIC_NAME, NameScheme, RelabelRule, RelabelText};

use super::reader::Section;
use super::value::Value;

/// Reads the list of rules under a key; an absent key is an empty list. Mistakes are noted in the section.
pub fn read_relabel_rules(section: &mut Section<'_>, key: &str, scheme: NameScheme) -> Vec<RelabelRule> {
    let items = section.take_list(key).unwrap_or_default();
    items.iter().filter_map(|item| read_rule(item, scheme)).collect()
}

fn read_rule(item: &Value<'_>, scheme: NameScheme) -> Option<RelabelRule> {
    let mut section = item.section()?;
    let mut text = RelabelText::default();
    let mut sound = true;
    if let Some(names) = section.take_list("source_labels") {
        let name = |value: &Value<'_>| {
            let name = value.literal()?;
            if !scheme.allows_label(&name) {
                value.error(format!("{name:?} is not a valid label name"));
                return None;
            }
            Some(name)
        };
        let read: Vec<Option<String>> = names.iter().map(name).collect();
        sound &= read.iter().all(Option::is_some);
        text.source_labels = read.into_iter().flatten().collect();
    }
    let mut take = |key: &str, into: &mut String| {
        if let Some(value) = section.take(key) {
            match value.literal() {
                Some(read) => *into = read,
                None => sound = false,
            }
        }
    };
    take("separator", &mut text.separator);
    take("regex", &mut text.regex);
    take("target_label", &mut text.target_label);
    take("replacement", &mut text.replacement);
    if let Some(value) = section.take("modulus") {
        match value.integer(0..=i64::MAX) {
            Some(modulus) => text.modulus = modulus.unsigned_abs(),
            None => sound = false,
        }
    }
    if let Some(value) = section.take("action") {
        match value.parse("an action") {
            Some(action) => text.action = action,
            None => sound = false,
        }
    }
    if !sound {
        return None;
    }
    RelabelRule::new(text, scheme).map_err(|error| section.error(error.key, error.message)).ok()
}

/// Reads labels, keys and values, under a key. Names that `scheme` refuses are noted; so is the metric name.
pub fn read_labels(section: &mut Section<'_>, key: &str, scheme: NameScheme) -> Labels {
    let Some(mut inner) = section.take_section(key) else { return Labels::empty() };
    let mut labels = LabelsBuilder::new();
    for field in inner.take_fields() {
        if !scheme.allows_label(field.key()) || field.key() == METRIC_NAME {
            field.error_at_key(|| format!("{:?} is not a valid label name", field.key()));
        } else if let Some(value) = field.value().and_then(|value| value.str()) {
            labels.set(field.key(), value);
        }
    }
    labels.build()
}

#[cfg(test)]
mod tests {
    use super::super::{Document, Environment, Limits};
    use super::*;

    fn read(text: &str) -> Result<Vec<RelabelRule>, String> {
        let environment = Environment::fixed([("1", "never")]);
        let document = Document::parse("f.yml", text, &Limits::default()).map_err(|e| e.to_string())?;
        let rules =
            document.read(&environment, |top| read_relabel_rules(top, "relabel_configs", NameScheme::Legacy));
        rules.map_err(|e| e.to_string())
    }

    #[test]
    fn rules_are_read_with_their_defaults() {
        let rules = read(
            "relabel_configs:\n- source_labels: [__address__, a]\n  regex: '(.*):\\d+;(.*)'\n  replacement: ${1}-$2\n  target_label: host\n- {action: LabelDrop, regex: x_.*}\n",
        )
        .unwrap();
        let [first, second] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!(first.text().replacement, "${1}-$2");
        assert_eq!(first.text().separator, ";");
        assert_eq!(second.text().regex, "x_.*");
        assert!(read("relabel_configs:\n").unwrap().is_empty());
    }

    #[test]
    fn mistakes_have_their_places() {
        for (text, expected) in [
            (
                "relabel_configs:\n- regex: (\n  target_label: a\n",
                "f.yml:2:10: relabel_configs[0].regex: error parsing regexp: missing closing ): `(`",
            ),
            (
                "relabel_configs:\n- {action: hashmod, target_label: a}\n",
                "f.yml:2:3: relabel_configs[0].modulus: relabel configuration for hashmod requires non-zero modulus",
            ),
            (
                "relabel_configs:\n- {action: kep, regex: a}\n",
                "f.yml:2:12: relabel_configs[0].action: unknown relabel action \"kep\"; known are",
            ),
            (
                "relabel_configs:\n- {source_labels: [a-b], action: keep}\n",
                "f.yml:2:20: relabel_configs[0].source_labels[0]: \"a-b\" is not a valid label name",
            ),
            (
                "relabel_configs: [a]\n",
                "f.yml:1:19: relabel_configs[0]: expected keys and values, found \"a\"",
            ),
            (
                "relabel_configs:\n- {soure_labels: [a], action: keep, regex: a}\n",
                "f.yml:2:4: relabel_configs[0].soure_labels: unknown key; did you mean \"source_labels\"?",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
