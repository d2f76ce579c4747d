//! A connection for a URL: over TCP or a Unix socket, through a proxy, with TLS.
//!
//! Invariant: name lookups, which block a thread each, are few at a time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderName;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::error::{ConnectError, system_text, tls_text};
use super::proxy::Proxies;
use super::settings::ProxyUrl;
use super::tls::Tls;
use crate::config::Secret;
use crate::tasks;

/// Lookups at a time, over all clients: `getaddrinfo` may hang for as long as resolv.conf says.
static LOOKUPS: Semaphore = Semaphore::const_new(4);

/// How long one of several addresses of a host may take.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

/// Longest answer to `CONNECT`.
const MOST_PROXY_BYTES: usize = 8 << 10;

/// Makes connections.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<Ways>);

/// How a client connects.
#[derive(Debug)]
pub(super) struct Ways {
    /// Always this socket, whatever the URL says.
    pub(super) socket: Option<PathBuf>,
    pub(super) tls: Arc<Tls>,
    pub(super) proxies: Proxies,
    pub(super) proxy_headers: Vec<(HeaderName, Vec<Secret>)>,
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let ways = Arc::clone(&self.0);
        Box::pin(async move { ways.connect(&url).await })
    }
}

impl Ways {
    async fn connect(&self, url: &Uri) -> Result<Stream, ConnectError> {
        if let Some(path) = &self.socket {
            let dial = |error: io::Error| ConnectError::Dial {
                network: "unix",
                address: path.display().to_string(),
                why: system_text(&error),
            };
            return Ok(Stream::new(Box::new(UnixStream::connect(path).await.map_err(dial)?)));
        }
        let https = url.scheme_str() == Some("https");
        let host = url.host().unwrap_or_default();
        let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
        match (self.proxies.of(url), https) {
            (None, false) => Ok(Stream::new(dial(host, port).await?)),
            (None, true) => self.encrypt(dial(host, port).await?, host).await,
            (Some(proxy), false) => Ok(Stream { through_proxy: true, ..Stream::new(proxy.dial().await?) }),
            (Some(proxy), true) => {
                let tunnel = proxy.tunnel(proxy.dial().await?, &self.proxy_headers, host, port).await?;
                self.encrypt(tunnel, host).await
            }
        }
    }

    async fn encrypt(&self, stream: BoxedIo, host: &str) -> Result<Stream, ConnectError> {
        let name = self.tls.server_name(host)?;
        let tls = Arc::clone(&self.tls);
        // Reads files, now and then.
        let config = tasks::blocking(move || tls.config()).await;
        let config = config.map_err(|error| ConnectError::Tls(error.to_string()))??;
        let handshake = TlsConnector::from(config).connect(name, stream).await;
        let stream = handshake.map_err(|error| ConnectError::Tls(tls_text(&error)))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Stream { http2, ..Stream::new(Box::new(stream)) })
    }
}

impl ProxyUrl {
    /// A connection to the proxy itself.
    ///
    /// # Errors
    /// There is none.
    pub async fn dial(&self) -> Result<BoxedIo, ConnectError> {
        let (host, port) = self.address();
        dial(&host, port).await.map_err(|error| ConnectError::Proxy(error.to_string()))
    }

    /// Asks the proxy to connect to a host; `headers` are `proxy_connect_header`.
    ///
    /// # Errors
    /// It will not, or is none.
    pub async fn tunnel(
        &self,
        mut stream: BoxedIo,
        headers: &[(HeaderName, Vec<Secret>)],
        host: &str,
        port: u16,
    ) -> Result<BoxedIo, ConnectError> {
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(authorization) = self.authorization() {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        for (name, values) in headers {
            for value in values {
                let value = value.reveal().map_err(|error| ConnectError::Proxy(error.to_string()))?;
                request.push_str(&format!("{name}: {}\r\n", value.replace(['\r', '\n'], "")));
            }
        }
        request.push_str("\r\n");
        let failed = |error: io::Error| ConnectError::Proxy(system_text(&error));
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut answer = Vec::new();
        // A body, which only a refusal has, is not waited for.
        while memchr::memmem::find(&answer, b"\r\n\r\n").is_none() {
            if answer.len() > MOST_PROXY_BYTES || stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
                return Err(ConnectError::Proxy("the proxy's answer is not HTTP".to_owned()));
            }
        }
        let head = String::from_utf8_lossy(&answer);
        let status = head.lines().next().unwrap_or_default();
        match status.split_once(' ') {
            Some((version, rest)) if version.starts_with("HTTP/1.") && rest.starts_with("200") => {
                match answer.ends_with(b"\r\n\r\n") {
                    true => Ok(stream),
                    false => Err(ConnectError::Proxy("the proxy speaks before it is asked".to_owned())),
                }
            }
            Some((_, rest)) => Err(ConnectError::Proxy(rest.to_owned())),
            None => Err(ConnectError::Proxy("the proxy's answer is not HTTP".to_owned())),
        }
    }
}

/// Connects to the first address that answers.
async fn dial(host: &str, port: u16) -> Result<BoxedIo, ConnectError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match host.parse() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => lookup(host, port).await?,
    };
    let mut failed = None;
    for (at, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let connected = if at + 1 < addresses.len() {
            let timed_out = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
            tokio::time::timeout(ADDRESS_PATIENCE, connecting).await.unwrap_or_else(timed_out)
        } else {
            connecting.await
        };
        match connected {
            Ok(stream) => {
                // Small requests on connections that live long.
                let _ = stream.set_nodelay(true);
                return Ok(Box::new(stream));
            }
            Err(error) => failed.get_or_insert(dial_error(address, &error)),
        };
    }
    Err(failed.unwrap_or_else(|| no_such_host(host)))
}

fn dial_error(address: &SocketAddr, error: &io::Error) -> ConnectError {
    let address = address.to_string();
    match error.kind() {
        io::ErrorKind::TimedOut => ConnectError::DialTimeout { address },
        _ => ConnectError::Dial { network: "tcp", address, why: system_text(error) },
    }
}

fn no_such_host(host: &str) -> ConnectError {
    ConnectError::Lookup { host: host.to_owned(), why: "no such host".to_owned() }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    // Never closed, hence always granted.
    let _turn = LOOKUPS.acquire().await;
    match lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.take(16).collect()),
        Err(error) => {
            let text = error.to_string();
            let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            let unknown = ["not known", "No address", "nodename nor"].iter().any(|part| why.contains(part));
            if unknown {
                return Err(no_such_host(host));
            }
            Err(ConnectError::Lookup { host: host.to_owned(), why: why.to_lowercase() })
        }
    }
}

/// What bytes come from and go to.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection of whichever kind: one type, so that what is built on it is in the program once.
pub type BoxedIo = Box<dyn Io>;

/// A connection that HTTP is spoken on.
pub struct Stream {
    io: TokioIo<BoxedIo>,
    through_proxy: bool,
    http2: bool,
}

impl Stream {
    /// Straight to somebody, in HTTP/1.1.
    pub fn new(io: BoxedIo) -> Self {
        Self { io: TokioIo::new(io), through_proxy: false, http2: false }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.through_proxy);
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
