//! Batteries, chargers and other supplies. Source: kernel `Documentation/ABI/testing/sysfs-class-power`.
//!
//! Every attribute is optional; a driver may refuse to read one that it lists (`ENODATA`, `ENODEV`).

use std::fmt::Write;
use std::path::Path;

use regex::Regex;

use crate::collect::devices::Devices;
use crate::collect::directory::names;
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

const IGNORED: &str = "powersupply.ignored-supplies";

pub(super) static SPEC: Spec = Spec {
    name: "powersupplyclass",
    on_by_default: true,
    help: "Power supplies from /sys/class/power_supply.",
    flags: &[Flag {
        name: IGNORED,
        kind: FlagKind::Regex("^$"),
        help: "Regular expression of power supplies to leave out.",
        hidden: false,
    }],
    build: |host, options| {
        Ok(Box::new(PowerSupplies {
            devices: Devices::new(host, host.paths.sys("class/power_supply")),
            files: Files::new(host.descriptors.clone()),
            ignored: options.regex(IGNORED),
            family: String::new(),
        }))
    },
};

struct PowerSupplies {
    devices: Devices,
    files: Files,
    ignored: Option<Regex>,
    family: String,
}

/// Attribute, family without `node_power_supply_`, what one unit of the attribute is.
const NUMBERS: [(&str, &str, f64); 49] = [
    ("authentic", "authentic", 1.0),
    ("calibrate", "calibrate", 1.0),
    ("capacity", "capacity", 1.0),
    ("capacity_alert_max", "capacity_alert_max", 1.0),
    ("capacity_alert_min", "capacity_alert_min", 1.0),
    ("charge_control_limit", "charge_control_limit", MICRO),
    ("charge_control_limit_max", "charge_control_limit_max", MICRO),
    ("charge_counter", "charge_counter", MICRO),
    ("charge_empty", "charge_empty", MICRO),
    ("charge_empty_design", "charge_empty_design", MICRO),
    ("charge_full", "charge_full", MICRO),
    ("charge_full_design", "charge_full_design", MICRO),
    ("charge_now", "charge_ampere", MICRO),
    ("charge_term_current", "charge_term_current", MICRO),
    ("constant_charge_current", "constant_charge_current", MICRO),
    ("constant_charge_current_max", "constant_charge_current_max", MICRO),
    ("constant_charge_voltage", "constant_charge_voltage", MICRO),
    ("constant_charge_voltage_max", "constant_charge_voltage_max", MICRO),
    ("current_boot", "current_boot", MICRO),
    ("current_max", "current_max", MICRO),
    ("current_now", "current_ampere", MICRO),
    ("cycle_count", "cyclecount", 1.0),
    ("energy_empty", "energy_empty", MICRO),
    ("energy_empty_design", "energy_empty_design", MICRO),
    ("energy_full", "energy_full", MICRO),
    ("energy_full_design", "energy_full_design", MICRO),
    ("energy_now", "energy_watthour", MICRO),
    ("input_current_limit", "input_current_limit", MICRO),
    ("online", "online", 1.0),
    ("power_now", "power_watt", MICRO),
    ("precharge_current", "precharge_current", MICRO),
    ("present", "present", 1.0),
    ("temp", "temp_celsius", TENTH),
    ("temp_alert_max", "temp_alert_max_celsius", TENTH),
    ("temp_alert_min", "temp_alert_min_celsius", TENTH),
    ("temp_ambient", "temp_ambient_celsius", TENTH),
    ("temp_ambient_max", "temp_ambient_max_celsius", TENTH),
    ("temp_ambient_min", "temp_ambient_min_celsius", TENTH),
    ("temp_max", "temp_max_celsius", TENTH),
    ("temp_min", "temp_min_celsius", TENTH),
    ("time_to_empty_now", "time_to_empty_seconds", 1.0),
    ("time_to_full_now", "time_to_full_seconds", 1.0),
    ("voltage_boot", "voltage_boot", MICRO),
    ("voltage_max", "voltage_max", MICRO),
    ("voltage_max_design", "voltage_max_design", MICRO),
    ("voltage_min", "voltage_min", MICRO),
    ("voltage_min_design", "voltage_min_design", MICRO),
    ("voltage_now", "voltage_volt", MICRO),
    ("voltage_ocv", "voltage_ocv", MICRO),
];

/// Divisors, not factors: 12229000 / 1e6 is the nearest number to 12.229, 12229000 * 1e-6 is not.
const MICRO: f64 = 1e6;
const TENTH: f64 = 10.0;

/// Attributes that become labels of the same name.
const TEXTS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

impl Collector for PowerSupplies {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        let supplies = self.devices.names(pass);
        let supplies = supplies.map_err(|e| CollectError::reading(self.devices.directory(), e))?;
        let mut result = Ok(());
        for supply in &*supplies {
            if !self.ignored.as_ref().is_some_and(|r| r.is_match(supply)) {
                result = result.and(self.supply(supply, out));
            }
        }
        result
    }
}

impl PowerSupplies {
    fn supply(&mut self, supply: &str, out: &mut Batch) -> Result<(), CollectError> {
        let directory = self.devices.directory().join(supply);
        let present = names(&directory).map_err(|e| CollectError::reading(&directory, e))?;
        let mut result = Ok(());
        let mut texts = Vec::new();
        for attribute in &present {
            if let Ok(at) = NUMBERS.binary_search_by_key(&attribute.as_str(), |(name, ..)| name)
                && let Some((_, family, unit)) = NUMBERS.get(at)
            {
                result = result.and(self.number(supply, &directory.join(attribute), (family, *unit), out));
            } else if let Some(label) = TEXTS.iter().find(|t| *t == attribute)
                && let Ok(text) = self.files.attribute(&directory.join(attribute))
            {
                texts.push((*label, valid_utf8(text).into_owned()));
            }
        }
        let mut labels = vec![("power_supply", supply)];
        labels.extend(texts.iter().filter(|(_, text)| !text.is_empty()).map(|(l, t)| (*l, t.as_str())));
        let help = "Constant 1; what kind of power supply it is and its state, in labels.";
        out.gauge("node_power_supply_info", help, &labels, 1.0);
        result
    }

    fn number(
        &mut self,
        supply: &str,
        path: &Path,
        (name, unit): (&str, f64),
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        // The driver may have nothing to say now.
        let Ok(text) = self.files.attribute(path) else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, reason = "samples are f64")]
        let value = parse::signed(text).ok_or_else(|| CollectError::parsing(path, "expected a number"))? as f64;
        self.family.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.family, "node_power_supply_{name}");
        let help = "Attribute of the power supply in whole units (volts, amperes, watts, degrees, hours).";
        let family = out.family(&self.family, help, Kind::Gauge);
        out.sample(family, &[("power_supply", supply)], value / unit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::NUMBERS;

    fn laptop() -> Fixture {
        Fixture::new().files(&[
            ("sys/class/power_supply/AC/online", "0\n"),
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/AC/uevent", "POWER_SUPPLY_NAME=AC\n"),
            ("sys/class/power_supply/AC/power/async", "disabled\n"),
            ("sys/class/power_supply/BAT0/capacity", "81\n"),
            ("sys/class/power_supply/BAT0/cycle_count", "0\n"),
            ("sys/class/power_supply/BAT0/energy_now", "36580000\n"),
            ("sys/class/power_supply/BAT0/manufacturer", "LGC\n"),
            ("sys/class/power_supply/BAT0/serial_number", "\n"),
            ("sys/class/power_supply/BAT0/status", "Not charging\n"),
            ("sys/class/power_supply/BAT0/temp", "-25\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/class/power_supply/BAT0/voltage_now", "12229000\n"),
            ("sys/class/power_supply/BAT0/voltage_ocv", ""),
        ])
    }

    const GOLDEN: &str = r#"
        node_power_supply_capacity{power_supply="BAT0"} 81
        node_power_supply_cyclecount{power_supply="BAT0"} 0
        node_power_supply_energy_watthour{power_supply="BAT0"} 36.58
        node_power_supply_info{manufacturer="LGC",power_supply="BAT0",status="Not charging",type="Battery"} 1
        node_power_supply_temp_celsius{power_supply="BAT0"} -2.5
        node_power_supply_voltage_volt{power_supply="BAT0"} 12.229
    "#;

    #[test]
    fn golden() {
        let fixture = laptop().option("powersupply.ignored-supplies", "^AC$");
        std::fs::remove_file(fixture.path().join("sys/class/power_supply/BAT0/voltage_ocv")).unwrap();
        fixture.expect("powersupplyclass", GOLDEN);
    }

    #[test]
    fn garbage_fails_the_collector_and_keeps_the_rest() {
        let fixture = laptop();
        assert!(fixture.error("powersupplyclass").contains("voltage_ocv: expected a number"));
        assert!(fixture.samples("powersupplyclass").contains("node_power_supply_online{power_supply=\"AC\"} 0"));
    }

    #[test]
    fn a_machine_without_the_class_has_no_data() {
        assert!(Fixture::new().error("powersupplyclass").contains("no data"));
        Fixture::new().dir("sys/class/power_supply").expect("powersupplyclass", "");
    }

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(NUMBERS.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
