//! Bodies of requests: read within limits; those that no handler wants are dropped as they come.
//!
//! A connection can only be used again once the body of its last request has been read, and a client
//! that sends one must not be able to hold the connection or fill memory.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use super::Limits;
use super::pages::text;

/// How large a body may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) bytes: usize,
    pub(super) timeout: Duration,
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
    match tokio::time::timeout(limits.timeout, read_to_end(&mut body, limits.bytes, |_| ())).await {
        Ok(Ok(())) => next.run(Request::from_parts(head, Body::empty())).await,
        Ok(Err(status)) => closing(status),
        Err(_) => closing(StatusCode::REQUEST_TIMEOUT),
    }
}

/// The body for a handler that wants it; the error is the answer.
pub(super) async fn read(body: &mut Body, limits: BodyLimits) -> Result<Bytes, Response> {
    let mut kept = BytesMut::new();
    let reading = read_to_end(body, limits.bytes, |data| kept.extend_from_slice(data));
    match tokio::time::timeout(limits.timeout, reading).await {
        Ok(Ok(())) => Ok(kept.freeze()),
        Ok(Err(status)) => Err(closing(status)),
        Err(_) => Err(closing(StatusCode::REQUEST_TIMEOUT)),
    }
}

async fn read_to_end(body: &mut Body, limit: usize, mut each: impl FnMut(&[u8])) -> Result<(), StatusCode> {
    // What `Content-Length` announces is refused before it is sent.
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut read = body.size_hint().lower();
    if read > limit {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(data) = frame.data_ref() else { continue };
        read += data.len() as u64;
        if read > limit {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        each(data);
    }
    Ok(())
}

/// An error after which the connection cannot be used: part of the body is still to come.
fn closing(status: StatusCode) -> Response {
    let mut response = text(status, format!("{}\n", status.canonical_reason().unwrap_or_default()));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
