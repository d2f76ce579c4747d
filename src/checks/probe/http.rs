//! HTTP: a request, redirects, and what is expected of status, headers, body, version and TLS.
//!
//! A connection of its own for each request, so that each phase can be timed. Invariant: of a body that nobody looks
//! at only the length is kept, of one that is looked at [`MOST_KEPT`]; one without end is cut at a bound.
//!
//! Source: blackbox_exporter's documentation of `http_probe`; RFC 9110.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::module::{HeaderMatch, HttpModule, Pattern};
use super::report::{
    FAILED_REGEX, HTTP_BODY, HTTP_DURATION, HTTP_LENGTH, HTTP_MODIFIED, HTTP_REDIRECTS, HTTP_SSL,
    HTTP_STATUS, HTTP_VERSION, Report,
};
use super::ssl;
use crate::checks::net::{self, TlsFacts};
use crate::http_client::{Tls, inflate, next_url, secret_headers, system_text};

/// As many redirects as Go follows.
const MOST_REDIRECTS: usize = 10;

/// Most of a body that is looked at.
const MOST_KEPT: usize = 4 << 20;

/// Most of a body that is taken where the module sets no limit.
const MOST_TAKEN: u64 = 256 << 20;

/// Longest head of a response.
const LONGEST_HEAD: usize = 64 << 10;

const AGENT: &str = concat!("Outrigger/", env!("CARGO_PKG_VERSION"));

/// A response whose body is still to come.
struct Answer {
    response: Response<Incoming>,
    tls: Option<TlsFacts>,
    /// When the head was there.
    at: Instant,
    /// Ends the connection when the answer is dropped.
    _connection: Driver,
}

/// What moves a connection's bytes.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn run(module: &HttpModule, target: &str, report: &mut Report) -> Result<(), String> {
    let text = if target.contains("://") { target.to_owned() } else { format!("http://{target}") };
    let origin: Uri = text.parse().map_err(|error| format!("{target:?} is not a URL: {error}"))?;
    let tls = Arc::new(Tls::new(module.client.tls.clone(), module.client.enable_http2));
    let (mut url, mut method, mut body) = (origin.clone(), module.method.clone(), module.body.clone());
    let mut redirects = 0;
    let answer = loop {
        let same_host = url.authority() == origin.authority() && url.scheme() == origin.scheme();
        let answer =
            ask(module, &tls, &url, &method, body.clone(), same_host, redirects == 0, report).await?;
        let status = answer.response.status();
        let location = answer.response.headers().get(LOCATION);
        let (Some(location), true) = (location, matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308))
        else {
            break answer;
        };
        redirects += 1;
        report.set_count(HTTP_REDIRECTS, redirects);
        if !module.client.follow_redirects {
            break answer;
        }
        if redirects > MOST_REDIRECTS {
            describe(&answer.response, answer.tls.as_ref(), report);
            return Err(format!("stopped after {MOST_REDIRECTS} redirects"));
        }
        let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
        url = next_url(&url, &location)
            .ok_or_else(|| format!("redirected to {location:?}, which is no URL"))?;
        if !matches!(status.as_u16(), 307 | 308) && method != Method::HEAD {
            (method, body) = (Method::GET, String::new());
        }
    };
    judge(module, answer, report).await
}

/// One request on a connection of its own.
#[expect(clippy::too_many_arguments, reason = "what differs between the requests of one probe")]
async fn ask(
    module: &HttpModule,
    tls: &Arc<Tls>,
    url: &Uri,
    method: &Method,
    body: String,
    same_host: bool,
    is_first: bool,
    report: &mut Report,
) -> Result<Answer, String> {
    let encrypted = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default();
    let port = url.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let (address, took) = net::resolve(host, module.family).await;
    report.phase(HTTP_DURATION, "resolve", took);
    let address = if is_first { report.resolved(address, took)? } else { address? };
    let began = Instant::now();
    let stream = net::connect((address, port).into(), None).await?;
    report.phase(HTTP_DURATION, "connect", began.elapsed());
    let request = request(module, url, method, body, same_host).await?;
    if !encrypted {
        return exchange(TokioIo::new(stream), request, None, report).await;
    }
    let began = Instant::now();
    let verifies = !module.client.tls.insecure_skip_verify;
    let encrypted = net::encrypt(stream, tls, verifies, host).await;
    report.phase(HTTP_DURATION, "tls", began.elapsed());
    let (stream, facts) = encrypted?;
    exchange(TokioIo::new(stream), request, Some(facts), report).await
}

async fn exchange<S>(
    stream: TokioIo<S>,
    mut request: Request<Full<Bytes>>,
    tls: Option<TlsFacts>,
    report: &mut Report,
) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let began = Instant::now();
    let failed = |error: hyper::Error| transport_text(&error);
    let (response, driver) = if tls.as_ref().is_some_and(|facts| facts.http2) {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = handshake.map_err(failed)?;
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }).abort_handle());
        (sender.send_request(request).await.map_err(failed)?, driver)
    } else {
        // The form of a request to the server itself.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = path.parse().map_err(|_| "the URL has no path".to_owned())?;
        let mut builder = hyper::client::conn::http1::Builder::new();
        let handshake = builder.max_buf_size(LONGEST_HEAD).handshake(stream).await;
        let (mut sender, connection) = handshake.map_err(failed)?;
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }).abort_handle());
        (sender.send_request(request).await.map_err(failed)?, driver)
    };
    report.phase(HTTP_DURATION, "processing", began.elapsed());
    Ok(Answer { response, tls, at: Instant::now(), _connection: driver })
}

async fn request(
    module: &HttpModule,
    url: &Uri,
    method: &Method,
    body: String,
    same_host: bool,
) -> Result<Request<Full<Bytes>>, String> {
    let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, authority),
    };
    let mut headers = HeaderMap::new();
    let insert = |headers: &mut HeaderMap, name: HeaderName, text: &str| {
        headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
    };
    insert(&mut headers, HOST, host);
    insert(&mut headers, USER_AGENT, AGENT);
    // What is meant for the target is not shown to where it redirects.
    if same_host {
        if let Some(user) = user {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(user);
            insert(&mut headers, AUTHORIZATION, &format!("Basic {encoded}"));
        }
        for (name, value) in &module.headers {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                headers.remove(&name);
                insert(&mut headers, name, value);
            }
        }
        let settings = module.client.clone();
        // May read files.
        let secrets = tokio::task::spawn_blocking(move || secret_headers(&settings)).await;
        let secrets = secrets.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        headers.extend(secrets);
    }
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method.clone();
    let mut parts = url.clone().into_parts();
    parts.authority = Some(host.parse().map_err(|_| "the URL has no host".to_owned())?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// What the head of an answer says.
fn describe(response: &Response<Incoming>, tls: Option<&TlsFacts>, report: &mut Report) {
    let headers = response.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<f64>().ok());
    report.set(HTTP_STATUS, f64::from(response.status().as_u16()));
    report.set(HTTP_LENGTH, length.unwrap_or(-1.0));
    report.set(
        HTTP_VERSION,
        match response.version() {
            Version::HTTP_2 => 2.0,
            Version::HTTP_10 => 1.0,
            _ => 1.1,
        },
    );
    report.set_flag(HTTP_SSL, tls.is_some());
    if let Some(modified) = text(LAST_MODIFIED).and_then(http_date) {
        report.set(HTTP_MODIFIED, modified);
    }
    if let Some(facts) = tls {
        ssl::report(facts, report);
    }
}

/// Everything that the module expects of the last answer.
async fn judge(module: &HttpModule, answer: Answer, report: &mut Report) -> Result<(), String> {
    let Answer { response, tls, at, _connection } = answer;
    describe(&response, tls.as_ref(), report);
    let (head, body) = response.into_parts();
    let body = take_body(module, body, report).await;
    report.phase(HTTP_DURATION, "transfer", at.elapsed());
    let mut failures: Vec<String> = Vec::new();
    failures.extend(status_failure(module, head.status));
    if failures.is_empty()
        && let Some(why) = header_failure(module, &head.headers)
    {
        report.set(FAILED_REGEX, 1.0);
        failures.push(why);
    }
    match body {
        Err(why) => failures.push(why),
        Ok(body) => {
            let body = if module.gzip { inflated(body)? } else { body };
            report.set(HTTP_BODY, body.length);
            if failures.is_empty()
                && let Some(why) = body_failure(module, &String::from_utf8_lossy(&body.kept))
            {
                report.set(FAILED_REGEX, 1.0);
                failures.push(why);
            }
        }
    }
    let version = version_text(head.version);
    if !module.valid_http_versions.is_empty()
        && !module.valid_http_versions.iter().any(|valid| valid == version)
    {
        failures.push(format!("{version} is none of the valid versions"));
    }
    match &tls {
        Some(_) if module.fail_if_ssl => failures.push("the answer came over TLS".to_owned()),
        None if module.fail_if_not_ssl => failures.push("the answer did not come over TLS".to_owned()),
        _ => {}
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

struct Body {
    length: f64,
    kept: Vec<u8>,
}

/// Reads to the end. What nobody looks at is counted only.
async fn take_body(module: &HttpModule, mut body: Incoming, report: &mut Report) -> Result<Body, String> {
    let looked_at =
        module.gzip || !module.fail_if_body_matches.is_empty() || !module.fail_if_body_not_matches.is_empty();
    let most = module.body_size_limit.unwrap_or(MOST_TAKEN);
    let (mut taken, mut kept) = (0_u64, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| transport_text(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        taken = taken.saturating_add(data.len() as u64);
        if taken > most {
            #[expect(clippy::cast_precision_loss, reason = "a length")]
            report.set(HTTP_BODY, most as f64);
            return Err(format!("a body of more than {most} bytes; see body_size_limit"));
        }
        if looked_at {
            let room = MOST_KEPT - kept.len();
            kept.extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a length")]
    Ok(Body { length: taken as f64, kept })
}

fn inflated(body: Body) -> Result<Body, String> {
    let mut kept = Vec::new();
    inflate(&body.kept, MOST_KEPT, &mut kept).map_err(|error| error.to_string())?;
    #[expect(clippy::cast_precision_loss, reason = "a length")]
    Ok(Body { length: kept.len() as f64, kept })
}

fn status_failure(module: &HttpModule, status: StatusCode) -> Option<String> {
    let valid = if module.valid_status_codes.is_empty() {
        status.is_success()
    } else {
        module.valid_status_codes.contains(&status.as_u16())
    };
    (!valid).then(|| format!("status {} is not valid", status.as_u16()))
}

fn header_failure(module: &HttpModule, headers: &HeaderMap) -> Option<String> {
    let values = |wanted: &HeaderMatch| -> Vec<String> {
        headers
            .get_all(&*wanted.header)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect()
    };
    for wanted in &module.fail_if_header_matches {
        let values = values(wanted);
        if values.is_empty() && !wanted.allow_missing {
            return Some(format!("the header {:?} is missing", wanted.header));
        }
        if values.iter().any(|value| wanted.regexp.0.is_match(value)) {
            return Some(format!("the header {:?} matches", wanted.header));
        }
    }
    for wanted in &module.fail_if_header_not_matches {
        let values = values(wanted);
        if values.is_empty() && wanted.allow_missing {
            continue;
        }
        if !values.iter().any(|value| wanted.regexp.0.is_match(value)) {
            return Some(format!("the header {:?} is missing or does not match", wanted.header));
        }
    }
    None
}

fn body_failure(module: &HttpModule, body: &str) -> Option<String> {
    let matching = |pattern: &&Pattern| pattern.0.is_match(body);
    if let Some(pattern) = module.fail_if_body_matches.iter().find(matching) {
        return Some(format!("the body matches {:?}", pattern.0.as_str()));
    }
    let pattern = module.fail_if_body_not_matches.iter().find(|pattern| !matching(pattern))?;
    Some(format!("the body does not match {:?}", pattern.0.as_str()))
}

const fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970.
fn http_date(text: &str) -> Option<f64> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "seconds, far below 2^53")]
    Some(zoned.timestamp().as_second() as f64)
}

fn transport_text(error: &hyper::Error) -> String {
    use std::error::Error as _;
    if error.is_incomplete_message() || error.is_closed() {
        return "EOF".to_owned();
    }
    match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(io) => system_text(io),
        None => error.to_string(),
    }
}
