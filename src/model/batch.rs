//! What one source gathered at one instant: families of samples in reusable arenas.
//!
//! A [`Batch`] is filled, read and cleared once a tick, for as long as the process lives. Clearing
//! keeps every buffer *and* the table of families, so a steady source allocates nothing: a family's
//! name and help are copied once. The samples of the last tick stay as well, as a guess at what comes:
//! one that comes again in its place costs a comparison of its labels. The first that differs ends the guessing.
//!
//! Invariants: the labels of a sample are sorted by name (the order of the exposition formats);
//! samples of a family keep the order in which they were pushed; never more than
//! [`Batch::set_limit`] samples - those beyond are counted in [`Batch::over_limit`], not kept.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHasher};

use super::{Kind, Timestamp};

mod view;

pub use view::{FamilyView, LabelsView, SampleView};

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

#[derive(Debug, PartialEq, Eq)]
struct Label {
    name: Span,
    value: Span,
}

#[derive(Debug)]
struct Sample {
    value: f64,
    timestamp: Option<Timestamp>,
    family: u32,
    /// Where the text of its labels begins.
    text: u32,
    labels: Span,
    hash: u64,
    next: Option<u32>,
    suffix: Suffix,
    duplicate: bool,
}

impl Family {
    /// In batches whose samples are alike: whether name, help, unit, type and samples are.
    fn is_same_as(&self, other: &Self) -> bool {
        self.first == other.first
            && (self.first.is_none()
                || (self.kind == other.kind
                    && self.name == other.name
                    && self.help == other.help
                    && self.unit == other.unit))
    }
}

impl Sample {
    /// In batches of the same labels and text: whether all but the value is alike.
    fn is_series_of(&self, other: &Self) -> bool {
        self.labels == other.labels
            && self.next == other.next
            && self.suffix == other.suffix
            && self.timestamp == other.timestamp
    }
}

/// Families of samples from one source at one instant. See the module's page for its costs.
#[derive(Debug)]
pub struct Batch {
    families: Vec<Family>,
    by_name: FxHashMap<u64, u32>,
    /// Families at the last clear. A table that grew since starts anew, so that all batches of a source have
    /// their families in the order of use: [`Snapshot`](super::Snapshot) takes one's order for the next.
    settled: usize,
    /// Those of this tick, and beyond `filled` those that came there in the last one.
    samples: Vec<Sample>,
    filled: usize,
    labels: Vec<Label>,
    text: String,
    /// Two batches of one number, both settled, are the same but for values and marks of duplicates.
    outline: u64,
    limit: usize,
    over_limit: u64,
    conflicts: u64,
    duplicates: usize,
}

/// A number that no batch has.
fn new_outline() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// Families kept across ticks although unused: beyond this (plus twice those in use) all are
/// forgotten, so that a source whose names change for ever does not grow.
const IDLE_FAMILIES: usize = 1_024;

impl Default for Batch {
    fn default() -> Self {
        Self {
            families: Vec::new(),
            by_name: FxHashMap::default(),
            settled: 0,
            samples: Vec::new(),
            filled: 0,
            labels: Vec::new(),
            text: String::new(),
            outline: new_outline(),
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
        let in_use = || self.families.iter().filter(|f| f.used).count();
        let grew = self.settled > 0 && self.families.len() > self.settled;
        if grew || (self.families.len() > IDLE_FAMILIES && self.families.len() > IDLE_FAMILIES + 2 * in_use())
        {
            self.cut(0);
            self.families.clear();
            self.by_name.clear();
            self.outline = new_outline();
        }
        self.settled = self.families.len();
        for family in &mut self.families {
            family.used = false;
            family.first = None;
        }
        self.filled = 0;
        self.over_limit = 0;
        self.conflicts = 0;
        self.duplicates = 0;
    }

    /// Forgets what came in the last tick and has not come again. Without it, the batch is no less right.
    pub(super) fn settle(&mut self) {
        self.cut(self.filled);
    }

    /// Forgets the samples from this one on.
    fn cut(&mut self, samples: usize) {
        let Some(first) = self.samples.get(samples) else { return };
        self.text.truncate(first.text as usize);
        self.labels.truncate(first.labels.start as usize);
        self.samples.truncate(samples);
        self.outline = new_outline();
    }

    /// The family of this name: made at its first use, found again after.
    ///
    /// The first use within a tick sets help and kind; a later use with another kind is counted in
    /// [`Self::conflicts`] and takes the first one's.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) -> FamilyId {
        // The family of the sample that came here in the last tick.
        if let Some(expected) = self.samples.get(self.filled).map(|s| s.family)
            && self.name_is(expected, name)
        {
            self.reuse(expected, help, kind);
            return FamilyId(expected);
        }
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
        self.outline = new_outline();
        FamilyId(id)
    }

    fn name_is(&self, id: u32, name: &str) -> bool {
        self.families.get(id as usize).is_some_and(|f| &*f.name == name)
    }

    fn reuse(&mut self, id: u32, help: &str, kind: Kind) {
        let Some(family) = self.families.get_mut(id as usize) else { return };
        if !family.used {
            family.used = true;
            if family.kind != kind || &*family.help != help {
                family.kind = kind;
                family.help = help.into();
                self.outline = new_outline();
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
            self.outline = new_outline();
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
        if self.filled >= self.limit {
            self.over_limit += 1;
            return;
        }
        let this = u32::try_from(self.filled).unwrap_or(u32::MAX);
        if !self.comes_again(family, suffix, labels, value, timestamp) {
            self.comes_anew(family, suffix, labels, value, timestamp);
        }
        self.filled += 1;
        let Some(entry) = self.families.get_mut(family.0 as usize) else { return };
        let previous = std::mem::replace(&mut entry.last, this);
        if entry.first.is_none() {
            entry.first = Some(this);
        } else if let Some(previous) = self.samples.get_mut(previous as usize) {
            previous.next = Some(this);
        }
    }

    /// Takes the value, if such a sample came here in the last tick.
    fn comes_again(
        &mut self,
        family: FamilyId,
        suffix: Suffix,
        labels: &[(&str, &str)],
        value: f64,
        timestamp: Option<Timestamp>,
    ) -> bool {
        let Some(last) = self.samples.get(self.filled) else { return false };
        let kept = self.labels.get(last.labels.start as usize..last.labels.end as usize).unwrap_or_default();
        let is = |kept: &Label, (name, value): &(&str, &str)| {
            self.text(&kept.name) == *name && self.text(&kept.value) == *value
        };
        let same = last.family == family.0
            && last.suffix == suffix
            && last.timestamp == timestamp
            && kept.len() == labels.len()
            && kept.iter().zip(labels).all(|(kept, given)| is(kept, given));
        if let Some(sample) = self.samples.get_mut(self.filled).filter(|_| same) {
            (sample.value, sample.next, sample.duplicate) = (value, None, false);
        }
        same
    }

    fn comes_anew(
        &mut self,
        family: FamilyId,
        suffix: Suffix,
        labels: &[(&str, &str)],
        value: f64,
        timestamp: Option<Timestamp>,
    ) {
        if !labels.is_sorted_by_key(|(name, _)| *name) && self.filled < self.samples.len() {
            let mut sorted = labels.to_vec();
            sorted.sort_by_key(|(name, _)| *name);
            if self.comes_again(family, suffix, &sorted, value, timestamp) {
                return;
            }
        }
        self.cut(self.filled);
        self.push(family, suffix, labels, value, timestamp);
    }

    fn push(
        &mut self,
        family: FamilyId,
        suffix: Suffix,
        labels: &[(&str, &str)],
        value: f64,
        timestamp: Option<Timestamp>,
    ) {
        let (first_label, text) = (self.labels.len(), self.text.len());
        for (name, value) in labels {
            let label = Label { name: self.keep(name), value: self.keep(value) };
            self.labels.push(label);
        }
        self.sort_labels(first_label);
        let labels = span(first_label, self.labels.len());
        let hash = self.hash_labels(&labels, suffix);
        let (family, text) = (family.0, span(text, text).start);
        let sample =
            Sample { value, timestamp, family, text, labels, hash, next: None, suffix, duplicate: false };
        self.samples.push(sample);
        self.outline = new_outline();
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
    pub const fn len(&self) -> usize {
        self.filled
    }

    /// Number of samples, those marked as duplicates left out.
    pub(super) const fn distinct(&self) -> usize {
        self.filled - self.duplicates
    }

    /// Whether there is no sample.
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Number of samples for which there is room within the limit.
    pub const fn room(&self) -> usize {
        self.limit.saturating_sub(self.filled)
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

    /// Marks the samples that are marked in a batch of the same outline.
    pub(super) fn mark_duplicates_of(&mut self, other: &Self) {
        if other.duplicates == 0 {
            return;
        }
        for (sample, other) in self.samples.iter_mut().zip(&other.samples) {
            sample.duplicate = other.duplicate;
        }
        self.duplicates = other.duplicates;
    }

    /// Of two that are settled: whether nothing but values, and marks of duplicates, tells them apart. Once that was
    /// found, it costs nothing until either changes.
    pub(super) fn takes_outline_of(&mut self, other: &Self) -> bool {
        if self.outline != other.outline && self.has_outline_of(other) {
            self.outline = other.outline;
        }
        self.outline == other.outline
    }

    fn has_outline_of(&self, other: &Self) -> bool {
        self.samples.len() == other.samples.len()
            && self.text == other.text
            && self.labels == other.labels
            && self.samples.iter().zip(&other.samples).all(|(a, b)| a.is_series_of(b))
            && self.families.len() == other.families.len()
            && self.families.iter().zip(&other.families).all(|(a, b)| a.is_same_as(b))
    }

    /// The value of the sample that was pushed as number `sample`.
    pub(super) fn value(&self, sample: u32) -> Option<f64> {
        self.samples.get(sample as usize).map(|s| s.value)
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

#[cfg(test)]
mod tests;
