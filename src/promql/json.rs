//! The tree as JSON, as Prometheus's `/api/v1/parse_query` answers it.
//!
//! Source: that API; durations are milliseconds, numbers are texts, what a query must resolve first is 0.

use serde_json::{Value, json};

use super::ast::{
    At, Cardinality, DurationExpr, DurationKind, Edges, Expr, TimeShift, ValueType, VectorMatching,
    VectorSelector,
};
use super::functions::{Function, Variadic};
use super::printer::Float;
use crate::model::Matcher;

/// The tree below an expression.
pub fn to_json(expr: &Expr) -> Value {
    match expr {
        Expr::Number(number) => json!({"type": "numberLiteral", "val": Float(number.value).to_string()}),
        Expr::String(string) => json!({"type": "stringLiteral", "val": string.value}),
        Expr::Paren(paren) => json!({"type": "parenExpr", "expr": to_json(&paren.expr)}),
        Expr::Unary(unary) => {
            json!({"type": "unaryExpr", "op": unary.op.as_str(), "expr": to_json(&unary.expr)})
        }
        Expr::Binary(binary) => json!({
            "type": "binaryExpr",
            "op": binary.op.as_str(),
            "lhs": to_json(&binary.left),
            "rhs": to_json(&binary.right),
            "matching": binary.matching.as_ref().map(matching),
            "bool": binary.return_bool,
        }),
        Expr::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.as_str(),
            "expr": to_json(&aggregate.expr),
            "param": aggregate.parameter.as_ref().map(to_json),
            "grouping": aggregate.grouping,
            "without": aggregate.without,
        }),
        Expr::Call(call) => json!({
            "type": "call",
            "func": function(call.function),
            "args": call.args.iter().map(to_json).collect::<Vec<_>>(),
        }),
        Expr::VectorSelector(vector) => selector("vectorSelector", vector, None),
        Expr::MatrixSelector(matrix) => selector("matrixSelector", &matrix.selector, Some(&matrix.range)),
        Expr::Subquery(subquery) => {
            let mut node = json!({
                "type": "subquery",
                "expr": to_json(&subquery.expr),
                "range": milliseconds(Some(&subquery.range)),
                "step": milliseconds(subquery.step.as_ref()),
            });
            add_time(&mut node, &subquery.time);
            node
        }
    }
}

fn selector(kind: &str, selector: &VectorSelector, range: Option<&DurationExpr>) -> Value {
    let mut node = json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or_default(),
        "matchers": selector.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "anchored": selector.edges == Edges::Anchored,
        "smoothed": selector.edges == Edges::Smoothed,
    });
    add_time(&mut node, &selector.time);
    if let (Value::Object(node), Some(range)) = (&mut node, range) {
        node.insert("range".to_owned(), json!(milliseconds(Some(range))));
    }
    node
}

fn add_time(node: &mut Value, time: &TimeShift) {
    let (timestamp, start_or_end) = match time.at {
        None => (None, None),
        Some(At::Instant(ms)) => (Some(ms), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    };
    if let Value::Object(node) = node {
        node.insert("offset".to_owned(), json!(milliseconds(time.offset.as_ref())));
        node.insert("timestamp".to_owned(), json!(timestamp));
        node.insert("startOrEnd".to_owned(), json!(start_or_end));
    }
}

fn milliseconds(duration: Option<&DurationExpr>) -> i64 {
    match duration.map(|duration| &duration.kind) {
        Some(DurationKind::Literal(ms)) => *ms,
        _ => 0,
    }
}

fn matcher(matcher: &Matcher) -> Value {
    json!({"name": matcher.name(), "value": matcher.pattern(), "type": matcher.op().as_str()})
}

fn matching(matching: &VectorMatching) -> Value {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": cardinality,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}

fn function(function: &Function) -> Value {
    let variadic = match function.variadic {
        Variadic::No => 0,
        Variadic::Optional(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Variadic::Any => -1,
    };
    json!({
        "name": function.name,
        "argTypes": function.args.iter().copied().map(type_name).collect::<Vec<_>>(),
        "variadic": variadic,
        "returnType": type_name(function.returns),
    })
}

/// As the API names types, unlike the error texts.
const fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
        ValueType::InstantVector => "vector",
        ValueType::RangeVector => "matrix",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ParseOptions, parse};
    use super::*;

    #[test]
    fn every_kind_of_node_has_its_form() {
        let shown = |text: &str| to_json(&parse(text, &ParseOptions::all()).expect(text));
        assert_eq!(
            shown("sum without (a) (rate(x{b=~\"c\"}[5m] @ 1.5 offset 1m))"),
            json!({
                "type": "aggregation", "op": "sum", "grouping": ["a"], "without": true, "param": null,
                "expr": {
                    "type": "call",
                    "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                    "args": [{
                        "type": "matrixSelector", "name": "x", "range": 300_000, "offset": 60_000,
                        "timestamp": 1_500, "startOrEnd": null, "anchored": false, "smoothed": false,
                        "matchers": [
                            {"name": "b", "value": "c", "type": "=~"},
                            {"name": "__name__", "value": "x", "type": "="},
                        ],
                    }],
                },
            })
        );
    }

    #[test]
    fn operators_and_subqueries() {
        let shown = |text: &str| to_json(&parse(text, &ParseOptions::all()).expect(text));
        let binary = shown("(a) == bool on (l) group_left (m) -b");
        assert_eq!(binary["matching"]["card"], "many-to-one");
        assert_eq!((&binary["bool"], &binary["lhs"]["type"]), (&json!(true), &json!("parenExpr")));
        assert_eq!(binary["rhs"]["op"], "-");
        assert_eq!(shown("a and b")["matching"]["card"], "many-to-many");
        assert_eq!(shown("1 + 5m")["rhs"], json!({"type": "numberLiteral", "val": "300"}));
        assert_eq!(shown("1 + a")["matching"], Value::Null);
        let subquery = shown("a[1h:5m] @ end()");
        assert_eq!(
            (&subquery["step"], &subquery["startOrEnd"], &subquery["offset"]),
            (&json!(300_000), &json!("end"), &json!(0))
        );
        assert_eq!(shown("\"x\""), json!({"type": "stringLiteral", "val": "x"}));
    }
}
