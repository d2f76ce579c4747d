//! What waits for one Alertmanager: of each alert its newest state, in the order in which they came.
//!
//! Invariants: an alert is there once; at most `capacity` wait, the oldest make room.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::model::OutgoingAlert;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Queue {
    order: VecDeque<u64>,
    alerts: HashMap<u64, Arc<OutgoingAlert>>,
    capacity: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { order: VecDeque::new(), alerts: HashMap::new(), capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Adds an alert, in the place of its earlier state if that still waits. Answers whether another had to go.
    pub(super) fn push(&mut self, alert: &Arc<OutgoingAlert>) -> bool {
        let key = alert.fingerprint();
        if self.alerts.insert(key, Arc::clone(alert)).is_some() {
            return false;
        }
        self.order.push_back(key);
        let full = self.order.len() > self.capacity;
        if full && let Some(oldest) = self.order.pop_front() {
            self.alerts.remove(&oldest);
        }
        full
    }

    /// Takes the oldest, `most` at once.
    pub(super) fn take(&mut self, most: usize) -> Vec<Arc<OutgoingAlert>> {
        let keys: Vec<u64> = self.order.drain(..most.min(self.order.len())).collect();
        keys.iter().filter_map(|key| self.alerts.remove(key)).collect()
    }

    /// Puts back what could not be delivered, but for alerts of which a newer state has come. Answers how many there
    /// is no room for.
    pub(super) fn put_back(&mut self, batch: Vec<Arc<OutgoingAlert>>) -> usize {
        let mut refused = 0;
        for alert in batch.into_iter().rev() {
            let key = alert.fingerprint();
            if self.alerts.contains_key(&key) {
                continue;
            }
            if self.order.len() >= self.capacity {
                refused += 1;
                continue;
            }
            self.alerts.insert(key, alert);
            self.order.push_front(key);
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Timestamp};

    fn alert(name: &str, ends_ms: i64) -> Arc<OutgoingAlert> {
        Arc::new(OutgoingAlert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            starts_at: Timestamp::from_millis(0),
            ends_at: Timestamp::from_millis(ends_ms),
            generator_url: String::new(),
        })
    }

    fn shown(batch: &[Arc<OutgoingAlert>]) -> Vec<String> {
        batch.iter().map(|a| format!("{}{}", a.labels.value("alertname"), a.ends_at.as_millis())).collect()
    }

    #[test]
    fn the_newest_state_counts_and_the_oldest_make_room() {
        let mut queue = Queue::new(3);
        for (name, ends) in [("a", 1), ("b", 1), ("a", 2), ("c", 1)] {
            assert!(!queue.push(&alert(name, ends)));
        }
        assert!(queue.push(&alert("d", 1)));
        assert_eq!(shown(&queue.take(2)), ["b1", "c1"]);
        assert_eq!((queue.len(), shown(&queue.take(9))), (1, vec!["d1".to_owned()]));
    }

    #[test]
    fn what_failed_goes_back_in_front_unless_it_is_outdated() {
        let mut queue = Queue::new(3);
        for name in ["a", "b", "c"] {
            queue.push(&alert(name, 1));
        }
        let batch = queue.take(3);
        queue.push(&alert("b", 2));
        queue.push(&alert("d", 1));
        assert_eq!(queue.put_back(batch), 1);
        assert_eq!(shown(&queue.take(9)), ["c1", "b2", "d1"]);
    }
}
