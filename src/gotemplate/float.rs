//! Numbers with a fraction as Go's `strconv.FormatFloat` prints them and `ParseFloat` reads them.
//!
//! Invariant: digits are exact, ties go to the even one; an exponent has a sign and at least two digits.
//!
//! Source: Go's `strconv`, `ftoa.go` and `atof.go`.

/// The number in one of the forms `e`, `E`, `f`, `F`, `g`, `G`, `x`, `X`, `b`; `precision` `None`: as many digits as
/// tell it from its neighbours.
pub fn format_float(value: f64, form: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match form {
        'e' | 'E' => with_exponent(value, precision, form),
        'f' | 'F' => fixed(value, precision),
        'x' | 'X' => hexadecimal(value, precision, form),
        'b' => {
            let (negative, mantissa, exponent) = parts(value);
            format!("{}{mantissa}p{exponent:+}", if negative { "-" } else { "" })
        }
        _ => general(value, precision, if form == 'G' { 'E' } else { 'e' }),
    }
}

/// As `%v` prints it.
pub(super) fn shortest(value: f64) -> String {
    format_float(value, 'g', None)
}

/// No `f64` has more digits than this that are not 0, and Rust's formatting takes no more than 65,535.
const MOST_DIGITS: usize = 1_100;

/// Without an exponent.
fn fixed(value: f64, precision: Option<usize>) -> String {
    let Some(digits) = precision else { return format!("{value}") };
    let mut text = format!("{value:.0$}", digits.min(MOST_DIGITS));
    text.extend(std::iter::repeat_n('0', digits.saturating_sub(MOST_DIGITS)));
    text
}

/// Rust's `1.5e3` as Go's `1.5e+03`.
fn with_exponent(value: f64, precision: Option<usize>, letter: char) -> String {
    let text = match precision {
        Some(digits) => format!("{value:.0$e}", digits.min(MOST_DIGITS)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let zeros = "0".repeat(precision.unwrap_or(0).saturating_sub(MOST_DIGITS));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{zeros}{letter}{sign}{digits:0>2}")
}

/// With an exponent only where the number is far from one.
fn general(value: f64, precision: Option<usize>, letter: char) -> String {
    let digits = precision.map(|digits| digits.clamp(1, MOST_DIGITS));
    let text = match digits {
        Some(digits) => format!("{value:.0$e}", digits - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    // Zeros at the end do not count as digits.
    let significant = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').bytes().filter(u8::is_ascii_digit).count().max(1),
        false => 1,
    };
    let threshold = digits.map_or(6, |digits| digits as i64);
    if exponent < -4 || exponent >= threshold {
        return with_exponent(value, Some(significant - 1), letter);
    }
    let behind_point = (significant as i64 - 1 - exponent).max(0);
    fixed(value, usize::try_from(behind_point).ok())
}

/// Sign, mantissa and power of two.
fn parts(value: f64) -> (bool, u64, i64) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = ((bits >> 52) & 0x7ff) as i64;
    match exponent {
        0 => (value.is_sign_negative(), fraction, -1074),
        _ => (value.is_sign_negative(), fraction | (1 << 52), exponent - 1075),
    }
}

/// `-0x1.8p+00`.
fn hexadecimal(value: f64, precision: Option<usize>, form: char) -> String {
    let (negative, mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // One digit before the point, thirteen behind it.
        let shift = i64::from(mantissa.leading_zeros()) - 11;
        mantissa <<= shift;
        exponent += 52 - shift;
    }
    if let Some(digits) = precision.filter(|digits| *digits < 13) {
        let dropped = (13 - digits) * 4;
        let (kept, rest, half) =
            (mantissa >> dropped, mantissa & ((1 << dropped) - 1), 1_u64 << (dropped - 1));
        let up = rest > half || (rest == half && kept & 1 == 1);
        mantissa = (kept + u64::from(up)) << dropped;
        if mantissa >> 53 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let all = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let digits = match precision {
        Some(digits) => {
            all.get(..digits.min(13)).unwrap_or_default().to_owned() + &"0".repeat(digits.saturating_sub(13))
        }
        None => all.trim_end_matches('0').to_owned(),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let (sign, before) = (if negative { "-" } else { "" }, mantissa >> 52);
    let (exponent_sign, magnitude) = (if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs());
    let text = format!("{sign}0x{before}{point}{digits}p{exponent_sign}{magnitude:02}");
    if form == 'X' { text.to_uppercase() } else { text }
}

/// Why a text is no number: the end of Go's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotANumber {
    Syntax,
    Range,
}

/// The value of a text as Go's `strconv.ParseFloat` reads it.
///
/// # Errors
/// In Go's words.
pub fn parse_float(text: &str) -> Result<f64, String> {
    parsed(text).map_err(|why| {
        let why = match why {
            NotANumber::Syntax => "invalid syntax",
            NotANumber::Range => "value out of range",
        };
        format!("strconv.ParseFloat: parsing {}: {why}", crate::model::Quoted(text))
    })
}

pub(super) fn parsed(text: &str) -> Result<f64, NotANumber> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let magnitude = match lower.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" if unsigned.len() == text.len() => f64::NAN,
        _ if !underscores_are_between_digits(&lower) => return Err(NotANumber::Syntax),
        _ => {
            let digits = lower.replace('_', "");
            let value = match digits.strip_prefix("0x") {
                Some(rest) => parsed_hexadecimal(rest)?,
                // Rust reads words, too.
                None if digits.contains(|c: char| c.is_ascii_alphabetic() && c != 'e') => {
                    return Err(NotANumber::Syntax);
                }
                None => {
                    // Rust takes a sign of its own.
                    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
                    digits.parse().ok().filter(|_| plain).ok_or(NotANumber::Syntax)?
                }
            };
            if f64::is_infinite(value) {
                return Err(NotANumber::Range);
            }
            value
        }
    };
    Ok(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// `1.8p4` behind `0x`: a mantissa and a power of two, which must be there.
fn parsed_hexadecimal(text: &str) -> Result<f64, NotANumber> {
    let (mantissa, power) = text.split_once('p').ok_or(NotANumber::Syntax)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(NotANumber::Syntax);
    }
    let mut power = power_of_two(power).ok_or(NotANumber::Syntax)?;
    let mut value: u64 = 0;
    let mut lost = false;
    for (behind_point, digit) in whole.chars().map(|c| (false, c)).chain(fraction.chars().map(|c| (true, c)))
    {
        let digit = u64::from(digit.to_digit(16).ok_or(NotANumber::Syntax)?);
        if value >> 58 == 0 {
            value = value << 4 | digit;
            power = power.saturating_sub(if behind_point { 4 } else { 0 });
        } else {
            // Below half of the last bit; only whether there was something counts.
            lost |= digit != 0;
            power = power.saturating_add(if behind_point { 0 } else { 4 });
        }
    }
    if value == 0 {
        return Ok(0.0);
    }
    let value = (value | u64::from(lost)) as f64;
    // In two steps, so that neither power is out of range where their product is not.
    let half = i32::try_from(power.clamp(-2400, 2400) / 2).unwrap_or(0);
    let other = i32::try_from(power.clamp(-2400, 2400)).unwrap_or(0) - half;
    Ok(value * 2_f64.powi(half) * 2_f64.powi(other))
}

/// A power in digits, perhaps with a sign; what no number can hold is as good as the largest.
fn power_of_two(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse().unwrap_or(i64::MAX);
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// Where Go takes `_` in numbers: between digits, or between a prefix such as `0x` and a digit. Letters are digits of
/// hexadecimal numbers only: in `1_e5` the `e` is none.
pub(super) fn underscores_are_between_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hexadecimal = matches!(bytes, [b'0', b'x' | b'X', ..]);
    let is_digit = |at: Option<&u8>| {
        at.is_some_and(|b| if hexadecimal { b.is_ascii_hexdigit() } else { b.is_ascii_digit() })
    };
    bytes.iter().enumerate().filter(|(_, b)| **b == b'_').all(|(at, _)| {
        let behind_prefix = at == 2 && matches!(bytes, [b'0', b'x' | b'X' | b'b' | b'B' | b'o' | b'O', ..]);
        (behind_prefix || is_digit(at.checked_sub(1).and_then(|before| bytes.get(before))))
            && is_digit(bytes.get(at + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortest_form() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1e5, "100000"),
            (1e6, "1e+06"),
            (123_456.7, "123456.7"),
            (123_456_789.0, "1.23456789e+08"),
            (1.5e10, "1.5e+10"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(shortest(value), text);
        }
    }

    #[test]
    fn forms_and_precisions() {
        for (value, form, precision, text) in [
            (999.96, 'g', Some(4), "1000"),
            (1_234_567.0, 'g', Some(4), "1.235e+06"),
            (100.0, 'g', Some(4), "100"),
            (0.5, 'f', Some(0), "0"),
            (2.5, 'e', Some(0), "2e+00"),
            (1.5, 'x', None, "0x1.8p+00"),
            (1.5, 'X', Some(2), "0X1.80P+00"),
            (1.999_999, 'x', Some(1), "0x1.0p+01"),
            (0.0, 'x', None, "0x0p+00"),
            (5e-324, 'x', None, "0x1p-1074"),
            (1.5, 'b', None, "6755399441055744p-52"),
            (1.5e30, 'G', None, "1.5E+30"),
        ] {
            assert_eq!(format_float(value, form, precision), text);
        }
    }

    #[test]
    fn texts_as_go_reads_them() {
        for (text, value) in [
            ("1.5", 1.5),
            ("-1e3", -1e3),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("1_000.5", 1000.5),
            ("0x1p4", 16.0),
            ("0x.8p1", 1.0),
            ("1_0e1_0", 1e11),
            ("0x1_ep1_0", 30_720.0),
            ("0x1p-99999999999999999999", 0.0),
            ("0x0p99999999999999999999", 0.0),
            ("-Inf", f64::NEG_INFINITY),
            ("infinity", f64::INFINITY),
        ] {
            assert_eq!(parsed(text), Ok(value), "{text}");
        }
        for text in [
            "", "x", "0x10", "1__0", "_1", "1_", "--1", "+-1", "1e", "1f", "+nan", "0xp1", ".", "e5", "1 ",
            "1_e5", "1e_5", "0x1_p1", "0x1p_1", "0x1p+-5", "0x1p", "0x1p+",
        ] {
            assert_eq!(parsed(text), Err(NotANumber::Syntax), "{text}");
        }
        for text in ["1e400", "0x1p99999999999999999999"] {
            assert_eq!(parsed(text), Err(NotANumber::Range), "{text}");
        }
        assert!(parsed("NaN").is_ok_and(f64::is_nan));
    }
}
