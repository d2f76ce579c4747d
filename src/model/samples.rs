//! Samples of one series over time, and the marker of a series that ended.
//!
//! Source of the marker: Prometheus `model/value`: a NaN with this very payload; any other NaN is a value.

/// The value that says "this series ended here", as its bits.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that says "this series ended here".
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a value is the staleness marker, and not just any NaN.
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Samples of one series, in two columns of equal length.
///
/// Timestamps are milliseconds since the epoch, strictly rising. Staleness markers are among the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
}

impl Samples {
    /// No samples, room for so many.
    pub fn with_capacity(samples: usize) -> Self {
        Self { timestamps_ms: Vec::with_capacity(samples), values: Vec::with_capacity(samples) }
    }

    /// From two columns; what one has more than the other is cut off.
    pub fn from_columns(mut timestamps_ms: Vec<i64>, mut values: Vec<f64>) -> Self {
        let length = timestamps_ms.len().min(values.len());
        timestamps_ms.truncate(length);
        values.truncate(length);
        Self { timestamps_ms, values }
    }

    /// Adds a sample behind all others.
    pub fn push(&mut self, timestamp_ms: i64, value: f64) {
        self.timestamps_ms.push(timestamp_ms);
        self.values.push(value);
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Milliseconds since the epoch.
    pub fn timestamps_ms(&self) -> &[i64] {
        &self.timestamps_ms
    }

    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The samples in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, f64)> + ExactSizeIterator + Clone + '_ {
        self.timestamps_ms.iter().copied().zip(self.values.iter().copied())
    }
}
