//! JSON as Prometheus's API writes it, appended to bytes: for the answers that can be large.
//!
//! Texts are written as Go's encoder does, which escapes what HTML would take for markup; labels, which Prometheus
//! writes by hand, are not.
//!
//! Source: Prometheus `web/api/v1/json_codec.go`, `util/jsonutil`; Go's `encoding/json`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::model::Labels;

/// Writes anything that serializes.
pub(super) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Escaping);
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// Writes a text in quotes, safe within HTML.
pub(super) fn write_text(mut out: &mut dyn Write, text: &str) -> io::Result<()> {
    write_json(&mut out, &text)
}

/// Escapes what HTML and JavaScript would take for something else.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, odd)) = rest.char_indices().find(|(_, c)| ODD.contains(c)) {
            let (plain, tail) = rest.split_at(at);
            write!(out, "{plain}\\u{:04x}", u32::from(odd))?;
            rest = tail.get(odd.len_utf8()..).unwrap_or_default();
        }
        out.write_all(rest.as_bytes())
    }
}

const ODD: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];

/// Writes a label in quotes.
fn write_string(out: &mut (impl Write + ?Sized), text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, tail) = rest.split_at(at);
        out.write_all(plain.as_bytes())?;
        let mut chars = tail.chars();
        match chars.next() {
            Some('"') => out.write_all(b"\\\"")?,
            Some('\\') => out.write_all(b"\\\\")?,
            Some('\n') => out.write_all(b"\\n")?,
            Some('\r') => out.write_all(b"\\r")?,
            Some('\t') => out.write_all(b"\\t")?,
            Some(control) => write!(out, "\\u{:04x}", u32::from(control))?,
            None => {}
        }
        rest = chars.as_str();
    }
    out.write_all(rest.as_bytes())?;
    out.write_all(b"\"")
}

/// Writes `{"name":"value",...}`.
pub(super) fn write_labels(out: &mut (impl Write + ?Sized), labels: &Labels) -> io::Result<()> {
    write_pairs(out, labels.iter())
}

/// Writes names and values as [`write_labels`] does; values may be empty.
pub(super) fn write_pairs<'a>(
    out: &mut (impl Write + ?Sized),
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    out.write_all(b"{")?;
    for (at, (name, value)) in pairs.enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        write_string(out, name)?;
        out.write_all(b":")?;
        write_string(out, value)?;
    }
    out.write_all(b"}")
}

/// Writes `[seconds,"value"]`.
pub(super) fn write_point(out: &mut (impl Write + ?Sized), at_ms: i64, value: f64) -> io::Result<()> {
    out.write_all(b"[")?;
    write_timestamp(out, at_ms)?;
    out.write_all(b",\"")?;
    write_float(out, value)?;
    out.write_all(b"\"]")
}

/// Writes milliseconds as seconds, as a number: `1435781430.5`. Scalars and texts have theirs so.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus: exact for 285,000 years")]
pub(super) fn write_seconds(out: &mut (impl Write + ?Sized), at_ms: i64) -> io::Result<()> {
    write_float(out, at_ms as f64 / 1_000.0)
}

/// Writes milliseconds as seconds, with all of a fraction's digits: `1435781430.500`, `5`.
fn write_timestamp(out: &mut (impl Write + ?Sized), at_ms: i64) -> io::Result<()> {
    if at_ms < 0 {
        out.write_all(b"-")?;
    }
    let magnitude = at_ms.unsigned_abs();
    out.write_all(itoa::Buffer::new().format(magnitude / 1_000).as_bytes())?;
    match magnitude % 1_000 {
        0 => Ok(()),
        fraction => write!(out, ".{fraction:03}"),
    }
}

/// Writes a value: Go's shortest `f` format, `e` below 1e-6 and from 1e21 on.
pub(super) fn write_float(out: &mut (impl Write + ?Sized), value: f64) -> io::Result<()> {
    let magnitude = value.abs();
    if value.is_nan() {
        return out.write_all(b"NaN");
    }
    if value.is_infinite() {
        return out.write_all(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if magnitude < 9e15 && magnitude.trunc() == magnitude && !(value == 0.0 && value.is_sign_negative()) {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        return out.write_all(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        // Rust writes 1.5e-7, Go 1.5e-07.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |rest| ("-", rest));
        return write!(out, "{digits}e{sign}{exponent:0>2}");
    }
    // Shortest digits that read back as the same value, without exponent.
    write!(out, "{value}")
}

/// A value as answers have it.
pub fn shown_value(value: f64) -> String {
    let mut out = Vec::new();
    // Writing into memory cannot fail.
    let _ = write_float(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_safe_within_html_and_labels_are_written_as_they_are() {
        let text = "a<b> & \"c\"\u{2028}\n";
        assert_eq!(written(|out| write_text(out, text)), r#""a\u003cb\u003e \u0026 \"c\"\u2028\n""#);
        let labels = Labels::from_pairs([("a", "<&>\"")]);
        assert_eq!(written(|out| write_labels(out, &labels)), r#"{"a":"<&>\""}"#);
    }

    #[test]
    fn values_are_written_as_go_does() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e6, "1000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (1e-6, "0.000001"),
            (-1e-300, "-1e-300"),
            (0.1 + 0.2, "0.30000000000000004"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(written(|out| write_float(out, value)), text);
        }
    }

    #[test]
    fn points_labels_and_texts() {
        assert_eq!(written(|out| write_point(out, 1_435_781_430_781, 1.0)), r#"[1435781430.781,"1"]"#);
        assert_eq!(written(|out| write_point(out, 5_000, 1.0)), r#"[5,"1"]"#);
        assert_eq!(written(|out| write_point(out, -1_005, 1.0)), r#"[-1.005,"1"]"#);
        let labels = Labels::from_pairs([("b", "x\"\\\n\u{1}é<"), ("__name__", "up")]);
        let text = written(|out| write_labels(out, &labels));
        assert_eq!(text, "{\"__name__\":\"up\",\"b\":\"x\\\"\\\\\\n\\u0001é<\"}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
