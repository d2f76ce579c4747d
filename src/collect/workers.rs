//! Threads that run collectors, off the async threads.
//!
//! One thread runs a whole pass, because a wake-up costs more than most collectors. Only when a pass
//! makes no headway does [`Workers::add_helper`] put another thread on the queue: concurrency where
//! something is slow, one context switch where nothing is. A thread stuck in a collector is simply
//! one less; a helper takes its place. Bound: `max_threads`; threads idle for long end.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(60);

/// A piece of work. Running it must not panic past the job: collectors are caught inside.
pub(super) trait Job: Send + 'static {
    /// Does it.
    fn run(self);
}

struct Queue<J> {
    jobs: VecDeque<J>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    wake: Condvar,
    max_threads: usize,
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool.
pub(super) struct Workers<J: Job> {
    shared: Arc<Shared<J>>,
}

impl<J: Job> Workers<J> {
    pub(super) fn new(max_threads: usize) -> Self {
        let queue = Queue { jobs: VecDeque::new(), threads: 0, idle: 0, closed: false };
        Self { shared: Arc::new(Shared { queue: Mutex::new(queue), wake: Condvar::new(), max_threads }) }
    }

    /// Queues the jobs and wakes one thread for all of them.
    pub(super) fn submit(&self, jobs: impl IntoIterator<Item = J>) {
        self.shared.lock().jobs.extend(jobs);
        self.add_helper();
    }

    /// Puts one more thread on the queue, unless it is empty or the bound is reached.
    pub(super) fn add_helper(&self) {
        let mut queue = self.shared.lock();
        if queue.jobs.is_empty() {
            return;
        }
        if queue.idle > 0 {
            self.shared.wake.notify_one();
        } else if queue.threads < self.shared.max_threads {
            queue.threads += 1;
            drop(queue);
            self.start_thread();
        }
    }

    /// Threads alive now, stuck ones included.
    pub(super) fn threads(&self) -> usize {
        self.shared.lock().threads
    }

    fn start_thread(&self) {
        let shared = Arc::clone(&self.shared);
        let started = std::thread::Builder::new().name("collect".into()).spawn(move || work(&shared));
        if let Err(error) = started {
            self.shared.lock().threads -= 1;
            tracing::error!(%error, "cannot start a collector thread; the pass goes on with those there are");
        }
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
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job.run();
            queue = shared.lock();
            continue;
        }
        if queue.closed {
            break;
        }
        queue.idle += 1;
        let (woken, wait) = shared.wake.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        queue.idle -= 1;
        if wait.timed_out() && queue.jobs.is_empty() {
            break;
        }
    }
    queue.threads -= 1;
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
        let workers = Workers::new(2);
        let (release, blocked) = mpsc::sync_channel(1);
        let (to, said) = mpsc::sync_channel(1);
        workers.submit([TestJob::Block(blocked), TestJob::Say(to.clone(), 1)]);
        workers.add_helper();
        assert_eq!(said.recv(), Ok(1));
        let (release_2, blocked_2) = mpsc::sync_channel(1);
        workers.submit([TestJob::Block(blocked_2), TestJob::Say(to, 2)]);
        workers.add_helper();
        assert_eq!(workers.threads(), 2);
        drop((release, release_2));
        assert_eq!(said.recv(), Ok(2));
    }
}
