//! Who is in which group, from pass to pass.
//!
//! A process is named once, when it is first seen; one that nothing fits goes with the nearest ancestor that is in a
//! group. One that there was no time for, or that could not be read, is named in a later pass. Counters of a process that ran before the first pass begin at zero, those of one born later count in full;
//! what a process that has ended used stays in its group's totals. Threads count from when they are first seen.
//!
//! Invariant: a pass that is cut short forgets nobody; what it has added is not added again.
//!
//! Source: process-exporter's documentation, and its answers about processes of known history.

use std::time::Instant;

use rustc_hash::FxHashMap;

use super::groups::{Counts, Groups, UNREAD};
use super::namer::{Attributes, Namer};
use super::read::{Failure, Procfs, Stat, Status};
use super::users::Users;
use crate::collect::Pass;

/// How processes are grouped and what is read of them.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) namer: Namer,
    /// No two namers have the same; none has 0.
    pub(super) number: u64,
    /// A process that fits nothing belongs to its parent's group.
    pub(super) children: bool,
    pub(super) threads: bool,
    pub(super) proportional: bool,
    pub(super) recheck: Recheck,
    pub(super) most_groups: usize,
    /// Of a second.
    pub(super) ticks: u64,
    pub(super) page_bytes: u64,
}

/// Whether processes are named again at each pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recheck {
    Never,
    Always,
    /// While they are younger than so many seconds.
    WhileYoung(u64),
}

/// Counters that process-exporter has of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    pub(super) scrape: u64,
    pub(super) partial: u64,
    pub(super) procread: u64,
    pub(super) names: u64,
}

#[derive(Debug)]
struct Known {
    start: u64,
    parent: u32,
    seen: u64,
    /// It began after the first pass.
    born_later: bool,
    /// It is in no group for want of room, and tries again.
    left_out: bool,
    /// The number of the rules that said where it belongs; 0: it is still to be named.
    named_by: u64,
    member: Option<Member>,
}

#[derive(Debug)]
struct Member {
    group: usize,
    counts: Counts,
    threads: FxHashMap<(u32, u64), Counts>,
}

/// A process that is to be named.
struct Candidate {
    pid: u32,
    stat: Stat,
}

/// What is remembered between passes, and over reloads.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    known: FxHashMap<u32, Known>,
    pub(super) groups: Groups,
    pub(super) failures: Failures,
    pub(super) boot_seconds: u64,
    /// The last error of a template that was told.
    pub(super) name_error: Option<String>,
    pass: u64,
    /// All processes were seen at least once.
    begun: bool,
}

impl Tracker {
    /// One pass over all processes. `Err`: the list cannot be read, or time was too short.
    pub(super) fn pass(
        &mut self,
        pass: &Pass,
        procfs: &mut Procfs,
        rules: &Rules,
        users: &mut Users,
    ) -> Result<(), String> {
        self.pass += 1;
        self.boot_seconds = procfs.boot_time().unwrap_or(self.boot_seconds);
        self.groups.begin();
        let pids = procfs.processes().map_err(|error| {
            self.failures.scrape += 1;
            format!("cannot list processes: {error}")
        })?;
        let mut candidates = Vec::new();
        for pid in pids {
            self.in_time(pass)?;
            let Some(stat) = self.noted(procfs.stat(pid, None)) else { continue };
            if self.is_to_be_named(pid, &stat, rules, pass) {
                candidates.push(Candidate { pid, stat });
            } else {
                self.update(pid, &stat, procfs, rules);
            }
        }
        self.name_all(candidates, pass, procfs, rules, users)?;
        self.forget_ended();
        self.groups.finish();
        self.begun = true;
        Ok(())
    }

    fn in_time(&mut self, pass: &Pass) -> Result<(), String> {
        if Instant::now() < pass.deadline {
            return Ok(());
        }
        self.failures.scrape += 1;
        Err("no time left to read all processes".to_owned())
    }

    /// Counts a failure; a process that has ended is none.
    fn noted<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        if result.as_ref().err() == Some(&Failure::Unreadable) {
            self.failures.procread += 1;
        }
        result.ok()
    }

    fn is_to_be_named(&mut self, pid: u32, stat: &Stat, rules: &Rules, pass: &Pass) -> bool {
        let this = self.pass;
        if let Some(known) = self.known.get_mut(&pid)
            && known.start == stat.start
        {
            (known.seen, known.parent) = (this, stat.parent);
            let recheck = match rules.recheck {
                Recheck::Never => false,
                Recheck::Always => true,
                Recheck::WhileYoung(seconds) => {
                    let age = pass.now.as_seconds_f64() - self.boot_seconds as f64;
                    age - (stat.start as f64 / rules.ticks.max(1) as f64) < seconds as f64
                }
            };
            let anew = known.named_by != rules.number;
            return anew || recheck || known.left_out || (known.member.is_none() && !rules.children);
        }
        // Another process had the number.
        if let Some(Known { member: Some(member), .. }) = self.known.remove(&pid) {
            self.groups.leave(member.group, this);
        }
        let known = Known {
            start: stat.start,
            parent: stat.parent,
            seen: this,
            born_later: self.begun,
            left_out: false,
            named_by: 0,
            member: None,
        };
        self.known.insert(pid, known);
        true
    }

    /// Names those that have a name of their own, then those that go with an ancestor. `Err`: time was too short.
    fn name_all(
        &mut self,
        candidates: Vec<Candidate>,
        pass: &Pass,
        procfs: &mut Procfs,
        rules: &Rules,
        users: &mut Users,
    ) -> Result<(), String> {
        let mut nameless: FxHashMap<u32, Stat> = FxHashMap::default();
        for Candidate { pid, stat } in candidates {
            self.in_time(pass)?;
            let process = self.attributes(pid, &stat, procfs, rules, users);
            let group = rules.namer.group(&process).unwrap_or_else(|why| {
                self.failures.names += 1;
                self.name_error = Some(why);
                None
            });
            match group.or_else(|| self.group_until_now(pid, rules)) {
                Some(group) => self.put(pid, &stat, Some(&group), procfs, rules),
                None => {
                    nameless.insert(pid, stat);
                }
            }
        }
        let pids: Vec<u32> = nameless.keys().copied().collect();
        for pid in pids {
            self.in_time(pass)?;
            let (group, is_final) = match rules.children {
                true => self.group_of_ancestor(pid, &nameless, rules),
                false => (None, true),
            };
            let Some(stat) = nameless.get(&pid) else { continue };
            self.put(pid, stat, group.as_deref(), procfs, rules);
            if !is_final && let Some(known) = self.known.get_mut(&pid) {
                known.named_by = 0;
            }
        }
        Ok(())
    }

    /// The group that the same rules gave it before, perhaps that of an ancestor that has ended: a process that fits
    /// nothing any more stays where it was.
    fn group_until_now(&mut self, pid: u32, rules: &Rules) -> Option<String> {
        let known = self.known.get(&pid).filter(|known| known.named_by == rules.number)?;
        let group = known.member.as_ref()?.group;
        self.groups.get(group).map(|group| group.name.to_string())
    }

    /// The group of the nearest ancestor that is in one, and whether that is all there is to say: an ancestor that is
    /// still to be named may bring its children into a group.
    fn group_of_ancestor(
        &mut self,
        pid: u32,
        nameless: &FxHashMap<u32, Stat>,
        rules: &Rules,
    ) -> (Option<String>, bool) {
        let mut at = pid;
        // The chain is no longer than there are processes that wait for a name; procfs may be a file tree with loops.
        for _ in 0..=nameless.len() {
            let Some(stat) = nameless.get(&at) else { break };
            at = stat.parent;
        }
        let Some(known) = self.known.get(&at).filter(|_| !nameless.contains_key(&at)) else {
            return (None, true);
        };
        let Some(member) = &known.member else { return (None, known.named_by == rules.number) };
        (self.groups.get(member.group).map(|group| group.name.to_string()), true)
    }

    fn attributes(
        &mut self,
        pid: u32,
        stat: &Stat,
        procfs: &mut Procfs,
        rules: &Rules,
        users: &mut Users,
    ) -> Attributes {
        let (command_line, status) = (procfs.command_line(pid), procfs.status(pid, None));
        let cgroups = rules.namer.wants_cgroups().then(|| procfs.cgroups(pid).unwrap_or_default());
        let ticks = i128::from(rules.ticks.max(1));
        let nanos =
            i128::from(self.boot_seconds) * 1_000_000_000 + i128::from(stat.start) * 1_000_000_000 / ticks;
        Attributes {
            comm: stat.comm.clone(),
            command_line: self.noted(command_line).unwrap_or_default(),
            cgroups: cgroups.unwrap_or_default(),
            username: users.name(status.map_or(0, |status| status.effective_uid)).to_owned(),
            pid,
            start_unix_nanos: i64::try_from(nanos).unwrap_or(i64::MAX),
        }
    }

    /// Puts a process into a group, or into none, and reads it.
    fn put(&mut self, pid: u32, stat: &Stat, group: Option<&str>, procfs: &mut Procfs, rules: &Rules) {
        let reading = group.and_then(|_| self.read(pid, stat, procfs, rules));
        // One that cannot be read, most often because it has ended, takes nobody's room.
        let wanted = group.filter(|_| reading.is_some());
        let number = wanted.and_then(|name| self.groups.number(name, rules.most_groups));
        let this = self.pass;
        let Some(known) = self.known.get_mut(&pid) else { return };
        known.left_out = wanted.is_some() && number.is_none();
        known.named_by = if group.is_some() && reading.is_none() { 0 } else { rules.number };
        let before = known.member.take();
        if let Some(before) = &before {
            self.groups.leave(before.group, this);
        }
        let (Some(number), Some(reading)) = (number, reading) else {
            // What it used as a member is counted; should it come back, that is no news.
            known.born_later &= before.is_none();
            return;
        };
        known.member = Some(match before {
            Some(before) => Member { group: number, ..before },
            None => {
                let counts = if known.born_later { Counts::default() } else { reading.counts };
                Member { group: number, counts, threads: FxHashMap::default() }
            }
        });
        self.groups.join(number);
        self.add(pid, &reading, rules);
    }

    /// Reads a member again and adds its part to its group.
    fn update(&mut self, pid: u32, stat: &Stat, procfs: &mut Procfs, rules: &Rules) {
        if self.known.get(&pid).is_some_and(|known| known.member.is_some())
            && let Some(reading) = self.read(pid, stat, procfs, rules)
        {
            self.add(pid, &reading, rules);
        }
    }

    fn read<'s>(
        &mut self,
        pid: u32,
        stat: &'s Stat,
        procfs: &mut Procfs,
        rules: &Rules,
    ) -> Option<Reading<'s>> {
        let status = self.noted(procfs.status(pid, None))?;
        let io = self.partly(procfs.io(pid, None)).unwrap_or((UNREAD, UNREAD));
        let open_files = self.partly(procfs.open_files(pid));
        let file_limit = self.noted(procfs.file_limit(pid))?;
        let shares = rules.proportional.then(|| self.partly(procfs.proportional_bytes(pid))).flatten();
        let waits = self.partly(procfs.waits_in(pid, None).map(Box::from)).unwrap_or_default();
        let threads =
            if rules.threads && stat.threads > 1 { self.read_threads(pid, procfs) } else { Vec::new() };
        let mut counts = counts(stat, &status, io);
        if !threads.is_empty() {
            let sum = |of: fn(&Counts) -> u64| {
                threads.iter().map(|thread| of(&thread.counts)).fold(0, u64::saturating_add)
            };
            (counts.voluntary, counts.involuntary) = (sum(|c| c.voluntary), sum(|c| c.involuntary));
        }
        let (shares, swap_bytes) = (shares.unwrap_or_default(), status.swap_bytes);
        Some(Reading { stat, counts, swap_bytes, open_files, file_limit, shares, waits, threads })
    }

    /// Adds what a member has, and what it has used since it was last read.
    fn add(&mut self, pid: u32, reading: &Reading<'_>, rules: &Rules) {
        let Some(member) = self.known.get_mut(&pid).and_then(|known| known.member.as_mut()) else { return };
        let Some(group) = self.groups.get(member.group) else { return };
        group.counts.add_since(&reading.counts, &member.counts);
        member.counts = reading.counts.or_before(&member.counts);
        group.now.add(reading, rules.page_bytes);
        group.waits_in(&reading.waits);

        // Of several threads the first is counted as the process and as a thread, as process-exporter does.
        let mut seen = FxHashMap::default();
        let mut left_out = 0;
        for thread in &reading.threads {
            group.waits_in(&thread.waits);
            let key = (thread.id, thread.start);
            let before = member.threads.get(&key);
            if let Some(named) = group.threads_named(&thread.name) {
                named.threads += 1;
                if let Some(before) = before {
                    named.counts.add_since(&thread.counts, before);
                }
            } else {
                left_out += 1;
            }
            seen.insert(key, before.map_or(thread.counts, |before| thread.counts.or_before(before)));
        }
        member.threads = seen;
        self.groups.threads_left_out += left_out;
    }

    /// Counts what is missing of a process that is shown all the same.
    fn partly<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        if result.as_ref().err() == Some(&Failure::Unreadable) {
            self.failures.partial += 1;
        }
        result.ok()
    }

    fn read_threads(&mut self, pid: u32, procfs: &mut Procfs) -> Vec<Thread> {
        let Some(ids) = self.partly(procfs.threads(pid)) else { return Vec::new() };
        let read = |id: u32| {
            let stat = procfs.stat(pid, Some(id)).ok()?;
            let status = procfs.status(pid, Some(id)).ok()?;
            let io = procfs.io(pid, Some(id)).unwrap_or((UNREAD, UNREAD));
            let counts = counts(&stat, &status, io);
            let waits = procfs.waits_in(pid, Some(id)).unwrap_or_default().into();
            Some(Thread { id, start: stat.start, name: stat.comm, state: stat.state, counts, waits })
        };
        let threads: Vec<Thread> = ids.into_iter().filter_map(read).collect();
        // One alone is the process.
        if threads.len() < 2 { Vec::new() } else { threads }
    }

    fn forget_ended(&mut self) {
        let (this, groups) = (self.pass, &mut self.groups);
        self.known.retain(|_, known| {
            let stays = known.seen == this;
            if let (false, Some(member)) = (stays, &known.member) {
                groups.leave(member.group, this);
            }
            stays
        });
    }

    /// Processes that are in no group for want of room.
    pub(super) fn left_out(&self) -> usize {
        self.known.values().filter(|known| known.left_out).count()
    }
}

fn counts(stat: &Stat, status: &Status, (read_bytes, written_bytes): (u64, u64)) -> Counts {
    Counts {
        user: stat.user,
        system: stat.system,
        read_bytes,
        written_bytes,
        major_faults: stat.major_faults,
        minor_faults: stat.minor_faults,
        voluntary: status.voluntary_switches,
        involuntary: status.involuntary_switches,
    }
}

/// A process as it was read.
pub(super) struct Reading<'s> {
    pub(super) stat: &'s Stat,
    counts: Counts,
    pub(super) swap_bytes: u64,
    pub(super) open_files: Option<u64>,
    pub(super) file_limit: u64,
    pub(super) shares: (u64, u64),
    waits: Box<str>,
    pub(super) threads: Vec<Thread>,
}

/// A thread as it was read.
pub(super) struct Thread {
    id: u32,
    start: u64,
    name: String,
    pub(super) state: u8,
    counts: Counts,
    waits: Box<str>,
}
