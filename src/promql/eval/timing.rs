//! When a selector looks: `offset`, `@`, durations that depend on the query, and what does not depend on the step.
//!
//! Source: Prometheus documentation, "Querying basics" (offset and `@` modifiers) and "Feature flags" (duration
//! expressions).

use super::super::ast::{
    At, BinaryOp, Call, DurationExpr, DurationKind, Expr, Subquery, TimeShift, UnaryOp, ValueType,
};
use super::super::engine::QueryError;
use super::arithmetic::pow;
use super::column::Steps;

/// The query's own instants, which `start()`, `end()`, `step()` and `range()` mean wherever they stand.
#[derive(Clone, Copy, Debug)]
pub(in crate::promql) struct QueryTimes {
    /// The first step, milliseconds.
    pub(in crate::promql) start_ms: i64,
    /// The end as asked for, milliseconds.
    pub(in crate::promql) end_ms: i64,
    /// Between two steps, milliseconds; 0 of an instant query.
    pub(in crate::promql) step_ms: i64,
}

/// Where a selector's clock stands, compared with the step's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    at_ms: Option<i64>,
    offset_ms: i64,
}

impl Shift {
    /// The instant that a selector takes for a step's.
    pub(super) fn apply(&self, step_ms: i64) -> i64 {
        self.at_ms.unwrap_or(step_ms).saturating_sub(self.offset_ms)
    }

    /// The instants that it takes for an evaluation's first and last.
    pub(super) fn bounds(&self, steps: &Steps) -> (i64, i64) {
        (self.apply(steps.start_ms), self.apply(steps.last_ms()))
    }

    /// The instants that it takes for all steps: their own, shifted; `None` where `@` fixes one.
    pub(super) fn steps(&self, steps: &Steps) -> Option<Steps> {
        let shifted = Steps { start_ms: self.apply(steps.start_ms), ..*steps };
        self.at_ms.is_none().then_some(shifted)
    }
}

impl QueryTimes {
    /// What `@` and `offset` amount to.
    pub(super) fn shift(&self, time: &TimeShift) -> Result<Shift, QueryError> {
        let at_ms = time.at.map(|at| match at {
            At::Instant(ms) => ms,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        });
        let offset_ms = time.offset.as_ref().map_or(Ok(0), |offset| self.duration_ms(offset, true))?;
        Ok(Shift { at_ms, offset_ms })
    }

    /// A duration in milliseconds.
    pub(super) fn duration_ms(
        &self,
        duration: &DurationExpr,
        may_be_negative: bool,
    ) -> Result<i64, QueryError> {
        if let DurationKind::Literal(ms) = duration.kind {
            return Ok(ms);
        }
        let seconds = self.seconds(duration)?;
        if seconds <= 0.0 && !may_be_negative {
            return Err(placed(duration, "duration must be greater than 0"));
        }
        let ms = (seconds * 1_000.0).trunc();
        // Nanoseconds in 64 bits, as durations are everywhere else.
        if ms.is_nan() || ms.abs() > 9_223_372_036_854.0 {
            return Err(placed(duration, "duration is out of range"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and bounded just above")]
        Ok(ms as i64)
    }

    #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^53 milliseconds")]
    fn seconds(&self, duration: &DurationExpr) -> Result<f64, QueryError> {
        Ok(match &duration.kind {
            DurationKind::Literal(ms) => *ms as f64 / 1_000.0,
            DurationKind::Number(seconds) => *seconds,
            DurationKind::Step => self.step_ms as f64 / 1_000.0,
            DurationKind::Range => self.end_ms.saturating_sub(self.start_ms) as f64 / 1_000.0,
            DurationKind::Paren(inner) | DurationKind::Unary(UnaryOp::Plus, inner) => self.seconds(inner)?,
            DurationKind::Unary(UnaryOp::Minus, inner) => -self.seconds(inner)?,
            DurationKind::Min(a, b) => self.seconds(a)?.min(self.seconds(b)?),
            DurationKind::Max(a, b) => self.seconds(a)?.max(self.seconds(b)?),
            DurationKind::Binary(op, a, b) => {
                let (a, b) = (self.seconds(a)?, self.seconds(b)?);
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div if b == 0.0 => return Err(placed(duration, "division by zero")),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return Err(placed(duration, "modulo by zero")),
                    BinaryOp::Mod => a % b,
                    BinaryOp::Pow => pow(a, b),
                    _ => return Err(placed(duration, "unexpected duration expression operator")),
                }
            }
        })
    }
}

fn placed(duration: &DurationExpr, text: &str) -> QueryError {
    QueryError::BadData(format!("{}:{}: {text}", duration.span.start, duration.span.end))
}

/// The steps of a subquery: whole multiples of its own step, within what all windows cover.
pub(super) fn subquery_steps(outer_first_ms: i64, outer_last_ms: i64, range_ms: i64, step_ms: i64) -> Steps {
    let step_ms = step_ms.max(1);
    let before = outer_first_ms.saturating_sub(range_ms);
    let mut start_ms = step_ms.saturating_mul(before / step_ms);
    if start_ms <= before {
        start_ms = start_ms.saturating_add(step_ms);
    }
    Steps::between(start_ms, outer_last_ms, step_ms)
}

/// Functions whose result depends on the instant even where no argument does.
fn depends_on_step(call: &Call) -> bool {
    matches!(
        call.function.name,
        "days_in_month"
            | "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "hour"
            | "minute"
            | "month"
            | "year"
            | "predict_linear"
            | "time"
            | "timestamp"
            | "info"
    )
}

/// Whether an expression has the same value at every step, so that one evaluation does for all.
pub(super) fn is_step_invariant(expr: &Expr) -> bool {
    let subquery_is = |subquery: &Subquery| subquery.time.at.is_some();
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::VectorSelector(selector) => selector.time.at.is_some(),
        Expr::MatrixSelector(matrix) => matrix.selector.time.at.is_some(),
        Expr::Subquery(subquery) => subquery_is(subquery),
        Expr::Unary(unary) => is_step_invariant(&unary.expr),
        Expr::Paren(paren) => is_step_invariant(&paren.expr),
        Expr::Binary(binary) => is_step_invariant(&binary.left) && is_step_invariant(&binary.right),
        Expr::Aggregate(aggregate) => {
            is_step_invariant(&aggregate.expr) && aggregate.parameter.as_ref().is_none_or(is_step_invariant)
        }
        Expr::Call(call) => !depends_on_step(call) && call.args.iter().all(is_step_invariant),
    }
}

/// Whether it is worth evaluating once: a literal is as cheap at every step.
pub(super) fn evaluate_once(expr: &Expr) -> bool {
    !matches!(expr, Expr::Number(_) | Expr::String(_))
        && expr.value_type() != ValueType::RangeVector
        && is_step_invariant(expr)
}

#[cfg(test)]
mod tests {
    use super::super::super::ast::Span;
    use super::*;

    fn duration(kind: DurationKind) -> DurationExpr {
        DurationExpr { kind, span: Span { start: 3, end: 9 } }
    }

    fn boxed(kind: DurationKind) -> Box<DurationExpr> {
        Box::new(duration(kind))
    }

    #[test]
    fn durations_are_computed_from_the_query() {
        let times = QueryTimes { start_ms: 10_000, end_ms: 70_000, step_ms: 15_000 };
        let of = |kind| times.duration_ms(&duration(kind), false).map_err(|e| e.to_string());
        assert_eq!(of(DurationKind::Step), Ok(15_000));
        assert_eq!(of(DurationKind::Range), Ok(60_000));
        let twice =
            DurationKind::Binary(BinaryOp::Mul, boxed(DurationKind::Step), boxed(DurationKind::Number(2.0)));
        assert_eq!(of(twice), Ok(30_000));
        let least = DurationKind::Min(boxed(DurationKind::Literal(5_000)), boxed(DurationKind::Range));
        assert_eq!(of(least), Ok(5_000));
        let negative = DurationKind::Unary(UnaryOp::Minus, boxed(DurationKind::Step));
        assert_eq!(of(negative), Err("3:9: duration must be greater than 0".into()));
        let by_zero =
            DurationKind::Binary(BinaryOp::Div, boxed(DurationKind::Step), boxed(DurationKind::Number(0.0)));
        assert_eq!(of(by_zero), Err("3:9: division by zero".into()));
    }

    #[test]
    fn subqueries_are_aligned_with_their_step() {
        let starts = |first, range| subquery_steps(first, 100, range, 10).start_ms;
        assert_eq!((starts(65, 30), starts(60, 30), starts(5, 30), starts(0, 30)), (40, 40, -20, -20));
        assert_eq!(subquery_steps(12, 12, 1, 60).count, 0);
    }
}
