//! `/proc/cpuinfo`, in the dialects of the architectures.
//!
//! There is no specification: each architecture prints its own keys (kernel `arch/*/kernel/**/cpu*.c`,
//! `show_cpuinfo`). All are read by one table of keys, with the values as the kernel prints them.

use crate::collect::parse;
use crate::model::valid_utf8;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CpuInfo {
    pub(super) number: String,
    pub(super) package: String,
    pub(super) core: String,
    pub(super) vendor: String,
    pub(super) family: String,
    pub(super) model: String,
    pub(super) model_name: String,
    pub(super) microcode: String,
    pub(super) stepping: String,
    pub(super) cache_size: String,
    pub(super) megahertz: f64,
    pub(super) flags: String,
    pub(super) bugs: String,
}

/// One entry a CPU; `None` if no line tells of one.
pub(super) fn parse(text: &[u8]) -> Option<Vec<CpuInfo>> {
    let mut cpus: Vec<CpuInfo> = Vec::new();
    // Lines before the first CPU hold for all (s390x `vendor_id`, old ARM `Processor`).
    let mut common = CpuInfo::default();
    let mut current = 0;
    for line in parse::lines(text) {
        let Some((key, value)) = parse::split_once(line, b':') else { continue };
        let key = valid_utf8(key.trim_ascii());
        let value = valid_utf8(value.strip_prefix(b" ").unwrap_or(value));
        if let Some(number) = cpu_number(&key, &value) {
            current = cpus.len();
            cpus.push(CpuInfo { number: number.to_owned(), ..common.clone() });
        } else if key == "cpu number" {
            // s390x lists all CPUs, then tells of each.
            current = cpus.iter().position(|c| *c.number == *value).unwrap_or(current);
        } else if key == "Features" {
            // Old ARM kernels print it once, after the last CPU.
            cpus.iter_mut().for_each(|c| (*value).clone_into(&mut c.flags));
        } else {
            set(cpus.get_mut(current).unwrap_or(&mut common), &key, &value);
        }
    }
    (!cpus.is_empty()).then_some(cpus)
}

/// `processor : 3`, or on s390x `processor 3: version = FF, ...`.
fn cpu_number<'a>(key: &'a str, value: &'a str) -> Option<&'a str> {
    let number = match key.strip_prefix("processor")? {
        "" => value.trim(),
        number => number.trim(),
    };
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
}

fn set(cpu: &mut CpuInfo, key: &str, value: &str) {
    let place = match key {
        // x86, LoongArch, PowerPC.
        "vendor" | "vendor_id" | "cpu" => &mut cpu.vendor,
        "cpu family" | "CPU Family" => &mut cpu.family,
        "model" => &mut cpu.model,
        // The second: LoongArch; `Processor`: 32-bit ARM; `isa`: RISC-V.
        "model name" | "Model Name" | "Processor" | "isa" => &mut cpu.model_name,
        "stepping" => &mut cpu.stepping,
        "microcode" => &mut cpu.microcode,
        "cache size" => &mut cpu.cache_size,
        "physical id" | "package" => &mut cpu.package,
        // `hart`: RISC-V.
        "core id" | "core" | "hart" => &mut cpu.core,
        "flags" | "features" => &mut cpu.flags,
        "bugs" => &mut cpu.bugs,
        // PowerPC prints `clock : 3690.000000MHz`.
        "cpu MHz" | "clock" | "CPU MHz" | "cpu MHz dynamic" => {
            let digits = value.trim().trim_end_matches("MHz").trim();
            cpu.megahertz = digits.parse().unwrap_or_default();
            return;
        }
        _ => return,
    };
    value.clone_into(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects() {
        let x86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu MHz\t\t: 2495.312\npower management:\n\n\
                   processor\t: 1\nflags\t\t: fpu aes\nbugs\t\t: spectre_v1\n";
        let cpus = parse(x86.as_bytes()).unwrap();
        assert_eq!(cpus.len(), 2);
        assert_eq!((cpus[0].vendor.as_str(), cpus[0].megahertz), ("AuthenticAMD", 2495.312));
        assert_eq!((cpus[1].number.as_str(), cpus[1].flags.as_str()), ("1", "fpu aes"));

        let arm = "Processor\t: ARMv7 rev 4\nprocessor\t: 0\nprocessor\t: 1\nFeatures\t: half thumb\n";
        let cpus = parse(arm.as_bytes()).unwrap();
        assert_eq!(cpus.len(), 2);
        assert!(cpus.iter().all(|c| c.flags == "half thumb" && c.model_name == "ARMv7 rev 4"));

        let s390x = "vendor_id       : IBM/S390\nprocessor 0: version = FF\nprocessor 4: x\n\n\
                     cpu number      : 0\ncore id         : 7\n";
        let cpus = parse(s390x.as_bytes()).unwrap();
        assert_eq!((cpus[1].number.as_str(), cpus[1].vendor.as_str()), ("4", "IBM/S390"));
        assert_eq!((cpus[0].core.as_str(), cpus[1].core.as_str()), ("7", ""));

        let power = "processor\t: 0\ncpu\t\t: POWER9\nclock\t\t: 2700.000000MHz\n";
        let cpus = parse(power.as_bytes()).unwrap();
        assert_eq!((cpus[0].vendor.as_str(), cpus[0].megahertz), ("POWER9", 2700.0));
    }

    #[test]
    fn no_cpu_is_nothing() {
        for text in ["", "garbage", "processor : x\n", "\u{1}:\n:"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
