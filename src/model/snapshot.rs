//! All that was gathered at one instant, families merged across sources, sorted, free of duplicates.
//!
//! Invariant: [`Snapshot::families`] yields every name once, in byte order, and no two samples of a
//! family share suffix and labels; of a duplicate the first is kept and the others are counted.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Batch, FamilyView, Kind, SampleView, Timestamp};

/// One source's share of a snapshot.
#[derive(Clone, Debug)]
pub struct Part {
    /// The source's name: a collector, a scrape target, a rule group.
    pub source: &'static str,
    /// What it gathered.
    pub batch: Arc<Batch>,
}

#[derive(Clone, Copy, Debug)]
struct FamilyRef {
    part: u32,
    family: u32,
}

/// Families of samples at one instant.
#[derive(Debug)]
pub struct Snapshot {
    at: Timestamp,
    parts: Vec<Part>,
    order: Vec<FamilyRef>,
    duplicates: u64,
}

impl Snapshot {
    /// Merges what the sources gathered at `at`.
    pub fn assemble(at: Timestamp, mut batches: Vec<(&'static str, Batch)>) -> Self {
        let order = sorted_families(batches.iter().map(|(_, b)| b));
        let duplicates = mark_duplicates(&mut batches, &order);
        let parts = batches.into_iter().map(|(source, b)| Part { source, batch: Arc::new(b) }).collect();
        Self { at, parts, order, duplicates }
    }

    /// The same instant, only the sources that `keep` names.
    #[must_use]
    pub fn subset(&self, keep: impl Fn(&str) -> bool) -> Self {
        let parts: Vec<Part> = self.parts.iter().filter(|p| keep(p.source)).cloned().collect();
        let order = sorted_families(parts.iter().map(|p| &*p.batch));
        Self { at: self.at, parts, order, duplicates: self.duplicates }
    }

    /// When the pass that made this began.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Samples left out because an equal series was there already.
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Number of samples, duplicates left out.
    pub fn series(&self) -> usize {
        self.parts.iter().map(|p| p.batch.distinct()).sum()
    }

    /// What each source gathered.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Takes the snapshot apart, so that the batches' buffers serve again.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    /// Families in byte order of their names, each name once.
    pub fn families(&self) -> impl Iterator<Item = MergedFamily<'_>> {
        let mut rest = self.order.as_slice();
        std::iter::from_fn(move || {
            let first = self.view(*rest.first()?)?;
            let same = rest.iter().take_while(|r| self.view(**r).is_some_and(|f| f.name() == first.name()));
            let (refs, tail) = rest.split_at_checked(same.count())?;
            rest = tail;
            Some(MergedFamily { snapshot: self, first, refs })
        })
    }

    fn view(&self, at: FamilyRef) -> Option<FamilyView<'_>> {
        self.parts.get(at.part as usize)?.batch.family_view(at.family)
    }
}

/// A family whose samples may come from several sources; the first source's help and type count.
pub struct MergedFamily<'a> {
    snapshot: &'a Snapshot,
    first: FamilyView<'a>,
    refs: &'a [FamilyRef],
}

impl<'a> MergedFamily<'a> {
    /// The name as in the 0.0.4 text format: a counter's `_total` included.
    pub fn name(&self) -> &'a str {
        self.first.name()
    }

    /// The help text, unescaped.
    pub fn help(&self) -> &'a str {
        self.first.help()
    }

    /// The unit, or "".
    pub fn unit(&self) -> &'a str {
        self.first.unit()
    }

    /// The type.
    pub fn kind(&self) -> Kind {
        self.first.kind()
    }

    /// Its samples: by source, then in the order the source gave them.
    pub fn samples(&self) -> impl Iterator<Item = SampleView<'a>> + use<'a> {
        let snapshot = self.snapshot;
        self.refs.iter().filter_map(move |r| snapshot.view(*r)).flat_map(|f| f.samples())
    }
}

fn sorted_families<'a>(batches: impl Iterator<Item = &'a Batch>) -> Vec<FamilyRef> {
    let mut named: Vec<(&str, FamilyRef)> = Vec::new();
    for (part, batch) in batches.enumerate() {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        named.extend(batch.families().map(|f| (f.name(), FamilyRef { part, family: f.id })));
    }
    named.sort_by_key(|(name, _)| *name);
    named.into_iter().map(|(_, r)| r).collect()
}

/// Marks all but the first of equal series; returns how many there were.
fn mark_duplicates(batches: &mut [(&'static str, Batch)], order: &[FamilyRef]) -> u64 {
    let mut found: Vec<(u32, u32)> = Vec::new();
    {
        let view = |r: &FamilyRef| batches.get(r.part as usize)?.1.family_view(r.family);
        let mut seen: FxHashMap<u64, SampleView<'_>> = FxHashMap::default();
        let mut name = "";
        for (at, r) in order.iter().enumerate() {
            let Some(family) = view(r) else { continue };
            if family.name() != name {
                name = family.name();
                seen.clear();
                let alone = order.get(at + 1).and_then(view).is_none_or(|next| next.name() != name);
                if alone && family.all_samples().nth(1).is_none() {
                    continue;
                }
            }
            for sample in family.all_samples() {
                match seen.entry(sample.hash()) {
                    std::collections::hash_map::Entry::Vacant(free) => drop(free.insert(sample)),
                    std::collections::hash_map::Entry::Occupied(first) => {
                        if first.get().same_series(&sample) {
                            found.push((r.part, sample.index));
                        }
                    }
                }
            }
        }
    }
    for (part, sample) in &found {
        if let Some((_, batch)) = batches.get_mut(*part as usize) {
            batch.mark_duplicate(*sample);
        }
    }
    found.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_merged_sorted_and_free_of_duplicates() {
        let (mut a, mut b) = (Batch::new(), Batch::new());
        a.gauge("z", "Z.", &[("d", "1")], 1.0);
        a.gauge("a", "A.", &[], 2.0);
        b.gauge("z", "Other help.", &[("d", "2")], 3.0);
        b.gauge("z", "Other help.", &[("d", "1")], 4.0);
        b.gauge("m", "M.", &[], 5.0);
        b.gauge("m", "M.", &[], 6.0);
        let snapshot = Snapshot::assemble(Timestamp::from_millis(7), vec![("one", a), ("two", b)]);
        let shown: Vec<(String, Vec<f64>)> = snapshot
            .families()
            .map(|f| (f.name().to_owned(), f.samples().map(|s| s.value()).collect()))
            .collect();
        assert_eq!(shown, [("a".into(), vec![2.0]), ("m".into(), vec![5.0]), ("z".into(), vec![1.0, 3.0])]);
        assert_eq!(snapshot.duplicates(), 2);
        assert_eq!(snapshot.series(), 4);
        assert_eq!(snapshot.subset(|s| s == "two").families().count(), 2);
    }
}
