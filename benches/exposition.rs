//! The exposition formats at the sizes of an ordinary machine (500 samples) and a big one (3,000):
//! encoding, parsing and compressing, in both formats.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrigger::expose::{Compressor, ContentEncoding, Format, Limits, encode, parse};
use outrigger::model::{Batch, Kind, Snapshot, Suffix, Timestamp};

const SIZES: [usize; 2] = [500, 3_000];

const FORMATS: [(&str, Format); 2] = [("text", Format::TEXT), ("openmetrics", Format::OPEN_METRICS)];

/// A mix as a host gives it: many families of one sample, a few with one sample a device or a CPU
/// and mode; whole numbers small and large, and fractions.
fn snapshot(samples: usize) -> Snapshot {
    let mut batch = Batch::new();
    let mut number = 0.0;
    let mut next = || {
        number += 1.0;
        number * 1_234_567.0
    };
    for i in 0..samples * 2 / 5 {
        let name = format!("node_memory_{i}_bytes");
        batch.gauge(&name, "Memory information field.", &[], next());
    }
    for cpu in 0..samples / 10 {
        let cpu = cpu.to_string();
        for mode in ["idle", "iowait", "irq", "nice"] {
            let help = "Seconds the CPUs spent in each mode.";
            batch.counter("node_cpu_seconds_total", help, &[("cpu", &cpu), ("mode", mode)], next() / 100.0);
        }
    }
    for i in 0..samples / 10 {
        let (device, mount) = (format!("/dev/sda{i}"), format!("/srv/data/volume \"{i}\""));
        let labels = [("device", &*device), ("fstype", "ext4"), ("mountpoint", &*mount)];
        batch.gauge("node_filesystem_avail_bytes", "Space available to users, in bytes.", &labels, next());
    }
    let waits = batch.family("outrigger_wait_seconds", "Time waited.", Kind::Histogram);
    for i in 0..samples / 10 {
        let bound = (i as f64 / 8.0).to_string();
        batch.sample_full(waits, Suffix::Bucket, &[("le", &bound)], i as f64, None);
    }
    Snapshot::assemble(Timestamp::default(), vec![("bench", batch)])
}

fn encoded(snapshot: &Snapshot, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    encode(snapshot, format, &mut out);
    out
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for size in SIZES {
        let snapshot = snapshot(size);
        for (name, format) in FORMATS {
            let mut out = encoded(&snapshot, format);
            group.throughput(Throughput::Bytes(out.len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    out.clear();
                    encode(black_box(&snapshot), format, &mut out);
                    black_box(&out);
                });
            });
        }
    }
}

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for size in SIZES {
        for (name, format) in FORMATS {
            let text = encoded(&snapshot(size), format);
            let mut batch = Batch::new();
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    batch.clear();
                    parse(black_box(&text), format.syntax, Limits::default(), &mut batch)
                });
            });
        }
    }
}

fn compressing(c: &mut Criterion) {
    let mut group = c.benchmark_group("compress");
    let text = encoded(&snapshot(500), Format::TEXT);
    group.throughput(Throughput::Bytes(text.len() as u64));
    for (name, encoding) in [("gzip", ContentEncoding::Gzip), ("zstd", ContentEncoding::Zstd)] {
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new(name, 500), |b| {
            let mut compressor = Compressor::default();
            b.iter(|| {
                out.clear();
                compressor.compress(encoding, black_box(&text), &mut out)
            });
        });
    }
}

criterion_group!(benches, encoding, parsing, compressing);
criterion_main!(benches);
