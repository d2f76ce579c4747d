//! Performance monitor counters of a GPU or MIG instance: what happened between two passes.
//! Source: NVML API reference, "GPM functions" (Hopper and newer).
//!
//! Two samples are kept, the last and one to fill. Passes closer together than [`SHORTEST`] share an interval.

use std::time::{Duration, Instant};

use super::reading::Quantity::{self, *};
use super::reading::{Values, Wanted};
use crate::collect::os::nvml::{Device, Library, Sample};

/// Shortest time between two samples; the library's counters need about this long to tell anything.
const SHORTEST: Duration = Duration::from_millis(100);

/// Longest time for which a value is told again, and beyond which the last sample says nothing of now.
const LONGEST: Duration = Duration::from_secs(600);

/// `NVML_GPM_METRIC_*` of nvml.h.
const METRICS: [(Quantity, u32); 16] = [
    (ActiveGraphics, 1),
    (ActiveSm, 2),
    (ActiveOccupancy, 3),
    (ActiveInteger, 4),
    (ActiveTensor, 5),
    (ActiveTensorFp64, 6),
    (ActiveTensorFp16, 7),
    (ActiveTensorInteger, 9),
    (ActiveDram, 10),
    (ActiveFp64, 11),
    (ActiveFp32, 12),
    (ActiveFp16, 13),
    (PcieSendRate, 20),
    (PcieReceiveRate, 21),
    (NvlinkReceiveRate, 60),
    (NvlinkSendRate, 61),
];

/// What the counters give.
pub(super) const GIVES: [Quantity; METRICS.len()] = {
    let mut gives = [ActiveGraphics; METRICS.len()];
    let mut at = 0;
    while at < METRICS.len() {
        #[allow(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
        {
            gives[at] = METRICS[at].0;
        }
        at += 1;
    }
    gives
};

/// The samples of one GPU or instance.
#[derive(Debug, Default)]
pub(super) struct Counters {
    last: Option<(Sample, Instant)>,
    spare: Option<Sample>,
    values: Vec<(Quantity, Option<f64>)>,
}

impl Counters {
    /// Sets what happened since the last pass; nothing in the first one.
    pub(super) fn read(
        &mut self,
        library: &Library,
        device: Device,
        instance: Option<u32>,
        wanted: &Wanted,
        values: &mut Values,
    ) {
        if self.last.as_ref().is_none_or(|(_, at)| at.elapsed() >= SHORTEST) {
            self.advance(library, device, instance, wanted);
        }
        for (quantity, value) in &self.values {
            if let Some(value) = value {
                values.set(*quantity, *value);
            }
        }
    }

    fn advance(&mut self, library: &Library, device: Device, instance: Option<u32>, wanted: &Wanted) {
        self.values.clear();
        let Some(mut sample) = self.spare.take().or_else(|| library.new_sample().ok()) else { return };
        if library.take_sample(device, instance, &mut sample).is_err() {
            self.spare = Some(sample);
            return;
        }
        let Some((last, at)) = self.last.replace((sample, Instant::now())) else { return };
        let metrics: Vec<_> = METRICS.iter().filter(|(q, _)| wanted.has(*q)).collect();
        let ids: Vec<u32> = metrics.iter().map(|(_, id)| *id).collect();
        let now = self.last.as_ref().map(|(sample, _)| sample);
        if let Some(now) = now.filter(|_| at.elapsed() < LONGEST)
            && let Ok(between) = library.between(&last, now, &ids)
        {
            self.values = metrics.iter().map(|(quantity, _)| *quantity).zip(between).collect();
        }
        self.spare = Some(last);
    }

    /// Gives the library its memory back.
    pub(super) fn free(self, library: &Library) {
        let samples = self.last.map(|(sample, _)| sample).into_iter().chain(self.spare);
        samples.for_each(|sample| library.free_sample(sample));
    }
}
