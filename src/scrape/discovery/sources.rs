//! Discovery for those who do not scrape: the targets of some sources, as they are now.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{ProviderContext, Update, run_provider};
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::settings::{Discovery, TargetGroup};

/// Updates that wait.
const QUEUE: usize = 16;

/// What some sources have found. Dropping it ends the asking.
#[derive(Debug)]
pub struct DiscoveredGroups {
    /// `None` until a source has answered.
    groups: Vec<Option<Vec<TargetGroup>>>,
    updates: mpsc::Receiver<Update>,
    tasks: Vec<JoinHandle<()>>,
}

impl DiscoveredGroups {
    /// Starts to ask; `name` stands for the configuration in logs and metrics. To be used within a tokio runtime.
    pub fn start(name: &str, sources: &[Discovery], metrics: &ScrapeMetrics) -> Self {
        let (sender, updates) = mpsc::channel(QUEUE);
        let groups = sources.iter().map(|source| match source {
            Discovery::Static(groups) => Some(groups.clone()),
            _ => None,
        });
        let tasks = sources.iter().enumerate().filter_map(|(index, source)| {
            let context = ProviderContext {
                job: name.to_owned(),
                index,
                metrics: metrics.clone(),
                updates: sender.clone(),
            };
            run_provider(source, Vec::new(), context)
        });
        Self { groups: groups.collect(), tasks: tasks.collect(), updates }
    }

    /// All groups found so far.
    pub fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.groups.iter().flatten().flatten()
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
        if let Some(groups) = self.groups.get_mut(update.index) {
            *groups = Some(update.groups);
        }
    }
}

impl Drop for DiscoveredGroups {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
