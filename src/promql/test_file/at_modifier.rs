//! The same expression tied to an instant with `@`, so that it must give the same whenever it is evaluated.

use std::sync::Arc;

use crate::promql::ast::{At, Expr, TimeShift};

/// Functions whose result depends on the instant of the evaluation even over data of a fixed one.
const DEPENDENT: [&str; 15] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The expression with `@` put on every selector and subquery that has none, but not within a subquery that has it;
/// `None` where the result would depend on the instant of the evaluation all the same.
pub(super) fn tied_to(expr: &Expr, at_ms: i64) -> Option<Expr> {
    let mut tied = expr.clone();
    tie(&mut tied, at_ms).then_some(tied)
}

/// Instants at which the tied expression must give the same.
pub(super) fn other_instants(at_ms: i64) -> Vec<i64> {
    match at_ms {
        0 => vec![-1_000, 0, 1_000],
        at => vec![-10 * at, 0, at / 5, at, 10 * at],
    }
}

fn tie(expr: &mut Expr, at_ms: i64) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::VectorSelector(selector) => {
            set(&mut Arc::make_mut(selector).time, at_ms);
            true
        }
        Expr::MatrixSelector(matrix) => {
            set(&mut Arc::make_mut(matrix).selector.time, at_ms);
            true
        }
        Expr::Subquery(subquery) => {
            set(&mut subquery.time, at_ms);
            // Within, the instants are those of the subquery's steps.
            true
        }
        Expr::Unary(unary) => tie(&mut unary.expr, at_ms),
        Expr::Paren(paren) => tie(&mut paren.expr, at_ms),
        Expr::Binary(binary) => {
            let left = tie(&mut binary.left, at_ms);
            tie(&mut binary.right, at_ms) && left
        }
        Expr::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.as_mut().is_none_or(|p| tie(p, at_ms));
            tie(&mut aggregate.expr, at_ms) && parameter
        }
        Expr::Call(call) => {
            let independent = !DEPENDENT.contains(&call.function.name);
            call.args.iter_mut().fold(independent, |so_far, argument| tie(argument, at_ms) && so_far)
        }
    }
}

fn set(time: &mut TimeShift, at_ms: i64) {
    if !matches!(time.at, Some(At::Instant(_))) {
        time.at = Some(At::Instant(at_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ParseOptions, parse};

    #[test]
    fn selectors_without_an_instant_get_one() {
        for (text, expected) in [
            ("m", Some("m @ 60.000")),
            ("m @ 5", Some("m @ 5.000")),
            ("sum(rate(m[5m])) + m offset 1m", Some("sum(rate(m[5m] @ 60.000)) + m @ 60.000 offset 1m")),
            ("max_over_time(rate(m[1m])[5m:])", Some("max_over_time(rate(m[1m])[5m:] @ 60.000)")),
            ("vector(time())", None),
            ("topk(scalar(m), m)", Some("topk(scalar(m @ 60.000), m @ 60.000)")),
            ("m @ start()", Some("m @ 60.000")),
        ] {
            let expr = parse(text, &ParseOptions::all()).expect(text);
            assert_eq!(tied_to(&expr, 60_000).map(|e| e.to_string()).as_deref(), expected, "{text}");
        }
    }
}
