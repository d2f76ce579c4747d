//! "Once per change of state": a fault that repeats every tick is worth one line, and so is its end.

/// Tells changes of a state from its repetitions. The caller does the logging.
///
/// ```
/// # use outrigger::model::OncePerState;
/// let mut reachable = OncePerState::starting_at(true);
/// assert!(reachable.observe(true).is_none());
/// assert!(reachable.observe(false).is_some());
/// assert!(reachable.observe(false).is_none());
/// let recovery = reachable.observe(true).expect("a change");
/// assert_eq!((recovery.before, recovery.repeats), (false, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OncePerState<S> {
    state: S,
    seen: u64,
}

/// A state that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange<S> {
    /// The state that was.
    pub before: S,
    /// How often in a row it was observed.
    pub repeats: u64,
}

impl<S: PartialEq> OncePerState<S> {
    /// The state that needs no telling when it is the first one observed.
    pub const fn starting_at(state: S) -> Self {
        Self { state, seen: 0 }
    }

    /// The state observed last.
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// Takes the state of now; `Some` when it is another than before.
    pub fn observe(&mut self, state: S) -> Option<StateChange<S>> {
        if self.state == state {
            self.seen = self.seen.saturating_add(1);
            return None;
        }
        let before = std::mem::replace(&mut self.state, state);
        Some(StateChange { before, repeats: std::mem::replace(&mut self.seen, 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_told_once_with_the_length_of_the_one_before() {
        let mut state = OncePerState::starting_at("ok");
        let told: Vec<_> = ["ok", "timeout", "timeout", "refused", "ok", "ok"]
            .into_iter()
            .filter_map(|now| state.observe(now).map(|change| (change.before, change.repeats, now)))
            .collect();
        assert_eq!(told, [("ok", 1, "timeout"), ("timeout", 2, "refused"), ("refused", 1, "ok")]);
    }
}
