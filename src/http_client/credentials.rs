//! Who a request is from: passwords, tokens and the settings' headers, read at each use.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::error::HttpError;
use super::oauth2::Tokens;
use super::settings::{Auth, HttpClientSettings};
use crate::config::Secret;
use crate::tasks;

/// Names and values.
type Headers = Vec<(HeaderName, HeaderValue)>;

/// What settings say about who asks.
#[derive(Debug)]
pub struct Credentials {
    settings: Arc<HttpClientSettings>,
    tokens: Option<Tokens>,
}

impl Credentials {
    /// Of settings. Files that they name are read when they are needed, tokens are asked for then.
    pub fn new(settings: HttpClientSettings) -> Self {
        let tokens = match &settings.auth {
            Some(Auth::OAuth2(oauth2)) => Some(Tokens::new(oauth2)),
            _ => None,
        };
        Self { settings: Arc::new(settings), tokens }
    }

    /// The headers that the settings ask for, credentials among them. Files are read off the async threads.
    ///
    /// # Errors
    /// A secret cannot be read, or is none that a header may have; no token came before the deadline.
    pub async fn headers(&self, deadline: Instant) -> Result<Headers, HttpError> {
        let settings = &self.settings;
        let mut headers = if reads_files(settings) {
            let settings = Arc::clone(settings);
            let work = tasks::blocking(move || secret_headers(&settings));
            work.await.map_err(|error| HttpError::Request(error.to_string()))??
        } else {
            secret_headers(settings)?
        };
        if let Some(tokens) = &self.tokens {
            headers.push((AUTHORIZATION, tokens.current(deadline).await?));
        }
        Ok(headers)
    }
}

fn reads_files(settings: &HttpClientSettings) -> bool {
    let secrets: Vec<_> = match &settings.auth {
        None | Some(Auth::OAuth2(_)) => Vec::new(),
        Some(Auth::Basic { username, password }) => username.iter().chain(password).collect(),
        Some(Auth::Credentials { credentials, .. }) => credentials.iter().collect(),
    };
    secrets
        .into_iter()
        .chain(settings.headers.iter().flat_map(|(_, values)| values))
        .any(|s| s.path().is_some())
}

/// All of them but a token. May read files.
fn secret_headers(settings: &HttpClientSettings) -> Result<Headers, HttpError> {
    let reveal = |secret: &Option<Secret>| secret.as_ref().map_or(Ok(String::new()), |s| s.reveal());
    let mut headers = Vec::new();
    match &settings.auth {
        None | Some(Auth::OAuth2(_)) => {}
        Some(Auth::Basic { username, password }) => {
            let user = format!("{}:{}", reveal(username)?, reveal(password)?);
            headers.push((AUTHORIZATION, basic_authorization(user.as_bytes())?));
        }
        Some(Auth::Credentials { scheme, credentials }) => {
            headers.push((AUTHORIZATION, header(&format!("{scheme} {}", reveal(credentials)?))?));
        }
    }
    for (name, values) in &settings.headers {
        for value in values {
            headers.push((name.clone(), header(&value.reveal()?)?));
        }
    }
    Ok(headers)
}

/// `Authorization` of `user:password` (RFC 7617).
///
/// # Errors
/// None: encoded, any bytes will do.
pub fn basic_authorization(user: &[u8]) -> Result<HeaderValue, HttpError> {
    header(&format!("Basic {}", STANDARD.encode(user)))
}

pub(super) fn header(text: &str) -> Result<HeaderValue, HttpError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| HttpError::Request("a secret holds characters that no header may have".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
