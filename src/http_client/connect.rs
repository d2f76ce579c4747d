//! A connection for a URL: over TCP or a Unix socket, through a proxy, with TLS.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::error::{ConnectError, system_text, tls_text};
use super::lookup::lookup;
use super::proxy::Proxies;
use super::settings::ProxyUrl;
use super::tls::Tls;
use crate::config::Secret;
use crate::tasks;

/// Addresses of a host that are tried.
const MOST_ADDRESSES: usize = 16;

/// How long one of several addresses of a host may take.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

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
        let mut stream = match self.proxies.of(url) {
            None => dial(host, port).await?,
            Some(proxy) => {
                let stream = self.proxies.dial(proxy).await?;
                if !https && !proxy.is_socks() {
                    return Ok(Stream { through_proxy: true, ..Stream::new(stream) });
                }
                proxy.tunnel(stream, &self.proxy_headers, host, port).await?
            }
        };
        let mut http2 = false;
        if https {
            (stream, http2) = encrypt(&self.tls, stream, host).await?;
        }
        Ok(Stream { http2, ..Stream::new(stream) })
    }
}

impl Proxies {
    /// A connection to a proxy itself.
    ///
    /// # Errors
    /// There is none.
    pub async fn dial(&self, proxy: &ProxyUrl) -> Result<BoxedIo, ConnectError> {
        let (host, port) = proxy.address();
        let stream = dial(&host, port).await.map_err(|error| ConnectError::Proxy(error.to_string()))?;
        if !proxy.is_encrypted() {
            return Ok(stream);
        }
        let encrypted = encrypt(&self.tls, stream, &host).await;
        Ok(encrypted.map_err(|error| ConnectError::Proxy(error.to_string()))?.0)
    }
}

/// The connection encrypted, and whether HTTP/2 is spoken on it.
async fn encrypt(tls: &Arc<Tls>, stream: BoxedIo, host: &str) -> Result<(BoxedIo, bool), ConnectError> {
    let name = tls.server_name(host)?;
    let tls = Arc::clone(tls);
    // Reads files, now and then.
    let config = tasks::blocking(move || tls.config()).await;
    let config = config.map_err(|error| ConnectError::Tls(error.to_string()))??;
    let handshake = TlsConnector::from(config).connect(name, stream).await;
    let stream = handshake.map_err(|error| ConnectError::Tls(tls_text(&error)))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Box::new(stream), http2))
}

/// Connects to the first address that answers.
async fn dial(host: &str, port: u16) -> Result<BoxedIo, ConnectError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = match host.parse() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => addresses_of(host, port).await?,
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

async fn addresses_of(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    match lookup(host).await {
        Ok(found) => Ok(found.iter().take(MOST_ADDRESSES).map(|ip| SocketAddr::new(*ip, port)).collect()),
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
