//! Discovery for those who do not scrape: the targets of some sources, as they are now; and what a reload keeps of them.

use std::collections::HashSet;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{ProviderContext, Update, run_provider};
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::settings::{Discovery, TargetGroup};

/// Updates that wait.
const QUEUE: usize = 16;

/// Sources with what each has found; `None` until it has answered. After a reload others start with it.
#[derive(Clone, Debug, Default)]
pub struct Found(Vec<(Discovery, Option<Vec<TargetGroup>>)>);

impl Found {
    pub(in crate::scrape) fn new(sources: &[Discovery], groups: Vec<Option<Vec<TargetGroup>>>) -> Self {
        Self(sources.iter().cloned().zip(groups).collect())
    }

    /// What several have found, as one.
    pub fn merged(all: impl IntoIterator<Item = Self>) -> Self {
        Self(all.into_iter().flat_map(|found| found.0).collect())
    }

    /// What the same source has found.
    pub(in crate::scrape) fn groups_of(&self, source: &Discovery) -> Option<Vec<TargetGroup>> {
        match source {
            Discovery::Static(groups) => Some(groups.clone()),
            _ => {
                self.0.iter().find_map(|(there, groups)| groups.as_ref().filter(|_| there == source)).cloned()
            }
        }
    }

    /// What a source of several files or names keeps of one that fails at the first look, also where the source
    /// itself has changed.
    pub(in crate::scrape) fn known_to(&self, source: &Discovery) -> Vec<TargetGroup> {
        let alike = |there: &Discovery| match (there, source) {
            (Discovery::File(_), Discovery::File(_)) => true,
            (Discovery::Dns(a), Discovery::Dns(b)) => (a.record, a.port) == (b.record, b.port),
            _ => false,
        };
        let sources = self.0.iter().filter(|(there, _)| alike(there));
        let mut seen = HashSet::new();
        let groups = sources.flat_map(|(_, groups)| groups.iter().flatten());
        groups.filter(|group| seen.insert(group.source.as_str())).cloned().collect()
    }
}

/// What some sources have found. Dropping it ends the asking.
#[derive(Debug)]
pub struct DiscoveredGroups {
    found: Found,
    updates: mpsc::Receiver<Update>,
    tasks: Vec<JoinHandle<()>>,
}

impl DiscoveredGroups {
    /// Starts to ask; `name` stands for the configuration in logs and metrics, `before` is what was found before a reload.
    /// To be used within a tokio runtime.
    pub fn start(name: &str, sources: &[Discovery], before: &Found, metrics: &ScrapeMetrics) -> Self {
        let (sender, updates) = mpsc::channel(QUEUE);
        let groups = sources.iter().map(|source| before.groups_of(source)).collect();
        let tasks = sources.iter().enumerate().filter_map(|(index, source)| {
            let context = ProviderContext {
                job: name.to_owned(),
                index,
                metrics: metrics.clone(),
                updates: sender.clone(),
            };
            run_provider(source, before.known_to(source), context)
        });
        Self { tasks: tasks.collect(), found: Found::new(sources, groups), updates }
    }

    /// What was found so far.
    pub const fn found(&self) -> &Found {
        &self.found
    }

    /// All groups found so far.
    pub fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.found.0.iter().filter_map(|(_, groups)| groups.as_ref()).flatten()
    }

    /// Waits until a source has found something else; for ever where all are written down.
    pub async fn changed(&mut self) {
        match self.updates.recv().await {
            Some(update) => self.take(update),
            None => std::future::pending().await,
        }
        while let Ok(update) = self.updates.try_recv() {
            self.take(update);
        }
    }

    fn take(&mut self, update: Update) {
        if let Some((_, groups)) = self.found.0.get_mut(update.index) {
            *groups = Some(update.groups);
        }
    }
}

impl Drop for DiscoveredGroups {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
