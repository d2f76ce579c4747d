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
        let snapshot = engine.gather(NOW, &Selection::All, Duration::from_millis(30)).await;
        assert_eq!(success(&snapshot, "a_hung"), Some(0.0));
        assert_eq!(value(&snapshot, "hung", ""), None);
        assert_eq!((success(&snapshot, "good"), value(&snapshot, "good", "")), (Some(1.0), Some(1.0)));
    }
    assert!(engine.threads() <= 3, "one stuck, one or two at work: {}", engine.threads());
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
    let (patient, hasty) = tokio::join!(
        engine.gather(NOW, &Selection::All, LONG),
        engine.gather(NOW, &Selection::All, Duration::from_millis(50)),
    );
    for snapshot in [patient, hasty] {
        assert_eq!((success(&snapshot, "good"), success(&snapshot, "hung")), (Some(1.0), Some(0.0)));
    }
    DOOR.get_or_init(Door::default).open();
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
    let errors: Vec<_> = engine.stats().errors().collect();
    assert_eq!(errors, [("empty", 0), ("fails", 2), ("good", 0), ("panics", 2)]);
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
    assert_eq!(engine.stats().passes.load(Ordering::Relaxed), 1);
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
    assert_eq!(engine.stats().over_limit.load(Ordering::Relaxed), 990);
}

#[tokio::test]
async fn buffers_are_reused_when_nobody_reads_the_old_snapshot() {
    let engine = engine(vec![good()], |_| {});
    for _ in 0..5 {
        let snapshot = engine.gather(NOW, &Selection::All, LONG).await;
        assert_eq!(value(&snapshot, "good", ""), Some(1.0));
    }
}
