//! Per-CPU counters of network caches. Source: kernel `net/core/neighbour.c` and others;
//! `/proc/net/stat/*`: a line of names, then one of hexadecimal numbers for each CPU.
//!
//! Families are named after what the files say, so what is no metric name is left out.

use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind, valid_metric_name};

pub(super) static SPEC: Spec = Spec {
    name: "lnstat",
    on_by_default: false,
    help: "Per-CPU counters of network caches (ARP, connection tracking, routes).",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(LnStat { tree: Tree::new(host.paths.proc("net/stat"), host.descriptors.clone()) }))
    },
};

struct LnStat {
    tree: Tree,
}

impl Collector for LnStat {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        for subsystem in self.tree.names_if_any(&[], |name| !name.starts_with('.'))? {
            let read = match self.tree.text(&[&subsystem]) {
                Ok(text) => samples(&subsystem, text, out).map_err(|what| (what, None)),
                Err(e) => Err((String::new(), Some(e))),
            };
            match read {
                Ok(()) => {}
                Err((_, Some(e))) => return Err(CollectError::reading(self.tree.path(&[&subsystem]), e)),
                Err((what, None)) => return Err(self.tree.malformed(&[&subsystem], &what)),
            }
        }
        Ok(())
    }
}

fn samples(subsystem: &str, text: &[u8], out: &mut Batch) -> Result<(), String> {
    let mut lines = parse::lines(text);
    let families: Vec<_> = parse::fields(lines.next().unwrap_or_default())
        .map(|name| {
            let family = format!("node_lnstat_{}_total", std::str::from_utf8(name).ok()?);
            let help = "Per-CPU counter of a network cache.";
            valid_metric_name(&family).then(|| out.family(&family, help, Kind::Counter))
        })
        .collect();
    for (cpu, line) in lines.enumerate() {
        let mut digits = itoa::Buffer::new();
        let labels = [("cpu", digits.format(cpu)), ("subsystem", subsystem)];
        let mut families = families.iter();
        for field in parse::fields(line) {
            let value = parse::hexadecimal(field);
            let value = value.ok_or_else(|| format!("line {}: hexadecimal numbers expected", cpu + 2))?;
            let family = families.next().ok_or_else(|| format!("line {}: more numbers than names", cpu + 2))?;
            if let Some(family) = family {
                out.sample(*family, &labels, parse::value(value));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden_of_two_files_and_two_cpus() {
        Fixture::new()
            .files(&[
                ("proc/net/stat/arp_cache", "entries  allocs odd-name\n00000014  00000001 3\n00000014  0000000d 4\n"),
                ("proc/net/stat/nf_conntrack", "entries searched\n00000021 ffffffffffffffff\n"),
            ])
            .expect(
                "lnstat",
                r#"node_lnstat_entries_total{cpu="0",subsystem="arp_cache"} 20
                node_lnstat_entries_total{cpu="1",subsystem="arp_cache"} 20
                node_lnstat_allocs_total{cpu="0",subsystem="arp_cache"} 1
                node_lnstat_allocs_total{cpu="1",subsystem="arp_cache"} 13
                node_lnstat_entries_total{cpu="0",subsystem="nf_conntrack"} 33
                node_lnstat_searched_total{cpu="0",subsystem="nf_conntrack"} 18446744073709552000"#,
            );
    }

    #[test]
    fn nothing_there_is_no_failure_and_garbage_is() {
        Fixture::new().expect("lnstat", "");
        Fixture::new().file("proc/net/stat/empty", "").expect("lnstat", "");
        for bad in ["a b\n1 x\n", "a\n1 2\n"] {
            assert!(Fixture::new().file("proc/net/stat/x", bad).error("lnstat").contains("line 2"));
        }
    }
}
