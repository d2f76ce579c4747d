//! A peer for tests: an HTTP/1.1 server on a port of its own that does what it is told, also what no server should.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::wire::der::{self, Elements};

/// What the peer does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status, `Content-Type`, body.
    Text(u16, &'static str, String),
    /// A head (status line and headers, without the empty line) and a body, whose length is added.
    Full(String, Vec<u8>),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// 200, and a body without end.
    Endless,
    /// Nothing, for ever.
    Hang,
    /// 200 with a body that stops in the middle, for ever.
    Stall,
}

impl Answer {
    /// 200 and a body that is compressed, whoever asks.
    pub(crate) fn gzip(content_type: &str, body: &[u8]) -> Self {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Encoding: gzip\r\n");
        Self::Full(head, encoder.finish().unwrap())
    }

    /// 200 and text 0.0.4.
    pub(crate) fn metrics(body: impl Into<String>) -> Self {
        Self::Text(200, "text/plain; version=0.0.4", body.into())
    }
}

/// The server; ends when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// Heads and bodies.
#[derive(Default)]
struct Seen {
    heads: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

type Behaviour = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

impl Peer {
    /// Serves on 127.0.0.1; `behave` gets the head of each request.
    pub(crate) async fn start(behave: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Seen>>::default();
        let (seen, behave): (_, Behaviour) = (Arc::clone(&requests), Arc::new(behave));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(stream, Arc::clone(&behave), Arc::clone(&seen)));
            }
        });
        Self { address, requests, task }
    }

    /// Serves on a Unix socket.
    pub(crate) fn on_socket(
        path: &std::path::Path,
        behave: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let requests = Arc::<Mutex<Seen>>::default();
        let (seen, behave): (_, Behaviour) = (Arc::clone(&requests), Arc::new(behave));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(stream, Arc::clone(&behave), Arc::clone(&seen)));
            }
        });
        Self { address: ([127, 0, 0, 1], 0).into(), requests, task }
    }

    /// Serves one answer, always.
    pub(crate) async fn fixed(answer: Answer) -> Self {
        Self::start(move |_| answer.clone()).await
    }

    /// A URL of the peer.
    pub(crate) fn url(&self, path: &str) -> hyper::Uri {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// Heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().heads.clone()
    }

    /// Bodies of the requests so far; empty where there was none.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.requests.lock().unwrap().bodies.clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, behave: Behaviour, seen: Arc<Mutex<Seen>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let length = content_length(&head);
        while buffer.len() < length {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let body = buffer.drain(..length).collect();
        {
            let mut seen = seen.lock().unwrap();
            seen.heads.push(head.clone());
            seen.bodies.push(body);
        }
        let written = match behave(&head) {
            Answer::Text(status, content_type, body) => {
                let head = format!("HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\n");
                full(&mut stream, &head, body.as_bytes()).await
            }
            Answer::Full(head, body) => full(&mut stream, &head, &body).await,
            Answer::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Answer::Endless => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
                let mut written = stream.write_all(head).await;
                let line = b"endless_metric{a=\"b\"} 1\n".repeat(1000);
                while written.is_ok() {
                    written = stream.write_all(&line).await;
                }
                return;
            }
            Answer::Stall => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\na 1\n";
                let _ = stream.write_all(head).await;
                return std::future::pending().await;
            }
            Answer::Hang => return std::future::pending().await,
        };
        if written.is_err() {
            return;
        }
    }
}

fn content_length(head: &str) -> usize {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

async fn full<S: AsyncWrite + Unpin>(stream: &mut S, head: &str, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
    stream.write_all(body).await
}

/// A TLS server that answers one request of each connection; with `clients`, it speaks 1.2 and wants a certificate of one of
/// them.
pub(crate) async fn tls_peer(key: CertifiedKey, clients: Option<rustls::RootCertStore>) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = match clients {
        None => builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider);
            let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    answer_over_tls(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)))).await
}

/// The same with a certificate that nobody trusts; it refuses who offers to speak other protocols than this one.
pub(crate) async fn tls_peer_speaking(protocol: &str) -> u16 {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let builder =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![issued.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    answer_over_tls(config).await
}

async fn answer_over_tls(config: rustls::ServerConfig) -> u16 {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// A key that signs with nothing, in a scheme of its choice: to those who check signatures it is a wrong one.
pub(crate) fn wrong_key(certificate: Vec<u8>, scheme: SignatureScheme) -> CertifiedKey {
    CertifiedKey::new(vec![certificate.into()], Arc::new(WrongKey(scheme)))
}

#[derive(Clone, Copy, Debug)]
struct WrongKey(SignatureScheme);

impl SigningKey for WrongKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.0).then(|| Box::new(*self) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        match self.0 {
            SignatureScheme::RSA_PSS_SHA256 => rustls::SignatureAlgorithm::RSA,
            _ => rustls::SignatureAlgorithm::ECDSA,
        }
    }
}

impl Signer for WrongKey {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![0; 64])
    }

    fn scheme(&self) -> SignatureScheme {
        self.0
    }
}

/// A certificate made one of X.509 version 1: without its version and its extensions.
pub(crate) fn version_1(certificate: &[u8]) -> Vec<u8> {
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head = if content.len() < 0x80 { vec![tag, low] } else { vec![tag, 0x82, high, low] };
        [&head, content].concat()
    }
    let all = |elements: Elements<'_>| -> Vec<u8> {
        let kept = elements.filter(|(tag, _)| ![der::VERSION, 0xa3].contains(tag));
        kept.flat_map(|(tag, content)| element(tag, content)).collect()
    };
    let whole = der::child(certificate, der::SEQUENCE).unwrap();
    let mut parts = Elements(whole);
    let (_, signed) = parts.next().unwrap();
    element(der::SEQUENCE, &[element(der::SEQUENCE, &all(Elements(signed))), all(parts)].concat())
}
