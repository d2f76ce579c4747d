//! Basic authentication against bcrypt hashes, at a bounded cost.
//!
//! Invariants: one hash is computed at a time, on a blocking thread, and few requests wait for that;
//! a scraper's good password is hashed once, however many wrong ones others try; an unknown user
//! costs as much as a known one; no password is kept, only a keyed digest of what was tried.
//!
//! Source: exporter-toolkit's handler; RFC 7617.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tasks;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

/// Digests kept of credentials that are right, and as many of those that are wrong.
const MAX_REMEMBERED: usize = 256;

/// Requests that wait for their turn to be hashed.
const MAX_WAITING: usize = 32;

/// Each step doubles the time: 18 are some 15 seconds for one login.
const HIGHEST_COST: u32 = 18;

/// `basic_auth_users`.
#[derive(Debug, Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, Arc<str>>,
    /// Hashed against for users that do not exist; matches no password.
    decoy: Arc<str>,
}

impl Users {
    /// Users with their bcrypt hashes, which [`check_hash`] has found good.
    pub(super) fn new(hashes: impl IntoIterator<Item = (String, String)>) -> Self {
        let hashes: BTreeMap<String, Arc<str>> = hashes.into_iter().map(|(u, h)| (u, h.into())).collect();
        let cost = hashes.values().filter_map(|hash| cost(hash)).max().unwrap_or(bcrypt::DEFAULT_COST);
        // 22 characters of salt and 31 of hash; a dot is a zero.
        let decoy = format!("$2b${cost:02}${}", ".".repeat(53)).into();
        Self { hashes, decoy }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

fn cost(hash: &str) -> Option<u32> {
    bcrypt::HashParts::from_str(hash).ok().map(|parts| parts.get_cost())
}

/// Whether this is a bcrypt hash that can be computed in reasonable time.
pub(super) fn check_hash(hash: &str) -> Result<(), String> {
    const EXAMPLE: &str = "not a bcrypt hash; make one with: htpasswd -nBC 10 \"\" | tr -d ':\\n'";
    // The parser of the crate takes slices at fixed places.
    let cost = Some(hash).filter(|hash| hash.is_ascii() && hash.len() == 60).and_then(cost).ok_or(EXAMPLE)?;
    if (4..=HIGHEST_COST).contains(&cost) {
        Ok(())
    } else {
        Err(format!("bcrypt cost {cost} is not within 4 to {HIGHEST_COST}"))
    }
}

/// What became of a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Refused,
    /// Too many are waiting to be checked.
    Busy,
}

/// Checks credentials and remembers what it found.
pub(super) struct Authenticator {
    key: hmac::Key,
    remembered: Mutex<Remembered>,
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Remembered {
    right: HashSet<Digest>,
    wrong: HashSet<Digest>,
}

type Digest = [u8; 32];

impl Authenticator {
    /// `None` if the system has no randomness to give.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self {
            key,
            remembered: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Whether the request comes from one of the users.
    pub(super) async fn check(&self, users: &Users, headers: &HeaderMap) -> Verdict {
        let Some((user, password)) = credentials(headers) else { return Verdict::Refused };
        let known = users.hashes.get(&user);
        let hash = known.unwrap_or(&users.decoy);
        let digest = self.digest(&user, hash, &password);
        if let Some(verdict) = self.recall(&digest) {
            return verdict;
        }
        let Some(_waiting) = Waiting::enter(&self.waiting) else { return Verdict::Busy };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return Verdict::Busy };
        // The same credentials may have been ahead in the queue.
        if let Some(verdict) = self.recall(&digest) {
            return verdict;
        }
        let hash = Arc::clone(hash);
        let work = tasks::blocking(move || {
            let matches = bcrypt::verify(&password, &hash).unwrap_or(false);
            // Held until here, also when the client has left: one hash at a time.
            drop(turn);
            matches
        });
        let Ok(matches) = work.await else { return Verdict::Busy };
        self.remember(digest, matches && known.is_some())
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, digest: &Digest) -> Option<Verdict> {
        let remembered = self.remembered();
        if remembered.right.contains(digest) {
            return Some(Verdict::Allowed);
        }
        remembered.wrong.contains(digest).then_some(Verdict::Refused)
    }

    fn remember(&self, digest: Digest, right: bool) -> Verdict {
        let mut remembered = self.remembered();
        // Apart, so that guessing does not push out what is right.
        let list = if right { &mut remembered.right } else { &mut remembered.wrong };
        if list.len() >= MAX_REMEMBERED {
            list.clear();
        }
        list.insert(digest);
        if right { Verdict::Allowed } else { Verdict::Refused }
    }

    /// The hash is part of it: a changed password makes the old one unknown.
    fn digest(&self, user: &str, hash: &str, password: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// A place in the queue for the hash.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// User and password of `Authorization: Basic`.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at_checked(colon)?;
    Some((String::from_utf8(user.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    fn basic(user_and_password: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(user_and_password)))
    }

    fn users() -> Users {
        Users::new([("ann".to_owned(), bcrypt::hash("s:cret", 4).unwrap())])
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_let_in() {
        let (users, authenticator) = (users(), Authenticator::new().unwrap());
        // Twice: the second answer is remembered and must be the same.
        for _ in 0..2 {
            for (given, verdict) in [
                (basic("ann:s:cret"), Verdict::Allowed),
                (headers(&format!("bAsIc {}", STANDARD.encode("ann:s:cret"))), Verdict::Allowed),
                (basic("ann:secret"), Verdict::Refused),
                (basic("ann:"), Verdict::Refused),
                (basic("bob:s:cret"), Verdict::Refused),
                (basic(":"), Verdict::Refused),
                (basic("ann"), Verdict::Refused),
                (headers("Basic"), Verdict::Refused),
                (headers("Basic !!!!"), Verdict::Refused),
                (headers("Bearer abc"), Verdict::Refused),
                (HeaderMap::new(), Verdict::Refused),
            ] {
                assert_eq!(authenticator.check(&users, &given).await, verdict, "{given:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_changed_password_ends_the_old_one() {
        let (before, authenticator) = (users(), Authenticator::new().unwrap());
        assert_eq!(authenticator.check(&before, &basic("ann:s:cret")).await, Verdict::Allowed);
        let after = Users::new([("ann".to_owned(), bcrypt::hash("new", 4).unwrap())]);
        assert_eq!(authenticator.check(&after, &basic("ann:s:cret")).await, Verdict::Refused);
    }

    #[tokio::test]
    async fn guessing_is_bounded_and_does_not_push_out_what_is_right() {
        let (users, authenticator) = (users(), Authenticator::new().unwrap());
        assert_eq!(authenticator.check(&users, &basic("ann:s:cret")).await, Verdict::Allowed);
        for guess in 0..MAX_REMEMBERED + 10 {
            assert_eq!(authenticator.check(&users, &basic(&format!("ann:{guess}"))).await, Verdict::Refused);
        }
        let remembered = authenticator.remembered();
        assert_eq!(remembered.right.len(), 1);
        assert!(remembered.wrong.len() <= MAX_REMEMBERED);
    }

    #[tokio::test]
    async fn few_wait_for_their_turn() {
        let (users, authenticator) = (users(), Authenticator::new().unwrap());
        let turn = Arc::clone(&authenticator.turn).acquire_owned().await.unwrap();
        let checks = async {
            let all = (0..MAX_WAITING + 5).map(|n| basic(&format!("ann:{n}"))).collect::<Vec<_>>();
            let mut waiting: Vec<_> = all.iter().map(|h| Box::pin(authenticator.check(&users, h))).collect();
            let mut busy = 0;
            for check in &mut waiting {
                let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(check.as_mut().poll(cx))).await;
                busy += usize::from(poll == std::task::Poll::Ready(Verdict::Busy));
            }
            busy
        };
        assert_eq!(checks.await, 5);
        drop(turn);
        assert_eq!(authenticator.check(&users, &basic("ann:s:cret")).await, Verdict::Allowed);
    }

    #[test]
    fn hashes_are_checked() {
        for good in [bcrypt::hash("x", 4).unwrap(), format!("$2y$10${}", ".".repeat(53))] {
            assert_eq!(check_hash(&good), Ok(()), "{good}");
        }
        let long = format!("$2y$31${}", ".".repeat(53));
        for bad in ["", "plain", "$1$abc", &"é".repeat(30), &"$".repeat(60), &long] {
            assert!(check_hash(bad).is_err(), "{bad}");
        }
        let decoy = Users::new([("a".to_owned(), bcrypt::hash("x", 5).unwrap())]).decoy;
        assert_eq!((check_hash(&decoy), cost(&decoy)), (Ok(()), Some(5)));
    }
}
