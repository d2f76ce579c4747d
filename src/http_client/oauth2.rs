//! `oauth2`: a client's id and secret, exchanged for a token that requests then carry.
//!
//! A token is kept until shortly before it ends. Where the server does not take the secret in a header, it gets it in
//! the body, from then on at once.
//!
//! Source: Prometheus's configuration documentation (`<oauth2>`); RFC 6749, sections 2.3.1, 4.4 and 5.1; what Go's
//! `oauth2` package takes for an answer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::client::HttpClient;
use super::credentials::{basic_authorization, header};
use super::error::{HttpError, Problem};
use super::settings::{HttpClientSettings, TlsSettings, read_proxy};
use crate::config::{Secret, Section};
use crate::tasks;

/// Longest answer with a token, as in Go.
const MOST_BYTES: usize = 1 << 20;

/// How long before its end a token is given up, as in Go.
const MARGIN_SECONDS: u64 = 10;

/// Most of a refusal that is shown.
const MOST_SHOWN: usize = 200;

/// `oauth2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2 {
    client_id: String,
    client_secret: Option<Secret>,
    scopes: Vec<String>,
    token_url: Uri,
    endpoint_params: Vec<(String, String)>,
    /// TLS and proxy of who gives tokens.
    client: HttpClientSettings,
}

impl OAuth2 {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        for key in ["client_id", "token_url"] {
            if !section.has(key) {
                section.error_here(key, format!("oauth2 {key} must be configured"));
            }
        }
        let url = section.take("token_url").and_then(|value| value.parse::<Uri>("a URL"));
        if url.as_ref().is_some_and(|url| url.scheme().is_none() || url.host().is_none()) {
            section.error("token_url", "expected a URL such as \"https://login.example.org/token\"");
        }
        let params = section.take_section("endpoint_params").map(|mut params| {
            let text = |(key, value): (&str, crate::config::Value<'_>)| Some((key.to_owned(), value.str()?));
            params.take_rest().into_iter().filter_map(text).collect()
        });
        let client = HttpClientSettings {
            tls: TlsSettings::read(section),
            proxy: read_proxy(section),
            ..HttpClientSettings::default()
        };
        Some(Self {
            client_id: section.take_str("client_id")?,
            client_secret: section.take_secret("client_secret"),
            scopes: section.take_strings("scopes").unwrap_or_default(),
            token_url: url?,
            endpoint_params: params.unwrap_or_default(),
            client,
        })
    }
}

impl OAuth2 {
    /// What a token is asked for with.
    fn form(&self, secret: Option<&str>) -> String {
        let mut form = Serializer::new(String::new());
        if let Some(secret) = secret {
            form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret);
        }
        // Some servers have a grant of their own.
        if self.endpoint_params.iter().all(|(name, _)| name != "grant_type") {
            form.append_pair("grant_type", "client_credentials");
        }
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        for (name, value) in &self.endpoint_params {
            form.append_pair(name, value);
        }
        form.finish()
    }
}

/// Where tokens come from, and the last one.
#[derive(Debug)]
pub(super) struct Tokens {
    settings: OAuth2,
    client: HttpClient,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// Whether the server wants the secret in the body.
    in_body: bool,
}

/// A value of `Authorization`, and when it ends if it does.
type Token = (HeaderValue, Option<Instant>);

impl Tokens {
    pub(super) fn new(settings: &OAuth2) -> Self {
        let client = HttpClient::new(&settings.client);
        Self { settings: settings.clone(), client, kept: Mutex::default() }
    }

    /// The value of `Authorization`. A box, since a client asks for it that asks a client.
    pub(super) fn current(
        &self,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = Result<HeaderValue, HttpError>> + Send + '_>> {
        Box::pin(async move {
            // Who waits for another's token may run out of time.
            let late = || HttpError::call(&Method::POST, &self.settings.token_url, Problem::Deadline);
            let mut kept = timeout_at(deadline, self.kept.lock()).await.map_err(|_| late())?;
            if let Some((token, end)) = &kept.token
                && end.is_none_or(|end| Instant::now() < end)
            {
                return Ok(token.clone());
            }
            let mut asked = self.ask(kept.in_body, deadline).await;
            if asked.is_err() && !kept.in_body {
                asked = self.ask(true, deadline).await;
                kept.in_body = asked.is_ok();
            }
            let token = asked?;
            Ok(kept.token.insert(token).0.clone())
        })
    }

    async fn ask(&self, in_body: bool, deadline: Instant) -> Result<Token, HttpError> {
        let settings = &self.settings;
        let (mut headers, mut secret) = (HeaderMap::new(), String::new());
        if let Some(held) = settings.client_secret.clone() {
            // May be in a file.
            let read = tasks::blocking(move || held.reveal()).await;
            secret = read.map_err(|error| HttpError::Request(error.to_string()))??;
        }
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        if !in_body {
            let user = format!("{}:{}", encoded(&settings.client_id), encoded(&secret));
            headers.insert(AUTHORIZATION, basic_authorization(user.as_bytes())?);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let form = Bytes::from(settings.form(in_body.then_some(secret.as_str())));
        let response = self.client.send(Method::POST, &settings.token_url, headers, form, deadline).await?;
        let (status, status_text) = (response.status(), response.status_text());
        let kind = response.content_type().split(';').next().unwrap_or_default().trim().to_lowercase();
        let body = response.read_within(MOST_BYTES).await?;
        if !status.is_success() {
            let shown: String = String::from_utf8_lossy(&body).trim().chars().take(MOST_SHOWN).collect();
            let shown = shown.replace(['\r', '\n'], " ");
            return Err(HttpError::Request(format!("oauth2: cannot fetch token: {status_text}: {shown}")));
        }
        token(&kind, &body)
    }
}

/// The token of an answer: a form or JSON, by its type.
fn token(kind: &str, body: &[u8]) -> Result<Token, HttpError> {
    let wrong = |why: &str| HttpError::Request(format!("oauth2: {why}"));
    let json = match kind {
        "application/x-www-form-urlencoded" | "text/plain" => None,
        _ => Some(
            serde_json::from_slice::<Json>(body)
                .map_err(|error| wrong(&format!("cannot parse json: {error}")))?,
        ),
    };
    let field = |wanted: &str| match &json {
        None => {
            form_urlencoded::parse(body).find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
        }
        Some(json) => match json.get(wanted)? {
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
    };
    let access = field("access_token").filter(|token| !token.is_empty());
    let access = access.ok_or_else(|| wrong("server response missing access_token"))?;
    let scheme = field("token_type").unwrap_or_default();
    let scheme = match scheme.to_lowercase().as_str() {
        "" | "bearer" => "Bearer",
        "basic" => "Basic",
        "mac" => "MAC",
        _ => &scheme,
    };
    let seconds =
        field("expires_in").and_then(|text| text.parse::<u64>().ok()).filter(|seconds| *seconds > 0);
    let end = seconds.and_then(|seconds| {
        Instant::now().checked_add(Duration::from_secs(seconds.saturating_sub(MARGIN_SECONDS)))
    });
    Ok((header(&format!("{scheme} {access}"))?, end))
}

#[cfg(test)]
mod tests {
    use super::super::settings::Auth;
    use super::super::testing::{Answer, Peer};
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn client(token_url: &Uri) -> HttpClient {
        let text = format!(
            "oauth2: {{client_id: 'i d', client_secret: 's:c', token_url: '{token_url}', scopes: [a, b], endpoint_params: {{x: 'y z'}}}}\n"
        );
        let document = Document::parse("f.yml", &text, &Limits::default()).unwrap();
        let settings = document.read(&Environment::off(), HttpClientSettings::read).unwrap();
        assert!(matches!(settings.auth, Some(Auth::OAuth2(_))));
        assert!(!format!("{settings:?}").contains("s:c"));
        HttpClient::new(&settings)
    }

    async fn get(client: &HttpClient, url: &Uri) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        client.get(url, HeaderMap::new(), deadline).await.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_token_is_kept_until_it_ends() {
        for (seconds, fetched) in [(3600, 1), (MARGIN_SECONDS, 3), (0, 1)] {
            let answer = format!("{{\"access_token\": \"t\", \"expires_in\": {seconds}}}");
            let server = Peer::fixed(Answer::Text(200, "application/json", answer)).await;
            let target = Peer::fixed(Answer::metrics("")).await;
            let client = client(&server.url("/token"));
            for _ in 0..3 {
                get(&client, &target.url("/")).await.unwrap();
            }
            assert!(target.requests().iter().all(|r| r.contains("authorization: Bearer t\r\n")));
            assert_eq!(server.requests().len(), fetched, "{seconds}");
            let request = &server.requests()[0];
            assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("authorization: Basic aStkOnMlM0Fj\r\n"), "{request}");
            assert_eq!(server.bodies()[0], b"grant_type=client_credentials&scope=a+b&x=y+z");
        }
    }

    #[tokio::test]
    async fn a_server_may_want_the_secret_in_the_body() {
        let server = Peer::start(|head| match head.contains("authorization") {
            true => Answer::Text(401, "text/plain", "no\nheader".to_owned()),
            false => {
                Answer::Text(200, "application/json", "{\"access_token\":\"t\",\"expires_in\":1}".to_owned())
            }
        })
        .await;
        let target = Peer::fixed(Answer::metrics("")).await;
        let client = client(&server.url("/"));
        for _ in 0..2 {
            get(&client, &target.url("/")).await.unwrap();
        }
        let in_body = b"client_id=i+d&client_secret=s%3Ac&grant_type=client_credentials&scope=a+b&x=y+z";
        let sent = server.bodies();
        assert_eq!((sent.len(), &*sent[1], &sent[2]), (3, in_body.as_slice(), &sent[1]));
        let refuses = Peer::fixed(Answer::Text(400, "application/json", "{\"error\":\n1}".to_owned())).await;
        let why = get(&self::client(&refuses.url("/")), &target.url("/")).await.unwrap_err();
        assert_eq!(why, "oauth2: cannot fetch token: 400 x: {\"error\": 1}");
        assert_eq!(target.requests().len(), 2);
    }

    #[test]
    fn answers_are_forms_or_json() {
        let (json, form) = ("application/json", "application/x-www-form-urlencoded");
        for (kind, body, want) in [
            (json, r#"{"access_token":"t","token_type":"bearer"}"#, Ok(("Bearer t", false))),
            (json, r#"{"access_token":"t","token_type":"My","expires_in":"60"}"#, Ok(("My t", true))),
            (json, r#"{"access_token":"t","expires_in":18446744073709551615}"#, Ok(("Bearer t", false))),
            (json, r#"{"access_token":"t","expires_in":-1}"#, Ok(("Bearer t", false))),
            (form, "access_token=a%20b&token_type=mac&expires_in=60", Ok(("MAC a b", true))),
            ("text/plain", "access_token=t", Ok(("Bearer t", false))),
            ("", r#"{"access_token":"t"}"#, Ok(("Bearer t", false))),
            (json, "{}", Err("oauth2: server response missing access_token")),
            (json, r#"{"access_token":""}"#, Err("oauth2: server response missing access_token")),
            (json, "[1]", Err("oauth2: server response missing access_token")),
            (json, "access_token=t", Err("oauth2: cannot parse json: expected value at line 1 column 1")),
            (form, "access_token=a%0Ab", Err("a secret holds characters that no header may have")),
        ] {
            let got = token(kind, body.as_bytes()).map_err(|error| error.to_string());
            let got = got.map(|(value, end)| (value.to_str().unwrap().to_owned(), end.is_some()));
            assert_eq!(
                got,
                want.map(|(value, ends)| (value.to_owned(), ends)).map_err(str::to_owned),
                "{body}"
            );
        }
    }
}
