//! What sending knows of itself, under Prometheus's names.
//!
//! Invariant: labels are names and URLs of the configuration, passwords left out; a receiver that is gone takes its
//! series with it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::settings::RemoteSettings;
use crate::http_client::shown_url;

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics; clones share the values.
#[derive(Clone, Debug, Default)]
pub struct RemoteWriteMetrics(Arc<Families>);

#[derive(Debug, Default)]
struct Families {
    samples_in: Counter,
    highest_in: Seconds,
    samples: Family<Remote, Counter>,
    failed: Family<Remote, Counter>,
    retried: Family<Remote, Counter>,
    dropped: Family<Dropped, Counter>,
    metadata: Family<Remote, Counter>,
    metadata_failed: Family<Remote, Counter>,
    metadata_retried: Family<Remote, Counter>,
    enqueue_retries: Family<Remote, Counter>,
    bytes: Family<Remote, Counter>,
    metadata_bytes: Family<Remote, Counter>,
    pending: Family<Remote, Gauge>,
    shards: Family<Remote, Gauge>,
    shards_min: Family<Remote, Gauge>,
    shards_max: Family<Remote, Gauge>,
    shards_desired: Family<Remote, Gauge>,
    shard_capacity: Family<Remote, Gauge>,
    max_samples_per_send: Family<Remote, Gauge>,
    highest_sent: Family<Remote, Seconds>,
    duration: Durations,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Remote {
    remote_name: String,
    url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dropped {
    remote_name: String,
    url: String,
    reason: &'static str,
}

#[derive(Debug)]
struct Durations(Family<Remote, Histogram, Buckets>);

impl Default for Durations {
    fn default() -> Self {
        Self(Family::new_with_constructor(Buckets))
    }
}

#[derive(Clone, Debug)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        // Prometheus's.
        Histogram::new([
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0,
        ])
    }
}

/// Why samples are not sent.
pub(super) const RELABELLED: &str = "dropped_series";
/// Why samples are not sent.
pub(super) const TOO_OLD: &str = "too_old";
/// Why samples are not sent: retention has removed their series, so that its labels are not known.
pub(super) const UNKNOWN_SERIES: &str = "unintentionally_dropped_series";
/// Why samples are not sent: the queue's bound has removed them. Our own; Prometheus loses them with its log.
pub(super) const QUEUE_FULL: &str = "queue_full";
const REASONS: [&str; 4] = [RELABELLED, TOO_OLD, UNKNOWN_SERIES, QUEUE_FULL];

/// Those of one receiver.
#[derive(Clone, Debug)]
pub(super) struct RemoteMetrics {
    families: Arc<Families>,
    labels: Remote,
    pub(super) samples: Counter,
    pub(super) failed: Counter,
    pub(super) retried: Counter,
    pub(super) metadata: Counter,
    pub(super) metadata_failed: Counter,
    pub(super) metadata_retried: Counter,
    pub(super) enqueue_retries: Counter,
    pub(super) bytes: Counter,
    pub(super) metadata_bytes: Counter,
    pub(super) pending: Gauge,
    pub(super) shards: Gauge,
    pub(super) shards_desired: Gauge,
    pub(super) highest_sent: Seconds,
    pub(super) duration: Histogram,
}

impl RemoteWriteMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let f = &*self.0;
        registry.register(
            "prometheus_remote_storage_samples_in",
            "Samples that were taken while there are receivers",
            f.samples_in.clone(),
        );
        registry.register(
            "prometheus_remote_storage_highest_timestamp_in_seconds",
            "Instant of the newest samples that were taken",
            f.highest_in.clone(),
        );
        for (name, help, family) in [
            ("samples", "Samples sent", &f.samples),
            ("samples_failed", "Samples that the receiver refused for good", &f.failed),
            ("samples_retried", "Samples sent again after a failure that may pass", &f.retried),
            ("metadata", "Metrics whose metadata was sent", &f.metadata),
            ("metadata_failed", "Metrics whose metadata the receiver refused for good", &f.metadata_failed),
            (
                "metadata_retried",
                "Metrics whose metadata was sent again after a failure",
                &f.metadata_retried,
            ),
            ("enqueue_retries", "Times that there was more than all shards take at once", &f.enqueue_retries),
            ("bytes", "Bytes of samples sent, compressed", &f.bytes),
            ("metadata_bytes", "Bytes of metadata sent, compressed", &f.metadata_bytes),
        ] {
            registry.register(format!("prometheus_remote_storage_{name}"), help, family.clone());
        }
        registry.register(
            "prometheus_remote_storage_samples_dropped",
            "Samples that are not sent, by reason",
            f.dropped.clone(),
        );
        for (name, help, family) in [
            ("samples_pending", "Samples that wait to be sent", &f.pending),
            ("shards", "Requests that may be in flight now", &f.shards),
            ("shards_min", "Fewest requests in flight", &f.shards_min),
            ("shards_max", "Most requests in flight", &f.shards_max),
            ("shards_desired", "Requests in flight that what waits would fill", &f.shards_desired),
            ("shard_capacity", "Most samples that a shard takes at once", &f.shard_capacity),
            ("max_samples_per_send", "Most samples of a request", &f.max_samples_per_send),
        ] {
            registry.register(format!("prometheus_remote_storage_{name}"), help, family.clone());
        }
        registry.register(
            "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
            "Instant of the newest sample that was sent",
            f.highest_sent.clone(),
        );
        registry.register(
            "prometheus_remote_storage_sent_batch_duration_seconds",
            "How long requests took",
            f.duration.0.clone(),
        );
    }

    /// Notes what was taken: so many samples more, the newest at this instant.
    pub(super) fn taken(&self, samples: u64, newest_seconds: f64) {
        self.0.samples_in.inc_by(samples);
        self.0.highest_in.set(newest_seconds);
    }

    pub(super) fn of(&self, remote: &RemoteSettings) -> RemoteMetrics {
        let f = &self.0;
        let labels = Remote { remote_name: remote.name.clone(), url: shown_url(&remote.url) };
        let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (family, value) in [
            (&f.shards_min, remote.queue.min_shards),
            (&f.shards_max, remote.queue.max_shards),
            (&f.shard_capacity, remote.queue.capacity),
            (&f.max_samples_per_send, remote.queue.max_samples_per_send),
        ] {
            family.get_or_create(&labels).set(size(value));
        }
        let metrics = RemoteMetrics {
            families: Arc::clone(f),
            samples: f.samples.get_or_create_owned(&labels),
            failed: f.failed.get_or_create_owned(&labels),
            retried: f.retried.get_or_create_owned(&labels),
            metadata: f.metadata.get_or_create_owned(&labels),
            metadata_failed: f.metadata_failed.get_or_create_owned(&labels),
            metadata_retried: f.metadata_retried.get_or_create_owned(&labels),
            enqueue_retries: f.enqueue_retries.get_or_create_owned(&labels),
            bytes: f.bytes.get_or_create_owned(&labels),
            metadata_bytes: f.metadata_bytes.get_or_create_owned(&labels),
            pending: f.pending.get_or_create_owned(&labels),
            shards: f.shards.get_or_create_owned(&labels),
            shards_desired: f.shards_desired.get_or_create_owned(&labels),
            highest_sent: f.highest_sent.get_or_create_owned(&labels),
            duration: f.duration.0.get_or_create_owned(&labels),
            labels,
        };
        // A rate needs the zero before the first one.
        REASONS.iter().for_each(|reason| metrics.dropped(reason, 0));
        metrics
    }
}

impl RemoteMetrics {
    pub(super) fn dropped(&self, reason: &'static str, samples: u64) {
        let Remote { remote_name, url } = self.labels.clone();
        self.families.dropped.get_or_create(&Dropped { remote_name, url, reason }).inc_by(samples);
    }

    /// Forgets the series of a receiver that is gone.
    pub(super) fn forget(&self) {
        let (f, labels) = (&*self.families, &self.labels);
        for family in [
            &f.samples,
            &f.failed,
            &f.retried,
            &f.metadata,
            &f.metadata_failed,
            &f.metadata_retried,
            &f.enqueue_retries,
            &f.bytes,
            &f.metadata_bytes,
        ] {
            family.remove(labels);
        }
        for family in [
            &f.pending,
            &f.shards,
            &f.shards_min,
            &f.shards_max,
            &f.shards_desired,
            &f.shard_capacity,
            &f.max_samples_per_send,
        ] {
            family.remove(labels);
        }
        f.highest_sent.remove(labels);
        f.duration.0.remove(labels);
        for reason in REASONS {
            let Remote { remote_name, url } = labels.clone();
            f.dropped.remove(&Dropped { remote_name, url, reason });
        }
    }
}
