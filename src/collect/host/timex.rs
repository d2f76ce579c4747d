//! The kernel's clock discipline. Source: `adjtimex(2)`, kernel `include/uapi/linux/timex.h`.

use crate::collect::os::clock_state;
use crate::collect::{CollectError, Collector, Pass, Spec};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "timex",
    on_by_default: true,
    help: "State of the kernel's clock discipline (NTP, PPS) from adjtimex(2).",
    flags: &[],
    build: |_, _| Ok(Box::new(Timex)),
};

struct Timex;

/// Frequencies are in parts per million with 16 bits of fraction (adjtimex(2), NOTES).
const PPM_16_BIT_FRACTION: f64 = 1e6 * 65_536.0;
const MICROSECONDS_PER_SECOND: f64 = 1e6;
const NANOSECONDS_PER_SECOND: f64 = 1e9;

impl Collector for Timex {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let clock = clock_state().map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => CollectError::NoData(format!("adjtimex: {e}")),
            _ => CollectError::Other(format!("adjtimex: {e}")),
        })?;
        emit(&clock.timex, clock.state != libc::TIME_ERROR, out);
        Ok(())
    }
}

fn emit(timex: &libc::timex, synchronised: bool, out: &mut Batch) {
    let nanoseconds = timex.status & libc::STA_NANO != 0;
    let offset_divisor = if nanoseconds { NANOSECONDS_PER_SECOND } else { MICROSECONDS_PER_SECOND };
    let offset = |value| long(value) / offset_divisor;
    let microseconds = |value| long(value) / MICROSECONDS_PER_SECOND;
    let ppm = |value| long(value) / PPM_16_BIT_FRACTION;
    let synchronised = f64::from(u8::from(synchronised));
    for (name, help, value) in [
        ("node_timex_offset_seconds", "Offset of the local clock from the reference.", offset(timex.offset)),
        (
            "node_timex_frequency_adjustment_ratio",
            "Local clock's frequency adjustment.",
            1.0 + ppm(timex.freq),
        ),
        ("node_timex_maxerror_seconds", "Maximum error.", microseconds(timex.maxerror)),
        ("node_timex_estimated_error_seconds", "Estimated error.", microseconds(timex.esterror)),
        ("node_timex_status", "Status bits (STA_*).", f64::from(timex.status)),
        ("node_timex_loop_time_constant", "Time constant of the phase-locked loop.", long(timex.constant)),
        ("node_timex_tick_seconds", "Seconds between clock ticks.", microseconds(timex.tick)),
        ("node_timex_pps_frequency_hertz", "Frequency of the pulse per second.", ppm(timex.ppsfreq)),
        ("node_timex_pps_jitter_seconds", "Jitter of the pulse per second.", offset(timex.jitter)),
        ("node_timex_pps_shift_seconds", "Interval length of the pulse per second.", f64::from(timex.shift)),
        (
            "node_timex_pps_stability_hertz",
            "Stability of the pulse per second, average of recent changes of its frequency.",
            ppm(timex.stabil),
        ),
        ("node_timex_tai_offset_seconds", "Offset of atomic time (TAI) from UTC.", f64::from(timex.tai)),
        ("node_timex_sync_status", "Whether the clock is synchronised to a reliable server.", synchronised),
    ] {
        out.gauge(name, help, &[], value);
    }
    for (name, help, value) in [
        ("node_timex_pps_jitter_total", "Pulses whose jitter exceeded the limit.", timex.jitcnt),
        ("node_timex_pps_calibration_total", "Calibration intervals of the pulse per second.", timex.calcnt),
        ("node_timex_pps_error_total", "Calibration errors of the pulse per second.", timex.errcnt),
        ("node_timex_pps_stability_exceeded_total", "Times the stability limit was exceeded.", timex.stbcnt),
    ] {
        out.counter(name, help, &[], long(value));
    }
}

#[expect(clippy::cast_precision_loss, reason = "samples are f64")]
fn long(value: libc::c_long) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;
    use crate::model::Snapshot;

    #[test]
    fn this_machine_tells_all_families() {
        let fixture = Fixture::new();
        if crate::collect::os::clock_state().is_ok() {
            assert_eq!(fixture.samples("timex").lines().count(), 17);
        } else {
            assert!(fixture.error("timex").contains("adjtimex"));
        }
    }

    #[test]
    fn units_follow_the_status() {
        let Ok(mut clock) = crate::collect::os::clock_state() else { return };
        clock.timex.offset = -5_000;
        clock.timex.freq = 65_536;
        for (status, offset) in [(0, -0.005), (libc::STA_NANO, -0.000_005)] {
            clock.timex.status = status;
            let mut out = Batch::new();
            emit(&clock.timex, false, &mut out);
            let snapshot = Snapshot::assemble(super::super::testing::NOW, vec![("timex", out)]);
            let value = |name: &str| {
                let family = snapshot.families().find(|f| f.name() == name);
                family.and_then(|f| f.samples().next().map(|s| s.value()))
            };
            assert_eq!(value("node_timex_offset_seconds"), Some(offset));
            assert_eq!(value("node_timex_frequency_adjustment_ratio"), Some(1.000_001));
            assert_eq!(value("node_timex_sync_status"), Some(0.0));
        }
    }
}
