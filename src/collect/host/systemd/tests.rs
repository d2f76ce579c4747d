//! A systemd that the tests play, on a bus and on its private socket.

use std::time::{Duration, Instant};

use super::super::testing::{Fixture, NOW};
use super::version_number;
use crate::collect::dbus::testing::{Answer, Body, serve};
use crate::collect::{CollectError, Pass};
use crate::model::Batch;

const BUS: &str = "root/run/dbus/system_bus_socket";

/// Name, load state, active state.
const UNITS: [(&str, &str, &str); 7] = [
    ("a.service", "loaded", "active"),
    ("b.service", "loaded", "failed"),
    ("gone.service", "not-found", "inactive"),
    ("s.socket", "loaded", "active"),
    ("t.timer", "loaded", "active"),
    ("srv.mount", "loaded", "active"),
    ("odd.target", "loaded", "reloading"),
];

fn list() -> Answer {
    let put = |b: Body, (name, load, active): &(&str, &str, &str)| {
        let b = b.text(name).text("A unit").text(load).text(active).text("sub").text("");
        b.text(&format!("/u/{name}")).u32(0).text("").text("/")
    };
    Answer::Reply("a(ssssssouso)", Body::default().structures(&UNITS, put))
}

fn systemd(path: &str, method: &str, arguments: &[&str]) -> Answer {
    match (method, path, arguments) {
        ("ListUnits", ..) => list(),
        (_, _, [_, "Version"]) => Answer::text("252.22-1~deb12u1"),
        (_, _, [_, "Virtualization"]) => Answer::text(""),
        (_, _, [_, "SystemState"]) => Answer::text("degraded"),
        (_, "/u/a.service", [_, "Type"]) => Answer::text("notify"),
        (_, "/u/srv.mount", [_, "Type"]) => Answer::text("ext4"),
        (_, "/u/a.service", [_, "NRestarts"]) => Answer::number(b'u', 3),
        (_, "/u/a.service", [_, "TasksCurrent"]) => Answer::number(b't', 2),
        (_, "/u/a.service", [_, "TasksMax"]) => Answer::number(b't', u64::MAX),
        (_, "/u/s.socket", [_, "NAccepted"]) => Answer::number(b'u', 10),
        (_, "/u/s.socket", [_, "NConnections"]) => Answer::number(b'u', 1),
        (_, "/u/t.timer", [_, "LastTriggerUSec"]) => Answer::number(b't', 1_700_000_000_500_000),
        (_, "/u/a.service", ["org.freedesktop.systemd1.Unit", "ActiveEnterTimestamp"]) => {
            Answer::number(b't', 1_600_000_000_000_000)
        }
        _ => Answer::Refuse,
    }
}

fn machine(socket: &str, answer: impl Fn(&str, &str, &[&str]) -> Answer + Send + 'static) -> Fixture {
    let fixture = Fixture::new();
    serve(&fixture.path().join(socket), answer);
    fixture
}

fn states(name: &str, kind: &str, now: &str) -> String {
    let line = |state: &&str| {
        let value = u8::from(*state == now);
        format!("node_systemd_unit_state{{name={name:?},state={state:?},type={kind:?}}} {value}\n")
    };
    super::STATES.iter().map(line).collect()
}

fn golden() -> String {
    let mut want = states("a.service", "notify", "active");
    want += &states("b.service", "", "failed");
    want += &states("s.socket", "", "active");
    want += &states("t.timer", "", "active");
    want += &states("odd.target", "", "reloading");
    want + r#"node_systemd_socket_accepted_connections_total{name="s.socket"} 10
        node_systemd_socket_current_connections{name="s.socket"} 1
        node_systemd_system_running 0
        node_systemd_timer_last_trigger_seconds{name="t.timer"} 1700000000.5
        node_systemd_units{state="activating"} 0
        node_systemd_units{state="active"} 4
        node_systemd_units{state="deactivating"} 0
        node_systemd_units{state="failed"} 1
        node_systemd_units{state="inactive"} 1
        node_systemd_units{state="reloading"} 1
        node_systemd_version{version="252.22-1~deb12u1"} 252.22
        node_systemd_virtualization_info{virtualization_type="none"} 1"#
}

#[test]
fn units_over_the_bus_and_the_private_socket() {
    machine(BUS, systemd).expect("systemd", &golden());
    let private = machine("root/run/systemd/private", systemd).option("systemd.private", "true");
    private.expect("systemd", &golden());
}

#[test]
fn more_on_request_and_other_units() {
    let fixture = machine(BUS, systemd)
        .option("systemd.unit-include", r"(a|b|gone)\.service|srv\.mount")
        .option("systemd.unit-exclude", "b.service")
        .option("systemd.enable-task-metrics", "true")
        .option("systemd.enable-restarts-metrics", "true")
        .option("systemd.enable-start-time-metrics", "true");
    let text = fixture.samples("systemd");
    for line in [
        r#"node_systemd_unit_state{name="srv.mount",state="active",type="ext4"} 1"#,
        r#"node_systemd_service_restart_total{name="a.service"} 3"#,
        r#"node_systemd_unit_tasks_current{name="a.service"} 2"#,
        r#"node_systemd_unit_start_time_seconds{name="a.service"} 1600000000"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    for absent in ["b.service", "gone.service", "tasks_max", "socket"] {
        assert!(!text.contains(absent), "{absent} is in\n{text}");
    }
    let old = machine(BUS, systemd).option("systemd.unit-blacklist", ".+");
    assert!(!old.samples("systemd").contains("unit_state"));
}

#[test]
fn a_peer_that_falls_silent_costs_the_deadline_and_keeps_what_was_said() {
    let fixture = machine(BUS, |path, method, arguments| match arguments {
        [_, "Type"] => Answer::Silence,
        _ => systemd(path, method, arguments),
    });
    let mut batch = Batch::new();
    let pass = Pass { now: NOW, deadline: Instant::now() + Duration::from_millis(1_500) };
    let error = fixture.collector("systemd").collect(&pass, &mut batch).unwrap_err();
    assert!(matches!(&error, CollectError::Other(e) if e.contains("before the deadline")), "{error}");
    assert!(batch.families().any(|f| f.name() == "node_systemd_units"));
    assert!(Instant::now() < pass.deadline + Duration::from_secs(30), "it ended by itself");
}

#[test]
fn hostile_peers_are_errors() {
    let endless = [b'l', 2, 0, 1, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 8, 0, 0, 0].to_vec();
    for (bytes, want) in [(endless, "too long"), (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "no D-Bus")] {
        let fixture = machine(BUS, move |_, _, _| Answer::Raw(bytes.clone()));
        let error = fixture.error("systemd");
        assert!(error.contains(want), "{error}");
    }
    let wrong_type = machine(BUS, |_, method, _| match method {
        "ListUnits" => Answer::Reply("a(ssssssouso)", Body::default().u32(400).text("torn")),
        _ => Answer::text("1"),
    });
    assert!(wrong_type.error("systemd").contains("other values"));
    assert!(Fixture::new().error("systemd").contains("no data"));
}

#[test]
fn versions() {
    for (text, want) in [
        ("252.22-1~deb12u1", 252.22),
        ("v257-rc1", 257.0),
        ("systemd 219", 219.0),
        ("255.4.1", 255.4),
        ("12", 0.0),
        ("", 0.0),
    ] {
        assert!((version_number(text) - want).abs() < f64::EPSILON, "{text}: {}", version_number(text));
    }
}

#[test]
fn both_names_of_a_flag_are_refused() {
    let mut options = crate::collect::Options::default();
    options.set("systemd.unit-include", "a").unwrap();
    options.set("systemd.unit-whitelist", "b").unwrap();
    let error = (super::SPEC.build)(&crate::collect::Host::default(), &options).err().unwrap();
    assert!(error.to_string().contains("mutually exclusive"), "{error}");
}
