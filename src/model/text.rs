//! Names and text: what is a valid metric or label name, and how foreign bytes become UTF-8.

use std::borrow::Cow;

/// Prometheus's classic metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn valid_metric_name(name: &str) -> bool {
    name.bytes()
        .enumerate()
        .all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || b == b':' || (i > 0 && b.is_ascii_digit()))
        && !name.is_empty()
}

/// Prometheus's classic label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn valid_label_name(name: &str) -> bool {
    valid_metric_name(name) && !name.contains(':')
}

/// Which metric and label names are allowed: Prometheus's `metric_name_validation_scheme`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameScheme {
    /// Any text that is not empty.
    #[default]
    Utf8,
    /// Only classic names.
    Legacy,
}

impl NameScheme {
    /// Whether a label may have this name.
    pub fn allows_label(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => valid_label_name(name),
        }
    }

    /// Whether a metric may have this name.
    pub fn allows_metric(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => valid_metric_name(name),
        }
    }
}

/// Bytes from the kernel as a label value: each run of invalid bytes becomes one U+FFFD, as
/// node_exporter (Go's `strings.ToValidUTF8`) does it. Valid input is borrowed.
pub fn valid_utf8(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(s) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(s);
    }
    let mut out = String::with_capacity(bytes.len() + 2);
    let mut in_bad_run = false;
    for chunk in bytes.utf8_chunks() {
        if !chunk.valid().is_empty() {
            out.push_str(chunk.valid());
            in_bad_run = false;
        }
        if !chunk.invalid().is_empty() && !in_bad_run {
            out.push('\u{FFFD}');
            in_bad_run = true;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for ok in ["a", "_x", "ns:rate5m", "A9"] {
            assert!(valid_metric_name(ok), "{ok}");
        }
        for bad in ["", "9a", "a-b", "é", "a b"] {
            assert!(!valid_metric_name(bad), "{bad}");
        }
        assert!(valid_label_name("le") && !valid_label_name("a:b") && !valid_label_name(""));
    }

    #[test]
    fn a_run_of_bad_bytes_becomes_one_replacement() {
        assert_eq!(valid_utf8(b"plain"), "plain");
        assert_eq!(valid_utf8(b"a\xff\xfe\xfdb"), "a\u{FFFD}b");
        assert_eq!(valid_utf8(b"\xff"), "\u{FFFD}");
        assert_eq!(valid_utf8(b"a\xffb\xffc"), "a\u{FFFD}b\u{FFFD}c");
    }
}
