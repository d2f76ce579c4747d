//! What delivery knows of itself: Prometheus's names for its Alertmanagers, Alertmanager's for receivers.
//!
//! Invariant: labels are receivers of the configuration and Alertmanagers that discovery found; one that is gone takes
//! its series with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The metrics; clones share the values.
#[derive(Clone, Debug)]
pub struct NotifyMetrics(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) sent: Family<ToAlertmanager, Counter>,
    pub(super) errors: Family<ToAlertmanager, Counter>,
    pub(super) dropped: Family<ToAlertmanager, Counter>,
    pub(super) queue_length: Family<ToAlertmanager, Gauge>,
    pub(super) queue_capacity: Gauge,
    pub(super) alertmanagers: Gauge,
    pub(super) latency: Family<ToAlertmanager, Histogram, fn() -> Histogram>,
    pub(super) notifications: Family<ToReceiver, Counter>,
    pub(super) notifications_failed: Family<Failed, Counter>,
    pub(super) owed: Family<ToReceiver, Gauge>,
    pub(super) discarded: Family<Failed, Counter>,
    pub(super) groups: Family<ToReceiver, Gauge>,
    /// Why the last attempt failed, by receiver; no metric, but read where the metrics are.
    failing: Mutex<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ToAlertmanager {
    pub(super) alertmanager: String,
}

/// Nobody, whose series has no label: what is there while there is no Alertmanager, as in Prometheus.
const NOBODY: ToAlertmanager = ToAlertmanager { alertmanager: String::new() };

impl EncodeLabelSet for ToAlertmanager {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self.alertmanager.as_str() {
            "" => Ok(()),
            url => ("alertmanager", url).encode(encoder.encode_label()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ToReceiver {
    pub(super) integration: &'static str,
    pub(super) receiver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Failed {
    pub(super) integration: &'static str,
    pub(super) receiver: String,
    pub(super) reason: &'static str,
}

impl Default for NotifyMetrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram =
            || Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        Self(Arc::new(Inner {
            sent: Family::default(),
            errors: Family::default(),
            dropped: Family::default(),
            queue_length: Family::default(),
            queue_capacity: Gauge::default(),
            alertmanagers: Gauge::default(),
            latency: Family::new_with_constructor(histogram),
            notifications: Family::default(),
            notifications_failed: Family::default(),
            owed: Family::default(),
            discarded: Family::default(),
            groups: Family::default(),
            failing: Mutex::default(),
        }))
    }
}

impl NotifyMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let m = &*self.0;
        registry.register(
            "prometheus_notifications_sent",
            "Alerts handed to an Alertmanager",
            m.sent.clone(),
        );
        registry.register(
            "prometheus_notifications_errors",
            "Alerts in attempts to hand them to an Alertmanager that failed",
            m.errors.clone(),
        );
        registry.register(
            "prometheus_notifications_dropped",
            "Alerts that an Alertmanager never got: its queue was full, it refused them, or it is gone",
            m.dropped.clone(),
        );
        registry.register(
            "prometheus_notifications_queue_length",
            "Alerts that wait for an Alertmanager",
            m.queue_length.clone(),
        );
        registry.register(
            "prometheus_notifications_queue_capacity",
            "Most alerts that wait for an Alertmanager",
            m.queue_capacity.clone(),
        );
        registry.register(
            "prometheus_notifications_alertmanagers_discovered",
            "Alertmanagers that are told",
            m.alertmanagers.clone(),
        );
        registry.register(
            "prometheus_notifications_latency_seconds",
            "Time that it took to hand alerts to an Alertmanager",
            m.latency.clone(),
        );
        registry.register(
            "outrigger_notifications",
            "Attempts to deliver a notification to a receiver",
            m.notifications.clone(),
        );
        registry.register(
            "outrigger_notifications_failed",
            "Attempts to deliver a notification that failed",
            m.notifications_failed.clone(),
        );
        registry.register(
            "outrigger_notifications_owed",
            "Notifications that wait until a receiver takes them",
            m.owed.clone(),
        );
        registry.register(
            "outrigger_notifications_discarded",
            "Notifications that are given up: refused for good, or pushed out by newer ones",
            m.discarded.clone(),
        );
        registry.register(
            "outrigger_notification_groups",
            "Groups of alerts that a receiver knows of",
            m.groups.clone(),
        );
    }

    /// So many Alertmanagers are told.
    pub(super) fn set_alertmanagers(&self, active: usize) {
        let m = &*self.0;
        m.alertmanagers.set(i64::try_from(active).unwrap_or(i64::MAX));
        if active == 0 {
            // Made where they are not there.
            drop(m.dropped.get_or_create(&NOBODY));
            drop(m.queue_length.get_or_create(&NOBODY));
        } else {
            m.dropped.remove(&NOBODY);
            m.queue_length.remove(&NOBODY);
        }
    }

    pub(super) fn get(&self) -> &Inner {
        &self.0
    }

    /// Notes how the last attempt to reach a receiver ended: its URL, or its name.
    pub(super) fn attempted(&self, receiver: &str, error: Option<&str>) {
        let mut failing = self.0.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => drop(failing.insert(receiver.to_owned(), error.to_owned())),
            None => drop(failing.remove(receiver)),
        }
    }

    /// Those of these receivers whose last attempt failed, and why.
    pub(super) fn failing(&self, receivers: &[String]) -> Vec<(String, String)> {
        let mut failing = self.0.failing.lock().unwrap_or_else(PoisonError::into_inner);
        // Of those that are gone nobody asks again.
        failing.retain(|receiver, _| receivers.contains(receiver));
        failing.iter().map(|(receiver, error)| (receiver.clone(), error.clone())).collect()
    }

    /// Forgets the series of an Alertmanager that is gone.
    pub(super) fn forget_alertmanager(&self, url: &str) {
        let labels = ToAlertmanager { alertmanager: url.to_owned() };
        let m = &*self.0;
        m.sent.remove(&labels);
        m.errors.remove(&labels);
        m.dropped.remove(&labels);
        m.latency.remove(&labels);
        m.queue_length.remove(&labels);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_families_are_there_without_an_alertmanager() {
        let (metrics, mut registry) = (NotifyMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let shown = || {
            let mut text = String::new();
            encode(&mut text, &registry).expect("written");
            let of_prometheus = text.lines().filter(|line| line.starts_with("prometheus_"));
            of_prometheus.map(|line| line.replace("{}", "")).collect::<Vec<_>>()
        };
        metrics.set_alertmanagers(0);
        for line in [
            "prometheus_notifications_alertmanagers_discovered 0",
            "prometheus_notifications_dropped_total 0",
            "prometheus_notifications_queue_capacity 0",
            "prometheus_notifications_queue_length 0",
        ] {
            assert!(shown().iter().any(|shown| shown == line), "{line}: {:#?}", shown());
        }
        let url = ToAlertmanager { alertmanager: "http://a".to_owned() };
        metrics.get().dropped.get_or_create(&url).inc();
        metrics.set_alertmanagers(1);
        let dropped: Vec<String> = shown().into_iter().filter(|line| line.contains("_dropped_")).collect();
        assert_eq!(dropped, ["prometheus_notifications_dropped_total{alertmanager=\"http://a\"} 1"]);
        metrics.forget_alertmanager("http://a");
        metrics.set_alertmanagers(0);
        assert!(shown().contains(&"prometheus_notifications_dropped_total 0".to_owned()), "{:#?}", shown());
    }
}
