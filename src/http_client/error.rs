//! What goes wrong with a call, in the words that Prometheus's users know: those of Go's client.

use std::error::Error as _;
use std::io;

use hyper::{Method, Uri};

use crate::config::SecretError;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No response came.
    #[error("{method} {url:?}: {problem}", method = go_method(.method))]
    Call {
        /// Method of the request.
        method: Method,
        /// The URL without its password.
        url: String,
        /// What went wrong.
        problem: Problem,
    },
    /// The response broke off or could not be read.
    #[error("{0}")]
    Body(Problem),
    /// A body beyond the limit.
    #[error("body size limit exceeded")]
    TooLarge,
    /// What is configured for the call cannot be read.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// The request cannot be made.
    #[error("{0}")]
    Request(String),
}

impl HttpError {
    pub(super) fn call(method: &Method, url: &Uri, problem: Problem) -> Self {
        Self::Call { method: method.clone(), url: shown_url(url), problem }
    }

    /// The same without the URLs, where one is a secret. What Alertmanager shows in their place.
    pub fn without_url(self) -> Self {
        let redacted = || "<redacted>".to_owned();
        match self {
            Self::Call { method, problem: Problem::Location(_), .. } => {
                Self::Call { method, url: redacted(), problem: Problem::Location(redacted()) }
            }
            Self::Call { method, problem, .. } => Self::Call { method, url: redacted(), problem },
            other => other,
        }
    }

    /// Whether it took too long.
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::Call { problem: Problem::Deadline, .. } | Self::Body(Problem::Deadline))
    }
}

/// What went wrong between the request and the end of the response.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It took too long.
    #[error("context deadline exceeded")]
    Deadline,
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The other side closed the connection too early.
    #[error("EOF")]
    Eof,
    /// The body ended too early.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// What came is not HTTP, or the connection failed.
    #[error("{0}")]
    Transport(String),
    /// Redirected too often.
    #[error("stopped after 10 redirects")]
    Redirects,
    /// Redirected to nowhere.
    #[error("failed to parse Location header {0:?}")]
    Location(String),
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// A name without an address.
    #[error("dial tcp: lookup {host}: {why}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// The system refused.
    #[error("dial {network} {address}: connect: {why}")]
    Dial {
        /// `tcp` or `unix`.
        network: &'static str,
        /// Address and port, or the path of a socket.
        address: String,
        /// What the system says.
        why: String,
    },
    /// No address answered in time.
    #[error("dial tcp {address}: i/o timeout")]
    DialTimeout {
        /// Address and port.
        address: String,
    },
    /// The proxy will not connect.
    #[error("proxyconnect tcp: {0}")]
    Proxy(String),
    /// The TLS handshake failed, or its settings are wrong.
    #[error("{0}")]
    Tls(String),
}

/// The system's text for an error, in lower case as Go has it.
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

/// The cause within an error of the pooled client.
pub(super) fn problem_of(error: &hyper_util::client::legacy::Error) -> Problem {
    let mut source: Option<&(dyn std::error::Error + 'static)> = error.source();
    let mut last = error.to_string();
    while let Some(inner) = source {
        if let Some(connect) = inner.downcast_ref::<ConnectError>() {
            return Problem::Connect(connect.clone());
        }
        if let Some(hyper) = inner.downcast_ref::<hyper::Error>() {
            return problem_of_hyper(hyper);
        }
        last = inner.to_string();
        source = inner.source();
    }
    Problem::Transport(last)
}

pub(super) fn problem_of_hyper(error: &hyper::Error) -> Problem {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Problem::Eof;
    }
    if error.is_parse() {
        return Problem::Transport(format!(
            "net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}"
        ));
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(io) if io.kind() == io::ErrorKind::UnexpectedEof => Problem::UnexpectedEof,
        Some(io) => Problem::Transport(format!("read: {}", system_text(io))),
        None => Problem::Transport(error.source().map_or_else(|| error.to_string(), ToString::to_string)),
    }
}

/// What a failed handshake is called.
pub fn tls_text(error: &io::Error) -> String {
    use rustls::CertificateError as Certificate;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            _ => format!("tls: {}", system_text(error)),
        };
    };
    let certificate = |why: &str| format!("tls: failed to verify certificate: x509: {why}");
    match tls {
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        rustls::Error::InvalidCertificate(why) => match why {
            Certificate::UnknownIssuer => certificate("certificate signed by unknown authority"),
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                certificate("certificate has expired or is not yet valid")
            }
            other => certificate(&other.to_string()),
        },
        other => format!("tls: {other}"),
    }
}

fn go_method(method: &Method) -> String {
    let mut text = method.as_str().to_lowercase();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// A URL with its password replaced, as Go shows it.
pub fn shown_url(url: &Uri) -> String {
    let text = url.to_string();
    let Some(authority) = url.authority() else { return text };
    let Some((user, host)) = authority.as_str().rsplit_once('@') else { return text };
    let user = user.split_once(':').map_or_else(|| user.to_owned(), |(user, _)| format!("{user}:xxxxx"));
    text.replacen(authority.as_str(), &format!("{user}@{host}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_gos() {
        let url: Uri = "http://u:hunter2@h:1/metrics?a=b".parse().unwrap();
        let dial = ConnectError::Dial {
            network: "tcp",
            address: "127.0.0.1:1".into(),
            why: system_text(&io::Error::from_raw_os_error(111)),
        };
        assert_eq!(
            HttpError::call(&Method::GET, &url, dial.into()).to_string(),
            "Get \"http://u:xxxxx@h:1/metrics?a=b\": dial tcp 127.0.0.1:1: connect: connection refused"
        );
    }

    #[test]
    fn a_secret_url_is_not_shown() {
        let url: Uri = "http://h:1/token".parse().unwrap();
        let shown = |problem| HttpError::call(&Method::POST, &url, problem).without_url().to_string();
        assert_eq!(shown(Problem::Deadline), "Post \"<redacted>\": context deadline exceeded");
        let location = Problem::Location("ftp://h:1/token".to_owned());
        assert_eq!(shown(location), "Post \"<redacted>\": failed to parse Location header \"<redacted>\"");
    }
}
