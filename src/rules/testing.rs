//! Groups evaluated at chosen instants over chosen samples.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::saved::Saved;
use super::*;
use crate::model::{Labels, METRIC_NAME, OutgoingAlert, Row, Timestamp, is_stale};
use crate::promql::{Cancel, Engine, EngineOptions, ParseOptions, Value, parse};
use crate::store::{Store, StoreConfig};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

pub(super) fn groups(text: &str) -> Vec<GroupSpec> {
    parse_file("r.yml", text, &FileOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// What was handed over to be sent.
pub(super) type Sent = Arc<Mutex<Vec<OutgoingAlert>>>;

pub(super) fn context(storage: Arc<dyn RuleStorage>) -> (RuleContext, Sent) {
    let sent = Sent::default();
    let into = Arc::clone(&sent);
    let context = RuleContext {
        storage,
        engine: Arc::new(Engine::new(EngineOptions::default())),
        parse: ParseOptions::default(),
        external_labels: Labels::empty(),
        external_url: "http://host:1".to_owned(),
        timing: AlertTiming::default(),
        most_alerts: 100,
        settle: Duration::ZERO,
        notify: Arc::new(move |alerts| into.lock().unwrap().extend(alerts)),
        cancel: Cancel::default(),
    };
    (context, sent)
}

/// One group over memory.
pub(super) struct Fixture {
    pub(super) memory: Arc<RuleMemory>,
    pub(super) context: RuleContext,
    pub(super) sent: Sent,
    pub(super) metrics: RuleMetrics,
    pub(super) group: Group,
}

impl Fixture {
    pub(super) fn new(text: &str) -> Self {
        let memory = Arc::new(RuleMemory::default());
        let (context, sent) = context(Arc::clone(&memory) as Arc<dyn RuleStorage>);
        let group = Group::new(groups(text).remove(0), 10 * SECOND, Duration::ZERO);
        Self { memory, context, sent, metrics: RuleMetrics::default(), group }
    }

    /// A sample of a series without labels.
    pub(super) fn add(&self, name: &str, seconds: i64, value: f64) {
        self.memory.add(&Labels::from_pairs([(METRIC_NAME, name)]), at(seconds), value);
    }

    pub(super) fn evaluate(&self, seconds: i64) {
        self.group.evaluate(at(seconds), at(seconds), &self.context, &self.metrics);
    }

    /// Adds a sample of `m` and evaluates.
    pub(super) fn step(&self, seconds: i64, value: f64) {
        self.add("m", seconds, value);
        self.evaluate(seconds);
    }

    /// The result of an instant query.
    pub(super) fn query(&self, query: &str, seconds: i64) -> Vec<String> {
        let expr = parse(query, &ParseOptions::default()).unwrap();
        let found = self.context.engine.instant(&*self.memory, &expr, at(seconds), &Default::default());
        let Value::Vector(samples) = found.unwrap().value else { panic!("{query} is no vector") };
        assert!(samples.iter().all(|sample| !is_stale(sample.value)));
        samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect()
    }

    /// State and age in seconds of the alerts of the group's first rule.
    pub(super) fn alerts(&self, seconds: i64) -> Vec<(&'static str, u64)> {
        shown(&self.group, seconds)
    }
}

pub(super) fn shown(group: &Group, seconds: i64) -> Vec<(&'static str, u64)> {
    let alerts = group.rules()[0].status().alerts;
    alerts.iter().map(|a| (a.state.as_str(), at(seconds).since(a.active_at).as_secs())).collect()
}

fn store(folder: &std::path::Path, now: Timestamp) -> Store {
    Store::open(StoreConfig { path: Some(folder.to_owned()), ..StoreConfig::default() }, now).unwrap()
}

/// A group over a store in a folder, with what was saved there.
pub(super) struct Running {
    pub(super) store: Store,
    pub(super) context: RuleContext,
    pub(super) sent: Sent,
    pub(super) group: Group,
}

impl Running {
    pub(super) fn start(folder: &std::path::Path, text: &str, seconds: i64) -> Self {
        let store = store(folder, at(seconds));
        let (context, sent) = context(Arc::new(store.clone()));
        let group = Group::new(groups(text).remove(0), 10 * SECOND, Duration::ZERO);
        let mut saved = Saved::default();
        context.storage.saved(&mut |key, value| saved.add(key, value)).unwrap();
        assert_eq!(saved.unreadable, 0);
        group.restore(&mut saved, at(seconds), &AlertTiming::default());
        Self { store, context, sent, group }
    }

    pub(super) fn step(&self, seconds: i64, value: f64) -> Vec<(&'static str, u64)> {
        let labels = Labels::from_pairs([(METRIC_NAME, "m")]);
        let row = Row { labels, value, timestamp: None };
        self.store.source("m").append(at(seconds), &[row]).unwrap();
        self.group.evaluate(at(seconds), at(seconds), &self.context, &RuleMetrics::default());
        shown(&self.group, seconds)
    }

    /// As a kill would leave the folder: a copy of the file, taken while it is open.
    pub(super) fn killed(self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        self.store.snapshot(copy.path()).unwrap();
        copy
    }
}
