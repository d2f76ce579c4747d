//! Results of checks: samples of families that are declared once.

use rustc_hash::FxHashMap;

use crate::model::{Batch, ColdSort, Kind, Timestamp};

/// A family of results.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

impl Family {
    pub(super) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help }
    }

    pub(super) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help }
    }
}

/// What is written for a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shown {
    Value(f64),
    /// Seconds since an instant, which grow from pass to pass; never below zero.
    Since(f64),
}

/// Labels in the order of their names.
pub(super) type SampleLabels = Vec<(String, String)>;

/// One result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) family: &'static str,
    pub(super) labels: SampleLabels,
    pub(super) shown: Shown,
}

/// Collects the samples of one run; each has the check's own labels.
#[derive(Debug, Default)]
pub(super) struct Samples {
    own: SampleLabels,
    all: Vec<Sample>,
}

impl Samples {
    pub(super) fn new(own: SampleLabels) -> Self {
        Self { own, all: Vec::new() }
    }

    pub(super) fn add(&mut self, family: &'static str, value: f64) {
        self.with(family, &[], value);
    }

    pub(super) fn with(&mut self, family: &'static str, labels: &[(&str, &str)], value: f64) {
        self.push(family, labels, Shown::Value(value));
    }

    pub(super) fn since(&mut self, family: &'static str, at: f64) {
        self.push(family, &[], Shown::Since(at));
    }

    /// A label of the sample stands in place of the check's of the same name.
    fn push(&mut self, family: &'static str, labels: &[(&str, &str)], shown: Shown) {
        let own = self.own.iter().filter(|(name, _)| labels.iter().all(|(other, _)| name != other)).cloned();
        let mut all: SampleLabels = own.collect();
        all.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        all.cold_sort();
        self.all.push(Sample { family, labels: all, shown });
    }

    pub(super) fn finish(self) -> Vec<Sample> {
        self.all
    }
}

/// Writes results, each looked at once. Within a family they are in the order of the checks; which family comes first is
/// the snapshot's to say.
pub(super) fn write<'a>(
    families: &[Family],
    results: impl Iterator<Item = &'a [Sample]>,
    now: Timestamp,
    out: &mut Batch,
) {
    let by_name: FxHashMap<_, _> = families.iter().map(|family| (family.name, family)).collect();
    let mut labels = Vec::new();
    for sample in results.flatten() {
        let Some(family) = by_name.get(sample.family) else { continue };
        let id = out.family(family.name, family.help, family.kind);
        labels.clear();
        labels.extend(sample.labels.iter().map(|(name, value)| (&**name, &**value)));
        let value = match sample.shown {
            Shown::Value(value) => value,
            Shown::Since(at) => (now.as_seconds_f64() - at).max(0.0),
        };
        out.sample(id, &labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_a_family_are_in_the_order_of_the_checks() {
        let families = [Family::gauge("a", "A."), Family::counter("b", "B.")];
        let of = |check: &str, at: f64| {
            let mut samples = Samples::new(vec![("check".to_owned(), check.to_owned())]);
            samples.add("b", at);
            samples.since("a", at);
            samples.add("unknown", 1.0);
            samples.finish()
        };
        let results = [of("second", 2.0), of("first", 1.0)];
        let mut out = Batch::new();
        let now = Timestamp::from_millis(10_000);
        write(&families, results.iter().map(|samples| &**samples), now, &mut out);
        let got: Vec<_> = out
            .families()
            .flat_map(|family| family.samples().map(move |sample| (family.name(), sample)))
            .map(|(name, sample)| (name, sample.labels().get("check"), sample.value()))
            .collect();
        let (first, second) = (Some("first"), Some("second"));
        assert_eq!(got, [("b", second, 2.0), ("b", first, 1.0), ("a", second, 8.0), ("a", first, 9.0)]);
    }
}
