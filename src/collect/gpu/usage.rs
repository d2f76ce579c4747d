//! Which processes use a GPU, and how much of it. Source: NVML API reference,
//! `nvmlDeviceGetComputeRunningProcesses`, `nvmlDeviceGetProcessUtilization`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::reading::{Activity, Process};
use crate::collect::os::nvml::{Device, Library, RawUtilization};

/// The driver samples a process about once a second; for so long the last sample stands.
const STANDS: Duration = Duration::from_secs(2);

/// What is remembered of the processes of one GPU.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Newest sample seen, microseconds since the epoch by the driver's clock.
    newest: u64,
    activity: BTreeMap<u32, Activity>,
    since: Option<Instant>,
}

impl Usage {
    /// The processes, by pid; none where the driver does not tell.
    #[allow(clippy::cast_precision_loss, reason = "samples are f64")]
    pub(super) fn read(&mut self, library: &Library, device: Device) -> Vec<Process> {
        let mut processes: BTreeMap<(u32, Option<u32>), Process> = BTreeMap::new();
        for raw in library.processes(device).unwrap_or_default() {
            let key = (raw.pid, raw.gpu_instance);
            let process = processes.entry(key).or_insert_with(|| Process {
                pid: raw.pid,
                instance: raw.gpu_instance,
                ..Process::default()
            });
            // One with both contexts is listed twice, with the same memory.
            let memory = raw.memory.map(|bytes| bytes as f64);
            process.memory = memory.map(|m| m.max(process.memory.unwrap_or(0.0))).or(process.memory);
        }
        if !processes.is_empty() {
            let known = library.process_utilization(device, self.newest).map(|samples| self.take(&samples));
            if known.is_ok() {
                for process in processes.values_mut() {
                    process.activity = Some(self.activity.get(&process.pid).copied().unwrap_or_default());
                }
            }
        }
        processes.into_values().collect()
    }

    /// Keeps the newest sample of each process.
    fn take(&mut self, samples: &[RawUtilization]) {
        if samples.is_empty() {
            if self.since.is_none_or(|since| since.elapsed() > STANDS) {
                self.activity.clear();
            }
            return;
        }
        self.activity.clear();
        self.since = Some(Instant::now());
        let mut newest_of: BTreeMap<u32, u64> = BTreeMap::new();
        for sample in samples {
            self.newest = self.newest.max(sample.at);
            let newest = newest_of.entry(sample.pid).or_default();
            if sample.at >= *newest {
                *newest = sample.at;
                let [sm, memory, encoder, decoder] =
                    [sample.sm, sample.memory, sample.encoder, sample.decoder].map(|p| f64::from(p) / 100.0);
                self.activity.insert(sample.pid, Activity { sm, memory, encoder, decoder });
            }
        }
    }
}
