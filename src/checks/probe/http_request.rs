//! The requests of one probe over HTTP: where they go, through whom, and what they say of who asks.
//!
//! Invariant: credentials go to the target's host and those below it, and not from https to http; of the module's
//! headers others get those that only say what is understood.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
    SET_COOKIE, USER_AGENT,
};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioExecutor;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::module::HttpModule;
use super::report::{HTTP_DURATION, Report};
use crate::checks::net::{self, TlsFacts};
use crate::http_client::{
    BoxedIo, Credentials, Protocols, Proxies, ProxyUrl, Stream, Tls, TlsSettings, basic_authorization,
    split_user, system_text,
};
use crate::tasks;

/// Longest head of a response.
const LONGEST_HEAD: usize = 64 << 10;

/// Most headers of a response.
const MOST_HEADERS: usize = 2_000;

/// Cookies that one probe keeps.
const MOST_COOKIES: usize = 50;

const AGENT: &str = concat!("Outrigger/", env!("CARGO_PKG_VERSION"));

/// A response whose body is still to come.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) tls: Option<TlsFacts>,
    /// When the head was there.
    pub(super) at: Instant,
    /// Ends the connection when the answer is dropped.
    pub(super) _connection: Driver,
}

/// What moves a connection's bytes.
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the requests of a probe share.
pub(super) struct Asker<'m> {
    module: &'m HttpModule,
    origin: Uri,
    is_first: bool,
    deadline: Instant,
    tls: Arc<Tls>,
    proxies: Proxies,
    credentials: Credentials,
    cookies: Cookies,
}

impl<'m> Asker<'m> {
    pub(super) fn new(module: &'m HttpModule, origin: &Uri, deadline: Instant) -> Self {
        let client = &module.client;
        // Which name it must be is told for each request.
        let tls = TlsSettings { server_name: None, ..client.tls.clone() };
        Self {
            module,
            origin: origin.clone(),
            is_first: true,
            deadline,
            tls: Arc::new(Tls::new(tls, Protocols::http(client.enable_http2))),
            proxies: Proxies::new(&client.proxy, &client.tls),
            credentials: Credentials::new(client.clone()),
            cookies: Cookies::default(),
        }
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(
        &mut self,
        url: &Uri,
        method: &Method,
        body: Bytes,
        report: &mut Report,
    ) -> Result<Answer, String> {
        let encrypted = url.scheme() == Some(&Scheme::HTTPS);
        let host = url.host().unwrap_or_default();
        let port = url.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let (address, proxy) = self.way(encrypted, host, port, report).await?;
        for phase in ["connect", "tls", "processing", "transfer"] {
            report.phase(HTTP_DURATION, phase, Duration::ZERO);
        }
        let through_proxy = proxy.filter(|proxy| !encrypted && !proxy.is_socks());
        let request = self.request(url, method, body, through_proxy).await?;
        let began = Instant::now();
        let mut stream = match (proxy, address) {
            (None, Some(address)) => net::connect(SocketAddr::new(address, port), None).await?,
            (Some(proxy), _) => self.proxies.dial(proxy).await.map_err(|error| error.to_string())?,
            (None, None) => return Err(format!("no address of {host}")),
        };
        report.phase(HTTP_DURATION, "connect", began.elapsed());
        if let Some(proxy) = proxy.filter(|_| through_proxy.is_none()) {
            let host = match address {
                Some(IpAddr::V6(address)) => format!("[{address}]"),
                Some(address) => address.to_string(),
                None => host.to_owned(),
            };
            let headers = &self.module.client.proxy.connect_headers;
            let tunnel = proxy.tunnel(stream, headers, &host, port).await;
            stream = tunnel.map_err(|error| error.to_string())?;
        }
        let answer = if encrypted {
            let began = Instant::now();
            let verifies = !self.module.client.tls.insecure_skip_verify;
            let encrypted = net::encrypt(stream, &self.tls, verifies, self.server_name(url)).await;
            report.phase(HTTP_DURATION, "tls", began.elapsed());
            let (stream, facts) = encrypted?;
            exchange(stream, request, false, Some(facts), report).await?
        } else {
            exchange(stream, request, through_proxy.is_some(), None, report).await?
        };
        self.is_first = false;
        self.cookies.take(url, answer.response.headers());
        Ok(answer)
    }

    /// The address of a host, and the proxy that it is asked through. Such a one finds addresses itself; that of the
    /// target is still looked up, unless the module says otherwise.
    async fn way(
        &self,
        encrypted: bool,
        host: &str,
        port: u16,
        report: &mut Report,
    ) -> Result<(Option<IpAddr>, Option<&ProxyUrl>), String> {
        let proxy = self.proxies.of_host(encrypted, host, port);
        if proxy.is_some() && (self.module.proxy_resolves || !self.is_first) {
            if self.is_first {
                report.not_resolved();
            }
            return Ok((None, proxy));
        }
        let (address, took) = net::resolve(host, self.module.family).await;
        report.phase(HTTP_DURATION, "resolve", took);
        let address = if self.is_first { report.resolved(address, took)? } else { address? };
        // What is excepted may be a network.
        let through = |_: &&ProxyUrl| self.proxies.of_host(encrypted, &address.to_string(), port).is_some();
        Ok((Some(address), proxy.filter(through)))
    }

    /// Whether a URL is of the server that the module means.
    fn is_origin(&self, url: &Uri) -> bool {
        let server = |url: &Uri| (url.scheme().cloned(), url.host().map(str::to_lowercase), url.port_u16());
        server(url) == server(&self.origin)
    }

    /// The name that the server's certificate must have.
    fn server_name<'a>(&'a self, url: &'a Uri) -> &'a str {
        let own = url.host().unwrap_or_default();
        if !self.is_origin(url) {
            return own;
        }
        let told = self.module.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let told = told.map_or(own, |(_, host)| host.as_str());
        self.module.client.tls.server_name.as_deref().unwrap_or(told)
    }

    async fn request(
        &self,
        url: &Uri,
        method: &Method,
        body: Bytes,
        proxy: Option<&ProxyUrl>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let (bare, user) = split_user(url).map_err(|error| error.to_string())?;
        let mut headers = self.headers(&bare, user).await?;
        if let Some(authorization) = proxy.and_then(ProxyUrl::authorization) {
            insert(&mut headers, PROXY_AUTHORIZATION, &authorization);
        }
        // There could be one, and some servers want to know.
        if body.is_empty() && matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        let mut parts = bare.into_parts();
        let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        parts.authority = Some(host.try_into().map_err(|_| "the header Host is no host".to_owned())?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|error| error.to_string())?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// `user`: what the URL had before its host.
    async fn headers(&self, url: &Uri, user: Option<Vec<u8>>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        insert(&mut headers, HOST, url.authority().map_or("", |authority| authority.as_str()));
        insert(&mut headers, USER_AGENT, AGENT);
        let origin_host = self.origin.host().unwrap_or_default();
        let trusted = is_within(url.host().unwrap_or_default(), origin_host)
            && (url.scheme() == self.origin.scheme() || url.scheme() == Some(&Scheme::HTTPS));
        for (name, value) in &self.module.headers {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            let meant = match name.as_str() {
                "host" => self.is_origin(url),
                name => trusted || name == "user-agent" || name.starts_with("accept"),
            };
            if meant {
                insert(&mut headers, name, value);
            }
        }
        if trusted {
            let user = user.map(|user| basic_authorization(&user)).transpose();
            let user = user.map_err(|error| error.to_string())?.map(|value| (AUTHORIZATION, value));
            let secrets = self.credentials.headers(self.deadline).await.map_err(|error| error.to_string())?;
            for (name, value) in user.into_iter().chain(secrets) {
                if name != AUTHORIZATION || !headers.contains_key(AUTHORIZATION) {
                    headers.append(name, value);
                }
            }
        }
        let mut cookies = self.cookies.of(url);
        if let Some(given) = headers.get(COOKIE).and_then(|value| value.to_str().ok()) {
            cookies.insert(0, given.to_owned());
        }
        if !cookies.is_empty() {
            insert(&mut headers, COOKIE, &cookies.join("; "));
        }
        Ok(headers)
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

async fn exchange(
    stream: BoxedIo,
    mut request: Request<Full<Bytes>>,
    through_proxy: bool,
    tls: Option<TlsFacts>,
    report: &mut Report,
) -> Result<Answer, String> {
    let stream = Stream::new(stream);
    let began = Instant::now();
    let failed = |error: hyper::Error| transport_text(&error);
    let (response, driver) = if tls.as_ref().is_some_and(|facts| facts.http2) {
        // The URL says it.
        request.headers_mut().remove(HOST);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = handshake.map_err(failed)?;
        let driver = Driver(tasks::spawn(async move { drop(connection.await) }).abort_handle());
        (sender.send_request(request).await.map_err(failed)?, driver)
    } else {
        if !through_proxy {
            // The form of a request to the server itself.
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
            *request.uri_mut() = path.parse().map_err(|_| "the URL has no path".to_owned())?;
        }
        let mut builder = hyper::client::conn::http1::Builder::new();
        // What Go overlooks.
        builder
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_HEADERS)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .ignore_invalid_headers_in_responses(true);
        let handshake = builder.handshake(stream).await;
        let (mut sender, connection) = handshake.map_err(failed)?;
        let driver = Driver(tasks::spawn(async move { drop(connection.await) }).abort_handle());
        (sender.send_request(request).await.map_err(failed)?, driver)
    };
    report.phase(HTTP_DURATION, "processing", began.elapsed());
    Ok(Answer { response, tls, at: Instant::now(), _connection: driver })
}

/// Whether a host is a domain or below it.
fn is_within(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_lowercase(), domain.to_lowercase());
    host.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What answers of this probe asked to be told again: pages that send visitors on until they know them. Paths and
/// times do not count, a probe is too short.
#[derive(Debug, Default)]
struct Cookies(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    host: String,
    /// Whether hosts below get it.
    below: bool,
    secure: bool,
    name: String,
    /// `name=value`.
    pair: String,
}

impl Cookies {
    fn take(&mut self, url: &Uri, headers: &HeaderMap) {
        for text in headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let Some((cookie, ends)) = Cookie::read(url.host().unwrap_or_default(), text) else { continue };
            self.0.retain(|other| (&other.host, &other.name) != (&cookie.host, &cookie.name));
            if !ends && self.0.len() < MOST_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    fn of(&self, url: &Uri) -> Vec<String> {
        let host = url.host().unwrap_or_default();
        let fits = |cookie: &&Cookie| {
            (host.eq_ignore_ascii_case(&cookie.host) || cookie.below && is_within(host, &cookie.host))
                && (!cookie.secure || url.scheme() == Some(&Scheme::HTTPS))
        };
        self.0.iter().filter(fits).map(|cookie| cookie.pair.clone()).collect()
    }
}

impl Cookie {
    /// The cookie, and whether it takes one back.
    fn read(host: &str, text: &str) -> Option<(Self, bool)> {
        let mut parts = text.split(';').map(str::trim);
        let pair = parts.next()?;
        let (name, _) = pair.split_once('=')?;
        let mut cookie = Self {
            host: host.to_lowercase(),
            below: false,
            secure: false,
            name: name.to_owned(),
            pair: pair.to_owned(),
        };
        let mut ends = false;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.to_lowercase().as_str() {
                "domain" => {
                    let domain = value.trim_start_matches('.').to_lowercase();
                    if !domain.contains('.') || !is_within(host, &domain) {
                        return None;
                    }
                    (cookie.host, cookie.below) = (domain, true);
                }
                "max-age" => ends = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                "secure" => cookie.secure = true,
                _ => {}
            }
        }
        Some((cookie, ends))
    }
}

pub(super) fn transport_text(error: &hyper::Error) -> String {
    use std::error::Error as _;
    if error.is_incomplete_message() || error.is_closed() {
        return "EOF".to_owned();
    }
    match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(io) => system_text(io),
        None => error.to_string(),
    }
}
