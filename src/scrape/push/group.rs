//! One group: what was pushed under one grouping key, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Grouping;
use super::family::{Family, LabelSet, Metric, Value};
use crate::model::{ColdSort, Kind, Row, Timestamp};

/// When a group was last changed by a push.
pub(super) const PUSHED: (&str, &str) =
    ("push_time_seconds", "Last Unix time when changing this group in the Pushgateway succeeded.");

/// When a push of a group was last refused.
pub(super) const FAILED: (&str, &str) =
    ("push_failure_time_seconds", "Last Unix time when changing this group in the Pushgateway failed.");

/// What one grouping key holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    families: BTreeMap<String, Family>,
    /// Last push that was taken.
    pub(super) pushed: Option<Timestamp>,
    /// Last push that was refused because of what it held.
    pub(super) failed: Option<Timestamp>,
    /// How long it stays without a push.
    pub(super) ttl: Option<Duration>,
    series: usize,
    rows: Vec<Row>,
}

impl Group {
    /// Its families, sorted by name; those about the pushes themselves are not among them.
    pub(super) fn families(&self) -> impl Iterator<Item = &Family> {
        self.families.values()
    }

    pub(super) fn family(&self, name: &str) -> Option<&Family> {
        self.families.get(name)
    }

    /// Number of series, without the two about the pushes.
    pub(super) const fn series(&self) -> usize {
        self.series
    }

    /// Samples of all its series but the two about the pushes.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Holds these families from now on, and no others.
    pub(super) fn replace_all(&mut self, families: Vec<Family>) {
        self.families.clear();
        self.replace(families);
    }

    /// Holds these families from now on, in place of those of the same names.
    pub(super) fn replace(&mut self, families: Vec<Family>) {
        // The names of what is said about the pushes are not the client's to use.
        let ours = |family: &Family| [PUSHED.0, FAILED.0].contains(&family.name.as_str());
        self.families.extend(families.into_iter().filter(|f| !ours(f)).map(|f| (f.name.clone(), f)));
        self.rows.clear();
        for family in self.families.values() {
            family.rows(&mut self.rows);
        }
        self.rows.shrink_to_fit();
        self.series = self.rows.len();
    }

    /// Whether its time to live is over.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let last = self.pushed.or(self.failed);
        match (self.ttl, last) {
            (Some(ttl), Some(last)) => now >= last.plus(ttl),
            _ => false,
        }
    }

    /// The two families about the pushes.
    pub(super) fn times(&self, grouping: &Grouping, now: Timestamp) -> [Family; 2] {
        let mut labels: LabelSet = grouping.iter().map(|(name, value)| (name.into(), value.into())).collect();
        if !grouping.has("instance") {
            labels.push(("instance".into(), "".into()));
        }
        labels.cold_sort();
        [(PUSHED, self.pushed), (FAILED, self.failed)].map(|((name, help), at)| {
            let seconds = at.map_or(0.0, Timestamp::as_seconds_f64);
            Family {
                name: name.to_owned(),
                help: help.to_owned(),
                kind: Kind::Gauge,
                metrics: vec![Metric::new(labels.clone(), Value::Plain(seconds))],
                pushed: at.unwrap_or(now),
            }
        })
    }
}
