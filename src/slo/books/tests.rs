//! Books over a store in memory; time is passed in.

use super::super::{FileOptions, parse_file};
use super::*;
use crate::model::{Labels, Row};
use crate::promql::EngineOptions;
use crate::store::StoreConfig;

/// The end of a slot, and of a chunk: 2023-11-15.
const START_MS: i64 = 1_700_006_400_000;
const SLOT_MS: i64 = 300_000;

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn sources(extras: &str, objective: &str, query: &str) -> Vec<SloSource> {
    let text = format!(
        "version: prometheus/v1\nservice: s\nslos:\n- name: a\n  objective: {objective}\n  sli:\n    events:\n      error_query: sum(rate({query}{{code=\"500\"}}[{{{{.window}}}}]))\n      total_query: sum(rate({query}[{{{{.window}}}}]))\n  outrigger: {{{extras}}}\n"
    );
    let file = parse_file("f", &text, &FileOptions::default()).unwrap_or_else(|errors| panic!("{errors}"));
    file.slos.into_iter().map(|slo| SloSource { file: "f".into(), slo: Arc::new(slo) }).collect()
}

struct Fixture {
    store: Store,
    books: Books,
}

impl Fixture {
    fn new(store: &Store) -> Self {
        let engine = Arc::new(Engine::new(EngineOptions::default()));
        Self {
            store: store.clone(),
            books: Books::new(store.clone(), engine, || ms(START_MS + 30_000), 8 << 20),
        }
    }

    /// As `apply`, at an instant and without a thread.
    fn set(&self, sources: &[SloSource]) {
        self.books.replace(sources, self.books.shared.engine.load_full());
    }

    /// Turns until nothing is due.
    fn settle(&self, now_ms: i64) {
        let turns = (0..1_000).take_while(|_| self.books.shared.turn(ms(now_ms))).count();
        assert!(turns < 1_000, "it never rests");
    }

    /// Bad and total events.
    fn events(&self) -> (f64, f64) {
        let reports = self.books.reports();
        (reports.iter().map(|r| r.bad_events).sum(), reports.iter().map(|r| r.total_events).sum())
    }

    fn figures(&self) -> String {
        let mut registry = Registry::default();
        self.books.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("texts can be written");
        text
    }
}

fn store() -> Store {
    Store::open(StoreConfig::default(), ms(START_MS)).expect("memory")
}

/// A sample every 15 s: ten good requests and one bad a sample, for each of `zones`.
fn write(store: &Store, from_ms: i64, to_ms: i64, zones: &[&str]) {
    let mut source = store.source("test");
    let mut at_ms = from_ms;
    while at_ms <= to_ms {
        let tick = (at_ms - START_MS + 40 * 86_400_000) as f64 / 15_000.0;
        let row = |code: &str, zone: &str, value: f64| Row {
            labels: Labels::from_pairs([("__name__", "r_total"), ("code", code), ("zone", zone)]),
            value,
            timestamp: None,
        };
        let rows: Vec<Row> =
            zones.iter().flat_map(|zone| [row("200", zone, tick * 10.0), row("500", zone, tick)]).collect();
        source.append_soon(ms(at_ms), &rows).expect("in order");
        at_ms += 15_000;
    }
}

#[test]
fn slots_are_recorded_when_they_are_over_and_the_past_at_the_start() {
    let store = store();
    write(&store, START_MS - 7_200_000, START_MS, &["a"]);
    let f = Fixture::new(&store);
    f.set(&sources("", "90", "r_total"));
    assert_eq!(f.events(), (0.0, 0.0));
    f.settle(START_MS + 30_000);
    // Two hours, of which the first slot has no sample before it: its growth counts from its first sample.
    let (bad, total) = f.events();
    assert_eq!((bad, total), (480.0, 5_280.0));

    write(&store, START_MS + 15_000, START_MS + SLOT_MS, &["a"]);
    // Over, but a scrape of its last moment may be on its way.
    f.settle(START_MS + SLOT_MS + 29_999);
    assert_eq!(f.events(), (480.0, 5_280.0));
    f.settle(START_MS + SLOT_MS + 30_000);
    assert_eq!(f.events(), (500.0, 5_500.0));
    f.settle(START_MS + SLOT_MS + 30_000);
    assert_eq!(f.events(), (500.0, 5_500.0));
    let report = &f.books.reports()[0];
    assert!((report.budget_consumed - 500.0 / 5_500.0 / 0.1).abs() < 1e-9);
    assert_eq!((report.file.as_deref(), report.objective_percent.as_str()), (Some("f"), "90"));
    assert!((report.burn_rates["1h"] - 10.0 / 11.0).abs() < 1e-9, "{:?}", report.burn_rates);
    let figures = f.figures();
    for part in [
        "outrigger_slo_period_events{sloth_id=\"s-a\",sloth_service=\"s\",sloth_slo=\"a\"} 5500.0\n",
        "outrigger_slo_groups_dropped_total{sloth_id=\"s-a\"} 0\n",
        "window=\"1h\"} 0.909",
    ] {
        assert!(figures.contains(part), "{part}\n{figures}");
    }
}

#[test]
fn a_restart_goes_on_with_what_was_recorded() {
    let store = store();
    write(&store, START_MS - 7_200_000, START_MS, &["a"]);
    let f = Fixture::new(&store);
    f.set(&sources("", "90", "r_total"));
    f.settle(START_MS + 30_000);
    let before = f.events();

    // The history is gone, as after its retention; what was recorded of it stays.
    let matchers =
        [crate::model::Matcher::new("__name__", crate::model::MatchOp::Equal, "r_total").expect("plain")];
    store.delete_series(&[matchers.to_vec()], ms(0), ms(START_MS + SLOT_MS)).expect("deleted");
    let again = Fixture::new(&f.store);
    again.set(&sources("", "90", "r_total"));
    assert_eq!(again.events(), before);
    again.settle(START_MS + 30_000);
    assert_eq!(again.events(), before);

    // Another promise is about the same events; another query counts others.
    again.set(&sources("", "99", "r_total"));
    assert_eq!(again.events(), before);
    again.set(&sources("", "90", "other_total"));
    assert_eq!(again.events(), (0.0, 0.0));
    again.set(&sources("", "90", "r_total"));
    assert_eq!(again.events(), before);
    again.set(&[]);
    assert!(again.books.reports().is_empty() && !again.figures().contains("outrigger_slo"));
}

#[test]
fn slots_beyond_every_period_are_taken_out_of_the_store() {
    let store = store();
    write(&store, START_MS - 3_600_000, START_MS, &["a"]);
    let f = Fixture::new(&store);
    f.set(&sources("", "90", "r_total"));
    f.settle(START_MS + 30_000);
    let rows = || {
        let mut rows = 0;
        store
            .state(TABLE)
            .range(&[], |_, _| {
                rows += 1;
                true
            })
            .expect("memory");
        rows
    };
    assert_eq!(rows(), 1);
    store.state(TABLE).put(b"nonsense", b"x").expect("memory");
    Saved::read(&store.state(TABLE), ms(START_MS)).expect("memory");
    assert_eq!(rows(), 1);
    Saved::read(&store.state(TABLE), ms(START_MS + 402 * 86_400_000)).expect("memory");
    assert_eq!(rows(), 0);
}

#[test]
fn sets_of_labels_have_budgets_of_their_own_and_a_bound() {
    let store = store();
    write(&store, START_MS - 600_000, START_MS, &["a", "b"]);
    let f = Fixture::new(&store);
    f.set(&sources("group_by: [zone]", "90", "r_total"));
    f.settle(START_MS + 30_000);
    let titles: Vec<String> = f.books.reports().iter().map(BudgetReport::title).collect();
    assert_eq!(titles, ["s-a{zone=\"a\"}", "s-a{zone=\"b\"}"]);
    let many: Vec<String> = (0..60).map(|zone| format!("z{zone:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    write(&store, START_MS + 15_000, START_MS + SLOT_MS, &many);
    f.settle(START_MS + SLOT_MS + 30_000);
    assert_eq!(f.books.reports().len(), 50);
    assert!(
        f.figures().contains("outrigger_slo_groups_dropped_total{sloth_id=\"s-a\"} 12\n"),
        "{}",
        f.figures()
    );
}

#[test]
fn a_clock_that_is_set_neither_stops_nor_doubles_anything() {
    let store = store();
    write(&store, START_MS - 3_600_000, START_MS, &["a"]);
    let f = Fixture::new(&store);
    f.set(&sources("", "90", "r_total"));
    f.settle(START_MS + 30_000);
    let before = f.events();
    for days in [-3, 0, 400, 0] {
        f.settle(START_MS + 30_000 + days * 86_400_000);
    }
    assert_eq!(f.events(), before);
    write(&store, START_MS + 15_000, START_MS + SLOT_MS, &["a"]);
    f.settle(START_MS + SLOT_MS + 30_000);
    assert_eq!(f.events(), (before.0 + 20.0, before.1 + 220.0));
}

#[test]
fn the_thread_begins_and_ends() {
    let store = store();
    write(&store, START_MS - 3_600_000, START_MS, &["a"]);
    let f = Fixture::new(&store);
    f.books
        .apply(&sources("", "90", "r_total"), Arc::new(Engine::new(EngineOptions::default())))
        .expect("a thread");
    while f.events().1 == 0.0 {
        std::thread::yield_now();
    }
    f.books.shutdown();
}
