//! One value: what it may be read as.

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::model::{ByteSize, PromDuration};

use super::reader::{Context, Section};
use super::secret::Secret;
use super::suggest::closest;
use super::tree::{Content, Node};

/// A value and its place. Each method reads it as one type and notes a mistake when it is none.
#[derive(Clone, Debug)]
pub struct Value<'d> {
    pub(super) context: &'d Context<'d>,
    pub(super) path: String,
    pub(super) node: &'d Node,
}

/// A scalar after `${NAME}` has been put in.
struct Text<'d> {
    text: Cow<'d, str>,
    /// The environment's part of it must not be printed.
    from_environment: bool,
}

impl<'d> Value<'d> {
    /// Where in the tree it stands, such as `rules[2].name`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Notes that something is wrong with it.
    pub fn error(&self, message: impl Into<String>) {
        self.context.notes.add(self.node.place(), &self.path, || message.into());
    }

    /// The line of the file on which it begins, from 1.
    pub fn line(&self) -> usize {
        self.context.source.position(self.node.place().start).0
    }

    /// Where on that line it begins, from 1.
    pub fn column(&self) -> usize {
        self.context.source.position(self.node.place().start).1
    }

    /// Its place as errors name it, `file:line:column: path`, for what only later turns out to be wrong.
    pub fn place(&self) -> String {
        format!("{}:{}:{}: {}", self.context.source.name, self.line(), self.column(), self.path)
    }

    /// Where `${NAME}` of its file finds values, for a file that is read as if it were part of this one.
    pub const fn environment(&self) -> &'d super::Environment {
        self.context.environment
    }

    /// Whether it is a text, number, boolean or null.
    pub fn is_scalar(&self) -> bool {
        matches!(self.node.content(), Content::Scalar { .. })
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.content(), Content::Sequence(_))
    }

    /// A text. Numbers and booleans are texts as well, as they were written: `1.10` stays `1.10`.
    pub fn str(&self) -> Option<String> {
        self.text("a text").map(|text| text.text.into_owned())
    }

    /// A text in which `$` has a meaning of its own, and `${NAME}` is not the environment's.
    pub fn literal(&self) -> Option<String> {
        match self.node.content() {
            Content::Scalar { text, .. } if !self.node.is_null() => Some(text.to_string()),
            _ => self.unexpected("a text"),
        }
    }

    /// `true` or `false`; `yes`, `no`, `on` and `off` as well.
    pub fn bool(&self) -> Option<bool> {
        self.parse_with("true or false", |text| match text {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Ok(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Ok(false),
            other => Err(format!("expected true or false, found {}", shown(other))),
        })
    }

    /// A whole number within bounds.
    pub fn integer(&self, bounds: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.parse_with(&expected, |text| {
            let number = text.parse::<i64>().ok().filter(|number| bounds.contains(number));
            number.ok_or_else(|| format!("expected {expected}, found {}", shown(text)))
        })
    }

    /// A finite number.
    pub fn float(&self) -> Option<f64> {
        self.parse_with("a number", |text| {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| format!("expected a number, found {}", shown(text)))
        })
    }

    /// A duration in Prometheus's notation.
    pub fn duration(&self) -> Option<Duration> {
        self.parse::<PromDuration>("a duration such as 30s, 5m or 1h30m").map(PromDuration::get)
    }

    /// A size in Prometheus's notation.
    pub fn size(&self) -> Option<ByteSize> {
        self.parse("a size such as 512MB")
    }

    /// Whatever has a [`FromStr`]; `expected` says what, in words.
    pub fn parse<T: FromStr<Err: std::fmt::Display>>(&self, expected: &str) -> Option<T> {
        self.parse_with(expected, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// Whatever `parse` makes of the text. Its error is shown unless it might quote the environment.
    pub fn parse_with<T>(&self, expected: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let Text { text, from_environment } = self.text(expected)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(_) if from_environment => {
                self.error(format!("expected {expected}; the environment gives something else (not shown)"));
                None
            }
            Err(message) => {
                self.error(message);
                None
            }
        }
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", names.join(", "));
        self.parse_with(&expected, |text| {
            let found = choices.iter().find(|(name, _)| *name == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let hint = closest(text, names.iter().copied());
                let hint = hint.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
                format!("expected {expected}, found {}{hint}", shown(text))
            })
        })
    }

    /// A path; a relative one starts at the folder of this file.
    pub fn path_buf(&self) -> Option<PathBuf> {
        self.parse_with("a path", |text| match text {
            "" => Err("expected a path, found nothing".to_owned()),
            text => Ok(self.context.directory.join(text)),
        })
    }

    /// A secret. From here on no error shows it.
    pub fn secret(&self) -> Option<Secret> {
        self.node.scalar_places(&mut |place| self.context.notes.hide_secret(place));
        self.str().map(Secret::inline)
    }

    /// A list of values. A null is an empty list.
    pub fn list(&self) -> Option<Vec<Value<'d>>> {
        match self.node.content() {
            Content::Sequence(items) => {
                let item =
                    |(index, node)| Value { context: self.context, path: item_path(&self.path, index), node };
                Some(items.iter().enumerate().map(item).collect())
            }
            _ if self.node.is_null() => Some(Vec::new()),
            _ => self.unexpected("a list"),
        }
    }

    /// A list of texts.
    pub fn strings(&self) -> Option<Vec<String>> {
        self.list()?.iter().map(Value::str).collect()
    }

    /// Keys and values. A null has none.
    pub fn section(&self) -> Option<Section<'d>> {
        let entries = match self.node.content() {
            Content::Mapping(entries) => entries.as_slice(),
            _ if self.node.is_null() => &[],
            _ => return self.unexpected("keys and values"),
        };
        Some(Section::new(self.context, self.path.clone(), self.node.place(), entries))
    }

    fn text(&self, expected: &str) -> Option<Text<'d>> {
        let Content::Scalar { text, .. } = self.node.content() else {
            return self.unexpected(expected);
        };
        if self.node.is_null() {
            return self.unexpected(expected);
        }
        match self.context.environment.expand(text) {
            Ok(expanded) => {
                let from_environment = matches!(expanded, Cow::Owned(_));
                Some(Text { text: expanded, from_environment })
            }
            Err(error) => {
                let reference = text.get(error.range).unwrap_or_default();
                self.context.notes.add(self.place_of(reference), &self.path, || error.message);
                None
            }
        }
    }

    /// Where a part of the text stands in the file; the whole value if quoting hides it.
    fn place_of(&self, part: &str) -> Range<usize> {
        let whole = self.node.place();
        match self.context.source.slice(whole.clone()).find(part) {
            Some(at) => whole.start + at..whole.start + at + part.len(),
            None => whole,
        }
    }

    fn unexpected<T>(&self, expected: &str) -> Option<T> {
        let found = match self.node.content() {
            _ if self.node.is_null() => "nothing".to_owned(),
            Content::Scalar { text, .. } => shown(text),
            Content::Sequence(_) => "a list".to_owned(),
            Content::Mapping(_) => "keys and values".to_owned(),
        };
        self.error(format!("expected {expected}, found {found}"));
        None
    }
}

/// A value in quotes, cut to what fits a message.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("{short:?}")
}

/// The path of a key below `path`.
pub(super) fn child_path(path: &str, key: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let key = if !key.is_empty() && key.bytes().all(is_plain) && key.len() <= 60 {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(shown(key))
    };
    if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") }
}

/// The path of an item of the list at `path`.
pub(super) fn item_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
