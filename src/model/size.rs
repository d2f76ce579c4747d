//! Sizes in bytes as Prometheus writes them: `512MB`, `10MiB`, `0`.
//!
//! Source: Prometheus's `units.Base2Bytes`: every unit is a power of 1024, `KB` and `KiB` alike.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number followed by a unit.
    #[error(
        "not a valid size: {0:?}; write for example \"512MB\" or \"10GB\" (units B KB MB GB TB PB EB, powers of 1024)"
    )]
    Invalid(String),
    /// More than 64 bits hold.
    #[error("size out of range: {0:?}")]
    OutOfRange(String),
}

const UNITS: [(&str, u32); 7] = [("E", 60), ("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10), ("", 0)];

impl ByteSize {
    /// From a number of bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let invalid = || SizeError::Invalid(s.chars().take(64).collect());
        if s == "0" {
            return Ok(Self(0));
        }
        let digits = s.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = s.split_at_checked(digits).ok_or_else(invalid)?;
        let prefix = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B')).ok_or_else(invalid)?;
        if number.is_empty() || (prefix.is_empty() && unit == "iB") {
            return Err(invalid());
        }
        let (_, shift) = UNITS.iter().find(|(name, _)| *name == prefix).ok_or_else(invalid)?;
        let out_of_range = || SizeError::OutOfRange(s.chars().take(64).collect());
        let n: u64 = number.parse().map_err(|_| out_of_range())?;
        n.checked_mul(1 << shift).map(Self).ok_or_else(out_of_range)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (prefix, shift) in UNITS {
            let unit = 1_u64 << shift;
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{prefix}{}B", self.0 / unit, if shift > 0 { "i" } else { "" });
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_prints_and_refuses() {
        for (text, bytes, printed) in [
            ("0", 0, "0B"),
            ("1B", 1, "1B"),
            ("1KB", 1024, "1KiB"),
            ("10MiB", 10 << 20, "10MiB"),
            ("3GB", 3 << 30, "3GiB"),
            ("1500B", 1500, "1500B"),
        ] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, printed), "{text}");
        }
        for bad in ["", "B", "iB", "1", "1.5MB", "-1B", "1QB", "1 MB", "99999999999EB", "17EB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
