//! Calls of a running instance's API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ArgMatches;
use hyper::{HeaderMap, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::healthcheck;
use crate::http_client::{HttpClient, HttpClientSettings};
use std::process::ExitCode;

/// Largest answer that is read.
const LARGEST_ANSWER_BYTES: usize = 1 << 30;

/// The body of what the instance at `url` (`http://HOST:PORT`) answers for a path, whatever the status.
pub(super) fn get(url: &str, path: &str, patience: Duration) -> anyhow::Result<Vec<u8>> {
    let url: Uri = format!("{}{path}", url.trim_end_matches('/'))
        .parse()
        .with_context(|| format!("--url {url:?}: expected http://HOST:PORT"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = HttpClient::new(&HttpClientSettings::default());
        let deadline = tokio::time::Instant::now() + patience;
        let response = client.get(&url, HeaderMap::new(), deadline).await?;
        let (mut body, mut room) = (Vec::new(), LARGEST_ANSWER_BYTES);
        let mut may_grow = |bytes: usize| {
            let rest = room.checked_sub(bytes);
            room = rest.unwrap_or(0);
            rest.is_some()
        };
        response.read(&mut body, &mut may_grow).await?;
        Ok(body)
    })
}

/// What an answer of the API holds.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

/// The error of one.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// The data of an answer of the instance that the arguments name, to a question or to JSON that is posted; an exit status
/// where the arguments are wrong.
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
    Ok(Ok(envelope.data))
}

/// A text of others: it must not move the cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
