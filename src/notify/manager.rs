//! All receivers: what the program starts, reloads, hands alerts to and drains.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::alertmanager::{Set, relabelled};
use super::console::Console;
use super::context::{Context, Pauses};
use super::metrics::NotifyMetrics;
use super::settings::NotifySettings;
use super::webhook::Webhook;
use crate::model::{Labels, OutgoingAlert, Timestamp};
use crate::scrape::{Found, ScrapeMetrics};
use crate::store::Store;

/// Delivers alerts. To be used within a tokio runtime.
#[derive(Debug)]
pub struct Notifier {
    context: Context,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: NotifySettings,
    sets: Vec<Set>,
    webhooks: Vec<Webhook>,
    console: Console,
}

/// Who is told, for `/api/v1/alertmanagers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alertmanagers {
    /// URLs of those that are told.
    pub active: Vec<String>,
    /// URLs of those that relabelling dropped.
    pub dropped: Vec<String>,
}

impl Notifier {
    /// Without any receiver yet. `external_url` is where others reach this program.
    pub fn new(
        store: Store,
        now: fn() -> Timestamp,
        external_url: &str,
        metrics: NotifyMetrics,
        discovery: ScrapeMetrics,
    ) -> Self {
        let capacity = i64::try_from(super::alertmanager::CAPACITY).unwrap_or(i64::MAX);
        metrics.get().queue_capacity.set(capacity);
        let pauses = Pauses::default();
        let context = Context { store, now, external_url: external_url.into(), metrics, discovery, pauses };
        let state = State {
            settings: NotifySettings::default(),
            sets: Vec::new(),
            webhooks: Vec::new(),
            console: Console::new(now()),
        };
        Self { context, state: Mutex::new(state) }
    }

    /// The same, with other pauses between attempts.
    #[cfg(test)]
    pub(super) fn with_pauses(mut self, pauses: Pauses) -> Self {
        self.context.pauses = pauses;
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the receivers those of the settings. One that is the same goes on untouched; a set of Alertmanagers that
    /// changed begins with those that the same discovery has found before. Blocks while the store tells what webhooks owe.
    pub fn apply(&self, settings: &NotifySettings) {
        let mut state = self.lock();
        let mut before = std::mem::take(&mut state.webhooks);
        let wanted = |running: &mut Webhook| settings.webhooks.contains(running.settings());
        // Two under one name at once would pay the same debts: the old ones go first.
        let mut kept: Vec<Webhook> = before.extract_if(.., wanted).collect();
        drop(before);
        for webhook in &settings.webhooks {
            let same = kept.iter().position(|running| running.settings() == webhook);
            state.webhooks.push(match same {
                Some(at) => kept.swap_remove(at),
                None => Webhook::start(webhook.clone(), &self.context),
            });
        }
        let mut before = std::mem::take(&mut state.sets);
        let discovered = Found::merged(before.iter().map(Set::discovered));
        let wanted = |running: &mut Set| settings.alertmanagers.contains(running.settings());
        // Those that go take the metrics of their Alertmanagers along, which may be those of new ones, too.
        let mut kept: Vec<Set> = before.extract_if(.., wanted).collect();
        drop(before);
        for set in &settings.alertmanagers {
            let same = kept.iter().position(|running| running.settings() == set);
            state.sets.push(match same {
                Some(at) => kept.swap_remove(at),
                None => Set::start(set.clone(), &discovered, &self.context),
            });
        }
        state.settings = settings.clone();
        drop(state);
        self.measure();
    }

    /// Hands alerts to everybody. Never waits.
    pub fn send(&self, alerts: &[OutgoingAlert]) {
        if alerts.is_empty() {
            return;
        }
        let now = (self.context.now)();
        let mut state = self.lock();
        let State { settings, sets, webhooks, console } = &mut *state;
        if settings.console {
            console.tell(alerts, now);
        }
        let labelled = alerts.iter().map(|alert| Arc::new(with_labels(alert, &settings.external_labels)));
        let alerts: Vec<Arc<OutgoingAlert>> =
            labelled.filter_map(|alert| relabelled(&alert, &settings.relabel)).collect();
        sets.iter().for_each(|set| set.send(&alerts));
        webhooks.iter().for_each(|webhook| webhook.send(&alerts));
    }

    /// Who is told.
    pub fn alertmanagers(&self) -> Alertmanagers {
        let mut all = Alertmanagers::default();
        for (active, dropped) in self.lock().sets.iter().map(Set::urls) {
            all.active.extend(active);
            all.dropped.extend(dropped);
        }
        all
    }

    /// Receivers whose last attempt failed and why, and how many receivers there are.
    pub fn failing(&self) -> (Vec<(String, String)>, usize) {
        let mut receivers = self.alertmanagers().active;
        receivers.extend(self.lock().webhooks.iter().map(|webhook| webhook.settings().name.clone()));
        (self.context.metrics.failing(&receivers), receivers.len())
    }

    /// Brings those metrics up to date that nothing else does; to be called before they are read.
    pub fn measure(&self) {
        self.context.metrics.set_alertmanagers(self.alertmanagers().active.len());
    }

    /// Whether firing alerts are to be resolved when the program ends.
    pub fn resolves_on_shutdown(&self) -> bool {
        self.lock().settings.resolve_on_shutdown
    }

    /// Hands over what waits, until a deadline, and stops. What webhooks still owe stays in the store.
    pub async fn shutdown(&self, deadline: Instant) {
        let (sets, mut webhooks) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.sets), std::mem::take(&mut state.webhooks))
        };
        // They go on beside each other; a receiver that hangs costs the others nothing.
        webhooks.iter_mut().for_each(Webhook::close);
        for set in &sets {
            set.drain(deadline).await;
        }
        for webhook in &mut webhooks {
            webhook.drain(deadline).await;
        }
    }
}

fn with_labels(alert: &OutgoingAlert, external: &Labels) -> OutgoingAlert {
    let missing = external.iter().filter(|(name, _)| alert.labels.get(name).is_none());
    let labels = Labels::from_pairs(alert.labels.iter().chain(missing));
    OutgoingAlert { labels, ..alert.clone() }
}
