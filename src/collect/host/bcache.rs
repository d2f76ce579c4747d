//! bcache: cache sets, their caches and backing devices. Source: kernel
//! `Documentation/admin-guide/bcache.rst`, `drivers/md/bcache/sysfs.c`, `/sys/fs/bcache/<set>`.

use crate::collect::directory::number_after;
use crate::collect::{CollectError, Collector, Flag, FlagKind, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "bcache",
    on_by_default: true,
    help: "bcache statistics from /sys/fs/bcache.",
    flags: &[Flag {
        name: "bcache.priorityStats",
        kind: FlagKind::Switch(false),
        help: "Expose the expensive statistics of priority_stats.",
        hidden: false,
    }],
    build: |host, options| {
        Ok(Box::new(Bcache {
            tree: Tree::new(host.paths.sys("fs/bcache"), host.descriptors.clone()),
            priority_stats: options.switch("bcache.priorityStats"),
        }))
    },
};

struct Bcache {
    tree: Tree,
    priority_stats: bool,
}

/// File, family, help, type, factor.
type Row = (&'static str, &'static str, &'static str, Kind, f64);

const SET: [Row; 10] = [
    ("average_key_size", "node_bcache_average_key_size_sectors", "Average data per key.", Kind::Gauge, 1.0),
    ("btree_cache_size", "node_bcache_btree_cache_size_bytes", "Memory the B-tree cache uses.", Kind::Gauge, 1.0),
    (
        "cache_available_percent",
        "node_bcache_cache_available_percent",
        "Part of the cache without dirty data.",
        Kind::Gauge,
        1.0,
    ),
    ("congested", "node_bcache_congested", "How congested the cache is.", Kind::Gauge, 1.0),
    ("root_usage_percent", "node_bcache_root_usage_percent", "Used part of the root B-tree node.", Kind::Gauge, 1.0),
    ("tree_depth", "node_bcache_tree_depth", "Depth of the B-tree.", Kind::Gauge, 1.0),
    (
        "internal/active_journal_entries",
        "node_bcache_active_journal_entries",
        "Journal entries newer than the index.",
        Kind::Gauge,
        1.0,
    ),
    ("internal/btree_nodes", "node_bcache_btree_nodes", "Nodes of the B-tree.", Kind::Gauge, 1.0),
    // node_exporter takes the file's microseconds for nanoseconds, and so do dashboards.
    (
        "internal/btree_read_average_duration_us",
        "node_bcache_btree_read_average_duration_seconds",
        "Average duration of a B-tree read.",
        Kind::Gauge,
        1e-9,
    ),
    (
        "internal/cache_read_races",
        "node_bcache_cache_read_races_total",
        "Reads from the cache whose bucket was reused meanwhile.",
        Kind::Counter,
        1.0,
    ),
];

const BACKING_TOTALS: [Row; 6] = [
    ("bypassed", "node_bcache_bypassed_bytes_total", "I/O that bypassed the cache.", Kind::Counter, 1.0),
    ("cache_hits", "node_bcache_cache_hits_total", "Requests served by the cache.", Kind::Counter, 1.0),
    ("cache_misses", "node_bcache_cache_misses_total", "Requests the cache did not have.", Kind::Counter, 1.0),
    (
        "cache_bypass_hits",
        "node_bcache_cache_bypass_hits_total",
        "Requests meant to bypass the cache that hit it.",
        Kind::Counter,
        1.0,
    ),
    (
        "cache_bypass_misses",
        "node_bcache_cache_bypass_misses_total",
        "Requests meant to bypass the cache that did not hit it.",
        Kind::Counter,
        1.0,
    ),
    (
        "cache_miss_collisions",
        "node_bcache_cache_miss_collisions_total",
        "Cache fills that a write overtook.",
        Kind::Counter,
        1.0,
    ),
];

const CACHE: [Row; 3] = [
    ("io_errors", "node_bcache_io_errors", "I/O errors, decaying with time.", Kind::Gauge, 1.0),
    (
        "metadata_written",
        "node_bcache_metadata_written_bytes_total",
        "Metadata written to the cache.",
        Kind::Counter,
        1.0,
    ),
    ("written", "node_bcache_written_bytes_total", "Data written to the cache.", Kind::Counter, 1.0),
];

/// Key in `writeback_rate_debug`, family, help.
const WRITEBACK: [(&[u8], &str, &str); 5] = [
    (b"target", "node_bcache_dirty_target_bytes", "Dirty data the backing device aims at."),
    (b"rate", "node_bcache_writeback_rate", "Rate of writeback, bytes per second."),
    (
        b"proportional",
        "node_bcache_writeback_rate_proportional_term",
        "Proportional term of the rate of writeback.",
    ),
    (b"integral", "node_bcache_writeback_rate_integral_term", "Integral term of the rate of writeback."),
    (b"change", "node_bcache_writeback_change", "Last change of the rate of writeback."),
];

const PRIORITY: [(&[u8], &str, &str); 2] = [
    (b"Unused", "node_bcache_priority_stats_unused_percent", "Part of the cache without data."),
    (b"Metadata", "node_bcache_priority_stats_metadata_percent", "Part of the cache that is metadata."),
];

impl Collector for Bcache {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        for set in self.tree.names_if_any(&[], |name| name.contains('-'))? {
            self.set(&set, out)?;
        }
        Ok(())
    }
}

impl Bcache {
    fn set(&mut self, set: &str, out: &mut Batch) -> Result<(), CollectError> {
        self.rows(&SET, &[set], &[("uuid", set)], out)?;
        let is_member = |name: &str| number_after(name, "bdev").or(number_after(name, "cache")).is_some();
        for member in self.tree.names_if_any(&[set], is_member)? {
            if member.starts_with("bdev") {
                self.backing_device(set, &member, out)?;
            } else {
                self.cache(set, &member, out)?;
            }
        }
        Ok(())
    }

    fn backing_device(&mut self, set: &str, device: &str, out: &mut Batch) -> Result<(), CollectError> {
        let labels = [("backing_device", device), ("uuid", set)];
        let dirty = self.value(&[set, device, "dirty_data"])?;
        let help = "Dirty data of the backing device in the cache.";
        out.gauge("node_bcache_dirty_data_bytes", help, &labels, dirty);
        let below = [set, device, "writeback_rate_debug"];
        let text = self.tree.required(&below)?;
        let mut values = [0.0; WRITEBACK.len()];
        for (value, (key, ..)) in values.iter_mut().zip(&WRITEBACK) {
            let Some(text) = keyed(text, key) else { continue };
            let text = text.strip_suffix(b"/sec").unwrap_or(text);
            let Some(number) = signed_humanized(text) else {
                return Err(self.tree.malformed(&below, "expected numbers with a unit"));
            };
            *value = number;
        }
        for (value, (_, family, help)) in values.into_iter().zip(WRITEBACK) {
            let family = out.family(family, help, Kind::Gauge);
            out.sample(family, &labels, value);
        }
        self.rows(&BACKING_TOTALS, &[set, device, "stats_total"], &labels, out)?;
        // Newer kernels do not have it.
        if let Ok(text) = self.tree.attribute(&[set, device, "stats_total", "cache_readaheads"])
            && let Some(value) = humanized(text).filter(|value| *value != 0.0)
        {
            let help = "Readaheads into the cache.";
            out.counter("node_bcache_cache_readaheads_total", help, &labels, value);
        }
        Ok(())
    }

    fn cache(&mut self, set: &str, device: &str, out: &mut Batch) -> Result<(), CollectError> {
        let labels = [("cache_device", device), ("uuid", set)];
        self.rows(&CACHE, &[set, device], &labels, out)?;
        if !self.priority_stats {
            return Ok(());
        }
        let below = [set, device, "priority_stats"];
        let text = self.tree.required(&below)?;
        let mut values = [0.0; PRIORITY.len()];
        for (value, (key, ..)) in values.iter_mut().zip(&PRIORITY) {
            let Some(text) = keyed(text, key) else { continue };
            let Some(number) = parse::unsigned(text.strip_suffix(b"%").unwrap_or(text)) else {
                return Err(self.tree.malformed(&below, "expected per cent"));
            };
            *value = parse::value(number);
        }
        for (value, (_, family, help)) in values.into_iter().zip(PRIORITY) {
            out.gauge(family, help, &labels, value);
        }
        Ok(())
    }

    fn rows(
        &mut self,
        rows: &[Row],
        below: &[&str],
        labels: &[(&str, &str)],
        out: &mut Batch,
    ) -> Result<(), CollectError> {
        for (file, family, help, kind, factor) in rows {
            let value = match *below {
                [a] => self.value(&[a, file]),
                [a, b] => self.value(&[a, b, file]),
                [a, b, c] => self.value(&[a, b, c, file]),
                _ => continue,
            }?;
            let family = out.family(family, help, *kind);
            out.sample(family, labels, value * factor);
        }
        Ok(())
    }

    fn value(&mut self, below: &[&str]) -> Result<f64, CollectError> {
        let value = humanized(self.tree.required(below)?);
        value.ok_or_else(|| self.tree.malformed(below, "expected a number, perhaps with a unit"))
    }
}

/// The last field of the line `key:  ... value`.
fn keyed<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    parse::lines(text).find_map(|line| parse::fields(line.strip_prefix(key)?.strip_prefix(b":")?).last())
}

fn signed_humanized(text: &[u8]) -> Option<f64> {
    match text.strip_prefix(b"-") {
        Some(positive) => humanized(positive).map(|value| -value),
        None => humanized(text),
    }
}

/// Undoes the kernel's `bch_hprint`: `1.5k` stands for 1 KiB and 5/10.24 of another one, because the
/// digits after the point are a remainder of 1024 divided by 100. Cut to a whole number.
fn humanized(text: &[u8]) -> Option<f64> {
    let (number, exponent) = match text.split_last()? {
        (unit, number) if *unit > b'9' => {
            let exponent = b"kMGTPEZY".iter().position(|u| u == unit)?;
            (number, i32::try_from(exponent).ok()? + 1)
        }
        _ => return Some(parse::number(text)?.trunc()),
    };
    let mantissa = match parse::split_once(number, b'.') {
        Some((whole, rest)) => parse::number(whole)? + parse::number(rest)? / 10.24,
        None => parse::number(number)?,
    };
    Some((mantissa * 1024_f64.powi(exponent)).trunc())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    fn fixture() -> Fixture {
        let set = |file: &str| format!("sys/fs/bcache/ab-cd/{file}");
        let files = SET.iter().map(|(file, ..)| *file);
        let files = files.chain(["bdev0/dirty_data", "cache0/written", "cache0/metadata_written", "cache0/io_errors"]);
        let mut fixture = files.fold(Fixture::new(), |fixture, file| fixture.file(&set(file), "1.5k\n"));
        for (file, ..) in BACKING_TOTALS {
            fixture = fixture.file(&set(&format!("bdev0/stats_total/{file}")), "7\n");
        }
        fixture.files(&[
            (&set("bdev0/stats_total/cache_readaheads"), "13\n"),
            (&set("bdev0/writeback_rate_debug"), "rate:\t\t1.1M/sec\ndirty:\t\t20.4G\ntarget:\t\t20.4G\nproportional:\t427.5k\nintegral:\t-790.0k\nchange:\t\t321.5k/sec\nnext io:\t17ms\n"),
            (&set("cache0/priority_stats"), "Unused:\t\t99%\nMetadata:\t3%\nAverage:\t10473\nSectors per Q:\t64\nQuantiles:\t[0 0]\n"),
        ])
    }

    #[test]
    fn golden() {
        let text = fixture().option("bcache.priorityStats", "true").samples("bcache");
        for want in [
            r#"node_bcache_btree_read_average_duration_seconds{uuid="ab-cd"} 0.0000015240000000000001"#,
            r#"node_bcache_average_key_size_sectors{uuid="ab-cd"} 1524"#,
            r#"node_bcache_dirty_data_bytes{backing_device="bdev0",uuid="ab-cd"} 1524"#,
            r#"node_bcache_dirty_target_bytes{backing_device="bdev0",uuid="ab-cd"} 21894266880"#,
            r#"node_bcache_writeback_rate{backing_device="bdev0",uuid="ab-cd"} 1150976"#,
            r#"node_bcache_writeback_rate_integral_term{backing_device="bdev0",uuid="ab-cd"} -808960"#,
            r#"node_bcache_cache_readaheads_total{backing_device="bdev0",uuid="ab-cd"} 13"#,
            r#"node_bcache_cache_hits_total{backing_device="bdev0",uuid="ab-cd"} 7"#,
            r#"node_bcache_written_bytes_total{cache_device="cache0",uuid="ab-cd"} 1524"#,
            r#"node_bcache_priority_stats_metadata_percent{cache_device="cache0",uuid="ab-cd"} 3"#,
        ] {
            assert!(text.contains(&format!("{want}\n")), "{want}\n{text}");
        }
        assert_eq!(text.lines().count(), 28, "{text}");
        assert!(!fixture().samples("bcache").contains("priority"), "off by default");
    }

    #[test]
    fn numbers_of_bch_hprint() {
        for (text, want) in [
            ("0", Some(0.0)),
            ("1305", Some(1305.0)),
            ("1k", Some(1024.0)),
            ("1.0k", Some(1024.0)),
            ("1.10k", Some(2024.0)),
            ("20.4G", Some(21_894_266_880.0)),
            ("", None),
            ("k", None),
            ("1q", None),
            ("x", None),
        ] {
            assert_eq!(humanized(text.as_bytes()).map(f64::trunc), want, "{text}");
        }
    }

    #[test]
    fn absent_and_incomplete() {
        Fixture::new().expect("bcache", "");
        Fixture::new().file("sys/fs/bcache/register", "").expect("bcache", "");
        assert!(Fixture::new().dir("sys/fs/bcache/ab-cd").error("bcache").contains("average_key_size"));
    }
}
