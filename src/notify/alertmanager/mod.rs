//! Sets of Alertmanagers: found by discovery, each told everything.
//!
//! Source: Prometheus configuration documentation, `alertmanager_config`; labels `__scheme__` and `__alerts_path__`.

mod queue;
mod sender;

pub(super) use sender::CAPACITY;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Uri;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::sender::Sender;
use super::context::Context;
use crate::config::{Section, read_relabel_rules};
use crate::http_client::{HttpClient, HttpClientSettings};
use crate::model::{Labels, LabelsBuilder, NameScheme, OutgoingAlert, RelabelRule, relabel};
use crate::scrape::{
    DiscoveredGroups, Discovery, Found as Discovered, TargetGroup, read_discovery, refuse_other_discovery,
};
use crate::tasks;

/// Most Alertmanagers of one set.
const MOST_ALERTMANAGERS: usize = 64;

/// One entry of `alertmanagers`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertmanagerSettings {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What stands before `/api/v2/alerts`.
    pub path_prefix: String,
    /// How long a request may take.
    pub timeout: Duration,
    /// How they are called.
    pub client: HttpClientSettings,
    /// Where they are found.
    pub discovery: Vec<Discovery>,
    /// Rewrites or drops what was found.
    pub relabel: Vec<RelabelRule>,
    /// Rewrites or drops alerts, for this set.
    pub alert_relabel: Vec<RelabelRule>,
}

impl AlertmanagerSettings {
    /// Reads an entry; mistakes are noted in the section.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let timeout = section.take_duration("timeout").filter(|timeout| !timeout.is_zero());
        section.take_choice("api_version", &[("v2", ())]);
        for key in ["sigv4", "azuread", "google_iam"] {
            section.refuse(key, format!("{key} is not supported"));
        }
        refuse_other_discovery(section);
        let relabel = read_relabel_rules(section, "relabel_configs", NameScheme::Utf8);
        Self {
            scheme: section.take_choice("scheme", &[("http", "http"), ("https", "https")]).unwrap_or("http"),
            path_prefix: section.take_str("path_prefix").unwrap_or_default(),
            timeout: timeout.unwrap_or(Duration::from_secs(10)),
            client: HttpClientSettings::read(section),
            discovery: read_discovery(section, relabel.is_empty()),
            relabel,
            alert_relabel: read_relabel_rules(section, "alert_relabel_configs", NameScheme::Utf8),
        }
    }
}

/// A set that runs; dropping it stops it.
#[derive(Debug)]
pub(super) struct Set {
    settings: Arc<AlertmanagerSettings>,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    senders: BTreeMap<String, Sender>,
    dropped: BTreeSet<String>,
    discovered: Discovered,
}

impl Set {
    /// `before`: what discovery has found for all sets before a reload.
    pub(super) fn start(settings: AlertmanagerSettings, before: &Discovered, context: &Context) -> Self {
        let settings = Arc::new(settings);
        let state = Arc::new(Mutex::new(State::default()));
        let groups = DiscoveredGroups::start("alertmanager", &settings.discovery, before, &context.discovery);
        let follower = Follower {
            client: HttpClient::new(&settings.client),
            settings: Arc::clone(&settings),
            state: Arc::clone(&state),
            context: context.clone(),
        };
        follower.follow(&groups);
        let task = tasks::spawn(follower.run(groups));
        Self { settings, state, task }
    }

    pub(super) fn settings(&self) -> &AlertmanagerSettings {
        &self.settings
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands alerts to all of the set.
    pub(super) fn send(&self, alerts: &[Arc<OutgoingAlert>]) {
        let relabelled: Vec<Arc<OutgoingAlert>> =
            alerts.iter().filter_map(|alert| relabelled(alert, &self.settings.alert_relabel)).collect();
        for sender in self.lock().senders.values() {
            sender.push(&relabelled);
        }
    }

    /// What discovery has found for it.
    pub(super) fn discovered(&self) -> Discovered {
        self.lock().discovered.clone()
    }

    /// URLs of those that are told, and of those that relabelling dropped.
    pub(super) fn urls(&self) -> (Vec<String>, Vec<String>) {
        let state = self.lock();
        (state.senders.keys().cloned().collect(), state.dropped.iter().cloned().collect())
    }

    /// Waits until all that waits was handed over, or the time is up.
    pub(super) async fn drain(&self, deadline: Instant) {
        let waits: Vec<_> = self.lock().senders.values().map(Sender::idle).collect();
        for wait in waits {
            if tokio::time::timeout_at(deadline, wait).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.task.abort();
        // Now, whenever the task lets go of them.
        self.lock().senders.clear();
    }
}

/// An alert as rules leave it; `None` where they drop it.
pub(super) fn relabelled(alert: &Arc<OutgoingAlert>, rules: &[RelabelRule]) -> Option<Arc<OutgoingAlert>> {
    if rules.is_empty() {
        return Some(Arc::clone(alert));
    }
    let mut labels = LabelsBuilder::from(&alert.labels);
    let kept = relabel(rules, &mut labels) && !labels.is_empty();
    kept.then(|| Arc::new(OutgoingAlert { labels: labels.build(), ..OutgoingAlert::clone(alert) }))
}

/// Keeps a set's Alertmanagers those that discovery finds.
struct Follower {
    client: HttpClient,
    settings: Arc<AlertmanagerSettings>,
    state: Arc<Mutex<State>>,
    context: Context,
}

impl Follower {
    async fn run(self, mut groups: DiscoveredGroups) {
        loop {
            groups.changed().await;
            self.follow(&groups);
        }
    }

    fn follow(&self, groups: &DiscoveredGroups) {
        let mut found = BTreeMap::new();
        let mut dropped = BTreeSet::new();
        for (labels, group) in groups.groups().flat_map(|group| group.targets.iter().map(move |t| (t, group)))
        {
            match found_at(&self.settings, labels, group) {
                Found::Url(url, uri) if found.len() < MOST_ALERTMANAGERS => drop(found.insert(url, uri)),
                Found::Dropped(url) => drop(dropped.insert(url)),
                Found::Url(..) | Found::Nothing => {}
            }
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.senders.retain(|url, _| found.contains_key(url));
        for (url, uri) in found {
            state.senders.entry(url).or_insert_with_key(|url| {
                Sender::start(url, uri, self.client.clone(), self.settings.timeout, &self.context)
            });
        }
        state.dropped = dropped;
        state.discovered = groups.found().clone();
    }
}

enum Found {
    Url(String, Uri),
    Dropped(String),
    Nothing,
}

fn found_at(settings: &AlertmanagerSettings, target: &Labels, group: &TargetGroup) -> Found {
    let mut labels = LabelsBuilder::from(&group.labels);
    for (name, value) in target {
        labels.set(name, value);
    }
    labels.set("__scheme__", settings.scheme);
    labels.set("__alerts_path__", format!("{}/api/v2/alerts", slashed(&settings.path_prefix)));
    let url = |labels: &LabelsBuilder| {
        let path = labels.get("__alerts_path__");
        format!("{}://{}{path}", labels.get("__scheme__"), labels.get("__address__"))
    };
    let before = url(&labels);
    if !relabel(&settings.relabel, &mut labels) {
        return Found::Dropped(before);
    }
    let url = url(&labels);
    match url.parse::<Uri>() {
        Ok(uri) if uri.host().is_some() => Found::Url(url, uri),
        _ => Found::Nothing,
    }
}

/// A prefix that begins with a slash and does not end in one.
fn slashed(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => String::new(),
        inner => format!("/{inner}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};

    fn set(text: &str) -> AlertmanagerSettings {
        let document = Document::parse("o.yml", text, &Limits::default()).expect("parsed");
        document.read(&Environment::off(), AlertmanagerSettings::read).expect("read")
    }

    #[test]
    fn an_alertmanager_has_its_url_from_labels() {
        let check = |text: &str, expected: &str| {
            let settings = set(text);
            let group = TargetGroup { labels: Labels::from_pairs([("zone", "a")]), ..TargetGroup::default() };
            let target = Labels::from_pairs([("__address__", "am:9093")]);
            let shown = match found_at(&settings, &target, &group) {
                Found::Url(url, _) => url,
                Found::Dropped(url) => format!("dropped {url}"),
                Found::Nothing => "nothing".to_owned(),
            };
            assert_eq!(shown, expected, "{text}");
        };
        check("", "http://am:9093/api/v2/alerts");
        check("scheme: https\npath_prefix: am/\n", "https://am:9093/am/api/v2/alerts");
        check(
            "relabel_configs: [{source_labels: [zone], target_label: __alerts_path__, replacement: '/$1'}]\n",
            "http://am:9093/a",
        );
        check(
            "relabel_configs: [{action: drop, source_labels: [zone], regex: a}]\n",
            "dropped http://am:9093/api/v2/alerts",
        );
        check("relabel_configs: [{target_label: __address__, replacement: ''}]\n", "nothing");
    }
}
