//! Bodies of requests that no handler wants: read within limits, and dropped.
//!
//! A connection can only be used again once the body of its last request has been read, and a client
//! that sends one must not be able to hold the connection or fill memory. Nothing is kept.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::Limits;
use super::pages::text;

/// How large a body may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    bytes: usize,
    timeout: Duration,
}

impl From<&Limits> for BodyLimits {
    fn from(limits: &Limits) -> Self {
        Self { bytes: limits.max_body_bytes, timeout: limits.body_timeout }
    }
}

/// Reads the request's body to its end before the handler runs, which gets an empty one.
pub(super) async fn discard(State(limits): State<BodyLimits>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, mut body) = request.into_parts();
    match tokio::time::timeout(limits.timeout, read_to_end(&mut body, limits.bytes)).await {
        Ok(Ok(())) => next.run(Request::from_parts(head, Body::empty())).await,
        Ok(Err(status)) => closing(status),
        Err(_) => closing(StatusCode::REQUEST_TIMEOUT),
    }
}

async fn read_to_end(body: &mut Body, limit: usize) -> Result<(), StatusCode> {
    // What `Content-Length` announces is refused before it is sent.
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut read = body.size_hint().lower();
    if read > limit {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > limit {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    Ok(())
}

/// An error after which the connection cannot be used: part of the body is still to come.
fn closing(status: StatusCode) -> Response {
    let mut response = text(status, format!("{}\n", status.canonical_reason().unwrap_or_default()));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
