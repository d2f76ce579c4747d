//! A series' identity: label names and values, sorted, in one allocation.
//!
//! Invariants: sorted by name in byte order, no name twice, no empty value (an absent label and an empty one
//! are the same to Prometheus), but for annotations ([`Labels::texts`]). The metric name is the label `__name__`. A clone costs a reference count.
//!
//! Shape: every text is preceded by its length in bytes, written as one `char` (three for long texts), so that
//! the whole is valid UTF-8 and needs no table of offsets.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// A set of labels. See the module's page for its shape.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

/// Lengths below this are one `char`; it lies below the surrogates, which are no `char`s.
const SHORT: usize = 0xD000;

/// Says that two more `char`s follow: the length divided by [`SHORT`], and the remainder.
const LONG: char = '\u{10FFFF}';

impl Labels {
    /// No labels at all.
    pub fn empty() -> Self {
        Self(Arc::from(""))
    }

    /// From pairs in any order. Empty values are left out; of a name that comes twice the last counts.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let mut sorted: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        // Stable, and from behind: the last of equal names comes first and is the one that stays.
        sorted.reverse();
        sorted.sort_by_key(|(name, _)| *name);
        sorted.dedup_by_key(|(name, _)| *name);
        Self::pack(sorted.into_iter())
    }

    /// From pairs in any order, for annotations: they are texts about a series, and one without a value is one. What
    /// compares or looks up labels must not be given these.
    pub fn texts<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let sorted: BTreeMap<String, String> =
            pairs.into_iter().map(|(n, v)| (n.as_ref().to_owned(), v.as_ref().to_owned())).collect();
        let mut packed = String::new();
        for text in sorted.iter().flat_map(|(name, value)| [name, value]) {
            push_text(&mut packed, text);
        }
        Self(Arc::from(packed))
    }

    /// From pairs that are sorted by name and hold no name twice. Empty values are left out.
    pub fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        Self::pack(pairs)
    }

    fn pack<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut packed = String::with_capacity(128);
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            push_text(&mut packed, name);
            push_text(&mut packed, value);
        }
        Self(Arc::from(packed))
    }

    /// The labels in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// The value of a label; `None` where there is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().take_while(|(n, _)| *n <= name).find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The value of a label; "" where there is none, as matchers see it.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The metric name; "" where there is none.
    pub fn metric_name(&self) -> &str {
        self.value(METRIC_NAME)
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that all clones together hold.
    pub fn size_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }

    /// The same labels but those that `keep` refuses.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        if self.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self::pack(self.iter().filter(|(name, _)| keep(name)))
    }

    /// The same labels without the metric name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// The same labels with one set to a value; an empty value takes it away.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut sorted: Vec<(&str, &str)> = self.iter().filter(|(n, _)| *n != name).collect();
        let at = sorted.partition_point(|(n, _)| *n < name);
        sorted.insert(at, (name, value));
        Self::pack(sorted.into_iter())
    }

    /// A hash that is equal for equal labels, for tables that live as long as the process.
    pub fn hash64(&self) -> u64 {
        FxBuildHasher.hash_one(self)
    }

    /// The same hash over only the labels that `keep` names.
    pub fn hash64_of(&self, mut keep: impl FnMut(&str) -> bool) -> u64 {
        let mut hasher = FxBuildHasher.build_hasher();
        for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
            name.hash(&mut hasher);
            value.hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

/// Prometheus's order: pair by pair, a set that is the beginning of another comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus prints them: `{__name__="up", job="a"}`, names that are not plain in quotes.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match super::valid_label_name(name) {
                true => write!(f, "{name}=")?,
                false => write!(f, "{}=", Quoted(name))?,
            }
            write!(f, "{}", Quoted(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text in double quotes as Go's `strconv.Quote` writes it.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{b}' => f.write_str("\\v")?,
                c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(f, "\\x{:02x}", c as u32)?,
                c if is_printable(c) => write!(f, "{c}")?,
                c if (c as u32) < 0x1_0000 => write!(f, "\\u{:04x}", c as u32)?,
                c => write!(f, "\\U{:08x}", c as u32)?,
            }
        }
        f.write_str("\"")
    }
}

/// As Go's `strconv.IsPrint`: no controls, formats, private uses, nor spaces but the plain one.
fn is_printable(c: char) -> bool {
    // The standard library knows the same classes, and escapes what is not of them; marks only at the beginning.
    c.is_ascii() || {
        let mut behind_another = [b'a', 0, 0, 0, 0];
        let length = 1 + behind_another.get_mut(1..).map_or(0, |rest| c.encode_utf8(rest).len());
        let text = behind_another.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.is_some_and(|text| text.escape_debug().nth(1) == Some(c))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Labels in order. Made by [`Labels::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a str);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.text()?;
        let value = self.text()?;
        Some((name, value))
    }
}

impl<'a> Iter<'a> {
    fn text(&mut self) -> Option<&'a str> {
        let mut chars = self.0.chars();
        let mut length = chars.next()? as usize;
        if length == LONG as usize {
            length = chars.next()? as usize * SHORT + chars.next()? as usize;
        }
        let (text, rest) = chars.as_str().split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }
}

fn push_text(packed: &mut String, text: &str) {
    // Below SHORT, hence a `char`.
    let digit = |n: usize| u32::try_from(n).ok().and_then(char::from_u32).unwrap_or_default();
    if text.len() < SHORT {
        packed.push(digit(text.len()));
    } else {
        packed.extend([LONG, digit(text.len() / SHORT), digit(text.len() % SHORT)]);
    }
    packed.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_out_sorted_once_and_without_empty_values() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3"), ("__name__", "m")]);
        assert_eq!(labels.to_string(), r#"{__name__="m", a="1", b="3"}"#);
        assert_eq!(labels.metric_name(), "m");
        assert_eq!(
            (labels.get("b"), labels.get("c"), labels.value("c"), labels.len()),
            (Some("3"), None, "", 3)
        );
        assert_eq!(labels.with("a", ""), Labels::from_pairs([("b", "3"), ("__name__", "m")]));
        assert_eq!(labels.with("aa", "x").to_string(), r#"{__name__="m", a="1", aa="x", b="3"}"#);
        assert_eq!(labels.without_name().to_string(), r#"{a="1", b="3"}"#);
    }

    #[test]
    fn texts_of_every_length_survive() {
        for length in [0, 1, 127, 128, 2_047, 2_048, SHORT - 1, SHORT, SHORT + 1, 3 * SHORT + 7] {
            let value = "é".repeat(length / 2) + &"x".repeat(length % 2 + 1);
            let labels = Labels::from_pairs([("n", value.as_str()), ("z", "end")]);
            assert_eq!(labels.iter().collect::<Vec<_>>(), [("n", value.as_str()), ("z", "end")]);
        }
    }

    #[test]
    fn the_order_is_that_of_the_pairs() {
        let l = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let sorted =
            [l(&[]), l(&[("a", "1")]), l(&[("a", "1"), ("b", "1")]), l(&[("a", "10")]), l(&[("b", "0")])];
        assert!(sorted.is_sorted());
        assert_eq!(
            l(&[("a", "1"), ("b", "2")]).hash64_of(|n| n == "a"),
            l(&[("a", "1")]).hash64_of(|_| true)
        );
    }

    #[test]
    fn odd_texts_are_printed_as_go_quotes_them() {
        let labels = Labels::from_pairs([("a b", "q\"\\\n\u{1}\u{7f}é\u{200b}e\u{300}\u{a0}")]);
        assert_eq!(labels.to_string(), "{\"a b\"=\"q\\\"\\\\\\n\\x01\\x7fé\\u200be\u{300}\\u00a0\"}");
    }
}
