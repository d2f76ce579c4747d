//! `health`: whether this program does its work, with a reason for each doubt. This program's own.
//!
//! Unhealthy is what makes the program useless: nothing can be written down, or nobody hears of alerts. Degraded is what
//! costs a part, and what somebody should look at: a collector, a target, a rule, a budget that is gone, a pillar far from its
//! target.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde::Serialize;

use super::json::write_json;
use super::reply::{Remarks, WriteData};
use super::{Api, respond};
use crate::rules::Health as RuleHealth;
use crate::scorecard::PillarStatus;
use crate::scrape::TargetHealth;

/// Most reasons that a check names; how many more there are is said.
const MOST_REASONS: usize = 10;

/// Longest reason, in characters: errors quote what others send.
const LONGEST_REASON: usize = 200;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Healthy,
    Degraded,
    Unhealthy,
}

#[derive(Serialize)]
struct Answer {
    verdict: Verdict,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    reasons: Vec<String>,
}

impl Check {
    /// Healthy without reasons, else `if_any`.
    fn new(check: &'static str, if_any: Verdict, reasons: impl IntoIterator<Item = String>) -> Self {
        let mut reasons = reasons.into_iter();
        let mut shown: Vec<String> = reasons
            .by_ref()
            .take(MOST_REASONS)
            .map(|text| text.chars().take(LONGEST_REASON).collect())
            .collect();
        let more = reasons.count();
        if more > 0 {
            shown.push(format!("and {more} more"));
        }
        let verdict = if shown.is_empty() { Verdict::Healthy } else { if_any };
        Self { check, verdict, reasons: shown }
    }
}

/// `GET /api/v1/health`
pub(super) async fn health(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, _| {
        let checks = vec![
            store(api),
            configuration(api),
            collectors(api),
            targets(api),
            rules(api),
            delivery(api),
            slos(api),
            scorecard(api),
        ];
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Healthy);
        let answer = Answer { verdict, checks };
        Ok((Remarks::default(), Box::new(move |out: &mut dyn Write| write_json(out, &answer)) as WriteData))
    })
    .await
}

fn store(api: &Api) -> Check {
    let stats = api.store.stats();
    if stats.paused {
        let why = "the history cannot be written; samples are refused until it can, see the log";
        return Check::new("store", Verdict::Unhealthy, [why.to_owned()]);
    }
    let damaged = stats.damaged_pages + stats.damaged_rows;
    let why = format!("{damaged} pages or rows of the history are damaged and left out, see the log");
    Check::new("store", Verdict::Degraded, (damaged > 0).then_some(why))
}

fn configuration(api: &Api) -> Check {
    let why = "the last reload failed; what ran before goes on, see the log";
    Check::new("configuration", Verdict::Degraded, (!api.status.is_loaded()).then(|| why.to_owned()))
}

fn collectors(api: &Api) -> Check {
    let engine = api.collect.load_full();
    let failing = engine.failing();
    Check::new(
        "collectors",
        Verdict::Degraded,
        failing.into_iter().map(|name| format!("{name} fails, see the log")),
    )
}

fn targets(api: &Api) -> Check {
    let pools = api.targets.targets();
    let down =
        pools.iter().flat_map(|pool| &pool.active).filter(|target| target.last.health == TargetHealth::Down);
    let reason = |target: &crate::scrape::TargetSnapshot| {
        format!("{} {} is down: {}", target.pool(), target.url(), target.last.error)
    };
    Check::new("targets", Verdict::Degraded, down.map(reason))
}

fn rules(api: &Api) -> Check {
    let groups = api.rules.groups();
    let rules = groups.iter().flat_map(|group| group.rules().iter().map(move |rule| (group, rule)));
    let failing = rules.filter_map(|(group, rule)| {
        let status = rule.status();
        let error = status.last_error.as_deref().unwrap_or("failed");
        let failed = status.health == RuleHealth::Bad;
        failed.then(|| format!("{} of group {} fails: {error}", rule.spec().name, group.spec().name))
    });
    Check::new("rules", Verdict::Degraded, failing)
}

/// Who gets nothing is a part that is lost, unless nobody gets anything.
fn delivery(api: &Api) -> Check {
    let (failing, receivers) = api.notifier.failing();
    let verdict = if failing.len() >= receivers { Verdict::Unhealthy } else { Verdict::Degraded };
    let reasons = failing.into_iter().map(|(receiver, error)| format!("{receiver} takes no alerts: {error}"));
    Check::new("delivery", verdict, reasons)
}

fn slos(api: &Api) -> Check {
    let reports = api.slos.reports().into_iter().filter(crate::slo::BudgetReport::is_exhausted);
    let reason = |report: crate::slo::BudgetReport| {
        format!(
            "the error budget of {} is exhausted: {:.2} times spent",
            report.title(),
            report.budget_consumed
        )
    };
    Check::new("slos", Verdict::Degraded, reports.map(reason))
}

/// Only of a scorecard that somebody has written: the targets of the built-in one are nobody's. The last report, so that
/// nobody waits for a query.
fn scorecard(api: &Api) -> Check {
    let report = api.scorecard.last().filter(|report| report.configured).unwrap_or_default();
    let reasons = report.pillars.into_iter().filter_map(|pillar| {
        let (name, unit) = (&pillar.pillar, &pillar.unit);
        match (pillar.status, pillar.current) {
            (PillarStatus::Missed, Some(current)) => Some(format!(
                "{name} is at {}{unit}, far from its target of {}{unit}",
                shown(current),
                pillar.target
            )),
            _ if pillar.failed => {
                Some(format!("{name} cannot be computed: {}", pillar.reason.as_deref().unwrap_or_default()))
            }
            _ => None,
        }
    });
    Check::new("scorecard", Verdict::Degraded, reasons)
}

/// Four digits behind the point.
fn shown(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
