//! Interrupts by CPU, number and device. Source: kernel `Documentation/filesystems/proc.rst`, section 1.2.
//!
//! The columns of `/proc/interrupts` are the online CPUs; the label `cpu` is the number in the
//! column's header, so that a CPU keeps its label when one before it goes offline.

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, NameFilter, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "interrupts",
    on_by_default: false,
    help: "Interrupts by CPU, number and device from /proc/interrupts.",
    flags: &[
        Flag {
            name: "interrupts.include-zeros",
            kind: FlagKind::Switch(true),
            help: "Expose interrupts that never came.",
            hidden: false,
        },
        Flag {
            name: "interrupts.name-exclude",
            kind: FlagKind::Regex(""),
            help: "Interrupts to leave out, matched on \"type;info;devices\".",
            hidden: false,
        },
        Flag {
            name: "interrupts.name-include",
            kind: FlagKind::Regex(""),
            help: "Interrupts to expose, matched on \"type;info;devices\".",
            hidden: false,
        },
    ],
    build: |host, options| {
        Ok(Box::new(Interrupts {
            path: host.paths.proc("interrupts"),
            files: Files::new(host.descriptors.clone()),
            filter: NameFilter::new(options, "interrupts.name-include", "interrupts.name-exclude"),
            zeros: options.switch("interrupts.include-zeros"),
        }))
    },
};

struct Interrupts {
    path: PathBuf,
    files: Files,
    filter: NameFilter,
    zeros: bool,
}

impl Collector for Interrupts {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut lines = parse::lines(text);
        let cpus = cpus(lines.next().unwrap_or_default());
        if cpus.is_empty() {
            return Err(CollectError::parsing(&self.path, "expected a header of CPUs"));
        }
        let family = out.family("node_interrupts_total", "Interrupts by CPU and device.", Kind::Counter);
        for line in lines {
            let Some((kind, rest)) = parse::split_once(line, b':') else { continue };
            let kind = valid_utf8(kind.trim_ascii_start());
            let (info, devices) = description(&kind, rest, cpus.len());
            // ERR and MIS have one count for all CPUs.
            if info.is_empty() || !self.filter.passes(&format!("{kind};{info};{devices}")) {
                continue;
            }
            for (cpu, count) in cpus.iter().zip(parse::fields(rest)) {
                let value = parse::number(count).ok_or_else(|| {
                    CollectError::parsing(&self.path, format!("expected numbers after {kind:?}"))
                })?;
                if value > 0.0 || self.zeros {
                    let labels = [("cpu", cpu.as_str()), ("type", &kind), ("info", &info), ("devices", &devices)];
                    out.sample(family, &labels, value);
                }
            }
        }
        Ok(())
    }
}

/// Numbers of the CPUs in a header line `CPU0 CPU2`; a column of another name counts by its place.
pub(super) fn cpus(header: &[u8]) -> Vec<String> {
    let number = |(place, name): (usize, &[u8])| {
        let number = name.strip_prefix(b"CPU").and_then(parse::unsigned);
        number.map_or_else(|| place.to_string(), |n| n.to_string())
    };
    parse::fields(header).enumerate().map(number).collect()
}

/// What follows the counts: of a numbered interrupt the controller and then the devices, else one text.
fn description(kind: &str, rest: &[u8], cpus: usize) -> (String, String) {
    let mut words = parse::fields(rest).skip(cpus);
    let mut info = valid_utf8(words.next().unwrap_or_default()).into_owned();
    let words = words.map(valid_utf8).collect::<Vec<_>>().join(" ");
    if kind.parse::<i64>().is_ok() {
        return (info, words);
    }
    if !words.is_empty() {
        info.push(' ');
        info.push_str(&words);
    }
    (info, String::new())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const INTERRUPTS: &str = "           CPU0       CPU2       \n\
        \x20 0:         18          0   IO-APIC   2-edge      timer\n\
        NMI:         47       5031   Non-maskable interrupts\n\
        IPI0:12 13 Rescheduling interrupts\n\
        ERR:          0\n\
        MIS:          0\n";

    #[test]
    fn golden_with_an_offline_cpu() {
        Fixture::new().file("proc/interrupts", INTERRUPTS).expect(
            "interrupts",
            r#"node_interrupts_total{cpu="0",devices="2-edge timer",info="IO-APIC",type="0"} 18
               node_interrupts_total{cpu="2",devices="2-edge timer",info="IO-APIC",type="0"} 0
               node_interrupts_total{cpu="0",devices="",info="Non-maskable interrupts",type="NMI"} 47
               node_interrupts_total{cpu="2",devices="",info="Non-maskable interrupts",type="NMI"} 5031
               node_interrupts_total{cpu="0",devices="",info="Rescheduling interrupts",type="IPI0"} 12
               node_interrupts_total{cpu="2",devices="",info="Rescheduling interrupts",type="IPI0"} 13"#,
        );
    }

    #[test]
    fn filters() {
        let fixture = || Fixture::new().file("proc/interrupts", INTERRUPTS);
        for (flag, value, lines) in [
            ("interrupts.include-zeros", "false", 5),
            ("interrupts.name-include", "^0;IO-APIC;2-edge timer$", 2),
            ("interrupts.name-exclude", "Non-maskable", 4),
        ] {
            assert_eq!(fixture().option(flag, value).samples("interrupts").lines().count(), lines, "{flag}");
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for (bad, want) in [("", "header"), ("CPU0\n0: x y\n", "after \"0\"")] {
            assert!(Fixture::new().file("proc/interrupts", bad).error("interrupts").contains(want));
        }
    }
}
