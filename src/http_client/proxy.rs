//! Which proxy, if any, a URL is asked through.
//!
//! Source: Go's `httpproxy` for `NO_PROXY` and the variables; Prometheus for `proxy_url`, which without
//! `no_proxy` holds for every host.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;

use super::settings::{ProxySettings, ProxyUrl, TlsSettings};
use super::tls::{Protocols, Tls};

/// Who connects in our place, ready to be asked.
#[derive(Clone, Debug)]
pub struct Proxies {
    http: Option<ProxyUrl>,
    https: Option<ProxyUrl>,
    /// `None`: no host is excepted, not even this one.
    exceptions: Option<Exceptions>,
    /// With proxies that are asked over TLS themselves; as in Go, by the settings for those who are asked through them.
    pub(super) tls: Arc<Tls>,
}

impl Proxies {
    /// Of settings, and of the environment if they say so.
    pub fn new(settings: &ProxySettings, tls: &TlsSettings) -> Self {
        Self::with(settings, tls, |name| std::env::var(name).ok())
    }

    /// `variable` reads the environment.
    fn with(settings: &ProxySettings, tls: &TlsSettings, variable: impl Fn(&str) -> Option<String>) -> Self {
        let tls = Arc::new(Tls::new(tls.clone(), Protocols::Http1));
        if settings.from_environment {
            let either = |name: &str| variable(name).or_else(|| variable(&name.to_lowercase()));
            let url = |name: &str| {
                let text = either(name).filter(|text| !text.is_empty())?;
                text.parse().or_else(|_| format!("http://{text}").parse()).ok()
            };
            let exceptions = Some(Exceptions::new(&either("NO_PROXY").unwrap_or_default()));
            return Self { http: url("HTTP_PROXY"), https: url("HTTPS_PROXY"), exceptions, tls };
        }
        let exceptions = (!settings.no_proxy.is_empty()).then(|| Exceptions::new(&settings.no_proxy));
        Self { http: settings.url.clone(), https: settings.url.clone(), exceptions, tls }
    }

    /// The proxy for a URL; `None` for a direct connection.
    pub fn of(&self, url: &Uri) -> Option<&ProxyUrl> {
        let https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
        self.of_host(https, url.host().unwrap_or_default(), port)
    }

    /// The same for the parts of a URL.
    pub fn of_host(&self, https: bool, host: &str, port: u16) -> Option<&ProxyUrl> {
        let proxy = if https { self.https.as_ref() } else { self.http.as_ref() }?;
        let excepted = self.exceptions.as_ref().is_some_and(|exceptions| exceptions.hold(host, port));
        (!excepted).then_some(proxy)
    }
}

impl ProxyUrl {
    /// Host and port to connect to.
    pub(super) fn address(&self) -> (String, u16) {
        let port = match self.uri().scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => 1080,
        };
        (self.uri().host().unwrap_or_default().to_owned(), self.uri().port_u16().unwrap_or(port))
    }

    /// Whether it is asked over TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.uri().scheme_str() == Some("https")
    }

    /// Whether it knows nothing of HTTP: what goes through it is as without it.
    pub fn is_socks(&self) -> bool {
        !matches!(self.uri().scheme_str(), Some("http" | "https"))
    }

    /// User and password, where the URL has a user.
    pub(super) fn user(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (user, _) = self.uri().authority()?.as_str().rsplit_once('@')?;
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        Some((percent_decoded(name), percent_decoded(password)))
    }

    /// `Proxy-Authorization`, where the URL has a user.
    pub fn authorization(&self) -> Option<String> {
        let (name, password) = self.user()?;
        Some(format!("Basic {}", STANDARD.encode([name, password].join(&b':'))))
    }
}

/// The bytes that a part of an address stands for.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                decoded.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

/// Hosts that are asked directly.
#[derive(Clone, Debug)]
struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug)]
enum Exception {
    All,
    Network(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    /// A domain with its leading dot, and whether the domain itself counts.
    Domain(String, bool, Option<u16>),
}

impl Exceptions {
    fn new(text: &str) -> Self {
        Self(text.split(',').filter_map(|entry| exception(&entry.trim().to_lowercase())).collect())
    }

    fn hold(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
            return true;
        }
        self.0.iter().any(|exception| match exception {
            Exception::All => true,
            Exception::Network(network, bits) => address.is_some_and(|a| in_network(a, *network, *bits)),
            Exception::Address(there, only) => address == Some(*there) && only.is_none_or(|p| p == port),
            Exception::Domain(domain, itself, only) => {
                let fits = host.ends_with(domain) || (*itself && domain.get(1..) == Some(host.as_str()));
                fits && only.is_none_or(|p| p == port)
            }
        })
    }
}

fn exception(entry: &str) -> Option<Exception> {
    if entry.is_empty() {
        return None;
    }
    if entry == "*" {
        return Some(Exception::All);
    }
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits)) = (network.parse(), bits.parse())
    {
        return Some(Exception::Network(network, bits));
    }
    if let Ok(address) = entry.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(Exception::Address(address, None));
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (entry, None),
    };
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(Exception::Address(address, port));
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    Some(match host.strip_prefix('.') {
        Some(_) => Exception::Domain(host.to_owned(), false, port),
        None => Exception::Domain(format!(".{host}"), true, port),
    })
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shared = |a: u128, b: u128, width: u32| {
        let kept = u32::from(bits).min(width);
        kept == 0 || (a ^ b) >> (width - kept) == 0
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => shared(u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => shared(a.to_bits(), n.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_those_of_go() {
        let exceptions = Exceptions::new("foo.com, .bar.com,10.0.0.0/8, 1.2.3.4:80,*.baz.org,qux:81,::1/128");
        for (host, port, direct) in [
            ("foo.com", 80, true),
            ("a.foo.com", 80, true),
            ("afoo.com", 80, false),
            ("bar.com", 80, false),
            ("a.bar.com", 80, true),
            ("x.baz.org", 1, true),
            ("10.255.0.1", 80, true),
            ("11.0.0.1", 80, false),
            ("1.2.3.4", 80, true),
            ("1.2.3.4", 81, false),
            ("qux", 81, true),
            ("qux", 80, false),
            ("localhost", 80, true),
            ("127.9.9.9", 80, true),
            ("FOO.com", 80, true),
        ] {
            assert_eq!(exceptions.hold(host, port), direct, "{host}:{port}");
        }
        assert!(Exceptions::new("*").hold("anything", 1));
    }

    #[test]
    fn the_environment_and_the_setting_differ() {
        let url: Uri = "http://localhost:1/".parse().unwrap();
        let proxy = |settings: &ProxySettings| {
            let variable = |name: &str| (name == "http_proxy").then(|| "p:3128".to_owned());
            Proxies::with(settings, &TlsSettings::default(), variable).of(&url).map(ProxyUrl::address)
        };
        let mut settings =
            ProxySettings { url: "http://u%40:p%3A@proxy:1".parse().ok(), ..ProxySettings::default() };
        assert_eq!(proxy(&settings), Some(("proxy".to_owned(), 1)));
        assert_eq!(
            settings.url.as_ref().and_then(ProxyUrl::authorization).as_deref(),
            Some("Basic dUA6cDo=")
        );
        settings.no_proxy = "nobody".to_owned();
        assert_eq!(proxy(&settings), None);
        let settings = ProxySettings { from_environment: true, ..ProxySettings::default() };
        assert_eq!(proxy(&settings), None);
        let elsewhere: Uri = "http://elsewhere/".parse().unwrap();
        for (url, port) in
            [("http://p:3128", 3128), ("http://p", 80), ("https://p", 443), ("socks5://p", 1080)]
        {
            let variable = |name: &str| (name == "HTTP_PROXY").then(|| url.to_owned());
            let proxies = Proxies::with(&settings, &TlsSettings::default(), variable);
            assert_eq!(proxies.of(&elsewhere).map(ProxyUrl::address), Some(("p".to_owned(), port)));
        }
    }
}
