//! Scraping one target, again and again.
//!
//! Invariant: between two scrapes a target costs a timer; what one scrape takes of time and memory is bounded,
//! whatever the target does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::fetch::{Body, FetchError, Fetched, Fetcher};
use super::limits::Shared;
use super::metrics::ScrapeMetrics;
use super::pipeline::{AppendError, Appended, Metadata, Pipeline, Report};
use super::schedule::Schedule;
use super::settings::JobSettings;
use super::sink::Sink;
use super::target::Target;
use crate::model::{OncePerState, Timestamp};
use crate::tasks;

/// What tells the time.
pub type Clock = fn() -> Timestamp;

/// Whether a target answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// It has not been scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl TargetHealth {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How the last scrape went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastScrape {
    /// Whether it succeeded.
    pub health: TargetHealth,
    /// When it was.
    pub at: Option<Timestamp>,
    /// How long it took.
    pub duration: Duration,
    /// What went wrong; "" for nothing.
    pub error: String,
}

/// What outlives a loop and others look at.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetState {
    last: Arc<Mutex<LastScrape>>,
    pub(super) metadata: Metadata,
}

impl TargetState {
    fn lock(&self) -> MutexGuard<'_, LastScrape> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> LastScrape {
        self.lock().clone()
    }
}

/// What all loops of a pool share.
#[derive(Clone)]
pub(super) struct LoopContext {
    pub(super) job: Arc<JobSettings>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) shared: Arc<Shared>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) clock: Clock,
    pub(super) metrics: ScrapeMetrics,
    /// Why no target of the pool is scraped at all.
    pub(super) forced_error: Arc<ArcSwapOption<String>>,
}

/// One target's loop.
pub(super) struct TargetLoop {
    context: LoopContext,
    target: Arc<Target>,
    state: TargetState,
    duplicates: OncePerState<bool>,
}

impl TargetLoop {
    pub(super) const fn new(context: LoopContext, target: Arc<Target>, state: TargetState) -> Self {
        Self { context, target, state, duplicates: OncePerState::starting_at(false) }
    }

    /// The samples' way for a target that is new.
    pub(super) fn pipeline(context: &LoopContext, target: &Target, state: &TargetState) -> Pipeline {
        let labels = target.key.labels().clone();
        let most_samples = context.shared.limits.samples;
        Pipeline::new(Arc::clone(&context.job), labels, state.metadata.clone(), most_samples)
    }

    /// Scrapes until told to stop; hands the pipeline over to whoever goes on.
    pub(super) async fn run(
        mut self,
        mut pipeline: Pipeline,
        mut stop: watch::Receiver<bool>,
    ) -> Option<Pipeline> {
        let schedule = Schedule::new(self.target.interval, self.target.key.hash64());
        let mut slot = None;
        loop {
            let now = (self.context.clock)();
            let due = schedule.next(slot, now);
            slot = Some(due);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stopped| *stopped) => return Some(pipeline),
                () = tokio::time::sleep(due.since(now)) => {}
            }
            let at = schedule.aligned(due, (self.context.clock)());
            let fetching = self.fetch();
            let begun = Instant::now();
            let fetched = tokio::select! {
                biased;
                _ = stop.wait_for(|stopped| *stopped) => return Some(pipeline),
                fetched = fetching => fetched,
            };
            pipeline = self.append(pipeline, fetched, at, begun).await?;
        }
    }

    async fn fetch(&self) -> Result<Fetched, Failure> {
        if let Some(error) = &*self.context.forced_error.load() {
            return Err(Failure { message: error.to_string(), too_large: false });
        }
        self.context.metrics.get().scrapes_in_flight.inc();
        let _in_flight = Lowered(&self.context.metrics);
        self.context.fetcher.fetch(&self.target.url, self.target.timeout).await.map_err(Failure::from)
    }

    /// From what came to the sink, off the async threads. `None` only if that work panicked.
    async fn append(
        &mut self,
        pipeline: Pipeline,
        fetched: Result<Fetched, Failure>,
        at: Timestamp,
        begun: Instant,
    ) -> Option<Pipeline> {
        let context = self.context.clone();
        let (target, state) = (Arc::clone(&self.target), self.state.clone());
        let shared = Arc::clone(&self.context.shared);
        // Never closed, hence granted.
        let _turn = shared.appends.acquire().await;
        let work = move || {
            let mut pipeline = pipeline;
            let appended = append(&context, &target, &state, &mut pipeline, fetched, at, begun);
            (pipeline, appended)
        };
        match tasks::blocking(work).await {
            Ok((pipeline, appended)) => {
                self.count(&appended);
                Some(pipeline)
            }
            Err(error) => {
                warn!(target = %self.target.key.url(), %error, "Scraping of a target ended; please report this");
                None
            }
        }
    }

    fn count(&mut self, appended: &Appended) {
        let metrics = self.context.metrics.get();
        metrics.duplicates.inc_by(appended.duplicates as u64);
        metrics.out_of_bounds.inc_by(appended.out_of_bounds as u64);
        metrics.cache_flush_forced.inc_by(u64::from(appended.flush_forced));
        match &appended.error {
            Some(AppendError::SampleLimit) => drop(metrics.exceeded_samples.inc()),
            Some(AppendError::LabelLimit(_)) => drop(metrics.exceeded_label_limits.inc()),
            _ => {}
        }
        if self.duplicates.observe(appended.duplicates > 0).is_some() && appended.duplicates > 0 {
            warn!(
                scrape_pool = self.target.key.pool(),
                target = self.target.key.url(),
                num_dropped = appended.duplicates,
                "A scrape had series more than once; the first of each counts"
            );
        }
    }
}

/// A scrape that gave no body.
struct Failure {
    message: String,
    too_large: bool,
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self { message: error.to_string(), too_large: error.is_too_large() }
    }
}

/// Lowers the number of scrapes in flight, also of one that was cancelled.
struct Lowered<'m>(&'m ScrapeMetrics);

impl Drop for Lowered<'_> {
    fn drop(&mut self) {
        self.0.get().scrapes_in_flight.dec();
    }
}

fn append(
    context: &LoopContext,
    target: &Target,
    state: &TargetState,
    pipeline: &mut Pipeline,
    fetched: Result<Fetched, Failure>,
    at: Timestamp,
    begun: Instant,
) -> Appended {
    let mut body_bytes = Some(0);
    let body: Result<Body, Failure> =
        fetched.and_then(|fetched| fetched.body(context.job.fallback_protocol).map_err(Failure::from));
    let (mut appended, error) = match body {
        Ok(body) => {
            body_bytes = Some(body.bytes.len());
            let appended = pipeline.append(&body.bytes, body.format, at);
            let error = appended.error.as_ref().map(ToString::to_string);
            (appended, error)
        }
        Err(failure) => {
            if failure.too_large {
                context.metrics.get().exceeded_body_size.inc();
                body_bytes = None;
            }
            (pipeline.append_nothing(at), Some(failure.message))
        }
    };
    context
        .metrics
        .get()
        .body_bytes_in_flight
        .set(i64::try_from(context.shared.body_bytes()).unwrap_or(i64::MAX));
    let duration = begun.elapsed();
    let report = Report {
        up: error.is_none(),
        duration,
        scraped: appended.scraped,
        kept: appended.kept,
        new_series: appended.new_series,
        timeout: target.timeout,
        body_bytes,
    };
    let mut rows = std::mem::take(&mut appended.rows);
    pipeline.report(report, &mut rows);
    if let Some(error) = &error {
        debug!(scrape_pool = target.key.pool(), target = target.key.url(), error, "Scrape failed");
    }
    let health = if error.is_none() { TargetHealth::Up } else { TargetHealth::Down };
    *state.lock() = LastScrape { health, at: Some(at), duration, error: error.unwrap_or_default() };
    context.sink.tick(&target.key, at, rows);
    appended
}
