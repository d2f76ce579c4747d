//! Outgoing HTTP: what scraping, discovery and deliveries call other people with.
//!
//! One pooled client over hyper, with a connector of its own: TCP or a Unix socket, proxies, rustls. hyper-rustls
//! would have been a second place for TLS settings without being able to go through a proxy.
//!
//! Invariant: every call has a deadline and a largest body; credentials are read at each use, sent only to the
//! host they are meant for, and never printed.
//!
//! Source: Prometheus's `HTTPClientConfig`, whose keys, defaults and checks these are; RFC 9110 for redirects.

mod client;
mod connect;
mod credentials;
mod error;
mod inflate;
mod lookup;
mod oauth2;
mod pinning;
mod proxy;
mod redirect;
mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;

pub use client::{HttpClient, Response, split_user};
pub use connect::{BoxedIo, Io, Stream};
pub use credentials::{Credentials, basic_authorization};
pub use error::{ConnectError, HttpError, Problem, shown_url, system_text, tls_text};
pub use inflate::inflate;
pub use lookup::lookup;
pub use oauth2::OAuth2;
pub use proxy::Proxies;
pub(crate) use proxy::percent_decoded;
pub use redirect::{lenient_url, next_url};
pub use settings::{
    Auth, HttpClientSettings, ProxySettings, ProxyUrl, TlsSettings, TlsVersion, read_header_lists,
};
pub(crate) use tls::KeyHolder;
pub use tls::{Protocols, Tls};
