//! A pass over the live machine: all default collectors, and the snapshot they make. Needs Linux, nothing else.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use outrigger::collect::{Engine, EngineConfig, Selection};
use outrigger::model::Timestamp;

fn pass(criterion: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let config = EngineConfig { min_interval: Duration::ZERO, ..EngineConfig::default() };
    let Ok(engine) = Engine::new(config) else { return };
    let budget = Duration::from_secs(5);
    let mut at = 0;
    criterion.bench_function("pass/default_collectors", |bench| {
        bench.iter(|| {
            at += 1000;
            runtime.block_on(engine.gather(Timestamp::from_millis(at), &Selection::All, budget))
        });
    });
}

criterion_group!(benches, pass);
criterion_main!(benches);
