//! Watchdog timers. Source: kernel `Documentation/ABI/testing/sysfs-class-watchdog`.

use crate::collect::devices::Devices;
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "watchdog",
    on_by_default: true,
    help: "Watchdog timers from /sys/class/watchdog.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Watchdogs {
            devices: Devices::new(host, host.paths.sys("class/watchdog")),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Watchdogs {
    devices: Devices,
    files: Files,
}

/// Attribute, family, help.
const NUMBERS: [(&str, &str, &str); 7] = [
    ("bootstatus", "node_watchdog_bootstatus", "Why the machine booted, as the watchdog's status bits."),
    ("fw_version", "node_watchdog_fw_version", "Version of the watchdog's firmware."),
    ("nowayout", "node_watchdog_nowayout", "Whether the watchdog goes on once it is started."),
    ("timeleft", "node_watchdog_timeleft_seconds", "Time until the watchdog resets the machine."),
    ("timeout", "node_watchdog_timeout_seconds", "Time from a keep-alive to the reset."),
    ("pretimeout", "node_watchdog_pretimeout_seconds", "How long before the reset the warning comes."),
    ("access_cs0", "node_watchdog_access_cs0", "Whether the machine booted from the backup flash."),
];

const TEXTS: [&str; 5] = ["identity", "options", "pretimeout_governor", "state", "status"];

impl Collector for Watchdogs {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        let dogs = self.devices.names(pass);
        let dogs =
            dogs.map_err(|e| CollectError::NoData(format!("{}: {e}", self.devices.directory().display())))?;
        let mut result = Ok(());
        for dog in &*dogs {
            result = result.and(self.watchdog(dog, out));
        }
        result
    }
}

impl Watchdogs {
    fn watchdog(&mut self, name: &str, out: &mut Batch) -> Result<(), CollectError> {
        let directory = self.devices.directory().join(name);
        for (attribute, family, help) in NUMBERS {
            let path = directory.join(attribute);
            // Each is there only where the hardware knows it.
            let Ok(text) = self.files.attribute(&path) else { continue };
            let value = parse::number(text).ok_or_else(|| CollectError::parsing(&path, "expected a number"))?;
            out.gauge(family, help, &[("name", name)], value);
        }
        let mut texts = Vec::new();
        for label in TEXTS {
            let text = self.files.attribute(&directory.join(label)).unwrap_or_default();
            texts.push((label, valid_utf8(text).into_owned()));
        }
        let mut labels = vec![("name", name)];
        labels.extend(texts.iter().filter(|(_, t)| !t.is_empty()).map(|(l, t)| (*l, t.as_str())));
        out.gauge("node_watchdog_info", "Constant 1; the watchdog's kind and state, in labels.", &labels, 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let fixture = Fixture::new().dir("sys/class/watchdog/watchdog1").files(&[
            ("sys/class/watchdog/watchdog0/bootstatus", "1\n"),
            ("sys/class/watchdog/watchdog0/fw_version", "2\n"),
            ("sys/class/watchdog/watchdog0/identity", "Software Watchdog\n"),
            ("sys/class/watchdog/watchdog0/nowayout", "0\n"),
            ("sys/class/watchdog/watchdog0/options", "0x8380\n"),
            ("sys/class/watchdog/watchdog0/pretimeout", "120\n"),
            ("sys/class/watchdog/watchdog0/pretimeout_governor", "noop\n"),
            ("sys/class/watchdog/watchdog0/state", "active\n"),
            ("sys/class/watchdog/watchdog0/status", "0x8000\n"),
            ("sys/class/watchdog/watchdog0/timeleft", "300\n"),
            ("sys/class/watchdog/watchdog0/timeout", "60\n"),
            ("sys/class/watchdog/watchdog0/access_cs0", "0\n"),
        ]);
        fixture.expect(
            "watchdog",
            r#"node_watchdog_access_cs0{name="watchdog0"} 0
               node_watchdog_bootstatus{name="watchdog0"} 1
               node_watchdog_fw_version{name="watchdog0"} 2
               node_watchdog_info{identity="Software Watchdog",name="watchdog0",options="0x8380",pretimeout_governor="noop",state="active",status="0x8000"} 1
               node_watchdog_info{name="watchdog1"} 1
               node_watchdog_nowayout{name="watchdog0"} 0
               node_watchdog_pretimeout_seconds{name="watchdog0"} 120
               node_watchdog_timeleft_seconds{name="watchdog0"} 300
               node_watchdog_timeout_seconds{name="watchdog0"} 60"#,
        );
    }

    #[test]
    fn none_and_garbage() {
        assert!(Fixture::new().error("watchdog").contains("no data"));
        let garbage = Fixture::new().file("sys/class/watchdog/watchdog0/timeout", "soon\n");
        assert!(garbage.error("watchdog").contains("timeout: expected a number"));
    }
}
