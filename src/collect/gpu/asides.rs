//! Threads for what a driver makes wait, one a GPU, so that a GPU that hangs costs only itself.
//!
//! Bound: [`MOST`] threads of a kind and GPU in the process, those of drivers that were closed included. What there is
//! no room for is started later.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Beyond the one that works these are left over: of drivers closed a moment ago, or stuck.
pub(super) const MOST: usize = 4;

/// How many threads there are of each kind and GPU; outlives a reload, as threads that are stuck do.
#[derive(Clone, Default)]
pub(super) struct Alive(Arc<Mutex<BTreeMap<Place, usize>>>);

/// The kind, and the GPU's number.
type Place = (&'static str, u32);

/// What a thread does for its GPU until it is disconnected from whoever kicks it.
pub(super) type Work = dyn Fn(u32, &Receiver<()>) + Send + Sync;

/// The threads of one kind. They end, in their own time, when this is dropped.
pub(super) struct Asides {
    name: &'static str,
    work: Arc<Work>,
    /// By GPU; `None` where there is no thread yet.
    kicks: Vec<Option<SyncSender<()>>>,
    alive: Alive,
    complained: bool,
}

/// A thread's part of the bound.
pub(super) struct Room(Alive, Place);

impl Asides {
    /// None runs before [`Self::tend`].
    pub(super) fn new(name: &'static str, gpus: u32, alive: &Alive, work: Arc<Work>) -> Self {
        let kicks = (0..gpus).map(|_| None).collect();
        Self { name, work, kicks, alive: alive.clone(), complained: false }
    }

    /// Starts the threads that are not there.
    pub(super) fn tend(&mut self) {
        for (gpu, kick) in (0..).zip(&mut self.kicks).filter(|(_, kick)| kick.is_none()) {
            match start(&self.alive, (self.name, gpu), &self.work) {
                Ok(started) => *kick = Some(started),
                Err(why) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(
                        gpu,
                        thread = self.name,
                        why,
                        "Cannot start a thread for a GPU; it is tried again"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Tells a GPU's thread that there is something to do, unless it was told.
    pub(super) fn kick(&self, gpu: u32) {
        let kick = usize::try_from(gpu).ok().and_then(|gpu| self.kicks.get(gpu)?.as_ref());
        if let Some(kick) = kick {
            let _ = kick.try_send(());
        }
    }
}

fn start(alive: &Alive, place: Place, work: &Arc<Work>) -> Result<SyncSender<()>, String> {
    let room = alive.room(place).ok_or("earlier ones have not returned from the driver")?;
    let (kick, kicked) = sync_channel(1);
    let work = Arc::clone(work);
    let run = move || {
        work(place.1, &kicked);
        // The driver is let go before the room is free.
        drop(work);
        drop(room);
    };
    std::thread::Builder::new().name(place.0.into()).spawn(run).map_err(|error| error.to_string())?;
    Ok(kick)
}

impl Alive {
    /// Room for one more thread, until it is dropped; `None` where too many have not returned.
    pub(super) fn room(&self, place: Place) -> Option<Room> {
        let mut alive = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = alive.entry(place).or_default();
        (*count < MOST).then(|| {
            *count += 1;
            Room(self.clone(), place)
        })
    }

    #[cfg(test)]
    pub(super) fn of(&self, place: Place) -> usize {
        self.0.lock().unwrap().get(&place).copied().unwrap_or_default()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Self(alive, place) = self;
        if let Some(count) = alive.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn threads_that_do_not_return_are_bounded_and_one_that_does_makes_room() {
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
        let shut = gate.lock().unwrap();
        let work: Arc<Work> = {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            Arc::new(move |gpu, kicked| {
                begun.fetch_add(1, Ordering::AcqRel);
                if gpu == 0 {
                    drop(gate.lock());
                }
                for () in kicked {}
            })
        };
        let alive = Alive::default();
        let mut sessions: Vec<Asides> =
            (0..MOST + 6).map(|_| Asides::new("gpu-test", 2, &alive, Arc::clone(&work))).collect();
        for session in &mut sessions {
            session.tend();
            session.kicks.truncate(1);
        }
        let running =
            |sessions: &[Asides]| sessions.iter().filter(|s| s.kicks.iter().any(Option::is_some)).count();
        assert_eq!(running(&sessions), MOST);
        // One that is closed makes room only when it has returned.
        sessions.remove(0);
        sessions.iter_mut().for_each(Asides::tend);
        assert_eq!(running(&sessions), MOST - 1);
        drop(shut);
        while running(&sessions) < MOST {
            sessions.iter_mut().for_each(Asides::tend);
            std::thread::yield_now();
        }
    }
}
