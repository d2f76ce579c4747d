//! One entry of `scrape_configs`.

use std::time::Duration;

use crate::config::{Section, read_relabel_rules};
use crate::http_client::HttpClientSettings;
use crate::model::{ColdSort, NameScheme, RelabelRule};

use super::discovery::{Discovery, read_discovery, refuse_other_discovery};
use super::global::{
    GlobalSettings, SampleLimits, read_interval, read_name_scheme, read_protocols, refuse_native_histograms,
};
use super::protocol::ScrapeProtocol;

/// One job: where its targets come from, how they are asked, what becomes of their samples.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSettings {
    /// `job_name`; not empty.
    pub name: String,
    /// How often a target is scraped, unless its labels say otherwise.
    pub interval: Duration,
    /// How long a scrape may take, unless the target's labels say otherwise.
    pub timeout: Duration,
    /// Path of the URL.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Parameters of the URL.
    pub params: Vec<(String, Vec<String>)>,
    /// Whether a sample's own labels win over the target's.
    pub honor_labels: bool,
    /// Whether timestamps that a target gives are kept.
    pub honor_timestamps: bool,
    /// Whether series with such timestamps get staleness markers as well.
    pub track_timestamps_staleness: bool,
    /// What a target is asked to answer in.
    pub protocols: Vec<ScrapeProtocol>,
    /// What an answer without a known `Content-Type` is taken for.
    pub fallback_protocol: Option<ScrapeProtocol>,
    /// Whether gzip is asked for.
    pub enable_compression: bool,
    /// What the job may take.
    pub limits: SampleLimits,
    /// Which names are allowed.
    pub name_scheme: NameScheme,
    /// Whether each scrape also gives `scrape_timeout_seconds` and two more.
    pub extra_scrape_metrics: bool,
    /// How a target is called.
    pub client: HttpClientSettings,
    /// Rules over the labels of discovered targets.
    pub relabel: Vec<RelabelRule>,
    /// Rules over the labels of samples.
    pub metric_relabel: Vec<RelabelRule>,
    /// Where targets come from.
    pub discovery: Vec<Discovery>,
}

impl JobSettings {
    /// Reads an entry. `None` without a name; other mistakes are noted in the section.
    pub(super) fn read(section: &mut Section<'_>, global: &GlobalSettings) -> Option<Self> {
        let name = section.take_str("job_name").filter(|name| !name.is_empty());
        if name.is_none() {
            section.error("job_name", "job_name is empty");
        }
        let shown = name.clone().unwrap_or_default();
        let interval = read_interval(section, "scrape_interval", global.scrape_interval);
        let timeout = read_timeout(section, &shown, interval, global);
        let name_scheme = read_name_scheme(section, global.name_scheme);
        refuse_native_histograms(section);
        refuse_unsupported(section);
        let relabel = read_relabel_rules(section, "relabel_configs", name_scheme);
        let job = Self {
            interval,
            timeout,
            metrics_path: section.take_str("metrics_path").unwrap_or_else(|| "/metrics".to_owned()),
            scheme: section.take_choice("scheme", &[("http", "http"), ("https", "https")]).unwrap_or("http"),
            params: read_params(section),
            honor_labels: section.take_bool("honor_labels").unwrap_or(false),
            honor_timestamps: section.take_bool("honor_timestamps").unwrap_or(true),
            track_timestamps_staleness: section.take_bool("track_timestamps_staleness").unwrap_or(false),
            protocols: read_protocols(section).unwrap_or_else(|| global.scrape_protocols.clone()),
            fallback_protocol: section
                .take("fallback_scrape_protocol")
                .and_then(|value| value.parse("a scrape protocol")),
            enable_compression: section.take_bool("enable_compression").unwrap_or(true),
            limits: SampleLimits::read(section, global.limits),
            name_scheme,
            extra_scrape_metrics: section
                .take_bool("extra_scrape_metrics")
                .unwrap_or(global.extra_scrape_metrics),
            client: HttpClientSettings::read(section),
            metric_relabel: read_relabel_rules(section, "metric_relabel_configs", name_scheme),
            discovery: read_discovery(section, relabel.is_empty()),
            relabel,
            name: shown,
        };
        name.map(|_| job)
    }
}

fn read_timeout(
    section: &mut Section<'_>,
    job: &str,
    interval: Duration,
    global: &GlobalSettings,
) -> Duration {
    let timeout = section.take_duration("scrape_timeout").unwrap_or_default();
    if timeout > interval {
        section.error(
            "scrape_timeout",
            format!("scrape timeout greater than scrape interval for scrape config with job name {job:?}"),
        );
    }
    match timeout {
        Duration::ZERO => global.scrape_timeout.min(interval),
        timeout => timeout,
    }
}

fn read_params(section: &mut Section<'_>) -> Vec<(String, Vec<String>)> {
    let Some(mut params) = section.take_section("params") else { return Vec::new() };
    let read =
        params.take_rest().into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.strings()?)));
    let mut read: Vec<_> = read.collect();
    read.cold_sort();
    read
}

/// What Prometheus has and this program has not.
fn refuse_unsupported(section: &mut Section<'_>) {
    section.refuse(
        "scrape_failure_log_file",
        "a log of failed scrapes in a file is not supported; they are in /api/v1/targets",
    );
    for key in ["native_histogram_bucket_limit", "native_histogram_min_bucket_factor"] {
        section.refuse(key, "native histograms are not supported");
    }
    for key in ["sigv4", "azuread", "google_iam"] {
        section.refuse(key, format!("{key} is not supported"));
    }
    refuse_other_discovery(section);
}
