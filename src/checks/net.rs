//! Names, addresses, connections and TLS, each step with its duration.
//!
//! Invariant: the caller has a deadline over all of it.
//!
//! Source: blackbox_exporter's documentation of `preferred_ip_protocol`; which address counts is checked against it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::config::{Section, Value};
use crate::http_client::{BoxedIo, Tls, lookup, system_text, tls_text};
use crate::tasks;

/// Which kind of address is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) prefers_v6: bool,
    pub(super) falls_back: bool,
}

impl Default for Family {
    fn default() -> Self {
        Self { prefers_v6: true, falls_back: true }
    }
}

/// A value that is given. Where an empty text stands for the default, it is none: Go does not tell them apart.
pub(super) fn given<'d>(section: &mut Section<'d>, key: &str) -> Option<Value<'d>> {
    let is_empty =
        |value: &Value<'_>| value.is_scalar() && value.literal().is_some_and(|text| text.is_empty());
    section.take(key).filter(|value| !is_empty(value))
}

impl Family {
    /// `preferred_ip_protocol` and `ip_protocol_fallback`.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let protocols = [("ip4", false), ("ip6", true)];
        Self {
            prefers_v6: given(section, "preferred_ip_protocol")
                .and_then(|value| value.choice(&protocols))
                .unwrap_or(default.prefers_v6),
            falls_back: section.take_bool("ip_protocol_fallback").unwrap_or(default.falls_back),
        }
    }
}

/// The address of a host, and how long it took to find.
pub(super) async fn resolve(host: &str, family: Family) -> (Result<IpAddr, String>, Duration) {
    let began = Instant::now();
    let address = find(host, family).await;
    (address, began.elapsed())
}

async fn find(host: &str, family: Family) -> Result<IpAddr, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Arc<[IpAddr]> = match host.parse() {
        Ok(address) => Arc::new([address]),
        Err(_) => lookup(host).await.map_err(|error| format!("lookup {host}: {}", system_text(&error)))?,
    };
    let preferred = addresses.iter().find(|address| address.is_ipv6() == family.prefers_v6);
    let other = addresses.first().filter(|_| family.falls_back);
    let protocol = if family.prefers_v6 { "ip6" } else { "ip4" };
    preferred.or(other).copied().ok_or_else(|| format!("lookup {host}: no address of {protocol}"))
}

/// `HOST:PORT`; a default port stands in where it is missing.
pub(super) fn host_and_port(target: &str, default_port: Option<u16>) -> Result<(String, u16), String> {
    let (host, port) = match target.rsplit_once(':') {
        // An address of version 6 without brackets has no port.
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => (target, None),
        Some((host, port)) if !port.ends_with(']') => {
            (host, Some(port.parse::<u16>().map_err(|_| format!("{port:?} is not a port"))?))
        }
        _ => (target, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match (host, port.or(default_port)) {
        ("", _) => Err(format!("{target:?} has no host")),
        (_, None) => Err(format!("{target:?} has no port; write HOST:PORT")),
        (host, Some(port)) => Ok((host.to_owned(), port)),
    }
}

/// A connection over TCP, from an address of ours if one is given.
pub(super) async fn connect(address: SocketAddr, from: Option<IpAddr>) -> Result<BoxedIo, String> {
    let connected: io::Result<TcpStream> = async {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(address).await
    }
    .await;
    let stream =
        connected.map_err(|error| format!("dial tcp {address}: connect: {}", system_text(&error)))?;
    let _ = stream.set_nodelay(true);
    Ok(Box::new(stream))
}

/// What is known of an encrypted connection.
#[derive(Clone, Debug)]
pub(super) struct TlsFacts {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) version: String,
    pub(super) cipher: String,
    /// Whether the chain was checked.
    pub(super) verified: bool,
    pub(super) http2: bool,
}

/// Encrypts a connection.
pub(super) async fn encrypt(
    stream: BoxedIo,
    tls: &Arc<Tls>,
    verifies: bool,
    host: &str,
) -> Result<(BoxedIo, TlsFacts), String> {
    let name = tls.server_name(host).map_err(|error| error.to_string())?;
    let reading = Arc::clone(tls);
    // Reads files, now and then.
    let config = tasks::blocking(move || reading.config()).await.map_err(|error| error.to_string())?;
    let config = config.map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| tls_text(&error))?;
    let (_, connection) = stream.get_ref();
    let facts = TlsFacts {
        chain: connection
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|c| c.clone().into_owned())
            .collect(),
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
            _ => "unknown".to_owned(),
        },
        cipher: connection
            .negotiated_cipher_suite()
            .map_or_else(String::new, |suite| cipher_name(suite.suite())),
        verified: verifies,
        http2: connection.alpn_protocol() == Some(b"h2"),
    };
    Ok((Box::new(stream), facts))
}

/// As Go names it: IANA's name.
fn cipher_name(suite: rustls::CipherSuite) -> String {
    let name = suite.as_str().unwrap_or("unknown");
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (target, default, want) in [
            ("a.org:80", None, Ok(("a.org", 80))),
            ("a.org", Some(443), Ok(("a.org", 443))),
            ("[::1]:7", None, Ok(("::1", 7))),
            ("[::1]", Some(1), Ok(("::1", 1))),
            ("::1", Some(1), Ok(("::1", 1))),
            ("a.org", None, Err("has no port")),
            (":80", None, Err("has no host")),
            ("a.org:x", None, Err("is not a port")),
            ("a.org:70000", None, Err("is not a port")),
        ] {
            let got = host_and_port(target, default);
            match want {
                Ok((host, port)) => assert_eq!(got, Ok((host.to_owned(), port)), "{target}"),
                Err(part) => assert!(got.unwrap_err().contains(part), "{target}"),
            }
        }
    }

    #[tokio::test]
    async fn addresses_by_preference() {
        let family = |prefers_v6, falls_back| Family { prefers_v6, falls_back };
        for (host, asked, want) in [
            ("127.0.0.1", family(false, false), Some("127.0.0.1")),
            ("127.0.0.1", family(true, true), Some("127.0.0.1")),
            ("127.0.0.1", family(true, false), None),
            ("[::1]", family(true, false), Some("::1")),
            ("::1", family(false, false), None),
        ] {
            let (got, _) = resolve(host, asked).await;
            assert_eq!(got.ok().map(|address| address.to_string()).as_deref(), want, "{host} {asked:?}");
        }
    }
}
