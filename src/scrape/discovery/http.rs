//! `http_sd_configs`: a service that answers with targets.
//!
//! Source: Prometheus's "Writing HTTP Service Discovery": status 200, `application/json`, all targets each time.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::file::json_groups;
use crate::http_client::HttpClient;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::settings::{HttpSdSettings, TargetGroup};

/// Largest answer.
const MOST_BYTES: usize = 16 << 20;

/// Longest time that an answer may take, whatever the interval.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks one service.
pub(super) struct HttpProvider {
    settings: HttpSdSettings,
    client: HttpClient,
    metrics: ScrapeMetrics,
    /// The URL without a password, for labels.
    shown_url: String,
}

impl HttpProvider {
    pub(super) fn new(settings: &HttpSdSettings, metrics: ScrapeMetrics) -> Self {
        let url = settings.url.to_string();
        let shown_url = match settings.url.authority().and_then(|a| a.as_str().rsplit_once('@')) {
            Some((user, _)) => url.replacen(&format!("{user}@"), "", 1),
            None => url,
        };
        Self { settings: settings.clone(), client: HttpClient::new(&settings.client), metrics, shown_url }
    }

    pub(super) const fn interval(&self) -> Duration {
        self.settings.refresh_interval
    }

    pub(super) async fn look(&mut self) -> Result<Vec<TargetGroup>, String> {
        let answer = self.ask().await;
        if answer.is_err() {
            self.metrics.get().http_failures.inc();
        }
        answer
    }

    async fn ask(&self) -> Result<Vec<TargetGroup>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let seconds = self.settings.refresh_interval.as_secs_f64().to_string();
        if let Ok(seconds) = HeaderValue::from_str(&seconds) {
            headers.insert(HeaderName::from_static("x-prometheus-refresh-interval-seconds"), seconds);
        }
        let deadline = Instant::now() + self.settings.refresh_interval.min(PATIENCE);
        let answer = self.client.get(&self.settings.url, headers, deadline).await;
        let response = answer.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("server returned HTTP status {}", response.status_text()));
        }
        let content_type = response.content_type().to_owned();
        if !is_json(&content_type) {
            return Err(format!("unsupported content type {content_type:?}"));
        }
        let body = response.read_within(MOST_BYTES).await.map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&body).map_err(|_| "the answer is not UTF-8".to_owned())?;
        let mut groups = json_groups(text)?;
        for (index, group) in groups.iter_mut().enumerate() {
            group.source = format!("{}:{index}", self.shown_url);
            group.labels = group.labels.with("__meta_url", &self.shown_url);
        }
        Ok(groups)
    }
}

/// `application/json`, in UTF-8 if it says so.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    media_type.eq_ignore_ascii_case("application/json")
        && parts.all(|part| part.replace('"', "").eq_ignore_ascii_case("charset=utf-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::HttpClientSettings;
    use crate::http_client::testing::{Answer, Peer};

    #[tokio::test]
    async fn an_answer_is_read_or_refused() {
        for (answer, expected) in [
            (
                Answer::Text(
                    200,
                    "application/json",
                    "[{\"targets\":[\"a:1\"],\"labels\":{\"x\":\"y\"}}]".into(),
                ),
                Ok(1),
            ),
            (Answer::Text(200, "application/json; charset=utf-8", "[]".into()), Ok(0)),
            // Asked for or not.
            (Answer::gzip("application/json", b"[{\"targets\":[\"a:1\"]}]"), Ok(1)),
            (Answer::gzip("application/json", &vec![b' '; MOST_BYTES + 1]), Err("body size limit exceeded")),
            (
                Answer::Full(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\n".into(),
                    b"\x0b\x02\x80".to_vec(),
                ),
                Err("unsupported Content-Encoding \"br\", which was not asked for"),
            ),
            (
                Answer::Text(200, "application/json", "x".repeat(MOST_BYTES + 1)),
                Err("body size limit exceeded"),
            ),
            (Answer::Text(200, "text/html", "[]".into()), Err("unsupported content type \"text/html\"")),
            (Answer::Text(503, "application/json", "[]".into()), Err("server returned HTTP status 503 x")),
            (Answer::Text(200, "application/json", "{".into()), Err("invalid type: map")),
        ] {
            let peer = Peer::fixed(answer).await;
            let settings = HttpSdSettings {
                url: peer.url("/sd"),
                refresh_interval: Duration::from_secs(30),
                client: HttpClientSettings::default(),
            };
            let url = settings.url.to_string();
            let mut provider = HttpProvider::new(&settings, ScrapeMetrics::default());
            match (provider.look().await, expected) {
                (Ok(groups), Ok(number)) => {
                    assert_eq!(groups.len(), number);
                    assert!(groups.iter().all(|g| g.labels.value("__meta_url") == url));
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expected) => panic!("{found:?} {expected:?}"),
            }
            assert!(peer.requests()[0].contains("x-prometheus-refresh-interval-seconds: 30\r\n"));
        }
    }
}
