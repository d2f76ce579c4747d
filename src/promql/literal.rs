//! Numbers, durations and quoted texts of PromQL as values.
//!
//! Source: Go's literals (`strconv`), which Prometheus's are; durations as in Prometheus's `model` package.

/// The value of a number: decimal, `0x`, octal after a leading 0, `_` between digits, `Inf`, `NaN`.
///
/// # Errors
/// No number, or too large a one; worded as Go's `strconv` does.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let refused = |why: &str| format!("strconv.ParseFloat: parsing {text:?}: {why}");
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    if !underscores_are_between_digits(text) {
        return Err(refused("invalid syntax"));
    }
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let lower = digits.to_ascii_lowercase();
    if let Some(hexadecimal) = lower.strip_prefix("0x") {
        let value = i64::from_str_radix(hexadecimal, 16).map_err(|_| refused("invalid syntax"))?;
        return Ok(value as f64);
    }
    if lower.len() > 1
        && lower.starts_with('0')
        && let Ok(value) = i64::from_str_radix(&lower, 8)
    {
        return Ok(value as f64);
    }
    match lower.parse::<f64>() {
        Ok(value) if value.is_infinite() => Err(refused("value out of range")),
        Ok(value) => Ok(value),
        Err(_) => Err(refused("invalid syntax")),
    }
}

fn underscores_are_between_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<&u8>| at.is_some_and(u8::is_ascii_hexdigit);
    bytes.iter().enumerate().filter(|(_, b)| **b == b'_').all(|(at, _)| {
        let behind_prefix = at == 2 && matches!(bytes, [b'0', b'x' | b'X', ..]);
        (behind_prefix || is_digit(at.checked_sub(1).and_then(|i| bytes.get(i))))
            && is_digit(bytes.get(at + 1))
    })
}

/// Units in falling order, with their milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration: 64 bits of nanoseconds.
const LONGEST_MS: i64 = i64::MAX / 1_000_000;

/// Milliseconds of `1h30m` and its like; more than zero.
///
/// # Errors
/// Worded as Prometheus does.
pub(super) fn duration_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    let out_of_range = || "duration out of range".to_owned();
    let (mut rest, mut units, mut total_ms) = (text, UNITS.as_slice(), 0_i64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, tail) = rest.split_at_checked(digits).ok_or_else(invalid)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(invalid)?;
        // More than 64 bits is no number to Go.
        let count: u64 = count.parse().map_err(|_| invalid())?;
        if unit.is_empty() {
            return Err(invalid());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        }
        let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let (_, unit_ms) = units.get(at).ok_or_else(invalid)?;
        let ms = i64::try_from(count).ok().and_then(|n| n.checked_mul(*unit_ms));
        total_ms = ms.and_then(|ms| total_ms.checked_add(ms)).ok_or_else(out_of_range)?;
        if total_ms > LONGEST_MS {
            return Err(out_of_range());
        }
        units = units.get(at + 1..).unwrap_or_default();
        rest = tail;
    }
    match total_ms {
        0 => Err("duration must be greater than 0".to_owned()),
        ms => Ok(ms),
    }
}

/// The bytes of a quoted text, which the lexer has found to be well formed. They need not be UTF-8: `"\xff"`.
pub(super) fn unquoted(text: &str) -> Vec<u8> {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(inner.len());
    if text.starts_with('`') {
        bytes.extend_from_slice(inner.as_bytes());
        return bytes;
    }
    let mut chars = inner.chars();
    let mut utf8 = [0; 4];
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            continue;
        }
        match chars.next() {
            Some('a') => bytes.push(7),
            Some('b') => bytes.push(8),
            Some('f') => bytes.push(12),
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('v') => bytes.push(11),
            Some('x') => bytes.push(byte(digits(&mut chars, 0, 2, 16))),
            Some('u') => push_char(&mut bytes, digits(&mut chars, 0, 4, 16)),
            Some('U') => push_char(&mut bytes, digits(&mut chars, 0, 8, 16)),
            Some(c @ '0'..='7') => {
                let first = c.to_digit(8).unwrap_or_default();
                bytes.push(byte(digits(&mut chars, first, 2, 8)));
            }
            Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
            None => {}
        }
    }
    bytes
}

fn digits(chars: &mut std::str::Chars<'_>, first: u32, count: usize, base: u32) -> u32 {
    chars
        .take(count)
        .fold(first, |value, c| value.wrapping_mul(base).wrapping_add(c.to_digit(base).unwrap_or_default()))
}

fn byte(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn push_char(bytes: &mut Vec<u8>, value: u32) {
    let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        for (text, value) in [
            ("1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("5e-3", 0.005),
            ("0x1f", 31.0),
            ("0X_AF", 175.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("00", 0.0),
            ("1_000", 1000.0),
            ("1_000.5_0e1_0", 1000.5e10),
            ("0x1_0", 16.0),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        assert!(number("NaN").is_ok_and(f64::is_nan) && number("iNf") == Ok(f64::INFINITY));
        for (text, why) in [
            ("0xffffffffffffffff", "invalid syntax"),
            ("0x1.8", "invalid syntax"),
            ("0x", "invalid syntax"),
            ("1__0", "invalid syntax"),
            ("1_", "invalid syntax"),
            ("1e999", "value out of range"),
        ] {
            assert_eq!(number(text), Err(format!("strconv.ParseFloat: parsing {text:?}: {why}")));
        }
    }

    #[test]
    fn durations_are_prometheus_s() {
        assert_eq!(duration_ms("1d2h3m4s5ms"), Ok(93_784_005));
        for (text, why) in [
            ("5s5m", "not a valid duration string: \"5s5m\""),
            ("5.5m", "unknown unit \".\" in duration \"5.5m\""),
            ("0s", "duration must be greater than 0"),
            ("300y", "duration out of range"),
            ("99999999999999999999s", "not a valid duration string: \"99999999999999999999s\""),
        ] {
            assert_eq!(duration_ms(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn quoted_texts_are_gos() {
        for (text, bytes) in [
            (r#""a\"\n\t\x41\u00e9\U0001F600\101'""#, "a\"\n\tAé😀A'".as_bytes()),
            (r"'\''", b"'"),
            (r"`a\n`", br"a\n"),
            (r#""\xff\377""#, b"\xff\xff"),
            (r#""\a\b\f\r\v\\""#, b"\x07\x08\x0c\r\x0b\\"),
        ] {
            assert_eq!(unquoted(text), bytes, "{text}");
        }
    }
}
