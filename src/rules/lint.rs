//! What is allowed in rule files but seldom meant.
//!
//! Source: `promtool check rules --lint`, its texts included.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::spec::GroupSpec;
use crate::model::Labels;

/// Rules of a file that another one of the same name and labels comes before: what they write is the same series, with
/// the value of one or the other.
pub fn duplicate_rules(groups: &[GroupSpec]) -> Vec<(String, Labels)> {
    let mut seen = BTreeSet::new();
    let mut duplicates = BTreeSet::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let key = (rule.name.to_string(), rule.labels.clone());
        if !seen.insert(key.clone()) {
            duplicates.insert(key);
        }
    }
    duplicates.into_iter().collect()
}

/// The duplicates as promtool says them; `None` where there are none.
pub fn duplicates_message(groups: &[GroupSpec]) -> Option<String> {
    let duplicates = duplicate_rules(groups);
    if duplicates.is_empty() {
        return None;
    }
    let mut text = format!("{} duplicate rule(s) found.\n", duplicates.len());
    for (name, labels) in duplicates {
        let _ = writeln!(text, "Metric: {name}\nLabel(s):");
        for (name, value) in &labels {
            let _ = writeln!(text, "\t{name}: {value}");
        }
    }
    text.push_str("Might cause inconsistency while recording expressions");
    Some(text)
}
