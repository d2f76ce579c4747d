//! Containers as samples.

use super::super::parse;
use super::devices::Devices;
use super::families::{CPU_USAGE, FAMILIES};
use super::names::{Health, Named};
use super::network;
use super::one::Container;
use super::values::Device;
use super::values::Quantity::CpuUsage;
use crate::model::{Batch, Kind};

/// Most labels of a sample.
const MOST_LABELS: usize = 32;

/// The labels that all samples of a container have, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels(Vec<(String, String)>);

impl Labels {
    /// From pairs in any order; empty values are left out, which means the same.
    pub(super) fn new(mut pairs: Vec<(String, String)>) -> Self {
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.sort();
        pairs.dedup_by(|a, b| a.0 == b.0);
        Self(pairs)
    }

    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

/// Writes samples of one container.
pub(super) struct Writer<'a, 'b> {
    pub(super) out: &'b mut Batch,
    base: Vec<(&'a str, &'a str)>,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub(super) fn new(out: &'b mut Batch, labels: &'a Labels) -> Self {
        Self { out, base: labels.pairs() }
    }

    /// A sample with more labels, which are sorted.
    pub(super) fn sample(&mut self, name: &str, help: &str, kind: Kind, more: &[(&str, &str)], value: f64) {
        let family = self.out.family(name, help, kind);
        if more.is_empty() {
            self.out.sample(family, &self.base, value);
            return;
        }
        let mut labels: [(&str, &str); MOST_LABELS] = [("", ""); MOST_LABELS];
        let (mut base, mut more) = (self.base.iter().peekable(), more.iter().peekable());
        let mut count = 0;
        for place in &mut labels {
            let next = match (base.peek(), more.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => base.next(),
                (_, Some(_)) => more.next(),
                (_, None) => base.next(),
            };
            let Some(next) = next else { break };
            *place = *next;
            count += 1;
        }
        self.out.sample(family, labels.get(..count).unwrap_or_default(), value);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.sample(name, help, Kind::Gauge, &[], value);
    }
}

/// What is told of a container besides its quantities.
pub(super) struct Told<'a> {
    pub(super) now: f64,
    pub(super) oom_kills: Option<f64>,
    pub(super) devices: &'a Devices,
}

/// Samples of a container besides [`FAMILIES`], devices, processors, states and its network.
const OTHERS: usize = 8;

/// Samples of a device.
const OF_DEVICE: usize = 10;

/// At most so many samples a container has.
pub(super) fn most_samples(container: &Container, shows_network: bool) -> usize {
    let readings = &container.readings;
    let network = if shows_network { network::MOST_SAMPLES } else { 0 };
    let several =
        readings.devices().len() * OF_DEVICE + readings.per_cpu().len() + container.task_states.len();
    FAMILIES.len() + OTHERS + several + network
}

/// All of one container but its network.
pub(super) fn container(writer: &mut Writer<'_, '_>, container: &Container, told: &Told<'_>) {
    writer.gauge(
        "container_last_seen",
        "When the container was seen last, seconds since the epoch.",
        told.now,
    );
    if let Some(started) = container.started {
        let help =
            "When the container started, seconds since the epoch: its first process, or else its group.";
        writer.gauge("container_start_time_seconds", help, started);
    }
    let help = "When the container's group was made, seconds since the epoch.";
    writer.gauge("container_creation_time_seconds", help, container.created);
    quantities(writer, container);
    if let Some(kills) = told.oom_kills {
        oom_kills(writer, kills);
    }
    for device in container.readings.devices() {
        block_device(writer, device, told.devices.name(device.major, device.minor));
    }
    for (state, count) in &container.task_states {
        let help = "Processes of the container in a state.";
        writer.sample("container_tasks_state", help, Kind::Gauge, &[("state", state)], *count);
    }
    if let Some(named) = &container.named {
        runtime(writer, named);
    }
}

fn quantities(writer: &mut Writer<'_, '_>, container: &Container) {
    let per_cpu = container.readings.per_cpu();
    for family in FAMILIES {
        if family.needs.is_some_and(|needs| container.get(needs).is_none())
            || (family.value == CpuUsage && !per_cpu.is_empty())
        {
            continue;
        }
        if let Some(value) = container.get(family.value) {
            writer.sample(family.name, family.help, family.kind, family.labels, value);
        }
    }
    for (cpu, seconds) in per_cpu.iter().enumerate() {
        let cpu = format!("cpu{cpu:02}");
        writer.sample(CPU_USAGE.0, CPU_USAGE.1, Kind::Counter, &[("cpu", &cpu)], *seconds);
    }
}

/// The count of kills, also of a container that is gone.
pub(super) fn oom_kills(writer: &mut Writer<'_, '_>, kills: f64) {
    let help = "Processes of the container that the kernel killed for lack of memory.";
    writer.sample("container_oom_events_total", help, Kind::Counter, &[], kills);
}

fn block_device(writer: &mut Writer<'_, '_>, device: &Device, name: &str) {
    let on = [("device", name)];
    for (family, help, value) in [
        ("container_fs_reads_bytes_total", "Bytes read from the device.", device.read_bytes),
        ("container_fs_reads_total", "Reads from the device.", device.reads),
        ("container_fs_writes_bytes_total", "Bytes written to the device.", device.written_bytes),
        ("container_fs_writes_total", "Writes to the device.", device.writes),
    ] {
        if let Some(value) = value {
            writer.sample(family, help, Kind::Counter, &on, value);
        }
    }
    let (major, minor) = (device.major.to_string(), device.minor.to_string());
    for (operation, value) in [("Read", device.read_bytes), ("Write", device.written_bytes)] {
        let labels = [("device", name), ("major", &*major), ("minor", &*minor), ("operation", operation)];
        if let Some(value) = value {
            let help = "Bytes read from and written to the device.";
            writer.sample("container_blkio_device_usage_total", help, Kind::Counter, &labels, value);
        }
    }
    for ((family, help), value) in IO_COST.iter().zip(device.cost) {
        if let Some(value) = value {
            writer.sample(family, help, Kind::Counter, &on, value);
        }
    }
}

/// In the order of [`Device::cost`].
const IO_COST: [(&str, &str); 4] = [
    (
        "container_fs_io_cost_usage_seconds_total",
        "Time of the device that the container used, by the kernel's cost model.",
    ),
    (
        "container_fs_io_cost_wait_seconds_total",
        "Time that the container waited for its share of the device.",
    ),
    ("container_fs_io_cost_indebt_seconds_total", "Time that the container owed for the device."),
    ("container_fs_io_cost_indelay_seconds_total", "Time that the container was delayed for what it owed."),
];

/// What only the runtime knows.
fn runtime(writer: &mut Writer<'_, '_>, named: &Named) {
    let (health, help) = match named.health {
        Some(Health::Healthy) => (1.0, HEALTH),
        Some(Health::NotHealthy) => (-1.0, HEALTH),
        None => (0.0, HEALTH),
    };
    writer.gauge("container_health_state", help, health);
    if let Some(restarts) = named.restarts {
        let help = "Times that the runtime started the container anew by its restart policy.";
        writer.sample("outrigger_container_restarts_total", help, Kind::Counter, &[], parse::value(restarts));
    }
}

const HEALTH: &str =
    "What the runtime's check of the container says: 1 healthy, -1 not or not yet, 0 no check.";
