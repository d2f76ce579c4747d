//! What a query may use: samples held at once, and time.
//!
//! Invariant: whoever loops over series or steps asks [`Budget::check`], so that a query ends soon after its client
//! has gone or its time is up; whoever makes samples tells [`Budget::hold`] first, or right after where the number is
//! bounded by what is already held.

use std::time::Instant;

use super::super::engine::{Cancel, QueryError};

/// Between two looks at the monotonic clock.
const CHECKS_PER_CLOCK: u32 = 64;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    held: usize,
    peak: usize,
    read: u64,
    cancel: Cancel,
    deadline: Option<Instant>,
    checks: u32,
}

impl Budget {
    /// So many samples at most, until then.
    pub(super) const fn new(most: usize, deadline: Option<Instant>, cancel: Cancel) -> Self {
        Self { most, held: 0, peak: 0, read: 0, cancel, deadline, checks: 0 }
    }

    /// Counts samples that are held from now on.
    pub(super) fn hold(&mut self, samples: usize) -> Result<(), QueryError> {
        self.held = self.held.saturating_add(samples);
        if self.held > self.most {
            return Err(QueryError::TooManySamples);
        }
        self.peak = self.peak.max(self.held);
        Ok(())
    }

    /// Says that so many could be held beside those that are.
    pub(super) fn touch(&mut self, samples: usize) -> Result<(), QueryError> {
        self.hold(samples)?;
        self.release(samples);
        Ok(())
    }

    /// Counts samples that are held no longer.
    pub(super) fn release(&mut self, samples: usize) {
        self.held = self.held.saturating_sub(samples);
    }

    /// Counts samples that a selector handed to an operation.
    pub(super) fn count_read(&mut self, samples: usize) {
        self.read += samples as u64;
    }

    /// Ends the query when nobody waits for it any more, or its time is up.
    pub(super) fn check(&mut self) -> Result<(), QueryError> {
        if self.cancel.is_canceled() {
            return Err(QueryError::Canceled("expression evaluation"));
        }
        self.checks = self.checks.wrapping_add(1);
        if self.checks % CHECKS_PER_CLOCK == 1 && self.deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(QueryError::Timeout("expression evaluation"));
        }
        Ok(())
    }

    /// Most samples held at once.
    pub(super) const fn peak(&self) -> usize {
        self.peak
    }

    /// Samples that selectors handed to operations, each time anew.
    pub(super) const fn read(&self) -> u64 {
        self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_and_the_peak_is_kept() {
        let mut budget = Budget::new(10, None, Cancel::default());
        budget.hold(6).expect("within");
        budget.release(4);
        budget.touch(8).expect("within");
        assert_eq!(budget.peak(), 10);
        assert_eq!(
            budget.hold(9).expect_err("too many").to_string(),
            "query processing would load too many samples into memory in query execution"
        );
    }

    #[test]
    fn time_and_cancellation_end_it() {
        let cancel = Cancel::default();
        let mut budget = Budget::new(1, Some(Instant::now()), cancel.clone());
        assert_eq!(budget.check().expect_err("late").to_string(), "query timed out in expression evaluation");
        cancel.cancel();
        assert_eq!(
            budget.check().expect_err("gone").to_string(),
            "query was canceled in expression evaluation"
        );
    }
}
