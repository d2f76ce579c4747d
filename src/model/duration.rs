//! Durations as Prometheus writes them: `1d12h`, `90s`, `500ms`, `0`.
//!
//! Source: Prometheus `common/model/time.go` grammar: `y w d h m s ms`, each unit at most once, in
//! descending order, whole numbers only.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration that parses and prints in Prometheus's notation, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromDuration(Duration);

/// Why a text is not a Prometheus duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration; write for example \"30s\"")]
    Empty,
    /// Not of the form `1d2h3m4s5ms`.
    #[error("not a valid duration: {0:?}; write for example \"30s\", \"5m\" or \"1h30m\"")]
    Invalid(String),
    /// More than fits 64 bits of nanoseconds (about 292 years).
    #[error("duration out of range: {0:?}; the longest is about 292 years")]
    OutOfRange(String),
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl PromDuration {
    /// Wraps a plain duration.
    pub const fn new(d: Duration) -> Self {
        Self(d)
    }

    /// The plain duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<PromDuration> for Duration {
    fn from(d: PromDuration) -> Self {
        d.0
    }
}

impl FromStr for PromDuration {
    type Err = DurationError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.is_empty() {
            return Err(DurationError::Empty);
        }
        if s == "0" {
            return Ok(Self::default());
        }
        let invalid = || DurationError::Invalid(s.chars().take(64).collect());
        let out_of_range = || DurationError::OutOfRange(s.chars().take(64).collect());
        let (mut rest, mut units, mut total_ms) = (s, UNITS.as_slice(), 0_u64);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at_checked(digits).ok_or_else(invalid)?;
            if number.is_empty() {
                return Err(invalid());
            }
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at_checked(letters).ok_or_else(invalid)?;
            let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
            let (_, factor) = units.get(at).ok_or_else(invalid)?;
            let n: u64 = number.parse().map_err(|_| out_of_range())?;
            total_ms =
                n.checked_mul(*factor).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(out_of_range)?;
            units = units.get(at + 1..).unwrap_or_default();
            rest = tail;
        }
        if total_ms > i64::MAX as u64 / 1_000_000 {
            return Err(out_of_range());
        }
        Ok(Self(Duration::from_millis(total_ms)))
    }
}

impl fmt::Display for PromDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            // Prometheus prints years and weeks only when nothing else remains.
            let whole_only = matches!(unit, "y" | "w");
            if (whole_only && ms % factor != 0) || ms < factor {
                continue;
            }
            write!(f, "{}{unit}", ms / factor)?;
            ms %= factor;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_as_prometheus_does() {
        for (text, ms, printed) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("324ms", 324, "324ms"),
            ("3s", 3_000, "3s"),
            ("5m", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("4d", 4 * 86_400_000, "4d"),
            ("4d1h", 349_200_000, "4d1h"),
            ("14d", 14 * 86_400_000, "2w"),
            ("3w", 21 * 86_400_000, "3w"),
            ("3w2d1h", 23 * 86_400_000 + 3_600_000, "23d1h"),
            ("10y", 3650 * 86_400_000_u64, "10y"),
        ] {
            let d: PromDuration = text.parse().expect(text);
            assert_eq!(d.get(), Duration::from_millis(ms), "{text}");
            assert_eq!(d.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        for bad in ["", "1", "1y1m1d", "-1w", "1.5d", "d", "294y", "200y10400w107675d2584200h", "5 m", "1M"] {
            assert!(bad.parse::<PromDuration>().is_err(), "{bad}");
        }
    }
}
