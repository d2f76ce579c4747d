//! The collector over fixture trees: each runtime and version as it looks on a machine, and trees that are odd.
//!
//! Goldens are in `goldens/`; with `UPDATE_GOLDEN` set they are written anew.

mod kills;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::Containers;
use super::names::LATELY;
use crate::collect::host::testing::{Fixture, NOW, run};
use crate::collect::{Host, HostPaths, Options, Pass};
use crate::model::Batch;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const UID: &str = "0c5f4b3a-9d21-4a7e-8f10-1234567890ab";

const MEMORY_STAT_V2: &str = "anon 40000\nfile 30000\nkernel 5000\nfile_mapped 2000\nfile_dirty 100\nfile_writeback 50\n\
    inactive_anon 1\nactive_file 12000\ninactive_file 18000\npgfault 900\npgmajfault 9\nworkingset_refault_anon 3\n\
    workingset_refault_file 4\npgscan 70\npgsteal 60\nsome_new_line 1\n";

const MEMORY_STAT_V1: &str = "cache 1\nrss 1\npgfault 800\npgmajfault 8\nhierarchical_memory_limit 1\n\
    total_cache 30000\ntotal_rss 40000\ntotal_mapped_file 2000\ntotal_dirty 100\ntotal_writeback 50\n\
    total_pgfault 900\ntotal_pgmajfault 9\ntotal_inactive_file 18000\ntotal_active_file 12000\n";

const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 total=500000\n";

/// A machine with version 2.
fn version_2() -> Fixture {
    machine().file("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n").dir("sys/fs/cgroup/init.scope")
}

/// A hybrid machine.
fn version_1() -> Fixture {
    machine()
        .file("sys/fs/cgroup/memory/release_agent", "")
        .file("sys/fs/cgroup/unified/cgroup.controllers", "")
        .dir("sys/fs/cgroup/cpu,cpuacct")
        .link("sys/fs/cgroup/cpu", "cpu,cpuacct")
        .link("sys/fs/cgroup/cpuacct", "cpu,cpuacct")
}

fn machine() -> Fixture {
    Fixture::new()
        .file("proc/stat", "cpu 1\nbtime 1690000000\n")
        .file("proc/meminfo", "MemTotal: 2048 kB\nSwapTotal: 1024 kB\n")
        .file("proc/sys/kernel/random/boot_id", "b\n")
        .file("root/etc/machine-id", "m\n")
        .file("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n")
        .file("sys/devices/system/cpu/cpu0/topology/core_id", "0\n")
        .file("sys/devices/system/cpu/cpu1/topology/physical_package_id", "0\n")
        .file("sys/devices/system/cpu/cpu1/topology/core_id", "0\n")
        .link("sys/dev/block/8:0", "../../devices/pci0/block/sda")
        .link("proc/1/ns/net", "net:[1]")
        // This machine's runtimes are not to be asked.
        .option("container.docker-socket", "")
        .option("container.podman-socket", "")
}

/// The files of a group of version 2, with a process in it.
fn group_2(fixture: Fixture, path: &str, pid: &str) -> Fixture {
    let file =
        |fixture: Fixture, name: &str, text: &str| fixture.file(&format!("sys/fs/cgroup{path}/{name}"), text);
    [
        ("cpu.stat", "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 250000\nnr_bursts 1\nburst_usec 1000\n"),
        ("memory.stat", MEMORY_STAT_V2),
        ("memory.current", "80000\n"),
        ("memory.peak", "90000\n"),
        ("memory.swap.current", "4096\n"),
        ("memory.events", "low 0\nhigh 1\nmax 2\noom 1\noom_kill 1\n"),
        ("memory.max", "100000\n"),
        ("memory.low", "0\n"),
        ("memory.swap.max", "max\n"),
        ("io.stat", "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"),
        ("pids.current", "3\n"),
        ("pids.max", "max\n"),
        ("cpu.max", "50000 100000\n"),
        ("cpu.weight", "100\n"),
        ("cpu.pressure", PRESSURE),
        ("memory.pressure", PRESSURE),
        ("io.pressure", PRESSURE),
        ("cgroup.procs", &format!("{pid}\n0\n")),
    ]
    .into_iter()
    .fold(fixture, |fixture, (name, text)| file(fixture, name, text))
}

/// The same of version 1, in all hierarchies.
fn group_1(fixture: Fixture, path: &str, pid: &str) -> Fixture {
    [
        ("cpu,cpuacct", "cpuacct.usage", "5000000000\n"),
        ("cpu,cpuacct", "cpuacct.stat", "user 300\nsystem 200\n"),
        ("cpu,cpuacct", "cpuacct.usage_percpu", "4000000000 1000000000 \n"),
        (
            "cpu,cpuacct",
            "cpu.stat",
            "nr_periods 10\nnr_throttled 4\nthrottled_time 250000000\nnr_bursts 0\nburst_time 0\n",
        ),
        ("cpu,cpuacct", "cpu.cfs_quota_us", "50000\n"),
        ("cpu,cpuacct", "cpu.cfs_period_us", "100000\n"),
        ("cpu,cpuacct", "cpu.shares", "1024\n"),
        ("memory", "memory.stat", MEMORY_STAT_V1),
        ("memory", "memory.usage_in_bytes", "80000\n"),
        ("memory", "memory.max_usage_in_bytes", "90000\n"),
        ("memory", "memory.failcnt", "2\n"),
        ("memory", "memory.kmem.usage_in_bytes", "5000\n"),
        ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        ("memory", "memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory", "memory.soft_limit_in_bytes", "9223372036854771712\n"),
        (
            "blkio",
            "blkio.throttle.io_service_bytes",
            "8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\nTotal 12288\n",
        ),
        ("blkio", "blkio.throttle.io_serviced", "8:0 Read 1\n8:0 Write 2\nTotal 3\n"),
        ("pids", "pids.current", "3\n"),
        ("pids", "pids.max", "100\n"),
        ("cpuset", "cpuset.memory_migrate", "0\n"),
        ("unified", "cpu.pressure", PRESSURE),
        ("memory", "cgroup.procs", &format!("{pid}\n")),
    ]
    .into_iter()
    .fold(fixture, |fixture, (hierarchy, name, text)| {
        fixture.file(&format!("sys/fs/cgroup/{hierarchy}{path}/{name}"), text)
    })
}

/// A process that started so long after the machine, in a network.
fn process(fixture: Fixture, pid: &str, start: u32, network: u32) -> Fixture {
    fixture
        .file(
            &format!("proc/{pid}/stat"),
            format!("{pid} (a) b) S {} {start} 0\n", "0 ".repeat(18).trim_end()),
        )
        .file(&format!("proc/{pid}/limits"), "Limit Soft Hard\nMax open files            1024  4096  files\n")
        .file(
            &format!("proc/{pid}/net/dev"),
            "head\nhead\n    lo: 1 1\n  eth0: 100 2 0 1 0 0 0 0 200 3 0 0 0 0 0 0\n",
        )
        .link(&format!("proc/{pid}/ns/net"), format!("net:[{network}]"))
}

/// Groups were made then.
fn aged(fixture: Fixture, groups: &[&str]) -> Fixture {
    for group in groups {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        let directory = std::fs::File::open(fixture.path().join("sys/fs/cgroup").join(group)).unwrap();
        directory.set_modified(made).unwrap();
    }
    fixture
}

#[track_caller]
fn golden(name: &str, fixture: &Fixture) {
    let mut collector = fixture.collector("container");
    let (got, result) = run(&mut *collector);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(run(&mut *collector).0, got, "the second pass");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/collect/container/goldens")
        .join(format!("{name}.prom"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &got).unwrap();
    }
    let want = std::fs::read_to_string(&file).unwrap_or_default();
    let missing: Vec<_> = want.lines().filter(|l| !got.lines().any(|g| g == *l)).collect();
    let surplus: Vec<_> = got.lines().filter(|l| !want.lines().any(|w| w == *l)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}\nnot wanted: {surplus:#?}");
}

#[test]
fn docker_of_version_1() {
    let path = format!("/docker/{ID}");
    let fixture = process(group_1(version_1(), &path, "42"), "42", 12345, 7);
    let fixture = fixture.file(
        &format!("root/var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"Name":"/web","RestartCount":2,"State":{"Health":{"Status":"healthy"}},
            "Config":{"Image":"nginx:1","Labels":{"com.example/team":"a","other":"b"}}}"#,
    );
    let fixture = fixture.option("container.label", "com.example/*");
    golden("docker_v1", &aged(fixture, &[&format!("memory{path}")]));
}

#[test]
fn transfers_of_version_1_include_groups_below_and_disks_with_a_scheduler() {
    let counts = |read: u32| format!("8:0 Read {read}\n8:0 Write 1\nTotal {}\n", read + 1);
    let of_bfq = "8:16 Read 7\n8:16 Write 8\nTotal 15\n";
    let mut fixture = group_1(version_1(), &format!("/docker/{ID}"), "42");
    for (policy, requests, bytes) in
        [("throttle", counts(9), counts(4096)), ("bfq", of_bfq.into(), of_bfq.into())]
    {
        for (name, text) in [("io_serviced", requests), ("io_service_bytes", bytes)] {
            let file = format!("blkio.{policy}.{name}_recursive");
            fixture = fixture
                .file(&format!("sys/fs/cgroup/blkio/{file}"), "")
                .file(&format!("sys/fs/cgroup/blkio/docker/{ID}/{file}"), text);
        }
    }
    let text = fixture.link("sys/dev/block/8:16", "../block/sdb").samples("container");
    let of = |name: &str| -> Vec<_> {
        let of = text.lines().filter(|line| line.starts_with(name));
        of.map(|line| line.rsplit_once(' ').unwrap().1).collect()
    };
    assert_eq!(
        (of("container_fs_reads_total"), of("container_fs_writes_total")),
        (vec!["9", "7"], vec!["1", "8"])
    );
    assert_eq!(of("container_fs_reads_bytes_total"), ["4096", "7"], "{text}");
}

#[test]
fn bytes_of_version_1_rise_with_either_count() {
    // Throttling, which is no longer in use, has counted more than the scheduler.
    let file = |policy: &str, name: &str| format!("sys/fs/cgroup/blkio/docker/{ID}/blkio.{policy}.{name}");
    let mut fixture = group_1(version_1(), &format!("/docker/{ID}"), "42")
        .file(&file("throttle", "io_serviced"), "8:0 Read 1000\n")
        .file(&file("throttle", "io_service_bytes"), "8:0 Read 4000\n");
    let mut collector = fixture.collector("container");
    for reads in 1..=20 {
        fixture = fixture
            .file(&file("bfq", "io_serviced"), format!("8:0 Read {reads}\n"))
            .file(&file("bfq", "io_service_bytes"), format!("8:0 Read {}\n", 4000 + reads));
        let text = run(&mut *collector).0;
        let bytes = text.lines().find(|line| line.starts_with("container_fs_reads_bytes_total"));
        assert!(
            bytes.is_some_and(|line| line.ends_with(&format!(" {}", 4000 + reads))),
            "{reads}: {bytes:?}"
        );
    }
}

#[test]
fn groups_that_a_runtime_makes_one_after_another() {
    // Of a container that is new, of one that is found later, and of one whose process tells where.
    for (passes, made) in [(1, "docker"), (5, "docker"), (100, "docker"), (1, "system.slice/docker")] {
        let fixture =
            version_1().file(&format!("sys/fs/cgroup/memory/docker/{ID}/memory.usage_in_bytes"), "1\n");
        let fixture =
            fixture.dir("sys/fs/cgroup/blkio").dir("sys/fs/cgroup/pids").dir("sys/fs/cgroup/cpuset");
        let mut collector = fixture.collector("container");
        for _ in 0..passes {
            assert!(!run(&mut *collector).0.contains("container_cpu_usage"));
        }
        let path = format!("/{made}/{ID}");
        let fixture = process(group_1(fixture, &path, "42"), "42", 1, 7)
            .file(&format!("sys/fs/cgroup/memory/docker/{ID}/cgroup.procs"), "42\n")
            .file("proc/42/cgroup", format!("3:blkio:{path}\n2:pids:{path}\n1:cpu,cpuacct:{path}\n"));
        let mut texts =
            std::iter::repeat_with(|| run(&mut *collector).0).take(if passes < 9 { 1 } else { 64 });
        let text = texts.find(|text| text.contains("container_cpu_usage")).unwrap();
        for family in
            ["container_cpu_usage_seconds_total{", "container_spec_cpu_shares{", "container_threads{"]
        {
            let at = format!("id=\"/docker/{ID}\"");
            let mut of = text.lines().filter(|line| line.starts_with(family) && line.contains(&at));
            assert!(of.next().is_some(), "{family} {passes} {made}: {text}");
        }
        drop(fixture);
    }
}

#[test]
fn docker_of_version_2() {
    let path = format!("/system.slice/docker-{ID}.scope");
    let fixture = process(group_2(version_2(), &path, "42"), "42", 12345, 1);
    let fixture = fixture.file(
        &format!("root/var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"Name":"/web","Config":{"Image":"nginx:1"}}"#,
    );
    golden("docker_v2", &aged(fixture, &[&path[1..]]));
}

#[test]
fn a_pod_of_containerd_with_groups_of_systemd() {
    let pod = format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
        UID.replace('-', "_")
    );
    let (sandbox, container) =
        (format!("{pod}/cri-containerd-{OTHER}.scope"), format!("{pod}/cri-containerd-{ID}.scope"));
    let bundle = |id, kind, container| {
        (
            format!("root/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json"),
            format!(
                r#"{{"annotations":{{"io.kubernetes.cri.container-type":"{kind}","io.kubernetes.cri.sandbox-name":"p",
                "io.kubernetes.cri.sandbox-namespace":"n"{container}}}}}"#
            ),
        )
    };
    let pause = r#","io.kubernetes.cri.podsandbox.image-name":"registry.k8s.io/pause:3.9""#;
    let named = r#","io.kubernetes.cri.container-name":"c","io.kubernetes.cri.image-name":"docker.io/i:1""#;
    let (of_sandbox, of_container) = (bundle(OTHER, "sandbox", pause), bundle(ID, "container", named));
    let fixture = group_2(group_2(version_2(), &sandbox, "41"), &container, "42");
    let fixture = process(process(fixture, "41", 100, 7), "42", 200, 7);
    let fixture = fixture.file(&of_sandbox.0, of_sandbox.1).file(&of_container.0, of_container.1);
    golden("kubernetes_containerd_systemd", &aged(fixture, &[&sandbox[1..], &container[1..]]));
}

#[test]
fn a_pod_with_groups_of_the_kubelet() {
    let path = format!("/kubepods/burstable/pod{UID}/{ID}");
    let fixture = process(group_1(version_1(), &path, "42"), "42", 100, 7);
    let fixture = fixture
        .file(&format!("root/var/log/containers/p-1_n_c-{ID}.log"), "")
        .dir(&format!("root/var/log/pods/n_p-1_{UID}"));
    golden("kubernetes_cgroupfs", &aged(fixture, &[&format!("memory{path}")]));
}

#[test]
fn a_pod_of_crio() {
    let path = format!("/kubepods.slice/kubepods-pod{}.slice/crio-{ID}.scope", UID.replace('-', "_"));
    let conmon = path.replace("crio-", "crio-conmon-");
    let fixture = group_2(group_2(version_2(), &path, "42"), &conmon, "43").file(
        &format!("root/run/containers/storage/overlay-containers/{ID}/userdata/config.json"),
        r#"{"annotations":{"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.container.name":"c",
            "io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n","io.kubernetes.cri-o.Name":"k8s_c_p_n_0",
            "io.kubernetes.cri-o.ImageName":"quay.io/i:1"}}"#,
    );
    golden("kubernetes_crio", &aged(process(fixture, "42", 100, 7), &[&path[1..]]));
}

#[test]
fn podman_has_its_processes_one_group_deeper() {
    let path = format!("/machine.slice/libpod-{ID}.scope");
    let fixture = group_2(version_2(), &path, "").file(&format!("sys/fs/cgroup{path}/cgroup.procs"), "");
    let fixture = fixture.file(&format!("sys/fs/cgroup{path}/container/cgroup.procs"), "42\n43\n");
    let store =
        format!(r#"[{{"id":"{ID}","names":["web"],"metadata":"{{\"image-name\":\"docker.io/i:1\"}}"}}]"#);
    let fixture = process(process(fixture, "42", 300, 7), "43", 200, 7)
        .file("root/var/lib/containers/storage/overlay-containers/containers.json", store);
    golden("podman", &aged(fixture, &[&path[1..]]));
}

#[test]
fn machines_of_systemd() {
    let path = "/machine.slice/machine-my\\x2dbox.scope";
    let fixture = group_2(version_2(), path, "42");
    golden("systemd", &aged(process(fixture, "42", 100, 7), &[&path[1..]]));
}

#[test]
fn no_group_is_named_by_a_file_that_its_user_chose() {
    let path = "/user.slice/machine-..\\x2f..\\x2f..\\x2f..\\x2fhome.scope";
    let fixture = group_2(version_2(), path, "42").dir("root/var/lib/docker/containers");
    let fixture =
        fixture.file("root/home/config.v2.json", r#"{"Name":"/payments","Config":{"Image":"i:1"}}"#);
    let mut collector = fixture.collector("container");
    // The first pass that has names, of whatever files.
    let docker = format!("root/var/lib/docker/containers/{ID}/config.v2.json");
    let _fixture = group_2(fixture.file(&docker, r#"{"Name":"/web"}"#), &format!("/docker/{ID}"), "43");
    let text = std::iter::repeat_with(|| run(&mut *collector).0).find(|text| text.contains("name=\"web\""));
    assert!(text.is_some_and(|text| !text.contains("payments") && !text.contains("i:1")));
}

#[test]
fn a_sidecar_without_access_to_the_host_sees_what_it_is_in() {
    let fixture = group_2(version_2(), "", "42").file("sys/fs/cgroup/cgroup.events", "populated 1\n");
    let fixture = process(fixture, "42", 100, 1)
        .file("proc/sys/kernel/hostname", "web-1\n")
        .file("root/var/run/secrets/kubernetes.io/serviceaccount/namespace", "prod");
    golden("own_v2", &aged(fixture, &[""]));

    let fixture = group_1(version_1(), "", "42");
    std::fs::remove_file(fixture.path().join("sys/fs/cgroup/memory/release_agent")).unwrap();
    let fixture = process(fixture, "42", 100, 1).file("proc/self/cgroup", format!("4:memory:/docker/{ID}\n"));
    golden("own_v1", &aged(fixture, &["memory"]));
}

#[test]
fn the_traffic_of_the_machine_is_no_sidecars() {
    let fixture = group_2(version_2(), "", "42").file("sys/fs/cgroup/cgroup.events", "populated 1\n");
    let fixture = process(fixture, "42", 100, 7).link("proc/self/ns/net", "net:[7]");
    assert!(fixture.samples("container").contains("container_network_"));
    let fixture = fixture.file("proc/sys/net/core/netdev_max_backlog", "1000\n");
    assert!(!fixture.samples("container").contains("container_network_"));
}

#[test]
fn a_machine_without_containers_says_nothing() {
    let fixture = version_2().dir("sys/fs/cgroup/system.slice/ssh.service");
    let mut collector = fixture.collector("container");
    let (text, result) = run(&mut *collector);
    assert!(result.is_ok() && text.is_empty(), "{text}");
    assert!(Fixture::new().error("container").starts_with("no data: no control groups"));
}

fn ids(text: &str) -> BTreeSet<&str> {
    let seen = text.lines().filter(|line| line.starts_with("container_last_seen"));
    seen.map(|line| line.split('"').nth(1).unwrap()).collect()
}

#[test]
fn containers_come_and_go_within_a_pass() {
    let (first, second) = (format!("/docker/{ID}"), format!("/docker/{OTHER}"));
    let fixture = group_2(version_2().dir("sys/fs/cgroup/docker"), &first, "42");
    let mut collector = fixture.collector("container");
    assert_eq!(ids(&run(&mut *collector).0), [&*first].into());
    let fixture = group_2(fixture, &second, "43");
    assert_eq!(ids(&run(&mut *collector).0), [&*first, &*second].into());
    std::fs::remove_dir_all(fixture.path().join("sys/fs/cgroup").join(&first[1..])).unwrap();
    let text = run(&mut *collector).0;
    assert_eq!(ids(&text), [&*second].into());
    // Its count of kills stays; nothing else of it.
    let left: Vec<_> = text.lines().filter(|line| line.contains(ID)).collect();
    let [only] = &*left else { panic!("{left:?}") };
    assert!(
        only.starts_with("container_oom_events_total{id=\"/docker/0123") && only.ends_with(" 1"),
        "{only}"
    );
    // One of the same name comes again: it is shown like any other, the count once.
    let _fixture = group_2(fixture, &first, "44");
    let text = run(&mut *collector).0;
    assert_eq!(ids(&text), [&*first, &*second].into());
    assert_eq!(text.lines().filter(|l| l.starts_with("container_oom") && l.contains(ID)).count(), 1);
}

#[test]
fn a_bare_id_has_no_name_while_a_runtime_that_may_know_it_does_not_answer() {
    let path = format!("/mygroup/{ID}");
    let fixture = group_2(version_2(), &path, "42");
    let below = |part: &str| fixture.path().join(part);
    let paths = HostPaths {
        procfs: below("proc"),
        sysfs: below("sys"),
        rootfs: below("root"),
        ..HostPaths::default()
    };
    let mut options = Options::default();
    options.set("container.docker-socket", below("none.sock").to_str().unwrap()).unwrap();
    options.set("container.podman-socket", "").unwrap();
    let mut collector = Containers::new(&Host::new(paths), &options).unwrap();
    let nameless = format!("container_last_seen{{id=\"{path}\"}}");
    let mut text = String::new();
    while !text.contains("outrigger_container_runtime_up{runtime=\"docker\"} 0") {
        text = run(&mut collector).0;
        assert!(text.contains(&nameless), "{text}");
    }
    collector.known[0].since = Instant::now().checked_sub(LATELY).unwrap();
    assert!(run(&mut collector).0.contains(&format!("id=\"{path}\",name=\"{ID}\"")));
}

#[test]
fn more_containers_than_may_be_are_counted() {
    let mut fixture = version_2().option("container.max", "2");
    for at in 0..5 {
        let id = ID.replace("0123", &format!("000{at}"));
        fixture = fixture.file(&format!("sys/fs/cgroup/docker/{id}/memory.current"), "1\n");
    }
    let mut collector = fixture.collector("container");
    let first = run(&mut *collector).0;
    let chosen = ids(&first);
    assert_eq!(chosen.len(), 2);
    assert!(first.contains("outrigger_containers_left_out 3\n"), "{first}");
    assert_eq!(ids(&run(&mut *collector).0), chosen, "the same in each pass");
    let gone = chosen.iter().next().unwrap();
    std::fs::remove_dir_all(fixture.path().join("sys/fs/cgroup").join(&gone[1..])).unwrap();
    let after = run(&mut *collector).0;
    assert!(ids(&after).len() == 2 && after.contains("outrigger_containers_left_out 2\n"), "{after}");
    let refused = Fixture::new().option("container.max", "0").refused("container");
    assert!(refused.ends_with("--collector.container.max must be at least 1"), "{refused}");
}

#[test]
fn groups_that_a_walk_does_not_come_to_are_counted() {
    let deep = format!("sys/fs/cgroup{}", "/x".repeat(30));
    let text = version_2().dir(&deep).samples("container");
    assert!(text.contains("outrigger_control_groups_left_out 1\n"), "{text}");
    // What is there although the walk does not see it: files that are open say so.
    let path = format!("/docker/{ID}");
    let fixture = group_2(version_2(), &path, "42");
    let mut collector = fixture.collector("container");
    assert_eq!(ids(&run(&mut *collector).0), [&*path].into());
    let fixture = fixture.dir(&deep);
    let group = fixture.path().join("sys/fs/cgroup").join(&path[1..]);
    std::fs::rename(&group, fixture.path().join(deep).join(ID)).unwrap();
    assert_eq!(ids(&run(&mut *collector).0), [&*path].into());
    let again = group_2(fixture, &path, "42");
    assert_eq!(ids(&run(&mut *collector).0), [&*path].into());
    drop(again);
}

#[test]
fn containers_that_do_not_fit_are_left_out_whole() {
    let mut fixture = version_2();
    for at in 0..5 {
        let id = ID.replace("0123", &format!("000{at}"));
        fixture = group_2(fixture, &format!("/docker/{id}"), "42");
    }
    let mut collector = fixture.collector("container");
    // Names come from a thread of its own, and a sample of health with them.
    let mut passes = std::iter::repeat_with(|| run(&mut *collector).0);
    let whole = passes.find(|text| text.contains("container_health_state")).unwrap();
    let per_container = |text: &str| text.lines().filter(|line| line.contains("id=\"/docker/")).count();
    assert_eq!(ids(&whole).len(), 5);
    let (all, own) = (whole.lines().count(), whole.lines().count() - per_container(&whole));
    for limit in [0, own, all / 2, all - 1] {
        let mut batch = Batch::new();
        batch.set_limit(limit);
        let pass = Pass { now: NOW, deadline: Instant::now() + Duration::from_secs(30) };
        collector.collect(&pass, &mut batch).unwrap();
        assert!(batch.over_limit() == 0 || limit < own, "{limit}");
        let shown = batch.families().find(|family| family.name() == "container_last_seen");
        let shown = shown.map_or(0, |family| family.samples().count());
        let left_out = batch.families().find(|family| family.name() == "outrigger_containers_left_out");
        let left_out = left_out.and_then(|family| Some(family.samples().next()?.value()));
        let want = f64::from(u32::try_from(5 - shown).unwrap());
        assert!(shown < 5 && left_out == (limit > 0).then_some(want), "{limit}: {shown} {left_out:?}");
        assert_eq!(batch.len(), (own + shown * per_container(&whole) / 5).min(limit), "{limit}");
    }
}

#[test]
fn processes_in_many_groups_below() {
    let path = format!("docker/{ID}");
    let mut fixture = group_2(version_2(), &format!("/{path}"), "42");
    for at in 0..100 {
        let below = format!("sys/fs/cgroup/{path}/system.slice/{at}.service/cgroup.procs");
        fixture = fixture.file(&below, "1\n2\n");
    }
    let text = fixture.samples("container");
    let processes = text.lines().find(|line| line.starts_with("container_processes{"));
    assert!(processes.is_some_and(|line| line.ends_with(" 202")), "{text}");
    assert!(text.contains("outrigger_container_groups_left_out 0\n"), "{text}");
}

#[test]
fn odd_files_cost_what_they_do_not_say() {
    let path = format!("sys/fs/cgroup/docker/{ID}");
    let fixture = version_2()
        .file(&format!("{path}/memory.current"), "18446744073709551615\n")
        .file(&format!("{path}/memory.stat"), [0xff, b'\n', 0, b' ', b'1'])
        .file(&format!("{path}/cpu.stat"), "usage_usec\nuser_usec x\n")
        .file(&format!("{path}/io.stat"), "8:0\n:\n99999999999:1 rbytes=1\n")
        .file(&format!("{path}/cgroup.procs"), "")
        .dir(&format!("{path}/pids.current"));
    let text = fixture.samples("container");
    assert!(
        text.contains("container_memory_usage_bytes{") && text.contains(" 18446744073709552000\n"),
        "{text}"
    );
    assert!(!text.contains("container_cpu") && text.contains("container_scrape_error 1\n"), "{text}");
}

#[test]
fn on_request_each_processor_and_each_process() {
    let fixture = process(group_1(version_1(), &format!("/docker/{ID}"), "42"), "42", 1, 7)
        .link("proc/42/fd/0", "/dev/null")
        .link("proc/42/fd/3", "socket:[1]")
        .option("container.per-cpu", "true")
        .option("container.processes", "true");
    let text = fixture.samples("container");
    let of = |name: &str| -> Vec<_> {
        text.lines().filter(|line| line.starts_with(name)).map(|line| line.replace(ID, "ID")).collect()
    };
    assert_eq!(
        of("container_cpu_usage"),
        [
            r#"container_cpu_usage_seconds_total{cpu="cpu00",id="/docker/ID",name="ID"} 4"#,
            r#"container_cpu_usage_seconds_total{cpu="cpu01",id="/docker/ID",name="ID"} 1"#,
        ]
    );
    assert_eq!(
        of("container_file_descriptors"),
        [r#"container_file_descriptors{id="/docker/ID",name="ID"} 2"#]
    );
    assert_eq!(of("container_sockets"), [r#"container_sockets{id="/docker/ID",name="ID"} 1"#]);
    assert!(of("container_tasks_state").iter().any(|l| l.contains(r#"state="sleeping"} 1"#)));
}
