//! NVML as a [`GpuBackend`]. Source: NVIDIA's NVML API reference.
//!
//! Which call gives which quantity stands in [`CALLS`] and [`FIELDS`]. A call that a GPU or driver does not
//! support is not made again until the GPU is opened anew or changes its MIG mode; one that fails otherwise
//! is absent from this reading only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::backend::{CriticalErrors, GpuBackend, GpuDevice, GpuError, Questions};
use super::counters::Counters;
use super::reading::Quantity::{self, *};
use super::reading::{Identity, Instance, Reading, Values};
use super::usage::Usage;
use crate::collect::HostPaths;
use crate::collect::os::nvml::{ALL_LINKS, Device, EventSet, Failure, Field, Library, Outcome};
use crate::model::ColdSort;

/// Where drivers, distributions and container runtimes put the library, in the order tried. After an upgrade of the
/// driver the name alone stands for what is loaded already and no longer fits; the places have the new file.
const PLACES: &[&str] = &[
    "libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
];

/// Files below procfs and the root of which one exists where there is a driver.
const SIGNS: &[&str] = &["dev/nvidiactl", "dev/dxg"];

/// Most MIG instances of a GPU that are looked at; the largest GPUs have seven.
const MOST_INSTANCES: u32 = 32;

/// Opens the library at `given`, or in one of the usual places if that is empty and there are signs of a driver.
pub(super) fn open(paths: &HostPaths, given: &str) -> Result<Box<dyn GpuBackend>, GpuError> {
    let signs = || SIGNS.iter().map(|s| paths.root(s)).chain([paths.proc("driver/nvidia/version")]);
    if given.is_empty() && !signs().any(|sign| sign.exists()) {
        return Err(GpuError::NoDriver(
            "no NVIDIA driver: neither its devices nor its files are there".to_owned(),
        ));
    }
    let places: Vec<PathBuf> = match given {
        "" => PLACES.iter().map(PathBuf::from).collect(),
        given => vec![given.into()],
    };
    let mut why = Vec::new();
    for place in &places {
        match Library::open(place) {
            Ok(library) => return Ok(Box::new(Nvml { nvml: Arc::new(library) })),
            Err(error) => why.push(explain(place, error)),
        }
    }
    // That there is none in a place says less than why one that is there did not load.
    let said = why.iter().find(|w| !w.contains("No such file")).or(why.first());
    Err(GpuError::NoDriver(said.cloned().unwrap_or_default()))
}

fn explain(place: &Path, error: String) -> String {
    let name = place.display().to_string();
    if error.contains(&name) { error } else { format!("{name}: {error}") }
}

/// What a failed call means where nothing else is known.
fn error(failure: Failure) -> GpuError {
    if failure.is_driver_gone() {
        GpuError::NoDriver(failure.to_string())
    } else {
        GpuError::Device(failure.to_string())
    }
}

/// The open library.
struct Nvml {
    nvml: Arc<Library>,
}

/// A queue of one GPU's errors. One of several GPUs would fail for all when one is lost.
struct Queue {
    nvml: Arc<Library>,
    uuid: String,
    /// `None` when it is given back.
    set: Option<EventSet>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some(set) = self.set.take() {
            self.nvml.free_event_set(set);
        }
    }
}

impl CriticalErrors for Queue {
    fn uuid(&self) -> &str {
        &self.uuid
    }

    fn next(&mut self, wait: Duration) -> Result<Option<u64>, GpuError> {
        let timeout_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self.set.as_mut().map_or(Ok(None), |set| self.nvml.wait(set, timeout_ms).map_err(error))
    }
}

impl GpuBackend for Nvml {
    fn versions(&self) -> [String; 2] {
        [self.nvml.driver_version(), self.nvml.nvml_version()].map(Outcome::unwrap_or_default)
    }

    fn count(&self) -> Result<u32, GpuError> {
        self.nvml.device_count().map_err(error)
    }

    fn open(&self, gpu: u32) -> Result<Box<dyn GpuDevice>, GpuError> {
        let device = self.nvml.device(gpu).map_err(error)?;
        Ok(Box::new(NvmlDevice {
            nvml: Arc::clone(&self.nvml),
            device,
            unsupported: Vec::new(),
            fixed: Vec::new(),
            mig: false,
            has_counters: self.nvml.has_performance_counters(device),
            counters: Vec::new(),
            usage: Usage::default(),
        }))
    }

    fn listen(&self, gpu: u32) -> Result<Box<dyn CriticalErrors>, GpuError> {
        let refused = |failure: Failure| match failure.is_passing() {
            true => error(failure),
            false => GpuError::Unsupported(failure.to_string()),
        };
        let device = self.nvml.device(gpu).map_err(error)?;
        let uuid = match self.nvml.uuid(device) {
            Err(failure) if failure.is_passing() => return Err(error(failure)),
            other => other.unwrap_or_default(),
        };
        let mut set = self.nvml.new_event_set().map_err(refused)?;
        let registered = self.nvml.register_xid(device, &mut set);
        let queue = Queue { nvml: Arc::clone(&self.nvml), uuid, set: Some(set) };
        registered.map_err(refused)?;
        Ok(Box::new(queue))
    }

    fn pcie_throughput(&self, gpu: u32) -> Result<[f64; 2], GpuError> {
        let device = self.nvml.device(gpu).map_err(error)?;
        let ask = |counter| self.nvml.pcie_throughput(device, counter).map(f64::from).map_err(error);
        Ok([ask(0)?, ask(1)?])
    }
}

struct NvmlDevice {
    nvml: Arc<Library>,
    device: Device,
    /// First quantities of calls and fields that the GPU does not support.
    unsupported: Vec<Quantity>,
    /// Answers of calls whose first quantity never changes.
    fixed: Vec<(Quantity, Numbers)>,
    mig: bool,
    has_counters: bool,
    /// Of the GPU (`None`) or of its MIG instances.
    counters: Vec<(Option<u32>, Counters)>,
    usage: Usage,
}

/// Up to four numbers, of which a call gives as many as it has quantities.
type Numbers = [f64; 4];

/// A call and the quantities that it gives.
struct Call {
    gives: &'static [Quantity],
    ask: fn(&Library, Device) -> Outcome<Numbers>,
}

const fn call(gives: &'static [Quantity], ask: fn(&Library, Device) -> Outcome<Numbers>) -> Call {
    Call { gives, ask }
}

fn numbers<const N: usize>(values: [u32; N]) -> Numbers {
    let mut numbers = Numbers::default();
    for (number, value) in numbers.iter_mut().zip(values) {
        *number = f64::from(value);
    }
    numbers
}

#[allow(clippy::cast_precision_loss, reason = "samples are f64")]
fn wide<const N: usize>(values: [u64; N]) -> Numbers {
    let mut numbers = Numbers::default();
    for (number, value) in numbers.iter_mut().zip(values) {
        *number = value as f64;
    }
    numbers
}

fn one(value: u32) -> Numbers {
    numbers([value])
}

/// What never changes while a GPU is open; asking for it takes a millisecond each.
const FIXED: &[Quantity] = &[
    MaxGraphicsClock,
    MaxSmClock,
    MaxMemoryClock,
    ShutdownTemperature,
    SlowdownTemperature,
    DefaultPowerLimit,
    MinPowerLimit,
    MaxPowerLimit,
    PcieMaxGeneration,
    PcieMaxWidth,
];

/// Everything that has a call of its own.
static CALLS: &[Call] = &[
    call(&[GraphicsClock], |l, d| l.clock(d, 0).map(one)),
    call(&[SmClock], |l, d| l.clock(d, 1).map(one)),
    call(&[MemoryClock], |l, d| l.clock(d, 2).map(one)),
    call(&[VideoClock], |l, d| l.clock(d, 3).map(one)),
    call(&[MaxGraphicsClock], |l, d| l.max_clock(d, 0).map(one)),
    call(&[MaxSmClock], |l, d| l.max_clock(d, 1).map(one)),
    call(&[MaxMemoryClock], |l, d| l.max_clock(d, 2).map(one)),
    call(&[ApplicationSmClock], |l, d| l.application_clock(d, 1).map(one)),
    call(&[ApplicationMemoryClock], |l, d| l.application_clock(d, 2).map(one)),
    call(&[GpuTemperature], |l, d| l.temperature(d, 0).map(one)),
    call(&[ShutdownTemperature], |l, d| l.temperature_threshold(d, 0).map(one)),
    call(&[SlowdownTemperature], |l, d| l.temperature_threshold(d, 1).map(one)),
    call(&[PowerUsage], |l, d| l.power_usage(d).map(one)),
    call(&[PowerLimit], |l, d| l.power_limit(d).map(one)),
    call(&[EnforcedPowerLimit], |l, d| l.enforced_power_limit(d).map(one)),
    call(&[DefaultPowerLimit], |l, d| l.power_default_limit(d).map(one)),
    call(&[MinPowerLimit, MaxPowerLimit], |l, d| l.power_limits(d).map(numbers)),
    call(&[Energy], |l, d| l.total_energy(d).map(|energy| wide([energy]))),
    call(&[GpuUtilization, MemoryUtilization], |l, d| l.utilization(d).map(numbers)),
    // Second in these pairs is the sampling period.
    call(&[EncoderUtilization], |l, d| l.encoder_utilization(d).map(numbers)),
    call(&[DecoderUtilization], |l, d| l.decoder_utilization(d).map(numbers)),
    call(&[JpegUtilization], |l, d| l.jpeg_utilization(d).map(numbers)),
    call(&[FlowUtilization], |l, d| l.flow_utilization(d).map(numbers)),
    call(&[EncoderSessions, EncoderFrameRate, EncoderLatency], |l, d| l.encoder_sessions(d).map(numbers)),
    call(&[CaptureSessions], |l, d| l.capture_sessions(d).map(one)),
    call(&[Bar1Total, Bar1Free, Bar1Used], |l, d| l.bar1(d).map(wide)),
    call(&[PcieReplays], |l, d| l.pcie_replays(d).map(one)),
    call(&[PcieGeneration], |l, d| l.pcie_generation(d).map(one)),
    call(&[PcieWidth], |l, d| l.pcie_width(d).map(one)),
    call(&[PcieMaxGeneration], |l, d| l.pcie_max_generation(d).map(one)),
    call(&[PcieMaxWidth], |l, d| l.pcie_max_width(d).map(one)),
    call(&[FanSpeed], |l, d| l.fan_speed(d).map(one)),
    call(&[PerformanceState], |l, d| l.performance_state(d).map(one)),
    call(&[PersistenceMode], |l, d| l.persistence_mode(d).map(one)),
    call(&[ComputeMode], |l, d| l.compute_mode(d).map(one)),
    call(&[ClockReasons], |l, d| l.clock_reasons(d).map(|bits| wide([bits]))),
    call(&[EccMode, EccPendingMode], |l, d| l.ecc_mode(d).map(numbers)),
    call(&[VgpuLicense], |l, d| l.vgpu_license(d).map(one)),
];

/// Everything that is asked for by number, all in one call: `NVML_FI_DEV_*` of nvml.h, and the link.
static FIELDS: &[(Quantity, u32, u32)] = &[
    (EccSingleVolatile, 3, 0),
    (EccDoubleVolatile, 4, 0),
    (EccSingleAggregate, 5, 0),
    (EccDoubleAggregate, 6, 0),
    (RetiredSingle, 29, 0),
    (RetiredDouble, 30, 0),
    (RetiredPending, 31, 0),
    (NvlinkFlitErrors, 38, 0),
    (NvlinkDataErrors, 45, 0),
    (NvlinkReplays, 52, 0),
    (NvlinkRecoveries, 59, 0),
    (PowerViolation, 74, 0),
    (ThermalViolation, 75, 0),
    (SyncBoostViolation, 76, 0),
    (BoardLimitViolation, 77, 0),
    (LowUtilizationViolation, 78, 0),
    (ReliabilityViolation, 79, 0),
    (ApplicationClocksViolation, 80, 0),
    (BaseClocksViolation, 81, 0),
    (MemoryTemperature, 82, 0),
    (NvlinkLinks, 91, 0),
    (NvlinkSent, 138, ALL_LINKS),
    (NvlinkReceived, 139, ALL_LINKS),
    (NvlinkSent0, 138, 0),
    (NvlinkReceived0, 139, 0),
    (RemappedCorrectable, 142, 0),
    (RemappedUncorrectable, 143, 0),
    (RemapPending, 144, 0),
    (RemapFailure, 145, 0),
    (PowerAverage, 185, 0),
    (PowerInstant, 186, 0),
];

const MEMORY: &[Quantity] = &[MemoryTotal, MemoryFree, MemoryUsed, MemoryReserved];

impl NvmlDevice {
    fn calls(&mut self, questions: &Questions, values: &mut Values) -> Result<(), GpuError> {
        for call in CALLS {
            let Some(first) = call.gives.first() else { continue };
            if !questions.wanted.any(call.gives) || self.unsupported.contains(first) {
                continue;
            }
            if let Some((_, numbers)) = self.fixed.iter().find(|(quantity, _)| quantity == first) {
                call.gives.iter().zip(numbers).for_each(|(q, n)| values.set(*q, *n));
                continue;
            }
            match (call.ask)(&self.nvml, self.device) {
                Ok(numbers) => {
                    call.gives.iter().zip(numbers).for_each(|(q, n)| values.set(*q, n));
                    if FIXED.contains(first) {
                        self.fixed.push((*first, numbers));
                    }
                }
                Err(failure) => self.note(*first, failure)?,
            }
        }
        Ok(())
    }

    /// Remembers what cannot be had; an error where it means more than that.
    fn note(&mut self, quantity: Quantity, failure: Failure) -> Result<(), GpuError> {
        if failure.is_driver_gone() || failure.is_lost() {
            return Err(error(failure));
        }
        if !failure.is_passing() {
            self.unsupported.push(quantity);
        }
        Ok(())
    }

    fn fields(&mut self, questions: &Questions, values: &mut Values) -> Result<(), GpuError> {
        let wanted =
            |(q, ..): &&(Quantity, u32, u32)| questions.wanted.has(*q) && !self.unsupported.contains(q);
        let asked: Vec<_> = FIELDS.iter().filter(wanted).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let blank = |&&(_, id, scope): &&(Quantity, u32, u32)| Field { id, scope, value: Ok(0.0) };
        let mut fields: Vec<Field> = asked.iter().map(blank).collect();
        if let Err(failure) = self.nvml.fields(self.device, &mut fields) {
            return asked.iter().try_for_each(|(quantity, ..)| self.note(*quantity, failure));
        }
        for ((quantity, ..), field) in asked.into_iter().zip(fields) {
            match field.value {
                Ok(value) => values.set(*quantity, value),
                Err(failure) => self.note(*quantity, failure)?,
            }
        }
        Ok(())
    }

    /// The MIG instances, none if the mode is off.
    fn instances(&mut self) -> Result<Vec<(Device, Instance)>, GpuError> {
        let mode = match self.nvml.mig_mode(self.device) {
            Ok([current, _]) => current == 1,
            Err(failure) if failure.is_lost() || failure.is_driver_gone() => return Err(error(failure)),
            // All series would be others for as long as it fails.
            Err(failure) => self.mig && failure.is_passing(),
        };
        if mode != self.mig {
            self.mig = mode;
            self.unsupported.clear();
        }
        if !mode {
            return Ok(Vec::new());
        }
        let most = match self.nvml.max_mig_devices(self.device) {
            Err(failure) if !failure.is_passing() => 0,
            other => other.unwrap_or(MOST_INSTANCES).min(MOST_INSTANCES),
        };
        let mut found: Vec<(Device, Instance)> = Vec::new();
        for index in 0..most {
            let Ok(device) = self.nvml.mig_device(self.device, index) else { continue };
            let Ok(id) = self.nvml.gpu_instance_id(device) else { continue };
            // Compute instances of one GPU instance share its memory and counters.
            if !found.iter().any(|(_, other)| other.id == id) {
                let profile =
                    super::text::mig_profile(&self.nvml.name(device).unwrap_or_default()).to_owned();
                found.push((device, Instance { id, profile, values: Values::default() }));
            }
        }
        found.cold_sort_by_key(|(_, instance)| instance.id);
        Ok(found)
    }

    fn memory(&self, device: Device, questions: &Questions, values: &mut Values) -> Result<(), GpuError> {
        if !questions.wanted.any(MEMORY) {
            return Ok(());
        }
        match self.nvml.memory(device) {
            Ok(memory) => {
                let [total, free, used, _] = wide([memory.total, memory.free, memory.used]);
                values.set(MemoryTotal, total);
                values.set(MemoryFree, free);
                values.set(MemoryUsed, used);
                if let Some(reserved) = memory.reserved {
                    let [reserved, ..] = wide([reserved]);
                    values.set(MemoryReserved, reserved);
                }
            }
            Err(failure) if failure.is_lost() || failure.is_driver_gone() => return Err(error(failure)),
            Err(_) => {}
        }
        Ok(())
    }

    fn activity(&mut self, instance: Option<u32>, questions: &Questions, values: &mut Values) {
        if !self.has_counters || !questions.wanted.any(&super::counters::GIVES) {
            return;
        }
        let at = match self.counters.iter().position(|(of, _)| *of == instance) {
            Some(at) => at,
            None => {
                self.counters.push((instance, Counters::default()));
                self.counters.len() - 1
            }
        };
        if let Some((_, counters)) = self.counters.get_mut(at) {
            counters.read(&self.nvml, self.device, instance, &questions.wanted, values);
        }
    }

    /// Gives the samples of instances that are gone back.
    fn keep_counters(&mut self, of: impl Fn(Option<u32>) -> bool) {
        let (kept, gone) = std::mem::take(&mut self.counters).into_iter().partition(|(i, _)| of(*i));
        self.counters = kept;
        Vec::into_iter(gone).for_each(|(_, counters): (_, Counters)| counters.free(&self.nvml));
    }
}

impl Drop for NvmlDevice {
    fn drop(&mut self) {
        self.keep_counters(|_| false);
    }
}

impl GpuDevice for NvmlDevice {
    fn identity(&self) -> Identity {
        let (library, device) = (&self.nvml, self.device);
        let details = [
            ("DCGM_FI_DEV_BRAND", library.brand(device).map(|brand| super::text::brand(brand).to_owned())),
            ("DCGM_FI_DEV_SERIAL", library.serial(device)),
            ("DCGM_FI_DEV_OEM_INFOROM_VER", library.inforom_version(device, 0)),
            ("DCGM_FI_DEV_ECC_INFOROM_VER", library.inforom_version(device, 1)),
            ("DCGM_FI_DEV_POWER_INFOROM_VER", library.inforom_version(device, 2)),
            ("DCGM_FI_DEV_INFOROM_IMAGE_VER", library.inforom_image_version(device)),
            ("DCGM_FI_DEV_VBIOS_VERSION", library.vbios_version(device)),
        ];
        let mut is_whole = true;
        let mut told = |outcome: Outcome<String>| {
            outcome.unwrap_or_else(|failure| {
                is_whole &= !failure.is_passing();
                String::new()
            })
        };
        let uuid = told(library.uuid(device));
        let (pci_bus_id, model) = (told(library.pci_bus_id(device)), told(library.name(device)));
        Identity {
            uuid,
            pci_bus_id,
            model,
            is_whole,
            details: details.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))).collect(),
        }
    }

    fn read(&mut self, questions: &Questions) -> Result<Reading, GpuError> {
        let mut reading = Reading::default();
        let instances = self.instances()?;
        self.calls(questions, &mut reading.values)?;
        self.fields(questions, &mut reading.values)?;
        self.memory(self.device, questions, &mut reading.values)?;
        if instances.is_empty() {
            self.activity(None, questions, &mut reading.values);
        }
        for (device, mut instance) in instances {
            self.memory(device, questions, &mut instance.values)?;
            self.activity(Some(instance.id), questions, &mut instance.values);
            reading.instances.push(instance);
        }
        let of_now: Vec<_> = reading.instances.iter().map(|i| i.id).collect();
        self.keep_counters(|of| of.map_or(of_now.is_empty(), |id| of_now.contains(&id)));
        if questions.processes {
            reading.processes = self.usage.read(&self.nvml, self.device);
        }
        Ok(reading)
    }
}
