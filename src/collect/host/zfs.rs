//! ZFS statistics. Source: OpenZFS, `module/os/linux/spl/spl-kstat.c`: `/proc/spl/kstat/zfs`.
//!
//! A kstat is a table `name type data`; its rows become untyped families named after them, since the
//! module says nothing of their meaning.

use std::io;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "zfs",
    on_by_default: true,
    help: "ZFS: caches, pools and datasets from /proc/spl/kstat/zfs.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Zfs {
            kstat: Tree::new(host.paths.proc("spl/kstat/zfs"), host.descriptors.clone()),
            names: FxHashMap::default(),
        }))
    },
};

/// Prefix of the families, file.
const TABLES: [(&str, &str); 11] = [
    ("node_zfs_abd_", "abdstats"),
    ("node_zfs_arc_", "arcstats"),
    ("node_zfs_dbuf_", "dbufstats"),
    ("node_zfs_dmu_tx_", "dmu_tx"),
    ("node_zfs_dnode_", "dnodestats"),
    ("node_zfs_fm_", "fm"),
    ("node_zfs_vdev_cache_", "vdev_cache_stats"),
    ("node_zfs_vdev_mirror_", "vdev_mirror_stats"),
    ("node_zfs_xuio_", "xuio_stats"),
    ("node_zfs_zfetch_", "zfetchstats"),
    ("node_zfs_zil_", "zil"),
];

const STATES: [&str; 7] = ["degraded", "faulted", "offline", "online", "removed", "suspended", "unavail"];

/// Row names that are remembered with the family they make; OpenZFS has some 500.
const MAX_NAMES: usize = 10_000;

/// Prefix, then row name, to family: made once, not at each pass.
type Names = FxHashMap<&'static str, FxHashMap<Vec<u8>, String>>;

struct Zfs {
    kstat: Tree,
    names: Names,
}

impl Collector for Zfs {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.kstat.begin_pass();
        let entries = self.kstat.names_or_no_data(&[], |_| true)?;
        if self.names.values().map(FxHashMap::len).sum::<usize>() > MAX_NAMES {
            self.names.clear();
        }
        let (kstat, names) = (&mut self.kstat, &mut self.names);
        for (prefix, file) in TABLES {
            // Which tables there are depends on the version of ZFS.
            let text = match kstat.text(&[file]) {
                Ok(text) => text,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(CollectError::Io { path: kstat.path(&[file]).to_path_buf(), source }),
            };
            let complete = rows(text, |row, value| {
                put(out, names, prefix, row, &[], value);
            });
            complete.map_err(|what| kstat.malformed(&[file], what))?;
        }
        for pool in entries.iter().filter(|name| TABLES.iter().all(|(_, file)| file != name)) {
            self.pool(pool, pass, out)?;
        }
        Ok(())
    }
}

impl Zfs {
    fn pool(&mut self, pool: &str, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let (kstat, names) = (&mut self.kstat, &mut self.names);
        // A pool that is being exported loses its files one by one; each is optional.
        if let Ok(text) = kstat.text(&[pool, "io"])
            && let Err(what) = pool_io(text, |row, value| {
                put(out, names, "node_zfs_zpool_", row, &[("zpool", pool)], value);
            })
        {
            return Err(kstat.malformed(&[pool, "io"], what));
        }
        for objset in kstat.names_if_any(&[pool], |name| name.starts_with("objset-"))? {
            if Instant::now() >= pass.deadline {
                return Err(CollectError::Other(format!("pool {pool}: too many datasets for the time given")));
            }
            let below = [pool, &*objset];
            let Ok(text) = kstat.text(&below) else { continue };
            let dataset = dataset_name(text);
            let labels = [("dataset", &*dataset), ("zpool", pool)];
            let complete = rows(text, |row, value| {
                put(out, names, "node_zfs_zpool_dataset_", row, &labels, value);
            });
            complete.map_err(|what| kstat.malformed(&below, what))?;
        }
        if let Ok(state) = kstat.attribute(&[pool, "state"]) {
            let help = "State of the pool: 1 for the one it is in.";
            let family = out.family("node_zfs_zpool_state", help, Kind::Gauge);
            for name in STATES {
                let is = f64::from(u8::from(state.eq_ignore_ascii_case(name.as_bytes())));
                out.sample(family, &[("state", name), ("zpool", pool)], is);
            }
        }
        Ok(())
    }
}

fn put(
    out: &mut Batch,
    names: &mut Names,
    prefix: &'static str,
    row: &[u8],
    labels: &[(&str, &str)],
    value: f64,
) {
    let names = names.entry(prefix).or_default();
    if !names.contains_key(row) {
        // A dot separates levels in kstat names; what counts is the last.
        let last = row.rsplit(|b| *b == b'.').next().unwrap_or_default();
        let valid = |b: &u8| if b.is_ascii_alphanumeric() { char::from(*b) } else { '_' };
        names.insert(row.to_vec(), prefix.chars().chain(last.iter().map(valid)).collect());
    }
    let Some(name) = names.get(row) else { return };
    out.untyped(name, "ZFS kernel statistic of this name.", labels, value);
}

const UINT64: &[u8] = b"4";
const INT64: &[u8] = b"3";

/// The numeric rows of a `name type data` table; other types are left out.
fn rows(text: &[u8], mut row: impl FnMut(&[u8], f64)) -> Result<(), &'static str> {
    let mut in_table = false;
    for line in parse::lines(text) {
        let mut fields = parse::fields(line);
        let (Some(name), Some(kind), Some(data)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if !in_table {
            in_table = (name, kind, data) == (b"name", b"type", b"data");
        } else if kind == UINT64 {
            row(name, parse::value(parse::unsigned(data).ok_or("expected a whole number")?));
        } else if kind == INT64 {
            let data = parse::signed(data).ok_or("expected a whole number")?;
            #[allow(clippy::cast_precision_loss, reason = "samples are f64")]
            row(name, data as f64);
        }
    }
    if in_table { Ok(()) } else { Err("expected a table `name type data`") }
}

/// The row `dataset_name  7  pool/name with spaces`.
fn dataset_name(text: &[u8]) -> String {
    let value = parse::lines(text).find_map(|line| {
        let rest = line.trim_ascii_start().strip_prefix(b"dataset_name")?;
        let (_, value) = parse::split_once(rest.trim_ascii_start(), b' ')?;
        Some(value.trim_ascii())
    });
    value.map_or_else(String::new, |value| valid_utf8(value).into_owned())
}

/// A line of names, `nread nwritten ...`, over lines of numbers.
fn pool_io(text: &[u8], mut column: impl FnMut(&[u8], f64)) -> Result<(), &'static str> {
    let mut lines = parse::lines(text);
    let header = lines.find(|line| {
        let mut fields = parse::fields(line);
        fields.next() == Some(b"nread") && fields.count() >= 11
    });
    let Some(header) = header else { return Ok(()) };
    for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
        let mut values = parse::fields(line).map(parse::unsigned);
        for name in parse::fields(header) {
            column(name, parse::value(values.next().flatten().ok_or("expected a number in each column")?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const ARC: &str = "13 1 0x01 91 4368 5266997922 97951858082072\nname                            type data\n\
        hits                            4    8772612\nmemory_available_bytes          3    -922337203\n\
        l2-size                         4    18446744073709551615\nlabel 7 text\nshort 4\n";
    const IO: &str = "12 3 0x00 1 80 79205351707403 395818011156865\n\
        nread    nwritten reads    writes   wtime    wlentime wupdate  rtime    rlentime rupdate  wcnt     rcnt\n\
        1 2 3 4 5 6 7 8 9 10 11 12\n";
    const OBJSET: &str = "29 1 0x01 7 2160 5 8\nname type data\ndataset_name                    7    tank/my data\n\
        writes                          4    1\nnread                           4    28\n";

    fn fixture() -> Fixture {
        Fixture::new().files(&[
            ("proc/spl/kstat/zfs/arcstats", ARC),
            ("proc/spl/kstat/zfs/dbgmsg", "not a table\n"),
            ("proc/spl/kstat/zfs/tank/io", IO),
            ("proc/spl/kstat/zfs/tank/objset-0x36", OBJSET),
            ("proc/spl/kstat/zfs/tank/state", "SUSPENDED\n"),
        ])
    }

    #[test]
    fn golden() {
        fixture().expect(
            "zfs",
            r#"node_zfs_arc_hits 8772612
            node_zfs_arc_l2_size 18446744073709552000
            node_zfs_arc_memory_available_bytes -922337203
            node_zfs_zpool_dataset_nread{dataset="tank/my data",zpool="tank"} 28
            node_zfs_zpool_dataset_writes{dataset="tank/my data",zpool="tank"} 1
            node_zfs_zpool_nread{zpool="tank"} 1
            node_zfs_zpool_nwritten{zpool="tank"} 2
            node_zfs_zpool_rcnt{zpool="tank"} 12
            node_zfs_zpool_reads{zpool="tank"} 3
            node_zfs_zpool_rlentime{zpool="tank"} 9
            node_zfs_zpool_rtime{zpool="tank"} 8
            node_zfs_zpool_rupdate{zpool="tank"} 10
            node_zfs_zpool_state{state="degraded",zpool="tank"} 0
            node_zfs_zpool_state{state="faulted",zpool="tank"} 0
            node_zfs_zpool_state{state="offline",zpool="tank"} 0
            node_zfs_zpool_state{state="online",zpool="tank"} 0
            node_zfs_zpool_state{state="removed",zpool="tank"} 0
            node_zfs_zpool_state{state="suspended",zpool="tank"} 1
            node_zfs_zpool_state{state="unavail",zpool="tank"} 0
            node_zfs_zpool_wcnt{zpool="tank"} 11
            node_zfs_zpool_wlentime{zpool="tank"} 6
            node_zfs_zpool_writes{zpool="tank"} 4
            node_zfs_zpool_wtime{zpool="tank"} 5
            node_zfs_zpool_wupdate{zpool="tank"} 7"#,
        );
    }

    #[test]
    fn absent_and_garbage() {
        assert!(Fixture::new().error("zfs").contains("no data"));
        Fixture::new().dir("proc/spl/kstat/zfs").expect("zfs", "");
        for (file, text) in [
            ("zil", ""),
            ("zil", "name type data\nx 4 y\n"),
            ("tank/io", "nread b c d e f g h i j k l\n1 2\n"),
            ("tank/objset-0x1", "nothing\n"),
        ] {
            let error = fixture().file(&format!("proc/spl/kstat/zfs/{file}"), text).error("zfs");
            assert!(error.contains("expected"), "{file}: {error}");
        }
    }
}
