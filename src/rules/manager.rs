//! All groups: evaluated when they are due on a few threads, exchanged at a reload.
//!
//! Invariants: a reload is whole: the groups of before or those of after; what did not change goes on untouched.
//! Threads wait for the next slot and look at the clock at least every second, so that a clock that is set is noticed.
//!
//! Source: Prometheus `rules/manager.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{error, warn};

use super::context::RuleContext;
use super::group::Group;
use super::metrics::RuleMetrics;
use super::saved::Saved;
use super::spec::GroupSpec;
use crate::model::{ColdSort, Matcher, OutgoingAlert, Timestamp};
use crate::store::StateOp;

/// Groups evaluated at once: one more than would keep a single slow group from holding up the others.
const THREADS: usize = 2;

/// Longest wait without a look at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// Evaluates groups. Dropping it stops nothing; [`RuleManager::shutdown`] does.
#[derive(Debug)]
pub struct RuleManager {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stack_bytes: usize,
}

#[derive(Debug)]
struct Shared {
    clock: fn() -> Timestamp,
    context: ArcSwap<RuleContext>,
    metrics: RuleMetrics,
    groups: ArcSwap<Vec<Arc<Group>>>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    stopped: bool,
    restored: bool,
    waiting: Vec<Due>,
}

/// What happens when.
#[derive(Debug)]
enum Due {
    /// A group is evaluated.
    Evaluate { slot: Timestamp, group: Arc<Group> },
    /// The series of a group that was taken away at `gone_at` end.
    End { slot: Timestamp, key: String, gone_at: Timestamp },
}

impl Due {
    const fn slot(&self) -> Timestamp {
        match self {
            Self::Evaluate { slot, .. } | Self::End { slot, .. } => *slot,
        }
    }
}

impl RuleManager {
    /// Without groups yet, and without threads. `stack_bytes`: how much the deepest expression needs.
    pub fn new(
        context: RuleContext,
        clock: fn() -> Timestamp,
        metrics: RuleMetrics,
        stack_bytes: usize,
    ) -> Self {
        let shared = Shared {
            clock,
            context: ArcSwap::from_pointee(context),
            metrics,
            groups: ArcSwap::default(),
            queue: Mutex::default(),
            changed: Condvar::new(),
        };
        Self { shared: Arc::new(shared), threads: Mutex::default(), stack_bytes }
    }

    /// What rules are evaluated with now.
    pub fn context(&self) -> Arc<RuleContext> {
        self.shared.context.load_full()
    }

    /// The groups in force, by file and name.
    pub fn groups(&self) -> Arc<Vec<Arc<Group>>> {
        self.shared.groups.load_full()
    }

    /// All alerts that fire, as if they had ended at an instant: for a program that ends and wants nobody to wait.
    pub fn resolved_alerts(&self, at: Timestamp) -> Vec<OutgoingAlert> {
        let groups = self.groups();
        let rules = groups.iter().flat_map(|group| group.rules());
        let context = self.context();
        rules.flat_map(|rule| rule.resolved_alerts(at, &context)).collect()
    }

    /// The matchers of all that is kept for the long time because rules read it.
    pub fn selectors(&self) -> Vec<Vec<Matcher>> {
        let groups = self.groups();
        // Equal ones once: a thousand rules often read a few dozen metrics.
        let mut seen = BTreeSet::new();
        let all = groups.iter().flat_map(|group| group.spec().selectors_to_keep());
        all.filter(|set| seen.insert(format!("{set:?}"))).collect()
    }

    /// Makes these the groups; the durations are for those that have none of their own. At the first call what was
    /// saved is restored. Waits for evaluations of groups that change. Blocks.
    ///
    /// # Errors
    /// The system refuses a thread; then the groups are in force but are not evaluated.
    pub fn apply(
        &self,
        specs: Vec<GroupSpec>,
        interval: Duration,
        query_offset: Duration,
        context: RuleContext,
    ) -> std::io::Result<()> {
        let shared = &*self.shared;
        let now = (shared.clock)();
        shared.context.store(Arc::new(context));
        let before = self.groups();
        let mut old: BTreeMap<&str, &Arc<Group>> = before.iter().map(|group| (group.key(), group)).collect();
        let (mut groups, mut fresh, mut changes) = (Vec::with_capacity(specs.len()), Vec::new(), Vec::new());
        for spec in specs {
            let known = old.remove(spec.key().as_str());
            if let Some(known) = known.filter(|known| known.is_same(&spec, interval, query_offset)) {
                groups.push(Arc::clone(known));
                continue;
            }
            let group = Arc::new(Group::new(spec, interval, query_offset));
            if let Some(known) = known {
                changes.extend(group.take_state(known));
            }
            fresh.push(Arc::clone(&group));
            groups.push(group);
        }
        groups.cold_sort_by(|a, b| (&a.spec().file, &a.spec().name).cmp(&(&b.spec().file, &b.spec().name)));
        changes.extend(self.restore_once(&groups, now));
        let mut gone = Vec::new();
        for group in old.into_values() {
            changes.extend(group.retire());
            // A group that was renamed has then had the time to go on with its series.
            let slot = now.plus(group.interval().saturating_mul(2));
            gone.push(Due::End { slot, key: group.key().to_owned(), gone_at: now });
        }
        shared.forget(changes);
        shared.metrics.set_groups(groups.clone());
        shared.groups.store(Arc::new(groups));
        let mut queue = shared.queue();
        let is_in_force = |due: &Due| match due {
            Due::Evaluate { group, .. } => shared.is_in_force(group),
            Due::End { .. } => true,
        };
        queue.waiting.retain(is_in_force);
        queue.waiting.extend(gone);
        let due = |group: Arc<Group>| Due::Evaluate { slot: group.slots().after(now), group };
        queue.waiting.extend(fresh.into_iter().map(due));
        let idle = queue.waiting.is_empty();
        drop(queue);
        shared.changed.notify_all();
        if idle { Ok(()) } else { self.start_threads() }
    }

    fn restore_once(&self, groups: &[Arc<Group>], now: Timestamp) -> Vec<StateOp> {
        if std::mem::replace(&mut self.shared.queue().restored, true) {
            return Vec::new();
        }
        let mut saved = Saved::default();
        let context = self.context();
        if let Err(error) = context.storage.saved(&mut |key, value| saved.add(key, value)) {
            error!(error, "Alerts of before cannot be read; all begin anew");
            return Vec::new();
        }
        if saved.unreadable > 0 {
            warn!(rows = saved.unreadable, "Some alerts of before cannot be read");
        }
        groups.iter().for_each(|group| group.restore(&mut saved, now, &context.timing));
        saved.forget_rest()
    }

    fn start_threads(&self) -> std::io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < THREADS {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("rules".to_owned()).stack_size(self.stack_bytes);
            threads.push(builder.spawn(move || shared.work())?);
        }
        Ok(())
    }

    /// Stops. Evaluations that run are ended; what they had begun to keep is kept. Series do not end: a restart goes
    /// on. Blocks.
    pub fn shutdown(&self) {
        self.shared.queue().stopped = true;
        self.shared.changed.notify_all();
        self.context().cancel.cancel();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                error!("A thread that evaluates rules has panicked; please report this");
            }
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_force(&self, group: &Arc<Group>) -> bool {
        self.groups.load().iter().any(|other| Arc::ptr_eq(other, group))
    }

    fn forget(&self, changes: Vec<StateOp>) {
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.context.load().storage.forget(changes) {
            warn!(error, "Alerts of rules that are gone were not forgotten; they are at the next start");
        }
    }

    /// What a thread does.
    fn work(&self) {
        while let Some(due) = self.next() {
            match due {
                Due::Evaluate { slot, group } => self.evaluate(slot, group),
                Due::End { key, gone_at, .. } => {
                    let back = self.groups.load().iter().any(|group| group.key() == key);
                    if !back && let Err(error) = self.context.load().storage.end(&key, gone_at) {
                        warn!(group = key, error, "Series of a group that is gone were not ended");
                    }
                }
            }
        }
    }

    /// Waits for what is due; `None` when it is time to stop.
    fn next(&self) -> Option<Due> {
        let mut queue = self.queue();
        loop {
            if queue.stopped {
                return None;
            }
            let now = (self.clock)();
            for due in &mut queue.waiting {
                if let Due::Evaluate { slot, group } = due
                    && group.slots().is_beyond(*slot, now)
                {
                    *slot = group.slots().after(now);
                }
            }
            let first = queue.waiting.iter().enumerate().min_by_key(|(_, due)| due.slot());
            let wait = match first.map(|(at, due)| (at, due.slot())) {
                Some((at, slot)) if slot <= now => return Some(queue.waiting.swap_remove(at)),
                Some((_, slot)) => slot.since(now).min(LOOK),
                None => LOOK,
            };
            (queue, _) = self.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn evaluate(&self, slot: Timestamp, group: Arc<Group>) {
        let now = (self.clock)();
        let (slot, missed) = group.slots().catch_up(slot, now);
        let context = self.context.load_full();
        self.metrics.due(&group, missed);
        let evaluate = || group.evaluate(slot, now, &context, &self.metrics);
        // A thread must outlive whatever a single rule can do to it.
        if std::panic::catch_unwind(AssertUnwindSafe(evaluate)).is_err() {
            error!(group = group.key(), "Evaluating a group has panicked; please report this");
        }
        let mut queue = self.queue();
        if self.is_in_force(&group) {
            queue.waiting.push(Due::Evaluate { slot: group.slots().next(slot), group });
        }
        drop(queue);
        self.changed.notify_one();
    }
}
