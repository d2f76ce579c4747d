//! PCIe throughput, which the driver samples for 20 ms a direction while the caller waits: asked for after a
//! pass, on a thread of its own, and told in the next one.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::backend::GpuBackend;

/// A value older than this says nothing of now.
const STANDS: Duration = Duration::from_secs(120);

type Table = Arc<Mutex<BTreeMap<u32, ([f64; 2], Instant)>>>;

/// The thread and what it found.
#[derive(Debug)]
pub(super) struct PcieSampler {
    table: Table,
    /// `None` where the thread could not be started; it ends when this is dropped.
    kick: Option<SyncSender<u32>>,
}

impl PcieSampler {
    pub(super) fn start(backend: Arc<dyn GpuBackend>) -> Self {
        let table = Table::default();
        let (kick, kicked) = sync_channel(1);
        let sample = {
            let table = Arc::clone(&table);
            move || sample(&*backend, &table, &kicked)
        };
        let started = std::thread::Builder::new().name("gpu-pcie".into()).spawn(sample);
        if let Err(error) = &started {
            tracing::warn!(%error, "cannot start the thread that samples PCIe throughput");
        }
        Self { table, kick: started.is_ok().then_some(kick) }
    }

    /// Has all GPUs sampled again, unless that is under way.
    pub(super) fn kick(&self, gpus: u32) {
        if let Some(kick) = &self.kick {
            let _ = kick.try_send(gpus);
        }
    }

    /// KB/s out of and into a GPU, as last sampled.
    pub(super) fn of(&self, gpu: u32) -> Option<[f64; 2]> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&gpu).filter(|(_, at)| at.elapsed() < STANDS).map(|(rates, _)| *rates)
    }
}

fn sample(backend: &dyn GpuBackend, table: &Table, kicked: &Receiver<u32>) {
    for gpus in kicked {
        for gpu in 0..gpus {
            let rates = backend.pcie_throughput(gpu);
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            match rates {
                Ok(rates) => drop(table.insert(gpu, (rates, Instant::now()))),
                Err(_) => drop(table.remove(&gpu)),
            }
        }
    }
}
