//! The engine against collectors that hang, panic, fail and flood.

use super::*;
use crate::collect::Collector;
use std::sync::{Condvar, OnceLock};

const NOW: Timestamp = Timestamp::from_millis(1_000);

struct Fake(fn(&mut Batch) -> Result<(), CollectError>);

impl Collector for Fake {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        (self.0)(out)
    }
}

macro_rules! fake {
    ($name:literal, $collect:expr) => {{
        static SPEC: Spec = Spec {
            name: $name,
            on_by_default: true,
            help: "",
            flags: &[],
            build: |_, _| Ok(Box::new(Fake($collect))),
        };
        &SPEC
    }};
}

fn good() -> &'static Spec {
    fake!("good", |out| {
        out.gauge("good", "Good.", &[], 1.0);
        Ok(())
    })
}

fn engine(specs: Vec<&'static Spec>, change: impl Fn(&mut EngineConfig)) -> Engine {
    let mut config = EngineConfig { min_interval: Duration::ZERO, ..EngineConfig::default() };
    change(&mut config);
    Engine::with_specs(specs.into_iter(), config).unwrap()
}

fn value(snapshot: &Snapshot, name: &str, collector: &str) -> Option<f64> {
    let family = snapshot.families().find(|f| f.name() == name)?;
    let found = family.samples().find(|s| s.labels().get("collector").is_none_or(|c| c == collector));
    found.map(|s| s.value())
}

fn success(snapshot: &Snapshot, collector: &str) -> Option<f64> {
    value(snapshot, "node_scrape_collector_success", collector)
}

fn threads(engine: &Engine) -> i64 {
    engine.own().stats().threads().get()
}

/// Gathers with little time until the collector `good` got its turn: on a busy machine a thread may
/// take longer to start than a pass lasts.
async fn gather_until_good(engine: &Engine) -> Arc<Snapshot> {
    loop {
        let snapshot = engine.gather(NOW, &Selection::All, Duration::from_millis(30)).await;
        if success(&snapshot, "good") == Some(1.0) {
            return snapshot;
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

/// A door that collectors of one test wait at.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn wait(&self) {
        let mut open = self.0.lock().unwrap();
        while !*open {
            open = self.1.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

#[tokio::test]
async fn a_collector_that_hangs_is_left_behind_once_and_taken_back() {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let door = DOOR.get_or_init(Door::default);
    let hung = fake!("a_hung", |out| {
        DOOR.get_or_init(Door::default).wait();
        out.gauge("hung", "Hung.", &[], 1.0);
        Ok(())
    });
    let engine = engine(vec![hung, good()], |_| {});
    for _ in 0..20 {
        let snapshot = gather_until_good(&engine).await;
        assert_eq!(success(&snapshot, "a_hung"), Some(0.0));
        assert_eq!(value(&snapshot, "hung", ""), None);
        assert_eq!(value(&snapshot, "good", ""), Some(1.0));
    }
    // One stuck, one or two at work; on a busy machine some more, which were late. Not one a pass.
    assert!(threads(&engine) < 10, "{}", threads(&engine));
    door.open();
    loop {
        let snapshot = engine.gather(NOW, &Selection::All, LONG).await;
        if success(&snapshot, "a_hung") == Some(1.0) {
            assert_eq!(value(&snapshot, "hung", ""), Some(1.0));
            break;
        }
    }
}

#[tokio::test]
async fn a_shorter_budget_cuts_a_running_pass_short() {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let hung = fake!("hung", |_| {
        DOOR.get_or_init(Door::default).wait();
        Ok(())
    });
    let engine = engine(vec![hung, good()], |c| c.timeout = LONG);
    let patient = engine.gather(NOW, &Selection::All, LONG);
    let (patient, hasty) = tokio::join!(patient, gather_until_good(&engine));
    // Nobody opened the door: only the other's haste can have ended the patient one's pass.
    for snapshot in [patient, hasty] {
        assert_eq!(success(&snapshot, "hung"), Some(0.0));
    }
    DOOR.get_or_init(Door::default).open();
}

#[tokio::test]
async fn help_comes_also_while_requests_keep_coming() {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let waits = fake!("a_waits", |_| {
        DOOR.get_or_init(Door::default).wait();
        Ok(())
    });
    // Behind the other in the queue, so that it takes a second thread.
    let opens = fake!("opens", |_| {
        DOOR.get_or_init(Door::default).open();
        Ok(())
    });
    let engine = engine(vec![waits, opens], |c| c.timeout = LONG);
    let crowd = async {
        loop {
            let ticket = engine.waiting.enter(Instant::now() + LONG);
            tokio::task::yield_now().await;
            drop(ticket);
        }
    };
    tokio::select! {
        snapshot = engine.gather(NOW, &Selection::All, LONG) => {
            assert_eq!((success(&snapshot, "a_waits"), success(&snapshot, "opens")), (Some(1.0), Some(1.0)));
        }
        () = crowd => {}
    }
}

#[tokio::test]
async fn a_panic_and_an_error_cost_only_their_own() {
    let panics = fake!("panics", |_| panic!("on purpose"));
    let fails = fake!("fails", |out| {
        out.gauge("partial", "Kept.", &[], 7.0);
        Err(CollectError::Other("broken".to_owned()))
    });
    let empty = fake!("empty", |_| Err(CollectError::NoData("not on this machine".to_owned())));
    let engine = engine(vec![empty, fails, good(), panics], |_| {});
    for _ in 0..2 {
        let snapshot = engine.gather(NOW, &Selection::All, LONG).await;
        for (name, want) in [("empty", 0.0), ("fails", 0.0), ("good", 1.0), ("panics", 0.0)] {
            assert_eq!(success(&snapshot, name), Some(want), "{name}");
        }
        assert_eq!(value(&snapshot, "partial", ""), Some(7.0));
    }
    for (name, want) in [("empty", 0), ("fails", 2), ("good", 0), ("panics", 2)] {
        assert_eq!(engine.own().stats().errors(name), want, "{name}");
    }
}

#[tokio::test]
async fn scrapes_within_the_interval_share_a_pass_and_its_subset() {
    let other = fake!("other", |out| {
        out.gauge("other", "Other.", &[], 1.0);
        Ok(())
    });
    let engine = engine(vec![good(), other], |c| c.min_interval = LONG);
    let first = engine.gather(NOW, &Selection::All, LONG).await;
    let second = engine.gather(NOW.plus(LONG), &Selection::All, LONG).await;
    assert!(Arc::ptr_eq(&first, &second));
    let only = Selection::Only(BTreeSet::from(["good"]));
    let subset = engine.gather(NOW, &only, LONG).await;
    assert_eq!((value(&subset, "good", ""), value(&subset, "other", "")), (Some(1.0), None));
    assert_eq!(success(&subset, "other"), None);
    assert_eq!(engine.own().stats().passes(), 1);
}

#[tokio::test]
async fn requests_that_wait_for_one_pass_share_the_next() {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let door = DOOR.get_or_init(Door::default);
    let slow = fake!("slow", |_| {
        DOOR.get_or_init(Door::default).wait();
        Ok(())
    });
    let engine = engine(vec![slow], |c| c.timeout = LONG);
    let request = || engine.gather(NOW, &Selection::All, LONG);
    let open_when_all_wait = async {
        while engine.waiting.subscribe().borrow().by_ticket.len() < 5 {
            tokio::task::yield_now().await;
        }
        door.open();
    };
    tokio::join!(request(), request(), request(), request(), request(), open_when_all_wait);
    assert_eq!((engine.own().stats().passes(), engine.own().stats().shared()), (2, 3));
    request().await;
    assert_eq!(engine.own().stats().passes(), 3, "one that comes later is answered afresh");
}

#[tokio::test]
async fn our_own_part_is_in_every_selection_and_survives_a_reload() {
    let own = Arc::<Own>::default();
    for (passes_before, interval) in [(0.0, LONG), (1.0, LONG), (2.0, Duration::ZERO)] {
        let engine = engine(vec![good()], |c| {
            c.own = Arc::clone(&own);
            c.min_interval = interval;
        });
        let none = Selection::Only(BTreeSet::new());
        for selection in [&Selection::All, &none] {
            let snapshot = engine.gather(NOW, selection, LONG).await;
            let passes = value(&snapshot, "outrigger_collect_passes_total", "");
            let made_anew = *selection == none && interval.is_zero();
            assert_eq!(passes, Some(passes_before + f64::from(u8::from(made_anew))));
            assert!(value(&snapshot, "process_resident_memory_bytes", "").is_some());
        }
    }
}

#[tokio::test]
async fn reloads_while_a_collector_hangs_leave_few_threads_behind() {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let hung = fake!("hung", |_| {
        DOOR.get_or_init(Door::default).wait();
        Ok(())
    });
    let own = Arc::<Own>::default();
    let new_engine = || engine(vec![hung, good()], |c| c.own = Arc::clone(&own));
    for _ in 0..10 {
        let engine = new_engine();
        let snapshot = gather_until_good(&engine).await;
        assert_eq!(success(&snapshot, "hung"), Some(0.0));
    }
    let stuck = || own.runs("hung").load(std::sync::atomic::Ordering::Acquire);
    assert!((1..=2).contains(&stuck()), "{} of 10", stuck());
    DOOR.get_or_init(Door::default).open();
    let engine = new_engine();
    while success(&*engine.gather(NOW, &Selection::All, LONG).await, "hung") == Some(0.0) {}
    while stuck() > 0 || threads(&engine) > 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn jobs_do_not_pile_up_while_every_thread_is_stuck() {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let hung = fake!("a_hung", |_| {
        DOOR.get_or_init(Door::default).wait();
        Ok(())
    });
    let engine = engine(vec![hung, good()], |c| c.max_threads = 1);
    for _ in 0..5 {
        let snapshot = engine.gather(NOW, &Selection::All, Duration::from_millis(20)).await;
        assert_eq!((success(&snapshot, "a_hung"), success(&snapshot, "good")), (Some(0.0), Some(0.0)));
        assert!(engine.workers.queued() <= 2, "only the last pass's");
    }
    DOOR.get_or_init(Door::default).open();
    while success(&*engine.gather(NOW, &Selection::All, LONG).await, "good") == Some(0.0) {}
    assert_eq!(threads(&engine), 1);
}

#[tokio::test]
async fn a_dropped_request_leaves_the_engine_at_work() {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let slow = fake!("slow", |_| {
        DOOR.get_or_init(Door::default).wait();
        Ok(())
    });
    let engine = engine(vec![slow], |c| c.timeout = LONG);
    let mut abandoned = Box::pin(engine.gather(NOW, &Selection::All, LONG));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(abandoned.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    drop(abandoned);
    assert!(engine.waiting.subscribe().borrow().by_ticket.is_empty());
    DOOR.get_or_init(Door::default).open();
    while success(&*engine.gather(NOW, &Selection::All, LONG).await, "slow") == Some(0.0) {}
}

#[tokio::test]
async fn a_collector_that_panics_is_made_anew_and_may_fail_to_be() {
    static BUILT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    static SPEC: Spec = Spec {
        name: "torn",
        on_by_default: true,
        help: "",
        flags: &[],
        build: |_, _| match BUILT.fetch_add(1, std::sync::atomic::Ordering::AcqRel) {
            0 => Ok(Box::new(Fake(|_| panic!("on purpose")))),
            1 => Err(BuildError { collector: "torn", what: "not now".to_owned() }),
            2 => panic!("on purpose, while being made"),
            _ => Ok(Box::new(Fake(|_| Ok(())))),
        },
    };
    let engine = engine(vec![&SPEC, good()], |_| {});
    for want in [0.0, 0.0, 0.0, 1.0, 1.0] {
        let snapshot = engine.gather(NOW, &Selection::All, LONG).await;
        assert_eq!((success(&snapshot, "torn"), success(&snapshot, "good")), (Some(want), Some(1.0)));
    }
    assert_eq!(BUILT.load(std::sync::atomic::Ordering::Acquire), 4);
}

#[tokio::test]
async fn a_flood_is_cut_and_counted() {
    let flood = fake!("flood", |out| {
        for i in 0..1_000 {
            out.gauge("flood", "Flood.", &[("i", &i.to_string())], 0.0);
        }
        Ok(())
    });
    let engine = engine(vec![flood, good()], |c| c.max_series = 10);
    let snapshot = engine.gather(NOW, &Selection::All, LONG).await;
    assert_eq!(snapshot.families().find(|f| f.name() == "flood").map(|f| f.samples().count()), Some(10));
    assert_eq!(engine.own().stats().samples_over_limit("flood"), 990);
}

#[tokio::test]
async fn buffers_are_reused_when_nobody_reads_the_old_snapshot() {
    let engine = engine(vec![good()], |_| {});
    for _ in 0..5 {
        let snapshot = engine.gather(NOW, &Selection::All, LONG).await;
        assert_eq!(value(&snapshot, "good", ""), Some(1.0));
    }
}
