//! The targets of one job: those that discovery found, started, changed and ended.
//!
//! Invariant: a target that is found again, also by the pool of a reloaded job, goes on where it was. It ends only
//! when every source of targets has answered and none has it. One that was refused starts when there is room.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tracing::warn;

use super::discovery::{Found as Discovered, ProviderContext, Update, run_provider};
use super::metrics::{DiscoveredBy, Job};
use super::pipeline::Pipeline;
use super::settings::{JobSettings, TargetGroup};
use super::sink::TargetKey;
use super::snapshot::{PoolSnapshot, TargetMetadata, TargetSnapshot};
use super::target::{Populated, Target, discovered, populate};
use super::target_loop::{LoopContext, TargetLoop, TargetState};
use crate::model::{ColdSort, Labels, OncePerState};
use crate::tasks;

/// Shortest time between two takeovers of what discovery found.
const PACE: Duration = Duration::from_millis(500);

/// Updates of discovery that wait.
const QUEUE: usize = 16;

/// A pool that runs.
pub(super) struct Pool {
    inner: Arc<Inner>,
    tasks: Vec<JoinHandle<()>>,
}

struct Inner {
    context: LoopContext,
    state: Mutex<State>,
}

struct State {
    /// What each source found; `None` until it has answered.
    groups: Vec<Option<Vec<TargetGroup>>>,
    active: HashMap<TargetKey, Running>,
    /// Targets whose series are about to be ended.
    ending: HashMap<TargetKey, AbortHandle>,
    dropped: Vec<Labels>,
    dropped_count: usize,
    refused: usize,
    failure: OncePerState<Option<String>>,
}

struct Running {
    target: Arc<Target>,
    state: TargetState,
    stop: watch::Sender<bool>,
    task: JoinHandle<Option<Pipeline>>,
    /// Whether it was started by this pool, and not by the one before a reload.
    own: bool,
}

/// What a pool leaves to the one that takes its place.
pub(super) struct Remains {
    found: Discovered,
    active: HashMap<TargetKey, Running>,
    ending: HashMap<TargetKey, AbortHandle>,
    refused: usize,
}

impl Pool {
    /// Starts a pool, in the place of another one if there are remains.
    pub(super) fn start(context: LoopContext, remains: Option<Remains>) -> Self {
        let job = Arc::clone(&context.job);
        let labels = Job { scrape_job: job.name.clone() };
        let limit = i64::try_from(job.limits.targets).unwrap_or(i64::MAX);
        context.metrics.get().pool_target_limit.get_or_create(&labels).set(limit);
        let nothing = Discovered::default();
        let before = remains.as_ref().map_or(&nothing, |remains| &remains.found);
        let known: Vec<Vec<TargetGroup>> = job.discovery.iter().map(|s| before.known_to(s)).collect();
        let mut state = State {
            groups: job.discovery.iter().map(|source| before.groups_of(source)).collect(),
            active: HashMap::new(),
            ending: HashMap::new(),
            dropped: Vec::new(),
            dropped_count: 0,
            refused: 0,
            failure: OncePerState::starting_at(None),
        };
        if let Some(remains) = remains {
            let foreign = |(key, running)| (key, Running { own: false, ..running });
            state.active = remains.active.into_iter().map(foreign).collect();
            state.ending = remains.ending;
            state.refused = remains.refused;
        }
        // Before the first look: what ends meanwhile is not missed.
        let room = context.shared.room.subscribe();
        let inner = Arc::new(Inner { context, state: Mutex::new(state) });
        inner.sync();
        let (updates, received) = mpsc::channel(QUEUE);
        let mut tasks = vec![tasks::spawn(take_updates(Arc::clone(&inner), received, room))];
        for (index, (source, known)) in job.discovery.iter().zip(known).enumerate() {
            let context = ProviderContext {
                job: job.name.clone(),
                index,
                metrics: inner.context.metrics.clone(),
                updates: updates.clone(),
            };
            tasks.extend(run_provider(source, known, context));
        }
        Self { inner, tasks }
    }

    pub(super) fn job(&self) -> &Arc<JobSettings> {
        &self.inner.context.job
    }

    /// Stops discovery and leaves the targets running, for the pool that takes this one's place.
    pub(super) fn leave(self) -> Remains {
        self.tasks.iter().for_each(JoinHandle::abort);
        let mut state = self.inner.lock();
        Remains {
            found: Discovered::new(&self.job().discovery, std::mem::take(&mut state.groups)),
            active: std::mem::take(&mut state.active),
            ending: std::mem::take(&mut state.ending),
            refused: state.refused,
        }
    }

    /// Stops everything and ends the series of all targets, unless a pool of the same job finds them in time.
    pub(super) fn end(self) -> Remains {
        self.tasks.iter().for_each(JoinHandle::abort);
        let mut state = self.inner.lock();
        // A look that waits for the lock finds nothing to start.
        state.groups.clear();
        for (key, running) in std::mem::take(&mut state.active) {
            self.inner.end_target(&mut state, key, running);
        }
        self.inner.set_refused(&mut state, 0);
        self.inner.context.metrics.forget_job(&self.job().name);
        Remains {
            found: Discovered::default(),
            active: HashMap::new(),
            ending: std::mem::take(&mut state.ending),
            refused: 0,
        }
    }

    /// Stops everything and leaves the series as they are; gives what is still at work.
    pub(super) fn stop(self) -> Vec<JoinHandle<Option<Pipeline>>> {
        self.tasks.iter().for_each(JoinHandle::abort);
        let mut state = self.inner.lock();
        for (_, ending) in state.ending.drain() {
            ending.abort();
        }
        let stopped = std::mem::take(&mut state.active).into_values().map(|running| {
            running.stop.send_replace(true);
            running.task
        });
        stopped.collect()
    }

    /// Everything about the pool's targets.
    pub(super) fn snapshot(&self) -> PoolSnapshot {
        let state = self.inner.lock();
        let mut active: Vec<TargetSnapshot> = state.active.values().map(Running::snapshot).collect();
        active.cold_sort_by(|a, b| a.labels().cmp(b.labels()).then_with(|| a.url().cmp(b.url())));
        PoolSnapshot {
            name: self.job().name.clone(),
            active,
            dropped: state.dropped.clone(),
            dropped_count: state.dropped_count,
        }
    }

    /// Metadata of the targets that `wanted` names; of one metric, or of all.
    pub(super) fn metadata(
        &self,
        wanted: &mut dyn FnMut(&Labels) -> bool,
        metric: Option<&str>,
        into: &mut Vec<TargetMetadata>,
    ) {
        let state = self.inner.lock();
        for running in state.active.values().filter(|running| wanted(running.target.key.labels())) {
            let target = running.target.key.labels();
            let of = |(metric, metadata)| TargetMetadata { target: target.clone(), metric, metadata };
            match metric {
                Some(metric) => {
                    let found = running.state.metadata.of(metric);
                    into.extend(found.map(|metadata| of((metric.to_owned(), metadata))));
                }
                None => into.extend(running.state.metadata.all().into_iter().map(of)),
            }
        }
    }

    /// Puts what only a look tells into the metrics.
    pub(super) fn measure(&self) {
        let state = self.inner.lock();
        let sizes = state.active.values().map(|running| running.state.metadata.size());
        let (entries, bytes) = sizes.fold((0, 0), |(e, b), (entries, bytes)| (e + entries, b + bytes));
        let metrics = self.inner.context.metrics.get();
        let labels = Job { scrape_job: self.job().name.clone() };
        metrics.metadata_entries.get_or_create(&labels).set(signed(entries));
        metrics.metadata_bytes.get_or_create(&labels).set(signed(bytes));
    }
}

impl Remains {
    /// Whether nothing of it is at work any more.
    pub(super) fn are_over(&self) -> bool {
        self.active.is_empty() && self.ending.values().all(AbortHandle::is_finished)
    }

    /// Leaves the series of targets that were about to end as they are.
    pub(super) fn stop(self) {
        self.ending.into_values().for_each(|ending| ending.abort());
    }
}

impl Running {
    fn snapshot(&self) -> TargetSnapshot {
        TargetSnapshot {
            key: self.target.key.clone(),
            discovered: self.target.discovered.clone(),
            interval: self.target.interval,
            timeout: self.target.timeout,
            last: self.state.last(),
        }
    }
}

async fn take_updates(inner: Arc<Inner>, mut updates: mpsc::Receiver<Update>, mut room: watch::Receiver<()>) {
    loop {
        tokio::select! {
            Some(update) = updates.recv() => inner.set_groups(update),
            Ok(()) = room.changed() => {
                if inner.lock().refused == 0 {
                    continue;
                }
            }
            else => return,
        }
        while let Ok(update) = updates.try_recv() {
            inner.set_groups(update);
        }
        inner.sync();
        tokio::time::sleep(PACE).await;
    }
}

/// What the groups of a pool come to.
#[derive(Default)]
struct Found {
    targets: Vec<(TargetKey, Arc<Target>)>,
    dropped: Vec<Labels>,
    dropped_count: usize,
    failed: usize,
    first_failure: Option<String>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_groups(&self, update: Update) {
        if let Some(groups) = self.lock().groups.get_mut(update.index) {
            *groups = Some(update.groups);
        }
    }

    fn most_dropped(&self) -> usize {
        match self.context.job.limits.keep_dropped_targets {
            0 => self.context.shared.limits.targets,
            limit => limit.min(self.context.shared.limits.targets),
        }
    }

    /// Relabels everything that was found.
    fn find(&self, state: &State) -> Found {
        let job = &*self.context.job;
        let (mut found, most_dropped) = (Found::default(), self.most_dropped());
        let mut seen = HashMap::new();
        for group in state.groups.iter().flatten().flatten() {
            for labels in &group.targets {
                match populate(job, discovered(job, labels, group)) {
                    Populated::Target(target) => {
                        let key = target.key.clone();
                        seen.entry(key.clone())
                            .or_insert_with(|| found.targets.push((key, Arc::new(*target))));
                    }
                    Populated::Dropped(labels) => {
                        found.dropped_count += 1;
                        if found.dropped.len() < most_dropped {
                            found.dropped.push(labels);
                        }
                    }
                    Populated::Failed(message) => {
                        found.failed += 1;
                        found.first_failure.get_or_insert(message);
                    }
                }
            }
        }
        found
    }

    /// Makes what runs what discovery found.
    fn sync(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Found { targets, dropped, dropped_count, failed, first_failure } = self.find(state);
        self.tell_failures(state, failed, first_failure);
        self.check_target_limit(targets.len());
        (state.dropped, state.dropped_count) = (dropped, dropped_count);
        let mut refused = 0;
        let wanted: HashMap<TargetKey, Arc<Target>> = targets.into_iter().collect();
        if state.groups.iter().all(Option::is_some) {
            let gone: Vec<TargetKey> =
                state.active.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
            for key in gone {
                if let Some(running) = state.active.remove(&key) {
                    self.end_target(state, key, running);
                }
            }
        }
        for (key, target) in wanted {
            if let Some(ending) = state.ending.remove(&key) {
                ending.abort();
            }
            match state.active.remove(&key) {
                Some(running) => drop(state.active.insert(key, self.go_on(running, target))),
                None if self.may_start() => drop(state.active.insert(key, self.start_target(target))),
                None => refused += 1,
            }
        }
        state.ending.retain(|_, task| !task.is_finished());
        self.set_refused(state, refused);
        let found = state.groups.iter().flatten().flatten().map(|group| group.targets.len()).sum();
        let metrics = self.context.metrics.get();
        let job = Job { scrape_job: self.context.job.name.clone() };
        metrics.pool_syncs.get_or_create(&job).inc();
        metrics.pool_targets.get_or_create(&job).set(signed(state.active.len()));
        let by = DiscoveredBy { name: "scrape", config: self.context.job.name.clone() };
        metrics.discovered.get_or_create(&by).set(signed(found));
    }

    fn tell_failures(&self, state: &mut State, failed: usize, first: Option<String>) {
        let job = Job { scrape_job: self.context.job.name.clone() };
        self.context.metrics.get().sync_failed.get_or_create(&job).inc_by(failed as u64);
        if state.failure.observe(first.clone()).is_some()
            && let Some(error) = first
        {
            warn!(scrape_pool = job.scrape_job, failed, error, "Discovered targets cannot be scraped");
        }
    }

    fn check_target_limit(&self, targets: usize) {
        let limit = self.context.job.limits.targets;
        let exceeded = limit > 0 && targets > limit;
        if exceeded {
            self.context.metrics.get().exceeded_target_limit.inc();
        }
        let error = exceeded.then(|| {
            Arc::new(format!("target_limit exceeded (number of targets: {targets}, limit: {limit})"))
        });
        self.context.forced_error.store(error);
    }

    fn set_refused(&self, state: &mut State, refused: usize) {
        let difference = signed(refused) - signed(state.refused);
        self.context.metrics.get().refused_targets.inc_by(difference);
        if refused > 0 && state.refused == 0 {
            warn!(
                scrape_pool = self.context.job.name,
                refused,
                limit = self.context.shared.limits.targets,
                "Targets are not scraped because there are scrape.max_targets already"
            );
        }
        state.refused = refused;
    }

    /// Takes one of the places for targets.
    fn may_start(&self) -> bool {
        let most = self.context.shared.limits.targets;
        let place = |targets| (targets < most).then_some(targets + 1);
        self.context.shared.targets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).is_ok()
    }

    fn start_target(&self, target: Arc<Target>) -> Running {
        let state = TargetState::default();
        let pipeline = TargetLoop::pipeline(&self.context, &target, &state);
        let looped = TargetLoop::new(self.context.clone(), Arc::clone(&target), state.clone());
        let (stop, stopped) = watch::channel(false);
        Running { target, state, stop, task: tokio::spawn(looped.run(pipeline, stopped)), own: true }
    }

    /// A target that was found again: its loop goes on, or another one does with what it knew.
    fn go_on(&self, running: Running, target: Arc<Target>) -> Running {
        let before = &running.target;
        let same = before.interval == target.interval && before.timeout == target.timeout;
        if same && running.own && !running.task.is_finished() {
            return Running { target, ..running };
        }
        running.stop.send_replace(true);
        let (stop, stopped) = watch::channel(false);
        let (context, state) = (self.context.clone(), running.state.clone());
        let task = tokio::spawn({
            let target = Arc::clone(&target);
            async move {
                let left = running.task.await.ok().flatten();
                let mut pipeline = left.unwrap_or_else(|| TargetLoop::pipeline(&context, &target, &state));
                pipeline.adopt(Arc::clone(&context.job));
                TargetLoop::new(context, target, state).run(pipeline, stopped).await
            }
        });
        Running { target, state: running.state, stop, task, own: true }
    }

    /// Stops a target, and ends its series when its next scrape would have been due: until then another job, or
    /// the same one, may have found it again.
    fn end_target(&self, state: &mut State, key: TargetKey, running: Running) {
        self.context.shared.targets.fetch_sub(1, Ordering::Relaxed);
        self.context.shared.room.send_replace(());
        running.stop.send_replace(true);
        let (context, interval, target) = (self.context.clone(), running.target.interval, key.clone());
        let task = tokio::spawn(async move {
            // An append in progress comes first.
            let _ = running.task.await;
            tokio::time::sleep(interval).await;
            let at = (context.clock)();
            let ended = tasks::blocking(move || context.sink.end(&target, at));
            let _ = ended.await;
        });
        if let Some(before) = state.ending.insert(key, task.abort_handle()) {
            before.abort();
        }
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
