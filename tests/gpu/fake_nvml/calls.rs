//! The calls. A device's handle is its number: GPU 0 is 1, its first MIG instance 101.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uint, c_ulonglong};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings as raw;
use raw::{nvmlDevice_t, nvmlReturn_t};

use crate::scenario::{self, INVALID_ARGUMENT, NOT_SUPPORTED, Scenario, Section};

const NOT_FOUND: u32 = 6;
const INSUFFICIENT_SIZE: u32 = 7;
const TIMEOUT: u32 = 10;
const INSTANCES_FROM: usize = 100;

fn handle(number: usize) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(number)
}

/// The lines of a device, once it answers.
fn section(device: nvmlDevice_t) -> Result<Section, u32> {
    loop {
        let (gpu, instance) = of(device);
        let mut all = scenario::now();
        if gpu >= all.gpus.len() {
            return Err(INVALID_ARGUMENT);
        }
        let mut gpu = all.gpus.swap_remove(gpu);
        if gpu.section.all("hang").next().is_some() {
            scenario::moment();
            continue;
        }
        if let Some(code) = gpu.section.all("error").next() {
            return Err(code.parse().unwrap_or(INVALID_ARGUMENT));
        }
        return match instance {
            None => Ok(gpu.section),
            Some(at) if at < gpu.instances.len() => Ok(gpu.instances.swap_remove(at)),
            Some(_) => Err(NOT_FOUND),
        };
    }
}

/// Numbers of the GPU and of its instance.
fn of(device: nvmlDevice_t) -> (usize, Option<usize>) {
    let number = device.addr();
    match number.checked_sub(INSTANCES_FROM) {
        None => (number.wrapping_sub(1), None),
        Some(instance) => (instance / INSTANCES_FROM, Some((instance % INSTANCES_FROM).wrapping_sub(1))),
    }
}

fn numbers(device: nvmlDevice_t, key: &str) -> Result<Vec<f64>, u32> {
    section(device)?.numbers(key, device.addr())
}

fn first(device: nvmlDevice_t, key: &str) -> Result<f64, u32> {
    numbers(device, key)?.first().copied().ok_or(INVALID_ARGUMENT)
}

fn code(result: Result<(), u32>) -> nvmlReturn_t {
    result.err().unwrap_or(0)
}

/// Writes text with its final zero.
///
/// # Safety
/// There is room for `length` bytes.
unsafe fn put_text(text: &str, buffer: *mut c_char, length: c_uint) -> Result<(), u32> {
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: the text and a zero fit.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

/// Writes a list as NVML does: how many there are, and whether there is room for them.
///
/// # Safety
/// There is room for `*count` items.
unsafe fn put_list<T>(items: &[T], count: *mut c_uint, into: *mut T) -> Result<(), u32> {
    // SAFETY: the caller's pointers, by the contract above.
    unsafe {
        let room = count.replace(items.len() as c_uint) as usize;
        if room < items.len() {
            return Err(INSUFFICIENT_SIZE);
        }
        std::ptr::copy_nonoverlapping(items.as_ptr(), into, items.len());
    }
    Ok(())
}

macro_rules! calls {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) unsafe extern "C" fn $name($($argument: $type),*) -> nvmlReturn_t {
                let answer = move || -> Result<(), u32> { $body };
                code(answer())
            }
        )*
    };
}

macro_rules! numbers {
    ($($name:ident $type:ty,)*) => {
        calls! { $(fn $name(device: nvmlDevice_t, value: *mut $type) {
            let number = first(device, stringify!($name))? as $type;
            // SAFETY: a pointer to this type, by nvml.h.
            unsafe { value.write(number) };
            Ok(())
        })* }
    };
}

macro_rules! pairs {
    ($($name:ident,)*) => {
        calls! { $(fn $name(device: nvmlDevice_t, one: *mut c_uint, two: *mut c_uint) {
            let pair = numbers(device, stringify!($name))?;
            // SAFETY: pointers to this type, by nvml.h.
            unsafe {
                one.write(pair.first().copied().unwrap_or_default() as c_uint);
                two.write(pair.get(1).copied().unwrap_or_default() as c_uint);
            }
            Ok(())
        })* }
    };
}

macro_rules! chosen {
    ($($name:ident,)*) => {
        calls! { $(fn $name(device: nvmlDevice_t, choice: c_uint, value: *mut c_uint) {
            let number = first(device, &format!("{}.{choice}", stringify!($name)))? as c_uint;
            // SAFETY: a pointer to this type, by nvml.h.
            unsafe { value.write(number) };
            Ok(())
        })* }
    };
}

macro_rules! texts {
    ($($name:ident $key:literal,)*) => {
        calls! { $(fn $name(device: nvmlDevice_t, buffer: *mut c_char, length: c_uint) {
            // SAFETY: room for this many bytes, by nvml.h.
            unsafe { put_text(section(device)?.text($key)?, buffer, length) }
        })* }
    };
}

numbers! {
    nvmlDeviceGetBrand c_uint,
    nvmlDeviceGetPowerUsage c_uint,
    nvmlDeviceGetPowerManagementLimit c_uint,
    nvmlDeviceGetPowerManagementDefaultLimit c_uint,
    nvmlDeviceGetEnforcedPowerLimit c_uint,
    nvmlDeviceGetTotalEnergyConsumption c_ulonglong,
    nvmlDeviceGetFanSpeed c_uint,
    nvmlDeviceGetPerformanceState c_uint,
    nvmlDeviceGetPersistenceMode c_uint,
    nvmlDeviceGetComputeMode c_uint,
    nvmlDeviceGetPcieReplayCounter c_uint,
    nvmlDeviceGetCurrPcieLinkGeneration c_uint,
    nvmlDeviceGetCurrPcieLinkWidth c_uint,
    nvmlDeviceGetMaxPcieLinkGeneration c_uint,
    nvmlDeviceGetMaxPcieLinkWidth c_uint,
    nvmlDeviceGetCurrentClocksThrottleReasons c_ulonglong,
    nvmlDeviceGetGpuInstanceId c_uint,
}

pairs! {
    nvmlDeviceGetEncoderUtilization,
    nvmlDeviceGetDecoderUtilization,
    nvmlDeviceGetJpgUtilization,
    nvmlDeviceGetOfaUtilization,
    nvmlDeviceGetEccMode,
    nvmlDeviceGetMigMode,
    nvmlDeviceGetPowerManagementLimitConstraints,
}

chosen! {
    nvmlDeviceGetClockInfo,
    nvmlDeviceGetMaxClockInfo,
    nvmlDeviceGetApplicationsClock,
    nvmlDeviceGetTemperature,
    nvmlDeviceGetTemperatureThreshold,
    nvmlDeviceGetPcieThroughput,
}

texts! {
    nvmlDeviceGetName "name",
    nvmlDeviceGetUUID "uuid",
    nvmlDeviceGetSerial "serial",
    nvmlDeviceGetVbiosVersion "vbios",
    nvmlDeviceGetInforomImageVersion "inforom-image",
}

/// A performance monitor sample: of which device, and the how manyth.
struct Sample {
    device: usize,
    number: usize,
}

static SAMPLES: AtomicUsize = AtomicUsize::new(0);

/// How many events of each GPU were told.
static EVENTS_TOLD: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// A queue of events: the GPUs that it hears of.
#[derive(Default)]
struct EventSet(Vec<usize>);

/// The XID of the next event of a GPU that was not told.
fn next_event(all: &Scenario, gpu: usize) -> Option<u64> {
    let mut told = EVENTS_TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let told = told.entry(gpu).or_default();
    let of = |event: &str| -> Option<(usize, u64)> {
        let (gpu, xid) = event.split_once(' ')?;
        Some((gpu.parse().ok()?, xid.parse().ok()?))
    };
    let (_, xid) = all.driver.all("xid").filter_map(of).filter(|(of, _)| *of == gpu).nth(*told)?;
    *told += 1;
    Some(xid)
}

fn processes(device: nvmlDevice_t, kind: &str) -> Result<Vec<raw::nvmlProcessInfo_t>, u32> {
    let process = |line: &str| {
        let mut words = line.split_whitespace();
        Some(raw::nvmlProcessInfo_t {
            pid: words.next()?.parse().ok()?,
            usedGpuMemory: words.next()?.parse().unwrap_or(c_ulonglong::MAX),
            gpuInstanceId: words.next().and_then(|w| w.parse().ok()).unwrap_or(c_uint::MAX),
            computeInstanceId: c_uint::MAX,
        })
    };
    let lines = section(device)?;
    if let Some(code) = lines.all(kind).find_map(|line| line.strip_prefix("error ")) {
        return Err(code.parse().unwrap_or(INVALID_ARGUMENT));
    }
    Ok(lines.all(kind).filter_map(process).collect())
}

fn used(device: nvmlDevice_t) -> Result<Vec<raw::nvmlProcessUtilizationSample_t>, u32> {
    let sample = |line: &str| {
        let words: Vec<c_uint> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        let &[pid, smUtil, memUtil, encUtil, decUtil] = words.as_slice() else { return None };
        Some(raw::nvmlProcessUtilizationSample_t { pid, timeStamp: 1, smUtil, memUtil, encUtil, decUtil })
    };
    Ok(section(device)?.all("used").filter_map(sample).collect())
}

/// Total, reserved, free and used bytes.
fn memory(device: nvmlDevice_t) -> Result<[u64; 4], u32> {
    let numbers = numbers(device, "memory")?;
    let &[total, reserved, used] = numbers.as_slice() else { return Err(INVALID_ARGUMENT) };
    let [total, reserved, used] = [total, reserved, used].map(|bytes| bytes as u64);
    Ok([total, reserved, total.saturating_sub(reserved + used), used])
}

fn field(lines: &Section, device: nvmlDevice_t, field: &mut raw::nvmlFieldValue_t) -> Result<(), u32> {
    let scope = if field.scopeId == u32::MAX { ".all" } else { "" };
    let numbers = lines.numbers(&format!("field.{}{scope}", field.fieldId), device.addr())?;
    field.value.ullVal = numbers.first().copied().unwrap_or_default() as c_ulonglong;
    field.valueType = raw::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    Ok(())
}

calls! {
    fn nvmlInit_v2() {
        match scenario::now().driver.text("init") {
            Err(failure) if failure != NOT_SUPPORTED => Err(failure),
            _ => Ok(()),
        }
    }

    fn nvmlShutdown() { Ok(()) }

    fn nvmlSystemGetDriverVersion(buffer: *mut c_char, length: c_uint) {
        // SAFETY: room for this many bytes, by nvml.h.
        unsafe { put_text(scenario::now().driver.text("driver")?, buffer, length) }
    }

    fn nvmlSystemGetNVMLVersion(buffer: *mut c_char, length: c_uint) {
        // SAFETY: as above.
        unsafe { put_text(scenario::now().driver.text("nvml")?, buffer, length) }
    }

    fn nvmlDeviceGetCount_v2(count: *mut c_uint) {
        let all = scenario::now();
        all.driver.text("driver")?;
        // SAFETY: a pointer to this type, by nvml.h.
        unsafe { count.write(all.gpus.len() as c_uint) };
        Ok(())
    }

    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) {
        let found = handle(index as usize + 1);
        section(found)?;
        // SAFETY: as above.
        unsafe { device.write(found) };
        Ok(())
    }

    fn nvmlDeviceGetInforomVersion(device: nvmlDevice_t, part: c_uint, buffer: *mut c_char, length: c_uint) {
        // SAFETY: room for this many bytes, by nvml.h.
        unsafe { put_text(section(device)?.text(&format!("inforom.{part}"))?, buffer, length) }
    }

    fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, info: *mut raw::nvmlPciInfo_t) {
        // SAFETY: a pointer to this type, by nvml.h; the bus id is its last member, of 32 bytes.
        unsafe { put_text(section(device)?.text("pci")?, (&raw mut (*info).busId).cast(), 32) }
    }

    fn nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, rates: *mut raw::nvmlUtilization_t) {
        let values = numbers(device, "nvmlDeviceGetUtilizationRates")?;
        let &[gpu, memory] = values.as_slice() else { return Err(INVALID_ARGUMENT) };
        // SAFETY: a pointer to this type, by nvml.h.
        unsafe { rates.write(raw::nvmlUtilization_t { gpu: gpu as c_uint, memory: memory as c_uint }) };
        Ok(())
    }

    fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, info: *mut raw::nvmlMemory_v2_t) {
        let [total, reserved, free, used] = memory(device)?;
        // SAFETY: a pointer to this type, by nvml.h.
        unsafe {
            let version = (*info).version;
            info.write(raw::nvmlMemory_v2_t { version, total, reserved, free, used });
        }
        Ok(())
    }

    fn nvmlDeviceGetBAR1MemoryInfo(device: nvmlDevice_t, info: *mut raw::nvmlBAR1Memory_t) {
        let values = numbers(device, "bar1")?;
        let &[bar1Total, bar1Used] = values.as_slice() else { return Err(INVALID_ARGUMENT) };
        let [bar1Total, bar1Used] = [bar1Total, bar1Used].map(|bytes| bytes as c_ulonglong);
        let value = raw::nvmlBAR1Memory_t { bar1Total, bar1Free: bar1Total.saturating_sub(bar1Used), bar1Used };
        // SAFETY: as above.
        unsafe { info.write(value) };
        Ok(())
    }

    fn nvmlDeviceGetFieldValues(device: nvmlDevice_t, count: c_int, values: *mut raw::nvmlFieldValue_t) {
        let lines = section(device)?;
        // SAFETY: this many values, by nvml.h.
        let values = unsafe { std::slice::from_raw_parts_mut(values, count.unsigned_abs() as usize) };
        for value in values {
            // An older library leaves a field untouched that it does not know.
            if lines.all("field-unknown").any(|id| id.parse() == Ok(value.fieldId)) {
                continue;
            }
            value.nvmlReturn = code(field(&lines, device, value));
        }
        Ok(())
    }

    fn nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) {
        if let Err(failure) = section(device)?.text("nvmlDeviceGetMaxMigDeviceCount")
            && failure != NOT_SUPPORTED
        {
            return Err(failure);
        }
        // SAFETY: a pointer to this type, by nvml.h.
        unsafe { count.write(7) };
        Ok(())
    }

    fn nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, found: *mut nvmlDevice_t) {
        let gpu = of(device).0;
        // Places need not be filled from the first: every other one is.
        let at = index.is_multiple_of(2).then_some(index as usize / 2).ok_or(NOT_FOUND)?;
        let instance = handle(INSTANCES_FROM * (gpu + 1) + at + 1);
        section(instance)?;
        // SAFETY: as above.
        unsafe { found.write(instance) };
        Ok(())
    }

    fn nvmlDeviceGetComputeRunningProcesses_v3(
        device: nvmlDevice_t, count: *mut c_uint, into: *mut raw::nvmlProcessInfo_t,
    ) {
        // SAFETY: room for this many, by nvml.h.
        unsafe { put_list(&processes(device, "process")?, count, into) }
    }

    fn nvmlDeviceGetGraphicsRunningProcesses_v3(
        device: nvmlDevice_t, count: *mut c_uint, into: *mut raw::nvmlProcessInfo_t,
    ) {
        // SAFETY: as above.
        unsafe { put_list(&processes(device, "graphics")?, count, into) }
    }

    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
        device: nvmlDevice_t, count: *mut c_uint, into: *mut raw::nvmlProcessInfo_t,
    ) {
        // SAFETY: as above.
        unsafe { put_list(&processes(device, "mps")?, count, into) }
    }

    fn nvmlDeviceGetProcessUtilization(
        device: nvmlDevice_t, into: *mut raw::nvmlProcessUtilizationSample_t, count: *mut c_uint,
        _since: c_ulonglong,
    ) {
        let samples = used(device)?;
        if samples.is_empty() {
            return Err(NOT_FOUND);
        }
        // SAFETY: as above.
        unsafe { put_list(&samples, count, into) }
    }

    fn nvmlGpmQueryDeviceSupport(device: nvmlDevice_t, support: *mut raw::nvmlGpmSupport_t) {
        let lines = section(device)?;
        // SAFETY: a pointer to this type, by nvml.h.
        unsafe { (*support).isSupportedDevice = c_uint::from(lines.has_any("gpm.")) };
        Ok(())
    }

    fn nvmlGpmSampleAlloc(sample: *mut raw::nvmlGpmSample_t) {
        let made = Box::into_raw(Box::new(Sample { device: 0, number: 0 }));
        // SAFETY: as above.
        unsafe { sample.write(made.cast()) };
        Ok(())
    }

    fn nvmlGpmSampleFree(sample: raw::nvmlGpmSample_t) {
        // SAFETY: it came from `nvmlGpmSampleAlloc` and is not used again.
        drop(unsafe { Box::from_raw(sample.cast::<Sample>()) });
        Ok(())
    }

    fn nvmlGpmSampleGet(device: nvmlDevice_t, sample: raw::nvmlGpmSample_t) {
        section(device)?;
        let number = SAMPLES.fetch_add(1, Ordering::AcqRel) + 1;
        // SAFETY: it came from `nvmlGpmSampleAlloc`.
        unsafe { sample.cast::<Sample>().write(Sample { device: device.addr(), number }) };
        Ok(())
    }

    fn nvmlGpmMigSampleGet(device: nvmlDevice_t, instance: c_uint, sample: raw::nvmlGpmSample_t) {
        let gpu = of(device).0;
        let instances = scenario::now().gpus.get(gpu).map(|gpu| gpu.instances.clone()).unwrap_or_default();
        let id = instance.to_string();
        let at = instances.iter().position(|i| i.all("nvmlDeviceGetGpuInstanceId").next() == Some(&id));
        // SAFETY: as above.
        let taken = unsafe { nvmlGpmSampleGet(handle(INSTANCES_FROM * (gpu + 1) + at.ok_or(NOT_FOUND)? + 1), sample) };
        if taken == 0 { Ok(()) } else { Err(taken) }
    }

    fn nvmlGpmMetricsGet(get: *mut raw::nvmlGpmMetricsGet_t) {
        // SAFETY: a pointer to this type, by nvml.h, with samples from `nvmlGpmSampleAlloc`.
        let (get, first, second) = unsafe {
            let get = &mut *get;
            let (first, second) = (get.sample1.cast::<Sample>(), get.sample2.cast::<Sample>());
            (get, &*first, &*second)
        };
        if first.device != second.device || first.number >= second.number {
            return Err(INVALID_ARGUMENT);
        }
        let lines = section(handle(first.device))?;
        for metric in get.metrics.iter_mut().take(get.numMetrics as usize) {
            let value = lines.numbers(&format!("gpm.{}", metric.metricId), first.device);
            metric.nvmlReturn = code(value.as_ref().map(|_| ()).map_err(|failure| *failure));
            metric.value = value.ok().and_then(|v| v.first().copied()).unwrap_or_default();
        }
        Ok(())
    }

    fn nvmlEventSetCreate(set: *mut raw::nvmlEventSet_t) {
        let made = Box::into_raw(Box::new(EventSet::default()));
        // SAFETY: as above.
        unsafe { set.write(made.cast()) };
        Ok(())
    }

    fn nvmlEventSetFree(set: raw::nvmlEventSet_t) {
        // SAFETY: it came from `nvmlEventSetCreate` and is not used again.
        drop(unsafe { Box::from_raw(set.cast::<EventSet>()) });
        Ok(())
    }

    fn nvmlDeviceRegisterEvents(device: nvmlDevice_t, _types: c_ulonglong, set: raw::nvmlEventSet_t) {
        section(device)?;
        // SAFETY: it came from `nvmlEventSetCreate`, and one thread at a time uses it.
        unsafe { (*set.cast::<EventSet>()).0.push(of(device).0) };
        Ok(())
    }

    fn nvmlEventSetWait_v2(set: raw::nvmlEventSet_t, data: *mut raw::nvmlEventData_t, timeout_ms: c_uint) {
        let until = Instant::now() + Duration::from_millis(timeout_ms.into());
        // SAFETY: as above.
        let gpus = unsafe { (*set.cast::<EventSet>()).0.clone() };
        loop {
            let all = scenario::now();
            for gpu in &gpus {
                if let Some(Err(failure)) = all.gpus.get(*gpu).map(|gpu| gpu.section.text("wait"))
                    && failure != NOT_SUPPORTED
                {
                    return Err(failure);
                }
                let Some(xid) = next_event(&all, *gpu) else { continue };
                let event = raw::nvmlEventData_t {
                    device: handle(gpu + 1),
                    eventType: u64::from(raw::nvmlEventTypeXidCriticalError),
                    eventData: xid,
                    gpuInstanceId: c_uint::MAX,
                    computeInstanceId: c_uint::MAX,
                };
                // SAFETY: a pointer to this type, by nvml.h.
                unsafe { data.write(event) };
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(TIMEOUT);
            }
            scenario::moment();
        }
    }
}
