//! Samples as OpenMetrics: one metric name after the other, so that memory holds one series at a time.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;

use super::super::Outcome;
use crate::expose::push_open_metrics_float;
use crate::model::{
    Labels, METRIC_NAME, Matcher, Queryable as _, Segment, Select, SelectAny, SelectedSeries, Timestamp,
    is_stale, valid_label_name, valid_metric_name,
};
use crate::store::{Store, StoreStats};

pub(super) fn run(store: &Store, matcher_sets: &[Vec<Matcher>], from: Timestamp, to: Timestamp) -> Outcome {
    let stdout = io::stdout().lock();
    let mut out = io::BufWriter::with_capacity(1 << 16, stdout);
    match write_all(store, matcher_sets, from, to, &mut out) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(()) => whole(&store.stats()),
    }
}

/// What cannot be read is left out; whoever takes the output for a copy has to hear of it.
fn whole(stats: &StoreStats) -> Outcome {
    if stats.damaged_pages > 0 || stats.damaged_rows > 0 {
        bail!(
            "the store is damaged: {} pages and {} other rows could not be read; what they held is missing above",
            stats.damaged_pages,
            stats.damaged_rows
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

pub(super) fn write_all(
    store: &Store,
    matcher_sets: &[Vec<Matcher>],
    from: Timestamp,
    to: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let request = SelectAny { matcher_sets, from, to, limit: 0 };
    let wanted = store.series(&request)?;
    let names = store.label_values(METRIC_NAME, &request)?;
    let mut line = Vec::new();
    // Series without a name at the end: they cannot be written, and nothing that writes here makes them.
    for name in names {
        let matchers = [Matcher::equal(METRIC_NAME, name)];
        for series in store.select(&Select { matchers: &matchers, from, to })? {
            if wanted.binary_search(&series.labels).is_ok() {
                write_series(&series, from, to, &mut line, out)?;
            }
        }
    }
    out.write_all(b"# EOF\n")?;
    Ok(out.flush()?)
}

fn write_series(
    series: &SelectedSeries,
    from: Timestamp,
    to: Timestamp,
    line: &mut Vec<u8>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    line.clear();
    put_series(line, &series.labels);
    let name_end = line.len();
    for segment in &series.segments {
        let samples = match segment {
            Segment::Samples(samples) => samples.clone(),
            Segment::Page(page) => page.read()?,
        };
        let inside = samples
            .iter()
            .filter(|(at, value)| (from.as_millis()..=to.as_millis()).contains(at) && !is_stale(*value));
        for (at_ms, value) in inside {
            line.truncate(name_end);
            line.push(b' ');
            push_open_metrics_float(line, value);
            put_seconds(line, at_ms)?;
            out.write_all(line)?;
        }
    }
    Ok(())
}

/// Name and labels, in quotes what is not a classic name.
fn put_series(line: &mut Vec<u8>, labels: &Labels) {
    let name = labels.metric_name();
    let classic = valid_metric_name(name);
    if classic {
        line.extend_from_slice(name.as_bytes());
    }
    let others = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
    let mut separator = b'{';
    if !classic {
        line.push(separator);
        put_quoted(line, name);
        separator = b',';
    }
    for (label, value) in others {
        line.push(separator);
        separator = b',';
        match valid_label_name(label) {
            true => line.extend_from_slice(label.as_bytes()),
            false => put_quoted(line, label),
        }
        line.push(b'=');
        put_quoted(line, value);
    }
    if separator == b',' {
        line.push(b'}');
    }
}

fn put_quoted(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'"' => line.extend_from_slice(b"\\\""),
            b'\n' => line.extend_from_slice(b"\\n"),
            byte => line.push(byte),
        }
    }
    line.push(b'"');
}

fn put_seconds(line: &mut Vec<u8>, at_ms: i64) -> io::Result<()> {
    let sign = if at_ms < 0 { "-" } else { "" };
    let ms = at_ms.unsigned_abs();
    match ms % 1_000 {
        0 => writeln!(line, " {sign}{}", ms / 1_000),
        rest => writeln!(line, " {sign}{}.{}", ms / 1_000, format!("{rest:03}").trim_end_matches('0')),
    }
}
