//! What is watched over time: performance monitor counters ("GPM" of the NVML API reference) and events.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings as raw;

use super::{Device, Failure, Library, Outcome, check};

/// A buffer of the library for performance monitor counters; freed by [`Library::free_sample`].
#[derive(Debug)]
pub(in crate::collect) struct Sample(raw::nvmlGpmSample_t);

// SAFETY: memory of the library that one thread at a time uses: it is neither `Sync` nor `Clone`.
unsafe impl Send for Sample {}

/// A queue of the library for events.
#[derive(Debug)]
pub(in crate::collect) struct EventSet(raw::nvmlEventSet_t);

// SAFETY: as for `Sample`.
unsafe impl Send for EventSet {}

impl Library {
    /// Whether the GPU has performance monitor counters (Hopper and newer).
    pub(in crate::collect) fn has_performance_counters(&self, device: Device) -> bool {
        let Ok(function) = symbol!(self, nvmlGpmQueryDeviceSupport) else { return false };
        let mut support =
            raw::nvmlGpmSupport_t { version: raw::NVML_GPM_SUPPORT_VERSION, isSupportedDevice: 0 };
        // SAFETY: reads and writes one structure of this version.
        check(unsafe { function(device.0, &raw mut support) }).is_ok() && support.isSupportedDevice != 0
    }

    pub(in crate::collect) fn new_sample(&self) -> Outcome<Sample> {
        let function = symbol!(self, nvmlGpmSampleAlloc)?;
        let mut sample = std::ptr::null_mut();
        // SAFETY: writes one pointer, to memory that the library keeps until it is given back.
        check(unsafe { function(&raw mut sample) })?;
        Ok(Sample(sample))
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is gone afterwards")]
    pub(in crate::collect) fn free_sample(&self, sample: Sample) {
        if let Ok(function) = symbol!(self, nvmlGpmSampleFree) {
            // SAFETY: it came from `new_sample` and is not used again.
            let _ = check(unsafe { function(sample.0) });
        }
    }

    /// Reads the counters of a GPU, or of one of its MIG instances, as of now.
    pub(in crate::collect) fn take_sample(
        &self,
        device: Device,
        instance: Option<u32>,
        into: &mut Sample,
    ) -> Outcome<()> {
        match instance {
            None => {
                let function = symbol!(self, nvmlGpmSampleGet)?;
                // SAFETY: writes into memory that the library made for this.
                check(unsafe { function(device.0, into.0) })
            }
            Some(instance) => {
                let function = symbol!(self, nvmlGpmMigSampleGet)?;
                // SAFETY: as above.
                check(unsafe { function(device.0, instance, into.0) })
            }
        }
    }

    /// What happened between two samples: for each metric its value, or `None`.
    pub(in crate::collect) fn between(
        &self,
        first: &Sample,
        second: &Sample,
        metrics: &[u32],
    ) -> Outcome<Vec<Option<f64>>> {
        let function = symbol!(self, nvmlGpmMetricsGet)?;
        // SAFETY: a structure of numbers and pointers, for which zeros are valid.
        let mut get: Box<raw::nvmlGpmMetricsGet_t> = unsafe { Box::<_>::new(std::mem::zeroed()) };
        get.version = raw::NVML_GPM_METRICS_GET_VERSION;
        get.numMetrics = c_uint::try_from(metrics.len()).unwrap_or(0);
        (get.sample1, get.sample2) = (first.0, second.0);
        for (slot, id) in get.metrics.iter_mut().zip(metrics) {
            slot.metricId = *id;
        }
        // SAFETY: reads the samples and writes the values of as many metrics as it is told, which there is
        // room for: `zip` ends with the shorter, and the library refuses more than it knows.
        check(unsafe { function(&raw mut *get) })?;
        let value = |m: &raw::nvmlGpmMetric_t| (m.nvmlReturn == 0 && m.value.is_finite()).then_some(m.value);
        Ok(get.metrics.iter().take(metrics.len()).map(value).collect())
    }

    pub(in crate::collect) fn new_event_set(&self) -> Outcome<EventSet> {
        let function = symbol!(self, nvmlEventSetCreate)?;
        let mut set = std::ptr::null_mut();
        // SAFETY: writes one handle.
        check(unsafe { function(&raw mut set) })?;
        Ok(EventSet(set))
    }

    /// Wants to hear of a GPU's critical errors.
    pub(in crate::collect) fn register_xid(&self, device: Device, set: &mut EventSet) -> Outcome<()> {
        let function = symbol!(self, nvmlDeviceRegisterEvents)?;
        // SAFETY: two handles and a number.
        check(unsafe { function(device.0, u64::from(raw::nvmlEventTypeXidCriticalError), set.0) })
    }

    /// Waits for a critical error, and gives its XID; `None` when none came in time.
    pub(in crate::collect) fn wait(&self, set: &mut EventSet, timeout_ms: u32) -> Outcome<Option<u64>> {
        let function = symbol!(self, nvmlEventSetWait_v2)?;
        let mut data = raw::nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: 0,
            computeInstanceId: 0,
        };
        // SAFETY: writes one structure of this type.
        match check(unsafe { function(set.0, &raw mut data, timeout_ms) }) {
            Ok(()) if data.eventType & u64::from(raw::nvmlEventTypeXidCriticalError) != 0 => {
                Ok(Some(data.eventData))
            }
            Ok(()) | Err(Failure::TIMEOUT) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is gone afterwards")]
    pub(in crate::collect) fn free_event_set(&self, set: EventSet) {
        if let Ok(function) = symbol!(self, nvmlEventSetFree) {
            // SAFETY: it came from `new_event_set` and is not used again.
            let _ = check(unsafe { function(set.0) });
        }
    }
}
