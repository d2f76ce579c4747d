//! Numbers for people: `1.5k`, `2Mi`, `1d 2h 3m 4s`, `12.5%`.
//!
//! Source: Prometheus's template reference and `util/strutil`'s, `helpers/templates`' behaviour.

use crate::gotemplate::{Value, sprintf};

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// `%.4g`.
pub(super) fn four_digits(value: f64) -> String {
    sprintf("%.4g", &[Value::Float(value)], 1_000)
}

/// A number over a power of `factor` with that power's prefix.
fn large(mut value: f64, factor: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in prefixes {
        if value.abs() < factor {
            break;
        }
        shown = prefix;
        value /= factor;
    }
    (value, shown)
}

/// A number below 1 as one from 1 on with a prefix.
fn small(mut value: f64) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        shown = prefix;
        value *= 1000.0;
    }
    (value, shown)
}

/// With metric prefixes.
pub(super) fn metric(value: f64) -> String {
    let (value, prefix) = match value {
        _ if value == 0.0 || !value.is_finite() => (value, ""),
        _ if value.abs() >= 1.0 => large(value, 1000.0, &LARGE),
        _ => small(value),
    };
    four_digits(value) + prefix
}

/// With prefixes of powers of 1024.
pub(super) fn binary(value: f64) -> String {
    let (value, prefix) = match value {
        _ if value.abs() <= 1.0 || !value.is_finite() => (value, ""),
        _ => large(value, 1024.0, &LARGE_BINARY),
    };
    four_digits(value) + prefix
}

/// Seconds in days, hours, minutes and seconds.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return four_digits(seconds);
    }
    if seconds == 0.0 {
        return four_digits(seconds) + "s";
    }
    if seconds.abs() < 1.0 {
        let (value, prefix) = small(seconds);
        return format!("{}{prefix}s", four_digits(value));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    // The fraction is cut off; what is beyond 64 bits saturates.
    let whole = seconds.abs() as i64;
    let (s, m, h, d) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    match (d, h, m) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(seconds.abs())),
        (0, 0, m) => format!("{sign}{m}m {s}s"),
        (0, h, m) => format!("{sign}{h}h {m}m {s}s"),
        (d, h, m) => format!("{sign}{d}d {h}h {m}m {s}s"),
    }
}

/// A ratio in hundredths.
pub(super) fn percentage(value: f64) -> String {
    four_digits(value * 100.0) + "%"
}
