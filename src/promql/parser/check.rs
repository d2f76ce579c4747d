//! The check of a tree whose syntax is right: types, numbers of arguments, what goes with what.
//!
//! Source: the rules and error texts of Prometheus 3.

use std::sync::Arc;

use super::super::ast::{
    Aggregate, Binary, Call, Cardinality, Expr, Subquery, Unary, ValueType, VectorSelector,
};
use super::super::functions::Variadic;
use super::Parser;
use crate::model::{METRIC_NAME, Quoted};

const SCALAR: ValueType = ValueType::Scalar;
const VECTOR: ValueType = ValueType::InstantVector;

/// Checks an expression and what it consists of, and says what it evaluates to. Takes away what binary expressions
/// know about matching where there is nothing to match.
pub(super) fn check(expr: &mut Expr, parser: &mut Parser<'_>) -> ValueType {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::VectorSelector(selector) => check_selector(selector, parser),
        Expr::MatrixSelector(matrix) => check_selector(&matrix.selector, parser),
        Expr::Subquery(subquery) => check_subquery(subquery, parser),
        Expr::Unary(unary) => return check_unary(unary, parser),
        Expr::Binary(binary) => return check_binary(binary, parser),
        Expr::Aggregate(aggregate) => check_aggregate(aggregate, parser),
        Expr::Call(call) => check_call(call, parser),
        Expr::Paren(paren) => return check(&mut paren.expr, parser),
    }
    expr.value_type()
}

fn expect_type(expr: &mut Expr, wanted: ValueType, context: &str, parser: &mut Parser<'_>) {
    let given = check(expr, parser);
    if given != wanted {
        let (wanted, given) = (wanted.as_str(), given.as_str());
        parser.error(expr.span(), format!("expected type {wanted} in {context}, got {given}"));
    }
}

fn check_selector(selector: &VectorSelector, parser: &mut Parser<'_>) {
    if let Some(name) = &selector.name {
        let inside = selector.matchers.len().saturating_sub(1);
        for matcher in selector.matchers.iter().take(inside).filter(|m| m.name() == METRIC_NAME) {
            let (name, other) = (Quoted(name), Quoted(matcher.pattern()));
            parser.error(selector.span, format!("metric name must not be set twice: {name} or {other}"));
        }
    } else if selector.matchers.iter().all(crate::model::Matcher::matches_empty) {
        parser.error(selector.span, "vector selector must contain at least one non-empty matcher");
    }
}

fn check_subquery(subquery: &mut Subquery, parser: &mut Parser<'_>) {
    let given = match check(&mut subquery.expr, parser) {
        ValueType::InstantVector => return,
        // Here Prometheus prints its own names of types.
        ValueType::RangeVector => "matrix",
        other => other.as_str(),
    };
    parser.error(subquery.span, format!("subquery is only allowed on instant vector, got {given} instead"));
}

fn check_unary(unary: &mut Unary, parser: &mut Parser<'_>) -> ValueType {
    let given = check(&mut unary.expr, parser);
    if given != SCALAR && given != VECTOR {
        let given = given.as_str();
        let message = format!(
            "unary expression only allowed on expressions of type scalar or instant vector, got \"{given}\""
        );
        parser.error(unary.span, message);
    }
    given
}

fn check_binary(binary: &mut Binary, parser: &mut Parser<'_>) -> ValueType {
    let (left, right) = (check(&mut binary.left, parser), check(&mut binary.right, parser));
    let (op, span, op_span) = (binary.op, binary.span, binary.op_span);
    let are_scalars = (left, right) == (SCALAR, SCALAR);
    if binary.return_bool && !op.is_comparison() {
        parser.error(op_span, "bool modifier can only be used on comparison operators");
    }
    if op.is_comparison() && !binary.return_bool && are_scalars {
        parser.error(op_span, "comparisons between scalars must use BOOL modifier");
    }
    if let Some(matching) = &mut binary.matching {
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        for label in matching.labels.iter().filter(|label| matching.on && matching.include.contains(label)) {
            let label = Quoted(label);
            parser.error(op_span, format!("label {label} must not occur in ON and GROUP clause at once"));
        }
    }
    for (side, expr) in [(left, &binary.left), (right, &binary.right)] {
        if side != SCALAR && side != VECTOR {
            parser.error(expr.span(), "binary expression must contain only scalar and instant vector types");
        }
    }
    check_matching(binary, (left, right) == (VECTOR, VECTOR), parser);
    if (left == SCALAR || right == SCALAR) && op.is_set() {
        let op = op.as_str();
        parser.error(span, format!("set operator \"{op}\" not allowed in binary scalar expression"));
    }
    if are_scalars { SCALAR } else { VECTOR }
}

fn check_matching(binary: &mut Binary, are_vectors: bool, parser: &mut Parser<'_>) {
    let Some(matching) = &binary.matching else { return };
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !are_vectors {
        if !matching.labels.is_empty() {
            parser.error(binary.span, "vector matching only allowed between instant vectors");
        }
        if fills {
            parser.error(binary.span, "filling in missing series only allowed between instant vectors");
        }
        binary.matching = None;
    } else if binary.op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            let op = binary.op.as_str();
            parser.error(binary.span, format!("no grouping allowed for \"{op}\" operation"));
        }
        if fills {
            parser.error(binary.span, "filling in missing series not allowed for set operators");
        }
    }
}

fn check_aggregate(aggregate: &mut Aggregate, parser: &mut Parser<'_>) {
    expect_type(&mut aggregate.expr, VECTOR, "aggregation expression", parser);
    if let (Some(parameter), Some(wanted)) = (&mut aggregate.parameter, aggregate.op.parameter()) {
        expect_type(parameter, wanted, "aggregation parameter", parser);
    }
}

fn check_call(call: &mut Call, parser: &mut Parser<'_>) {
    let (function, given) = (call.function, call.args.len());
    let (all, name) = (function.args.len(), Quoted(function.name));
    let (least, most) = match function.variadic {
        Variadic::No => (all, Some(all)),
        Variadic::Optional(count) => (all.saturating_sub(count), Some(all)),
        Variadic::Any => (all.saturating_sub(1), None),
    };
    let wrong = match most {
        Some(most) if least == most && given != all => Some(("", all)),
        Some(most) if given > most => Some(("at most ", most)),
        _ if given < least => Some(("at least ", least)),
        _ => None,
    };
    if let Some((bound, wanted)) = wrong {
        let message = format!("expected {bound}{wanted} argument(s) in call to {name}, got {given}");
        parser.error(call.span, message);
    }
    let context = format!("call to function {name}");
    for (at, arg) in call.args.iter_mut().enumerate() {
        let last = function.args.last().filter(|_| function.variadic != Variadic::No);
        let Some(wanted) = function.args.get(at).or(last) else { break };
        match arg {
            Expr::VectorSelector(selector) if function.name == "info" && at == 1 => {
                check_info_selector(selector, parser);
            }
            arg => expect_type(arg, *wanted, &context, parser),
        }
    }
}

/// `info`'s second argument says which labels to add, by matchers that may all fit the empty text.
fn check_info_selector(selector: &Arc<VectorSelector>, parser: &mut Parser<'_>) {
    if selector.name.is_some() {
        parser.error(selector.span, "expected label selectors only, got vector selector instead");
    }
}
