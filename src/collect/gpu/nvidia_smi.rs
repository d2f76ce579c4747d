//! The same facts under nvidia_gpu_exporter's names, for its dashboards: `nvidia_smi_` and the name of the
//! query of `nvidia-smi --query-gpu`, in base units; label `uuid` without `GPU-`.

use super::families::{Family, MILLI, RATIO, Unit};
use super::reading::Quantity::{self, *};
use super::reading::{Identity, Values, Wanted};
use crate::model::{Batch, Kind};

const MEGAHERTZ: Unit = Unit::Times(1e6);
const MICRO: Unit = Unit::Times(1e-6);

const fn row(name: &'static str, of: &'static [Quantity], unit: Unit, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, by_default: false, of, unit, help }
}

#[rustfmt::skip]
static FAMILIES: &[Family] = &[
    row("nvidia_smi_clocks_current_graphics_clock_hz", &[GraphicsClock], MEGAHERTZ, "Clock of graphics."),
    row("nvidia_smi_clocks_current_memory_clock_hz", &[MemoryClock], MEGAHERTZ, "Clock of the memory."),
    row("nvidia_smi_clocks_current_sm_clock_hz", &[SmClock], MEGAHERTZ, "Clock of the streaming multiprocessors."),
    row("nvidia_smi_clocks_current_video_clock_hz", &[VideoClock], MEGAHERTZ, "Clock of the video engines."),
    row("nvidia_smi_clocks_max_graphics_clock_hz", &[MaxGraphicsClock], MEGAHERTZ, "Highest clock of graphics."),
    row("nvidia_smi_clocks_max_memory_clock_hz", &[MaxMemoryClock], MEGAHERTZ, "Highest clock of the memory."),
    row("nvidia_smi_clocks_max_sm_clock_hz", &[MaxSmClock], MEGAHERTZ, "Highest clock of the streaming multiprocessors."),
    row("nvidia_smi_ecc_errors_corrected_aggregate_total", &[EccSingleAggregate], Unit::Same, "Corrected memory errors in the GPU's life."),
    row("nvidia_smi_ecc_errors_corrected_volatile_total", &[EccSingleVolatile], Unit::Same, "Corrected memory errors since the driver was loaded."),
    row("nvidia_smi_ecc_errors_uncorrected_aggregate_total", &[EccDoubleAggregate], Unit::Same, "Memory errors in the GPU's life that could not be corrected."),
    row("nvidia_smi_ecc_errors_uncorrected_volatile_total", &[EccDoubleVolatile], Unit::Same, "Memory errors since the driver was loaded that could not be corrected."),
    row("nvidia_smi_ecc_mode_current", &[EccMode], Unit::Same, "Whether memory errors are corrected."),
    row("nvidia_smi_ecc_mode_pending", &[EccPendingMode], Unit::Same, "Whether memory errors will be corrected after a reset."),
    row("nvidia_smi_encoder_stats_average_fps", &[EncoderFrameRate], Unit::Same, "Frames a second of the video encoder's sessions."),
    row("nvidia_smi_encoder_stats_average_latency", &[EncoderLatency], MICRO, "Latency of the video encoder's sessions, seconds."),
    row("nvidia_smi_encoder_stats_session_count", &[EncoderSessions], Unit::Same, "Sessions of the video encoder."),
    row("nvidia_smi_enforced_power_limit_watts", &[EnforcedPowerLimit], MILLI, "Limit of the power in force."),
    row("nvidia_smi_fan_speed_ratio", &[FanSpeed], RATIO, "Speed of the fan that is asked for."),
    row("nvidia_smi_index", &[], Unit::Same, "Number of the GPU."),
    row("nvidia_smi_memory_free_bytes", &[MemoryFree], Unit::Same, "Memory that is free."),
    row("nvidia_smi_memory_reserved_bytes", &[MemoryReserved], Unit::Same, "Memory that the driver keeps to itself."),
    row("nvidia_smi_memory_total_bytes", &[MemoryTotal], Unit::Same, "Memory of the GPU."),
    row("nvidia_smi_memory_used_bytes", &[MemoryUsed], Unit::Same, "Memory in use."),
    row("nvidia_smi_pcie_link_gen_current", &[PcieGeneration], Unit::Same, "Generation of the PCIe link."),
    row("nvidia_smi_pcie_link_gen_max", &[PcieMaxGeneration], Unit::Same, "Highest generation that the PCIe link can have."),
    row("nvidia_smi_pcie_link_width_current", &[PcieWidth], Unit::Same, "Lanes of the PCIe link."),
    row("nvidia_smi_pcie_link_width_max", &[PcieMaxWidth], Unit::Same, "Most lanes that the PCIe link can have."),
    row("nvidia_smi_persistence_mode", &[PersistenceMode], Unit::Same, "Whether the driver stays loaded without users."),
    row("nvidia_smi_power_default_limit_watts", &[DefaultPowerLimit], MILLI, "Limit of the power by default."),
    row("nvidia_smi_power_draw_average_watts", &[PowerAverage], MILLI, "Power drawn, mean of a second."),
    row("nvidia_smi_power_draw_instant_watts", &[PowerInstant], MILLI, "Power drawn at this instant."),
    row("nvidia_smi_power_draw_watts", &[PowerUsage], MILLI, "Power drawn."),
    row("nvidia_smi_power_limit_watts", &[PowerLimit], MILLI, "Limit of the power that is set."),
    row("nvidia_smi_power_max_limit_watts", &[MaxPowerLimit], MILLI, "Highest limit of the power that can be set."),
    row("nvidia_smi_power_min_limit_watts", &[MinPowerLimit], MILLI, "Lowest limit of the power that can be set."),
    row("nvidia_smi_pstate", &[PerformanceState], Unit::Same, "Performance state: 0 is the fastest."),
    row("nvidia_smi_remapped_rows_correctable", &[RemappedCorrectable], Unit::Same, "Memory rows remapped because of corrected errors."),
    row("nvidia_smi_remapped_rows_failure", &[RemapFailure], Unit::Same, "Whether remapping a memory row failed."),
    row("nvidia_smi_remapped_rows_pending", &[RemapPending], Unit::Same, "Whether a reset will remap memory rows."),
    row("nvidia_smi_remapped_rows_uncorrectable", &[RemappedUncorrectable], Unit::Same, "Memory rows remapped because of errors that could not be corrected."),
    row("nvidia_smi_temperature_gpu", &[GpuTemperature], Unit::Same, "Temperature of the GPU, degrees Celsius."),
    row("nvidia_smi_temperature_memory", &[MemoryTemperature], Unit::Same, "Temperature of the memory, degrees Celsius."),
    row("nvidia_smi_utilization_decoder_ratio", &[DecoderUtilization], RATIO, "Utilization of the video decoder."),
    row("nvidia_smi_utilization_encoder_ratio", &[EncoderUtilization], RATIO, "Utilization of the video encoder."),
    row("nvidia_smi_utilization_gpu_ratio", &[GpuUtilization], RATIO, "Time in which a kernel ran."),
    row("nvidia_smi_utilization_jpeg_ratio", &[JpegUtilization], RATIO, "Utilization of the JPEG engine."),
    row("nvidia_smi_utilization_memory_ratio", &[MemoryUtilization], RATIO, "Time in which memory was read or written."),
    row("nvidia_smi_utilization_ofa_ratio", &[FlowUtilization], RATIO, "Utilization of the optical flow engine."),
];

/// What these families need to be asked for.
pub(super) fn want(wanted: &mut Wanted) {
    FAMILIES.iter().flat_map(|family| family.of).for_each(|quantity| wanted.add(*quantity));
    wanted.add(ClockReasons);
}

/// Writes them for one GPU.
pub(super) fn write(out: &mut Batch, gpu: u32, identity: &Identity, driver: &str, values: &Values) {
    let uuid = identity.uuid.strip_prefix("GPU-").unwrap_or(&identity.uuid).to_lowercase();
    let labels = [("uuid", &*uuid)];
    for family in FAMILIES {
        let value = if family.of.is_empty() { Some(f64::from(gpu)) } else { family.value(values) };
        if let Some(value) = value {
            out.gauge(family.name, family.help, &labels, value);
        }
    }
    if let Some(reasons) = values.get(ClockReasons) {
        let help = "Whether this is why the clocks are what they are.";
        for (reason, bit) in super::write::REASONS {
            let name = format!("nvidia_smi_clocks_event_reasons_{reason}");
            out.gauge(&name, help, &labels, super::write::bit(reasons, *bit));
        }
        out.gauge(
            "nvidia_smi_clocks_event_reasons_active",
            "All reasons as a mask of bits.",
            &labels,
            reasons,
        );
    }
    let vbios = identity.details.iter().find(|(name, _)| *name == "DCGM_FI_DEV_VBIOS_VERSION");
    let vbios = vbios.map_or("", |(_, version)| version);
    let labels =
        [("driver_version", driver), ("name", &identity.model), ("uuid", &uuid), ("vbios_version", vbios)];
    out.gauge("nvidia_smi_gpu_info", "A GPU and its driver; always 1.", &labels, 1.0);
}
