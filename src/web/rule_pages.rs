//! Pages for people: `/alerts`, `/rules`, and `/graph`, where links of alerts lead.
//!
//! Invariants: plain HTML without scripts, everything that comes from elsewhere escaped; a page is bounded in rows; what
//! takes time runs on blocking threads, in turns with the API. The forms change only what the API would, from pages of
//! this program only. Links are relative, so that the pages work below any prefix.
//!
//! Source: Prometheus `web/web.go` for the paths; `rules/alerting.go` for the parameters of `/graph`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::body::{self, BodyLimits};
use super::origin::{self, is_foreign};
use super::pages::{document, escaped, html, method_not_allowed, text};
use super::{Api, shown_value};
use crate::model::{ColdSort, Labels, PromDuration, Timestamp, fingerprint};
use crate::promql::{QueryOptions, Value, parse};
use crate::rules::{Acknowledgement, Alert, AlertChoice, AlertState, Group, Rule};
use crate::tasks;

/// Most alerts, rules and series of a page.
const MOST_ROWS: usize = 1_000;

/// Longest text of a cell, in characters.
const LONGEST_TEXT: usize = 2_000;

/// What a form may take.
const FORM: BodyLimits = BodyLimits { bytes: 16 << 10, timeout: Duration::from_secs(10) };

/// The routes. They read bodies themselves.
pub(super) fn router<S: Clone + Send + Sync + 'static>(api: Arc<Api>) -> Router<S> {
    Router::new()
        .route("/alerts", get(alerts))
        .route("/alerts/ack", post(acknowledge))
        .route("/rules", get(rules))
        .route("/graph", get(graph))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
}

async fn alerts(State(api): State<Arc<Api>>) -> Response {
    page(api, "Alerts", |api, out| alerts_body(&api.rules.groups(), (api.now)(), out)).await
}

async fn rules(State(api): State<Arc<Api>>) -> Response {
    page(api, "Rules", |api, out| rules_body(&api.rules.groups(), (api.now)(), out)).await
}

async fn graph(State(api): State<Arc<Api>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let expr = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "g0.expr");
    let expr = expr.map(|(_, expr)| expr.into_owned()).unwrap_or_default();
    page(api, "Query", move |api, out| graph_body(api, &expr, out)).await
}

async fn page(
    api: Arc<Api>,
    title: &'static str,
    body: impl FnOnce(&Api, &mut String) + Send + 'static,
) -> Response {
    let Ok(turn) = Arc::clone(&api.turns).acquire_owned().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the program is stopping\n");
    };
    let work = tasks::blocking(move || {
        let _turn = turn;
        let mut out = String::new();
        body(&api, &mut out);
        html(document(title, &out))
    });
    work.await.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the page was not made\n"))
}

/// A text of elsewhere, cut and escaped.
fn cell(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => escaped(&format!("{}...", text.get(..end).unwrap_or_default())),
        None => escaped(text),
    }
}

/// How long ago, in whole seconds.
fn ago(now: Timestamp, at: Timestamp) -> String {
    PromDuration::new(Duration::from_secs(now.since(at).as_secs())).to_string()
}

fn duration(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1_000.0)
}

fn more(out: &mut String, all: usize) {
    if all > MOST_ROWS {
        let _ = write!(out, "<p>{} more are not shown.</p>", all - MOST_ROWS);
    }
}

// Writing into a `String` cannot fail.

fn alerts_body(groups: &[Arc<Group>], now: Timestamp, out: &mut String) {
    let all = groups.iter().flat_map(|group| group.rules().iter().map(move |rule| (group, rule)));
    let mut alerts: Vec<(Alert, &str)> = all
        .flat_map(|(group, rule)| {
            rule.status().alerts.into_iter().map(|alert| (alert, group.spec().file.as_ref()))
        })
        .collect();
    // What fires first; of those, what nobody looks after; then the oldest.
    alerts.cold_sort_by_key(|(alert, _)| {
        (alert.state != AlertState::Firing, alert.acknowledgement(now).is_some(), alert.active_at)
    });
    if alerts.is_empty() {
        out.push_str("<p>No alert is pending or fires.</p>");
        return;
    }
    out.push_str("<table><tr><th>State<th>Age<th>Alert<th>Acknowledged</tr>");
    for (alert, file) in alerts.iter().take(MOST_ROWS) {
        let state = alert.state.as_str();
        let name = alert.labels.value("alertname");
        let others = Labels::from_pairs(alert.labels.iter().filter(|(label, _)| *label != "alertname"));
        let _ = write!(
            out,
            "<tr><td class={state}>{state}<td>{}<td><b>{}</b> <code>{}</code> = {}<br>{}",
            ago(now, alert.active_at),
            cell(name),
            cell(&others.to_string()),
            shown_value(alert.value),
            cell(alert.annotations.value("summary"))
        );
        let _ = write!(out, "<br><small>{}</small><td>", cell(file));
        acknowledgement_cell(alert, now, out);
        out.push_str("</tr>");
    }
    out.push_str("</table>");
    more(out, alerts.len());
}

fn acknowledgement_cell(alert: &Alert, now: Timestamp, out: &mut String) {
    let hidden = format!("<input type=hidden name=alert value={:016x}>", fingerprint(&alert.labels));
    let form = format!("<form method=post action=alerts/ack>{hidden}");
    let _ = match alert.acknowledgement(now) {
        Some(given) => {
            let until =
                given.until.map(|until| format!(", for {} more", ago(until, now))).unwrap_or_default();
            let (by, comment, since) = (cell(&given.by), cell(&given.comment), ago(now, given.at));
            write!(
                out,
                "by {by} {since} ago{until}<br>{comment}{form}<button name=take value=back>Take back</button></form>"
            )
        }
        None => write!(
            out,
            "{form}<input name=by placeholder=name required maxlength=100 size=8> <input name=comment placeholder=comment maxlength=1000 size=16> <button>Acknowledge</button></form>"
        ),
    };
}

fn rules_body(groups: &[Arc<Group>], now: Timestamp, out: &mut String) {
    let mut shown = 0;
    for group in groups {
        if shown >= MOST_ROWS {
            break;
        }
        let (spec, interval) = (group.spec(), PromDuration::new(group.interval()));
        let last =
            group.last_evaluation().map_or_else(|| "never".to_owned(), |at| format!("{} ago", ago(now, at)));
        let _ = write!(
            out,
            "<h2>{}</h2><p><small>{}, every {interval}, last {last}, took {}</small></p><table><tr><th>Rule<th>State<th>Series seen, returned<th>Took</tr>",
            cell(&spec.name),
            cell(&spec.file),
            duration(group.evaluation_time())
        );
        for rule in group.rules().iter().take(MOST_ROWS - shown) {
            shown += 1;
            rule_row(rule, now, out);
        }
        out.push_str("</table>");
    }
    more(out, groups.iter().map(|group| group.rules().len()).sum());
}

fn rule_row(rule: &Rule, now: Timestamp, out: &mut String) {
    let (spec, status) = (rule.spec(), rule.status());
    let kind = if spec.alert().is_some() { "alert" } else { "record" };
    let state = match (status.health.as_str(), status.state(), spec.alert()) {
        ("err", ..) => "err",
        (_, Some(state), Some(_)) => state.as_str(),
        (health, ..) => health,
    };
    let _ = write!(out, "<tr><td>{kind} <b>{}</b><br><code>{}</code>", cell(&spec.name), cell(&spec.query));
    if let Some(error) = &status.last_error {
        let _ = write!(out, "<br><span class=err>{}</span>", cell(error));
    }
    evaluations(&status, now, out);
    let _ = write!(out, "<td class={state}>{state}");
    match status.evaluations.last() {
        Some(last) => {
            let _ = write!(
                out,
                "<td>{}, {}<td>{}",
                last.series_seen,
                last.series_returned,
                duration(last.duration)
            );
        }
        None => out.push_str("<td><td>"),
    }
    out.push_str("</tr>");
}

fn evaluations(status: &crate::rules::RuleStatus, now: Timestamp, out: &mut String) {
    if status.evaluations.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<details><summary>last {} evaluations</summary><table><tr><th>Ago<th>Took<th>Seen<th>Returned<th>Error</tr>",
        status.evaluations.len()
    );
    for one in status.evaluations.iter().rev() {
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td class=err>{}</tr>",
            ago(now, one.at),
            duration(one.duration),
            one.series_seen,
            one.series_returned,
            cell(one.error.as_deref().unwrap_or_default())
        );
    }
    out.push_str("</table></details>");
}

fn graph_body(api: &Api, text: &str, out: &mut String) {
    let _ = write!(
        out,
        "<form action=graph><textarea name=g0.expr rows=4 cols=80 spellcheck=false>{}</textarea><br><button>Ask</button></form>",
        escaped(text)
    );
    if text.trim().is_empty() {
        return;
    }
    let result = parse(text, &api.parse_options).map_err(|error| error.to_string()).and_then(|expr| {
        let options = QueryOptions::default();
        let result = api.engine.instant(&*api.history, &expr, (api.now)(), &options);
        result.map(|result| result.value).map_err(|error| error.to_string())
    });
    match result {
        Err(error) => {
            let _ = write!(out, "<p class=err>{}</p>", cell(&error));
        }
        Ok(Value::Scalar { value, .. }) => {
            let _ = write!(out, "<p>{}</p>", shown_value(value));
        }
        Ok(Value::String { text, .. }) => {
            let _ = write!(out, "<p>{}</p>", cell(&text));
        }
        Ok(Value::Vector(samples)) => {
            table(out, samples.len(), samples.iter().map(|one| (&one.labels, shown_value(one.value))));
        }
        Ok(Value::Matrix(series)) => {
            let last =
                |samples: &crate::model::Samples| samples.iter().last().map(|(_, value)| shown_value(value));
            table(
                out,
                series.len(),
                series.iter().map(|one| (&one.labels, last(&one.samples).unwrap_or_default())),
            );
        }
    }
}

fn table<'a>(out: &mut String, all: usize, rows: impl Iterator<Item = (&'a Labels, String)>) {
    if all == 0 {
        out.push_str("<p>No series.</p>");
        return;
    }
    out.push_str("<table>");
    for (labels, value) in rows.take(MOST_ROWS) {
        let _ = write!(out, "<tr><td><code>{}</code><td>{value}</tr>", cell(&labels.to_string()));
    }
    out.push_str("</table>");
    more(out, all);
}

/// The forms of `/alerts`.
async fn acknowledge(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let form = match body::read(&mut body, FORM).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    if is_foreign(&head.headers, &head.uri, &api.facts.external_url) {
        return origin::refused();
    }
    let work = move || {
        let field = |wanted: &str| {
            let found = form_urlencoded::parse(&form).find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.chars().filter(|c| !c.is_control()).take(1_000).collect::<String>())
        };
        let choice = AlertChoice::parse(&field("alert").unwrap_or_default())?;
        let by: String = field("by").unwrap_or_default().trim().chars().take(100).collect();
        let given = match field("take") {
            Some(_) => None,
            None if by.is_empty() => return Err("who acknowledges it? Fill in the name".to_owned()),
            None => {
                let comment = field("comment").unwrap_or_default();
                Some(Acknowledgement { by, comment, at: (api.now)(), until: None })
            }
        };
        // That it has been resolved meanwhile shows on the page.
        api.rules.acknowledge(&choice, given.as_ref())
    };
    match tasks::blocking(work).await {
        Ok(Ok(_)) => {
            let back = [(header::LOCATION, HeaderValue::from_static("../alerts"))];
            (StatusCode::SEE_OTHER, back, Body::empty()).into_response()
        }
        Ok(Err(why)) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n"),
    }
}
