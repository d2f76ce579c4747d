//! A line with a series and its values: `metric{label="value"} 1 2+3x4 _ stale`.
//!
//! Invariant: numbers are added up one by one, as Prometheus does, not multiplied; what is written of native
//! histograms is only counted.

use crate::model::{Labels, METRIC_NAME, STALE_NAN};
use crate::promql::functions::parse_go_float;
use crate::promql::literal::unquoted;

/// Most values that one line may stand for.
const MOST_VALUES: usize = 1_000_000;

/// A series and its values.
#[derive(Clone, Debug)]
pub struct SeriesLine {
    /// The series.
    pub labels: Labels,
    /// Its values, one for each step.
    pub items: Vec<Item>,
    /// Whether the line says when counters started (`name@st`), not what they show.
    pub start_times: bool,
}

/// The value at one step.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// None.
    Omitted,
    /// A number.
    Value(f64),
    /// A native histogram.
    Histogram,
}

/// What is wrong, and at which byte.
pub type SeriesError = (usize, String);

/// Reads a line.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_series(text: &str) -> Result<SeriesLine, SeriesError> {
    let mut cursor = Cursor { text, at: 0 };
    let labels = cursor.labels()?;
    let start_times = cursor.rest().starts_with("@st");
    if start_times {
        cursor.at += "@st".len();
    }
    let mut items = Vec::new();
    while cursor.skip_spaces() {
        match start_times {
            true => cursor.skip_word(),
            false => cursor.item(&mut items)?,
        }
    }
    Ok(SeriesLine { labels, items, start_times })
}

/// A number as expected results have it: an integer of any base, or a float.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let negative = text.starts_with('-');
    let integer = |digits: &str, base: u32| {
        let value = i64::from_str_radix(digits, base).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "as Prometheus")]
        let value = value as f64;
        Some(if negative { -value } else { value })
    };
    let prefixed =
        |prefix: &str, base| unsigned.strip_prefix(prefix).and_then(|digits| integer(digits, base));
    prefixed("0x", 16)
        .or_else(|| prefixed("0b", 2))
        .or_else(|| prefixed("0o", 8))
        .or_else(|| parse_go_float(text))
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, SeriesError> {
        Err((self.at, message.into()))
    }

    /// Whether there is more behind the spaces.
    fn skip_spaces(&mut self) -> bool {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.at < self.text.len()
    }

    fn skip_word(&mut self) {
        let rest = self.rest();
        self.at += rest.find(char::is_whitespace).unwrap_or(rest.len());
    }

    fn eat(&mut self, what: &str) -> bool {
        let there = self.rest().starts_with(what);
        if there {
            self.at += what.len();
        }
        there
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let (taken, _) = rest.split_at(rest.find(|c| !fits(c)).unwrap_or(rest.len()));
        self.at += taken.len();
        taken
    }

    fn labels(&mut self) -> Result<Labels, SeriesError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        if !name.is_empty() {
            pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
        }
        self.skip_spaces();
        // Two braces begin a histogram.
        if self.rest().starts_with("{{") || !self.eat("{") {
            return match name.is_empty() {
                true => self.error("expected a metric name or \"{\""),
                false => Ok(Labels::from_pairs(pairs)),
            };
        }
        loop {
            self.skip_spaces();
            if self.eat("}") {
                return Ok(Labels::from_pairs(pairs));
            }
            pairs.push(self.label()?);
            self.skip_spaces();
            if !self.eat(",") && !self.rest().starts_with('}') {
                return self.error("expected \",\" or \"}\"");
            }
        }
    }

    /// `name="value"`, `"quoted name"="value"`, or a metric name alone in quotes.
    fn label(&mut self) -> Result<(String, String), SeriesError> {
        let quoted = self.quoted()?;
        let name = match &quoted {
            Some(name) => name.clone(),
            None => self.take_while(|c| c.is_ascii_alphanumeric() || c == '_').to_owned(),
        };
        self.skip_spaces();
        if !self.eat("=") {
            return match quoted {
                Some(name) => Ok((METRIC_NAME.to_owned(), name)),
                None => self.error("expected a label and \"=\""),
            };
        }
        self.skip_spaces();
        match self.quoted()? {
            Some(value) if !name.is_empty() => Ok((name, value)),
            _ => self.error("expected a label's value in quotes"),
        }
    }

    fn quoted(&mut self) -> Result<Option<String>, SeriesError> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            return Ok(None);
        };
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped && quote != '`';
            ends
        });
        let Some((end, _)) = end else { return self.error("unterminated quoted text") };
        let (text, _) = rest.split_at(end + quote.len_utf8());
        self.at += text.len();
        Ok(Some(String::from_utf8_lossy(&unquoted(text)).into_owned()))
    }

    /// One item, which may stand for many values.
    fn item(&mut self, items: &mut Vec<Item>) -> Result<(), SeriesError> {
        if self.rest().starts_with("{{") {
            return self.histograms(items);
        }
        if self.eat("_") {
            let count = self.times()?.unwrap_or(1);
            return self.push(items, count, std::iter::repeat(Item::Omitted));
        }
        let word = self.take_while(|c| c.is_ascii_alphabetic());
        if word.eq_ignore_ascii_case("stale") {
            let count = self.times()?.map_or(1, |n| n + 1);
            return self.push(items, count, std::iter::repeat(Item::Value(STALE_NAN)));
        }
        self.at -= word.len();
        let mut value = self.number()?;
        let step = match self.rest().starts_with(['+', '-']) {
            true => self.number()?,
            false => 0.0,
        };
        let stepped = step != 0.0 || self.rest().starts_with('x');
        let count = match self.times()? {
            Some(times) => times + 1,
            None if stepped => return self.error("expected \"x\" and a count"),
            None => 1,
        };
        let mut first = true;
        self.push(
            items,
            count,
            std::iter::repeat_with(|| {
                if !std::mem::take(&mut first) {
                    value += step;
                }
                Item::Value(value)
            }),
        )
    }

    /// `{{...}}`, `{{...}}x3`, `{{...}}+{{...}}x3`
    fn histograms(&mut self, items: &mut Vec<Item>) -> Result<(), SeriesError> {
        self.histogram()?;
        if self.eat("+") || self.eat("-") {
            self.histogram()?;
        }
        let count = self.times()?.map_or(1, |n| n + 1);
        self.push(items, count, std::iter::repeat(Item::Histogram))
    }

    fn histogram(&mut self) -> Result<(), SeriesError> {
        match self.rest().find("}}") {
            Some(end) if self.rest().starts_with("{{") => {
                self.at += end + 2;
                Ok(())
            }
            _ => self.error("expected a histogram: {{...}}"),
        }
    }

    fn push(
        &self,
        items: &mut Vec<Item>,
        count: usize,
        values: impl Iterator<Item = Item>,
    ) -> Result<(), SeriesError> {
        if items.len().saturating_add(count) > MOST_VALUES {
            return self.error(format!("more than {MOST_VALUES} values"));
        }
        items.extend(values.take(count));
        match self.rest().is_empty() || self.rest().starts_with(char::is_whitespace) {
            true => Ok(()),
            false => self.error("unexpected text behind a value"),
        }
    }

    /// `x` and a count, if they follow.
    fn times(&mut self) -> Result<Option<usize>, SeriesError> {
        if !self.eat("x") {
            return Ok(None);
        }
        match self.take_while(|c| c.is_ascii_digit()).parse() {
            Ok(count) => Ok(Some(count)),
            Err(_) => self.error("expected a count behind \"x\""),
        }
    }

    /// A decimal number with an optional sign; hexadecimal ones would look like repetitions.
    fn number(&mut self) -> Result<f64, SeriesError> {
        let start = self.at;
        let rest = self.rest();
        let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        self.at += rest.len() - unsigned.len();
        let word = self.take_while(|c| c.is_ascii_alphabetic());
        let special = ["infinity", "inf", "nan"].iter().find(|s| {
            // `Infx3` is infinity, three times more.
            word.get(..s.len()).is_some_and(|w| w.eq_ignore_ascii_case(s))
        });
        match special {
            Some(special) => self.at = self.at - word.len() + special.len(),
            None => {
                self.at -= word.len();
                self.take_while(|c| c.is_ascii_digit() || c == '.');
                let exponent = self.rest();
                let behind = exponent.strip_prefix(['e', 'E']);
                let behind = behind.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
                if let Some(digits) = behind.filter(|e| e.starts_with(|c: char| c.is_ascii_digit())) {
                    self.at += exponent.len() - digits.len();
                    self.take_while(|c| c.is_ascii_digit());
                }
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let unsigned = text.trim_start_matches(['+', '-']);
        match parse_go_float(unsigned) {
            Some(value) if text.starts_with('-') => Ok(-value),
            Some(value) => Ok(value),
            None => Err((
                start,
                format!("expected a value, got {:?}", self.text.get(start..).unwrap_or_default()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        match parse_series(line) {
            Err((at, message)) => format!("{at}: {message}"),
            Ok(series) => {
                let items = series.items.iter().map(|item| match item {
                    Item::Omitted => "_".to_owned(),
                    Item::Value(value) if crate::model::is_stale(*value) => "stale".to_owned(),
                    Item::Value(value) => value.to_string(),
                    Item::Histogram => "H".to_owned(),
                });
                let items: Vec<String> = items.collect();
                format!("{} {}", series.labels, items.join(" "))
            }
        }
    }

    #[test]
    fn every_notation_is_read() {
        for (line, expected) in [
            ("m 1 2.5 -3e2", r#"{__name__="m"} 1 2.5 -300"#),
            ("m 1+2x3", r#"{__name__="m"} 1 3 5 7"#),
            ("m 10-2.5x2 7", r#"{__name__="m"} 10 7.5 5 7"#),
            ("m -1-1x1 1e1+1e1x1", r#"{__name__="m"} -1 -2 10 20"#),
            ("m 5x2 0x0", r#"{__name__="m"} 5 5 5 0"#),
            ("m _ _x2 stale 1", r#"{__name__="m"} _ _ _ stale 1"#),
            ("m NaN inf -Inf +infx1", r#"{__name__="m"} NaN inf -inf inf inf"#),
            ("{} 1", "{} 1"),
            ("m{} 1", r#"{__name__="m"} 1"#),
            (r#"m:x {a="b", c = 'd',} 1"#, r#"{__name__="m:x", a="b", c="d"} 1"#),
            (r#"{"u.m", "l l"="v\n", x=`\n`} 1"#, r#"{__name__="u.m", "l l"="v\n", x="\\n"} 1"#),
            ("h {{schema:0 sum:1}} {{}}x2 {{count:1}}+{{count:2}}x1", r#"{__name__="h"} H H H H H H"#),
            (r#"m{a="}"} 1"#, r#"{__name__="m", a="}"} 1"#),
            ("m@st _ 5s+1sx3", r#"{__name__="m"} "#),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn errors_name_their_place() {
        for (line, expected) in [
            ("m abc", r#"2: expected a value, got "abc""#),
            ("m 1+2", r#"5: expected "x" and a count"#),
            ("m 1x", "4: expected a count behind \"x\""),
            ("m 1y", "3: unexpected text behind a value"),
            ("m{a=1} 1", "4: expected a label's value in quotes"),
            ("m{a=\"1} 1", "4: unterminated quoted text"),
            ("m 1x99999999", "12: more than 1000000 values"),
            ("= 1", "0: expected a metric name or \"{\""),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }

    #[test]
    fn expected_scalars_may_have_any_base() {
        for (text, expected) in
            [("0x1F", Some(31.0)), ("-0x2", Some(-2.0)), ("1e3", Some(1000.0)), ("x", None)]
        {
            assert_eq!(parse_number(text), expected, "{text}");
        }
    }
}
