//! Writing and reading 3,000 samples in each format, and compressing them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outrigger::expose::{self, ContentEncoding, Limits, Syntax};
use outrigger::model::{Batch, Snapshot, Timestamp};

const CPUS: usize = 256;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const DEVICES: usize = 50;

/// What a large machine gives: counters with two labels, gauges with long ones, plain gauges.
fn large_machine() -> Snapshot {
    let mut batch = Batch::new();
    for cpu in 0..CPUS {
        let number = cpu.to_string();
        for (at, mode) in MODES.iter().enumerate() {
            let seconds = (cpu * 1000 + at) as f64 / 100.0;
            batch.counter(
                "node_cpu_seconds_total",
                "Seconds the CPUs spent in each mode.",
                &[("cpu", &number), ("mode", mode)],
                seconds,
            );
        }
    }
    for at in 0..1000 {
        let (device, mount) = (format!("/dev/mapper/volume-{}", at % DEVICES), format!("/srv/data/{at}"));
        let labels = [("device", device.as_str()), ("fstype", "ext4"), ("mountpoint", mount.as_str())];
        batch.gauge("node_filesystem_free_bytes", "Free space in bytes.", &labels, 1e9 + at as f64);
    }
    Snapshot::assemble(Timestamp::from_millis(0), vec![("large", batch)])
}

fn exposition(criterion: &mut Criterion) {
    let snapshot = large_machine();
    for (name, accept, syntax) in [
        ("text", "text/plain;version=0.0.4", Syntax::Text004),
        ("openmetrics", "application/openmetrics-text;version=1.0.0", Syntax::OpenMetrics100),
    ] {
        let format = expose::negotiate(Some(accept));
        let mut body = Vec::new();
        expose::encode(&snapshot, format, &mut body);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let mut out = Vec::with_capacity(body.len());
        group.bench_function("encode", |bench| {
            bench.iter(|| {
                out.clear();
                expose::encode(&snapshot, format, &mut out);
                out.len()
            });
        });
        let mut batch = Batch::new();
        group.bench_function("parse", |bench| {
            bench.iter(|| {
                batch.clear();
                expose::parse(&body, syntax, Limits::default(), &mut batch).map(|stats| stats.samples)
            });
        });
        for (name, encoding) in [("gzip", ContentEncoding::Gzip), ("zstd", ContentEncoding::Zstd)] {
            let mut out = Vec::new();
            group.bench_function(name, |bench| {
                bench.iter(|| {
                    out.clear();
                    expose::compress(encoding, &body, &mut out).map(|()| out.len())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, exposition);
criterion_main!(benches);
