//! Settings of `collect`: which collectors run, with which options and limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::collect::{EngineConfig, Host, Options, Own, Spec, specs};

/// Settings of `collect` and the flags `--collector.*`.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectSettings {
    /// Longest time a pass waits for a collector.
    pub timeout: Duration,
    /// Requests closer together than this share a pass.
    pub min_interval: Duration,
    /// Most samples one collector may give in a pass.
    pub max_series: usize,
    /// Most collector threads.
    pub max_threads: usize,
    /// How often a pass goes into history; zero: never.
    pub history_interval: Duration,
    /// Label `job` of the machine's own metrics in history.
    pub job: String,
    /// Their label `instance`; `None`: the machine's name.
    pub instance: Option<String>,
    /// Whether only collectors that are named run.
    pub disable_defaults: bool,
    /// Collectors that were switched on or off by name.
    pub chosen: BTreeMap<&'static str, bool>,
    /// Values of the collectors' own flags.
    pub options: Options,
}

impl Default for CollectSettings {
    fn default() -> Self {
        let EngineConfig { timeout, min_interval, max_series, max_threads, .. } = EngineConfig::default();
        Self {
            timeout,
            min_interval,
            max_series,
            max_threads,
            history_interval: Duration::from_secs(15),
            job: "node".to_owned(),
            instance: None,
            disable_defaults: false,
            chosen: BTreeMap::new(),
            options: Options::default(),
        }
    }
}

impl CollectSettings {
    /// The collectors that run.
    pub fn enabled(&self) -> BTreeSet<&'static str> {
        let runs = |spec: &&&Spec| {
            let default = spec.on_by_default && !self.disable_defaults;
            self.chosen.get(spec.name).copied().unwrap_or(default)
        };
        specs().iter().filter(runs).map(|spec| spec.name).collect()
    }

    /// What an engine with these settings is built from.
    pub fn engine(&self, host: Host, own: Arc<Own>) -> EngineConfig {
        EngineConfig {
            host,
            options: self.options.clone(),
            enabled: self.enabled(),
            timeout: self.timeout,
            min_interval: self.min_interval,
            max_series: self.max_series,
            max_threads: self.max_threads,
            own,
        }
    }
}

/// A collector's flag as a key below the collector's name: the flag without the collector's prefix.
pub fn option_key(spec: &Spec, flag: &'static str) -> &'static str {
    let own = flag.strip_prefix(spec.name).and_then(|rest| rest.strip_prefix('.'));
    // `--collector.powersupply.*` belongs to the collector powersupplyclass.
    own.or_else(|| flag.split_once('.').map(|(_, rest)| rest)).unwrap_or(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_a_collector_beats_the_defaults() {
        let defaults = CollectSettings::default();
        assert_eq!(defaults.enabled(), EngineConfig::default().enabled);
        let mut settings = CollectSettings { disable_defaults: true, ..CollectSettings::default() };
        assert!(settings.enabled().is_empty());
        settings.chosen.insert("loadavg", true);
        assert_eq!(settings.enabled().into_iter().collect::<Vec<_>>(), ["loadavg"]);
        settings.disable_defaults = false;
        settings.chosen.insert("loadavg", false);
        assert!(!settings.enabled().contains("loadavg"));
    }

    #[test]
    fn keys_of_one_collector_are_unique_and_clash_with_no_other_key() {
        for spec in specs() {
            let flags: Vec<_> = spec.flags.iter().filter(|flag| !flag.hidden).collect();
            let keys: BTreeSet<_> = flags.iter().map(|flag| option_key(spec, flag.name)).collect();
            assert_eq!(keys.len(), flags.len(), "{}", spec.name);
            assert!(!keys.contains("enabled"), "{}", spec.name);
        }
    }
}
