//! Whole passes over small trees: groups, totals over the life of processes, bounds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::host::testing::{Fixture, NOW, run};
use crate::collect::Pass;
use crate::model::Batch;

/// A process in a fixture.
#[derive(Clone, Copy)]
struct P<'a> {
    pid: u32,
    parent: u32,
    comm: &'a str,
    line: &'a str,
    user: u64,
    start: u64,
}

fn stat(id: u32, p: P<'_>, threads: usize, user: u64) -> String {
    let P { parent, comm, start, .. } = p;
    format!("{id} ({comm}) S {parent} 1 1 0 -1 0 10 0 20 0 {user} 7 0 0 20 0 {threads} 0 {start} 4096 3 0\n")
}

fn status(switches: u64) -> String {
    format!(
        "Uid:\t1\t0\t0\t0\nVmSwap:\t2 kB\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t1\n"
    )
}

trait Processes {
    fn process(self, p: P<'_>, threads: &[(u32, &str, u64)]) -> Self;
    fn kill(&self, pid: u32);
}

impl Processes for Fixture {
    fn process(self, p: P<'_>, threads: &[(u32, &str, u64)]) -> Self {
        let at = |file: &str| format!("proc/{}/{file}", p.pid);
        let mut fixture = self
            .file(&at("stat"), stat(p.pid, p, threads.len().max(1), p.user))
            .file(&at("status"), status(5))
            .file(&at("io"), "read_bytes: 100\nwrite_bytes: 200\n")
            .file(&at("limits"), "Max open files            10     4096    files\n")
            .file(&at("wchan"), "do_wait")
            .file(&at("cmdline"), p.line.replace(' ', "\0"))
            .file(&at("cgroup"), "0::/a.slice\n")
            .dir(&at("fd/0"))
            .dir(&at("fd/1"))
            .file("proc/stat", "btime 1000\n")
            .file("root/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        for (id, name, user) in threads {
            let at = |file: &str| format!("proc/{}/task/{id}/{file}", p.pid);
            fixture = fixture
                .file(&at("stat"), stat(*id, P { comm: name, ..p }, 1, *user))
                .file(&at("status"), status(50))
                .file(&at("io"), "read_bytes: 1\nwrite_bytes: 2\n")
                .file(&at("wchan"), "0");
        }
        fixture
    }

    fn kill(&self, pid: u32) {
        std::fs::remove_dir_all(self.path().join(format!("proc/{pid}"))).unwrap();
    }
}

const A: P<'_> = P { pid: 10, parent: 1, comm: "a", line: "/bin/a -x", user: 300, start: 500 };

fn config(fixture: Fixture, text: &str) -> Fixture {
    let fixture = fixture.file("p.yml", text);
    let path: PathBuf = fixture.path().join("p.yml");
    fixture.option("process.config-path", &path.display().to_string())
}

/// The lines of one run that hold a text.
fn lines(collector: &mut dyn crate::collect::Collector, part: &str) -> Vec<String> {
    let (text, result) = run(collector);
    assert!(result.is_ok(), "{result:?}");
    text.lines()
        .filter(|line| line.contains(part))
        .map(|line| line.replace("namedprocess_namegroup_", ""))
        .collect()
}

#[test]
fn golden() {
    let several = P { pid: 20, comm: "b", line: "b", user: 40, start: 900, parent: 10 };
    let fixture =
        Fixture::new().process(A, &[]).process(several, &[(20, "b", 30), (21, "w", 5), (22, "w", 6)]);
    let fixture = config(fixture, "process_names: [{comm: [a, b], name: 'g {{.Username}}'}]");
    let fixture = fixture.option("process.gather-smaps", "true");
    fixture.expect(
        "process",
        r#"namedprocess_namegroup_context_switches_total{ctxswitchtype="nonvoluntary",groupname="g root"} 0
           namedprocess_namegroup_context_switches_total{ctxswitchtype="voluntary",groupname="g root"} 0
           namedprocess_namegroup_cpu_seconds_total{groupname="g root",mode="system"} 0
           namedprocess_namegroup_cpu_seconds_total{groupname="g root",mode="user"} 0
           namedprocess_namegroup_major_page_faults_total{groupname="g root"} 0
           namedprocess_namegroup_memory_bytes{groupname="g root",memtype="proportionalResident"} 0
           namedprocess_namegroup_memory_bytes{groupname="g root",memtype="proportionalSwapped"} 0
           namedprocess_namegroup_memory_bytes{groupname="g root",memtype="resident"} 24576
           namedprocess_namegroup_memory_bytes{groupname="g root",memtype="swapped"} 4096
           namedprocess_namegroup_memory_bytes{groupname="g root",memtype="virtual"} 8192
           namedprocess_namegroup_minor_page_faults_total{groupname="g root"} 0
           namedprocess_namegroup_num_procs{groupname="g root"} 2
           namedprocess_namegroup_num_threads{groupname="g root"} 4
           namedprocess_namegroup_oldest_start_time_seconds{groupname="g root"} 1005
           namedprocess_namegroup_open_filedesc{groupname="g root"} 4
           namedprocess_namegroup_read_bytes_total{groupname="g root"} 0
           namedprocess_namegroup_states{groupname="g root",state="Other"} 0
           namedprocess_namegroup_states{groupname="g root",state="Running"} 0
           namedprocess_namegroup_states{groupname="g root",state="Sleeping"} 5
           namedprocess_namegroup_states{groupname="g root",state="Waiting"} 0
           namedprocess_namegroup_states{groupname="g root",state="Zombie"} 0
           namedprocess_namegroup_thread_context_switches_total{ctxswitchtype="nonvoluntary",groupname="g root",threadname="b"} 0
           namedprocess_namegroup_thread_context_switches_total{ctxswitchtype="nonvoluntary",groupname="g root",threadname="w"} 0
           namedprocess_namegroup_thread_context_switches_total{ctxswitchtype="voluntary",groupname="g root",threadname="b"} 0
           namedprocess_namegroup_thread_context_switches_total{ctxswitchtype="voluntary",groupname="g root",threadname="w"} 0
           namedprocess_namegroup_thread_count{groupname="g root",threadname="b"} 1
           namedprocess_namegroup_thread_count{groupname="g root",threadname="w"} 2
           namedprocess_namegroup_thread_cpu_seconds_total{groupname="g root",mode="system",threadname="b"} 0
           namedprocess_namegroup_thread_cpu_seconds_total{groupname="g root",mode="system",threadname="w"} 0
           namedprocess_namegroup_thread_cpu_seconds_total{groupname="g root",mode="user",threadname="b"} 0
           namedprocess_namegroup_thread_cpu_seconds_total{groupname="g root",mode="user",threadname="w"} 0
           namedprocess_namegroup_thread_io_bytes_total{groupname="g root",iomode="read",threadname="b"} 0
           namedprocess_namegroup_thread_io_bytes_total{groupname="g root",iomode="read",threadname="w"} 0
           namedprocess_namegroup_thread_io_bytes_total{groupname="g root",iomode="write",threadname="b"} 0
           namedprocess_namegroup_thread_io_bytes_total{groupname="g root",iomode="write",threadname="w"} 0
           namedprocess_namegroup_thread_major_page_faults_total{groupname="g root",threadname="b"} 0
           namedprocess_namegroup_thread_major_page_faults_total{groupname="g root",threadname="w"} 0
           namedprocess_namegroup_thread_minor_page_faults_total{groupname="g root",threadname="b"} 0
           namedprocess_namegroup_thread_minor_page_faults_total{groupname="g root",threadname="w"} 0
           namedprocess_namegroup_threads_wchan{groupname="g root",wchan="do_wait"} 2
           namedprocess_namegroup_worst_fd_ratio{groupname="g root"} 0.2
           namedprocess_namegroup_write_bytes_total{groupname="g root"} 0
           namedprocess_scrape_errors 0
           namedprocess_scrape_partial_errors 0
           namedprocess_scrape_procread_errors 0
           outrigger_process_groups 1
           outrigger_process_groups_forgotten_total 0
           outrigger_process_groups_limit 1000
           outrigger_process_left_out 0
           outrigger_process_name_errors_total 0
           outrigger_process_threads_left_out 0"#,
    );
}

#[test]
fn totals_over_the_life_of_processes() {
    let fixture = config(Fixture::new().process(A, &[]), "process_names: [{cmdline: ['.+'], name: all}]");
    let mut collector = fixture.collector("process");
    let user = |collector: &mut dyn crate::collect::Collector| {
        let found = lines(collector, "cpu_seconds_total{groupname=\"all\",mode=\"user\"");
        found.iter().filter(|line| !line.starts_with("thread")).cloned().collect::<Vec<_>>().concat()
    };
    let is = |value: &str| format!("cpu_seconds_total{{groupname=\"all\",mode=\"user\"}} {value}");
    // It ran before.
    assert_eq!(user(&mut *collector), is("0"));
    let fixture = fixture.process(P { user: 450, ..A }, &[]);
    assert_eq!(user(&mut *collector), is("1.5"));
    // One that is born later counts in full, also where the number was another's.
    let fixture =
        fixture.process(P { pid: 11, user: 20, ..A }, &[]).process(P { user: 30, start: 9_000, ..A }, &[]);
    assert_eq!(user(&mut *collector), is("2"));
    fixture.kill(10);
    fixture.kill(11);
    assert_eq!(user(&mut *collector), is("2"));
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="all"} 0"#]);
    assert_eq!(lines(&mut *collector, "oldest"), [""; 0]);
    // What went backwards adds nothing.
    let fixture = fixture.process(P { user: 100, start: 10_000, ..A }, &[]);
    assert_eq!(user(&mut *collector), is("3"));
    let fixture = fixture.process(P { user: 90, start: 10_000, ..A }, &[]);
    assert_eq!(user(&mut *collector), is("3"));
    // A reload, here with other names, goes on from there.
    let fixture = config(fixture, "process_names: [{cmdline: ['.+'], name: 'of {{.Comm}}'}]");
    let mut next = fixture.collector("process");
    let _fixture = fixture.process(P { user: 200, start: 10_000, ..A }, &[]);
    drop(collector);
    assert_eq!(user(&mut *next), is("3"));
    let of_a = lines(&mut *next, "cpu_seconds_total{groupname=\"of a\",mode=\"user\"");
    assert_eq!(of_a, [r#"cpu_seconds_total{groupname="of a",mode="user"} 1.1"#]);
}

#[test]
fn bytes_that_cannot_be_read_in_a_pass_do_not_count_again() {
    let fixture = Fixture::new().process(A, &[]);
    let io = fixture.path().join("proc/10/io");
    let io_of = |written: u64| format!("read_bytes: 0\nwrite_bytes: {written}\n");
    std::fs::write(&io, io_of(500)).unwrap();
    let mut collector = fixture.collector("process");
    let mut written = || lines(&mut *collector, "write_bytes").concat();
    assert!(written().ends_with(" 0"));
    std::fs::remove_file(&io).unwrap();
    assert!(written().ends_with(" 0"));
    std::fs::write(&io, io_of(507)).unwrap();
    assert!(written().ends_with(" 7"));
}

#[test]
fn children_go_with_their_ancestors_unless_told_otherwise() {
    let child = P { pid: 11, parent: 10, comm: "b", line: "b", ..A };
    let grandchild = P { pid: 9, parent: 11, comm: "c", line: "c", ..A };
    let orphan = P { pid: 12, parent: 1, comm: "d", line: "d", ..A };
    let all = |fixture: Fixture| {
        let fixture =
            fixture.process(A, &[]).process(child, &[]).process(grandchild, &[]).process(orphan, &[]);
        config(fixture, "process_names: [{comm: [a], name: g}]")
    };
    let fixture = all(Fixture::new());
    let mut collector = fixture.collector("process");
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 3"#]);
    let fixture = fixture.process(P { pid: 13, parent: 9, ..child }, &[]);
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 4"#]);
    // Trees with loops are no processes, but must end.
    let _fixture = fixture
        .process(P { pid: 30, parent: 31, ..child }, &[])
        .process(P { pid: 31, parent: 30, ..child }, &[]);
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 4"#]);
    let fixture = all(Fixture::new()).option("process.children", "false");
    assert_eq!(lines(&mut *fixture.collector("process"), "num_procs"), [r#"num_procs{groupname="g"} 1"#]);
}

#[test]
fn names_are_checked_again_if_asked_for() {
    for (option, value, want) in [
        ("process.recheck", "false", "a"),
        ("process.recheck", "true", "z"),
        // Born 1000 s + 5 s after 1970; the pass is in 2023.
        ("process.recheck-with-time-limit", "10m", "a"),
        ("process.recheck-with-time-limit", "60y", "z"),
    ] {
        let fixture = Fixture::new().process(A, &[]).option(option, value);
        let mut collector = fixture.collector("process");
        assert_eq!(lines(&mut *collector, "num_procs").len(), 1);
        let _fixture = fixture.process(P { comm: "z", user: 500, ..A }, &[]);
        let found = lines(&mut *collector, "num_procs");
        assert!(
            found.contains(&format!("num_procs{{groupname=\"{want}\"}} 1")),
            "{option} {value}: {found:?}"
        );
    }
}

#[test]
fn groups_are_bounded_and_those_left_out_are_counted() {
    let fixture = Fixture::new().option("process.max-groups", "2");
    let named = |pid, comm| P { pid, comm, ..A };
    let fixture =
        fixture.process(named(10, "a"), &[]).process(named(11, "b"), &[]).process(named(12, "c"), &[]);
    let mut collector = fixture.collector("process");
    assert_eq!(lines(&mut *collector, "num_procs").len(), 2);
    assert_eq!(lines(&mut *collector, "left_out")[0], "outrigger_process_left_out 1");
    for pid in [10, 11, 12] {
        if lines(&mut *collector, "num_procs").len() == 2 {
            fixture.kill(pid);
        }
    }
    let fixture = fixture.process(named(13, "d"), &[]);
    assert!(lines(&mut *collector, "num_procs").contains(&r#"num_procs{groupname="d"} 1"#.to_owned()));
    assert_eq!(lines(&mut *collector, "outrigger_process_left_out"), ["outrigger_process_left_out 0"]);
    assert!(fixture.option("process.max-groups", "0").refused("process").contains("above 0"));
}

#[test]
fn a_process_that_fits_nothing_any_more_stays_in_its_group() {
    let child = P { pid: 11, parent: 10, comm: "b", line: "b", ..A };
    let fixture = Fixture::new().process(A, &[]).process(child, &[]);
    let fixture = config(fixture, "process_names: [{comm: [a], name: g}, {comm: [x], name: of x}]");
    let fixture = fixture.option("process.recheck", "true");
    let mut collector = fixture.collector("process");
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 2"#]);
    // Its ancestor has ended.
    fixture.kill(10);
    let fixture = fixture.process(P { parent: 1, ..child }, &[]);
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 1"#]);
    // What fits comes first, and is not left for the group of an ancestor.
    let fixture = fixture.process(P { comm: "x", ..child }, &[]).process(A, &[]);
    let of_both = [r#"num_procs{groupname="g"} 1"#, r#"num_procs{groupname="of x"} 1"#];
    assert_eq!(lines(&mut *collector, "num_procs"), of_both);
    let fixture = fixture.process(child, &[]);
    assert_eq!(lines(&mut *collector, "num_procs"), of_both);
    // Other rules ask anew.
    let fixture = config(fixture, "process_names: [{comm: [z]}]");
    assert_eq!(
        lines(&mut *fixture.collector("process"), "num_procs"),
        [r#"num_procs{groupname="g"} 0"#, r#"num_procs{groupname="of x"} 0"#]
    );
    drop(collector);
}

#[test]
fn what_could_not_be_named_is_named_later() {
    let child = P { pid: 11, parent: 10, comm: "b", line: "b", ..A };
    let fixture = (12..50).fold(Fixture::new().process(A, &[]).process(child, &[]), |fixture, pid| {
        fixture.process(P { pid, ..child }, &[])
    });
    let fixture = config(fixture, "process_names: [{comm: [a], name: g}]");
    // Passes that get ever further, until one gets through.
    let mut collector = fixture.collector("process");
    let mut time = Duration::from_micros(10);
    let mut collect = |collector: &mut dyn crate::collect::Collector| {
        let cut = Pass { now: NOW, deadline: Instant::now() + time };
        time *= 2;
        collector.collect(&cut, &mut Batch::new())
    };
    while collect(&mut *collector).is_err() {}
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 40"#]);
    // One that cannot be read at first, and its child.
    let unread = P { pid: 60, ..A };
    let fixture = fixture.process(unread, &[]).process(P { pid: 61, parent: 60, ..child }, &[]);
    let fixture = fixture.file("proc/60/limits", "");
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 40"#]);
    let fixture = fixture.process(unread, &[]);
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="g"} 42"#]);
    // A reload whose first pass is cut groups anew in the next.
    let fixture = config(fixture, "process_names: [{comm: [a, b], name: h}]");
    let mut next = fixture.collector("process");
    let cut = Pass { now: NOW, deadline: Instant::now() };
    assert!(next.collect(&cut, &mut Batch::new()).is_err());
    drop(collector);
    let found = lines(&mut *next, "num_procs");
    assert_eq!(found, [r#"num_procs{groupname="g"} 0"#, r#"num_procs{groupname="h"} 42"#]);
    drop(fixture);
}

#[test]
fn odd_trees() {
    // A process without most of its files, one that is garbage, one that ends while it is read.
    let fixture =
        Fixture::new().process(A, &[]).file("proc/11/stat", "garbage").dir("proc/12").file("proc/13", "");
    std::fs::remove_file(fixture.path().join("proc/10/io")).unwrap();
    let mut collector = fixture.collector("process");
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="a"} 1"#]);
    assert_eq!(lines(&mut *collector, "procread"), ["namedprocess_scrape_procread_errors 2"]);
    std::fs::remove_file(fixture.path().join("proc/10/limits")).unwrap();
    assert_eq!(lines(&mut *collector, "num_procs"), [r#"num_procs{groupname="a"} 0"#]);
    assert!(Fixture::new().error("process").contains("does not exist"));
    let late = Pass { now: NOW, deadline: Instant::now() };
    let mut out = Batch::new();
    assert!(collector.collect(&late, &mut out).is_err_and(|e| e.to_string().contains("no time left")));
    // Nobody was forgotten.
    let fixture = fixture.process(P { user: 400, ..A }, &[]);
    let in_time = Pass { now: NOW, deadline: Instant::now() + Duration::from_secs(30) };
    collector.collect(&in_time, &mut Batch::new()).unwrap();
    let user = lines(&mut *collector, "cpu_seconds_total{groupname=\"a\",mode=\"user\"");
    assert_eq!(user, [r#"cpu_seconds_total{groupname="a",mode="user"} 1"#]);
    drop(fixture);
}

#[test]
fn wrong_options_are_refused_in_words() {
    let refused = |option: &str, value: &str| Fixture::new().option(option, value).refused("process");
    assert!(refused("process.config-path", "/none").contains("/none: "));
    assert!(refused("process.namemapping", "a").contains("has no expression"));
    let both = Fixture::new().option("process.config-path", "/none").option("process.procnames", "a");
    assert!(both.refused("process").contains("cannot stand beside"));
}
