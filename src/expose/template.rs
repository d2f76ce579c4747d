//! An exposition written again: what a pass did not change is copied.
//!
//! Most passes differ from the one before in some values only, and then all other text is the same. A [`Template`] keeps
//! the last text with the place of every value, and writes anew the values that differ.
//!
//! The text is shared with whoever it is sent to.
//!
//! Invariant: what [`Template::encode`] gives is, byte for byte, what [`encode`](super::encode) would.

use std::sync::Arc;

use bytes::Bytes;

use super::Format;
use super::encode::{encode_noting, push_value};
use crate::model::{Outline, SamplePlace, Snapshot, Suffix};

/// A longer text is not kept: it would double the memory of a machine that is far from usual.
const MAX_TEXT_BYTES: usize = 2 << 20;

/// The last exposition of one outline in one format.
#[derive(Debug, Default)]
pub struct Template {
    /// What the text is one of; `None` if there is none.
    subject: Option<(Arc<Outline>, Format)>,
    text: Bytes,
    values: Vec<Value>,
}

/// A value in the text.
#[derive(Debug)]
struct Value {
    place: SamplePlace,
    suffix: Suffix,
    bits: u64,
    begin: usize,
    end: usize,
}

impl Template {
    /// Whether of this snapshot in this format no more than values need to be written.
    pub fn fits(&self, snapshot: &Snapshot, format: Format) -> bool {
        self.subject
            .as_ref()
            .is_some_and(|(outline, f)| *f == format && Arc::ptr_eq(outline, snapshot.outline()))
    }

    /// The text of `snapshot`, written into `buffer`, and the text before it.
    pub fn encode(&mut self, snapshot: &Snapshot, format: Format, mut buffer: Vec<u8>) -> (Bytes, Bytes) {
        buffer.clear();
        if self.fits(snapshot, format) {
            self.write_again(snapshot, format, &mut buffer);
        } else {
            self.write_first(snapshot, format, &mut buffer);
            buffer.shrink_to_fit();
        }
        let text = Bytes::from(buffer);
        let before = std::mem::take(&mut self.text);
        if text.len() > MAX_TEXT_BYTES {
            *self = Self::default();
        } else {
            self.text = text.clone();
            self.subject = Some((Arc::clone(snapshot.outline()), format));
        }
        (text, before)
    }

    fn write_first(&mut self, snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
        let values = &mut self.values;
        values.clear();
        encode_noting(snapshot, format, out, |written| {
            values.push(Value {
                place: written.place,
                suffix: written.suffix,
                bits: written.value.to_bits(),
                begin: written.text.start,
                end: written.text.end,
            });
        });
    }

    fn write_again(&mut self, snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
        let open_metrics = format.syntax.is_open_metrics();
        out.reserve(self.text.len());
        // Bytes of the old text that are in the new one or have given way to it.
        let mut done = 0;
        for value in &mut self.values {
            let now = snapshot.value(value.place);
            // Where the old text's next byte goes.
            let moved = |at: usize, out: &[u8]| out.len() + (at - done);
            if now.to_bits() == value.bits {
                (value.begin, value.end) = (moved(value.begin, out), moved(value.end, out));
                continue;
            }
            out.extend_from_slice(self.text.get(done..value.begin).unwrap_or_default());
            done = value.end;
            value.begin = out.len();
            push_value(out, open_metrics, value.suffix, now);
            value.end = out.len();
            value.bits = now.to_bits();
        }
        out.extend_from_slice(self.text.get(done..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expose::encode;
    use crate::model::{Batch, Kind, Timestamp};

    /// Samples of all that differs in how a value is written.
    fn batch(values: &[f64], label: &str) -> Batch {
        let mut batch = Batch::new();
        let mut values = values.iter().copied();
        let mut next = || values.next().unwrap_or_default();
        let counter = batch.family("c_total", "C.", Kind::Counter);
        batch.sample(counter, &[("l", label)], next());
        batch.sample(counter, &[("l", label)], next());
        batch.sample_full(counter, Suffix::Created, &[("l", label)], next(), None);
        let histogram = batch.family("h", "H.", Kind::Histogram);
        batch.sample_full(histogram, Suffix::Bucket, &[("le", "+Inf")], next(), None);
        batch.sample_full(histogram, Suffix::Sum, &[], next(), None);
        batch.sample_full(histogram, Suffix::Count, &[], next(), None);
        let gauge = batch.family("g", "", Kind::Gauge);
        batch.sample_full(gauge, Suffix::None, &[], next(), Some(Timestamp::from_millis(5)));
        batch
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), Just(1.0), Just(1e6), Just(f64::NAN), Just(-0.0), any::<f64>()]
    }

    proptest! {
        #[test]
        fn what_is_written_again_is_what_is_encoded(
            passes in proptest::collection::vec((proptest::collection::vec(value(), 7), "[ab]"), 1..8),
        ) {
            let (mut template, mut last) = (Template::default(), Bytes::new());
            for format in [Format::TEXT, Format::OPEN_METRICS] {
                let mut previous: Option<Snapshot> = None;
                for (values, label) in &passes {
                    let parts = vec![("one", batch(values, label))];
                    let snapshot =
                        Snapshot::assemble_after(previous.as_ref(), Timestamp::from_millis(0), parts);
                    let mut want = Vec::new();
                    let (got, before) = template.encode(&snapshot, format, b"left".to_vec());
                    encode(&snapshot, format, &mut want);
                    prop_assert_eq!(String::from_utf8(got.to_vec()), String::from_utf8(want));
                    prop_assert_eq!(before, std::mem::replace(&mut last, got));
                    previous = Some(snapshot);
                }
            }
        }
    }

    #[test]
    fn a_long_text_is_not_kept() {
        let long = "x".repeat(MAX_TEXT_BYTES);
        let mut template = Template::default();
        for (label, kept) in [("short", true), (&long, false), ("short", true)] {
            let parts = vec![("one", batch(&[], label))];
            let snapshot = Snapshot::assemble(Timestamp::from_millis(0), parts);
            drop(template.encode(&snapshot, Format::TEXT, Vec::new()));
            assert_eq!(template.fits(&snapshot, Format::TEXT), kept);
            assert_eq!(template.text.is_empty(), !kept);
        }
    }
}
