//! Kills for lack of memory, counted so that none is lost. Sources: the kernel's `dev-kmsg` ABI, `mm/oom_kill.c`.
//!
//! A group counts them itself, but a kill often ends the container, its group, and with it the count, before anybody
//! read it. So the kernel's log is followed as well; and where a container was killed, its count stays for [`STAYS`]
//! after it has gone, which nothing else does. Invariant: a count never falls while its container comes and goes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::super::files::open;
use super::super::{HostPaths, parse};
use super::walk::Group;
use super::write::Labels;
use crate::model::{ColdSort, Timestamp};

/// How long the count of a container that is gone is shown: longer than the windows of rules.
const STAYS: Duration = Duration::from_secs(15 * 60);

/// Most groups with kills that are remembered.
const MOST_GROUPS: usize = 256;

/// Most records of the log that a pass reads.
const MOST_RECORDS: usize = 20_000;

/// Longest record of the log (kernel: `CONSOLE_EXT_LOG_MAX`).
const RECORD_BYTES: usize = 8192;

/// Kills of one group, by whatever container was in it.
#[derive(Clone, Debug)]
struct Kills {
    count: f64,
    last: Timestamp,
    /// Of the group that counted last.
    inode: u64,
    /// Of the container that was last there.
    labels: Option<Labels>,
}

/// What is known of kills.
#[derive(Debug, Default)]
pub(super) struct OomKills {
    log: Option<File>,
    buffer: Vec<u8>,
    groups: FxHashMap<String, Kills>,
}

/// By the host; counts outlive a reload, which would else let them fall.
static HOSTS: Mutex<Vec<(HostPaths, Arc<Mutex<OomKills>>)>> = Mutex::new(Vec::new());

/// Most hosts that are remembered; a reload may change where one is seen.
const MOST_HOSTS: usize = 8;

/// What is known of the kills of a host, followed from the first call on.
pub(super) fn of_host(paths: &HostPaths) -> Arc<Mutex<OomKills>> {
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, kills)) = hosts.iter().find(|(of, _)| of == paths) {
        return Arc::clone(kills);
    }
    let mut kills = OomKills::default();
    kills.follow(paths);
    let kills = Arc::new(Mutex::new(kills));
    if hosts.len() >= MOST_HOSTS {
        hosts.remove(0);
    }
    hosts.push((paths.clone(), Arc::clone(&kills)));
    kills
}

/// A panic leaves at worst a count that was about to rise.
pub(super) fn lock(kills: &Mutex<OomKills>) -> MutexGuard<'_, OomKills> {
    kills.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OomKills {
    /// Number of groups that are remembered.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Follows the log from here on, if it may be read.
    pub(super) fn follow(&mut self, paths: &HostPaths) {
        let log = open(&paths.root("dev/kmsg"));
        self.log = log.and_then(|mut log| log.seek(SeekFrom::End(0)).map(|_| log)).ok();
    }

    /// Reads what came to the log since. `container_of` finds the container whose group a group is in or below.
    pub(super) fn read(&mut self, now: Timestamp, container_of: impl Fn(&str) -> Option<String>) {
        let Some(log) = &mut self.log else { return };
        self.buffer.resize(RECORD_BYTES, 0);
        for _ in 0..MOST_RECORDS {
            let read = match log.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                // What was to come next has been overwritten: on with what is there.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            for line in parse::lines(self.buffer.get(..read).unwrap_or_default()) {
                if let Some(group) = victim(line).and_then(&container_of) {
                    count(&mut self.groups, group, now);
                }
            }
        }
    }

    /// What former groups of the name of one that is new had counted. The log was read before it had `counted` so many, and
    /// not since: what comes to the log later is not yet in its count.
    pub(super) fn before(&self, group: Group<'_>, counted: f64) -> f64 {
        let known = self.groups.get(group.path);
        let count = known.map_or(0.0, |kills| kills.count);
        // The log has told of this one's kills already; without it, only this one itself may have.
        let is_counted_in = self.log.is_some() || known.is_some_and(|kills| kills.inode == group.inode);
        if is_counted_in { (count - counted).max(0.0) } else { count }
    }

    /// Kills of a container by now. `counted` is what its group says, a new one from 0 again, and `before` what those had that
    /// were called so. The log was read since: the kernel writes of a kill there first, and what the log had not told of would
    /// be counted once more when it does.
    pub(super) fn of(&mut self, group: Group<'_>, counted: f64, before: f64, now: Timestamp) -> f64 {
        let known = self.groups.get(group.path);
        let count = known.map_or(0.0, |kills| kills.count);
        let now_counted = count.max(before + counted);
        if now_counted > count && (known.is_some() || self.groups.len() < MOST_GROUPS) {
            let kills = Kills { count: now_counted, last: now, inode: group.inode, labels: None };
            self.groups.insert(group.path.to_owned(), kills);
        }
        now_counted
    }

    /// A container is gone: its count, if it has one, goes on under these labels.
    pub(super) fn gone(&mut self, group: &str, labels: &Labels) {
        if let Some(kills) = self.groups.get_mut(group) {
            kills.labels = Some(labels.clone());
        }
    }

    /// Groups with kills of a container that was never there when one looked, and how long ago it was killed last.
    pub(super) fn unseen(&self, now: Timestamp, is_there: impl Fn(&str) -> bool) -> Vec<(String, Duration)> {
        let unseen = self.groups.iter().filter(|(group, kills)| kills.labels.is_none() && !is_there(group));
        unseen.map(|(group, kills)| (group.clone(), now.since(kills.last))).collect()
    }

    /// Counts of those that are gone and were killed lately, and their labels; those of longer ago are forgotten.
    pub(super) fn of_gone(&mut self, now: Timestamp, is_there: impl Fn(&str) -> bool) -> Vec<(&Labels, f64)> {
        self.groups.retain(|group, kills| is_there(group) || now.since(kills.last) < STAYS);
        let gone = self.groups.iter().filter(|(group, _)| !is_there(group));
        let mut gone: Vec<_> =
            gone.filter_map(|(_, kills)| Some((kills.labels.as_ref()?, kills.count))).collect();
        gone.cold_sort_by(|a, b| a.0.cmp(b.0));
        gone
    }
}

fn count(groups: &mut FxHashMap<String, Kills>, group: String, now: Timestamp) {
    if groups.len() >= MOST_GROUPS && !groups.contains_key(&group) {
        return;
    }
    let kills = groups.entry(group).or_insert(Kills { count: 0.0, last: now, inode: 0, labels: None });
    kills.count += 1.0;
    kills.last = now;
}

/// The group of the process that was killed: `...;oom-kill:constraint=...,task_memcg=/docker/1,task=x,pid=2,uid=0`.
/// A user may write to the log as well, but not as the kernel, whose records have a facility of 0.
fn victim(record: &[u8]) -> Option<&str> {
    let (prefix, text) = parse::split_once(record, b';')?;
    let level = parse::unsigned(prefix.split(|b| *b == b',').next()?)?;
    let text = text.strip_prefix(b"oom-kill:").filter(|_| level < 8)?;
    let fields = std::str::from_utf8(text).ok()?;
    let (_, after) = fields.split_once(",task_memcg=")?;
    // The name of a group may have a comma in it, the name of a task may be anything.
    let (group, _) = after.split_once(",task=")?;
    group.starts_with('/').then_some(group)
}

/// For fuzzing.
pub(super) fn survives(bytes: &[u8]) {
    assert!(victim(bytes).is_none_or(|group| group.starts_with('/')));
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::collect::host::testing::{Fixture, NOW};

    const RECORD: &str = "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=1,mems_allowed=0,\
                          oom_memcg=/docker/1,task_memcg=/docker/1/below,task=x,pid=2,uid=0\n";

    #[test]
    fn victims() {
        assert_eq!(victim(RECORD.trim_end().as_bytes()), Some("/docker/1/below"));
        for other in [
            "6,1,2,-;Killed process 1",
            "12,1,2,-;oom-kill:constraint=x,task_memcg=/docker/1,task=forged",
            "oom-kill:,task_memcg=/docker/1,task=x",
            " SUBSYSTEM=cpu",
            "",
        ] {
            assert_eq!(victim(other.as_bytes()), None, "{other}");
        }
    }

    fn labels(id: &str) -> Labels {
        Labels::new(vec![("id".to_owned(), id.to_owned())])
    }

    fn group(path: &str, inode: u64) -> Group<'_> {
        Group { path, inode, has_children: false }
    }

    #[test]
    fn counts_survive_the_container_and_are_not_counted_twice() {
        let mut kills = OomKills::default();
        assert_eq!(kills.before(group("/1", 1), 0.0), 0.0);
        assert_eq!(kills.of(group("/1", 1), 0.0, 0.0, NOW), 0.0);
        assert_eq!(kills.of(group("/1", 1), 2.0, 0.0, NOW), 2.0);
        assert_eq!(kills.before(group("/1", 1), 2.0), 0.0, "the same group, seen anew after a reload");
        kills.gone("/1", &labels("/1"));
        assert_eq!(kills.of_gone(NOW, |_| false), [(&labels("/1"), 2.0)]);
        let before = kills.before(group("/1", 2), 1.0);
        assert_eq!(kills.of(group("/1", 2), 1.0, before, NOW), 3.0, "a new group counts on");
        assert_eq!(kills.of(group("/1", 2), 2.0, before, NOW), 4.0);
        assert_eq!(kills.of_gone(NOW, |_| true), []);
        let later = NOW.plus(STAYS);
        assert_eq!(kills.of_gone(later, |_| false), []);
        assert_eq!(kills.before(group("/1", 3), 0.0), 0.0, "forgotten");
    }

    #[test]
    fn the_log_tells_of_what_no_group_counts_any_more() {
        let fixture = Fixture::new().file("root/dev/kmsg", RECORD);
        let paths = HostPaths { rootfs: fixture.path().join("root"), ..HostPaths::default() };
        let mut kills = OomKills::default();
        kills.follow(&paths);
        let container_of = |group: &str| group.strip_suffix("/below").map(str::to_owned);
        kills.read(NOW, container_of);
        assert_eq!(kills.of(group("/docker/1", 1), 0.0, 0.0, NOW), 0.0, "what was before is not counted");
        let mut log = std::fs::OpenOptions::new().append(true).open(paths.root("dev/kmsg")).unwrap();
        log.write_all(RECORD.repeat(2).as_bytes()).unwrap();
        kills.read(NOW, container_of);
        let before = kills.before(group("/docker/1", 1), 1.0);
        assert_eq!(kills.of(group("/docker/1", 1), 1.0, before, NOW), 2.0);
        log.write_all(RECORD.as_bytes()).unwrap();
        kills.read(NOW, container_of);
        assert_eq!(
            kills.of(group("/docker/1", 1), 2.0, before, NOW),
            3.0,
            "the group's count and the log's are one"
        );
        // Killed after the group was read for the first time: the log tells of it first.
        let before = kills.before(group("/docker/1", 2), 0.0);
        log.write_all(RECORD.as_bytes()).unwrap();
        kills.read(NOW, container_of);
        for counted in [0.0, 1.0] {
            assert_eq!(kills.of(group("/docker/1", 2), counted, before, NOW), 4.0);
        }
    }
}
