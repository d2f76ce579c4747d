//! Pushed metrics: what short-lived jobs leave behind, under the Pushgateway's rules.
//!
//! A group is what was pushed under one grouping key, the labels of the path. `PUT` replaces a group, `POST` its
//! families of the same names, `DELETE` takes it away; beyond the Pushgateway, a group whose push said so
//! vanishes when no other comes in time.
//!
//! Invariants: what is held is consistent as one exposition, for a push that does not fit is refused whole; groups
//! and series are bounded; a push that was taken survives `kill -9`, given a place to keep it. The labels of the
//! grouping key win over those of the metrics, and samples have no timestamps of their own.
//!
//! Source: the Pushgateway's README, and what a Pushgateway 1.5 answers (`tests/peers/pushgateway.py`).

mod check;
mod family;
mod group;
mod grouping;
mod json;
mod metrics;
mod persist;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tracing::{error, info, warn};

pub use grouping::{Grouping, GroupingError};
pub use persist::{Persist, PushFolder};

use self::check::Held;
use self::family::{Family, Metric, families_of};
use self::group::Group;
use self::metrics::PushMetrics;
use crate::expose::{self, Limits, ParseStats, Syntax};
use crate::model::{Batch, Kind, OncePerState, Row, Timestamp};

/// Settings of `push`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSettings {
    /// Whether pushes are taken at all.
    pub enabled: bool,
    /// How long a group stays after its last push, unless that says otherwise; zero: until it is deleted.
    pub ttl: Duration,
    /// Whether `/metrics` shows pushed metrics too, as a Pushgateway's does.
    pub expose_on_metrics: bool,
    /// Most groups.
    pub max_groups: usize,
    /// Most series of all groups together.
    pub max_series: usize,
    /// Largest body of a push, before and after decompression.
    pub max_body_bytes: usize,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            ttl: Duration::ZERO,
            expose_on_metrics: true,
            max_groups: 1_000,
            max_series: 50_000,
            max_body_bytes: 4 << 20,
        }
    }
}

/// The format of a push's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFormat {
    /// A text format.
    Text(Syntax),
    /// Length-delimited protobuf.
    Protobuf,
}

impl PushFormat {
    /// From a `Content-Type`. What is not known is read as text 0.0.4, as a Pushgateway does.
    pub fn from_content_type(content_type: &str) -> Self {
        if expose::is_delimited_protobuf(content_type) {
            return Self::Protobuf;
        }
        let syntax = Syntax::from_content_type(content_type).filter(|syntax| syntax.is_open_metrics());
        Self::Text(syntax.unwrap_or(Syntax::Text004))
    }
}

/// What becomes of the families that a group has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMode {
    /// `PUT`: all of them go.
    ReplaceGroup,
    /// `POST`: those of the same names go.
    ReplaceFamilies,
}

/// One push.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The group.
    pub grouping: &'a Grouping,
    /// What becomes of the rest of it.
    pub mode: PushMode,
    /// The metrics, not compressed.
    pub body: &'a [u8],
    /// How they are written.
    pub format: PushFormat,
    /// How long the group stays without another push; zero: until it is deleted; `None`: as configured.
    pub ttl: Option<Duration>,
}

/// Why a push was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The body cannot be read.
    #[error("{0}")]
    Format(String),
    /// It does not fit what is held, or has timestamps.
    #[error("pushed metrics are invalid or inconsistent with existing metrics: {0}")]
    Inconsistent(String),
    /// It would hold more groups than allowed.
    #[error("limit of groups reached (push.max_groups: {0})")]
    TooManyGroups(usize),
    /// It would hold more series than allowed.
    #[error("limit of pushed series reached (push.max_series: {0})")]
    TooManySeries(usize),
}

/// Pushed groups and the rules about them. Its calls may block on the disk and take time in proportion to what is
/// pushed: not for async threads.
#[derive(Debug)]
pub struct PushGateway {
    settings: PushSettings,
    state: Mutex<State>,
    /// Held from a change until it is on disk, so that the last one written is the last one made.
    disk: Mutex<Disk>,
    metrics: PushMetrics,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<Grouping, Group>,
    /// Which groups have a family of a name.
    by_name: HashMap<String, BTreeSet<Grouping>>,
    series: usize,
}

#[derive(Debug)]
struct Disk {
    persist: Option<Box<dyn Persist>>,
    /// What could not be written yet.
    waiting: BTreeSet<Grouping>,
    failing: OncePerState<bool>,
}

impl PushGateway {
    /// With the groups that were kept; without a place to keep them they live in memory.
    ///
    /// # Errors
    /// What was kept cannot be read at all. A single record that cannot is set aside, logged and counted.
    pub fn open(settings: PushSettings, persist: Option<Box<dyn Persist>>) -> io::Result<Self> {
        let metrics = PushMetrics::default();
        let mut state = State::default();
        if let Some(persist) = &persist {
            for (key, record) in persist.load()? {
                match record::decode(&record) {
                    Ok((grouping, group)) => state.put(&grouping, group),
                    Err(error) => {
                        metrics.broken.inc();
                        error!(key, %error, "A pushed group on disk is broken and was set aside");
                        persist.set_aside(&key)?;
                    }
                }
            }
            if !state.groups.is_empty() {
                info!(groups = state.groups.len(), series = state.series, "Pushed groups read from disk");
            }
        }
        let disk = Disk { persist, waiting: BTreeSet::new(), failing: OncePerState::starting_at(false) };
        let gateway = Self { settings, state: Mutex::new(state), disk: Mutex::new(disk), metrics };
        gateway.count(&gateway.state());
        Ok(gateway)
    }

    /// Adds its own metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Its settings.
    pub const fn settings(&self) -> &PushSettings {
        &self.settings
    }

    /// Takes a push, whole or not at all.
    ///
    /// # Errors
    /// It is refused; unless it could not be read, the group says when.
    pub fn push(&self, push: &Push<'_>, now: Timestamp) -> Result<(), PushError> {
        let (batch, stats) = read(push, self.settings.max_series).inspect_err(|error| {
            self.metrics.refused(if matches!(error, PushError::Format(_)) { "format" } else { "limit" });
        })?;
        let mut disk = self.disk();
        let taken = self.apply(push, &batch, stats, now);
        match &taken {
            Ok(()) => {}
            Err(PushError::Inconsistent(_)) => self.metrics.refused("inconsistent"),
            Err(_) => self.metrics.refused("limit"),
        }
        self.write(&mut disk, [push.grouping.clone()]);
        taken
    }

    fn apply(
        &self,
        push: &Push<'_>,
        batch: &Batch,
        stats: ParseStats,
        now: Timestamp,
    ) -> Result<(), PushError> {
        let families = families_of(batch, push.grouping, now);
        let mut state = self.state();
        let is_new = !state.groups.contains_key(push.grouping);
        if is_new && state.groups.len() >= self.settings.max_groups {
            return Err(PushError::TooManyGroups(self.settings.max_groups));
        }
        let mut group = state.groups.get(push.grouping).cloned().unwrap_or_default();
        let fits = self.check(&state, push, &families, stats, &group);
        if fits.is_ok() {
            match push.mode {
                PushMode::ReplaceGroup => group.replace_all(families),
                PushMode::ReplaceFamilies => group.replace(families),
            }
            group.pushed = Some(now);
        } else {
            group.failed = Some(now);
        }
        if fits.is_ok() || is_new {
            let ttl = push.ttl.unwrap_or(self.settings.ttl);
            group.ttl = (!ttl.is_zero()).then_some(ttl);
        }
        state.put(push.grouping, group);
        self.count(&state);
        fits
    }

    fn check(
        &self,
        state: &State,
        push: &Push<'_>,
        families: &[Family],
        stats: ParseStats,
        group: &Group,
    ) -> Result<(), PushError> {
        if stats.timestamps > 0 {
            return Err(PushError::Inconsistent("pushed metrics must not have timestamps".to_owned()));
        }
        let others = Others { state, push, pushed: families };
        if let Some(conflicts) = check::conflicts(families, &others) {
            return Err(PushError::Inconsistent(conflicts));
        }
        let stays = match push.mode {
            PushMode::ReplaceGroup => 0,
            PushMode::ReplaceFamilies => {
                let replaced = families.iter().filter_map(|family| group.family(&family.name));
                group.series() - replaced.map(Family::series).sum::<usize>()
            }
        };
        let series =
            state.series - group.series() + stays + families.iter().map(Family::series).sum::<usize>();
        if series > self.settings.max_series {
            return Err(PushError::TooManySeries(self.settings.max_series));
        }
        Ok(())
    }

    /// Takes a group away, if it is there.
    pub fn delete(&self, grouping: &Grouping) {
        let mut disk = self.disk();
        if self.forget(std::slice::from_ref(grouping)) > 0 {
            self.write(&mut disk, [grouping.clone()]);
        }
    }

    /// Takes all groups away.
    pub fn wipe(&self) {
        let mut disk = self.disk();
        let all: Vec<Grouping> = self.state().groups.keys().cloned().collect();
        self.forget(&all);
        self.write(&mut disk, all);
    }

    /// The current sample of every series, for a tick of the history; as if scraped with `honor_labels`.
    ///
    /// Forgets the groups whose time is over, and tries again to write what could not be written.
    pub fn rows(&self, now: Timestamp) -> Vec<Row> {
        self.expire(now);
        let state = self.state();
        let mut rows = Vec::with_capacity(state.series + 2 * state.groups.len());
        for (grouping, group) in &state.groups {
            rows.extend_from_slice(group.rows());
            group.times(grouping, now).iter().for_each(|family| family.rows(&mut rows));
        }
        rows
    }

    fn expire(&self, now: Timestamp) {
        let mut disk = self.disk();
        let over: Vec<Grouping> = {
            let state = self.state();
            state.groups.iter().filter(|(_, group)| group.is_over(now)).map(|(key, _)| key.clone()).collect()
        };
        self.metrics.expired.inc_by(self.forget(&over) as u64);
        if !over.is_empty() || !disk.waiting.is_empty() {
            self.write(&mut disk, over);
        }
    }

    fn forget(&self, groups: &[Grouping]) -> usize {
        let mut state = self.state();
        let forgotten = groups.iter().filter(|grouping| state.remove(grouping).is_some()).count();
        self.count(&state);
        forgotten
    }

    /// Adds all groups to an exposition, as a Pushgateway's `/metrics` orders them; but no families for whose name
    /// `fits` refuses their type.
    pub fn expose(&self, now: Timestamp, fits: impl Fn(&str, Kind) -> bool, batch: &mut Batch) {
        let state = self.state();
        let current = || state.groups.iter().filter(|(_, group)| !group.is_over(now));
        let times: Vec<[Family; 2]> = current().map(|(grouping, group)| group.times(grouping, now)).collect();
        let mut by_name: BTreeMap<&str, Vec<&Family>> = BTreeMap::new();
        for family in current().flat_map(|(_, group)| group.families()).chain(times.iter().flatten()) {
            by_name.entry(&family.name).or_default().push(family);
        }
        let mut hidden = 0;
        for (name, families) in by_name {
            let Some(kind) = families.first().map(|family| family.kind) else { continue };
            if !fits(name, kind) {
                hidden += 1;
                continue;
            }
            let help = families.iter().map(|family| family.help.as_str()).find(|help| !help.is_empty());
            let id = batch.family(name, help.unwrap_or_default(), kind);
            let mut metrics: Vec<&Metric> = families.iter().flat_map(|family| &family.metrics).collect();
            metrics.sort_by_cached_key(|metric| metric.order());
            metrics.iter().for_each(|metric| metric.expose(kind, id, batch));
        }
        self.metrics.hidden.set(hidden);
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.state().groups.is_empty()
    }

    /// The groups as `GET /api/v1/metrics` shows them.
    pub fn groups(&self, now: Timestamp) -> serde_json::Value {
        let state = self.state();
        let current = state.groups.iter().filter(|(_, group)| !group.is_over(now));
        current.map(|(grouping, group)| json::group(grouping, group, now)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &State) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.groups.set(number(state.groups.len()));
        self.metrics.series.set(number(state.series));
    }

    /// Writes these groups as they are now, and those that wait since an earlier failure.
    fn write(&self, disk: &mut Disk, changed: impl IntoIterator<Item = Grouping>) {
        let Some(persist) = &disk.persist else { return };
        disk.waiting.extend(changed);
        let mut failure = None;
        disk.waiting.retain(|grouping| {
            if failure.is_some() {
                return true;
            }
            let record = self.state().groups.get(grouping).map(|group| record::encode(grouping, group));
            let key = record::key_of(grouping);
            let written = record.map_or_else(|| persist.remove(&key), |record| persist.put(&key, &record));
            failure = written.err();
            failure.is_some()
        });
        let changed = disk.failing.observe(failure.is_some()).is_some();
        if let Some(error) = &failure {
            self.metrics.write_failures.inc();
            if changed {
                warn!(%error, waiting = disk.waiting.len(), "Pushed groups cannot be written; trying again");
            }
        } else if changed {
            info!("Pushed groups are written again");
        }
    }
}

fn read(push: &Push<'_>, max_series: usize) -> Result<(Batch, ParseStats), PushError> {
    let mut batch = Batch::new();
    batch.set_limit(max_series);
    let stats = match push.format {
        PushFormat::Text(syntax) => {
            expose::parse(push.body, syntax, Limits::default(), &mut batch).map_err(|error| {
                let (line, column, problem) = (error.line, error.column, error.problem);
                PushError::Format(format!(
                    "text format parsing error in line {line}: {problem} (column {column})"
                ))
            })?
        }
        PushFormat::Protobuf => expose::parse_protobuf(push.body, Limits::default(), &mut batch)
            .map_err(|error| PushError::Format(format!("protobuf format parsing error: {error}")))?,
    };
    if batch.over_limit() > 0 {
        return Err(PushError::TooManySeries(max_series));
    }
    Ok((batch, stats))
}

impl State {
    fn put(&mut self, grouping: &Grouping, group: Group) {
        self.remove(grouping);
        for family in group.families() {
            match self.by_name.get_mut(&family.name) {
                Some(groups) => drop(groups.insert(grouping.clone())),
                None => {
                    self.by_name.insert(family.name.clone(), BTreeSet::from([grouping.clone()]));
                }
            }
        }
        self.series += group.series();
        self.groups.insert(grouping.clone(), group);
    }

    fn remove(&mut self, grouping: &Grouping) -> Option<Group> {
        let group = self.groups.remove(grouping)?;
        for family in group.families() {
            if let Some(groups) = self.by_name.get_mut(&family.name) {
                groups.remove(grouping);
                if groups.is_empty() {
                    self.by_name.remove(&family.name);
                }
            }
        }
        self.series -= group.series();
        Some(group)
    }
}

/// What is held but would not be replaced by a push.
struct Others<'a> {
    state: &'a State,
    push: &'a Push<'a>,
    pushed: &'a [Family],
}

impl Others<'_> {
    fn families(&self, name: &str) -> impl Iterator<Item = &Family> {
        let replaced =
            self.push.mode == PushMode::ReplaceGroup || self.pushed.iter().any(|family| family.name == name);
        let groups = self.state.by_name.get(name).into_iter().flatten();
        let groups = groups.filter(move |grouping| !replaced || *grouping != self.push.grouping);
        groups.filter_map(move |grouping| self.state.groups.get(grouping)?.family(name))
    }
}

impl Held for Others<'_> {
    fn kind(&self, name: &str) -> Option<Kind> {
        self.families(name).next().map(|family| family.kind)
    }

    fn metrics(&self, name: &str) -> impl Iterator<Item = &Metric> {
        self.families(name).flat_map(|family| &family.metrics)
    }
}

#[cfg(test)]
mod tests;
