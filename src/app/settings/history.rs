//! Settings of the history: what is kept, where and for how long, and what a query of it may cost.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of `storage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// Folder of the store; `None`: history lives in memory and ends with the program.
    pub path: Option<PathBuf>,
    /// How long samples are kept.
    pub retention: Duration,
    /// How long samples are kept that rules read.
    pub retention_selected: Duration,
    /// Most bytes on disk.
    pub max_size_bytes: u64,
    /// Most series at once.
    pub max_series: usize,
    /// Most bytes of samples that wait for receivers of remote write.
    pub remote_write_queue_bytes: u64,
    /// Largest body of a remote write from others, before and after decompression.
    pub max_remote_write_bytes: usize,
    /// File with the key of encryption at rest.
    pub encryption_key_file: Option<PathBuf>,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            path: None,
            retention: Duration::from_secs(24 * 3_600),
            retention_selected: Duration::from_secs(35 * 24 * 3_600),
            max_size_bytes: 1 << 30,
            max_series: 200_000,
            remote_write_queue_bytes: 256 << 20,
            max_remote_write_bytes: 16 << 20,
            encryption_key_file: None,
        }
    }
}

/// Settings of `query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySettings {
    /// How far back an instant vector looks for a sample.
    pub lookback_delta: Duration,
    /// Longest time of a query.
    pub timeout: Duration,
    /// Most queries at once.
    pub max_concurrency: usize,
    /// Most samples that a query holds at once.
    pub max_samples: usize,
    /// Experimental features that were switched on.
    pub features: Vec<Feature>,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            lookback_delta: Duration::from_secs(300),
            timeout: Duration::from_secs(120),
            max_concurrency: 20,
            max_samples: 50_000_000,
            features: Vec::new(),
        }
    }
}

/// What `--enable-feature` switches on, under Prometheus's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// `promql-experimental-functions`
    ExperimentalFunctions,
    /// `promql-delayed-name-removal`
    DelayedNameRemoval,
    /// `promql-duration-expr`
    DurationExpressions,
    /// `promql-extended-range-selectors`
    ExtendedRangeSelectors,
    /// `promql-binop-fill-modifiers`
    BinaryFillModifiers,
    /// `extra-scrape-metrics`
    ExtraScrapeMetrics,
}

impl Feature {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("promql-experimental-functions", Self::ExperimentalFunctions),
        ("promql-delayed-name-removal", Self::DelayedNameRemoval),
        ("promql-duration-expr", Self::DurationExpressions),
        ("promql-extended-range-selectors", Self::ExtendedRangeSelectors),
        ("promql-binop-fill-modifiers", Self::BinaryFillModifiers),
        ("extra-scrape-metrics", Self::ExtraScrapeMetrics),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, feature)| *feature == self).map_or("", |(name, _)| name)
    }
}

impl QuerySettings {
    /// Whether a feature is switched on.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }
}
