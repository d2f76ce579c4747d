//! Logarithms, to the last bit those of Go's library on x86-64.
//!
//! Source: the classic reduction to [√½, √2) with a rational approximation, as published with fdlibm's `e_log`.

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E, LOG10_E};

/// ln 2 in two parts: the first has trailing zeros, so that its product with an exponent is exact.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Coefficients of the approximation, for s^2, s^4, ... s^14.
const COEFFICIENTS: [f64; 7] = [
    6.666_666_666_666_735e-1,
    3.999_999_999_940_942e-1,
    2.857_142_874_366_239e-1,
    2.222_219_843_214_978_4e-1,
    1.818_357_216_161_805e-1,
    1.531_383_769_920_937_3e-1,
    1.479_819_860_511_658_6e-1,
];

/// Natural logarithm.
pub(crate) fn ln(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value.ln();
    }
    let (mut fraction, mut exponent) = split_exponent(value);
    if fraction < FRAC_1_SQRT_2 {
        fraction *= 2.0;
        exponent -= 1.0;
    }
    let f = fraction - 1.0;
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let [l1, l2, l3, l4, l5, l6, l7] = COEFFICIENTS;
    let odd = s2 * (l1 + s4 * (l3 + s4 * (l5 + s4 * l7)));
    let even = s4 * (l2 + s4 * (l4 + s4 * l6));
    let half_square = 0.5 * f * f;
    let correction = s * (half_square + (odd + even)) + exponent * LN_2_LOW;
    exponent * LN_2_HIGH - ((half_square - correction) - f)
}

/// To base 2; exact for powers of two.
pub(crate) fn log2(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value.log2();
    }
    let (fraction, exponent) = split_exponent(value);
    if fraction == 0.5 {
        return exponent - 1.0;
    }
    ln(fraction) * LOG2_E + exponent
}

/// To base 10.
pub(crate) fn log10(value: f64) -> f64 {
    ln(value) * LOG10_E
}

/// A positive finite number as fraction in [0.5, 1) and power of two.
fn split_exponent(value: f64) -> (f64, f64) {
    const MANTISSA_BITS: u32 = 52;
    const HALF_EXPONENT: u64 = 1022;
    let (value, shift) =
        if value < f64::MIN_POSITIVE { (value * 2_f64.powi(52), 52.0) } else { (value, 0.0) };
    let bits = value.to_bits();
    #[expect(clippy::cast_precision_loss, reason = "eleven bits")]
    let exponent = ((bits >> MANTISSA_BITS) & 0x7ff) as f64 - HALF_EXPONENT as f64 - shift;
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    (f64::from_bits(mantissa | (HALF_EXPONENT << MANTISSA_BITS)), exponent)
}
