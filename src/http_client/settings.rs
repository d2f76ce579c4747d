//! `HTTPClientConfig`: the keys that Prometheus has wherever it calls somebody over HTTP.
//!
//! Source: Prometheus's configuration documentation (`<http_config>`, `<tls_config>`); its rules about what
//! excludes what, and their messages.

use std::str::FromStr;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::oauth2::OAuth2;
use crate::config::{Field, Secret, Section, Value};

/// How an HTTP client authenticates, connects and encrypts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClientSettings {
    /// Credentials, if any.
    pub auth: Option<Auth>,
    /// `tls_config`.
    pub tls: TlsSettings,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be chosen in the TLS handshake.
    pub enable_http2: bool,
    /// Who connects in our place.
    pub proxy: ProxySettings,
    /// `http_headers`: name and values.
    pub headers: Vec<(HeaderName, Vec<Secret>)>,
}

impl Default for HttpClientSettings {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsSettings::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy: ProxySettings::default(),
            headers: Vec::new(),
        }
    }
}

/// What goes into the `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `basic_auth`; an absent part is empty.
    Basic {
        /// The user's name.
        username: Option<Secret>,
        /// The password.
        password: Option<Secret>,
    },
    /// `authorization`, and the older `bearer_token`.
    Credentials {
        /// `Bearer` unless set.
        scheme: String,
        /// What follows it.
        credentials: Option<Secret>,
    },
    /// `oauth2`: a token of somebody else's.
    OAuth2(Box<OAuth2>),
}

/// `tls_config`. Texts are PEM; files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Authorities that are trusted; the system's without.
    pub ca: Option<Secret>,
    /// Our certificate.
    pub cert: Option<Secret>,
    /// Its key.
    pub key: Option<Secret>,
    /// The name that the server's certificate must have, in place of the URL's.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
    /// The oldest version spoken.
    pub min_version: Option<TlsVersion>,
    /// The newest version spoken.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS. Versions before 1.2 are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0 and 1.1: as a lower bound they mean 1.2.
    Older,
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

const VERSIONS: [(&str, TlsVersion); 4] = [
    ("TLS10", TlsVersion::Older),
    ("TLS11", TlsVersion::Older),
    ("TLS12", TlsVersion::Tls12),
    ("TLS13", TlsVersion::Tls13),
];

/// Who connects in our place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// `proxy_url`; a user and password in it are used.
    pub url: Option<ProxyUrl>,
    /// `no_proxy`: hosts, domains, addresses, networks that are asked directly.
    pub no_proxy: String,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment count.
    pub from_environment: bool,
    /// `proxy_connect_header`: sent with `CONNECT`.
    pub connect_headers: Vec<(HeaderName, Vec<Secret>)>,
}

/// A proxy's URL, whose password is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Uri);

impl ProxyUrl {
    /// The URL itself.
    pub const fn uri(&self) -> &Uri {
        &self.0
    }
}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.host().unwrap_or_default())
    }
}

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https" | "socks5" | "socks5h"), Some(host)) if !host.is_empty() => Ok(Self(uri)),
            (Some(scheme), Some(_)) => Err(format!(
                "a proxy is asked over http, https, socks5 or socks5h; {scheme:?} is not supported"
            )),
            _ => Err("expected a URL such as \"http://proxy:3128\"".to_owned()),
        }
    }
}

/// Headers that are the client's own business.
const RESERVED_HEADERS: [&str; 16] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "transfer-encoding",
];

impl HttpClientSettings {
    /// Reads the keys from the section that holds them beside its own. Mistakes are noted in it.
    pub fn read(section: &mut Section<'_>) -> Self {
        let defaults = Self::default();
        Self {
            auth: read_auth(section),
            tls: TlsSettings::read(section),
            follow_redirects: section.take_bool("follow_redirects").unwrap_or(defaults.follow_redirects),
            enable_http2: section.take_bool("enable_http2").unwrap_or(defaults.enable_http2),
            proxy: read_proxy(section),
            headers: read_http_headers(section),
        }
    }
}

fn read_auth(section: &mut Section<'_>) -> Option<Auth> {
    let given: Vec<&str> = ["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    if let [_, second, ..] = given.as_slice()
        && given != ["bearer_token", "bearer_token_file"]
    {
        section.error(
            second,
            "at most one of basic_auth, authorization, oauth2, bearer_token & bearer_token_file must be configured",
        );
    }
    let basic = section.take_section("basic_auth").map(|mut basic| Auth::Basic {
        username: basic
            .take_str("username")
            .map(Secret::inline)
            .into_iter()
            .chain(read_exclusive_file(&mut basic, "username", "username_file"))
            .next(),
        password: basic.take_secret("password"),
    });
    let authorization = section.take_section("authorization").map(|mut authorization| {
        let scheme = authorization.take_str("type").unwrap_or_default().trim().to_owned();
        if scheme.eq_ignore_ascii_case("basic") {
            authorization
                .error("type", "authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
        }
        let scheme = if scheme.is_empty() { "Bearer".to_owned() } else { scheme };
        Auth::Credentials { scheme, credentials: authorization.take_secret("credentials") }
    });
    let bearer = section
        .take_secret("bearer_token")
        .map(|token| Auth::Credentials { scheme: "Bearer".to_owned(), credentials: Some(token) });
    let oauth2 = section.take_section("oauth2").and_then(|mut oauth2| OAuth2::read(&mut oauth2));
    basic.or(authorization).or(oauth2.map(|oauth2| Auth::OAuth2(Box::new(oauth2)))).or(bearer)
}

/// A file that stands for a key which is no secret; both at once is an error.
fn read_exclusive_file(section: &mut Section<'_>, key: &str, file_key: &str) -> Option<Secret> {
    let file = section.take_path(file_key).map(Secret::file)?;
    if section.has(key) {
        section.error(file_key, format!("at most one of {key} & {file_key} must be configured"));
    }
    Some(file)
}

impl TlsSettings {
    /// Reads `tls_config` from the section that holds it.
    pub fn read(section: &mut Section<'_>) -> Self {
        section.take_section("tls_config").map(|mut tls| read_tls(&mut tls)).unwrap_or_default()
    }
}

fn read_tls(section: &mut Section<'_>) -> TlsSettings {
    let tls = TlsSettings {
        ca: section.take_secret("ca"),
        cert: section.take_secret("cert"),
        key: section.take_secret("key"),
        server_name: section.take_str("server_name").filter(|name| !name.is_empty()),
        insecure_skip_verify: section.take_bool("insecure_skip_verify").unwrap_or_default(),
        min_version: section.take_choice("min_version", &VERSIONS),
        max_version: section.take_choice("max_version", &VERSIONS),
    };
    if tls.cert.is_some() && tls.key.is_none() {
        let at = if section.has("cert") { "cert" } else { "cert_file" };
        section.error(
            at,
            "exactly one of key or key_file must be configured when a client certificate is configured",
        );
    }
    if tls.key.is_some() && tls.cert.is_none() {
        let at = if section.has("key") { "key" } else { "key_file" };
        section
            .error(at, "exactly one of cert or cert_file must be configured when a client key is configured");
    }
    if tls.max_version == Some(TlsVersion::Older) {
        section.error("max_version", "TLS before 1.2 is not spoken");
    } else if let (Some(min), Some(max)) = (tls.min_version, tls.max_version)
        && min > max
    {
        section.error(
            "max_version",
            "tls_config.max_version must be greater than or equal to tls_config.min_version",
        );
    }
    tls
}

pub(super) fn read_proxy(section: &mut Section<'_>) -> ProxySettings {
    let url = section.take("proxy_url").and_then(|value| {
        // May hold a password; an empty one means none, as in Prometheus.
        let text = value.secret()?.reveal().ok()?;
        if text.is_empty() {
            return None;
        }
        text.parse().map_err(|error: String| value.error(error)).ok()
    });
    let proxy = ProxySettings {
        url,
        no_proxy: section.take_str("no_proxy").unwrap_or_default(),
        from_environment: section.take_bool("proxy_from_environment").unwrap_or_default(),
        connect_headers: read_header_lists(section, "proxy_connect_header"),
    };
    let wrong = |key: &str, message: &str| section.error(key, message);
    if proxy.from_environment && proxy.url.is_some() {
        wrong("proxy_url", "if proxy_from_environment is configured, proxy_url must not be configured");
    }
    if proxy.from_environment && !proxy.no_proxy.is_empty() {
        wrong("no_proxy", "if proxy_from_environment is configured, no_proxy must not be configured");
    }
    if !section.has("proxy_url") && !proxy.no_proxy.is_empty() && !proxy.from_environment {
        wrong("no_proxy", "if no_proxy is configured, proxy_url must also be configured");
    }
    if !proxy.connect_headers.is_empty() && !section.has("proxy_url") && !proxy.from_environment {
        wrong(
            "proxy_connect_header",
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
        );
    }
    proxy
}

/// Headers by name, each with a list of values.
pub fn read_header_lists(section: &mut Section<'_>, key: &str) -> Vec<(HeaderName, Vec<Secret>)> {
    let Some(mut headers) = section.take_section(key) else { return Vec::new() };
    let read = |field: Field<'_>| {
        let values = field.value()?.list()?;
        checked(&field, values.iter().filter_map(Value::secret).collect())
    };
    headers.take_fields().into_iter().filter_map(read).collect()
}

fn read_http_headers(section: &mut Section<'_>) -> Vec<(HeaderName, Vec<Secret>)> {
    let Some(mut headers) = section.take_section("http_headers") else { return Vec::new() };
    let read = |field: Field<'_>| {
        let mut header = field.value()?.section()?;
        let mut values: Vec<Secret> =
            header.take_strings("values").unwrap_or_default().into_iter().map(Secret::inline).collect();
        let secrets = header.take_list("secrets").unwrap_or_default();
        values.extend(secrets.iter().filter_map(Value::secret));
        let files = header.take_list("files").unwrap_or_default();
        values.extend(files.iter().filter_map(Value::path_buf).map(Secret::file));
        if RESERVED_HEADERS.iter().any(|name| name.eq_ignore_ascii_case(field.key())) {
            field.error_at_key(|| format!("setting header {:?} is not allowed", field.key()));
        }
        checked(&field, values)
    };
    headers.take_fields().into_iter().filter_map(read).collect()
}

fn checked(field: &Field<'_>, values: Vec<Secret>) -> Option<(HeaderName, Vec<Secret>)> {
    let Ok(name) = HeaderName::from_bytes(field.key().as_bytes()) else {
        field.error_at_key(|| format!("{:?} is not a valid header name", field.key()));
        return None;
    };
    let inline = values.iter().filter(|value| value.path().is_none());
    let unfit = |value: &Secret| value.reveal().is_ok_and(|text| HeaderValue::from_str(&text).is_err());
    if inline.into_iter().any(unfit) {
        field.error_at_key(|| "a value holds characters that no header may have".to_owned());
    }
    Some((name, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn read(text: &str) -> Result<HttpClientSettings, String> {
        let document = Document::parse("f.yml", text, &Limits::default()).map_err(|e| e.to_string())?;
        document.read(&Environment::off(), HttpClientSettings::read).map_err(|e| e.to_string())
    }

    #[test]
    fn everything_is_read() {
        let settings = read(
            "basic_auth: {username: u, password_file: p}\ntls_config: {ca_file: ca.pem, cert: C, key: K, server_name: n, insecure_skip_verify: true, min_version: TLS13}\nfollow_redirects: false\nenable_http2: false\nproxy_url: http://u:hunter2@proxy:3128\nno_proxy: localhost\nproxy_connect_header: {X-A: [b]}\nhttp_headers: {X-B: {values: [c], secrets: [d], files: [e]}}\n",
        )
        .unwrap();
        assert!(matches!(settings.auth, Some(Auth::Basic { username: Some(_), password: Some(_) })));
        assert_eq!(settings.tls.min_version, Some(TlsVersion::Tls13));
        assert!(!settings.follow_redirects && !settings.enable_http2);
        assert_eq!(settings.headers[0].1.len(), 3);
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert_eq!(read("").unwrap(), HttpClientSettings::default());
        let bearer = read("bearer_token: t\n").unwrap().auth;
        assert_eq!(bearer, read("authorization: {credentials: t}\n").unwrap().auth);
    }

    #[test]
    fn what_excludes_what_is_said_in_its_place() {
        for (text, expected) in [
            ("bearer_token: a\nbasic_auth: {username: u}\n", "1:15: bearer_token: at most one of basic_auth"),
            ("bearer_token: a\nbearer_token_file: b\n", "2:20: bearer_token_file: both bearer_token and"),
            ("authorization: {type: Basic}\n", "1:23: authorization.type: authorization type cannot be set"),
            (
                "basic_auth: {password: a, password_file: b}\n",
                "1:42: basic_auth.password_file: both password",
            ),
            (
                "basic_auth: {username: a, username_file: b}\n",
                "1:42: basic_auth.username_file: at most one of",
            ),
            ("tls_config: {cert_file: a}\n", "1:25: tls_config.cert_file: exactly one of key"),
            ("tls_config: {key: a}\n", "1:19: tls_config.key: exactly one of cert"),
            ("tls_config: {max_version: TLS11}\n", "1:27: tls_config.max_version: TLS before 1.2"),
            ("tls_config: {insecure: true}\n", "1:14: tls_config.insecure: unknown key"),
            ("proxy_url: ftp://h:1\n", "1:12: proxy_url: a proxy is asked over http"),
            ("proxy_url: nothing\n", "1:12: proxy_url: expected a URL such as"),
            ("no_proxy: a\n", "1:11: no_proxy: if no_proxy is configured"),
            ("proxy_from_environment: true\nproxy_url: http://p:1\n", "2:12: proxy_url: if proxy_from"),
            (
                "http_headers: {Host: {values: [a]}}\n",
                "1:16: http_headers.Host: setting header \"Host\" is not",
            ),
            (
                "http_headers: {A B: {values: [a]}}\n",
                "1:16: http_headers.\"A B\": \"A B\" is not a valid header",
            ),
            ("oauth2: {client_id: a}\n", "1:9: oauth2: oauth2 token_url must be configured"),
            ("oauth2: {token_url: http://h/}\n", "1:9: oauth2: oauth2 client_id must be configured"),
            ("oauth2: {client_id: a, token_url: h}\n", "1:35: oauth2.token_url: expected a URL such as"),
            (
                "oauth2: {client_id: a, token_url: http://h/, client_secret: b, client_secret_file: c}\n",
                "1:84: oauth2.client_secret_file: both client_secret",
            ),
            (
                "oauth2: {client_id: a, token_url: http://h/, scopes: a}\n",
                "1:54: oauth2.scopes: expected a list",
            ),
            (
                "oauth2: {client_id: a, token_url: http://h/, no_proxy: b}\n",
                "1:56: oauth2.no_proxy: if no_proxy is configured",
            ),
            (
                "oauth2: {client_id: a, token_url: http://h/}\nbasic_auth: {username: u}\n",
                "1:9: oauth2: at most one of basic_auth",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("f.yml:{expected}")), "{text}{error}");
        }
    }
}
