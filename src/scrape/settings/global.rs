//! `global`: what holds for every job unless the job says otherwise.

use std::time::Duration;

use crate::config::{Section, read_labels};
use crate::model::{ByteSize, Labels, NameScheme};

use super::protocol::ScrapeProtocol;

/// Settings of `global`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalSettings {
    /// How often targets are scraped.
    pub scrape_interval: Duration,
    /// How long a scrape may take.
    pub scrape_timeout: Duration,
    /// What targets are asked to answer in.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// How often rules are evaluated.
    pub evaluation_interval: Duration,
    /// How far behind "now" rules are evaluated.
    pub rule_query_offset: Duration,
    /// Labels of everything that leaves this machine: alerts, remote write, federation.
    pub external_labels: Labels,
    /// Limits of each job.
    pub limits: SampleLimits,
    /// Which names are allowed.
    pub name_scheme: NameScheme,
    /// Whether each scrape also gives `scrape_timeout_seconds` and two more.
    pub extra_scrape_metrics: bool,
}

/// What one job may take; 0 stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleLimits {
    /// Largest body of a response, after decompression.
    pub body_size: ByteSize,
    /// Most samples of a scrape, after relabelling.
    pub samples: usize,
    /// Most targets of the job.
    pub targets: usize,
    /// Most labels of a sample.
    pub labels: usize,
    /// Longest label name, in bytes.
    pub label_name_bytes: usize,
    /// Longest label value, in bytes.
    pub label_value_bytes: usize,
    /// How many dropped targets are remembered.
    pub keep_dropped_targets: usize,
}

impl Default for GlobalSettings {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            scrape_protocols: ScrapeProtocol::DEFAULT.to_vec(),
            evaluation_interval: Duration::from_secs(60),
            rule_query_offset: Duration::ZERO,
            external_labels: Labels::empty(),
            limits: SampleLimits::default(),
            name_scheme: NameScheme::Utf8,
            extra_scrape_metrics: false,
        }
    }
}

impl GlobalSettings {
    /// Reads the key `global` of the top level.
    pub(super) fn read(top: &mut Section<'_>) -> Self {
        let defaults = Self::default();
        let Some(mut section) = top.take_section("global") else { return defaults };
        let name_scheme = read_name_scheme(&mut section, NameScheme::Utf8);
        let scrape_interval = read_interval(&mut section, "scrape_interval", defaults.scrape_interval);
        let scrape_timeout = section.take_duration("scrape_timeout").unwrap_or_default();
        if scrape_timeout > scrape_interval {
            section.error("scrape_timeout", "global scrape timeout greater than scrape interval");
        }
        for (key, why) in UNSUPPORTED {
            section.refuse(key, why);
        }
        refuse_native_histograms(&mut section);
        Self {
            scrape_interval,
            scrape_timeout: match scrape_timeout {
                Duration::ZERO => defaults.scrape_timeout.min(scrape_interval),
                timeout => timeout,
            },
            scrape_protocols: read_protocols(&mut section).unwrap_or(defaults.scrape_protocols),
            evaluation_interval: read_interval(
                &mut section,
                "evaluation_interval",
                defaults.evaluation_interval,
            ),
            rule_query_offset: section.take_duration("rule_query_offset").unwrap_or_default(),
            external_labels: read_labels(&mut section, "external_labels", NameScheme::Utf8),
            limits: SampleLimits::read(&mut section, SampleLimits::default()),
            name_scheme,
            extra_scrape_metrics: section.take_bool("extra_scrape_metrics").unwrap_or_default(),
        }
    }
}

const UNSUPPORTED: [(&str, &str); 2] = [
    ("query_log_file", "a query log is not supported"),
    (
        "scrape_failure_log_file",
        "a log of failed scrapes in a file is not supported; they are in /api/v1/targets",
    ),
];

/// A duration that is not zero: 0 stands for the default, as in Prometheus.
pub(super) fn read_interval(section: &mut Section<'_>, key: &str, default: Duration) -> Duration {
    section.take_duration(key).filter(|interval| !interval.is_zero()).unwrap_or(default)
}

pub(super) fn read_name_scheme(section: &mut Section<'_>, default: NameScheme) -> NameScheme {
    let schemes = [("utf8", NameScheme::Utf8), ("legacy", NameScheme::Legacy)];
    let scheme = section.take_choice("metric_name_validation_scheme", &schemes).unwrap_or(default);
    // Only the two that follow from the validation are asked for; a target escapes, not we.
    if let Some(value) = section.take("metric_name_escaping_scheme") {
        let follows = if scheme == NameScheme::Utf8 { "allow-utf-8" } else { "underscores" };
        match value.str().as_deref() {
            Some(escaping) if escaping == follows => {}
            Some("allow-utf-8") => value.error(
                "utf8 metric names requested but validation scheme is not set to UTF8",
            ),
            Some("underscores" | "dots" | "values") => {
                value.error(format!("only {follows:?} is supported with this metric_name_validation_scheme"));
            }
            Some(other) => value.error(format!(
                "unknown metric name escaping scheme {other:?}, must be one of allow-utf-8, underscores, dots, values"
            )),
            None => {}
        }
    }
    scheme
}

pub(super) fn read_protocols(section: &mut Section<'_>) -> Option<Vec<ScrapeProtocol>> {
    let items = section.take_list("scrape_protocols")?;
    if items.is_empty() {
        section.error("scrape_protocols", "scrape_protocols cannot be empty");
    }
    let mut protocols = Vec::new();
    for item in items {
        let Some(protocol) = item.parse::<ScrapeProtocol>("a scrape protocol") else { continue };
        if protocols.contains(&protocol) {
            item.error("duplicated protocol in scrape_protocols");
        }
        protocols.push(protocol);
    }
    Some(protocols)
}

/// Native histograms have no place in the store yet: what would ask for them is refused, what declines them is read.
pub(super) fn refuse_native_histograms(section: &mut Section<'_>) {
    for key in ["scrape_native_histograms", "convert_classic_histograms_to_nhcb"] {
        if section.take_bool(key) == Some(true) {
            section.error(key, "native histograms are not supported");
        }
    }
    // Classic histograms are always kept, so that both values mean the same here.
    for key in ["always_scrape_classic_histograms", "scrape_classic_histograms"] {
        section.take_bool(key);
    }
}

impl SampleLimits {
    pub(super) fn read(section: &mut Section<'_>, default: Self) -> Self {
        let mut count = |key: &str, default: usize| {
            let given = section.take_integer(key, 0..=i64::MAX).and_then(|n| usize::try_from(n).ok());
            // 0 leaves the limit to `global`, as in Prometheus.
            given.filter(|n| *n > 0).unwrap_or(default)
        };
        Self {
            samples: count("sample_limit", default.samples),
            targets: count("target_limit", default.targets),
            labels: count("label_limit", default.labels),
            label_name_bytes: count("label_name_length_limit", default.label_name_bytes),
            label_value_bytes: count("label_value_length_limit", default.label_value_bytes),
            keep_dropped_targets: count("keep_dropped_targets", default.keep_dropped_targets),
            body_size: section
                .take_size("body_size_limit")
                .filter(|s| s.bytes() > 0)
                .unwrap_or(default.body_size),
        }
    }
}
