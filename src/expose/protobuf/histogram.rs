//! The message `io.prometheus.client.Histogram`.
//!
//! A native histogram puts `schema` (5), `zero_threshold` (6), `zero_count` (7), `zero_count_float` (8), spans,
//! deltas and counts (9 to 14) and `exemplars` (16) into the same message. Reading them belongs into
//! [`Histogram::read`], as soon as a sample can be more than a float.

use super::error::Step;
use super::float_of;
use crate::wire::protobuf::Reader;

/// What a histogram says about itself as a whole.
pub(super) struct Histogram<'i> {
    pub(super) count: f64,
    pub(super) sum: f64,
    message: Reader<'i>,
}

/// One bucket, cumulative.
pub(super) struct Bucket {
    pub(super) upper_bound: f64,
    pub(super) cumulative_count: f64,
    /// Where it begins in the exposition.
    pub(super) at: usize,
}

impl<'i> Histogram<'i> {
    pub(super) fn read(message: Reader<'i>) -> Step<Self> {
        let (mut count, mut count_float, mut sum) = (0, 0.0, 0.0);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => count = field.unsigned()?,
                2 => sum = field.double()?,
                4 => count_float = field.double()?,
                _ => {}
            }
        }
        Ok(Self { count: either(count, count_float), sum, message })
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = Step<Bucket>> + use<'i> {
        let mut fields = self.message;
        std::iter::from_fn(move || {
            loop {
                match fields.field() {
                    Ok(Some(field)) if field.number == 3 => {
                        return Some(field.message().map_err(Into::into).and_then(bucket));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(Err(error.into())),
                }
            }
        })
    }
}

fn bucket(mut message: Reader<'_>) -> Step<Bucket> {
    let at = message.at();
    let (mut count, mut count_float, mut upper_bound) = (0, 0.0, 0.0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => count = field.unsigned()?,
            2 => upper_bound = field.double()?,
            4 => count_float = field.double()?,
            _ => {}
        }
    }
    Ok(Bucket { upper_bound, cumulative_count: either(count, count_float), at })
}

/// A count is in its float field if that is above zero.
fn either(count: u64, count_float: f64) -> f64 {
    if count_float > 0.0 { count_float } else { float_of(count) }
}
