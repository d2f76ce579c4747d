//! `/federate`: the last sample of every selected series, for another Prometheus to scrape.
//!
//! Source: Prometheus `web/federate.go`: series without a name are left out, families are untyped, external labels
//! are added where a series lacks them, and so is an empty `instance`, which keeps the scraper from adding its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::params::Params;
use super::reply::Failure;
use crate::expose;
use crate::model::{
    Batch, Kind, Labels, METRIC_NAME, Matcher, QueryableError, Segment, Select, SelectedSeries, Snapshot,
    Suffix, Timestamp, is_stale,
};
use crate::tasks;
use crate::web::pages::text;

/// `GET /federate`
pub(super) async fn federate(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let accept =
        request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let format = expose::negotiate(accept.as_deref());
    let params = match Params::read(request, &api.forms).await {
        Ok(params) => params,
        Err(failure) => return text(StatusCode::BAD_REQUEST, failure.message),
    };
    let turn = match api.turn().await {
        Ok(turn) => turn,
        Err(failure) => return text(StatusCode::SERVICE_UNAVAILABLE, failure.message),
    };
    let work = tasks::blocking(move || {
        let _turn = turn;
        let sets = params.matcher_sets().map_err(Failure::bad_data)?;
        let failed = |error: QueryableError| Failure::internal(error.to_string());
        let batch = gather(&api, &sets, (api.now)()).map_err(failed)?;
        let snapshot = Snapshot::assemble((api.now)(), vec![("federate", batch)]);
        let mut body = Vec::new();
        expose::encode(&snapshot, format, &mut body);
        Ok::<_, Failure>(body)
    });
    match work.await {
        Ok(Ok(body)) => {
            let mut response = body.into_response();
            if let Ok(content_type) = HeaderValue::from_str(&format.content_type()) {
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            }
            response
        }
        Ok(Err(failure)) => {
            let bad = failure.kind == super::reply::FailureKind::BadData;
            let status = if bad { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
            text(status, failure.message)
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer was not made\n"),
    }
}

/// The last samples within the lookback, as families.
fn gather(api: &Api, sets: &[Vec<Matcher>], now: Timestamp) -> Result<Batch, QueryableError> {
    let lookback_ms = i64::try_from(api.engine.options().lookback.as_millis()).unwrap_or(i64::MAX);
    let from = Timestamp::from_millis(now.as_millis().saturating_sub(lookback_ms).saturating_add(1));
    let mut found: BTreeMap<Labels, (Timestamp, f64)> = BTreeMap::new();
    for matchers in sets {
        for series in api.history.select(&Select { matchers, from, to: now })? {
            if let Some(last) = last_sample(&series, from, now)? {
                found.insert(series.labels, last);
            }
        }
    }
    let external = api.external_labels.load();
    let mut batch = Batch::new();
    for (labels, (at, value)) in &found {
        let name = labels.metric_name();
        if name.is_empty() {
            continue;
        }
        let own = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        let mut pairs: Vec<(&str, &str)> = own.collect();
        let instance = ("instance", "");
        for (label, value) in external.iter().chain(external.get("instance").is_none().then_some(instance)) {
            if labels.get(label).is_none() {
                pairs.push((label, value));
            }
        }
        let family = batch.family(name, "", Kind::Untyped);
        batch.sample_full(family, Suffix::None, &pairs, *value, Some(*at));
    }
    Ok(batch)
}

/// The last sample of the range, unless the series ended there.
fn last_sample(
    series: &SelectedSeries,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<(Timestamp, f64)>, QueryableError> {
    for segment in series.segments.iter().rev() {
        let samples = match segment {
            Segment::Samples(samples) => Arc::clone(samples),
            Segment::Page(page) => page.read()?,
        };
        let within = |(at, _): &(i64, f64)| (from.as_millis()..=to.as_millis()).contains(at);
        if let Some((at, value)) = samples.iter().rev().find(within) {
            return Ok((!is_stale(value)).then(|| (Timestamp::from_millis(at), value)));
        }
    }
    Ok(None)
}
