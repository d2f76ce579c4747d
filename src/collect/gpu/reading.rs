//! What can be known of a GPU at one instant: a value, or none, for each [`Quantity`].
//!
//! Units are the library's own, and stand beside each quantity. Invariant: a reading holds only what was
//! answered in this pass; what the GPU does not support is absent, not zero.

macro_rules! quantities {
    ($($(#[doc = $help:literal])+ $name:ident,)*) => {
        /// One number about a GPU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(super) enum Quantity {
            $($(#[doc = $help])+ $name,)*
        }

        impl Quantity {
            /// All of them.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

quantities! {
    /// Clock of graphics, MHz.
    GraphicsClock,
    /// Clock of the streaming multiprocessors, MHz.
    SmClock,
    /// Clock of the memory, MHz.
    MemoryClock,
    /// Clock of the video engines, MHz.
    VideoClock,
    /// Highest clock of graphics, MHz.
    MaxGraphicsClock,
    /// Highest clock of the streaming multiprocessors, MHz.
    MaxSmClock,
    /// Highest clock of the memory, MHz.
    MaxMemoryClock,
    /// Clock that applications asked for, MHz.
    ApplicationSmClock,
    /// Memory clock that applications asked for, MHz.
    ApplicationMemoryClock,
    /// Degrees Celsius.
    GpuTemperature,
    /// Degrees Celsius.
    MemoryTemperature,
    /// Degrees Celsius at which the GPU shuts down.
    ShutdownTemperature,
    /// Degrees Celsius at which the GPU slows down.
    SlowdownTemperature,
    /// Milliwatts, averaged over a second.
    PowerUsage,
    /// Milliwatts now.
    PowerInstant,
    /// Milliwatts, averaged over a second.
    PowerAverage,
    /// Milliwatts.
    PowerLimit,
    /// Milliwatts.
    EnforcedPowerLimit,
    /// Milliwatts.
    DefaultPowerLimit,
    /// Milliwatts.
    MinPowerLimit,
    /// Milliwatts.
    MaxPowerLimit,
    /// Millijoules since the driver was loaded.
    Energy,
    /// Percent of the time in which a kernel ran.
    GpuUtilization,
    /// Percent of the time in which memory was read or written.
    MemoryUtilization,
    /// Percent.
    EncoderUtilization,
    /// Percent.
    DecoderUtilization,
    /// Percent.
    JpegUtilization,
    /// Percent; optical flow.
    FlowUtilization,
    /// Sessions.
    EncoderSessions,
    /// Frames a second.
    EncoderFrameRate,
    /// Microseconds.
    EncoderLatency,
    /// Sessions.
    CaptureSessions,
    /// Bytes.
    MemoryTotal,
    /// Bytes.
    MemoryFree,
    /// Bytes.
    MemoryUsed,
    /// Bytes that the driver keeps to itself.
    MemoryReserved,
    /// Bytes.
    Bar1Total,
    /// Bytes.
    Bar1Free,
    /// Bytes.
    Bar1Used,
    /// Count.
    PcieReplays,
    /// Generation.
    PcieGeneration,
    /// Lanes.
    PcieWidth,
    /// Generation.
    PcieMaxGeneration,
    /// Lanes.
    PcieMaxWidth,
    /// KB/s out of the GPU; sampled in the background.
    PcieSent,
    /// KB/s into the GPU; sampled in the background.
    PcieReceived,
    /// Percent of the highest.
    FanSpeed,
    /// 0 (most performance) to 15.
    PerformanceState,
    /// 0 or 1.
    PersistenceMode,
    /// 0 default, 2 prohibited, 3 exclusive process.
    ComputeMode,
    /// Bits.
    ClockReasons,
    /// Nanoseconds below the clocks asked for, because of power.
    PowerViolation,
    /// Nanoseconds, because of heat.
    ThermalViolation,
    /// Nanoseconds, because of a sync boost.
    SyncBoostViolation,
    /// Nanoseconds, because of the board's limit.
    BoardLimitViolation,
    /// Nanoseconds, because of low utilization.
    LowUtilizationViolation,
    /// Nanoseconds, because of reliability.
    ReliabilityViolation,
    /// Nanoseconds below the application clocks.
    ApplicationClocksViolation,
    /// Nanoseconds below the base clocks.
    BaseClocksViolation,
    /// 0 or 1.
    EccMode,
    /// 0 or 1: after the next reboot.
    EccPendingMode,
    /// Errors since the driver was loaded.
    EccSingleVolatile,
    /// Errors since the driver was loaded.
    EccDoubleVolatile,
    /// Errors in the GPU's life.
    EccSingleAggregate,
    /// Errors in the GPU's life.
    EccDoubleAggregate,
    /// Pages.
    RetiredSingle,
    /// Pages.
    RetiredDouble,
    /// Pages.
    RetiredPending,
    /// Rows.
    RemappedCorrectable,
    /// Rows.
    RemappedUncorrectable,
    /// 0 or 1.
    RemapPending,
    /// 0 or 1.
    RemapFailure,
    /// Errors.
    NvlinkFlitErrors,
    /// Errors.
    NvlinkDataErrors,
    /// Errors.
    NvlinkReplays,
    /// Errors.
    NvlinkRecoveries,
    /// KiB sent over all links.
    NvlinkSent,
    /// KiB received over all links.
    NvlinkReceived,
    /// KiB sent over link 0.
    NvlinkSent0,
    /// KiB received over link 0.
    NvlinkReceived0,
    /// Links.
    NvlinkLinks,
    /// 0 or 1.
    VgpuLicense,
    /// Percent of the time between two passes; so are all whose name begins with `Active`.
    ActiveGraphics,
    /// Percent.
    ActiveSm,
    /// Percent of the warps that could be resident.
    ActiveOccupancy,
    /// Percent.
    ActiveInteger,
    /// Percent.
    ActiveTensor,
    /// Percent.
    ActiveTensorFp64,
    /// Percent.
    ActiveTensorFp16,
    /// Percent.
    ActiveTensorInteger,
    /// Percent of the memory bandwidth.
    ActiveDram,
    /// Percent.
    ActiveFp64,
    /// Percent.
    ActiveFp32,
    /// Percent.
    ActiveFp16,
    /// MiB/s out of the GPU between two passes.
    PcieSendRate,
    /// MiB/s into the GPU between two passes.
    PcieReceiveRate,
    /// MiB/s out of the GPU between two passes.
    NvlinkSendRate,
    /// MiB/s into the GPU between two passes.
    NvlinkReceiveRate,
}

/// A set of quantities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted([bool; Quantity::ALL.len()]);

impl Default for Wanted {
    fn default() -> Self {
        Self([false; Quantity::ALL.len()])
    }
}

impl Wanted {
    /// Adds one.
    pub(super) fn add(&mut self, quantity: Quantity) {
        if let Some(wanted) = self.0.get_mut(quantity as usize) {
            *wanted = true;
        }
    }

    /// Whether it is in.
    pub(super) fn has(&self, quantity: Quantity) -> bool {
        self.0.get(quantity as usize).is_some_and(|w| *w)
    }

    /// Whether any of them is in.
    pub(super) fn any(&self, quantities: &[Quantity]) -> bool {
        quantities.iter().any(|q| self.has(*q))
    }
}

impl FromIterator<Quantity> for Wanted {
    fn from_iter<I: IntoIterator<Item = Quantity>>(quantities: I) -> Self {
        let mut wanted = Self::default();
        quantities.into_iter().for_each(|q| wanted.add(q));
        wanted
    }
}

/// The values of one GPU or MIG instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Values([Option<f64>; Quantity::ALL.len()]);

impl Default for Values {
    fn default() -> Self {
        Self([None; Quantity::ALL.len()])
    }
}

impl Values {
    /// The value, if it was answered.
    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        self.0.get(quantity as usize).copied().flatten()
    }

    /// Sets a value.
    pub(super) fn set(&mut self, quantity: Quantity, value: impl Into<f64>) {
        if let Some(slot) = self.0.get_mut(quantity as usize) {
            *slot = Some(value.into());
        }
    }
}

/// A MIG instance of a GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Instance {
    /// `GPU_I_ID`.
    pub(super) id: u32,
    /// `GPU_I_PROFILE`: `1g.10gb`.
    pub(super) profile: String,
    /// Memory and activity.
    pub(super) values: Values,
}

/// How busy a process keeps a GPU, ratios of the last sampling period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Activity {
    /// Streaming multiprocessors.
    pub(super) sm: f64,
    /// Reading and writing of memory.
    pub(super) memory: f64,
    /// Video encoder.
    pub(super) encoder: f64,
    /// Video decoder.
    pub(super) decoder: f64,
}

/// A process on a GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// In the namespace in which the driver's library was asked.
    pub(super) pid: u32,
    /// The MIG instance that it uses.
    pub(super) instance: Option<u32>,
    /// Bytes.
    pub(super) memory: Option<f64>,
    /// `None` where the driver does not sample it (MIG).
    pub(super) activity: Option<Activity>,
}

/// One pass over one GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// Of the GPU.
    pub(super) values: Values,
    /// In order of their ids; empty without MIG.
    pub(super) instances: Vec<Instance>,
    /// In order of their pids.
    pub(super) processes: Vec<Process>,
}

/// What a GPU is called; fixed as long as its driver runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// `GPU-…`.
    pub(super) uuid: String,
    /// `00000000:1B:00.0`.
    pub(super) pci_bus_id: String,
    /// `NVIDIA H100 80GB HBM3`.
    pub(super) model: String,
    /// Versions and numbers by the name of their DCGM field.
    pub(super) details: Vec<(&'static str, String)>,
    /// Nothing of the above but the details is missing that the driver may tell the next time.
    pub(super) is_whole: bool,
}
