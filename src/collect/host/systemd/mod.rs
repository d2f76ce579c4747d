//! Units of systemd, over D-Bus. Source: systemd's `org.freedesktop.systemd1(5)`.
//!
//! All properties of all units are asked for in one pipelined turn; what the bus has not answered
//! shortly before the deadline is left out and said, what it has answered is exposed.

mod ask;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use regex::Regex;

use crate::collect::dbus::{Address, Call, Connection, DbusError, Owned, Property, Value};
use crate::collect::{BuildError, CollectError, Collector, Flag, FlagKind, Host, Options, Pass, Spec};
use crate::model::{Batch, FamilyId, Kind};
use ask::{Asked, Wanted};

const INCLUDE: &str = "systemd.unit-include";
const INCLUDE_OLD: &str = "systemd.unit-whitelist";
const EXCLUDE: &str = "systemd.unit-exclude";
const EXCLUDE_OLD: &str = "systemd.unit-blacklist";
const PRIVATE: &str = "systemd.private";
const TASKS: &str = "systemd.enable-task-metrics";
const RESTARTS: &str = "systemd.enable-restarts-metrics";
const START_TIMES: &str = "systemd.enable-start-time-metrics";

const fn flag(name: &'static str, kind: FlagKind, help: &'static str, hidden: bool) -> Flag {
    Flag { name, kind, help, hidden }
}

pub(super) static SPEC: Spec = Spec {
    name: "systemd",
    on_by_default: false,
    help: "Units of systemd, over D-Bus.",
    flags: &[
        flag(
            INCLUDE,
            FlagKind::Regex(".+"),
            "Regular expression of units to expose; one must match it as a whole, and not the exclusion.",
            false,
        ),
        flag(INCLUDE_OLD, FlagKind::Regex(""), "Old name of --collector.systemd.unit-include.", true),
        flag(
            EXCLUDE,
            FlagKind::Regex(r".+\.(automount|device|mount|scope|slice)"),
            "Regular expression of units to leave out; it must match the whole name.",
            false,
        ),
        flag(EXCLUDE_OLD, FlagKind::Regex(""), "Old name of --collector.systemd.unit-exclude.", true),
        flag(
            PRIVATE,
            FlagKind::Switch(false),
            "Connect to systemd's private socket instead of the system bus; needs root.",
            true,
        ),
        flag(TASKS, FlagKind::Switch(false), "Expose the tasks of services and their limits.", false),
        flag(RESTARTS, FlagKind::Switch(false), "Expose how often services were restarted.", false),
        flag(START_TIMES, FlagKind::Switch(false), "Expose when units were started.", false),
    ],
    build: |host, options| Ok(Box::new(Systemd::new(host, options)?)),
};

struct Systemd {
    bus: Address,
    private: Address,
    only_private: bool,
    include: Regex,
    exclude: Regex,
    wanted: Wanted,
}

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

struct Unit {
    name: String,
    active_state: String,
    path: String,
}

/// The pattern of a flag or of its old name, anchored as node_exporter does it.
fn pattern(options: &Options, name: &'static str, old: &'static str) -> Result<Regex, BuildError> {
    let refuse = |what: String| BuildError { collector: "systemd", what };
    if options.is_set(name) && options.is_set(old) {
        return Err(refuse(format!("--collector.{name} and --collector.{old} are mutually exclusive")));
    }
    let text = options.text(if options.is_set(old) { old } else { name });
    Regex::new(&format!("^(?:{text})$")).map_err(|e| refuse(e.to_string()))
}

impl Systemd {
    fn new(host: &Host, options: &Options) -> Result<Self, BuildError> {
        Ok(Self {
            bus: Address::system_bus(&host.paths),
            private: Address::Path(host.paths.root("run/systemd/private")),
            only_private: options.switch(PRIVATE),
            include: pattern(options, INCLUDE, INCLUDE_OLD)?,
            exclude: pattern(options, EXCLUDE, EXCLUDE_OLD)?,
            wanted: Wanted {
                tasks: options.switch(TASKS),
                restarts: options.switch(RESTARTS),
                start_times: options.switch(START_TIMES),
            },
        })
    }

    /// Root may talk to systemd where there is no bus.
    fn connect(&self, pass: &Pass) -> Result<Connection, CollectError> {
        if self.only_private {
            return Connection::direct(&self.private, pass);
        }
        Connection::bus(&self.bus, pass).or_else(|error| {
            let private = rustix::process::geteuid().is_root();
            let connection = private.then(|| Connection::direct(&self.private, pass));
            connection.and_then(Result::ok).ok_or(error)
        })
    }

    /// The units to expose, of all that are loaded; the states of all are counted on the way.
    fn units(&self, bus: &mut Connection, out: &mut Batch) -> Result<Vec<Unit>, DbusError> {
        let call = Call {
            destination: SERVICE,
            path: MANAGER_PATH,
            interface: MANAGER,
            method: "ListUnits",
            arguments: &[],
        };
        let mut counts: BTreeMap<String, f64> = STATES.map(|s| (s.to_owned(), 0.0)).into();
        let mut units = Vec::new();
        bus.call(&call, "a(ssssssouso)", |mut body| {
            let whole = body.structures(|unit| {
                let (name, _description, load_state) = (unit.text()?, unit.text()?, unit.text()?);
                let (active_state, _sub_state, _followed) = (unit.text()?, unit.text()?, unit.text()?);
                let (path, _job, _job_type, _job_path) = (unit.text()?, unit.u32()?, unit.text()?, unit.text()?);
                match counts.get_mut(active_state) {
                    Some(count) => *count += 1.0,
                    None => drop(counts.insert(active_state.to_owned(), 1.0)),
                }
                if load_state == "loaded" && self.include.is_match(name) && !self.exclude.is_match(name) {
                    units.push(Unit {
                        name: name.to_owned(),
                        active_state: active_state.to_owned(),
                        path: path.to_owned(),
                    });
                }
                Some(())
            });
            whole.then_some(())
        })?;
        let family = out.family("node_systemd_units", "Units of systemd by state.", Kind::Gauge);
        for (state, count) in &counts {
            out.sample(family, &[("state", state)], *count);
        }
        Ok(units)
    }
}

impl Collector for Systemd {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut bus = self.connect(pass)?;
        manager(&mut bus, out)?;
        let units = self.units(&mut bus, out)?;
        describe_units(&mut bus, &units, self.wanted, out)?;
        system_state(&mut bus, out)?;
        Ok(())
    }
}

fn manager_property(bus: &mut Connection, name: &str) -> Result<String, DbusError> {
    let value = bus.property(SERVICE, Property { path: MANAGER_PATH, interface: MANAGER, name })?;
    value.text().map(str::to_owned).ok_or(DbusError::Protocol("a value that is no text"))
}

/// Version and kind of virtualisation; that the manager refuses to tell is no failure.
fn manager(bus: &mut Connection, out: &mut Batch) -> Result<(), DbusError> {
    let version = told(manager_property(bus, "Version"))?.unwrap_or_default();
    let help = "Version of systemd, whole and as a number.";
    out.gauge("node_systemd_version", help, &[("version", &version)], version_number(&version));
    let virtualization = told(manager_property(bus, "Virtualization"))?;
    let virtualization = virtualization.as_deref().map_or("unknown", |v| if v.is_empty() { "none" } else { v });
    let help = "Constant 1; the virtualisation that systemd detected, in a label.";
    let labels = [("virtualization_type", virtualization)];
    out.gauge("node_systemd_virtualization_info", help, &labels, 1.0);
    Ok(())
}

/// `None` where the peer refused; other errors end the conversation.
fn told<T>(answer: Result<T, DbusError>) -> Result<Option<T>, DbusError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(DbusError::Refused { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The first run of three or more digits, with what follows a point: `v252.22-1~deb12u1` is 252.22.
fn version_number(version: &str) -> f64 {
    let mut digits = version.split(|c: char| !c.is_ascii_digit() && c != '.');
    let number = digits.find(|d| d.split('.').next().is_some_and(|whole| whole.len() >= 3));
    let number = number.map(|n| n.splitn(3, '.').take(2).collect::<Vec<_>>().join("."));
    number.and_then(|n| n.trim_end_matches('.').parse().ok()).unwrap_or_default()
}

fn system_state(bus: &mut Connection, out: &mut Batch) -> Result<(), DbusError> {
    let running = manager_property(bus, "SystemState")? == "running";
    let help = "Whether the system is operational: `systemctl is-system-running` says running.";
    out.gauge("node_systemd_system_running", help, &[], f64::from(u8::from(running)));
    Ok(())
}

fn describe_units(
    bus: &mut Connection,
    units: &[Unit],
    wanted: Wanted,
    out: &mut Batch,
) -> Result<(), DbusError> {
    let help = "1 for the state that the unit is in, 0 for the others.";
    let states = out.family("node_systemd_unit_state", help, Kind::Gauge);
    let mut questions: Vec<(&Unit, &Asked)> = Vec::new();
    for unit in units {
        let asked = ask::about(&unit.name, wanted);
        if !asked.clone().any(Asked::is_type) {
            unit_states(states, unit, "", out);
        }
        for question in asked {
            if question.is_start_time() && unit.active_state != "active" {
                question.expose(&unit.name, 0, out);
            } else {
                questions.push((unit, question));
            }
        }
    }
    let properties: Vec<_> = questions.iter().map(|(unit, asked)| asked.property(&unit.path)).collect();
    bus.properties(SERVICE, &properties, |at, value| {
        let Some((unit, asked)) = questions.get(at) else { return };
        match (asked.is_type(), value) {
            (true, Ok(value)) => unit_states(states, unit, Owned::from(value).text().unwrap_or_default(), out),
            (true, Err(_)) => unit_states(states, unit, "", out),
            (false, Ok(Value::Number(number))) => asked.expose(&unit.name, number, out),
            // An older systemd does not have the property, or the unit has just gone.
            (false, _) => {}
        }
    })
}

fn unit_states(family: FamilyId, unit: &Unit, kind: &str, out: &mut Batch) {
    for state in STATES {
        let value = f64::from(u8::from(state == unit.active_state));
        // Of units that are no services the type is empty, and written all the same, as node_exporter does.
        out.sample(family, &[("name", unit.name.as_str()), ("state", state), ("type", kind)], value);
    }
}
