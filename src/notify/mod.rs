//! Alerts on their way out: to Alertmanagers, to webhooks, to the log.
//!
//! [`NotifySettings`] reads the key `alerting`; a [`Notifier`] takes the alerts that rules hand over and delivers them.
//!
//! Invariants: handing over never waits; every queue is bounded, and what it cannot take is counted and said; a
//! receiver that hangs, refuses or is gone costs only itself; what a webhook is owed is in the store until it has been
//! delivered.
//!
//! Source: Prometheus's `alerting` configuration and its notifier's metrics; Alertmanager's API v2 and the payload of
//! its webhooks (version 4).

mod alertmanager;
mod console;
mod context;
mod json;
mod manager;
mod metrics;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;

pub use alertmanager::AlertmanagerSettings;
pub use manager::{Alertmanagers, Notifier};
pub use metrics::NotifyMetrics;
pub use settings::NotifySettings;
pub use webhook::WebhookSettings;
