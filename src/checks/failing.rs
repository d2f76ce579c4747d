//! What fails of a check, place by place: told when it begins to, and when it is well again, not in between.
//!
//! Invariant: one look tells of so many failures; those beyond are told by the next ones.

use std::collections::{BTreeMap, BTreeSet};

/// A place, and what is wrong with it.
pub(super) type Outcome = (String, Option<String>);

/// Failures that one look tells of.
const MOST_TOLD: usize = 10;

/// Places that are remembered.
const MOST_KEPT: usize = 1_000;

/// The places that fail, as far as it was told.
#[derive(Debug, Default)]
pub(super) struct Failing(BTreeSet<String>);

impl Failing {
    /// What is to be told after a look: places that fail now, with the reason, and those that are well again. Reasons may
    /// alternate; only whether a place fails is a change.
    pub(super) fn turn(&mut self, outcomes: &[Outcome]) -> Vec<Outcome> {
        let mut all: BTreeMap<&str, Option<&String>> = BTreeMap::new();
        for (place, problem) in outcomes {
            let known = all.entry(place).or_default();
            *known = known.or(problem.as_ref());
        }
        let all_well = all.values().all(Option::is_none);
        let mut told = Vec::new();
        self.0.retain(|place| {
            let found = all.get(place.as_str());
            let fails = found.is_some_and(Option::is_some);
            // A place that was not found may be hidden by what fails.
            if !fails && (found.is_some() || all_well) {
                told.push((place.clone(), None));
            }
            fails
        });
        let new = all.into_iter().filter_map(|(place, why)| Some((place, why?)));
        let new: Vec<_> = new.filter(|(place, _)| !self.0.contains(*place)).take(MOST_TOLD).collect();
        for (place, why) in new {
            if self.0.len() < MOST_KEPT {
                self.0.insert(place.to_owned());
                told.push((place.to_owned(), Some(why.clone())));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_told_once_for_itself() {
        let mut failing = Failing::default();
        for (look, want) in [
            ("a b", ""),
            ("a! b", "a!"),
            ("a! b", ""),
            ("a! b!", "b!"),
            ("a b! c!", "a c!"),
            // All that is known is that the file system hangs.
            ("*!", "*!"),
            ("a b! c", "b!"),
            ("a!", "a!"),
            ("d!", "d!"),
            ("", "d"),
            ("a! a", "a!"),
            ("b", "a"),
        ] {
            let outcomes: Vec<Outcome> = look.split_whitespace().map(outcome).collect();
            let want: Vec<Outcome> = want.split_whitespace().map(outcome).collect();
            assert_eq!(failing.turn(&outcomes), want, "{look}");
        }
    }

    fn outcome(text: &str) -> Outcome {
        let place = text.trim_end_matches('!');
        (place.to_owned(), (place != text).then(|| "broken".to_owned()))
    }

    #[test]
    fn many_are_told_one_look_after_the_other() {
        let mut failing = Failing::default();
        let outcomes: Vec<Outcome> = (0..2_000).map(|n| outcome(&format!("{n:04}!"))).collect();
        for look in 0..100 {
            let told = failing.turn(&outcomes);
            let first = told.first().map(|(place, _)| place.as_str());
            assert_eq!((told.len(), first), (10, Some(&*format!("{:04}", look * 10))));
        }
        assert_eq!(failing.turn(&outcomes), []);
        assert_eq!(failing.turn(&[]).len(), 1_000);
    }
}
