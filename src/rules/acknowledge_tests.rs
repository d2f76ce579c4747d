//! Acknowledgements over time, kept and restored; time is passed in.

use std::sync::Arc;
use std::time::Duration;

use super::saved::Saved;
use super::testing::*;
use super::*;
use crate::model::{Labels, METRIC_NAME, OutgoingAlert, Row};
use crate::store::{Store, StoreConfig};

const TEXT: &str = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: m > 0, labels: {severity: low}}\n  - {alert: B, expr: m > 0, for: 1h}\n";

struct Kept {
    store: Store,
    context: RuleContext,
    sent: Sent,
    group: Group,
}

impl Kept {
    fn new(store: &Store, text: &str) -> Self {
        let (context, sent) = context(Arc::new(store.clone()));
        let group = Group::new(groups(text).remove(0), 10 * SECOND, Duration::ZERO);
        Self { store: store.clone(), context, sent, group }
    }

    fn step(&self, seconds: i64, value: f64) {
        let labels = Labels::from_pairs([(METRIC_NAME, "m"), ("i", "a")]);
        self.store.source("m").append(at(seconds), &[Row { labels, value, timestamp: None }]).unwrap();
        self.group.evaluate(at(seconds), at(seconds), &self.context, &RuleMetrics::default());
    }

    fn give(&self, choice: &str, given: Option<&Acknowledgement>) -> usize {
        let choice = AlertChoice::parse(choice).unwrap_or_else(|error| panic!("{error}"));
        self.group.acknowledge(&choice, given, &self.context).unwrap().len()
    }

    /// Who looks after the alerts, in order.
    fn who(&self, seconds: i64) -> Vec<Option<String>> {
        let alerts = self.group.rules().iter().flat_map(|rule| rule.status().alerts);
        alerts.map(|alert| alert.acknowledgement(at(seconds)).map(|given| given.by.clone())).collect()
    }

    /// The same group after a kill.
    fn restarted(&self, seconds: i64) -> Self {
        let again = Self::new(&self.store, TEXT);
        let mut saved = Saved::default();
        again.context.storage.saved(&mut |key, value| saved.add(key, value)).unwrap();
        assert_eq!(saved.unreadable, 0);
        again.group.restore(&mut saved, at(seconds), &again.context.timing);
        again
    }
}

fn given(by: &str, until: Option<i64>) -> Acknowledgement {
    Acknowledgement { by: by.to_owned(), comment: "c".to_owned(), at: at(15), until: until.map(at) }
}

fn store() -> Store {
    Store::open(StoreConfig::default(), at(0)).unwrap()
}

fn some(who: &str) -> Option<String> {
    Some(who.to_owned())
}

#[test]
fn it_is_kept_at_once_and_ends_with_its_alert() {
    let f = Kept::new(&store(), TEXT);
    assert_eq!(f.give("A", Some(&given("ann", None))), 0, "there is none yet");
    f.step(10, 1.0);
    assert_eq!(f.give("A", Some(&given("ann", None))), 1);
    assert_eq!(f.give("B{i='a'}", Some(&given("bob", None))), 1, "a pending one, too");
    assert_eq!(f.who(15), [some("ann"), some("bob")]);
    // Killed before the next evaluation.
    let f = f.restarted(16);
    assert_eq!(f.who(16), [some("ann"), some("bob")]);
    f.step(20, 1.0);
    f.step(30, 1.0);
    assert_eq!(f.restarted(31).who(31), [some("ann"), some("bob")]);
    f.step(40, 0.0);
    assert_eq!(f.who(40), [None; 0], "resolved");
    f.step(50, 1.0);
    assert_eq!(f.who(50), [None, None], "the next one is another");
    assert_eq!(f.restarted(51).who(51), [None, None]);
}

#[test]
fn it_ends_at_its_time_and_can_be_taken_back() {
    let f = Kept::new(&store(), TEXT);
    f.step(10, 1.0);
    f.give("{severity='low'}", Some(&given("ann", Some(25))));
    assert_eq!((f.who(24), f.who(25)), (vec![some("ann"), None], vec![None, None]));
    f.step(30, 1.0);
    assert_eq!(f.restarted(20).who(20), [None, None], "it is gone from the store as well");
    f.give("{alertname=~'A|B'}", Some(&given("bob", None)));
    assert_eq!(f.give("B", None), 1);
    assert_eq!(f.who(31), [some("bob"), None]);
    assert_eq!(f.restarted(31).who(31), [some("bob"), None]);
}

#[test]
fn nothing_of_what_is_sent_changes() {
    let f = Kept::new(&store(), TEXT);
    f.step(10, 1.0);
    f.give("A", Some(&given("ann", None)));
    f.step(80, 1.0);
    let sent: Vec<OutgoingAlert> = std::mem::take(&mut f.sent.lock().unwrap());
    assert_eq!(sent.len(), 2);
    assert_eq!((&sent[0].labels, &sent[0].annotations), (&sent[1].labels, &sent[1].annotations));
    let choice = format!("{:016x}", sent[0].fingerprint());
    assert_eq!(f.give(&choice, None), 1);
    assert_eq!(f.who(81), [None, None]);
}

#[test]
fn choices_that_mean_everything_or_nothing_are_refused() {
    for text in ["", "{}", "{a=''}", "A{", "00112233445566zz{"] {
        assert!(AlertChoice::parse(text).is_err(), "{text}");
    }
}
