//! The scorecard of the running program: evaluated when somebody asks and once a while, the last report kept.
//!
//! Invariants: one evaluation at a time; who asks within [`FRESH`] of the last gets that; queries are bounded in time, and
//! metrics and health show the last report, so that neither waits for a query.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::evaluate::{Evidence, RuleStanding, evaluate};
use super::report::{PillarReport, PillarStatus, ScorecardReport};
use super::settings::Card;
use crate::model::{Queryable, Timestamp};
use crate::promql::ast::Expr;
use crate::promql::{Engine, QueryOptions, Value};
use crate::rules::RuleManager;
use crate::slo::Books;

/// For how long a report is fresh enough for whoever asks.
const FRESH: Duration = Duration::from_secs(5);

/// Longest time of all queries of a report together.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running scorecard; clones share it.
#[derive(Clone)]
pub struct Scoreboard(Arc<Inner>);

struct Inner {
    history: Arc<dyn Queryable>,
    rules: Arc<RuleManager>,
    slos: Arc<Books>,
    engine: ArcSwap<Engine>,
    card: ArcSwapOption<Card>,
    last: ArcSwapOption<(Timestamp, ScorecardReport)>,
    /// Held while it is evaluated.
    evaluating: Mutex<()>,
    failures: AtomicU64,
}

impl std::fmt::Debug for Scoreboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scoreboard").finish_non_exhaustive()
    }
}

impl Scoreboard {
    /// Without a card yet.
    pub fn new(
        history: Arc<dyn Queryable>,
        rules: Arc<RuleManager>,
        slos: Arc<Books>,
        engine: Arc<Engine>,
    ) -> Self {
        Self(Arc::new(Inner {
            history,
            rules,
            slos,
            engine: ArcSwap::new(engine),
            card: ArcSwapOption::empty(),
            last: ArcSwapOption::empty(),
            evaluating: Mutex::default(),
            failures: AtomicU64::new(0),
        }))
    }

    /// Adds its metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Figures(self.clone())));
    }

    /// Makes this the card; `None`: there is none.
    pub fn apply(&self, card: Option<Arc<Card>>, engine: Arc<Engine>) {
        self.0.engine.store(engine);
        if *self.0.card.load() != card {
            self.0.card.store(card);
            self.0.last.store(None);
        }
    }

    /// The last report, however old; `None` where there is none.
    pub fn last(&self) -> Option<ScorecardReport> {
        self.0.last.load().as_ref().map(|last| last.1.clone())
    }

    /// How it stands now; `None` where there is no card. Blocks while queries run.
    pub fn current(&self, now: Timestamp) -> Option<ScorecardReport> {
        let inner = &*self.0;
        let card = inner.card.load_full()?;
        let _turn = inner.evaluating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = inner.last.load_full()
            && now >= last.0
            && now.since(last.0) < FRESH
        {
            return Some(last.1.clone());
        }
        let report = self.evaluate(&card, now);
        let failed = report.pillars.iter().filter(|pillar| pillar.failed).count() as u64;
        inner.failures.fetch_add(failed, Ordering::Relaxed);
        // A card that was exchanged meanwhile has no report yet.
        if inner.card.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, &card)) {
            inner.last.store(Some(Arc::new((now, report.clone()))));
        }
        Some(report)
    }

    fn evaluate(&self, card: &Card, now: Timestamp) -> ScorecardReport {
        let inner = &*self.0;
        let groups = inner.rules.groups();
        let standing = |rule: &crate::rules::Rule| {
            let spec = rule.spec();
            spec.alert()?;
            let (series, firing) = rule.standing()?;
            Some(RuleStanding {
                name: spec.name.to_string(),
                severity: spec.labels.value("severity").to_owned(),
                measured: series > 0,
                firing,
            })
        };
        let rules: Vec<RuleStanding> =
            groups.iter().flat_map(|group| group.rules()).filter_map(standing).collect();
        let (budgets, engine) = (inner.slos.reports(), inner.engine.load_full());
        let begun = Instant::now();
        let mut query = |expr: &Expr| {
            let options =
                QueryOptions { timeout: Some(PATIENCE), begun: Some(begun), ..QueryOptions::default() };
            let result =
                engine.instant(&*inner.history, expr, now, &options).map_err(|error| error.to_string())?;
            one(&result.value)
        };
        evaluate(card, now, &mut Evidence { rules: &rules, budgets: &budgets, query: &mut query })
    }
}

/// The number that a result stands for.
fn one(value: &Value) -> Result<Option<f64>, String> {
    match value {
        Value::Scalar { value, .. } => Ok(Some(*value)),
        Value::Vector(samples) => match samples.as_slice() {
            [] => Ok(None),
            [sample] => Ok(Some(sample.value)),
            many => Err(format!("the query gives {} series; aggregate them to one", many.len())),
        },
        _ => Err("the query gives neither a scalar nor an instant vector".to_owned()),
    }
}

/// The last report as metrics.
#[derive(Debug)]
struct Figures(Scoreboard);

type Figure = fn(&PillarReport) -> Option<f64>;

/// Of each pillar: name, help, value.
const FIGURES: [(&str, &str, Figure); 4] = [
    ("outrigger_scorecard_target", "What is wanted of the pillar", |pillar| Some(pillar.target)),
    ("outrigger_scorecard_current", "What the pillar's formula gives now", |pillar| pillar.current),
    ("outrigger_scorecard_score", "From 0, the pillar's worst, to 1, its target or better", |pillar| {
        pillar.score
    }),
    ("outrigger_scorecard_target_met", "Whether the pillar is at its target or better", |pillar| {
        (pillar.status != PillarStatus::Unknown)
            .then(|| f64::from(u8::from(pillar.status == PillarStatus::Met)))
    }),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(report) = self.0.last() else { return Ok(()) };
        for (name, help, get) in FIGURES {
            let mut out = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for pillar in &report.pillars {
                if let Some(value) = get(pillar) {
                    ConstGauge::new(value)
                        .encode(out.encode_family(&[("pillar", pillar.pillar.as_str())])?)?;
                }
            }
        }
        if let (Some(score), Some(grade)) = (report.score, &report.grade) {
            let (name, help) = ("outrigger_scorecard_overall_score", "The mean of the known pillars' scores");
            ConstGauge::new(score).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
            let (name, help) = ("outrigger_scorecard_grade", "1 for the grade that the overall score is");
            let mut out = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(1_i64).encode(out.encode_family(&[("grade", grade.as_str())])?)?;
        }
        let failures = ConstCounter::new(self.0.0.failures.load(Ordering::Relaxed));
        let help = "Pillars that could not be computed";
        let out =
            encoder.encode_descriptor("outrigger_scorecard_failures", help, None, MetricType::Counter)?;
        failures.encode(out)
    }
}
