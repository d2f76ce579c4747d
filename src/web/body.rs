//! Bodies of requests: read within limits; those that no handler wants are dropped as they come.
//!
//! A connection can only be used again once the body of its last request has been read, and a client
//! that sends one must not be able to hold the connection or fill memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;
use super::pages::text;

/// A body up to here is read without a turn: as many as there are connections fit.
const SMALL_BODY_BYTES: usize = 64 << 10;

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

/// A body that takes a turn, which is held as long as the body is in use: a small one when it has come, a large one when it is
/// no longer small. Who sends nothing keeps nobody's turn. `busy` is said where none is free in time.
pub(super) async fn read_in_turn(
    body: &mut Body,
    limits: BodyLimits,
    turns: &Arc<Semaphore>,
    busy: String,
) -> Result<(Bytes, OwnedSemaphorePermit), Response> {
    let bytes = u64::try_from(limits.bytes).unwrap_or(u64::MAX);
    // What `Content-Length` announces is refused before it is sent.
    if body.size_hint().lower() > bytes {
        return Err(closing(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let mut kept = BytesMut::new();
    let in_time = async |part: &mut BytesMut, body: &mut Body, enough| {
        let filled = tokio::time::timeout(limits.timeout, fill(part, body, limits.bytes, enough)).await;
        filled.map_err(|_| StatusCode::REQUEST_TIMEOUT).flatten().map_err(closing)
    };
    let ended = in_time(&mut kept, body, SMALL_BODY_BYTES).await?;
    let turn = tokio::time::timeout(limits.timeout, Arc::clone(turns).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return Err(text(StatusCode::SERVICE_UNAVAILABLE, busy)) };
    if !ended {
        in_time(&mut kept, body, usize::MAX).await?;
    }
    Ok((kept.freeze(), turn))
}

/// Takes from a body until it ends, which is the answer, or more than `enough` has come.
async fn fill(kept: &mut BytesMut, body: &mut Body, limit: usize, enough: usize) -> Result<bool, StatusCode> {
    while kept.len() <= enough {
        let Some(frame) = body.frame().await else { return Ok(true) };
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(data) = frame.data_ref() else { continue };
        if kept.len().saturating_add(data.len()) > limit {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        kept.extend_from_slice(data);
    }
    Ok(false)
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
