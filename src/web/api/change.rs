//! Calls that change something: JSON in the body, from programs and from pages of this program only.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::Api;
use super::reply::{Failure, FailureKind};
use crate::tasks;
use crate::web::body::{self, BodyLimits};
use crate::web::origin::{self, is_foreign};

/// What a body may take.
const LIMITS: BodyLimits = BodyLimits { bytes: 1 << 20, timeout: Duration::from_secs(10) };

/// The JSON of a call; the error is the answer.
pub(super) async fn json_body(api: &Api, request: Request<Body>) -> Result<Bytes, Response> {
    let (head, body) = own_body(api, request).await?;
    // A form of any page could send the other types.
    let kind =
        head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let why = "expected JSON; send it with Content-Type: application/json";
        return Err(Failure::new(FailureKind::BadData, why).into_response());
    }
    Ok(body)
}

/// Of a call that says all in its path; the error is the answer.
pub(super) async fn no_body(api: &Api, request: Request<Body>) -> Result<(), Response> {
    own_body(api, request).await.map(drop)
}

/// Head and body of a call that no other page has sent.
async fn own_body(api: &Api, request: Request<Body>) -> Result<(Parts, Bytes), Response> {
    let (head, mut body) = request.into_parts();
    // Read in any case: the connection goes on.
    let body = body::read(&mut body, LIMITS).await?;
    if is_foreign(&head.headers, &head.uri, &api.facts.external_url) {
        return Err(origin::refused());
    }
    Ok((head, body))
}

/// Changes something on a blocking thread, and goes on when the client leaves.
pub(super) async fn work(work: impl FnOnce() -> Result<Response, Failure> + Send + 'static) -> Response {
    match tasks::blocking(work).await {
        Ok(Ok(response)) => response.into_response(),
        Ok(Err(failure)) => failure.into_response(),
        Err(error) => Failure::internal(error.to_string()).into_response(),
    }
}
