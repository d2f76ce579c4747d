//! What the events of one service in one environment add up to, as counters that never fall.
//!
//! A correction - a deployment that turns out to have failed, another end of an incident - takes something away from what
//! is true, and a counter that falls is taken for one that began anew. So what is shown waits where it is until the truth
//! has come up to it: over days both say the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{DEPLOYMENT, Event, INCIDENT, Outcome};
use crate::model::Timestamp;

/// Ends of the buckets of lead time, in seconds; a rule asks for the one that ends at a day.
pub(super) const LEAD_BUCKETS: [f64; 9] =
    [900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0, 345_600.0, 604_800.0, 1_209_600.0];

/// Ends of the buckets of the time to recovery, in seconds.
pub(super) const RECOVERY_BUCKETS: [f64; 8] =
    [300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0, 86_400.0];

/// For how long a new series is 0 before it shows what there is: an increase is told from a sample before it.
const FIRST_ZERO: Duration = Duration::from_secs(90);

const OUTCOMES: usize = 2;
/// Buckets, the one without an end, the sum.
const LEAD: usize = LEAD_BUCKETS.len() + 2;
const RECOVERY: usize = RECOVERY_BUCKETS.len() + 2;
const FIELDS: usize = OUTCOMES + LEAD + RECOVERY;

/// See the module's page. The two lists have [`FIELDS`] numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// When the first event came.
    pub(super) since_ms: i64,
    /// The newest deployment.
    pub(super) last_deployment_ms: Option<i64>,
    actual: Vec<f64>,
    shown: Vec<f64>,
}

/// Counts of a histogram by bucket, the last without an end; and the sum.
pub(super) struct Distribution {
    pub(super) cumulative: Vec<f64>,
    pub(super) sum: f64,
}

impl Tally {
    pub(super) fn new(now: Timestamp) -> Self {
        let (actual, shown) = (vec![0.0; FIELDS], vec![0.0; FIELDS]);
        Self { since_ms: now.as_millis(), last_deployment_ms: None, actual, shown }
    }

    /// Whether it has the shape that this program writes.
    pub(super) fn is_whole(&self) -> bool {
        self.actual.len() == FIELDS && self.shown.len() == FIELDS
    }

    /// An event is now this, and was that. `others` tells when the newest other deployment was that is known.
    pub(super) fn change(
        &mut self,
        before: Option<&Event>,
        after: Option<&Event>,
        others: impl FnOnce() -> Option<i64>,
    ) {
        for (event, sign) in [(before, -1.0), (after, 1.0)] {
            let Some(event) = event else { continue };
            for (total, part) in self.actual.iter_mut().zip(parts(event)) {
                *total += sign * part;
            }
        }
        let deployed =
            |event: Option<&Event>| event.filter(|event| event.kind == DEPLOYMENT).map(|event| event.at_ms);
        let (was, is) = (deployed(before), deployed(after));
        // A newer one than this is known no more but was there: its time stays.
        if is < was && was >= self.last_deployment_ms {
            self.last_deployment_ms = others();
        }
        self.last_deployment_ms = self.last_deployment_ms.max(is);
        for (shown, actual) in self.shown.iter_mut().zip(&self.actual) {
            *shown = shown.max(*actual);
        }
    }

    fn field(&self, at: usize, now: Timestamp) -> f64 {
        let since = Timestamp::from_millis(self.since_ms);
        let is_new = now >= since && now.since(since) < FIRST_ZERO;
        if is_new { 0.0 } else { self.shown.get(at).copied().unwrap_or_default() }
    }

    /// Whether there ever was a deployment, also one that was taken back: its counters stay.
    pub(super) fn has_deployed(&self) -> bool {
        self.shown.iter().take(OUTCOMES).any(|shown| *shown > 0.0)
    }

    /// Deployments with this outcome.
    pub(super) fn deployments(&self, outcome: Outcome, now: Timestamp) -> f64 {
        self.field(usize::from(outcome == Outcome::Failure), now)
    }

    /// From commit to deployment.
    pub(super) fn lead_time(&self, now: Timestamp) -> Distribution {
        self.distribution(OUTCOMES, LEAD_BUCKETS.len(), now)
    }

    /// From the begin of an incident to its end.
    pub(super) fn recovery_time(&self, now: Timestamp) -> Distribution {
        self.distribution(OUTCOMES + LEAD, RECOVERY_BUCKETS.len(), now)
    }

    fn distribution(&self, first: usize, buckets: usize, now: Timestamp) -> Distribution {
        let cumulative = (first..=first + buckets).map(|at| self.field(at, now)).collect();
        Distribution { cumulative, sum: self.field(first + buckets + 1, now) }
    }
}

/// What an event adds to each field.
fn parts(event: &Event) -> Vec<f64> {
    let mut parts = vec![0.0; FIELDS];
    let mut add = |at: usize, what: f64| {
        if let Some(part) = parts.get_mut(at) {
            *part += what;
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let seconds = |from_ms: i64, to_ms: i64| to_ms.saturating_sub(from_ms).max(0) as f64 / 1_000.0;
    let mut observe = |first: usize, ends: &[f64], seconds: f64| {
        for (at, _) in ends.iter().chain([&f64::INFINITY]).enumerate().filter(|(_, end)| seconds <= **end) {
            add(first + at, 1.0);
        }
        add(first + ends.len() + 1, seconds);
    };
    match (event.kind.as_str(), event.end_ms) {
        (DEPLOYMENT, _) => {
            for commit in &event.committed_ms {
                observe(OUTCOMES, &LEAD_BUCKETS, seconds(*commit, event.at_ms));
            }
            add(usize::from(event.outcome == Some(Outcome::Failure)), 1.0);
        }
        (INCIDENT, Some(end)) => observe(OUTCOMES + LEAD, &RECOVERY_BUCKETS, seconds(event.at_ms, end)),
        _ => {}
    }
    parts
}
