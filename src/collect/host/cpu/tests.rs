//! The collector over whole trees.

use super::super::testing::{Fixture, run};

const STAT: &str = "cpu  30 0 60 2000 8 0 4 0 0 0\n\
    cpu0 10 1 20 1000 4 0 2 0 3 0\n\
    cpu3 20 0 40 18446744073709551615 4 0 2 5 0 7\n\
    intr 1 2 3\n";

#[test]
fn golden_with_a_hole_and_the_largest_counter() {
    Fixture::new().file("proc/stat", STAT).expect(
        "cpu",
        r#"node_cpu_seconds_total{cpu="0",mode="user"} 0.1
           node_cpu_seconds_total{cpu="0",mode="nice"} 0.01
           node_cpu_seconds_total{cpu="0",mode="system"} 0.2
           node_cpu_seconds_total{cpu="0",mode="idle"} 10
           node_cpu_seconds_total{cpu="0",mode="iowait"} 0.04
           node_cpu_seconds_total{cpu="0",mode="irq"} 0
           node_cpu_seconds_total{cpu="0",mode="softirq"} 0.02
           node_cpu_seconds_total{cpu="0",mode="steal"} 0
           node_cpu_seconds_total{cpu="3",mode="user"} 0.2
           node_cpu_seconds_total{cpu="3",mode="nice"} 0
           node_cpu_seconds_total{cpu="3",mode="system"} 0.4
           node_cpu_seconds_total{cpu="3",mode="idle"} 184467440737095520
           node_cpu_seconds_total{cpu="3",mode="iowait"} 0.04
           node_cpu_seconds_total{cpu="3",mode="irq"} 0
           node_cpu_seconds_total{cpu="3",mode="softirq"} 0.02
           node_cpu_seconds_total{cpu="3",mode="steal"} 0.05
           node_cpu_guest_seconds_total{cpu="0",mode="user"} 0.03
           node_cpu_guest_seconds_total{cpu="0",mode="nice"} 0
           node_cpu_guest_seconds_total{cpu="3",mode="user"} 0
           node_cpu_guest_seconds_total{cpu="3",mode="nice"} 0.07"#,
    );
}

#[test]
fn topology_isolated_and_online() {
    let mut fixture = Fixture::new()
        .file("proc/stat", "cpu0 1\n")
        .option("cpu.guest", "false")
        .file("sys/devices/system/cpu/isolated", "1,3-4\n")
        // No topology: left out.
        .dir("sys/devices/system/cpu/cpu9");
    // Four threads on two cores of one package; the first sibling that has a counter tells it.
    for (cpu, core, throttled, online) in
        [("cpu0", "0", "5", "1"), ("cpu1", "1", "7", "0"), ("cpu2", "0", "6", "1"), ("cpu3", "1", "8", "1")]
    {
        let file = |name: &str| format!("sys/devices/system/cpu/{cpu}/{name}");
        fixture = fixture
            .file(&file("topology/physical_package_id"), "0\n")
            .file(&file("topology/core_id"), core)
            .file(&file("online"), format!("{online}\n"))
            .file(&file("thermal_throttle/core_throttle_count"), throttled)
            .file(&file("thermal_throttle/package_throttle_count"), "30\n");
    }
    let text = fixture.samples("cpu");
    let text: Vec<_> = text.lines().filter(|l| !l.contains("seconds_total")).collect();
    assert_eq!(
        text,
        [
            r#"node_cpu_core_throttles_total{core="0",package="0"} 5"#,
            r#"node_cpu_core_throttles_total{core="1",package="0"} 7"#,
            r#"node_cpu_isolated{cpu="1"} 1"#,
            r#"node_cpu_isolated{cpu="3"} 1"#,
            r#"node_cpu_isolated{cpu="4"} 1"#,
            r#"node_cpu_online{cpu="0"} 1"#,
            r#"node_cpu_online{cpu="1"} 0"#,
            r#"node_cpu_online{cpu="2"} 1"#,
            r#"node_cpu_online{cpu="3"} 1"#,
            r#"node_cpu_online{cpu="9"} 0"#,
            r#"node_cpu_package_throttles_total{package="0"} 30"#,
        ]
    );
}

#[test]
fn online_cpus_as_listed_and_as_their_own_files_say() {
    let directory = "sys/devices/system/cpu";
    let fixture = Fixture::new()
        .file("proc/stat", "cpu0 1\n")
        .file(&format!("{directory}/online"), "0-1\n")
        .file(&format!("{directory}/cpu0/online"), "1\n")
        .file(&format!("{directory}/cpu1/online"), "1\n");
    let write = |path: &str, text: &str| {
        std::fs::write(fixture.path().join(directory).join(path), text).unwrap();
    };
    let mut collector = fixture.collector("cpu");
    let mut second_is = |state: &str| run(&mut *collector).0.contains(&format!("online{{cpu=\"1\"}} {state}\n"));
    assert!(second_is("1"));
    write("cpu1/online", "0\n");
    assert!(second_is("1"), "not read while the list is the same");
    write("online", "0\n");
    assert!(second_is("0"));
    // A list that contradicts the files is not relied on.
    write("online", "1\n");
    assert!(second_is("0"));
    write("cpu1/online", "1\n");
    assert!(second_is("1"));
}

const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 142\n\
    model name\t: Intel(R) Core(TM) i7 CPU @ 1.90GHz\nstepping\t: 10\nmicrocode\t: 0xb4\ncpu MHz\t\t: 799.998\n\
    cache size\t: 8192 KB\nphysical id\t: 0\ncore id\t\t: 2\nflags\t\t: fpu aes avx avx2\nbugs\t\t: mds l1tf\n";

#[test]
fn facts_on_request() {
    let fixture = Fixture::new().file("proc/stat", STAT).file("proc/cpuinfo", CPUINFO);
    assert!(!fixture.samples("cpu").contains("node_cpu_info"));
    let fixture = fixture.option("cpu.info.flags-include", "^avx").option("cpu.info.bugs-include", "^mds$");
    let text = fixture.samples("cpu");
    for line in [
        r#"node_cpu_info{cachesize="8192 KB",core="2",cpu="0",family="6",microcode="0xb4",model="142",model_name="Intel(R) Core(TM) i7 CPU @ 1.90GHz",package="0",stepping="10",vendor="GenuineIntel"} 1"#,
        r#"node_cpu_frequency_hertz{core="2",cpu="0",package="0"} 799998000"#,
        r#"node_cpu_flag_info{flag="avx"} 1"#,
        r#"node_cpu_flag_info{flag="avx2"} 1"#,
        r#"node_cpu_bug_info{bug="mds"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains("\"aes\"") && !text.contains("l1tf"));
}

#[test]
fn counters_are_held_between_passes() {
    let fixture = Fixture::new().file("proc/stat", "cpu0 9 0 0 1000 50\n");
    let mut collector = fixture.collector("cpu");
    assert!(run(&mut *collector).0.contains("mode=\"iowait\"} 0.5\n"));
    let _fixture = fixture.file("proc/stat", "cpu0 9 0 0 1001 49\n");
    assert!(run(&mut *collector).0.contains("mode=\"iowait\"} 0.5\n"));
}

#[test]
fn bad_trees_are_errors() {
    assert!(Fixture::new().error("cpu").contains("does not exist"));
    assert!(Fixture::new().file("proc/stat", "cpu0 x\n").error("cpu").contains("expected numbers"));
    let fixture = Fixture::new().file("proc/stat", STAT).file("sys/devices/system/cpu/isolated", "x");
    assert!(fixture.error("cpu").contains("list of CPUs"));
}
