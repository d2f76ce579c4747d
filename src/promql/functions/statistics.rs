//! Sums, means, variances and quantiles as Prometheus computes them, to the last bit: functions over ranges and
//! aggregations share these.
//!
//! Source: Kahan summation in Neumaier's variant; Welford's variance with both of its sums compensated.

/// A sum that carries along what rounding lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KahanSum {
    /// The sum so far.
    pub sum: f64,
    /// What it lacks.
    pub compensation: f64,
}

impl KahanSum {
    /// Starts with a value.
    pub const fn starting_at(sum: f64) -> Self {
        Self { sum, compensation: 0.0 }
    }

    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        *self = self.plus(value);
    }

    /// The sum with a value added.
    #[must_use]
    pub fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let compensation = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.compensation + ((self.sum - sum) + value)
        } else {
            self.compensation + ((value - sum) + self.sum)
        };
        Self { sum, compensation }
    }

    /// Sum and compensation together.
    pub fn total(self) -> f64 {
        self.sum + self.compensation
    }

    /// As [`Self::total`], but infinity stays what it is.
    pub fn bounded_total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.total() }
    }

    /// Sum and compensation times a factor.
    #[must_use]
    fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, compensation: self.compensation * factor }
    }
}

/// A mean: sum divided by count, until the sum overflows; then updated value by value.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    kahan: KahanSum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// The mean of one value.
    pub const fn of(first: f64) -> Self {
        Self { kahan: KahanSum::starting_at(first), count: 1.0, incremental: false }
    }

    /// One value more.
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let next = self.kahan.plus(value);
            if !next.sum.is_infinite() {
                self.kahan = next;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.kahan.sum /= before;
            self.kahan.compensation /= before;
        }
        let weight = (self.count - 1.0) / self.count;
        self.kahan = self.kahan.scaled(weight).plus(value / self.count);
    }

    /// The mean of all values so far.
    pub fn value(self) -> f64 {
        match self.incremental {
            true => self.kahan.total(),
            false => self.kahan.sum / self.count + self.kahan.compensation / self.count,
        }
    }
}

/// Population variance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variance {
    count: f64,
    mean: KahanSum,
    squares: KahanSum,
}

impl Variance {
    /// One value more.
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean.total();
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - self.mean.total()));
    }

    /// The variance of all values so far; NaN if there are none.
    pub fn value(self) -> f64 {
        self.squares.total() / self.count
    }
}

/// The value below which the fraction `q` of `values` lies, interpolated; sorts them, NaN counts as the smallest.
///
/// NaN without values or with `q` NaN; infinite with `q` outside of 0 to 1.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    #[expect(clippy::cast_precision_loss, reason = "as Prometheus: fewer than 2^53 values")]
    let last = (values.len() - 1) as f64;
    let rank = q * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the slice's bounds")]
    let value_at = |at: f64| values.get(at as usize).copied().unwrap_or(f64::NAN);
    value_at(lower) * (1.0 - weight) + value_at(upper) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(values: &[f64]) -> f64 {
        let mut mean = Mean::of(values[0]);
        values[1..].iter().for_each(|v| mean.add(*v));
        mean.value()
    }

    #[test]
    fn sums_keep_what_plain_addition_loses() {
        let mut sum = KahanSum::default();
        [2.0, 8.0, 1e100, -1e100].into_iter().for_each(|v| sum.add(v));
        assert_eq!(sum.total(), 10.0);
        [f64::INFINITY, 1.0].into_iter().for_each(|v| sum.add(v));
        assert_eq!(sum.bounded_total(), f64::INFINITY);
    }

    #[test]
    fn means_survive_overflow_and_infinity() {
        let big = 9.98846567431158e307;
        assert_eq!(mean_of(&[big; 4]), big);
        assert_eq!(mean_of(&[-big, -big, big, big]), 0.0);
        assert_eq!(mean_of(&[52.0; 12]), 52.0);
        assert_eq!(mean_of(&[0.0, f64::INFINITY, f64::INFINITY, 0.0]), f64::INFINITY);
        assert!(mean_of(&[f64::INFINITY, f64::NEG_INFINITY, 1.0]).is_nan());
    }

    #[test]
    fn variance_is_that_of_the_population() {
        let of = |values: &[f64]| {
            let mut variance = Variance::default();
            values.iter().for_each(|v| variance.add(*v));
            variance.value()
        };
        assert_eq!(of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 4.0);
        assert_eq!(of(&[13.3; 3]), 0.0);
        assert!(of(&[f64::INFINITY]).is_nan());
        assert_eq!(of(&[1e10 + 1.0, 1e10 + 2.0, 1e10 + 3.0]), 2.0 / 3.0);
    }

    #[test]
    fn quantiles_are_interpolated() {
        for (q, values, expected) in [
            (0.5, vec![1.0, 3.0, 2.0], 2.0),
            (0.8, vec![0.0, 1.0, 4.0], 2.8),
            (0.8, vec![0.0, 1.0, f64::NAN], 0.6),
            (0.0, vec![5.0], 5.0),
            (1.0, vec![5.0, 6.0], 6.0),
            (-0.1, vec![5.0], f64::NEG_INFINITY),
            (1.1, vec![5.0], f64::INFINITY),
        ] {
            let got = quantile(q, &mut values.clone());
            assert!((got - expected).abs() < 1e-12 || got == expected, "{q} of {values:?}: {got}");
        }
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan() && quantile(0.5, &mut []).is_nan());
        assert!(quantile(0.2, &mut [0.0, 1.0, f64::NAN]).is_nan());
    }
}
