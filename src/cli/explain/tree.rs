//! An expression's parts, each with what it gave at some moments.

use super::history::Moment;
use super::source::Source;
use crate::model::{Labels, METRIC_NAME};
use crate::promql::Value;
use crate::promql::ast::Expr;

/// Most parts that are evaluated; of an expression with more the first are.
const MOST_PARTS: usize = 200;

/// A part of the expression.
pub(super) struct Part {
    pub(super) depth: usize,
    pub(super) text: String,
    /// Whether it names series, not what is made of them.
    pub(super) is_selector: bool,
    /// What it gave, moment by moment; nothing for numbers and texts.
    pub(super) given: Vec<(Moment, Result<Given, String>)>,
}

/// What a part gave at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given {
    /// Series in all.
    pub(super) series: usize,
    /// Those that the alert may come from.
    pub(super) own: Vec<(Labels, f64)>,
}

/// The labels of an alert that tell which series it came from; without them all series count.
pub(super) struct Carrier {
    labels: Option<Labels>,
    overridden: Vec<String>,
}

impl Carrier {
    pub(super) fn new(labels: Option<&Labels>, overridden: &[String]) -> Self {
        let mut overridden = overridden.to_vec();
        overridden.extend([METRIC_NAME.to_owned(), "alertname".to_owned()]);
        Self { labels: labels.cloned(), overridden }
    }

    /// No label says otherwise. One that only the series has, an aggregation may have taken away.
    fn fits(&self, series: &Labels) -> bool {
        let Some(labels) = &self.labels else { return true };
        series
            .iter()
            .filter(|(name, _)| !self.overridden.iter().any(|own| own == name))
            .all(|(name, value)| labels.get(name).is_none_or(|expected| expected == value))
    }

    fn given(&self, value: Value) -> Given {
        let all: Vec<(Labels, f64)> = match value {
            Value::Scalar { value, .. } => vec![(Labels::empty(), value)],
            Value::Vector(samples) => samples.into_iter().map(|s| (s.labels, s.value)).collect(),
            // The last of each stands for it.
            Value::Matrix(series) => series
                .into_iter()
                .filter_map(|s| s.samples.iter().next_back().map(|(_, value)| (s.labels.clone(), value)))
                .collect(),
            _ => Vec::new(),
        };
        let series = all.len();
        Given { series, own: all.into_iter().filter(|(labels, _)| self.fits(labels)).collect() }
    }
}

/// The parts of an expression, parents first; and how many were left out.
pub(super) fn parts(
    source: &Source,
    expr: &Expr,
    moments: &[Moment],
    carrier: &Carrier,
) -> (Vec<Part>, usize) {
    let mut ahead = vec![(0, expr)];
    let (mut parts, mut left_out) = (Vec::new(), 0);
    while let Some((depth, expr)) = ahead.pop() {
        // Parentheses give what is within.
        if let Expr::Paren(paren) = expr {
            ahead.push((depth, &paren.expr));
            continue;
        }
        ahead.extend(expr.children().rev().map(|child| (depth + 1, child)));
        if parts.len() >= MOST_PARTS {
            left_out += 1;
            continue;
        }
        let text = expr.to_string();
        let is_plain = matches!(expr, Expr::Number(_) | Expr::String(_));
        let asked = if is_plain { &[] } else { moments };
        let given = |moment: &Moment| {
            let value = source.value(&text, moment.at).map_err(|error| format!("{error:#}"));
            (*moment, value.map(|value| carrier.given(value)))
        };
        let given = asked.iter().map(given).collect();
        let is_selector = matches!(expr, Expr::VectorSelector(_) | Expr::MatrixSelector(_));
        parts.push(Part { depth, text, is_selector, given });
    }
    (parts, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_fit_an_alert_unless_a_label_says_otherwise() {
        let alert = Labels::from_pairs([("alertname", "A"), ("host", "a"), ("severity", "page")]);
        let carrier = Carrier::new(Some(&alert), &["severity".to_owned()]);
        for (series, fits) in [
            (vec![("__name__", "cpu"), ("host", "a"), ("cpu", "0")], true),
            (vec![("host", "a"), ("severity", "low")], true),
            (vec![("host", "b")], false),
            (vec![], true),
        ] {
            assert_eq!(carrier.fits(&Labels::from_pairs(series.clone())), fits, "{series:?}");
        }
        assert!(Carrier::new(None, &[]).fits(&Labels::from_pairs([("host", "b")])));
    }
}
