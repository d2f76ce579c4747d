//! The log as a receiver: a line when an alert begins to fire, and one when it ends.
//!
//! Invariant: each is told once. What began to fire before the program started, an earlier run has told: rules remember
//! since when an alert fires.

use std::collections::HashMap;

use tracing::{info, warn};

use crate::model::{OutgoingAlert, Timestamp};

/// Alerts that are remembered; beyond, a beginning is not told.
const MOST_REMEMBERED: usize = 10_000;

/// Knows what it has told.
#[derive(Debug)]
pub(super) struct Console {
    started: Timestamp,
    /// Whether an alert fires, of those that do and of those that began before the start.
    told: HashMap<u64, bool>,
}

/// What is new of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Fires,
    Resolved,
}

impl Console {
    /// Of a program that starts now.
    pub(super) fn new(started: Timestamp) -> Self {
        Self { started, told: HashMap::new() }
    }

    /// Tells what is new of these.
    pub(super) fn tell(&mut self, alerts: &[OutgoingAlert], now: Timestamp) {
        for alert in alerts {
            let (labels, summary) = (&alert.labels, alert.annotations.value("summary"));
            match self.news(alert, now) {
                // Nobody is to be woken.
                Some(News::Fires) if matches!(labels.value("severity"), "low" | "info" | "none") => {
                    info!(alert = %labels, summary, "Alert fires");
                }
                Some(News::Fires) => warn!(alert = %labels, summary, "Alert fires"),
                Some(News::Resolved) => info!(alert = %labels, "Alert resolved"),
                None => {}
            }
        }
    }

    fn news(&mut self, alert: &OutgoingAlert, now: Timestamp) -> Option<News> {
        let (key, resolved) = (alert.fingerprint(), alert.is_resolved(now));
        let is_older = alert.starts_at < self.started;
        let fired = match self.told.get(&key) {
            Some(fired) => *fired,
            None => is_older && alert.ends_at > self.started,
        };
        if resolved && !is_older {
            self.told.remove(&key);
        } else if self.told.contains_key(&key) || self.told.len() < MOST_REMEMBERED {
            self.told.insert(key, !resolved);
        } else {
            return None;
        }
        match (fired, resolved) {
            (false, false) => Some(News::Fires),
            (true, true) => Some(News::Resolved),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn alert(name: &str, starts: i64, ends: i64) -> OutgoingAlert {
        OutgoingAlert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            starts_at: Timestamp::from_millis(starts),
            ends_at: Timestamp::from_millis(ends),
            generator_url: String::new(),
        }
    }

    fn news(console: &mut Console, alert: &OutgoingAlert, now: i64) -> Option<News> {
        console.news(alert, Timestamp::from_millis(now))
    }

    #[test]
    fn beginnings_and_ends_are_told_once() {
        let mut console = Console::new(Timestamp::from_millis(100));
        assert_eq!(news(&mut console, &alert("A", 100, 400), 100), Some(News::Fires));
        assert_eq!(news(&mut console, &alert("A", 100, 500), 200), None);
        assert_eq!(news(&mut console, &alert("A", 100, 300), 300), Some(News::Resolved));
        assert_eq!(news(&mut console, &alert("A", 100, 300), 400), None);
        assert_eq!(news(&mut console, &alert("A", 500, 900), 500), Some(News::Fires));
    }

    #[test]
    fn a_restart_repeats_nothing_and_tells_what_ends_after_it() {
        let mut console = Console::new(Timestamp::from_millis(100));
        // One that fires on, and ends.
        assert_eq!(news(&mut console, &alert("A", 50, 400), 150), None);
        assert_eq!(news(&mut console, &alert("A", 50, 200), 200), Some(News::Resolved));
        assert_eq!(news(&mut console, &alert("A", 50, 200), 260), None);
        assert_eq!(news(&mut console, &alert("A", 300, 900), 300), Some(News::Fires));
        // One whose end comes first, and one that had ended before.
        assert_eq!(news(&mut console, &alert("B", 50, 120), 120), Some(News::Resolved));
        assert_eq!(news(&mut console, &alert("C", 50, 90), 150), None);
    }
}
