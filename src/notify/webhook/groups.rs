//! Alerts in groups, and when a group has something to tell.
//!
//! Pure: time is an argument. The rules are those of Alertmanager's dispatcher and of its notification log.
//!
//! Invariants: a group tells nothing twice before `repeat_interval`; ends are told only of what began; at most
//! [`MOST_ALERTS`] alerts are known, further ones are refused and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Grouping;
use crate::model::{ColdSort, Labels, OutgoingAlert, Timestamp};

/// Most alerts of all groups together.
const MOST_ALERTS: usize = 20_000;

/// What a receiver was last told about a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// When, in milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// Fingerprints of the alerts that fired then,
    pub(super) firing: BTreeSet<u64>,
    /// and of those that had ended.
    pub(super) resolved: BTreeSet<u64>,
}

/// How often groups tell.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    pub(super) wait: Duration,
    pub(super) interval: Duration,
    pub(super) repeat: Duration,
    pub(super) send_resolved: bool,
}

/// A group that has something to tell, or of which there is something to remember.
#[derive(Debug)]
pub(super) struct Flush {
    /// What its alerts share.
    pub(super) labels: Labels,
    /// All that is to be told; empty where only the memory changes.
    pub(super) alerts: Vec<OutgoingAlert>,
    /// What is to be remembered; `None`: nothing any more.
    pub(super) told: Option<Told>,
}

#[derive(Debug)]
struct Group {
    alerts: BTreeMap<u64, OutgoingAlert>,
    next: Timestamp,
}

/// The groups of one receiver.
#[derive(Debug)]
pub(super) struct Groups {
    grouping: Grouping,
    pace: Pace,
    groups: BTreeMap<Labels, Group>,
    told: BTreeMap<Labels, Told>,
    alerts: usize,
}

impl Groups {
    pub(super) fn new(grouping: Grouping, pace: Pace, told: BTreeMap<Labels, Told>) -> Self {
        Self { grouping, pace, groups: BTreeMap::new(), told, alerts: 0 }
    }

    /// Number of groups with alerts.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Takes the state of an alert; `false` when there are too many.
    pub(super) fn insert(&mut self, alert: &OutgoingAlert, now: Timestamp) -> bool {
        let labels = match &self.grouping {
            Grouping::All => alert.labels.clone(),
            Grouping::By(names) => alert.labels.filtered(|name| names.iter().any(|n| n == name)),
        };
        let key = alert.fingerprint();
        let known = self.groups.get(&labels).is_some_and(|group| group.alerts.contains_key(&key));
        if !known && self.alerts >= MOST_ALERTS {
            return false;
        }
        let wait = self.pace.wait;
        let group = self.groups.entry(labels).or_insert_with(|| Group {
            alerts: BTreeMap::new(),
            // One that has fired for longer than it would have waited does not wait.
            next: if alert.starts_at.plus(wait) < now { now } else { now.plus(wait) },
        });
        self.alerts += usize::from(group.alerts.insert(key, alert.clone()).is_none());
        true
    }

    /// When the next group is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.groups.values().map(|group| group.next).min()
    }

    /// As [`Self::flush`], of all groups: nobody waits any more.
    pub(super) fn flush_all(&mut self, now: Timestamp) -> Vec<Flush> {
        self.groups.values_mut().for_each(|group| group.next = now);
        self.flush(now)
    }

    /// All groups that are due and have something to tell or to forget.
    pub(super) fn flush(&mut self, now: Timestamp) -> Vec<Flush> {
        let mut flushed = Vec::new();
        // None waits longer than this, unless the clock was set back.
        let latest = now.plus(self.pace.wait.max(self.pace.interval));
        let is_due = |group: &Group| group.next <= now || group.next > latest;
        for (labels, group) in self.groups.iter_mut().filter(|(_, group)| is_due(group)) {
            group.next = now.plus(self.pace.interval);
            let told = self.told.get(labels);
            let before = group.alerts.len();
            if let Some(flush) = group.flush(labels, told, &self.pace, now) {
                match &flush.told {
                    Some(told) => drop(self.told.insert(labels.clone(), told.clone())),
                    None => drop(self.told.remove(labels)),
                }
                flushed.push(flush);
            }
            group.alerts.retain(|_, alert| !alert.is_resolved(now));
            self.alerts -= before - group.alerts.len();
        }
        self.groups.retain(|_, group| !group.alerts.is_empty());
        flushed
    }
}

impl Group {
    fn flush(&self, labels: &Labels, told: Option<&Told>, pace: &Pace, now: Timestamp) -> Option<Flush> {
        let keys = |resolved: bool| -> BTreeSet<u64> {
            self.alerts.iter().filter(|(_, a)| a.is_resolved(now) == resolved).map(|(key, _)| *key).collect()
        };
        let (firing, resolved) = (keys(false), keys(true));
        let needed = match told {
            None => !firing.is_empty(),
            Some(told) => {
                let at = Timestamp::from_millis(told.at_ms);
                // What was told in the future was told before the clock was set back, nobody knows when.
                let quiet = at <= now && now.since(at) < pace.repeat;
                !firing.is_subset(&told.firing)
                    || (firing.is_empty() && !told.firing.is_empty())
                    || (!firing.is_empty() && pace.send_resolved && !resolved.is_subset(&told.resolved))
                    || (!firing.is_empty() && !quiet)
            }
        };
        if !needed {
            return None;
        }
        let tells = |alert: &&OutgoingAlert| pace.send_resolved || !alert.is_resolved(now);
        let mut alerts: Vec<OutgoingAlert> = self.alerts.values().filter(tells).cloned().collect();
        alerts.cold_sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.labels.cmp(&b.labels)));
        if firing.is_empty() && !pace.send_resolved {
            alerts.clear();
        }
        let ended = firing.is_empty();
        let told = Told { at_ms: now.as_millis(), firing, resolved };
        Some(Flush { labels: labels.clone(), alerts, told: (!ended).then_some(told) })
    }
}

/// By job, then by instance; what has none comes last, as in Alertmanager.
fn place(alert: &OutgoingAlert) -> [(bool, &str); 2] {
    ["job", "instance"].map(|name| (alert.labels.get(name).is_none(), alert.labels.value(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn alert(name: &str, instance: &str, starts: i64, ends: i64) -> OutgoingAlert {
        OutgoingAlert {
            labels: Labels::from_pairs([("alertname", name), ("instance", instance)]),
            annotations: Labels::empty(),
            starts_at: at(starts),
            ends_at: at(ends),
            generator_url: String::new(),
        }
    }

    fn groups(send_resolved: bool, told: BTreeMap<Labels, Told>) -> Groups {
        let seconds = Duration::from_secs;
        let pace = Pace { wait: seconds(30), interval: seconds(300), repeat: seconds(3_600), send_resolved };
        Groups::new(Grouping::By(vec!["alertname".to_owned()]), pace, told)
    }

    /// Instances told at an instant, with `-` before those that have ended.
    fn told_at(groups: &mut Groups, now: i64) -> Vec<String> {
        let flushed = groups.flush(at(now));
        let shown = |alert: &OutgoingAlert| {
            let sign = if alert.is_resolved(at(now)) { "-" } else { "" };
            format!("{sign}{}", alert.labels.value("instance"))
        };
        flushed.iter().flat_map(|flush| flush.alerts.iter().map(shown)).collect()
    }

    #[test]
    fn a_group_waits_then_tells_changes_then_repeats() {
        let mut groups = groups(true, BTreeMap::new());
        let far = 100_000;
        assert!(groups.insert(&alert("A", "x", 0, far), at(0)));
        assert!(told_at(&mut groups, 29).is_empty());
        groups.insert(&alert("A", "w", 10, far), at(10));
        assert_eq!(groups.next(), Some(at(30)));
        assert_eq!(told_at(&mut groups, 30), ["w", "x"]);
        // A third within the interval waits for its end; nothing new is not told.
        groups.insert(&alert("A", "z", 60, far), at(60));
        assert!(told_at(&mut groups, 300).is_empty());
        assert_eq!(told_at(&mut groups, 330), ["w", "x", "z"]);
        assert!(told_at(&mut groups, 630).is_empty());
        // An end is told once, and forgotten.
        groups.insert(&alert("A", "x", 0, 700), at(700));
        assert_eq!(told_at(&mut groups, 930), ["w", "-x", "z"]);
        assert!(told_at(&mut groups, 1_230).is_empty());
        assert_eq!(told_at(&mut groups, 930 + 3_600), ["w", "z"]);
        for instance in ["w", "z"] {
            groups.insert(&alert("A", instance, 0, 5_000), at(5_000));
        }
        assert_eq!(told_at(&mut groups, 5_200), ["-w", "-z"]);
        assert_eq!((groups.len(), groups.next(), groups.alerts), (0, None, 0));
    }

    #[test]
    fn what_began_and_ended_unseen_is_not_told() {
        let mut groups = groups(true, BTreeMap::new());
        groups.insert(&alert("A", "x", 0, 20), at(0));
        assert!(told_at(&mut groups, 30).is_empty());
        assert_eq!(groups.len(), 0);
    }

    #[test]
    fn ends_can_be_left_out() {
        let mut groups = groups(false, BTreeMap::new());
        groups.insert(&alert("A", "x", 0, 400), at(0));
        groups.insert(&alert("A", "y", 0, 9_000), at(0));
        assert_eq!(told_at(&mut groups, 30), ["x", "y"]);
        assert!(told_at(&mut groups, 700).is_empty());
        groups.insert(&alert("A", "y", 0, 900), at(900));
        let flushed = groups.flush(at(1_000));
        // Nothing to say, but the next beginning must be told.
        assert!(flushed[0].alerts.is_empty() && flushed[0].told.is_none());
    }

    #[test]
    fn a_restart_repeats_nothing_and_tells_what_ended_meanwhile() {
        let mut before = groups(true, BTreeMap::new());
        before.insert(&alert("A", "x", 0, 9_000), at(0));
        let flush = before.flush(at(30)).remove(0);
        let told = BTreeMap::from([(flush.labels, flush.told.expect("fires"))]);
        let mut after = groups(true, told.clone());
        after.insert(&alert("A", "x", 0, 9_000), at(100));
        assert_eq!(after.next(), Some(at(100)));
        assert!(told_at(&mut after, 100).is_empty());
        let mut ended = groups(true, told);
        ended.insert(&alert("A", "x", 0, 90), at(100));
        assert_eq!(told_at(&mut ended, 100), ["-x"]);
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nothing() {
        let mut groups = groups(true, BTreeMap::new());
        groups.insert(&alert("A", "x", 100_000, 900_000), at(100_000));
        assert_eq!(told_at(&mut groups, 100_030), ["x"]);
        // What comes is told at once, and then all is as ever.
        groups.insert(&alert("A", "y", 50, 900_000), at(50));
        assert_eq!(told_at(&mut groups, 60), ["x", "y"]);
        assert!(told_at(&mut groups, 360).is_empty());
        assert!(told_at(&mut groups, 3_600).is_empty());
        assert_eq!(told_at(&mut groups, 3_900), ["x", "y"]);
        // What was told before a restart.
        let told = Told {
            at_ms: 100_000_000,
            firing: [alert("A", "x", 0, 0).fingerprint()].into(),
            ..Told::default()
        };
        let labels = Labels::from_pairs([("alertname", "A")]);
        let mut after = self::groups(true, BTreeMap::from([(labels, told)]));
        after.insert(&alert("A", "x", 0, 900_000), at(60));
        assert_eq!(told_at(&mut after, 60), ["x"]);
        assert!(told_at(&mut after, 360).is_empty());
    }

    #[test]
    fn at_the_end_nobody_waits() {
        let mut groups = groups(true, BTreeMap::new());
        groups.insert(&alert("A", "x", 0, 900), at(0));
        let flushed = groups.flush_all(at(1));
        assert_eq!(flushed.iter().map(|flush| flush.alerts.len()).sum::<usize>(), 1);
        groups.insert(&alert("A", "x", 0, 2), at(2));
        assert!(told_at(&mut groups, 2).is_empty());
        let flushed = groups.flush_all(at(2));
        assert!(flushed.iter().all(|flush| flush.alerts.len() == 1 && flush.told.is_none()));
        assert_eq!((flushed.len(), groups.len()), (1, 0));
    }

    #[test]
    fn too_many_are_refused() {
        let mut groups = groups(true, BTreeMap::new());
        for i in 0..MOST_ALERTS {
            assert!(groups.insert(&alert("A", &i.to_string(), 0, 9), at(0)));
        }
        assert!(!groups.insert(&alert("B", "x", 0, 9), at(0)));
        assert!(groups.insert(&alert("A", "7", 0, 8), at(0)));
        groups.flush(at(40));
        assert!(groups.insert(&alert("B", "x", 0, 90), at(41)));
    }
}
