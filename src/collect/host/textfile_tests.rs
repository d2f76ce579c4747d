//! Directories of good, broken and strange files.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use super::super::testing::{Fixture, run};
use super::*;

/// Directories of one test, the first of which is `a`; all files below were modified at 1.5 s.
fn directories(files: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::new().dir("a").files(files);
    for (path, _) in files {
        touch(&fixture, path);
    }
    fixture
}

fn touch(fixture: &Fixture, path: &str) {
    let file = File::options().write(true).open(fixture.path().join(path)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)).unwrap();
}

fn over(fixture: Fixture, patterns: &[&str]) -> Fixture {
    let root = fixture.path().to_str().unwrap().to_owned();
    patterns.iter().fold(fixture, |f, pattern| f.option("textfile.directory", &format!("{root}/{pattern}")))
}

/// Two passes must give the same; `DIR` stands for the fixture's directory.
#[track_caller]
fn gives(fixture: &Fixture, want: &str) {
    let root = fixture.path().to_str().unwrap();
    let mut collector = fixture.collector("textfile");
    for _ in 0..2 {
        let (text, result) = run(&mut *collector);
        assert!(result.is_ok(), "{result:?}");
        let mut want: Vec<_> = want.lines().collect();
        want.sort_unstable();
        let text = text.replace(root, "DIR");
        assert_eq!(text.lines().collect::<Vec<_>>(), want);
    }
}

#[test]
fn without_a_directory_there_is_no_error() {
    gives(&Fixture::new(), "node_textfile_scrape_error 0");
    gives(&Fixture::new().option("textfile.directory", ""), "node_textfile_scrape_error 0");
}

#[test]
fn every_type_and_only_prom_files() {
    let fixture = over(
        directories(&[
            (
                "a/all.prom",
                "# HELP c_total C.\n# TYPE c_total counter\nc_total{x=\"1\"} 1e3\n\
                 # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 4\n\
                 # TYPE s summary\ns{quantile=\"0.5\"} 5\ns_sum 6\ns_count 7\n\
                 u NaN\n# TYPE g gauge\ng -0.5\n",
            ),
            ("a/ignored.txt", "broken"),
            ("a/.prom", "hidden 1\n"),
        ]),
        &["a", "a"],
    );
    gives(
        &fixture,
        "c_total{x=\"1\"} 1000\ng -0.5\nh 3\nh 4\nh{le=\"+Inf\"} 2\nh{le=\"1\"} 1\nhidden 1\n\
         s 6\ns 7\ns{quantile=\"0.5\"} 5\nu NaN\n\
         node_textfile_mtime_seconds{file=\"DIR/a/.prom\"} 1\n\
         node_textfile_mtime_seconds{file=\"DIR/a/all.prom\"} 1\nnode_textfile_scrape_error 0",
    );
}

#[test]
fn absent_labels_are_empty_within_a_family_of_a_file() {
    let fixture = over(
        directories(&[
            (
                "a/1.prom",
                "a{x=\"1\"} 1\na{y=\"1\"} 2\na 3\n\
                 # TYPE h histogram\nh_bucket{le=\"+Inf\"} 4\nh_sum{z=\"1\"} 5\n\
                 # TYPE s summary\ns{quantile=\"1\",z=\"1\"} 6\ns_count 7\n",
            ),
            ("a/2.prom", "a{w=\"1\"} 8\n"),
        ]),
        &["a"],
    );
    gives(
        &fixture,
        "a{w=\"1\"} 8\na{x=\"\",y=\"\"} 3\na{x=\"\",y=\"1\"} 2\na{x=\"1\",y=\"\"} 1\n\
         h{le=\"+Inf\",z=\"\"} 4\nh{z=\"\"} 0\nh{z=\"\"} 0\n\
         h{le=\"+Inf\",z=\"1\"} 0\nh{z=\"1\"} 0\nh{z=\"1\"} 5\n\
         s{quantile=\"1\",z=\"1\"} 6\ns{z=\"1\"} 0\ns{z=\"1\"} 0\ns{z=\"\"} 0\ns{z=\"\"} 7\n\
         node_textfile_mtime_seconds{file=\"DIR/a/1.prom\"} 1\n\
         node_textfile_mtime_seconds{file=\"DIR/a/2.prom\"} 1\nnode_textfile_scrape_error 0",
    );
}

#[test]
fn what_a_histogram_lacks_is_added_as_node_exporter_adds_it() {
    let fixture = over(
        directories(&[(
            "a/1.prom",
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 3\nh_sum 4\nh_count 5\n\
             # TYPE only_count histogram\nonly_count_count 2\n# TYPE s summary\ns_sum 6\n",
        )]),
        &["a"],
    );
    gives(
        &fixture,
        "h 4\nh 5\nh{le=\"+Inf\"} 5\nh{le=\"1\"} 1\nh{le=\"2\"} 3\n\
         only_count 0\nonly_count 2\nonly_count{le=\"+Inf\"} 2\ns 0\ns 6\n\
         node_textfile_mtime_seconds{file=\"DIR/a/1.prom\"} 1\nnode_textfile_scrape_error 0",
    );
}

#[test]
fn a_broken_file_costs_only_itself() {
    let fixture = over(
        directories(&[
            ("a/1.prom", "good 1\n"),
            ("a/bad_syntax.prom", "before 1\nbad one\n"),
            ("a/cut_off.prom", "cut 1"),
            ("a/not_utf8.prom", "x 1\n"),
            ("a/timestamps.prom", "old 1 1500\n"),
            ("a/z.prom", "also_good 2\n"),
        ]),
        &["a", "missing"],
    );
    fs::write(fixture.path().join("a/not_utf8.prom"), b"x{y=\"\xff\"} 1\n").unwrap();
    gives(
        &fixture,
        "also_good 2\ngood 1\nnode_textfile_mtime_seconds{file=\"DIR/a/1.prom\"} 1\n\
         node_textfile_mtime_seconds{file=\"DIR/a/z.prom\"} 1\nnode_textfile_scrape_error 1",
    );
}

#[test]
fn what_is_no_regular_file_is_an_error_and_never_blocks() {
    let fixture = over(directories(&[("a/good.prom", "good 1\n")]).dir("a/directory.prom"), &["a"]);
    let fixture = fixture.link("a/dangling.prom", "nowhere").link("a/loop.prom", "loop.prom");
    let _socket = UnixListener::bind(fixture.path().join("a/socket.prom")).unwrap();
    let fifo = fixture.path().join("a/fifo.prom");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    gives(
        &fixture,
        "good 1\nnode_textfile_mtime_seconds{file=\"DIR/a/good.prom\"} 1\nnode_textfile_scrape_error 1",
    );
    let mut errors = Errors::new();
    let paths = find_files(&[fixture.path().join("a").to_str().unwrap().to_owned()], &mut errors);
    assert_eq!(paths.len(), 6);
    for path in paths.iter().filter(|p| p.ends_with("fifo.prom") || p.ends_with("directory.prom")) {
        assert!(matches!(open_regular(path), Err(FileError::NotRegular)), "{}", path.display());
    }
}

#[test]
fn directories_may_be_patterns() {
    let fixture = directories(&[
        ("a/1.prom", "one 1\n"),
        ("b/x/2.prom", "two 2\n"),
        ("b/y/3.prom", "three 3\n"),
        ("b/y/deep/4.prom", "four 4\n"),
    ]);
    gives(
        &over(fixture, &["b/**", "[ab]"]),
        "node_textfile_mtime_seconds{file=\"DIR/a/1.prom\"} 1\n\
         node_textfile_mtime_seconds{file=\"DIR/b/x/2.prom\"} 1\n\
         node_textfile_mtime_seconds{file=\"DIR/b/y/3.prom\"} 1\n\
         node_textfile_scrape_error 0\none 1\nthree 3\ntwo 2",
    );
    let nothing = over(directories(&[]), &["none*"]);
    gives(&nothing, "node_textfile_scrape_error 1");
}

#[test]
fn the_first_help_and_type_of_a_family_count() {
    for (second, help, samples, error) in [
        ("# HELP m One.\nm{f=\"2\"} 2\n", "One.", 2, 0.0),
        ("m{f=\"2\"} 2\n", "One.", 2, 0.0),
        ("# HELP m Two.\nm{f=\"2\"} 2\n", "One.", 2, 1.0),
        ("# HELP m One.\n# TYPE m gauge\nm{f=\"2\"} 2\n", "One.", 1, 1.0),
    ] {
        let fixture =
            over(directories(&[("a/1.prom", "# HELP m One.\nm{f=\"1\"} 1\n"), ("a/2.prom", second)]), &["a"]);
        let (batch, _) = filled(&fixture);
        let family = batch.families().find(|f| f.name() == "m").unwrap();
        assert_eq!((family.help(), family.kind(), family.samples().count()), (help, Kind::Untyped, samples));
        let value = |name| batch.families().find(|f| f.name() == name)?.samples().next().map(|s| s.value());
        assert_eq!(value("node_textfile_scrape_error"), Some(error), "{second}");
        assert_eq!(batch.conflicts(), 0);
    }
}

#[test]
fn a_family_without_help_names_its_files() {
    let fixture = over(directories(&[("a/1.prom", "m{f=\"1\"} 1\n"), ("a/2.prom", "m{f=\"2\"} 2\n")]), &["a"]);
    let (batch, root) = filled(&fixture);
    let family = batch.families().find(|f| f.name() == "m").unwrap();
    assert_eq!(family.help(), format!("Metric read from {root}/a/1.prom, {root}/a/2.prom"));
}

fn filled(fixture: &Fixture) -> (Batch, String) {
    let mut batch = Batch::new();
    let pass = Pass { now: super::super::testing::NOW, deadline: Instant::now() + Duration::from_secs(30) };
    fixture.collector("textfile").collect(&pass, &mut batch).unwrap();
    (batch, fixture.path().to_str().unwrap().to_owned())
}

#[test]
fn bytes_of_all_files_together_are_limited() {
    let fixture = over(
        directories(&[("a/1.prom", "one 1\n"), ("a/2.prom", "twotwo 2\n"), ("a/3.prom", "six 6\n")]),
        &["a"],
    )
    .option("textfile.max-bytes", "12");
    gives(
        &fixture,
        "one 1\nsix 6\nnode_textfile_mtime_seconds{file=\"DIR/a/1.prom\"} 1\n\
         node_textfile_mtime_seconds{file=\"DIR/a/3.prom\"} 1\nnode_textfile_scrape_error 1",
    );
}

#[test]
fn samples_of_a_file_are_limited() {
    let text = "many 1\n".repeat(MAX_SAMPLES + 1);
    let fixture = over(directories(&[("a/1.prom", &text)]), &["a"]);
    gives(&fixture, "node_textfile_scrape_error 1");
}

#[test]
fn a_pass_without_time_reads_nothing() {
    let fixture = over(directories(&[("a/1.prom", "one 1\n")]), &["a"]);
    let mut batch = Batch::new();
    let pass = Pass { now: super::super::testing::NOW, deadline: Instant::now() };
    fixture.collector("textfile").collect(&pass, &mut batch).unwrap();
    assert_eq!(batch.families().map(|f| f.name().to_owned()).collect::<Vec<_>>(), ["node_textfile_scrape_error"]);
}

#[test]
fn a_replaced_file_is_read_anew() {
    let fixture = over(directories(&[("a/1.prom", "m 1\n")]), &["a"]);
    let mut collector = fixture.collector("textfile");
    for (text, expected) in [("m 2\n", "m 2\n"), ("broken", "error 1"), ("n 3\n", "n 3\n")] {
        fs::write(fixture.path().join("a/new"), text).unwrap();
        fs::rename(fixture.path().join("a/new"), fixture.path().join("a/1.prom")).unwrap();
        let (got, _) = run(&mut *collector);
        assert!(got.contains(expected), "{got}");
    }
    fs::remove_file(fixture.path().join("a/1.prom")).unwrap();
    assert_eq!(run(&mut *collector).0, "node_textfile_scrape_error 0\n");
}
