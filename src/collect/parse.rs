//! Small parsers over bytes, shared by the collectors. No allocation, no panic on any input.

/// Lines without their terminator; an unterminated last line counts.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at_checked(end)?;
        rest = tail.get(1..).unwrap_or_default();
        Some(line)
    })
}

/// Fields separated by runs of white space.
pub const fn fields(line: &[u8]) -> Fields<'_> {
    Fields { rest: line }
}

/// See [`fields`]. Most bytes of most files go through here.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let begin = self.rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let rest = self.rest.get(begin..)?;
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (field, rest) = rest.split_at_checked(end)?;
        self.rest = rest;
        Some(field)
    }
}

/// Text before and after the first `separator`, untrimmed.
pub fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// An unsigned decimal number filling all of `digits`; `None` beyond `u64::MAX`.
pub fn unsigned(digits: &[u8]) -> Option<u64> {
    /// So many digits never make too large a number.
    const SAFE_DIGITS: usize = 19;
    if digits.is_empty() {
        return None;
    }
    if digits.len() <= SAFE_DIGITS {
        let mut number = 0_u64;
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        }
        return Some(number);
    }
    digits.iter().try_fold(0_u64, |n, b| {
        if !b.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}

/// A signed decimal number filling all of `digits`.
pub fn signed(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A hexadecimal number, with or without `0x`.
pub fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let digits = digits.strip_prefix(b"0x").or_else(|| digits.strip_prefix(b"0X")).unwrap_or(digits);
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A decimal number, whole or not, as a sample's value.
#[allow(clippy::cast_precision_loss, reason = "samples are f64; Prometheus loses the same bits")]
pub fn number(text: &[u8]) -> Option<f64> {
    match unsigned(text) {
        Some(n) => Some(n as f64),
        None => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// A counter as a sample's value: exact up to 2^53, as every Prometheus exporter.
#[allow(clippy::cast_precision_loss, reason = "samples are f64; Prometheus loses the same bits")]
pub const fn value(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_fields() {
        assert_eq!(lines(b"a\n\nb").collect::<Vec<_>>(), [b"a".as_slice(), b"", b"b"]);
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(fields(b" a\t b  c ").collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        assert_eq!(fields(b"\x0ca\r").collect::<Vec<_>>(), [b"a"]);
        assert_eq!((fields(b" \n").count(), fields(b"").count()), (0, 0));
        assert_eq!(split_once(b"k: v", b':'), Some((b"k".as_slice(), b" v".as_slice())));
        assert_eq!(split_once(b"k", b':'), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(unsigned(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
        assert_eq!(unsigned(b"000000000000000000000000007"), Some(7));
        for bad in [b"18446744073709551616".as_slice(), b"", b"-1", b"1 ", b"x"] {
            assert_eq!(unsigned(bad), None);
        }
        assert_eq!(number(b"18446744073709551616"), Some(18_446_744_073_709_551_616.0));
        assert_eq!(number(b"-1.5e3"), Some(-1500.0));
        assert_eq!(signed(b"-7"), Some(-7));
        assert_eq!(
            (hexadecimal(b"0x1f"), hexadecimal(b"ff"), hexadecimal(b"g")),
            (Some(31), Some(255), None)
        );
    }
}
