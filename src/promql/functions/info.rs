//! `info(v, selector)`: adds the labels of info series, such as `target_info`, to the series they are about.
//!
//! Invariant: series meet by `instance` and `job`; a label that a series has already is not overwritten; info series
//! themselves stay as they are.
//!
//! Source: Prometheus documentation, "Query functions", `info()` (experimental).

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, MatcherError};

/// Labels by which a series and its info series meet.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info metric unless another is asked for.
const DEFAULT_INFO_METRIC: &str = "target_info";

/// A call of `info`: which info series count, and which of their labels.
#[derive(Debug)]
pub struct InfoJoin {
    name_matchers: Vec<Matcher>,
    /// Conditions on labels other than the metric name; if there are any, only these labels are added.
    data_matchers: Vec<Matcher>,
    /// Whether a selector was given that says nothing of the metric name.
    unnamed: bool,
}

impl InfoJoin {
    /// From the matchers of the second argument, where there is one.
    pub fn new(selector: Option<&[Matcher]>) -> Self {
        let (name_matchers, data_matchers): (Vec<Matcher>, Vec<Matcher>) =
            selector.unwrap_or_default().iter().cloned().partition(|m| m.name() == METRIC_NAME);
        let unnamed = selector.is_some() && name_matchers.is_empty();
        let name_matchers = match name_matchers.is_empty() {
            true => vec![Matcher::equal(METRIC_NAME, DEFAULT_INFO_METRIC)],
            false => name_matchers,
        };
        Self { name_matchers, data_matchers, unnamed }
    }

    /// Whether a series is an info series itself and stays as it is.
    pub fn is_info_series(&self, labels: &Labels) -> bool {
        !self.unnamed && self.name_matchers.iter().all(|m| m.matches(labels.metric_name()))
    }

    /// What to select to get all info series of these; `None` where there can be none.
    ///
    /// # Errors
    /// So many instances that the expression for them is too large.
    pub fn matchers<'a>(
        &self,
        series: impl IntoIterator<Item = &'a Labels>,
    ) -> Result<Option<Vec<Matcher>>, MatcherError> {
        let mut values: [BTreeSet<&str>; 2] = Default::default();
        for labels in series.into_iter().filter(|labels| !self.is_info_series(labels)) {
            for (name, values) in IDENTIFYING.iter().zip(&mut values) {
                values.extend(labels.get(name));
            }
        }
        let mut matchers = self.name_matchers.clone();
        for (name, values) in IDENTIFYING.iter().zip(&values).filter(|(_, values)| !values.is_empty()) {
            let choice: Vec<String> = values.iter().map(|value| regex_syntax::escape(value)).collect();
            matchers.push(Matcher::new(*name, MatchOp::Regex, choice.join("|"))?);
        }
        Ok((matchers.len() > self.name_matchers.len()).then_some(matchers))
    }

    /// Info series that are there at one step, by what they are about. `info` gives labels and the instant, in
    /// milliseconds, of the sample that counts; of two about the same the newer counts.
    ///
    /// # Errors
    /// Two about the same have the same instant.
    pub fn index<'a>(
        &self,
        info: impl IntoIterator<Item = (&'a Labels, i64)>,
    ) -> Result<InfoIndex<'a>, String> {
        let mut index = InfoIndex::default();
        for (labels, at_ms) in info {
            let about = index.by_identity.entry(identity(labels)).or_default();
            match about.iter_mut().find(|(existing, _)| existing.metric_name() == labels.metric_name()) {
                None => about.push((labels, at_ms)),
                Some(existing) if existing.1 < at_ms => *existing = (labels, at_ms),
                Some(existing) if existing.1 > at_ms => {}
                Some(existing) => {
                    return Err(format!(
                        "found duplicate series for info metric: existing {} @ {}, new {labels} @ {at_ms}",
                        existing.0, existing.1
                    ));
                }
            }
        }
        Ok(index)
    }

    /// The series' labels with those of its info series; `None` where the series is left out because a condition on
    /// the info labels holds for none.
    ///
    /// # Errors
    /// Two info series disagree on a label.
    pub fn enrich(&self, series: &Labels, index: &InfoIndex<'_>) -> Result<Option<Labels>, String> {
        if self.is_info_series(series) {
            return Ok(Some(series.clone()));
        }
        let mut added: Vec<(&str, &str)> = Vec::new();
        let infos = index.by_identity.get(&identity(series)).map(Vec::as_slice).unwrap_or_default();
        for (info, _) in infos.iter().filter(|(info, _)| self.data_fits(info)) {
            for (name, value) in info.iter().filter(|(name, _)| self.is_wanted(name)) {
                match added.iter().find(|(other, _)| *other == name) {
                    Some((_, other)) if *other != value => return Err(format!("conflicting label: {name}")),
                    Some(_) => {}
                    None if series.get(name).is_some() => {}
                    None => added.push((name, value)),
                }
            }
        }
        if added.is_empty() && !self.data_matchers.iter().all(Matcher::matches_empty) {
            return Ok(None);
        }
        Ok(Some(Labels::from_pairs(series.iter().chain(added))))
    }

    fn data_fits(&self, info: &Labels) -> bool {
        Matcher::all_match(&self.data_matchers, info)
    }

    fn is_wanted(&self, name: &str) -> bool {
        name != METRIC_NAME
            && (self.data_matchers.is_empty() || self.data_matchers.iter().any(|m| m.name() == name))
    }
}

/// Info series of one step. Made by [`InfoJoin::index`].
#[derive(Debug, Default)]
pub struct InfoIndex<'a> {
    by_identity: FxHashMap<[String; 2], Vec<(&'a Labels, i64)>>,
}

fn identity(labels: &Labels) -> [String; 2] {
    IDENTIFYING.map(|name| labels.value(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::from_pairs(text.split(' ').map(|pair| pair.split_once('=').expect("a pair")))
    }

    fn enriched(join: &InfoJoin, series: &str, infos: &[(&str, i64)]) -> Result<Option<String>, String> {
        let infos: Vec<(Labels, i64)> = infos.iter().map(|(text, at)| (labels(text), *at)).collect();
        let index = join.index(infos.iter().map(|(l, at)| (l, *at)))?;
        Ok(join.enrich(&labels(series), &index)?.map(|l| l.to_string()))
    }

    #[test]
    fn labels_are_added_by_instance_and_job() {
        let join = InfoJoin::new(None);
        let series = "__name__=m job=1 instance=a label=x";
        let info = "__name__=target_info job=1 instance=a data=d label=other";
        let expected = Ok(Some(r#"{__name__="m", data="d", instance="a", job="1", label="x"}"#.to_owned()));
        assert_eq!(enriched(&join, series, &[(info, 1)]), expected);
        let newer = "__name__=target_info job=1 instance=a data=old";
        assert_eq!(enriched(&join, series, &[(newer, 0), (info, 1)]), expected);
        let other = "__name__=target_info job=2 instance=a data=d";
        assert_eq!(
            enriched(&join, series, &[(other, 1)]),
            Ok(Some(r#"{__name__="m", instance="a", job="1", label="x"}"#.into()))
        );
        assert!(enriched(&join, series, &[(info, 1), (newer, 1)]).is_err());
        assert_eq!(enriched(&join, info, &[(info, 1)]), Ok(Some(labels(info).to_string())));
    }

    #[test]
    fn conditions_choose_labels_and_leave_series_out() {
        let series = "__name__=m job=1 instance=a";
        let info = "__name__=target_info job=1 instance=a data=d more=e";
        let only = |op, value: &str| InfoJoin::new(Some(&[Matcher::new("data", op, value).expect(value)]));
        let expected = Ok(Some(r#"{__name__="m", data="d", instance="a", job="1"}"#.to_owned()));
        assert_eq!(enriched(&only(MatchOp::Regex, ".+"), series, &[(info, 1)]), expected);
        assert_eq!(enriched(&only(MatchOp::Equal, "other"), series, &[(info, 1)]), Ok(None));
        let plain = Ok(Some(r#"{__name__="m", instance="a", job="1"}"#.to_owned()));
        assert_eq!(enriched(&only(MatchOp::Regex, ".*"), series, &[]), plain);
    }

    #[test]
    fn what_to_select_names_the_instances() {
        let series = [labels("job=1 instance=a.b"), labels("job=1 instance=c")];
        let shown: Vec<String> = InfoJoin::new(None)
            .matchers(&series)
            .expect("small")
            .expect("some")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, [r#"__name__="target_info""#, r#"instance=~"a\\.b|c""#, r#"job=~"1""#]);
        assert!(InfoJoin::new(None).matchers(&[labels("a=b")]).expect("small").is_none());
    }
}
