//! `query`, `query_range`, `format_query`, `parse_query`.
//!
//! Source: Prometheus `web/api/v1/api.go`: parameters, their checks in that order, and the texts.

use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::json;

use super::json::{write_float, write_json, write_labels, write_point, write_seconds, write_text};
use super::params::{Params, invalid};
use super::reply::{Failure, FailureKind, Remarks, WriteData};
use super::{Api, respond};
use crate::model::Timestamp;
use crate::promql::{self, Cancel, QueryError, QueryOptions, QueryResult, QueryStats, Value};
use crate::web::connection::Client;

/// Most steps of a range query.
const MOST_STEPS: i64 = 11_000;

/// Most warnings, and most infos, of an answer.
const MOST_REMARKS: usize = 10;

/// Cancels a query when the client is gone: dropped with the request's future.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Answers, and cancels the query when the client leaves.
async fn respond_while_wanted<F>(
    api: &Arc<Api>,
    request: Request<Body>,
    cancel: &CancelOnDrop,
    compute: F,
) -> Response
where
    F: FnOnce(&Api, &Params) -> Result<(Remarks, WriteData), Failure> + Send + 'static,
{
    let client = request.extensions().get::<Client>().cloned();
    let mut answer = pin!(respond(api, request, compute));
    let Some(client) = client else { return answer.await };
    tokio::select! {
        response = &mut answer => response,
        () = client.left() => {
            cancel.0.cancel();
            answer.await
        }
    }
}

/// `GET|POST /api/v1/query`
pub(super) async fn instant(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let (cancel, begun) = (CancelOnDrop(Cancel::default()), Instant::now());
    let token = cancel.0.clone();
    respond_while_wanted(&api, request, &cancel, move |api, params| {
        let limit = params.limit()?;
        let at = params.time("time")?.unwrap_or_else(api.now);
        let options = options(params, token, begun)?;
        let expr = parsed(api, params)?;
        let evaluated = api.engine.instant(&*api.history, &expr, at, &options);
        answer(params, evaluated.map_err(|error| failure(&error))?, limit)
    })
    .await
}

/// `GET|POST /api/v1/query_range`
pub(super) async fn range(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let (cancel, begun) = (CancelOnDrop(Cancel::default()), Instant::now());
    let token = cancel.0.clone();
    respond_while_wanted(&api, request, &cancel, move |api, params| {
        let limit = params.limit()?;
        let (start, end) = (params.required_time("start")?, params.required_time("end")?);
        if end < start {
            return Err(invalid("end", "end timestamp must not be before start time"));
        }
        let step_ms = params.required_duration_ms("step")?;
        if step_ms <= 0 {
            let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(invalid("step", why));
        }
        if end.as_millis().saturating_sub(start.as_millis()) / step_ms > MOST_STEPS {
            return Err(Failure::bad_data(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ));
        }
        let options = options(params, token, begun)?;
        let step = Duration::from_millis(step_ms.unsigned_abs());
        let expr = parsed(api, params)?;
        let evaluated = api.engine.range(&*api.history, &expr, (start, end), step, &options);
        answer(params, evaluated.map_err(|error| failure(&error))?, limit)
    })
    .await
}

/// `GET|POST /api/v1/query_exemplars`: none are kept.
pub(super) async fn exemplars(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let start = params.time("start")?.unwrap_or(Timestamp::from_millis(i64::MIN));
        let end = params.time("end")?.unwrap_or(Timestamp::from_millis(i64::MAX));
        if end < start {
            return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
        }
        promql::parse(params.get("query"), &api.parse_options)
            .map_err(|error| Failure::bad_data(error.to_string()))?;
        Ok((Remarks::default(), Box::new(|out: &mut dyn Write| out.write_all(b"[]")) as WriteData))
    })
    .await
}

/// `GET|POST /api/v1/format_query`
pub(super) async fn format(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let text = promql::pretty(&parsed(api, params)?);
        Ok((
            Remarks::default(),
            Box::new(move |mut out: &mut dyn Write| write_text(&mut out, &text)) as WriteData,
        ))
    })
    .await
}

/// `GET|POST /api/v1/parse_query`
pub(super) async fn parse(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let tree = promql::to_json(&parsed(api, params)?);
        let write = move |out: &mut dyn Write| write_json(out, &tree);
        Ok((Remarks::default(), Box::new(write) as WriteData))
    })
    .await
}

fn parsed(api: &Api, params: &Params) -> Result<promql::ast::Expr, Failure> {
    let parsed = promql::parse(params.get("query"), &api.parse_options);
    parsed.map_err(|error| invalid("query", &error.to_string()))
}

fn options(params: &Params, cancel: Cancel, begun: Instant) -> Result<QueryOptions, Failure> {
    let duration = |name| {
        let ms = params.duration_ms(name)?;
        Ok(ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0).map(Duration::from_millis))
    };
    let (timeout, lookback) = (duration("timeout")?, duration("lookback_delta")?);
    Ok(QueryOptions { timeout, lookback, begun: Some(begun), cancel })
}

pub(super) fn failure(error: &QueryError) -> Failure {
    let kind = match error {
        QueryError::BadData(why) => return invalid("query", why),
        QueryError::Timeout(_) => FailureKind::Timeout,
        QueryError::Canceled(_) => FailureKind::Canceled,
        QueryError::Storage(_) => FailureKind::Internal,
        _ => FailureKind::Execution,
    };
    Failure::new(kind, error.to_string())
}

fn answer(params: &Params, mut result: QueryResult, limit: usize) -> Result<(Remarks, WriteData), Failure> {
    let (query, annotations) = (params.get("query"), &result.annotations);
    let mut remarks = Remarks {
        warnings: annotations.warnings(query, MOST_REMARKS),
        infos: annotations.infos(query, MOST_REMARKS),
    };
    if truncate(&mut result.value, limit) {
        remarks.warnings.extend(Remarks::truncated().warnings);
    }
    let stats = (!params.get("stats").is_empty()).then(|| stats(&result.stats));
    let value = result.value;
    let write: WriteData = Box::new(move |out| {
        write_data(out, &value, |out| match &stats {
            None => Ok(()),
            Some(stats) => {
                out.write_all(b",\"stats\":")?;
                write_json(out, stats)
            }
        })
    });
    Ok((remarks, write))
}

/// Writes the `data` of a query's answer.
///
/// # Errors
/// Those of `out`.
pub fn write_query_data(mut out: &mut dyn Write, value: &Value) -> io::Result<()> {
    write_data(&mut out, value, |_| Ok(()))
}

fn write_data(
    mut out: &mut dyn Write,
    value: &Value,
    more: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    write!(out, "{{\"resultType\":\"{}\",\"result\":", value.result_type())?;
    write_value(&mut out, value)?;
    more(out)?;
    out.write_all(b"}")
}

/// Under Prometheus's names; what is not measured apart is 0.
fn stats(stats: &QueryStats) -> serde_json::Value {
    let (queued, evaluated) = (stats.queued.as_secs_f64(), stats.evaluated.as_secs_f64());
    json!({
        "timings": {
            "evalTotalTime": evaluated,
            "resultSortTime": 0.0,
            "queryPreparationTime": 0.0,
            "innerEvalTime": evaluated,
            "execQueueTime": queued,
            "execTotalTime": queued + evaluated,
        },
        "samples": { "totalQueryableSamples": stats.total_samples, "peakSamples": stats.peak_samples },
    })
}

/// Cuts a result to so many series; whether something was cut.
fn truncate(value: &mut Value, limit: usize) -> bool {
    let before = match value {
        _ if limit == 0 => return false,
        Value::Vector(samples) => {
            let before = samples.len();
            samples.truncate(limit);
            before
        }
        Value::Matrix(series) => {
            let before = series.len();
            series.truncate(limit);
            before
        }
        _ => return false,
    };
    before > limit
}

fn write_value(out: &mut &mut dyn Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Scalar { at_ms, value } => {
            out.write_all(b"[")?;
            write_seconds(out, *at_ms)?;
            out.write_all(b",\"")?;
            write_float(out, *value)?;
            out.write_all(b"\"]")
        }
        Value::String { at_ms, text } => {
            out.write_all(b"[")?;
            write_seconds(out, *at_ms)?;
            out.write_all(b",")?;
            write_text(out, text)?;
            out.write_all(b"]")
        }
        Value::Vector(samples) => write_list(out, samples, |out, sample| {
            out.write_all(b"{\"metric\":")?;
            write_labels(out, &sample.labels)?;
            out.write_all(b",\"value\":")?;
            write_point(out, sample.at_ms, sample.value)?;
            out.write_all(b"}")
        }),
        Value::Matrix(series) => write_list(out, series, |out, series| {
            out.write_all(b"{\"metric\":")?;
            write_labels(out, &series.labels)?;
            out.write_all(b",\"values\":[")?;
            for (at, (at_ms, value)) in series.samples.iter().enumerate() {
                out.write_all(if at > 0 { b"," } else { b"" })?;
                write_point(out, at_ms, value)?;
            }
            out.write_all(b"]}")
        }),
    }
}

fn write_list<T>(
    out: &mut &mut dyn Write,
    items: &[T],
    mut write: impl FnMut(&mut &mut dyn Write, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, item) in items.iter().enumerate() {
        out.write_all(if at > 0 { b"," } else { b"" })?;
        write(out, item)?;
    }
    out.write_all(b"]")
}
