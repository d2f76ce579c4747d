//! Asks many things that may hang - mounts, GPUs - on threads of its own.
//!
//! `statfs` on a dead network mount blocks, uninterruptibly, until the server answers - for ever, perhaps; a GPU
//! that fell off its bus can do the same to whoever asks its driver. So neither is asked on the caller's thread.
//! One kept thread asks all in turn, which is all that happens on a healthy machine; when a question has held
//! its thread for [`SLOW`], another thread goes on with the rest. Invariants:
//!
//! - a question that is still open is not asked again, and counts as timed out once it has been open for
//!   `timeout`: at most one thread a stuck question, [`MAX_THREADS`] in all;
//! - further questions of one group (mounts of one file system) are asked only after the first has been
//!   answered, so that a dead server with a thousand bind mounts holds one thread;
//! - a thread that returns from a stuck question ends, unless it is the only one.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// After this long on one mount a thread no longer counts as working.
const SLOW: Duration = Duration::from_millis(20);

/// Threads that share a count, stuck ones included.
pub(super) const MAX_THREADS: usize = 64;

/// Something to ask. Equal ones are the same question, also in later rounds.
pub(super) trait Question: Clone + PartialEq + Send + 'static {
    /// What is said to it.
    type Answer: Send + 'static;
    /// Only one of a group is asked until one has answered.
    type Group: Eq + Hash;

    /// Its group.
    fn group(&self) -> Self::Group;
}

/// Asks one; may block for ever.
pub(super) type Ask<Q> = dyn Fn(&Q) -> <Q as Question>::Answer + Send + Sync;

/// Threads of the probers of one kind, which outlive a reload.
pub(super) struct Threads {
    /// Their name.
    pub(super) name: &'static str,
    /// How many there are.
    pub(super) alive: AtomicUsize,
}

impl Threads {
    /// None yet.
    pub(super) const fn named(name: &'static str) -> Self {
        Self { name, alive: AtomicUsize::new(0) }
    }
}

/// A question of the current round.
struct Asked<Q: Question> {
    question: Q,
    answer: Option<Q::Answer>,
    /// The next one of the same group, in a chain from the first of it.
    sibling: Option<usize>,
}

/// A thread's question, of this round or an earlier one.
struct Open<Q> {
    question: Q,
    since: Instant,
    /// Index in the current round; `None` if that round is over.
    wanted_as: Option<usize>,
}

struct State<Q: Question> {
    round: Vec<Asked<Q>>,
    unanswered: usize,
    queue: VecDeque<usize>,
    open: Vec<Open<Q>>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared<Q: Question> {
    state: Mutex<State<Q>>,
    work: Condvar,
    answered: Condvar,
    ask: Box<Ask<Q>>,
    /// Threads of all probers: a new one, after a reload, must not add to those its predecessor left stuck.
    all: &'static Threads,
}

impl<Q: Question> Shared<Q> {
    fn lock(&self) -> MutexGuard<'_, State<Q>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads, and what they are still waiting for.
pub(super) struct Prober<Q: Question> {
    shared: Arc<Shared<Q>>,
    workers: usize,
    timeout: Duration,
}

impl<Q: Question> Prober<Q> {
    /// `workers` threads may work at once, besides those that a slow question holds.
    /// `all` counts the threads, and is shared by all probers of the process.
    pub(super) fn new(workers: usize, timeout: Duration, ask: Box<Ask<Q>>, all: &'static Threads) -> Self {
        let state = Mutex::new(State::new());
        let shared = Shared { state, work: Condvar::new(), answered: Condvar::new(), ask, all };
        Self { shared: Arc::new(shared), workers: workers.clamp(1, MAX_THREADS), timeout }
    }

    /// Asks at this place, on this thread: for questions that cannot keep it waiting.
    pub(super) fn ask_here(&self, question: &Q) -> Q::Answer {
        (self.shared.ask)(question)
    }

    /// Asks all; returns when each has answered or timed out, or at `until`. One answer per question, `None`
    /// where there was none in time.
    pub(super) fn ask(&self, questions: &[Q], until: Instant) -> Vec<Option<Q::Answer>> {
        let mut state = self.shared.lock();
        state.begin(questions);
        while state.unanswered > 0 {
            let now = Instant::now();
            let Some(wake) = state.next_event(now, self.timeout, self.can_grow()) else { break };
            if now >= until {
                break;
            }
            self.put_threads_to_work(&mut state, now);
            let wait = wake.min(until).saturating_duration_since(now);
            let woken = self.shared.answered.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.end()
    }

    fn can_grow(&self) -> bool {
        self.shared.all.alive.load(Ordering::Relaxed) < MAX_THREADS
    }

    fn put_threads_to_work(&self, state: &mut State<Q>, now: Instant) {
        if state.queue.is_empty() {
            return;
        }
        let slow = state.open.iter().filter(|open| now.duration_since(open.since) >= SLOW).count();
        if state.idle > 0 {
            self.shared.work.notify_one();
        } else if state.threads < self.workers + slow && self.can_grow() {
            let shared = Arc::clone(&self.shared);
            match std::thread::Builder::new().name(shared.all.name.into()).spawn(move || work(&shared)) {
                Ok(_) => {
                    state.threads += 1;
                    self.shared.all.alive.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => tracing::warn!(%error, thread = self.shared.all.name, "cannot start a thread"),
            }
        }
    }
}

impl<Q: Question> Drop for Prober<Q> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

impl<Q: Question> State<Q> {
    const fn new() -> Self {
        Self {
            round: Vec::new(),
            unanswered: 0,
            queue: VecDeque::new(),
            open: Vec::new(),
            threads: 0,
            idle: 0,
            closed: false,
        }
    }

    fn begin(&mut self, questions: &[Q]) {
        self.unanswered = questions.len();
        let mut last_of_group: FxHashMap<Q::Group, usize> = FxHashMap::default();
        for (at, question) in questions.iter().enumerate() {
            let open = self.open.iter_mut().find(|open| open.question == *question);
            let is_open = open.map(|open| open.wanted_as = Some(at)).is_some();
            match last_of_group.insert(question.group(), at) {
                Some(before) => {
                    if let Some(before) = self.round.get_mut(before) {
                        before.sibling = Some(at);
                    }
                }
                None if !is_open => self.queue.push_back(at),
                None => {}
            }
            self.round.push(Asked { question: question.clone(), answer: None, sibling: None });
        }
    }

    /// When to look again, or `None` if nothing more can be expected.
    fn next_event(&self, now: Instant, timeout: Duration, can_grow: bool) -> Option<Instant> {
        let in_time = |open: &&Open<Q>| open.since + timeout > now;
        if !self.queue.is_empty() {
            let headway = can_grow || self.idle > 0 || self.open.iter().any(|open| in_time(&open));
            return headway.then_some(now + SLOW);
        }
        let expected = self.open.iter().filter(|open| open.wanted_as.is_some()).filter(in_time);
        expected.map(|open| open.since + timeout).min()
    }

    fn end(&mut self) -> Vec<Option<Q::Answer>> {
        self.queue.clear();
        for open in &mut self.open {
            open.wanted_as = None;
        }
        self.round.drain(..).map(|asked| asked.answer).collect()
    }

    fn take(&mut self) -> Option<Q> {
        let at = self.queue.pop_front()?;
        let question = self.round.get(at)?.question.clone();
        self.open.push(Open { question: question.clone(), since: Instant::now(), wanted_as: Some(at) });
        Some(question)
    }

    /// Files the answer; its group is alive, so the others of it may be asked.
    fn answer(&mut self, question: &Q, answer: Q::Answer) {
        let Some(open) = self.open.iter().position(|open| open.question == *question) else { return };
        let Some(at) = self.open.swap_remove(open).wanted_as else { return };
        let Some(asked) = self.round.get_mut(at) else { return };
        asked.answer = Some(answer);
        self.unanswered -= 1;
        let mut next = asked.sibling.take();
        while let Some(at) = next {
            let Some(sibling) = self.round.get_mut(at) else { break };
            next = sibling.sibling.take();
            let question = &sibling.question;
            if sibling.answer.is_none() && !self.open.iter().any(|open| open.question == *question) {
                self.queue.push_back(at);
            }
        }
    }
}

fn work<Q: Question>(shared: &Shared<Q>) {
    let mut state = shared.lock();
    loop {
        if let Some(question) = state.take() {
            drop(state);
            let answer = (shared.ask)(&question);
            state = shared.lock();
            state.answer(&question, answer);
            if state.unanswered == 0 {
                shared.answered.notify_one();
            }
            continue;
        }
        // One thread is kept for the next round.
        if state.closed || state.idle > 0 {
            break;
        }
        state.idle += 1;
        state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
    }
    state.threads -= 1;
    shared.all.alive.fetch_sub(1, Ordering::Relaxed);
    shared.answered.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mount, by its number, path and device.
    #[derive(Clone, Debug, PartialEq)]
    struct Mount {
        id: u64,
        path: &'static str,
        device: u32,
    }

    impl Question for Mount {
        type Answer = ();
        type Group = u32;

        fn group(&self) -> u32 {
            self.device
        }
    }

    /// Gates in front of paths that start with `/stuck`; all others answer at once.
    #[derive(Default)]
    struct Gates {
        open: Mutex<bool>,
        changed: Condvar,
    }

    impl Gates {
        fn set(&self, open: bool) {
            *self.open.lock().unwrap() = open;
            self.changed.notify_all();
        }

        fn pass(&self, mount: &Mount) {
            if mount.path.starts_with("/stuck") {
                drop(self.changed.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
            }
        }
    }

    fn prober(gates: &Arc<Gates>) -> Prober<Mount> {
        let gates = Arc::clone(gates);
        let alive = Box::leak(Box::new(Threads::named("test")));
        Prober::new(1, Duration::from_millis(500), Box::new(move |mount| gates.pass(mount)), alive)
    }

    fn questions(paths: &[(&'static str, u32)]) -> Vec<Mount> {
        let question =
            |(id, (path, device)): (u64, &(&'static str, u32))| Mount { id, path, device: *device };
        (0..).zip(paths).map(question).collect()
    }

    /// `+` for an answer, `-` for none.
    fn ask(prober: &Prober<Mount>, questions: &[Mount]) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        prober.ask(questions, until).iter().map(|a| if a.is_some() { '+' } else { '-' }).collect()
    }

    fn threads(prober: &Prober<Mount>) -> usize {
        prober.shared.lock().threads
    }

    fn wait_until(prober: &Prober<Mount>, mut done: impl FnMut(&State<Mount>) -> bool) {
        let state = prober.shared.lock();
        let limit = Duration::from_secs(60);
        let (state, wait) = prober.shared.answered.wait_timeout_while(state, limit, |s| !done(s)).unwrap();
        assert!(!wait.timed_out(), "{} open, {} threads", state.open.len(), state.threads);
    }

    #[test]
    fn healthy_mounts_share_one_thread() {
        let prober = prober(&Arc::default());
        let questions = questions(&[("/", 1), ("/b", 2), ("/c", 1), ("/d", 1)]);
        for _ in 0..3 {
            assert_eq!(ask(&prober, &questions), "++++");
        }
        assert_eq!(ask(&prober, &[]), "");
        assert_eq!(threads(&prober), 1);
    }

    #[test]
    fn a_stuck_mount_costs_one_thread_and_no_other_mount_and_recovers() {
        let gates = Arc::default();
        let prober = prober(&gates);
        let questions = questions(&[("/stuck/a", 1), ("/", 2), ("/stuck/b", 3), ("/usr", 2)]);
        for _ in 0..5 {
            assert_eq!(ask(&prober, &questions), "-+-+");
        }
        assert_eq!(prober.shared.lock().open.len(), 2);
        assert!(threads(&prober) <= 3, "{}", threads(&prober));
        gates.set(true);
        wait_until(&prober, |s| s.open.is_empty() && s.threads == 1);
        assert_eq!(ask(&prober, &questions), "++++");
        gates.set(false);
        assert_eq!(ask(&prober, &questions), "-+-+", "stuck again");
        gates.set(true);
    }

    #[test]
    fn further_mounts_of_a_stuck_file_system_are_not_asked() {
        let gates = Arc::default();
        let prober = prober(&gates);
        let mut paths = vec![("/stuck/leader", 1)];
        paths.resize(1000, ("/stuck/bind", 1));
        paths.push(("/", 2));
        let questions = questions(&paths);
        let want = "-".repeat(1000) + "+";
        for _ in 0..3 {
            assert_eq!(ask(&prober, &questions), want);
        }
        assert!(threads(&prober) <= 2);
        gates.set(true);
        wait_until(&prober, |s| s.open.is_empty());
        assert_eq!(ask(&prober, &questions), "+".repeat(1001));
    }

    #[test]
    fn threads_are_bounded_whatever_is_stuck() {
        let gates = Arc::default();
        let prober = prober(&gates);
        let paths: Vec<_> = (0..200).map(|device| ("/stuck", device)).collect();
        let questions = questions(&paths);
        let until = Instant::now() + Duration::from_secs(60);
        assert!(prober.ask(&questions, until).iter().all(Option::is_none));
        assert_eq!(threads(&prober), MAX_THREADS);
        gates.set(true);
        wait_until(&prober, |s| s.threads == 1);
        assert_eq!(ask(&prober, &questions), "+".repeat(200));
    }

    #[test]
    fn a_new_mount_at_the_place_of_a_stuck_one_is_asked() {
        let gates = Arc::default();
        let prober = prober(&gates);
        let mut questions = questions(&[("/stuck", 1)]);
        assert_eq!(ask(&prober, &questions), "-");
        questions[0].id = 77;
        questions[0].device = 2;
        gates.set(true);
        assert_eq!(ask(&prober, &questions), "+");
    }

    #[test]
    fn the_end_of_the_pass_cuts_the_wait_short() {
        let gates = Arc::default();
        let mut prober = prober(&gates);
        prober.timeout = Duration::from_secs(3600);
        let questions = questions(&[("/stuck", 1)]);
        let until = Instant::now() + Duration::from_millis(10);
        assert!(prober.ask(&questions, until)[0].is_none());
        gates.set(true);
        assert_eq!(ask(&prober, &questions), "+", "the open question's answer is taken");
    }
}
