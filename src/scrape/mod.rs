//! Other people's metrics: who is asked, when, and what becomes of the answers.
//!
//! [`ScrapeSettings`] reads `global` and `scrape_configs`, as prometheus.yml has them. [`TargetManager`] finds the
//! targets, scrapes each on its own grid of instants and hands all samples of a scrape at once to a [`Sink`].
//!
//! Invariant: one misbehaving target - slow, endless, huge, wrong - costs only its own samples.
//!
//! Source: Prometheus 3's documentation of its configuration, its HTTP API and its own metrics; the order of
//! steps from a discovered label to a stored sample is the one described there.

mod discovery;
mod fetch;
mod limits;
mod manager;
mod metrics;
mod pipeline;
mod pool;
pub mod push;
mod schedule;
mod settings;
mod sink;
mod snapshot;
mod target;
mod target_loop;
#[cfg(test)]
mod tests;

pub use discovery::{DiscoveredGroups, Found};
pub use limits::ScrapeLimits;
pub use manager::TargetManager;
pub use metrics::ScrapeMetrics;
pub use pipeline::MetricMetadata;
pub use settings::{
    Discovery, DnsRecord, DnsSettings, DockerSettings, FileSettings, GlobalSettings, HttpSdSettings,
    JobSettings, SampleLimits, ScrapeProtocol, ScrapeSettings, TargetGroup, read_discovery,
    refuse_other_discovery,
};
pub use sink::{Sink, TargetKey};
pub use snapshot::{PoolSnapshot, TargetMetadata, TargetSnapshot};
pub use target_loop::{Clock, LastScrape, TargetHealth};
