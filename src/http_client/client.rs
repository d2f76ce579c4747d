//! A client: requests in, bounded responses out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use super::connect::{Connector, Ways};
use super::credentials::{Credentials, basic_authorization, header};
use super::error::{HttpError, Problem, problem_of, problem_of_hyper};
use super::inflate::inflate;
use super::proxy::{Proxies, percent_decoded};
use super::redirect::next_url;
use super::settings::{HttpClientSettings, ProxySettings};
use super::tls::{Protocols, Tls};
use crate::tasks;

/// How long an idle connection is kept; Prometheus's.
const IDLE: Duration = Duration::from_secs(300);

/// Idle connections kept for one host.
const IDLE_CONNECTIONS: usize = 2;

/// As many redirects as Go follows.
const MOST_REDIRECTS: usize = 10;

/// Buffer of a connection, and so the longest head of a response.
const CONNECTION_BUFFER_BYTES: usize = 64 << 10;

/// What every request says it comes from.
const AGENT: &str = concat!("Outrigger/", env!("CARGO_PKG_VERSION"));

/// Calls other people; clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    credentials: Credentials,
    follow_redirects: bool,
    proxies: Proxies,
    pool: legacy::Client<Connector, Full<Bytes>>,
}

impl HttpClient {
    /// A client. Files that the settings name are read when they are needed.
    pub fn new(settings: &HttpClientSettings) -> Self {
        Self::build(settings, None)
    }

    /// A client that always connects to a Unix socket, whatever host a URL names.
    pub fn over_socket(settings: &HttpClientSettings, path: &Path) -> Self {
        let settings = HttpClientSettings { proxy: ProxySettings::default(), ..settings.clone() };
        Self::build(&settings, Some(path))
    }

    fn build(settings: &HttpClientSettings, socket: Option<&Path>) -> Self {
        let proxies = Proxies::new(&settings.proxy, &settings.tls);
        let connector = Connector(Arc::new(Ways {
            socket: socket.map(Path::to_owned),
            tls: Arc::new(Tls::new(settings.tls.clone(), Protocols::http(settings.enable_http2))),
            proxies: proxies.clone(),
            proxy_headers: settings.proxy.connect_headers.clone(),
        }));
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(CONNECTION_BUFFER_BYTES)
            .build(connector);
        let credentials = Credentials::new(settings.clone());
        let follow_redirects = settings.follow_redirects;
        Self(Arc::new(Inner { credentials, follow_redirects, proxies, pool }))
    }

    /// Sends a request and returns the head of the response, with the body still to come. The settings' headers
    /// and credentials are added; redirects are followed if they may be.
    ///
    /// # Errors
    /// No response before the deadline, or no connection, or a secret that cannot be read.
    pub async fn send(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        let (mut method, mut body, mut url, origin) = (method, body, url.clone(), url.clone());
        for _ in 0..MOST_REDIRECTS {
            let same_host = url.authority() == origin.authority() && url.scheme() == origin.scheme();
            let request = self.request(&method, &url, &headers, body.clone(), same_host, deadline).await?;
            let sent = timeout_at(deadline, self.0.pool.request(request)).await;
            let response = match sent {
                Err(_) => return Err(HttpError::call(&method, &url, Problem::Deadline)),
                Ok(Err(error)) => return Err(HttpError::call(&method, &url, problem_of(&error))),
                Ok(Ok(response)) => response,
            };
            let location = response.headers().get(LOCATION).filter(|_| self.0.follow_redirects);
            let (Some(location), true) = (location, redirects(response.status())) else {
                return Ok(Response { response, deadline });
            };
            let next = next_url(&url, location.as_bytes());
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            let keeps_method = matches!(response.status().as_u16(), 307 | 308);
            url = next.ok_or_else(|| HttpError::call(&method, &url, Problem::Location(location)))?;
            if !keeps_method && method != Method::HEAD {
                (method, body) = (Method::GET, Bytes::new());
            }
        }
        Err(HttpError::call(&method, &url, Problem::Redirects))
    }

    /// `GET` without a body.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, url: &Uri, headers: HeaderMap, deadline: Instant) -> Result<Response, HttpError> {
        self.send(Method::GET, url, headers, Bytes::new(), deadline).await
    }

    async fn request(
        &self,
        method: &Method,
        url: &Uri,
        headers: &HeaderMap,
        body: Bytes,
        same_host: bool,
        deadline: Instant,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let (bare_url, user) = split_user(url)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = bare_url;
        *request.headers_mut() = headers.clone();
        let head = request.headers_mut();
        head.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        if url.scheme_str() == Some("http")
            && let Some(proxy) = self.0.proxies.of(url).filter(|proxy| !proxy.is_socks())
            && let Some(authorization) = proxy.authorization()
        {
            head.insert(PROXY_AUTHORIZATION, header(&authorization)?);
        }
        if same_host {
            if let Some(user) = user {
                head.insert(AUTHORIZATION, basic_authorization(&user)?);
            }
            self.add_secrets(head, deadline).await?;
        }
        Ok(request)
    }

    /// Headers of the settings, and credentials.
    async fn add_secrets(&self, head: &mut HeaderMap, deadline: Instant) -> Result<(), HttpError> {
        let added = self.0.credentials.headers(deadline).await?;
        for (at, (name, value)) in added.iter().enumerate() {
            let first = added.iter().take(at).all(|(earlier, _)| earlier != name);
            match first {
                true => drop(head.insert(name.clone(), value.clone())),
                false => drop(head.append(name.clone(), value.clone())),
            }
        }
        Ok(())
    }
}

/// Takes `user:password@` out of a URL: it goes into a header.
///
/// # Errors
/// The URL has no host.
pub fn split_user(url: &Uri) -> Result<(Uri, Option<Vec<u8>>), HttpError> {
    let Some((user, host)) = url.authority().and_then(|authority| authority.as_str().rsplit_once('@')) else {
        return Ok((url.clone(), None));
    };
    let mut parts = url.clone().into_parts();
    parts.authority = Some(host.parse().map_err(|_| HttpError::Request("no host in the URL".to_owned()))?);
    let bare = Uri::from_parts(parts).map_err(|error| HttpError::Request(error.to_string()))?;
    let colon = if user.contains(':') { "" } else { ":" };
    Ok((bare, Some(percent_decoded(&format!("{user}{colon}")))))
}

const fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The head of a response, and its body to be read within the deadline of the request.
#[derive(Debug)]
pub struct Response {
    response: hyper::Response<Incoming>,
    deadline: Instant,
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The status as the server says it: `500 Internal Server Error`.
    pub fn status_text(&self) -> String {
        let status = self.response.status();
        let reason = match self.response.extensions().get::<ReasonPhrase>() {
            Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
            None => status.canonical_reason().unwrap_or_default().to_owned(),
        };
        format!("{} {reason}", status.as_str())
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// `Content-Type`; "" where there is none.
    pub fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE)
    }

    /// Whether the body is compressed with gzip.
    pub fn is_gzip(&self) -> bool {
        self.header(CONTENT_ENCODING).eq_ignore_ascii_case("gzip")
    }

    fn header(&self, name: hyper::header::HeaderName) -> &str {
        self.response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Reads the body, as it came, to the end of `into`. `may_grow` is asked before each part, with its size, and
    /// may refuse it.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`] for a refused part; the deadline has passed; the connection broke.
    pub async fn read(
        mut self,
        into: &mut Vec<u8>,
        mut may_grow: impl FnMut(usize) -> bool,
    ) -> Result<(), HttpError> {
        let announced = self.header(CONTENT_LENGTH).parse().unwrap_or(0);
        // A hint only: what it says is not trusted with memory.
        into.reserve(announced.min(CONNECTION_BUFFER_BYTES));
        let body = self.response.body_mut();
        loop {
            let frame = match timeout_at(self.deadline, body.frame()).await {
                Err(_) => return Err(HttpError::Body(Problem::Deadline)),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => {
                    return Err(HttpError::Body(match problem_of_hyper(&error) {
                        Problem::Eof => Problem::UnexpectedEof,
                        problem => problem,
                    }));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Some(data) = frame.data_ref() else { continue };
            if !may_grow(data.len()) {
                return Err(HttpError::TooLarge);
            }
            into.extend_from_slice(data);
        }
    }

    /// Reads a body of at most `limit_bytes`. One that comes as gzip, which nobody asked for, is unpacked within the same
    /// bound.
    ///
    /// # Errors
    /// As [`Self::read`]; it is compressed in another way, or cannot be unpacked.
    pub async fn read_within(self, limit_bytes: usize) -> Result<Vec<u8>, HttpError> {
        let coding = self.header(CONTENT_ENCODING).to_ascii_lowercase();
        if !matches!(coding.as_str(), "" | "identity" | "gzip") {
            let why =
                format!("unsupported Content-Encoding {coding:?}, which was not asked for; gzip is read");
            return Err(HttpError::Body(Problem::Transport(why)));
        }
        let (mut body, mut left) = (Vec::new(), limit_bytes);
        let fits = |bytes: usize| {
            let rest = left.checked_sub(bytes);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        self.read(&mut body, fits).await?;
        if coding != "gzip" {
            return Ok(body);
        }
        let work = tasks::blocking(move || {
            let mut unpacked = Vec::new();
            inflate(&body, limit_bytes.saturating_add(1), &mut unpacked).map(|()| unpacked)
        });
        work.await.unwrap_or_else(|error| Err(HttpError::Body(Problem::Transport(error.to_string()))))
    }

    /// Reads a small rest, so that the connection can be used again; a large one is not waited for.
    pub async fn discard(mut self) {
        let end = self.response.body().size_hint().exact();
        if end.is_some_and(|bytes| bytes <= CONNECTION_BUFFER_BYTES as u64) {
            let body = self.response.body_mut();
            while let Ok(Some(Ok(_))) = timeout_at(self.deadline, body.frame()).await {}
        }
    }
}
