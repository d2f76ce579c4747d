//! A webhook at work: takes alerts, groups them, writes down what it owes, and pays.
//!
//! Two tasks: one groups and writes, one delivers. Tables of the store: `notify_told` (receiver and group: what was
//! last told) and `notify_owed` (receiver and number: a payload).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::WebhookSettings;
use super::deliver::{Failure, deliver};
use super::groups::{Flush, Groups, Pace, Told};
use super::payload::{Envelope, message};
use crate::http_client::HttpClient;
use crate::model::{Labels, OncePerState, OutgoingAlert, Timestamp};
use crate::notify::context::Context;
use crate::notify::json::object;

use crate::notify::metrics::{Failed, ToReceiver};
use crate::store::{StateOp, StateTable, Store, StoreError};
use crate::tasks;

/// Hand-overs that wait for the grouping; each is what one evaluation of a rule group gave.
const WAITING: usize = 1_024;

/// Most notifications that a receiver is owed; beyond, the oldest are given up.
const MOST_OWED: usize = 1_000;

/// How long what was told about a group is remembered without a word about it, as Alertmanager's `data.retention`.
const REMEMBERED: Duration = Duration::from_secs(120 * 3_600);

/// Longest sleep: the wall clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// A receiver that runs; dropping it stops it. What it owes stays in the store.
#[derive(Debug)]
pub(in crate::notify) struct Webhook {
    settings: WebhookSettings,
    /// `None`: no more are taken.
    alerts: Option<mpsc::Sender<Vec<Arc<OutgoingAlert>>>>,
    shared: Arc<Shared>,
    grouping: JoinHandle<()>,
    paying: JoinHandle<()>,
}

/// What both tasks know.
#[derive(Debug)]
struct Shared {
    settings: WebhookSettings,
    context: Context,
    told: StateTable,
    owed_table: StateTable,
    owed: Mutex<Owed>,
    waiting: watch::Sender<usize>,
    receiver: ToReceiver,
    /// Whether all groups are to tell what they have once no more alerts come.
    ends: AtomicBool,
}

#[derive(Debug, Default)]
struct Owed {
    payloads: VecDeque<(u64, Bytes)>,
    next: u64,
}

impl Webhook {
    /// Starts it with what the store remembers; blocks while that is read. Where it cannot be read, what still fires
    /// is told once more.
    pub(in crate::notify) fn start(settings: WebhookSettings, context: &Context) -> Self {
        let shared = Arc::new(Shared::open(settings.clone(), context.clone()));
        let told = shared.read_told().unwrap_or_else(|error| {
            error!(%error, receiver = settings.name, "What a webhook was told before cannot be read");
            BTreeMap::new()
        });
        let pace = Pace {
            wait: settings.group_wait,
            interval: settings.group_interval,
            repeat: settings.repeat_interval,
            send_resolved: settings.send_resolved,
        };
        let groups = Groups::new(settings.grouping.clone(), pace, told);
        let (alerts, received) = mpsc::channel(WAITING);
        let grouping = tasks::spawn(group(Arc::clone(&shared), groups, received));
        let paying = tasks::spawn(pay(Arc::clone(&shared)));
        Self { settings, alerts: Some(alerts), shared, grouping, paying }
    }

    pub(in crate::notify) const fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// Hands alerts over; those for which there is no room are counted.
    pub(in crate::notify) fn send(&self, alerts: &[Arc<OutgoingAlert>]) {
        let taken = || self.alerts.as_ref().is_some_and(|to| to.try_send(alerts.to_vec()).is_ok());
        if !alerts.is_empty() && !taken() {
            self.shared.discarded("busy", alerts.len() as u64);
        }
    }

    /// Takes no more; what it was handed is written down at once, whatever its groups would wait for.
    pub(in crate::notify) fn close(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        self.alerts = None;
    }

    /// After [`Self::close`]: waits until all is written down and delivered, or the time is up.
    pub(in crate::notify) async fn drain(&mut self, deadline: Instant) {
        let mut waiting = self.shared.waiting.subscribe();
        if timeout_at(deadline, &mut self.grouping).await.is_ok() {
            let _ = timeout_at(deadline, waiting.wait_for(|waiting| *waiting == 0)).await;
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.grouping.abort();
        self.paying.abort();
        let m = self.shared.context.metrics.get();
        m.owed.remove(&self.shared.receiver);
        m.groups.remove(&self.shared.receiver);
    }
}

impl Shared {
    fn open(settings: WebhookSettings, context: Context) -> Self {
        let store: &Store = &context.store;
        let (told, owed_table) = (store.state("notify_told"), store.state("notify_owed"));
        let receiver = ToReceiver { integration: "webhook", receiver: settings.name.clone() };
        let mut owed = Owed::default();
        let prefix = prefix(&settings.name);
        let read = owed_table.range(&prefix, |key, value| {
            let Some(number) = key.strip_prefix(prefix.as_slice()) else { return false };
            if let Ok(number) = number.try_into().map(u64::from_be_bytes) {
                owed.payloads.push_back((number, Bytes::copy_from_slice(value)));
                owed.next = number.wrapping_add(1);
            }
            true
        });
        if let Err(error) = read {
            error!(%error, receiver = settings.name, "What a webhook is owed cannot be read");
        }
        let waiting = watch::Sender::new(owed.payloads.len());
        let (owed, ends) = (Mutex::new(owed), AtomicBool::new(false));
        let shared = Self { settings, context, told, owed_table, owed, waiting, receiver, ends };
        shared.measure();
        shared
    }

    /// What the receiver was told before; what is too old is left out.
    fn read_told(&self) -> Result<BTreeMap<Labels, Told>, StoreError> {
        let prefix = prefix(&self.settings.name);
        let oldest = (self.context.now)().as_millis() - millis(REMEMBERED);
        let (mut told, mut outdated) = (BTreeMap::new(), Vec::new());
        self.told.range(&prefix, |key, value| {
            let Some(group) = key.strip_prefix(prefix.as_slice()) else { return false };
            match (labels_of(group), serde_json::from_slice::<Told>(value)) {
                (Some(labels), Ok(read)) if read.at_ms >= oldest => drop(told.insert(labels, read)),
                _ => outdated.push(StateOp::Delete(key.to_vec())),
            }
            true
        })?;
        if !outdated.is_empty() {
            self.told.apply(outdated)?;
        }
        Ok(told)
    }

    fn lock(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure(&self) {
        let owed = self.lock().payloads.len();
        let m = self.context.metrics.get();
        m.owed.get_or_create(&self.receiver).set(i64::try_from(owed).unwrap_or(i64::MAX));
        self.waiting.send_replace(owed);
    }

    fn discarded(&self, reason: &'static str, count: u64) {
        let failed = Failed { integration: "webhook", receiver: self.settings.name.clone(), reason };
        self.context.metrics.get().discarded.get_or_create(&failed).inc_by(count);
    }

    /// Writes down what groups tell; then it is owed. Blocks.
    fn owe(&self, flushed: &[Flush], now: Timestamp) {
        let receiver = prefix(&self.settings.name);
        let external_url = &self.context.external_url;
        let envelope =
            Envelope { receiver: &self.settings.name, external_url, max_alerts: self.settings.max_alerts };
        let (mut told, mut owed_ops, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
        let mut number = self.lock().next;
        for flush in flushed {
            let key = [receiver.as_slice(), object(&flush.labels).to_string().as_bytes()].concat();
            told.push(match flush.told.as_ref().and_then(|told| serde_json::to_vec(told).ok()) {
                Some(value) => StateOp::Put(key, value),
                None => StateOp::Delete(key),
            });
            if !flush.alerts.is_empty() {
                let payload = Bytes::from(message(envelope, &flush.labels, &flush.alerts, now));
                owed_ops.push(StateOp::Put(self.owed_key(number), payload.to_vec()));
                payloads.push((number, payload));
                number = number.wrapping_add(1);
            }
        }
        // Both or none: a kill in between neither tells once more nor once less.
        let written = self.owed_table.apply_with(owed_ops, &self.told, told);
        if let Err(error) = written {
            error!(%error, receiver = self.settings.name, "Notifications cannot be written down; they are delivered from memory");
        }
        let pushed_out = {
            let mut owed = self.lock();
            owed.next = number;
            owed.payloads.extend(payloads);
            let excess = owed.payloads.len().saturating_sub(MOST_OWED);
            owed.payloads.drain(..excess).map(|(number, _)| number).collect::<Vec<_>>()
        };
        if !pushed_out.is_empty() {
            self.discarded("pushedOut", pushed_out.len() as u64);
            let ops = pushed_out.iter().map(|number| StateOp::Delete(self.owed_key(*number))).collect();
            // What stays behind is owed once more after a restart.
            let _ = self.owed_table.apply(ops);
        }
        self.measure();
    }

    fn owed_key(&self, number: u64) -> Vec<u8> {
        [prefix(&self.settings.name).as_slice(), &number.to_be_bytes()].concat()
    }

    /// The receiver has it, or never will. Blocks.
    fn paid(&self, number: u64) {
        self.lock().payloads.retain(|(owed, _)| *owed != number);
        // What stays behind is delivered once more after a restart; the store says itself that it cannot be written.
        let _ = self.owed_table.delete(&self.owed_key(number));
        self.measure();
    }
}

fn prefix(receiver: &str) -> Vec<u8> {
    [receiver.as_bytes(), b"\0"].concat()
}

fn labels_of(json: &[u8]) -> Option<Labels> {
    let Value::Object(object) = serde_json::from_slice(json).ok()? else { return None };
    Some(Labels::from_pairs(object.iter().filter_map(|(name, value)| Some((name, value.as_str()?)))))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn group(
    shared: Arc<Shared>,
    mut groups: Groups,
    mut received: mpsc::Receiver<Vec<Arc<OutgoingAlert>>>,
) {
    let now = shared.context.now;
    loop {
        let sleep = groups.next().map_or(LONGEST_SLEEP, |next| next.since(now()).min(LONGEST_SLEEP));
        let mut last = false;
        tokio::select! {
            alerts = received.recv() => match alerts {
                Some(alerts) => {
                    let at = now();
                    let refused = alerts.iter().filter(|alert| !groups.insert(alert, at)).count();
                    if refused > 0 {
                        shared.discarded("tooManyAlerts", refused as u64);
                    }
                }
                None if shared.ends.load(Ordering::Acquire) => last = true,
                // Dropped: another may already write under this name.
                None => return,
            },
            () = tokio::time::sleep(sleep) => {}
        }
        let at = now();
        let flushed = if last { groups.flush_all(at) } else { groups.flush(at) };
        let known = i64::try_from(groups.len()).unwrap_or(i64::MAX);
        shared.context.metrics.get().groups.get_or_create(&shared.receiver).set(known);
        if !flushed.is_empty() {
            let writer = Arc::clone(&shared);
            let _ = tasks::blocking(move || writer.owe(&flushed, at)).await;
        }
        if last {
            return;
        }
    }
}

async fn pay(shared: Arc<Shared>) {
    let client = HttpClient::new(&shared.settings.client);
    let mut waiting = shared.waiting.subscribe();
    let mut told: OncePerState<Option<String>> = OncePerState::starting_at(None);
    let pauses = shared.context.pauses;
    let mut pause = pauses.first;
    let timeout = match shared.settings.timeout {
        Duration::ZERO => shared.settings.group_interval,
        timeout => timeout,
    };
    while waiting.wait_for(|waiting| *waiting > 0).await.is_ok() {
        let Some((number, payload)) = shared.lock().payloads.front().cloned() else { continue };
        let failure = deliver(&client, &shared.settings.url, payload, Instant::now() + timeout).await.err();
        let m = shared.context.metrics.get();
        m.notifications.get_or_create(&shared.receiver).inc();
        tell(&mut told, &shared.settings.name, failure.as_ref());
        shared
            .context
            .metrics
            .attempted(&shared.settings.name, failure.as_ref().map(|failure| failure.error()));
        if let Some(failure) = &failure {
            let receiver = shared.settings.name.clone();
            let failed = Failed { integration: "webhook", receiver, reason: failure.reason() };
            m.notifications_failed.get_or_create(&failed).inc();
        }
        match failure {
            Some(Failure::Passing { .. }) => {
                tokio::time::sleep(pause).await;
                pause = pauses.longest.min(2 * pause);
                continue;
            }
            Some(Failure::Lasting { .. }) => shared.discarded("refused", 1),
            None => pause = pauses.first,
        }
        let writer = Arc::clone(&shared);
        let _ = tasks::blocking(move || writer.paid(number)).await;
    }
}

fn tell(told: &mut OncePerState<Option<String>>, receiver: &str, failure: Option<&Failure>) {
    let error = failure.map(|failure| failure.error().to_owned());
    if told.observe(error.clone()).is_some() {
        match (error, failure) {
            (Some(error), Some(Failure::Lasting { .. })) => {
                warn!(receiver, error, "A webhook refuses notifications; they are given up");
            }
            (Some(error), _) => {
                warn!(receiver, error, "Notifications wait: a webhook does not take them");
            }
            (None, _) => info!(receiver, "The webhook takes notifications again"),
        }
    }
}
