//! The manager: threads, reload, the end of groups. The clock is the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::testing::*;
use super::*;
use crate::model::{Labels, METRIC_NAME, Queryable, Row, Select, Timestamp};
use crate::store::{Store, StoreConfig};

/// The clock of the one test here.
static NOW_MS: AtomicI64 = AtomicI64::new(1_000_000);

fn now() -> Timestamp {
    Timestamp::from_millis(NOW_MS.load(Ordering::SeqCst))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

const TWO: &str = "groups:\n- name: a\n  interval: 10s\n  rules:\n  - {record: x, expr: m}\n- name: b\n  interval: 10s\n  rules:\n  - {alert: A, expr: m, for: 1h}\n";

#[test]
fn groups_are_evaluated_when_due_and_exchanged_at_a_reload() {
    let store = Store::open(StoreConfig::default(), now()).unwrap();
    let (context, _) = context(Arc::new(store.clone()));
    let manager = RuleManager::new(context.clone(), now, RuleMetrics::default(), 8 << 20);
    let apply = |text: &str| {
        manager.apply(groups(text), 60 * SECOND, Duration::ZERO, context.clone()).unwrap();
    };
    let sample = || {
        let labels = Labels::from_pairs([(METRIC_NAME, "m")]);
        store.source("m").append(now(), &[Row { labels, value: 1.0, timestamp: None }]).unwrap();
    };
    let advance = |seconds: i64| {
        NOW_MS.fetch_add(seconds * 1_000, Ordering::SeqCst);
        sample();
    };
    let last = |at: usize| manager.groups()[at].last_evaluation();
    sample();
    apply(TWO);
    assert_eq!(
        manager.groups().iter().map(|g| g.key().to_owned()).collect::<Vec<_>>(),
        ["r.yml;a", "r.yml;b"]
    );
    assert_eq!(manager.selectors().len(), 1);
    advance(10);
    until("both groups are evaluated", || last(0).is_some() && last(1).is_some());
    assert!(last(0) > Some(Timestamp::from_millis(1_000_000)) && last(0) <= Some(now()));

    // Slots that were slept through are skipped: one evaluation, at the last of them.
    let before = last(0).unwrap();
    advance(35);
    until("the last slot is taken", || last(0).is_some_and(|at| now().since(at) < 10 * SECOND));
    assert_eq!(last(0).unwrap().since(before).as_millis() % 10_000, 0);
    until("group b has caught up", || last(1).is_some_and(|at| now().since(at) < 10 * SECOND));

    // What is the same is the very same; what changed keeps its alerts.
    let alert = |groups: &[Arc<Group>]| groups.last().unwrap().rules()[0].status().alerts[0].active_at;
    let (kept, active_at) = (Arc::clone(&manager.groups()[0]), alert(&manager.groups()));
    apply(&TWO.replace("for: 1h", "for: 2h"));
    assert!(Arc::ptr_eq(&kept, &manager.groups()[0]));
    assert_eq!(alert(&manager.groups()), active_at);

    // A group that is gone: its series end after two intervals, as of when it was taken away.
    let gone_at = now();
    apply("groups:\n- name: b\n  interval: 10s\n  rules:\n  - {alert: A, expr: m, for: 2h}\n");
    let stale = || {
        let matchers = [crate::model::Matcher::equal(METRIC_NAME, "x")];
        let found = store.select(&Select { matchers: &matchers, from: gone_at, to: gone_at }).unwrap();
        !found.is_empty()
    };
    assert!(!stale());
    advance(21);
    until("the series of the group have ended", stale);

    // The clock is set back by an hour: groups go on from there, and are not silent for an hour.
    NOW_MS.fetch_sub(3_600_000, Ordering::SeqCst);
    let mut moved = Instant::now();
    until("the group is evaluated at the new time", || {
        // It goes on once the threads have had the time to look at it.
        if moved.elapsed() > Duration::from_secs(2) {
            advance(10);
            moved = Instant::now();
        }
        last(0).is_some_and(|at| at <= now())
    });
    manager.shutdown();
}
