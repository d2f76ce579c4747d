//! Asking a target: the request that Prometheus would send, and a body within bounds.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use tokio::time::{Instant, timeout_at};

use super::limits::{BodyBudget, Shared};
use super::pipeline::BodyFormat;
use super::settings::{JobSettings, ScrapeProtocol};
use crate::http_client::{HttpClient, HttpError, inflate};

/// What came, not yet taken apart.
#[derive(Debug)]
pub(super) struct Fetched {
    bytes: Vec<u8>,
    is_gzip: bool,
    content_type: String,
    limit: usize,
    budget: BodyBudget,
}

/// Why a scrape gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("server returned HTTP status {0}")]
    Status(String),
    #[error("{0}")]
    ContentType(String),
    #[error("context deadline exceeded")]
    Deadline,
}

impl FetchError {
    pub(super) const fn is_too_large(&self) -> bool {
        matches!(self, Self::Http(HttpError::TooLarge))
    }
}

/// How the targets of a job are asked.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: HttpClient,
    job: Arc<JobSettings>,
    accept: String,
    shared: Arc<Shared>,
}

impl Fetcher {
    pub(super) fn new(job: Arc<JobSettings>, shared: Arc<Shared>) -> Self {
        let accept = ScrapeProtocol::accept(&job.protocols, job.name_scheme);
        Self { client: HttpClient::new(&job.client), job, accept, shared }
    }

    /// Asks for samples; all of it within the timeout.
    pub(super) async fn fetch(&self, url: &Uri, timeout: Duration) -> Result<Fetched, FetchError> {
        let deadline = Instant::now() + timeout;
        // Never closed, hence granted or too late.
        let turn = timeout_at(deadline, self.shared.fetches.acquire()).await;
        let _turn = turn.map_err(|_| FetchError::Deadline)?;
        let response = self.client.get(url, self.headers(timeout), deadline).await?;
        if response.status() != StatusCode::OK {
            let status = response.status_text();
            response.discard().await;
            return Err(FetchError::Status(status));
        }
        let limit = match usize::try_from(self.job.limits.body_size.bytes()).unwrap_or(usize::MAX) {
            0 => self.shared.limits.body_bytes,
            limit => limit.min(self.shared.limits.body_bytes),
        };
        let mut fetched = Fetched {
            bytes: Vec::new(),
            // Also where it was not asked for.
            is_gzip: response.is_gzip(),
            content_type: response.content_type().to_owned(),
            limit,
            budget: BodyBudget::new(Arc::clone(&self.shared), limit),
        };
        let budget = &mut fetched.budget;
        response.read(&mut fetched.bytes, |bytes| budget.grow(bytes)).await?;
        Ok(fetched)
    }

    fn headers(&self, timeout: Duration) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(ACCEPT, &self.accept);
        set(ACCEPT_ENCODING, if self.job.enable_compression { "gzip" } else { "identity" });
        let seconds = timeout.as_secs_f64().to_string();
        set(HeaderName::from_static("x-prometheus-scrape-timeout-seconds"), &seconds);
        headers
    }
}

impl Fetched {
    /// The body as it is to be read. Takes processor time: for blocking threads.
    pub(super) fn body(mut self, fallback: Option<ScrapeProtocol>) -> Result<Body, FetchError> {
        if self.is_gzip {
            let mut inflated = Vec::with_capacity(4 * self.bytes.len().min(self.limit / 4));
            inflate(&self.bytes, self.limit, &mut inflated)?;
            if !self.budget.grow(inflated.len().saturating_sub(self.bytes.len())) {
                return Err(HttpError::TooLarge.into());
            }
            self.bytes = inflated;
        }
        let format = match self.bytes.is_empty() {
            // Nothing can be read as anything.
            true => BodyFormat::Text,
            false => body_format(&self.content_type, fallback)?,
        };
        Ok(Body { bytes: self.bytes, format, _budget: self.budget })
    }
}

/// A body as it is to be read.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) format: BodyFormat,
    _budget: BodyBudget,
}

fn body_format(content_type: &str, fallback: Option<ScrapeProtocol>) -> Result<BodyFormat, FetchError> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = |media_type: &str| match media_type {
        "text/plain" => Some(BodyFormat::Text),
        "application/openmetrics-text" => Some(BodyFormat::OpenMetrics),
        "application/vnd.google.protobuf" => Some(BodyFormat::Protobuf),
        _ => None,
    };
    let known = format(&media_type).or_else(|| fallback.and_then(|protocol| format(protocol.media_type())));
    known.ok_or_else(|| {
        FetchError::ContentType(if content_type.is_empty() {
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
                .to_owned()
        } else {
            format!(
                "received unsupported Content-Type {content_type:?} and no fallback_scrape_protocol specified for target"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_says_how_a_body_is_read() {
        let format = |text: &str, fallback| body_format(text, fallback).map_err(|e| e.to_string());
        for (text, expected) in [
            ("text/plain; version=0.0.4; charset=utf-8", BodyFormat::Text),
            ("Text/Plain", BodyFormat::Text),
            ("application/openmetrics-text; version=1.0.0", BodyFormat::OpenMetrics),
            ("application/vnd.google.protobuf; proto=x; encoding=delimited", BodyFormat::Protobuf),
        ] {
            assert_eq!(format(text, None), Ok(expected), "{text}");
        }
        let fallback = Some(ScrapeProtocol::PrometheusText0_0_4);
        assert_eq!(format("", fallback), Ok(BodyFormat::Text));
        assert_eq!(format("text/html", fallback), Ok(BodyFormat::Text));
        assert_eq!(
            format("text/html", None).unwrap_err(),
            "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target"
        );
        assert!(format("", None).unwrap_err().contains("blank Content-Type"));
    }
}
