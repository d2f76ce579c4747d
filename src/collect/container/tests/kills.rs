//! Kills for lack of memory, between two passes and within one.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn kills_of_a_container_that_no_pass_saw() {
    let record = |group: &str| format!("6,1,2,-;oom-kill:x,task_memcg={group},task=x,pid=2,uid=0\n");
    let docker = format!("root/var/lib/docker/containers/{ID}/config.v2.json");
    let fixture = version_2()
        .file("root/dev/kmsg", "")
        .option("container.label", "team")
        .file(&docker, r#"{"Name":"/web","Config":{"Image":"i:1","Labels":{"team":"a"}}}"#);
    let mut collector = fixture.collector("container");
    assert_eq!(run(&mut *collector).0, "");
    let groups = [format!("/docker/{ID}"), format!("/docker/{OTHER}/below"), "/lxc/box".into()];
    let _fixture = fixture.file("root/dev/kmsg", groups.each_ref().map(|group| record(group)).concat());
    let mut texts = std::iter::repeat_with(|| run(&mut *collector).0);
    let text = texts.find(|text| text.contains(ID) && text.contains(OTHER)).unwrap();
    let kills: Vec<_> = text.lines().filter(|line| line.starts_with("container_oom_events_total")).collect();
    let want = [
        format!(
            r#"container_oom_events_total{{container_label_team="a",id="/docker/{ID}",image="i:1",name="web"}} 1"#
        ),
        format!(r#"container_oom_events_total{{id="/docker/{OTHER}",name="{OTHER}"}} 1"#),
        r#"container_oom_events_total{id="/lxc/box",name="box"} 1"#.to_owned(),
    ];
    assert_eq!(kills, want);
    // In a container, the log tells of others' kills.
    let own =
        group_2(version_2(), "", "42").file("sys/fs/cgroup/cgroup.events", "").file("root/dev/kmsg", "");
    let mut collector = own.collector("container");
    let _own = own.file("root/dev/kmsg", record(&groups[0]));
    let text = run(&mut *collector).0;
    assert!(text.contains("container_last_seen{id=\"/\"") && !text.contains(ID), "{text}");
}

#[test]
fn kills_that_fall_into_a_pass_are_counted_once() {
    let path = format!("/docker/{ID}");
    let mut fixture = version_2().file("root/dev/kmsg", "");
    // Those that are read between the log and the one that is killed.
    for at in 0..10 {
        fixture = group_2(fixture, &format!("/docker/{}", ID.replace("0123", &format!("000{at}"))), "0");
    }
    let events = format!("sys/fs/cgroup{path}/memory.events");
    let fixture = group_2(fixture, &path, "42").file(&events, "oom_kill 0001\n");
    let mut collector = fixture.collector("container");
    assert!(run(&mut *collector).1.is_ok());
    // As the kernel: first the record, then the count, which never reads as more than it is.
    let mut log =
        std::fs::OpenOptions::new().append(true).open(fixture.path().join("root/dev/kmsg")).unwrap();
    let events = std::fs::OpenOptions::new().write(true).open(fixture.path().join(events)).unwrap();
    let record = format!("6,1,2,-;oom-kill:constraint=x,task_memcg={path},task=x,pid=2,uid=0\n");
    let passes = Arc::new(AtomicU32::new(0));
    let made = Arc::clone(&passes);
    let killer = std::thread::spawn(move || {
        // As many as fall into some passes.
        let mut last = 1;
        for kills in (2..=9999_u32).take_while(|_| made.load(Ordering::Relaxed) < 20) {
            log.write_all(record.as_bytes()).unwrap();
            for (at, digit) in (9..13_u32).zip(format!("{kills:04}").bytes()).rev() {
                events.write_all_at(&[digit], at.into()).unwrap();
            }
            last = kills;
        }
        last
    });
    while !killer.is_finished() {
        assert!(run(&mut *collector).1.is_ok());
        passes.fetch_add(1, Ordering::Relaxed);
    }
    let text = run(&mut *collector).0;
    let kills = text.lines().find(|line| line.starts_with("container_oom_events_total") && line.contains(ID));
    let want = format!(" {}", killer.join().unwrap());
    assert!(kills.is_some_and(|line| line.ends_with(&want)), "{kills:?}{want}");
}
