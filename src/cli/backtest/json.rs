//! The result as JSON.

use serde_json::{Map, Value as Json, json};

use super::super::query::output::time;
use super::text::Sum;
use super::{Backtest, Run};
use crate::model::Labels;
use crate::rules::backtest::{RuleTimeline, SeriesTimeline, Verdict, judge, threshold_of};

pub(super) fn value(backtest: &Backtest) -> Json {
    let runs: Vec<Json> = backtest.runs.iter().map(|run| run_value(backtest, run)).collect();
    json!({
        "from": time(backtest.from.as_millis()),
        "to": time(backtest.to.as_millis()),
        "variants": runs,
    })
}

fn run_value(backtest: &Backtest, run: &Run) -> Json {
    let alerts: Vec<Json> = run.timeline.rules.iter().map(|rule| rule_value(backtest, rule)).collect();
    let failures: Vec<Json> = run
        .timeline
        .failures
        .iter()
        .map(|(rule, count, why)| json!({"rule": &**rule, "evaluations": count, "first_error": &**why}))
        .collect();
    let all = run.timeline.rules.iter().flat_map(|rule| &rule.series);
    json!({
        "for_seconds": run.variant.hold.map(|hold| hold.as_secs_f64()),
        "threshold": run.variant.threshold,
        "evaluations": run.timeline.evaluations,
        "failures": failures,
        "incidents": verdict_value(backtest, &judge(&backtest.incidents, all)),
        "alerts": alerts,
    })
}

fn rule_value(backtest: &Backtest, rule: &RuleTimeline) -> Json {
    let sum = Sum::of(&rule.series);
    let series: Vec<Json> = rule.series.iter().map(series_value).collect();
    json!({
        "alert": &*rule.rule.name,
        "file": &*rule.file,
        "line": rule.rule.line,
        "column": rule.rule.column,
        "group": &*rule.group,
        "expr": rule.rule.query,
        "for_seconds": rule.rule.alert().map(|alert| alert.hold.as_secs_f64()),
        "threshold": threshold_of(&rule.rule.expr),
        "fired": sum.fired,
        "firing_seconds": sum.seconds,
        "longest_seconds": sum.longest_seconds,
        "flapped": sum.flaps,
        "only_pending": sum.pending_only,
        "incidents": verdict_value(backtest, &judge(&backtest.incidents, &rule.series)),
        "series": series,
    })
}

fn series_value(series: &SeriesTimeline) -> Json {
    let span = |span: &crate::rules::backtest::Span| {
        json!({
            "state": span.state.as_str(),
            "from": time(span.from.as_millis()),
            "to": time(span.to.as_millis()),
            "open": span.is_open,
        })
    };
    let spans: Vec<Json> = series.spans.iter().map(span).collect();
    json!({"labels": labels_value(&series.labels), "spans": spans})
}

fn labels_value(labels: &Labels) -> Json {
    Json::Object(
        labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect::<Map<_, _>>(),
    )
}

/// `null` without incidents.
fn verdict_value(backtest: &Backtest, verdict: &Verdict) -> Json {
    if backtest.incidents.is_empty() {
        return Json::Null;
    }
    let name = |at: &usize| backtest.incidents.get(*at).map_or("", |incident| incident.name.as_str());
    let caught: Vec<Json> = verdict
        .caught
        .iter()
        .map(|(at, delay)| json!({"name": name(at), "delay_seconds": delay.as_secs_f64()}))
        .collect();
    let missed: Vec<&str> = verdict.missed.iter().map(name).collect();
    json!({
        "caught": caught,
        "missed": missed,
        "mean_delay_seconds": verdict.delays().map(|(mean, _)| mean.as_secs_f64()),
        "longest_delay_seconds": verdict.delays().map(|(_, longest)| longest.as_secs_f64()),
        "alarms": verdict.alarms,
        "false_alarms": verdict.false_alarms,
        "false_alarm_rate": verdict.false_alarm_rate(),
    })
}
