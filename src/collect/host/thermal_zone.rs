//! Thermal zones and cooling devices. Source: kernel `Documentation/driver-api/thermal/sysfs-api.rst`.

use crate::collect::devices::Devices;
use crate::collect::directory::number_after;
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "thermal_zone",
    on_by_default: true,
    help: "Temperatures of thermal zones and states of cooling devices from /sys/class/thermal.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(ThermalZone {
            devices: Devices::new(host, host.paths.sys("class/thermal")),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct ThermalZone {
    devices: Devices,
    files: Files,
}

impl Collector for ThermalZone {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        for name in &*self.devices.names(pass).unwrap_or_default() {
            if let Some(zone) = number_after(name, "thermal_zone") {
                self.zone(name, zone, out);
            } else if let Some(device) = number_after(name, "cooling_device") {
                self.cooling_device(name, device, out);
            }
        }
        Ok(())
    }
}

impl ThermalZone {
    /// A zone whose sensor answers no number now (`EAGAIN`, `ENODATA`) is left out.
    fn zone(&mut self, name: &str, zone: &str, out: &mut Batch) {
        let Some((kind, millidegrees)) = self.kind(name).zip(self.number(name, "temp")) else { return };
        let help = "Temperature of the thermal zone in degrees Celsius.";
        out.gauge("node_thermal_zone_temp", help, &[("zone", zone), ("type", &kind)], millidegrees / 1000.0);
    }

    fn cooling_device(&mut self, name: &str, device: &str, out: &mut Batch) {
        let Some(kind) = self.kind(name) else { return };
        for (file, family, help) in [
            ("cur_state", "node_cooling_device_cur_state", "Throttle state the cooling device is in."),
            ("max_state", "node_cooling_device_max_state", "Highest throttle state of the cooling device."),
        ] {
            if let Some(state) = self.number(name, file) {
                let family = out.family(family, help, Kind::Gauge);
                out.sample(family, &[("name", device), ("type", &kind)], state);
            }
        }
    }

    fn kind(&mut self, name: &str) -> Option<String> {
        let kind = self.files.attribute(&self.devices.directory().join(name).join("type")).ok()?;
        Some(valid_utf8(kind).into_owned())
    }

    fn number(&mut self, name: &str, file: &str) -> Option<f64> {
        parse::number(self.files.attribute(&self.devices.directory().join(name).join(file)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_and_zones_without_a_reading() {
        Fixture::new()
            .files(&[
                ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"),
                ("sys/class/thermal/thermal_zone0/temp", "49925\n"),
                ("sys/class/thermal/thermal_zone11/type", "cpu thermal\n"),
                ("sys/class/thermal/thermal_zone11/temp", "-44000\n"),
                ("sys/class/thermal/thermal_zone2/type", "broken\n"),
                ("sys/class/thermal/thermal_zone3/temp", "1\n"),
                ("sys/class/thermal/cooling_device0/type", "Processor\n"),
                ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
                ("sys/class/thermal/cooling_device0/max_state", "3\n"),
                ("sys/class/thermal/cooling_device1/type", "intel_powerclamp\n"),
                ("sys/class/thermal/cooling_device1/cur_state", "-1\n"),
                ("sys/class/thermal/cooling_device1/max_state", "27\n"),
            ])
            .expect(
                "thermal_zone",
                r#"node_cooling_device_cur_state{name="0",type="Processor"} 0
                   node_cooling_device_cur_state{name="1",type="intel_powerclamp"} -1
                   node_cooling_device_max_state{name="0",type="Processor"} 3
                   node_cooling_device_max_state{name="1",type="intel_powerclamp"} 27
                   node_thermal_zone_temp{type="cpu thermal",zone="11"} -44
                   node_thermal_zone_temp{type="x86_pkg_temp",zone="0"} 49.925"#,
            );
    }

    #[test]
    fn a_machine_without_thermal_zones_succeeds_with_nothing() {
        Fixture::new().expect("thermal_zone", "");
    }
}
