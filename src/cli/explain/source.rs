//! Where rules and their values are asked for: a running instance, or a history with rule files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;

use super::super::instance;
use super::super::query::answer;
use crate::model::{Labels, Queryable, Timestamp};
use crate::promql::{self, Engine, EngineOptions, ParseOptions, QueryOptions, Value};
use crate::rules::GroupSpec;
use crate::rules::backtest::{Replay, Timeline, Variant};
use crate::store::Store;

/// Of groups that name none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// A rule, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) name: String,
    /// `FILE:LINE:COLUMN`, as much of it as is known.
    pub(super) place: String,
    pub(super) group: String,
    pub(super) interval: Duration,
    pub(super) expr: String,
    pub(super) hold: Duration,
    pub(super) keep_firing: Duration,
    /// Names of labels that the rule itself sets.
    pub(super) own_labels: Vec<String>,
}

/// See the module's page.
pub(super) enum Source {
    /// Asked over HTTP.
    Instance { url: String, timeout: Duration },
    /// Evaluated here.
    History { history: Arc<dyn Queryable>, oldest: Option<Timestamp>, engine: Engine, groups: Vec<GroupSpec> },
}

#[derive(Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Groups>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    file: String,
    interval: f64,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    name: String,
    query: String,
    #[serde(default)]
    duration: f64,
    #[serde(default, rename = "keepFiringFor")]
    keep_firing: f64,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    line: Option<usize>,
    column: Option<usize>,
}

impl Source {
    pub(super) fn history(store: Store, groups: Vec<GroupSpec>, timeout: Duration) -> Self {
        let engine = Engine::new(EngineOptions { timeout, ..EngineOptions::default() });
        Self::History { oldest: store.stats().min_time, history: Arc::new(store), engine, groups }
    }

    /// All alert rules.
    pub(super) fn rules(&self) -> anyhow::Result<Vec<Found>> {
        match self {
            Self::Instance { url, timeout } => {
                // Only ours knows lines; others leave the parameter alone.
                let body = instance::get(url, "/api/v1/rules?type=alert&evaluations=true", *timeout)?;
                let reply: Reply =
                    serde_json::from_slice(&body).context("the answer is not that of a Prometheus API")?;
                if reply.status != "success" {
                    return Err(anyhow!("{}", reply.error));
                }
                Ok(reply.data.map_or_else(Vec::new, |data| data.groups.into_iter().flat_map(told).collect()))
            }
            Self::History { groups, .. } => Ok(groups.iter().flat_map(read).collect()),
        }
    }

    /// The rules played over the history, where that is to hand: what it tells where it does not hold `ALERTS`, and where
    /// to ask for what the rules read and gave.
    pub(super) fn play(&self, at: Timestamp, since: Duration) -> anyhow::Result<Option<(Timeline, Self)>> {
        let Self::History { history, oldest, engine, groups } = self else { return Ok(None) };
        let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let from = Timestamp::from_millis(at.as_millis().saturating_sub(since_ms));
        let from = oldest.map_or(from, |oldest| from.max(oldest));
        let replay = Replay { from, to: at, interval: DEFAULT_INTERVAL, query_offset: Duration::ZERO };
        // Annotations are not made.
        let groups = Variant::default().of(groups);
        let (timeline, history) = replay.run_over(&groups, Arc::clone(history))?;
        let engine = Engine::new(engine.options().clone());
        Ok(Some((timeline, Self::History { history, oldest: *oldest, engine, groups })))
    }

    /// The value of an expression at an instant.
    pub(super) fn value(&self, expr: &str, at: Timestamp) -> anyhow::Result<Value> {
        match self {
            Self::Instance { url, timeout } => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("query", expr).append_pair("time", &format!("{:.3}", at.as_seconds_f64()));
                let body = instance::get(url, &format!("/api/v1/query?{}", form.finish()), *timeout)?;
                Ok(answer::read(&body)?.value)
            }
            Self::History { history, engine, .. } => {
                let expr = promql::parse(expr, &ParseOptions::all())?;
                Ok(engine.instant(&**history, &expr, at, &QueryOptions::default())?.value)
            }
        }
    }
}

/// What the API says of a group's rules.
fn told(group: Group) -> Vec<Found> {
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let found = |rule: Rule| {
        let parts = [rule.line, rule.column].into_iter().map_while(|part| part);
        Found {
            place: parts.fold(group.file.clone(), |place, part| format!("{place}:{part}")),
            group: group.name.clone(),
            interval: seconds(group.interval),
            name: rule.name,
            expr: rule.query,
            hold: seconds(rule.duration),
            keep_firing: seconds(rule.keep_firing),
            own_labels: rule.labels.into_keys().collect(),
        }
    };
    group.rules.into_iter().map(found).collect()
}

/// What a rule file says of a group's rules.
fn read(group: &GroupSpec) -> Vec<Found> {
    let found = |rule: &Arc<crate::rules::RuleSpec>| {
        let alert = rule.alert()?;
        let names = |labels: &Labels| labels.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        Some(Found {
            name: rule.name.to_string(),
            place: super::super::rules_show::place(Path::new(&*group.file), rule),
            group: group.name.to_string(),
            interval: group.interval.unwrap_or(DEFAULT_INTERVAL),
            expr: rule.query.clone(),
            hold: alert.hold,
            keep_firing: alert.keep_firing,
            own_labels: names(&rule.labels),
        })
    };
    group.rules.iter().filter_map(found).collect()
}
