//! From the outbox to batches: a window of entries, relabelled, spread over shards.
//!
//! Invariants: samples of a series go to one shard and stay in order; a window takes at most what all shards take at
//! once, and one entry more; what is left out is counted under its reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::message::{MetadataMap, TimeSeries, compress, encode};
use super::metrics::{QUEUE_FULL, RELABELLED, TOO_OLD, UNKNOWN_SERIES};
use super::settings::RemoteSettings;
use crate::model::{Labels, LabelsBuilder, Timestamp, relabel};
use crate::store::{Outbox, OutboxMark, OutboxSample, StoreError};

/// Series remembered beyond twice those that the store knows.
const IDLE_SERIES: usize = 1_024;

/// What one request carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) series: Vec<TimeSeries>,
    pub(super) samples: usize,
}

impl Batch {
    /// The request's body.
    pub(super) fn body(&self, remote: &RemoteSettings, known: &MetadataMap) -> bytes::Bytes {
        compress(&encode(remote.protocol, &self.series, known)).into()
    }

    /// The newest instant in it.
    pub(super) fn newest_ms(&self) -> Option<i64> {
        self.series.iter().filter_map(|series| series.samples.last()).map(|(at_ms, _)| *at_ms).max()
    }

    /// Leaves out samples of before an instant; answers how many.
    pub(super) fn drop_older(&mut self, than_ms: i64) -> usize {
        let before = self.samples;
        for series in &mut self.series {
            series.samples.retain(|(at_ms, _)| *at_ms >= than_ms);
        }
        self.series.retain(|series| !series.samples.is_empty());
        self.samples = self.series.iter().map(|series| series.samples.len()).sum();
        before - self.samples
    }

    /// Two halves, to be sent in this order; `None` where there is but one sample.
    pub(super) fn halves(mut self) -> Option<(Self, Self)> {
        let of = |series: Vec<TimeSeries>| {
            let samples = series.iter().map(|series| series.samples.len()).sum();
            Self { series, samples }
        };
        if self.series.len() > 1 {
            let second = self.series.split_off(self.series.len() / 2);
            return Some((of(self.series), of(second)));
        }
        let mut first = self.series.pop().filter(|series| series.samples.len() > 1)?;
        let samples = first.samples.split_off(first.samples.len() / 2);
        let second = TimeSeries { labels: first.labels.clone(), samples };
        Some((of(vec![first]), of(vec![second])))
    }
}

/// How much a window takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowSize {
    pub(super) shards: usize,
    /// Whether it takes one entry only.
    pub(super) single: bool,
    /// Samples of before are too old.
    pub(super) oldest_ms: i64,
}

/// What is sent next.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The place behind it, which is the queue's once it is sent.
    pub(super) end: OutboxMark,
    /// Batches of each shard, in order.
    pub(super) shards: Vec<Vec<Batch>>,
    /// Samples that are left out, by reason.
    pub(super) dropped: BTreeMap<&'static str, u64>,
    /// Whether it took as much as it may.
    pub(super) full: bool,
}

/// Reads windows for one receiver.
#[derive(Debug)]
pub(super) struct Feed {
    remote: Arc<RemoteSettings>,
    external: Labels,
    outbox: Outbox,
    /// What a series is called outside; `None`: it is not sent.
    names: FxHashMap<u32, Option<Labels>>,
}

/// A shard's part of a window that is being read.
#[derive(Default)]
struct Shard {
    batches: Vec<Batch>,
    /// Where in the last batch a series is.
    places: FxHashMap<u32, usize>,
}

impl Feed {
    pub(super) fn new(remote: Arc<RemoteSettings>, external: Labels, outbox: Outbox) -> Self {
        Self { remote, external, outbox, names: FxHashMap::default() }
    }

    /// The window behind a mark; blocks.
    pub(super) fn window(&mut self, after: OutboxMark, size: WindowSize) -> Result<Window, StoreError> {
        if self.names.len() > 2 * self.outbox.series() + IDLE_SERIES {
            self.names.clear();
        }
        let mut window = Window { end: after, ..Window::default() };
        let mut shards: Vec<Shard> = Vec::new();
        shards.resize_with(size.shards.max(1), Shard::default);
        let most = shards.len().saturating_mul(self.remote.queue.shard_samples());
        let mut taken = 0;
        // The callback needs the names, which need the outbox.
        let outbox = self.outbox.clone();
        outbox.read(after.number, |entry| {
            if taken > 0 && taken + entry.samples.len() > most {
                window.full = true;
                return false;
            }
            // What lies between was removed before it was sent.
            let missed = entry.samples_before().saturating_sub(window.end.samples);
            window.drop(QUEUE_FULL, missed);
            for sample in &entry.samples {
                self.add(sample, size.oldest_ms, &mut shards, &mut window);
            }
            taken += entry.samples.len();
            window.end = entry.mark;
            !size.single
        })?;
        window.shards = shards.into_iter().map(|shard| shard.batches).filter(|b| !b.is_empty()).collect();
        Ok(window)
    }

    fn add(&mut self, sample: &OutboxSample, oldest_ms: i64, shards: &mut [Shard], window: &mut Window) {
        if sample.at_ms < oldest_ms {
            return window.drop(TOO_OLD, 1);
        }
        let labels = match self.names.get(&sample.series) {
            Some(Some(labels)) => labels,
            Some(None) => return window.drop(RELABELLED, 1),
            None => {
                // Not kept: the series may be known later.
                let Some(own) = self.outbox.labels(sample.series) else {
                    return window.drop(UNKNOWN_SERIES, 1);
                };
                let name = outside_name(&own, &self.external, &self.remote);
                match self.names.entry(sample.series).or_insert(name) {
                    Some(labels) => labels,
                    None => return window.drop(RELABELLED, 1),
                }
            }
        };
        let turn = sample.series as usize % shards.len();
        if let Some(shard) = shards.get_mut(turn) {
            shard.add(sample, labels, self.remote.queue.shard_samples());
        }
    }
}

impl Window {
    fn drop(&mut self, reason: &'static str, samples: u64) {
        if samples > 0 {
            *self.dropped.entry(reason).or_default() += samples;
        }
    }
}

impl Shard {
    fn add(&mut self, sample: &OutboxSample, labels: &Labels, most: usize) {
        if self.batches.last().is_none_or(|batch| batch.samples >= most) {
            self.batches.push(Batch::default());
            self.places.clear();
        }
        let Some(batch) = self.batches.last_mut() else { return };
        batch.samples += 1;
        let place = *self.places.entry(sample.series).or_insert_with(|| {
            batch.series.push(TimeSeries { labels: labels.clone(), samples: Vec::new() });
            batch.series.len() - 1
        });
        if let Some(series) = batch.series.get_mut(place) {
            series.samples.push((sample.at_ms, sample.value));
        }
    }
}

/// A series' labels with the external ones, relabelled; `None` where a rule drops it or leaves nothing.
fn outside_name(own: &Labels, external: &Labels, remote: &RemoteSettings) -> Option<Labels> {
    if external.is_empty() && remote.relabel.is_empty() {
        return Some(own.clone());
    }
    let mut labels = LabelsBuilder::from(own);
    for (name, value) in external {
        // The series' own label wins.
        if !labels.has(name) {
            labels.set(name, value);
        }
    }
    let kept = relabel(&remote.relabel, &mut labels) && !labels.is_empty();
    kept.then(|| labels.build())
}

/// The instant before which samples are too old.
pub(super) fn oldest_ms(remote: &RemoteSettings, now: Timestamp) -> i64 {
    let limit = remote.queue.sample_age_limit;
    if limit.is_zero() {
        return i64::MIN;
    }
    now.as_millis().saturating_sub(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
}
