//! The one thread that writes history: ticks in, in the order in which they came, committed together.
//!
//! Invariants: nobody waits for the disk; when it is slow, at most [`WAITING_TICKS`] ticks wait and further ones are
//! left out, counted and said once. That a source is no more is not left out: it waits aside, after all that is in the
//! queue and before whatever comes next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::error;

use super::metrics::Figures;
use crate::app::clock;
use crate::model::{Row, Timestamp};
use crate::scrape::{Sink, TargetKey};
use crate::store::{Source, Store};

/// Ticks that may wait for the disk.
const WAITING_TICKS: usize = 1_024;

/// Sources that may wait aside to end: far more than there may be targets, unless those come and go for as long as
/// nothing can be written.
const WAITING_ENDS: usize = 65_536;

/// What the thread does.
#[derive(Debug)]
enum Work {
    Tick { source: Arc<str>, at: Timestamp, rows: Vec<Row> },
    End { source: Arc<str>, at: Timestamp },
    Maintain,
    Close,
}

/// What stands beside the queue. Its lock is held while something goes into the queue, so that the order stays.
#[derive(Debug, Default)]
struct Aside {
    /// Sources that ended while there was no room, by name; each once, for nothing of it came since.
    ends: Vec<(Arc<str>, Timestamp)>,
    /// Nothing more comes.
    closing: bool,
}

fn locked(aside: &Mutex<Aside>) -> MutexGuard<'_, Aside> {
    aside.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands ticks to the thread. Clones share it; it ends when it is closed or the last is dropped.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    work: mpsc::Sender<Work>,
    aside: Arc<Mutex<Aside>>,
    left_out: Counter,
}

/// The thread's end of it.
pub(super) struct Queue {
    work: mpsc::Receiver<Work>,
    aside: Arc<Mutex<Aside>>,
}

impl Writer {
    /// Starts the thread; `left_out` counts ticks for which there was no room.
    pub(super) fn start(
        store: Store,
        figures: Figures,
        left_out: Counter,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (writer, queue) = Self::new(left_out);
        let thread = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || write(&store, &figures, queue))?;
        Ok((writer, thread))
    }

    pub(super) fn new(left_out: Counter) -> (Self, Queue) {
        let (work, queue) = mpsc::channel(WAITING_TICKS);
        let aside = Arc::<Mutex<Aside>>::default();
        (Self { work, aside: Arc::clone(&aside), left_out }, Queue { work: queue, aside })
    }

    /// One tick of a source. Series that it had before and that are missing here end.
    pub(super) fn tick(&self, source: &Arc<str>, at: Timestamp, rows: Vec<Row>) {
        self.send(Work::Tick { source: Arc::clone(source), at, rows });
    }

    /// The source is no more: what it had ends.
    pub(super) fn end(&self, source: &Arc<str>, at: Timestamp) {
        self.send(Work::End { source: Arc::clone(source), at });
    }

    /// Time to seal, to delete what is old, to commit what waits.
    pub(super) fn maintain(&self) {
        self.send(Work::Maintain);
    }

    /// Nothing more comes: the thread writes what waits and ends.
    pub(super) fn close(&self) {
        locked(&self.aside).closing = true;
        // It only wakes the thread, which needs that only where nothing waits.
        let _ = self.work.try_send(Work::Close);
    }

    fn send(&self, work: Work) {
        let mut aside = locked(&self.aside);
        if aside.closing {
            return;
        }
        while let Some((source, at)) = aside.ends.pop() {
            if let Err(TrySendError::Full(Work::End { source, at })) =
                self.work.try_send(Work::End { source, at })
            {
                aside.ends.push((source, at));
                break;
            }
        }
        let refused = match aside.ends.is_empty() {
            true => match self.work.try_send(work) {
                Err(TrySendError::Full(work)) => work,
                _ => return,
            },
            false => work,
        };
        match refused {
            Work::End { source, at } if aside.ends.len() < WAITING_ENDS => {
                if let Err(place) = aside.ends.binary_search_by(|(there, _)| there.cmp(&source)) {
                    aside.ends.insert(place, (source, at));
                }
            }
            Work::Tick { .. } | Work::End { .. } => drop(self.left_out.inc()),
            Work::Maintain | Work::Close => {}
        }
    }
}

impl Queue {
    /// What is to be done without waiting.
    fn next(&mut self) -> Option<Work> {
        let mut aside = locked(&self.aside);
        if let Ok(work) = self.work.try_recv() {
            return Some(work);
        }
        let end = aside.ends.pop().map(|(source, at)| Work::End { source, at });
        if end.is_none() && aside.closing {
            self.work.close();
        }
        end
    }
}

#[cfg(test)]
impl Queue {
    /// The rows of the tick that comes next.
    pub(super) async fn tick(&mut self) -> Vec<Row> {
        match self.work.recv().await {
            Some(Work::Tick { rows, .. }) => rows,
            other => panic!("no tick but {other:?}"),
        }
    }
}

fn write(store: &Store, figures: &Figures, mut queue: Queue) {
    let mut sources: HashMap<Arc<str>, Source> = HashMap::new();
    while let Some(work) = queue.work.blocking_recv() {
        // What waits already shares a commit.
        let mut next = Some(work);
        while let Some(work) = next {
            next = queue.next();
            let last = next.is_none();
            // The store says itself, once, when it cannot write and when it can again.
            let _ = match work {
                Work::Tick { source, at, rows } => {
                    let handle = sources.entry(Arc::clone(&source)).or_insert_with(|| store.source(&source));
                    if last { handle.append(at, &rows) } else { handle.append_soon(at, &rows) }.map(drop)
                }
                Work::End { source, at } => {
                    let mut handle = sources.remove(&source).unwrap_or_else(|| store.source(&source));
                    // Many targets may go at once; each commit is a wait for the disk.
                    if last { handle.end(at) } else { handle.append_soon(at, &[]).map(drop) }
                }
                Work::Close => Ok(()),
                Work::Maintain => {
                    let maintained = store.maintain(clock::now());
                    figures.update(store.stats());
                    maintained.map(drop)
                }
            };
        }
    }
    if let Err(error) = store.close() {
        error!(%error, "The history was not closed in order; the log in its file covers what was acknowledged");
    }
}

impl Sink for Writer {
    fn tick(&self, target: &TargetKey, at: Timestamp, rows: Vec<Row>) {
        Self::tick(self, &source_of(target), at, rows);
    }

    fn end(&self, target: &TargetKey, at: Timestamp) {
        Self::end(self, &source_of(target), at);
    }
}

/// A target's source in the store, the same in every run.
fn source_of(target: &TargetKey) -> Arc<str> {
    format!("scrape/{}/{:016x}", target.pool(), target.hash64()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Queryable as _, Samples, Segment, Select, is_stale};
    use crate::store::StoreConfig;

    fn at(seconds: usize) -> Timestamp {
        Timestamp::from_millis(seconds as i64 * 1_000)
    }

    fn rows(series: &str) -> Vec<Row> {
        vec![Row { labels: Labels::from_pairs([("__name__", series)]), value: 1.0, timestamp: None }]
    }

    fn open(folder: &tempfile::TempDir) -> Store {
        let config =
            StoreConfig { path: Some(folder.path().into()), min_free_bytes: 0, ..StoreConfig::default() };
        Store::open(config, at(0)).unwrap()
    }

    /// How many samples the only series of a store has, and whether it has ended.
    fn written(store: &Store) -> (usize, bool) {
        let (from, to) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let found = store.select(&Select { matchers: &[], from, to }).unwrap();
        let samples = |segment: &Segment| match segment {
            Segment::Samples(samples) => samples.iter().collect::<Vec<_>>(),
            Segment::Page(page) => page.read().map(|page: Arc<Samples>| page.iter().collect()).unwrap(),
        };
        let all: Vec<(i64, f64)> =
            found.iter().flat_map(|series| &series.segments).flat_map(samples).collect();
        (all.len(), all.last().is_some_and(|(_, value)| is_stale(*value)))
    }

    fn shown(work: &Work) -> String {
        match work {
            Work::Tick { source, at, .. } => format!("tick {source} {}", at.as_millis() / 1_000),
            Work::End { source, at } => format!("end {source} {}", at.as_millis() / 1_000),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_end_waits_where_there_is_no_room_and_stays_in_its_place() {
        let (writer, mut queue) = Writer::new(Counter::default());
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        (0..WAITING_TICKS).for_each(|n| writer.tick(&a, at(n), Vec::new()));
        writer.end(&b, at(5_000));
        writer.end(&a, at(5_001));
        // What it says again is known; what came later would come too early.
        writer.end(&b, at(5_002));
        writer.tick(&b, at(5_003), Vec::new());
        writer.maintain();
        assert_eq!(writer.left_out.get(), 1);
        assert_eq!(shown(&queue.next().unwrap()), "tick a 0");
        writer.tick(&b, at(5_004), Vec::new());
        assert_eq!(writer.left_out.get(), 2, "the end has taken the place");
        (1..4).for_each(|n| assert_eq!(shown(&queue.next().unwrap()), format!("tick a {n}")));
        writer.tick(&b, at(5_005), Vec::new());
        writer.end(&b, at(5_006));
        writer.end(&a, at(5_007));
        let rest: Vec<String> =
            std::iter::from_fn(|| queue.next()).skip(WAITING_TICKS - 4).map(|w| shown(&w)).collect();
        assert_eq!(rest, ["end b 5000", "end a 5001", "tick b 5005", "end b 5006", "end a 5007"]);
    }

    #[test]
    fn closing_keeps_what_waits_also_where_the_queue_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, queue) = Writer::new(Counter::default());
        let source: Arc<str> = "a".into();
        (0..WAITING_TICKS).for_each(|n| writer.tick(&source, at(n), rows("x")));
        writer.end(&source, at(WAITING_TICKS));
        writer.close();
        // Somebody still could give it work, as targets can while they are shown.
        write(&open(&folder), &Figures::default(), queue);
        writer.tick(&source, at(WAITING_TICKS + 1), rows("x"));
        assert_eq!(writer.left_out.get(), 0);
        assert_eq!(written(&open(&folder)), (WAITING_TICKS + 1, true));
    }

    #[test]
    fn ends_of_many_targets_share_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let (writer, queue) = Writer::new(Counter::default());
        let before = store.stats().commits;
        for n in 0..300 {
            let source: Arc<str> = format!("scrape/j/{n}").into();
            writer.tick(&source, at(1), rows(&format!("x{n}")));
            writer.end(&source, at(2));
        }
        writer.close();
        write(&store, &Figures::default(), queue);
        let commits = store.stats().commits - before;
        assert!(commits <= 3, "{commits}");
    }
}
