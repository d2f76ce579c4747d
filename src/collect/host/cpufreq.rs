//! CPU clock rates and governors. Source: kernel `Documentation/admin-guide/pm/cpufreq.rst`.
//!
//! CPUs that share a policy link to one directory, which is read once for all of them. Which CPUs have one, and what it
//! can do, is looked up when other CPUs are online, when the kernel has announced a device or module, whenever a directory
//! has vanished, and every [`LOOK_AGAIN`] passes.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::collect::numbered::numbered;
use crate::collect::{CollectError, Collector, Files, Host, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "cpufreq",
    on_by_default: true,
    help: "CPU clock rates, their limits and the scaling governor.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(CpuFrequency {
            host: host.clone(),
            directory: host.paths.sys("devices/system/cpu"),
            online_path: host.paths.sys("devices/system/cpu/online"),
            files: Files::new(host.descriptors.clone()),
            looked: None,
            policies: Vec::new(),
        }))
    },
};

const LOOK_AGAIN: u32 = 64;

/// The same where nothing says which CPUs are online.
const LOOK_AGAIN_UNTOLD: u32 = 8;

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
    /// Those that the governor may be. They change with the modules that are loaded.
    available_governors: String,
}

/// What was so when the policies were looked up.
struct Looked {
    passes_ago: u32,
    announced: Option<u64>,
    /// The kernel's list of online CPUs.
    online: Option<Vec<u8>>,
}

struct CpuFrequency {
    host: Host,
    directory: PathBuf,
    online_path: PathBuf,
    files: Files,
    /// `None` where it must be looked again.
    looked: Option<Looked>,
    policies: Vec<Policy>,
}

impl Collector for CpuFrequency {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.files.begin_pass();
        self.look_if_due(pass)?;
        let mut failed = None;
        for policy in &self.policies {
            if let Err(e) = policy.emit(&mut self.files, out) {
                // Its CPUs may have gone offline, which is no error: the next pass looks again.
                self.looked = None;
                if policy.directory.exists() {
                    failed.get_or_insert(e);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl CpuFrequency {
    fn look_if_due(&mut self, pass: &Pass) -> Result<(), CollectError> {
        let announced = self.host.announced(pass);
        let online = self.files.attribute(&self.online_path).ok();
        if let Some(looked) = &mut self.looked {
            looked.passes_ago += 1;
            let longest = if online.is_some() { LOOK_AGAIN } else { LOOK_AGAIN_UNTOLD };
            let same = looked.online.as_deref() == online && (announced.is_none() || looked.announced == announced);
            if same && looked.passes_ago < longest {
                return Ok(());
            }
        }
        let online = online.map(<[u8]>::to_vec);
        self.look()?;
        self.looked = Some(Looked { passes_ago: 0, announced, online });
        Ok(())
    }

    fn look(&mut self) -> Result<(), CollectError> {
        let cpus = numbered(&self.directory, "cpu").map_err(|e| CollectError::reading(&self.directory, e))?;
        // What tells directories apart, however they are reached.
        let mut by_directory: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        self.policies.clear();
        for cpu in cpus {
            let directory = cpu.path.join("cpufreq");
            let identity = match directory.metadata() {
                Ok(found) => (found.dev(), found.ino()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(CollectError::reading(&cpu.path, e)),
            };
            match by_directory.get(&identity).and_then(|known| self.policies.get_mut(*known)) {
                Some(policy) => policy.cpus.push(cpu.number),
                None => {
                    by_directory.insert(identity, self.policies.len());
                    self.policies.push(Policy::look(directory, cpu.number, &mut self.files));
                }
            }
        }
        Ok(())
    }
}

/// A driver may lack the file, or show it to root only (`cpuinfo_cur_freq`).
fn is_left_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

impl Policy {
    fn look(directory: PathBuf, first_cpu: String, files: &mut Files) -> Self {
        let rates = RATES
            .iter()
            .enumerate()
            .map(|(i, (file, ..))| (i, directory.join(file)))
            .filter(|(_, path)| !files.attribute(path).is_err_and(|e| is_left_out(&e)))
            .collect();
        Self {
            cpus: vec![first_cpu],
            rates,
            governor: directory.join("scaling_governor"),
            // One that cannot be read is looked for again when it is needed.
            available_governors: text(&directory.join("scaling_available_governors"), files).unwrap_or_default(),
            directory,
        }
    }

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
        let current = text(&self.governor, files)?;
        if current.is_empty() {
            return Ok(());
        }
        let looked_for;
        let available = if self.available_governors.split(' ').any(|governor| governor == current) {
            &self.available_governors
        } else {
            looked_for = text(&self.directory.join("scaling_available_governors"), files)?;
            &looked_for
        };
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

/// What the attribute says.
fn text(path: &Path, files: &mut Files) -> Result<String, CollectError> {
    let text = files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
    Ok(valid_utf8(text).into_owned())
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
    fn what_changes_is_seen_in_the_next_pass_if_the_kernel_lists_online_cpus() {
        let fixture = with_policy()
            .file("sys/devices/system/cpu/online", "0\n")
            .link("sys/devices/system/cpu/cpu0/cpufreq", "../cpufreq/policy0");
        let write = |path: &str, text: &str| {
            std::fs::write(fixture.path().join("sys/devices/system/cpu").join(path), text).unwrap();
        };
        let mut collector = fixture.collector("cpufreq");
        let mut has = |sample: &str| run(&mut *collector).0.contains(sample);
        assert!(has(r#"governor{cpu="0",governor="powersave"} 1"#));
        write("cpufreq/policy0/scaling_governor", "performance\n");
        assert!(has(r#"governor{cpu="0",governor="powersave"} 0"#));
        write("cpufreq/policy0/scaling_available_governors", "userspace powersave\n");
        write("cpufreq/policy0/scaling_governor", "userspace\n");
        assert!(has(r#"governor{cpu="0",governor="userspace"} 1"#), "a governor that came with a module");
        std::fs::create_dir(fixture.path().join("sys/devices/system/cpu/cpu1")).unwrap();
        let policy = fixture.path().join("sys/devices/system/cpu/cpu1/cpufreq");
        std::os::unix::fs::symlink("../cpufreq/policy0", policy).unwrap();
        write("online", "0-1\n");
        assert!(has(r#"governor{cpu="1",governor="userspace"} 1"#), "a CPU that came online");
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
