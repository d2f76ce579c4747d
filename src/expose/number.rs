//! Numbers as Go prints them, and as both formats allow them to be read.
//!
//! Text 0.0.4 uses `strconv.FormatFloat(v, 'g', -1, 64)`: the shortest digits that read back as the
//! same value, with an exponent of at least two digits below 1e-4 and from 1e6 on. OpenMetrics adds
//! `.0` to what looks like an integer. No allocation, no `fmt`.
//!
//! Unlike Go's client, which prints every zero as `0`, a negative zero keeps its sign.

/// Integers below this are exact in an `f64`, and so are their digits.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Appends `value` as text 0.0.4 writes it: `1`, `1e+06`, `0.0001`, `NaN`, `+Inf`, `-0`.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if let Some(whole) = exact_integer(magnitude) {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        push_integer(out, whole);
    } else if value.is_finite() {
        push_fraction(out, value);
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
}

/// Appends `value` as OpenMetrics writes it: as text 0.0.4, and `1.0` where that is `1`.
pub fn push_open_metrics_float(out: &mut Vec<u8>, value: f64) {
    push_float(out, value);
    // Integers from 1e6 on have an exponent already.
    if value.abs() < 1e6 && exact_integer(value.abs()).is_some() {
        out.extend_from_slice(b".0");
    }
}

/// Appends a count, a whole number without exponent or fraction where it is one.
pub(super) fn push_count(out: &mut Vec<u8>, value: f64) {
    match exact_integer(value) {
        Some(whole) => out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes()),
        None => push_open_metrics_float(out, value),
    }
}

/// The value as an integer where it is one from 0 to 2^53. `f64::trunc` would be a call into the C library.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "the comparison tells whether the conversion was exact"
)]
fn exact_integer(value: f64) -> Option<u64> {
    let whole = value as u64;
    ((0.0..EXACT_INTEGERS).contains(&value) && whole as f64 == value).then_some(whole)
}

/// Appends `milliseconds` as they are.
pub(super) fn push_millis(out: &mut Vec<u8>, milliseconds: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(milliseconds).as_bytes());
}

/// Appends `milliseconds` in seconds, with three decimals and no exponent: `1520879607.789`.
pub(super) fn push_seconds(out: &mut Vec<u8>, milliseconds: i64) {
    if milliseconds < 0 {
        out.push(b'-');
    }
    let magnitude = milliseconds.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(magnitude / 1_000).as_bytes());
    // 1_000 + fraction has exactly four digits; the first gives way to the point.
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(1_000 + magnitude % 1_000).as_bytes();
    out.push(b'.');
    out.extend_from_slice(digits.get(1..).unwrap_or_default());
}

fn push_integer(out: &mut Vec<u8>, value: u64) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    if digits.len() <= 6 {
        out.extend_from_slice(digits);
    } else {
        push_scientific(out, digits, exponent_of(digits.len(), 0));
    }
}

/// `value` is finite and not an integer below 2^53.
fn push_fraction(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value).as_bytes();
    if (1e-4..1e6).contains(&value.abs()) {
        // Plain decimals in both notations.
        out.extend_from_slice(shortest);
        return;
    }
    let shortest = match shortest {
        [b'-', rest @ ..] => {
            out.push(b'-');
            rest
        }
        rest => rest,
    };
    let mut digits = [0_u8; 24];
    let mut length = 0;
    let (mut before_point, mut leading_zeros, mut exponent) = (None, 0, 0);
    for (at, byte) in shortest.iter().enumerate() {
        match byte {
            b'.' => before_point = Some(length + leading_zeros),
            b'e' => {
                before_point = before_point.or(Some(length + leading_zeros));
                exponent = read_exponent(shortest.get(at + 1..).unwrap_or_default());
                break;
            }
            b'0' if length == 0 => leading_zeros += 1,
            digit => {
                if let Some(slot) = digits.get_mut(length) {
                    *slot = *digit;
                    length += 1;
                }
            }
        }
    }
    let before_point = before_point.unwrap_or(length + leading_zeros);
    let exponent = exponent + exponent_of(before_point, leading_zeros);
    push_scientific(out, digits.get(..length).unwrap_or_default(), exponent);
}

/// The exponent of the first significant digit, from the digits before the point.
fn exponent_of(before_point: usize, leading_zeros: usize) -> i32 {
    let small = |n: usize| i32::try_from(n).unwrap_or(0);
    small(before_point) - small(leading_zeros) - 1
}

fn read_exponent(text: &[u8]) -> i32 {
    let negative = text.first() == Some(&b'-');
    let digits = text.iter().filter(|b| b.is_ascii_digit());
    let magnitude = digits.fold(0_i32, |n, b| n.saturating_mul(10).saturating_add(i32::from(b - b'0')));
    if negative { -magnitude } else { magnitude }
}

fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let significant = digits.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1);
    if let Some((first, rest)) = digits.get(..significant).and_then(<[u8]>::split_first) {
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let magnitude = exponent.unsigned_abs();
    if magnitude < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
}

/// Reads a float as both formats allow it: decimal, `NaN`, `Inf` and `Infinity` in any case. `None`
/// for anything else, and for a number too large for 64 bits.
pub(super) fn read_float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let spelled = text.bytes().any(|b| matches!(b, b'i' | b'I' | b'n' | b'N'));
    match value {
        // Go reads neither "+NaN" nor "-NaN".
        v if v.is_nan() => text.eq_ignore_ascii_case("nan").then_some(v),
        v if v.is_infinite() => spelled.then_some(v),
        v => Some(v),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        push_float(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    fn open_metrics(value: f64) -> String {
        let mut out = Vec::new();
        push_open_metrics_float(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn floats_are_those_of_go() {
        for (value, expected, expected_open_metrics) in [
            (0.0, "0", "0.0"),
            (-0.0, "-0", "-0.0"),
            (1.0, "1", "1.0"),
            (-1.0, "-1", "-1.0"),
            (17.0, "17", "17.0"),
            (0.5, "0.5", "0.5"),
            (-12.25, "-12.25", "-12.25"),
            (999_999.0, "999999", "999999.0"),
            (999_999.5, "999999.5", "999999.5"),
            (1e6, "1e+06", "1e+06"),
            (-1e6, "-1e+06", "-1e+06"),
            (1_234_567.0, "1.234567e+06", "1.234567e+06"),
            (1_234_567.25, "1.23456725e+06", "1.23456725e+06"),
            (15e9, "1.5e+10", "1.5e+10"),
            (1_520_879_607.789, "1.520879607789e+09", "1.520879607789e+09"),
            (0.0001, "0.0001", "0.0001"),
            (0.000_123, "0.000123", "0.000123"),
            (0.000_099_9, "9.99e-05", "9.99e-05"),
            (0.00001, "1e-05", "1e-05"),
            (-1.5e-7, "-1.5e-07", "-1.5e-07"),
            (9_007_199_254_740_991.0, "9.007199254740991e+15", "9.007199254740991e+15"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15", "9.007199254740992e+15"),
            (18_446_744_073_709_551_615.0, "1.8446744073709552e+19", "1.8446744073709552e+19"),
            (1e21, "1e+21", "1e+21"),
            (1e22, "1e+22", "1e+22"),
            (f64::MAX, "1.7976931348623157e+308", "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308", "2.2250738585072014e-308"),
            (5e-324, "5e-324", "5e-324"),
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            assert_eq!(text(value), expected);
            assert_eq!(open_metrics(value), expected_open_metrics);
        }
    }

    #[test]
    fn counts_and_timestamps_have_no_exponent() {
        let show = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(show(&|out| push_count(out, 12_345_678.0)), "12345678");
        assert_eq!(show(&|out| push_count(out, 0.5)), "0.5");
        assert_eq!(show(&|out| push_count(out, 1e300)), "1e+300");
        assert_eq!(show(&|out| push_seconds(out, 1_520_879_607_789)), "1520879607.789");
        assert_eq!(show(&|out| push_seconds(out, 7)), "0.007");
        assert_eq!(show(&|out| push_seconds(out, -1_500)), "-1.500");
        assert_eq!(show(&|out| push_seconds(out, i64::MIN)), "-9223372036854775.808");
    }

    #[test]
    fn what_reads_as_a_float() {
        for (good, value) in
            [("1", 1.0), ("+1e3", 1e3), (".5", 0.5), ("1.", 1.0), ("-inf", f64::NEG_INFINITY)]
        {
            assert_eq!(read_float(good), Some(value), "{good}");
        }
        assert!(read_float("nan").is_some_and(f64::is_nan) && read_float("+Infinity").is_some());
        for bad in ["", " 1", "1 ", "0x1p3", "1_000", "+NaN", "-nan", "1e999", "infin", "e5", "--1", "１"] {
            assert_eq!(read_float(bad), None, "{bad}");
        }
    }

    proptest! {
        /// Against the definition: Rust's own shortest digits, laid out as `%g` does.
        #[test]
        fn any_float_reads_back_and_has_the_shortest_digits(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let (printed, printed_open_metrics) = (text(value), open_metrics(value));
            if value.is_nan() {
                prop_assert_eq!(printed, "NaN");
                return Ok(());
            }
            prop_assert_eq!(read_float(&printed).map(f64::to_bits), Some(bits));
            prop_assert_eq!(read_float(&printed_open_metrics).map(f64::to_bits), Some(bits));
            if value.is_finite() {
                let digits = |s: &str| {
                    let mantissa = s.split(['e', 'E']).next().unwrap_or_default();
                    mantissa.trim_start_matches('-').replace('.', "").trim_matches('0').len()
                };
                prop_assert_eq!(digits(&printed), digits(&format!("{value:e}")));
            }
        }

        #[test]
        fn numbers_of_every_size_look_as_in_go(mantissa in -99_999_999_i64..99_999_999, power in -12_i32..12) {
            let value: f64 = format!("{mantissa}e{power}").parse().expect("a number");
            let scientific = format!("{value:e}");
            let (digits, exponent) = scientific.split_once('e').expect("an exponent");
            let exponent: i32 = exponent.parse().expect("an exponent");
            let expected = if (-4..6).contains(&exponent) {
                format!("{value}")
            } else {
                format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
            };
            prop_assert_eq!(text(value), expected);
        }
    }
}
