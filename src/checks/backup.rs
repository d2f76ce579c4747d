//! Backups: of each job the newest file, how old and how large it is, and how that compares with those before.
//!
//! The newest file that is no longer being written counts: one changed within `settle` is not looked at. Invariant:
//! directories are listed, files looked at, none is opened.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::paths::{self, SearchError};
use super::sample::{Family, Sample, Samples};
use super::settings::{check_name, positive, read_named};
use crate::config::Section;
use crate::model::Timestamp;

/// Newest files whose sizes are compared.
const COMPARED: usize = 31;

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
        if let Some(wrong) = exclude.iter().find(|pattern| glob::Pattern::new(pattern).is_err()) {
            section.error("exclude", format!("{wrong:?} is not a pattern of a name"));
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
        "When the newest finished backup was written, in seconds since 1970; absent where there is none.",
    ),
    Family::gauge(AGE, "How long ago that was."),
    Family::gauge(PERIOD, "A finished backup is due once in this time."),
    Family::gauge(SIZE, "Size of the newest finished backup."),
    Family::gauge(PREVIOUS, "Size of the one before it."),
    Family::gauge(USUAL, "Median size of up to 30 backups before it; absent for the first."),
    Family::gauge(
        CHANGE,
        "Size of the newest as a share of the one before, less 1: 0 for alike, -0.5 for half.",
    ),
    Family::gauge(FILES, "Finished backups that are there."),
    Family::gauge(TOTAL, "Their size together."),
    Family::gauge(UNFINISHED, "Backups that are still being written."),
    Family::gauge(RESTORE, "When a restore was last tried and went well, in seconds since 1970."),
    Family::gauge(RESTORE_PERIOD, "A restore is due once in this time; absent where none is asked for."),
    Family::gauge(READABLE, "Whether the place of the backups could be read."),
];

/// A file as it was found: newest first in comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    modified_millis: i64,
    size_bytes: u64,
}

#[derive(Debug, Default)]
struct Listing {
    /// The newest ones, oldest on top.
    newest: BinaryHeap<Reverse<Found>>,
    files: u64,
    bytes: u64,
    unfinished: u64,
}

/// Looks once. What could not be read is in the samples; the text says why.
pub(super) fn look(settings: &BackupSettings, now: Timestamp) -> (Vec<Sample>, Result<(), String>) {
    let mut samples = Samples::new(vec![("backup".to_owned(), settings.name.clone())]);
    samples.add(PERIOD, settings.period.as_secs_f64());
    if let Some(period) = settings.restore_period {
        samples.add(RESTORE_PERIOD, period.as_secs_f64());
    }
    if let Some(at) = settings.restore_path.as_deref().and_then(modified_millis) {
        samples.add(RESTORE, seconds(at));
    }
    let listed = list(settings, now);
    samples.add(READABLE, f64::from(u8::from(listed.is_ok())));
    let result = match listed {
        Ok(listing) => {
            write(listing, &mut samples);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    };
    (samples.finish(), result)
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

/// What is known anew, and of what is not, what was known before.
pub(super) fn still_known(new: Vec<Sample>, before: &[Sample]) -> Vec<Sample> {
    let missing = before.iter().filter(|old| new.iter().all(|sample| sample.family != old.family));
    let missing: Vec<Sample> = missing.cloned().collect();
    new.into_iter().chain(missing).collect()
}

fn list(settings: &BackupSettings, now: Timestamp) -> Result<Listing, SearchError> {
    let exclude: Vec<glob::Pattern> =
        settings.exclude.iter().filter_map(|p| glob::Pattern::new(p).ok()).collect();
    let settle = i64::try_from(settings.settle.as_millis()).unwrap_or(i64::MAX);
    let mut listing = Listing::default();
    paths::search(&settings.path, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if exclude.iter().any(|pattern| pattern.matches(&name)) {
            return;
        }
        let Ok(metadata) = std::fs::metadata(&path) else { return };
        if !metadata.is_file() {
            return;
        }
        let modified_millis = metadata.modified().ok().map_or(0, unix_millis);
        // A time ahead of the clock tells nothing; such a file counts as finished.
        if (0..settle).contains(&now.as_millis().saturating_sub(modified_millis)) {
            listing.unfinished += 1;
            return;
        }
        listing.add(Found { modified_millis, size_bytes: metadata.len() });
    })?;
    Ok(listing)
}

impl Listing {
    fn add(&mut self, found: Found) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(found.size_bytes);
        self.newest.push(Reverse(found));
        if self.newest.len() > COMPARED {
            self.newest.pop();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts; Prometheus loses the same bits")]
fn write(listing: Listing, samples: &mut Samples) {
    samples.add(FILES, listing.files as f64);
    samples.add(TOTAL, listing.bytes as f64);
    samples.add(UNFINISHED, listing.unfinished as f64);
    let mut newest: Vec<Found> = listing.newest.into_iter().map(|Reverse(found)| found).collect();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    let Some((last, before)) = newest.split_first() else { return };
    samples.add(LAST, seconds(last.modified_millis));
    samples.since(AGE, seconds(last.modified_millis));
    samples.add(SIZE, last.size_bytes as f64);
    if let Some(previous) = before.first() {
        samples.add(PREVIOUS, previous.size_bytes as f64);
        // An empty one before says nothing about a share.
        if previous.size_bytes > 0 {
            samples.add(CHANGE, last.size_bytes as f64 / previous.size_bytes as f64 - 1.0);
        }
    }
    let mut sizes: Vec<u64> = before.iter().map(|found| found.size_bytes).collect();
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

fn modified_millis(path: &Path) -> Option<i64> {
    Some(unix_millis(std::fs::metadata(path).ok()?.modified().ok()?))
}

fn unix_millis(time: SystemTime) -> i64 {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn seconds(millis: i64) -> f64 {
    Timestamp::from_millis(millis).as_seconds_f64()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::model::{Batch, Snapshot};

    const NOW: i64 = 1_700_000_000;

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn file(&self, name: &str, size: u64, age: i64) -> &Self {
            let file = std::fs::File::create(self.0.path().join(name)).unwrap();
            file.set_len(size).unwrap();
            let modified = UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW - age).unwrap());
            file.set_modified(modified).unwrap();
            self
        }

        fn settings(&self, pattern: &str) -> BackupSettings {
            BackupSettings {
                name: "db".to_owned(),
                path: self.0.path().join(pattern),
                exclude: vec!["*.tmp".to_owned()],
                period: Duration::from_secs(86_400),
                settle: Duration::from_secs(60),
                interval: Duration::from_secs(60),
                timeout: Duration::from_secs(30),
                restore_period: None,
                restore_path: Some(self.0.path().join("restored")),
            }
        }
    }

    fn shown(settings: &BackupSettings, later: i64) -> Vec<String> {
        let (samples, _) = look(settings, Timestamp::from_millis(NOW * 1000));
        let mut out = Batch::new();
        let now = Timestamp::from_millis((NOW + later) * 1000);
        sample::write(FAMILIES, std::iter::once(samples.as_slice()), now, &mut out);
        let snapshot = Snapshot::assemble(now, vec![("backup", out)]);
        assert_eq!(snapshot.duplicates(), 0);
        let line =
            |name: &str, value: f64| format!("{} {value}", name.trim_start_matches("outrigger_backup_"));
        let lines = snapshot.families().flat_map(|family| {
            let name = family.name().to_owned();
            family.samples().map(|s| line(&name, s.value())).collect::<Vec<_>>()
        });
        lines.collect()
    }

    #[test]
    fn the_newest_finished_file_is_compared_with_those_before() {
        let dir = Dir(tempfile::tempdir().unwrap());
        dir.file("1.dump", 100, 300_000).file("2.dump", 300, 200_000).file("3.dump", 200, 100_000);
        dir.file("4.dump", 50, 10_000).file("5.dump", 7, 59).file("6.tmp", 1, 5_000).file("restored", 0, 500);
        std::fs::create_dir(dir.0.path().join("7.dump")).unwrap();
        assert_eq!(
            shown(&dir.settings("*.*"), 10),
            [
                "age_seconds 10010",
                "files 4",
                "files_size_bytes 650",
                "last_success_timestamp_seconds 1699990000",
                "period_seconds 86400",
                "previous_size_bytes 200",
                "readable 1",
                "restore_test_timestamp_seconds 1699999500",
                "size_bytes 50",
                "size_change_ratio -0.75",
                "unfinished_files 1",
                "usual_size_bytes 200",
            ]
        );
    }

    #[test]
    fn nothing_there_one_there_and_no_folder() {
        let dir = Dir(tempfile::tempdir().unwrap());
        let settings = BackupSettings { restore_path: None, ..dir.settings("*.dump") };
        let none =
            ["files 0", "files_size_bytes 0", "period_seconds 86400", "readable 1", "unfinished_files 0"];
        assert_eq!(shown(&settings, 0), none);
        // Of the future: its age is none.
        dir.file("1.dump", 0, -500);
        let one = shown(&settings, 0);
        assert!(
            one.contains(&"age_seconds 0".to_owned()) && one.contains(&"size_bytes 0".to_owned()),
            "{one:?}"
        );
        assert!(!one.iter().any(|line| line.contains("usual") || line.contains("previous")), "{one:?}");
        let settings = BackupSettings { path: dir.0.path().join("none/*.dump"), ..settings };
        assert_eq!(shown(&settings, 0), ["period_seconds 86400", "readable 0"]);
        assert!(look(&settings, Timestamp::default()).1.unwrap_err().contains("cannot list"));
    }

    #[test]
    fn of_many_files_only_the_newest_are_remembered() {
        let dir = Dir(tempfile::tempdir().unwrap());
        for index in 0..200_u32 {
            dir.file(&format!("{index}.dump"), u64::from(index) + 1, i64::from(index) * 100 + 100);
        }
        let lines = shown(&dir.settings("*.dump"), 0);
        // The 30 before the newest have 2 to 31 bytes.
        assert!(lines.contains(&"usual_size_bytes 16.5".to_owned()), "{lines:?}");
        assert!(
            lines.contains(&"files 200".to_owned()) && lines.contains(&"size_bytes 1".to_owned()),
            "{lines:?}"
        );
    }
}
