//! An event, and its shape in the store and in answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Something that happened. Instants are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is known by.
    pub id: String,
    /// `deployment`, `incident` or any other word.
    pub kind: String,
    /// When it happened; of an incident, when it began.
    pub at_ms: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<i64>,
    /// What it is about.
    #[serde(default)]
    pub service: String,
    /// Where that runs.
    #[serde(default)]
    pub environment: String,
    /// How a deployment ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When the changes of a deployment were committed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub committed_ms: Vec<i64>,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Whatever else is known.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Well.
    Success,
    /// It failed, or had to be taken back.
    Failure,
}

impl Outcome {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// The type of deployments.
pub(super) const DEPLOYMENT: &str = "deployment";

/// The type of incidents.
pub(super) const INCIDENT: &str = "incident";

impl Event {
    /// When it happened.
    pub const fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.at_ms)
    }

    /// Whether it is an incident that goes on.
    pub(super) fn is_open(&self) -> bool {
        self.kind == INCIDENT && self.end_ms.is_none()
    }

    /// As it is posted and shown.
    pub fn to_json(&self) -> serde_json::Value {
        let instant = |ms: i64| {
            let at = jiff::Timestamp::from_millisecond(ms);
            serde_json::Value::from(at.map_or_else(|_| String::new(), |at| at.to_string()))
        };
        let mut json = serde_json::Map::new();
        let mut put = |key: &str, value: serde_json::Value| json.insert(key.to_owned(), value);
        put("id", self.id.as_str().into());
        put("type", self.kind.as_str().into());
        put("time", instant(self.at_ms));
        if let Some(end) = self.end_ms {
            put("end", instant(end));
        }
        for (key, text) in
            [("service", &self.service), ("environment", &self.environment), ("message", &self.message)]
        {
            if !text.is_empty() {
                put(key, text.as_str().into());
            }
        }
        if let Some(outcome) = self.outcome {
            put("outcome", outcome.as_str().into());
        }
        if !self.committed_ms.is_empty() {
            put("commit_times", self.committed_ms.iter().copied().map(instant).collect::<Vec<_>>().into());
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
            put("labels", serde_json::Value::Object(labels.collect()));
        }
        json.into()
    }
}
