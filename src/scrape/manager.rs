//! All pools: what the program starts, reloads, looks at and stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::fetch::Fetcher;
use super::limits::{ScrapeLimits, Shared};
use super::metrics::ScrapeMetrics;
use super::pool::{Pool, Remains};
use super::settings::{JobSettings, ScrapeSettings};
use super::sink::Sink;
use super::snapshot::{PoolSnapshot, TargetMetadata};
use super::target_loop::{Clock, LoopContext};
use crate::model::Labels;

/// How long a shutdown waits for samples on their way into the sink.
const PATIENCE: Duration = Duration::from_secs(5);

/// Scrapes all targets of all jobs. To be used within a tokio runtime.
pub struct TargetManager {
    sink: Arc<dyn Sink>,
    clock: Clock,
    metrics: ScrapeMetrics,
    shared: Arc<Shared>,
    pools: Mutex<BTreeMap<String, Pool>>,
    /// Of jobs that are gone: what is about to end, unless the job comes back before.
    ended: Mutex<BTreeMap<String, Remains>>,
}

impl TargetManager {
    /// Without any job yet.
    pub fn new(sink: Arc<dyn Sink>, clock: Clock, limits: ScrapeLimits, metrics: ScrapeMetrics) -> Self {
        let shared = Arc::new(Shared::new(limits));
        Self { sink, clock, metrics, shared, pools: Mutex::default(), ended: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_ended(&self) -> MutexGuard<'_, BTreeMap<String, Remains>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the jobs those of the settings. A job that is the same goes on untouched; of one that changed, the
    /// targets that it still has go on with what is known of them.
    pub fn apply(&self, settings: &ScrapeSettings) {
        let mut pools = self.lock();
        let mut ended = self.lock_ended();
        ended.retain(|_, remains| !remains.are_over());
        let is_there = |name: &String| settings.jobs.iter().any(|job| job.name == *name);
        let gone: Vec<String> = pools.keys().filter(|name| !is_there(name)).cloned().collect();
        for name in gone {
            if let Some(pool) = pools.remove(&name) {
                ended.insert(name, pool.end());
            }
        }
        for job in &settings.jobs {
            let remains = match pools.get(&job.name) {
                Some(pool) if *pool.job() == *job => continue,
                Some(_) => {
                    self.metrics.get().pool_reloads.inc();
                    pools.remove(&job.name).map(Pool::leave)
                }
                None => {
                    self.metrics.get().pools.inc();
                    ended.remove(&job.name)
                }
            };
            pools.insert(job.name.clone(), Pool::start(self.context(job), remains));
        }
    }

    fn context(&self, job: &Arc<JobSettings>) -> LoopContext {
        LoopContext {
            job: Arc::clone(job),
            fetcher: Arc::new(Fetcher::new(Arc::clone(job), Arc::clone(&self.shared))),
            shared: Arc::clone(&self.shared),
            sink: Arc::clone(&self.sink),
            clock: self.clock,
            metrics: self.metrics.clone(),
            forced_error: Arc::new(ArcSwapOption::empty()),
        }
    }

    /// Names of the jobs, in order.
    pub fn pool_names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// All targets, by job.
    pub fn targets(&self) -> Vec<PoolSnapshot> {
        self.lock().values().map(Pool::snapshot).collect()
    }

    /// What targets say about their metrics: about one, or about all; of the targets whose labels `wanted` names.
    pub fn metadata(
        &self,
        mut wanted: impl FnMut(&Labels) -> bool,
        metric: Option<&str>,
    ) -> Vec<TargetMetadata> {
        let mut found = Vec::new();
        for pool in self.lock().values() {
            pool.metadata(&mut wanted, metric, &mut found);
        }
        found
    }

    /// Brings those metrics up to date that nothing else does; to be called before they are read.
    pub fn measure(&self) {
        self.lock().values().for_each(Pool::measure);
    }

    /// Stops everything; samples on their way still reach the sink. No series is ended: a restart goes on.
    pub async fn shutdown(&self) {
        let pools = std::mem::take(&mut *self.lock());
        std::mem::take(&mut *self.lock_ended()).into_values().for_each(Remains::stop);
        let stopped: Vec<_> = pools.into_values().flat_map(Pool::stop).collect();
        let all = async {
            for task in stopped {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}
