//! Operators on numbers, as Go's `math` computes them.
//!
//! Source: Prometheus documentation, "Operators"; Go's documentation of `math.Mod` and `math.Pow`.

use super::super::ast::BinaryOp;
use super::super::functions::ln;

/// What an operator between two samples gives: the value, and whether a comparison holds.
///
/// A comparison's value is its left side. Set operators and those of native histograms are not for numbers.
pub(super) fn apply(op: BinaryOp, left: f64, right: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (left + right, true),
        BinaryOp::Sub => (left - right, true),
        BinaryOp::Mul => (left * right, true),
        BinaryOp::Div => (left / right, true),
        BinaryOp::Mod => (left % right, true),
        BinaryOp::Pow => (pow(left, right), true),
        BinaryOp::Atan2 => (left.atan2(right), true),
        #[expect(clippy::float_cmp, reason = "PromQL's == is exact")]
        BinaryOp::Equal => (left, left == right),
        #[expect(clippy::float_cmp, reason = "PromQL's != is exact")]
        BinaryOp::NotEqual => (left, left != right),
        BinaryOp::Greater => (left, left > right),
        BinaryOp::Less => (left, left < right),
        BinaryOp::GreaterEqual => (left, left >= right),
        BinaryOp::LessEqual => (left, left <= right),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::TrimUpper | BinaryOp::TrimLower => {
            (left, false)
        }
    }
}

/// `x` to the power of `y`, by repeated squaring of the mantissa: for whole exponents the same bits as Go's, which
/// are not always those of the C library.
pub(super) fn pow(x: f64, y: f64) -> f64 {
    if let Some(special) = special_pow(x, y) {
        return special;
    }
    let (mut whole, mut fraction) = (y.abs().trunc(), y.abs().fract());
    if fraction != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    if whole >= 9_223_372_036_854_775_808.0 {
        return if (x.abs() < 1.0) == (y > 0.0) { 0.0 } else { f64::INFINITY };
    }
    let (mut result, mut result_exponent) = (1.0_f64, 0_i64);
    if fraction != 0.0 {
        if fraction > 0.5 {
            (fraction, whole) = (fraction - 1.0, whole + 1.0);
        }
        result = (fraction * ln(x)).exp();
    }
    let (mut mantissa, mut exponent) = split(x);
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^63")]
    let mut left = whole as i64;
    while left != 0 {
        if !(-(1 << 12)..=1 << 12).contains(&exponent) {
            result_exponent += exponent;
            break;
        }
        if left & 1 == 1 {
            result *= mantissa;
            result_exponent += exponent;
        }
        mantissa *= mantissa;
        exponent <<= 1;
        if mantissa < 0.5 {
            mantissa += mantissa;
            exponent -= 1;
        }
        left >>= 1;
    }
    if y < 0.0 {
        (result, result_exponent) = (1.0 / result, -result_exponent);
    }
    scale(result, result_exponent)
}

/// Powers that need no computing.
#[expect(clippy::float_cmp, reason = "the special cases are exact values")]
fn special_pow(x: f64, y: f64) -> Option<f64> {
    let odd = y.abs() < 9.007_199_254_740_992e15 && (y % 2.0).abs() == 1.0;
    Some(if y == 0.0 || x == 1.0 {
        1.0
    } else if y == 1.0 {
        x
    } else if x.is_nan() || y.is_nan() {
        f64::NAN
    } else if x == 0.0 {
        match (y < 0.0, x.is_sign_negative() && odd) {
            (true, true) => f64::NEG_INFINITY,
            (true, false) => f64::INFINITY,
            (false, true) => x,
            (false, false) => 0.0,
        }
    } else if y.is_infinite() {
        match x {
            -1.0 => 1.0,
            _ if (x.abs() < 1.0) == (y > 0.0) => 0.0,
            _ => f64::INFINITY,
        }
    } else if x.is_infinite() {
        match (x > 0.0, y < 0.0) {
            (true, true) => 0.0,
            (true, false) => f64::INFINITY,
            // As (-0) to the power of -y.
            (false, true) => {
                if odd {
                    -0.0
                } else {
                    0.0
                }
            }
            (false, false) => {
                if odd {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
        }
    } else if y == 0.5 {
        x.sqrt()
    } else if y == -0.5 {
        1.0 / x.sqrt()
    } else if x == -1.0 && y.abs() >= 9_223_372_036_854_775_808.0 {
        1.0
    } else {
        return None;
    })
}

/// Mantissa within 0.5 to 1 and exponent of a finite number other than zero.
fn split(x: f64) -> (f64, i64) {
    const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
    if x.abs() < f64::MIN_POSITIVE {
        let (mantissa, exponent) = split(x * TWO_TO_52);
        return (mantissa, exponent - 52);
    }
    let bits = x.to_bits();
    let exponent = i64::try_from((bits >> 52) & 0x7ff).unwrap_or(0) - 1_022;
    (f64::from_bits((bits & !(0x7ff << 52)) | (1_022 << 52)), exponent)
}

/// `x` times two to the power of `exponent`, rounded once.
fn scale(x: f64, exponent: i64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let (mantissa, own) = split(x);
    let exponent = exponent + own;
    let power = |e: i64| f64::from_bits(u64::try_from(e + 1_023).unwrap_or(0) << 52);
    match exponent {
        1_025.. => f64::INFINITY.copysign(x),
        1_024 => mantissa * 2.0 * power(1_023),
        -1_021..=1_023 => mantissa * power(exponent),
        -1_075..=-1_022 => mantissa * power(exponent + 53) * power(-53),
        _ => 0.0_f64.copysign(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_have_go_special_cases() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (x, y, expected) in [
            (nan, 0.0, 1.0),
            (1.0, nan, 1.0),
            (0.0, -1.0, inf),
            (-0.0, -3.0, -inf),
            (-0.0, -2.0, inf),
            (-0.0, 3.0, -0.0),
            (-1.0, inf, 1.0),
            (0.5, inf, 0.0),
            (2.0, -inf, 0.0),
            (-inf, 3.0, -inf),
            (-inf, -3.0, -0.0),
            (-inf, 2.0, inf),
            (-8.0, 1.0 / 3.0, nan),
            (10.0, 3.0, 1_000.0),
            (2.0, -1_074.0, 5e-324),
            (2.0, 1_024.0, inf),
            (2.0, 1_023.0, 8.98846567431158e307),
            (-2.0, 1e300, inf),
            (0.5, 1e300, 0.0),
            (4.0, 0.5, 2.0),
            (5e-324, 1.0, 5e-324),
            (-3.0, 3.0, -27.0),
        ] {
            let got = pow(x, y);
            assert!(
                got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()),
                "{x}^{y}: {got} instead of {expected}"
            );
        }
        assert!((pow(2.0, 0.3) - 2.0_f64.powf(0.3)).abs() < 1e-15);
        assert!((pow(7.5, -2.7) - 7.5_f64.powf(-2.7)).abs() < 1e-15);
    }

    #[test]
    fn remainders_have_the_sign_of_the_dividend() {
        assert_eq!(apply(BinaryOp::Mod, -5.5, 2.0).0, -1.5);
        assert!(apply(BinaryOp::Mod, 1.0, 0.0).0.is_nan());
        assert_eq!(apply(BinaryOp::Mod, 3.0, f64::INFINITY).0, 3.0);
    }
}
