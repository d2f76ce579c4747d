//! The chain that an endpoint shows in a TLS handshake.
//!
//! Whoever checks it lets it pass and notes what any client would have said: what ends when is the question, also of a
//! chain that nobody trusts and of a server that then wants a certificate of us.

use std::io;

use tokio_rustls::TlsConnector;

use super::Place;
use super::der::{self, Certificate};
use crate::checks::net::{self, Family, host_and_port};
use crate::config::{Section, Value};
use crate::http_client::{Protocols, Tls, TlsSettings, tls_text};

/// Most endpoints of one source; they are asked one after the other.
const MOST_ENDPOINTS: usize = 100;

/// What an endpoint showed.
#[derive(Debug, Default)]
pub(in crate::checks) struct Answer {
    pub(in crate::checks) chain: Vec<Certificate>,
    /// Whether this machine trusts it for that name.
    pub(in crate::checks) trusted: bool,
    /// What failed, with a chain or without.
    pub(in crate::checks) problem: Option<String>,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub address: String,
    host: String,
    port: u16,
    tls: TlsSettings,
}

impl Endpoint {
    /// `endpoints`: `HOST[:PORT]`, or a section with `address` and `tls_config`.
    pub(super) fn read_all(section: &mut Section<'_>) -> Vec<Self> {
        let items = section.take_list("endpoints").unwrap_or_default();
        if items.len() > MOST_ENDPOINTS {
            section
                .error("endpoints", format!("more than {MOST_ENDPOINTS} endpoints; make it several sources"));
            return Vec::new();
        }
        let mut all: Vec<Self> = Vec::new();
        for item in &items {
            let Some(endpoint) = Self::read(item) else { continue };
            if all.iter().any(|other| other.place() == endpoint.place()) {
                let shown = endpoint.place().shown();
                item.error(format!(
                    "the endpoint {shown:?} stands here twice; give each a server_name of its own"
                ));
            }
            all.push(endpoint);
        }
        all
    }

    pub(in crate::checks) fn place(&self) -> Place {
        Place::Endpoint(self.address.clone(), self.tls.server_name.clone())
    }

    fn read(item: &Value<'_>) -> Option<Self> {
        let parse = |value: &Value<'_>| value.parse_with("HOST:PORT", |text| host_and_port(text, Some(443)));
        let ((host, port), tls) = if item.is_scalar() {
            (parse(item)?, TlsSettings::default())
        } else {
            let mut section = item.section()?;
            section.require("address");
            let tls = TlsSettings::read(&mut section);
            (section.take("address").and_then(|value| parse(&value))?, tls)
        };
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Some(Self { address: shown, host, port, tls })
    }

    /// The chain, and whether it is trusted; what failed beside.
    pub(in crate::checks) async fn ask(&self) -> Answer {
        let mut answer = Answer::default();
        if let Err(why) = self.shake_hands(&mut answer).await {
            answer.problem = Some(why);
        }
        answer
    }

    async fn shake_hands(&self, answer: &mut Answer) -> Result<(), String> {
        let (address, _) = net::resolve(&self.host, Family::default()).await;
        let stream = net::connect((address?, self.port).into(), None).await?;
        let tls = Tls::new(self.tls.clone(), Protocols::Any);
        let name = tls.server_name(&self.host).map_err(|error| error.to_string())?;
        // Reads files.
        let config =
            tokio::task::spawn_blocking(move || tls.witness()).await.map_err(|error| error.to_string())?;
        let (config, witness) = config.map_err(|error| error.to_string())?;
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        let seen = witness.seen();
        answer.chain = seen.chain.iter().filter_map(|der| der::read(der)).collect();
        answer.trusted = seen.trusted;
        shaken.map_err(|error| handshake_text(&error))?;
        if answer.chain.is_empty() {
            return Err("it showed no certificate that can be read".to_owned());
        }
        witness.problem().map_or(Ok(()), |why| Err(why.to_owned()))
    }
}

/// Why there was no handshake. Clients of HTTP say that the server spoke HTTP; here it may be anything.
fn handshake_text(error: &io::Error) -> String {
    use rustls::{Error, InvalidMessage};
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not begin with TLS; if it wants STARTTLS, use a probe of tcp with starttls".to_owned()
        }
        _ => tls_text(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_greets_in_plain_text_is_not_taken_for_http() {
        for (greeting, want) in [
            (
                &b"220 mail.example.org ESMTP\r\n"[..],
                "it does not begin with TLS; if it wants STARTTLS, use a probe",
            ),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not begin with TLS"),
            (b"", "EOF"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let peer = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(greeting).await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 4096]).await;
            });
            let (host, port, tls) = ("127.0.0.1".to_owned(), address.port(), TlsSettings::default());
            let answer = Endpoint { address: address.to_string(), host, port, tls }.ask().await;
            let why = answer.problem.unwrap();
            assert!(why.starts_with(want) && answer.chain.is_empty(), "{why}");
            peer.await.unwrap();
        }
    }
}
