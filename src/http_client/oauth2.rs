//! `oauth2`: a client's id and secret, exchanged for a token that requests then carry.
//!
//! A token is kept until shortly before it ends, or the client's secret is another. Where the server does not take the secret in a header, it gets it in
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
    /// What it was asked for with.
    secret: Option<Secret>,
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
            let secret = self.secret().await?;
            let mut kept = timeout_at(deadline, self.kept.lock()).await.map_err(|_| late())?;
            if kept.secret != secret {
                kept.token = None;
                kept.secret.clone_from(&secret);
            }
            let secret = secret.map(|secret| secret.reveal()).transpose()?.unwrap_or_default();
            if let Some((token, end)) = &kept.token
                && end.is_none_or(|end| Instant::now() < end)
            {
                return Ok(token.clone());
            }
            let mut asked = self.ask(&secret, kept.in_body, deadline).await;
            if asked.is_err() && !kept.in_body {
                asked = self.ask(&secret, true, deadline).await;
                kept.in_body = asked.is_ok();
            }
            let token = asked?;
            Ok(kept.token.insert(token).0.clone())
        })
    }

    /// The client's secret as it is now, in place.
    async fn secret(&self) -> Result<Option<Secret>, HttpError> {
        let held = self.settings.client_secret.clone();
        match held.filter(|held| held.path().is_some()) {
            None => Ok(self.settings.client_secret.clone()),
            Some(held) => {
                let read = tasks::blocking(move || held.reveal()).await;
                Ok(Some(Secret::inline(read.map_err(|error| HttpError::Request(error.to_string()))??)))
            }
        }
    }

    async fn ask(&self, secret: &str, in_body: bool, deadline: Instant) -> Result<Token, HttpError> {
        let settings = &self.settings;
        let mut headers = HeaderMap::new();
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        if !in_body {
            let user = format!("{}:{}", encoded(&settings.client_id), encoded(secret));
            headers.insert(AUTHORIZATION, basic_authorization(user.as_bytes())?);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let form = Bytes::from(settings.form(in_body.then_some(secret)));
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
        None => Ok(form_field(body, wanted)),
        Some(json) => match json.get(wanted) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(&format!("cannot parse json: {wanted} is not a string"))),
        },
    };
    let access = field("access_token")?.filter(|token| !token.is_empty());
    let access = access.ok_or_else(|| wrong("server response missing access_token"))?;
    let scheme = field("token_type")?.unwrap_or_default();
    let scheme = match scheme.to_lowercase().as_str() {
        "" | "bearer" => "Bearer",
        "basic" => "Basic",
        "mac" => "MAC",
        _ => &scheme,
    };
    let no_number = || wrong("cannot parse json: expires_in is not a number");
    let seconds = match json.as_ref().map(|json| json.get("expires_in")) {
        None => form_field(body, "expires_in").and_then(|text| text.parse().ok()),
        Some(None | Some(Json::Null)) => None,
        Some(Some(Json::Number(number))) => number.as_f64(),
        // As PayPal has it.
        Some(Some(Json::String(text))) => {
            Some(text.parse().ok().filter(|seconds: &f64| seconds.is_finite()).ok_or_else(no_number)?)
        }
        Some(Some(_)) => return Err(no_number()),
    };
    // Go takes whole numbers alone; a server that writes 3600.0 means 3600.
    let end = seconds.filter(|seconds| *seconds > 0.0).and_then(|seconds| {
        let kept = Duration::try_from_secs_f64((seconds.floor() - MARGIN_SECONDS as f64).max(0.0)).ok()?;
        Instant::now().checked_add(kept)
    });
    Ok((header(&format!("{scheme} {access}"))?, end))
}

fn form_field(body: &[u8], wanted: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(body);
    fields.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::settings::Auth;
    use super::super::testing::{Answer, Peer};
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn client(token_url: &Uri) -> HttpClient {
        client_with(token_url, "client_secret: 's:c'")
    }

    fn client_with(token_url: &Uri, secret: &str) -> HttpClient {
        let text = format!(
            "oauth2: {{client_id: 'i d', {secret}, token_url: '{token_url}', scopes: [a, b], endpoint_params: {{x: 'y z'}}}}\n"
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
    async fn a_token_goes_with_the_secret_that_it_was_asked_for_with() {
        let answer = "{\"access_token\": \"t\"}".to_owned();
        let server = Peer::fixed(Answer::Text(200, "application/json", answer)).await;
        let target = Peer::fixed(Answer::metrics("")).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "one\n").unwrap();
        let secret = format!("client_secret_file: '{}'", file.display());
        let client = client_with(&server.url("/token"), &secret);
        for (text, fetched) in [("one\n", 1), ("one", 1), ("two", 2), ("two", 2)] {
            std::fs::write(&file, text).unwrap();
            get(&client, &target.url("/")).await.unwrap();
            assert_eq!(server.requests().len(), fetched, "{text}");
        }
        // `i+d:two`
        assert!(server.requests()[1].contains("authorization: Basic aStkOnR3bw==\r\n"));
        std::fs::remove_file(&file).unwrap();
        let why = get(&client, &target.url("/")).await.unwrap_err();
        assert!(why.contains("secret file"), "{why}");
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
        let no_number = "oauth2: cannot parse json: expires_in is not a number";
        for (kind, body, want) in [
            (json, r#"{"access_token":"t","token_type":"bearer"}"#, Ok(("Bearer t", false))),
            (json, r#"{"access_token":"t","token_type":"My","expires_in":"60"}"#, Ok(("My t", true))),
            (json, r#"{"access_token":"t","expires_in":18446744073709551615}"#, Ok(("Bearer t", false))),
            (json, r#"{"access_token":"t","expires_in":-1}"#, Ok(("Bearer t", false))),
            (json, r#"{"access_token":"t","expires_in":12.0}"#, Ok(("Bearer t", true))),
            (json, r#"{"access_token":"t","expires_in":"12.5"}"#, Ok(("Bearer t", true))),
            (json, r#"{"access_token":"t","expires_in":null}"#, Ok(("Bearer t", false))),
            (json, r#"{"access_token":"t","expires_in":"soon"}"#, Err(no_number)),
            (json, r#"{"access_token":"t","expires_in":"inf"}"#, Err(no_number)),
            (json, r#"{"access_token":"t","expires_in":[1]}"#, Err(no_number)),
            (json, r#"{"access_token":null}"#, Err("oauth2: server response missing access_token")),
            (json, r#"{"access_token":{}}"#, Err("oauth2: cannot parse json: access_token is not a string")),
            (
                json,
                r#"{"access_token":"t","token_type":1}"#,
                Err("oauth2: cannot parse json: token_type is not a string"),
            ),
            (json, r#"{"access_token":"t","token_type":null}"#, Ok(("Bearer t", false))),
            (form, "access_token=t&expires_in=12.5", Ok(("Bearer t", true))),
            (form, "access_token=t&expires_in=soon", Ok(("Bearer t", false))),
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
