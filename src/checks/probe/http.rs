//! HTTP: a request, redirects, and what is expected of status, headers, body, version and TLS.
//!
//! A connection of its own for each request, so that each phase can be timed. Invariant: of a body that nobody looks
//! at only the length is kept, of one that is looked at [`MOST_KEPT`]; one without end is cut at a bound.
//!
//! Source: blackbox_exporter's documentation of `http_probe`; RFC 9110.

use std::path::Path;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, LAST_MODIFIED, LOCATION};
use hyper::{Method, Response, StatusCode, Uri, Version};
use tokio::time::Instant;

use super::http_request::{Answer, Asker, transport_text};
use super::module::{Compression, HeaderMatch, HttpModule, Pattern};
use super::report::{
    FAILED_REGEX, HTTP_BODY, HTTP_DURATION, HTTP_LENGTH, HTTP_MODIFIED, HTTP_REDIRECTS, HTTP_SSL,
    HTTP_STATUS, HTTP_VERSION, Report,
};
use super::ssl;
use crate::checks::net::TlsFacts;
use crate::config::read_bounded;
use crate::http_client::{HttpError, inflate, inflate_raw, next_url};
use crate::model::ByteSize;
use crate::tasks;

/// As many redirects as blackbox_exporter follows.
const MOST_REDIRECTS: usize = 10;

/// Most of a body that is looked at.
const MOST_KEPT: usize = 4 << 20;

/// Most of a body that is taken where the module sets no limit.
const MOST_TAKEN: u64 = 256 << 20;

/// Largest `body_file`.
const LARGEST_FILE: ByteSize = ByteSize::new(64 << 20);

pub(super) async fn run(
    module: &HttpModule,
    target: &str,
    deadline: Instant,
    report: &mut Report,
) -> Result<(), String> {
    let text = if target.contains("://") { target.to_owned() } else { format!("http://{target}") };
    let mut url: Uri = text.parse().map_err(|error| format!("{target:?} is not a URL: {error}"))?;
    let mut method = module.method.clone();
    let mut body = match &module.body_file {
        Some(path) => body_of(path).await?,
        None => Bytes::from(module.body.clone()),
    };
    let mut asker = Asker::new(module, &url, deadline);
    let mut redirects = 0;
    let (answer, stopped) = loop {
        let answer = asker.ask(&url, &method, body.clone(), report).await?;
        let status = answer.response.status().as_u16();
        let keeps_method = matches!(status, 307 | 308);
        // As in Go, a body out of a file goes nowhere a second time.
        let leads = if keeps_method { module.body_file.is_none() } else { matches!(status, 301..=303) };
        let location = answer.response.headers().get(LOCATION).filter(|to| leads && !to.is_empty());
        let Some(location) = location else { break (answer, None) };
        redirects += 1;
        report.set_count(HTTP_REDIRECTS, redirects);
        if !module.client.follow_redirects {
            break (answer, Some("redirects are not followed".to_owned()));
        }
        if redirects > MOST_REDIRECTS {
            break (answer, Some(format!("stopped after {MOST_REDIRECTS} redirects")));
        }
        let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
        url = next_url(&url, &location)
            .ok_or_else(|| format!("redirected to {location:?}, which is no URL"))?;
        if !keeps_method && method != Method::HEAD {
            (method, body) = (Method::GET, Bytes::new());
        }
    };
    judge(module, answer, stopped, report).await
}

async fn body_of(path: &Path) -> Result<Bytes, String> {
    let held = path.to_owned();
    let read = tasks::blocking(move || read_bounded(&held, LARGEST_FILE)).await;
    let bytes = read.map_err(|error| error.to_string())?;
    bytes.map(Bytes::from).map_err(|error| format!("body_file {}: {error}", path.display()))
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

/// Everything that the module expects of the last answer. `stopped`: why this one leads elsewhere, and nobody went; its
/// body is then not read, as in Go.
async fn judge(
    module: &HttpModule,
    answer: Answer,
    stopped: Option<String>,
    report: &mut Report,
) -> Result<(), String> {
    let Answer { response, tls, at, _connection } = answer;
    describe(&response, tls.as_ref(), report);
    let (head, body) = response.into_parts();
    let mut failures: Vec<String> = Vec::new();
    failures.extend(status_failure(module, head.status));
    if failures.is_empty()
        && let Some(why) = header_failure(module, &head.headers)
    {
        report.set(FAILED_REGEX, 1.0);
        failures.push(why);
    }
    let looks = !module.fail_if_body_matches.is_empty() || !module.fail_if_body_not_matches.is_empty();
    let body = match stopped {
        // What is not there is as good as read.
        Some(_) if body.is_end_stream() => Ok(Vec::new()),
        Some(_) if looks && failures.is_empty() => {
            report.set(FAILED_REGEX, 1.0);
            Err("the body of a redirect that is not followed is not read".to_owned())
        }
        Some(_) => Ok(Vec::new()),
        None => take_body(module, body, looks, report).await,
    };
    report.phase(HTTP_DURATION, "transfer", at.elapsed());
    match body {
        Err(why) => failures.push(why),
        Ok(body) if failures.is_empty() => {
            if let Some(why) = body_failure(module, &String::from_utf8_lossy(&body)) {
                report.set(FAILED_REGEX, 1.0);
                failures.push(why);
            }
        }
        Ok(_) => {}
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
    if failures.is_empty() {
        return Ok(());
    }
    failures.extend(stopped);
    Err(failures.join("; "))
}

/// Reads to the end. What nobody looks at is counted only, and not in the result.
async fn take_body(
    module: &HttpModule,
    mut body: Incoming,
    looks: bool,
    report: &mut Report,
) -> Result<Vec<u8>, String> {
    let most = module.body_size_limit.unwrap_or(MOST_TAKEN);
    let (mut taken, mut kept) = (0_u64, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| transport_text(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        taken = taken.saturating_add(data.len() as u64);
        if taken > most {
            return Err(too_long(most, report));
        }
        if looks || module.compression != Compression::None {
            let room = MOST_KEPT - kept.len();
            kept.extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
        }
    }
    if module.compression != Compression::None {
        kept = inflated(module, &kept, report)?;
        taken = kept.len() as u64;
    }
    #[expect(clippy::cast_precision_loss, reason = "a length")]
    report.set(HTTP_BODY, taken as f64);
    Ok(kept)
}

fn inflated(module: &HttpModule, compressed: &[u8], report: &mut Report) -> Result<Vec<u8>, String> {
    let most = module.body_size_limit.and_then(|limit| usize::try_from(limit).ok());
    let most = most.unwrap_or(MOST_KEPT).min(MOST_KEPT);
    let inflate = if module.compression == Compression::Gzip { inflate } else { inflate_raw };
    let mut into = Vec::new();
    match inflate(compressed, most + 1, &mut into) {
        Ok(()) => Ok(into),
        Err(HttpError::TooLarge) if most < MOST_KEPT => Err(too_long(most as u64, report)),
        Err(error) => Err(error.to_string()),
    }
}

fn too_long(most: u64, report: &mut Report) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a length")]
    report.set(HTTP_BODY, most as f64);
    format!("a body of more than {most} bytes; see body_size_limit")
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
