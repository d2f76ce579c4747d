//! What scraping knows of itself, under Prometheus's names where they mean the same.
//!
//! Invariant: labels are jobs, kinds of discovery and targets' pools of the configuration; a job that is gone takes
//! its series with it.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics; clones share the values.
#[derive(Clone, Debug, Default)]
pub struct ScrapeMetrics(Arc<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) pools: Counter,
    pub(super) pool_reloads: Counter,
    pub(super) pool_targets: Family<Job, Gauge>,
    pub(super) pool_target_limit: Family<Job, Gauge>,
    pub(super) pool_syncs: Family<Job, Counter>,
    pub(super) sync_failed: Family<Job, Counter>,
    pub(super) exceeded_target_limit: Counter,
    pub(super) exceeded_label_limits: Counter,
    pub(super) exceeded_body_size: Counter,
    pub(super) exceeded_samples: Counter,
    pub(super) duplicates: Counter,
    pub(super) out_of_bounds: Counter,
    pub(super) cache_flush_forced: Counter,
    pub(super) metadata_entries: Family<Job, Gauge>,
    pub(super) metadata_bytes: Family<Job, Gauge>,
    pub(super) refused_targets: Gauge,
    pub(super) scrapes_in_flight: Gauge,
    pub(super) body_bytes_in_flight: Gauge,
    pub(super) discovered: Family<DiscoveredBy, Gauge>,
    pub(super) refresh_failures: Family<Refreshed, Counter>,
    pub(super) refreshes: Family<Refreshed, Counter>,
    pub(super) file_errors: Counter,
    pub(super) http_failures: Counter,
    pub(super) dns_lookups: Counter,
    pub(super) dns_failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Job {
    pub(super) scrape_job: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DiscoveredBy {
    pub(super) name: &'static str,
    pub(super) config: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Refreshed {
    pub(super) mechanism: &'static str,
    pub(super) config: String,
}

impl ScrapeMetrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let m = &*self.0;
        let mut counter =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("prometheus_target_scrape_pools", "Scrape pools that were made", &m.pools);
        counter("prometheus_target_scrape_pool_reloads", "Scrape pools that were reloaded", &m.pool_reloads);
        counter(
            "prometheus_target_scrape_pool_exceeded_target_limit",
            "Times that a pool had more targets than its target_limit",
            &m.exceeded_target_limit,
        );
        counter(
            "prometheus_target_scrape_pool_exceeded_label_limits",
            "Scrapes refused because of a label limit",
            &m.exceeded_label_limits,
        );
        counter(
            "prometheus_target_scrapes_exceeded_body_size_limit",
            "Scrapes refused because of the size of their body",
            &m.exceeded_body_size,
        );
        counter(
            "prometheus_target_scrapes_exceeded_sample_limit",
            "Scrapes refused because of the number of their samples",
            &m.exceeded_samples,
        );
        counter(
            "prometheus_target_scrapes_sample_duplicate_timestamp",
            "Samples refused because their scrape had the series already",
            &m.duplicates,
        );
        counter(
            "prometheus_target_scrapes_sample_out_of_bounds",
            "Samples refused because their timestamp is too far ahead",
            &m.out_of_bounds,
        );
        counter(
            "prometheus_target_scrapes_cache_flush_forced",
            "Times that a target's cache of series was emptied because its failed scrapes made it grow",
            &m.cache_flush_forced,
        );
        counter("prometheus_sd_file_read_errors", "Errors while reading files of targets", &m.file_errors);
        counter("prometheus_sd_http_failures", "Failed requests for targets over HTTP", &m.http_failures);
        counter("prometheus_sd_dns_lookups", "Lookups of targets in the DNS", &m.dns_lookups);
        counter("prometheus_sd_dns_lookup_failures", "Failed lookups of targets in the DNS", &m.dns_failures);
        self.register_by_job(registry);
    }

    fn register_by_job(&self, registry: &mut Registry) {
        let m = &*self.0;
        registry.register(
            "prometheus_target_scrape_pool_targets",
            "Targets of the pool",
            m.pool_targets.clone(),
        );
        registry.register(
            "prometheus_target_scrape_pool_target_limit",
            "Most targets that the pool may have, 0 for any number",
            m.pool_target_limit.clone(),
        );
        registry.register(
            "prometheus_target_scrape_pool_sync",
            "Times that the pool took over what discovery found",
            m.pool_syncs.clone(),
        );
        registry.register(
            "prometheus_target_sync_failed",
            "Discovered targets that cannot be scraped as they are",
            m.sync_failed.clone(),
        );
        registry.register(
            "prometheus_target_metadata_cache_entries",
            "Metrics with metadata",
            m.metadata_entries.clone(),
        );
        registry.register(
            "prometheus_target_metadata_cache_bytes",
            "Bytes of metadata",
            m.metadata_bytes.clone(),
        );
        registry.register(
            "prometheus_sd_discovered_targets",
            "Targets that discovery found",
            m.discovered.clone(),
        );
        registry.register(
            "prometheus_sd_refresh_failures",
            "Refreshes of discovery that failed; the targets of before stay",
            m.refresh_failures.clone(),
        );
        registry.register("prometheus_sd_refresh", "Refreshes of discovery", m.refreshes.clone());
        registry.register(
            "outrigger_scrape_targets_refused",
            "Targets that are not scraped because there are scrape.max_targets already",
            m.refused_targets.clone(),
        );
        registry.register(
            "outrigger_scrapes_in_flight",
            "Scrapes in flight now",
            m.scrapes_in_flight.clone(),
        );
        registry.register(
            "outrigger_scrape_body_bytes_in_flight",
            "Bytes of response bodies held now",
            m.body_bytes_in_flight.clone(),
        );
    }

    pub(super) fn get(&self) -> &Inner {
        &self.0
    }

    /// Forgets the series of a job that is gone.
    pub(super) fn forget_job(&self, name: &str) {
        let m = &*self.0;
        let job = Job { scrape_job: name.to_owned() };
        for family in [&m.pool_targets, &m.pool_target_limit, &m.metadata_entries, &m.metadata_bytes] {
            family.remove(&job);
        }
        m.pool_syncs.remove(&job);
        m.sync_failed.remove(&job);
        m.discovered.remove(&DiscoveredBy { name: "scrape", config: name.to_owned() });
        for mechanism in ["file", "http", "dns", "docker"] {
            let refreshed = Refreshed { mechanism, config: name.to_owned() };
            m.refreshes.remove(&refreshed);
            m.refresh_failures.remove(&refreshed);
        }
    }
}
