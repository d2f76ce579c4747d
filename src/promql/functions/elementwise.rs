//! Functions of one number: mathematics, rounding, clamping, parts of a date.
//!
//! Invariant: minimum and maximum treat NaN and the infinities as Go's do. Trigonometric and exponential functions may
//! differ from Go's in the last bit, as these do from one processor to another.

use std::f64::consts::{LN_2, PI};

use super::date;
use super::logarithm::{ln, log2, log10};

/// From here on 1 beside the square of a number is lost; the squares of larger ones would not fit.
const LARGE: f64 = 268_435_456.0;

/// From here on half of e^x is all there is of sinh and cosh; as in Go it ends where e^x does, a little early.
const STEEP: f64 = 21.0;

/// A function of a sample's value and of scalar arguments in order. `None`: the sample has no result.
pub type ElementFn = fn(f64, &[f64]) -> Option<f64>;

/// What computes a function of single samples, by its name in PromQL. All of them drop the metric name.
///
/// Date functions without argument take the step's instant in seconds.
pub fn elementwise(name: &str) -> Option<ElementFn> {
    Some(match name {
        "abs" => |v, _| Some(v.abs()),
        "acos" => |v, _| Some(v.acos()),
        "acosh" => |v, _| Some(if v > LARGE { ln(v) + LN_2 } else { v.acosh() }),
        "asin" => |v, _| Some(v.asin()),
        "asinh" => |v, _| Some(asinh(v)),
        "atan" => |v, _| Some(v.atan()),
        "atanh" => |v, _| Some(v.atanh()),
        "ceil" => |v, _| Some(v.ceil()),
        "clamp" => clamp,
        "clamp_max" => |v, arguments| Some(minimum(*arguments.first()?, v)),
        "clamp_min" => |v, arguments| Some(maximum(*arguments.first()?, v)),
        "cos" => |v, _| Some(v.cos()),
        "cosh" => |v, _| Some(if v.abs() > STEEP { v.abs().exp() * 0.5 } else { v.cosh() }),
        "day_of_month" => |v, _| Some(date::Instant::from_seconds(v).day_of_month()),
        "day_of_week" => |v, _| Some(date::Instant::from_seconds(v).day_of_week()),
        "day_of_year" => |v, _| Some(date::Instant::from_seconds(v).day_of_year()),
        "days_in_month" => |v, _| Some(date::Instant::from_seconds(v).days_in_month()),
        "deg" => |v, _| Some(v * 180.0 / PI),
        "exp" => |v, _| Some(v.exp()),
        "floor" => |v, _| Some(v.floor()),
        "hour" => |v, _| Some(date::Instant::from_seconds(v).hour()),
        "ln" => |v, _| Some(ln(v)),
        "log10" => |v, _| Some(log10(v)),
        "log2" => |v, _| Some(log2(v)),
        "minute" => |v, _| Some(date::Instant::from_seconds(v).minute()),
        "month" => |v, _| Some(date::Instant::from_seconds(v).month()),
        "rad" => |v, _| Some(v * PI / 180.0),
        "round" => round,
        "sgn" => |v, _| {
            Some(if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            })
        },
        "sin" => |v, _| Some(v.sin()),
        "sinh" => |v, _| Some(if v.abs() > STEEP { (v.abs().exp() * 0.5).copysign(v) } else { v.sinh() }),
        "sqrt" => |v, _| Some(v.sqrt()),
        "tan" => |v, _| Some(v.tan()),
        "tanh" => |v, _| Some(v.tanh()),
        "year" => |v, _| Some(date::Instant::from_seconds(v).year()),
        _ => return None,
    })
}

/// Whether a function of single samples may be called without any, for the step's own instant.
pub fn is_date_function(name: &str) -> bool {
    matches!(
        name,
        "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "days_in_month"
            | "hour"
            | "minute"
            | "month"
            | "year"
    )
}

fn asinh(value: f64) -> f64 {
    match value.abs() {
        large if large > LARGE && large.is_finite() => (ln(large) + LN_2).copysign(value),
        _ => value.asinh(),
    }
}

fn clamp(value: f64, arguments: &[f64]) -> Option<f64> {
    let [low, high] = *arguments else { return None };
    if high < low {
        return None;
    }
    Some(maximum(low, minimum(high, value)))
}

/// To the nearest multiple, halves upwards. Dividing by the inverse loses less than multiplying.
fn round(value: f64, arguments: &[f64]) -> Option<f64> {
    let inverse = 1.0 / arguments.first().copied().unwrap_or(1.0);
    Some((value * inverse + 0.5).floor() / inverse)
}

/// The larger; positive infinity before NaN, NaN before all else, 0 before -0.
fn maximum(a: f64, b: f64) -> f64 {
    match () {
        () if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if a == 0.0 && b == 0.0 => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
        () => {
            if a > b {
                a
            } else {
                b
            }
        }
    }
}

/// The smaller; negative infinity before NaN, NaN before all else, -0 before 0.
fn minimum(a: f64, b: f64) -> f64 {
    -maximum(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_numbers_come_out_as_in_go() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (name, value, arguments, expected) in [
            ("log10", 1000.0, vec![], 3.0),
            ("log10", 3.0, vec![], 0.4771212547196624),
            ("log2", 8.0, vec![], 3.0),
            ("log2", 0.125, vec![], -3.0),
            ("log2", 5e-324, vec![], -1074.0),
            ("log2", 0.0, vec![], -inf),
            ("ln", -1.0, vec![], nan),
            ("log2", inf, vec![], inf),
            ("log10", -inf, vec![], nan),
            ("sgn", -0.0, vec![], -0.0),
            ("sgn", nan, vec![], nan),
            ("sgn", -inf, vec![], -1.0),
            ("round", 2.5, vec![], 3.0),
            ("round", -2.5, vec![], -2.0),
            ("round", 0.3, vec![0.2], 0.4),
            ("clamp", 5.0, vec![nan, 10.0], nan),
            ("clamp", 5.0, vec![1.0, nan], nan),
            ("clamp", inf, vec![1.0, 7.0], 7.0),
            ("clamp", nan, vec![1.0, 7.0], nan),
            ("clamp", -inf, vec![nan, 7.0], nan),
            ("clamp_min", inf, vec![nan], inf),
            ("clamp_max", -inf, vec![nan], -inf),
            ("deg", PI, vec![], 180.0),
            ("acosh", 1.7e308, vec![], 710.4199840737881),
            ("acosh", inf, vec![], inf),
            ("acosh", 0.5, vec![], nan),
            ("asinh", -1.7e308, vec![], -710.4199840737881),
            ("asinh", -inf, vec![], -inf),
            ("asinh", -0.0, vec![], -0.0),
            ("sinh", -710.0, vec![], -inf),
            ("cosh", -710.0, vec![], inf),
            ("sinh", -0.0, vec![], -0.0),
        ] {
            let got = elementwise(name).expect(name)(value, &arguments).expect(name);
            assert!(
                got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(),
                "{name} {value}: {got}"
            );
        }
        assert_eq!(elementwise("clamp").expect("clamp")(1.0, &[5.0, 4.0]), None);
    }
}
