//! The seam between the collector and a driver: NVML behind one implementation, a test behind the other.

use std::time::Duration;

use super::reading::{Identity, Reading, Wanted};

/// Why a driver or GPU did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GpuError {
    /// There is no driver, or it was unloaded or replaced: open it again.
    #[error("{0}")]
    NoDriver(String),
    /// This GPU does not answer; others may.
    #[error("{0}")]
    Device(String),
    /// This GPU or its driver cannot, and there is no use in asking again.
    #[error("{0}")]
    Unsupported(String),
}

/// What is asked of a GPU in each pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Questions {
    /// The quantities.
    pub(super) wanted: Wanted,
    /// Whether its processes, too.
    pub(super) processes: bool,
}

/// A driver that is there.
pub(super) trait GpuBackend: Send + Sync {
    /// Its version, and that of its management library.
    fn versions(&self) -> [String; 2];

    /// How many GPUs it has.
    ///
    /// # Errors
    /// The driver is gone.
    fn count(&self) -> Result<u32, GpuError>;

    /// Opens a GPU.
    ///
    /// # Errors
    /// It does not answer.
    fn open(&self, gpu: u32) -> Result<Box<dyn GpuDevice>, GpuError>;

    /// Begins to listen to one GPU's critical errors; may block for as long as the driver pleases.
    ///
    /// # Errors
    /// The GPU does not answer, or has no such events.
    fn listen(&self, gpu: u32) -> Result<Box<dyn CriticalErrors>, GpuError>;

    /// Samples what takes long, bytes out of and into a GPU over PCIe (KB/s); called by one thread a GPU.
    ///
    /// # Errors
    /// The GPU does not answer or does not count.
    fn pcie_throughput(&self, gpu: u32) -> Result<[f64; 2], GpuError>;
}

/// A GPU that was opened.
pub(super) trait GpuDevice: Send {
    /// What it is called.
    fn identity(&self) -> Identity;

    /// Asks it; may block for as long as the driver pleases.
    ///
    /// # Errors
    /// It is lost, or the driver is. What it merely does not support is absent from the reading.
    fn read(&mut self, questions: &Questions) -> Result<Reading, GpuError>;
}

/// The critical errors that one GPU reports from now on.
pub(super) trait CriticalErrors: Send {
    /// Whose they are; empty where the driver has no such names.
    fn uuid(&self) -> &str;

    /// Waits for the next one, at most as long as told; NVIDIA's number of it.
    ///
    /// # Errors
    /// No more can be heard this way: listen anew.
    fn next(&mut self, wait: Duration) -> Result<Option<u64>, GpuError>;
}

/// Opens the driver, if there is one.
pub(super) type OpenBackend = dyn Fn() -> Result<Box<dyn GpuBackend>, GpuError> + Send + Sync;
