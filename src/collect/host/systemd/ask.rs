//! Which properties of a unit are asked for, and what becomes of each.

use crate::collect::dbus::Property;
use crate::collect::parse;
use crate::model::{Batch, Kind};

/// What the flags switch on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) tasks: bool,
    pub(super) restarts: bool,
    pub(super) start_times: bool,
}

/// One property of one kind of unit.
#[derive(Debug)]
pub(super) struct Asked {
    /// Ending of the units' names; "" for all.
    suffix: &'static str,
    interface: &'static str,
    property: &'static str,
    /// `None`: the property is the label `type` of `node_systemd_unit_state`.
    family: Option<(&'static str, &'static str, Kind)>,
    only_if: fn(Wanted) -> bool,
    /// Whether the property is in microseconds.
    microseconds: bool,
}

const fn always(_: Wanted) -> bool {
    true
}

/// The type of a service or a mount, a label.
const fn kind_of(suffix: &'static str, interface: &'static str) -> Asked {
    Asked { suffix, interface, property: "Type", family: None, only_if: always, microseconds: false }
}

const fn number(
    suffix: &'static str,
    interface: &'static str,
    property: &'static str,
    family: (&'static str, &'static str, Kind),
) -> Asked {
    Asked { suffix, interface, property, family: Some(family), only_if: always, microseconds: false }
}

const SERVICE: &str = "org.freedesktop.systemd1.Service";
const SOCKET: &str = "org.freedesktop.systemd1.Socket";
const MOUNT: &str = "org.freedesktop.systemd1.Mount";
const TIMER: &str = "org.freedesktop.systemd1.Timer";
const UNIT: &str = "org.freedesktop.systemd1.Unit";

static ALL: [Asked; 10] = [
    kind_of(".service", SERVICE),
    kind_of(".mount", MOUNT),
    Asked {
        only_if: |wanted| wanted.restarts,
        ..number(
            ".service",
            SERVICE,
            "NRestarts",
            ("node_systemd_service_restart_total", "Restarts of the service by systemd.", Kind::Counter),
        )
    },
    Asked {
        only_if: |wanted| wanted.tasks,
        ..number(
            ".service",
            SERVICE,
            "TasksCurrent",
            ("node_systemd_unit_tasks_current", "Tasks of the unit.", Kind::Gauge),
        )
    },
    Asked {
        only_if: |wanted| wanted.tasks,
        ..number(
            ".service",
            SERVICE,
            "TasksMax",
            ("node_systemd_unit_tasks_max", "Most tasks that the unit may have.", Kind::Gauge),
        )
    },
    number(
        ".socket",
        SOCKET,
        "NAccepted",
        (
            "node_systemd_socket_accepted_connections_total",
            "Connections that the socket unit has accepted.",
            Kind::Counter,
        ),
    ),
    number(
        ".socket",
        SOCKET,
        "NConnections",
        (
            "node_systemd_socket_current_connections",
            "Connections of the socket unit that are open.",
            Kind::Gauge,
        ),
    ),
    number(
        ".socket",
        SOCKET,
        "NRefused",
        (
            "node_systemd_socket_refused_connections_total",
            "Connections that the socket unit has refused.",
            Kind::Gauge,
        ),
    ),
    Asked {
        microseconds: true,
        ..number(
            ".timer",
            TIMER,
            "LastTriggerUSec",
            (
                "node_systemd_timer_last_trigger_seconds",
                "When the timer last triggered, in seconds since the Unix epoch.",
                Kind::Gauge,
            ),
        )
    },
    Asked {
        microseconds: true,
        only_if: |wanted| wanted.start_times,
        ..number(
            "",
            UNIT,
            "ActiveEnterTimestamp",
            (
                "node_systemd_unit_start_time_seconds",
                "When the unit became active, in seconds since the Unix epoch; 0 if it is not.",
                Kind::Gauge,
            ),
        )
    },
];

/// What is asked about a unit of this name.
pub(super) fn about(name: &str, wanted: Wanted) -> impl Iterator<Item = &'static Asked> + Clone {
    ALL.iter().filter(move |a| name.ends_with(a.suffix) && (a.only_if)(wanted))
}

impl Asked {
    pub(super) const fn is_type(&self) -> bool {
        self.family.is_none()
    }

    pub(super) const fn is_start_time(&self) -> bool {
        self.suffix.is_empty()
    }

    pub(super) const fn property<'a>(&self, path: &'a str) -> Property<'a> {
        Property { path, interface: self.interface, name: self.property }
    }

    /// The largest number stands for "not set" or "no limit" and is left out.
    pub(super) fn expose(&self, unit: &str, number: u64, out: &mut Batch) {
        let Some((family, help, kind)) = self.family.filter(|_| number != u64::MAX) else { return };
        let family = out.family(family, help, kind);
        let divisor = if self.microseconds { 1e6 } else { 1.0 };
        out.sample(family, &[("name", unit)], parse::value(number) / divisor);
    }
}
