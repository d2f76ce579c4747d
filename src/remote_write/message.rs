//! What is sent: samples and metadata as one of the two messages, compressed.
//!
//! Invariants: labels are sorted by name; fields that hold their default are left out, as generated code does; what
//! is written here, [`receive`](super::receive) reads.
//!
//! Source: Prometheus's Remote-Write specifications 1.0 and 2.0, `prompb/remote.proto`, `prompb/io/prometheus/write/v2/types.proto`.

use rustc_hash::FxHashMap;

use crate::model::{Kind, Labels};
use crate::wire::protobuf::Writer;

/// Which message is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Remote-Write 1.0: `prometheus.WriteRequest`.
    V1,
    /// Remote-Write 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

impl Protocol {
    /// The message's full name.
    pub const fn message(self) -> &'static str {
        match self {
            Self::V1 => "prometheus.WriteRequest",
            Self::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// `Content-Type` of a request.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// `X-Prometheus-Remote-Write-Version` of a request.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// Samples of one series: milliseconds and values, in time order.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSeries {
    /// Its identity, metric name included.
    pub labels: Labels,
    /// Its samples.
    pub samples: Vec<(i64, f64)>,
}

/// What is known of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The family's name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Its help text.
    pub help: String,
    /// Its unit; "" where there is none.
    pub unit: String,
}

/// The number of a type, the same in both messages.
pub(super) const fn kind_number(kind: Kind) -> u64 {
    match kind {
        Kind::Untyped => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::GaugeHistogram => 4,
        Kind::Summary => 5,
        Kind::Info => 6,
        Kind::StateSet => 7,
    }
}

/// Metadata by the family's name.
pub type MetadataMap = FxHashMap<String, Metadata>;

/// Suffixes of a family's series.
const SUFFIXES: [&str; 7] = ["_total", "_bucket", "_sum", "_count", "_created", "_gsum", "_gcount"];

/// The metadata of the family that a series of this name belongs to.
fn metadata_of<'a>(known: &'a MetadataMap, name: &str) -> Option<&'a Metadata> {
    known.get(name).or_else(|| SUFFIXES.iter().find_map(|suffix| known.get(name.strip_suffix(suffix)?)))
}

/// The message, not compressed. 2.0 carries metadata beside each series.
pub fn encode(protocol: Protocol, series: &[TimeSeries], known: &MetadataMap) -> Vec<u8> {
    let mut out = Writer::new();
    match protocol {
        Protocol::V1 => series.iter().for_each(|series| out.message(1, |out| put_series_v1(out, series))),
        Protocol::V2 => put_v2(&mut out, series, known),
    }
    out.into_bytes()
}

/// A 1.0 message that holds metadata only.
pub fn encode_metadata(metadata: &[Metadata]) -> Vec<u8> {
    let mut out = Writer::new();
    for one in metadata {
        out.message(3, |out| {
            put_unless_zero(out, 1, kind_number(one.kind));
            put_unless_empty(out, 2, &one.name);
            put_unless_empty(out, 4, &one.help);
            put_unless_empty(out, 5, &one.unit);
        });
    }
    out.into_bytes()
}

/// As a block of snappy, which both protocols ask for.
pub fn compress(message: &[u8]) -> Vec<u8> {
    // Fails only for more than 4 GiB, which no batch comes near; an empty body is refused by the receiver.
    snap::raw::Encoder::new().compress_vec(message).unwrap_or_default()
}

fn put_series_v1(out: &mut Writer, series: &TimeSeries) {
    for (name, value) in &series.labels {
        out.message(1, |out| {
            out.text(1, name);
            put_unless_empty(out, 2, value);
        });
    }
    put_samples(out, series);
}

fn put_samples(out: &mut Writer, series: &TimeSeries) {
    for (at_ms, value) in &series.samples {
        out.message(2, |out| {
            if value.to_bits() != 0 {
                out.double(1, *value);
            }
            if *at_ms != 0 {
                out.signed(2, *at_ms);
            }
        });
    }
}

fn put_unless_zero(out: &mut Writer, number: u32, value: u64) {
    if value != 0 {
        out.unsigned(number, value);
    }
}

fn put_unless_empty(out: &mut Writer, number: u32, value: &str) {
    if !value.is_empty() {
        out.text(number, value);
    }
}

/// The texts of a 2.0 message, each once; the first is "".
struct Symbols<'a> {
    texts: Vec<&'a str>,
    numbers: FxHashMap<&'a str, u64>,
}

impl<'a> Symbols<'a> {
    fn number(&mut self, text: &'a str) -> u64 {
        let next = self.texts.len() as u64;
        let number = *self.numbers.entry(text).or_insert(next);
        if number == next {
            self.texts.push(text);
        }
        number
    }
}

fn put_v2(out: &mut Writer, series: &[TimeSeries], known: &MetadataMap) {
    let mut symbols = Symbols { texts: vec![""], numbers: FxHashMap::from_iter([("", 0)]) };
    let mut body = Writer::new();
    for series in series {
        let metadata = metadata_of(known, series.labels.metric_name());
        body.message(5, |out| {
            out.message(1, |out| {
                for text in series.labels.iter().flat_map(|(name, value)| [name, value]) {
                    out.item(symbols.number(text));
                }
            });
            put_samples(out, series);
            if let Some(metadata) = metadata {
                out.message(5, |out| {
                    put_unless_zero(out, 1, kind_number(metadata.kind));
                    put_unless_zero(out, 3, symbols.number(&metadata.help));
                    put_unless_zero(out, 4, symbols.number(&metadata.unit));
                });
            }
        });
    }
    // Whoever reads needs the texts first.
    symbols.texts.iter().for_each(|text| out.text(4, text));
    out.append(&body);
}
