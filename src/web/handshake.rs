//! From an accepted stream to a TLS one, or to a word for those who speak plain HTTP.
//!
//! Source: Go's `net/http`, which answers a plain request on a TLS port instead of leaving a browser
//! with a broken connection.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::connection::{Activity, Protocol};
use super::listen::Stream;
use super::watched_stream::WatchedStream;

const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// The TLS stream and what ALPN chose.
pub(super) async fn handshake(
    mut stream: Stream,
    activity: Arc<Activity>,
    config: Arc<ServerConfig>,
) -> io::Result<(TlsStream<WatchedStream<Stream>>, Protocol)> {
    // Every method is in capitals; a TLS record begins with 0x16.
    if stream.first_byte().await?.is_ascii_uppercase() {
        // Unread bytes at the close would make the kernel send a reset, and the answer would be lost.
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await?;
        stream.write_all(PLAIN_HTTP_ANSWER).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on a TLS port"));
    }
    let accepted = TlsAcceptor::from(config).accept(WatchedStream::new(stream, activity)).await;
    let stream = accepted.inspect_err(|error| debug!(%error, "TLS handshake failed"))?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, if http2 { Protocol::Http2 } else { Protocol::Http1 }))
}
