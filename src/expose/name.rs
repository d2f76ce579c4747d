//! Metric and label names that are not classic: told apart, and escaped.
//!
//! Source: Prometheus's "Escaping schemes". Classic names pass every scheme unchanged. Characters are
//! Unicode scalar values; `:` is allowed in metric names only.

use std::borrow::Cow;

use super::Escaping;

/// Whether a name is of a metric or of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameOf {
    Metric,
    Label,
}

/// Whether a byte may stand in a classic label name after its first. Names are checked on each scrape.
#[expect(clippy::indexing_slicing, reason = "at compile time, within the table's length")]
const IN_LABEL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = byte < 128 && (byte as u8).is_ascii_alphanumeric() || byte == b'_' as usize;
        byte += 1;
    }
    table
};

impl NameOf {
    const fn allows(self, byte: u8, first: bool) -> bool {
        byte.is_ascii_alphabetic()
            || byte == b'_'
            || (byte == b':' && matches!(self, Self::Metric))
            || (byte.is_ascii_digit() && !first)
    }

    /// Whether `byte` may stand in a classic name after its first.
    pub(super) const fn continues(self, byte: u8) -> bool {
        self.allows(byte, false)
    }

    fn allows_char(self, c: char, first: bool) -> bool {
        u8::try_from(c).is_ok_and(|byte| self.allows(byte, first))
    }

    /// Whether `name` needs neither quotes nor escaping.
    pub(super) fn is_classic(self, name: &str) -> bool {
        match name.as_bytes() {
            [] => false,
            [first, rest @ ..] => {
                let in_label = |byte: &u8| IN_LABEL.get(usize::from(*byte)).is_some_and(|allowed| *allowed);
                self.allows(*first, true)
                    && (rest.iter().all(in_label) || rest.iter().all(|byte| self.allows(*byte, false)))
            }
        }
    }

    /// `name` as the scheme writes it. Only [`Escaping::AllowUtf8`] leaves names that need quotes.
    pub(super) fn escape(self, name: &str, scheme: Escaping) -> Cow<'_, str> {
        if scheme == Escaping::AllowUtf8 || name.is_empty() || self.is_classic(name) {
            return Cow::Borrowed(name);
        }
        let mut escaped = String::with_capacity(2 * name.len() + 3);
        if scheme == Escaping::Values {
            escaped.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            let allowed = self.allows_char(c, at == 0);
            match scheme {
                Escaping::Dots if c == '.' => escaped.push_str("_dot_"),
                Escaping::Dots if c == '_' || !allowed => escaped.push_str("__"),
                Escaping::Values if c == '_' => escaped.push_str("__"),
                Escaping::Values if !allowed => {
                    // Writing to a String cannot fail.
                    let _ = std::fmt::Write::write_fmt(&mut escaped, format_args!("_{:x}_", u32::from(c)));
                }
                _ if allowed => escaped.push(c),
                _ => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        for (name, underscores, dots, values) in [
            ("classic:name_1", "classic:name_1", "classic:name_1", "classic:name_1"),
            ("http.status_code", "http_status_code", "http_dot_status__code", "U__http_2e_status__code"),
            ("1st", "_st", "__st", "U___31_st"),
            ("a b", "a_b", "a__b", "U__a_20_b"),
            ("größe", "gr__e", "gr____e", "U__gr_f6__df_e"),
            ("😀", "_", "__", "U___1f600_"),
            ("", "", "", ""),
        ] {
            assert_eq!(NameOf::Metric.escape(name, Escaping::AllowUtf8), name);
            assert_eq!(NameOf::Metric.escape(name, Escaping::Underscores), underscores, "{name}");
            assert_eq!(NameOf::Metric.escape(name, Escaping::Dots), dots, "{name}");
            assert_eq!(NameOf::Metric.escape(name, Escaping::Values), values, "{name}");
        }
        assert_eq!(NameOf::Label.escape("a:b", Escaping::Underscores), "a_b");
        assert_eq!(NameOf::Label.escape("a:b", Escaping::Values), "U__a_3a_b");
    }

    #[test]
    fn classic() {
        assert!(NameOf::Metric.is_classic("a:b_9") && NameOf::Label.is_classic("_9"));
        for bad in ["", "9a", "é", "a-b", "a.b"] {
            assert!(!NameOf::Metric.is_classic(bad) && !NameOf::Label.is_classic(bad), "{bad}");
        }
        assert!(!NameOf::Label.is_classic("a:b"));
    }
}
