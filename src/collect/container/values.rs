//! What is read of one container: whole quantities, and those of a device or a processor.

use super::sources::When;

/// A quantity that a container has once, in the units of the metric that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Quantity {
    CpuUsage,
    CpuUser,
    CpuSystem,
    CfsPeriods,
    CfsThrottledPeriods,
    CfsThrottled,
    CfsBurstPeriods,
    CfsBurst,
    MemoryUsage,
    WorkingSet,
    MemoryMaxUsage,
    MemoryFailures,
    MemoryKernel,
    Cache,
    Rss,
    Swap,
    MappedFile,
    ActiveFile,
    InactiveFile,
    FileDirty,
    FileWriteback,
    PageFaults,
    MajorPageFaults,
    PageFaultsBelow,
    MajorPageFaultsBelow,
    PagesScanned,
    PagesReclaimed,
    RefaultsAnonymous,
    RefaultsFile,
    EventsHigh,
    EventsMax,
    OomKills,
    CpuWaiting,
    CpuStalled,
    MemoryWaiting,
    MemoryStalled,
    IoWaiting,
    IoStalled,
    Processes,
    Threads,
    ThreadsMax,
    CpuPeriod,
    CpuQuota,
    CpuShares,
    MemoryLimit,
    MemoryHigh,
    MemoryReservation,
    SwapLimit,
    MemoryMigrate,
    OpenFilesSoft,
    OpenFiles,
    Sockets,
}

const QUANTITIES: usize = Quantity::Sockets as usize + 1;

/// Quantities that were read.
#[derive(Clone, Debug)]
pub(super) struct Values([Option<f64>; QUANTITIES]);

impl Default for Values {
    fn default() -> Self {
        Self([None; QUANTITIES])
    }
}

impl Values {
    pub(super) fn set(&mut self, quantity: Quantity, value: f64) {
        if let Some(place) = self.0.get_mut(quantity as usize) {
            *place = Some(value);
        }
    }

    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        self.0.get(quantity as usize).copied().flatten()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.fill(None);
    }

    pub(super) fn unset(&mut self, quantity: Quantity) {
        if let Some(place) = self.0.get_mut(quantity as usize) {
            *place = None;
        }
    }
}

/// What a container did to a block device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Device {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) read_bytes: Option<f64>,
    pub(super) written_bytes: Option<f64>,
    pub(super) reads: Option<f64>,
    pub(super) writes: Option<f64>,
    /// Of the kernel's cost model: usage, wait, indebt, indelay; seconds.
    pub(super) cost: [Option<f64>; 4],
}

impl Device {
    /// Some file has told of it.
    pub(super) fn has_any(&self) -> bool {
        [self.read_bytes, self.written_bytes, self.reads, self.writes].iter().any(Option::is_some)
    }
}

/// Everything read of one container.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    pub(super) values: Values,
    pub(super) devices: Vec<Device>,
    /// All reads and writes that were told of, by whatever file.
    pub(super) transfers: f64,
    /// Seconds of each processor.
    pub(super) per_cpu: Vec<f64>,
    /// Processes of the group: the first of them.
    pub(super) pids: Vec<u32>,
}

impl Stats {
    /// Forgets all, keeps the buffers.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.devices.clear();
        self.transfers = 0.0;
        self.per_cpu.clear();
        self.pids.clear();
    }

    /// The device of this number; more than [`MOST_DEVICES`] are not kept.
    pub(super) fn device(&mut self, major: u32, minor: u32) -> Option<&mut Device> {
        let at = self.devices.iter().position(|d| (d.major, d.minor) == (major, minor));
        let at = match at {
            Some(at) => at,
            None if self.devices.len() >= MOST_DEVICES => return None,
            None => {
                self.devices.push(Device { major, minor, ..Device::default() });
                self.devices.len() - 1
            }
        };
        self.devices.get_mut(at)
    }
}

/// What files said last, by when they are read.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Read in this pass.
    vital: Stats,
    /// Read when something had happened.
    work: Stats,
    /// Read when something of its own had moved.
    moved: Stats,
    limits: Stats,
}

impl Readings {
    pub(super) fn of(&mut self, when: When) -> &mut Stats {
        match when {
            When::Always => &mut self.vital,
            When::Active => &mut self.work,
            When::Moved(_) => &mut self.moved,
            When::Seldom => &mut self.limits,
        }
    }

    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        let all = [&self.vital, &self.work, &self.moved, &self.limits];
        all.into_iter().find_map(|stats| stats.values.get(quantity))
    }

    pub(super) fn vital(&self) -> &Values {
        &self.vital.values
    }

    pub(super) fn devices(&self) -> &[Device] {
        &self.moved.devices
    }

    pub(super) fn per_cpu(&self) -> &[f64] {
        &self.work.per_cpu
    }

    /// The first of its processes.
    pub(super) fn pids(&self) -> &[u32] {
        &self.work.pids
    }

    /// Reads and writes of all devices. Of two files that count some of them this is the sum, which rises with either.
    pub(super) fn transfers(&self) -> f64 {
        self.moved.transfers
    }
}

/// Most block devices of one container.
const MOST_DEVICES: usize = 64;
