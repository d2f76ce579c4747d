//! The evaluator: an expression over all steps of a query at once.
//!
//! Invariants: every operation takes and gives whole columns, so labels are looked at once per series, not once per
//! step; what does not depend on the step is evaluated once. The result is that of Prometheus, which goes step by
//! step, down to the order of additions.
//!
//! Source: Prometheus documentation, "Querying"; its promqltest files.

mod aggregate;
mod arithmetic;
mod budget;
mod call;
mod column;
mod finish;
mod histogram;
mod matching;
mod operators;
mod pieces;
mod range;
mod rank;
mod reader;
mod select;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timing;

use std::time::Instant;

use self::budget::Budget;
use self::column::{Column, Steps};
pub(super) use self::timing::QueryTimes;
use super::annotations::Annotations;
use super::ast::{Expr, ValueType};
use super::engine::{Cancel, QueryError, QueryResult, QueryStats};
use crate::model::Queryable;

/// What holds for one query.
pub(super) struct Limits {
    /// How far back a selector finds the sample of an instant, milliseconds.
    pub(super) lookback_ms: i64,
    /// Step of a subquery that names none, milliseconds.
    pub(super) subquery_step_ms: i64,
    /// Most samples held at once.
    pub(super) max_samples: usize,
    /// When its time is up.
    pub(super) deadline: Option<Instant>,
    /// Ends it early.
    pub(super) cancel: Cancel,
    /// Names go at the end of the query.
    pub(super) delayed_name_removal: bool,
    /// `__type__` says what a counter is.
    pub(super) type_and_unit_labels: bool,
}

/// Evaluates an expression.
pub(super) fn evaluate(
    storage: &dyn Queryable,
    expr: &Expr,
    times: QueryTimes,
    limits: Limits,
) -> Result<QueryResult, QueryError> {
    let budget = Budget::new(limits.max_samples, limits.deadline, limits.cancel.clone());
    let mut evaluator = Evaluator { storage, times, limits, budget, annotations: Annotations::new() };
    let value = evaluator.query(expr)?;
    let stats = QueryStats {
        total_samples: evaluator.budget.read(),
        peak_samples: evaluator.budget.peak(),
        ..QueryStats::default()
    };
    Ok(QueryResult { value, annotations: evaluator.annotations, stats })
}

/// What an expression is over the steps of an evaluation. Ranges are made where a function takes them.
enum Evaluated {
    /// One number for each step.
    Scalar(Vec<f64>),
    /// A text.
    String(String),
    /// Series.
    Vector(Vec<Column>),
}

/// One query while it runs.
struct Evaluator<'a> {
    storage: &'a dyn Queryable,
    times: QueryTimes,
    limits: Limits,
    budget: Budget,
    annotations: Annotations,
}

impl Evaluator<'_> {
    /// Evaluates a part of the query over some steps.
    fn eval(&mut self, expr: &Expr, steps: &Steps) -> Result<Evaluated, QueryError> {
        self.budget.check()?;
        // A slot costs half a sample: more steps than that could not be held by even one series.
        self.budget.touch(steps.count / 2)?;
        if steps.count == 0 {
            return Ok(match expr.value_type() {
                ValueType::Scalar => Evaluated::Scalar(Vec::new()),
                ValueType::String => Evaluated::String(String::new()),
                ValueType::InstantVector | ValueType::RangeVector => Evaluated::Vector(Vec::new()),
            });
        }
        if steps.count > 1 && timing::evaluate_once(expr) {
            let once = self.eval(expr, &Steps::single(steps.start_ms))?;
            return self.repeat(once, steps.count);
        }
        match expr {
            Expr::Number(number) => Ok(Evaluated::Scalar(vec![number.value; steps.count])),
            Expr::String(text) => Ok(Evaluated::String(text.value.clone())),
            Expr::VectorSelector(selector) => self.select(selector, steps).map(Evaluated::Vector),
            Expr::Unary(unary) => self.eval_unary(unary, steps),
            Expr::Binary(binary) => self.eval_binary(binary, steps),
            Expr::Aggregate(aggregate) => self.eval_aggregate(aggregate, steps).map(Evaluated::Vector),
            Expr::Call(call) => self.eval_call(call, steps),
            Expr::Paren(paren) => self.eval(&paren.expr, steps),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                Err(QueryError::Execution("internal error: a range vector outside of a function".to_owned()))
            }
        }
    }

    /// What was evaluated at one step, for all of them.
    fn repeat(&mut self, once: Evaluated, count: usize) -> Result<Evaluated, QueryError> {
        Ok(match once {
            Evaluated::Scalar(values) => {
                Evaluated::Scalar(vec![values.first().copied().unwrap_or(f64::NAN); count])
            }
            Evaluated::String(text) => Evaluated::String(text),
            Evaluated::Vector(mut columns) => {
                columns.retain(|column| !column.is_empty());
                self.budget.hold(columns.len().saturating_mul(count.saturating_sub(1)))?;
                for column in &mut columns {
                    column.values = vec![column.at(0); count];
                }
                Evaluated::Vector(columns)
            }
        })
    }

    /// An expression that gives a number.
    fn eval_scalar(&mut self, expr: &Expr, steps: &Steps) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr, steps)? {
            Evaluated::Scalar(values) => Ok(values),
            _ => Err(mistyped(ValueType::Scalar)),
        }
    }

    /// An expression that gives series.
    fn eval_vector(&mut self, expr: &Expr, steps: &Steps) -> Result<Vec<Column>, QueryError> {
        match self.eval(expr, steps)? {
            Evaluated::Vector(columns) => Ok(columns),
            _ => Err(mistyped(ValueType::InstantVector)),
        }
    }

    /// An expression that gives a text.
    fn eval_string(&mut self, expr: &Expr, steps: &Steps) -> Result<String, QueryError> {
        match self.eval(expr, steps)? {
            Evaluated::String(text) => Ok(text),
            _ => Err(mistyped(ValueType::String)),
        }
    }

    /// Takes the metric names from series whose values are no longer the metric's own, now or at the end.
    fn drop_names(&self, columns: &mut [Column]) {
        for column in columns {
            match self.limits.delayed_name_removal {
                true => column.drop_name = true,
                false => column.labels = column::without_metric_schema(&column.labels),
            }
        }
    }

    /// The same, and series that become one are joined; at one step they must not meet.
    fn drop_names_and_merge(&self, mut columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
        self.drop_names(&mut columns);
        match self.limits.delayed_name_removal {
            true => Ok(columns),
            false => column::merge_duplicates(columns),
        }
    }

    /// Gives back the budget of columns that are no longer held.
    fn release(&mut self, columns: &[Column]) {
        self.budget.release(column::cost(columns));
    }
}

/// The parser lets no such expression through.
fn mistyped(wanted: ValueType) -> QueryError {
    QueryError::Execution(format!("internal error: an expression is not of type {}", wanted.as_str()))
}
