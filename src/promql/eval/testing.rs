//! Pages, samples and a storage in memory for the tests of the evaluator.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Labels, Matcher, Page, Queryable, QueryableError, STALE_NAN, Samples, Segment, Select, SelectAny,
    SelectedSeries, Summary, Timestamp, ValueSummary, is_stale,
};
use crate::promql::ast::Expr;
use crate::promql::{Engine, ParseOptions, QueryOptions, Series, Value, parse, parse_selector};

/// A page in memory; how often pages are read is counted.
#[derive(Debug)]
pub(super) struct TestPage {
    samples: Arc<Samples>,
    summary: Summary,
}

impl Page for TestPage {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn read(&self) -> Result<Arc<Samples>, QueryableError> {
        READS.with(|reads| reads.set(reads.get() + 1));
        Ok(Arc::clone(&self.samples))
    }
}

thread_local! {
    static READS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many pages were read on this thread since the last call.
pub(super) fn pages_read() -> usize {
    READS.with(|reads| reads.replace(0))
}

/// Samples from pairs.
pub(super) fn samples(pairs: &[(i64, f64)]) -> Samples {
    let mut samples = Samples::with_capacity(pairs.len());
    for (timestamp, value) in pairs {
        samples.push(*timestamp, *value);
    }
    samples
}

/// A page from pairs, with an exact summary.
pub(super) fn page(pairs: &[(i64, f64)]) -> Segment {
    let (samples, summary) = (Arc::new(samples(pairs)), summary(pairs));
    Segment::Page(Arc::new(TestPage { samples, summary }))
}

/// What is known of samples, as a store would compute it.
pub(super) fn summary(pairs: &[(i64, f64)]) -> Summary {
    let values: Vec<(i64, f64)> = pairs.iter().copied().filter(|(_, v)| !is_stale(*v)).collect();
    let finite = !values.is_empty() && values.iter().all(|(_, v)| v.is_finite());
    Summary {
        samples: u32::try_from(pairs.len()).expect("few"),
        first_ms: pairs[0].0,
        last_ms: pairs[pairs.len() - 1].0,
        values: finite.then(|| value_summary(&values)),
    }
}

fn value_summary(values: &[(i64, f64)]) -> ValueSummary {
    let exact = |parts: &mut dyn Iterator<Item = f64>| {
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for part in parts {
            sum += part;
            magnitude += part.abs();
            if part.fract() != 0.0 || magnitude > 9_007_199_254_740_992.0 {
                return None;
            }
        }
        Some(sum)
    };
    let pairs = || values.windows(2).map(|w| (w[0].1, w[1].1));
    ValueSummary {
        count: u32::try_from(values.len()).expect("few"),
        first_ms: values[0].0,
        last_ms: values[values.len() - 1].0,
        first: values[0].1,
        last: values[values.len() - 1].1,
        min: values.iter().map(|(_, v)| *v).fold(f64::INFINITY, f64::min),
        max: values.iter().map(|(_, v)| *v).fold(f64::NEG_INFINITY, f64::max),
        exact_sum: exact(&mut values.iter().map(|(_, v)| *v)),
        changes: u32::try_from(pairs().filter(|(a, b)| a != b).count()).expect("few"),
        resets: u32::try_from(pairs().filter(|(a, b)| b < a).count()).expect("few"),
        exact_reset_sum: exact(&mut pairs().filter(|(a, b)| b < a).map(|(a, _)| a)),
    }
}

/// Series in memory, sorted by labels.
#[derive(Default)]
pub(super) struct TestStorage(Vec<SelectedSeries>);

impl TestStorage {
    /// Adds a series in one piece.
    pub(super) fn with(self, metric: &str, pairs: &[(i64, f64)]) -> Self {
        self.with_segments(metric, vec![Segment::Samples(Arc::new(samples(pairs)))])
    }

    /// Adds a series of segments.
    pub(super) fn with_segments(mut self, metric: &str, segments: Vec<Segment>) -> Self {
        let matchers = parse_selector(metric).expect(metric);
        let labels = Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.pattern())));
        self.0.push(SelectedSeries { labels, segments });
        self.0.sort_by(|a, b| a.labels.cmp(&b.labels));
        self
    }

    /// Adds series that have their n-th value at n times the step; `_` stands for none, `stale` for the marker.
    pub(super) fn load(mut self, step_ms: i64, lines: &[&str]) -> Self {
        for line in lines {
            let (metric, values) = line.rsplit_once(": ").expect("metric: values");
            let pairs: Vec<(i64, f64)> = values
                .split(' ')
                .zip(0..)
                .filter(|(value, _)| *value != "_")
                .map(|(value, n)| {
                    (n * step_ms, if value == "stale" { STALE_NAN } else { value.parse().expect(value) })
                })
                .collect();
            self = self.with(metric, &pairs);
        }
        self
    }
}

impl Queryable for TestStorage {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        Ok(self.0.iter().filter(|s| Matcher::all_match(request.matchers, &s.labels)).cloned().collect())
    }

    fn series(&self, _: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        Ok(Vec::new())
    }
}

/// Expressions as the tests write them, with all that is experimental.
pub(super) fn parsed(text: &str) -> Expr {
    parse(text, &ParseOptions::all()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The result of an instant query, one `series => value` each, in order; or the error.
pub(super) fn instant(engine: &Engine, storage: &TestStorage, text: &str, at_ms: i64) -> Vec<String> {
    match engine.instant(storage, &parsed(text), Timestamp::from_millis(at_ms), &QueryOptions::default()) {
        Ok(result) => shown(&result.value),
        Err(error) => vec![format!("error: {error}")],
    }
}

/// The result of a range query; `_` where there is no value.
pub(super) fn range(
    engine: &Engine,
    storage: &TestStorage,
    text: &str,
    (start_ms, end_ms, step_ms): (i64, i64, u64),
) -> Vec<String> {
    let bounds = (Timestamp::from_millis(start_ms), Timestamp::from_millis(end_ms));
    let step = Duration::from_millis(step_ms);
    match engine.range(storage, &parsed(text), bounds, step, &QueryOptions::default()) {
        Ok(result) => match result.value {
            Value::Matrix(series) => {
                let step_ms = i64::try_from(step_ms).expect("short");
                series.iter().map(|s| shown_series(s, (start_ms, end_ms, step_ms))).collect()
            }
            other => panic!("{other:?}"),
        },
        Err(error) => vec![format!("error: {error}")],
    }
}

fn shown(value: &Value) -> Vec<String> {
    match value {
        Value::Scalar { value, .. } => vec![value.to_string()],
        Value::String { text, .. } => vec![text.clone()],
        Value::Vector(samples) => samples.iter().map(|s| format!("{} => {}", s.labels, s.value)).collect(),
        Value::Matrix(series) => series
            .iter()
            .map(|s| {
                let samples: Vec<String> = s.samples.iter().map(|(t, v)| format!("{v}@{t}")).collect();
                format!("{} => {}", s.labels, samples.join(" "))
            })
            .collect(),
    }
}

fn shown_series(series: &Series, (start_ms, end_ms, step_ms): (i64, i64, i64)) -> String {
    let mut texts = Vec::new();
    let mut at_ms = start_ms;
    while at_ms <= end_ms {
        let found = series.samples.iter().find(|(t, _)| *t == at_ms);
        texts.push(found.map_or("_".to_owned(), |(_, v)| v.to_string()));
        at_ms += step_ms;
    }
    format!("{} => {}", series.labels, texts.join(" "))
}
