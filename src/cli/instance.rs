//! Calls of a running instance's API.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::ArgMatches;
use hyper::{HeaderMap, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::healthcheck;
use crate::http_client::{HttpClient, HttpClientSettings, HttpError, Problem};
use std::process::ExitCode;

/// Largest answer that is read.
const LARGEST_ANSWER_BYTES: usize = 1 << 30;

/// The body of what the instance at `url` (`http://HOST:PORT`) answers for a path: JSON with a status of its own, be it an
/// error. Whatever else is there is no instance, which the error says.
pub(super) fn get(url: &str, path: &str, patience: Duration) -> anyhow::Result<Vec<u8>> {
    let url: Uri = format!("{}{path}", url.trim_end_matches('/'))
        .parse()
        .with_context(|| format!("--url {url:?}: expected http://HOST:PORT"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = HttpClient::new(&HttpClientSettings::default());
        let deadline = tokio::time::Instant::now() + patience;
        let response = client.get(&url, HeaderMap::new(), deadline).await.map_err(|error| match error {
            HttpError::Call { problem: Problem::Connect(_), .. } => {
                anyhow!("{error}; is it running there? Another instance is named with --url http://HOST:PORT")
            }
            error => error.into(),
        })?;
        let (status, kind) = (response.status_text(), response.content_type().to_owned());
        let is_json = kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
        let is_good = response.status().is_success();
        let body = response.read_within(LARGEST_ANSWER_BYTES).await;
        let body = body.with_context(|| format!("Get \"{url}\""))?;
        // A good answer is read by who asked; it may be large.
        if is_json && (is_good || serde_json::from_slice::<Status>(&body).is_ok()) {
            return Ok(body);
        }
        bail!(stranger(&url, &status, &kind))
    })
}

/// What every answer of Prometheus's API has.
#[derive(Deserialize)]
struct Status {
    #[serde(rename = "status")]
    _status: String,
}

/// What is said of an answer that no API of Prometheus's gives.
fn stranger(url: &Uri, status: &str, kind: &str) -> String {
    let kind = if kind.is_empty() { "no Content-Type" } else { kind };
    let authority = url.authority().map_or("HOST:PORT", hyper::http::uri::Authority::as_str);
    let to_do = match status.split(' ').next() {
        Some("401" | "403") => "it asks for credentials, and none are sent".to_owned(),
        _ => format!(
            "--url is to be the address of an outrigger or a Prometheus, with the path that it serves below, if any: \
             http://{authority}/PREFIX"
        ),
    };
    format!(
        "Get \"{url}\": {} ({}) came, not JSON of Prometheus's API; {to_do}",
        plain(status.trim()),
        plain(kind)
    )
}

/// What an answer of the API holds.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
    #[serde(default)]
    warnings: Vec<String>,
}

/// The error of one.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// The data of an answer of the instance that the arguments name, to a question or to JSON that is posted; an exit status
/// where the arguments are wrong. Warnings of the answer go to standard error.
pub(super) fn call<T: DeserializeOwned>(
    matches: &ArgMatches,
    path: &str,
    json: Option<&impl Serialize>,
) -> anyhow::Result<Result<T, ExitCode>> {
    let json = json.map(serde_json::to_string).transpose()?;
    let answer = match healthcheck::tell_instance(matches, path, json.as_deref())? {
        Ok(answer) => answer,
        Err(status) => return Ok(Err(status)),
    };
    if answer.status != 200 {
        match serde_json::from_str::<Refusal>(&answer.body) {
            Ok(Refusal { error }) => bail!("{}", plain(&error)),
            Err(_) => bail!("status {}: {}", answer.status, answer.text),
        }
    }
    let envelope: Envelope<T> =
        serde_json::from_str(&answer.body).context("the answer is not that of an outrigger")?;
    for warning in &envelope.warnings {
        super::complain(&plain(warning));
    }
    Ok(Ok(envelope.data))
}

/// A text of others: it must not move the cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
