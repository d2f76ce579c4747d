//! `events`: deployments, incidents and others, posted, listed and deleted. This program's own.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::json::write_json;
use super::params::invalid;
use super::reply::{Failure, FailureKind, Remarks, WriteData, success};
use super::{Api, change, respond};
use crate::events::{EventFilter, PostError};

/// Events of an answer, unless it is asked for fewer.
const MOST_LISTED: usize = 1_000;

/// `GET /api/v1/events`
pub(super) async fn list(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let texts = |name| params.all(name).map(str::to_owned).collect();
        let limit = Some(params.limit()?).filter(|limit| *limit > 0).unwrap_or(MOST_LISTED);
        let filter = EventFilter {
            from: params.time("start")?,
            to: params.time("end")?,
            kinds: texts("type[]"),
            services: texts("service[]"),
            // One more, to know whether there was more.
            limit: limit.saturating_add(1),
        };
        if let (Some(from), Some(to)) = (filter.from, filter.to)
            && to < from
        {
            return Err(invalid("end", "end timestamp must not be before start time"));
        }
        let mut events = api.events.list(&filter);
        let remarks = if events.len() > limit { Remarks::truncated() } else { Remarks::default() };
        events.truncate(limit);
        let write = move |mut out: &mut dyn Write| {
            out.write_all(b"{\"events\":[")?;
            for (at, event) in events.iter().enumerate() {
                out.write_all(if at > 0 { b"," } else { b"" })?;
                write_json(&mut out, &event.to_json())?;
            }
            out.write_all(b"]}")
        };
        Ok((remarks, Box::new(write) as WriteData))
    })
    .await
}

/// `POST /api/v1/events`
pub(super) async fn post(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let body = match change::json_body(&api, request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let turn = match api.turn().await {
        Ok(turn) => turn,
        Err(failure) => return failure.into_response(),
    };
    change::work(move || {
        let _turn = turn;
        match api.events.post(&body, (api.now)()) {
            Ok(posted) => Ok(success(&posted)),
            Err(PostError::Wrong(error)) => Err(Failure::bad_data(error.to_string())),
            Err(PostError::Store(error)) => Err(Failure::of_store(&error)),
        }
    })
    .await
}

/// `DELETE /api/v1/events/ID`
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response {
    if let Err(refusal) = change::no_body(&api, request).await {
        return refusal;
    }
    let turn = match api.turn().await {
        Ok(turn) => turn,
        Err(failure) => return failure.into_response(),
    };
    change::work(move || {
        let _turn = turn;
        match api.events.delete(&id, (api.now)()) {
            Ok(true) => Ok(StatusCode::NO_CONTENT.into_response()),
            Ok(false) => Err(Failure::new(FailureKind::NotFound, format!("no event has the id {id:?}"))),
            Err(error) => Err(Failure::of_store(&error)),
        }
    })
    .await
}
