//! Threads that run collectors, off the async threads.
//!
//! One thread runs a whole pass, because a wake-up costs more than most collectors. Only when a pass
//! makes no headway does [`Workers::add_helper`] put another thread on the queue: concurrency where
//! something is slow, one context switch where nothing is. A thread stuck in a collector is simply
//! one less; a helper takes its place. Bounds: `max_threads` over all pools that count in the same
//! gauge; a queue that holds one pass at most. Threads idle for long end.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(60);

/// A piece of work. Running it must not panic past the job: collectors are caught inside.
pub(super) trait Job: Send + 'static {
    /// Does it.
    fn run(self);
}

struct Queue<J> {
    jobs: VecDeque<J>,
    idle: usize,
    /// Threads that have been started and have not looked at the queue yet; on a busy machine that takes
    /// longer than the next call for help.
    starting: usize,
    closed: bool,
}

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    wake: Condvar,
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool.
pub(super) struct Workers<J: Job> {
    shared: Arc<Shared<J>>,
    max_threads: usize,
    threads: Gauge,
}

impl<J: Job> Workers<J> {
    /// No thread yet; at most `max_threads` of all that `threads` counts, others' included.
    pub(super) fn new(max_threads: usize, threads: Gauge) -> Self {
        let queue = Queue { jobs: VecDeque::new(), idle: 0, starting: 0, closed: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), wake: Condvar::new() });
        Self { shared, max_threads, threads }
    }

    /// Queues the jobs and wakes one thread for all of them. Jobs still queued from before, because
    /// every thread is stuck, have lost their purpose and are dropped.
    pub(super) fn submit(&self, jobs: impl IntoIterator<Item = J>) {
        let mut queue = self.shared.lock();
        queue.jobs.clear();
        queue.jobs.extend(jobs);
        self.put_one_more_on(queue);
    }

    /// Puts one more thread on the queue, unless it is empty, one is on its way, or the bound is reached.
    pub(super) fn add_helper(&self) {
        self.put_one_more_on(self.shared.lock());
    }

    fn put_one_more_on(&self, mut queue: MutexGuard<'_, Queue<J>>) {
        if queue.jobs.is_empty() || queue.starting > 0 {
            return;
        }
        if queue.idle > 0 {
            // Or the thread would wake only to wait for the lock.
            drop(queue);
            self.shared.wake.notify_one();
            return;
        }
        if let Some(alive) = Alive::one_more(&self.threads, self.max_threads) {
            queue.starting += 1;
            drop(queue);
            self.start_thread(alive);
        }
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.shared.lock().jobs.len()
    }

    fn start_thread(&self, alive: Alive) {
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let _alive = alive;
            work(&shared);
        };
        if let Err(error) = std::thread::Builder::new().name("collect".into()).spawn(work) {
            self.shared.lock().starting -= 1;
            tracing::error!(%error, "cannot start a collector thread; the pass goes on with those there are");
        }
    }
}

/// A thread, counted until this is dropped, also by a panic.
struct Alive(Gauge);

impl Alive {
    fn one_more(threads: &Gauge, most: usize) -> Option<Self> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let count = threads.inner();
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1)).ok()?;
        Some(Self(threads.clone()))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<J: Job> Drop for Workers<J> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.wake.notify_all();
    }
}

fn work<J: Job>(shared: &Shared<J>) {
    let mut queue = shared.lock();
    queue.starting -= 1;
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job.run();
            queue = shared.lock();
            continue;
        }
        if queue.closed {
            return;
        }
        queue.idle += 1;
        let (woken, wait) = shared.wake.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        queue.idle -= 1;
        if wait.timed_out() && queue.jobs.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    enum TestJob {
        Say(mpsc::SyncSender<u32>, u32),
        Block(mpsc::Receiver<()>),
    }

    impl Job for TestJob {
        fn run(self) {
            match self {
                Self::Say(to, n) => drop(to.send(n)),
                Self::Block(until) => drop(until.recv()),
            }
        }
    }

    #[test]
    fn a_blocked_thread_is_replaced_within_the_bound() {
        let threads = Gauge::default();
        let workers = Workers::new(2, threads.clone());
        let (release, blocked) = mpsc::sync_channel(1);
        let (to, said) = mpsc::sync_channel(1);
        workers.submit([TestJob::Block(blocked), TestJob::Say(to.clone(), 1)]);
        // One thread at a time is on its way, so help is asked for again, as a pass does.
        while said.try_recv() != Ok(1) {
            workers.add_helper();
            std::thread::yield_now();
        }
        let (release_2, blocked_2) = mpsc::sync_channel(1);
        workers.submit([TestJob::Block(blocked_2), TestJob::Say(to, 2)]);
        workers.add_helper();
        assert_eq!(threads.get(), 2);
        drop((release, release_2));
        assert_eq!(said.recv(), Ok(2));
    }
}
