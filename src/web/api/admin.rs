//! `admin/tsdb/*`: deleting series, taking a snapshot. Only with `--web.enable-admin-api`.
//!
//! Source: Prometheus documentation, "TSDB Admin APIs".

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use super::params::{Params, invalid};
use super::reply::{Failure, FailureKind, success};
use crate::model::Timestamp;
use crate::tasks;
use crate::web::origin::{self, is_foreign};

/// `POST|PUT /api/v1/admin/tsdb/delete_series`
pub(super) async fn delete_series(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let params = match allowed(&api, request).await {
        Ok(params) => params,
        Err(refusal) => return refusal,
    };
    let work = move || {
        if params.all("match[]").next().is_none() {
            return Err(Failure::bad_data("no match[] parameter provided"));
        }
        let from = params.time("start")?.unwrap_or(Timestamp::from_millis(i64::MIN));
        let to = params.time("end")?.unwrap_or(Timestamp::from_millis(i64::MAX));
        let sets = params.matcher_sets().map_err(|why| invalid("match[]", &why))?;
        api.store.delete_series(&sets, from, to).map_err(|error| Failure::of_store(&error))
    };
    match tasks::blocking(work).await {
        Ok(Ok(_)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(failure)) => failure.into_response(),
        Err(error) => Failure::internal(error.to_string()).into_response(),
    }
}

/// `POST|PUT /api/v1/admin/tsdb/clean_tombstones`: what was deleted is gone already.
pub(super) async fn clean_tombstones(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    match allowed(&api, request).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal,
    }
}

/// `POST|PUT /api/v1/admin/tsdb/snapshot`
pub(super) async fn snapshot(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    if let Err(refusal) = allowed(&api, request).await {
        return refusal;
    }
    let Some(path) = api.facts.storage_path.clone() else {
        return Failure::internal("the history lives in memory only (storage.path is not set)")
            .into_response();
    };
    let name = snapshot_name((api.now)(), RandomState::new().hash_one(0_u8));
    let folder = path.join("snapshots").join(&name);
    match tasks::blocking(move || api.store.snapshot(&folder)).await {
        Ok(Ok(_)) => success(&json!({ "name": name })),
        Ok(Err(error)) => Failure::of_store(&error).into_response(),
        Err(error) => Failure::internal(error.to_string()).into_response(),
    }
}

/// As Prometheus names its own, so that they sort by time: Go's `20060102T150405Z0700`, and 63 bits that nobody foresees.
fn snapshot_name(now: Timestamp, random: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or(jiff::Timestamp::MAX);
    format!("{}-{:016x}", at.strftime("%Y%m%dT%H%M%SZ"), random >> 1)
}

/// The parameters of a call that may change something; the error is the answer.
async fn allowed(api: &Api, request: Request<Body>) -> Result<Params, Response> {
    if !api.admin {
        return Err(Failure::new(FailureKind::Unavailable, "admin APIs disabled").into_response());
    }
    let foreign = is_foreign(request.headers(), request.uri(), &api.facts.external_url);
    // Read in any case: the connection goes on.
    let params = Params::read(request, &api.forms).await.map_err(Failure::into_response)?;
    if foreign { Err(origin::refused()) } else { Ok(params) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_named_as_prometheus_names_them() {
        let at = Timestamp::from_millis(1_767_225_599_999);
        assert_eq!(snapshot_name(at, u64::MAX), "20251231T235959Z-7fffffffffffffff");
        assert_eq!(snapshot_name(Timestamp::default(), 5), "19700101T000000Z-0000000000000002");
    }
}
