//! What the engine counts about its passes. It outlives engines, so that a reload resets nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::collect::parse;
use crate::model::{Batch, Kind};

/// Upper bounds of the pass duration's buckets, in seconds: an idle machine is in the first ones, a
/// pass that waits for a collector up to its timeout in the last.
const PASS_SECONDS: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

type ByCollector = [(&'static str, &'static str); 1];

const fn by_collector(name: &'static str) -> ByCollector {
    [("collector", name)]
}

/// Counts over all passes of all engines since the program started.
#[derive(Debug)]
pub struct EngineStats {
    passes: Counter,
    shared: Counter,
    pass_seconds: Histogram,
    series: Gauge,
    duplicates: Counter,
    over_limit: Family<ByCollector, Counter>,
    /// Not in the registry: one a collector, they would double the cost of reading it back.
    errors: Mutex<BTreeMap<&'static str, u64>>,
    threads: Gauge,
}

/// What one pass came to.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct PassResult {
    pub(in crate::collect) duration: Duration,
    pub(in crate::collect) duplicates: u64,
    /// Series, of a pass over all collectors.
    pub(in crate::collect) all_series: Option<usize>,
}

impl EngineStats {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let stats = Self {
            passes: Counter::default(),
            shared: Counter::default(),
            pass_seconds: Histogram::new(PASS_SECONDS),
            series: Gauge::default(),
            duplicates: Counter::default(),
            over_limit: Family::default(),
            errors: Mutex::default(),
            threads: Gauge::default(),
        };
        stats.register(registry);
        stats
    }

    /// The registry ends each help text with a full stop.
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "outrigger_collect_passes",
            "Passes over the collectors, narrowed ones included",
            self.passes.clone(),
        );
        registry.register(
            "outrigger_collect_shared",
            "Requests answered from a pass made for another",
            self.shared.clone(),
        );
        registry.register(
            "outrigger_collect_pass_duration_seconds",
            "Duration of a pass, from its start to the finished snapshot",
            self.pass_seconds.clone(),
        );
        registry.register(
            "outrigger_collect_series",
            "Series in the last pass over all collectors",
            self.series.clone(),
        );
        registry.register(
            "outrigger_collect_duplicate_samples",
            "Samples left out because a series of the same name and labels was there already",
            self.duplicates.clone(),
        );
        registry.register(
            "outrigger_collector_over_limit_samples",
            "Samples left out because the collector gave more than it may",
            self.over_limit.clone(),
        );
        registry.register(
            "outrigger_collector_threads",
            "Threads that run collectors, those stuck in one included",
            self.threads.clone(),
        );
    }

    fn all_errors(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn expose(&self, out: &mut Batch) {
        let help =
            "Runs of a collector that failed; those without a subject on this machine are not counted.";
        let family = out.family("outrigger_collector_errors_total", help, Kind::Counter);
        for (collector, errors) in &*self.all_errors() {
            out.sample(family, &by_collector(collector), parse::value(*errors));
        }
    }

    /// Begins the collector's error count at zero: a rate needs the zero before the first error.
    pub(in crate::collect) fn expect_collector(&self, name: &'static str) {
        self.all_errors().entry(name).or_default();
    }

    pub(in crate::collect) fn request_shared(&self) {
        self.shared.inc();
    }

    pub(in crate::collect) fn collector_failed(&self, name: &'static str) {
        *self.all_errors().entry(name).or_default() += 1;
    }

    pub(in crate::collect) fn over_limit(&self, name: &'static str, samples: u64) {
        if samples > 0 {
            self.over_limit.get_or_create(&by_collector(name)).inc_by(samples);
        }
    }

    pub(in crate::collect) fn pass_finished(&self, result: &PassResult) {
        self.passes.inc();
        self.pass_seconds.observe(result.duration.as_secs_f64());
        self.duplicates.inc_by(result.duplicates);
        if let Some(series) = result.all_series {
            self.series.set(i64::try_from(series).unwrap_or(i64::MAX));
        }
    }

    /// The gauge is also the count: threads of all engines are bounded together by it.
    pub(in crate::collect) const fn threads(&self) -> &Gauge {
        &self.threads
    }

    /// Passes run.
    pub fn passes(&self) -> u64 {
        self.passes.get()
    }

    /// Requests that shared another's pass.
    pub fn shared(&self) -> u64 {
        self.shared.get()
    }

    /// Failed runs of a collector; a missing subject (no data) is not counted.
    pub fn errors(&self, collector: &'static str) -> u64 {
        self.all_errors().get(collector).copied().unwrap_or_default()
    }

    /// Samples of a collector that were left out because it gave more than it may.
    pub fn samples_over_limit(&self, collector: &'static str) -> u64 {
        self.over_limit.get(&by_collector(collector)).map_or(0, |n| n.get())
    }
}
