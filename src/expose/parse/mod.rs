//! Reads text 0.0.4 and OpenMetrics 1.0 into a [`Batch`]: textfiles, our own registry, other exporters.
//!
//! Invariants: no input makes it panic; time and memory are linear in the input's size; of a refused
//! exposition the batch may hold the samples before the error, so the caller clears it.
//!
//! Sources: Prometheus's "Exposition formats" (text; where that page is silent, as strict as Go's
//! `expfmt`) and the OpenMetrics 1.0 specification (its ABNF, its grouping and its suffixes; not its
//! rules about values, which Prometheus does not ask for either). Samples of a text family may be
//! apart, as in `expfmt`; in OpenMetrics they must not. Exemplars are checked and dropped.

mod cursor;
mod error;
mod family;

use std::borrow::Cow;

use memchr::memchr;

pub use self::error::{ParseError, Problem};

use self::cursor::{Cursor, Escapes, Step, Stop};
use self::error::shown;
use self::family::Families;
use super::Syntax;
use super::name::NameOf;
use super::number::{push_float, read_float};
use crate::model::{Batch, Kind, Suffix, Timestamp};

/// What one exposition may ask for; its size is bounded by whoever read it, the number of samples by
/// [`Batch::set_limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of a line, without its line feed; in protobuf, of one metric.
    pub line_bytes: usize,
    /// Labels of a sample.
    pub labels: usize,
    /// Labels of all samples together, names and values. Text is bounded by its own size; in protobuf a metric's
    /// labels are written once and each of its buckets has them.
    pub unfolded_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line_bytes: 1 << 20, labels: 128, unfolded_bytes: 256 << 20 }
    }
}

/// What an exposition had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseStats {
    /// Samples read, those beyond the batch's limit included.
    pub samples: usize,
    /// How many of them had a timestamp.
    pub timestamps: usize,
    /// How many of them had an exemplar, which was dropped.
    pub exemplars: usize,
}

/// Adds the samples of one exposition to `batch`.
pub fn parse(
    input: &[u8],
    syntax: Syntax,
    limits: Limits,
    batch: &mut Batch,
) -> Result<ParseStats, ParseError> {
    let text = std::str::from_utf8(input).map_err(|e| not_utf8(input, e.valid_up_to()))?;
    let open_metrics = syntax.is_open_metrics();
    let mut parser = Parser {
        open_metrics,
        escapes: if open_metrics { Escapes::Lenient } else { Escapes::Strict },
        limits,
        families: Families::new(open_metrics),
        labels: Vec::new(),
        ended: false,
        stats: ParseStats::default(),
        batch,
    };
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let (line, tail) = match memchr(b'\n', rest.as_bytes()) {
            Some(end) => (rest.get(..end).unwrap_or_default(), rest.get(end + 1..).unwrap_or_default()),
            // OpenMetrics lets the line feed after "# EOF" be absent.
            None if open_metrics && rest == "# EOF" => (rest, ""),
            None => {
                return Err(located(number, rest, Stop { at: rest.len(), problem: Problem::UnfinishedLine }));
            }
        };
        parser.line(line).map_err(|stop| located(number, line, stop))?;
        rest = tail;
    }
    if open_metrics && !parser.ended {
        return Err(located(number + 1, "", Stop { at: 0, problem: Problem::NoEof }));
    }
    Ok(parser.stats)
}

fn located(line: usize, text: &str, stop: Stop) -> ParseError {
    let column = text.get(..stop.at).map_or(0, |before| before.chars().count()) + 1;
    ParseError { line, column, problem: stop.problem }
}

fn not_utf8(input: &[u8], at: usize) -> ParseError {
    let before = String::from_utf8_lossy(input.get(..at).unwrap_or_default());
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    ParseError { line, column, problem: Problem::NotUtf8 }
}

struct Parser<'i, 'b> {
    open_metrics: bool,
    escapes: Escapes,
    limits: Limits,
    families: Families<'i>,
    /// Those of the sample being read.
    labels: Vec<(Cow<'i, str>, Cow<'i, str>)>,
    /// Whether `# EOF` was there.
    ended: bool,
    stats: ParseStats,
    batch: &'b mut Batch,
}

impl<'i> Parser<'i, '_> {
    fn line(&mut self, line: &'i str) -> Step<()> {
        let mut cursor = Cursor::new(line);
        if line.len() > self.limits.line_bytes {
            return cursor.stop(Problem::LineTooLong(self.limits.line_bytes));
        }
        if self.ended {
            return cursor.stop(Problem::AfterEof);
        }
        if self.open_metrics {
            return match cursor.peek() {
                None => cursor.stop(Problem::EmptyLine),
                Some(b'#') => self.open_metrics_metadata(cursor),
                Some(_) => self.sample(cursor),
            };
        }
        cursor.skip_blanks();
        if cursor.is_at_end() {
            Ok(())
        } else if cursor.eat(b'#') {
            self.text_comment(cursor)
        } else {
            self.sample(cursor)
        }
    }

    fn text_comment(&mut self, mut cursor: Cursor<'i>) -> Step<()> {
        cursor.skip_blanks();
        let keyword = match cursor.token() {
            "HELP" => "HELP",
            "TYPE" => "TYPE",
            _ => return Ok(()),
        };
        cursor.skip_blanks();
        // Prometheus takes a line that ends early for any other comment.
        if cursor.is_at_end() {
            return Ok(());
        }
        let start = cursor;
        let name = cursor.name(NameOf::Metric, self.escapes)?;
        if !cursor.skip_blanks() && !cursor.is_at_end() {
            return cursor.stop(Problem::Expected("a blank after the metric name"));
        }
        if cursor.is_at_end() {
            return Ok(());
        }
        self.metadata(start, keyword, name, cursor)
    }

    fn open_metrics_metadata(&mut self, mut cursor: Cursor<'i>) -> Step<()> {
        let keyword = match cursor.rest() {
            "# EOF" => {
                self.ended = true;
                return Ok(());
            }
            rest if rest.starts_with("# HELP ") => "HELP",
            rest if rest.starts_with("# TYPE ") => "TYPE",
            rest if rest.starts_with("# UNIT ") => "UNIT",
            _ => return cursor.stop(Problem::UnknownMetadata),
        };
        for word in [b"# ".as_slice(), keyword.as_bytes(), b" "] {
            for byte in word {
                cursor.eat(*byte);
            }
        }
        let start = cursor;
        let name = cursor.name(NameOf::Metric, self.escapes)?;
        if !cursor.eat(b' ') && !cursor.is_at_end() {
            return cursor.stop(Problem::Expected("a space after the metric name"));
        }
        self.metadata(start, keyword, name, cursor)
    }

    /// `start` is where the name begins, `cursor` where the text after it does.
    fn metadata(
        &mut self,
        start: Cursor<'i>,
        keyword: &'static str,
        name: Cow<'i, str>,
        mut cursor: Cursor<'i>,
    ) -> Step<()> {
        let open_metrics = self.open_metrics;
        let shown_name = shown(&name);
        if let Err(problem) = self.families.enter(name) {
            return start.stop(problem);
        }
        let Some(family) = self.families.current() else { return Ok(()) };
        let there = match keyword {
            "HELP" => family.help.is_some(),
            "TYPE" => family.kind.is_some(),
            _ => family.unit.is_some(),
        };
        if there {
            return start.stop(Problem::DuplicateMetadata { keyword, name: shown_name });
        }
        if family.has_samples() && (open_metrics || keyword == "TYPE") {
            return start.stop(Problem::MetadataAfterSamples { keyword, name: shown_name });
        }
        match keyword {
            "HELP" => family.help = Some(cursor.help(self.escapes)?),
            "TYPE" => {
                let word =
                    if open_metrics { cursor.rest() } else { cursor.rest().trim_end_matches([' ', '\t']) };
                let kind = if open_metrics { open_metrics_kind(word) } else { text_kind(word) };
                match kind {
                    Some(kind) => family.kind = Some(kind),
                    None => return cursor.stop(Problem::UnknownType(shown(word))),
                }
            }
            _ => {
                let unit = cursor.rest();
                let ends_on_it = family.name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
                if !unit.is_empty() && !ends_on_it {
                    return cursor.stop(Problem::UnitMismatch { name: shown_name, unit: shown(unit) });
                }
                family.unit = Some(unit);
            }
        }
        Ok(())
    }

    fn sample(&mut self, mut cursor: Cursor<'i>) -> Step<()> {
        let start = cursor;
        let bare = if cursor.peek() == Some(b'{') { None } else { Some(cursor.bare_name(NameOf::Metric)?) };
        let blank = !self.open_metrics && cursor.skip_blanks();
        let (name, braces) = if cursor.eat(b'{') {
            let quoted = self.label_set(&mut cursor, true)?;
            match (bare, quoted) {
                (Some(_), Some(_)) => return start.stop(Problem::TwoNames),
                (None, None) => return start.stop(Problem::NoName),
                (Some(bare), None) => (Cow::Borrowed(bare), true),
                (None, Some(quoted)) => (quoted, true),
            }
        } else {
            self.labels.clear();
            (Cow::Borrowed(bare.unwrap_or_default()), false)
        };
        if self.open_metrics {
            cursor.expect(b' ', "a space before the value")?;
        } else if !cursor.skip_blanks() && !blank && !braces {
            return cursor.stop(Problem::Expected("a blank or '{' after the metric name"));
        }
        let value = number(&mut cursor)?;
        let suffix = self.families.enter_sample(name).or_else(|problem| start.stop(problem))?;
        let kind = self.families.current().map_or(Kind::Untyped, |family| family.kind());
        self.normalise_bound(start, kind, suffix)?;
        let timestamp =
            if self.open_metrics { self.open_metrics_end(cursor, kind, suffix)? } else { text_end(cursor)? };
        self.push(suffix, value, timestamp);
        Ok(())
    }

    fn push(&mut self, suffix: Suffix, value: f64, timestamp: Option<Timestamp>) {
        self.stats.samples += 1;
        self.stats.timestamps += usize::from(timestamp.is_some());
        let Some(id) = self.families.current_id(self.batch) else { return };
        let mut few = [("", ""); 16];
        let pairs = self.labels.iter().map(|(name, value)| (&**name, &**value));
        match few.get_mut(..self.labels.len()) {
            Some(few) => {
                few.iter_mut().zip(pairs).for_each(|(slot, pair)| *slot = pair);
                self.batch.sample_full(id, suffix, few, value, timestamp);
            }
            None => {
                let many: Vec<(&str, &str)> = pairs.collect();
                self.batch.sample_full(id, suffix, &many, value, timestamp);
            }
        }
    }

    /// Reads labels into `self.labels` and steps over `}`. Returns the quoted metric name, if that is
    /// allowed and there.
    fn label_set(&mut self, cursor: &mut Cursor<'i>, allow_name: bool) -> Step<Option<Cow<'i, str>>> {
        self.labels.clear();
        let mut metric_name = None;
        let mut first = true;
        loop {
            self.skip_blanks_in_text(cursor);
            // A comma may be the last in text 0.0.4 only.
            if (first || !self.open_metrics) && cursor.eat(b'}') {
                return Ok(metric_name);
            }
            first = false;
            let start = *cursor;
            if cursor.peek() == Some(b'"') {
                let name = cursor.quoted_name(self.escapes)?;
                self.skip_blanks_in_text(cursor);
                if cursor.peek() == Some(b'=') {
                    self.label(start, name, cursor)?;
                } else if !allow_name {
                    return cursor.stop(Problem::Expected("'=' after the label name"));
                } else if metric_name.replace(name).is_some() {
                    return start.stop(Problem::TwoNames);
                }
            } else {
                let name = cursor.bare_name(NameOf::Label)?;
                self.skip_blanks_in_text(cursor);
                self.label(start, Cow::Borrowed(name), cursor)?;
            }
            self.skip_blanks_in_text(cursor);
            if !cursor.eat(b',') {
                cursor.expect(b'}', "',' or '}' after the label")?;
                return Ok(metric_name);
            }
        }
    }

    /// Reads `="value"`; `start` is where the name began.
    fn label(&mut self, start: Cursor<'i>, name: Cow<'i, str>, cursor: &mut Cursor<'i>) -> Step<()> {
        if name == "__name__" {
            return start.stop(Problem::ReservedLabel);
        }
        if self.labels.iter().any(|(there, _)| *there == name) {
            return start.stop(Problem::DuplicateLabel(shown(&name)));
        }
        if self.labels.len() >= self.limits.labels {
            return start.stop(Problem::TooManyLabels(self.limits.labels));
        }
        cursor.expect(b'=', "'=' after the label name")?;
        self.skip_blanks_in_text(cursor);
        let value = cursor.quoted(self.escapes)?;
        self.labels.push((name, value));
        Ok(())
    }

    fn skip_blanks_in_text(&self, cursor: &mut Cursor<'i>) {
        if !self.open_metrics {
            cursor.skip_blanks();
        }
    }

    /// A bucket needs a number in `le`, a quantile one in `quantile`. It gets one spelling, so that
    /// `1` and `1.0` are one series, as they are to Prometheus.
    fn normalise_bound(&mut self, start: Cursor<'i>, kind: Kind, suffix: Suffix) -> Step<()> {
        let label = match (kind, suffix) {
            (_, Suffix::Bucket) => "le",
            (Kind::Summary, Suffix::None) => "quantile",
            _ => return Ok(()),
        };
        let Some((_, text)) = self.labels.iter_mut().find(|(name, _)| name == label) else {
            let may_be_absent = !self.open_metrics && suffix == Suffix::None;
            return if may_be_absent { Ok(()) } else { start.stop(Problem::BoundMissing(label)) };
        };
        let Some(bound) = read_float(text) else { return start.stop(Problem::BoundMissing(label)) };
        let mut spelled = Vec::with_capacity(24);
        push_float(&mut spelled, bound);
        if spelled != text.as_bytes() {
            *text = Cow::Owned(String::from_utf8_lossy(&spelled).into_owned());
        }
        Ok(())
    }

    /// What may follow the value: a timestamp, an exemplar.
    fn open_metrics_end(
        &mut self,
        mut cursor: Cursor<'i>,
        kind: Kind,
        suffix: Suffix,
    ) -> Step<Option<Timestamp>> {
        if cursor.is_at_end() {
            return Ok(None);
        }
        cursor.expect(b' ', "a space after the value")?;
        let timestamp = if cursor.peek() == Some(b'#') {
            None
        } else {
            let timestamp = seconds(&mut cursor)?;
            if cursor.is_at_end() {
                return Ok(Some(timestamp));
            }
            cursor.expect(b' ', "a space after the timestamp")?;
            Some(timestamp)
        };
        let is_counter = kind == Kind::Counter && suffix == Suffix::None;
        if cursor.peek() == Some(b'#') && !is_counter && suffix != Suffix::Bucket {
            return cursor.stop(Problem::MisplacedExemplar);
        }
        // The exemplar's labels go where the sample's are.
        let labels = std::mem::take(&mut self.labels);
        self.exemplar(cursor)?;
        self.labels = labels;
        self.stats.exemplars += 1;
        Ok(timestamp)
    }

    fn exemplar(&mut self, mut cursor: Cursor<'i>) -> Step<()> {
        cursor.expect(b'#', "the end of the line or an exemplar")?;
        cursor.expect(b' ', "a space after '#'")?;
        let start = cursor;
        cursor.expect(b'{', "'{' of the exemplar's labels")?;
        self.label_set(&mut cursor, false)?;
        let length = |text: &str| text.chars().count();
        if self.labels.iter().map(|(name, value)| length(name) + length(value)).sum::<usize>() > 128 {
            return start.stop(Problem::ExemplarTooLong);
        }
        cursor.expect(b' ', "a space before the exemplar's value")?;
        number(&mut cursor)?;
        if cursor.eat(b' ') {
            seconds(&mut cursor)?;
        }
        if cursor.is_at_end() { Ok(()) } else { cursor.stop(Problem::Trailing(shown(cursor.rest()))) }
    }
}

fn number(cursor: &mut Cursor<'_>) -> Step<f64> {
    let start = *cursor;
    let text = cursor.token();
    read_float(text).map_or_else(|| start.stop(Problem::NotANumber(shown(text))), Ok)
}

fn text_end(mut cursor: Cursor<'_>) -> Step<Option<Timestamp>> {
    cursor.skip_blanks();
    if cursor.is_at_end() {
        return Ok(None);
    }
    let start = cursor;
    let text = cursor.token();
    let Ok(milliseconds) = text.parse() else {
        return start.stop(Problem::NotATimestamp { text: shown(text), unit: "milliseconds" });
    };
    cursor.skip_blanks();
    if !cursor.is_at_end() {
        return cursor.stop(Problem::Trailing(shown(cursor.rest())));
    }
    Ok(Some(Timestamp::from_millis(milliseconds)))
}

fn seconds(cursor: &mut Cursor<'_>) -> Step<Timestamp> {
    /// What `i64` holds for certain.
    const LARGEST_MS: f64 = 9_223_372_036_854_774_784.0;

    let start = *cursor;
    let text = cursor.token();
    let milliseconds = read_float(text).map(|seconds| (seconds * 1_000.0).round());
    match milliseconds.filter(|ms| ms.abs() <= LARGEST_MS) {
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        Some(milliseconds) => Ok(Timestamp::from_millis(milliseconds as i64)),
        None => start.stop(Problem::NotATimestamp { text: shown(text), unit: "seconds" }),
    }
}

/// In any case, as Go's `expfmt` reads it.
fn text_kind(word: &str) -> Option<Kind> {
    let kinds = [
        ("counter", Kind::Counter),
        ("gauge", Kind::Gauge),
        ("histogram", Kind::Histogram),
        ("summary", Kind::Summary),
        ("untyped", Kind::Untyped),
    ];
    kinds.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
}

fn open_metrics_kind(word: &str) -> Option<Kind> {
    Some(match word {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "gaugehistogram" => Kind::GaugeHistogram,
        "summary" => Kind::Summary,
        "info" => Kind::Info,
        "stateset" => Kind::StateSet,
        "unknown" => Kind::Untyped,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
