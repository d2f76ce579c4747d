//! Reads the text formats as Prometheus's *server* does: entry by entry, in place, as lenient as that is.
//!
//! [`parse`](super::parse()) is as strict as the formats; a target that Prometheus has scraped for years may not
//! be: metadata after samples, families apart, no line feed at the end, a counter without `_total`. And a target
//! that has not changed needs no labels decoded: [`Scanner::raw`] is what a cache of series is asked with.
//!
//! Invariants: no input makes it panic; time is linear in the input's size; nothing is allocated but what
//! [`Scanner::labels`] decodes.
//!
//! Source: the behaviour of Prometheus 3's two text parsers and their messages. Only a NUL between lines differs:
//! Prometheus takes it for the end and the scrape for a success; here it is an error.

mod lexer;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use self::lexer::{Lexer, State, Token};
use super::number::{push_open_metrics_float, read_float};
use crate::model::{Kind, Quoted, Timestamp};

/// Go's NaN, so that no payload of a target's comes in.
const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// What one step found.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'i> {
    /// `# HELP`, unescaped.
    Help(Cow<'i, str>, Cow<'i, str>),
    /// `# TYPE`.
    Type(Cow<'i, str>, Kind),
    /// `# UNIT`.
    Unit(Cow<'i, str>, &'i str),
    /// A sample; its series is [`Scanner::raw`].
    Sample(f64, Option<Timestamp>),
}

/// Why an exposition was refused, in Prometheus's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScanError(String);

/// Reads one exposition.
#[derive(Debug)]
pub struct Scanner<'i> {
    lexer: Lexer<'i>,
    open_metrics: bool,
    /// Where the entry began.
    start: usize,
    /// The sample's series as it is written.
    raw: Range<usize>,
    /// The metric's name, without quotes.
    name: Option<Range<usize>>,
    /// Names and values of the labels, without quotes.
    labels: Vec<(Range<usize>, Range<usize>)>,
    /// What the last `# TYPE` said, of whichever family: as it is for Prometheus.
    kind: Kind,
}

type Step<T> = Result<T, ScanError>;

impl<'i> Scanner<'i> {
    /// A scanner at the beginning.
    pub fn new(input: &'i [u8], open_metrics: bool) -> Self {
        Self {
            lexer: Lexer::new(input, open_metrics),
            open_metrics,
            start: 0,
            raw: 0..0,
            name: None,
            labels: Vec::new(),
            kind: Kind::Untyped,
        }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// What comes next is wrong; there is no going on after it.
    pub fn step(&mut self) -> Step<Option<Entry<'i>>> {
        loop {
            let token = self.lexer.next();
            self.start = self.lexer.start;
            match token {
                Token::Eof if self.open_metrics => return error("data does not end with # EOF".to_owned()),
                Token::Eof => return Ok(None),
                Token::EofWord => {
                    return match self.lexer.next() {
                        Token::Eof => Ok(None),
                        _ => error("unexpected data after # EOF".to_owned()),
                    };
                }
                // Blank lines are allowed in text only.
                Token::Linebreak if !self.open_metrics => {}
                Token::Comment if !self.open_metrics => {
                    let next = self.lexer.next();
                    if next != Token::Linebreak {
                        return self.unexpected("linebreak expected after comment", next);
                    }
                }
                Token::Help | Token::Type | Token::Unit => return self.metadata(token).map(Some),
                Token::MetricName | Token::BraceOpen => return self.sample(token).map(Some),
                other => return self.unexpected("expected a valid start token", other),
            }
        }
    }

    /// The series of the sample just read, as it was written: equal bytes are equal series.
    pub fn raw(&self) -> &'i [u8] {
        self.lexer.slice(self.raw.clone())
    }

    /// The type that bounds (`le`, `quantile`) of the sample just read are spelled after.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Decodes the series of the sample just read; `__name__` is among the pairs if there is a name. Bounds get one
    /// spelling, `1.0` for `1`, as in Prometheus 3.
    ///
    /// # Errors
    /// Bytes that are no UTF-8, a label that is there twice.
    pub fn labels(&self, into: &mut Vec<(Cow<'i, str>, Cow<'i, str>)>) -> Step<()> {
        into.clear();
        if let Some(name) = &self.name {
            into.push((Cow::Borrowed("__name__"), self.text(name, "metric name")?));
        }
        let bound = match self.kind {
            Kind::Summary => "quantile",
            Kind::Histogram => "le",
            _ => "",
        };
        for (name, value) in &self.labels {
            let (name, mut value) = (self.text(name, "label name")?, self.text(value, "label value")?);
            if name == bound {
                value = Cow::Owned(spelled_bound(&value));
            }
            into.push((name, value));
        }
        into.sort_by(|(a, _), (b, _)| a.cmp(b));
        match into.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
            Some([(name, _), ..]) => error(format!("label name {name:?} is not unique: invalid sample")),
            _ => Ok(()),
        }
    }

    fn text(&self, at: &Range<usize>, what: &str) -> Step<Cow<'i, str>> {
        let bytes = self.lexer.slice(at.clone());
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(unescape(text)),
            Err(_) => error(format!("invalid UTF-8 {what}: {}", quoted(bytes))),
        }
    }

    fn metadata(&mut self, keyword: Token) -> Step<Entry<'i>> {
        let next = self.lexer.next();
        if next != Token::MetricName {
            return self.unexpected(&format!("expected metric name after {}", keyword.name()), next);
        }
        let name = self.unquoted(self.lexer.current());
        let next = self.lexer.next();
        if next != Token::Text {
            let found = quoted(self.lexer.slice(self.lexer.current()));
            return error(format!("expected text in {}, got {}: {found}", keyword.name(), next.name()));
        }
        let text = self.lexer.current();
        let name = self.text(&name, "metric name")?;
        // The blank before it is part of the token.
        let bytes = self.lexer.slice(text.start.saturating_add(1).min(text.end)..text.end);
        let Ok(text) = std::str::from_utf8(bytes) else {
            return error(format!("help text {} is not a valid utf8 string", quoted(bytes)));
        };
        let next = self.lexer.next();
        if next != Token::Linebreak {
            return self.unexpected("linebreak expected after metadata", next);
        }
        match keyword {
            Token::Help => Ok(Entry::Help(name, unescape(text))),
            Token::Unit => {
                let fits = name.strip_suffix(text).is_some_and(|rest| rest.ends_with('_'));
                match text.is_empty() || fits {
                    true => Ok(Entry::Unit(name, text)),
                    false => error(format!("unit {} not a suffix of metric {}", Quoted(text), Quoted(&name))),
                }
            }
            _ => {
                let kind = kind_of(text, self.open_metrics);
                self.kind = kind.ok_or_else(|| ScanError(format!("invalid metric type {}", Quoted(text))))?;
                Ok(Entry::Type(name, self.kind))
            }
        }
    }

    fn sample(&mut self, first: Token) -> Step<Entry<'i>> {
        self.labels.clear();
        let mut token = first;
        self.name = None;
        if first == Token::MetricName {
            self.name = Some(self.lexer.current());
            self.raw = self.lexer.current();
            token = self.lexer.next();
        }
        if token == Token::BraceOpen {
            self.label_set()?;
            self.raw = self.start..self.lexer.at;
            token = self.lexer.next();
        }
        let value = self.number(token, "metric")?;
        let mut timestamp = None;
        let mut token = self.lexer.next();
        if token == Token::Timestamp {
            timestamp = Some(self.timestamp()?);
            token = self.lexer.next();
        }
        match token {
            Token::Linebreak => {}
            Token::Eof if self.open_metrics => return error("data does not end with # EOF".to_owned()),
            Token::ExemplarOpen => self.exemplar()?,
            other if timestamp.is_some() => {
                return self.unexpected("expected next entry after timestamp", other);
            }
            other => return self.unexpected("expected timestamp or new record", other),
        }
        Ok(Entry::Sample(value, timestamp))
    }

    /// Reads from after `{` to after `}`.
    fn label_set(&mut self) -> Step<()> {
        let mut token = self.lexer.next();
        loop {
            let name = match token {
                Token::BraceClose => return Ok(()),
                Token::LabelName | Token::QuotedString => self.unquoted(self.lexer.current()),
                other => return self.unexpected("expected label name", other),
            };
            let was_quoted = token == Token::QuotedString;
            token = self.lexer.next();
            // A quoted text alone is the metric's name.
            if was_quoted && matches!(token, Token::Comma | Token::BraceClose) {
                if self.name.replace(name).is_some() {
                    let seen = quoted(self.lexer.slice(self.start..self.lexer.at));
                    return error(format!("metric name already set while parsing: {seen}"));
                }
            } else {
                if token != Token::Equal {
                    return self.unexpected("expected equal", token);
                }
                token = self.lexer.next();
                if token != Token::LabelValue {
                    return self.unexpected("expected label value", token);
                }
                let value = self.unquoted(self.lexer.current());
                self.labels.push((name, value));
                token = self.lexer.next();
            }
            if token == Token::Comma {
                token = self.lexer.next();
            } else if token != Token::BraceClose && self.open_metrics {
                return self.unexpected("expected comma or brace close", token);
            }
        }
    }

    fn number(&self, token: Token, after: &str) -> Step<f64> {
        if token != Token::Value {
            return self.unexpected(&format!("expected value after {after}"), token);
        }
        let text = String::from_utf8_lossy(self.lexer.slice(self.lexer.current()));
        let text = if self.open_metrics { text.get(1..).unwrap_or_default() } else { &text };
        match read_float(text) {
            Some(value) if value.is_nan() => Ok(NAN),
            Some(value) => Ok(value),
            None => {
                let seen = quoted(self.lexer.slice(self.start..self.lexer.at));
                // What Go would read as a number, but the formats do not allow.
                if text.contains(['p', 'P', '_']) {
                    return error(format!("unsupported character in float while parsing: {seen}"));
                }
                error(format!(
                    "strconv.ParseFloat: parsing {}: invalid syntax while parsing: {seen}",
                    Quoted(text)
                ))
            }
        }
    }

    fn timestamp(&self) -> Step<Timestamp> {
        /// What `i64` holds for certain.
        const LARGEST_MS: f64 = 9_223_372_036_854_774_784.0;
        let text = String::from_utf8_lossy(self.lexer.slice(self.lexer.current()));
        let wrong = || {
            let seen = quoted(self.lexer.slice(self.start..self.lexer.at));
            ScanError(format!("invalid timestamp {} while parsing: {seen}", Quoted(text.trim())))
        };
        if !self.open_metrics {
            return text.parse().map(Timestamp::from_millis).map_err(|_| wrong());
        }
        let seconds = read_float(text.trim_start()).ok_or_else(wrong)?;
        let milliseconds = seconds * 1_000.0;
        match milliseconds.abs() <= LARGEST_MS {
            #[expect(clippy::cast_possible_truncation, reason = "checked above; truncated, as in Prometheus")]
            true => Ok(Timestamp::from_millis(milliseconds as i64)),
            false => Err(wrong()),
        }
    }

    /// Reads an exemplar and forgets it.
    fn exemplar(&mut self) -> Step<()> {
        let (labels, name) = (std::mem::take(&mut self.labels), self.name.take());
        self.label_set()?;
        (self.labels, self.name) = (labels, name);
        self.lexer.state = State::ExemplarValue;
        let token = self.lexer.next();
        self.number(token, "exemplar labels")?;
        let mut token = self.lexer.next();
        if token == Token::Timestamp {
            self.timestamp()?;
            token = self.lexer.next();
        }
        match token {
            Token::Linebreak => Ok(()),
            Token::Eof => error("data does not end with # EOF".to_owned()),
            other => self.unexpected("expected next entry after exemplar", other),
        }
    }

    fn unquoted(&self, at: Range<usize>) -> Range<usize> {
        match self.lexer.slice(at.clone()) {
            [b'"', .., b'"'] => at.start + 1..at.end - 1,
            _ => at,
        }
    }

    fn unexpected<T>(&self, expected: &str, found: Token) -> Step<T> {
        let end = (self.lexer.at + 1).min(self.lexer.len());
        let got = quoted(self.lexer.slice(self.lexer.start..end));
        let seen = quoted(self.lexer.slice(self.start..end));
        error(format!("{expected}, got {got} ({:?}) while parsing: {seen}", found.name()))
    }
}

fn error<T>(message: String) -> Step<T> {
    Err(ScanError(message))
}

/// Longest piece of an exposition in a message, in bytes.
const SHOWN_BYTES: usize = 200;

fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..SHOWN_BYTES.min(bytes.len())).unwrap_or_default());
    Quoted(&text).to_string()
}

/// The one spelling that Prometheus 3 gives the bound of a bucket or quantile, `1.0` for `1`; what is no number stays.
pub fn spelled_bound(bound: &str) -> String {
    let Some(number) = read_float(bound) else { return bound.to_owned() };
    let mut spelled = Vec::with_capacity(24);
    push_open_metrics_float(&mut spelled, number);
    String::from_utf8_lossy(&spelled).into_owned()
}

/// `\\`, `\"` and `\n`; any other backslash stands for itself.
fn unescape(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (plain, length) = match after.as_bytes().first() {
            Some(b'\\') => ("\\", 1),
            Some(b'"') => ("\"", 1),
            Some(b'n') => ("\n", 1),
            _ => ("\\", 0),
        };
        out.push_str(plain);
        rest = after.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn kind_of(word: &str, open_metrics: bool) -> Option<Kind> {
    Some(match word {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        "untyped" if !open_metrics => Kind::Untyped,
        "unknown" if open_metrics => Kind::Untyped,
        "gaugehistogram" if open_metrics => Kind::GaugeHistogram,
        "info" if open_metrics => Kind::Info,
        "stateset" if open_metrics => Kind::StateSet,
        _ => return None,
    })
}
