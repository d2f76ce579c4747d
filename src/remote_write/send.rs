//! One request, and what its answer means: sent, try again, or refused for good.
//!
//! Invariant: an answer is read only as far as its first line is worth showing; how long to wait is taken from the
//! receiver within [`LONGEST_WAIT`].
//!
//! Source: Prometheus `storage/remote/client.go`; RFC 9110, "Retry-After".

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::message::Protocol;
use super::settings::RemoteSettings;
use crate::http_client::{HttpClient, Response};
use crate::model::Timestamp;

/// Longest that a receiver can make a queue wait with one answer.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Longest part of an answer's first line that is shown.
const SHOWN_BYTES: usize = 256;

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it. So many samples of it, where it says so.
    Sent {
        /// Samples that it took.
        written: Option<usize>,
    },
    /// It may go well later.
    Retry {
        /// What went wrong.
        why: String,
        /// How long the receiver wants to be left alone.
        after: Option<Duration>,
    },
    /// It will not go well.
    Refused {
        /// What the receiver says.
        why: String,
        /// Samples that it took all the same.
        written: usize,
        /// Whether single samples may be the cause (400).
        bad_request: bool,
    },
}

/// Sends a body; `samples` is how many it holds, 0 for metadata.
pub(super) async fn post(
    client: &HttpClient,
    remote: &RemoteSettings,
    protocol: Protocol,
    body: Bytes,
    samples: usize,
    now: Timestamp,
) -> Outcome {
    let headers = HeaderMap::from_iter([
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (CONTENT_TYPE, HeaderValue::from_static(protocol.content_type())),
        (VERSION, HeaderValue::from_static(protocol.version())),
    ]);
    let deadline = Instant::now() + remote.timeout;
    match client.send(Method::POST, &remote.url, headers, body, deadline).await {
        Err(error) => Outcome::Retry { why: error.to_string(), after: None },
        Ok(response) => judge(response, remote, protocol, samples, now).await,
    }
}

async fn judge(
    response: Response,
    remote: &RemoteSettings,
    protocol: Protocol,
    samples: usize,
    now: Timestamp,
) -> Outcome {
    let status = response.status();
    let written = text(response.headers(), WRITTEN).and_then(|text| text.trim().parse().ok());
    if status.is_success() {
        response.discard().await;
        return match (protocol, written) {
            (Protocol::V1, _) => Outcome::Sent { written: None },
            (Protocol::V2, None | Some(0)) if samples > 0 => Outcome::Refused {
                why: format!(
                    "sent v2 request with {samples} samples; got {status}, but PRW 2.0 response header statistics indicate none accepted; the receiver may only support prometheus.WriteRequest"
                ),
                written: 0,
                bad_request: false,
            },
            (Protocol::V2, written) => Outcome::Sent { written },
        };
    }
    let after = text(response.headers(), RETRY_AFTER).and_then(|text| retry_after(text, now));
    let said = response.status_text();
    let why = format!("server returned HTTP status {said}: {}", first_line(response).await);
    let busy = status == StatusCode::TOO_MANY_REQUESTS && remote.queue.retry_on_429;
    if status.is_server_error() || busy {
        return Outcome::Retry { why, after };
    }
    let bad_request = status == StatusCode::BAD_REQUEST;
    Outcome::Refused { why, written: written.unwrap_or(0).min(samples), bad_request }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()).since(now).min(LONGEST_WAIT))
}

async fn first_line(response: Response) -> String {
    let mut body = Vec::new();
    // What came before the refusal to read on is kept.
    let mut room = true;
    let _ = response.read(&mut body, |_| std::mem::replace(&mut room, false)).await;
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.get(..SHOWN_BYTES).unwrap_or(line);
    String::from_utf8_lossy(line).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_is_seconds_or_a_date() {
        let now = Timestamp::from_millis(1_445_412_470_000);
        for (text, seconds) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(10)),
            ("Wed, 21 Oct 2014 07:28:00 GMT", Some(0)),
            ("99999999999", Some(3_600)),
            ("soon", None),
            ("-1", None),
        ] {
            // The weekday of 2014 is another, which a lenient reader may refuse.
            let found = retry_after(text, now).map(|wait| wait.as_secs());
            assert!(found == seconds || text.contains("2014") && found.is_none(), "{text}: {found:?}");
        }
    }
}
