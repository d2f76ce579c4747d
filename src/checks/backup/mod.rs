//! Backups: of each job the newest file, how old and how large it is, and how that compares with those before.
//!
//! The newest file that is no longer being written counts: one changed within `settle` is not looked at. One dated in the
//! future never grows old, and would be the newest for ever: it is an error. Invariant: directories are listed, files
//! looked at, none is opened.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::paths::{self, SearchError};
use super::sample::{Family, Sample, Samples};
use super::settings::{check_name, positive, read_named};
use crate::config::Section;
use crate::model::{ColdSort, PromDuration, Timestamp};

/// Backups before the newest whose sizes it is compared with.
const COMPARED: usize = 30;

/// How far clocks of file servers may be ahead; with a longer `settle`, as far as that.
const SKEW: Duration = Duration::from_secs(60);

/// A job whose backups are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSettings {
    /// Label `backup`.
    pub name: String,
    /// Which files are its backups.
    pub path: PathBuf,
    /// Files that are not: patterns of names.
    pub exclude: Vec<String>,
    /// A finished backup is due once in this time.
    pub period: Duration,
    /// A file changed less than this ago is still being written.
    pub settle: Duration,
    /// How often to look.
    pub interval: Duration,
    /// How long looking may take.
    pub timeout: Duration,
    /// `restore_test.period`.
    pub restore_period: Option<Duration>,
    /// `restore_test.path`: a file that is touched when a restore went well.
    pub restore_path: Option<PathBuf>,
}

impl BackupSettings {
    pub(super) fn read_all(section: &mut Section<'_>) -> Vec<Self> {
        read_named(section, "backups", "backup", Self::read, |read| &read.name)
    }

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = check_name(section);
        section.require("path");
        section.require("period");
        let path = section.take("path").and_then(|value| {
            let path = value.path_buf()?;
            paths::check(&path).map_err(|why| value.error(why)).ok()?;
            Some(path)
        });
        let exclude = section.take_strings("exclude").unwrap_or_default();
        if let Some(why) = exclude.iter().find_map(|pattern| paths::check_name(pattern).err()) {
            section.error("exclude", why);
        }
        let period = positive(section, "period");
        let settle = section.take_duration("settle").unwrap_or(Duration::from_secs(60));
        let interval = positive(section, "interval").unwrap_or(Duration::from_secs(60));
        let timeout = positive(section, "timeout").unwrap_or(Duration::from_secs(30));
        let restore = section.take_section("restore_test").map(|mut restore| {
            restore.require("period");
            (positive(&mut restore, "period"), restore.take_path("path"))
        });
        let (restore_period, restore_path) = restore.unwrap_or_default();
        Some(Self {
            name: name?,
            path: path?,
            exclude,
            period: period?,
            settle,
            interval,
            timeout,
            restore_period,
            restore_path,
        })
    }
}

const LAST: &str = "outrigger_backup_last_success_timestamp_seconds";
const AGE: &str = "outrigger_backup_age_seconds";
const PERIOD: &str = "outrigger_backup_period_seconds";
const SIZE: &str = "outrigger_backup_size_bytes";
const PREVIOUS: &str = "outrigger_backup_previous_size_bytes";
const USUAL: &str = "outrigger_backup_usual_size_bytes";
const CHANGE: &str = "outrigger_backup_size_change_ratio";
const FILES: &str = "outrigger_backup_files";
const TOTAL: &str = "outrigger_backup_files_size_bytes";
const UNFINISHED: &str = "outrigger_backup_unfinished_files";
const RESTORE: &str = "outrigger_backup_restore_test_timestamp_seconds";
const RESTORE_PERIOD: &str = "outrigger_backup_restore_test_period_seconds";
const READABLE: &str = "outrigger_backup_readable";

pub(super) static FAMILIES: &[Family] = &[
    Family::gauge(
        LAST,
        "When the newest finished backup was written, in seconds since 1970, also if it is gone since; absent where none was seen.",
    ),
    Family::gauge(AGE, "How long ago that was."),
    Family::gauge(PERIOD, "A finished backup is due once in this time."),
    Family::gauge(SIZE, "Size of the newest finished backup."),
    Family::gauge(PREVIOUS, "Size of the one before it."),
    Family::gauge(
        USUAL,
        "Median size of up to 30 backups before it, of those seen where it is the only one; absent for the first.",
    ),
    Family::gauge(
        CHANGE,
        "Size of the newest as a share of the one before, less 1: 0 for alike, -0.5 for half.",
    ),
    Family::gauge(FILES, "Finished backups that are there."),
    Family::gauge(TOTAL, "Their size together."),
    Family::gauge(UNFINISHED, "Backups that are still being written."),
    Family::gauge(RESTORE, "When a restore was last tried and went well, in seconds since 1970."),
    Family::gauge(RESTORE_PERIOD, "A restore is due once in this time; absent where none is asked for."),
    Family::gauge(
        READABLE,
        "Whether the place of the backups could be read, and none is dated in the future.",
    ),
];

/// A file as it was found, whatever name it was found under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    modified_millis: i64,
    size_bytes: u64,
    device: u64,
    inode: u64,
}

/// The newest backups that were seen, last first: what one is compared with that is the only one there, as a file that is
/// overwritten each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    path: PathBuf,
    /// Modification in milliseconds, and size.
    seen: VecDeque<(i64, u64)>,
}

impl Past {
    /// Takes note of the newest; sizes of those that were it before.
    fn note(&mut self, settings: &BackupSettings, last: &Found) -> Vec<u64> {
        if self.path != settings.path {
            *self = Self { path: settings.path.clone(), seen: VecDeque::new() };
        }
        let newest = (last.modified_millis, last.size_bytes);
        if self.seen.front() != Some(&newest) {
            self.seen.push_front(newest);
            self.seen.truncate(1 + COMPARED);
        }
        self.seen.iter().skip(1).map(|(_, size)| *size).collect()
    }
}

/// Looks once. What could not be read is in the samples; the text says why.
pub(super) fn look(
    settings: &BackupSettings,
    past: &mut Past,
    now: Timestamp,
) -> (Vec<Sample>, Result<(), String>) {
    let mut samples = Samples::new(vec![("backup".to_owned(), settings.name.clone())]);
    samples.add(PERIOD, settings.period.as_secs_f64());
    if let Some(period) = settings.restore_period {
        samples.add(RESTORE_PERIOD, period.as_secs_f64());
    }
    let restored = settings.restore_path.as_deref().map_or(Ok(None), metadata);
    let mut ahead = Ahead::of(settings, now);
    let mut restored_ahead = ahead.clone();
    if let (Ok(Some(restored)), Some(path)) = (&restored, &settings.restore_path)
        && !restored_ahead.takes(path, modified_millis(restored))
    {
        samples.add(RESTORE, seconds(modified_millis(restored)));
    }
    let listed = list(settings, &mut ahead).map_err(|error| error.to_string());
    let readable = listed.as_ref().map_err(String::clone).and_then(|_| ahead.result());
    samples.add(READABLE, f64::from(u8::from(readable.is_ok())));
    if let Ok(files) = listed {
        write(settings, files, past, now, &mut samples);
    }
    let restored = restored.map_err(|error| error.to_string()).and_then(|_| restored_ahead.result());
    (samples.finish(), readable.and(restored))
}

/// Finds files dated in the future.
#[derive(Clone)]
struct Ahead {
    now_millis: i64,
    /// So far ahead may be the clock that dated the file.
    skew_millis: i64,
    /// The one dated last, and its date.
    last: Option<(PathBuf, i64)>,
}

impl Ahead {
    fn of(settings: &BackupSettings, now: Timestamp) -> Self {
        Self { now_millis: now.as_millis(), skew_millis: whole_millis(settings.settle.max(SKEW)), last: None }
    }

    /// Whether a file is one of them.
    fn takes(&mut self, path: &Path, modified_millis: i64) -> bool {
        let is_ahead = modified_millis.saturating_sub(self.now_millis) > self.skew_millis;
        if is_ahead && self.last.as_ref().is_none_or(|(_, last)| *last < modified_millis) {
            self.last = Some((path.to_owned(), modified_millis));
        }
        is_ahead
    }

    fn result(&self) -> Result<(), String> {
        let Some((path, modified_millis)) = &self.last else { return Ok(()) };
        let ahead = modified_millis.saturating_sub(self.now_millis) / 1000;
        let ahead = PromDuration::new(Duration::from_secs(ahead.unsigned_abs()));
        let path = path.display();
        Err(format!(
            "{path} is dated {ahead} in the future and does not count; touch or remove it, or set the clock"
        ))
    }
}

/// Of a job that could not be looked at in time: what is known without looking.
pub(super) fn unreadable(settings: &BackupSettings) -> Vec<Sample> {
    let mut samples = Samples::new(vec![("backup".to_owned(), settings.name.clone())]);
    samples.add(PERIOD, settings.period.as_secs_f64());
    if let Some(period) = settings.restore_period {
        samples.add(RESTORE_PERIOD, period.as_secs_f64());
    }
    samples.add(READABLE, 0.0);
    samples.finish()
}

/// What is known anew, and of what could not be looked at, what was known before. When a backup last finished stays true
/// while that one is overwritten, and when it is gone.
pub(super) fn still_known(new: Vec<Sample>, before: &[Sample], looked: bool) -> Vec<Sample> {
    let stays = |old: &&Sample| !looked || [LAST, AGE].contains(&old.family);
    let missing = before.iter().filter(|old| new.iter().all(|sample| sample.family != old.family));
    let missing: Vec<Sample> = missing.filter(stays).cloned().collect();
    new.into_iter().chain(missing).collect()
}

/// The files, newest first, each once: a link to the newest is not one before it. Those dated in the future are left out.
fn list(settings: &BackupSettings, ahead: &mut Ahead) -> Result<Vec<Found>, SearchError> {
    let exclude: Vec<glob::Pattern> =
        settings.exclude.iter().filter_map(|p| glob::Pattern::new(p).ok()).collect();
    let is_pattern = paths::has_wildcard(&settings.path);
    let (mut files, mut unreadable) = (Vec::new(), None);
    paths::search(&settings.path, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if exclude.iter().any(|pattern| pattern.matches(&name)) {
            return;
        }
        match metadata(&path) {
            Ok(metadata) => {
                let file = metadata.filter(Metadata::is_file).map(|file| Found::of(&file));
                files.extend(file.filter(|file| !ahead.takes(&path, file.modified_millis)));
            }
            Err(error) if is_pattern && error.is_no_folder() => {}
            Err(error) => unreadable = Some(error),
        }
    })?;
    files.cold_sort_by(|a: &Found, b| b.cmp(a));
    files.dedup();
    unreadable.map_or(Ok(files), Err)
}

/// What is at a path, if anything. Whoever may not look cannot say that there is nothing.
fn metadata(path: &Path) -> Result<Option<Metadata>, SearchError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SearchError::Look { path: path.to_owned(), source }),
    }
}

fn modified_millis(metadata: &Metadata) -> i64 {
    metadata.modified().ok().map_or(0, unix_millis)
}

impl Found {
    fn of(file: &Metadata) -> Self {
        Self {
            modified_millis: modified_millis(file),
            size_bytes: file.len(),
            device: file.dev(),
            inode: file.ino(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts; Prometheus loses the same bits")]
fn write(
    settings: &BackupSettings,
    files: Vec<Found>,
    past: &mut Past,
    now: Timestamp,
    samples: &mut Samples,
) {
    let settle = whole_millis(settings.settle);
    // Also one a little ahead of the clock, as file servers date them: it has just changed.
    let is_unfinished =
        |file: &Found| settle > 0 && now.as_millis().saturating_sub(file.modified_millis) < settle;
    let all = files.len();
    let finished: Vec<Found> = files.into_iter().filter(|file| !is_unfinished(file)).collect();
    samples.add(FILES, finished.len() as f64);
    let bytes = finished.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size_bytes));
    samples.add(TOTAL, bytes as f64);
    samples.add(UNFINISHED, (all - finished.len()) as f64);
    let Some((last, before)) = finished.split_first() else { return };
    samples.add(LAST, seconds(last.modified_millis));
    samples.since(AGE, seconds(last.modified_millis));
    samples.add(SIZE, last.size_bytes as f64);
    let mut sizes = past.note(settings, last);
    if !before.is_empty() {
        sizes = before.iter().take(COMPARED).map(|found| found.size_bytes).collect();
    }
    if let Some(previous) = sizes.first() {
        samples.add(PREVIOUS, *previous as f64);
        // An empty one before says nothing about a share.
        if *previous > 0 {
            samples.add(CHANGE, last.size_bytes as f64 / *previous as f64 - 1.0);
        }
    }
    sizes.sort_unstable();
    let middle = sizes.len() / 2;
    let at = |index: usize| sizes.get(index).map(|size| *size as f64);
    let median = match sizes.len() {
        0 => None,
        odd if odd % 2 == 1 => at(middle),
        _ => at(middle - 1).zip(at(middle)).map(|(a, b)| f64::midpoint(a, b)),
    };
    if let Some(median) = median {
        samples.add(USUAL, median);
    }
}

fn unix_millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => whole_millis(since),
        Err(before) => -whole_millis(before.duration()),
    }
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn seconds(millis: i64) -> f64 {
    Timestamp::from_millis(millis).as_seconds_f64()
}

#[cfg(test)]
mod tests;
