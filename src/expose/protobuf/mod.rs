//! Reads Prometheus's protobuf exposition into a [`Batch`]: a stream of `io.prometheus.client.MetricFamily`, each
//! preceded by its length.
//!
//! Invariants: no input makes it panic; texts are borrowed from the input; time and memory are linear in the
//! input's size plus [`Limits::unfolded_bytes`] (a histogram's labels are written once and belong to each of its
//! buckets); of a refused exposition the batch may hold the samples before the error, so the caller clears it.
//!
//! Sources: `metrics.proto` of Prometheus's client_model for the fields; Prometheus's scraper for what they
//! become: a classic histogram gets its `+Inf` bucket if it has none, a gauge histogram's sum and count end on
//! `_sum` and `_count`, a timestamp of 0 is none. Exemplars and created timestamps are dropped. Of a native
//! histogram only sum, count and classic buckets are read; the place of the rest is [`histogram::Histogram`].

mod error;
mod histogram;

pub use self::error::{ProtobufError, ProtobufProblem};

use self::error::{Located, Step};
use self::histogram::Histogram;
use super::number::push_float;
use super::{Limits, ParseStats};
use crate::model::{Batch, FamilyId, Kind, Suffix, Timestamp};
use crate::wire::protobuf::Reader;

/// Adds the samples of one exposition to `batch`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse_protobuf(input: &[u8], limits: Limits, batch: &mut Batch) -> Result<ParseStats, ProtobufError> {
    let mut stream = Reader::new(input);
    let mut parser = Parser {
        limits,
        stats: ParseStats::default(),
        unfolded_bytes: 0,
        labels: Vec::new(),
        bound: Vec::new(),
        batch,
    };
    while !stream.is_empty() {
        let mut name = "";
        let read =
            stream.delimited().map_err(Located::from).and_then(|family| parser.family(family, &mut name));
        read.map_err(|located| ProtobufError::new(located, name))?;
    }
    Ok(parser.stats)
}

/// What a family says before its metrics.
struct Family {
    id: FamilyId,
    kind: Kind,
}

/// The measurements of one metric, of whichever type.
#[derive(Default)]
struct Metric<'i> {
    timestamp_ms: Option<i64>,
    gauge: Option<Reader<'i>>,
    counter: Option<Reader<'i>>,
    untyped: Option<Reader<'i>>,
    summary: Option<Reader<'i>>,
    histogram: Option<Reader<'i>>,
}

struct Parser<'i, 'b> {
    limits: Limits,
    stats: ParseStats,
    unfolded_bytes: usize,
    /// Those of the metric being read; its `le` or `quantile` comes last while its parts are pushed.
    labels: Vec<(&'i str, &'i str)>,
    bound: Vec<u8>,
    batch: &'b mut Batch,
}

impl<'i> Parser<'i, '_> {
    fn family(&mut self, message: Reader<'i>, name: &mut &'i str) -> Step<()> {
        let (mut help, mut unit, mut kind) = ("", "", Kind::Counter);
        // Fields may come in any order, and the samples need all but themselves.
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => *name = field.text()?,
                2 => help = field.text()?,
                3 => kind = kind_of(field.unsigned()?).map_err(|problem| Located::at(field.at, problem))?,
                5 => unit = field.text()?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(Located::at(message.at(), ProtobufProblem::NoName));
        }
        let mut family = None;
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.number == 4 {
                let metric = field.message()?;
                if metric.rest().len() > self.limits.line_bytes {
                    let problem = ProtobufProblem::MetricTooLong(self.limits.line_bytes);
                    return Err(Located::at(field.at, problem));
                }
                // A family without metrics is none.
                let family = family.get_or_insert_with(|| {
                    let id = self.batch.family(name, help, kind);
                    self.batch.set_unit(id, unit);
                    Family { id, kind }
                });
                self.metric(family, metric)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, family: &Family, message: Reader<'i>) -> Step<()> {
        self.labels.clear();
        let mut metric = Metric::default();
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => self.label(field.message()?)?,
                2 => metric.gauge = Some(field.message()?),
                3 => metric.counter = Some(field.message()?),
                4 => metric.summary = Some(field.message()?),
                5 => metric.untyped = Some(field.message()?),
                6 => metric.timestamp_ms = Some(field.signed()?),
                7 => metric.histogram = Some(field.message()?),
                _ => {}
            }
        }
        let measured = match family.kind {
            Kind::Counter => metric.counter,
            Kind::Gauge => metric.gauge,
            Kind::Summary => metric.summary,
            Kind::Histogram | Kind::GaugeHistogram => metric.histogram,
            _ => metric.untyped,
        };
        let Some(measured) = measured else {
            return Err(Located::at(message.at(), ProtobufProblem::OtherType));
        };
        let at = Timing { present: metric.timestamp_ms.is_some(), millis: metric.timestamp_ms.unwrap_or(0) };
        match family.kind {
            Kind::Summary => self.summary(family.id, measured, at),
            Kind::Histogram | Kind::GaugeHistogram => self.histogram(family.id, measured, at),
            _ => {
                let value = only_double(measured)?;
                self.push(family.id, Suffix::None, value, at, measured.at())
            }
        }
    }

    fn label(&mut self, message: Reader<'i>) -> Step<()> {
        let (mut name, mut value) = ("", "");
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => name = field.text()?,
                2 => value = field.text()?,
                _ => {}
            }
        }
        let problem = if name.is_empty() {
            ProtobufProblem::NoLabelName
        } else if name == "__name__" {
            ProtobufProblem::ReservedLabel
        } else if self.labels.iter().any(|(there, _)| *there == name) {
            ProtobufProblem::duplicate_label(name)
        } else if self.labels.len() >= self.limits.labels {
            ProtobufProblem::TooManyLabels(self.limits.labels)
        } else {
            self.labels.push((name, value));
            return Ok(());
        };
        Err(Located::at(message.at(), problem))
    }

    fn summary(&mut self, family: FamilyId, message: Reader<'i>, at: Timing) -> Step<()> {
        self.without("quantile", message.at())?;
        let (mut count, mut sum) = (0.0, 0.0);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => count = float_of(field.unsigned()?),
                2 => sum = field.double()?,
                _ => {}
            }
        }
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.number == 3 {
                let (mut quantile, mut value) = (0.0, 0.0);
                let mut parts = field.message()?;
                while let Some(part) = parts.field()? {
                    match part.number {
                        1 => quantile = part.double()?,
                        2 => value = part.double()?,
                        _ => {}
                    }
                }
                self.push_bounded(family, (Suffix::None, "quantile", quantile), value, at, field.at)?;
            }
        }
        self.push(family, Suffix::Sum, sum, at, message.at())?;
        self.push(family, Suffix::Count, count, at, message.at())
    }

    fn histogram(&mut self, family: FamilyId, message: Reader<'i>, at: Timing) -> Step<()> {
        self.without("le", message.at())?;
        let histogram = Histogram::read(message)?;
        let mut has_infinity = false;
        for bucket in histogram.buckets() {
            let bucket = bucket?;
            has_infinity |= bucket.upper_bound == f64::INFINITY;
            let part = (Suffix::Bucket, "le", bucket.upper_bound);
            self.push_bounded(family, part, bucket.cumulative_count, at, bucket.at)?;
        }
        if !has_infinity {
            let part = (Suffix::Bucket, "le", f64::INFINITY);
            self.push_bounded(family, part, histogram.count, at, message.at())?;
        }
        self.push(family, Suffix::Sum, histogram.sum, at, message.at())?;
        self.push(family, Suffix::Count, histogram.count, at, message.at())
    }

    /// Refuses a label that the type itself sets.
    fn without(&self, reserved: &'static str, at: usize) -> Step<()> {
        if self.labels.iter().any(|(name, _)| *name == reserved) {
            return Err(Located::at(at, ProtobufProblem::duplicate_label(reserved)));
        }
        Ok(())
    }

    fn push_bounded(
        &mut self,
        family: FamilyId,
        (suffix, label, bound): (Suffix, &'i str, f64),
        value: f64,
        at: Timing,
        place: usize,
    ) -> Step<()> {
        // The spelling that the text parser gives: one bound is one series, whatever the format.
        let mut spelled = std::mem::take(&mut self.bound);
        spelled.clear();
        push_float(&mut spelled, bound);
        let text = std::str::from_utf8(&spelled).unwrap_or_default();
        let mut few = [("", ""); 16];
        let count = self.labels.len();
        let pushed = if let Some((last, labels)) = few.get_mut(..=count).and_then(<[_]>::split_last_mut) {
            labels.copy_from_slice(&self.labels);
            *last = (label, text);
            self.push_labels(family, suffix, few.get(..=count).unwrap_or_default(), value, at, place)
        } else {
            let mut many: Vec<(&str, &str)> = self.labels.clone();
            many.push((label, text));
            self.push_labels(family, suffix, &many, value, at, place)
        };
        self.bound = spelled;
        pushed
    }

    fn push(&mut self, family: FamilyId, suffix: Suffix, value: f64, at: Timing, place: usize) -> Step<()> {
        let labels = std::mem::take(&mut self.labels);
        let pushed = self.push_labels(family, suffix, &labels, value, at, place);
        self.labels = labels;
        pushed
    }

    fn push_labels(
        &mut self,
        family: FamilyId,
        suffix: Suffix,
        labels: &[(&str, &str)],
        value: f64,
        at: Timing,
        place: usize,
    ) -> Step<()> {
        self.unfolded_bytes += labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if self.unfolded_bytes > self.limits.unfolded_bytes {
            let problem = ProtobufProblem::UnfoldedTooLong(self.limits.unfolded_bytes);
            return Err(Located::at(place, problem));
        }
        self.stats.samples += 1;
        self.stats.timestamps += usize::from(at.present);
        self.batch.sample_full(family, suffix, labels, value, at.timestamp());
        Ok(())
    }
}

/// A metric's own instant. Present and 0 are told apart because a push must not have one at all.
#[derive(Clone, Copy)]
struct Timing {
    present: bool,
    millis: i64,
}

impl Timing {
    fn timestamp(self) -> Option<Timestamp> {
        (self.millis != 0).then(|| Timestamp::from_millis(self.millis))
    }
}

/// Field 1 of a gauge, a counter or an untyped value.
fn only_double(mut message: Reader<'_>) -> Step<f64> {
    let mut value = 0.0;
    while let Some(field) = message.field()? {
        if field.number == 1 {
            value = field.double()?;
        }
    }
    Ok(value)
}

#[expect(clippy::cast_precision_loss, reason = "every sample is a float; Prometheus rounds the same way")]
const fn float_of(count: u64) -> f64 {
    count as f64
}

const fn kind_of(number: u64) -> Result<Kind, ProtobufProblem> {
    Ok(match number {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Summary,
        3 => Kind::Untyped,
        4 => Kind::Histogram,
        5 => Kind::GaugeHistogram,
        unknown => return Err(ProtobufProblem::UnknownType(unknown)),
    })
}

#[cfg(test)]
mod tests;
