//! One call of a webhook.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::parse_url;
use crate::config::Secret;
use crate::http_client::{HttpClient, HttpError};
use crate::tasks;

/// Why a notification was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Worth another attempt: no answer, a server's error, too many requests.
    Passing { error: String, reason: &'static str },
    /// The same call would be refused again.
    Lasting { error: String, reason: &'static str },
}

impl Failure {
    pub(super) fn error(&self) -> &str {
        match self {
            Self::Passing { error, .. } | Self::Lasting { error, .. } => error,
        }
    }

    /// Alertmanager's word for the metric.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Passing { reason, .. } | Self::Lasting { reason, .. } => reason,
        }
    }
}

/// Calls the URL with a payload. What the receiver answers beyond its status is not read.
pub(super) async fn deliver(
    client: &HttpClient,
    url: &Secret,
    payload: Bytes,
    deadline: Instant,
) -> Result<(), Failure> {
    let passing = |error: String| Failure::Passing { error, reason: "other" };
    // May be a file.
    let secret = url.clone();
    let read = tasks::blocking(move || secret.reveal()).await;
    let text = read.map_err(|e| passing(e.to_string()))?.map_err(|e| passing(e.to_string()))?;
    let uri = parse_url(&text).map_err(passing)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let sent = client.send(Method::POST, &uri, headers, payload, deadline).await;
    // Often the token is in the path, and whoever asks for the health is told the error.
    let response = sent.map_err(HttpError::without_url).map_err(|error| match error.is_timeout() {
        true => Failure::Passing { error: error.to_string(), reason: "contextDeadlineExceeded" },
        false => passing(error.to_string()),
    })?;
    let (status, text) = (response.status(), response.status_text());
    response.discard().await;
    let error = format!("unexpected status code {text}");
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 429 => Err(Failure::Passing { error, reason: "clientError" }),
        400..=499 => Err(Failure::Lasting { error, reason: "clientError" }),
        500..=599 => Err(Failure::Passing { error, reason: "serverError" }),
        _ => Err(Failure::Lasting { error, reason: "other" }),
    }
}
