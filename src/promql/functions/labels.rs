//! Functions about labels: `label_replace`, `label_join`, what `absent` knows of series that are not there, the order
//! of `sort_by_label`.
//!
//! Source: Prometheus documentation, "Query functions"; templates as Go's `Regexp.Expand` reads them.

use std::cmp::Ordering;

use regex::{Captures, Regex};

use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, anchored_regex};
use crate::promql::ast::Expr;

/// `label_replace(v, destination, replacement, source, regex)`, ready to be applied to series.
#[derive(Debug)]
pub struct LabelReplace {
    destination: String,
    replacement: String,
    source: String,
    regex: Regex,
}

/// An argument that a function about labels refuses. Worded as Prometheus words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelArgumentError {
    /// The expression does not compile.
    #[error("invalid regular expression in label_replace(): {0}")]
    Regex(String),
    /// A label cannot be called this.
    #[error("invalid destination label name in {function}(): {name}")]
    Destination {
        /// Which function.
        function: &'static str,
        /// The name.
        name: String,
    },
    /// A label cannot be called this.
    #[error("invalid source label name in label_join(): {0}")]
    Source(String),
}

impl LabelReplace {
    /// Checks and compiles the arguments.
    ///
    /// # Errors
    /// The expression is wrong, or the destination is no label name.
    pub fn new(
        destination: &str,
        replacement: &str,
        source: &str,
        regex: &str,
    ) -> Result<Self, LabelArgumentError> {
        let compiled = anchored_regex(regex).map_err(|_| LabelArgumentError::Regex(regex.to_owned()))?;
        check_destination("label_replace", destination)?;
        Ok(Self {
            destination: destination.to_owned(),
            replacement: replacement.to_owned(),
            source: source.to_owned(),
            regex: compiled,
        })
    }

    /// The new labels; `None` where the expression does not match and the series stays as it is.
    pub fn apply(&self, labels: &Labels) -> Option<Labels> {
        let captures = self.regex.captures(labels.value(&self.source))?;
        Some(labels.with(&self.destination, &expand(&self.replacement, &self.regex, &captures)))
    }

    /// Whether it writes the metric name, which then is not dropped any more.
    pub fn sets_metric_name(&self) -> bool {
        self.destination == METRIC_NAME
    }
}

/// `label_join(v, destination, separator, sources...)`, ready to be applied to series.
#[derive(Debug)]
pub struct LabelJoin {
    destination: String,
    separator: String,
    sources: Vec<String>,
}

impl LabelJoin {
    /// Checks the arguments.
    ///
    /// # Errors
    /// Destination or a source is no label name.
    pub fn new(destination: &str, separator: &str, sources: Vec<String>) -> Result<Self, LabelArgumentError> {
        if let Some(bad) = sources.iter().find(|name| name.is_empty()) {
            return Err(LabelArgumentError::Source(bad.clone()));
        }
        check_destination("label_join", destination)?;
        Ok(Self { destination: destination.to_owned(), separator: separator.to_owned(), sources })
    }

    /// The new labels.
    pub fn apply(&self, labels: &Labels) -> Labels {
        let values: Vec<&str> = self.sources.iter().map(|name| labels.value(name)).collect();
        labels.with(&self.destination, &values.join(&self.separator))
    }

    /// Whether it writes the metric name, which then is not dropped any more.
    pub fn sets_metric_name(&self) -> bool {
        self.destination == METRIC_NAME
    }
}

/// Any text but the empty one names a label.
fn check_destination(function: &'static str, name: &str) -> Result<(), LabelArgumentError> {
    match name.is_empty() {
        true => Err(LabelArgumentError::Destination { function, name: name.to_owned() }),
        false => Ok(()),
    }
}

/// Fills `$1`, `$name`, `${name}` and `$$` in. A name is as long as it can be; an unknown one is empty; a `$` that
/// begins none of these stands for itself.
fn expand(template: &str, regex: &Regex, captures: &Captures<'_>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(before);
        rest = behind;
        if let Some(behind) = rest.strip_prefix('$') {
            out.push('$');
            rest = behind;
        } else if let Some((name, behind)) = reference(rest) {
            out.push_str(captured(name, regex, captures));
            rest = behind;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The name behind a `$` and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (text, braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, behind) = text.split_at_checked(end)?;
    let behind = if braced { behind.strip_prefix('}')? } else { behind };
    (!name.is_empty()).then_some((name, behind))
}

fn captured<'t>(name: &str, regex: &Regex, captures: &Captures<'t>) -> &'t str {
    let group = match name.bytes().all(|b| b.is_ascii_digit()) {
        true => name.parse().ok().and_then(|number| captures.get(number)),
        false => {
            let mut named = regex.capture_names().enumerate().filter(|(_, n)| *n == Some(name));
            named.find_map(|(number, _)| captures.get(number))
        }
    };
    group.map_or("", |group| group.as_str())
}

/// The labels that series would have if `absent`'s argument selected any: those of its `=` matchers, but not those
/// that other matchers are about too.
pub fn absent_labels(argument: &Expr) -> Labels {
    let matchers: &[Matcher] = match argument.unparenthesized() {
        Expr::VectorSelector(selector) => &selector.matchers,
        Expr::MatrixSelector(matrix) => &matrix.selector.matchers,
        _ => &[],
    };
    let mut labels = Labels::empty();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        let only = matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name());
        labels = labels.with(matcher.name(), if only { matcher.pattern() } else { "" });
        if only {
            seen.push(matcher.name());
        }
    }
    labels
}

/// The order of `sort_by_label`: label by label in natural order, at last by all labels.
pub fn compare_by_labels<S: AsRef<str>>(a: &Labels, b: &Labels, names: &[S]) -> Ordering {
    for name in names {
        let (left, right) = (a.value(name.as_ref()), b.value(name.as_ref()));
        if left != right {
            return natural_order(left, right);
        }
    }
    a.cmp(b)
}

/// The order of `sort`; NaN comes last.
pub fn compare_values(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

/// The order of `sort_desc`; NaN comes last.
pub fn compare_values_descending(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

/// The order in which runs of digits count as numbers. Texts that differ only in leading zeros keep their plain order.
fn natural_order(a: &str, b: &str) -> Ordering {
    Chunks(a).cmp_by_pairs(Chunks(b)).then_with(|| a.cmp(b))
}

/// A text as runs of digits and runs of other characters.
struct Chunks<'a>(&'a str);

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let digits = self.0.bytes().next()?.is_ascii_digit();
        let end = self.0.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(self.0.len());
        let (chunk, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(chunk)
    }
}

impl Chunks<'_> {
    fn cmp_by_pairs(mut self, mut other: Self) -> Ordering {
        loop {
            let order = match (self.next(), other.next()) {
                (None, None) => return Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(a), Some(b)) => compare_chunks(a, b),
            };
            if order.is_ne() {
                return order;
            }
        }
    }
}

/// Two runs: as numbers of any length if both are digits.
fn compare_chunks(a: &str, b: &str) -> Ordering {
    if !a.starts_with(|c: char| c.is_ascii_digit()) || !b.starts_with(|c: char| c.is_ascii_digit()) {
        return a.cmp(b);
    }
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn templates_are_read_as_go_reads_them() {
        for (template, regex, source, expected) in [
            ("value-$1", "source-value-(.*)", "source-value-10", "value-10"),
            ("${1}x$2", "(a)(b)?", "a", "ax"),
            ("$1x", "(a)", "a", ""),
            ("$$1$", "(a)", "a", "$1$"),
            ("${1", "(a)", "a", "${1"),
            ("$-${}", "(a)", "a", "$-${}"),
            ("$name-$nope", "(?P<name>.+)", "é", "é-"),
            ("$0", "a.", "a\n", "a\n"),
        ] {
            let replace = LabelReplace::new("dst", template, "src", regex).expect(regex);
            let new = replace.apply(&labels(&[("src", source)])).expect("a match");
            assert_eq!(new.value("dst"), expected, "{template} {regex}");
        }
    }

    #[test]
    fn replace_leaves_alone_what_does_not_match_and_takes_away_what_becomes_empty() {
        let series = labels(&[("src", "ab"), ("dst", "old")]);
        let replaced = |regex: &str, with: &str| {
            LabelReplace::new("dst", with, "src", regex).expect(regex).apply(&series).map(|l| l.to_string())
        };
        assert_eq!(replaced("b", "x"), None);
        assert_eq!(replaced("(a)(b)", "$2"), Some(r#"{dst="b", src="ab"}"#.into()));
        assert_eq!(replaced(".*", ""), Some(r#"{src="ab"}"#.into()));
        let absent = LabelReplace::new("new", "x", "nope", "").expect("valid");
        assert_eq!(absent.apply(&series).expect("a match").value("new"), "x");
    }

    #[test]
    fn arguments_that_are_wrong_are_refused() {
        let error = |r: Result<LabelReplace, LabelArgumentError>| r.expect_err("an error").to_string();
        assert_eq!(
            error(LabelReplace::new("a", "", "b", "(.*")),
            "invalid regular expression in label_replace(): (.*"
        );
        assert_eq!(
            error(LabelReplace::new("", "", "b", "")),
            "invalid destination label name in label_replace(): "
        );
        let join = LabelJoin::new("a", "-", vec!["b".into(), String::new()]);
        assert_eq!(join.expect_err("an error").to_string(), "invalid source label name in label_join(): ");
    }

    #[test]
    fn join_keeps_the_separators_of_empty_values() {
        let join = LabelJoin::new("d", "-", ["a", "x", "b"].map(String::from).to_vec()).expect("valid");
        assert_eq!(join.apply(&labels(&[("a", "1"), ("b", "2")])).value("d"), "1--2");
        let single = LabelJoin::new("d", "-", vec!["x".into()]).expect("valid");
        assert_eq!(single.apply(&labels(&[("a", "1"), ("d", "2")])), labels(&[("a", "1")]));
    }

    #[test]
    fn natural_order_counts_digits_as_numbers() {
        let mut names = [
            "cpu10",
            "cpu9",
            "",
            "4m5",
            "4m600",
            "4m1000",
            "cpu",
            "a",
            "cpu09",
            "99999999999999999999999",
            "5",
        ];
        names.sort_by(|a, b| compare_by_labels(&labels(&[("l", a)]), &labels(&[("l", b)]), &["l"]));
        assert_eq!(
            names,
            [
                "",
                "4m5",
                "4m600",
                "4m1000",
                "5",
                "99999999999999999999999",
                "a",
                "cpu",
                "cpu09",
                "cpu9",
                "cpu10"
            ]
        );
    }

    #[test]
    fn nan_is_last_in_both_orders() {
        let mut values = [3.0, f64::NAN, 1.0, f64::INFINITY, 2.0];
        values.sort_by(|a, b| compare_values(*a, *b));
        assert_eq!(values[..4], [1.0, 2.0, 3.0, f64::INFINITY]);
        values.sort_by(|a, b| compare_values_descending(*a, *b));
        assert_eq!(values[..4], [f64::INFINITY, 3.0, 2.0, 1.0]);
    }
}
