//! What is legal but unwise in an exposition: the rules of `promtool check metrics`, in its words.
//!
//! Source: Prometheus's "Metric and label naming" page, and what promtool says about the same input.
//! Rules that depend on the type do not apply to untyped families, of which nothing is known.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Write};

use super::{Limits, ParseError, Syntax, parse};
use crate::model::{Batch, FamilyView, Kind};

/// One finding about one family. Displayed as promtool prints it: name, space, text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LintProblem {
    /// The family.
    pub metric: String,
    /// What is unwise about it.
    pub text: String,
}

impl fmt::Display for LintProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.metric, self.text)
    }
}

/// Most bytes that [`check_metrics`] reads.
const MAX_INPUT_BYTES: u64 = 256 << 20;

/// `check metrics`: reads an exposition, writes one line per finding to `messages`.
///
/// Returns the exit code, promtool's: 0 nothing to say, 1 not a valid exposition, 3 findings.
///
/// # Errors
/// `input` cannot be read or `messages` cannot be written.
pub fn check_metrics(input: impl Read, mut messages: impl Write) -> io::Result<u8> {
    let mut bytes = Vec::new();
    input.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        writeln!(messages, "error while linting: the input has more than {MAX_INPUT_BYTES} bytes")?;
        return Ok(1);
    }
    match lint(&bytes) {
        Err(error) => {
            writeln!(messages, "error while linting: {error}")?;
            Ok(1)
        }
        Ok(problems) => {
            for problem in &problems {
                writeln!(messages, "{problem}")?;
            }
            Ok(if problems.is_empty() { 0 } else { 3 })
        }
    }
}

/// All findings, sorted by family, each once.
///
/// The input is OpenMetrics if its last line is `# EOF`, else text 0.0.4.
///
/// # Errors
/// The input is not a valid exposition.
pub fn lint(input: &[u8]) -> Result<Vec<LintProblem>, ParseError> {
    let ends_as_open_metrics = input.strip_suffix(b"\n").unwrap_or(input).ends_with(b"# EOF");
    let syntax = if ends_as_open_metrics { Syntax::OpenMetrics100 } else { Syntax::Text004 };
    let mut batch = Batch::new();
    parse(input, syntax, Limits::default(), &mut batch)?;
    let mut problems = BTreeSet::new();
    for family in batch.families() {
        for rule in RULES {
            rule(&family, &mut |text| {
                problems.insert(LintProblem { metric: family.name().to_owned(), text });
            });
        }
    }
    Ok(problems.into_iter().collect())
}

type Rule = fn(&FamilyView<'_>, &mut dyn FnMut(String));

const RULES: [Rule; 9] = [
    help,
    base_unit,
    counter_suffix,
    reserved_suffixes,
    reserved_labels,
    type_in_name,
    characters,
    abbreviated_units,
    unique,
];

fn help(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    if family.help().is_empty() {
        report("no help text".to_owned());
    }
}

/// Units and the base unit that stands for their dimension.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

/// Multipliers. promtool spells `mebi` as `mibi`; both are known here.
const PREFIXES: [&str; 19] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mebi",
    "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
];

fn base_unit(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    for word in family.name().split('_') {
        let unit = UNITS.iter().find_map(|(unit, base)| {
            let prefix = word.strip_suffix(unit)?;
            (prefix.is_empty() || PREFIXES.contains(&prefix)).then_some(*base)
        });
        if let Some(base) = unit.filter(|base| *base != word) {
            return report(format!("use base unit \"{base}\" instead of \"{word}\""));
        }
    }
}

fn counter_suffix(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    let total = family.name().ends_with("_total");
    match family.kind() {
        Kind::Counter if !total => report("counter metrics should have \"_total\" suffix".to_owned()),
        Kind::Counter | Kind::Untyped => {}
        _ if total => report("non-counter metrics should not have \"_total\" suffix".to_owned()),
        _ => {}
    }
}

const fn is_histogram(kind: Kind) -> bool {
    matches!(kind, Kind::Histogram | Kind::GaugeHistogram)
}

fn reserved_suffixes(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    let (name, kind) = (family.name(), family.kind());
    if kind == Kind::Untyped || is_histogram(kind) {
        return;
    }
    if name.ends_with("_bucket") {
        report("non-histogram metrics should not have \"_bucket\" suffix".to_owned());
    }
    for suffix in ["_count", "_sum"] {
        if kind != Kind::Summary && name.ends_with(suffix) {
            report(format!("non-histogram and non-summary metrics should not have \"{suffix}\" suffix"));
        }
    }
}

fn reserved_labels(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    let kind = family.kind();
    if kind == Kind::Untyped {
        return;
    }
    for sample in family.samples() {
        if !is_histogram(kind) && sample.labels().get("le").is_some() {
            report("non-histogram metrics should not have \"le\" label".to_owned());
        }
        if kind != Kind::Summary && sample.labels().get("quantile").is_some() {
            report("non-summary metrics should not have \"quantile\" label".to_owned());
        }
    }
}

/// Whether `word` is one of the words of a lower-case `name`, other than the first.
fn has_word_after_first(name: &str, word: &str) -> bool {
    name.split('_').skip(1).any(|part| part == word)
}

fn type_in_name(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    if family.kind() == Kind::Untyped {
        return;
    }
    let name = family.name().to_ascii_lowercase();
    for word in ["counter", "gauge", "histogram", "summary", "untyped"] {
        if has_word_after_first(&name, word) {
            report(format!("metric name should not include type '{word}'"));
        }
    }
}

fn characters(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    if family.name().contains(':') {
        report("metric names should not contain ':'".to_owned());
    }
    if is_camel_case(family.name()) {
        report("metric names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
    let mut names = family.samples().flat_map(|sample| sample.labels().iter());
    if names.any(|(name, _)| is_camel_case(name)) {
        report("label names should be written in 'snake_case' not 'camelCase'".to_owned());
    }
}

fn is_camel_case(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.windows(2).any(|pair| matches!(pair, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase()))
}

const ABBREVIATIONS: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

fn abbreviated_units(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    let name = family.name().to_ascii_lowercase();
    if ABBREVIATIONS.iter().any(|word| has_word_after_first(&name, word)) {
        report("metric names should not contain abbreviated units".to_owned());
    }
}

fn unique(family: &FamilyView<'_>, report: &mut dyn FnMut(String)) {
    let mut seen = BTreeSet::new();
    for sample in family.samples() {
        let labels: Vec<(&str, &str)> = sample.labels().iter().collect();
        if !seen.insert((sample.suffix() as u8, labels)) {
            return report("metric not unique".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about one gauge, or about the exposition if `line` is one.
    fn said(exposition: &str) -> Vec<String> {
        let problems = lint(exposition.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{exposition}"));
        problems.iter().map(ToString::to_string).collect()
    }

    fn typed(kind: &str, name: &str, sample: &str) -> String {
        format!("# HELP {name} Help.\n# TYPE {name} {kind}\n{sample} 1\n")
    }

    const ABBREVIATED: &str = "metric names should not contain abbreviated units";
    const CAMEL_CASE: &str = "metric names should be written in 'snake_case' not 'camelCase'";

    #[test]
    fn names_of_gauges() {
        for (name, expected) in [
            ("x_bytes", ""),
            ("x_celsius_ratio", ""),
            ("thermometers", ""),
            ("milli_seconds", ""),
            ("ms_x", ""),
            ("gauge_x", ""),
            ("a1B", ""),
            ("x_minutes", "use base unit \"seconds\" instead of \"minutes\""),
            ("x_milliseconds", "use base unit \"seconds\" instead of \"milliseconds\""),
            ("kilobytes_x", "use base unit \"bytes\" instead of \"kilobytes\""),
            ("x_mebibytes_free", "use base unit \"bytes\" instead of \"mebibytes\""),
            ("x_pebibytes", "use base unit \"bytes\" instead of \"pebibytes\""),
            ("x_ounces", "use base unit \"grams\" instead of \"ounces\""),
            ("seconds_hours", "use base unit \"seconds\" instead of \"hours\""),
            ("x_total", "non-counter metrics should not have \"_total\" suffix"),
            ("x_bucket", "non-histogram metrics should not have \"_bucket\" suffix"),
            ("x_count", "non-histogram and non-summary metrics should not have \"_count\" suffix"),
            ("x_sum", "non-histogram and non-summary metrics should not have \"_sum\" suffix"),
            ("x_gauge", "metric name should not include type 'gauge'"),
            ("x_COUNTER_y", "metric name should not include type 'counter'"),
            ("x:y", "metric names should not contain ':'"),
            ("xY", CAMEL_CASE),
            ("x_ms", ABBREVIATED),
            ("x_KB_y", ABBREVIATED),
        ] {
            let expected: Vec<String> =
                [expected].iter().filter(|e| !e.is_empty()).map(|e| format!("{name} {e}")).collect();
            assert_eq!(said(&typed("gauge", name, name)), expected, "{name}");
        }
    }

    #[test]
    fn types_labels_and_help() {
        for (exposition, expected) in [
            (typed("counter", "x", "x"), &["x counter metrics should have \"_total\" suffix"] as &[&str]),
            (typed("counter", "x_total", "x_total"), &[]),
            (typed("untyped", "x_total", "x_total{le=\"1\"}"), &[]),
            (typed("summary", "x", "x_sum"), &[]),
            (typed("histogram", "x", "x_bucket{le=\"1\"}"), &[]),
            (
                typed("histogram", "x", "x_sum{quantile=\"1\"}"),
                &["x non-summary metrics should not have \"quantile\" label"],
            ),
            (
                typed("gauge", "x", "x{le=\"1\",aB=\"1\"} 1\nx{le=\"2\",aB=\"\"}"),
                &[
                    "x label names should be written in 'snake_case' not 'camelCase'",
                    "x non-histogram metrics should not have \"le\" label",
                ],
            ),
            ("b 1\na 1\n".to_owned(), &["a no help text", "b no help text"]),
            (typed("gauge", "x", "x{a=\"1\"} 1\nx{a=\"1\"}"), &["x metric not unique"]),
            ("# HELP x X.\n# TYPE x counter\nx_total 1\n# EOF\n".to_owned(), &[]),
        ] {
            assert_eq!(said(&exposition), expected, "{exposition}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_promtool() {
        for (input, code, expected) in [
            ("# HELP x X.\nx 1\n", 0, ""),
            ("x 1\n", 3, "x no help text\n"),
            ("x one\n", 1, "error while linting: 1:3: expected a number, got \"one\"\n"),
            ("", 0, ""),
        ] {
            let mut messages = Vec::new();
            assert_eq!(check_metrics(input.as_bytes(), &mut messages).unwrap(), code);
            assert_eq!(String::from_utf8_lossy(&messages), expected);
        }
    }
}
