//! PCIe throughput, which the driver samples for 20 ms a direction while the caller waits: asked for after a
//! pass, on a thread for each GPU, and told in the next one.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::asides::{Alive, Asides};
use super::backend::GpuBackend;

/// A value older than this says nothing of now.
const STANDS: Duration = Duration::from_secs(120);

type Table = Arc<Mutex<BTreeMap<u32, ([f64; 2], Instant)>>>;

/// The threads and what they found.
pub(super) struct PcieSampler {
    table: Table,
    threads: Asides,
}

impl PcieSampler {
    pub(super) fn new(backend: Arc<dyn GpuBackend>, gpus: u32, alive: &Alive) -> Self {
        let table = Table::default();
        let sampled = Arc::clone(&table);
        let sample = move |gpu| {
            let rates = backend.pcie_throughput(gpu);
            let mut table = sampled.lock().unwrap_or_else(PoisonError::into_inner);
            match rates {
                Ok(rates) => drop(table.insert(gpu, (rates, Instant::now()))),
                Err(_) => drop(table.remove(&gpu)),
            }
        };
        let work = Arc::new(move |gpu: u32, kicked: &Receiver<()>| kicked.iter().for_each(|()| sample(gpu)));
        Self { table, threads: Asides::new("gpu-pcie", gpus, alive, work) }
    }

    /// Has a GPU sampled again, unless that is under way.
    pub(super) fn kick(&mut self, gpu: u32) {
        self.threads.tend();
        self.threads.kick(gpu);
    }

    /// KB/s out of and into a GPU, as last sampled.
    pub(super) fn of(&self, gpu: u32) -> Option<[f64; 2]> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&gpu).filter(|(_, at)| at.elapsed() < STANDS).map(|(rates, _)| *rates)
    }
}
