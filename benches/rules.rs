//! Rules: what evaluating 1,000 simple alert rules costs, over 500 and over 10,000 series.
//!
//! The figure of a rule is the thousandth part. One rule in a hundred has its condition, as on a day that is not the
//! worst.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outrigger::model::{Labels, Row, Timestamp};
use outrigger::promql::{Cancel, Engine, EngineOptions, ParseOptions};
use outrigger::rules::{AlertTiming, FileOptions, Group, RuleContext, RuleMetrics, parse_file};
use outrigger::store::{Store, StoreConfig};

const RULES: usize = 1_000;
const STEP_MS: i64 = 5_000;

/// `metric_0` to `metric_99`, each of as many instances as make `series`.
fn rows(series: usize) -> Vec<Row> {
    let row = |i: usize| {
        let (name, instance) = (format!("metric_{}", i % 100), format!("host-{}:9780", i / 100));
        let labels =
            Labels::from_pairs([("__name__", name.as_str()), ("instance", &instance), ("job", "node")]);
        Row { labels, value: 1.0, timestamp: None }
    };
    (0..series).map(row).collect()
}

/// Each rule looks at the instances of one metric.
fn file(expression: impl Fn(usize) -> String) -> String {
    let rule = |i: usize| {
        format!("  - {{alert: Rule{i}, expr: '{}', for: 5m, labels: {{severity: low}}}}\n", expression(i))
    };
    format!("groups:\n- name: g\n  rules:\n{}", (0..RULES).map(rule).collect::<String>())
}

fn rules(criterion: &mut Criterion) {
    for series in [500, 10_000] {
        for (name, text) in [
            (
                "one_series",
                file(|i| {
                    let above = if i % 100 == 0 { 0 } else { 5 };
                    format!("metric_{}{{instance=\"host-{}:9780\"}} > {above}", i % 100, i % 5)
                }),
            ),
            (
                "rate",
                file(|i| format!("rate(metric_{}{{instance=\"host-{}:9780\"}}[1m]) > 5", i % 100, i % 5)),
            ),
        ] {
            let Ok(store) = Store::open(StoreConfig::default(), Timestamp::from_millis(0)) else { return };
            let (mut source, rows) = (store.source("bench"), rows(series));
            for tick in 0..100 {
                let _ = source.append(Timestamp::from_millis(tick * STEP_MS), &rows);
            }
            let context = RuleContext {
                storage: Arc::new(store.clone()),
                engine: Arc::new(Engine::new(EngineOptions::default())),
                parse: ParseOptions::default(),
                external_labels: Labels::empty(),
                external_url: String::new(),
                timing: AlertTiming::default(),
                most_alerts: 1_000,
                settle: Duration::ZERO,
                notify: Arc::new(drop),
                cancel: Cancel::default(),
            };
            let Ok(mut groups) = parse_file("bench.yml", &text, &FileOptions::default()) else { return };
            let group = Group::new(groups.remove(0), Duration::from_secs(5), Duration::ZERO);
            let metrics = RuleMetrics::default();
            let mut tick = 100;
            let mut bench = criterion.benchmark_group("rules");
            bench.throughput(Throughput::Elements(RULES as u64)).sample_size(20);
            bench.bench_function(format!("{name}/1000_rules_{series}_series"), |bench| {
                bench.iter(|| {
                    // Within the lookback of the last samples.
                    tick = if tick >= 150 { 101 } else { tick + 1 };
                    let at = Timestamp::from_millis(tick * STEP_MS);
                    group.evaluate(at, at, &context, &metrics);
                });
            });
            bench.finish();
        }
    }
}

criterion_group!(benches, rules);
criterion_main!(benches);
