//! The families under dcgm-exporter's names: type, whether on by default, what each is made of, its help.
//!
//! Names, types, defaults and units are those of dcgm-exporter 4.5 with its default counters; where DCGM gives
//! a number that NVML has not, there is no family. Invariant: a row is the only place that knows its name.

use super::reading::Quantity::{self, *};
use super::reading::Values;
use crate::model::Kind::{self, Counter, Gauge};

/// How the library's unit becomes the family's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// As it is.
    Same,
    /// Times a factor.
    Times(f64),
    /// Bytes as whole MiB.
    WholeMebibytes,
    /// The first in proportion to the second less the third.
    Share,
}

/// A percentage as a ratio.
pub(super) const RATIO: Unit = Unit::Times(0.01);
/// Thousandths as wholes.
pub(super) const MILLI: Unit = Unit::Times(0.001);
const MEBIBYTE: f64 = 1_048_576.0;
/// MiB as bytes.
pub(super) const MEBIBYTES: Unit = Unit::Times(MEBIBYTE);

/// A family and what it is made of.
#[derive(Debug, PartialEq)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) by_default: bool,
    /// Summed, or as [`Unit::Share`] says; none for [`XID`].
    pub(super) of: &'static [Quantity],
    pub(super) unit: Unit,
    pub(super) help: &'static str,
}

impl Family {
    /// Its value, if everything that it is made of was answered.
    pub(super) fn value(&self, values: &Values) -> Option<f64> {
        if self.unit == Unit::Share {
            let [part, whole, without] = self.of else { return None };
            let whole = values.get(*whole)? - values.get(*without).unwrap_or(0.0);
            return Some(values.get(*part)? / whole).filter(|share| share.is_finite());
        }
        let mut sum = None;
        for quantity in self.of {
            sum = Some(sum.unwrap_or(0.0) + values.get(*quantity)?);
        }
        Some(match self.unit {
            Unit::Times(factor) => sum? * factor,
            Unit::WholeMebibytes => (sum? / MEBIBYTE).floor(),
            _ => sum?,
        })
    }

    /// Whether MIG instances have it, in place of their GPU.
    pub(super) fn is_per_instance(&self) -> bool {
        let memory = [MemoryTotal, MemoryFree, MemoryUsed, MemoryReserved];
        self.of.first().is_some_and(|q| memory.contains(q) || super::counters::GIVES.contains(q))
    }
}

const fn on(
    name: &'static str,
    kind: Kind,
    of: &'static [Quantity],
    unit: Unit,
    help: &'static str,
) -> Family {
    Family { name, kind, by_default: true, of, unit, help }
}

const fn off(
    name: &'static str,
    kind: Kind,
    of: &'static [Quantity],
    unit: Unit,
    help: &'static str,
) -> Family {
    Family { name, kind, by_default: false, of, unit, help }
}

use Unit::{Same, Share, WholeMebibytes};

/// The one family that no reading has: the last critical error, from its events.
pub(super) const XID: &str = "DCGM_FI_DEV_XID_ERRORS";

/// Fields that become labels, and whether they do by default.
pub(super) const LABELS: &[(&str, bool)] = &[
    ("DCGM_FI_DRIVER_VERSION", true),
    ("DCGM_FI_NVML_VERSION", false),
    ("DCGM_FI_DEV_BRAND", false),
    ("DCGM_FI_DEV_SERIAL", false),
    ("DCGM_FI_DEV_OEM_INFOROM_VER", false),
    ("DCGM_FI_DEV_ECC_INFOROM_VER", false),
    ("DCGM_FI_DEV_POWER_INFOROM_VER", false),
    ("DCGM_FI_DEV_INFOROM_IMAGE_VER", false),
    ("DCGM_FI_DEV_VBIOS_VERSION", false),
];

#[rustfmt::skip]
pub(super) static FAMILIES: &[Family] = &[
    on("DCGM_FI_DEV_SM_CLOCK", Gauge, &[SmClock], Same, "Clock of the streaming multiprocessors, MHz."),
    on("DCGM_FI_DEV_MEM_CLOCK", Gauge, &[MemoryClock], Same, "Clock of the memory, MHz."),
    off("DCGM_FI_DEV_VIDEO_CLOCK", Gauge, &[VideoClock], Same, "Clock of the video engines, MHz."),
    off("DCGM_FI_DEV_APP_SM_CLOCK", Gauge, &[ApplicationSmClock], Same, "Clock of the streaming multiprocessors that applications asked for, MHz."),
    off("DCGM_FI_DEV_APP_MEM_CLOCK", Gauge, &[ApplicationMemoryClock], Same, "Clock of the memory that applications asked for, MHz."),
    off("DCGM_FI_DEV_MAX_SM_CLOCK", Gauge, &[MaxSmClock], Same, "Highest clock of the streaming multiprocessors, MHz."),
    off("DCGM_FI_DEV_MAX_MEM_CLOCK", Gauge, &[MaxMemoryClock], Same, "Highest clock of the memory, MHz."),
    off("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", Gauge, &[ClockReasons], Same, "Why the clocks are what they are: a mask of bits."),
    off("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", Gauge, &[ClockReasons], Same, "Why the clocks are what they are: a mask of bits."),
    on("DCGM_FI_DEV_MEMORY_TEMP", Gauge, &[MemoryTemperature], Same, "Temperature of the memory, degrees Celsius."),
    on("DCGM_FI_DEV_GPU_TEMP", Gauge, &[GpuTemperature], Same, "Temperature of the GPU, degrees Celsius."),
    off("DCGM_FI_DEV_SLOWDOWN_TEMP", Gauge, &[SlowdownTemperature], Same, "Temperature at which the GPU slows down, degrees Celsius."),
    off("DCGM_FI_DEV_SHUTDOWN_TEMP", Gauge, &[ShutdownTemperature], Same, "Temperature at which the GPU shuts down, degrees Celsius."),
    on("DCGM_FI_DEV_POWER_USAGE", Gauge, &[PowerUsage], MILLI, "Power drawn, watts."),
    off("DCGM_FI_DEV_POWER_USAGE_INSTANT", Gauge, &[PowerInstant], MILLI, "Power drawn at this instant, watts."),
    off("DCGM_FI_DEV_POWER_MGMT_LIMIT", Gauge, &[PowerLimit], MILLI, "Limit of the power that is set, watts."),
    off("DCGM_FI_DEV_POWER_MGMT_LIMIT_MIN", Gauge, &[MinPowerLimit], MILLI, "Lowest limit of the power that can be set, watts."),
    off("DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX", Gauge, &[MaxPowerLimit], MILLI, "Highest limit of the power that can be set, watts."),
    off("DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF", Gauge, &[DefaultPowerLimit], MILLI, "Limit of the power by default, watts."),
    off("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", Gauge, &[EnforcedPowerLimit], MILLI, "Limit of the power in force, watts."),
    on("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Counter, &[Energy], Same, "Energy used since the driver was loaded, millijoules."),
    on("DCGM_FI_PROF_PCIE_TX_BYTES", Gauge, &[PcieSendRate], MEBIBYTES, "Bytes a second that the GPU sent over PCIe since the last pass."),
    on("DCGM_FI_PROF_PCIE_RX_BYTES", Gauge, &[PcieReceiveRate], MEBIBYTES, "Bytes a second that the GPU received over PCIe since the last pass."),
    off("DCGM_FI_PROF_NVLINK_TX_BYTES", Gauge, &[NvlinkSendRate], MEBIBYTES, "Bytes a second that the GPU sent over NVLink since the last pass."),
    off("DCGM_FI_PROF_NVLINK_RX_BYTES", Gauge, &[NvlinkReceiveRate], MEBIBYTES, "Bytes a second that the GPU received over NVLink since the last pass."),
    off("DCGM_FI_DEV_PCIE_TX_THROUGHPUT", Gauge, &[PcieSent], Same, "PCIe throughput out of the GPU over 20 ms, KB/s; sampled after a pass for the next one."),
    off("DCGM_FI_DEV_PCIE_RX_THROUGHPUT", Gauge, &[PcieReceived], Same, "PCIe throughput into the GPU over 20 ms, KB/s; sampled after a pass for the next one."),
    on("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", Counter, &[PcieReplays], Same, "PCIe packets that were sent again."),
    off("DCGM_FI_DEV_PCIE_LINK_GEN", Gauge, &[PcieGeneration], Same, "Generation of the PCIe link."),
    off("DCGM_FI_DEV_PCIE_LINK_WIDTH", Gauge, &[PcieWidth], Same, "Lanes of the PCIe link."),
    off("DCGM_FI_DEV_PCIE_MAX_LINK_GEN", Gauge, &[PcieMaxGeneration], Same, "Highest generation that the PCIe link can have."),
    off("DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH", Gauge, &[PcieMaxWidth], Same, "Most lanes that the PCIe link can have."),
    on("DCGM_FI_DEV_GPU_UTIL", Gauge, &[GpuUtilization], Same, "Time in which a kernel ran, percent of the last sampling period."),
    on("DCGM_FI_DEV_MEM_COPY_UTIL", Gauge, &[MemoryUtilization], Same, "Time in which memory was read or written, percent of the last sampling period."),
    on("DCGM_FI_DEV_ENC_UTIL", Gauge, &[EncoderUtilization], Same, "Utilization of the video encoder, percent."),
    on("DCGM_FI_DEV_DEC_UTIL", Gauge, &[DecoderUtilization], Same, "Utilization of the video decoder, percent."),
    on(XID, Gauge, &[], Same, "Number of the last critical error (XID); 0 if there was none."),
    off("DCGM_FI_DEV_POWER_VIOLATION", Counter, &[PowerViolation], Same, "Time below the clocks asked for because of power, nanoseconds."),
    off("DCGM_FI_DEV_THERMAL_VIOLATION", Counter, &[ThermalViolation], Same, "Time below the clocks asked for because of heat, nanoseconds."),
    off("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", Counter, &[SyncBoostViolation], Same, "Time below the clocks asked for because of a sync boost group, nanoseconds."),
    off("DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", Counter, &[BoardLimitViolation], Same, "Time below the clocks asked for because of the board's limit, nanoseconds."),
    off("DCGM_FI_DEV_LOW_UTIL_VIOLATION", Counter, &[LowUtilizationViolation], Same, "Time below the clocks asked for because of low utilization, nanoseconds."),
    off("DCGM_FI_DEV_RELIABILITY_VIOLATION", Counter, &[ReliabilityViolation], Same, "Time below the clocks asked for because of reliability, nanoseconds."),
    off("DCGM_FI_DEV_TOTAL_APP_CLOCKS_VIOLATION", Counter, &[ApplicationClocksViolation], Same, "Time below the application clocks, nanoseconds."),
    off("DCGM_FI_DEV_TOTAL_BASE_CLOCKS_VIOLATION", Counter, &[BaseClocksViolation], Same, "Time below the base clocks, nanoseconds."),
    off("DCGM_FI_DEV_FB_TOTAL", Gauge, &[MemoryTotal], WholeMebibytes, "Memory of the GPU, MiB."),
    on("DCGM_FI_DEV_FB_FREE", Gauge, &[MemoryFree], WholeMebibytes, "Memory that is free, MiB."),
    on("DCGM_FI_DEV_FB_USED", Gauge, &[MemoryUsed], WholeMebibytes, "Memory in use, MiB."),
    on("DCGM_FI_DEV_FB_RESERVED", Gauge, &[MemoryReserved], WholeMebibytes, "Memory that the driver keeps to itself, MiB."),
    off("DCGM_FI_DEV_FB_USED_PERCENT", Gauge, &[MemoryUsed, MemoryTotal, MemoryReserved], Share, "Memory in use as a share, 0 to 1, of what the driver leaves to use."),
    off("DCGM_FI_DEV_BAR1_TOTAL", Gauge, &[Bar1Total], WholeMebibytes, "Window through which the host sees the memory, MiB."),
    off("DCGM_FI_DEV_BAR1_FREE", Gauge, &[Bar1Free], WholeMebibytes, "Free part of the window through which the host sees the memory, MiB."),
    off("DCGM_FI_DEV_BAR1_USED", Gauge, &[Bar1Used], WholeMebibytes, "Used part of the window through which the host sees the memory, MiB."),
    off("DCGM_FI_DEV_ECC_CURRENT", Gauge, &[EccMode], Same, "Whether memory errors are corrected."),
    off("DCGM_FI_DEV_ECC_PENDING", Gauge, &[EccPendingMode], Same, "Whether memory errors will be corrected after a reset."),
    off("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", Counter, &[EccSingleVolatile], Same, "Corrected memory errors since the driver was loaded."),
    off("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", Counter, &[EccDoubleVolatile], Same, "Memory errors since the driver was loaded that could not be corrected."),
    off("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", Counter, &[EccSingleAggregate], Same, "Corrected memory errors in the GPU's life."),
    off("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", Counter, &[EccDoubleAggregate], Same, "Memory errors in the GPU's life that could not be corrected."),
    off("DCGM_FI_DEV_RETIRED_SBE", Counter, &[RetiredSingle], Same, "Pages retired because of corrected errors."),
    off("DCGM_FI_DEV_RETIRED_DBE", Counter, &[RetiredDouble], Same, "Pages retired because of an error that could not be corrected."),
    off("DCGM_FI_DEV_RETIRED_PENDING", Counter, &[RetiredPending], Same, "Pages that a reset will retire."),
    off("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", Counter, &[NvlinkFlitErrors], Same, "Checksum errors of NVLink flow control, all links."),
    off("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", Counter, &[NvlinkDataErrors], Same, "Checksum errors of NVLink data, all links."),
    off("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", Counter, &[NvlinkReplays], Same, "NVLink packets that were sent again, all links."),
    off("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", Counter, &[NvlinkRecoveries], Same, "NVLink links that were trained again, all links."),
    on("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", Counter, &[NvlinkSent, NvlinkReceived], Same, "Data sent and received over all NVLink links, KiB."),
    off("DCGM_FI_DEV_NVLINK_BANDWIDTH_L0", Counter, &[NvlinkSent0, NvlinkReceived0], Same, "Data sent and received over NVLink link 0, KiB."),
    on("DCGM_FI_DEV_VGPU_LICENSE_STATUS", Gauge, &[VgpuLicense], Same, "Whether a vGPU licence is held."),
    on("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", Counter, &[RemappedUncorrectable], Same, "Memory rows remapped because of errors that could not be corrected."),
    on("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", Counter, &[RemappedCorrectable], Same, "Memory rows remapped because of corrected errors."),
    on("DCGM_FI_DEV_ROW_REMAP_FAILURE", Gauge, &[RemapFailure], Same, "Whether remapping a memory row failed."),
    off("DCGM_FI_DEV_ROW_REMAP_PENDING", Gauge, &[RemapPending], Same, "Whether a reset will remap memory rows."),
    off("DCGM_FI_DEV_FAN_SPEED", Gauge, &[FanSpeed], Same, "Speed of the fan that is asked for, percent."),
    off("DCGM_FI_DEV_PSTATE", Gauge, &[PerformanceState], Same, "Performance state: 0 is the fastest, 15 the slowest."),
    off("DCGM_FI_DEV_COMPUTE_MODE", Gauge, &[ComputeMode], Same, "Who may compute: 0 all, 2 nobody, 3 one process."),
    off("DCGM_FI_DEV_PERSISTENCE_MODE", Gauge, &[PersistenceMode], Same, "Whether the driver stays loaded without users."),
    on("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Gauge, &[ActiveGraphics], RATIO, "Time in which the graphics or compute engine was active since the last pass, as a ratio."),
    off("DCGM_FI_PROF_SM_ACTIVE", Gauge, &[ActiveSm], RATIO, "Time in which a streaming multiprocessor had a warp since the last pass, as a ratio, mean of all."),
    off("DCGM_FI_PROF_SM_OCCUPANCY", Gauge, &[ActiveOccupancy], RATIO, "Resident warps since the last pass in proportion to the most possible."),
    on("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", Gauge, &[ActiveTensor], RATIO, "Time in which the tensor cores were active since the last pass, as a ratio."),
    off("DCGM_FI_PROF_PIPE_TENSOR_DFMA_ACTIVE", Gauge, &[ActiveTensorFp64], RATIO, "Time in which the tensor cores computed with doubles since the last pass, as a ratio."),
    off("DCGM_FI_PROF_PIPE_TENSOR_HMMA_ACTIVE", Gauge, &[ActiveTensorFp16], RATIO, "Time in which the tensor cores computed with halves since the last pass, as a ratio."),
    off("DCGM_FI_PROF_PIPE_TENSOR_IMMA_ACTIVE", Gauge, &[ActiveTensorInteger], RATIO, "Time in which the tensor cores computed with integers since the last pass, as a ratio."),
    on("DCGM_FI_PROF_DRAM_ACTIVE", Gauge, &[ActiveDram], RATIO, "Memory bandwidth used since the last pass in proportion to the most possible."),
    off("DCGM_FI_PROF_PIPE_FP64_ACTIVE", Gauge, &[ActiveFp64], RATIO, "Time in which doubles were computed since the last pass, as a ratio."),
    off("DCGM_FI_PROF_PIPE_FP32_ACTIVE", Gauge, &[ActiveFp32], RATIO, "Time in which singles and integers were computed since the last pass, as a ratio."),
    off("DCGM_FI_PROF_PIPE_FP16_ACTIVE", Gauge, &[ActiveFp16], RATIO, "Time in which halves were computed outside the tensor cores since the last pass, as a ratio."),
    off("DCGM_FI_PROF_PIPE_INT_ACTIVE", Gauge, &[ActiveInteger], RATIO, "Time in which integers were computed since the last pass, as a ratio."),
];
