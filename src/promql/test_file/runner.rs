//! Runs a test file: every query as written, tied to its instant with `@`, and as part of a range.
//!
//! Invariant: a query passes only if all of its runs do. The engine is set as Prometheus sets its own for these files:
//! names are dropped at the end, everything experimental is on.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::FileError;
use super::compare::{self, Difference};
use super::reader::{Command, Eval, RemarkKind, TestFile, When};
use super::series::Item;
use super::storage::{TestStorage, Watched};
use super::{annotations, at_modifier};
use crate::model::Timestamp;
use crate::promql::ast::Expr;
use crate::promql::engine::{Engine, EngineOptions, QueryError, QueryOptions, QueryResult};
use crate::promql::value::{Value, VectorSample};
use crate::promql::{ParseOptions, parse};

/// Distance of the steps around an instant when it is evaluated as part of a range.
const AROUND_MS: i64 = 60_000;

/// What became of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All runs gave what was expected.
    Passed,
    /// A run gave something else.
    Failed {
        /// Which run, if not the query as written.
        run: String,
        /// What was expected.
        expected: String,
        /// What came.
        got: String,
    },
    /// It needs native histograms.
    Skipped,
}

/// What became of a file's queries.
#[derive(Debug, Default)]
pub struct Report {
    /// Line, expression, outcome.
    pub evals: Vec<(usize, String, Outcome)>,
    /// Blocks that could not be read or loaded; each counts as failed.
    pub errors: Vec<FileError>,
}

impl Report {
    /// Queries that gave what was expected.
    pub fn passed(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Passed)
    }

    /// Queries that did not, and blocks that are wrong.
    pub fn failed(&self) -> usize {
        self.errors.len() + self.count(|outcome| matches!(outcome, Outcome::Failed { .. }))
    }

    /// Queries that need native histograms.
    pub fn skipped(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Skipped)
    }

    fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.evals.iter().filter(|(_, _, outcome)| of(outcome)).count()
    }
}

/// Runs all commands of a file in order.
pub fn run(file: &TestFile) -> Report {
    let engine = Engine::new(EngineOptions {
        max_samples: 10_000,
        timeout: Duration::from_secs(100),
        delayed_name_removal: true,
        ..EngineOptions::default()
    });
    let mut storage = TestStorage::default();
    let mut report = Report::default();
    for command in &file.commands {
        match command {
            Err(error) => report.errors.push(error.clone()),
            Ok(Command::Clear) => storage = TestStorage::default(),
            Ok(Command::Load(load)) => {
                if let Err((line, message)) = storage.load(load) {
                    report.errors.push(FileError { line, column: 1, message });
                }
            }
            Ok(Command::Eval(eval)) => {
                let outcome = Run { engine: &engine, storage: &storage, eval }.outcome();
                report.evals.push((eval.line, eval.expression.clone(), outcome));
            }
        }
    }
    report
}

/// One query and all it runs with.
struct Run<'a> {
    engine: &'a Engine,
    storage: &'a TestStorage,
    eval: &'a Eval,
}

/// Why a run ends without success.
enum Stop {
    Skip,
    Differs(Difference),
}

impl From<Difference> for Stop {
    fn from(difference: Difference) -> Self {
        Self::Differs(difference)
    }
}

fn differs<T>(expected: impl Into<String>, got: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Differs(Difference { expected: expected.into(), got: got.into() }))
}

impl Run<'_> {
    fn outcome(&self) -> Outcome {
        let expected_histograms = self.eval.expected.series.iter().flat_map(|(_, line)| &line.items);
        if expected_histograms.into_iter().any(|item| matches!(item, Item::Histogram)) {
            return Outcome::Skipped;
        }
        let mut run = String::new();
        match self.all_runs(&mut run) {
            Ok(()) => Outcome::Passed,
            Err(Stop::Skip) => Outcome::Skipped,
            Err(Stop::Differs(Difference { expected, got })) => Outcome::Failed { run, expected, got },
        }
    }

    fn all_runs(&self, run: &mut String) -> Result<(), Stop> {
        let expr = match parse(&self.eval.expression, &ParseOptions::all()) {
            Ok(expr) => expr,
            Err(errors) => return self.check_failure(&errors.to_string()),
        };
        let When::Instant(at_ms) = self.eval.when else { return self.range(&expr) };
        self.instant(&expr, at_ms)?;
        self.around(&expr, at_ms, run)?;
        let Some(tied) = at_modifier::tied_to(&expr, at_ms) else { return Ok(()) };
        let printed = tied.to_string();
        *run = format!("printed as {printed}");
        match parse(&printed, &ParseOptions::all()) {
            Ok(again) if again.same_as(&tied) => {}
            Ok(again) => return differs(printed, again.to_string()),
            Err(errors) => return differs(printed, errors.to_string()),
        }
        for other_ms in at_modifier::other_instants(at_ms) {
            *run = format!("{printed} at {other_ms} ms");
            self.instant(&tied, other_ms)?;
            self.around(&tied, other_ms, run)?;
        }
        run.clear();
        Ok(())
    }

    /// Evaluates, and stops where native histograms are needed.
    fn evaluate(&self, expr: &Expr, when: When) -> Result<Result<QueryResult, QueryError>, Stop> {
        let watched = Watched::new(self.storage);
        let (at, options) = (Timestamp::from_millis, QueryOptions::default());
        let result = match when {
            When::Instant(at_ms) => self.engine.instant(&watched, expr, at(at_ms), &options),
            When::Range(from, to, step) => {
                let step = Duration::from_millis(u64::try_from(step).unwrap_or(0));
                self.engine.range(&watched, expr, (at(from), at(to)), step, &options)
            }
        };
        if watched.met_histograms() { Err(Stop::Skip) } else { Ok(result) }
    }

    fn is_to_fail(&self) -> bool {
        self.eval.expected.remarks.iter().any(|remark| remark.kind == RemarkKind::Fail)
    }

    fn check_failure(&self, error: &str) -> Result<(), Stop> {
        let Some(remark) = self.eval.expected.remarks.iter().find(|r| r.kind == RemarkKind::Fail) else {
            return differs("a result", format!("error: {error}"));
        };
        match &remark.text {
            Some(text) if !text.fits(error) => {
                differs(format!("an error: {text:?}"), format!("error: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// The query as written, or tied to its instant: value, error, annotations.
    fn instant(&self, expr: &Expr, at_ms: i64) -> Result<(), Stop> {
        self.check(self.evaluate(expr, When::Instant(at_ms))?, self.eval.when)
    }

    fn range(&self, expr: &Expr) -> Result<(), Stop> {
        self.check(self.evaluate(expr, self.eval.when)?, self.eval.when)
    }

    fn check(&self, result: Result<QueryResult, QueryError>, when: When) -> Result<(), Stop> {
        let result = match result {
            Ok(result) => result,
            Err(error) => return self.check_failure(&error.to_string()),
        };
        if self.is_to_fail() {
            return differs("an error", "a result");
        }
        let expected = &self.eval.expected;
        if let Err(message) =
            annotations::check(&expected.remarks, &result.annotations, &self.eval.expression)
        {
            return differs("annotations as said", message);
        }
        Ok(compare::compare(expected, when, &result.value)?)
    }

    /// The middle of a range query around an instant gives what the instant query gives.
    fn around(&self, expr: &Expr, at_ms: i64, run: &mut String) -> Result<(), Stop> {
        let expected = &self.eval.expected;
        let has_no_range = expected.ordered || expected.string.is_some() || expected.range_vector.is_some();
        if has_no_range || self.is_to_fail() || depends_on_range(&self.eval.expression) {
            return Ok(());
        }
        if !run.is_empty() {
            run.push_str(", ");
        }
        run.push_str("as range query");
        let around = When::Range(at_ms - AROUND_MS, at_ms + AROUND_MS, AROUND_MS);
        let result = match self.evaluate(expr, around)? {
            Ok(result) => result,
            Err(error) => return differs("a result", format!("error: {error}")),
        };
        let Value::Matrix(series) = result.value else { return differs("series", "another type of value") };
        if !series.is_sorted_by(|a, b| a.labels < b.labels) {
            return differs("series sorted by labels", "another order");
        }
        let middle: Vec<VectorSample> = series
            .into_iter()
            .filter_map(|series| {
                let (_, value) = series.samples.iter().find(|(t, _)| *t == at_ms)?;
                Some(VectorSample { labels: series.labels, drop_name: false, at_ms, value })
            })
            .collect();
        let value = match (expected.scalar, middle.as_slice()) {
            (Some(_), [only]) => Value::Scalar { at_ms, value: only.value },
            _ => Value::Vector(middle),
        };
        compare::compare(expected, When::Instant(at_ms), &value)?;
        run.clear();
        Ok(())
    }
}

/// Whether an expression asks for the bounds of its own query, which are others in a range.
fn depends_on_range(expression: &str) -> bool {
    static ASKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(start|end|range|step)\(\)").ok());
    ASKS.as_ref().is_some_and(|asks| asks.is_match(expression))
}
