//! Energy used, from running average power limit zones. Source: kernel
//! `Documentation/power/powercap/powercap.rst`, sysfs class `powercap`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::collect::{CollectError, Collector, Flag, FlagKind, Pass, Spec, Tree, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "rapl",
    on_by_default: true,
    help: "Energy used by processor packages, cores and memory.",
    flags: &[Flag::new(
        "rapl.enable-zone-label",
        FlagKind::Switch(false),
        "Expose one family with the zone as label rapl_zone instead of a family a zone.",
    )],
    build: |host, options| {
        let directory: PathBuf = host.paths.sys("class/powercap").components().collect();
        Ok(Box::new(Rapl {
            tree: Tree::new(directory.clone(), host.descriptors.clone()),
            directory,
            zone_label: options.switch("rapl.enable-zone-label"),
        }))
    },
};

struct Rapl {
    directory: PathBuf,
    tree: Tree,
    zone_label: bool,
}

impl Collector for Rapl {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        let entries = self.tree.names(&[], |_| true).map_err(|e| unreadable(&self.directory, e))?;
        // "package-0" tells its index; of zones that do not, such as "core", we count how often they came.
        let mut next_index: BTreeMap<String, i64> = BTreeMap::new();
        for entry in entries {
            let Ok(name) = self.tree.attribute(&[&entry, "name"]) else { continue };
            let name = valid_utf8(name);
            let (name, index) = match own_index(&name) {
                Some((name, index)) => (name.to_owned(), index),
                None => {
                    let index = next_index.get(name.as_ref()).copied().unwrap_or_default();
                    (name.into_owned(), index)
                }
            };
            next_index.insert(name.clone(), index.saturating_add(1));
            let microjoules = match self.tree.attribute(&[&entry, "energy_uj"]) {
                Ok(text) => parse::unsigned(text),
                // Readable by root only since Linux 5.10 (CVE-2020-8694).
                Err(e) => return Err(unreadable(self.tree.path(&[&entry, "energy_uj"]), e)),
            };
            let Some(microjoules) = microjoules else {
                return Err(self.tree.malformed(&[&entry, "energy_uj"], "expected a whole number"));
            };
            let (joules, index) = (parse::value(microjoules) / 1e6, index.to_string());
            let path = self.directory.join(&entry);
            let path = valid_utf8(path.as_os_str().as_encoded_bytes());
            if self.zone_label {
                let labels = [("index", &*index), ("path", &path), ("rapl_zone", &name)];
                out.counter("node_rapl_joules_total", "Energy used by a zone, joules.", &labels, joules);
            } else {
                let family = format!("node_rapl_{}_joules_total", sanitised(&name));
                let help = format!("Energy used by zones named {name}, joules.");
                out.counter(&family, &help, &[("index", &index), ("path", &path)], joules);
            }
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: io::Error) -> CollectError {
    if error.kind() == io::ErrorKind::PermissionDenied {
        CollectError::NoData(format!("{}: {error}", path.display()))
    } else {
        CollectError::reading(path, error)
    }
}

/// `package-0` is zone `package`, index 0; `package-0-die-1` has no index of its own.
fn own_index(name: &str) -> Option<(&str, i64)> {
    let (zone, index) = name.split_once('-')?;
    Some((zone, index.parse().ok()?))
}

/// Each run of characters that no metric name may have, with the underscores around it, becomes one underscore.
fn sanitised(name: &str) -> String {
    let mut clean = String::with_capacity(name.len());
    let mut in_gap = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || (c == '_' && !in_gap) {
            clean.push(c);
            in_gap = false;
        } else if !in_gap {
            clean.truncate(clean.trim_end_matches('_').len());
            clean.push('_');
            in_gap = true;
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    fn fixture() -> Fixture {
        let zone = |fixture: Fixture, entry: &str, name: &str, energy: &str| {
            fixture
                .file(&format!("sys/class/powercap/{entry}/name"), format!("{name}\n"))
                .file(&format!("sys/class/powercap/{entry}/energy_uj"), energy)
        };
        let fixture = Fixture::new().file("sys/class/powercap/intel-rapl/enabled", "1\n");
        let fixture = zone(fixture, "intel-rapl:0", "package-0", "240422366267\n");
        let fixture = zone(fixture, "intel-rapl:0:0", "core", "118821284256\n");
        let fixture = zone(fixture, "intel-rapl:1:0", "core", "1\n");
        zone(fixture, "intel-rapl:1", "package-10", "18446744073709551615\n")
    }

    #[test]
    fn golden() {
        let fixture = fixture();
        let base = fixture.path().join("sys/class/powercap");
        let base = base.display();
        fixture.expect(
            "rapl",
            &format!(
                r#"node_rapl_core_joules_total{{index="0",path="{base}/intel-rapl:0:0"}} 118821.284256
                node_rapl_core_joules_total{{index="1",path="{base}/intel-rapl:1:0"}} 0.000001
                node_rapl_package_joules_total{{index="0",path="{base}/intel-rapl:0"}} 240422.366267
                node_rapl_package_joules_total{{index="10",path="{base}/intel-rapl:1"}} 18446744073709.55"#
            ),
        );
        let labelled = fixture.option("rapl.enable-zone-label", "true").samples("rapl");
        assert!(labelled.contains("intel-rapl:1\",rapl_zone=\"package\"} "), "{labelled}");
    }

    #[test]
    fn absent_and_garbage() {
        assert!(Fixture::new().error("rapl").contains("no data"));
        let garbage = fixture().file("sys/class/powercap/intel-rapl:0/energy_uj", "x");
        assert!(garbage.error("rapl").contains("whole number"));
    }

    #[test]
    fn names_of_zones() {
        assert_eq!(own_index("package-0"), Some(("package", 0)));
        assert_eq!(own_index("package-0-die-1"), None);
        assert_eq!(own_index("psys"), None);
        for (name, want) in [("package-0-die-1", "package_0_die_1"), ("a_-_b", "a_b"), ("x", "x"), ("a__b", "a__b")] {
            assert_eq!(sanitised(name), want);
        }
    }
}
