//! Connection tracking. Sources: kernel `Documentation/networking/nf_conntrack-sysctl.rst`,
//! `net/netfilter/nf_conntrack_standalone.c`; `/proc/net/stat/nf_conntrack`.

use std::io;
use std::path::{Path, PathBuf};

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "conntrack",
    on_by_default: true,
    help: "Entries, limit and events of connection tracking.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(ConnTrack {
            entries: host.paths.proc("sys/net/netfilter/nf_conntrack_count"),
            limit: host.paths.proc("sys/net/netfilter/nf_conntrack_max"),
            events: host.paths.proc("net/stat/nf_conntrack"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct ConnTrack {
    entries: PathBuf,
    limit: PathBuf,
    events: PathBuf,
    files: Files,
}

/// Columns of a CPU's line; the last came with Linux 2.6.35.
const COLUMNS: usize = 17;

/// Column, family, help.
const EVENTS: [(usize, &str, &str); 8] = [
    (2, "node_nf_conntrack_stat_found", "Searched entries that were found."),
    (4, "node_nf_conntrack_stat_invalid", "Packets that cannot be tracked."),
    (5, "node_nf_conntrack_stat_ignore", "Packets of connections that are tracked already."),
    (8, "node_nf_conntrack_stat_insert", "Entries inserted."),
    (9, "node_nf_conntrack_stat_insert_failed", "Entries that could not be inserted."),
    (10, "node_nf_conntrack_stat_drop", "Packets dropped because tracking failed."),
    (11, "node_nf_conntrack_stat_early_drop", "Entries dropped to make room for new ones."),
    (16, "node_nf_conntrack_stat_search_restart", "Lookups restarted because the table was resized."),
];

impl Collector for ConnTrack {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let Self { entries, limit, events, files } = self;
        let entries = number(files.attribute(entries), entries)?;
        out.gauge("node_nf_conntrack_entries", "Connections tracked.", &[], parse::value(entries));
        let limit = number(files.attribute(limit), limit)?;
        out.gauge("node_nf_conntrack_entries_limit", "Most connections tracked.", &[], parse::value(limit));
        let text = files.read_short_records(events).map_err(|e| CollectError::reading(events, e))?;
        let sums = sum_of_cpus(text).map_err(|what| CollectError::parsing(events, what))?;
        for (column, name, help) in EVENTS {
            let sum = sums.get(column).copied().unwrap_or_default();
            out.gauge(name, help, &[], parse::value(sum));
        }
        Ok(())
    }
}

fn number(text: io::Result<&[u8]>, path: &Path) -> Result<u64, CollectError> {
    let text = text.map_err(|e| CollectError::reading(path, e))?;
    parse::unsigned(text).ok_or_else(|| CollectError::parsing(path, "expected a number"))
}

/// A line of names, then one of hexadecimal numbers for each CPU.
fn sum_of_cpus(text: &[u8]) -> Result<[u64; COLUMNS], String> {
    let mut sums = [0_u64; COLUMNS];
    for (number, line) in parse::lines(text).enumerate().skip(1) {
        let mut fields = parse::fields(line);
        for (column, sum) in sums.iter_mut().enumerate() {
            let Some(field) = fields.next() else {
                if column == COLUMNS - 1 {
                    break;
                }
                return Err(format!("line {}: 16 or 17 columns expected", number + 1));
            };
            let value = parse::hexadecimal(field);
            let value = value.ok_or_else(|| format!("line {}: hexadecimal numbers expected", number + 1))?;
            *sum = sum.wrapping_add(value);
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const EVENTS: &str = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop \
        early_drop icmp_error  expect_new expect_create expect_delete search_restart\n\
        00000021  00000000 00000001 00000000 00000003 0000585a 00000000 00000000 00000004 00000005 00000006 00000007 00000000  00000000 00000000 00000000 00000008\n\
        00000021  00000000 0000000f 00000000 00000002 000010ff 00000000 00000000 00000000 00000000 00000000 00000000 00000000  00000000 00000000 00000000 00000001\n";

    fn fixture() -> Fixture {
        Fixture::new().files(&[
            ("proc/sys/net/netfilter/nf_conntrack_count", "123\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
            ("proc/net/stat/nf_conntrack", EVENTS),
        ])
    }

    #[test]
    fn golden() {
        fixture().expect(
            "conntrack",
            "node_nf_conntrack_entries 123
            node_nf_conntrack_entries_limit 65536
            node_nf_conntrack_stat_found 16
            node_nf_conntrack_stat_invalid 5
            node_nf_conntrack_stat_ignore 26969
            node_nf_conntrack_stat_insert 4
            node_nf_conntrack_stat_insert_failed 5
            node_nf_conntrack_stat_drop 6
            node_nf_conntrack_stat_early_drop 7
            node_nf_conntrack_stat_search_restart 9",
        );
    }

    #[test]
    fn absent_truncated_and_garbage() {
        assert!(Fixture::new().error("conntrack").contains("no data"));
        for bad in ["names\n1 2 3\n", "names\n1 2 3 4 5 6 7 8 9 a b c d e f x\n"] {
            assert!(fixture().file("proc/net/stat/nf_conntrack", bad).error("conntrack").contains("line 2"));
        }
        let old = "names\n1 2 3 4 5 6 7 8 9 a b c d e f 10\n";
        let text = fixture().file("proc/net/stat/nf_conntrack", old).samples("conntrack");
        assert!(text.contains("search_restart 0\n") && text.contains("found 3\n"), "{text}");
    }
}
