//! `alerts/ack` and `alerts/unack`: somebody looks after an alert, or no longer does. This program's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::reply::{Failure, FailureKind, success};
use super::{Api, change};
use crate::model::{Labels, PromDuration, Timestamp};
use crate::rules::{Acknowledgement, AlertChoice};

/// Longest name, in characters.
const LONGEST_NAME: usize = 100;

/// Longest comment, in characters.
const LONGEST_COMMENT: usize = 1_000;

/// Longest duration: whoever wants more is not looking after it.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// A fingerprint or a selector.
    alert: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    comment: String,
    /// How long, in Prometheus's notation.
    #[serde(default, rename = "for")]
    lasts: Option<String>,
}

/// `POST /api/v1/alerts/ack`
pub(super) async fn acknowledge(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(api, request, true).await
}

/// `POST /api/v1/alerts/unack`
pub(super) async fn take_back(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(api, request, false).await
}

async fn answer(api: Arc<Api>, request: Request<Body>, give: bool) -> Response {
    let body = match change::json_body(&api, request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let turn = match api.turn().await {
        Ok(turn) => turn,
        Err(failure) => return failure.into_response(),
    };
    change::work(move || {
        let _turn = turn;
        let asked: Asked =
            serde_json::from_slice(&body).map_err(|error| Failure::bad_data(error.to_string()))?;
        let choice =
            AlertChoice::parse(&asked.alert).map_err(|why| Failure::bad_data(format!("alert: {why}")))?;
        let given = if give { Some(asked.given((api.now)()).map_err(Failure::bad_data)?) } else { None };
        // It is refused by the store alone, and may be given again.
        let kept = api.rules.acknowledge(&choice, given.as_ref());
        let whose = kept.map_err(|why| Failure::new(FailureKind::Paused, why))?;
        if whose.is_empty() {
            return Err(Failure::bad_data(format!("no pending or firing alert fits {:?}", asked.alert)));
        }
        let labels = |labels: &Labels| {
            let pairs = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            pairs.collect::<BTreeMap<String, String>>()
        };
        Ok(success(&json!({ "alerts": whose.iter().map(labels).collect::<Vec<_>>() })))
    })
    .await
}

impl Asked {
    fn given(&self, now: Timestamp) -> Result<Acknowledgement, String> {
        let plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        if self.by.trim().is_empty() || self.by.chars().count() > LONGEST_NAME || !plain(&self.by) {
            return Err(format!("by: who acknowledges it, in at most {LONGEST_NAME} characters"));
        }
        if self.comment.chars().count() > LONGEST_COMMENT || !plain(&self.comment) {
            return Err(format!("comment: expected a text of at most {LONGEST_COMMENT} characters"));
        }
        let wrong = || "for: expected a duration such as 4h, at most 366d".to_owned();
        let lasts = self.lasts.as_deref().map(|text| {
            let lasts = text.parse::<PromDuration>().ok().map(PromDuration::get);
            lasts.filter(|lasts| !lasts.is_zero() && *lasts <= LONGEST).ok_or_else(wrong)
        });
        Ok(Acknowledgement {
            by: self.by.trim().to_owned(),
            comment: self.comment.clone(),
            at: now,
            until: lasts.transpose()?.map(|lasts| now.plus(lasts)),
        })
    }
}
