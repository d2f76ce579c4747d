//! What is posted: JSON of foreign hands, checked; and what it makes of an event that is known already.
//!
//! Invariants: every mistake of a post is told, each with its event and key; unknown keys are mistakes; texts are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ring::digest;
use serde_json::{Map, Value};

use super::event::{DEPLOYMENT, Event, INCIDENT, Outcome};
use crate::config::closest;
use crate::model::Timestamp;

/// Most events of a post.
const MOST_EVENTS: usize = 1_000;

/// Most mistakes told.
const MOST_ERRORS: usize = 20;

/// Longest id, service, environment, label; in characters.
const LONGEST_NAME: usize = 128;

/// Longest message, in characters.
const LONGEST_MESSAGE: usize = 2_000;

/// Most labels, and most commits, of an event.
const MOST_PARTS: usize = 50;

/// How far in the future an event may lie: clocks differ.
const MOST_AHEAD: Duration = Duration::from_secs(600);

const KEYS: [&str; 11] = [
    "id",
    "type",
    "time",
    "end",
    "service",
    "environment",
    "outcome",
    "commit_time",
    "commit_times",
    "message",
    "labels",
];

/// What is wrong with a post.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventErrors {
    told: Vec<String>,
    more: usize,
}

impl EventErrors {
    pub(super) fn add(&mut self, message: String) {
        if self.told.len() < MOST_ERRORS {
            self.told.push(message);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

impl From<String> for EventErrors {
    fn from(message: String) -> Self {
        Self { told: vec![message], more: 0 }
    }
}

impl std::error::Error for EventErrors {}

impl fmt::Display for EventErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told.join("; "))?;
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

/// One event of a post: only what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    id: String,
    kind: Option<String>,
    at_ms: Option<i64>,
    end_ms: Option<i64>,
    service: Option<String>,
    environment: Option<String>,
    outcome: Option<Outcome>,
    committed_ms: Option<Vec<i64>>,
    message: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// Reads a post: an event, a list of them, or `{"events": [...]}`.
///
/// # Errors
/// Every mistake, up to a bound.
pub(super) fn parse_drafts(body: &[u8], now: Timestamp) -> Result<Vec<Draft>, EventErrors> {
    let json: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let items = match json {
        Value::Array(items) => items,
        Value::Object(mut object) if object.len() == 1 && object.contains_key("events") => {
            match object.remove("events") {
                Some(Value::Array(items)) => items,
                _ => return Err("events: expected a list".to_owned().into()),
            }
        }
        one => vec![one],
    };
    if items.is_empty() {
        return Err("no event in it".to_owned().into());
    }
    if items.len() > MOST_EVENTS {
        return Err(format!("{} events in one post, more than {MOST_EVENTS}", items.len()).into());
    }
    let (mut drafts, mut errors) = (Vec::with_capacity(items.len()), EventErrors::default());
    let many = items.len() > 1;
    for (at, item) in items.into_iter().enumerate() {
        let place = if many { format!("event {}: ", at + 1) } else { String::new() };
        let Value::Object(fields) = item else {
            errors.add(format!("{place}expected an object"));
            continue;
        };
        drafts.push(Reader { place: &place, now, errors: &mut errors }.draft(&fields));
    }
    if errors.is_empty() { Ok(drafts) } else { Err(errors) }
}

struct Reader<'a> {
    place: &'a str,
    now: Timestamp,
    errors: &'a mut EventErrors,
}

impl Reader<'_> {
    fn wrong(&mut self, key: &str, why: &str) {
        self.errors.add(format!("{}{key}: {why}", self.place));
    }

    fn draft(mut self, fields: &Map<String, Value>) -> Draft {
        for key in fields.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            let hint = closest(key, KEYS);
            let hint = hint
                .map_or_else(|| format!("known are {}", KEYS.join(", ")), |w| format!("did you mean {w:?}?"));
            let short: String = key.chars().take(40).collect();
            self.wrong(&short, &format!("unknown key; {hint}"));
        }
        let kind = self.name(fields, "type");
        if kind
            .as_ref()
            .is_some_and(|kind| !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-'))
        {
            self.wrong(
                "type",
                "expected deployment, incident, or another word of small letters, \"_\" and \"-\"",
            );
        }
        let at_ms = fields.get("time").and_then(|value| self.instant("time", value));
        let end_ms = fields.get("end").and_then(|value| self.instant("end", value));
        let outcome = fields.get("outcome").and_then(|value| match value.as_str() {
            Some("success") => Some(Outcome::Success),
            Some("failure") => Some(Outcome::Failure),
            _ => {
                self.wrong("outcome", "expected success or failure");
                None
            }
        });
        let committed_ms = self.commits(fields);
        let mut draft = Draft {
            id: self.name(fields, "id").unwrap_or_default(),
            kind,
            at_ms,
            end_ms,
            service: self.name(fields, "service"),
            environment: self.name(fields, "environment"),
            outcome,
            committed_ms,
            message: self.text(fields, "message", LONGEST_MESSAGE),
            labels: self.labels(fields),
        };
        if draft.id.is_empty() {
            // The same words at the same instant are the same event.
            let hash = digest::digest(
                &digest::SHA256,
                format!("{draft:?} {}", draft.at_ms.unwrap_or(self.now.as_millis())).as_bytes(),
            );
            draft.id = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        }
        draft
    }

    /// A text without line breaks that is not empty.
    fn name(&mut self, fields: &Map<String, Value>, key: &str) -> Option<String> {
        let text = self.text(fields, key, LONGEST_NAME)?;
        if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
            self.wrong(key, "expected a word, without spaces around it");
            return None;
        }
        Some(text)
    }

    fn text(&mut self, fields: &Map<String, Value>, key: &str, longest: usize) -> Option<String> {
        match fields.get(key)? {
            Value::String(text) if text.chars().count() <= longest => Some(text.clone()),
            Value::String(_) => {
                self.wrong(key, &format!("more than {longest} characters"));
                None
            }
            _ => {
                self.wrong(key, "expected a text");
                None
            }
        }
    }

    /// RFC 3339, or seconds since the epoch.
    fn instant(&mut self, key: &str, value: &Value) -> Option<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds that are checked")]
        let ms = match value {
            Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
            Value::Number(seconds) => seconds
                .as_f64()
                .filter(|seconds| seconds.abs() < 1e12)
                .map(|seconds| (seconds * 1_000.0).round() as i64),
            _ => None,
        };
        let latest = self.now.plus(MOST_AHEAD).as_millis();
        match ms {
            Some(ms) if (0..=latest).contains(&ms) => Some(ms),
            Some(ms) if ms > latest => {
                self.wrong(key, "lies in the future");
                None
            }
            _ => {
                self.wrong(key, "expected an instant as 2026-01-31T12:00:00Z, or seconds since 1970");
                None
            }
        }
    }

    fn commits(&mut self, fields: &Map<String, Value>) -> Option<Vec<i64>> {
        let (one, many) = (fields.get("commit_time"), fields.get("commit_times"));
        match (one, many) {
            (None, None) => None,
            (Some(value), None) => Some(vec![self.instant("commit_time", value)?]),
            (None, Some(Value::Array(values))) if values.len() <= MOST_PARTS => {
                let mut commits: Vec<i64> =
                    values.iter().filter_map(|v| self.instant("commit_times", v)).collect();
                commits.sort_unstable();
                Some(commits)
            }
            (None, Some(_)) => {
                self.wrong("commit_times", &format!("expected a list of at most {MOST_PARTS} instants"));
                None
            }
            (Some(_), Some(_)) => {
                self.wrong("commit_time", "only one of commit_time and commit_times can be given");
                None
            }
        }
    }

    fn labels(&mut self, fields: &Map<String, Value>) -> Option<BTreeMap<String, String>> {
        let labels = match fields.get("labels")? {
            Value::Object(labels) if labels.len() <= MOST_PARTS => labels,
            _ => {
                self.wrong("labels", &format!("expected an object of at most {MOST_PARTS} texts"));
                return None;
            }
        };
        let mut read = BTreeMap::new();
        for (name, value) in labels {
            match value {
                Value::String(text)
                    if text.chars().count() <= LONGEST_NAME && name.chars().count() <= LONGEST_NAME =>
                {
                    read.insert(name.clone(), text.clone());
                }
                _ => self.wrong("labels", &format!("expected texts of at most {LONGEST_NAME} characters")),
            }
        }
        Some(read)
    }
}

impl Draft {
    /// What the event is known by.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The event that this makes: anew, or of the one that is known; all that is wrong goes into `errors`.
    pub(super) fn event(&self, known: Option<&Event>, now: Timestamp, errors: &mut EventErrors) -> Event {
        let mut event = known.cloned().unwrap_or_else(|| Event {
            id: self.id.clone(),
            at_ms: self.at_ms.unwrap_or(now.as_millis()),
            ..Event::default()
        });
        let mut problems = BTreeSet::new();
        match (&self.kind, known) {
            (Some(kind), Some(known)) if *kind != known.kind => {
                problems.insert(format!("type: it is known as {}", known.kind));
            }
            (Some(kind), _) => event.kind.clone_from(kind),
            (None, Some(_)) => {}
            (None, None) => {
                problems.insert("type: is missing: deployment, incident, or another word".to_owned());
            }
        }
        event.at_ms = self.at_ms.unwrap_or(event.at_ms);
        event.end_ms = self.end_ms.or(event.end_ms);
        for (to, from) in [
            (&mut event.service, &self.service),
            (&mut event.environment, &self.environment),
            (&mut event.message, &self.message),
        ] {
            if let Some(from) = from {
                to.clone_from(from);
            }
        }
        event.outcome = self.outcome.or(event.outcome);
        if let Some(commits) = &self.committed_ms {
            event.committed_ms.clone_from(commits);
        }
        if let Some(labels) = &self.labels {
            event.labels.clone_from(labels);
        }
        event.check(&mut problems);
        problems.into_iter().for_each(|problem| errors.add(format!("{:?}: {problem}", self.id)));
        event
    }
}

impl Event {
    fn check(&mut self, problems: &mut BTreeSet<String>) {
        let mut wrong = |problem: &str| {
            problems.insert(problem.to_owned());
        };
        let is_deployment = self.kind == DEPLOYMENT;
        if (is_deployment || self.kind == INCIDENT) && self.service.is_empty() {
            wrong("service: is missing");
        }
        // An end in whole seconds, as of `date +%s`, is any instant of its second; a time that was not given has milliseconds.
        if self.end_ms.is_some_and(|end| end % 1_000 == 0 && end / 1_000 == self.at_ms / 1_000) {
            self.end_ms = Some(self.at_ms);
        }
        if self.end_ms.is_some_and(|end| end < self.at_ms) {
            wrong("end: lies before time");
        }
        if is_deployment {
            self.outcome.get_or_insert(Outcome::Success);
            if self.committed_ms.iter().any(|commit| *commit > self.at_ms) {
                wrong("commit_time: lies after time, the deployment");
            }
        } else {
            if self.outcome.is_some() {
                wrong("outcome: only a deployment has one");
            }
            if !self.committed_ms.is_empty() {
                wrong("commit_time: only a deployment has some");
            }
        }
    }
}
