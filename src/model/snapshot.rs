//! All that was gathered at one instant, families merged across sources, sorted, free of duplicates.
//!
//! Invariant: [`Snapshot::families`] yields every name once, in byte order, and no two samples of a
//! family share suffix and labels; of a duplicate the first is kept and the others are counted.
//!
//! Most passes differ from the one before in values only. Then both snapshots share one [`Outline`], and whoever made
//! something of it - the order of families, a text around values - need not make it again.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Batch, ColdSort, FamilyView, Kind, SampleView, Timestamp};

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
    /// Whether it has the name of the one before it.
    continues: bool,
}

/// Everything in a snapshot but its instant and its values.
#[derive(Debug)]
pub struct Outline {
    order: Vec<FamilyRef>,
    duplicates: u64,
}

/// Where a sample is in every snapshot of one [`Outline`].
#[derive(Clone, Copy, Debug)]
pub struct SamplePlace {
    part: u32,
    sample: u32,
}

/// Families of samples at one instant.
#[derive(Debug)]
pub struct Snapshot {
    at: Timestamp,
    parts: Vec<Part>,
    outline: Arc<Outline>,
}

impl Snapshot {
    /// Merges what the sources gathered at `at`.
    pub fn assemble(at: Timestamp, batches: Vec<(&'static str, Batch)>) -> Self {
        Self::assemble_after(None, at, batches)
    }

    /// As [`Self::assemble`], with the last snapshot of the same sources: where they gave the same series again,
    /// its outline is taken over; where they gave the same families, its order instead of sorting anew.
    pub fn assemble_after(
        previous: Option<&Self>,
        at: Timestamp,
        mut batches: Vec<(&'static str, Batch)>,
    ) -> Self {
        batches.iter_mut().for_each(|(_, batch)| batch.settle());
        let outline = previous.and_then(|p| p.continued_by(&mut batches)).unwrap_or_else(|| {
            let views: Vec<_> = batches.iter().map(|(_, b)| b).collect();
            let order = previous.and_then(|p| confirmed(&p.outline.order, &views));
            let order = order.unwrap_or_else(|| sorted(&views));
            let duplicates = mark_duplicates(&mut batches, &order);
            Arc::new(Outline { order, duplicates })
        });
        let parts = batches.into_iter().map(|(source, b)| Part { source, batch: Arc::new(b) }).collect();
        Self { at, parts, outline }
    }

    /// This snapshot's outline, if it is also that of these; duplicates are then marked in them.
    fn continued_by(&self, batches: &mut [(&'static str, Batch)]) -> Option<Arc<Outline>> {
        let mut same = self.parts.len() == batches.len();
        for (part, (source, batch)) in self.parts.iter().zip(&mut *batches) {
            // Each of them, also after one that differs: the next comparison finds it done.
            same &= part.source == *source && batch.takes_outline_of(&part.batch);
        }
        if !same {
            return None;
        }
        for (part, (_, batch)) in self.parts.iter().zip(batches) {
            batch.mark_duplicates_of(&part.batch);
        }
        Some(Arc::clone(&self.outline))
    }

    /// What this snapshot is but for its instant and its values. Two snapshots with the *same* outline (by
    /// [`Arc::ptr_eq`]) differ in nothing else.
    pub const fn outline(&self) -> &Arc<Outline> {
        &self.outline
    }

    /// The value at a place of this outline; `NaN` at a place of another one.
    pub fn value(&self, place: SamplePlace) -> f64 {
        let value = self.parts.get(place.part as usize).and_then(|p| p.batch.value(place.sample));
        value.unwrap_or(f64::NAN)
    }

    /// The same instant, only the sources that `keep` names.
    #[must_use]
    pub fn subset(&self, keep: impl Fn(&str) -> bool) -> Self {
        let parts: Vec<Part> = self.parts.iter().filter(|p| keep(p.source)).cloned().collect();
        let order = sorted(&parts.iter().map(|p| &*p.batch).collect::<Vec<_>>());
        let outline = Arc::new(Outline { order, duplicates: self.duplicates() });
        Self { at: self.at, parts, outline }
    }

    /// The same instant with one source more, which shares its families and comes last in them.
    #[must_use]
    pub fn joined(&self, source: &'static str, mut batch: Batch) -> Self {
        let views: Vec<&Batch> = self.parts.iter().map(|p| &*p.batch).chain([&batch]).collect();
        let order = sorted(&views);
        let new = self.parts.len();
        let duplicates =
            find_duplicates(&views, &order).into_iter().filter(|(part, _)| *part as usize == new);
        let duplicates: Vec<u32> = duplicates.map(|(_, sample)| sample).collect();
        duplicates.iter().for_each(|sample| batch.mark_duplicate(*sample));
        let mut parts = self.parts.clone();
        parts.push(Part { source, batch: Arc::new(batch) });
        let duplicates = self.duplicates() + duplicates.len() as u64;
        Self { at: self.at, parts, outline: Arc::new(Outline { order, duplicates }) }
    }

    /// When the pass that made this began.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Samples left out because an equal series was there already.
    pub fn duplicates(&self) -> u64 {
        self.outline.duplicates
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
        let mut at = 0;
        same_name(&self.outline.order).filter_map(move |refs| {
            let begin = at;
            at += refs.len();
            Some(MergedFamily { snapshot: self, first: self.view(*refs.first()?)?, at: begin, refs })
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
    /// Place of `refs` in the snapshot's order.
    at: usize,
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

    /// Names and types of the families before this one, the nearest first; one that several sources have
    /// comes several times.
    pub fn before(&self) -> impl Iterator<Item = (&'a str, Kind)> + use<'a> {
        let snapshot = self.snapshot;
        let before = snapshot.outline.order.get(..self.at).unwrap_or_default().iter().rev();
        before.filter_map(move |r| snapshot.view(*r)).map(|f| (f.name(), f.kind()))
    }

    /// Its samples: by source, then in the order the source gave them.
    pub fn samples(&self) -> impl Iterator<Item = SampleView<'a>> + use<'a> {
        self.placed_samples().map(|(_, sample)| sample)
    }

    /// As [`Self::samples`], each with its place.
    pub fn placed_samples(&self) -> impl Iterator<Item = (SamplePlace, SampleView<'a>)> + use<'a> {
        let snapshot = self.snapshot;
        let parts = self.refs.iter().filter_map(move |r| Some((r.part, snapshot.view(*r)?)));
        parts.flat_map(|(part, family)| {
            family.samples().map(move |sample| (SamplePlace { part, sample: sample.index }, sample))
        })
    }
}

/// Runs of families of one name.
fn same_name(order: &[FamilyRef]) -> impl Iterator<Item = &[FamilyRef]> {
    order.chunk_by(|_, next| next.continues)
}

fn view<'a>(batches: &[&'a Batch], at: FamilyRef) -> Option<FamilyView<'a>> {
    batches.get(at.part as usize)?.family_view(at.family)
}

/// `order` if it is one of exactly these batches' families.
fn confirmed(order: &[FamilyRef], batches: &[&Batch]) -> Option<Vec<FamilyRef>> {
    let mut last = "";
    let mut holds = |at: &FamilyRef| {
        let Some(family) = view(batches, *at) else { return false };
        let before = std::mem::replace(&mut last, family.name());
        if at.continues { before == last } else { before < last }
    };
    let all = batches.iter().map(|b| b.families().count()).sum::<usize>() == order.len();
    (all && order.iter().all(&mut holds)).then(|| order.to_vec())
}

fn sorted(batches: &[&Batch]) -> Vec<FamilyRef> {
    let mut named: Vec<(&str, FamilyRef)> = Vec::new();
    for (part, batch) in batches.iter().enumerate() {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        let at = |f: FamilyView<'_>| FamilyRef { part, family: f.id, continues: false };
        named.extend(batch.families().map(|f| (f.name(), at(f))));
    }
    named.cold_sort_by_key(|(name, _)| *name);
    let mut last = None;
    let continued = |(name, at)| FamilyRef { continues: last.replace(name) == Some(name), ..at };
    named.into_iter().map(continued).collect()
}

/// Up to this many series, comparing each with all is cheaper than a table.
const FEW_SERIES: usize = 64;

/// Marks all but the first of equal series; returns how many there were.
fn mark_duplicates(batches: &mut [(&'static str, Batch)], order: &[FamilyRef]) -> u64 {
    let found = find_duplicates(&batches.iter().map(|(_, batch)| batch).collect::<Vec<_>>(), order);
    for (part, sample) in &found {
        if let Some((_, batch)) = batches.get_mut(*part as usize) {
            batch.mark_duplicate(*sample);
        }
    }
    found.len() as u64
}

/// Part and index of all but the first of equal series.
fn find_duplicates(batches: &[&Batch], order: &[FamilyRef]) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let mut hashes = Vec::with_capacity(FEW_SERIES);
    for same in same_name(order) {
        let samples = || {
            let families = same.iter().filter_map(|at| Some((at.part, view(batches, *at)?)));
            families.flat_map(|(part, family)| family.all_samples().map(move |s| (part, s)))
        };
        if all_differ(samples().map(|(_, sample)| sample.hash()), &mut hashes) {
            continue;
        }
        let mut seen: FxHashMap<u64, SampleView<'_>> = FxHashMap::default();
        for (part, sample) in samples() {
            match seen.entry(sample.hash()) {
                Entry::Vacant(free) => drop(free.insert(sample)),
                Entry::Occupied(first) if first.get().same_series(&sample) => {
                    found.push((part, sample.index));
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    found
}

/// Whether these are few, and no two are equal.
fn all_differ(values: impl Iterator<Item = u64>, seen: &mut Vec<u64>) -> bool {
    seen.clear();
    for value in values {
        if seen.len() >= FEW_SERIES || seen.contains(&value) {
            return false;
        }
        seen.push(value);
    }
    true
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
        let mut c = Batch::new();
        c.gauge("z", "", &[("d", "2")], 7.0);
        c.gauge("z", "", &[("d", "3")], 8.0);
        c.gauge("b", "", &[], 9.0);
        let joined = snapshot.joined("three", c);
        let shown: Vec<(String, Vec<f64>)> = joined
            .families()
            .map(|f| (f.name().to_owned(), f.samples().map(|s| s.value()).collect()))
            .collect();
        let (z, m) = (vec![1.0, 3.0, 8.0], vec![5.0]);
        assert_eq!(
            shown,
            [("a".into(), vec![2.0]), ("b".into(), vec![9.0]), ("m".into(), m), ("z".into(), z)]
        );
        assert_eq!((joined.duplicates(), joined.series(), snapshot.series()), (3, 6, 4));
    }

    /// Names of the families, and how many samples each has.
    fn shown(snapshot: &Snapshot) -> Vec<(String, usize)> {
        snapshot.families().map(|f| (f.name().to_owned(), f.samples().count())).collect()
    }

    #[test]
    fn the_last_order_is_taken_over_only_while_it_holds() {
        let batch = |names: &[&str]| {
            let mut batch = Batch::new();
            for name in names {
                batch.gauge(name, "", &[("l", &batch.len().to_string())], 0.0);
            }
            batch
        };
        let parts = [
            [&["b", "a"][..], &["c", "b"]],
            [&["b", "a"], &["c", "b"]],
            [&["b", "a"], &["b", "c"]],
            [&["b", "a"], &["c"]],
            [&["b", "a", "x"], &["c", "b"]],
            [&["b", "a"], &["d", "b"]],
            [&[], &["z", "b", "a"]],
        ];
        let mut previous: Option<Snapshot> = None;
        for [one, two] in parts {
            let both = || vec![("one", batch(one)), ("two", batch(two))];
            let at = Timestamp::from_millis(0);
            let fresh = Snapshot::assemble(at, both());
            let after = Snapshot::assemble_after(previous.as_ref(), at, both());
            assert_eq!(shown(&after), shown(&fresh), "{one:?} {two:?}");
            assert_eq!(after.duplicates(), fresh.duplicates());
            previous = Some(after);
        }
    }

    #[test]
    fn an_outline_is_shared_while_only_values_change() {
        let batch = |value: f64, device: &str, help: &str, at: Option<i64>| {
            let mut batch = Batch::new();
            let family = batch.family("a", help, Kind::Gauge);
            batch.sample(family, &[("device", device)], value);
            batch.sample(family, &[("device", device)], value);
            let at = at.map(Timestamp::from_millis);
            batch.sample_full(family, crate::model::Suffix::None, &[("z", "1")], value, at);
            batch
        };
        let at = Timestamp::from_millis(0);
        let first = Snapshot::assemble(at, vec![("one", batch(1.0, "x", "H.", None))]);
        let next = |b| Snapshot::assemble_after(Some(&first), at, vec![("one", b)]);
        let same = next(batch(2.0, "x", "H.", None));
        assert!(Arc::ptr_eq(first.outline(), same.outline()));
        assert_eq!((same.duplicates(), same.series()), (1, 2), "marked here as well");
        for (snapshot, value) in [(&first, 1.0), (&same, 2.0)] {
            let family = snapshot.families().next().unwrap();
            assert!(family.placed_samples().all(|(place, s)| snapshot.value(place) == s.value()));
            assert!(family.samples().all(|s| s.value() == value));
        }
        for other in [
            batch(1.0, "y", "H.", None),
            batch(1.0, "xx", "H.", None),
            batch(1.0, "x", "Help.", None),
            batch(1.0, "x", "H.", Some(1)),
            Batch::new(),
        ] {
            let other = next(other);
            assert!(!Arc::ptr_eq(first.outline(), other.outline()));
        }
        let named_otherwise =
            Snapshot::assemble_after(Some(&first), at, vec![("two", batch(1.0, "x", "H.", None))]);
        assert!(!Arc::ptr_eq(first.outline(), named_otherwise.outline()));
    }

    #[test]
    fn duplicates_among_many_series_are_found() {
        let mut batch = Batch::new();
        for n in (0..3 * FEW_SERIES).chain(5..10) {
            batch.gauge("a", "", &[("n", &n.to_string())], 0.0);
        }
        let snapshot = Snapshot::assemble(Timestamp::from_millis(0), vec![("one", batch)]);
        assert_eq!((snapshot.duplicates(), snapshot.series()), (5, 3 * FEW_SERIES));
    }
}
