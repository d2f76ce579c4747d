//! Label matchers: `=`, `!=`, `=~`, `!~`.
//!
//! Invariant: a regular expression is anchored at both ends and its `.` matches newlines, as in Prometheus; its
//! compiled size is bounded, so that a hostile one is refused instead of built.
//!
//! Source: Prometheus documentation, "Querying basics"; RE2's syntax, of which the `regex` crate takes nearly all.

use std::fmt;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::Labels;
use super::labels::Quoted;
use super::re2::translated;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// Largest compiled expression, in bytes.
const REGEX_SIZE_BYTES: usize = 2 << 20;

/// Most values that [`Matcher::set_of_values`] spells out of an expression that does not list them itself.
const MOST_VALUES: usize = 256;

/// A condition on one label. An absent label has the value "".
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
    values: Option<Vec<String>>,
}

/// Why a matcher cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MatcherError(String);

impl Matcher {
    /// A matcher; compiles the expression of a regular one.
    ///
    /// # Errors
    /// The expression is wrong or too large.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let (regex, values) = match op {
            MatchOp::Equal | MatchOp::NotEqual => (None, None),
            MatchOp::Regex | MatchOp::NotRegex => match literal_values(&value) {
                // However long, a list needs no automaton.
                Some(values) => (None, Some(values)),
                None => (Some(anchored_regex(&value)?), None),
            },
        };
        Ok(Self { name, op, value, regex, values })
    }

    /// A matcher with `=`, which cannot fail.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None, values: None }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub const fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    pub fn pattern(&self) -> &str {
        &self.value
    }

    /// Whether a value fits.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => self.is_match(value),
            MatchOp::NotRegex => !self.is_match(value),
        }
    }

    fn is_match(&self, value: &str) -> bool {
        match (&self.values, &self.regex) {
            (Some(values), _) => values.binary_search_by(|v| v.as_str().cmp(value)).is_ok(),
            (None, Some(regex)) => regex.is_match(value),
            (None, None) => false,
        }
    }

    /// Whether a series that lacks the label fits.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// For `=` and `=~`: the only values that fit, where the expression is a list of plain texts such as
    /// `a|b|c`. An index looks these up instead of trying every value.
    pub fn set_of_values(&self) -> Option<&[String]> {
        match self.op {
            MatchOp::Equal => Some(std::slice::from_ref(&self.value)),
            MatchOp::Regex => self.values.as_deref(),
            MatchOp::NotEqual | MatchOp::NotRegex => None,
        }
    }

    /// Whether all of these hold for a series.
    pub fn all_match(matchers: &[Self], labels: &Labels) -> bool {
        matchers.iter().all(|m| m.matches(labels.value(&m.name)))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

/// As PromQL writes it: `name="value"`, a name that is not plain in quotes.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match super::valid_label_name(&self.name) {
            true => f.write_str(&self.name)?,
            false => write!(f, "{}", Quoted(&self.name))?,
        }
        write!(f, "{}{}", self.op.as_str(), Quoted(&self.value))
    }
}

/// Compiles an expression as Prometheus does for matchers and relabelling: anchored, `.` matches newlines.
///
/// # Errors
/// The expression is wrong or too large.
pub fn anchored_regex(expression: &str) -> Result<Regex, MatcherError> {
    compiled(expression, |translated| format!("^(?s:{translated})$"))
}

/// Compiles an expression as Go's `regexp.Compile` does: it matches anywhere in a text.
///
/// # Errors
/// The expression is wrong or too large.
pub fn search_regex(expression: &str) -> Result<Regex, MatcherError> {
    compiled(expression, |translated| translated)
}

fn compiled(expression: &str, whole: impl FnOnce(String) -> String) -> Result<Regex, MatcherError> {
    let refused = |why: String| MatcherError(format!("error parsing regexp: {why}"));
    let translated = translated(expression).map_err(refused)?;
    RegexBuilder::new(&whole(translated))
        .size_limit(REGEX_SIZE_BYTES)
        .dfa_size_limit(REGEX_SIZE_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => refused(format!("expression too large: `{expression}`")),
            // Nothing else is known to be left.
            _ => refused(format!("expression nests too deeply: `{expression}`")),
        })
}

/// The plain texts of an expression that is nothing but a choice of them, sorted.
fn literal_values(expression: &str) -> Option<Vec<String>> {
    let hir = regex_syntax::Parser::new().parse(&translated(expression).ok()?).ok()?;
    let mut spelt = Spelt { most_bytes: expression.len(), ..Spelt::default() };
    spelt.add(&hir)?;
    let mut values = spelt.values;
    values.sort_unstable();
    values.dedup();
    Some(values)
}

/// Values that were spelt out: a few, or - a list that was written so - together no longer than the expression.
#[derive(Default)]
struct Spelt {
    values: Vec<String>,
    bytes: usize,
    most_bytes: usize,
}

impl Spelt {
    const fn fits(&self, values: usize, bytes: usize) -> Option<()> {
        if values <= MOST_VALUES || bytes <= self.most_bytes { Some(()) } else { None }
    }

    fn push(&mut self, value: String) -> Option<()> {
        self.bytes += value.len();
        self.values.push(value);
        self.fits(self.values.len(), self.bytes)
    }

    fn add(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => self.push(String::new()),
            HirKind::Literal(literal) => self.push(std::str::from_utf8(&literal.0).ok()?.to_owned()),
            HirKind::Capture(group) => self.add(&group.sub),
            HirKind::Alternation(choices) => choices.iter().try_for_each(|choice| self.add(choice)),
            HirKind::Concat(parts) => {
                let mut found = Self { values: vec![String::new()], bytes: 0, ..*self };
                for part in parts {
                    let mut next = Self { values: Vec::new(), bytes: 0, ..*self };
                    next.add(part)?;
                    let (heads, tails) = (found.values.len(), next.values.len());
                    let bytes =
                        found.bytes.saturating_mul(tails).saturating_add(next.bytes.saturating_mul(heads));
                    self.fits(heads.saturating_mul(tails), bytes)?;
                    let joined = |head: &String| {
                        next.values.iter().map(|tail| format!("{head}{tail}")).collect::<Vec<_>>()
                    };
                    found.values = found.values.iter().flat_map(joined).collect();
                    found.bytes = bytes;
                }
                found.values.into_iter().try_for_each(|value| self.push(value))
            }
            HirKind::Class(Class::Unicode(class)) => {
                for range in class.ranges() {
                    self.fits(range.len(), usize::MAX)?;
                    (range.start()..=range.end()).try_for_each(|c| self.push(String::from(c)))?;
                }
                Some(())
            }
            HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) | HirKind::Repetition(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new("l", op, value).expect(value)
    }

    #[test]
    fn regular_expressions_are_anchored_and_dots_match_newlines() {
        for (expression, value, fits) in [
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("a.c", "a\nc", true),
            (".*", "", true),
            (".+", "", false),
            ("(foo|bar)-[0-9]+", "bar-17", true),
            ("(?i:FOO)", "foo", true),
            ("a|", "", true),
            ("x{2}", "xx", true),
        ] {
            assert_eq!(matcher(MatchOp::Regex, expression).matches(value), fits, "{expression} {value:?}");
            assert_eq!(
                matcher(MatchOp::NotRegex, expression).matches(value),
                !fits,
                "{expression} {value:?}"
            );
        }
    }

    #[test]
    fn long_lists_need_no_automaton_and_short_expressions_stay_short() {
        let list: Vec<String> = (0..20_000).map(|n| format!("host{n}")).collect();
        let long = matcher(MatchOp::Regex, &format!("vm|{}", list.join("|")));
        assert_eq!(long.set_of_values().map(<[String]>::len), Some(20_001));
        for (value, fits) in
            [("vm", true), ("host0", true), ("host19999", true), ("host20000", false), ("", false)]
        {
            assert_eq!(long.matches(value), fits, "{value}");
        }
        let prefix = "x".repeat(5_000);
        for expression in ["[a-z][a-z]".to_owned(), format!("{prefix}[a-z][a-z]"), "[^a]".to_owned()] {
            assert_eq!(matcher(MatchOp::Regex, &expression).set_of_values(), None);
        }
    }

    #[test]
    fn lists_of_plain_texts_are_spelt_out() {
        let values = |e: &str| matcher(MatchOp::Regex, e).set_of_values().map(<[String]>::to_vec);
        assert_eq!(values("a|bc|d"), Some(vec!["a".into(), "bc".into(), "d".into()]));
        assert_eq!(
            values("pre(a|bc)(x|y)"),
            Some(["preax", "preay", "prebcx", "prebcy"].map(String::from).to_vec())
        );
        assert_eq!(values("[0-2]x"), Some(["0x", "1x", "2x"].map(String::from).to_vec()));
        assert_eq!(values("a.b"), None);
        assert_eq!(values("a\\.b"), Some(vec!["a.b".into()]));
        assert_eq!(values(""), Some(vec![String::new()]));
        for value in ["a", "bc", "d", "", "ab"] {
            assert_eq!(matcher(MatchOp::Regex, "a|bc|d").matches(value), ["a", "bc", "d"].contains(&value));
        }
    }

    #[test]
    fn wrong_and_hostile_expressions_are_refused() {
        for bad in ["(", "a)(b", "[z-a]", "*", "(?P<n", "((a{1000}){1000}){1000}"] {
            assert!(Matcher::new("l", MatchOp::Regex, bad).is_err(), "{bad}");
        }
    }
}
