//! What a reload must not forget: errors that were counted, what GPUs are called, threads that may be stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::asides::Alive;
use super::reading::Identity;
use super::xid::{Ledger, Watchers};

/// Watchers by the path of their library, as long as a collector has them.
type ByLibrary = Vec<(String, Weak<Watchers>)>;

/// One for all collectors that come after one another.
#[derive(Clone, Default)]
pub(super) struct Kept {
    /// Errors since the program started.
    pub(super) ledger: Ledger,
    pub(super) identities: Identities,
    /// Threads that may be stuck.
    pub(super) alive: Alive,
    watchers: Arc<Mutex<ByLibrary>>,
}

impl Kept {
    /// The threads that listen to the GPUs of this library, which go on while one collector takes another's place.
    pub(super) fn watchers(&self, library: &str) -> Arc<Watchers> {
        let mut all = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, watchers)| watchers.strong_count() > 0);
        if let Some(watchers) = all.iter().find_map(|(of, one)| one.upgrade().filter(|_| of == library)) {
            return watchers;
        }
        let watchers = Arc::new(Watchers::new(&self.ledger, &self.alive));
        all.push((library.to_owned(), Arc::downgrade(&watchers)));
        watchers
    }
}

/// What each GPU was called when it last said so, by its number.
#[derive(Clone, Default)]
pub(super) struct Identities(Arc<Mutex<BTreeMap<u32, Arc<Identity>>>>);

impl Identities {
    /// Empty if it was never told.
    pub(super) fn of(&self, gpu: u32) -> Arc<Identity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&gpu).cloned().unwrap_or_default()
    }

    /// A GPU says what it is called; what it cannot say at the moment stays as it was.
    pub(super) fn told(&self, gpu: u32, now: Arc<Identity>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&gpu).is_some_and(|before| !now.is_whole && before.fills(&now)) {
            return;
        }
        // Whoever had this name under another number has it no more.
        all.retain(|of, other| *of == gpu || now.uuid.is_empty() || other.uuid != now.uuid);
        all.insert(gpu, now);
    }
}

impl Identity {
    /// Whether it says what the other one leaves out, and contradicts nothing.
    fn fills(&self, other: &Self) -> bool {
        let fits = |own: &str, other: &str| own == other || other.is_empty();
        fits(&self.uuid, &other.uuid)
            && fits(&self.pci_bus_id, &other.pci_bus_id)
            && fits(&self.model, &other.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(uuid: &str, model: &str, is_whole: bool) -> Arc<Identity> {
        let (uuid, model) = (uuid.to_owned(), model.to_owned());
        Arc::new(Identity { uuid, model, is_whole, ..Identity::default() })
    }

    #[test]
    fn names_stay_until_others_are_told() {
        let all = Identities::default();
        assert_eq!(*all.of(0), Identity::default());
        for (gpu, told, want) in [
            (0, identity("a", "", false), ["a", ""]),
            (0, identity("a", "H100", true), ["a", "H100"]),
            (0, identity("", "H100", false), ["a", "H100"]),
            (0, identity("a", "", false), ["a", "H100"]),
            (0, identity("b", "", false), ["b", ""]),
            // That it has no name is news, too.
            (0, identity("", "", true), ["", ""]),
            (0, identity("b", "H100", true), ["b", "H100"]),
            (1, identity("b", "H100", true), ["b", "H100"]),
        ] {
            all.told(gpu, told);
            let known = all.of(gpu);
            assert_eq!([&*known.uuid, &*known.model], want);
        }
        assert_eq!(*all.of(0), Identity::default(), "its name is another's now");
    }
}
