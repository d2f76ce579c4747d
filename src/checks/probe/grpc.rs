//! gRPC: the standard health check of a service.
//!
//! One call over HTTP/2; its two messages have one field each. Source: gRPC's documents `PROTOCOL-HTTP2.md` and
//! `health-checking.md`.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioExecutor;

use super::module::GrpcModule;
use super::report::{GRPC_DURATION, GRPC_HEALTH, GRPC_SSL, GRPC_STATUS, Report};
use super::ssl;
use crate::checks::net::{self, host_and_port};
use crate::http_client::{BoxedIo, Protocols, Stream, Tls, percent_decoded, system_text};
use crate::tasks;

/// Longest answer: the message has a few bytes.
const MOST_BYTES: usize = 64 << 10;

/// `ServingStatus`, by number.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

const SERVING: usize = 1;

/// Statuses of calls.
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const NOT_FOUND: u32 = 5;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
struct Called {
    status: u32,
    message: String,
    body: Vec<u8>,
}

/// A call that the server did not answer: the status that stands for that, and why.
type NotCalled = (u32, String);

/// No connection, or one that broke.
const fn unavailable(why: String) -> NotCalled {
    (UNAVAILABLE, why)
}

/// As gRPC translates answers of those who do not speak it. Source: its document `http-grpc-status-mapping.md`.
const fn status_of_http(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

pub(super) async fn run(module: &GrpcModule, target: &str, report: &mut Report) -> Result<(), String> {
    for status in STATUSES {
        report.set_named(GRPC_HEALTH, status, 0.0);
    }
    let (host, port) = host_and_port(target, None)?;
    let (address, took) = net::resolve(&host, module.family).await;
    report.phase(GRPC_DURATION, "resolve", took);
    let address = report.resolved(address, took)?;
    // What counts when the time is over before anything else is known.
    report.set(GRPC_STATUS, f64::from(DEADLINE_EXCEEDED));
    let began = Instant::now();
    let called = connect_and_call(module, &host, (address, port).into(), target, report).await;
    report.phase(GRPC_DURATION, "check", began.elapsed());
    let called = called.map_err(|(status, why)| {
        report.set(GRPC_STATUS, f64::from(status));
        why
    })?;
    report.set(GRPC_STATUS, f64::from(called.status));
    let serving = match called.status {
        0 => serving_status(&called.body).ok_or_else(|| {
            let status = if called.body.is_empty() { UNKNOWN } else { INTERNAL };
            report.set(GRPC_STATUS, f64::from(status));
            "the answer is no health check's"
        })?,
        NOT_FOUND => STATUSES.len() - 1,
        UNIMPLEMENTED => return Err("the server has no health checks".to_owned()),
        status => return Err(format!("the call ended with status {status}: {}", called.message)),
    };
    let name = STATUSES.get(serving).copied().unwrap_or("UNKNOWN");
    report.set_named(GRPC_HEALTH, name, 1.0);
    if serving == SERVING { Ok(()) } else { Err(format!("the service says {name}")) }
}

async fn connect_and_call(
    module: &GrpcModule,
    host: &str,
    address: std::net::SocketAddr,
    target: &str,
    report: &mut Report,
) -> Result<Called, NotCalled> {
    let stream = net::connect(address, None).await.map_err(unavailable)?;
    if !module.tls {
        return call(stream, &format!("http://{target}"), module).await;
    }
    let tls = Arc::new(Tls::new(module.tls_settings.clone(), Protocols::Http2));
    let verifies = !module.tls_settings.insecure_skip_verify;
    let (stream, facts) = net::encrypt(stream, &tls, verifies, host).await.map_err(unavailable)?;
    report.set_flag(GRPC_SSL, true);
    ssl::report(&facts, report);
    if !facts.http2 {
        return Err(unavailable("the server does not speak HTTP/2".to_owned()));
    }
    call(stream, &format!("https://{target}"), module).await
}

async fn call(stream: BoxedIo, base: &str, module: &GrpcModule) -> Result<Called, NotCalled> {
    let failed = |error: hyper::Error| {
        use std::error::Error as _;
        let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        unavailable(io.map_or_else(|| format!("HTTP/2: {error}"), system_text))
    };
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), Stream::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(failed)?;
    let driver = tasks::spawn(async move { drop(connection.await) });
    let _ended = AbortOnDrop(driver.abort_handle());
    let url = format!("{base}/grpc.health.v1.Health/Check").parse::<Uri>();
    let url = url.map_err(|error| (UNKNOWN, format!("not a target: {error}")))?;
    let mut request = Request::new(Full::new(Bytes::from(question(&module.service))));
    (*request.method_mut(), *request.uri_mut()) = (Method::POST, url);
    let headers = request.headers_mut();
    for (name, values) in &module.metadata {
        for value in values {
            let text = value.reveal().map_err(|error| (UNKNOWN, error.to_string()))?;
            // Of such a name the value may be any bytes.
            let text = if name.as_str().ends_with("-bin") { STANDARD_NO_PAD.encode(text) } else { text };
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (name.clone(), value)));
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("Outrigger/", env!("CARGO_PKG_VERSION"))));
    let response = sender.send_request(request).await.map_err(failed)?;
    let (head, mut incoming) = response.into_parts();
    if !head.status.is_success() {
        let status = head.status.as_u16();
        return Err((status_of_http(status), format!("HTTP status {status}")));
    }
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = incoming.frame().await {
        match frame.map_err(failed)?.into_data() {
            Ok(data) if body.len() + data.len() > MOST_BYTES => {
                return Err((RESOURCE_EXHAUSTED, "an answer without end".to_owned()));
            }
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    // An answer without a body may have it all in its head.
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let status = text("grpc-status").and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| (UNKNOWN, "the answer has no grpc-status".to_owned()))?;
    let message = percent_decoded(&text("grpc-message").unwrap_or_default());
    Ok(Called { status, message: String::from_utf8_lossy(&message).into_owned(), body })
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `HealthCheckRequest` in its frame: not compressed, length, field 1.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    [&[0], length.as_slice(), &message].concat()
}

fn varint(mut number: usize, into: &mut Vec<u8>) {
    while number > 0x7f {
        into.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    into.push(u8::try_from(number).unwrap_or(0));
}

/// The status in a framed `HealthCheckResponse`; an empty message has the first.
fn serving_status(body: &[u8]) -> Option<usize> {
    let (head, rest) = body.split_first_chunk::<5>()?;
    let [0, length @ ..] = *head else { return None };
    let message = rest.get(..usize::try_from(u32::from_be_bytes(length)).ok()?)?;
    let mut at = message.iter().copied();
    let mut status = 0;
    while let Some(key) = read_varint(&mut at)? {
        match key {
            // Field 1, a number.
            0x08 => status = read_varint(&mut at)??,
            // Other numbers and texts are of later versions.
            key if key & 7 == 0 => drop(read_varint(&mut at)??),
            key if key & 7 == 2 => {
                let length = usize::try_from(read_varint(&mut at)??).ok()?;
                if at.by_ref().take(length).count() < length {
                    return None;
                }
            }
            _ => return None,
        }
    }
    usize::try_from(status).ok()
}

/// `None`: overlong or cut off; `Some(None)`: the end.
fn read_varint(bytes: &mut impl Iterator<Item = u8>) -> Option<Option<u64>> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let Some(byte) = bytes.next() else { return (shift == 0).then_some(None) };
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(Some(number));
        }
    }
    None
}

/// Reads bytes as an answer; for fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    let _ = serving_status(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn questions_and_answers() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(200)).get(5..8), Some([0x0a, 0xc8, 0x01].as_slice()));
        for (body, want) in [
            (vec![0, 0, 0, 0, 0], Some(0)),
            (vec![0, 0, 0, 0, 2, 8, 1], Some(1)),
            (vec![0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 2], Some(2)),
            (vec![0, 0, 0, 0, 2, 8], None),
            (vec![1, 0, 0, 0, 2, 8, 1], None),
            (vec![0, 0xff, 0xff, 0xff, 0xff, 8, 1], None),
            (vec![0, 0, 0, 0, 2, 0x12, 99], None),
            (vec![], None),
        ] {
            assert_eq!(serving_status(&body), want, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            survives(&bytes);
        }
    }
}
