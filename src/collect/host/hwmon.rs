//! Hardware sensors. Source: kernel `Documentation/hwmon/sysfs-interface.rst`, `/sys/class/hwmon`.
//!
//! A file `temp1_crit` is the property `crit` of the sensor `temp1`. A chip is named after its device's
//! place in `/sys/devices`, which is stable, rather than after `hwmonN`, which is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::collect::directory::{names, names_or_no_data};
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, NameFilter, Pass, Spec};
use crate::model::{Batch, Kind, valid_utf8};

const fn filter_flag(name: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: FlagKind::Regex(""), help, hidden: false }
}

pub(super) static SPEC: Spec = Spec {
    name: "hwmon",
    on_by_default: true,
    help: "Temperatures, fans, voltages and other sensors from /sys/class/hwmon.",
    flags: &[
        filter_flag("hwmon.chip-include", "Regular expression of chips to include."),
        filter_flag("hwmon.chip-exclude", "Regular expression of chips to exclude."),
        filter_flag("hwmon.sensor-include", "Regular expression of sensors to include, as chip;sensor."),
        filter_flag("hwmon.sensor-exclude", "Regular expression of sensors to exclude, as chip;sensor."),
    ],
    build: |host, options| {
        Ok(Box::new(Hwmon {
            directory: host.paths.sys("class/hwmon"),
            files: Files::new(host.descriptors.clone()),
            chips: NameFilter::new(options, "hwmon.chip-include", "hwmon.chip-exclude"),
            sensors: NameFilter::new(options, "hwmon.sensor-include", "hwmon.sensor-exclude"),
        }))
    },
};

struct Hwmon {
    directory: PathBuf,
    files: Files,
    chips: NameFilter,
    sensors: NameFilter,
}

/// What sensors there are; files of other names are no sensors.
const TYPES: [&str; 14] = [
    "vrm", "beep_enable", "update_interval", "in", "cpu", "fan", "pwm", "temp", "curr", "power", "energy",
    "humidity", "intrusion", "freq",
];

/// Properties of one sensor.
type Properties = BTreeMap<String, String>;

impl Collector for Hwmon {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        let mut result = Ok(());
        for entry in names_or_no_data(&self.directory)? {
            let path = self.directory.join(entry);
            if path.is_dir()
                && let Err(error) = self.chip(&path, out)
            {
                result = Err(error);
            }
        }
        result
    }
}

impl Hwmon {
    fn chip(&mut self, path: &Path, out: &mut Batch) -> Result<(), CollectError> {
        let label = self.text(&path.join("name")).map(|name| clean(&name)).filter(|n| !n.is_empty());
        let chip = chip_name(path, label.as_deref())?;
        if !self.chips.passes(&chip) {
            return Ok(());
        }
        let mut sensors: BTreeMap<String, (&'static str, Properties)> = BTreeMap::new();
        self.sensors_of(path, &mut sensors)?;
        // Drivers of old keep the sensors beside the device instead.
        let device = path.join("device");
        if device.exists() {
            self.sensors_of(&device, &mut sensors)?;
        }
        if let Some(label) = label {
            let help = "Name of the chip as its driver gives it; always 1.";
            let labels = [("chip", chip.as_str()), ("chip_name", label.as_str())];
            out.gauge("node_hwmon_chip_names", help, &labels, 1.0);
        }
        for (sensor, (kind, properties)) in &sensors {
            if self.sensors.passes(&format!("{chip};{sensor}")) {
                expose(&chip, sensor, kind, properties, out);
            }
        }
        Ok(())
    }

    fn sensors_of(
        &mut self,
        directory: &Path,
        sensors: &mut BTreeMap<String, (&'static str, Properties)>,
    ) -> Result<(), CollectError> {
        for file in names(directory).map_err(|e| CollectError::reading(directory, e))? {
            let Some((kind, number, property)) = explode(&file) else { continue };
            let Some(value) = self.text(&directory.join(&file)) else { continue };
            let (_, properties) =
                sensors.entry(format!("{kind}{number}")).or_insert_with(|| (kind, Properties::new()));
            properties.insert(property.to_owned(), value);
        }
        Ok(())
    }

    fn text(&mut self, path: &Path) -> Option<String> {
        Some(valid_utf8(self.files.attribute(path).ok()?).into_owned())
    }
}

/// `temp1_crit` as type, number and property; `None` if it is no sensor's file.
fn explode(file: &str) -> Option<(&'static str, u32, &str)> {
    let digits = file.find(|c: char| c.is_ascii_digit()).unwrap_or(file.len());
    let (kind, rest) = file.split_at_checked(digits)?;
    let kind = TYPES.iter().find(|t| **t == kind)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at_checked(end)?;
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    match rest.strip_prefix('_') {
        Some(property) if !property.is_empty() => Some((kind, number, property)),
        None if rest.is_empty() => Some((kind, number, "")),
        _ => None,
    }
}

/// Letters, digits, `:` and `_` in lower case, without leading and trailing `_`.
fn clean(name: &str) -> String {
    let lower = name.to_lowercase();
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' || c == '_';
    let replaced: String = lower.chars().map(|c| if valid(c) { c } else { '_' }).collect();
    replaced.trim_matches('_').to_owned()
}

/// `platform_coretemp_0` from the device's path; else the driver's name; else the directory's.
fn chip_name(path: &Path, label: Option<&str>) -> Result<String, CollectError> {
    let last_two = |path: &Path| {
        let name = |p: Option<&Path>| clean(&p.and_then(Path::file_name).unwrap_or_default().to_string_lossy());
        (name(path.parent()), name(Some(path)))
    };
    if let Ok(device) = path.join("device").canonicalize() {
        match last_two(&device) {
            (_, name) if name.is_empty() => {}
            (kind, name) if kind.is_empty() => return Ok(name),
            (kind, name) => return Ok(format!("{kind}_{name}")),
        }
    }
    if let Some(label) = label {
        return Ok(label.to_owned());
    }
    let real = path.canonicalize().map_err(|e| CollectError::reading(path, e))?;
    let (_, name) = last_two(&real);
    if name.is_empty() {
        return Err(CollectError::Other(format!("cannot derive a name for {}", path.display())));
    }
    Ok(name)
}

fn expose(chip: &str, sensor: &str, kind: &str, properties: &Properties, out: &mut Batch) {
    let labels = [("chip", chip), ("sensor", sensor)];
    if let Some(label) = properties.get("label") {
        let labels = [("chip", chip), ("label", label.as_str()), ("sensor", sensor)];
        out.gauge("node_hwmon_sensor_label", "Label of the sensor; always 1.", &labels, 1.0);
    }
    let plain = properties.get("").map(String::as_str);
    match kind {
        "beep_enable" => {
            let enabled = f64::from(u8::from(plain == Some("1")));
            out.gauge("node_hwmon_beep_enabled", "Whether beeps are enabled.", &labels, enabled);
        }
        "vrm" => {
            if let Some(version) = plain.and_then(|v| v.parse().ok()) {
                let help = "Version of the voltage regulator.";
                out.gauge("node_hwmon_voltage_regulator_version", help, &labels, version);
            }
        }
        "update_interval" => {
            if let Some(milliseconds) = plain.and_then(|v| v.parse::<f64>().ok()) {
                let help = "Seconds between updates of the chip.";
                out.gauge("node_hwmon_update_interval_seconds", help, &labels, milliseconds * 0.001);
            }
        }
        _ => {
            for (property, value) in properties.iter().filter(|(p, _)| *p != "label") {
                if let Ok(value) = value.parse::<f64>() {
                    expose_property(&labels, kind, property, value, properties, out);
                }
            }
        }
    }
}

fn expose_property(
    labels: &[(&str, &str); 2],
    kind: &str,
    property: &str,
    value: f64,
    properties: &Properties,
    out: &mut Batch,
) {
    let mut name = format!("node_hwmon_{kind}");
    if property == "input" {
        // The input is the value itself, unless a file without property holds that.
        if properties.contains_key("") {
            name.push_str("_input");
        }
    } else if !property.is_empty() {
        name.push('_');
        name.push_str(&clean(property));
    }
    let help = format!("Hardware sensor {kind}, property {}.", if property.is_empty() { "input" } else { property });
    if kind == "freq" && property == "input" {
        // Clocks are told apart by their label; without one there is nothing to call them.
        if let Some(label) = properties.get("label") {
            let [chip, _] = *labels;
            let labels = [chip, ("sensor", &*clean(label))];
            out.gauge(&format!("{name}_freq_mhz"), "Frequency in megahertz.", &labels, value / 1_000_000.0);
        }
        return;
    }
    let (suffix, family_kind, value) = unit(kind, property, value);
    let family = out.family(&format!("{name}{suffix}"), &help, family_kind);
    out.sample(family, labels, value);
}

/// What is appended to the name, the type, and the value in base units.
fn unit(kind: &str, property: &str, value: f64) -> (&'static str, Kind, f64) {
    let gauge = |suffix, value| (suffix, Kind::Gauge, value);
    match (kind, property) {
        (_, "fault" | "alarm") => gauge("", value),
        (_, "beep") => gauge("_enabled", value),
        ("in" | "cpu", _) => gauge("_volts", value * 0.001),
        ("temp", property) if property != "type" => gauge("_celsius", value * 0.001),
        ("curr", _) => gauge("_amps", value * 0.001),
        ("energy", _) => ("_joule_total", Kind::Counter, value / 1_000_000.0),
        ("power", "accuracy") | ("humidity", _) => gauge("", value / 1_000_000.0),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            gauge("_seconds", value * 0.001)
        }
        ("power", _) => gauge("_watt", value / 1_000_000.0),
        ("fan", "input" | "min" | "max" | "target") => gauge("_rpm", value),
        _ => gauge("", value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::{clean, explode};

    #[test]
    fn golden() {
        Fixture::new()
            .files(&[
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/name", "coretemp\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/temp1_input", "55000\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/temp1_label", "Core 0\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/temp1_crit", "100000\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/temp1_crit_alarm", "1\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/temp2_input", "garbage\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/fan1_input", "1998\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/fan1_pulses", "2\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/in0_input", "792\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/in0_beep", "0\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/pwm1", "128\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/power1_average", "29000000\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/energy1_input", "5000000\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/freq1_input", "214000000\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/freq1_label", "sclk\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/intrusion0_alarm", "1\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/beep_enable", "1\n"),
                ("sys/devices/platform/coretemp.0/hwmon/hwmon0/update_interval", "1000\n"),
                ("sys/devices/virtual/hwmon/hwmon1/fan2_input", "7\n"),
            ])
            .link("sys/devices/platform/coretemp.0/hwmon/hwmon0/device", "../../../coretemp.0")
            .link("sys/class/hwmon/hwmon0", "../../devices/platform/coretemp.0/hwmon/hwmon0")
            .link("sys/class/hwmon/hwmon1", "../../devices/virtual/hwmon/hwmon1")
            .link("sys/class/hwmon/hwmon9", "../../devices/gone")
            .expect(
                "hwmon",
                r#"node_hwmon_beep_enabled{chip="platform_coretemp_0",sensor="beep_enable0"} 1
                   node_hwmon_chip_names{chip="platform_coretemp_0",chip_name="coretemp"} 1
                   node_hwmon_energy_joule_total{chip="platform_coretemp_0",sensor="energy1"} 5
                   node_hwmon_fan_pulses{chip="platform_coretemp_0",sensor="fan1"} 2
                   node_hwmon_fan_rpm{chip="hwmon1",sensor="fan2"} 7
                   node_hwmon_fan_rpm{chip="platform_coretemp_0",sensor="fan1"} 1998
                   node_hwmon_freq_freq_mhz{chip="platform_coretemp_0",sensor="sclk"} 214
                   node_hwmon_in_beep_enabled{chip="platform_coretemp_0",sensor="in0"} 0
                   node_hwmon_in_volts{chip="platform_coretemp_0",sensor="in0"} 0.792
                   node_hwmon_intrusion_alarm{chip="platform_coretemp_0",sensor="intrusion0"} 1
                   node_hwmon_power_average_watt{chip="platform_coretemp_0",sensor="power1"} 29
                   node_hwmon_pwm{chip="platform_coretemp_0",sensor="pwm1"} 128
                   node_hwmon_sensor_label{chip="platform_coretemp_0",label="Core 0",sensor="temp1"} 1
                   node_hwmon_sensor_label{chip="platform_coretemp_0",label="sclk",sensor="freq1"} 1
                   node_hwmon_temp_celsius{chip="platform_coretemp_0",sensor="temp1"} 55
                   node_hwmon_temp_crit_alarm_celsius{chip="platform_coretemp_0",sensor="temp1"} 0.001
                   node_hwmon_temp_crit_celsius{chip="platform_coretemp_0",sensor="temp1"} 100
                   node_hwmon_update_interval_seconds{chip="platform_coretemp_0",sensor="update_interval0"} 1"#,
            );
    }

    #[test]
    fn filters() {
        let fixture = || {
            Fixture::new().files(&[
                ("sys/class/hwmon/hwmon0/name", "a\n"),
                ("sys/class/hwmon/hwmon0/fan1_input", "1\n"),
                ("sys/class/hwmon/hwmon0/fan2_input", "2\n"),
            ])
        };
        fixture().option("hwmon.chip-exclude", "^a$").expect("hwmon", "");
        let text = fixture().option("hwmon.sensor-include", "^a;fan2$").samples("hwmon");
        assert!(text.contains("sensor=\"fan2\"") && !text.contains("sensor=\"fan1\""), "{text}");
        assert!(Fixture::new().error("hwmon").starts_with("no data"));
    }

    #[test]
    fn file_names_and_cleaning() {
        for (file, want) in [
            ("temp1_crit", Some(("temp", 1, "crit"))),
            ("pwm1", Some(("pwm", 1, ""))),
            ("beep_enable", Some(("beep_enable", 0, ""))),
            ("pwm1_auto_point1_temp", Some(("pwm", 1, "auto_point1_temp"))),
            ("name", None),
            ("temp99999999999_input", None),
        ] {
            assert_eq!(explode(file), want, "{file}");
        }
        assert_eq!(clean("Coretemp.0 "), "coretemp_0");
    }
}
