//! From the body of a response to rows: what happens to the samples of one target.
//!
//! Invariants: a scrape counts whole or not at all; the order of steps - target labels, relabelling, limits - and
//! what is counted where are Prometheus's. Nothing here waits or asks for the time.

mod cache;
mod metadata;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

pub(super) use metadata::Metadata;
pub use metadata::MetricMetadata;

use self::cache::{Cache, Known, RawKey, SlotId};
use self::metadata::Said;
use super::settings::{JobSettings, SampleLimits};
use crate::expose::{self, Entry, ScanError, Scanner};
use crate::model::{
    Batch, Kind, Labels, LabelsBuilder, METRIC_NAME, Quoted, Row, STALE_NAN, Suffix, Timestamp, relabel,
};

/// How far ahead of the scrape a sample's own timestamp may be.
const MOST_AHEAD: Duration = Duration::from_secs(600);

/// What a body is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFormat {
    Text,
    OpenMetrics,
    Protobuf,
}

/// Why the samples of a scrape are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AppendError {
    #[error(transparent)]
    Text(#[from] ScanError),
    #[error("{0}")]
    Protobuf(String),
    #[error("sample limit exceeded")]
    SampleLimit,
    #[error("{0}")]
    LabelLimit(String),
    #[error("{0}")]
    Sample(String),
}

/// What one scrape gave.
#[derive(Debug, Default)]
pub(super) struct Appended {
    pub(super) rows: Vec<Row>,
    /// Samples in the body.
    pub(super) scraped: usize,
    /// Samples that relabelling left.
    pub(super) kept: usize,
    /// Series that were not there before.
    pub(super) new_series: usize,
    /// Samples of a series that the scrape has had.
    pub(super) duplicates: usize,
    /// Samples too far ahead of the clock.
    pub(super) out_of_bounds: usize,
    pub(super) error: Option<AppendError>,
    /// Whether the cache had to be emptied although the scrape failed.
    pub(super) flush_forced: bool,
}

/// What is scraped about the scraping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) up: bool,
    pub(super) duration: Duration,
    pub(super) scraped: usize,
    pub(super) kept: usize,
    pub(super) new_series: usize,
    pub(super) timeout: Duration,
    /// `None`: it was beyond the limit.
    pub(super) body_bytes: Option<usize>,
}

/// The samples of one target, scrape after scrape.
#[derive(Debug)]
pub(super) struct Pipeline {
    job: Arc<JobSettings>,
    /// Labels of the target.
    labels: Labels,
    /// Most samples of a scrape where the job has no limit.
    most_samples: usize,
    cache: Cache,
    metadata: Metadata,
    /// Series of the reports, in the order of [`REPORTS`].
    reports: Vec<Labels>,
    rows_before: usize,
    scratch: Scratch,
}

#[derive(Debug, Default)]
struct Scratch {
    batch: Batch,
    raw: Vec<u8>,
}

const REPORTS: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// How many of [`REPORTS`] there are without `extra_scrape_metrics`.
const PLAIN_REPORTS: usize = 5;

type Pairs<'i> = Vec<(Cow<'i, str>, Cow<'i, str>)>;

impl Pipeline {
    pub(super) fn new(
        job: Arc<JobSettings>,
        labels: Labels,
        metadata: Metadata,
        most_samples: usize,
    ) -> Self {
        let reports = REPORTS.iter().map(|name| report_labels(&labels, name)).collect();
        Self {
            job,
            labels,
            most_samples,
            cache: Cache::default(),
            metadata,
            reports,
            rows_before: 0,
            scratch: Scratch::default(),
        }
    }

    /// Goes on under new settings; what was learnt of the target's series is kept if it still holds.
    pub(super) fn adopt(&mut self, job: Arc<JobSettings>) {
        let (old, new) = (&self.job, &job);
        let same = old.honor_labels == new.honor_labels
            && old.metric_relabel == new.metric_relabel
            && old.name_scheme == new.name_scheme
            && old.limits == new.limits;
        if !same {
            self.cache = Cache::default();
        }
        self.job = job;
    }

    /// Number of series known.
    #[cfg(test)]
    pub(super) fn known_series(&self) -> usize {
        self.cache.len()
    }

    /// Reads a body. Of a body that is refused no rows come out, only the marks of series that vanished.
    pub(super) fn append(&mut self, body: &[u8], format: BodyFormat, at: Timestamp) -> Appended {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut tick = Tick { pipeline: self, at, out: Appended::default() };
        tick.out.rows.reserve(tick.pipeline.rows_before + PLAIN_REPORTS);
        let read = match format {
            BodyFormat::Text => tick.read_text(body, false),
            BodyFormat::OpenMetrics => tick.read_text(body, true),
            BodyFormat::Protobuf => tick.read_protobuf(body, &mut scratch),
        };
        let mut out = tick.out;
        if let Err(error) = read {
            out.error = Some(error);
        }
        scratch.batch.clear();
        self.scratch = scratch;
        self.end(&mut out, at);
        out
    }

    /// A scrape that gave nothing.
    pub(super) fn append_nothing(&mut self, at: Timestamp) -> Appended {
        let mut out = Appended::default();
        self.finish(&mut out, at, false);
        out
    }

    fn end(&mut self, out: &mut Appended, at: Timestamp) {
        let succeeded = out.error.is_none();
        if !succeeded {
            out.rows.clear();
            out.new_series = 0;
        }
        self.rows_before = out.rows.len();
        self.finish(out, at, succeeded);
    }

    fn finish(&mut self, out: &mut Appended, at: Timestamp, succeeded: bool) {
        if self.job.track_timestamps_staleness {
            let gone =
                |labels: &Labels| Row { labels: labels.clone(), value: STALE_NAN, timestamp: Some(at) };
            out.rows.extend(self.cache.vanished_timed().map(gone));
        }
        out.flush_forced = self.cache.end_tick(succeeded);
        self.metadata.end_scrape(succeeded);
    }

    /// `up` and its kin.
    pub(super) fn report(&self, report: Report, rows: &mut Vec<Row>) {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let count = |n: usize| n as f64;
        let values = [
            f64::from(u8::from(report.up)),
            report.duration.as_secs_f64(),
            count(report.scraped),
            count(report.kept),
            count(report.new_series),
            report.timeout.as_secs_f64(),
            count(self.job.limits.samples),
            report.body_bytes.map_or(-1.0, count),
        ];
        let number = if self.job.extra_scrape_metrics { REPORTS.len() } else { PLAIN_REPORTS };
        let row = |(labels, value): (&Labels, f64)| Row { labels: labels.clone(), value, timestamp: None };
        rows.extend(self.reports.iter().zip(values).take(number).map(row));
    }

    /// What a series of the target is stored as; `None` if relabelling drops it.
    fn store_as(&self, exposed: &Pairs<'_>) -> Result<Option<Labels>, AppendError> {
        let labels = with_target_labels(&self.labels, exposed, self.job.honor_labels);
        let mut labels = labels;
        if !relabel(&self.job.metric_relabel, &mut labels) || labels.is_empty() {
            return Ok(None);
        }
        if !labels.has(METRIC_NAME) {
            return Err(AppendError::Sample("missing metric name (__name__ label)".to_owned()));
        }
        let scheme = self.job.name_scheme;
        let valid = scheme.allows_metric(labels.get(METRIC_NAME))
            && labels.iter().all(|(name, _)| name == METRIC_NAME || scheme.allows_label(name));
        if !valid {
            let shown = labels.build();
            return Err(AppendError::Sample(format!("invalid metric name or label names: {shown}")));
        }
        check_limits(&labels, &self.job.limits)?;
        Ok(Some(labels.build()))
    }
}

struct Tick<'p> {
    pipeline: &'p mut Pipeline,
    at: Timestamp,
    out: Appended,
}

impl Tick<'_> {
    fn read_text(&mut self, body: &[u8], open_metrics: bool) -> Result<(), AppendError> {
        let mut scanner = Scanner::new(body, open_metrics);
        let mut pairs = Vec::new();
        let mut over = false;
        while let Some(entry) = scanner.step()? {
            match entry {
                Entry::Help(name, text) => self.pipeline.metadata.say(&name, Said::Help(&text)),
                Entry::Type(name, kind) => self.pipeline.metadata.say(&name, Said::Type(kind)),
                Entry::Unit(name, unit) => self.pipeline.metadata.say(&name, Said::Unit(unit)),
                // Only counted from here on: the whole scrape is refused.
                Entry::Sample(..) if over => {
                    self.out.scraped += 1;
                    self.out.kept += 1;
                }
                Entry::Sample(value, timestamp) => {
                    let key = self.pipeline.cache.key(scanner.raw());
                    let stored = self.sample(key, value, timestamp, || {
                        scanner.labels(&mut pairs)?;
                        Ok(std::mem::take(&mut pairs))
                    });
                    over = stored? == Verdict::OverLimit;
                }
            }
        }
        if over { Err(AppendError::SampleLimit) } else { Ok(()) }
    }

    fn read_protobuf(&mut self, body: &[u8], scratch: &mut Scratch) -> Result<(), AppendError> {
        let Scratch { batch, raw } = scratch;
        batch.set_limit(self.pipeline.most_samples.saturating_add(1));
        let stats = expose::parse_protobuf(body, expose::Limits::default(), batch)
            .map_err(|error| AppendError::Protobuf(error.to_string()))?;
        let mut over = false;
        for family in batch.families() {
            let metadata = &self.pipeline.metadata;
            metadata.say(family.name(), Said::Help(family.help()));
            metadata.say(family.name(), Said::Type(family.kind()));
            metadata.say(family.name(), Said::Unit(family.unit()));
            for sample in family.samples() {
                if over {
                    self.out.scraped += 1;
                    self.out.kept += 1;
                    continue;
                }
                raw.clear();
                raw.extend_from_slice(family.name().as_bytes());
                raw.extend_from_slice(sample.suffix().as_str().as_bytes());
                for (name, value) in sample.labels().iter() {
                    // Bytes that are in no UTF-8.
                    raw.push(0xff);
                    raw.extend_from_slice(name.as_bytes());
                    raw.push(0xfe);
                    raw.extend_from_slice(value.as_bytes());
                }
                let key = self.pipeline.cache.key(raw);
                let stored = self.sample(key, sample.value(), sample.timestamp(), || {
                    Ok(batch_pairs(family.name(), family.kind(), sample))
                });
                over = stored? == Verdict::OverLimit;
            }
        }
        if over || batch.over_limit() > 0 {
            self.out.scraped = stats.samples;
            return Err(AppendError::SampleLimit);
        }
        Ok(())
    }

    fn sample<'i>(
        &mut self,
        key: RawKey,
        value: f64,
        timestamp: Option<Timestamp>,
        pairs: impl FnOnce() -> Result<Pairs<'i>, ScanError>,
    ) -> Result<Verdict, AppendError> {
        self.out.scraped += 1;
        let timestamp = timestamp.filter(|_| self.pipeline.job.honor_timestamps);
        let (slot, again, new) = match self.pipeline.cache.get(key) {
            Some(Known::Dropped) => return Ok(Verdict::Done),
            Some(Known::Stored { slot, again }) => (slot, again, false),
            None => match self.pipeline.store_as(&pairs()?)? {
                Some(labels) => {
                    let (slot, again) = self.pipeline.cache.add(key, labels);
                    (slot, again, !again)
                }
                None => {
                    self.pipeline.cache.add_dropped(key);
                    return Ok(Verdict::Done);
                }
            },
        };
        self.out.kept += 1;
        if self.out.kept > self.most_kept() {
            return Ok(Verdict::OverLimit);
        }
        self.out.new_series += usize::from(new);
        self.store(slot, again, value, timestamp);
        Ok(Verdict::Done)
    }

    fn most_kept(&self) -> usize {
        match self.pipeline.job.limits.samples {
            0 => self.pipeline.most_samples,
            limit => limit.min(self.pipeline.most_samples),
        }
    }

    fn store(&mut self, slot: SlotId, again: bool, value: f64, timestamp: Option<Timestamp>) {
        if again && timestamp.is_none() {
            self.out.duplicates += 1;
            return;
        }
        if timestamp.is_some_and(|t| t > self.at.plus(MOST_AHEAD)) {
            self.out.out_of_bounds += 1;
            return;
        }
        if timestamp.is_some() {
            self.pipeline.cache.mark_timed(slot);
        }
        if let Some(labels) = self.pipeline.cache.labels(slot) {
            self.out.rows.push(Row { labels: labels.clone(), value, timestamp });
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    OverLimit,
}

fn batch_pairs<'b>(family: &'b str, kind: Kind, sample: crate::model::SampleView<'b>) -> Pairs<'b> {
    let name = match sample.suffix() {
        Suffix::None => Cow::Borrowed(family),
        suffix => Cow::Owned(format!("{family}{}", suffix.as_str())),
    };
    let bound = match (kind, sample.suffix()) {
        (_, Suffix::Bucket) => "le",
        (Kind::Summary, Suffix::None) => "quantile",
        _ => "",
    };
    let pair = |(label, value): (&'b str, &'b str)| {
        let value = match label == bound {
            true => Cow::Owned(expose::spelled_bound(value)),
            false => Cow::Borrowed(value),
        };
        (Cow::Borrowed(label), value)
    };
    std::iter::once((Cow::Borrowed(METRIC_NAME), name)).chain(sample.labels().iter().map(pair)).collect()
}

/// Joins a sample's labels with its target's. Where both have one, `honor` says who wins; the sample's own then
/// is kept under `exported_`.
fn with_target_labels(target: &Labels, exposed: &Pairs<'_>, honor: bool) -> LabelsBuilder {
    let mut labels: LabelsBuilder =
        exposed.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    if honor {
        for (name, value) in target {
            // An empty label of the sample's counts as well: it takes the target's away.
            if !exposed.iter().any(|(there, _)| there == name) {
                labels.set(name, value);
            }
        }
        return labels;
    }
    let mut conflicts: Vec<(&str, String)> = Vec::new();
    for (name, value) in target {
        let own = labels.get(name);
        if !own.is_empty() {
            conflicts.push((name, own.to_owned()));
        }
        labels.set(name, value);
    }
    // Shortest first, so that no name depends on the order of the labels.
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicts {
        let mut exported = format!("exported_{name}");
        while labels.has(&exported) {
            exported.insert_str(0, "exported_");
        }
        labels.set(&exported, value);
    }
    labels
}

fn report_labels(target: &Labels, name: &str) -> Labels {
    with_target_labels(target, &vec![(Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name))], false).build()
}

fn check_limits(labels: &LabelsBuilder, limits: &SampleLimits) -> Result<(), AppendError> {
    let metric = || labels.get(METRIC_NAME).chars().take(50).collect::<String>();
    let short = |text: &str| text.chars().take(50).collect::<String>();
    let number = labels.iter().count();
    if limits.labels > 0 && number > limits.labels {
        return Err(AppendError::LabelLimit(format!(
            "label_limit exceeded (metric: {}, number of labels: {number}, limit: {})",
            metric(),
            limits.labels
        )));
    }
    for (name, value) in labels.iter() {
        if limits.label_name_bytes > 0 && name.len() > limits.label_name_bytes {
            return Err(AppendError::LabelLimit(format!(
                "label_name_length_limit exceeded (metric: {}, label name: {}, length: {}, limit: {})",
                metric(),
                short(name),
                name.len(),
                limits.label_name_bytes
            )));
        }
        if limits.label_value_bytes > 0 && value.len() > limits.label_value_bytes {
            return Err(AppendError::LabelLimit(format!(
                "label_value_length_limit exceeded (metric: {}, label name: {}, value: {}, length: {}, limit: {})",
                metric(),
                short(name),
                Quoted(&short(value)),
                value.len(),
                limits.label_value_bytes
            )));
        }
    }
    Ok(())
}
