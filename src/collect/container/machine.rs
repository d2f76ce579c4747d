//! The machine that containers are on, under cAdvisor's names. Sources: the kernel's `ABI/testing/sysfs-devices-system-cpu`,
//! `ABI/stable/sysfs-devices-node`.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::kept_file::Reader;
use super::super::{HostPaths, directory, parse};
use crate::model::{Batch, Kind};

const CPUS: &str = "devices/system/cpu";
const NODES: &str = "devices/system/node";

/// One sample: name, help, labels besides those of the machine, value.
type Sample = (&'static str, &'static str, Vec<(&'static str, String)>, f64);

/// What does not change while the machine runs, but for memory or processors that are plugged in.
#[derive(Debug, Default)]
pub(super) struct Machine {
    labels: [String; 3],
    samples: Vec<Sample>,
}

impl Machine {
    /// Reads all.
    pub(super) fn read(reader: &mut Reader, paths: &HostPaths) -> Self {
        let mut text = |path: &Path| {
            let text = reader.once_at(path).unwrap_or_default();
            String::from_utf8_lossy(text.trim_ascii()).into_owned()
        };
        let labels = [
            text(&paths.proc("sys/kernel/random/boot_id")),
            text(&paths.root("etc/machine-id")),
            text(&paths.sys("class/dmi/id/product_uuid")),
        ];
        let mut samples = processors(&mut text, paths);
        samples.extend(memory(&text(&paths.proc("meminfo"))));
        samples.extend(nodes(&mut text, paths));
        Self { labels, samples }
    }

    /// Number of samples that are written.
    pub(super) fn len(&self) -> usize {
        self.samples.len() + 1
    }

    pub(super) fn write(&self, out: &mut Batch) {
        let has = |name| self.samples.iter().any(|(of, ..)| *of == name);
        let is_whole = has("machine_cpu_cores") && has("machine_memory_bytes");
        let help = "Whether the machine's processors or memory could not be read.";
        out.gauge("machine_scrape_error", help, &[], f64::from(u8::from(!is_whole)));
        let [boot, machine, system] = &self.labels;
        for (name, help, more, value) in &self.samples {
            let mut labels = vec![("boot_id", &**boot), ("machine_id", machine), ("system_uuid", system)];
            labels.extend(more.iter().map(|(name, value)| (*name, &**value)));
            labels.retain(|(_, value)| !value.is_empty());
            labels.sort_unstable();
            let family = out.family(name, help, Kind::Gauge);
            out.sample(family, &labels, *value);
        }
    }
}

fn processors(text: &mut impl FnMut(&Path) -> String, paths: &HostPaths) -> Vec<Sample> {
    let base = paths.sys(CPUS);
    let (mut threads, mut cores, mut sockets) = (0_u32, BTreeSet::new(), BTreeSet::new());
    for name in directory::names_or_none(&base) {
        if directory::number_after(&name, "cpu").is_none() {
            continue;
        }
        let topology = base.join(&name).join("topology");
        // One that is offline has no topology.
        let (socket, core) = (text(&topology.join("physical_package_id")), text(&topology.join("core_id")));
        if !core.is_empty() {
            threads += 1;
            cores.insert((socket.clone(), core));
            sockets.insert(socket);
        }
    }
    if threads == 0 {
        return Vec::new();
    }
    let sample = |name, help, count: usize| {
        (name, help, Vec::new(), f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
    };
    vec![
        ("machine_cpu_cores", "Logical processors that are online.", Vec::new(), f64::from(threads)),
        sample("machine_cpu_physical_cores", "Cores of processors that are online.", cores.len()),
        sample("machine_cpu_sockets", "Processor sockets in use.", sockets.len()),
    ]
}

fn memory(meminfo: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let total = |name| kib(meminfo.lines().find_map(|line| line.strip_prefix(name))?);
    if let Some(bytes) = total("MemTotal:") {
        samples.push(("machine_memory_bytes", "Memory of the machine.", Vec::new(), bytes));
    }
    if let Some(bytes) = total("SwapTotal:") {
        samples.push(("machine_swap_bytes", "Swap space of the machine.", Vec::new(), bytes));
    }
    samples
}

fn kib(field: &str) -> Option<f64> {
    let number = field.trim().trim_end_matches("kB").trim_end();
    Some(parse::value(parse::unsigned(number.as_bytes())?) * 1024.0)
}

fn nodes(text: &mut impl FnMut(&Path) -> String, paths: &HostPaths) -> Vec<Sample> {
    let base = paths.sys(NODES);
    let names = directory::names_or_none(&base);
    let mut ids: Vec<(u32, String)> = names
        .iter()
        .filter_map(|name| directory::number_after(name, "node"))
        .filter_map(|id| Some((id.parse().ok()?, id.to_owned())))
        .collect();
    ids.sort_unstable();
    let mut samples = Vec::new();
    for (_, id) in &ids {
        let node = base.join(format!("node{id}"));
        let meminfo = text(&node.join("meminfo"));
        let total = meminfo.lines().find_map(|line| kib(line.split_once("MemTotal:")?.1));
        if let Some(bytes) = total {
            let help = "Memory of a memory node.";
            samples.push(("machine_node_memory_capacity_bytes", help, vec![("node_id", id.clone())], bytes));
        }
        for size in directory::names_or_none(&node.join("hugepages")) {
            let pages =
                parse::unsigned(text(&node.join("hugepages").join(&size).join("nr_hugepages")).as_bytes());
            let kib = size.strip_prefix("hugepages-").and_then(|size| size.strip_suffix("kB"));
            if let (Some(pages), Some(kib)) = (pages, kib) {
                let labels = vec![("node_id", id.clone()), ("page_size", kib.to_owned())];
                let help = "Huge pages that a memory node has set aside, by their size in KiB.";
                samples.push(("machine_node_hugepages_count", help, labels, parse::value(pages)));
            }
        }
        let distances = text(&node.join("distance"));
        for ((_, target), distance) in ids.iter().zip(distances.split_ascii_whitespace()) {
            if let Some(distance) = parse::unsigned(distance.as_bytes()) {
                let labels = vec![("node_id", id.clone()), ("target_node_id", target.clone())];
                let help = "Distance between memory nodes; 10 is none.";
                samples.push(("machine_node_distance", help, labels, parse::value(distance)));
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_machine() {
        let samples = memory("MemTotal:  2 kB\nSwapTotal: 0 kB\n");
        let values: Vec<_> = samples.iter().map(|(name, .., value)| (*name, *value)).collect();
        assert_eq!(values, [("machine_memory_bytes", 2048.0), ("machine_swap_bytes", 0.0)]);
        assert!(memory("MemTotal: x kB").is_empty());
    }
}
