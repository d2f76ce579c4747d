//! Sessions of logged-in users. Source: systemd's `org.freedesktop.login1(5)`.

use std::collections::BTreeMap;

use crate::collect::dbus::{Address, Call, Connection, Owned, Property};
use crate::collect::{CollectError, Collector, Pass, Spec};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "logind",
    on_by_default: false,
    help: "Sessions known to logind, over D-Bus.",
    flags: &[],
    build: |host, _| Ok(Box::new(Logind { bus: Address::system_bus(&host.paths) })),
};

struct Logind {
    bus: Address,
}

const SERVICE: &str = "org.freedesktop.login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
const REMOTE: [&str; 2] = ["true", "false"];
const TYPES: [&str; 7] = ["other", "unspecified", "tty", "x11", "wayland", "mir", "web"];
const CLASSES: [&str; 5] = ["other", "user", "greeter", "lock-screen", "background"];

struct Session {
    seat: String,
    path: String,
    remote: Option<&'static str>,
    kind: Option<&'static str>,
    class: Option<&'static str>,
}

/// What is not in the list counts as `other`, which stands first.
fn known_or_other(value: &Owned, known: &[&'static str]) -> Option<&'static str> {
    let text = value.text()?;
    known.iter().find(|k| **k == text).or(known.first()).copied()
}

impl Collector for Logind {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut bus = Connection::bus(&self.bus, pass)?;
        let seats = seats(&mut bus)?;
        let mut sessions = sessions(&mut bus)?;
        describe(&mut bus, &mut sessions)?;
        let mut counts: BTreeMap<(&str, &str, &str, &str), f64> = BTreeMap::new();
        for session in &sessions {
            // One that ended while it was asked about is no session.
            let (Some(remote), Some(kind), Some(class)) = (session.remote, session.kind, session.class) else {
                continue;
            };
            *counts.entry((&session.seat, remote, kind, class)).or_default() += 1.0;
        }
        let family = out.family("node_logind_sessions", "Sessions that logind knows.", Kind::Gauge);
        for seat in &seats {
            for (remote, kind, class) in combinations() {
                let count = counts.get(&(seat.as_str(), remote, kind, class)).copied().unwrap_or_default();
                out.sample(family, &[("class", class), ("remote", remote), ("seat", seat), ("type", kind)], count);
            }
        }
        Ok(())
    }
}

fn combinations() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    REMOTE.into_iter().flat_map(|remote| {
        TYPES.into_iter().flat_map(move |kind| CLASSES.into_iter().map(move |class| (remote, kind, class)))
    })
}

const fn manager_call(method: &'static str) -> Call<'static> {
    Call { destination: SERVICE, path: "/org/freedesktop/login1", interface: MANAGER, method, arguments: &[] }
}

/// The seats and, as the empty name, none: where sessions over the network sit.
fn seats(bus: &mut Connection) -> Result<Vec<String>, CollectError> {
    let mut seats = bus.call(&manager_call("ListSeats"), "a(so)", |mut body| {
        let mut seats = Vec::new();
        let whole = body.structures(|seat| {
            seats.push(seat.text()?.to_owned());
            seat.text().map(drop)
        });
        whole.then_some(seats)
    })?;
    seats.push(String::new());
    Ok(seats)
}

fn sessions(bus: &mut Connection) -> Result<Vec<Session>, CollectError> {
    Ok(bus.call(&manager_call("ListSessions"), "a(susso)", |mut body| {
        let mut sessions = Vec::new();
        let whole = body.structures(|session| {
            let (_id, _uid, _user) = (session.text()?, session.u32()?, session.text()?);
            let (seat, path) = (session.text()?.to_owned(), session.text()?.to_owned());
            sessions.push(Session { seat, path, remote: None, kind: None, class: None });
            Some(())
        });
        whole.then_some(sessions)
    })?)
}

fn describe(bus: &mut Connection, sessions: &mut [Session]) -> Result<(), CollectError> {
    const PROPERTIES: [&str; 3] = ["Remote", "Type", "Class"];
    let paths: Vec<_> = sessions.iter().map(|s| s.path.clone()).collect();
    let property = |path, name| Property { path, interface: SESSION, name };
    let wanted: Vec<_> = paths.iter().flat_map(|p| PROPERTIES.map(|name| property(p, name))).collect();
    bus.properties(SERVICE, &wanted, |at, value| {
        let session = sessions.get_mut(at / PROPERTIES.len());
        let (Some(session), Ok(value)) = (session, value.map(Owned::from)) else { return };
        match at % PROPERTIES.len() {
            0 => session.remote = Some(if value == Owned::Number(1.0) { "true" } else { "false" }),
            1 => session.kind = known_or_other(&value, &TYPES),
            _ => session.class = known_or_other(&value, &CLASSES),
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use crate::collect::dbus::testing::{Answer, Body, serve};

    fn bus(answer: impl Fn(&str, &str, &[&str]) -> Answer + Send + 'static) -> Fixture {
        let fixture = Fixture::new();
        serve(&fixture.path().join("root/run/dbus/system_bus_socket"), answer);
        fixture
    }

    fn machine(path: &str, method: &str, arguments: &[&str]) -> Answer {
        let sessions = [("1", 0_u32, "root", "seat0", "/s/1"), ("c2", 5, "u", "", "/s/2"), ("3", 5, "u", "", "/gone")];
        match (method, path, arguments) {
            ("ListSeats", ..) => Answer::Reply(
                "a(so)",
                Body::default().structures(&["seat0"], |b, s| b.text(s).text("/seat")),
            ),
            ("ListSessions", ..) => Answer::Reply(
                "a(susso)",
                Body::default()
                    .structures(&sessions, |b, s| b.text(s.0).u32(s.1).text(s.2).text(s.3).text(s.4)),
            ),
            (_, "/s/1", [_, "Remote"]) => Answer::number(b'b', 0),
            (_, "/s/1", [_, "Type"]) => Answer::text("tty"),
            (_, "/s/2", [_, "Remote"]) => Answer::number(b'b', 1),
            (_, "/s/2", [_, "Type"]) => Answer::text("hologram"),
            (_, "/s/1" | "/s/2", [_, "Class"]) => Answer::text("user"),
            _ => Answer::Refuse,
        }
    }

    #[test]
    fn sessions_are_counted_by_seat_and_kind() {
        let text = bus(machine).samples("logind");
        let nonzero: Vec<_> = text.lines().filter(|l| !l.ends_with(" 0")).collect();
        assert_eq!(text.lines().count(), 2 * 2 * 7 * 5);
        assert_eq!(
            nonzero,
            [
                r#"node_logind_sessions{class="user",remote="false",seat="seat0",type="tty"} 1"#,
                r#"node_logind_sessions{class="user",remote="true",seat="",type="other"} 1"#
            ]
        );
    }

    #[test]
    fn no_bus_and_a_refusing_one() {
        assert!(!Fixture::new().error("logind").is_empty());
        let error = bus(|_, _, _| Answer::Refuse).error("logind");
        assert_eq!(error, "D-Bus: org.example.Refused: not allowed");
        let error = bus(|_, _, _| Answer::text("no list")).error("logind");
        assert!(error.contains("another type"), "{error}");
    }
}
