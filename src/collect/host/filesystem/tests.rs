//! The collector over fixture trees, with the real `statfs` and with ones that fail or hang.

use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use super::super::testing::{Fixture, run};
use super::*;
use crate::collect::HostPaths;

/// A collector over the fixture's tree whose `statfs` is `f`; `f` gets the path below the root.
fn collector(
    fixture: &Fixture,
    options: &[(&str, &str)],
    f: impl Fn(&str) -> io::Result<Space> + Send + Sync + 'static,
) -> Box<dyn Collector> {
    let root = fixture.path().join("root");
    let paths = HostPaths { procfs: fixture.path().join("proc"), rootfs: root.clone(), ..HostPaths::default() };
    let mut all = Options::default();
    for (name, value) in options {
        all.set(name, value).unwrap();
    }
    let statfs = move |place: &Place| f(place.path.strip_prefix(&root).unwrap().to_str().unwrap());
    build(&Host::new(paths), &all, Box::new(statfs)).unwrap()
}

const SPACE: Space = Space { size: 1000.0, free: 500.0, available: 400.0, files: 30.0, files_free: 20.0, read_only: false };

const MOUNTS: &str = "21 26 0:20 / /sys rw - sysfs sysfs rw\n\
    26 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
    30 26 8:2 / /mnt/a\\040b ro,relatime - xfs /dev/sdb1 rw\n\
    31 26 0:21 / /run/user rw - tmpfs tmpfs rw\n\
    32 26 0:22 / /var/lib/docker/overlay2/x rw - ext4 /dev/sda1 rw\n\
    33 26 0:23 / /merged rw - overlay overlay rw\n\
    garbage\n";

#[test]
fn golden() {
    let fixture = Fixture::new().file("proc/1/mountinfo", MOUNTS);
    let mut collector = collector(&fixture, &[], |path| match path {
        "run/user" => Err(io::Error::from_raw_os_error(13)),
        _ => Ok(SPACE),
    });
    for _ in 0..2 {
        let (text, result) = run(&mut *collector);
        assert!(result.is_ok());
        let mut want = String::new();
        for labels in [
            r#"device="/dev/sda1",device_error="",fstype="ext4",mountpoint="/""#,
            r#"device="/dev/sdb1",device_error="",fstype="xfs",mountpoint="/mnt/a b""#,
        ] {
            for (name, value) in
                [("avail_bytes", 400), ("device_error", 0), ("files", 30), ("files_free", 20), ("free_bytes", 500)]
            {
                want += &format!("node_filesystem_{name}{{{labels}}} {value}\n");
            }
            let read_only = u8::from(labels.contains("xfs"));
            want += &format!("node_filesystem_readonly{{{labels}}} {read_only}\n");
            want += &format!("node_filesystem_size_bytes{{{labels}}} 1000\n");
        }
        want += r#"node_filesystem_device_error{device="tmpfs",device_error="permission denied",fstype="tmpfs",mountpoint="/run/user"} 1
node_filesystem_readonly{device="tmpfs",device_error="permission denied",fstype="tmpfs",mountpoint="/run/user"} 0
node_filesystem_mount_info{device="/dev/sda1",major="8",minor="1",mountpoint="/"} 1
node_filesystem_mount_info{device="/dev/sdb1",major="8",minor="2",mountpoint="/mnt/a b"} 1
"#;
        let mut want: Vec<_> = want.lines().collect();
        want.sort_unstable();
        assert_eq!(text.lines().collect::<Vec<_>>(), want);
    }
}

#[test]
fn the_real_call_and_the_fallback_to_our_own_table() {
    let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /gone rw - ext4 /dev/b rw\n";
    let fixture = Fixture::new().file("proc/self/mountinfo", mounts).dir("root");
    let text = fixture.samples("filesystem");
    let gone = r#"node_filesystem_device_error{device="/dev/b",device_error="no such file or directory",fstype="ext4",mountpoint="/gone"} 1"#;
    assert!(text.contains(gone), "{text}");
    let size = text.lines().find_map(|l| l.strip_prefix("node_filesystem_size_bytes")?.split("} ").nth(1));
    assert!(size.unwrap().parse::<f64>().unwrap() > 0.0, "{text}");
    assert!(Fixture::new().error("filesystem").contains("does not exist"));
}

#[test]
fn a_mount_that_hangs_costs_only_itself_and_comes_back() {
    let fixture = Fixture::new().file("proc/1/mountinfo", MOUNTS);
    let (release, gate) = mpsc::sync_channel::<()>(0);
    let gate = Mutex::new(gate);
    let (say, said) = mpsc::sync_channel(8);
    let mut collector = collector(&fixture, &[("filesystem.mount-timeout", "500ms")], move |path| {
        if path.starts_with("mnt") {
            let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let _ = say.try_send(());
        }
        Ok(SPACE)
    });
    let stuck = r#"node_filesystem_device_error{device="/dev/sdb1",device_error="mountpoint timeout",fstype="xfs",mountpoint="/mnt/a b"} 1"#;
    for _ in 0..3 {
        let (text, result) = run(&mut *collector);
        assert!(result.is_ok() && text.contains(stuck), "{text}");
        assert_eq!(text.matches("node_filesystem_size_bytes").count(), 2, "the healthy ones: {text}");
    }
    drop(release);
    said.recv().unwrap();
    // The thread has left the call; its answer is filed a moment later.
    let limit = Instant::now() + Duration::from_secs(60);
    while run(&mut *collector).0.contains("timeout") {
        assert!(Instant::now() < limit, "no recovery");
        std::thread::yield_now();
    }
}

#[test]
fn mounts_over_mounts_give_one_series_of_the_top_one() {
    let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /t ro - tmpfs tmpfs rw\n3 2 0:6 / /t rw - tmpfs tmpfs rw\n\
                  4 1 8:1 / / rw - ext4 /dev/a rw\n";
    let fixture = Fixture::new().file("proc/1/mountinfo", mounts);
    let (text, _) = run(&mut *collector(&fixture, &[], |_| Ok(SPACE)));
    assert_eq!(text.matches("node_filesystem_size_bytes").count(), 2, "{text}");
    assert!(text.contains("mountpoint=\"/t\"} 0\n") && text.contains("minor=\"6\""), "{text}");
}

#[test]
fn filters() {
    let fixture = Fixture::new().file("proc/1/mountinfo", MOUNTS);
    for (options, want) in [
        (&[("filesystem.mount-points-include", "^/sys|docker"), ("filesystem.fs-types-exclude", "^$")][..], 2),
        (&[("filesystem.fs-types-include", "^overlay$")], 1),
        (&[("filesystem.fs-types-include", "^overlay$"), ("filesystem.mount-points-exclude", "merged")], 0),
        (&[("filesystem.ignored-mount-points", "^/mnt")], 3),
        (&[("filesystem.ignored-fs-types", "^(ext4|sysfs)$")], 3),
    ] {
        let (text, _) = run(&mut *collector(&fixture, options, |_| Ok(SPACE)));
        assert_eq!(text.matches("node_filesystem_size_bytes").count(), want, "{options:?}\n{text}");
    }
    let mut both = Options::default();
    both.set("filesystem.fs-types-include", "a").unwrap();
    both.set("filesystem.fs-types-exclude", "b").unwrap();
    let error = (SPEC.build)(&Host::default(), &both).err().map(|e| e.to_string());
    assert!(error.unwrap().contains("mutually exclusive"));
}

#[test]
fn messages_are_spelled_as_go_spells_them() {
    for (code, want) in [(2, "no such file or directory"), (13, "permission denied"), (5, "input/output error")] {
        assert_eq!(message(&io::Error::from_raw_os_error(code)), want);
    }
}

#[test]
fn a_file_system_that_turned_read_only_shows_at_once() {
    let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /t rw - ext4 /dev/b rw\n3 1 8:3 / /t rw - xfs /dev/c rw\n";
    let fixture = Fixture::new().file("proc/1/mountinfo", mounts);
    let mut collector = collector(&fixture, &[], |_| Ok(Space { read_only: true, ..SPACE }));
    let (text, _) = run(&mut *collector);
    for (device, mount_point, want) in [("a", "/", 1), ("b", "/t", 0), ("c", "/t", 1)] {
        let found = text.lines().any(|l| {
            l.starts_with(&format!("node_filesystem_readonly{{device=\"/dev/{device}\""))
                && l.ends_with(&format!("mountpoint=\"{mount_point}\"}} {want}"))
        });
        assert!(found, "{device}: {text}");
    }
}
