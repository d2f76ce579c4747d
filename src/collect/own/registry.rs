//! The instruments' values as samples.
//!
//! `prometheus_client` offers them in no other way than as text, written piece by piece. That text differs from pass to
//! pass in its numbers only, but for a new label now and then. So it is written out and parsed when anything else has
//! changed; otherwise its pieces are only held against what was parsed last, and the numbers among them are taken.

use std::fmt;
use std::ops::Range;

use memchr::{memmem, memrchr};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::collect::parse::number;
use crate::expose::{self, Syntax};
use crate::model::Batch;

/// What was parsed last.
#[derive(Debug, Default)]
pub(super) struct RegistryReader {
    /// The text that `samples` was parsed from.
    parsed: String,
    samples: Batch,
    /// Where the values are in the text; none where that cannot be told.
    places: Vec<Range<usize>>,
    /// One for each sample, in the order of the text.
    values: Vec<f64>,
}

impl RegistryReader {
    /// Adds the registry's samples to `out`.
    pub(super) fn read(&mut self, registry: &Registry, out: &mut Batch) {
        if !self.follow(registry) {
            self.parse(registry);
        }
        let mut values = self.values.iter();
        let mut labels = Vec::new();
        for family in self.samples.families() {
            let id = out.family(family.name(), family.help(), family.kind());
            out.set_unit(id, family.unit());
            for (sample, value) in family.samples().zip(&mut values) {
                labels.clear();
                labels.extend(sample.labels().iter());
                out.sample_full(id, sample.suffix(), &labels, *value, sample.timestamp());
            }
        }
    }

    /// Takes the values, if the text is the parsed one with other values.
    fn follow(&mut self, registry: &Registry) -> bool {
        self.values.clear();
        if self.places.is_empty() || self.places.len() != self.samples.len() {
            return false;
        }
        let mut follower = Follower {
            text: self.parsed.as_bytes(),
            at: 0,
            next: self.places.iter(),
            value: None,
            values: &mut self.values,
        };
        follower.advance_to_value();
        encode(&mut follower, registry).is_ok() && follower.is_at_end()
    }

    fn parse(&mut self, registry: &Registry) {
        self.parsed.clear();
        // A new one: its families must be in the order of the text.
        self.samples = Batch::new();
        if encode(&mut self.parsed, registry).is_err() {
            tracing::error!("an instrument of our own cannot be encoded; please report this");
        }
        let limits = expose::Limits::default();
        if let Err(error) =
            expose::parse(self.parsed.as_bytes(), Syntax::OpenMetrics100, limits, &mut self.samples)
        {
            tracing::error!(%error, "our own metrics are no OpenMetrics; please report this");
        }
        self.values.clear();
        self.values.extend(self.samples.families().flat_map(|f| f.samples()).map(|s| s.value()));
        self.places = places(self.parsed.as_bytes()).unwrap_or_default();
    }
}

/// Where the values of a text are; `None` if a line has other numbers as well.
fn places(text: &[u8]) -> Option<Vec<Range<usize>>> {
    let (mut places, mut begin) = (Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = begin + line.len();
        if !line.starts_with(b"#") {
            // An exemplar ends the line with numbers of its own.
            memmem::find(line, b" # ").is_none().then_some(())?;
            let value = begin + memrchr(b' ', line)? + 1;
            places.push(value..begin + line.trim_ascii_end().len());
        }
        begin = end;
    }
    Some(places)
}

/// Takes a text piece by piece and holds it against another; refuses what differs in more than values.
struct Follower<'a> {
    text: &'a [u8],
    /// Up to here both are the same.
    at: usize,
    /// The next value.
    value: Option<&'a Range<usize>>,
    /// Those behind it.
    next: std::slice::Iter<'a, Range<usize>>,
    values: &'a mut Vec<f64>,
}

impl Follower<'_> {
    fn advance_to_value(&mut self) {
        self.value = self.next.next();
    }

    fn is_at_end(&self) -> bool {
        self.value.is_none() && self.at == self.text.len()
    }
}

impl fmt::Write for Follower<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let piece = piece.as_bytes();
        if let Some(value) = self.value.filter(|value| value.start == self.at && !piece.is_empty()) {
            self.values.push(number(piece).ok_or(fmt::Error)?);
            self.at = value.end;
            self.advance_to_value();
            return Ok(());
        }
        let until = self.value.map_or(self.text.len(), |value| value.start);
        let same = self.text.get(self.at..until).is_some_and(|rest| rest.starts_with(piece));
        self.at += piece.len();
        same.then_some(()).ok_or(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::model::{Snapshot, Timestamp};

    #[test]
    fn what_is_read_is_what_parsing_gives() {
        let mut registry = Registry::default();
        let (gauge, family) = (
            Gauge::<f64, std::sync::atomic::AtomicU64>::default(),
            Family::<[(&str, &str); 1], Counter>::default(),
        );
        registry.register("a", "A gauge", gauge.clone());
        registry.register("b", "A family", family.clone());
        let mut reader = RegistryReader::default();
        for (value, label) in
            [(1.5, "x"), (f64::NAN, "x"), (f64::INFINITY, "y # \" z"), (-0.0, "y # \" z"), (3e300, "z")]
        {
            gauge.set(value);
            family.get_or_create(&[("l", label)]).inc();
            let mut read = Batch::new();
            reader.read(&registry, &mut read);
            let (mut text, mut parsed) = (String::new(), Batch::new());
            encode(&mut text, &registry).unwrap();
            // With a label that looks like an exemplar the text is parsed each time.
            assert_eq!(reader.follow(&registry), !text.contains(" # "));
            expose::parse(text.as_bytes(), Syntax::OpenMetrics100, expose::Limits::default(), &mut parsed)
                .unwrap();
            let shown = |batch| {
                let snapshot = Snapshot::assemble(Timestamp::default(), vec![("own", batch)]);
                let mut out = Vec::new();
                expose::encode(&snapshot, expose::Format::TEXT, &mut out);
                String::from_utf8(out).unwrap()
            };
            assert_eq!(shown(read), shown(parsed));
        }
    }
}
