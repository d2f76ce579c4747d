//! Answers: the store as a [`Queryable`].
//!
//! A series' samples come from tails in memory and from pages; of pages only the digests are read here, and the samples
//! when the caller asks for them. Far inside a long range, neighbouring pages are handed out as one, with their
//! summaries merged.
//!
//! Invariants: segments of a series are in time order and do not overlap. Where they did - two sources that write one
//! series, a clock that went back, a page and a tail of the same samples - they are merged, the first of equal instants
//! counting.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use tracing::warn;

use super::disk::{DiskError, PageKey};
use super::engine::{Inner, Store, count};
use super::head::Head;
use super::open_pages::OpenPages;
use super::page::{Digest, OpenPage, read_page};
use super::series::HISTORY;
use super::summary::{merge, summarize};
use super::view::View;
use crate::model::{
    ColdSort, Labels, Page, Queryable, QueryableError, Samples, Segment, Select, SelectAny, SelectedSeries,
    Summary,
};

/// Pages that are handed out as one, far inside a range.
const MERGED_PAGES: usize = 32;

/// Pages at either end of a range that stay alone: a range's ends mostly fall into them.
const SINGLE_PAGES: i64 = 4;

impl Queryable for Store {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        let (mut found, view) = {
            let head = self.0.head();
            let found = find(&head, request);
            // Before the head changes: what leaves it after this is in the view. What rules ask for is mostly in memory.
            let view = (!found.blocks.is_empty()).then(|| self.0.disk.view());
            (found, view)
        };
        let range = (request.from.as_millis(), request.to.as_millis());
        match view {
            None => {}
            Some(Ok(view)) => self.0.add_pages(&mut found, view, range).map_err(failed)?,
            // The disk is being opened anew after it failed. What is in memory is there all the same.
            Some(Err(error)) => warn!(%error, "Store's pages cannot be read; answered from memory"),
        }
        let mut selected: Vec<SelectedSeries> =
            found.series.into_values().filter_map(Found::finish).collect();
        selected.cold_sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(selected)
    }

    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        let head = self.0.head();
        let mut labels: Vec<Labels> = in_range(&head, request).cloned().collect();
        drop(head);
        labels.cold_sort();
        Ok(limited(labels, request.limit))
    }

    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        let head = self.0.head();
        let mut names: Vec<String> = if is_outside(&head, request) {
            Vec::new()
        } else if request.matcher_sets.is_empty() {
            head.series.index().names().map(str::to_owned).collect()
        } else {
            let mut names: Vec<&str> = in_range(&head, request).flatten().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().map(str::to_owned).collect()
        };
        drop(head);
        names.cold_sort();
        Ok(limited(names, request.limit))
    }

    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        let head = self.0.head();
        if is_outside(&head, request) {
            return Ok(Vec::new());
        }
        if request.matcher_sets.is_empty() {
            let values = head.series.index().values(name).map(|(value, _)| value.to_owned());
            let most = if request.limit == 0 { usize::MAX } else { request.limit };
            return Ok(values.take(most).collect());
        }
        let mut values: Vec<&str> = in_range(&head, request).filter_map(|labels| labels.get(name)).collect();
        values.sort_unstable();
        values.dedup();
        let values = values.into_iter().map(str::to_owned).collect();
        Ok(limited(values, request.limit))
    }
}

fn limited<T>(mut all: Vec<T>, limit: usize) -> Vec<T> {
    if limit > 0 {
        all.truncate(limit);
    }
    all
}

fn failed(error: DiskError) -> QueryableError {
    QueryableError(format!("the store cannot be read: {error}"))
}

/// Whether there is nothing at all in the range. Most often the first series says so.
fn is_outside(head: &Head, request: &SelectAny<'_>) -> bool {
    let (from, to) = (request.from.as_millis(), request.to.as_millis());
    from > to || !head.series.iter().any(|(_, s)| s.first_ms <= to && s.last_ms >= from)
}

fn in_range<'a>(head: &'a Head, request: &SelectAny<'_>) -> impl Iterator<Item = &'a Labels> + use<'a> {
    let (from, to) = (request.from.as_millis(), request.to.as_millis());
    let ids = head.series.select_any(request.matcher_sets).into_iter();
    let series = ids.filter_map(|id| head.series.get(id));
    series.filter(move |s| s.first_ms <= to && s.last_ms >= from).map(|s| &s.labels)
}

/// A series on its way to the caller.
struct Found {
    labels: Labels,
    /// First and last instant, and the segment.
    segments: Vec<(i64, i64, Stretch)>,
    /// Beginnings of segments that came before others which begin earlier: pages come in the order of their first
    /// instant, which may be another series'.
    strays: Vec<i64>,
}

enum Stretch {
    Samples(Arc<Samples>),
    Page(StoredPage),
}

/// What a selection found in memory, and where to look for pages.
struct Selection {
    series: FxHashMap<u32, Found>,
    /// Blocks, each with its longest page.
    blocks: Vec<(u32, i64)>,
}

fn find(head: &Head, request: &Select<'_>) -> Selection {
    let (from, to) = (request.from.as_millis(), request.to.as_millis());
    let mut blocks: FxHashMap<u32, i64> = FxHashMap::default();
    let mut found = FxHashMap::default();
    for id in head.series.select(request.matchers) {
        let Some(series) = head.series.get(id) else { continue };
        if series.first_ms > to {
            continue;
        }
        let mut segments = Vec::new();
        for home in series.homes() {
            let Some(block) = head.blocks.get(&home.block) else { continue };
            if block.sealed_ms >= from {
                blocks.insert(home.block, block.longest_page_ms);
            }
            if home.slot == HISTORY {
                continue;
            }
            let samples = block.samples(home.slot, from, to);
            if let (Some(first), Some(last)) =
                (samples.timestamps_ms().first(), samples.timestamps_ms().last())
            {
                segments.push((*first, *last, Stretch::Samples(Arc::new(samples))));
            }
        }
        found.insert(id, Found { labels: series.labels.clone(), segments, strays: Vec::new() });
    }
    let mut blocks: Vec<(u32, i64)> = blocks.into_iter().collect();
    blocks.sort_unstable();
    Selection { series: found, blocks }
}

impl Inner {
    fn add_pages(
        self: &Arc<Self>,
        found: &mut Selection,
        view: View,
        (from, to): (i64, i64),
    ) -> Result<(), DiskError> {
        let access = Arc::new(Access { store: Arc::clone(self), view, open: Mutex::default() });
        for (block, longest_ms) in std::mem::take(&mut found.blocks) {
            let mut unreadable = Vec::new();
            access.view.digests(block, from.saturating_sub(longest_ms)..=to, |key, digest| {
                let read = digest.and_then(|bytes| Digest::read(bytes, key.1).ok());
                let Some(digest) = read else {
                    unreadable.push(key);
                    return true;
                };
                if digest.last_ms < from || self.is_set_aside(key) {
                    return true;
                }
                let damaged = digest.for_each(|id, entry| {
                    let Some(place) = found.series.get_mut(&id) else { return };
                    let Some(summary) = entry.summary() else { return unreadable.push(key) };
                    if summary.last_ms >= from && summary.first_ms <= to {
                        place.add_page(&access, id, key, summary, (from, to));
                    }
                });
                if damaged.is_err() {
                    unreadable.push(key);
                }
                true
            })?;
            for key in unreadable {
                access.add_without_digest(key, &mut found.series, (from, to));
            }
        }
        Ok(())
    }
}

/// A way to pages that stays what it was when the selection was made.
#[derive(Debug)]
struct Access {
    store: Arc<Inner>,
    view: View,
    open: Mutex<OpenPages>,
}

impl Access {
    /// One series' samples in a page. A damaged page is set aside, counted and said; it then has none.
    fn samples(&self, key: PageKey, series: u32) -> Result<Samples, DiskError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get_mut(key).is_none()
            && let Some(Ok(page)) = self.view.page(key, OpenPage::new)?
        {
            open.add(key, page);
        }
        let Some(Ok(columns)) = open.get_mut(key).map(|page| page.samples(series)) else {
            self.store.set_page_aside(key);
            return Ok(Samples::default());
        };
        let mut columns = columns.into_iter();
        let first = columns.next().unwrap_or_default();
        Ok(columns.fold(first, |all, next| merged(&all, &next)))
    }

    /// A page whose digest is damaged is read at once, so that nothing of it is lost.
    fn add_without_digest(&self, key: PageKey, found: &mut FxHashMap<u32, Found>, (from, to): (i64, i64)) {
        count(&self.store.counters.damaged_rows, 1);
        let Ok(Some(Ok(columns))) = self.view.page(key, |bytes| read_page(bytes, None)) else {
            return self.store.set_page_aside(key);
        };
        for (id, samples) in columns {
            let (Some(place), Some(summary)) = (found.get_mut(&id), summarize(samples.iter())) else {
                continue;
            };
            if summary.last_ms >= from && summary.first_ms <= to {
                let stretch = Stretch::Samples(Arc::new(samples));
                place.segments.push((summary.first_ms, summary.last_ms, stretch));
            }
        }
    }
}

impl Inner {
    fn is_set_aside(&self, key: PageKey) -> bool {
        self.bad_pages().contains(&key)
    }

    fn set_page_aside(&self, key: PageKey) {
        if self.bad_pages().insert(key) {
            count(&self.counters.damaged_pages, 1);
            let (block, first_ms, number) = key;
            warn!(
                block,
                first_ms, number, "A page of history is damaged and set aside; all others are served"
            );
        }
    }
}

/// A series' part of one page, or of several that follow each other.
#[derive(Debug)]
struct StoredPage {
    access: Arc<Access>,
    series: u32,
    keys: Vec<PageKey>,
    summary: Summary,
    /// Far from both ends of the range that was asked for.
    inner: bool,
}

impl Page for StoredPage {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn read(&self) -> Result<Arc<Samples>, QueryableError> {
        self.samples().map(Arc::new).map_err(failed)
    }
}

impl StoredPage {
    fn samples(&self) -> Result<Samples, DiskError> {
        if let [key] = self.keys.as_slice() {
            return self.access.samples(*key, self.series);
        }
        let mut all = Samples::with_capacity(self.summary.samples as usize);
        for key in &self.keys {
            self.access.samples(*key, self.series)?.iter().for_each(|(at, value)| all.push(at, value));
        }
        Ok(all)
    }
}

impl Found {
    /// `None` where there is nothing in the range.
    fn finish(self) -> Option<SelectedSeries> {
        let Self { labels, mut segments, .. } = self;
        segments.sort_by_key(|(first_ms, last_ms, _)| (*first_ms, *last_ms));
        let segments = without_overlaps(segments);
        let segment = |stretch| match stretch {
            Stretch::Samples(samples) => Segment::Samples(samples),
            Stretch::Page(page) => Segment::Page(Arc::new(page)),
        };
        let segments: Vec<Segment> = segments.into_iter().map(segment).collect();
        (!segments.is_empty()).then_some(SelectedSeries { labels, segments })
    }
}

impl Stretch {
    fn samples(&self) -> Samples {
        match self {
            Self::Samples(samples) => Samples::clone(samples),
            // A disk that fails here has failed for whoever reads the rest.
            Self::Page(page) => page.samples().unwrap_or_default(),
        }
    }
}

/// Stretches in order of their beginnings become stretches of which none reaches into the next.
fn without_overlaps(segments: Vec<(i64, i64, Stretch)>) -> Vec<Stretch> {
    let mut out: Vec<(i64, Stretch)> = Vec::with_capacity(segments.len());
    for (first_ms, last_ms, stretch) in segments {
        match out.last_mut() {
            Some((end_ms, before)) if *end_ms >= first_ms => {
                *before = Stretch::Samples(Arc::new(merged(&before.samples(), &stretch.samples())));
                *end_ms = last_ms.max(*end_ms);
            }
            _ => out.push((last_ms, stretch)),
        }
    }
    out.into_iter().map(|(_, stretch)| stretch).collect()
}

/// Both in time order; of equal instants the first one's sample counts.
fn merged(a: &Samples, b: &Samples) -> Samples {
    let mut all = Samples::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some((x, _)), Some((y, _))) if x == y => {
                b.next();
                continue;
            }
            (Some((x, _)), Some((y, _))) if x > y => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        };
        let Some((at_ms, value)) = next else { return all };
        all.push(at_ms, value);
    }
}

impl Found {
    /// Adds a page. Far from both ends of the range it joins the one before it, if that loses nothing of their
    /// summaries: a month then is a few dozen segments instead of a thousand.
    fn add_page(
        &mut self,
        access: &Arc<Access>,
        series: u32,
        key: PageKey,
        summary: Summary,
        (from, to): (i64, i64),
    ) {
        let (first_ms, last_ms) = (summary.first_ms, summary.last_ms);
        let margin_ms = last_ms.saturating_sub(first_ms).saturating_mul(SINGLE_PAGES);
        let inner = first_ms.saturating_sub(margin_ms) > from && last_ms.saturating_add(margin_ms) < to;
        if let Some((_, end_ms, Stretch::Page(before))) = self.segments.last_mut()
            && inner
            && *end_ms < first_ms
            && before.inner
            && before.keys.len() < MERGED_PAGES
            && before.keys.first().is_some_and(|first| first.0 == key.0)
            && !self.strays.iter().any(|stray| (*end_ms..first_ms).contains(stray))
            && let Some(merged) = merge_losslessly(&before.summary, &summary)
        {
            before.summary = merged;
            before.keys.push(key);
            *end_ms = last_ms;
            return;
        }
        if let Some((before_ms, ..)) = self.segments.last()
            && *before_ms > first_ms
        {
            self.strays.push(*before_ms);
        }
        let page = StoredPage { access: Arc::clone(access), series, keys: vec![key], summary, inner };
        self.segments.push((first_ms, last_ms, Stretch::Page(page)));
    }
}

fn merge_losslessly(a: &Summary, b: &Summary) -> Option<Summary> {
    let (x, y) = (a.values.as_ref()?, b.values.as_ref()?);
    let merged = merge(a, b);
    let m = merged.values.as_ref()?;
    let keeps = |m: Option<f64>, x: Option<f64>, y: Option<f64>| m.is_some() || x.is_none() && y.is_none();
    let whole = keeps(m.exact_sum, x.exact_sum, y.exact_sum)
        && keeps(m.exact_reset_sum, x.exact_reset_sum, y.exact_reset_sum);
    whole.then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Row, Timestamp};
    use crate::store::StoreConfig;

    /// One series after the other, as a file is imported: a page then holds the end of one and the beginning of
    /// another, and comes where the other's samples begin.
    #[test]
    fn series_written_one_after_the_other_are_read_from_summaries() {
        let store = Store::open(StoreConfig::default(), Timestamp::from_millis(0)).expect("opens");
        let mut source = store.source("import");
        let mut rows = Vec::new();
        for name in ["a", "b", "c"] {
            let labels = Labels::from_pairs([("__name__", name)]);
            for i in 0..20_000_i32 {
                let timestamp = Some(Timestamp::from_millis(i64::from(i) * 4_000));
                rows.push(Row { labels: labels.clone(), value: f64::from(i), timestamp });
            }
        }
        for piece in rows.chunks(7_000) {
            let newest = piece.iter().filter_map(|row| row.timestamp).max().expect("rows");
            source.append(newest, piece).expect("appended");
        }
        store.maintain(Timestamp::from_millis(20_000 * 4_000)).expect("sealed");
        let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let selected = store.select(&Select { matchers: &[], from, to }).expect("selected");
        assert_eq!(selected.len(), 3);
        for series in selected {
            let samples = |segment: &Segment| match segment {
                Segment::Samples(samples) => samples.len(),
                Segment::Page(page) => page.read().expect("whole").len(),
            };
            assert_eq!(series.segments.iter().map(samples).sum::<usize>(), 20_000);
            let at_hand = series.segments.iter().filter(|s| matches!(s, Segment::Samples(_)));
            let at_hand: usize = at_hand.map(samples).sum();
            assert!(at_hand < 500, "{}: {at_hand} samples were read", series.labels);
        }
    }
}
