//! PromQL: reading and printing what rules are made of, and refusing what is hostile.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outrigger::promql::{ParseOptions, parse, pretty};

const RULE: &str = r#"sum by (cluster, namespace, pod) (
  rate(container_cpu_cfs_throttled_periods_total{job="kubelet", container!="", namespace=~"a|b|c"}[5m])
) / sum by (cluster, namespace, pod) (rate(container_cpu_cfs_periods_total{job="kubelet"}[5m])) > ( 25 / 100 )
  and on (cluster) (max_over_time(up{job="kubelet"}[1h:1m] offset 5m) == bool 1)"#;

fn benches(c: &mut Criterion) {
    let options = ParseOptions::all();
    let Ok(expr) = parse(RULE, &options) else { return };
    let mut group = c.benchmark_group("promql");
    group.throughput(Throughput::Bytes(RULE.len() as u64));
    group.bench_function("parse a rule", |b| b.iter(|| parse(black_box(RULE), &options)));
    group.bench_function("print it", |b| b.iter(|| black_box(&expr).to_string()));
    group.bench_function("print it over lines", |b| b.iter(|| pretty(black_box(&expr))));
    for (name, text) in [
        ("refuse a megabyte of parentheses", "(".repeat(1 << 20)),
        ("refuse 200,000 parentheses", "(".repeat(200_000)),
        ("refuse 100,000 signs", "-".repeat(100_000)),
        ("refuse 100,000 operators", "a+".repeat(100_000)),
        ("read 1,000 operators", vec!["a"; 1_000].join(" or ")),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| parse(black_box(&text), &options).is_ok()));
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
