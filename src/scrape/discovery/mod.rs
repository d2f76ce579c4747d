//! Where targets come from, asked again and again.
//!
//! Invariant: a source that fails keeps the targets it found last; the failure is counted each time and logged
//! when it begins and ends - of a file also when it is another one, which somebody has just written.

mod dns;
mod docker;
mod file;
mod http;
mod sources;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use self::dns::DnsProvider;
use self::docker::DockerProvider;
use self::file::FileProvider;
use self::http::HttpProvider;
pub use self::sources::{DiscoveredGroups, Found};
use super::metrics::{Refreshed, ScrapeMetrics};
use super::settings::{Discovery, TargetGroup};
use crate::model::OncePerState;
use crate::tasks;

/// What a source found.
#[derive(Debug)]
pub(super) struct Update {
    /// Which of the job's sources.
    pub(super) index: usize,
    pub(super) groups: Vec<TargetGroup>,
}

/// Where a source stands and to whom it tells.
#[derive(Clone, Debug)]
pub(super) struct ProviderContext {
    pub(super) job: String,
    pub(super) index: usize,
    pub(super) metrics: ScrapeMetrics,
    pub(super) updates: mpsc::Sender<Update>,
}

/// What one look gave.
#[derive(Debug, Default)]
struct Outcome {
    /// All that is there now; `None`: nothing has changed, or it is not known.
    groups: Option<Vec<TargetGroup>>,
    /// What went wrong, if anything.
    error: Option<String>,
}

impl From<Result<Vec<TargetGroup>, String>> for Outcome {
    fn from(result: Result<Vec<TargetGroup>, String>) -> Self {
        match result {
            Ok(groups) => Self { groups: Some(groups), error: None },
            Err(error) => Self { groups: None, error: Some(error) },
        }
    }
}

enum Provider {
    File(FileProvider),
    Http(HttpProvider),
    Dns(DnsProvider),
    Docker(DockerProvider),
}

/// Starts asking a source; `None` for targets that are written in the configuration. `known` is what it, or one like
/// it, found before a reload: a file or name that fails at the first look keeps that.
pub(super) fn run_provider(
    source: &Discovery,
    known: Vec<TargetGroup>,
    context: ProviderContext,
) -> Option<JoinHandle<()>> {
    let metrics = context.metrics.clone();
    let provider = match source {
        Discovery::Static(_) => return None,
        Discovery::File(settings) => Provider::File(FileProvider::new(settings, known, metrics)),
        Discovery::Http(settings) => Provider::Http(HttpProvider::new(settings, metrics)),
        Discovery::Dns(settings) => Provider::Dns(DnsProvider::new(settings, known, metrics)),
        Discovery::Docker(settings) => Provider::Docker(DockerProvider::new(settings)),
    };
    Some(tasks::spawn(refresh(provider, context)))
}

impl Provider {
    const fn mechanism(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Docker(_) => "docker",
        }
    }

    const fn interval(&self) -> Duration {
        match self {
            Self::File(provider) => provider.interval(),
            Self::Http(provider) => provider.interval(),
            Self::Dns(provider) => provider.interval(),
            Self::Docker(provider) => provider.interval(),
        }
    }

    /// What is told when it changes. Why a server does not answer may be said in other words each time.
    fn state(&self, error: Option<&str>) -> Option<String> {
        error.map(|error| if matches!(self, Self::File(_)) { error.to_owned() } else { String::new() })
    }

    async fn look(&mut self) -> Outcome {
        match self {
            Self::File(provider) => provider.look().await,
            Self::Http(provider) => provider.look().await.into(),
            Self::Dns(provider) => provider.look().await,
            Self::Docker(provider) => provider.look().await.into(),
        }
    }
}

/// Looks until nobody listens any more.
async fn refresh(mut provider: Provider, context: ProviderContext) {
    let labels = Refreshed { mechanism: provider.mechanism(), config: context.job.clone() };
    let mut told = OncePerState::starting_at(None);
    let mut known: Option<Vec<TargetGroup>> = None;
    loop {
        let Outcome { groups, error } = provider.look().await;
        let metrics = context.metrics.get();
        metrics.refreshes.get_or_create(&labels).inc();
        if error.is_some() {
            metrics.refresh_failures.get_or_create(&labels).inc();
        }
        let (job, discovery) = (context.job.as_str(), labels.mechanism);
        if told.observe(provider.state(error.as_deref())).is_some() {
            match error {
                Some(error) => {
                    warn!(job, discovery, error, "Discovery failed; the targets found before stay")
                }
                None => info!(job, discovery, "Discovery works again"),
            }
        }
        if let Some(groups) = groups
            && known.as_ref() != Some(&groups)
        {
            known = Some(groups.clone());
            if context.updates.send(Update { index: context.index, groups }).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(provider.interval()).await;
    }
}
