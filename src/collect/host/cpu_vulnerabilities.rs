//! Hardware vulnerabilities of the CPUs. Source: kernel `Documentation/admin-guide/hw-vuln/`.

use std::io;
use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "cpu_vulnerabilities",
    on_by_default: false,
    help: "Hardware vulnerabilities of the CPUs and how they are mitigated.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(CpuVulnerabilities {
            directory: host.paths.sys("devices/system/cpu/vulnerabilities"),
            files: Files::new(host.descriptors.clone()),
            known: None,
        }))
    },
};

/// Code name and file of each; the kernel makes them at boot.
type Known = Vec<(String, PathBuf)>;

struct CpuVulnerabilities {
    directory: PathBuf,
    files: Files,
    known: Option<Known>,
}

impl Collector for CpuVulnerabilities {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        if self.known.is_none() {
            self.known = Some(list(&self.directory).map_err(|e| CollectError::reading(&self.directory, e))?);
        }
        let help = "Hardware vulnerabilities of the CPUs, their state and mitigation.";
        let family = out.family("node_cpu_vulnerabilities_info", help, Kind::Gauge);
        for (name, path) in self.known.iter().flatten() {
            let text = self.files.attribute(path).map_err(|e| CollectError::reading(path, e))?;
            let (state, mitigation) = state(text);
            let labels = [("codename", name.as_str()), ("state", state), ("mitigation", &mitigation)];
            out.sample(family, &labels, 1.0);
        }
        Ok(())
    }
}

fn list(directory: &PathBuf) -> io::Result<Known> {
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Known::new()),
        entries => entries?,
    };
    let entry = |e: std::fs::DirEntry| (e.file_name().to_string_lossy().into_owned(), e.path());
    let mut known = entries.map(|e| e.map(entry)).collect::<io::Result<Known>>()?;
    known.sort_unstable();
    Ok(known)
}

/// State, and the words after it.
fn state(text: &[u8]) -> (&'static str, String) {
    // "KVM: Mitigation: VMX disabled" speaks of guests of this machine.
    let text = text.strip_prefix(b"KVM: ").unwrap_or(text);
    let begins = |with: &str| text.get(..with.len()).is_some_and(|t| t.eq_ignore_ascii_case(with.as_bytes()));
    let state = ["vulnerable", "mitigation"].into_iter().find(|s| begins(s));
    if begins("not affected") {
        return ("not affected", String::new());
    }
    // "Unknown: No mitigations" and whatever comes: all of it is worth telling.
    let words_to_skip = usize::from(state.is_some() || begins("unknown"));
    let words: Vec<_> = parse::fields(text).skip(words_to_skip).map(valid_utf8).collect();
    (state.unwrap_or("unknown"), words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let file = |name: &str| format!("sys/devices/system/cpu/vulnerabilities/{name}");
        Fixture::new()
            .file(&file("l1tf"), "Not affected\n")
            .file(&file("mds"), "Vulnerable: Clear CPU buffers attempted, no microcode; SMT vulnerable\n")
            .file(&file("spectre_v2"), "Mitigation: Retpolines, IBPB: conditional\n")
            .file(&file("itlb_multihit"), "KVM: Mitigation: VMX disabled\n")
            .file(&file("meltdown"), "Vulnerable\n")
            .file(&file("mmio_stale_data"), "Unknown: No mitigations\n")
            .expect(
                "cpu_vulnerabilities",
                r#"node_cpu_vulnerabilities_info{codename="l1tf",mitigation="",state="not affected"} 1
                   node_cpu_vulnerabilities_info{codename="mds",mitigation="Clear CPU buffers attempted, no microcode; SMT vulnerable",state="vulnerable"} 1
                   node_cpu_vulnerabilities_info{codename="spectre_v2",mitigation="Retpolines, IBPB: conditional",state="mitigation"} 1
                   node_cpu_vulnerabilities_info{codename="itlb_multihit",mitigation="VMX disabled",state="mitigation"} 1
                   node_cpu_vulnerabilities_info{codename="meltdown",mitigation="",state="vulnerable"} 1
                   node_cpu_vulnerabilities_info{codename="mmio_stale_data",mitigation="No mitigations",state="unknown"} 1"#,
            );
        Fixture::new().expect("cpu_vulnerabilities", "");
    }
}
