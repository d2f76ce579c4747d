//! A group as bytes: a checksum, a header, then its families as Prometheus's own protobuf exposition.
//!
//! Invariant: what is written reads back as the same exposition; bytes that were changed are refused.
//!
//! Header: `1` label (`1` name, `2` value), `2` last push, `3` last failure, `4` time to live, `5` push of each
//! family in the order of the stream; all times in milliseconds, absent where there is none.

use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::Grouping;
use super::check::type_name;
use super::family::{Family, Metric, Value, families_of};
use super::group::Group;
use crate::expose::{Limits, parse_protobuf};
use crate::model::{Batch, Kind, Timestamp};
use crate::wire::protobuf::{Reader, WireError, Writer};

/// Bytes of the checksum: the first of SHA-256.
const CHECKSUM_BYTES: usize = 8;

/// Why bytes are no group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// Cut off or changed.
    #[error("the checksum does not fit")]
    Checksum,
    /// A header that is none.
    #[error("the header is broken: {0}")]
    Header(#[from] WireError),
    /// Families that are none.
    #[error("the metrics are broken: {0}")]
    Families(String),
}

/// The name under which a group is kept.
pub(super) fn key_of(grouping: &Grouping) -> String {
    let mut packed = Writer::new();
    write_labels(&mut packed, grouping.iter());
    digest(&SHA256, packed.bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn encode(grouping: &Grouping, group: &Group) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.delimited(|w| {
        write_labels(w, grouping.iter());
        for (number, at) in [(2, group.pushed), (3, group.failed)] {
            if let Some(at) = at {
                w.signed(number, at.as_millis());
            }
        }
        if let Some(ttl) = group.ttl {
            w.unsigned(4, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        }
        w.message(5, |w| {
            group.families().for_each(|family| w.item(family.pushed.as_millis().cast_unsigned()))
        });
    });
    for family in group.families() {
        writer.delimited(|w| write_family(w, family));
    }
    let body = writer.into_bytes();
    let mut record = checksum(&body).to_vec();
    record.extend_from_slice(&body);
    record
}

pub(super) fn decode(record: &[u8]) -> Result<(Grouping, Group), RecordError> {
    let (sum, body) = record.split_at_checked(CHECKSUM_BYTES).ok_or(RecordError::Checksum)?;
    if sum != checksum(body) {
        return Err(RecordError::Checksum);
    }
    let mut stream = Reader::new(body);
    let mut header = stream.delimited()?;
    let (mut labels, mut pushed_of_families) = (Vec::new(), Vec::new());
    let mut group = Group::default();
    while let Some(field) = header.field()? {
        match field.number {
            1 => labels.push(read_label(field.message()?)?),
            2 => group.pushed = Some(Timestamp::from_millis(field.signed()?)),
            3 => group.failed = Some(Timestamp::from_millis(field.signed()?)),
            4 => group.ttl = Some(Duration::from_millis(field.unsigned()?)),
            5 => {
                for at in field.packed()? {
                    pushed_of_families.push(Timestamp::from_millis(at?.cast_signed()));
                }
            }
            _ => {}
        }
    }
    let grouping = Grouping::from_pairs(labels);
    let mut batch = Batch::new();
    let limits = Limits { line_bytes: usize::MAX, labels: usize::MAX, unfolded_bytes: usize::MAX };
    parse_protobuf(stream.rest(), limits, &mut batch)
        .map_err(|error| RecordError::Families(error.to_string()))?;
    let mut families = families_of(&batch, &grouping, Timestamp::default());
    for (family, pushed) in families.iter_mut().zip(pushed_of_families) {
        family.pushed = pushed;
    }
    group.replace_all(families);
    Ok((grouping, group))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let full = digest(&SHA256, body);
    full.as_ref().first_chunk().copied().unwrap_or_default()
}

fn read_label(mut message: Reader<'_>) -> Result<(String, String), WireError> {
    let (mut name, mut value) = ("", "");
    while let Some(field) = message.field()? {
        match field.number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn write_labels<'a>(writer: &mut Writer, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in labels {
        writer.message(1, |w| {
            w.text(1, name);
            w.text(2, value);
        });
    }
}

fn write_family(writer: &mut Writer, family: &Family) {
    writer.text(1, &family.name);
    writer.text(2, &family.help);
    let kind = match type_name(family.kind) {
        "COUNTER" => 0,
        "GAUGE" => 1,
        "SUMMARY" => 2,
        "HISTOGRAM" => 4,
        "GAUGE_HISTOGRAM" => 5,
        _ => 3,
    };
    writer.unsigned(3, kind);
    for metric in &family.metrics {
        writer.message(4, |w| write_metric(w, family.kind, metric));
    }
}

fn write_metric(writer: &mut Writer, kind: Kind, metric: &Metric) {
    write_labels(writer, metric.labels.iter().map(|(name, value)| (&**name, &**value)));
    match &metric.value {
        Value::Plain(value) => {
            let number = match kind {
                Kind::Counter => 3,
                Kind::Untyped => 5,
                _ => 2,
            };
            writer.message(number, |w| w.double(1, *value));
        }
        Value::Composed { bounds, sum, count } if kind == Kind::Summary => writer.message(4, |w| {
            w.unsigned(1, whole(count.unwrap_or(0.0)));
            w.double(2, sum.unwrap_or(0.0));
            for (quantile, value) in bounds {
                w.message(3, |w| {
                    w.double(1, *quantile);
                    w.double(2, *value);
                });
            }
        }),
        Value::Composed { bounds, sum, count } => writer.message(7, |w| {
            w.double(4, count.unwrap_or(0.0));
            w.double(2, sum.unwrap_or(0.0));
            for (bound, count) in bounds {
                w.message(3, |w| {
                    w.double(4, *count);
                    w.double(2, *bound);
                });
            }
        }),
    }
}

/// A summary's count has no float field.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, as a count may"
)]
const fn whole(count: f64) -> u64 {
    count as u64
}
