//! CPU clock rates and governors. Source: kernel `Documentation/admin-guide/pm/cpufreq.rst`.
//!
//! CPUs that share a policy link to one directory, which is read once for all of them. Which CPUs
//! have one is looked up every [`LOOK_AGAIN`] passes and whenever a directory has vanished.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::collect::numbered::numbered;
use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "cpufreq",
    on_by_default: true,
    help: "CPU clock rates, their limits and the scaling governor.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(CpuFrequency {
            directory: host.paths.sys("devices/system/cpu"),
            files: Files::new(host.descriptors.clone()),
            passes: 0,
            policies: Vec::new(),
        }))
    },
};

const LOOK_AGAIN: u32 = 8;

/// The family that the collector `cpu` also fills.
pub(super) const CURRENT: (&str, &str) =
    ("node_cpu_frequency_hertz", "Current clock rate of the CPU in hertz.");

/// File in kHz, family, help.
const RATES: [(&str, &str, &str); 6] = [
    ("cpuinfo_cur_freq", CURRENT.0, CURRENT.1),
    ("cpuinfo_min_freq", "node_cpu_frequency_min_hertz", "Lowest clock rate of the CPU in hertz."),
    ("cpuinfo_max_freq", "node_cpu_frequency_max_hertz", "Highest clock rate of the CPU in hertz."),
    ("scaling_cur_freq", "node_cpu_scaling_frequency_hertz", "Current clock rate as scaled in hertz."),
    ("scaling_min_freq", "node_cpu_scaling_frequency_min_hertz", "Lowest clock rate scaled to in hertz."),
    ("scaling_max_freq", "node_cpu_scaling_frequency_max_hertz", "Highest clock rate scaled to in hertz."),
];

struct Policy {
    directory: PathBuf,
    cpus: Vec<String>,
    /// Those of [`RATES`] that exist and may be read.
    rates: Vec<(usize, PathBuf)>,
    governor: PathBuf,
    available_governors: PathBuf,
}

struct CpuFrequency {
    directory: PathBuf,
    files: Files,
    passes: u32,
    policies: Vec<Policy>,
}

impl Collector for CpuFrequency {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        if self.passes.is_multiple_of(LOOK_AGAIN) {
            self.look()?;
        }
        self.passes = self.passes.wrapping_add(1);
        let mut failed = None;
        for policy in &self.policies {
            if let Err(e) = policy.emit(&mut self.files, out) {
                // Its CPUs may have gone offline, which is no error: the next pass looks again.
                self.passes = 0;
                if policy.directory.exists() {
                    failed.get_or_insert(e);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl CpuFrequency {
    fn look(&mut self) -> Result<(), CollectError> {
        let cpus = numbered(&self.directory, "cpu").map_err(|e| CollectError::reading(&self.directory, e))?;
        let mut by_directory: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for cpu in cpus {
            match cpu.path.join("cpufreq").canonicalize() {
                Ok(directory) => by_directory.entry(directory).or_default().push(cpu.number),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(CollectError::reading(&cpu.path, e)),
            }
        }
        let files = &mut self.files;
        let policy = |(directory, cpus): (PathBuf, Vec<String>)| Policy {
            cpus,
            rates: RATES
                .iter()
                .enumerate()
                .map(|(i, (file, ..))| (i, directory.join(file)))
                .filter(|(_, path)| !files.attribute(path).is_err_and(|e| is_left_out(&e)))
                .collect(),
            governor: directory.join("scaling_governor"),
            available_governors: directory.join("scaling_available_governors"),
            directory,
        };
        self.policies = by_directory.into_iter().map(policy).collect();
        Ok(())
    }
}

/// A driver may lack the file, or show it to root only (`cpuinfo_cur_freq`).
fn is_left_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

impl Policy {
    fn emit(&self, files: &mut Files, out: &mut Batch) -> Result<(), CollectError> {
        for (rate, path) in &self.rates {
            let Some((_, name, help)) = RATES.get(*rate) else { continue };
            let text = match files.attribute(path) {
                Ok(text) => text,
                Err(e) if is_left_out(&e) => continue,
                Err(e) => return Err(CollectError::reading(path, e)),
            };
            // "<unknown>" while the hardware does not tell.
            let Some(kilohertz) = parse::unsigned(text) else { continue };
            let family = out.family(name, help, Kind::Gauge);
            for cpu in &self.cpus {
                out.sample(family, &[("cpu", cpu)], parse::value(kilohertz) * 1000.0);
            }
        }
        let read = |path: &PathBuf, files: &mut Files| -> Result<String, CollectError> {
            let text = files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
            Ok(valid_utf8(text).into_owned())
        };
        let current = read(&self.governor, files)?;
        if current.is_empty() {
            return Ok(());
        }
        let available = read(&self.available_governors, files)?;
        let help = "Whether the governor, one of those available, is the current one.";
        let family = out.family("node_cpu_scaling_governor", help, Kind::Gauge);
        for governor in available.split(' ') {
            let chosen = f64::from(u8::from(governor == current));
            for cpu in &self.cpus {
                out.sample(family, &[("cpu", cpu), ("governor", governor)], chosen);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fixture, run};

    fn with_policy() -> Fixture {
        let policy = "sys/devices/system/cpu/cpufreq/policy0";
        [
            ("cpuinfo_min_freq", "800000\n"),
            ("cpuinfo_max_freq", "2400000\n"),
            ("cpuinfo_cur_freq", "<unknown>\n"),
            ("scaling_cur_freq", "1219917\n"),
            ("scaling_governor", "powersave\n"),
            ("scaling_available_governors", "performance powersave\n"),
        ]
        .iter()
        .fold(Fixture::new(), |f, (file, text)| f.file(&format!("{policy}/{file}"), text))
    }

    #[test]
    fn golden_two_cpus_of_one_policy_and_one_without() {
        with_policy()
            .link("sys/devices/system/cpu/cpu0/cpufreq", "../cpufreq/policy0")
            .link("sys/devices/system/cpu/cpu12/cpufreq", "../cpufreq/policy0")
            .dir("sys/devices/system/cpu/cpu2")
            .expect(
                "cpufreq",
                r#"node_cpu_frequency_min_hertz{cpu="0"} 800000000
                   node_cpu_frequency_min_hertz{cpu="12"} 800000000
                   node_cpu_frequency_max_hertz{cpu="0"} 2400000000
                   node_cpu_frequency_max_hertz{cpu="12"} 2400000000
                   node_cpu_scaling_frequency_hertz{cpu="0"} 1219917000
                   node_cpu_scaling_frequency_hertz{cpu="12"} 1219917000
                   node_cpu_scaling_governor{cpu="0",governor="performance"} 0
                   node_cpu_scaling_governor{cpu="0",governor="powersave"} 1
                   node_cpu_scaling_governor{cpu="12",governor="performance"} 0
                   node_cpu_scaling_governor{cpu="12",governor="powersave"} 1"#,
            );
    }

    #[test]
    fn a_policy_whose_cpus_went_offline_is_no_error() {
        let fixture = with_policy().link("sys/devices/system/cpu/cpu0/cpufreq", "../cpufreq/policy0");
        let mut collector = fixture.collector("cpufreq");
        assert!(run(&mut *collector).1.is_ok());
        // Descriptors kept of a fixture still answer; those of sysfs say ENODEV.
        std::fs::remove_dir_all(fixture.path().join("sys/devices/system/cpu/cpufreq")).unwrap();
        for _ in 0..16 {
            let (text, result) = run(&mut *collector);
            assert!(result.is_ok(), "{text} {result:?}");
        }
        assert_eq!(run(&mut *collector).0, "");
    }

    #[test]
    fn without_scaling_there_is_nothing_and_no_error() {
        Fixture::new().dir("sys/devices/system/cpu/cpu0").expect("cpufreq", "");
        Fixture::new().expect("cpufreq", "");
    }

    #[test]
    fn a_policy_without_governor_is_an_error() {
        let error = Fixture::new().dir("sys/devices/system/cpu/cpu0/cpufreq").error("cpufreq");
        assert!(error.contains("scaling_governor"), "{error}");
    }
}
