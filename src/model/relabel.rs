//! Relabelling: rules that rewrite, keep or drop a set of labels.
//!
//! Pure: no IO, and a rule is checked when it is made, never when it is applied. The regular expression of a rule
//! is anchored at both ends, its `.` matches newlines, and its compiled size is bounded.
//!
//! Source: Prometheus's documentation of `relabel_config`, whose validity rules and messages these are; Go's
//! `regexp` for the `$1`, `$name` and `${name}` of templates.

use std::fmt;
use std::str::FromStr;

use md5::{Digest as _, Md5};
use regex::{Captures, Regex};

use super::matcher::anchored_regex;
use super::{LabelsBuilder, NameScheme};

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Sets `target_label` to `replacement` where `regex` matches.
    #[default]
    Replace,
    /// Drops what `regex` does not match.
    Keep,
    /// Drops what `regex` matches.
    Drop,
    /// Drops what has not the source labels' text in `target_label`.
    KeepEqual,
    /// Drops what has the source labels' text in `target_label`.
    DropEqual,
    /// Sets `target_label` to the hash of the source labels modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to the names that `replacement` makes of them.
    LabelMap,
    /// Takes labels away whose names match.
    LabelDrop,
    /// Takes labels away whose names do not match.
    LabelKeep,
    /// Sets `target_label` to the source labels in lower case.
    Lowercase,
    /// Sets `target_label` to the source labels in upper case.
    Uppercase,
}

impl Action {
    const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, action)| action == self).map_or("", |(name, _)| name))
    }
}

/// In any case, as Prometheus reads it.
impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, action)| *action).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("unknown relabel action {text:?}; known are {}", names.join(", "))
        })
    }
}

/// A rule as it is written, with the documentation's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleText {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What joins them.
    pub separator: String,
    /// What the joined text must match as a whole.
    pub regex: String,
    /// For [`Action::HashMod`].
    pub modulus: u64,
    /// The label that is set; may hold `$1` where the action is [`Action::Replace`].
    pub target_label: String,
    /// Its new value; may hold `$1`.
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
}

impl Default for RuleText {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::default(),
        }
    }
}

/// What is wrong with a rule, and the key at which to say so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RelabelError {
    /// `regex`, `target_label`, ...
    pub key: &'static str,
    /// In Prometheus's words.
    pub message: String,
}

/// A rule that can be applied.
#[derive(Clone, Debug)]
pub struct RelabelRule {
    text: RuleText,
    scheme: NameScheme,
    regex: Regex,
    target_label: Replacement,
    replacement: Replacement,
}

impl PartialEq for RelabelRule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.scheme == other.scheme
    }
}

impl Eq for RelabelRule {}

impl RelabelRule {
    /// Checks a rule as Prometheus does, and compiles its expression.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(text: RuleText, scheme: NameScheme) -> Result<Self, RelabelError> {
        check(&text, scheme)?;
        let regex =
            anchored_regex(&text.regex).map_err(|e| RelabelError { key: "regex", message: e.to_string() })?;
        let target_label = Replacement::new(&text.target_label, &regex);
        let replacement = Replacement::new(&text.replacement, &regex);
        Ok(Self { text, scheme, regex, target_label, replacement })
    }

    /// The rule as it was written.
    pub const fn text(&self) -> &RuleText {
        &self.text
    }

    /// Applies the rule; `false` says that the labels are dropped.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let RuleText { target_label, .. } = &self.text;
        match self.text.action {
            Action::Replace => self.replace(labels),
            Action::Keep => return self.regex.is_match(&self.source(labels)),
            Action::Drop => return !self.regex.is_match(&self.source(labels)),
            Action::KeepEqual => return labels.get(target_label) == self.source(labels),
            Action::DropEqual => return labels.get(target_label) != self.source(labels),
            Action::HashMod => {
                let hash = hash_of(&self.source(labels)).checked_rem(self.text.modulus).unwrap_or_default();
                labels.set(target_label, hash.to_string());
            }
            Action::Lowercase => labels.set(target_label, self.source(labels).to_lowercase()),
            Action::Uppercase => labels.set(target_label, self.source(labels).to_uppercase()),
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => labels.retain(|name| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name| self.regex.is_match(name)),
        }
        true
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let values: Vec<&str> = self.text.source_labels.iter().map(|name| labels.get(name)).collect();
        values.join(&self.text.separator)
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let source = self.source(labels);
        let Some(found) = self.regex.captures(&source) else { return };
        let target = self.target_label.expand(&found);
        if self.scheme.allows_label(&target) {
            labels.set(&target, self.replacement.expand(&found));
        }
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let renamed = |(name, value): (&str, &str)| {
            let found = self.regex.captures(name)?;
            Some((self.replacement.expand(&found), value.to_owned()))
        };
        let mapped: Vec<(String, String)> = labels.iter().filter_map(renamed).collect();
        for (name, value) in mapped.into_iter().filter(|(name, _)| !name.is_empty()) {
            labels.set(&name, value);
        }
    }
}

/// Applies rules in order; `false` as soon as one drops the labels.
pub fn relabel(rules: &[RelabelRule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

/// The last eight bytes of the MD5, as Prometheus has it.
fn hash_of(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().skip(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

fn check(text: &RuleText, scheme: NameScheme) -> Result<(), RelabelError> {
    use Action::{
        DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase,
    };

    let RuleText { action, target_label, replacement, .. } = text;
    let wrong = |key, message: String| Err(RelabelError { key, message });
    let default = RuleText::default();
    let defaults_but_sources = text.modulus == default.modulus
        && text.separator == default.separator
        && *replacement == default.replacement;
    let needs_target = matches!(action, Replace | KeepEqual | DropEqual | HashMod | Lowercase | Uppercase);
    let fits = |name: &str| match action {
        Replace if name.contains('$') => allows_template(name, scheme),
        _ => scheme.allows_label(name),
    };
    match action {
        HashMod if text.modulus == 0 => {
            wrong("modulus", "relabel configuration for hashmod requires non-zero modulus".to_owned())
        }
        _ if needs_target && target_label.is_empty() => wrong(
            "target_label",
            format!("relabel configuration for {action} action requires 'target_label' value"),
        ),
        _ if needs_target && !fits(target_label) => {
            wrong("target_label", format!("{target_label:?} is invalid 'target_label' for {action} action"))
        }
        DropEqual | KeepEqual if text.regex != default.regex || !defaults_but_sources => wrong(
            "action",
            format!("{action} action requires only 'source_labels' and 'target_label', and no other fields"),
        ),
        Lowercase | Uppercase if *replacement != default.replacement => {
            wrong("replacement", format!("'replacement' can not be set for {action} action"))
        }
        LabelMap if !allows_template(replacement, scheme) => {
            wrong("replacement", format!("{replacement:?} is invalid 'replacement' for {action} action"))
        }
        LabelDrop | LabelKeep
            if !text.source_labels.is_empty() || !target_label.is_empty() || !defaults_but_sources =>
        {
            wrong("action", format!("{action} action requires only 'regex', and no other fields"))
        }
        _ => Ok(()),
    }
}

/// Whether a text with `$1` in it may become a label name: with each reference taken for a letter.
fn allows_template(text: &str, scheme: NameScheme) -> bool {
    match scheme {
        NameScheme::Utf8 => scheme.allows_label(text),
        NameScheme::Legacy => {
            let pieces = pieces(text);
            let shape: String = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.as_str(),
                    Piece::Reference(_) => "a",
                })
                .collect();
            scheme.allows_label(&shape)
        }
    }
}

/// A text in which `$1`, `${1}`, `$name` and `${name}` stand for what a group matched.
#[derive(Clone, Debug)]
pub struct Replacement(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// Index of a group; one that does not exist stands for nothing.
    Group(usize),
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Reference(String),
}

impl Replacement {
    /// Reads a text in which the groups of an expression stand for what they match.
    pub fn new(text: &str, regex: &Regex) -> Self {
        let index = |name: &str| match name.parse() {
            Ok(number) => Some(number),
            Err(_) => regex.capture_names().position(|group| group == Some(name)),
        };
        let part = |piece| match piece {
            Piece::Text(text) => Some(Part::Text(text)),
            Piece::Reference(name) => index(&name).map(Part::Group),
        };
        Self(pieces(text).into_iter().filter_map(part).collect())
    }

    fn expand(&self, found: &Captures<'_>) -> String {
        let mut out = String::new();
        self.expand_into(found, &mut out, usize::MAX);
        out
    }

    /// Writes the text for one match; stops behind the part with which `out` becomes longer than a limit.
    pub fn expand_into(&self, found: &Captures<'_>, out: &mut String, limit_bytes: usize) {
        for part in &self.0 {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Group(index) => found.get(*index).map_or("", |group| group.as_str()),
            });
            if out.len() > limit_bytes {
                return;
            }
        }
    }
}

/// Splits a template as Go does: `$$` is a `$`, and so is one that no name follows; a name is as long as can be.
fn pieces(text: &str) -> Vec<Piece> {
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        let (name, tail) = match after.strip_prefix('{') {
            Some(inner) => {
                let (name, tail) = split_name(inner);
                (name, tail.strip_prefix('}'))
            }
            None => {
                let (name, tail) = split_name(after);
                (name, Some(tail))
            }
        };
        rest = match tail {
            _ if after.starts_with('$') => {
                plain.push('$');
                after.get(1..).unwrap_or_default()
            }
            Some(tail) if !name.is_empty() => {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Reference(name.to_owned()));
                tail
            }
            _ => {
                plain.push('$');
                after
            }
        };
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    pieces
}

fn split_name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(action: Action) -> RuleText {
        RuleText { action, ..RuleText::default() }
    }

    fn sources(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    /// Applies one rule to `a=foo b=bar c=baz d="x y"` and renders what is left; "dropped" for nothing.
    fn check_rule(rule: RuleText, expect: &str) {
        let shown = format!("{rule:?}");
        let rule = RelabelRule::new(rule, NameScheme::Utf8).expect(&shown);
        let mut labels: LabelsBuilder =
            [("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "X y")].into_iter().collect();
        let left = match relabel(&[rule], &mut labels) {
            true => labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "),
            false => "dropped".to_owned(),
        };
        assert_eq!(left, expect, "{shown}");
    }

    #[test]
    fn replace_sets_what_matches() {
        let replace = |source: &[&str], regex: &str, target: &str, replacement: &str, expect: &str| {
            check_rule(
                RuleText {
                    source_labels: sources(source),
                    regex: regex.to_owned(),
                    target_label: target.to_owned(),
                    replacement: replacement.to_owned(),
                    ..text(Action::Replace)
                },
                expect,
            );
        };
        replace(&["a"], "f(.*)", "d", "ch$1-ch$1", "a=foo b=bar c=baz d=choo-choo");
        replace(&["a", "b"], "(.*);(.*)", "d", "$2${1}x", "a=foo b=bar c=baz d=barfoox");
        replace(&["a"], "(.*)", "d", "$1x", "a=foo b=bar c=baz");
        replace(&["a"], "oo", "d", "x", "a=foo b=bar c=baz d=X y");
        replace(&["a"], "f.*", "b", "", "a=foo c=baz d=X y");
        replace(&[], "(.*)", "e", "static", "a=foo b=bar c=baz d=X y e=static");
        replace(&["a"], "(?P<first>.)(.*)", "${first}_$2", "v", "a=foo b=bar c=baz d=X y f_oo=v");
        replace(&["none"], "(.*)", "${1}", "v", "a=foo b=bar c=baz d=X y");
        replace(&["a"], "(.*)", "e", "$$1 $ ${1 ${} $-", "a=foo b=bar c=baz d=X y e=$1 $ ${1 ${} $-");
    }

    #[test]
    fn sets_are_kept_and_dropped() {
        let whole = "a=foo b=bar c=baz d=X y";
        for (action, source, regex, target, expect) in [
            (Action::Keep, "a", "f.o", "", whole),
            (Action::Keep, "a", "o", "", "dropped"),
            (Action::Drop, "a", "f.o", "", "dropped"),
            (Action::Drop, "a", "o", "", whole),
            (Action::KeepEqual, "a", "(.*)", "a", whole),
            (Action::KeepEqual, "a", "(.*)", "b", "dropped"),
            (Action::DropEqual, "a", "(.*)", "a", "dropped"),
            (Action::DropEqual, "none", "(.*)", "none", "dropped"),
            (Action::DropEqual, "a", "(.*)", "b", whole),
        ] {
            let rule = RuleText {
                source_labels: sources(&[source]),
                regex: regex.into(),
                target_label: target.into(),
                ..text(action)
            };
            check_rule(rule, expect);
        }
    }

    #[test]
    fn names_are_mapped_dropped_and_kept() {
        let names = |action, regex: &str, replacement: Option<&str>| RuleText {
            regex: regex.to_owned(),
            replacement: replacement.unwrap_or("$1").to_owned(),
            ..text(action)
        };
        check_rule(
            names(Action::LabelMap, "([ab])", Some("m_$1")),
            "a=foo b=bar c=baz d=X y m_a=foo m_b=bar",
        );
        check_rule(names(Action::LabelMap, "(a|b)", Some("c")), "a=foo b=bar c=bar d=X y");
        check_rule(names(Action::LabelDrop, "[ab]", None), "c=baz d=X y");
        check_rule(names(Action::LabelKeep, "[ab]", None), "a=foo b=bar");
    }

    #[test]
    fn cases_and_hashes() {
        let to_e = |action| RuleText {
            source_labels: sources(&["d", "a"]),
            target_label: "e".into(),
            ..text(action)
        };
        check_rule(to_e(Action::Lowercase), "a=foo b=bar c=baz d=X y e=x y;foo");
        check_rule(to_e(Action::Uppercase), "a=foo b=bar c=baz d=X y e=X Y;FOO");
        // The values of Prometheus's documentation and tests.
        let hash = |source: &[&str], modulus| RuleText {
            source_labels: sources(source),
            modulus,
            target_label: "d".into(),
            ..text(Action::HashMod)
        };
        check_rule(hash(&["c"], 1000), "a=foo b=bar c=baz d=976");
        assert_eq!(hash_of("") % 1_000_000_007, 0xe980_0998_ecf8_427e % 1_000_000_007);
    }

    #[test]
    fn wrong_rules_are_refused_in_prometheus_words() {
        let with = |change: fn(&mut RuleText)| {
            let mut rule = RuleText::default();
            change(&mut rule);
            rule
        };
        for (rule, key, message) in [
            (
                with(|_| {}),
                "target_label",
                "relabel configuration for replace action requires 'target_label' value",
            ),
            (
                with(|r| r.action = Action::HashMod),
                "modulus",
                "relabel configuration for hashmod requires non-zero modulus",
            ),
            (
                with(|r| (r.action, r.target_label) = (Action::Lowercase, "${3}".into())),
                "target_label",
                "\"${3}\" is invalid 'target_label' for lowercase action",
            ),
            (
                with(|r| {
                    (r.action, r.target_label, r.replacement) = (Action::Lowercase, "a".into(), "x".into());
                }),
                "replacement",
                "'replacement' can not be set for lowercase action",
            ),
            (
                with(|r| (r.action, r.replacement) = (Action::LabelMap, "a-b".into())),
                "replacement",
                "\"a-b\" is invalid 'replacement' for labelmap action",
            ),
            (
                with(|r| (r.action, r.target_label) = (Action::LabelDrop, "a".into())),
                "action",
                "labeldrop action requires only 'regex', and no other fields",
            ),
            (
                with(|r| {
                    (r.action, r.target_label, r.separator) = (Action::DropEqual, "a".into(), ",".into())
                }),
                "action",
                "dropequal action requires only 'source_labels' and 'target_label', and no other fields",
            ),
            (
                with(|r| (r.target_label, r.regex) = ("a".into(), "(".into())),
                "regex",
                "error parsing regexp: missing closing ): `(`",
            ),
        ] {
            let error = RelabelRule::new(rule, NameScheme::Legacy).unwrap_err();
            assert_eq!((error.key, error.message.as_str()), (key, message));
        }
        let template = with(|r| r.target_label = "x_${1}_$2".into());
        assert!(RelabelRule::new(template, NameScheme::Legacy).is_ok());
        let odd = with(|r| r.target_label = "a-b".into());
        assert!(RelabelRule::new(odd.clone(), NameScheme::Legacy).is_err());
        assert!(RelabelRule::new(odd, NameScheme::Utf8).is_ok());
    }

    #[test]
    fn actions_are_read_in_any_case() {
        assert_eq!("LabelMap".parse(), Ok(Action::LabelMap));
        assert!("labelmop".parse::<Action>().unwrap_err().starts_with("unknown relabel action \"labelmop\""));
        assert_eq!(Action::KeepEqual.to_string(), "keepequal");
    }
}
