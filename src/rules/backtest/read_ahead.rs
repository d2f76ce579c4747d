//! History read ahead: what a selector will ask for over the next hours, fetched and unpacked once.
//!
//! An evaluation asks for the same series as the one before it, a few seconds later. Each answer is cut out of what was
//! read for hours at once, instead of being looked up and unpacked from pages each time.
//!
//! Invariants: what is handed out is what the history itself would give, staleness markers included; samples held are
//! bounded, and what is too large for the bound is passed through.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::model::{
    Labels, Matcher, Queryable, QueryableError, Samples, Segment, Select, SelectAny, SelectedSeries,
};

/// How far ahead is read; the second where there is no room for the first.
const AHEAD: [Duration; 2] = [Duration::from_secs(4 * 3_600), Duration::from_secs(15 * 60)];

/// Ranges longer than this are answered by the history itself, which knows summaries of pages.
const LONGEST_RANGE_MS: i64 = 6 * 3_600_000;

/// Most samples held, some 64 MB.
const MOST_SAMPLES: usize = 4_000_000;

/// Most selectors; templates can make any number.
const MOST_SELECTORS: usize = 10_000;

/// Most stretches of one selector: as it is, and with the offsets that rules look back by.
const MOST_STRETCHES: usize = 8;

/// See the module's page.
pub(super) struct ReadAhead {
    history: Arc<dyn Queryable>,
    held: Mutex<Held>,
}

struct Held {
    /// By the pattern of the first matcher, which mostly is the metric's name.
    selectors: FxHashMap<String, Vec<Selector>>,
    count: usize,
    /// How many samples more may be held.
    room: usize,
}

/// One list of matchers over one length of time.
struct Selector {
    matchers: Vec<Matcher>,
    span_ms: i64,
    /// Its samples are too many to be read ahead.
    is_too_large: bool,
    /// The one used last in front.
    stretches: Vec<Stretch>,
}

/// What was read, from one instant to another, both included.
struct Stretch {
    from_ms: i64,
    to_ms: i64,
    series: Vec<(Labels, Samples)>,
    samples: usize,
}

impl Stretch {
    fn answer(&self, from_ms: i64, to_ms: i64) -> Vec<SelectedSeries> {
        let cut = |(labels, samples): &(Labels, Samples)| {
            let samples = cut(samples, from_ms, to_ms)?;
            Some(SelectedSeries {
                labels: labels.clone(),
                segments: vec![Segment::Samples(Arc::new(samples))],
            })
        };
        self.series.iter().filter_map(cut).collect()
    }
}

/// The samples between two instants, both included; `None` where there are none.
fn cut(samples: &Samples, from_ms: i64, to_ms: i64) -> Option<Samples> {
    let times = samples.timestamps_ms();
    let from = times.partition_point(|at| *at < from_ms);
    let rest = times.get(from..)?;
    let count = rest.partition_point(|at| *at <= to_ms);
    let times = rest.get(..count).filter(|times| !times.is_empty())?;
    let values = samples.values().get(from..from + count)?;
    Some(Samples::from_columns(times.to_vec(), values.to_vec()))
}

impl ReadAhead {
    pub(super) fn new(history: Arc<dyn Queryable>) -> Self {
        Self::with_room(history, MOST_SAMPLES)
    }

    fn with_room(history: Arc<dyn Queryable>, room: usize) -> Self {
        Self { history, held: Mutex::new(Held { selectors: FxHashMap::default(), count: 0, room }) }
    }

    /// Reads to beyond what is asked for; `None` where there is no room for that.
    fn read(&self, request: &Select<'_>, room: usize) -> Result<Option<Stretch>, QueryableError> {
        for ahead in AHEAD {
            let to = request.to.plus(ahead);
            let (from_ms, to_ms) = (request.from.as_millis(), to.as_millis());
            let selected = self.history.select(&Select { to, ..*request })?;
            if let Some((series, samples)) = unpacked(selected, (from_ms, to_ms), room)? {
                return Ok(Some(Stretch { from_ms, to_ms, series, samples }));
            }
        }
        Ok(None)
    }
}

type Unpacked = (Vec<(Labels, Samples)>, usize);

fn unpacked(
    selected: Vec<SelectedSeries>,
    (from_ms, to_ms): (i64, i64),
    room: usize,
) -> Result<Option<Unpacked>, QueryableError> {
    let (mut series, mut held) = (Vec::with_capacity(selected.len()), 0);
    for found in selected {
        let mut all = Samples::default();
        for segment in &found.segments {
            let samples = match segment {
                Segment::Samples(samples) => Arc::clone(samples),
                Segment::Page(page) => page.read()?,
            };
            let Some(samples) = cut(&samples, from_ms, to_ms) else { continue };
            held += samples.len();
            if held > room {
                return Ok(None);
            }
            match all.is_empty() {
                true => all = samples,
                false => samples.iter().for_each(|(at, value)| all.push(at, value)),
            }
        }
        if !all.is_empty() {
            series.push((found.labels, all));
        }
    }
    Ok(Some((series, held)))
}

impl Held {
    /// Where what belongs to a selector is held; `None` where there are too many of them.
    fn selector(&mut self, matchers: &[Matcher], span_ms: i64) -> Option<(&mut Selector, &mut usize)> {
        let key = matchers.first().map_or("", Matcher::pattern);
        if !self.selectors.contains_key(key) {
            if self.count >= MOST_SELECTORS {
                return None;
            }
            self.selectors.insert(key.to_owned(), Vec::new());
        }
        let all = self.selectors.get_mut(key)?;
        let same = |selector: &Selector| selector.span_ms == span_ms && selector.matchers == matchers;
        let at = match all.iter().position(same) {
            Some(at) => at,
            None if self.count >= MOST_SELECTORS => return None,
            None => {
                let (matchers, stretches) = (matchers.to_vec(), Vec::new());
                all.push(Selector { matchers, span_ms, is_too_large: false, stretches });
                self.count += 1;
                all.len() - 1
            }
        };
        Some((all.get_mut(at)?, &mut self.room))
    }
}

impl Selector {
    fn answer(&mut self, from_ms: i64, to_ms: i64) -> Option<Vec<SelectedSeries>> {
        let covers = |stretch: &Stretch| stretch.from_ms <= from_ms && to_ms <= stretch.to_ms;
        let at = self.stretches.iter().position(covers)?;
        if at > 0 {
            let used = self.stretches.remove(at);
            self.stretches.insert(0, used);
        }
        self.stretches.first().map(|stretch| stretch.answer(from_ms, to_ms))
    }

    /// Gives up the stretch that time has left behind, or one that was not used for long.
    fn make_room(&mut self, from_ms: i64, room: &mut usize) {
        let left = |stretch: &Stretch| stretch.from_ms <= from_ms && from_ms <= stretch.to_ms;
        let full = self.stretches.len() >= MOST_STRETCHES;
        let at = self.stretches.iter().position(left).or(full.then(|| self.stretches.len() - 1));
        if let Some(at) = at {
            *room += self.stretches.remove(at).samples;
        }
    }
}

impl Queryable for ReadAhead {
    fn select(&self, request: &Select<'_>) -> Result<Vec<SelectedSeries>, QueryableError> {
        let (from_ms, to_ms) = (request.from.as_millis(), request.to.as_millis());
        let span_ms = to_ms.saturating_sub(from_ms);
        if !(0..=LONGEST_RANGE_MS).contains(&span_ms) {
            return self.history.select(request);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((selector, room)) = held.selector(request.matchers, span_ms) else {
            return self.history.select(request);
        };
        if let Some(answer) = selector.answer(from_ms, to_ms) {
            return Ok(answer);
        }
        if !selector.is_too_large {
            selector.make_room(from_ms, room);
            if let Some(stretch) = self.read(request, *room)? {
                *room -= stretch.samples;
                let answer = stretch.answer(from_ms, to_ms);
                selector.stretches.insert(0, stretch);
                return Ok(answer);
            }
            selector.is_too_large = true;
        }
        self.history.select(request)
    }

    fn series(&self, request: &SelectAny<'_>) -> Result<Vec<Labels>, QueryableError> {
        self.history.series(request)
    }

    fn label_names(&self, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.history.label_names(request)
    }

    fn label_values(&self, name: &str, request: &SelectAny<'_>) -> Result<Vec<String>, QueryableError> {
        self.history.label_values(name, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{METRIC_NAME, Row, Timestamp};
    use crate::store::{Store, StoreConfig};

    /// Ten series over ten hours, a sample a minute; the last ends half way. In pages and in tails.
    fn store() -> Store {
        let store = Store::open(StoreConfig::default(), Timestamp::from_millis(0)).expect("opens");
        let mut source = store.source("s");
        for minute in 0..600_i32 {
            let row = |i: i32| Row {
                labels: Labels::from_pairs([(METRIC_NAME, "m"), ("i", &i.to_string())]),
                value: f64::from(minute * 10 + i),
                timestamp: None,
            };
            let rows: Vec<Row> = (0..if minute < 300 { 10 } else { 9 }).map(row).collect();
            source.append(Timestamp::from_millis(i64::from(minute) * 60_000), &rows).expect("appended");
        }
        store.maintain(Timestamp::from_millis(600 * 60_000)).expect("sealed");
        store
    }

    fn shown(selected: Vec<SelectedSeries>, (from, to): (i64, i64)) -> Vec<String> {
        let samples = |series: &SelectedSeries| {
            let all = series.segments.iter().flat_map(|segment| match segment {
                Segment::Samples(samples) => samples.iter().collect::<Vec<_>>(),
                Segment::Page(page) => page.read().expect("whole").iter().collect(),
            });
            let within = all.filter(|(at, _)| (from..=to).contains(at));
            within.map(|(at, value)| format!(" {at}:{:x}", value.to_bits())).collect::<String>()
        };
        let shown = |series: SelectedSeries| (samples(&series), series.labels);
        let there = selected.into_iter().map(shown).filter(|(samples, _)| !samples.is_empty());
        there.map(|(samples, labels)| format!("{labels}{samples}")).collect()
    }

    #[test]
    fn what_is_read_ahead_is_what_the_history_gives() {
        let store = store();
        for room in [0, 700, 20_000, MOST_SAMPLES] {
            let ahead = ReadAhead::with_room(Arc::new(store.clone()), room);
            let all = [Matcher::equal(METRIC_NAME, "m")];
            let one = [Matcher::equal(METRIC_NAME, "m"), Matcher::equal("i", "9")];
            for minute in (0..700).step_by(7) {
                for (matchers, minutes, offset) in
                    [(&all[..], 5, 0), (&one, 5, 0), (&all, 120, 0), (&all, 5, 90), (&one, 500, 0)]
                {
                    let to = (minute - offset) * 60_000;
                    let (from, to) = (to - minutes * 60_000 + 1, to);
                    let request = Select {
                        matchers,
                        from: Timestamp::from_millis(from),
                        to: Timestamp::from_millis(to),
                    };
                    let [expected, given] = [&store as &dyn Queryable, &ahead]
                        .map(|from_whom| shown(from_whom.select(&request).expect("read"), (from, to)));
                    assert_eq!(given, expected, "room {room}, minute {minute}, {minutes} minutes");
                }
            }
            let held = ahead.held.lock().expect("not poisoned");
            let stretches = held.selectors.values().flatten().flat_map(|selector| &selector.stretches);
            assert_eq!(held.room + stretches.map(|stretch| stretch.samples).sum::<usize>(), room);
        }
    }
}
