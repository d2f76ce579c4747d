//! Readings as samples: dcgm-exporter's families, and our own under `outrigger_gpu_`.

use std::fs::File;
use std::io::Read as _;

use super::families::XID;
use super::fields::Selection;
use super::reading::Quantity::ClockReasons;
use super::reading::{Identity, Instance, Process, Reading, Values};
use super::xid::Xids;
use crate::collect::{Host, HostPaths, container};
use crate::model::Batch;

/// Bits of nvml.h's `nvmlClocksEventReason*`, and their names.
pub(super) const REASONS: &[(&str, u32)] = &[
    ("gpu_idle", 0),
    ("applications_clocks_setting", 1),
    ("sw_power_cap", 2),
    ("hw_slowdown", 3),
    ("sync_boost", 4),
    ("sw_thermal_slowdown", 5),
    ("hw_thermal_slowdown", 6),
    ("hw_power_brake_slowdown", 7),
    ("display_clock_setting", 8),
];

/// 1 if the bit is set in a whole number, else 0.
pub(super) fn bit(mask: f64, bit: u32) -> f64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mask of few bits")]
    let mask = mask as u64;
    f64::from(u8::from(mask >> bit & 1 == 1))
}

/// Most processes of a pass that are shown; a busy GPU has a handful.
pub(super) const MOST_PROCESSES: usize = 256;

/// Most bytes of a process's file that are read.
const LONGEST_FILE: u64 = 16 << 10;

/// The labels that all samples of a GPU have.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Vec<(&'static str, String)>);

impl Labels {
    /// dcgm-exporter's, with the label fields that were selected.
    pub(super) fn new(
        gpu: u32,
        identity: &Identity,
        hostname: &str,
        versions: &[String; 2],
        selection: &Selection,
    ) -> Self {
        let mut labels = vec![
            ("gpu", gpu.to_string()),
            ("UUID", identity.uuid.clone()),
            ("pci_bus_id", identity.pci_bus_id.clone()),
            ("device", format!("nvidia{gpu}")),
            ("modelName", identity.model.clone()),
            ("Hostname", hostname.to_owned()),
        ];
        let [driver, nvml] = versions;
        for name in &selection.labels {
            let value = match *name {
                "DCGM_FI_DRIVER_VERSION" => Some(driver),
                "DCGM_FI_NVML_VERSION" => Some(nvml),
                name => identity.details.iter().find(|(of, _)| *of == name).map(|(_, value)| value),
            };
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                labels.push((name, value.clone()));
            }
        }
        Self(labels)
    }

    fn with<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        self.0.iter().map(|(name, value)| (*name, &**value)).chain(more.iter().copied()).collect()
    }

    /// Those that say which GPU it is, for families of our own.
    fn brief<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let brief = self.0.iter().filter(|(name, _)| ["gpu", "UUID", "pci_bus_id"].contains(name));
        brief.map(|(name, value)| (*name, &**value)).chain(more.iter().copied()).collect()
    }
}

/// Whether the GPU answered.
pub(super) fn up(out: &mut Batch, labels: &Labels, up: bool) {
    let help = "Whether the GPU answered in time.";
    out.gauge("outrigger_gpu_up", help, &labels.brief(&[]), f64::from(u8::from(up)));
}

/// Everything that was read of one GPU.
pub(super) fn reading(out: &mut Batch, labels: &Labels, selection: &Selection, reading: &Reading) {
    let all = labels.with(&[]);
    let has_instances = !reading.instances.is_empty();
    for chosen in &selection.families {
        let family = chosen.family;
        if !(has_instances && family.is_per_instance())
            && let Some(value) = family.value(&reading.values)
        {
            let id = out.family(family.name, &chosen.help, chosen.kind);
            out.sample(id, &all, value);
        }
    }
    for Instance { id, profile, values } in &reading.instances {
        instance(
            out,
            labels,
            selection,
            &[("GPU_I_ID", &id.to_string()), ("GPU_I_PROFILE", profile)],
            values,
        );
    }
    if let Some(reasons) = reading.values.get(ClockReasons) {
        let help = "Whether this is why the clocks are what they are.";
        for (reason, number) in REASONS {
            let value = bit(reasons, *number);
            out.gauge("outrigger_gpu_clock_event_reason", help, &labels.brief(&[("reason", reason)]), value);
        }
    }
}

fn instance(out: &mut Batch, labels: &Labels, selection: &Selection, of: &[(&str, &str)], values: &Values) {
    let labels = labels.with(of);
    for chosen in selection.families.iter().filter(|chosen| chosen.family.is_per_instance()) {
        if let Some(value) = chosen.family.value(values) {
            let id = out.family(chosen.family.name, &chosen.help, chosen.kind);
            out.sample(id, &labels, value);
        }
    }
}

/// The critical errors of one GPU.
pub(super) fn xids(out: &mut Batch, labels: &Labels, selection: &Selection, xids: &Xids) {
    if let Some(chosen) = selection.families.iter().find(|chosen| chosen.family.name == XID) {
        let id = out.family(XID, &chosen.help, chosen.kind);
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        out.sample(id, &labels.with(&[]), xids.last as f64);
    }
    let help =
        "Critical errors that a GPU reported, by their number (XID); `other` beyond 64 different ones.";
    for (code, count) in &xids.counts {
        #[allow(clippy::cast_precision_loss, reason = "samples are f64")]
        let count = *count as f64;
        out.counter("outrigger_gpu_xid_errors_total", help, &labels.brief(&[("xid", code)]), count);
    }
}

/// The processes of one GPU; `room` is how many of all GPUs' may still be shown.
pub(super) fn processes(
    out: &mut Batch,
    labels: &Labels,
    processes: &[Process],
    host: &Host,
    room: &mut usize,
) {
    let names = host.containers();
    let shown = processes.iter().take(*room);
    *room -= shown.len();
    for process in shown {
        let pid = process.pid.to_string();
        let (name, cgroup) = (read(&host.paths, &pid, "comm"), read(&host.paths, &pid, "cgroup"));
        let container = container::id_of_process(&cgroup).unwrap_or_default();
        let instance = process.instance.map(|id| id.to_string());
        let mut more = vec![("pid", &*pid), ("process", name.trim_end())];
        more.extend((!container.is_empty()).then_some(("container_id", container)));
        more.extend(names.labels(container));
        more.extend(instance.as_deref().map(|id| ("GPU_I_ID", id)));
        if let Some(bytes) = process.memory {
            let help = "Memory of a GPU that a process holds.";
            out.gauge("outrigger_gpu_process_memory_bytes", help, &labels.brief(&more), bytes);
        }
        let Some(activity) = process.activity else { continue };
        let help = "How busy a process keeps an engine of a GPU, ratio of the last sampling period.";
        for (engine, value) in [
            ("sm", activity.sm),
            ("memory", activity.memory),
            ("encoder", activity.encoder),
            ("decoder", activity.decoder),
        ] {
            let labels = [labels.brief(&more), vec![("engine", engine)]].concat();
            out.gauge("outrigger_gpu_process_utilization_ratio", help, &labels, value);
        }
    }
}

/// A file of a process, or nothing: it may have ended, or live in another namespace.
fn read(paths: &HostPaths, pid: &str, name: &str) -> String {
    let mut text = Vec::new();
    let file = File::open(paths.proc(pid).join(name));
    let _ = file.and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}
