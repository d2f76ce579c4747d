//! A series' values at the ticks since its block was last sealed, as few bytes in memory.
//!
//! Each value is written as the difference from the one before, in hundredths or thousandths where it has decimals: a
//! counter's takes a byte or two a tick, not eight. Nothing of this is ever in the file.
//!
//! Invariant: every bit of every value comes back.

use super::block::MISSING;
use super::bytes::{Reader, put_varint, unzigzag, zigzag};
use super::column::{scaled_value, unscaled_value};
use crate::model::STALE_NAN_BITS;

/// Most decimals that are looked for; what has more is kept as it is.
const MOST_DECIMALS: u8 = 3;

// What a varint says that is no difference; one is even.
const AS_IT_IS: u64 = 1;
const STALE: u64 = 3;
const GAP: u64 = 5;

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Changes {
    bytes: Vec<u8>,
    /// Values that are no gap.
    samples: u16,
    decimals: u8,
}

impl Changes {
    /// Values in order, gaps included.
    pub(super) fn new(values: impl IntoIterator<Item = u64>) -> Self {
        let mut changes = Self::default();
        let mut last = MISSING;
        for value in values {
            changes.push(last, value);
            last = value;
        }
        changes
    }

    /// How many values are no gap.
    pub(super) const fn samples(&self) -> u16 {
        self.samples
    }

    /// Adds the value of a tick; `last` is that of the tick before, or [`MISSING`] where that is not known.
    pub(super) fn push(&mut self, last: u64, value: u64) {
        self.samples = self.samples.saturating_add(u16::from(value != MISSING));
        match value {
            STALE_NAN_BITS => return put_varint(&mut self.bytes, STALE),
            MISSING => return put_varint(&mut self.bytes, GAP),
            _ => {}
        }
        if let Some(delta) = difference(last, value, self.decimals) {
            return put_varint(&mut self.bytes, zigzag(delta) << 1);
        }
        let finer =
            (self.decimals + 1..=MOST_DECIMALS).find(|decimals| difference(last, value, *decimals).is_some());
        if let Some(decimals) = finer {
            // Once or twice in a series' life.
            let values: Vec<u64> = self.iter().collect();
            let mut again = Self { decimals, ..Self::default() };
            let mut before = MISSING;
            for known in values.into_iter().chain([value]) {
                again.push(before, known);
                before = known;
            }
            *self = again;
            return;
        }
        put_varint(&mut self.bytes, AS_IT_IS);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// The values in order, gaps included.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let mut reader = Reader::new(&self.bytes);
        let (mut last, decimals) = (None::<i64>, self.decimals);
        std::iter::from_fn(move || {
            let value = match reader.varint()? {
                AS_IT_IS => reader.u64_le()?,
                STALE => STALE_NAN_BITS,
                GAP => MISSING,
                delta => {
                    let whole = last.unwrap_or_default().wrapping_add(unzigzag(delta >> 1));
                    last = Some(whole);
                    return unscaled_value(whole, decimals).map(f64::to_bits);
                }
            };
            last = scaled_value(f64::from_bits(value), decimals);
            Some(value)
        })
    }

    /// Forgets the first values.
    pub(super) fn drop_first(&mut self, ticks: usize) {
        *self = Self::new(self.iter().skip(ticks));
    }
}

/// What has to be added to the last value in units of its last decimal; `None` where that is not the value to the bit.
fn difference(last: u64, value: u64, decimals: u8) -> Option<i64> {
    let last = scaled_value(f64::from_bits(last), decimals)?;
    let value = scaled_value(f64::from_bits(value), decimals)?;
    Some(value - last).filter(|delta| delta.unsigned_abs() < 1 << 42)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[u64]) -> usize {
        let changes = Changes::new(values.iter().copied());
        assert_eq!(changes.iter().collect::<Vec<_>>(), values);
        let samples = values.iter().filter(|value| **value != MISSING).count();
        assert_eq!(usize::from(changes.samples()), samples);
        changes.bytes.len()
    }

    fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u64> {
        values.into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn usual_values_take_a_byte_or_three() {
        assert!(check(&bits((0..120).map(|i| f64::from(1_000_000 + i * 15)))) < 140);
        assert!(check(&bits((0..120).map(|i| f64::from(i * 1_234) / 100.0))) < 300);
        assert!(check(&bits((0..120).map(|i| f64::from(500_000 + i * 37 % 101) * 4_096.0))) < 480);
        assert!(check(&bits((0..120).map(|i| 1.0 / f64::from(i + 3)))) <= 120 * 9);
    }

    #[test]
    fn decimals_that_come_late_make_the_tail_anew() {
        let mut values = bits([1.0, 2.0, f64::NAN, -0.0, 3.0]);
        values.extend([MISSING, STALE_NAN_BITS]);
        values.extend(bits([4.0, 4.5, 4.25, 4.125, 4.062_5, 1e300, 5.0, 5.5]));
        check(&values);
        let mut changes = Changes::new(values.iter().copied());
        changes.drop_first(6);
        assert_eq!(changes.iter().collect::<Vec<_>>(), values[6..]);
        // After a series was taken for gone, without a value for that.
        changes.push(MISSING, 7.0_f64.to_bits());
        changes.push(7.0_f64.to_bits(), 7.25_f64.to_bits());
        assert_eq!(changes.iter().skip(values.len() - 6).collect::<Vec<_>>(), bits([7.0, 7.25]));
    }

    fn any_value() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (-1_000_000_i32..1_000_000).prop_map(|n| f64::from(n).to_bits()),
            (-100_000_i32..100_000, 0_i32..5).prop_map(|(n, e)| (f64::from(n) / 10_f64.powi(e)).to_bits()),
            any::<i64>().prop_map(|n| (n as f64).to_bits()),
            Just(STALE_NAN_BITS),
            Just(MISSING),
            Just((-0.0_f64).to_bits()),
        ]
    }

    proptest! {
        #[test]
        fn any_values_come_back(values in prop::collection::vec(any_value(), 0..200), from in 0_usize..200) {
            check(&values);
            let mut changes = Changes::new(values.iter().copied());
            changes.drop_first(from);
            let left: Vec<u64> = values.iter().copied().skip(from).collect();
            prop_assert_eq!(changes.iter().collect::<Vec<_>>(), left);
        }
    }
}
