//! Numbers as templates write them.
//!
//! Invariant: a number that fits several types is kept as each; which counts is decided where it is used.
//!
//! Source: Go's `text/template/parse`, `node.go`, and the literals of Go.

use std::sync::Arc;

use super::float::{parsed as parsed_float, underscores_are_between_digits};
use super::node::Number;
use super::unquote::unquoted_char;

/// `'x'`: the number of a character.
pub(super) fn character(text: &str) -> Result<Number, String> {
    let inner = text.strip_prefix('\'').unwrap_or(text);
    match unquoted_char(inner, '\'') {
        Some((c, "'")) => {
            let int = i64::from(u32::from(c));
            Ok(Number { text: Arc::from(text), int: Some(int), float: Some(int as f64), is_float: false })
        }
        Some(_) => Err(format!("malformed character constant: {text}")),
        None => Err("invalid syntax".to_owned()),
    }
}

/// A whole number or one with a fraction.
pub(super) fn parsed(text: &str) -> Result<Number, String> {
    let quoted = crate::model::Quoted(text);
    if text.ends_with('i') {
        return Err(format!("complex numbers are not supported: {quoted}"));
    }
    let mut number = Number {
        text: Arc::from(text),
        int: whole(text).and_then(|value| i64::try_from(value).ok()),
        float: None,
        is_float: false,
    };
    if let Some(int) = number.int {
        number.float = Some(int as f64);
        return Ok(number);
    }
    if let Some(value) = whole(text).and_then(|value| u64::try_from(value).ok()) {
        // It fits no `int`; whoever wants one says so.
        number.float = Some(value as f64);
        return Ok(number);
    }
    let Ok(value) = parsed_float(text) else {
        return Err(format!("illegal number syntax: {quoted}"));
    };
    if !text.contains(['.', 'e', 'E', 'p', 'P']) {
        return Err(format!("integer overflow: {quoted}"));
    }
    number.float = Some(value);
    number.is_float = true;
    // 2^63 as a float is one too many.
    if value.fract() == 0.0 && (i64::MIN as f64..-(i64::MIN as f64)).contains(&value) {
        number.int = Some(value as i64);
    }
    Ok(number)
}

/// A whole number in Go's notation; a leading 0 makes it octal.
fn whole(text: &str) -> Option<i128> {
    if !underscores_are_between_digits(text.trim_start_matches(['+', '-'])) {
        return None;
    }
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    let digits = digits.replace('_', "");
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(&digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, int, float) in [
            ("0", Some(0), 0.0),
            ("-5", Some(-5), -5.0),
            ("+5", Some(5), 5.0),
            ("0777", Some(511), 511.0),
            ("0o17", Some(15), 15.0),
            ("0b11", Some(3), 3.0),
            ("1_000", Some(1000), 1000.0),
            ("0x10", Some(16), 16.0),
            ("1e3", Some(1000), 1000.0),
            ("1.5", None, 1.5),
            ("18446744073709551615", None, 18_446_744_073_709_551_615.0),
            ("9223372036854775808.0", None, 9_223_372_036_854_775_808.0),
        ] {
            let number = parsed(text).expect(text);
            assert_eq!((number.int, number.float), (int, Some(float)), "{text}");
        }
        for text in ["08", "99999999999999999999"] {
            assert_eq!(parsed(text).expect_err(text), format!("integer overflow: {text:?}"));
        }
        for text in ["1e400", "-", "0x", "1__0"] {
            assert_eq!(parsed(text).expect_err(text), format!("illegal number syntax: {text:?}"));
        }
    }
}
