//! Addresses of names, as the system finds them: `getaddrinfo` on threads of its own.
//!
//! It may hang for as long as resolv.conf says, also when nobody waits any more. Hence the invariants: a thread counts
//! until its answer is there; a name is looked up once at a time, and all who want it share the answer; names that took
//! long the last time get only half of the threads, so that a zone whose servers are gone leaves room for the others.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::tasks;

/// Lookups at a time, those that hang included.
const MOST: usize = 32;

/// Of these, lookups of names that took long the last time.
const MOST_SLOW: usize = MOST / 2;

/// What takes as long as this took long.
const SLOW: Duration = Duration::from_secs(1);

/// Names that are known to take long.
const MOST_KNOWN: usize = 1_024;

/// Most addresses of a name that are of use.
const MOST_ADDRESSES: usize = 64;

/// What `getaddrinfo` needs, and the modules that it loads.
const STACK_BYTES: usize = 1 << 20;

/// How often it is asked anew where an answer was lost: whoever began the lookup gave up in the same instant.
const TRIES: usize = 3;

type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;
type Find = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

static LOOKUPS: LazyLock<Arc<Lookups>> = LazyLock::new(|| {
    Lookups::new(MOST, SLOW, |host| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
});

/// The addresses of a name, in the order in which they are to be tried.
///
/// # Errors
/// It has none, or nobody can tell.
pub async fn lookup(host: &str) -> Answer {
    LOOKUPS.of(host).await
}

struct Lookups {
    find: Find,
    slow: Duration,
    turns: Arc<Semaphore>,
    slow_turns: Arc<Semaphore>,
    /// What is asked now; who waits has subscribed.
    asked: Mutex<HashMap<String, watch::Sender<Option<Answer>>>>,
    known_slow: Mutex<VecDeque<String>>,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("turns", &self.turns).finish_non_exhaustive()
    }
}

impl Lookups {
    fn new(
        most: usize,
        slow: Duration,
        find: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            find: Box::new(find),
            slow,
            turns: Arc::new(Semaphore::new(most)),
            slow_turns: Arc::new(Semaphore::new(most * MOST_SLOW / MOST)),
            asked: Mutex::default(),
            known_slow: Mutex::default(),
        })
    }

    async fn of(self: &Arc<Self>, host: &str) -> Answer {
        for _ in 0..TRIES {
            let mut answer = self.ask(host);
            if let Ok(answer) = answer.wait_for(Option::is_some).await
                && let Some(answer) = &*answer
            {
                return answer.clone();
            }
        }
        Err(Arc::new(io::Error::other("the lookup ended too early")))
    }

    /// Joins those who ask for a name, or is the first of them.
    fn ask(self: &Arc<Self>, host: &str) -> watch::Receiver<Option<Answer>> {
        let mut asked = lock(&self.asked);
        if let Some(others) = asked.get(host) {
            return others.subscribe();
        }
        let (tell, answer) = watch::channel(None);
        asked.insert(host.to_owned(), tell.clone());
        let place = Place { lookups: Arc::clone(self), host: host.to_owned() };
        tasks::spawn(place.answer(tell));
        answer
    }

    fn is_slow(&self, host: &str) -> bool {
        lock(&self.known_slow).iter().any(|known| known == host)
    }

    fn remember(&self, host: &str, slow: bool) {
        let mut known = lock(&self.known_slow);
        known.retain(|other| other != host);
        if slow {
            if known.len() >= MOST_KNOWN {
                known.pop_front();
            }
            known.push_back(host.to_owned());
        }
    }
}

/// A name's place among those that are asked; free again when this is dropped.
struct Place {
    lookups: Arc<Lookups>,
    host: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.lookups.asked).remove(&self.host);
    }
}

impl Place {
    async fn answer(self, tell: watch::Sender<Option<Answer>>) {
        let lookups = Arc::clone(&self.lookups);
        let turns = async {
            let slow = match lookups.is_slow(&self.host) {
                true => Some(Arc::clone(&lookups.slow_turns).acquire_owned().await),
                false => None,
            };
            (slow, Arc::clone(&lookups.turns).acquire_owned().await)
        };
        let turns = tokio::select! {
            biased;
            turns = turns => turns,
            // Nobody waits any more.
            () = tell.closed() => return,
        };
        let answers = tell.clone();
        let thread = std::thread::Builder::new().name("lookup".to_owned()).stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || {
            let began = Instant::now();
            let found = (self.lookups.find)(&self.host);
            self.lookups.remember(&self.host, began.elapsed() >= self.lookups.slow);
            // Who asks from now on is to ask anew.
            drop(self);
            let first = |all: Vec<IpAddr>| all.into_iter().take(MOST_ADDRESSES).collect();
            answers.send_replace(Some(found.map(first).map_err(Arc::new)));
            drop(turns);
        });
        if let Err(error) = spawned {
            tell.send_replace(Some(Err(Arc::new(error))));
        }
    }
}

/// The mutexes guard plain values, which no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    use super::*;

    /// Names with `dead` in them hang until told otherwise; the first letter tells the address of others. Also who was
    /// asked for.
    fn fake(most: usize, slow: Duration) -> (Arc<Lookups>, mpsc::SyncSender<()>, Arc<Mutex<Vec<String>>>) {
        let (go_on, wait) = mpsc::sync_channel(8);
        let (wait, seen) = (Mutex::new(wait), Arc::<Mutex<Vec<String>>>::default());
        let seeing = Arc::clone(&seen);
        let lookups = Lookups::new(most, slow, move |host| {
            lock(&seeing).push(host.to_owned());
            if host.contains("dead") {
                let _ = lock(&wait).recv();
                return Err(io::Error::other("gone"));
            }
            Ok(vec![Ipv4Addr::from(u32::from(host.as_bytes()[0])).into(); 100])
        });
        (lookups, go_on, seen)
    }

    async fn asked(seen: &Mutex<Vec<String>>, count: usize) {
        while lock(seen).len() < count {
            tokio::task::yield_now().await;
        }
    }

    /// Polls once: the lookup is begun, and whoever asked has gone.
    async fn begin(lookups: &Arc<Lookups>, host: &str) {
        tokio::select! {
            biased;
            _ = lookups.of(host) => {}
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_want_it() {
        let (lookups, go_on, seen) = fake(2, SLOW);
        let others: Vec<_> = (0..5)
            .map(|_| {
                let lookups = Arc::clone(&lookups);
                tokio::spawn(async move { lookups.of("dead").await })
            })
            .collect();
        asked(&seen, 1).await;
        assert_eq!(lookups.of("a").await.unwrap().len(), MOST_ADDRESSES);
        go_on.send(()).unwrap();
        for other in others {
            assert_eq!(other.await.unwrap().unwrap_err().to_string(), "gone");
        }
        assert_eq!(*lock(&seen), ["dead", "a"]);
        assert!(lock(&lookups.asked).is_empty());
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_the_lookup() {
        let (lookups, go_on, seen) = fake(2, SLOW);
        for host in ["dead1", "dead2", "dead2"] {
            begin(&lookups, host).await;
        }
        asked(&seen, 2).await;
        // Both hang, though nobody waits for them; a third waits, and does not once nobody wants it.
        begin(&lookups, "a").await;
        while lock(&lookups.asked).len() > 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!((lookups.turns.available_permits(), lock(&seen).len()), (0, 2));
        go_on.send(()).unwrap();
        lookups.of("a").await.unwrap();
        assert_eq!(lock(&seen).len(), 3);
    }

    #[tokio::test]
    async fn names_that_take_long_leave_room_for_others() {
        let (lookups, go_on, seen) = fake(4, Duration::ZERO);
        for at in 0..3 {
            go_on.send(()).unwrap();
            lookups.of(&format!("dead{at}")).await.unwrap_err();
        }
        let waiting: Vec<_> = (0..3)
            .map(|at| {
                let lookups = Arc::clone(&lookups);
                tokio::spawn(async move { lookups.of(&format!("dead{at}")).await })
            })
            .collect();
        asked(&seen, 5).await;
        lookups.of("b").await.unwrap();
        assert_eq!((lookups.slow_turns.available_permits(), lock(&seen).len()), (0, 6));
        for _ in 0..3 {
            go_on.send(()).unwrap();
        }
        for waiting in waiting {
            waiting.await.unwrap().unwrap_err();
        }
        // One that is quick again counts as such.
        lookups.remember("dead0", false);
        assert!(!lookups.is_slow("dead0") && lookups.is_slow("dead1"));
    }
}
