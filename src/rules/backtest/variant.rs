//! Rules with another `for` or another threshold.

use std::sync::Arc;
use std::time::Duration;

use crate::promql::ast::{Expr, Unary, UnaryOp};
use crate::rules::spec::Templates;
use crate::rules::{AlertSpec, GroupSpec, RuleKind, RuleSpec};

/// What is different. `None`: as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Variant {
    /// `for`
    pub hold: Option<Duration>,
    /// The number on the right of the comparison that the expression ends in.
    pub threshold: Option<f64>,
}

impl Variant {
    /// The groups with their alert rules changed; a rule without a threshold keeps its expression.
    pub fn of(&self, groups: &[GroupSpec]) -> Vec<GroupSpec> {
        let changed = |rule: &Arc<RuleSpec>| self.changed(rule).map_or_else(|| Arc::clone(rule), Arc::new);
        let rules = |group: &GroupSpec| group.rules.iter().map(changed).collect();
        groups.iter().map(|group| GroupSpec { rules: rules(group), ..group.clone() }).collect()
    }

    fn changed(&self, rule: &RuleSpec) -> Option<RuleSpec> {
        let alert = rule.alert()?;
        let mut expr = rule.expr.clone();
        if let (Some(threshold), Some(place)) = (self.threshold, place_of(&mut expr)) {
            let span = place.span();
            *place = Expr::Number(crate::promql::ast::NumberLiteral {
                value: threshold,
                is_duration: false,
                span,
            });
        }
        let alert = AlertSpec {
            hold: self.hold.unwrap_or(alert.hold),
            // Nobody reads them here, and making them takes the most time of all.
            annotation_templates: Templates::default(),
            ..alert.clone()
        };
        let query = expr.to_string();
        Some(RuleSpec { expr, query, kind: RuleKind::Alerting(Box::new(alert)), ..rule.clone() })
    }
}

/// The number that an alert's expression is compared with; `None` where it does not end in a comparison with a number.
pub fn threshold_of(expr: &Expr) -> Option<f64> {
    place_of(&mut expr.clone()).and_then(|place| number(place))
}

fn place_of(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::Paren(paren) => place_of(&mut paren.expr),
        Expr::Binary(binary) if binary.op.is_comparison() => {
            number(&binary.right).is_some().then_some(&mut binary.right)
        }
        // The short form with a pattern.
        Expr::Call(call) if call.function.name == "label_replace" => call.args.first_mut().and_then(place_of),
        _ => None,
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Number(number) => Some(number.value),
        Expr::Paren(paren) => number(&paren.expr),
        Expr::Unary(unary) => signed(unary),
        _ => None,
    }
}

fn signed(unary: &Unary) -> Option<f64> {
    let value = number(&unary.expr)?;
    Some(if unary.op == UnaryOp::Minus { -value } else { value })
}
