//! The engine: runs queries, so many at once, each within its limits.
//!
//! Invariants: calls block until the query is done, and end soon after it is cancelled or its time is up; more than
//! `max_concurrency` wait their turn, within their own timeout.
//!
//! Source: Prometheus documentation, "HTTP API" and the `--query.*` flags; its error texts.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::annotations::Annotations;
use super::ast::{Expr, ValueType};
use super::eval::{self, QueryTimes};
use super::value::Value;
use crate::model::{Queryable, QueryableError, Timestamp};

/// How often one who waits for a turn looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// What holds for all queries of an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// How far back a selector finds the sample of an instant (`--query.lookback-delta`).
    pub lookback: Duration,
    /// Most samples that one query holds at once (`--query.max-samples`).
    pub max_samples: usize,
    /// Longest time of a query, the wait for its turn included (`--query.timeout`).
    pub timeout: Duration,
    /// Most queries at once (`--query.max-concurrency`).
    pub max_concurrency: usize,
    /// Step of a subquery that names none (Prometheus: the global evaluation interval).
    pub default_subquery_step: Duration,
    /// Names go at the end of a query, not where an operation drops them (feature `promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// Whether `__type__` says what a counter is (feature `type-and-unit-labels`).
    pub type_and_unit_labels: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            max_samples: 50_000_000,
            timeout: Duration::from_secs(120),
            max_concurrency: 20,
            default_subquery_step: Duration::from_secs(60),
            delayed_name_removal: false,
            type_and_unit_labels: false,
        }
    }
}

/// What holds for one query.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Instead of the engine's, unless it is zero.
    pub lookback: Option<Duration>,
    /// Where shorter than the engine's.
    pub timeout: Option<Duration>,
    /// Since when whoever asked has been waiting: the timeout counts from then. `None`: since the call.
    pub begun: Option<Instant>,
    /// Ends it early.
    pub cancel: Cancel,
}

/// Ends a query from elsewhere. Clones belong to the same query.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the query.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a query gave.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// The value.
    pub value: Value,
    /// What is odd about it; rendered with the query's text.
    pub annotations: Annotations,
    /// What it cost.
    pub stats: QueryStats,
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueryStats {
    /// Samples that selectors handed to operations, at each step anew (`totalQueryableSamples`).
    pub total_samples: u64,
    /// Most samples held at once (`peakSamples`).
    pub peak_samples: usize,
    /// Wait for its turn.
    pub queued: Duration,
    /// Evaluation, the sorting of the result included.
    pub evaluated: Duration,
}

/// Why a query has no result. The texts are Prometheus's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The query cannot be run as it is (`bad_data`).
    #[error("{0}")]
    BadData(String),
    /// The data do not fit the query (`execution`).
    #[error("{0}")]
    Execution(String),
    /// More samples than allowed (`execution`).
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Took too long (`timeout`); where.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// Was cancelled (`canceled`); where.
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// The samples cannot be read (`internal`).
    #[error("{0}")]
    Storage(QueryableError),
}

impl QueryError {
    /// The `errorType` of the HTTP API.
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::BadData(_) => "bad_data",
            Self::Execution(_) | Self::TooManySamples => "execution",
            Self::Timeout(_) => "timeout",
            Self::Canceled(_) => "canceled",
            Self::Storage(_) => "internal",
        }
    }
}

/// What became of an engine's queries, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Evaluated now.
    pub running: u64,
    /// Ended with a value.
    pub answered: u64,
    /// Ended with an error other than those that follow.
    pub failed: u64,
    /// Took too long (`--query.timeout`).
    pub timed_out: u64,
    /// Would have held too many samples (`--query.max-samples`).
    pub too_large: u64,
    /// Nobody waited for them any more.
    pub canceled: u64,
}

/// How many queries ended how.
#[derive(Debug, Default)]
struct Ended {
    answered: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    too_large: AtomicU64,
    canceled: AtomicU64,
}

impl Ended {
    fn count(&self, result: &Result<QueryResult, QueryError>) {
        let counter = match result {
            Ok(_) => &self.answered,
            Err(QueryError::Timeout(_)) => &self.timed_out,
            Err(QueryError::TooManySamples) => &self.too_large,
            Err(QueryError::Canceled(_)) => &self.canceled,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs queries. Meant to be shared; see the module's page.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    /// Milliseconds; those of the options at first.
    subquery_step: AtomicI64,
    turns: Turns,
    ended: Ended,
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Self {
        let turns = Turns { free: Mutex::new(options.max_concurrency.max(1)), given_back: Condvar::new() };
        let subquery_step = AtomicI64::new(milliseconds(options.default_subquery_step));
        Self { options, subquery_step, turns, ended: Ended::default() }
    }

    /// Takes another step for subqueries that name none than that of the options.
    pub fn set_default_subquery_step(&self, step: Duration) {
        self.subquery_step.store(milliseconds(step), Ordering::Relaxed);
    }

    /// What it was made with.
    pub const fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// What became of the queries so far.
    pub fn stats(&self) -> EngineStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineStats {
            running: (self.options.max_concurrency.max(1) - *self.turns.lock()) as u64,
            answered: count(&self.ended.answered),
            failed: count(&self.ended.failed),
            timed_out: count(&self.ended.timed_out),
            too_large: count(&self.ended.too_large),
            canceled: count(&self.ended.canceled),
        }
    }

    /// The error of a query whose time was up before it came here; counted like any other.
    pub fn too_late(&self) -> QueryError {
        let late = Err(QueryError::Timeout("query queue"));
        self.ended.count(&late);
        QueryError::Timeout("query queue")
    }

    /// Until when a query of these options may take, as far as the clock reaches.
    pub fn deadline(&self, options: &QueryOptions) -> Option<Instant> {
        let timeout = options.timeout.map_or(self.options.timeout, |t| t.min(self.options.timeout));
        options.begun.unwrap_or_else(Instant::now).checked_add(timeout)
    }

    /// Evaluates an expression at one instant.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        at: Timestamp,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let at_ms = at.as_millis();
        self.run(storage, expr, QueryTimes { start_ms: at_ms, end_ms: at_ms, step_ms: 0 }, options)
    }

    /// Evaluates an expression from `start` to `end`, both included, every `step`.
    ///
    /// # Errors
    /// The expression is neither scalar nor instant vector, or the step is zero; else see [`QueryError`].
    pub fn range(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        (start, end): (Timestamp, Timestamp),
        step: Duration,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let value_type = expr.value_type();
        if !matches!(value_type, ValueType::Scalar | ValueType::InstantVector) {
            let shown = match value_type {
                ValueType::RangeVector => "range vector",
                other => other.as_str(),
            };
            return Err(QueryError::BadData(format!(
                "invalid expression type \"{shown}\" for range query, must be Scalar or instant Vector"
            )));
        }
        let step_ms = milliseconds(step);
        if step_ms == 0 {
            return Err(QueryError::BadData(
                "zero or negative query resolution step widths are not accepted. Try a positive integer"
                    .to_owned(),
            ));
        }
        let times = QueryTimes { start_ms: start.as_millis(), end_ms: end.as_millis(), step_ms };
        self.run(storage, expr, times, options)
    }

    fn run(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        times: QueryTimes,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let result = self.run_in_turn(storage, expr, times, options);
        self.ended.count(&result);
        result
    }

    fn run_in_turn(
        &self,
        storage: &dyn Queryable,
        expr: &Expr,
        times: QueryTimes,
        options: &QueryOptions,
    ) -> Result<QueryResult, QueryError> {
        let begun = options.begun.unwrap_or_else(Instant::now);
        let deadline = self.deadline(&QueryOptions { begun: Some(begun), ..options.clone() });
        let _turn = self.turns.take(deadline, &options.cancel)?;
        let queued = begun.elapsed();
        let lookback = options.lookback.filter(|lookback| !lookback.is_zero());
        let limits = eval::Limits {
            lookback_ms: milliseconds(lookback.unwrap_or(self.options.lookback)),
            subquery_step_ms: self.subquery_step.load(Ordering::Relaxed).max(1),
            max_samples: self.options.max_samples,
            deadline,
            cancel: options.cancel.clone(),
            delayed_name_removal: self.options.delayed_name_removal,
            type_and_unit_labels: self.options.type_and_unit_labels,
        };
        let mut result = eval::evaluate(storage, expr, times, limits)?;
        result.stats.queued = queued;
        result.stats.evaluated = begun.elapsed().saturating_sub(queued);
        Ok(result)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Who may run.
#[derive(Debug)]
struct Turns {
    free: Mutex<usize>,
    given_back: Condvar,
}

impl Turns {
    /// A counter is never left half changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, deadline: Option<Instant>, cancel: &Cancel) -> Result<Turn<'_>, QueryError> {
        let mut free = self.lock();
        while *free == 0 {
            if cancel.is_canceled() {
                return Err(QueryError::Canceled("query queue"));
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return Err(QueryError::Timeout("query queue"));
            }
            (free, _) =
                self.given_back.wait_timeout(free, CANCEL_POLL).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Ok(Turn(self))
    }
}

/// A turn; given back when dropped.
struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_queries_is_counted() {
        let engine = Engine::new(EngineOptions { max_samples: 1, ..EngineOptions::default() });
        let memory = crate::promql::memory::Memory::default();
        let run = |text: &str, options: &QueryOptions| {
            let expr = crate::promql::parse(text, &crate::promql::ParseOptions::all()).expect(text);
            engine.instant(&memory, &expr, Timestamp::from_millis(0), options).map(|r| r.value)
        };
        let (plain, canceled) = (QueryOptions::default(), QueryOptions::default());
        canceled.cancel.cancel();
        let late =
            QueryOptions { begun: Some(Instant::now()), timeout: Some(Duration::ZERO), ..plain.clone() };
        assert!(run("1", &plain).is_ok());
        assert!(run("vector(1)[5m:1s]", &plain).is_err());
        assert!(run("label_join(vector(1), \"\", \"\", \"a\")", &plain).is_err());
        assert!(run("vector(1)", &late).is_err());
        assert!(run("vector(1)", &canceled).is_err());
        assert_eq!(engine.too_late().error_type(), "timeout");
        let expected =
            EngineStats { running: 0, answered: 1, failed: 1, timed_out: 2, too_large: 1, canceled: 1 };
        assert_eq!(engine.stats(), expected);
    }

    #[test]
    fn who_waits_too_long_or_goes_leaves_the_queue() {
        let turns = Turns { free: Mutex::new(1), given_back: Condvar::new() };
        let cancel = Cancel::default();
        let turn = turns.take(None, &cancel).expect("free");
        let late = turns.take(Some(Instant::now()), &cancel).err().expect("taken");
        assert_eq!(late.to_string(), "query timed out in query queue");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.take(None, &cancel).map(|_| ()));
            drop(turn);
            waiting.join().expect("no panic").expect("its turn comes");
        });
        let _turn = turns.take(None, &cancel).expect("free again");
        cancel.cancel();
        let gone = turns.take(None, &cancel).err().expect("taken");
        assert_eq!(
            (gone.to_string().as_str(), gone.error_type()),
            ("query was canceled in query queue", "canceled")
        );
    }
}
