//! Sealed stretches of many series in one value: samples in a *page*, what is known of them in its *digest*.
//!
//! A page holds one column of instants that most of its series share, and a column of values for each. Its digest is
//! a row of its own, small enough that a month of them is read in milliseconds. Both name their series, so that a
//! page explains itself.
//!
//! Invariants: a page has a series once; reading hostile bytes ends in [`Damaged`], without panic and without an
//! allocation beyond what the page's counts allow. That the bytes are those that were written is for the vault to say.
//!
//! Shape, in order: format (1 byte), then varints and columns as the code below reads.

use std::ops::Range;

use super::bytes::{Reader, put_signed, put_varint};
use super::column::{self, ABSENT_BITS, MOST_VALUES};
use super::summary::{Frame, put_summary, read_summary, summarize};
use crate::model::{Samples, Summary};

/// The only format so far.
const FORMAT: u8 = 1;

/// Most series of one page.
pub(super) const MOST_SERIES: usize = 512;

/// The page is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its bytes make no sense")]
pub(super) struct Damaged;

/// One series on its way into a page.
#[derive(Debug)]
pub(super) struct Column<'a> {
    pub(super) series: u32,
    /// Its own instants; `None`: those that the page's series share.
    pub(super) own_instants: Option<&'a [i64]>,
    /// As many as there are instants, gaps included.
    pub(super) values: Vec<f64>,
}

/// A page and its digest, ready to be written.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    pub(super) samples: u64,
    pub(super) page: Vec<u8>,
    pub(super) digest: Vec<u8>,
}

/// Packs columns into as few pages of at most `size_limit` bytes as greedily possible. A single column that is larger
/// gets a page of its own.
pub(super) fn seal(shared: &[i64], columns: &[Column<'_>], size_limit: usize) -> Vec<Sealed> {
    let mut pages = Vec::new();
    let mut builder = Builder::new(shared);
    for column in columns {
        let encoded = Encoded::new(shared, column);
        let Some(encoded) = encoded else { continue };
        let full = builder.size_with(&encoded) > size_limit || builder.is_full();
        if !builder.is_empty() && (full || builder.has(&encoded)) {
            pages.extend(std::mem::replace(&mut builder, Builder::new(shared)).finish());
        }
        builder.push(encoded);
    }
    pages.extend(builder.finish());
    pages
}

struct Encoded {
    series: u32,
    own_count: Option<usize>,
    bytes: Vec<u8>,
    summary: Summary,
}

impl Encoded {
    /// `None` where the series has no sample at all.
    fn new(shared: &[i64], column: &Column<'_>) -> Option<Self> {
        let instants = column.own_instants.unwrap_or(shared);
        let samples = instants.iter().copied().zip(column.values.iter().copied());
        let summary = summarize(samples.filter(|(_, v)| v.to_bits() != ABSENT_BITS))?;
        let mut bytes = Vec::new();
        if column.own_instants.is_some() {
            column::put_instants(&mut bytes, instants);
        }
        column::put_values(&mut bytes, &column.values);
        Some(Self { series: column.series, own_count: column.own_instants.map(<[i64]>::len), bytes, summary })
    }
}

struct Builder<'a> {
    shared: &'a [i64],
    head: Vec<u8>,
    columns: Vec<Encoded>,
    columns_size: usize,
}

/// Upper bound of a directory entry: series, length, count.
const DIRECTORY_ENTRY: usize = 5 + 3 + 3;

impl<'a> Builder<'a> {
    fn new(shared: &'a [i64]) -> Self {
        let mut head = Vec::new();
        put_varint(&mut head, shared.len() as u64);
        if !shared.is_empty() {
            column::put_instants(&mut head, shared);
        }
        Self { shared, head, columns: Vec::new(), columns_size: 0 }
    }

    const fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    const fn is_full(&self) -> bool {
        self.columns.len() >= MOST_SERIES
    }

    /// Whether the series is in the page already, as one with many samples at instants of its own may be.
    fn has(&self, next: &Encoded) -> bool {
        next.own_count.is_some() && self.columns.iter().any(|column| column.series == next.series)
    }

    fn size_with(&self, next: &Encoded) -> usize {
        let directory = (self.columns.len() + 1) * DIRECTORY_ENTRY;
        16 + self.head.len() + directory + self.columns_size + next.bytes.len()
    }

    fn push(&mut self, encoded: Encoded) {
        self.columns_size += encoded.bytes.len();
        self.columns.push(encoded);
    }

    fn finish(self) -> Option<Sealed> {
        let first_ms = self.columns.iter().map(|c| c.summary.first_ms).min()?;
        let last_ms = self.columns.iter().map(|c| c.summary.last_ms).max()?;
        let samples = self.columns.iter().map(|c| u64::from(c.summary.samples)).sum();
        let page = self.page();
        let digest = self.digest(first_ms, last_ms, page.len());
        Some(Sealed { first_ms, last_ms, samples, page, digest })
    }

    fn page(&self) -> Vec<u8> {
        let mut page = opened();
        page.extend_from_slice(&self.head);
        put_varint(&mut page, self.columns.len() as u64);
        let mut previous = 0;
        for column in &self.columns {
            put_signed(&mut page, i64::from(column.series) - previous);
            put_varint(&mut page, column.bytes.len() as u64);
            put_varint(&mut page, column.own_count.map_or(0, |count| count as u64 + 1));
            previous = i64::from(column.series);
        }
        self.columns.iter().for_each(|column| page.extend_from_slice(&column.bytes));
        page
    }

    fn digest(&self, first_ms: i64, last_ms: i64, page_size: usize) -> Vec<u8> {
        let mut digest = opened();
        put_signed(&mut digest, last_ms.wrapping_sub(first_ms));
        put_varint(&mut digest, page_size as u64);
        let frame = Frame {
            samples: u32::try_from(self.shared.len()).unwrap_or(u32::MAX),
            first_ms: self.shared.first().copied().unwrap_or(first_ms),
            last_ms: self.shared.last().copied().unwrap_or(last_ms),
        };
        put_varint(&mut digest, u64::from(frame.samples));
        put_signed(&mut digest, frame.first_ms.wrapping_sub(first_ms));
        put_signed(&mut digest, frame.last_ms.wrapping_sub(frame.first_ms));
        put_varint(&mut digest, self.columns.len() as u64);
        let mut previous = 0;
        let mut entry = Vec::new();
        for column in &self.columns {
            put_signed(&mut digest, i64::from(column.series) - previous);
            previous = i64::from(column.series);
            entry.clear();
            put_summary(&mut entry, &column.summary, frame);
            put_varint(&mut digest, entry.len() as u64);
            digest.extend_from_slice(&entry);
        }
        digest
    }
}

fn opened() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1_024);
    bytes.push(FORMAT);
    bytes
}

/// What stands behind the format, if that is known.
fn checked(bytes: &[u8]) -> Result<Reader<'_>, Damaged> {
    let mut reader = Reader::new(bytes);
    (reader.u8() == Some(FORMAT)).then_some(reader).ok_or(Damaged)
}

/// The columns of one series in a page, or of all, each as its samples without gaps.
pub(super) fn read_page(bytes: &[u8], only: Option<u32>) -> Result<Vec<(u32, Samples)>, Damaged> {
    OpenPage::new(bytes)?.columns(only).ok_or(Damaged)
}

/// A page whose head has been read, for those who want the columns of several of its series one by one.
#[derive(Debug)]
pub(super) struct OpenPage {
    /// The columns, one behind the other.
    bytes: Vec<u8>,
    shared: Vec<i64>,
    places: Vec<Place>,
    /// Where own instants were read last, and these: most series of a page have the same.
    own: Option<(Range<usize>, Vec<i64>)>,
}

#[derive(Clone, Debug)]
struct Place {
    series: u32,
    bytes: Range<usize>,
    own_count: Option<usize>,
}

impl OpenPage {
    /// Reads the head of a page.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Damaged> {
        Self::read_body(checked(bytes)?).ok_or(Damaged)
    }

    fn read_body(mut reader: Reader<'_>) -> Option<Self> {
        let shared_count = reader.length(MOST_VALUES)?;
        let shared = if shared_count > 0 { column::instants(&mut reader, shared_count)? } else { Vec::new() };
        let places = read_directory(&mut reader)?;
        let end = places.last().map_or(0, |place| place.bytes.end);
        let bytes = reader.take(end)?.to_vec();
        Some(Self { bytes, shared, places, own: None })
    }

    /// One series' samples; as a rule one column of them.
    pub(super) fn samples(&mut self, series: u32) -> Result<Vec<Samples>, Damaged> {
        let columns = self.columns(Some(series)).ok_or(Damaged)?;
        Ok(columns.into_iter().map(|(_, samples)| samples).collect())
    }

    fn columns(&mut self, only: Option<u32>) -> Option<Vec<(u32, Samples)>> {
        let wanted = |place: &Place| only.is_none_or(|series| series == place.series);
        let places: Vec<Place> = self.places.iter().filter(|place| wanted(place)).cloned().collect();
        places.into_iter().map(|place| Some((place.series, self.column(&place)?))).collect()
    }

    fn column(&mut self, place: &Place) -> Option<Samples> {
        let bytes = self.bytes.get(place.bytes.clone())?;
        let Some(count) = place.own_count else {
            return samples(&self.shared, &mut Reader::new(bytes));
        };
        // The same bytes are the same instants: they tell themselves where they end.
        let is_same = |(range, instants): &(Range<usize>, Vec<i64>)| {
            instants.len() == count && self.bytes.get(range.clone()).is_some_and(|own| bytes.starts_with(own))
        };
        if !self.own.as_ref().is_some_and(is_same) {
            let mut reader = Reader::new(bytes);
            let instants = column::instants(&mut reader, count)?;
            let end = place.bytes.end.checked_sub(reader.rest().len())?;
            self.own = Some((place.bytes.start..end, instants));
        }
        let (range, instants) = self.own.as_ref()?;
        samples(instants, &mut Reader::new(bytes.get(range.len()..)?))
    }
}

/// The values of a column with their instants, without gaps.
fn samples(instants: &[i64], reader: &mut Reader<'_>) -> Option<Samples> {
    let values = column::values(reader, instants.len())?;
    if values.iter().all(|value| value.to_bits() != ABSENT_BITS) {
        return Some(Samples::from_columns(instants.to_vec(), values));
    }
    let mut samples = Samples::with_capacity(values.len());
    for (at_ms, value) in instants.iter().zip(values).filter(|(_, v)| v.to_bits() != ABSENT_BITS) {
        samples.push(*at_ms, value);
    }
    Some(samples)
}

fn read_directory(reader: &mut Reader<'_>) -> Option<Vec<Place>> {
    let count = reader.length(MOST_SERIES)?;
    let (mut previous, mut start) = (0_i64, 0_usize);
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        previous = previous.checked_add(reader.signed()?)?;
        let series = u32::try_from(previous).ok()?;
        let end = start.checked_add(reader.length(reader.rest().len())?)?;
        let own_count = reader.length(MOST_VALUES + 1)?.checked_sub(1);
        places.push(Place { series, bytes: start..end, own_count });
        start = end;
    }
    Some(places)
}

/// A digest, checked; its entries are read one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest<'a> {
    pub(super) last_ms: i64,
    pub(super) page_bytes: usize,
    frame: Frame,
    count: usize,
    entries: Reader<'a>,
}

impl<'a> Digest<'a> {
    /// Checks a digest whose page begins at `first_ms`, as its key says.
    pub(super) fn read(bytes: &'a [u8], first_ms: i64) -> Result<Self, Damaged> {
        Self::read_head(checked(bytes)?, first_ms).ok_or(Damaged)
    }

    fn read_head(mut reader: Reader<'a>, first_ms: i64) -> Option<Self> {
        let last_ms = first_ms.checked_add(reader.signed()?)?;
        let page_bytes = reader.length(1 << 30)?;
        let samples = reader.u32_varint()?;
        let frame_first_ms = first_ms.wrapping_add(reader.signed()?);
        let frame_last_ms = frame_first_ms.wrapping_add(reader.signed()?);
        let frame = Frame { samples, first_ms: frame_first_ms, last_ms: frame_last_ms };
        let count = reader.length(MOST_SERIES)?;
        Some(Self { last_ms, page_bytes, frame, count, entries: reader })
    }

    /// Calls back with each series and its entry, in the order of the page.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32, Entry<'a>)) -> Result<(), Damaged> {
        let mut reader = self.entries;
        let mut previous = 0_i64;
        for _ in 0..self.count {
            let mut entry = || {
                previous = previous.checked_add(reader.signed()?)?;
                let length = reader.length(255)?;
                Some((u32::try_from(previous).ok()?, reader.take(length)?))
            };
            let (series, bytes) = entry().ok_or(Damaged)?;
            each(series, Entry { bytes, frame: self.frame });
        }
        Ok(())
    }

    /// How many samples the page has.
    pub(super) fn samples(&self) -> u64 {
        let mut samples = 0;
        let counted = self.for_each(|_, entry| {
            samples += entry.summary().map_or(0, |summary| u64::from(summary.samples));
        });
        counted.map_or(0, |()| samples)
    }
}

/// What a digest says of one series, not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    bytes: &'a [u8],
    frame: Frame,
}

impl Entry<'_> {
    pub(super) fn summary(&self) -> Option<Summary> {
        read_summary(&mut Reader::new(self.bytes), self.frame)
    }
}

/// Feeds bytes to both readers, as if they stood behind a good checksum; for fuzzing.
#[doc(hidden)]
pub fn fuzz_page(bytes: &[u8]) {
    let _ = OpenPage::read_body(Reader::new(bytes)).and_then(|mut page| page.columns(None));
    if let Some(digest) = Digest::read_head(Reader::new(bytes), 0) {
        let _ = digest.for_each(|_, entry| {
            let _ = entry.summary();
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_NAN;

    const ABSENT: f64 = f64::from_bits(ABSENT_BITS);

    fn column(series: u32, values: &[f64]) -> Column<'static> {
        Column { series, own_instants: None, values: values.to_vec() }
    }

    #[test]
    fn series_come_back_without_their_gaps() {
        let own = [5, 16, 27];
        let columns = [
            column(7, &[1.0, 2.0, STALE_NAN, ABSENT]),
            Column { series: 3, own_instants: Some(&own), values: vec![0.5, 0.25, 0.125] },
            column(9, &[ABSENT; 4]),
            column(12, &[ABSENT, ABSENT, 4.0, 4.0]),
        ];
        let pages = seal(&[10, 20, 30, 40], &columns, 4_000);
        assert_eq!(pages.len(), 1);
        let page = &pages[0];
        assert_eq!((page.first_ms, page.last_ms, page.samples), (5, 40, 8));
        let all = read_page(&page.page, None).expect("whole");
        assert_eq!(all.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [7, 3, 12]);
        assert_eq!(all[0].1.timestamps_ms(), [10, 20, 30]);
        assert_eq!(all[1].1.iter().collect::<Vec<_>>(), [(5, 0.5), (16, 0.25), (27, 0.125)]);
        assert_eq!(read_page(&page.page, Some(12)).expect("whole")[0].1.timestamps_ms(), [30, 40]);

        let digest = Digest::read(&page.digest, page.first_ms).expect("whole");
        assert_eq!((digest.last_ms, digest.page_bytes, digest.samples()), (40, page.page.len(), 8));
        let mut seen = Vec::new();
        digest.for_each(|s, entry| seen.push((s, entry.summary().expect("whole")))).expect("whole");
        for (series, summary) in seen {
            let (_, samples) = all.iter().find(|(s, _)| *s == series).expect("there");
            assert_eq!(Some(summary), summarize(samples.iter()));
        }
    }

    #[test]
    fn instants_that_several_series_have_are_told_from_others() {
        let (own, other) = ([5, 16, 27], [5, 16, 28]);
        let of = |series, own_instants, values: &[f64]| Column {
            series,
            own_instants: Some(own_instants),
            values: values.to_vec(),
        };
        let columns = [
            of(1, &own[..], &[1.0, 2.0, 3.0]),
            of(2, &own, &[4.0, ABSENT, 6.5]),
            of(3, &other, &[7.0, 8.0, 9.0]),
            of(4, &own[..2], &[1.0, 2.0]),
            of(5, &own, &[1.0, 2.0, 3.0]),
        ];
        let sealed = seal(&[], &columns, 4_000).remove(0);
        let mut page = OpenPage::new(&sealed.page).expect("whole");
        for (series, instants) in
            [(1, &own[..]), (2, &[5, 27]), (3, &other), (4, &[5, 16]), (5, &own), (1, &own)]
        {
            let found = page.samples(series).expect("whole");
            assert_eq!((found.len(), found[0].timestamps_ms()), (1, instants), "{series}");
        }
        assert_eq!(page.samples(2).expect("whole")[0].values(), [4.0, 6.5]);
        assert!(page.samples(9).expect("whole").is_empty());
    }

    #[test]
    fn pages_are_filled_up_to_their_size() {
        let values: Vec<Vec<f64>> =
            (0..200).map(|s| (0..120).map(|i| f64::from(i * 37 % (s + 2))).collect()).collect();
        let columns: Vec<Column<'_>> = (0..).zip(&values).map(|(s, v)| column(s, v)).collect();
        let shared: Vec<i64> = (0..120).map(|i| i * 15_000).collect();
        let pages = seal(&shared, &columns, 4_000);
        assert!(pages.len() > 2 && pages.iter().all(|p| p.page.len() <= 4_000));
        let series: usize = pages.iter().map(|p| read_page(&p.page, None).expect("whole").len()).sum();
        assert_eq!(series, 200);
    }

    proptest! {
        #[test]
        fn hostile_bytes_end_in_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_page(&bytes);
        }

        #[test]
        fn a_damaged_page_never_panics(at in 0_usize..400, with in any::<u8>()) {
            let values: Vec<f64> = (0..50).map(|i| f64::from(i) * 0.1).collect();
            let shared: Vec<i64> = (0..50).collect();
            let sealed = seal(&shared, &[column(1, &values), column(2, &[1.0; 50])], 4_000).remove(0);
            for bytes in [&sealed.page, &sealed.digest] {
                let mut bad = bytes[1..].to_vec();
                let at = at % bad.len();
                bad[at] = with;
                fuzz_page(&bad);
            }
        }
    }
}
