//! What one source gathered at one instant: families of samples in reusable arenas.
//!
//! A [`Batch`] is filled, read and cleared once a tick, for as long as the process lives. Clearing
//! keeps every buffer *and* the table of families, so a steady source allocates nothing: a family's
//! name and help are copied once, a sample costs the bytes of its labels.
//!
//! Invariants: the labels of a sample are sorted by name (the order of the exposition formats);
//! samples of a family keep the order in which they were pushed; never more than
//! [`Batch::set_limit`] samples - those beyond are counted in [`Batch::over_limit`], not kept.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use rustc_hash::{FxBuildHasher, FxHashMap, FxHasher};

use super::{Kind, Timestamp};

/// Handle of a family within one [`Batch`], valid until [`Batch::clear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyId(u32);

/// Which sample of a composed family this is; [`Suffix::None`] for plain ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suffix {
    /// The family's own name. A counter's `_total` and an info's `_info` are part of that name.
    #[default]
    None,
    /// `_bucket`, with label `le`.
    Bucket,
    /// `_sum`.
    Sum,
    /// `_count`.
    Count,
    /// `_gsum` of a gauge histogram.
    GaugeSum,
    /// `_gcount` of a gauge histogram.
    GaugeCount,
    /// `_created`, seconds since the epoch (OpenMetrics only).
    Created,
}

impl Suffix {
    /// The text appended to the family's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bucket => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
            Self::GaugeSum => "_gsum",
            Self::GaugeCount => "_gcount",
            Self::Created => "_created",
        }
    }
}

type Span = Range<u32>;

#[derive(Debug)]
struct Family {
    name: Box<str>,
    help: Box<str>,
    unit: Box<str>,
    kind: Kind,
    first: Option<u32>,
    last: u32,
    /// Set by the first use in this tick; the next use must agree with it.
    used: bool,
}

#[derive(Debug)]
struct Label {
    name: Span,
    value: Span,
}

#[derive(Debug)]
struct Sample {
    value: f64,
    timestamp: Option<Timestamp>,
    labels: Span,
    hash: u64,
    next: Option<u32>,
    suffix: Suffix,
    duplicate: bool,
}

/// Families of samples from one source at one instant. See the module's page for its costs.
#[derive(Debug)]
pub struct Batch {
    families: Vec<Family>,
    by_name: FxHashMap<u64, u32>,
    samples: Vec<Sample>,
    labels: Vec<Label>,
    text: String,
    limit: usize,
    over_limit: u64,
    conflicts: u64,
    duplicates: usize,
}

/// Families kept across ticks although unused: beyond this (plus twice those in use) all are
/// forgotten, so that a source whose names change for ever does not grow.
const IDLE_FAMILIES: usize = 1_024;

impl Default for Batch {
    fn default() -> Self {
        Self {
            families: Vec::new(),
            by_name: FxHashMap::default(),
            samples: Vec::new(),
            labels: Vec::new(),
            text: String::new(),
            limit: usize::MAX,
            over_limit: 0,
            conflicts: 0,
            duplicates: 0,
        }
    }
}

impl Batch {
    /// An empty batch without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most this many samples a tick; the rest is counted in [`Self::over_limit`].
    pub const fn set_limit(&mut self, samples: usize) {
        self.limit = samples;
    }

    /// Forgets the samples, keeps the buffers and the families.
    pub fn clear(&mut self) {
        let in_use = self.families.iter().filter(|f| f.used).count();
        if self.families.len() > IDLE_FAMILIES + 2 * in_use {
            self.families.clear();
            self.by_name.clear();
        }
        for family in &mut self.families {
            family.used = false;
            family.first = None;
        }
        self.samples.clear();
        self.labels.clear();
        self.text.clear();
        self.over_limit = 0;
        self.conflicts = 0;
        self.duplicates = 0;
    }

    /// The family of this name: made at its first use, found again after.
    ///
    /// The first use within a tick sets help and kind; a later use with another kind is counted in
    /// [`Self::conflicts`] and takes the first one's.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) -> FamilyId {
        let hash = FxBuildHasher.hash_one(name);
        let found = self.by_name.get(&hash).copied().filter(|&i| self.name_is(i, name));
        let found = found.or_else(|| {
            // Two names of one hash: rare enough for a scan.
            let collision = self.by_name.contains_key(&hash);
            let at = collision.then(|| self.families.iter().position(|f| &*f.name == name)).flatten();
            at.and_then(|i| u32::try_from(i).ok())
        });
        if let Some(id) = found {
            self.reuse(id, help, kind);
            return FamilyId(id);
        }
        let id = u32::try_from(self.families.len()).unwrap_or(u32::MAX);
        self.families.push(Family {
            name: name.into(),
            help: help.into(),
            unit: Box::default(),
            kind,
            first: None,
            last: 0,
            used: true,
        });
        self.by_name.entry(hash).or_insert(id);
        FamilyId(id)
    }

    fn name_is(&self, id: u32, name: &str) -> bool {
        self.families.get(id as usize).is_some_and(|f| &*f.name == name)
    }

    fn reuse(&mut self, id: u32, help: &str, kind: Kind) {
        let Some(family) = self.families.get_mut(id as usize) else { return };
        if !family.used {
            family.used = true;
            family.kind = kind;
            if &*family.help != help {
                family.help = help.into();
            }
        } else if family.kind != kind {
            self.conflicts += 1;
        }
    }

    /// Sets the unit (OpenMetrics `# UNIT`) of a family.
    pub fn set_unit(&mut self, family: FamilyId, unit: &str) {
        if let Some(family) = self.families.get_mut(family.0 as usize)
            && &*family.unit != unit
        {
            family.unit = unit.into();
        }
    }

    /// Adds a plain sample. `labels` may come in any order.
    pub fn sample(&mut self, family: FamilyId, labels: &[(&str, &str)], value: f64) {
        self.sample_full(family, Suffix::None, labels, value, None);
    }

    /// Adds a sample with everything a sample can have.
    pub fn sample_full(
        &mut self,
        family: FamilyId,
        suffix: Suffix,
        labels: &[(&str, &str)],
        value: f64,
        timestamp: Option<Timestamp>,
    ) {
        if self.samples.len() >= self.limit {
            self.over_limit += 1;
            return;
        }
        let first_label = self.labels.len();
        for (name, value) in labels {
            let label = Label { name: self.keep(name), value: self.keep(value) };
            self.labels.push(label);
        }
        self.sort_labels(first_label);
        let labels = span(first_label, self.labels.len());
        let hash = self.hash_labels(&labels, suffix);
        let this = u32::try_from(self.samples.len()).unwrap_or(u32::MAX);
        self.samples.push(Sample { value, timestamp, labels, hash, next: None, suffix, duplicate: false });
        let Some(entry) = self.families.get_mut(family.0 as usize) else { return };
        let previous = std::mem::replace(&mut entry.last, this);
        if entry.first.is_none() {
            entry.first = Some(this);
        } else if let Some(previous) = self.samples.get_mut(previous as usize) {
            previous.next = Some(this);
        }
    }

    /// Adds a sample of a gauge family: family and sample in one call.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let family = self.family(name, help, Kind::Gauge);
        self.sample(family, labels, value);
    }

    /// Adds a sample of a counter family; `name` ends on `_total` by convention.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let family = self.family(name, help, Kind::Counter);
        self.sample(family, labels, value);
    }

    /// Adds a sample of a family whose type is not known.
    pub fn untyped(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let family = self.family(name, help, Kind::Untyped);
        self.sample(family, labels, value);
    }

    /// Number of samples held.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Number of samples, those marked as duplicates left out.
    pub(super) const fn distinct(&self) -> usize {
        self.samples.len() - self.duplicates
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Samples refused because of the limit since the last clear.
    pub const fn over_limit(&self) -> u64 {
        self.over_limit
    }

    /// Uses of a family with another kind than its first since the last clear.
    pub const fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// The families that have samples, in order of first use ever.
    pub fn families(&self) -> impl Iterator<Item = FamilyView<'_>> {
        let ids = 0..u32::try_from(self.families.len()).unwrap_or(u32::MAX);
        ids.filter_map(|id| self.family_view(id))
    }

    pub(super) fn family_view(&self, id: u32) -> Option<FamilyView<'_>> {
        let family = self.families.get(id as usize).filter(|f| f.first.is_some())?;
        Some(FamilyView { batch: self, family, id })
    }

    /// Marks the sample as one that is already there under the same name and labels.
    pub(super) fn mark_duplicate(&mut self, sample: u32) {
        if let Some(sample) = self.samples.get_mut(sample as usize)
            && !sample.duplicate
        {
            sample.duplicate = true;
            self.duplicates += 1;
        }
    }

    fn keep(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        span(start, self.text.len())
    }

    fn text(&self, at: &Span) -> &str {
        self.text.get(at.start as usize..at.end as usize).unwrap_or_default()
    }

    /// Insertion sort: label sets are short and mostly in order already.
    fn sort_labels(&mut self, first: usize) {
        for end in first + 1..self.labels.len() {
            let mut at = end;
            while at > first && self.label_name(at) < self.label_name(at - 1) {
                self.labels.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn label_name(&self, at: usize) -> &str {
        self.labels.get(at).map_or("", |l| self.text(&l.name))
    }

    fn hash_labels(&self, labels: &Span, suffix: Suffix) -> u64 {
        let mut hasher = FxHasher::default();
        hasher.write_u8(suffix as u8);
        for (name, value) in self.labels_view(labels).iter() {
            hasher.write(name.as_bytes());
            hasher.write_u8(0xff);
            hasher.write(value.as_bytes());
            hasher.write_u8(0xfe);
        }
        hasher.finish()
    }

    fn labels_view(&self, labels: &Span) -> LabelsView<'_> {
        let labels = self.labels.get(labels.start as usize..labels.end as usize).unwrap_or_default();
        LabelsView { batch: self, labels }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the sample limit keeps arenas far below 4 GiB")]
const fn span(start: usize, end: usize) -> Span {
    start as u32..end as u32
}

/// A family of a batch, with at least one sample.
#[derive(Clone, Copy)]
pub struct FamilyView<'a> {
    batch: &'a Batch,
    family: &'a Family,
    pub(super) id: u32,
}

impl<'a> FamilyView<'a> {
    /// The name as in the 0.0.4 text format: a counter's `_total` included.
    pub fn name(&self) -> &'a str {
        &self.family.name
    }

    /// The help text, unescaped.
    pub fn help(&self) -> &'a str {
        &self.family.help
    }

    /// The unit, or "" if none was given.
    pub fn unit(&self) -> &'a str {
        &self.family.unit
    }

    /// The type.
    pub fn kind(&self) -> Kind {
        self.family.kind
    }

    /// Its samples in push order, duplicates left out.
    pub fn samples(&self) -> impl Iterator<Item = SampleView<'a>> + use<'a> {
        self.all_samples().filter(|s| !s.sample.duplicate)
    }

    pub(super) fn all_samples(&self) -> impl Iterator<Item = SampleView<'a>> + use<'a> {
        let batch = self.batch;
        let mut next = self.family.first;
        std::iter::from_fn(move || {
            let index = next?;
            let sample = batch.samples.get(index as usize)?;
            next = sample.next;
            Some(SampleView { batch, sample, index })
        })
    }
}

/// One sample of a family.
#[derive(Clone, Copy)]
pub struct SampleView<'a> {
    batch: &'a Batch,
    sample: &'a Sample,
    pub(super) index: u32,
}

impl<'a> SampleView<'a> {
    /// The value.
    pub fn value(&self) -> f64 {
        self.sample.value
    }

    /// The sample's own timestamp, if its source gave one.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.sample.timestamp
    }

    /// Which part of a composed family this is.
    pub fn suffix(&self) -> Suffix {
        self.sample.suffix
    }

    /// The labels, sorted by name.
    pub fn labels(&self) -> LabelsView<'a> {
        self.batch.labels_view(&self.sample.labels)
    }

    /// Hash of suffix and labels; equal for equal series of one family within one process.
    pub fn hash(&self) -> u64 {
        self.sample.hash
    }

    pub(super) fn same_series(&self, other: &SampleView<'_>) -> bool {
        self.sample.suffix == other.sample.suffix && self.labels().iter().eq(other.labels().iter())
    }
}

/// The labels of one sample, sorted by name.
#[derive(Clone, Copy)]
pub struct LabelsView<'a> {
    batch: &'a Batch,
    labels: &'a [Label],
}

impl<'a> LabelsView<'a> {
    /// Name and value of each label.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let batch = self.batch;
        self.labels.iter().map(move |l| (batch.text(&l.name), batch.text(&l.value)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The value of the label of this name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(batch: &Batch) -> Vec<String> {
        let mut out = Vec::new();
        for family in batch.families() {
            for s in family.samples() {
                let labels: Vec<_> = s.labels().iter().map(|(n, v)| format!("{n}={v}")).collect();
                out.push(format!(
                    "{}{}{{{}}} {}",
                    family.name(),
                    s.suffix().as_str(),
                    labels.join(","),
                    s.value()
                ));
            }
        }
        out
    }

    #[test]
    fn samples_of_a_family_stay_together_and_labels_are_sorted() {
        let mut b = Batch::new();
        for device in ["eth0", "lo"] {
            b.counter("rx_total", "Received.", &[("device", device), ("a", "1")], 1.0);
            b.counter("tx_total", "Sent.", &[("device", device)], 2.0);
        }
        assert_eq!(
            shown(&b),
            [
                "rx_total{a=1,device=eth0} 1",
                "rx_total{a=1,device=lo} 1",
                "tx_total{device=eth0} 2",
                "tx_total{device=lo} 2"
            ]
        );
    }

    #[test]
    fn clear_keeps_families_without_showing_them() {
        let mut b = Batch::new();
        b.gauge("a", "A.", &[], 1.0);
        b.gauge("b", "B.", &[], 1.0);
        b.clear();
        b.gauge("b", "New help.", &[], 2.0);
        assert_eq!(shown(&b), ["b{} 2"]);
        assert_eq!(b.families().next().map(|f| f.help().to_owned()).as_deref(), Some("New help."));
    }

    #[test]
    fn names_that_change_for_ever_do_not_grow_the_table() {
        let mut b = Batch::new();
        for tick in 0..50 {
            b.clear();
            for i in 0..100 {
                b.gauge(&format!("m_{tick}_{i}"), "", &[], 0.0);
            }
        }
        assert!(b.families.len() <= IDLE_FAMILIES + 300, "{}", b.families.len());
    }

    #[test]
    fn limit_and_conflicts_are_counted() {
        let mut b = Batch::new();
        b.set_limit(2);
        for i in 0..5 {
            b.gauge("a", "", &[], f64::from(i));
        }
        b.counter("a", "", &[], 0.0);
        assert_eq!((b.len(), b.over_limit(), b.conflicts()), (2, 4, 1));
    }
}
