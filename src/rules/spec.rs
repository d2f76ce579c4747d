//! What rule files say, checked: groups, rules, and what makes two of them the same.
//!
//! Invariant: expressions and templates are parsed; nothing here changes while it is evaluated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::template::Template;
use crate::model::{Labels, Matcher};
use crate::promql::ast::{DurationExpr, DurationKind, Expr};

/// A group of rules, evaluated in order at the same instants.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// `name`; unique in its file.
    pub name: Arc<str>,
    /// The file as it was named.
    pub file: Arc<str>,
    /// `interval`; `None`: `global.evaluation_interval`.
    pub interval: Option<Duration>,
    /// `query_offset`; `None`: `global.rule_query_offset`.
    pub query_offset: Option<Duration>,
    /// `limit`: most alerts or series of a rule; 0: any number.
    pub limit: usize,
    /// The rules, in order; they carry the group's labels.
    pub rules: Vec<Arc<RuleSpec>>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSpec {
    /// `record` or `alert`.
    pub name: Arc<str>,
    /// `expr`, parsed.
    pub expr: Expr,
    /// `expr` as Prometheus prints it.
    pub query: String,
    /// `labels`, those of the group among them; of alerts they are templates.
    pub labels: Labels,
    /// `labels` without a value: what is taken away from the result.
    pub removed_labels: Vec<String>,
    /// What becomes of the result.
    pub kind: RuleKind,
    /// Where in the file the rule begins, from 1.
    pub line: usize,
    /// Where on that line, from 1.
    pub column: usize,
    /// Whether it was written in the short form.
    pub is_short: bool,
}

/// What becomes of a rule's result.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// Samples of a series of the rule's name.
    Recording,
    /// Alerts.
    Alerting(Box<AlertSpec>),
}

/// What only alert rules have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertSpec {
    /// `for`: how long a condition holds before the alert fires.
    pub hold: Duration,
    /// `keep_firing_for`: how long an alert fires on without its condition.
    pub keep_firing: Duration,
    /// `resolve_when`: what must hold for a firing alert to be resolved. Ours.
    pub resolve_when: Option<Expr>,
    /// `annotations`, as templates.
    pub annotations: Labels,
    /// The labels' templates, in the order of their names.
    pub label_templates: Templates,
    /// The annotations' templates, in the order of their names.
    pub annotation_templates: Templates,
}

/// Names and templates.
#[derive(Clone, Default)]
pub struct Templates(pub Vec<(String, Arc<Template>)>);

/// Their texts, which are compared, stand beside them.
impl PartialEq for Templates {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl RuleSpec {
    /// The part that only alert rules have.
    pub fn alert(&self) -> Option<&AlertSpec> {
        match &self.kind {
            RuleKind::Recording => None,
            RuleKind::Alerting(alert) => Some(alert),
        }
    }

    /// Whether both are the same rule, perhaps with another expression or another `for`: state goes over.
    pub fn is_same_rule(&self, other: &Self) -> bool {
        self.name == other.name
            && self.labels == other.labels
            && self.removed_labels == other.removed_labels
            && self.alert().is_some() == other.alert().is_some()
    }

    /// The matchers of all selectors, those of `resolve_when` too.
    pub fn selectors(&self) -> Vec<Vec<Matcher>> {
        let resolve_when = self.alert().and_then(|alert| alert.resolve_when.as_ref());
        let exprs = std::iter::once(&self.expr).chain(resolve_when);
        exprs.flat_map(|expr| expr.selectors()).map(|selector| selector.matchers.clone()).collect()
    }
}

impl GroupSpec {
    /// Whether it ships with the program.
    pub fn is_builtin(&self) -> bool {
        super::builtin::is_builtin(&self.file)
    }

    /// The matchers of what is kept for the long time because this group reads it. Of a group that ships with the
    /// program that is only what it looks at after more than a day: nobody has asked for it.
    pub fn selectors_to_keep(&self) -> Vec<Vec<Matcher>> {
        let rules = self.rules.iter();
        if self.is_builtin() {
            return rules.flat_map(|rule| far_selectors(&rule.expr)).collect();
        }
        rules.flat_map(|rule| rule.selectors()).collect()
    }

    /// What identifies it: `file;name`, as Prometheus labels its metrics.
    pub fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }
}

/// The matchers of ranges that reach further back than a day.
fn far_selectors(expr: &Expr) -> Vec<Vec<Matcher>> {
    const DAY_MS: i64 = 86_400_000;
    let mut far = Vec::new();
    expr.walk(|expr| {
        if let Expr::MatrixSelector(matrix) = expr {
            let offset = matrix.selector.time.offset.as_ref();
            let literal = |duration: &DurationExpr| match duration.kind {
                DurationKind::Literal(ms) => ms,
                _ => 0,
            };
            if literal(&matrix.range).saturating_add(offset.map_or(0, literal)) > DAY_MS {
                far.push(matrix.selector.matchers.clone());
            }
        }
    });
    far
}
