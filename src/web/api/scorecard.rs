//! `scorecard`: pillars, targets, a grade. This program's own; Prometheus has no such page.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde_json::json;

use super::json::write_json;
use super::reply::{Remarks, WriteData};
use super::{Api, respond};

/// `GET /api/v1/scorecard`: `scorecard` is null where there is none.
pub(super) async fn scorecard(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, _| {
        let report = api.scorecard.current((api.now)());
        let write = move |out: &mut dyn Write| write_json(out, &json!({ "scorecard": report }));
        Ok((Remarks::default(), Box::new(write) as WriteData))
    })
    .await
}
