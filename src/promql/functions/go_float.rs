//! Numbers as Go prints them with `%g`, `%.2g`, `%f` and as OpenMetrics wants them in labels; messages and labels that
//! Prometheus makes are worded with these.

use std::fmt;

/// Go's `%g`: the shortest text that reads back as the same number, with an exponent below 1e-4 and from 1e6 (hence
/// the `le="1e+06"` of programs written in Go).
pub struct GoG(pub f64);

impl fmt::Display for GoG {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(special) = special(self.0) {
            return f.write_str(special);
        }
        let scientific = format!("{:e}", self.0);
        let exponent = exponent_of(&scientific);
        if (-4..6).contains(&exponent) {
            return write!(f, "{}", self.0);
        }
        write_go_exponent(f, &scientific, exponent)
    }
}

/// Go's `%.Ng`: so many significant digits, zeros at the end left out.
pub struct GoGWithDigits(pub f64, pub usize);

impl fmt::Display for GoGWithDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(special) = special(self.0) {
            return f.write_str(special);
        }
        let scientific = format!("{:.*e}", self.1.saturating_sub(1), self.0);
        let exponent = exponent_of(&scientific);
        let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let limit = i32::try_from(self.1).unwrap_or(i32::MAX);
        if exponent < -4 || exponent >= limit.max(1) {
            return write_go_exponent(f, &format!("{}e", without_zeros(mantissa)), exponent);
        }
        let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
        f.write_str(without_zeros(&format!("{:.decimals$}", self.0)))
    }
}

/// Go's `%f`: six digits behind the point.
pub struct GoF(pub f64);

impl fmt::Display for GoF {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match special(self.0) {
            Some(special) => f.write_str(special),
            None => write!(f, "{:.6}", self.0),
        }
    }
}

/// As a label value in OpenMetrics: `1.0`, `0.5`, `1e+06`, `+Inf`.
pub struct OpenMetricsFloat(pub f64);

impl fmt::Display for OpenMetricsFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = GoG(self.0).to_string();
        f.write_str(&shown)?;
        let whole = self.0.is_finite() && !shown.contains(['.', 'e']);
        f.write_str(if whole { ".0" } else { "" })
    }
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

fn exponent_of(scientific: &str) -> i32 {
    scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0)
}

fn without_zeros(decimal: &str) -> &str {
    match decimal.contains('.') {
        true => decimal.trim_end_matches('0').trim_end_matches('.'),
        false => decimal,
    }
}

/// Go's exponent has a sign and two digits at least.
fn write_go_exponent(f: &mut fmt::Formatter<'_>, scientific: &str, exponent: i32) -> fmt::Result {
    let (mantissa, _) = scientific.split_once('e').unwrap_or((scientific, ""));
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(f, "{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, g, two, f, label) in [
            (0.0, "0", "0", "0.000000", "0.0"),
            (1.0, "1", "1", "1.000000", "1.0"),
            (0.5, "0.5", "0.5", "0.500000", "0.5"),
            (-1.25, "-1.25", "-1.2", "-1.250000", "-1.25"),
            (123456.0, "123456", "1.2e+05", "123456.000000", "123456.0"),
            (1e6, "1e+06", "1e+06", "1000000.000000", "1e+06"),
            (1234567.0, "1.234567e+06", "1.2e+06", "1234567.000000", "1.234567e+06"),
            (0.0001, "0.0001", "0.0001", "0.000100", "0.0001"),
            (0.00001, "1e-05", "1e-05", "0.000010", "1e-05"),
            (1e100, "1e+100", "1e+100", "", "1e+100"),
            (0.0125, "0.0125", "0.013", "0.012500", "0.0125"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf", "+Inf"),
            (f64::NAN, "NaN", "NaN", "NaN", "NaN"),
        ] {
            assert_eq!(GoG(value).to_string(), g);
            assert_eq!(GoGWithDigits(value, 2).to_string(), two);
            assert_eq!(OpenMetricsFloat(value).to_string(), label);
            if !f.is_empty() {
                assert_eq!(GoF(value).to_string(), f);
            }
        }
    }
}
