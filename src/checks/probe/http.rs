//! HTTP: a request, redirects, and what is expected of status, headers, body, version and TLS.
//!
//! A connection of its own for each request, so that each phase can be timed. Invariant: a body without end is cut at a
//! bound.
//!
//! Source: blackbox_exporter's documentation of `http_probe`; RFC 9110.

use std::path::Path;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, LAST_MODIFIED, LOCATION, TRANSFER_ENCODING};
use hyper::{Method, Response, StatusCode, Uri, Version};
use tokio::time::Instant;

use super::body::{self, Taken, Wanted};
use super::http_request::{Answer, Asker};
use super::module::{HeaderMatch, HttpModule, Pattern};
use super::report::{
    FAILED_REGEX, HTTP_BODY, HTTP_DURATION, HTTP_LENGTH, HTTP_MODIFIED, HTTP_REDIRECTS, HTTP_SSL,
    HTTP_STATUS, HTTP_VERSION, Report,
};
use super::ssl;
use crate::checks::net::TlsFacts;
use crate::config::read_bounded;
use crate::http_client::{lenient_url, next_url};
use crate::model::ByteSize;
use crate::tasks;

/// As many redirects as blackbox_exporter follows.
const MOST_REDIRECTS: usize = 10;

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
    let mut url = url_of(target)?;
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
        url = next_url(&url, location.as_bytes()).ok_or_else(|| {
            format!("redirected to {:?}, which is no URL", String::from_utf8_lossy(location.as_bytes()))
        })?;
        if !keeps_method && method != Method::HEAD {
            (method, body) = (Method::GET, Bytes::new());
        }
    };
    judge(module, &method, answer, stopped, deadline, report).await
}

/// The URL of a target, which may lack its scheme.
pub(super) fn url_of(target: &str) -> Result<Uri, String> {
    let has_scheme = target.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?', '#']));
    let parsed = if has_scheme { lenient_url(target) } else { lenient_url(&format!("http://{target}")) };
    parsed.map_err(|error| format!("{target:?} is not a URL: {error}"))
}

async fn body_of(path: &Path) -> Result<Bytes, String> {
    let held = path.to_owned();
    let read = tasks::blocking(move || read_bounded(&held, LARGEST_FILE)).await;
    let bytes = read.map_err(|error| error.to_string())?;
    bytes.map(Bytes::from).map_err(|error| format!("body_file {}: {error}", path.display()))
}

/// What the head of an answer says.
fn describe(response: &Response<Incoming>, method: &Method, tls: Option<&TlsFacts>, report: &mut Report) {
    let headers = response.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    report.set(HTTP_STATUS, f64::from(response.status().as_u16()));
    report.set(HTTP_LENGTH, announced_length(response, method).unwrap_or(-1.0));
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

/// The length of the body, as far as the head tells.
fn announced_length(response: &Response<Incoming>, method: &Method) -> Option<f64> {
    // They have no body, whatever they say.
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Some(0.0);
    }
    if response.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    match response.headers().get(CONTENT_LENGTH) {
        Some(length) => length.to_str().ok()?.parse().ok(),
        // Over HTTP/2, and where protocols are switched, the head ends it all.
        None => (*method != Method::HEAD && response.body().is_end_stream()).then_some(0.0),
    }
}

/// Everything that the module expects of the last answer. `stopped`: why this one leads elsewhere, and nobody went; its
/// body is then not read, as in Go.
async fn judge(
    module: &HttpModule,
    method: &Method,
    answer: Answer,
    stopped: Option<String>,
    deadline: Instant,
    report: &mut Report,
) -> Result<(), String> {
    let Answer { response, tls, at, _connection } = answer;
    describe(&response, method, tls.as_ref(), report);
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
        Some(_) if body.is_end_stream() => Taken::default(),
        Some(_) if looks && failures.is_empty() => {
            Taken::nothing("the body of a redirect that is not followed is not read")
        }
        Some(_) => Taken::default(),
        None => {
            let most = module.body_size_limit.unwrap_or(MOST_TAKEN);
            let (compression, units) = (module.compression, &body::UNITS);
            body::take(body, Wanted { compression, looks, most, deadline, units }).await
        }
    };
    report.phase(HTTP_DURATION, "transfer", at.elapsed());
    #[expect(clippy::cast_precision_loss, reason = "a length")]
    report.set(HTTP_BODY, body.length as f64);
    match body.failure {
        Some(why) => {
            // A body that cannot be read is to no expression's liking.
            if looks && failures.is_empty() {
                report.set(FAILED_REGEX, 1.0);
            }
            failures.push(why);
        }
        None if failures.is_empty() => {
            if let Some(why) = body_failure(module, &String::from_utf8_lossy(&body.kept)) {
                report.set(FAILED_REGEX, 1.0);
                failures.push(why);
            }
        }
        None => {}
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

/// Seconds since 1970 of a date in one of HTTP's three forms (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<f64> {
    let zoned = jiff::fmt::rfc2822::parse(text).map(|zoned| zoned.timestamp());
    let older = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let in_utc = |form: &&str| {
        let time = jiff::fmt::strtime::parse(form, text).ok()?.to_datetime().ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let at = zoned.ok().or_else(|| older.iter().find_map(in_utc))?;
    #[expect(clippy::cast_precision_loss, reason = "seconds, far below 2^53")]
    Some(at.as_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_three_forms() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(http_date(text), Some(784_111_777.0), "{text}");
        }
        assert_eq!(http_date("yesterday"), None);
    }
}
