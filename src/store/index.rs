//! Which series have which labels: from matchers to series without looking at each.
//!
//! For every label name its values in order, for every value the series that have it. A regular expression runs over
//! the values of its label, not over series; one that is a list of plain texts looks these up.
//!
//! Invariant: lists of series are sorted and hold each series once.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::model::{Labels, Matcher};

/// Series with one value of one label. Most values of labels such as `id` or `le` have few.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Postings {
    One(u32),
    Many(Vec<u32>),
}

impl Postings {
    fn ids(&self) -> &[u32] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    fn insert(&mut self, id: u32) {
        match self {
            Self::One(only) if *only == id => {}
            Self::One(only) => *self = Self::Many(vec![(*only).min(id), (*only).max(id)]),
            Self::Many(ids) => {
                if let Err(at) = ids.binary_search(&id) {
                    ids.insert(at, id);
                }
            }
        }
    }

    /// Whether anything is left.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::One(only) => *only != id,
            Self::Many(ids) => {
                if let Ok(at) = ids.binary_search(&id) {
                    ids.remove(at);
                }
                match ids.as_slice() {
                    [] => return false,
                    [only] => *self = Self::One(*only),
                    _ => {}
                }
                true
            }
        }
    }
}

type Values = BTreeMap<Box<str>, Postings>;

/// The index. Series are numbers; what they stand for is the caller's.
#[derive(Debug, Default)]
pub(super) struct Index {
    names: FxHashMap<Box<str>, Values>,
    all: Vec<u32>,
    pairs: usize,
}

impl Index {
    pub(super) fn insert(&mut self, id: u32, labels: &Labels) {
        match self.all.binary_search(&id) {
            Ok(_) => return,
            Err(at) => self.all.insert(at, id),
        }
        for (name, value) in labels {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => self.names.entry(name.into()).or_default(),
            };
            match values.get_mut(value) {
                Some(postings) => postings.insert(id),
                None => {
                    values.insert(value.into(), Postings::One(id));
                    self.pairs += 1;
                }
            }
        }
    }

    pub(super) fn remove(&mut self, id: u32, labels: &Labels) {
        if let Ok(at) = self.all.binary_search(&id) {
            self.all.remove(at);
        }
        for (name, value) in labels {
            let Some(values) = self.names.get_mut(name) else { continue };
            if values.get_mut(value).is_some_and(|postings| !postings.remove(id)) {
                values.remove(value);
                self.pairs -= 1;
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// All series, sorted.
    pub(super) fn all(&self) -> &[u32] {
        &self.all
    }

    /// Number of distinct pairs of label and value.
    pub(super) const fn pairs(&self) -> usize {
        self.pairs
    }

    /// Names of labels, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// Values of a label, sorted, with the number of series each.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = (&str, usize)> {
        let values = self.names.get(name).into_iter().flatten();
        values.map(|(value, postings)| (&**value, postings.ids().len()))
    }

    /// The series that all matchers fit, sorted. `labels` tells a series' labels.
    pub(super) fn select<'a>(
        &self,
        matchers: &[Matcher],
        labels: impl Fn(u32) -> Option<&'a Labels>,
    ) -> Vec<u32> {
        let mut narrowed: Option<Vec<u32>> = None;
        // The cheapest first: what is looked up leaves little for what has to be tried.
        let (looked_up, tried): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().filter(|m| !m.matches_empty()).partition(|m| m.set_of_values().is_some());
        for matcher in looked_up.into_iter().chain(tried) {
            let found = match &narrowed {
                Some(few) if self.is_cheaper_one_by_one(few, matcher) => {
                    filtered(few, |id| labels(id).is_some_and(|l| matcher.matches(l.value(matcher.name()))))
                }
                Some(few) => intersection(few, &self.with(matcher)),
                None => self.with(matcher),
            };
            if found.is_empty() {
                return found;
            }
            narrowed = Some(found);
        }
        for matcher in matchers.iter().filter(|m| m.matches_empty()) {
            let candidates = narrowed.as_deref().unwrap_or(&self.all);
            let left = match self.is_cheaper_one_by_one(candidates, matcher) {
                true => filtered(candidates, |id| {
                    labels(id).is_some_and(|l| matcher.matches(l.value(matcher.name())))
                }),
                false => difference(candidates, &self.without(matcher)),
            };
            narrowed = Some(left);
        }
        narrowed.unwrap_or_else(|| self.all.clone())
    }

    /// Whether trying the matcher on each candidate's own label beats trying it on all values there are.
    fn is_cheaper_one_by_one(&self, candidates: &[u32], matcher: &Matcher) -> bool {
        let values = matcher
            .set_of_values()
            .map_or_else(|| self.names.get(matcher.name()).map_or(0, BTreeMap::len), <[String]>::len);
        candidates.len() < values
    }

    /// Series that have the label with a value that fits.
    fn with(&self, matcher: &Matcher) -> Vec<u32> {
        let Some(values) = self.names.get(matcher.name()) else { return Vec::new() };
        match matcher.set_of_values() {
            Some(set) => union(set.iter().filter_map(|value| values.get(value.as_str()))),
            None => union(values.iter().filter(|(value, _)| matcher.matches(value)).map(|(_, p)| p)),
        }
    }

    /// Series that have the label with a value that does not fit.
    fn without(&self, matcher: &Matcher) -> Vec<u32> {
        let Some(values) = self.names.get(matcher.name()) else { return Vec::new() };
        union(values.iter().filter(|(value, _)| !matcher.matches(value)).map(|(_, p)| p))
    }
}

fn filtered(ids: &[u32], keep: impl Fn(u32) -> bool) -> Vec<u32> {
    ids.iter().copied().filter(|id| keep(*id)).collect()
}

fn union<'a>(postings: impl Iterator<Item = &'a Postings>) -> Vec<u32> {
    let mut ids: Vec<u32> = Vec::new();
    let mut lists = 0;
    for list in postings {
        ids.extend_from_slice(list.ids());
        lists += 1;
    }
    if lists > 1 {
        ids.sort_unstable();
        ids.dedup();
    }
    ids
}

fn intersection(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (few, many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    filtered(few, |id| many.binary_search(&id).is_ok())
}

fn difference(a: &[u32], b: &[u32]) -> Vec<u32> {
    filtered(a, |id| b.binary_search(&id).is_err())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::MatchOp;

    fn index_of(series: &[Labels]) -> Index {
        let mut index = Index::default();
        (0..).zip(series).for_each(|(id, labels)| index.insert(id, labels));
        index
    }

    fn matcher(text: &str) -> Matcher {
        let (op, at) = [
            ("=~", MatchOp::Regex),
            ("!~", MatchOp::NotRegex),
            ("!=", MatchOp::NotEqual),
            ("=", MatchOp::Equal),
        ]
        .into_iter()
        .find_map(|(op, kind)| text.find(op).map(|at| ((op, kind), at)))
        .expect("an operator");
        Matcher::new(&text[..at], op.1, &text[at + op.0.len()..]).expect("valid")
    }

    fn check(series: &[Labels], matchers: &[Matcher]) {
        let index = index_of(series);
        let found = index.select(matchers, |id| series.get(id as usize));
        let expected: Vec<u32> =
            (0..).zip(series).filter(|(_, l)| Matcher::all_match(matchers, l)).map(|(id, _)| id).collect();
        assert_eq!(found, expected, "{matchers:?}");
    }

    #[test]
    fn selections() {
        let series: Vec<Labels> = (0..40)
            .map(|i| {
                Labels::from_pairs([
                    ("__name__", if i % 2 == 0 { "up" } else { "down" }.to_owned()),
                    ("job", format!("job{}", i % 5)),
                    ("id", if i % 3 == 0 { String::new() } else { i.to_string() }),
                ])
            })
            .collect();
        for texts in [
            &[][..],
            &["__name__=up"],
            &["__name__=up", "job=job1"],
            &["__name__=nothing"],
            &["job=~job1|job2"],
            &["job=~job[12]", "id!="],
            &["job!~job.*"],
            &["id="],
            &["id!~1.*", "__name__=up"],
            &["id=~.*"],
            &["id=~.+", "nolabel="],
            &["nolabel!="],
            &["nolabel=~.+"],
            &["id=~|1|2|3"],
        ] {
            check(&series, &texts.iter().map(|t| matcher(t)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let series = [Labels::from_pairs([("a", "1"), ("b", "x")]), Labels::from_pairs([("a", "1")])];
        let mut index = index_of(&series);
        assert_eq!(index.pairs(), 2);
        index.remove(0, &series[0]);
        assert_eq!((index.names().collect::<Vec<_>>(), index.pairs()), (vec!["a"], 1));
        assert_eq!(index.values("a").collect::<Vec<_>>(), [("1", 1)]);
        index.remove(1, &series[1]);
        assert_eq!((index.names().count(), index.pairs(), index.all().len()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_each_finds(
            labels in prop::collection::vec(prop::collection::vec((0_u8..4, 0_u8..6), 0..4), 0..40),
            wanted in prop::collection::vec((0_u8..4, 0_usize..4, "[0-5]|[0-5]\\|[0-5]|\\.\\*|\\.\\+|"), 0..4),
        ) {
            let series: Vec<Labels> = labels
                .iter()
                .map(|l| Labels::from_pairs(l.iter().map(|(n, v)| (format!("l{n}"), v.to_string()))))
                .collect();
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers: Vec<Matcher> = wanted
                .iter()
                .map(|(n, op, v)| Matcher::new(format!("l{n}"), ops[*op], v.clone()).expect("valid"))
                .collect();
            check(&series, &matchers);
        }
    }
}
