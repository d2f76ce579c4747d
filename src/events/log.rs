//! The events that are known: in memory by id, in the store's state tables, and what they add up to beside them.
//!
//! Tables: `events` (id: the event as JSON), `events_tally` (service and environment as a JSON list: a [`Tally`]). Both
//! change in one commit, so that an event that is there has been counted once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::registry::Registry;
use serde::Serialize;
use tracing::warn;

use super::draft::{Draft, EventErrors, parse_drafts};
use super::event::Event;
use super::figures::Figures;
use super::tally::Tally;
use crate::model::{ColdSort, Timestamp};
use crate::store::{StateOp, StateTable, Store, StoreError};

/// Most events kept; the oldest go first, but no open incident. What they added up to stays.
pub(super) const MOST_EVENTS: usize = 10_000;

/// Most services and environments: each has some 25 series.
pub(super) const MOST_PAIRS: usize = 100;

/// Service and environment.
pub(super) type Pair = (String, String);

/// The events; clones share them.
#[derive(Clone, Debug)]
pub struct EventLog(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    events: StateTable,
    tallies: StateTable,
    pub(super) clock: fn() -> Timestamp,
    /// Held while a post is taken, the time of the disk included.
    posting: Mutex<()>,
    /// Never held while the disk works.
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) events: HashMap<String, Arc<Event>>,
    pub(super) tallies: BTreeMap<Pair, Tally>,
    pub(super) evicted: u64,
    pub(super) refused: u64,
    pub(super) unreadable: u64,
}

/// What a post came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Posted {
    /// Events that were not known.
    pub created: usize,
    /// Events that are now another.
    pub updated: usize,
    /// Events that were known as they are.
    pub unchanged: usize,
    /// The ids, in the order of the post.
    pub ids: Vec<String>,
}

/// Why a post is refused.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] EventErrors),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Not after this.
    pub to: Option<Timestamp>,
    /// Of these types; empty: of all.
    pub kinds: Vec<String>,
    /// Of these services; empty: of all.
    pub services: Vec<String>,
    /// Most events; the newest.
    pub limit: usize,
}

impl EventLog {
    /// What the store holds. Blocks while it is read; what cannot be read is counted and left out.
    pub fn open(store: &Store, clock: fn() -> Timestamp) -> Self {
        let (events, tallies) = (store.state("events"), store.state("events_tally"));
        let mut state = State::default();
        let read = events.range(&[], |_, value| {
            match serde_json::from_slice::<Event>(value) {
                Ok(event) => drop(state.events.insert(event.id.clone(), Arc::new(event))),
                Err(_) => state.unreadable += 1,
            }
            true
        });
        let read = read.and_then(|()| {
            tallies.range(&[], |key, value| {
                match (serde_json::from_slice::<Pair>(key), serde_json::from_slice::<Tally>(value)) {
                    (Ok(pair), Ok(tally)) if tally.is_whole() => drop(state.tallies.insert(pair, tally)),
                    _ => state.unreadable += 1,
                }
                true
            })
        });
        if let Err(error) = read {
            warn!(%error, "Events of before cannot be read");
        }
        if state.unreadable > 0 {
            warn!(rows = state.unreadable, "Some events of before cannot be read");
        }
        Self(Arc::new(Inner { events, tallies, clock, posting: Mutex::default(), state: Mutex::new(state) }))
    }

    /// Adds their metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Figures(self.clone())));
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all events of a body of JSON, or none. Blocks until they are in the store.
    ///
    /// # Errors
    /// What is wrong with them, or with the store.
    pub fn post(&self, body: &[u8], now: Timestamp) -> Result<Posted, PostError> {
        let drafts = parse_drafts(body, now).map_err(PostError::from);
        let posted = drafts.and_then(|drafts| self.take(&drafts, now));
        if posted.is_err() {
            self.state().refused += 1;
        }
        posted
    }

    fn take(&self, drafts: &[Draft], now: Timestamp) -> Result<Posted, PostError> {
        let _turn = self.0.posting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state().clone();
        let (mut posted, mut errors) = (Posted::default(), EventErrors::default());
        let mut change = Change::new(&before, now);
        for draft in drafts {
            let known = change.event(draft.id());
            let event = draft.event(known.as_deref(), now, &mut errors);
            posted.ids.push(event.id.clone());
            match &known {
                Some(known) if **known == event => posted.unchanged += 1,
                Some(_) => posted.updated += 1,
                None => posted.created += 1,
            }
            if known.as_deref() != Some(&event) {
                change.put(known.as_deref(), event);
            }
        }
        if change.pairs() > MOST_PAIRS {
            errors.add(format!("service: more than {MOST_PAIRS} services and environments"));
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        if change.is_empty() {
            return Ok(posted);
        }
        let gone = change.evict();
        for id in gone.iter().filter(|id| change.is_new(id)) {
            // Forgotten at once, it would be new and count again each time that it is posted.
            errors.add(format!(
                "{id:?}: time: {MOST_EVENTS} events are kept, and none is older; it is too old to be known again"
            ));
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let (events, tallies) = change.into_parts();
        self.keep(&events, &gone, &tallies)?;
        let mut state = self.state();
        state.events.extend(events);
        state.tallies.extend(tallies);
        state.evicted += gone.len() as u64;
        for id in &gone {
            state.events.remove(id);
        }
        Ok(posted)
    }

    /// Takes an event back; false where none has this id. What it added to the measures goes from what is true, as with a
    /// correction. Blocks until the store has it.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub fn delete(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let _turn = self.0.posting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state().clone();
        let Some(event) = before.events.get(id) else { return Ok(false) };
        let mut change = Change::new(&before, now);
        change.count((event.service.clone(), event.environment.clone()), Some(event), None);
        let (events, tallies) = change.into_parts();
        self.keep(&events, &BTreeSet::from([id.to_owned()]), &tallies)?;
        let mut state = self.state();
        state.events.remove(id);
        state.tallies.extend(tallies);
        Ok(true)
    }

    fn keep(
        &self,
        events: &BTreeMap<String, Arc<Event>>,
        gone: &BTreeSet<String>,
        tallies: &BTreeMap<Pair, Tally>,
    ) -> Result<(), StoreError> {
        // Such values always serialize.
        let row = |key: Vec<u8>, value: Vec<u8>| StateOp::Put(key, value);
        let put = events.iter().filter(|(id, _)| !gone.contains(*id));
        let put = put.map(|(id, event)| {
            row(id.clone().into_bytes(), serde_json::to_vec(&**event).unwrap_or_default())
        });
        let delete = gone.iter().map(|id| StateOp::Delete(id.clone().into_bytes()));
        let counted = tallies.iter().map(|(pair, tally)| {
            row(serde_json::to_vec(pair).unwrap_or_default(), serde_json::to_vec(tally).unwrap_or_default())
        });
        self.0.events.apply_with(put.chain(delete).collect(), &self.0.tallies, counted.collect())
    }

    /// Those that are wanted, newest first.
    pub fn list(&self, filter: &EventFilter) -> Vec<Arc<Event>> {
        let wanted = |event: &&Arc<Event>| {
            let (from, to) = (filter.from.map(Timestamp::as_millis), filter.to.map(Timestamp::as_millis));
            // What lasts is wanted where any part of it lies.
            from.is_none_or(|from| event.end_ms.unwrap_or(event.at_ms) >= from || event.is_open())
                && to.is_none_or(|to| event.at_ms <= to)
                && (filter.kinds.is_empty() || filter.kinds.contains(&event.kind))
                && (filter.services.is_empty() || filter.services.contains(&event.service))
        };
        let mut found: Vec<Arc<Event>> = self.state().events.values().filter(wanted).cloned().collect();
        found.cold_sort_by(|a, b| (b.at_ms, &b.id).cmp(&(a.at_ms, &a.id)));
        found.truncate(filter.limit);
        found
    }
}

/// What a post changes, until it is known to be right.
struct Change<'a> {
    state: &'a State,
    now: Timestamp,
    events: BTreeMap<String, Arc<Event>>,
    tallies: BTreeMap<Pair, Tally>,
}

impl<'a> Change<'a> {
    const fn new(state: &'a State, now: Timestamp) -> Self {
        Self { state, now, events: BTreeMap::new(), tallies: BTreeMap::new() }
    }

    fn event(&self, id: &str) -> Option<Arc<Event>> {
        self.events.get(id).or_else(|| self.state.events.get(id)).cloned()
    }

    fn put(&mut self, before: Option<&Event>, after: Event) {
        let pair = |event: &Event| (event.service.clone(), event.environment.clone());
        match before.filter(|before| pair(before) == pair(&after)) {
            Some(before) => self.count(pair(&after), Some(before), Some(&after)),
            None => {
                if let Some(before) = before {
                    self.count(pair(before), Some(before), None);
                }
                self.count(pair(&after), None, Some(&after));
            }
        }
        self.events.insert(after.id.clone(), Arc::new(after));
    }

    fn count(&mut self, pair: Pair, before: Option<&Event>, after: Option<&Event>) {
        let counts = |event: Option<&Event>| {
            event.is_some_and(|event| {
                [super::event::DEPLOYMENT, super::event::INCIDENT].contains(&&*event.kind)
            })
        };
        if !counts(before) && !counts(after) {
            return;
        }
        let known = self.state.tallies.get(&pair).cloned();
        let now = self.now;
        let tally =
            self.tallies.entry(pair.clone()).or_insert_with(|| known.unwrap_or_else(|| Tally::new(now)));
        let (state, changed, own) = (self.state, &self.events, before.map(|event| event.id.as_str()));
        tally.change(before, after, || {
            let kept = state.events.values().filter(|event| !changed.contains_key(&event.id));
            let others = kept.chain(changed.values()).filter(|event| Some(event.id.as_str()) != own);
            let of_pair = others.filter(|event| event.service == pair.0 && event.environment == pair.1);
            of_pair.filter(|event| event.kind == super::event::DEPLOYMENT).map(|event| event.at_ms).max()
        });
    }

    fn pairs(&self) -> usize {
        let new = self.tallies.keys().filter(|pair| !self.state.tallies.contains_key(*pair));
        self.state.tallies.len() + new.count()
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn is_new(&self, id: &str) -> bool {
        self.events.contains_key(id) && !self.state.events.contains_key(id)
    }

    /// The ids of those that are too many.
    fn evict(&self) -> BTreeSet<String> {
        let new = self.events.keys().filter(|id| self.is_new(id)).count();
        let over = (self.state.events.len() + new).saturating_sub(MOST_EVENTS);
        if over == 0 {
            return BTreeSet::new();
        }
        let kept = self.state.events.values().filter(|event| !self.events.contains_key(&event.id));
        let all = kept.chain(self.events.values());
        let mut old: Vec<(bool, i64, &str)> =
            all.map(|event| (event.is_open(), event.at_ms, event.id.as_str())).collect();
        old.sort_unstable();
        old.into_iter().take(over).map(|(_, _, id)| id.to_owned()).collect()
    }

    fn into_parts(self) -> (BTreeMap<String, Arc<Event>>, BTreeMap<Pair, Tally>) {
        (self.events, self.tallies)
    }
}
