//! What others send: headers checked, bodies unpacked and read into rows.
//!
//! Invariants: a body is bounded before and after it is unpacked, and so is what its series unfold to: a text that
//! 2.0 names a million times costs as much as a million texts. What is wrong with one series costs only that series;
//! what is wrong with the message costs all of it.
//!
//! Source: Prometheus's Remote-Write specifications 1.0 and 2.0; `storage/remote/write_handler.go` for words and
//! status codes.

use super::message::Protocol;
use crate::model::{Labels, METRIC_NAME, Row, Timestamp};
use crate::wire::protobuf::{Field, Reader, WireError, WireProblem};

/// What a row costs beside its texts, and what a series does.
const ROW_BYTES: usize = size_of::<Row>();

/// How much more than the body its rows may be: labels are written anew for each series.
const UNFOLDED: usize = 8;

/// Wrong series of which the answer tells; the others are counted.
const MOST_TOLD: usize = 10;

/// What stands for a text that is not UTF-8, where it is told.
const NOT_UTF8: &str = "\u{fffd}";

const NOT_UTF8_WHY: &str = "invalid labels for series, a label is not UTF-8";

/// Why a request is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The wrong message or coding: 415.
    #[error("{0}")]
    Unsupported(String),
    /// Not what its headers say: 400.
    #[error("{0}")]
    Malformed(String),
    /// More than is taken: 413.
    #[error("{0}")]
    TooLarge(String),
}

/// What a request holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    /// Its samples, each under its own instant.
    pub rows: Vec<Row>,
    /// What is wrong with series that were left out, the first few.
    pub wrong: Vec<String>,
    /// Their samples.
    pub wrong_samples: usize,
    /// Samples of native histograms, which are not kept.
    pub histograms: usize,
    /// Exemplars, which are not kept.
    pub exemplars: usize,
}

/// The message that a request's `Content-Type` names.
///
/// # Errors
/// Another one; the text is Prometheus's.
pub fn protocol_of(content_type: &str) -> Result<Protocol, ReceiveError> {
    // Senders of the first years named none.
    let content_type = if content_type.is_empty() { "application/x-protobuf" } else { content_type };
    let mut parts = content_type.split(';').map(str::trim);
    if parts.next() != Some("application/x-protobuf") {
        return Err(ReceiveError::Unsupported(format!(
            "expected application/x-protobuf as the first (media) part, got {} content-type",
            cut(content_type)
        )));
    }
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            return Err(ReceiveError::Unsupported(format!(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {} in {} content-type",
                cut(part),
                cut(content_type)
            )));
        };
        if name != "proto" {
            continue;
        }
        let known = [Protocol::V1, Protocol::V2];
        return known.into_iter().find(|protocol| protocol.message() == value).ok_or_else(|| {
            ReceiveError::Unsupported(format!(
                "got {} content type; unknown type for remote write protobuf message {}, supported: {}, {}",
                cut(content_type),
                cut(value),
                Protocol::V1.message(),
                Protocol::V2.message()
            ))
        });
    }
    Ok(Protocol::V1)
}

/// Checks `Content-Encoding`.
///
/// # Errors
/// Anything but snappy, or none; the text is Prometheus's.
pub fn check_coding(coding: &str) -> Result<(), ReceiveError> {
    match coding {
        "" | "snappy" => Ok(()),
        other => Err(ReceiveError::Unsupported(format!(
            "{} encoding (compression) is not accepted by this server; only snappy is acceptable",
            cut(other)
        ))),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}

/// Unpacks and reads a body. `most_bytes` bounds what it unpacks to.
///
/// # Errors
/// It is not what `protocol` says, or too large.
pub fn receive(protocol: Protocol, body: &[u8], most_bytes: usize) -> Result<Received, ReceiveError> {
    let broken = |error: snap::Error| ReceiveError::Malformed(format!("snappy: {error}"));
    let length = snap::raw::decompress_len(body).map_err(broken)?;
    if length > most_bytes {
        return Err(ReceiveError::TooLarge(format!(
            "the body is larger than {most_bytes} bytes when decompressed"
        )));
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(broken)?;
    read(protocol, &message, most_bytes.saturating_mul(UNFOLDED))
}

/// Reads a message whose rows may cost so many bytes.
///
/// # Errors
/// As [`receive`].
pub fn read(protocol: Protocol, message: &[u8], most_bytes: usize) -> Result<Received, ReceiveError> {
    let mut request = Request { left_bytes: most_bytes, most_bytes, received: Received::default() };
    let read = match protocol {
        Protocol::V1 => request.read_v1(message),
        Protocol::V2 => request.read_v2(message),
    };
    read.map(|()| request.received)
}

impl From<WireError> for ReceiveError {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Samples of one series as they are read: value and milliseconds.
#[derive(Default)]
struct Content {
    /// Whether a text of its labels is none.
    not_utf8: bool,
    samples: Vec<(f64, i64)>,
    histograms: usize,
    exemplars: usize,
}

struct Request {
    left_bytes: usize,
    most_bytes: usize,
    received: Received,
}

impl Request {
    fn spend(&mut self, bytes: usize) -> Result<(), ReceiveError> {
        self.left_bytes = self.left_bytes.checked_sub(bytes).ok_or_else(|| {
            ReceiveError::TooLarge(format!("the series unfold to more than {} bytes", self.most_bytes))
        })?;
        Ok(())
    }

    fn read_v1(&mut self, message: &[u8]) -> Result<(), ReceiveError> {
        let mut reader = Reader::new(message);
        while let Some(field) = reader.field()? {
            if field.number != 1 {
                continue;
            }
            let mut series = field.message()?;
            let (mut pairs, mut content) = (Vec::new(), Content::default());
            while let Some(field) = series.field()? {
                match field.number {
                    1 => pairs.push(self.pair(&field, &mut content)?),
                    2 => self.sample(&field, &mut content)?,
                    3 => content.exemplars += 1,
                    4 => content.histograms += 1,
                    _ => {}
                }
            }
            self.add(pairs, content)?;
        }
        Ok(())
    }

    fn pair<'a>(
        &mut self,
        field: &Field<'a>,
        content: &mut Content,
    ) -> Result<(&'a str, &'a str), ReceiveError> {
        let (mut label, mut pair) = (field.message()?, ("", ""));
        let mut text = |field: Field<'a>| {
            let text = text(&field)?;
            content.not_utf8 |= text.is_none();
            Ok::<_, ReceiveError>(text.unwrap_or(NOT_UTF8))
        };
        while let Some(field) = label.field()? {
            match field.number {
                1 => pair.0 = text(field)?,
                2 => pair.1 = text(field)?,
                _ => {}
            }
        }
        self.spend(size_of::<(&str, &str)>())?;
        Ok(pair)
    }

    fn sample(&mut self, field: &Field<'_>, content: &mut Content) -> Result<(), ReceiveError> {
        let (mut message, mut sample) = (field.message()?, (0.0, 0));
        while let Some(field) = message.field()? {
            match field.number {
                1 => sample.0 = field.double()?,
                2 => sample.1 = field.signed()?,
                _ => {}
            }
        }
        self.spend(size_of::<(f64, i64)>())?;
        content.samples.push(sample);
        Ok(())
    }

    fn read_v2(&mut self, message: &[u8]) -> Result<(), ReceiveError> {
        let mut symbols = Vec::new();
        let mut reader = Reader::new(message);
        while let Some(field) = reader.field()? {
            if field.number == 4 {
                self.spend(size_of::<&str>())?;
                symbols.push(text(&field)?);
            }
        }
        let mut reader = Reader::new(message);
        while let Some(field) = reader.field()? {
            if field.number != 5 {
                continue;
            }
            let mut series = field.message()?;
            let (mut numbers, mut content) = (Vec::new(), Content::default());
            while let Some(field) = series.field()? {
                match field.number {
                    1 => {
                        for number in field.packed()? {
                            self.spend(size_of::<u64>())?;
                            numbers.push(number?);
                        }
                    }
                    2 => self.sample(&field, &mut content)?,
                    3 => content.histograms += 1,
                    4 => content.exemplars += 1,
                    _ => {}
                }
            }
            match named(&symbols, &numbers) {
                Ok(pairs) => self.add(pairs, content)?,
                Err(why) => self.wrong(why, content.samples.len()),
            }
        }
        Ok(())
    }

    fn add(&mut self, pairs: Vec<(&str, &str)>, content: Content) -> Result<(), ReceiveError> {
        self.received.histograms += content.histograms;
        self.received.exemplars += content.exemplars;
        self.spend(
            pairs.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>() + ROW_BYTES,
        )?;
        if let Some(why) = content.not_utf8.then_some(NOT_UTF8_WHY).or_else(|| why_invalid(&pairs)) {
            let labels = Labels::from_pairs(pairs);
            self.wrong(format!("{why}, got {}", cut(&labels.to_string())), content.samples.len());
            return Ok(());
        }
        self.spend(content.samples.len().saturating_mul(ROW_BYTES))?;
        let labels = Labels::from_pairs(pairs);
        self.received.rows.extend(content.samples.into_iter().map(|(value, at_ms)| Row {
            labels: labels.clone(),
            value,
            timestamp: Some(Timestamp::from_millis(at_ms)),
        }));
        Ok(())
    }

    fn wrong(&mut self, why: String, samples: usize) {
        self.received.wrong_samples += samples;
        if self.received.wrong.len() < MOST_TOLD {
            self.received.wrong.push(why);
        }
    }
}

/// A text of a label; `None`: it is not UTF-8.
fn text<'a>(field: &Field<'a>) -> Result<Option<&'a str>, ReceiveError> {
    match field.text() {
        Err(WireError { problem: WireProblem::NotUtf8(_), .. }) => Ok(None),
        text => Ok(Some(text?)),
    }
}

/// The texts that a series of 2.0 names.
fn named<'a>(symbols: &[Option<&'a str>], numbers: &[u64]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let text = |number: u64| {
        let text = usize::try_from(number).ok().and_then(|number| symbols.get(number)).copied();
        let text = text.ok_or_else(|| {
            format!("labelRefs {number} (name) is out of the symbols, of which there are {}", symbols.len())
        })?;
        text.ok_or_else(|| format!("{NOT_UTF8_WHY}, got labelRefs {number}"))
    };
    let mut pairs = Vec::with_capacity(numbers.len() / 2);
    for pair in numbers.chunks(2) {
        let [name, value] = pair else { return Err(format!("invalid labelRefs length {}", numbers.len())) };
        pairs.push((text(*name)?, text(*value)?));
    }
    Ok(pairs)
}

fn why_invalid(pairs: &[(&str, &str)]) -> Option<&'static str> {
    let has_name = pairs.iter().any(|(name, value)| *name == METRIC_NAME && !value.is_empty());
    if !has_name || pairs.iter().any(|(name, _)| name.is_empty()) {
        return Some("invalid metric name or labels");
    }
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let twice = names.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    twice.then_some("invalid labels for series, labels with the same name")
}

/// For the fuzz target: any bytes, as either message.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    for protocol in [Protocol::V1, Protocol::V2] {
        let _ = receive(protocol, bytes, 1 << 20);
        let Ok(received) = read(protocol, bytes, 1 << 20) else { continue };
        let bytes: usize = received.rows.iter().map(|row| row.labels.size_bytes()).sum();
        assert!(bytes <= (1 << 20) && received.wrong.len() <= MOST_TOLD, "{bytes}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{Metadata, MetadataMap, TimeSeries, compress, encode, encode_metadata};
    use super::*;
    use crate::model::{Kind, STALE_NAN_BITS};
    use crate::wire::protobuf::Writer;

    const PROTOCOLS: [Protocol; 2] = [Protocol::V1, Protocol::V2];

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
        TimeSeries { labels: Labels::from_pairs(labels.iter().copied()), samples: samples.to_vec() }
    }

    fn rows(series: &[TimeSeries]) -> Vec<(String, i64, u64)> {
        let row = |s: &TimeSeries| {
            let labels = s.labels.to_string();
            s.samples.iter().map(|(at, value)| (labels.clone(), *at, value.to_bits())).collect::<Vec<_>>()
        };
        series.iter().flat_map(row).collect()
    }

    fn shown(received: &Received) -> Vec<(String, i64, u64)> {
        let row = |row: &Row| {
            (row.labels.to_string(), row.timestamp.map_or(-1, Timestamp::as_millis), row.value.to_bits())
        };
        received.rows.iter().map(row).collect()
    }

    proptest! {
        #[test]
        fn what_is_sent_is_received(
            made in prop::collection::vec(
                (
                    prop::collection::btree_map("[a-c]{1,3}", "\\PC{1,9}", 0..5),
                    prop::collection::vec((any::<i64>(), any::<u64>()), 0..4),
                ),
                0..20,
            ),
            help in "\\PC{0,20}",
        ) {
            let series: Vec<TimeSeries> = made.into_iter().map(|(mut labels, samples)| {
                labels.insert("__name__".to_owned(), "m_total".to_owned());
                let samples = samples.into_iter().map(|(at, bits)| (at, f64::from_bits(bits))).collect();
                TimeSeries { labels: Labels::from_pairs(labels), samples }
            }).collect();
            let metadata = Metadata { name: "m".into(), kind: Kind::Counter, help, unit: "s".into() };
            let known = MetadataMap::from_iter([("m".to_owned(), metadata)]);
            for protocol in PROTOCOLS {
                let body = compress(&encode(protocol, &series, &known));
                let received = receive(protocol, &body, 1 << 20).expect("reads");
                prop_assert_eq!(shown(&received), rows(&series));
                prop_assert!(received.wrong.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&bytes);
        }
    }

    #[test]
    fn staleness_markers_and_metadata_have_their_bytes() {
        let series = [series(&[("__name__", "a"), ("b", "c")], &[(1, f64::from_bits(STALE_NAN_BITS))])];
        let v1 = encode(Protocol::V1, &series, &MetadataMap::default());
        let expected = [
            b"\x0a\x24\x0a\x0d\x0a\x08__name__\x12\x01a\x0a\x06\x0a\x01b\x12\x01c\x12\x0b\x09".as_slice(),
            &STALE_NAN_BITS.to_le_bytes(),
            b"\x10\x01",
        ]
        .concat();
        assert_eq!(v1, expected);
        let metadata =
            [Metadata { name: "a".into(), kind: Kind::Gauge, help: "h".into(), unit: String::new() }];
        assert_eq!(encode_metadata(&metadata), b"\x1a\x08\x08\x02\x12\x01a\x22\x01h");
        assert_eq!(read(Protocol::V1, &encode_metadata(&metadata), 1 << 20), Ok(Received::default()));
        let v2 =
            encode(Protocol::V2, &series, &MetadataMap::from_iter([("a".to_owned(), metadata[0].clone())]));
        let expected = [
            b"\x22\x00\x22\x08__name__\x22\x01a\x22\x01b\x22\x01c\x22\x01h\x2a\x19\x0a\x04\x01\x02\x03\x04\x12\x0b\x09"
                .as_slice(),
            &STALE_NAN_BITS.to_le_bytes(),
            b"\x10\x01\x2a\x04\x08\x02\x18\x05",
        ]
        .concat();
        assert_eq!(v2, expected);
    }

    #[test]
    fn wrong_series_cost_only_themselves() {
        let mut out = Writer::new();
        let label = |out: &mut Writer, name: &str, value: &str| {
            out.message(1, |out| {
                out.text(1, name);
                out.text(2, value);
            });
        };
        let mut one = |labels: &[(&str, &str)]| {
            out.message(1, |out| {
                labels.iter().for_each(|(name, value)| label(out, name, value));
                out.message(2, |out| out.double(1, 1.0));
            });
        };
        one(&[("__name__", "good"), ("b", "1"), ("a", "2")]);
        one(&[("a", "1")]);
        one(&[("__name__", "x"), ("", "1")]);
        one(&[("__name__", "x"), ("a", "1"), ("a", "2")]);
        let received = read(Protocol::V1, out.bytes(), 1 << 20).unwrap();
        assert_eq!(
            shown(&received),
            [(r#"{__name__="good", a="2", b="1"}"#.to_owned(), 0, 1.0_f64.to_bits())]
        );
        assert_eq!(received.wrong_samples, 3);

        let mut out = Writer::new();
        ["", "__name__", "x"].iter().for_each(|text| out.text(4, text));
        for numbers in [[1, 2].as_slice(), &[1], &[1, 9], &[0, 2]] {
            out.message(5, |out| {
                out.message(1, |out| numbers.iter().for_each(|n| out.item(*n)));
                out.message(2, |out| out.signed(2, 7));
                out.message(3, |_| ());
            });
        }
        let received = read(Protocol::V2, out.bytes(), 1 << 20).unwrap();
        assert_eq!((received.rows.len(), received.wrong_samples, received.histograms), (1, 3, 2));
    }

    #[test]
    fn a_text_that_is_none_costs_its_series() {
        // The writer takes texts only: a byte is made wrong afterwards.
        let spoilt = |message: Vec<u8>| -> Vec<u8> {
            message.into_iter().map(|byte| if byte == b'!' { 0xff } else { byte }).collect()
        };
        let good = series(&[("__name__", "good"), ("a", "ä")], &[(1, 1.0)]);
        let bad = series(&[("__name__", "bad"), ("x", "!")], &[(1, 1.0), (2, 2.0)]);
        let worse = series(&[("__name__", "bad"), ("!", "x")], &[(1, 1.0)]);
        for (protocol, told) in [
            (
                Protocol::V1,
                "invalid labels for series, a label is not UTF-8, got {__name__=\"bad\", x=\"\u{fffd}\"}",
            ),
            (Protocol::V2, "invalid labels for series, a label is not UTF-8, got labelRefs 7"),
        ] {
            let sent = [good.clone(), bad.clone(), worse.clone(), good.clone()];
            let message = spoilt(encode(protocol, &sent, &MetadataMap::default()));
            let received = read(protocol, &message, 1 << 20).unwrap();
            assert_eq!(shown(&received), rows(&[good.clone(), good.clone()]), "{protocol:?}");
            assert_eq!((received.wrong_samples, received.wrong.len()), (3, 2));
            assert_eq!(received.wrong[0], told);
        }
    }

    #[test]
    fn what_unfolds_is_bounded() {
        let body = compress(&vec![0; 1 << 20]);
        let error = receive(Protocol::V1, &body, 1000).unwrap_err();
        assert!(matches!(error, ReceiveError::TooLarge(_)), "{error}");
        // A text of 64 KiB, named a thousand times.
        let mut out = Writer::new();
        ["", "__name__", &"x".repeat(1 << 16)].iter().for_each(|text| out.text(4, text));
        for _ in 0..1_000 {
            out.message(5, |out| out.message(1, |out| [1, 2].iter().for_each(|n| out.item(*n))));
        }
        let error = receive(Protocol::V2, &compress(out.bytes()), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("unfold to more than"), "{error}");
        assert!(matches!(receive(Protocol::V1, b"nonsense", 999), Err(ReceiveError::Malformed(_))));
        assert!(matches!(receive(Protocol::V1, &compress(b"\xff\xff"), 99), Err(ReceiveError::Malformed(_))));
    }

    #[test]
    fn headers_are_judged_in_prometheus_words() {
        for (content_type, expected) in [
            ("", Ok(Protocol::V1)),
            ("application/x-protobuf", Ok(Protocol::V1)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Ok(Protocol::V1)),
            ("application/x-protobuf; proto=io.prometheus.write.v2.Request", Ok(Protocol::V2)),
            ("application/x-protobuf;charset=x;proto=io.prometheus.write.v2.Request", Ok(Protocol::V2)),
            (
                "text/plain",
                Err("expected application/x-protobuf as the first (media) part, got text/plain content-type"),
            ),
            (
                "application/x-protobuf;proto=x",
                Err(
                    "got application/x-protobuf;proto=x content type; unknown type for remote write protobuf message x, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
                ),
            ),
        ] {
            let found = protocol_of(content_type).map_err(|error| error.to_string());
            assert_eq!(
                found.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e),
                "{content_type}"
            );
        }
        assert_eq!(
            check_coding("zstd").unwrap_err().to_string(),
            "zstd encoding (compression) is not accepted by this server; only snappy is acceptable"
        );
        assert_eq!(check_coding("snappy"), Ok(()));
    }
}
