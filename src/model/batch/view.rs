//! What a [`Batch`] shows: its families, their samples, the labels of each.

use super::{Batch, Family, Label, Sample, Suffix};
use crate::model::{Kind, Timestamp};

/// A family of a batch, with at least one sample.
#[derive(Clone, Copy)]
pub struct FamilyView<'a> {
    pub(super) batch: &'a Batch,
    pub(super) family: &'a Family,
    pub(in crate::model) id: u32,
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

    pub(in crate::model) fn all_samples(&self) -> impl Iterator<Item = SampleView<'a>> + use<'a> {
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
    pub(in crate::model) index: u32,
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

    pub(in crate::model) fn same_series(&self, other: &SampleView<'_>) -> bool {
        self.sample.suffix == other.sample.suffix && self.labels().iter().eq(other.labels().iter())
    }
}

/// The labels of one sample, sorted by name.
#[derive(Clone, Copy)]
pub struct LabelsView<'a> {
    pub(super) batch: &'a Batch,
    pub(super) labels: &'a [Label],
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
