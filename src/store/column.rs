//! One series' values, or a column of instants, as few bytes.
//!
//! Values that are decimal numbers become whole ones (4.25 is 425 / 10^2) and go through pco as such, which is where
//! counters and most gauges end; others go through pco as floats. NaN, infinities and gaps are taken out first and
//! listed as runs, so that a staleness marker does not cost its column the good encoding.
//!
//! Invariant: every bit of every value comes back. Reading is bounded by the number of values that the caller expects.
//!
//! Source: pco 1.x, wrapped format; its header is left out, as the version of this format stands for it.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec};

use super::bytes::{Reader, put_f64, put_signed, put_varint};

/// Stands in a column where a series has no sample: a NaN that no source can produce, as values are cleared of it.
pub(super) const ABSENT_BITS: u64 = 0x7ff4_6162_7365_6e74;

/// Most values of a column.
pub(super) const MOST_VALUES: usize = 4_096;

/// The level of pco: beyond it, sizes of such short columns hardly shrink while time doubles.
const LEVEL: usize = 5;

/// Powers of ten that a column is tried with.
const SCALES: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Whole numbers up to here are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

const TAG_CONSTANT: u8 = 0;
const TAG_FLOATS: u8 = 1;
const TAG_EMPTY: u8 = 2;
const TAG_CONSTANT_WHOLE: u8 = 3;
/// Plus the scale's index.
const TAG_SCALED: u8 = 16;
/// The same, of whole numbers that share a divisor, which comes first: sizes of memory are multiples of a page.
/// pco sees that, too, but not in a column as short as a tail.
const TAG_DIVIDED: u8 = 32;

/// Appends values, gaps included; their number is not written.
pub(super) fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let regular: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    put_exceptions(out, values);
    let Some(first) = regular.first().copied() else {
        return out.push(TAG_EMPTY);
    };
    if regular.iter().all(|v| v.to_bits() == first.to_bits()) {
        return match scaled(&regular, 0).and_then(|whole| whole.first().copied()) {
            Some(whole) if whole.unsigned_abs() < 1 << 48 => {
                out.push(TAG_CONSTANT_WHOLE);
                put_signed(out, whole);
            }
            _ => {
                out.push(TAG_CONSTANT);
                put_f64(out, first);
            }
        };
    }
    match (0..10).find_map(|scale| scaled(&regular, scale).map(|whole| (scale, whole))) {
        Some((scale, whole)) => put_whole(out, scale, whole),
        None => {
            out.push(TAG_FLOATS);
            put_pco(out, &regular, DeltaSpec::Auto);
        }
    }
}

fn put_whole(out: &mut Vec<u8>, scale: u8, mut whole: Vec<i64>) {
    let divisor = common_divisor(&whole);
    if divisor > 1 {
        out.push(TAG_DIVIDED + scale);
        put_signed(out, divisor);
        whole.iter_mut().for_each(|number| *number /= divisor);
    } else {
        out.push(TAG_SCALED + scale);
    }
    put_pco(out, &whole, order_of_delta(&whole));
}

/// The largest number that divides all; 0 where all are 0. The numbers are within 2^53.
fn common_divisor(numbers: &[i64]) -> i64 {
    let mut divisor = 0_i64;
    for number in numbers {
        let (mut a, mut b) = (divisor, number.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    divisor
}

/// Reads `count` values.
pub(super) fn values(reader: &mut Reader<'_>, count: usize) -> Option<Vec<f64>> {
    let exceptions = exceptions(reader, count)?;
    let special: usize = exceptions.iter().map(|e| e.length).sum();
    let regular = regular_values(reader, count.checked_sub(special)?)?;
    if exceptions.is_empty() {
        return Some(regular);
    }
    let mut out = Vec::with_capacity(count);
    let mut regular = regular.into_iter();
    for exception in exceptions {
        out.extend(regular.by_ref().take(exception.start.checked_sub(out.len())?));
        (out.len() == exception.start).then_some(())?;
        out.extend(std::iter::repeat_n(exception.value, exception.length));
    }
    out.extend(regular);
    (out.len() == count).then_some(out)
}

fn regular_values(reader: &mut Reader<'_>, count: usize) -> Option<Vec<f64>> {
    match reader.u8()? {
        TAG_EMPTY => (count == 0).then(Vec::new),
        TAG_CONSTANT => reader.f64().map(|v| vec![v; count]),
        TAG_CONSTANT_WHOLE => reader.signed().map(|v| vec![whole_to_f64(v); count]),
        TAG_FLOATS => pco_values::<f64>(reader, count),
        tag => {
            let divided = tag >= TAG_DIVIDED;
            let first = if divided { TAG_DIVIDED } else { TAG_SCALED };
            let scale = SCALES.get(usize::from(tag.checked_sub(first)?))?;
            let divisor = if divided { reader.signed()? } else { 1 };
            let whole = pco_values::<i64>(reader, count)?;
            Some(whole.into_iter().map(|v| whole_to_f64(v.wrapping_mul(divisor)) / scale).collect())
        }
    }
}

/// Appends instants; their number is not written.
pub(super) fn put_instants(out: &mut Vec<u8>, instants: &[i64]) {
    put_pco(out, instants, order_of_delta(instants));
}

/// Reads `count` instants.
pub(super) fn instants(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    pco_values::<i64>(reader, count)
}

/// The values times 10^scale where these are whole and dividing gives the very same bits again.
pub(super) fn scaled(values: &[f64], scale: u8) -> Option<Vec<i64>> {
    let factor = *SCALES.get(usize::from(scale))?;
    values.iter().map(|v| scaled_one(*v, factor)).collect()
}

/// One value as a whole number over 10^scale, as [`scaled`].
pub(super) fn scaled_value(value: f64, scale: u8) -> Option<i64> {
    scaled_one(value, *SCALES.get(usize::from(scale))?)
}

/// The value of which [`scaled_value`] is the whole number.
pub(super) fn unscaled_value(whole: i64, scale: u8) -> Option<f64> {
    Some(whole_to_f64(whole) / SCALES.get(usize::from(scale))?)
}

fn scaled_one(value: f64, factor: f64) -> Option<i64> {
    let whole = (value * factor).round();
    if whole.is_nan() || whole.abs() > EXACT {
        return None;
    }
    // By way of the whole number, which knows no -0.
    let whole = f64_to_whole(whole);
    ((whole_to_f64(whole) / factor).to_bits() == value.to_bits()).then_some(whole)
}

#[expect(clippy::cast_precision_loss, reason = "only whole numbers within 2^53 are written")]
const fn whole_to_f64(whole: i64) -> f64 {
    whole as f64
}

#[expect(clippy::cast_possible_truncation, reason = "the caller has checked that it is within 2^53")]
const fn f64_to_whole(whole: f64) -> i64 {
    whole as i64
}

struct Exception {
    start: usize,
    length: usize,
    value: f64,
}

fn put_exceptions(out: &mut Vec<u8>, values: &[f64]) {
    let runs = values.chunk_by(|a, b| a.to_bits() == b.to_bits());
    let mut found: Vec<Exception> = Vec::new();
    let mut start = 0;
    for run in runs {
        if let Some(value) = run.first().copied().filter(|v| !v.is_finite()) {
            found.push(Exception { start, length: run.len(), value });
        }
        start += run.len();
    }
    put_varint(out, found.len() as u64);
    let mut end = 0;
    for exception in found {
        put_varint(out, (exception.start - end) as u64);
        put_varint(out, exception.length as u64);
        match SPECIALS.iter().position(|bits| *bits == exception.value.to_bits()) {
            Some(known) => put_varint(out, known as u64 + 1),
            None => {
                put_varint(out, 0);
                put_f64(out, exception.value);
            }
        }
        end = exception.start + exception.length;
    }
}

/// Values that are written as their place in this list.
const SPECIALS: [u64; 5] = [
    ABSENT_BITS,
    crate::model::STALE_NAN_BITS,
    0x7ff8_0000_0000_0001,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
];

fn exceptions(reader: &mut Reader<'_>, count: usize) -> Option<Vec<Exception>> {
    let number = reader.length(count)?;
    let mut found = Vec::with_capacity(number);
    let mut end = 0_usize;
    for _ in 0..number {
        let start = end + reader.length(count)?;
        let length = reader.length(count)?;
        let value = match reader.length(SPECIALS.len())? {
            0 => reader.f64()?,
            known => f64::from_bits(*SPECIALS.get(known - 1)?),
        };
        end = start + length;
        (length > 0 && end <= count).then_some(())?;
        found.push(Exception { start, length, value });
    }
    Some(found)
}

/// Whether values, their differences or the differences of these are smallest. pco can find out by itself, at
/// several times the cost.
fn order_of_delta(values: &[i64]) -> DeltaSpec {
    let cost = |numbers: &mut dyn Iterator<Item = i64>| -> u64 {
        let (mut count, mut bits, mut middle) = (0_u64, 0_u64, None);
        for number in numbers {
            let distance = number.wrapping_sub(*middle.get_or_insert(number)).unsigned_abs();
            bits += u64::from(64 - distance.leading_zeros());
            count += 1;
        }
        bits + count
    };
    let first = || values.windows(2).map(pair_difference);
    let second = || {
        values.windows(3).map(|w| pair_difference(w.get(1..).unwrap_or(w)).wrapping_sub(pair_difference(w)))
    };
    let costs = [cost(&mut values.iter().copied()), cost(&mut first()), cost(&mut second())];
    match costs.iter().enumerate().min_by_key(|(_, cost)| **cost) {
        Some((0, _)) | None => DeltaSpec::NoOp,
        Some((order, _)) => DeltaSpec::TryConsecutive(order),
    }
}

fn pair_difference(window: &[i64]) -> i64 {
    match window {
        [a, b, ..] => b.wrapping_sub(*a),
        _ => 0,
    }
}

/// Writing into memory cannot fail, and neither can pco on at most [`MOST_VALUES`] numbers; should it, the column
/// ends up empty and its reader says that it is damaged.
fn put_pco<T: Number>(out: &mut Vec<u8>, numbers: &[T], delta: DeltaSpec) {
    let config = ChunkConfig::default().with_compression_level(LEVEL).with_delta_spec(delta);
    let start = out.len();
    let written = FileCompressor::default().chunk_compressor(numbers, &config).and_then(|mut chunk| {
        chunk.write_meta(&mut *out)?;
        chunk.write_page(0, &mut *out).map(|_| ())
    });
    if written.is_err() {
        out.truncate(start);
    }
}

fn pco_values<T: Number + Default>(reader: &mut Reader<'_>, count: usize) -> Option<Vec<T>> {
    if count > MOST_VALUES {
        return None;
    }
    let (file, _) = FileDecompressor::new(pco_header()).ok()?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(reader.rest()).ok()?;
    let mut page = chunk.page_decompressor(rest, count).ok()?;
    let mut numbers = vec![T::default(); count];
    let progress = page.read(&mut numbers).ok()?;
    let left = page.into_src().len();
    reader.take(reader.rest().len().checked_sub(left)?)?;
    (progress.n_processed == count).then_some(numbers)
}

/// What `FileCompressor::write_header` writes; a test holds it to that.
const fn pco_header() -> &'static [u8] {
    &[4, 1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_NAN;

    fn back(column: &[f64]) -> (Vec<u64>, usize) {
        let mut out = Vec::new();
        put_values(&mut out, column);
        let size = out.len();
        out.extend([7; 3]);
        let mut reader = Reader::new(&out);
        let read = values(&mut reader, column.len()).expect("readable");
        assert_eq!(reader.rest(), [7; 3]);
        (read.iter().map(|v| v.to_bits()).collect(), size)
    }

    fn check(column: &[f64]) -> usize {
        let (read, size) = back(column);
        assert_eq!(read, column.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        size
    }

    #[test]
    fn the_header_is_that_of_this_pco() {
        let mut header = Vec::new();
        FileCompressor::default().write_header(&mut header).expect("in memory");
        assert_eq!(header, pco_header());
    }

    #[test]
    fn odd_columns_come_back() {
        let absent = f64::from_bits(ABSENT_BITS);
        for column in [
            vec![],
            vec![1.0],
            vec![-0.0, 0.0],
            vec![-0.0],
            vec![absent, 1.0, STALE_NAN, absent, absent, 2.5],
            vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
            vec![f64::from_bits(0x7ff8_dead_beef_0001), 3.0],
            vec![f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324],
            vec![9_007_199_254_740_992.0, 9_007_199_254_740_993.0, -9_007_199_254_740_992.0],
            vec![1e300, 1.0],
        ] {
            check(&column);
        }
    }

    #[test]
    fn usual_columns_are_small() {
        assert!(check(&[4096.0; 120]) < 8);
        let counter: Vec<f64> = (0..120).map(|i| f64::from(1_000_000 + i * 15 + i % 3)).collect();
        assert!(check(&counter) < 80);
        let decimal: Vec<f64> = (0..120).map(|i| f64::from(i * 25) / 100.0).collect();
        assert!(check(&decimal) < 80);
        // Memory comes in pages: as small as the number of pages is.
        let wandering: Vec<f64> = (0..120).map(|i| f64::from(500_000 + i * 37 % 101)).collect();
        let pages: Vec<f64> = wandering.iter().map(|v| v * 4_096.0).collect();
        assert!(check(&pages) < check(&wandering) + 8);
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_000_i32..1_000_000).prop_map(f64::from),
            (-1_000_i32..1_000).prop_map(|n| f64::from(n) * 4_096.0),
            (-100_000_i32..100_000, 0_i32..10).prop_map(|(n, e)| f64::from(n) / 10_f64.powi(e)),
            Just(STALE_NAN),
            Just(f64::from_bits(ABSENT_BITS)),
            Just(-0.0),
            Just(1.0),
        ]
    }

    proptest! {
        #[test]
        fn any_column_comes_back(column in prop::collection::vec(any_value(), 0..200)) {
            check(&column);
        }

        #[test]
        fn instants_come_back(column in prop::collection::vec(any::<i64>(), 1..200)) {
            let mut out = Vec::new();
            put_instants(&mut out, &column);
            prop_assert_eq!(instants(&mut Reader::new(&out), column.len()), Some(column));
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), n in 0_usize..300) {
            let _ = values(&mut Reader::new(&bytes), n);
        }
    }
}
