//! The store: what a tick of 10,000 series costs, and what it costs to select from two hours of them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outrigger::model::{Labels, Matcher, Queryable, Row, Segment, Select, Timestamp};
use outrigger::store::{Source, Store, StoreConfig};

const SERIES: usize = 10_000;
const STEP_MS: i64 = 15_000;

/// A third counters, a third gauges with decimals, a third constants: about what an exporter gives.
fn rows() -> Vec<Row> {
    let labels = |i: usize| {
        let (name, instance) = (format!("metric_{}", i % 100), format!("host-{}:9780", i / 100));
        Labels::from_pairs([("__name__", name.as_str()), ("instance", &instance), ("job", "node")])
    };
    (0..SERIES).map(|i| Row { labels: labels(i), value: 1.0, timestamp: None }).collect()
}

fn tick(source: &mut Source, rows: &mut [Row], number: i64) {
    for (i, row) in rows.iter_mut().enumerate() {
        let step = f64::from(u32::try_from(number * 7 + i as i64 % 13).unwrap_or(0));
        match i % 3 {
            0 => row.value = step * 11.0,
            1 => row.value = (step * 37.0 % 1_009.0) / 100.0,
            _ => {}
        }
    }
    let _ = source.append(Timestamp::from_millis(number * STEP_MS), rows);
}

fn store(criterion: &mut Criterion) {
    let Ok(store) = Store::open(StoreConfig::default(), Timestamp::from_millis(0)) else { return };
    let (mut source, mut rows, mut number) = (store.source("bench"), rows(), 0);
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("append/10000_series", |bench| {
        bench.iter(|| {
            number += 1;
            tick(&mut source, &mut rows, number);
        });
    });
    group.finish();
    for _ in 0..480 {
        number += 1;
        tick(&mut source, &mut rows, number);
    }
    let (from, to) = ((number - 480) * STEP_MS, number * STEP_MS);
    for (name, matchers) in [
        (
            "one_of_10000",
            vec![Matcher::equal("__name__", "metric_0"), Matcher::equal("instance", "host-7:9780")],
        ),
        ("100_of_10000", vec![Matcher::equal("__name__", "metric_0")]),
    ] {
        let request = Select {
            matchers: &matchers,
            from: Timestamp::from_millis(from),
            to: Timestamp::from_millis(to),
        };
        criterion
            .bench_function(&format!("store/select/{name}"), |bench| bench.iter(|| store.select(&request)));
        criterion
            .bench_function(&format!("store/read/{name}"), |bench| bench.iter(|| read(&store, &request)));
    }
}

fn read(store: &Store, request: &Select<'_>) -> usize {
    let segments = store.select(request).into_iter().flatten().flat_map(|series| series.segments);
    let samples = segments.map(|segment| match segment {
        Segment::Samples(samples) => samples.len(),
        Segment::Page(page) => page.read().map_or(0, |samples| samples.len()),
    });
    samples.sum()
}

criterion_group!(benches, store);
criterion_main!(benches);
