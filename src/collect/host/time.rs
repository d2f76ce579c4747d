//! The machine's clock, its time zone and its clock sources.
//! Source: kernel `Documentation/ABI/testing/sysfs-devices-clocksource`.
//!
//! The clock is the instant the pass stands for, so that all its samples agree.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::collect::numbered::numbered;
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "time",
    on_by_default: true,
    help: "System time, time zone and clock sources.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Time {
            clock_sources: host.paths.sys("devices/system/clocksource"),
            files: Files::new(host.descriptors.clone()),
            zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
            devices: Vec::new(),
            passes: 0,
        }))
    },
};

const LOOK_AGAIN: u32 = 64;

struct Device {
    available: PathBuf,
    current: PathBuf,
}

struct Time {
    clock_sources: PathBuf,
    files: Files,
    zone: TimeZone,
    devices: Vec<Device>,
    passes: u32,
}

impl Collector for Time {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let help = "System time in seconds since the epoch.";
        out.gauge("node_time_seconds", help, &[], pass.now.as_seconds_f64());
        if let Ok(now) = jiff::Timestamp::from_millisecond(pass.now.as_millis()) {
            let zone = self.zone.to_offset_info(now);
            let help = "Offset of the system's time zone from UTC in seconds.";
            let labels = [("time_zone", zone.abbreviation())];
            out.gauge("node_time_zone_offset_seconds", help, &labels, zone.offset().seconds().into());
        }
        if self.passes.is_multiple_of(LOOK_AGAIN) {
            let path = &self.clock_sources;
            let devices = numbered(path, "clocksource").map_err(|e| CollectError::reading(path, e))?;
            let files = |path: PathBuf| Device {
                available: path.join("available_clocksource"),
                current: path.join("current_clocksource"),
            };
            self.devices = devices.into_iter().map(|d| files(d.path)).collect();
        }
        self.passes = self.passes.wrapping_add(1);
        self.emit_clock_sources(out)
    }
}

impl Time {
    fn emit_clock_sources(&mut self, out: &mut Batch) -> Result<(), CollectError> {
        let mut digits = itoa::Buffer::new();
        for (index, device) in self.devices.iter().enumerate() {
            let index = digits.format(index);
            for (path, name, help) in [
                (
                    &device.available,
                    "node_time_clocksource_available_info",
                    "Clock sources that the kernel can use.",
                ),
                (&device.current, "node_time_clocksource_current_info", "Clock source in use."),
            ] {
                let text = self.files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
                for source in parse::fields(text) {
                    let labels = [("device", index), ("clocksource", &*valid_utf8(source))];
                    out.gauge(name, help, &labels, 1.0);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let device = "sys/devices/system/clocksource/clocksource0";
        let text = Fixture::new()
            .file(&format!("{device}/available_clocksource"), "tsc hpet acpi_pm \n")
            .file(&format!("{device}/current_clocksource"), "tsc\n")
            .samples("time");
        // The zone is this machine's.
        let lines: Vec<_> = text.lines().filter(|l| !l.contains("zone_offset")).collect();
        assert_eq!(
            lines,
            [
                r#"node_time_clocksource_available_info{clocksource="acpi_pm",device="0"} 1"#,
                r#"node_time_clocksource_available_info{clocksource="hpet",device="0"} 1"#,
                r#"node_time_clocksource_available_info{clocksource="tsc",device="0"} 1"#,
                r#"node_time_clocksource_current_info{clocksource="tsc",device="0"} 1"#,
                "node_time_seconds 1700000000",
            ]
        );
        assert!(text.contains("node_time_zone_offset_seconds{time_zone="), "{text}");
    }

    #[test]
    fn a_machine_without_clock_sources_still_has_the_time() {
        assert!(Fixture::new().samples("time").contains("node_time_seconds 1700000000\n"));
        let error = Fixture::new().dir("sys/devices/system/clocksource/clocksource0").error("time");
        assert!(error.contains("available_clocksource"), "{error}");
    }
}
