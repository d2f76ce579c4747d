//! bcachefs file systems. Source: bcachefs `fs/bcachefs/sysfs.c`, `/sys/fs/bcachefs/<uuid>`: text meant for
//! people, with sizes such as `1.29M` or `5.37 GiB`.

use crate::collect::{CollectError, Collector, Pass, Spec, Tree, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "bcachefs",
    on_by_default: true,
    help: "bcachefs counters, compression, errors and devices from /sys/fs/bcachefs.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Bcachefs { tree: Tree::new(host.paths.sys("fs/bcachefs"), host.descriptors.clone()) }))
    },
};

struct Bcachefs {
    tree: Tree,
}

impl Collector for Bcachefs {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.tree.begin_pass();
        let uuids = self.tree.names_or_no_data(&[], |name| name.contains('-'))?;
        if uuids.is_empty() {
            return Err(CollectError::NoData("no bcachefs file system is mounted".to_owned()));
        }
        uuids.iter().try_for_each(|uuid| self.file_system(uuid, out))
    }
}

impl Bcachefs {
    fn file_system(&mut self, uuid: &str, out: &mut Batch) -> Result<(), CollectError> {
        out.gauge("node_bcachefs_info", "A mounted bcachefs file system; always 1.", &[("uuid", uuid)], 1.0);
        if let Some(text) = self.tree.optional(&[uuid, "btree_cache_size"])? {
            let help = "Memory the B-tree cache uses.";
            let size = size(&mut parse::fields(text)).unwrap_or_default();
            out.gauge("node_bcachefs_btree_cache_size_bytes", help, &[("uuid", uuid)], size);
        }
        if let Some(text) = self.tree.optional(&[uuid, "compression_stats"])? {
            compression(text, uuid, out);
        }
        if let Some(text) = self.tree.optional(&[uuid, "errors"])? {
            errors(text, uuid, out);
        }
        if let Some(text) = self.tree.optional(&[uuid, "btree_write_stats"])? {
            btree_writes(text, uuid, out);
        }
        self.counters(uuid, out)?;
        for device in self.tree.names_if_any(&[uuid], |name| name.starts_with("dev-"))? {
            self.device(uuid, &device, out)?;
        }
        Ok(())
    }

    fn counters(&mut self, uuid: &str, out: &mut Batch) -> Result<(), CollectError> {
        let mut name = String::new();
        for counter in self.tree.names_if_any(&[uuid, "counters"], |_| true)? {
            let Some(text) = self.tree.optional(&[uuid, "counters", &counter])? else { continue };
            let total = parse::lines(text).find_map(|line| line.strip_prefix(b"since filesystem creation:"));
            let Some(total) = total.and_then(|value| size(&mut parse::fields(value))) else { continue };
            name.clear();
            name.push_str("node_bcachefs_");
            name.extend(counter.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
            name.push_str("_total");
            let help = "bcachefs counter of this name since the file system was made.";
            out.counter(&name, help, &[("uuid", uuid)], total);
        }
        Ok(())
    }

    fn device(&mut self, uuid: &str, directory: &str, out: &mut Batch) -> Result<(), CollectError> {
        let device = directory.strip_prefix("dev-").unwrap_or(directory);
        let mut text = |file| -> Result<String, CollectError> {
            let value = self.tree.optional(&[uuid, directory, file])?;
            Ok(value.map_or_else(String::new, |value| valid_utf8(value).into_owned()))
        };
        let (label, state) = (text("label")?, text("state")?);
        let labels = [("device", device), ("label", &*label), ("state", &*state), ("uuid", uuid)];
        out.gauge("node_bcachefs_device_info", "Facts about a device; always 1.", &labels, 1.0);
        for (file, family, help) in [
            ("bucket_size", "node_bcachefs_device_bucket_size_bytes", "Size of a bucket."),
            ("nbuckets", "node_bcachefs_device_buckets", "Buckets of the device."),
            ("durability", "node_bcachefs_device_durability", "Replicas that one on this device counts for."),
        ] {
            let Some(text) = self.tree.optional(&[uuid, directory, file])? else { continue };
            let Some(value) = size(&mut parse::fields(text)) else { continue };
            out.gauge(family, help, &[("device", device), ("uuid", uuid)], value);
        }
        if let Some(text) = self.tree.optional(&[uuid, directory, "io_done"])? {
            io_done(text, uuid, device, out);
        }
        if let Some(text) = self.tree.optional(&[uuid, directory, "io_errors"])? {
            io_errors(text, uuid, device, out);
        }
        Ok(())
    }
}

/// `type  compressed  uncompressed  average extent size`, one line an algorithm.
fn compression(text: &[u8], uuid: &str, out: &mut Batch) {
    for line in parse::lines(text).filter(|line| !line.trim_ascii_start().starts_with(b"type")) {
        let mut fields = parse::fields(line);
        let Some(algorithm) = fields.next() else { continue };
        let (Some(compressed), Some(uncompressed)) = (size(&mut fields), size(&mut fields)) else { continue };
        let algorithm = valid_utf8(algorithm);
        let labels = [("algorithm", &*algorithm), ("uuid", uuid)];
        let help = "Data on disk that this algorithm compressed.";
        out.gauge("node_bcachefs_compression_compressed_bytes", help, &labels, compressed);
        let help = "Size that the data had before this algorithm compressed it.";
        out.gauge("node_bcachefs_compression_uncompressed_bytes", help, &labels, uncompressed);
    }
}

/// `name  count  time of the last`, one line a kind of error.
fn errors(text: &[u8], uuid: &str, out: &mut Batch) {
    for line in parse::lines(text) {
        let mut fields = parse::fields(line);
        let (Some(name), Some(count)) = (fields.next(), fields.next().and_then(parse::number)) else { continue };
        let name = valid_utf8(name);
        let labels = [("error_type", name.trim_end_matches(':')), ("uuid", uuid)];
        out.counter("node_bcachefs_errors_total", "Errors that the file system has seen.", &labels, count);
    }
}

/// `type:  number  average size`, one line a reason.
fn btree_writes(text: &[u8], uuid: &str, out: &mut Batch) {
    for (key, value) in parse::lines(text).filter_map(|line| parse::split_once(line, b':')) {
        let mut fields = parse::fields(value);
        let (Some(number), Some(average)) = (size(&mut fields), size(&mut fields)) else { continue };
        let kind = valid_utf8(key.trim_ascii());
        let labels = [("type", &*kind), ("uuid", uuid)];
        out.counter("node_bcachefs_btree_writes_total", "B-tree nodes written for this reason.", &labels, number);
        let help = "Average size of the B-tree writes for this reason.";
        out.gauge("node_bcachefs_btree_write_average_size_bytes", help, &labels, average);
    }
}

/// Sections `read:` and `write:`, in each `data type : bytes`.
fn io_done(text: &[u8], uuid: &str, device: &str, out: &mut Batch) {
    let help = "Bytes read from and written to a device, by what they were.";
    let family = out.family("node_bcachefs_device_io_done_bytes_total", help, Kind::Counter);
    let mut operation = valid_utf8(b"");
    for (key, value) in parse::lines(text).filter_map(|line| parse::split_once(line, b':')) {
        let key = valid_utf8(key.trim_ascii());
        match size(&mut parse::fields(value)) {
            None => operation = key,
            Some(bytes) => {
                let labels =
                    [("data_type", &*key), ("device", device), ("operation", &*operation), ("uuid", uuid)];
                out.sample(family, &labels, bytes);
            }
        }
    }
}

/// The section `IO errors since filesystem creation`: `type: count`.
fn io_errors(text: &[u8], uuid: &str, device: &str, out: &mut Batch) {
    let section = parse::lines(text).skip_while(|line| !line.starts_with(b"IO errors since filesystem creation"));
    let section = section.skip(1).take_while(|line| !line.starts_with(b"IO errors"));
    for (key, value) in section.filter_map(|line| parse::split_once(line, b':')) {
        let Some(count) = size(&mut parse::fields(value)) else { continue };
        let kind = valid_utf8(key.trim_ascii());
        let labels = [("device", device), ("type", &*kind), ("uuid", uuid)];
        let help = "I/O errors of a device since the file system was made.";
        out.counter("node_bcachefs_device_io_errors_total", help, &labels, count);
    }
}

/// A number with or without a binary unit, which may stand apart: `12`, `1.29M`, `512k`, `5.37 GiB`.
fn size<'a>(fields: &mut (impl Iterator<Item = &'a [u8]> + Clone)) -> Option<f64> {
    let field = fields.next()?;
    let digits = field.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let (number, unit) = field.split_at_checked(digits)?;
    let number = parse::number(number)?;
    if !unit.is_empty() {
        return Some((number * factor(unit)?).trunc());
    }
    let mut ahead = fields.clone();
    match ahead.next().and_then(factor) {
        Some(factor) => {
            *fields = ahead;
            Some((number * factor).trunc())
        }
        None => Some(number),
    }
}

fn factor(unit: &[u8]) -> Option<f64> {
    let (first, rest) = unit.split_first()?;
    let exponent = match first.to_ascii_uppercase() {
        b'B' => return rest.is_empty().then_some(1.0),
        upper => i32::try_from(b"KMGTPEZY".iter().position(|u| *u == upper)?).ok()? + 1,
    };
    matches!(rest, b"" | b"i" | b"B" | b"iB").then(|| 1024_f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn golden() {
        let at = |file: &str| format!("sys/fs/bcachefs/ab-cd/{file}");
        Fixture::new()
            .files(&[
                (&at("btree_cache_size"), "524M\n"),
                (
                    &at("compression_stats"),
                    "type              compressed    uncompressed     average extent size\n\
                     lz4                 19.3G           67.0G                   112k\n\
                     incompressible   5.50 GiB        5.50 GiB               22.8 KiB\n",
                ),
                (&at("errors"), "btree_node_read_error   5   Tue Nov 14 22:13:20 2023\n"),
                (&at("btree_write_stats"), "                    nr        size\ninitial:            19088     108k\ninterior:           0         0\n"),
                (&at("counters/btree_node_read"), "since mount:                 67\nsince filesystem creation:   7100\n"),
                (&at("counters/data_read"), "since mount: 1.00M\nsince filesystem creation: 2.50 MiB\n"),
                (&at("dev-0/label"), "ssd.ssd1\n"),
                (&at("dev-0/state"), "rw\n"),
                (&at("dev-0/bucket_size"), "512k\n"),
                (&at("dev-0/nbuckets"), "1907\n"),
                (&at("dev-0/durability"), "1\n"),
                (&at("dev-0/io_done"), "read:\nsb          :       12288\njournal     :           0\nwrite:\nsb          :        4096\n"),
                (
                    &at("dev-0/io_errors"),
                    "IO errors since filesystem creation\n  read:    197346\n  write:   0\nIO errors since 8 y ago\n  read:    9\n",
                ),
            ])
            .dir("sys/fs/bcachefs/ab-cd/internal")
            .expect(
                "bcachefs",
                r#"node_bcachefs_btree_cache_size_bytes{uuid="ab-cd"} 549453824
                node_bcachefs_btree_node_read_total{uuid="ab-cd"} 7100
                node_bcachefs_btree_write_average_size_bytes{type="initial",uuid="ab-cd"} 110592
                node_bcachefs_btree_write_average_size_bytes{type="interior",uuid="ab-cd"} 0
                node_bcachefs_btree_writes_total{type="initial",uuid="ab-cd"} 19088
                node_bcachefs_btree_writes_total{type="interior",uuid="ab-cd"} 0
                node_bcachefs_compression_compressed_bytes{algorithm="incompressible",uuid="ab-cd"} 5905580032
                node_bcachefs_compression_compressed_bytes{algorithm="lz4",uuid="ab-cd"} 20723217203
                node_bcachefs_compression_uncompressed_bytes{algorithm="incompressible",uuid="ab-cd"} 5905580032
                node_bcachefs_compression_uncompressed_bytes{algorithm="lz4",uuid="ab-cd"} 71940702208
                node_bcachefs_data_read_total{uuid="ab-cd"} 2621440
                node_bcachefs_device_bucket_size_bytes{device="0",uuid="ab-cd"} 524288
                node_bcachefs_device_buckets{device="0",uuid="ab-cd"} 1907
                node_bcachefs_device_durability{device="0",uuid="ab-cd"} 1
                node_bcachefs_device_info{device="0",label="ssd.ssd1",state="rw",uuid="ab-cd"} 1
                node_bcachefs_device_io_done_bytes_total{data_type="journal",device="0",operation="read",uuid="ab-cd"} 0
                node_bcachefs_device_io_done_bytes_total{data_type="sb",device="0",operation="read",uuid="ab-cd"} 12288
                node_bcachefs_device_io_done_bytes_total{data_type="sb",device="0",operation="write",uuid="ab-cd"} 4096
                node_bcachefs_device_io_errors_total{device="0",type="read",uuid="ab-cd"} 197346
                node_bcachefs_device_io_errors_total{device="0",type="write",uuid="ab-cd"} 0
                node_bcachefs_errors_total{error_type="btree_node_read_error",uuid="ab-cd"} 5
                node_bcachefs_info{uuid="ab-cd"} 1"#,
            );
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", Some(0.0)),
            ("1.5k", Some(1536.0)),
            ("5.50 GiB rest", Some(5_905_580_032.0)),
            ("7 B", Some(7.0)),
            ("3 MB", Some(3_145_728.0)),
            ("12 next", Some(12.0)),
            ("", None),
            ("M", None),
            ("1.2.3", None),
            ("4x", None),
        ] {
            assert_eq!(size(&mut parse::fields(text.as_bytes())), want, "{text}");
        }
    }

    #[test]
    fn absent_and_garbage() {
        assert!(Fixture::new().error("bcachefs").contains("no data"));
        assert!(Fixture::new().dir("sys/fs/bcachefs").error("bcachefs").contains("no data"));
        let garbage = "\u{0}:: :\nx\n\n: : :";
        let text = ["btree_cache_size", "compression_stats", "errors", "btree_write_stats", "counters/x", "dev-1/io_done"]
            .iter()
            .fold(Fixture::new(), |f, file| f.file(&format!("sys/fs/bcachefs/a-b/{file}"), garbage))
            .samples("bcachefs");
        assert!(text.contains("node_bcachefs_info{uuid=\"a-b\"} 1\n"), "{text}");
    }
}
