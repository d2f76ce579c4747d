//! One HTTP request to the running instance: over TCP, TLS or a Unix socket, within one deadline.
//!
//! Written out rather than through a client library: one request, a status and a body. In HTTP 1.0, so that the answer ends
//! with the connection and comes in one piece.

use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::probe_tls::Trust;

/// Of an answer no more is read than this.
const LARGEST_ANSWER_BYTES: u64 = 16 << 20;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    /// JSON to be posted; without it nothing changes.
    pub(super) json: Option<&'a str>,
    /// The whole value of that header.
    pub(super) authorization: Option<&'a str>,
}

/// Where the instance answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `http://HOST:PORT/PREFIX`, or `https://` when `tls`.
    Tcp { host: String, port: u16, tls: bool, prefix: String },
    /// `unix:/PATH`; nothing stands before the paths of one that is named.
    Unix { path: PathBuf, prefix: String },
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The first line of the body.
    pub(super) text: String,
    /// All of it.
    pub(super) body: String,
}

impl std::str::FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                bail!("{url:?}: a Unix socket needs a path, as unix:/run/outrigger.sock");
            }
            return Ok(Self::Unix { path: path.into(), prefix: String::new() });
        }
        let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => bail!("{url:?}: expected http://, https:// or unix:"),
        };
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            bail!("user and password belong into healthcheck.basic_auth, not into the URL");
        }
        let is_text = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#');
        if !prefix.bytes().all(is_text) || !authority.bytes().all(is_text) {
            bail!("{url:?}: not a base URL, as http://127.0.0.1:9780");
        }
        let (host, port) = split_port(authority, if tls { 443 } else { 80 })
            .with_context(|| format!("{url:?}: expected HOST or HOST:PORT"))?;
        Ok(Self::Tcp { host, port, tls, prefix: prefix.trim_end_matches('/').to_owned() })
    }
}

fn split_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    (!host.is_empty() && (bracketed || !host.contains(':'))).then(|| (bare(host), port))
}

impl Target {
    /// Asks.
    pub(super) async fn ask(&self, question: Question<'_>, trust: &Trust) -> anyhow::Result<Answer> {
        match self {
            Self::Unix { path: socket, prefix } => {
                let stream = UnixStream::connect(socket).await;
                let stream =
                    stream.with_context(|| format!("cannot connect to unix:{}", socket.display()))?;
                exchange(stream, &request("localhost", prefix, question)).await
            }
            Self::Tcp { host, port, tls, prefix } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream =
                    stream.with_context(|| format!("cannot connect to {}", authority(host, *port)))?;
                let request = request(&authority(host, *port), prefix, question);
                if *tls {
                    exchange(trust.connect(host, stream).await?, &request).await
                } else {
                    exchange(stream, &request).await
                }
            }
        }
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn request(host: &str, prefix: &str, question: Question<'_>) -> String {
    let Question { path, json, authorization } = question;
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let (method, body) = json.map_or(("GET", ""), |json| ("POST", json));
    let length = body.len();
    let content = json
        .map(|_| format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"))
        .unwrap_or_default();
    format!(
        "{method} {prefix}{path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: outrigger\r\n{content}{authorization}\r\n{body}"
    )
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> anyhow::Result<Answer> {
    stream.write_all(request.as_bytes()).await.context("cannot send the request")?;
    let mut answer = Vec::new();
    match stream.take(LARGEST_ANSWER_BYTES).read_to_end(&mut answer).await {
        // Some peers end TLS without saying so; what came is judged by itself.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(error).context("cannot read the answer");
        }
        _ => {}
    }
    parse_answer(&String::from_utf8_lossy(&answer)).context("the answer is not HTTP")
}

fn parse_answer(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let line = body.lines().next().unwrap_or_default();
    let text = line.chars().filter(|c| !c.is_control()).take(200).collect();
    Some(Answer { status, text, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let tcp = |host: &str, port, tls, prefix: &str| Target::Tcp {
            host: host.into(),
            port,
            tls,
            prefix: prefix.into(),
        };
        for (url, target) in [
            ("http://localhost:9780", tcp("localhost", 9780, false, "")),
            ("https://example.org", tcp("example.org", 443, true, "")),
            ("http://[::1]:9780/", tcp("::1", 9780, false, "")),
            ("http://[::1]/a/b/", tcp("::1", 80, false, "/a/b")),
            ("unix:/run/x.sock", Target::Unix { path: "/run/x.sock".into(), prefix: String::new() }),
            ("unix:///run/x.sock", Target::Unix { path: "/run/x.sock".into(), prefix: String::new() }),
        ] {
            assert_eq!(url.parse::<Target>().unwrap(), target, "{url}");
        }
        for wrong in [
            "",
            "localhost:9780",
            "ftp://x",
            "http://",
            "http://:80",
            "http://::1:80",
            "http://h:port",
            "unix:",
            "http://u:p@h",
            "http://h/?q",
            "http://h\r\n:80",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_read() {
        let answer =
            parse_answer("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nnot\u{1b} yet\nmore").unwrap();
        assert_eq!(
            answer,
            Answer { status: 503, text: "not yet".into(), body: "not\u{1b} yet\nmore".into() }
        );
        for wrong in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
            assert_eq!(parse_answer(wrong), None, "{wrong}");
        }
    }
}
