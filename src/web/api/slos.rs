//! `slos`: how every budget stands, and whether its alerts fire. This program's own; Prometheus has no such page.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::json::write_json;
use super::reply::{Remarks, WriteData};
use super::{Api, respond};
use crate::rules::{AlertState, Group};
use crate::slo::{BudgetReport, Severity};

/// A budget with its alerts.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    report: BudgetReport,
    alerts: Alerts,
}

/// `inactive`, `pending`, `firing`; `None`: there is no such alert.
#[derive(Serialize)]
struct Alerts {
    page: Option<&'static str>,
    ticket: Option<&'static str>,
}

/// `GET /api/v1/slos`
pub(super) async fn slos(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let ids: Vec<&str> = params.all("id[]").collect();
        let groups = api.rules.groups();
        let reports = api.slos.reports().into_iter();
        let wanted = reports.filter(|report| ids.is_empty() || ids.contains(&report.id.as_str()));
        let shown: Vec<Shown> = wanted
            .map(|report| {
                let page = alert_state(&groups, &report, Severity::Page);
                let ticket = alert_state(&groups, &report, Severity::Ticket);
                Shown { report, alerts: Alerts { page, ticket } }
            })
            .collect();
        let write = move |out: &mut dyn Write| write_json(out, &json!({ "slos": shown }));
        Ok((Remarks::default(), Box::new(write) as WriteData))
    })
    .await
}

/// The worst state of an objective's alerts of a severity that are about a budget.
fn alert_state(groups: &[Arc<Group>], report: &BudgetReport, severity: Severity) -> Option<&'static str> {
    let name = format!("sloth-slo-alerts-{}", report.id);
    let of_objective = |group: &&Arc<Group>| {
        *group.spec().name == name && report.file.as_deref().is_none_or(|file| *group.spec().file == *file)
    };
    let rules = groups.iter().filter(of_objective).flat_map(|group| group.rules());
    let mut worst = None;
    for rule in rules.filter(|rule| rule.spec().labels.value("sloth_severity") == severity.as_str()) {
        worst = worst.max(Some(AlertState::Inactive));
        let alerts = rule.status().alerts.into_iter();
        let ours = alerts
            .filter(|alert| report.labels.iter().all(|(label, value)| alert.labels.value(label) == value));
        worst = worst.max(ours.map(|alert| alert.state).max());
    }
    worst.map(AlertState::as_str)
}
