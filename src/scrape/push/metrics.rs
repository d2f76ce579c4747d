//! What the Pushgateway knows of itself, as metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Own metrics; clones share the values.
#[derive(Clone, Debug)]
pub(super) struct PushMetrics {
    pub(super) groups: Gauge,
    pub(super) series: Gauge,
    pub(super) hidden: Gauge,
    pub(super) expired: Counter,
    pub(super) broken: Counter,
    pub(super) write_failures: Counter,
    refused: Family<Reason, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Default for PushMetrics {
    fn default() -> Self {
        let metrics = Self {
            groups: Gauge::default(),
            series: Gauge::default(),
            hidden: Gauge::default(),
            expired: Counter::default(),
            broken: Counter::default(),
            write_failures: Counter::default(),
            refused: Family::default(),
        };
        // A rate needs the zero before the first refusal.
        for reason in ["format", "inconsistent", "limit"] {
            drop(metrics.refused.get_or_create(&Reason { reason }));
        }
        metrics
    }
}

impl PushMetrics {
    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("outrigger_push_groups", "Groups of pushed metrics held now", self.groups.clone());
        registry.register("outrigger_push_series", "Pushed series held now", self.series.clone());
        registry.register(
            "outrigger_push_hidden_families",
            "Pushed families left out of the last exposition: the program's own of that name are of another type",
            self.hidden.clone(),
        );
        registry.register(
            "outrigger_push_refused",
            "Pushes refused because of what they held, by reason",
            self.refused.clone(),
        );
        registry.register(
            "outrigger_push_expired_groups",
            "Groups forgotten because no push came within their time to live",
            self.expired.clone(),
        );
        registry.register(
            "outrigger_push_broken_records",
            "Groups on disk that could not be read at the start and were set aside",
            self.broken.clone(),
        );
        registry.register(
            "outrigger_push_write_failures",
            "Failed attempts to write a group to disk; they are repeated",
            self.write_failures.clone(),
        );
    }
}
