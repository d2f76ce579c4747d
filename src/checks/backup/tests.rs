//! Folders as jobs leave them: what counts, what is compared with what, what cannot be looked at.

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
    let (samples, _) = look(settings, &mut Past::default(), Timestamp::from_millis(NOW * 1000));
    let mut out = Batch::new();
    let now = Timestamp::from_millis((NOW + later) * 1000);
    sample::write(FAMILIES, std::iter::once(samples.as_slice()), now, &mut out);
    let snapshot = Snapshot::assemble(now, vec![("backup", out)]);
    assert_eq!(snapshot.duplicates(), 0);
    let line = |name: &str, value: f64| format!("{} {value}", name.trim_start_matches("outrigger_backup_"));
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
    let none = ["files 0", "files_size_bytes 0", "period_seconds 86400", "readable 1", "unfinished_files 0"];
    assert_eq!(shown(&settings, 0), none);
    dir.file("1.dump", 0, 500);
    let one = shown(&settings, 0);
    assert!(
        one.contains(&"age_seconds 500".to_owned()) && one.contains(&"size_bytes 0".to_owned()),
        "{one:?}"
    );
    assert!(!one.iter().any(|line| line.contains("usual") || line.contains("previous")), "{one:?}");
    let settings = BackupSettings { path: dir.0.path().join("none/*.dump"), ..settings };
    assert_eq!(shown(&settings, 0), ["period_seconds 86400", "readable 0"]);
    assert!(
        look(&settings, &mut Past::default(), Timestamp::default()).1.unwrap_err().contains("cannot list")
    );
}

#[test]
fn what_is_dated_in_the_future_is_neither_fresh_nor_finished() {
    let (hour, settle_of) = (3_600, Duration::from_secs);
    for (settle, ahead, finished, unfinished, readable) in [
        (60, -60, 2, 0, 1),
        (60, -59, 1, 1, 1),
        (60, 20, 1, 1, 1),
        (60, 60, 1, 1, 1),
        (60, 61, 1, 0, 0),
        (60, 730 * 24 * hour, 1, 0, 0),
        (2 * 3_600, hour, 1, 1, 1),
        (5, 20, 1, 1, 1),
        (0, 1, 2, 0, 1),
        (0, 61, 1, 0, 0),
    ] {
        let dir = Dir(tempfile::tempdir().unwrap());
        dir.file("old.dump", 10, 30 * 24 * hour).file("bad.dump", 10, -ahead).file("restored", 0, -ahead);
        let settings = BackupSettings { settle: settle_of(settle), ..dir.settings("*.dump") };
        let (case, lines) = (format!("settle {settle}, {ahead} ahead"), shown(&settings, 0));
        for (name, want) in [("files", finished), ("unfinished_files", unfinished), ("readable", readable)] {
            assert!(lines.contains(&format!("{name} {want}")), "{case}: {lines:?}");
        }
        let overdue = lines.contains(&"age_seconds 2592000".to_owned());
        assert_eq!(overdue, finished == 1, "{case}: {lines:?}");
        assert_eq!(
            lines.iter().any(|line| line.starts_with("restore_test_timestamp")),
            readable == 1,
            "{case}"
        );
    }
    let dir = Dir(tempfile::tempdir().unwrap());
    dir.file("a.dump", 1, -3_600).file("b.dump", 1, -7_261).file("c.dump", 1, -120).file("restored", 0, -90);
    let result = |settings: &BackupSettings| {
        look(settings, &mut Past::default(), Timestamp::from_millis(NOW * 1000)).1
    };
    let why = result(&dir.settings("*.dump")).unwrap_err();
    let named = format!("{} is dated 2h1m1s in the future", dir.0.path().join("b.dump").display());
    assert!(why.starts_with(&named), "{why}");
    assert!(result(&dir.settings("none")).unwrap_err().contains("restored is dated 1m30s in the future"));
}

#[test]
fn a_link_to_the_newest_is_not_one_before_it() {
    let dir = Dir(tempfile::tempdir().unwrap());
    dir.file("1.dump", 100, 2_000).file("2.dump", 50, 1_000).file("restored", 0, 500);
    std::os::unix::fs::symlink("2.dump", dir.0.path().join("latest.dump")).unwrap();
    std::fs::hard_link(dir.0.path().join("2.dump"), dir.0.path().join("newest.dump")).unwrap();
    std::os::unix::fs::symlink("gone.dump", dir.0.path().join("dangling.dump")).unwrap();
    let lines = shown(&dir.settings("*.dump"), 0);
    for want in
        ["files 2", "files_size_bytes 150", "previous_size_bytes 100", "size_change_ratio -0.5", "readable 1"]
    {
        assert!(lines.iter().any(|line| line == want), "{want}: {lines:?}");
    }
}

/// Root may look anywhere; a link that leads to itself stops root, too.
#[test]
fn what_may_not_be_looked_at_is_not_absent() {
    let dir = Dir(tempfile::tempdir().unwrap());
    let path = dir.0.path();
    std::fs::create_dir_all(path.join("good")).unwrap();
    dir.file("good/x.dump", 1, 1_000).file("file", 1, 1_000).file("restored", 0, 500);
    let read = |pattern: &str| {
        let settings = dir.settings(pattern);
        let (_, result) = look(&settings, &mut Past::default(), Timestamp::from_millis(NOW * 1000));
        let lines = shown(&settings, 0);
        (lines.contains(&"readable 1".to_owned()), lines.contains(&"files 1".to_owned()), result)
    };
    // Of several folders that fit, those that are none.
    assert_eq!(read("*/x.dump"), (true, true, Ok(())));
    assert_eq!(read("good/y.dump"), (true, false, Ok(())));
    std::os::unix::fs::symlink("loop", path.join("loop")).unwrap();
    for (pattern, at) in
        [("loop/x.dump", "loop/x.dump"), ("*/x.dump", "loop/x.dump"), ("file/x.dump", "file/x.dump")]
    {
        let (readable, files, result) = read(pattern);
        assert!(!readable && !files, "{pattern}");
        let want = format!("cannot look at {}: ", path.join(at).display());
        assert!(result.unwrap_err().starts_with(&want), "{pattern}");
    }
    let settings = BackupSettings { restore_path: Some(path.join("loop")), ..dir.settings("good/*") };
    let (_, result) = look(&settings, &mut Past::default(), Timestamp::from_millis(NOW * 1000));
    assert!(result.unwrap_err().contains("cannot look at"));
    let lines = shown(&settings, 0);
    assert!(lines.contains(&"readable 1".to_owned()) && lines.contains(&"files 1".to_owned()), "{lines:?}");
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

/// The job overwrites its file; where others lie beside it, those count.
#[test]
fn an_only_one_is_compared_with_those_that_were_it_before() {
    let dir = Dir(tempfile::tempdir().unwrap());
    let (lone, other) = (dir.settings("a.dump"), dir.settings("b.dump"));
    dir.file("b.dump", 7, 900).file("restored", 0, 500);
    let mut past = Past::default();
    let mut show = |settings: &BackupSettings| {
        let (samples, _) = look(settings, &mut past, Timestamp::from_millis(NOW * 1000));
        let of = |family: &str| samples.iter().find(|sample| sample.family == family).map(|s| s.shown);
        [SIZE, PREVIOUS, USUAL].map(|family| match of(family) {
            Some(sample::Shown::Value(value)) => value,
            _ => -1.0,
        })
    };
    for (size, age, want) in [
        (100, 5_000, [100.0, -1.0, -1.0]),
        (100, 5_000, [100.0, -1.0, -1.0]),
        (300, 4_000, [300.0, 100.0, 100.0]),
        // Still being written.
        (1, 10, [-1.0, -1.0, -1.0]),
        (50, 3_000, [50.0, 300.0, 200.0]),
    ] {
        dir.file("a.dump", size, age);
        assert_eq!(show(&lone), want, "{size} bytes");
    }
    assert_eq!(show(&dir.settings("*.dump")), [7.0, 50.0, 50.0]);
    assert_eq!(show(&other), [7.0, -1.0, -1.0]);
    for age in 0..100 {
        dir.file("b.dump", 1_000 - age, 800 - i64::try_from(age).unwrap());
        show(&other);
    }
    assert_eq!(show(&other), [901.0, 902.0, 916.5]);
    assert_eq!(past.seen.len(), 31);
}
