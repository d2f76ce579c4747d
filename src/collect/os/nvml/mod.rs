//! NVIDIA's management library, loaded at run time. Source: NVIDIA's NVML API reference and `nvml.h`, whose
//! declarations the crate `nvml-wrapper-sys` carries.
//!
//! One function a call of the library, with its outcome as a `Result`; nothing is interpreted here. A function
//! that an older driver's library lacks answers [`Failure::FUNCTION_NOT_FOUND`]. Invariant: [`Library`] outlives
//! every call, what it loaded stays loaded (`loaded.rs` says why), and the library takes calls from any thread (NVML
//! API reference, "thread safety").

/// A function of the library by its name, or [`Failure::FUNCTION_NOT_FOUND`].
macro_rules! symbol {
    ($library:expr, $function:ident) => {
        $library.function(concat!(stringify!($function), "\0"), |declared| &declared.$function)
    };
}

mod failure;
mod loaded;
mod watch;

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong};
use std::path::Path;

pub(in crate::collect) use failure::Failure;
pub(in crate::collect) use watch::{EventSet, Sample};

use nvml_wrapper_sys::bindings as raw;
use raw::{NvmlLib, nvmlDevice_t, nvmlReturn_t};

/// What a call gives.
pub(in crate::collect) type Outcome<T> = Result<T, Failure>;

/// Functions that list a GPU's processes.
type NvmlProcesses =
    unsafe extern "C" fn(nvmlDevice_t, *mut c_uint, *mut raw::nvmlProcessInfo_t) -> nvmlReturn_t;

/// Where the crate declares a function; never called, it only tells the type.
type Declaration<F> = fn(&NvmlLib) -> &Result<F, libloading::Error>;

/// A GPU or MIG instance, as the library names it; valid as long as the library is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::collect) struct Device(nvmlDevice_t);

// SAFETY: the library's handles are names, not memory of ours; any thread may use them.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// One value asked for by its field's number.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct Field {
    pub(in crate::collect) id: u32,
    /// The link, for fields that have one; [`ALL_LINKS`] for their sum.
    pub(in crate::collect) scope: u32,
    pub(in crate::collect) value: Outcome<f64>,
}

/// Scope of a field: the sum over all links.
pub(in crate::collect) const ALL_LINKS: u32 = u32::MAX;

/// A process that uses a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::collect) struct RawProcess {
    pub(in crate::collect) pid: u32,
    /// Bytes; `None` where the driver cannot tell.
    pub(in crate::collect) memory: Option<u64>,
    /// The MIG instance, `None` without MIG.
    pub(in crate::collect) gpu_instance: Option<u32>,
}

/// How busy one process kept a GPU in one sampling period, percent.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct RawUtilization {
    pub(in crate::collect) pid: u32,
    /// Microseconds since the epoch.
    pub(in crate::collect) at: u64,
    pub(in crate::collect) sm: u32,
    pub(in crate::collect) memory: u32,
    pub(in crate::collect) encoder: u32,
    pub(in crate::collect) decoder: u32,
}

/// Bytes of a GPU's memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct Memory {
    pub(in crate::collect) total: u64,
    /// `None` from a driver older than 510.
    pub(in crate::collect) reserved: Option<u64>,
    pub(in crate::collect) free: u64,
    pub(in crate::collect) used: u64,
}

/// Most processes of a kind, or samples of them, that are taken from one GPU; more is no workload but an accident.
const MOST_PROCESSES: usize = 16_384;

/// The loaded and initialized library. Dropping it ends its session.
///
/// Functions are looked up when they are called: a fifth of a microsecond beside a call into the driver. The crate's
/// own loader looks up all four hundred at once, which was 1 % of the binary.
pub(in crate::collect) struct Library {
    lib: &'static libloading::Library,
}

/// Functions of the library that write one value about a device.
macro_rules! getters {
    ($($name:ident: $function:ident -> $type:ty;)*) => {
        $(pub(in crate::collect) fn $name(&self, device: Device) -> Outcome<$type> {
            let function = symbol!(self, $function)?;
            let mut value = <$type>::default();
            // SAFETY: the function writes one value of this type, as nvml.h declares it.
            check(unsafe { function(device.0, &raw mut value) })?;
            Ok(value)
        })*
    };
}

/// Functions that write two values of one type.
macro_rules! pairs {
    ($($name:ident: $function:ident -> $type:ty;)*) => {
        $(pub(in crate::collect) fn $name(&self, device: Device) -> Outcome<[$type; 2]> {
            let function = symbol!(self, $function)?;
            let (mut first, mut second) = <($type, $type)>::default();
            // SAFETY: the function writes two values of this type, as nvml.h declares it.
            check(unsafe { function(device.0, &raw mut first, &raw mut second) })?;
            Ok([first, second])
        })*
    };
}

/// Functions that take a choice and write one number.
macro_rules! chosen {
    ($($name:ident: $function:ident;)*) => {
        $(pub(in crate::collect) fn $name(&self, device: Device, choice: u32) -> Outcome<u32> {
            let function = symbol!(self, $function)?;
            let mut value = 0;
            // SAFETY: the function reads a number and writes one, as nvml.h declares it.
            check(unsafe { function(device.0, choice, &raw mut value) })?;
            Ok(value)
        })*
    };
}

/// Functions that write text of a bounded length.
macro_rules! texts {
    ($($name:ident: $function:ident;)*) => {
        $(pub(in crate::collect) fn $name(&self, device: Device) -> Outcome<String> {
            let function = symbol!(self, $function)?;
            // SAFETY: the function writes at most as many bytes as it is told.
            text(|buffer, length| unsafe { function(device.0, buffer, length) })
        })*
    };
}

impl Library {
    /// Loads the library and begins a session.
    ///
    /// # Errors
    /// It cannot be loaded, or refuses; as text for people.
    pub(in crate::collect) fn open(path: &Path) -> Result<Self, String> {
        let lib = loaded::library(path)?;
        let init = load(lib, "nvmlInit_v2\0", |declared| &declared.nvmlInit_v2)
            .map_err(|_| "not NVML: it has no nvmlInit_v2".to_owned())?;
        // SAFETY: takes no arguments.
        check(unsafe { init() }).map_err(|e| e.to_string())?;
        Ok(Self { lib })
    }

    fn function<F: Copy>(&self, name: &str, declaration: Declaration<F>) -> Outcome<F> {
        load(self.lib, name, declaration)
    }

    pub(in crate::collect) fn driver_version(&self) -> Outcome<String> {
        let function = symbol!(self, nvmlSystemGetDriverVersion)?;
        // SAFETY: the function writes at most as many bytes as it is told.
        text(|buffer, length| unsafe { function(buffer, length) })
    }

    pub(in crate::collect) fn nvml_version(&self) -> Outcome<String> {
        let function = symbol!(self, nvmlSystemGetNVMLVersion)?;
        // SAFETY: as above.
        text(|buffer, length| unsafe { function(buffer, length) })
    }

    pub(in crate::collect) fn device_count(&self) -> Outcome<u32> {
        let function = symbol!(self, nvmlDeviceGetCount_v2)?;
        let mut count = 0;
        // SAFETY: writes one number.
        check(unsafe { function(&raw mut count) })?;
        Ok(count)
    }

    pub(in crate::collect) fn device(&self, index: u32) -> Outcome<Device> {
        let function = symbol!(self, nvmlDeviceGetHandleByIndex_v2)?;
        let mut device = std::ptr::null_mut();
        // SAFETY: writes one handle.
        check(unsafe { function(index, &raw mut device) })?;
        Ok(Device(device))
    }

    texts! {
        name: nvmlDeviceGetName;
        uuid: nvmlDeviceGetUUID;
        serial: nvmlDeviceGetSerial;
        vbios_version: nvmlDeviceGetVbiosVersion;
        inforom_image_version: nvmlDeviceGetInforomImageVersion;
    }

    /// Version of a part of the InfoROM: 0 OEM, 1 ECC, 2 power.
    pub(in crate::collect) fn inforom_version(&self, device: Device, part: u32) -> Outcome<String> {
        let function = symbol!(self, nvmlDeviceGetInforomVersion)?;
        // SAFETY: the function writes at most as many bytes as it is told.
        text(|buffer, length| unsafe { function(device.0, part, buffer, length) })
    }

    getters! {
        brand: nvmlDeviceGetBrand -> c_uint;
        power_usage: nvmlDeviceGetPowerUsage -> c_uint;
        power_limit: nvmlDeviceGetPowerManagementLimit -> c_uint;
        power_default_limit: nvmlDeviceGetPowerManagementDefaultLimit -> c_uint;
        enforced_power_limit: nvmlDeviceGetEnforcedPowerLimit -> c_uint;
        total_energy: nvmlDeviceGetTotalEnergyConsumption -> c_ulonglong;
        fan_speed: nvmlDeviceGetFanSpeed -> c_uint;
        performance_state: nvmlDeviceGetPerformanceState -> c_uint;
        persistence_mode: nvmlDeviceGetPersistenceMode -> c_uint;
        compute_mode: nvmlDeviceGetComputeMode -> c_uint;
        pcie_replays: nvmlDeviceGetPcieReplayCounter -> c_uint;
        pcie_generation: nvmlDeviceGetCurrPcieLinkGeneration -> c_uint;
        pcie_width: nvmlDeviceGetCurrPcieLinkWidth -> c_uint;
        pcie_max_generation: nvmlDeviceGetMaxPcieLinkGeneration -> c_uint;
        pcie_max_width: nvmlDeviceGetMaxPcieLinkWidth -> c_uint;
        clock_reasons: nvmlDeviceGetCurrentClocksThrottleReasons -> c_ulonglong;
        max_mig_devices: nvmlDeviceGetMaxMigDeviceCount -> c_uint;
        gpu_instance_id: nvmlDeviceGetGpuInstanceId -> c_uint;
    }

    pairs! {
        encoder_utilization: nvmlDeviceGetEncoderUtilization -> c_uint;
        decoder_utilization: nvmlDeviceGetDecoderUtilization -> c_uint;
        jpeg_utilization: nvmlDeviceGetJpgUtilization -> c_uint;
        flow_utilization: nvmlDeviceGetOfaUtilization -> c_uint;
        ecc_mode: nvmlDeviceGetEccMode -> c_uint;
        mig_mode: nvmlDeviceGetMigMode -> c_uint;
        power_limits: nvmlDeviceGetPowerManagementLimitConstraints -> c_uint;
    }

    chosen! {
        clock: nvmlDeviceGetClockInfo;
        max_clock: nvmlDeviceGetMaxClockInfo;
        application_clock: nvmlDeviceGetApplicationsClock;
        temperature: nvmlDeviceGetTemperature;
        temperature_threshold: nvmlDeviceGetTemperatureThreshold;
        pcie_throughput: nvmlDeviceGetPcieThroughput;
    }

    /// GPU and memory, percent of the last sampling period.
    pub(in crate::collect) fn utilization(&self, device: Device) -> Outcome<[u32; 2]> {
        let function = symbol!(self, nvmlDeviceGetUtilizationRates)?;
        let mut rates = raw::nvmlUtilization_t { gpu: 0, memory: 0 };
        // SAFETY: writes one structure of this type.
        check(unsafe { function(device.0, &raw mut rates) })?;
        Ok([rates.gpu, rates.memory])
    }

    /// Sessions of the video encoder, their average frames a second and latency, microseconds.
    pub(in crate::collect) fn encoder_sessions(&self, device: Device) -> Outcome<[u32; 3]> {
        let function = symbol!(self, nvmlDeviceGetEncoderStats)?;
        let (mut sessions, mut rate, mut latency) = (0, 0, 0);
        // SAFETY: writes three numbers.
        check(unsafe { function(device.0, &raw mut sessions, &raw mut rate, &raw mut latency) })?;
        Ok([sessions, rate, latency])
    }

    /// Sessions that capture the frame buffer.
    pub(in crate::collect) fn capture_sessions(&self, device: Device) -> Outcome<u32> {
        let function = symbol!(self, nvmlDeviceGetFBCStats)?;
        let mut stats = raw::nvmlFBCStats_t { sessionsCount: 0, averageFPS: 0, averageLatency: 0 };
        // SAFETY: writes one structure of this type.
        check(unsafe { function(device.0, &raw mut stats) })?;
        Ok(stats.sessionsCount)
    }

    /// A GPU's or MIG instance's memory; the first version of the call where the second is unknown.
    pub(in crate::collect) fn memory(&self, device: Device) -> Outcome<Memory> {
        let second = symbol!(self, nvmlDeviceGetMemoryInfo_v2).and_then(|function| {
            let mut memory = raw::nvmlMemory_v2_t {
                version: structure_version::<raw::nvmlMemory_v2_t>(2),
                total: 0,
                reserved: 0,
                free: 0,
                used: 0,
            };
            // SAFETY: writes one structure of this type and version.
            check(unsafe { function(device.0, &raw mut memory) })?;
            let raw::nvmlMemory_v2_t { total, reserved, free, used, .. } = memory;
            Ok(Memory { total, reserved: Some(reserved), free, used })
        });
        match second {
            Err(failure) if !failure.is_lost() => {}
            other => return other,
        }
        let function = symbol!(self, nvmlDeviceGetMemoryInfo)?;
        let mut memory = raw::nvmlMemory_t { total: 0, free: 0, used: 0 };
        // SAFETY: writes one structure of this type.
        check(unsafe { function(device.0, &raw mut memory) })?;
        Ok(Memory { total: memory.total, reserved: None, free: memory.free, used: memory.used })
    }

    /// Total, free and used bytes of the window through which the host sees the memory.
    pub(in crate::collect) fn bar1(&self, device: Device) -> Outcome<[u64; 3]> {
        let function = symbol!(self, nvmlDeviceGetBAR1MemoryInfo)?;
        let mut memory = raw::nvmlBAR1Memory_t { bar1Total: 0, bar1Free: 0, bar1Used: 0 };
        // SAFETY: writes one structure of this type.
        check(unsafe { function(device.0, &raw mut memory) })?;
        Ok([memory.bar1Total, memory.bar1Free, memory.bar1Used])
    }

    /// The bus id, `00000000:1B:00.0`.
    pub(in crate::collect) fn pci_bus_id(&self, device: Device) -> Outcome<String> {
        let function = symbol!(self, nvmlDeviceGetPciInfo_v3)?;
        // SAFETY: a structure of integers and characters, for which zeros are valid.
        let mut info: raw::nvmlPciInfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: writes one structure of this type.
        check(unsafe { function(device.0, &raw mut info) })?;
        Ok(until_zero(&info.busId))
    }

    /// 1 licensed, 0 not; the first feature that is.
    pub(in crate::collect) fn vgpu_license(&self, device: Device) -> Outcome<u32> {
        let function = symbol!(self, nvmlDeviceGetGridLicensableFeatures_v4)?;
        // SAFETY: a structure of integers and characters, for which zeros are valid.
        let mut features: raw::nvmlGridLicensableFeatures_t = unsafe { std::mem::zeroed() };
        // SAFETY: writes one structure of this type.
        check(unsafe { function(device.0, &raw mut features) })?;
        let known = usize::try_from(features.licensableFeaturesCount).unwrap_or(usize::MAX);
        let licensed = features.gridLicensableFeatures.iter().take(known).any(|f| f.featureState != 0);
        Ok(u32::from(features.isGridLicenseSupported != 0 && licensed))
    }

    /// Fills in the values of all fields in one call.
    pub(in crate::collect) fn fields(&self, device: Device, fields: &mut [Field]) -> Outcome<()> {
        let function = symbol!(self, nvmlDeviceGetFieldValues)?;
        let blank = |f: &Field| raw::nvmlFieldValue_t {
            fieldId: f.id,
            scopeId: f.scope,
            timestamp: 0,
            latencyUsec: 0,
            valueType: 0,
            // The library leaves a field untouched that it does not know.
            nvmlReturn: UNANSWERED.0,
            value: raw::nvmlValue_t { ullVal: 0 },
        };
        let mut values: Vec<_> = fields.iter().map(blank).collect();
        let count = c_int::try_from(values.len()).map_err(|_| Failure::INSUFFICIENT_SIZE)?;
        // SAFETY: reads and writes this many structures.
        check(unsafe { function(device.0, count, values.as_mut_ptr()) })?;
        for (field, value) in fields.iter_mut().zip(&values) {
            let answered = check(value.nvmlReturn).and_then(|()| field_value(value).ok_or(UNANSWERED));
            field.value = answered;
        }
        Ok(())
    }

    /// The instance at a place of a GPU in MIG mode; [`Failure::NOT_FOUND`] where there is none.
    pub(in crate::collect) fn mig_device(&self, parent: Device, index: u32) -> Outcome<Device> {
        let function = symbol!(self, nvmlDeviceGetMigDeviceHandleByIndex)?;
        let mut device = std::ptr::null_mut();
        // SAFETY: writes one handle.
        check(unsafe { function(parent.0, index, &raw mut device) })?;
        Ok(Device(device))
    }

    /// Processes with a compute context, those with a graphics one, those that compute through MPS. A list that cannot be
    /// had takes nothing from the others; a failure if none can.
    pub(in crate::collect) fn processes(&self, device: Device) -> Outcome<Vec<RawProcess>> {
        let mut all = Vec::new();
        let mut outcome = Err(Failure::FUNCTION_NOT_FOUND);
        for function in [
            symbol!(self, nvmlDeviceGetComputeRunningProcesses_v3),
            symbol!(self, nvmlDeviceGetGraphicsRunningProcesses_v3),
            symbol!(self, nvmlDeviceGetMPSComputeRunningProcesses_v3),
        ] {
            let blank =
                raw::nvmlProcessInfo_t { pid: 0, usedGpuMemory: 0, gpuInstanceId: 0, computeInstanceId: 0 };
            let read = |function: NvmlProcesses| {
                // SAFETY: writes at most as many structures as it is told, and how many that were.
                list(blank, |count, into| unsafe { function(device.0, count, into) })
            };
            let found = match function.and_then(read) {
                Ok(found) => found,
                Err(failure) => {
                    outcome = outcome.or(Err(failure));
                    continue;
                }
            };
            outcome = Ok(());
            all.extend(found.iter().map(|p| RawProcess {
                pid: p.pid,
                memory: (p.usedGpuMemory != c_ulonglong::MAX).then_some(p.usedGpuMemory),
                gpu_instance: (p.gpuInstanceId != c_uint::MAX).then_some(p.gpuInstanceId),
            }));
        }
        outcome.map(|()| all)
    }

    /// Samples of the processes' utilization taken after `since`, microseconds since the epoch.
    pub(in crate::collect) fn process_utilization(
        &self,
        device: Device,
        since: u64,
    ) -> Outcome<Vec<RawUtilization>> {
        let function = symbol!(self, nvmlDeviceGetProcessUtilization)?;
        let blank = raw::nvmlProcessUtilizationSample_t {
            pid: 0,
            timeStamp: 0,
            smUtil: 0,
            memUtil: 0,
            encUtil: 0,
            decUtil: 0,
        };
        // SAFETY: writes at most as many structures as it is told, and how many that were.
        let found = list(blank, |count, into| unsafe { function(device.0, into, count, since) });
        let samples = match found {
            // No process has used it since.
            Err(Failure::NOT_FOUND) => Vec::new(),
            other => other?,
        };
        let sample = |s: &raw::nvmlProcessUtilizationSample_t| RawUtilization {
            pid: s.pid,
            at: s.timeStamp,
            sm: s.smUtil,
            memory: s.memUtil,
            encoder: s.encUtil,
            decoder: s.decUtil,
        };
        Ok(samples.iter().map(sample).collect())
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if let Ok(shutdown) = symbol!(self, nvmlShutdown) {
            // SAFETY: takes no arguments; no call is in progress, each borrows the library.
            let _ = check(unsafe { shutdown() });
        }
    }
}

/// The function of this name, which ends on a zero, of the type that its declaration has.
fn load<F: Copy>(library: &libloading::Library, name: &str, _: Declaration<F>) -> Outcome<F> {
    // SAFETY: the type is the one that the crate's declarations, made from `nvml.h`, give this name.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found.map(|function| *function).map_err(|_| Failure::FUNCTION_NOT_FOUND)
}

const fn check(code: nvmlReturn_t) -> Outcome<()> {
    if code == 0 { Ok(()) } else { Err(Failure(code)) }
}

/// `NVML_STRUCT_VERSION`: size and version of a structure in one number.
const fn structure_version<T>(version: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "structures are small")]
    let size = size_of::<T>() as u32;
    size | version << 24
}

/// Runs a call that writes text ended by a zero into a buffer that holds any text of the library.
fn text(call: impl FnOnce(*mut c_char, c_uint) -> nvmlReturn_t) -> Outcome<String> {
    const LONGEST: u32 = 256;
    let mut buffer = [0; LONGEST as usize];
    check(call(buffer.as_mut_ptr(), LONGEST))?;
    Ok(until_zero(&buffer))
}

/// The text up to the first zero, or all of it; bytes that are no UTF-8 are replaced.
fn until_zero(buffer: &[c_char]) -> String {
    // SAFETY: `c_char` and `u8` have the same size, and any byte is valid for both.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), buffer.len()) };
    let text = CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes);
    String::from_utf8_lossy(text).into_owned()
}

/// Runs a call that writes a list, with as much room as it asks for.
fn list<T: Clone>(blank: T, call: impl Fn(*mut c_uint, *mut T) -> nvmlReturn_t) -> Outcome<Vec<T>> {
    // A GPU's processes are few, its samples of them about 70.
    let mut room = 128;
    loop {
        let mut items = vec![blank.clone(); room];
        let mut count = c_uint::try_from(room).unwrap_or(c_uint::MAX);
        match check(call(&raw mut count, items.as_mut_ptr())) {
            Ok(()) => {
                items.truncate(usize::try_from(count).unwrap_or(0));
                return Ok(items);
            }
            Err(Failure::INSUFFICIENT_SIZE) if room < MOST_PROCESSES => {
                // It said how many there are; by the next call they may be more.
                let there_are = usize::try_from(count).unwrap_or(0);
                room = MOST_PROCESSES.min(there_are.saturating_add(room).max(room * 4));
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// What a field is before the library answers, and stays if it does not: not supported.
const UNANSWERED: Failure = Failure(3);

/// The value in the type that the library says it has. A double is none: no field that is asked for here is
/// one, and an older library says so of fields that it does not know (seen with 580: success, double, 0).
#[allow(clippy::cast_precision_loss, reason = "samples are f64")]
#[allow(clippy::useless_conversion, reason = "`c_ulong` differs between architectures")]
fn field_value(field: &raw::nvmlFieldValue_t) -> Option<f64> {
    let value = field.value;
    // SAFETY: all members are plain numbers within eight bytes that were zero or written by the library.
    let number = unsafe {
        match field.valueType {
            0 => return None,
            1 => f64::from(value.uiVal),
            2 => u64::from(value.ulVal) as f64,
            4 => value.sllVal as f64,
            5 => f64::from(value.siVal),
            6 => f64::from(value.usVal),
            _ => value.ullVal as f64,
        }
    };
    Some(number)
}
