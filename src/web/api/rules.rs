//! `rules` and `alerts`: what is evaluated, and how it stands.
//!
//! With `evaluations=true`, which only this program knows, a rule also shows its last evaluations, the series that it
//! found and how restless its alerts are; with `acknowledgements=true` an alert shows who looks after it.
//!
//! Source: Prometheus `web/api/v1/api.go`: fields, their order, parameters and texts.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use ring::digest;

use super::json::{write_labels, write_pairs, write_text};
use super::params::{Params, invalid};
use super::reply::{Failure, Remarks, WriteData};
use super::{Api, respond};
use crate::model::{Labels, Matcher, Quoted, Timestamp, fingerprint};
use crate::rules::{Alert, Group, Rule, RuleKind, RuleSpec, RuleStatus};

/// `GET /api/v1/rules`
pub(super) async fn rules(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let asked = Asked::read(params)?;
        let groups = api.rules.groups();
        let page = asked.page(&groups)?;
        let write = move |out: &mut dyn Write| write_page(out, &page, &asked);
        Ok((Remarks::default(), Box::new(write) as WriteData))
    })
    .await
}

/// `GET /api/v1/alerts`
pub(super) async fn alerts(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let with_acknowledgements = flag(params, "acknowledgements")?;
        let (groups, now) = (api.rules.groups(), (api.now)());
        let rules = groups.iter().flat_map(|group| group.rules());
        let alerts: Vec<Alert> = rules.flat_map(|rule| rule.status().alerts).collect();
        let write = move |mut out: &mut dyn Write| {
            out.write_all(b"{\"alerts\":")?;
            list(&mut out, &alerts, |out, alert| {
                begin_alert(out, alert)?;
                if with_acknowledgements {
                    write_acknowledgement(out, alert, now)?;
                }
                out.write_all(b"}")
            })?;
            out.write_all(b"}")
        };
        Ok((Remarks::default(), Box::new(write) as WriteData))
    })
    .await
}

/// What `rules` is asked for.
struct Asked {
    alerting: bool,
    recording: bool,
    rules: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    matcher_sets: Vec<Vec<Matcher>>,
    exclude_alerts: bool,
    evaluations: bool,
    limit: Option<usize>,
    token: String,
}

/// The groups of an answer, each with the places of its rules that were asked for.
struct Page {
    groups: Vec<(Arc<Group>, Vec<usize>)>,
    next: Option<String>,
}

impl Asked {
    fn read(params: &Params) -> Result<Self, Failure> {
        let all = |name| params.all(name).map(str::to_owned).collect();
        let kind = params.get("type").to_lowercase();
        if !matches!(kind.as_str(), "" | "alert" | "record") {
            return Err(invalid("type", &format!("not supported value {}", Quoted(&kind))));
        }
        let token = params.get("group_next_token").to_owned();
        if !token.is_empty() && params.get("group_limit").is_empty() {
            let why = "group_limit needs to be present in order to paginate over the groups";
            return Err(invalid("group_next_token", why));
        }
        Ok(Self {
            alerting: kind != "record",
            recording: kind != "alert",
            rules: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matcher_sets: params.matcher_sets().map_err(Failure::bad_data)?,
            exclude_alerts: flag(params, "exclude_alerts")?,
            evaluations: flag(params, "evaluations")?,
            limit: read_limit(params.get("group_limit"))?,
            token,
        })
    }

    fn wants(&self, rule: &Rule) -> bool {
        let spec = rule.spec();
        let kind = match spec.kind {
            RuleKind::Recording => self.recording,
            RuleKind::Alerting(_) => self.alerting,
        };
        let named = self.rules.is_empty() || self.rules.iter().any(|name| **name == *spec.name);
        let fits = |set: &Vec<Matcher>| Matcher::all_match(set, &spec.labels);
        kind && named && (self.matcher_sets.is_empty() || self.matcher_sets.iter().any(fits))
    }

    fn page(&self, all: &[Arc<Group>]) -> Result<Page, Failure> {
        let mut page = Page { groups: Vec::new(), next: None };
        let mut begun = self.limit.is_none() || self.token.is_empty();
        for group in all {
            begun = begun || token(group) == self.token;
            let spec = group.spec();
            let wanted = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
            if !begun || !wanted(&self.groups, &spec.name) || !wanted(&self.files, &spec.file) {
                continue;
            }
            let rules = group.rules().iter().enumerate().filter(|(_, rule)| self.wants(rule));
            let rules: Vec<usize> = rules.map(|(at, _)| at).collect();
            // A group of which nothing is left is not shown.
            if rules.is_empty() {
                continue;
            }
            if self.limit.is_some_and(|limit| page.groups.len() >= limit) {
                page.next = Some(token(group));
                break;
            }
            page.groups.push((Arc::clone(group), rules));
        }
        if !begun {
            let why = format!("invalid group_next_token '{}'. were rule groups changed?", self.token);
            return Err(invalid("group_next_token", &why));
        }
        Ok(page)
    }
}

fn token(group: &Group) -> String {
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, group.key().as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As Go's `strconv.ParseBool`.
fn flag(params: &Params, name: &str) -> Result<bool, Failure> {
    match params.get(name) {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        text => {
            let why = format!(
                "error converting {name}: strconv.ParseBool: parsing {}: invalid syntax",
                Quoted(text)
            );
            Err(invalid(name, &why))
        }
    }
}

fn read_limit(text: &str) -> Result<Option<usize>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<i32>() {
        Ok(limit @ 1..) => Ok(usize::try_from(limit).ok()),
        Ok(_) => Err(invalid("group_limit", "group_limit needs to be greater than 0")),
        Err(_) => {
            let why = format!(
                "group_limit needs to be a valid number: strconv.ParseInt: parsing {}: invalid syntax",
                Quoted(text)
            );
            Err(invalid("group_limit", &why))
        }
    }
}

fn write_page(mut out: &mut dyn Write, page: &Page, asked: &Asked) -> io::Result<()> {
    out.write_all(b"{\"groups\":")?;
    list(&mut out, &page.groups, |out, (group, rules)| write_group(out, group, rules, asked))?;
    if let Some(next) = &page.next {
        out.write_all(b",\"groupNextToken\":")?;
        write_text(out, next)?;
    }
    out.write_all(b"}")
}

fn write_group(mut out: &mut dyn Write, group: &Group, rules: &[usize], asked: &Asked) -> io::Result<()> {
    out.write_all(b"{\"name\":")?;
    write_text(out, &group.spec().name)?;
    out.write_all(b",\"file\":")?;
    write_text(out, &group.spec().file)?;
    out.write_all(b",\"rules\":")?;
    let rules: Vec<&Rule> = rules.iter().filter_map(|at| group.rules().get(*at)).collect();
    list(&mut out, &rules, |out, rule| write_rule(out, rule, asked))?;
    write!(
        out,
        ",\"interval\":{},\"limit\":{},\"evaluationTime\":{},\"lastEvaluation\":\"{}\"}}",
        group.interval().as_secs_f64(),
        group.spec().limit,
        group.evaluation_time().as_secs_f64(),
        rfc3339(group.last_evaluation())
    )
}

fn write_rule(mut out: &mut dyn Write, rule: &Rule, asked: &Asked) -> io::Result<()> {
    let (spec, status) = (rule.spec(), rule.status());
    let alert = spec.alert();
    if alert.is_some() {
        // Since 3.4 one that was not evaluated yet has a state of its own.
        let state = status.state().map_or("unknown", |state| state.as_str());
        write!(out, "{{\"state\":\"{state}\",\"name\":")?;
    } else {
        out.write_all(b"{\"name\":")?;
    }
    write_text(out, &spec.name)?;
    out.write_all(b",\"query\":")?;
    write_text(out, &spec.query)?;
    if let Some(alert) = alert {
        let (hold, keep_firing) = (alert.hold.as_secs_f64(), alert.keep_firing.as_secs_f64());
        write!(out, ",\"duration\":{hold},\"keepFiringFor\":{keep_firing}")?;
    }
    if alert.is_some() || !spec.labels.is_empty() || !spec.removed_labels.is_empty() {
        out.write_all(b",\"labels\":")?;
        write_rule_labels(out, spec)?;
    }
    if let Some(alert) = alert {
        out.write_all(b",\"annotations\":")?;
        write_labels(&mut out, &alert.annotations)?;
        out.write_all(b",\"alerts\":")?;
        let alerts = if asked.exclude_alerts { &[] } else { status.alerts.as_slice() };
        list(&mut out, alerts, write_alert)?;
    }
    write!(out, ",\"health\":\"{}\"", status.health.as_str())?;
    if let Some(error) = &status.last_error {
        out.write_all(b",\"lastError\":")?;
        write_text(out, error)?;
    }
    write!(
        out,
        ",\"evaluationTime\":{},\"lastEvaluation\":\"{}\",\"type\":\"{}\"",
        status.evaluation_time.as_secs_f64(),
        rfc3339(status.last_evaluation),
        if alert.is_some() { "alerting" } else { "recording" }
    )?;
    if asked.evaluations {
        write_evaluations(&mut out, spec, &status)?;
    }
    out.write_all(b"}")
}

/// The labels as the file has them, those without a value too.
fn write_rule_labels(mut out: &mut dyn Write, spec: &RuleSpec) -> io::Result<()> {
    let removed = spec.removed_labels.iter().map(|name| (name.as_str(), ""));
    let labels: BTreeMap<&str, &str> = spec.labels.iter().chain(removed).collect();
    write_pairs(&mut out, labels.into_iter())
}

fn write_evaluations(mut out: &mut dyn Write, spec: &RuleSpec, status: &RuleStatus) -> io::Result<()> {
    let (turns, total) = status.turns;
    let (line, column) = (spec.line, spec.column);
    write!(
        out,
        ",\"line\":{line},\"column\":{column},\"turnsLastHour\":{turns},\"turnsTotal\":{total},\"evaluations\":"
    )?;
    list(&mut out, &status.evaluations, |out, evaluation| {
        write!(
            out,
            "{{\"time\":\"{}\",\"duration\":{},\"seriesSeen\":{},\"seriesReturned\":{}",
            rfc3339(Some(evaluation.at)),
            evaluation.duration.as_secs_f64(),
            evaluation.series_seen,
            evaluation.series_returned
        )?;
        if let Some(error) = &evaluation.error {
            out.write_all(b",\"error\":")?;
            write_text(out, error)?;
        }
        out.write_all(b"}")
    })
}

fn write_alert(out: &mut dyn Write, alert: &Alert) -> io::Result<()> {
    begin_alert(out, alert)?;
    out.write_all(b"}")
}

/// What only this program has: the alert's fingerprint, and who looks after it.
fn write_acknowledgement(mut out: &mut dyn Write, alert: &Alert, now: Timestamp) -> io::Result<()> {
    write!(out, ",\"fingerprint\":\"{:016x}\"", fingerprint(&alert.labels))?;
    let Some(given) = alert.acknowledgement(now) else { return Ok(()) };
    out.write_all(b",\"acknowledgement\":{\"by\":")?;
    write_text(&mut out, &given.by)?;
    out.write_all(b",\"comment\":")?;
    write_text(&mut out, &given.comment)?;
    write!(out, ",\"at\":\"{}\"", rfc3339(Some(given.at)))?;
    if let Some(until) = given.until {
        write!(out, ",\"until\":\"{}\"", rfc3339(Some(until)))?;
    }
    out.write_all(b"}")
}

/// All of it but the last brace.
fn begin_alert(out: &mut dyn Write, alert: &Alert) -> io::Result<()> {
    let labels = |out: &mut dyn Write, name: &str, labels: &Labels| {
        write!(out, "\"{name}\":")?;
        write_labels(out, labels)
    };
    out.write_all(b"{")?;
    labels(out, "labels", &alert.labels)?;
    out.write_all(b",")?;
    labels(out, "annotations", &alert.annotations)?;
    let (state, active_at) = (alert.state.as_str(), rfc3339(Some(alert.active_at)));
    write!(out, ",\"state\":\"{state}\",\"activeAt\":\"{active_at}\"")?;
    if let Some(since) = alert.keep_firing_since {
        write!(out, ",\"keepFiringSince\":\"{}\"", rfc3339(Some(since)))?;
    }
    write!(out, ",\"value\":\"{}\"", go_exponent(alert.value))
}

/// As Go prints a time; one that never was is the year 1.
fn rfc3339(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), super::status::rfc3339)
}

/// As Go's `strconv.FormatFloat(value, 'e', -1, 64)`: `1e+00`.
fn go_exponent(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn list<T>(
    out: &mut dyn Write,
    items: &[T],
    write: impl Fn(&mut dyn Write, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, item) in items.iter().enumerate() {
        out.write_all(if at > 0 { b"," } else { b"" })?;
        write(out, item)?;
    }
    out.write_all(b"]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_safe_within_html() {
        let mut out = Vec::new();
        write_text(&mut out, "a < b && \"c\" > \u{2028}é").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#""a \u003c b \u0026\u0026 \"c\" \u003e \u2028é""#);
    }

    #[test]
    fn values_are_printed_as_go_does() {
        for (value, text) in [
            (1.0, "1e+00"),
            (0.0, "0e+00"),
            (-2.5, "-2.5e+00"),
            (15_000_000_000.0, "1.5e+10"),
            (1e-7, "1e-07"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(go_exponent(value), text);
        }
    }
}
