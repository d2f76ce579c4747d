//! `remote_write`: every key of Prometheus, read strictly.
//!
//! Invariant: a key is read, or refused with its place; none is ignored. Defaults are Prometheus 3's.
//!
//! Source: Prometheus's configuration documentation, `<remote_write>`.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use md5::{Digest as _, Md5};

use super::message::Protocol;
use crate::config::{Section, read_relabel_rules};
use crate::http_client::HttpClientSettings;
use crate::model::{NameScheme, RelabelRule};

/// Most receivers; each has a queue's place, tasks and connections of its own.
const MOST_REMOTES: usize = 100;

/// Most samples of one request, and of what a shard takes at once: about 100 MB of memory.
const MOST_SAMPLES: i64 = 1_000_000;

/// Most requests in flight to one receiver.
const MOST_SHARDS: i64 = 1_000;

/// Headers that are the sender's own business.
const RESERVED: [&str; 8] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "x-prometheus-remote-write-version",
];

/// One entry of `remote_write`.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSettings {
    /// `name`; without one it is made of the URL, so that it stays when other keys change.
    pub name: String,
    /// Where requests go.
    pub url: Uri,
    /// How long one request may take.
    pub timeout: Duration,
    /// Which of the two messages is sent.
    pub protocol: Protocol,
    /// Rules over the labels of series, external labels included.
    pub relabel: Vec<RelabelRule>,
    /// How the receiver is called, `headers` included.
    pub client: HttpClientSettings,
    /// `queue_config`.
    pub queue: QueueSettings,
    /// `metadata_config`.
    pub metadata: MetadataSettings,
    /// What was asked for and has nothing to apply to, in words.
    pub idle: Vec<&'static str>,
}

/// `queue_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Most samples that a shard takes at once.
    pub capacity: usize,
    /// Fewest requests in flight.
    pub min_shards: usize,
    /// Most requests in flight.
    pub max_shards: usize,
    /// Most samples of a request.
    pub max_samples_per_send: usize,
    /// How long a sample waits for more to share its request with.
    pub batch_send_deadline: Duration,
    /// First pause after a failure; doubled with each.
    pub min_backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// Whether 429 is retried.
    pub retry_on_429: bool,
    /// Samples older than this are not sent; zero: of any age.
    pub sample_age_limit: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            min_shards: 1,
            max_shards: 50,
            max_samples_per_send: 2_000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_429: false,
            sample_age_limit: Duration::ZERO,
        }
    }
}

impl QueueSettings {
    /// Samples that a shard takes at once.
    pub(super) fn shard_samples(&self) -> usize {
        self.max_samples_per_send.min(self.capacity)
    }
}

/// `metadata_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSettings {
    /// Whether metadata is sent at all.
    pub send: bool,
    /// How often.
    pub interval: Duration,
    /// Most metrics of a request.
    pub max_per_send: usize,
}

impl Default for MetadataSettings {
    fn default() -> Self {
        Self { send: true, interval: Duration::from_secs(60), max_per_send: 2_000 }
    }
}

impl RemoteSettings {
    /// Reads the key `remote_write` of the top level. Mistakes are noted in it.
    pub fn read_all(top: &mut Section<'_>) -> Vec<Arc<Self>> {
        let items = top.take_list("remote_write").unwrap_or_default();
        if items.len() > MOST_REMOTES {
            top.error("remote_write", format!("more than {MOST_REMOTES} receivers"));
            return Vec::new();
        }
        let mut read: Vec<Arc<Self>> = Vec::new();
        for item in items {
            let Some(mut section) = item.section() else { continue };
            let Some(mut remote) = Self::read(&mut section) else { continue };
            if remote.name.is_empty() {
                remote.name = free_name(&read, &remote.url);
            } else if read.iter().any(|other| other.name == remote.name) {
                let name = &remote.name;
                section.error("name", format!("found multiple remote write configs with job name {name:?}"));
            }
            read.push(Arc::new(remote));
        }
        read
    }

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let protocols =
            [("prometheus.WriteRequest", Protocol::V1), ("io.prometheus.write.v2.Request", Protocol::V2)];
        for key in ["sigv4", "azuread", "google_iam"] {
            section.refuse(key, format!("{key} is not supported"));
        }
        if section.take_bool("round_robin_dns") == Some(true) {
            section.error("round_robin_dns", "round_robin_dns is not supported");
        }
        let url = read_url(section);
        let mut client = HttpClientSettings::read(section);
        // The one default of these keys that is another here.
        client.enable_http2 &= section.has("enable_http2");
        read_headers(section, &mut client);
        let mut idle = Vec::new();
        for (key, why) in [
            ("send_exemplars", "send_exemplars: exemplars are not kept, none are sent"),
            (
                "send_native_histograms",
                "send_native_histograms: native histograms are not kept, none are sent",
            ),
        ] {
            if section.take_bool(key) == Some(true) {
                idle.push(why);
            }
        }
        let remote = Self {
            name: section.take_str("name").unwrap_or_default(),
            timeout: positive(section, "remote_timeout").unwrap_or(Duration::from_secs(30)),
            protocol: section.take_choice("protobuf_message", &protocols).unwrap_or(Protocol::V1),
            relabel: read_relabel_rules(section, "write_relabel_configs", NameScheme::Utf8),
            client,
            queue: section
                .take_section("queue_config")
                .map(|mut s| QueueSettings::read(&mut s))
                .unwrap_or_default(),
            metadata: section
                .take_section("metadata_config")
                .map(|mut s| MetadataSettings::read(&mut s))
                .unwrap_or_default(),
            idle,
            url: Uri::default(),
        };
        Some(Self { url: url?, ..remote })
    }
}

/// What a remote without a name is called: always the same for a URL, also when others come or go.
fn free_name(others: &[Arc<RemoteSettings>], url: &Uri) -> String {
    let name = |turn: usize| {
        let digest = Md5::digest(format!("{turn} {url}"));
        digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let is_free = |name: &String| !others.iter().any(|other| other.name == *name);
    (0..=others.len()).map(name).find(is_free).unwrap_or_default()
}

/// The URL; it may hold a password, which no error shows.
fn read_url(section: &mut Section<'_>) -> Option<Uri> {
    let Some(value) = section.take("url") else {
        section.error("url", "url for remote_write is empty");
        return None;
    };
    let text = value.str()?;
    if text.contains('@') {
        // Known as a secret from here on: the configuration is shown to others.
        drop(value.secret());
    }
    if text.is_empty() {
        value.error("url for remote_write is empty");
        return None;
    }
    match text.parse::<Uri>() {
        Ok(url)
            if matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|h| !h.is_empty()) =>
        {
            Some(url)
        }
        Ok(_) => {
            value.error("expected a URL such as \"http://receiver:9090/api/v1/write\"");
            None
        }
        Err(error) => {
            value.error(format!("not a URL: {error}"));
            None
        }
    }
}

fn read_headers(section: &mut Section<'_>, client: &mut HttpClientSettings) {
    let Some(mut headers) = section.take_section("headers") else { return };
    for field in headers.take_fields() {
        let key = field.key();
        let Some(value) = field.value().and_then(|value| value.secret()) else { continue };
        if key.eq_ignore_ascii_case("authorization") {
            field.error_at_key(|| {
                "authorization header must be changed via the basic_auth or authorization parameter"
                    .to_owned()
            });
        } else if RESERVED.iter().any(|name| name.eq_ignore_ascii_case(key)) {
            field.error_at_key(|| format!("{key} is a reserved header. It must not be changed"));
        }
        let fits = value.reveal().is_ok_and(|text| HeaderValue::from_str(&text).is_ok());
        match HeaderName::from_bytes(key.as_bytes()) {
            Ok(name) if fits => client.headers.push((name, vec![value])),
            Ok(_) => field.error_at_key(|| "the value holds characters that no header may have".to_owned()),
            Err(_) => field.error_at_key(|| format!("{key:?} is not a valid header name")),
        }
    }
}

/// A duration above zero: 0 stands for the default.
fn positive(section: &mut Section<'_>, key: &str) -> Option<Duration> {
    section.take_duration(key).filter(|duration| !duration.is_zero())
}

/// A number above zero.
fn count(section: &mut Section<'_>, key: &str, most: i64, default: usize) -> usize {
    section.take_integer(key, 1..=most).and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
}

impl QueueSettings {
    fn read(section: &mut Section<'_>) -> Self {
        let d = Self::default();
        let queue = Self {
            capacity: count(section, "capacity", MOST_SAMPLES, d.capacity),
            min_shards: count(section, "min_shards", MOST_SHARDS, d.min_shards),
            max_shards: count(section, "max_shards", MOST_SHARDS, d.max_shards),
            max_samples_per_send: count(
                section,
                "max_samples_per_send",
                MOST_SAMPLES,
                d.max_samples_per_send,
            ),
            batch_send_deadline: positive(section, "batch_send_deadline").unwrap_or(d.batch_send_deadline),
            min_backoff: positive(section, "min_backoff").unwrap_or(d.min_backoff),
            max_backoff: positive(section, "max_backoff").unwrap_or(d.max_backoff),
            retry_on_429: section.take_bool("retry_on_http_429").unwrap_or(d.retry_on_429),
            sample_age_limit: section.take_duration("sample_age_limit").unwrap_or_default(),
        };
        if queue.min_shards > queue.max_shards {
            section.error("min_shards", format!("more than max_shards, which is {}", queue.max_shards));
        }
        if queue.min_backoff > queue.max_backoff {
            section.error("min_backoff", "longer than max_backoff");
        }
        queue
    }
}

impl MetadataSettings {
    fn read(section: &mut Section<'_>) -> Self {
        let d = Self::default();
        Self {
            send: section.take_bool("send").unwrap_or(d.send),
            interval: positive(section, "send_interval").unwrap_or(d.interval),
            max_per_send: count(section, "max_samples_per_send", MOST_SAMPLES, d.max_per_send),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn read(text: &str) -> Result<Vec<Arc<RemoteSettings>>, String> {
        let document = Document::parse("o.yml", text, &Limits::default()).map_err(|e| e.to_string())?;
        document.read(&Environment::off(), RemoteSettings::read_all).map_err(|e| e.to_string())
    }

    #[test]
    fn every_key_is_read() {
        let remotes = read(
            r#"
remote_write:
  - url: http://a:9090/api/v1/write
  - url: https://b/write
    name: second
    remote_timeout: 7s
    headers: {X-Scope-OrgID: team}
    write_relabel_configs: [{source_labels: [__name__], regex: "go_.*", action: drop}]
    protobuf_message: io.prometheus.write.v2.Request
    send_exemplars: true
    send_native_histograms: false
    basic_auth: {username: u, password: p}
    tls_config: {insecure_skip_verify: true}
    proxy_url: http://proxy:3128
    follow_redirects: false
    enable_http2: true
    queue_config:
      {capacity: 5, min_shards: 2, max_shards: 3, max_samples_per_send: 4, batch_send_deadline: 1s, min_backoff: 2s,
       max_backoff: 3s, retry_on_http_429: true, sample_age_limit: 1h}
    metadata_config: {send: false, send_interval: 5m, max_samples_per_send: 9}
  - url: http://a:9090/api/v1/write
"#,
        )
        .unwrap();
        let [first, second, third] = remotes.as_slice() else { panic!("three") };
        assert_eq!(
            (&first.queue, &first.metadata),
            (&QueueSettings::default(), &MetadataSettings::default())
        );
        assert_eq!(
            (first.timeout, first.client.enable_http2, first.protocol),
            (Duration::from_secs(30), false, Protocol::V1)
        );
        assert!(first.name.len() == 6 && third.name.len() == 6 && first.name != third.name);
        assert_eq!(
            (second.name.as_str(), second.protocol, second.relabel.len()),
            ("second", Protocol::V2, 1)
        );
        assert!(
            second.client.enable_http2 && !second.client.follow_redirects && second.client.auth.is_some()
        );
        assert_eq!(second.client.headers.len(), 1);
        assert_eq!(second.idle.len(), 1);
        let queue = QueueSettings {
            capacity: 5,
            min_shards: 2,
            max_shards: 3,
            max_samples_per_send: 4,
            batch_send_deadline: Duration::from_secs(1),
            min_backoff: Duration::from_secs(2),
            max_backoff: Duration::from_secs(3),
            retry_on_429: true,
            sample_age_limit: Duration::from_secs(3_600),
        };
        assert_eq!(second.queue, queue);
        let metadata = MetadataSettings { send: false, interval: Duration::from_secs(300), max_per_send: 9 };
        assert_eq!(second.metadata, metadata);
    }

    #[test]
    fn a_name_stays_when_other_keys_change() {
        let name = |text: &str| read(text).unwrap().last().unwrap().name.clone();
        let alone = name("remote_write: [{url: 'http://b/'}]");
        assert_eq!(name("remote_write: [{url: 'http://a/'}, {url: 'http://b/', remote_timeout: 1s}]"), alone);
    }

    #[test]
    fn every_mistake_has_its_place() {
        let errors = read(
            r#"remote_write:
  - {url: "", x: 1}
  - name: a
    url: ftp://h
  - url: http://h/
    name: b
    sigv4: {}
    headers: {authorization: a, Content-Type: b}
    queue_config: {max_shards: 0, min_shards: 60, min_backoff: 1m}
    protobuf_message: v3
    basic_auth: {username: u}
    authorization: {credentials: c}
  - {url: http://h/, name: b, oauth2: {}, round_robin_dns: true}
"#,
        )
        .unwrap_err();
        let places: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix("o.yml:")).collect();
        assert_eq!(
            places.iter().map(|place| place.split("; known here").next().unwrap()).collect::<Vec<_>>(),
            [
                "2:11: remote_write[0].url: url for remote_write is empty",
                "2:15: remote_write[0].x: unknown key",
                "4:10: remote_write[1].url: expected a URL such as \"http://receiver:9090/api/v1/write\"",
                "7:5: remote_write[2].sigv4: sigv4 is not supported",
                "8:15: remote_write[2].headers.authorization: authorization header must be changed via the basic_auth or authorization parameter",
                "8:33: remote_write[2].headers.Content-Type: Content-Type is a reserved header. It must not be changed",
                "9:32: remote_write[2].queue_config.max_shards: expected a whole number from 1 to 1000, found \"0\"",
                "9:47: remote_write[2].queue_config.min_shards: more than max_shards, which is 50",
                "9:64: remote_write[2].queue_config.min_backoff: longer than max_backoff",
                "10:23: remote_write[2].protobuf_message: expected one of prometheus.WriteRequest, io.prometheus.write.v2.Request, found \"v3\"",
                "12:20: remote_write[2].authorization: at most one of basic_auth, authorization, oauth2, bearer_token & bearer_token_file must be configured",
                "13:28: remote_write[3].name: found multiple remote write configs with job name \"b\"",
                "13:39: remote_write[3].oauth2: oauth2 client_id must be configured",
                "13:39: remote_write[3].oauth2: oauth2 token_url must be configured",
                "13:60: remote_write[3].round_robin_dns: round_robin_dns is not supported",
            ],
            "{errors}"
        );
    }
}
