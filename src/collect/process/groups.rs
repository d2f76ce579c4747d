//! Groups: what their members use now, and what all members, past ones included, have used.
//!
//! Invariants: a total never goes down while its group is known; there are at most so many groups. Where a new one
//! finds no room, the one that has been empty for longest is forgotten; where none is empty, the new one is left out.
//!
//! Source: process-exporter's documentation of its metrics.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::tracker::Reading;

/// What grows while a process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// In ticks of the clock, as the next.
    pub(super) user: u64,
    pub(super) system: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) major_faults: u64,
    pub(super) minor_faults: u64,
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
}

/// Stands for bytes that could not be read.
pub(super) const UNREAD: u64 = u64::MAX;

impl Counts {
    /// Adds what came since `before`. What could not be read this time, or went backwards, adds nothing.
    pub(super) fn add_since(&mut self, now: &Self, before: &Self) {
        let add = |total: &mut u64, now: u64, before: u64| {
            let known = now != UNREAD;
            *total = total.saturating_add(if known { now.saturating_sub(before) } else { 0 });
        };
        add(&mut self.user, now.user, before.user);
        add(&mut self.system, now.system, before.system);
        add(&mut self.read_bytes, now.read_bytes, before.read_bytes);
        add(&mut self.written_bytes, now.written_bytes, before.written_bytes);
        add(&mut self.major_faults, now.major_faults, before.major_faults);
        add(&mut self.minor_faults, now.minor_faults, before.minor_faults);
        add(&mut self.voluntary, now.voluntary, before.voluntary);
        add(&mut self.involuntary, now.involuntary, before.involuntary);
    }

    /// What the next reading is held against: this one, and `before` where it could not be read, or all of it would count
    /// once more.
    pub(super) const fn or_before(mut self, before: &Self) -> Self {
        if self.read_bytes == UNREAD {
            self.read_bytes = before.read_bytes;
        }
        if self.written_bytes == UNREAD {
            self.written_bytes = before.written_bytes;
        }
        self
    }
}

/// States of processes and threads, as process-exporter tells them apart.
pub(super) const STATES: [&str; 5] = ["Running", "Sleeping", "Waiting", "Zombie", "Other"];

/// Where a state's letter stands in [`STATES`].
const fn state_index(letter: u8) -> usize {
    match letter {
        b'R' => 0,
        b'S' => 1,
        b'D' => 2,
        b'Z' => 3,
        _ => 4,
    }
}

/// What the members have in this pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    pub(super) processes: u64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) swapped_bytes: u64,
    pub(super) proportional_bytes: u64,
    pub(super) proportional_swapped_bytes: u64,
    pub(super) open_files: u64,
    pub(super) worst_file_ratio: f64,
    /// Ticks since the machine's start.
    pub(super) oldest_start: Option<u64>,
    pub(super) threads: u64,
    pub(super) states: [u64; STATES.len()],
    /// Threads by where in the kernel they wait.
    pub(super) waits: BTreeMap<Box<str>, u64>,
}

impl Now {
    /// Adds what a process has.
    pub(super) fn add(&mut self, reading: &Reading<'_>, page_bytes: u64) {
        let stat = reading.stat;
        let add = |sum: &mut u64, part: u64| *sum = sum.saturating_add(part);
        add(&mut self.processes, 1);
        add(&mut self.resident_bytes, stat.resident_pages.saturating_mul(page_bytes));
        add(&mut self.virtual_bytes, stat.virtual_bytes);
        add(&mut self.swapped_bytes, reading.swap_bytes);
        add(&mut self.proportional_bytes, reading.shares.0);
        add(&mut self.proportional_swapped_bytes, reading.shares.1);
        let files = reading.open_files.unwrap_or(0);
        add(&mut self.open_files, files);
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = files as f64 / reading.file_limit.max(1) as f64;
        self.worst_file_ratio = self.worst_file_ratio.max(ratio);
        self.oldest_start = Some(self.oldest_start.map_or(stat.start, |oldest| oldest.min(stat.start)));
        add(&mut self.threads, stat.threads);
        for state in std::iter::once(stat.state).chain(reading.threads.iter().map(|thread| thread.state)) {
            if let Some(count) = self.states.get_mut(state_index(state)) {
                *count += 1;
            }
        }
    }
}

/// Threads of one name.
#[derive(Clone, Debug, Default)]
pub(super) struct ThreadGroup {
    pub(super) threads: u64,
    pub(super) counts: Counts,
}

/// Most names of threads of one group: programs that number their threads have hundreds.
const MOST_THREAD_NAMES: usize = 256;

/// Most places in the kernel of one group; there are some fifty.
const MOST_WAITS: usize = 256;

/// Processes under one name.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Box<str>,
    pub(super) counts: Counts,
    pub(super) now: Now,
    pub(super) threads: BTreeMap<Box<str>, ThreadGroup>,
    /// Processes that are in it, whether they were read in this pass or not.
    members: usize,
    /// The pass in which it last had one.
    last_used: u64,
}

impl Group {
    pub(super) fn waits_in(&mut self, place: &str) {
        if place.is_empty() {
            return;
        }
        if let Some(count) = self.now.waits.get_mut(place) {
            *count += 1;
        } else if self.now.waits.len() < MOST_WAITS {
            self.now.waits.insert(place.into(), 1);
        }
    }

    /// The threads of this name; `None` where there are too many names.
    pub(super) fn threads_named(&mut self, name: &str) -> Option<&mut ThreadGroup> {
        if !self.threads.contains_key(name) {
            if self.threads.len() >= MOST_THREAD_NAMES {
                return None;
            }
            self.threads.insert(name.into(), ThreadGroup::default());
        }
        self.threads.get_mut(name)
    }
}

/// All groups, by number; numbers of forgotten ones are given again.
#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: Vec<Option<Group>>,
    by_name: FxHashMap<Box<str>, usize>,
    /// Numbers in the order of names.
    order: Vec<usize>,
    pub(super) forgotten: u64,
    pub(super) threads_left_out: u64,
}

impl Groups {
    /// Forgets what members had in the last pass.
    pub(super) fn begin(&mut self) {
        self.threads_left_out = 0;
        for group in self.slots.iter_mut().flatten() {
            let waits = std::mem::take(&mut group.now.waits);
            group.now = Now { waits, ..Now::default() };
            group.now.waits.values_mut().for_each(|count| *count = 0);
            group.threads.values_mut().for_each(|threads| threads.threads = 0);
        }
    }

    /// Names of threads that no thread has any more are forgotten, as process-exporter does.
    pub(super) fn finish(&mut self) {
        for group in self.slots.iter_mut().flatten() {
            group.threads.retain(|_, threads| threads.threads > 0);
            group.now.waits.retain(|_, count| *count > 0);
        }
    }

    /// The group of this name, made if there is room; `most` is the bound.
    pub(super) fn number(&mut self, name: &str, most: usize) -> Option<usize> {
        if let Some(number) = self.by_name.get(name) {
            return Some(*number);
        }
        while self.by_name.len() >= most.max(1) {
            self.forget_one()?;
        }
        let group = Group {
            name: name.into(),
            counts: Counts::default(),
            now: Now::default(),
            threads: BTreeMap::new(),
            members: 0,
            last_used: 0,
        };
        let number = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        match self.slots.get_mut(number) {
            Some(slot) => *slot = Some(group),
            None => self.slots.push(Some(group)),
        }
        self.by_name.insert(name.into(), number);
        self.sort();
        Some(number)
    }

    fn forget_one(&mut self) -> Option<()> {
        let empty =
            self.slots.iter().enumerate().filter_map(|(number, group)| Some((number, group.as_ref()?)));
        let empty = empty.filter(|(_, group)| group.members == 0);
        let (number, _) = empty.min_by_key(|(_, group)| group.last_used)?;
        let group = self.slots.get_mut(number)?.take()?;
        self.by_name.remove(&group.name);
        self.forgotten += 1;
        self.sort();
        Some(())
    }

    fn sort(&mut self) {
        let mut named: Vec<(&str, usize)> =
            self.by_name.iter().map(|(name, number)| (&**name, *number)).collect();
        named.sort_unstable();
        self.order = named.into_iter().map(|(_, number)| number).collect();
    }

    pub(super) fn get(&mut self, number: usize) -> Option<&mut Group> {
        self.slots.get_mut(number)?.as_mut()
    }

    pub(super) fn join(&mut self, number: usize) {
        if let Some(group) = self.get(number) {
            group.members += 1;
        }
    }

    pub(super) fn leave(&mut self, number: usize, pass: u64) {
        if let Some(group) = self.get(number) {
            group.members = group.members.saturating_sub(1);
            group.last_used = pass;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// In the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.order.iter().filter_map(|number| self.slots.get(*number)?.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_empty_group_makes_room() {
        let mut groups = Groups::default();
        for (pass, name) in ["b", "a", "c"].iter().enumerate() {
            let number = groups.number(name, 3).unwrap();
            groups.join(number);
            groups.leave(number, 10 - pass as u64);
        }
        let a = groups.number("a", 3).unwrap();
        groups.join(a);
        // c was left first.
        let d = groups.number("d", 3).unwrap();
        groups.join(d);
        let names = |groups: &Groups| groups.iter().map(|group| group.name.to_string()).collect::<Vec<_>>();
        assert_eq!((names(&groups), groups.forgotten), (vec!["a".to_owned(), "b".into(), "d".into()], 1));
        let b = groups.number("b", 3).unwrap();
        groups.join(b);
        assert_eq!((groups.number("e", 3), groups.len()), (None, 3));
        groups.leave(b, 11);
        assert!(groups.number("e", 3).is_some());
        assert_eq!(names(&groups), ["a", "d", "e"]);
    }

    #[test]
    fn totals_never_go_down() {
        let mut total = Counts::default();
        let counts = |user, read_bytes| Counts { user, read_bytes, ..Counts::default() };
        total.add_since(&counts(5, 10), &counts(2, 0));
        total.add_since(&counts(4, 12), &counts(5, 10));
        assert_eq!(total, counts(3, 12));
    }

    #[test]
    fn bytes_that_cannot_be_read_for_a_while_do_not_count_again() {
        let mut total = Counts::default();
        let mut before = Counts { read_bytes: UNREAD, ..Counts::default() };
        for (read_bytes, want) in [(UNREAD, 0), (500, 0), (UNREAD, 0), (UNREAD, 0), (507, 7), (508, 8)] {
            let now = Counts { read_bytes, ..Counts::default() };
            total.add_since(&now, &before);
            before = now.or_before(&before);
            assert_eq!(total.read_bytes, want);
        }
    }
}
