//! `${NAME}` in values: what the environment says, put in after YAML has been parsed.
//!
//! Invariant: a variable's value is only ever text. It cannot add keys, close quotes or start an
//! alias, and it is never printed in an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// Where `${NAME}` finds its values.
#[derive(Clone, Debug, Default)]
pub struct Environment(Variables);

#[derive(Clone, Debug, Default)]
enum Variables {
    /// `$` means nothing: rule files, Alertmanager's configuration and templates have their own.
    #[default]
    Off,
    Process,
    Fixed(BTreeMap<String, String>),
}

/// What is wrong with a reference, and where in the text it stands (bytes).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExpandError {
    pub(super) range: Range<usize>,
    pub(super) message: String,
}

impl Environment {
    /// No expansion: `$` is an ordinary character.
    pub fn off() -> Self {
        Self(Variables::Off)
    }

    /// The environment of this process.
    pub fn process() -> Self {
        Self(Variables::Process)
    }

    /// Only these variables.
    pub fn fixed<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(Variables::Fixed(variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect()))
    }

    fn get(&self, name: &str) -> Result<Option<Cow<'_, str>>, &'static str> {
        match &self.0 {
            Variables::Off => Ok(None),
            Variables::Fixed(variables) => Ok(variables.get(name).map(|value| Cow::Borrowed(value.as_str()))),
            Variables::Process => match std::env::var(name) {
                Ok(value) => Ok(Some(Cow::Owned(value))),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => Err("is not UTF-8"),
            },
        }
    }

    /// Replaces `${NAME}` and `${NAME:-default}` and turns `$$` into `$`. Any other `$` stays. The
    /// default stands when the variable is missing or empty, as in a shell, and is not expanded itself.
    pub(super) fn expand<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, ExpandError> {
        if matches!(self.0, Variables::Off) || !text.contains('$') {
            return Ok(Cow::Borrowed(text));
        }
        let (mut expanded, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let start = text.len() - after.len() - 1;
            rest = if let Some(after) = after.strip_prefix('$') {
                expanded.push('$');
                after
            } else if let Some(inner) = after.strip_prefix('{') {
                let error = |range, message| ExpandError { range, message };
                let (reference, after) = inner.split_once('}').ok_or_else(|| {
                    error(start..text.len(), "\"${\" without \"}\"; write \"$$\" for a \"$\"".to_owned())
                })?;
                let range = start..start + reference.len() + 3;
                let value = self.resolve(reference).map_err(|message| error(range, message))?;
                expanded.push_str(&value);
                after
            } else {
                expanded.push('$');
                after
            };
        }
        expanded.push_str(rest);
        Ok(Cow::Owned(expanded))
    }

    fn resolve<'s>(&'s self, reference: &'s str) -> Result<Cow<'s, str>, String> {
        let (name, default) =
            reference.split_once(":-").map_or((reference, None), |(name, text)| (name, Some(text)));
        if !is_variable_name(name) {
            let shown: String = reference.chars().take(40).collect();
            return Err(format!(
                "{:?} does not name an environment variable; write \"$$\" for a \"$\"",
                format!("${{{shown}}}")
            ));
        }
        match (self.get(name), default) {
            (Err(why), _) => Err(format!("environment variable {name} {why}")),
            (Ok(Some(value)), _) if !value.is_empty() => Ok(value),
            (Ok(_), Some(default)) => Ok(Cow::Borrowed(default)),
            (Ok(Some(value)), None) => Ok(value),
            (Ok(None), None) => Err(format!(
                "environment variable {name} is not set; set it, or give a default: ${{{name}:-...}}"
            )),
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::fixed([("A", "x"), ("EMPTY", ""), ("DOLLAR", "${A}$$")])
    }

    #[test]
    fn expands_references_and_nothing_else() {
        for (text, expanded) in [
            ("plain", "plain"),
            ("${A}", "x"),
            ("<${A}${A}>", "<xx>"),
            ("$${A}", "${A}"),
            ("$$$$", "$$"),
            ("$1 $A $", "$1 $A $"),
            ("${NONE:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${A:-d}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${DOLLAR}", "${A}$$"),
            ("ü${A}ü", "üxü"),
        ] {
            assert_eq!(environment().expand(text).unwrap(), expanded, "{text}");
        }
        assert_eq!(Environment::off().expand("${A} $$").unwrap(), "${A} $$");
    }

    #[test]
    fn errors_know_their_place() {
        for (text, range, part) in [
            ("ab ${NONE} c", 3..10, "NONE is not set"),
            ("${1}", 0..4, "$$"),
            ("x${", 1..3, "without"),
            ("${}", 0..3, "does not name"),
            ("${A B}", 0..6, "does not name"),
        ] {
            let error = environment().expand(text).unwrap_err();
            assert_eq!(error.range, range, "{text}");
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }

    proptest::proptest! {
        #[test]
        fn doubled_dollars_come_back_as_they_were(text in ".{0,40}") {
            let doubled = text.replace('$', "$$");
            assert_eq!(environment().expand(&doubled).unwrap(), text);
        }

        #[test]
        fn ranges_lie_in_the_text(text in "[${}A:\\-ü]{0,20}") {
            if let Err(error) = environment().expand(&text) {
                assert!(text.get(error.range).is_some());
            }
        }
    }
}
