//! Pushed families in the shape in which they are compared and shown: one metric, one label set.
//!
//! Invariants: a metric's labels are sorted, hold those of the grouping key and an `instance`; a histogram has
//! its `+Inf` bucket wherever it is handed out.

use std::collections::HashMap;

use super::Grouping;
use crate::expose::push_open_metrics_float;
use crate::model::{
    Batch, ColdSort, FamilyId, FamilyView, Kind, Labels, METRIC_NAME, Row, SampleView, Suffix, Timestamp,
};

/// Names and values, sorted.
pub(super) type LabelSet = Vec<(Box<str>, Box<str>)>;

/// A family of one group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: Kind,
    pub(super) metrics: Vec<Metric>,
    /// When it was pushed.
    pub(super) pushed: Timestamp,
}

/// One metric: what shares a label set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric {
    pub(super) labels: LabelSet,
    pub(super) value: Value,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Plain(f64),
    /// Of summaries (bounds are quantiles) and histograms (bounds are upper bounds of cumulative buckets).
    Composed {
        bounds: Vec<(f64, f64)>,
        sum: Option<f64>,
        count: Option<f64>,
    },
}

/// The label of a bound, in families that have bounds.
pub(super) const fn bound_label(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Summary => Some("quantile"),
        Kind::Histogram | Kind::GaugeHistogram => Some("le"),
        _ => None,
    }
}

/// The families of a batch, as a push of this group means them.
pub(super) fn families_of(batch: &Batch, grouping: &Grouping, now: Timestamp) -> Vec<Family> {
    let mut families: Vec<Family> = batch.families().map(|view| family_of(&view, grouping, now)).collect();
    // Of a family that holds nothing but `_created`.
    families.retain(|family| !family.metrics.is_empty());
    families.cold_sort_by(|a, b| a.name.cmp(&b.name));
    families
}

fn family_of(view: &FamilyView<'_>, grouping: &Grouping, now: Timestamp) -> Family {
    let kind = view.kind();
    let mut metrics: Vec<Metric> = Vec::new();
    // Of the label sets whose parts are still being gathered.
    let mut composed: HashMap<LabelSet, usize> = HashMap::new();
    for sample in view.samples().filter(|sample| sample.suffix() != Suffix::Created) {
        let labels = full_labels(&sample, grouping, bound_label(kind));
        let Some(bound) = bound_label(kind) else {
            metrics.push(Metric::new(labels, Value::Plain(sample.value())));
            continue;
        };
        let at = *composed.entry(labels).or_insert_with_key(|labels| {
            let value = Value::Composed { bounds: Vec::new(), sum: None, count: None };
            metrics.push(Metric::new(labels.clone(), value));
            metrics.len() - 1
        });
        if let Some(metric) = metrics.get_mut(at) {
            metric.value.add(&sample, bound);
        }
    }
    Family { name: view.name().to_owned(), help: view.help().to_owned(), kind, metrics, pushed: now }
}

/// The sample's labels, those of the group in their place, and an empty `instance` if there is none: so that no
/// scraper sets its own.
fn full_labels(sample: &SampleView<'_>, grouping: &Grouping, bound: Option<&str>) -> LabelSet {
    let own = sample.labels();
    let own = own.iter().filter(|(name, _)| !grouping.has(name) && Some(*name) != bound);
    let mut labels: LabelSet =
        own.chain(grouping.iter()).map(|(name, value)| (name.into(), value.into())).collect();
    if !labels.iter().any(|(name, _)| &**name == "instance") {
        labels.push(("instance".into(), "".into()));
    }
    labels.cold_sort();
    labels
}

impl Value {
    fn add(&mut self, sample: &SampleView<'_>, bound: &str) {
        let Self::Composed { bounds, sum, count } = self else { return };
        match sample.suffix() {
            Suffix::Sum | Suffix::GaugeSum => *sum = Some(sample.value()),
            Suffix::Count | Suffix::GaugeCount => *count = Some(sample.value()),
            _ => {
                let at = sample.labels().get(bound).and_then(|text| text.parse().ok());
                if let Some(at) = at {
                    bounds.push((at, sample.value()));
                }
            }
        }
    }
}

impl Metric {
    pub(super) const fn new(labels: LabelSet, value: Value) -> Self {
        Self { labels, value }
    }

    /// The order in which a Pushgateway shows them: fewer labels first, then by values.
    pub(super) fn order<'a>(&'a self) -> impl Ord + use<'a> {
        let values: Vec<&str> = self.labels.iter().map(|(_, value)| &**value).collect();
        (self.labels.len(), values)
    }

    /// Every sample of it: suffix, bound if it is a bucket or quantile, value.
    pub(super) fn parts(&self, kind: Kind, mut part: impl FnMut(Suffix, Option<f64>, f64)) {
        let (bounds, sum, count) = match &self.value {
            Value::Plain(value) => return part(Suffix::None, None, *value),
            Value::Composed { bounds, sum, count } => (bounds, sum.unwrap_or(0.0), count.unwrap_or(0.0)),
        };
        let suffix = if kind == Kind::Summary { Suffix::None } else { Suffix::Bucket };
        for (bound, value) in bounds {
            part(suffix, Some(*bound), *value);
        }
        if suffix == Suffix::Bucket && !bounds.iter().any(|(bound, _)| *bound == f64::INFINITY) {
            part(suffix, Some(f64::INFINITY), count);
        }
        part(Suffix::Sum, None, sum);
        part(Suffix::Count, None, count);
    }

    /// Adds all of it to a family of the exposition.
    pub(super) fn expose(&self, kind: Kind, id: FamilyId, batch: &mut Batch) {
        let bound_name = bound_label(kind).unwrap_or_default();
        let mut spelled = Vec::new();
        self.parts(kind, |suffix, bound, value| {
            let own = self.labels.iter().map(|(name, value)| (&**name, &**value));
            let mut labels: Vec<(&str, &str)> = own.filter(|(name, _)| *name != bound_name).collect();
            spelled.clear();
            if let Some(bound) = bound {
                crate::expose::push_float(&mut spelled, bound);
                labels.push((bound_name, std::str::from_utf8(&spelled).unwrap_or_default()));
            }
            batch.sample_full(id, suffix, &labels, value, None);
        });
    }
}

impl Family {
    /// Its series, as a scraper that honours labels would have them.
    pub(super) fn rows(&self, rows: &mut Vec<Row>) {
        let bound_name = bound_label(self.kind).unwrap_or_default();
        let mut spelled = Vec::new();
        for metric in &self.metrics {
            metric.parts(self.kind, |suffix, bound, value| {
                let name = format!("{}{}", self.name, suffix.as_str());
                spelled.clear();
                if let Some(bound) = bound {
                    // As Prometheus 3 spells bounds in its store, whatever the format they came in.
                    push_open_metrics_float(&mut spelled, bound);
                }
                let bound = (bound_name, std::str::from_utf8(&spelled).unwrap_or_default());
                let own = metric.labels.iter().map(|(name, value)| (&**name, &**value));
                let own = own.filter(|(name, _)| *name != bound_name);
                let labels = Labels::from_pairs(own.chain([(METRIC_NAME, name.as_str()), bound]));
                rows.push(Row { labels, value, timestamp: None });
            });
        }
    }

    /// Number of series.
    pub(super) fn series(&self) -> usize {
        let mut series = 0;
        for metric in &self.metrics {
            metric.parts(self.kind, |_, _, _| series += 1);
        }
        series
    }
}
