//! The program's own metrics: one more part of every snapshot, named [`SOURCE`].
//!
//! Instruments live in one `prometheus_client` registry, to which the HTTP face and the wiring add
//! theirs. Each pass reads them through [`registry`]. What the kernel knows of this process is read beside
//! it.
//!
//! Invariant: an [`Own`] outlives the engines that are built on it, so a reload resets no counter.

mod build;
mod process;
mod registry;
mod stats;

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustc_hash::FxHashMap;

pub use build::BuildInfo;
pub use stats::EngineStats;
pub(super) use stats::PassResult;

use super::handed::Handed;
use crate::model::{Batch, Timestamp};
use process::Process;
use registry::RegistryReader;

/// The source of our own part of a snapshot. No collector: it cannot be selected or left out.
pub const SOURCE: &str = "own";

/// What the program knows and counts about itself.
#[derive(Debug)]
pub struct Own {
    build: BuildInfo,
    stats: EngineStats,
    config: ConfigStats,
    registry: Mutex<Registry>,
    reader: Mutex<Reader>,
    runs: Mutex<FxHashMap<&'static str, Arc<AtomicUsize>>>,
    handed: Arc<Handed>,
}

/// What a gathering uses again each time.
#[derive(Debug)]
struct Reader {
    process: Option<Process>,
    instruments: RegistryReader,
    spare: Option<Batch>,
}

/// How the configuration fares; names and meaning as Prometheus has them of its own.
#[derive(Debug, Default)]
struct ConfigStats {
    last_reload_successful: Gauge,
    last_success_seconds: Gauge<f64, AtomicU64>,
}

impl Default for Own {
    fn default() -> Self {
        Self::new(BuildInfo::default(), true)
    }
}

impl Own {
    /// With no instruments but the engine's and the configuration's; `exporter_metrics` is the
    /// opposite of `--web.disable-exporter-metrics` and decides about `process_*`.
    pub fn new(build: BuildInfo, exporter_metrics: bool) -> Self {
        let mut registry = Registry::default();
        let stats = EngineStats::new(&mut registry);
        let config = ConfigStats::default();
        registry.register(
            "outrigger_config_last_reload_successful",
            "Whether the last attempt to load the configuration succeeded",
            config.last_reload_successful.clone(),
        );
        registry.register(
            "outrigger_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was loaded, in seconds since the Unix epoch",
            config.last_success_seconds.clone(),
        );
        let process = exporter_metrics.then(Process::new);
        let reader = Mutex::new(Reader { process, instruments: RegistryReader::default(), spare: None });
        Self {
            build,
            stats,
            config,
            registry: Mutex::new(registry),
            reader,
            runs: Mutex::default(),
            handed: Arc::default(),
        }
    }

    /// Adds instruments. Their values are read at the end of each pass, for as long as this lives.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut lock(&self.registry));
    }

    /// Results that other parts keep, for all engines.
    pub const fn handed(&self) -> &Arc<Handed> {
        &self.handed
    }

    /// What the engines count.
    pub const fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Notes an attempt to load the configuration, the one at the start included.
    pub fn config_loaded(&self, successful: bool, at: Timestamp) {
        self.config.last_reload_successful.set(i64::from(successful));
        if successful {
            self.config.last_success_seconds.set(at.as_seconds_f64());
        }
    }

    /// Everything known now, as one source's samples.
    pub(super) fn gather(&self) -> Batch {
        let mut reader = lock(&self.reader);
        let Reader { process, instruments, spare } = &mut *reader;
        let mut out = spare.take().unwrap_or_default();
        out.clear();
        self.build.expose(&mut out);
        self.stats.expose(&mut out);
        if let Some(process) = process {
            process.expose(&mut out);
        }
        instruments.read(&lock(&self.registry), &mut out);
        out
    }

    /// Gives a batch back for its buffers.
    pub(super) fn recycle(&self, batch: Batch) {
        lock(&self.reader).spare = Some(batch);
    }

    /// The runs of one collector in progress, over all engines: a reload must not start another
    /// thread each time into what holds the last one.
    pub(super) fn runs(&self, collector: &'static str) -> Arc<AtomicUsize> {
        Arc::clone(lock(&self.runs).entry(collector).or_default())
    }
}

/// The mutexes guard plain values, which no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose;
    use crate::model::{Kind, Snapshot};

    fn own() -> Own {
        Own::new(BuildInfo::default(), true)
    }

    /// Families and samples in both formats.
    fn exposed(own: &Own, format: &str) -> String {
        let snapshot = Snapshot::assemble(Timestamp::from_millis(0), vec![(SOURCE, own.gather())]);
        assert_eq!(snapshot.duplicates(), 0);
        let mut out = Vec::new();
        expose::encode(&snapshot, expose::negotiate(Some(format)), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn instruments_process_and_build_are_one_part() {
        let own = own();
        own.stats().expect_collector("loadavg");
        own.stats().over_limit("textfile", 7);
        own.config_loaded(true, Timestamp::from_millis(1_700_000_000_500));
        own.config_loaded(false, Timestamp::from_millis(1_800_000_000_000));
        let text = exposed(&own, "text/plain");
        for line in [
            "# TYPE outrigger_collector_errors_total counter",
            "outrigger_collector_errors_total{collector=\"loadavg\"} 0",
            "outrigger_collector_over_limit_samples_total{collector=\"textfile\"} 7",
            "outrigger_collect_passes_total 0",
            "outrigger_collect_pass_duration_seconds_bucket{le=\"+Inf\"} 0",
            "outrigger_collect_pass_duration_seconds_count 0",
            "outrigger_config_last_reload_successful 0",
            "outrigger_config_last_reload_success_timestamp_seconds 1.7000000005e+09",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let build = "node_exporter_build_info{branch=\"unknown\",goarch=";
        assert!(text.lines().any(|l| l.starts_with(build) && l.contains("version=\"1.12.1\"")), "{text}");
        assert!(text.contains(&format!("version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))), "{text}");
        let open_metrics = exposed(&own, "application/openmetrics-text;version=1.0.0");
        assert!(open_metrics.contains("# TYPE outrigger_collect_passes counter\n"), "{open_metrics}");
    }

    #[test]
    fn added_instruments_show_and_buffers_come_back() {
        let own = own();
        let gauge = Gauge::<i64>::default();
        own.register(|registry| registry.register("added", "An instrument of another part", gauge.clone()));
        for value in [1, 2] {
            gauge.set(value);
            let batch = own.gather();
            let added = batch.families().find(|f| f.name() == "added").unwrap();
            assert_eq!((added.kind(), added.help()), (Kind::Gauge, "An instrument of another part."));
            assert_eq!(added.samples().next().map(|s| s.value()), Some(value as f64));
            own.recycle(batch);
        }
    }

    #[test]
    fn exporter_metrics_can_be_left_out() {
        let own = Own::new(BuildInfo::default(), false);
        let text = exposed(&own, "text/plain");
        assert!(!text.contains("process_") && text.contains("node_exporter_build_info"), "{text}");
    }
}
