//! `--web.config.file`: exporter-toolkit's format, read strictly.
//!
//! Everything that is wrong is said at once, each with its place; the certificates are loaded while
//! the file is read, so that a wrong one is an error at the key that names it. Nothing in the file is
//! taken from the environment, as in exporter-toolkit: a bcrypt hash is full of `$`.
//!
//! Source: exporter-toolkit's "Web configuration" page and its list of headers that may be set.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue, header};
use rustls::ServerConfig;

use super::auth::{self, Users};
use super::rate::RateLimit;
use super::tls;

use crate::config::{Document, Environment, Limits, LoadError, Section, WatchedFiles};
use crate::model::ByteSize;

/// Far above any real one.
const LARGEST_FILE: ByteSize = ByteSize::new(1 << 20);

/// Some ten thousand users.
const MOST_VALUES: usize = 25_000;

/// Tokens that a bucket of `rate_limit` may hold.
const LARGEST_BURST: i64 = 1_000_000;

/// Who may come in, and how; what the file says at one time.
#[derive(Debug, Default)]
pub(super) struct Protection {
    /// Without it the listener speaks plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Set in every response.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: Users,
    pub(super) rate_limit: Option<RateLimit>,
}

impl Protection {
    /// Reads the file and all that it names; blocks. `files` holds afterwards what was looked at,
    /// also where there was an error.
    pub(super) fn load(path: &Path, files: &mut WatchedFiles) -> Result<Self, LoadError> {
        files.watch(path);
        let limits = Limits { size: LARGEST_FILE, nodes: MOST_VALUES, ..Limits::default() };
        // Where the parser does not understand the file, nobody knows which line is a user's.
        let document = Document::load(path, &limits).map_err(LoadError::without_lines)?;
        Ok(document.read(&Environment::off(), |top| Self::read(top, files))?)
    }

    fn read(top: &mut Section<'_>, files: &mut WatchedFiles) -> Self {
        let mut http = top.take_section("http_server_config");
        let http2 = http.as_mut().and_then(|http| http.take_bool("http2")).unwrap_or(true);
        let headers = http.as_mut().and_then(|http| http.take_section("headers")).map(read_headers);
        let tls = top.take_section("tls_server_config").and_then(|mut s| tls::read(&mut s, http2, files));
        let users = top.take_section("basic_auth_users").map(read_users);
        let rate_limit = top.take_section("rate_limit").and_then(|mut s| read_rate_limit(&mut s));
        Self { tls, headers: headers.unwrap_or_default(), users: users.unwrap_or_default(), rate_limit }
    }
}

/// Headers that may be set, and their values where only some make sense.
const HEADERS: [(&str, HeaderName, &[&str]); 5] = [
    ("Strict-Transport-Security", header::STRICT_TRANSPORT_SECURITY, &[]),
    ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-Frame-Options", header::X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-XSS-Protection", header::X_XSS_PROTECTION, &[]),
    ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY, &[]),
];

fn read_headers(mut section: Section<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, header, allowed) in HEADERS {
        let Some(value) = section.take_str(name) else { continue };
        if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
            section.error(name, format!("expected one of {}, found {value:?}", allowed.join(", ")));
        } else if let Ok(value) = HeaderValue::from_str(&value) {
            headers.push((header, value));
        } else {
            section.error(name, "a header's value is one line of printable characters");
        }
    }
    for (_, value) in section.take_rest() {
        let known: Vec<&str> = HEADERS.iter().map(|(name, ..)| *name).collect();
        value.error(format!("this HTTP header can not be configured; these can: {}", known.join(", ")));
    }
    headers
}

fn read_users(mut section: Section<'_>) -> Users {
    let mut hashes = Vec::new();
    for (user, value) in section.take_rest() {
        let Some(hash) = value.secret().and_then(|secret| secret.reveal().ok()) else { continue };
        match auth::check_hash(&hash) {
            Ok(()) => hashes.push((user.to_owned(), hash)),
            Err(message) => value.error(message),
        }
    }
    Users::new(hashes)
}

fn read_rate_limit(section: &mut Section<'_>) -> Option<RateLimit> {
    let interval = section.take_duration("interval").unwrap_or(Duration::ZERO);
    let burst = section.take_integer("burst", 0..=LARGEST_BURST).unwrap_or(0);
    if interval.is_zero() {
        return None;
    }
    if burst == 0 {
        section.error("burst", "with an interval it must be 1 or more, or no request would ever be answered");
        return None;
    }
    Some(RateLimit::new(interval, u32::try_from(burst).unwrap_or(u32::MAX), Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Protection, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        let loaded = Protection::load(&path, &mut WatchedFiles::default());
        loaded.map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn an_empty_file_protects_nothing_and_is_fine() {
        for text in
            ["", "{}", "# nothing\n", "tls_server_config: {}\n", "tls_server_config:\n  min_version: TLS13\n"]
        {
            let protection = load(text).expect(text);
            assert!(
                protection.tls.is_none() && protection.users.is_empty() && protection.rate_limit.is_none()
            );
        }
    }

    #[test]
    fn headers_users_and_rate_are_read() {
        let hash = bcrypt::hash("x", 4).unwrap();
        let text = format!(
            "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    \
             Content-Security-Policy: \"default-src 'none'\"\nbasic_auth_users:\n  ann: {hash}\n  bob: '{hash}'\n\
             rate_limit:\n  interval: 10ms\n  burst: 5\n"
        );
        let protection = load(&text).unwrap();
        assert_eq!(protection.headers.len(), 2);
        assert!(!protection.users.is_empty() && protection.rate_limit.is_some());
    }

    #[test]
    fn all_errors_are_told_at_once_without_secrets() {
        let text = "\
basic_auth_users:
  ann: hunter2
http_server_config:
  headers:
    X-Frame-Options: maybe
    Server: mine
tls_server_config:
  cert_file: none.crt
  key_fil: none.key
  client_auth_type: RequireAndVerifyClientCert
  min_version: TLS14
  cipher_suites: [TLS_NONE]
  curve_preferences: [CurveP521]
rate_limit:
  interval: 1s
";
        let error = load(text).unwrap_err();
        for part in [
            "web.yml:2:8: basic_auth_users.ann: not a bcrypt hash",
            "ann: <secret>",
            "web.yml:5:22: http_server_config.headers.X-Frame-Options: expected one of deny, sameorigin",
            "web.yml:6:13: http_server_config.headers.Server: this HTTP header can not be configured",
            "web.yml:8:14: tls_server_config.cert_file: ",
            "none.crt: No such file",
            "tls_server_config.key_fil: unknown key; did you mean \"key_file\"?",
            "missing key_file (or key)",
            "needs client_ca_file",
            "web.yml:11:16: tls_server_config.min_version: expected one of TLS13, TLS12",
            "unknown cipher: TLS_NONE",
            "none of these curves is supported",
            "rate_limit.burst: ",
        ] {
            assert!(error.contains(part), "{part:?} is not in:\n{error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_no_yaml_is_told_without_its_line() {
        for text in [
            "basic_auth_users:\n  ann: '$2y$10$hunter2\n",
            "basic_auth_users:\n  ann: b: hunter2\n",
            "{hunter2",
        ] {
            let error = load(text).unwrap_err();
            assert!(error.starts_with("web.yml:") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn contradictions_are_errors() {
        for (text, part) in [
            ("cert_file: a\n  cert: b", "both cert and cert_file are set"),
            ("client_ca_file: a", "no client_auth_type"),
            ("client_allowed_sans: [a]\n  cert: x\n  key: y", "needs a client_auth_type"),
            ("cert: x\n  key: y", "holds no certificate in PEM"),
            ("cert: x\n  key: y", "holds no private key in PEM"),
            ("max_version: TLS11", "TLS 1.0 and 1.1 are not supported"),
            ("min_version: TLS13\n  max_version: TLS12", "higher than max_version"),
            ("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]", "only ciphers without forward secrecy"),
            ("client_auth_type: RequireAndVerifyClientCerts", "did you mean"),
        ] {
            let error = load(&format!("tls_server_config:\n  {text}\n")).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
