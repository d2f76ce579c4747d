//! What all rules are evaluated with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::sink::RuleStorage;
use super::template::TemplateQuery;
use crate::model::{Labels, OutgoingAlert, Queryable, Timestamp};
use crate::promql::ast::Expr;
use crate::promql::{Cancel, Engine, ParseOptions, QueryOptions, Value, parse};

/// Takes alerts out of the program. Must not block.
pub type Notify = Arc<dyn Fn(Vec<OutgoingAlert>) + Send + Sync>;

/// Prometheus's `--rules.alert.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertTiming {
    /// How long a firing alert is not sent again.
    pub resend_delay: Duration,
    /// For how long alerts that were pending outlive the program. Those that fired are remembered however long it was:
    /// somebody was told.
    pub outage_tolerance: Duration,
    /// How long a pending alert that was restored waits at least before it fires, where its `for` is not shorter than
    /// this.
    pub grace_period: Duration,
}

impl Default for AlertTiming {
    /// Prometheus's, but for its grace period of ten minutes: here none.
    fn default() -> Self {
        Self {
            resend_delay: Duration::from_secs(60),
            outage_tolerance: Duration::from_secs(3_600),
            grace_period: Duration::ZERO,
        }
    }
}

/// Most alerts of a rule whose group has no `limit`: a rule with more says nothing to anybody, but costs.
pub const MOST_ALERTS: usize = 10_000;

/// See the module's page. A clone shares all.
#[derive(Clone)]
pub struct RuleContext {
    /// Where rules read and write.
    pub storage: Arc<dyn RuleStorage>,
    /// What evaluates expressions.
    pub engine: Arc<Engine>,
    /// What queries of templates may contain.
    pub parse: ParseOptions,
    /// `global.external_labels`, for templates.
    pub external_labels: Labels,
    /// Where others reach this program, without a slash at the end.
    pub external_url: String,
    /// When alerts are sent again, and how they outlive the program.
    pub timing: AlertTiming,
    /// See [`MOST_ALERTS`].
    pub most_alerts: usize,
    /// How long after a start the absence of an alert that was restored may mean that its series are not there yet.
    pub settle: Duration,
    /// Takes the alerts that are to be sent.
    pub notify: Notify,
    /// Ends evaluations that run.
    pub cancel: Cancel,
}

impl fmt::Debug for RuleContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleContext").field("external_url", &self.external_url).finish_non_exhaustive()
    }
}

impl RuleContext {
    /// The series of an expression with their values; a number is one series without labels.
    pub(super) fn vector(
        &self,
        over: &dyn Queryable,
        expr: &Expr,
        at: Timestamp,
    ) -> Result<Vec<(Labels, f64)>, String> {
        let options = QueryOptions { cancel: self.cancel.clone(), ..QueryOptions::default() };
        let result = self.engine.instant(over, expr, at, &options).map_err(|error| error.to_string())?;
        match result.value {
            Value::Vector(samples) => Ok(samples.into_iter().map(|s| (s.labels, s.value)).collect()),
            Value::Scalar { value, .. } => Ok(vec![(Labels::empty(), value)]),
            _ => Err("rule result is not a vector or scalar".to_owned()),
        }
    }

    /// The page that shows an expression as a table.
    pub(super) fn generator_url(&self, query: &str) -> String {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        format!("{}/graph?g0.expr={query}&g0.tab=1", self.external_url)
    }

    pub(super) const fn template_query<'a>(&'a self, over: &'a dyn Queryable) -> QueryOver<'a> {
        QueryOver { context: self, over }
    }
}

/// Queries of templates see what the rule sees.
pub(super) struct QueryOver<'a> {
    context: &'a RuleContext,
    over: &'a dyn Queryable,
}

impl TemplateQuery for QueryOver<'_> {
    fn query(&self, expr: &str, at: Timestamp) -> Result<Vec<(Labels, f64)>, String> {
        let expr = parse(expr, &self.context.parse).map_err(|error| error.to_string())?;
        self.context.vector(self.over, &expr, at)
    }
}
