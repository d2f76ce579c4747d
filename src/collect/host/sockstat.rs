//! Sockets in use. Source: kernel `net/ipv4/proc.c`, `net/ipv6/proc.c`; `/proc/net/sockstat[6]`.

use std::path::{Path, PathBuf};

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "sockstat",
    on_by_default: true,
    help: "Sockets in use by protocol.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(SockStat {
            paths: [host.paths.proc("net/sockstat"), host.paths.proc("net/sockstat6")],
            page_bytes: rustix::param::page_size() as u64,
            files: Files::new(host.descriptors.clone()),
            name: String::new(),
        }))
    },
};

struct SockStat {
    paths: [PathBuf; 2],
    page_bytes: u64,
    files: Files,
    name: String,
}

impl Collector for SockStat {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let Self { paths, page_bytes, files, name } = self;
        for path in paths.iter() {
            match files.read_one_record(path) {
                Ok(text) => read(path, text, *page_bytes, name, out)?,
                // A kernel without this version of IP.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(CollectError::reading(path, e)),
            }
        }
        Ok(())
    }
}

fn help(field: &str) -> &'static str {
    match field {
        "inuse" => "Sockets in use.",
        "orphan" => "Sockets that no process holds any more.",
        "tw" => "Sockets in state TIME_WAIT.",
        "alloc" => "Sockets allocated.",
        "mem" => "Memory used by socket buffers, pages.",
        "mem_bytes" => "Memory used by socket buffers, bytes.",
        _ => "Memory used by fragments, bytes.",
    }
}

/// `TCP: inuse 4 orphan 0 tw 4 alloc 17 mem 1`: pairs of name and value.
fn read(path: &Path, text: &[u8], page_bytes: u64, name: &mut String, out: &mut Batch) -> Result<(), CollectError> {
    for line in parse::lines(text) {
        let mut fields = parse::fields(line);
        let Some(protocol) = fields.next() else { continue };
        let protocol = valid_utf8(protocol.strip_suffix(b":").unwrap_or(protocol));
        let mut gauge = |field: &str, value: u64| {
            name.clear();
            name.extend(["node_sockstat_", &protocol, "_", field]);
            out.gauge(name, help(field), &[], parse::value(value));
        };
        let mut saw_inuse = false;
        while let (Some(field), value) = (fields.next(), fields.next()) {
            let value = value.and_then(parse::unsigned).ok_or_else(|| {
                CollectError::parsing(path, format!("line {:?}", String::from_utf8_lossy(line)))
            })?;
            match (protocol.as_ref(), field) {
                ("sockets", b"used") => {
                    // Counts both versions of IP, whatever the file's name says.
                    gauge("used", value);
                }
                (_, b"inuse") => {
                    saw_inuse = true;
                    gauge("inuse", value);
                }
                (_, b"orphan") => gauge("orphan", value),
                (_, b"tw") => gauge("tw", value),
                (_, b"alloc") => gauge("alloc", value),
                (_, b"memory") => gauge("memory", value),
                (_, b"mem") => {
                    gauge("mem", value);
                    gauge("mem_bytes", value.wrapping_mul(page_bytes));
                }
                _ => {}
            }
        }
        if !saw_inuse && protocol != "sockets" {
            gauge("inuse", 0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const SOCKSTAT: &str = "sockets: used 229\nTCP: inuse 4 orphan 0 tw 4 alloc 17 mem 2 new 9\nUDPLITE: inuse 0\n\
        FRAG: inuse 1 memory 4096\nODD: mem 0\n";

    #[test]
    fn golden_of_both_versions() {
        let page_bytes = rustix::param::page_size();
        let four = format!(
            "node_sockstat_sockets_used 229
            node_sockstat_TCP_inuse 4
            node_sockstat_TCP_orphan 0
            node_sockstat_TCP_tw 4
            node_sockstat_TCP_alloc 17
            node_sockstat_TCP_mem 2
            node_sockstat_TCP_mem_bytes {}
            node_sockstat_UDPLITE_inuse 0
            node_sockstat_FRAG_inuse 1
            node_sockstat_FRAG_memory 4096
            node_sockstat_ODD_inuse 0
            node_sockstat_ODD_mem 0
            node_sockstat_ODD_mem_bytes 0",
            2 * page_bytes
        );
        let fixture = Fixture::new().file("proc/net/sockstat", SOCKSTAT);
        fixture.expect("sockstat", &four);
        let both = fixture.file("proc/net/sockstat6", "TCP6: inuse 17\nFRAG6: inuse 0 memory 0\n");
        both.expect("sockstat", &format!("{four}\nnode_sockstat_TCP6_inuse 17\nnode_sockstat_FRAG6_inuse 0\nnode_sockstat_FRAG6_memory 0"));
    }

    #[test]
    fn nothing_is_no_failure_and_garbage_is() {
        Fixture::new().expect("sockstat", "");
        for bad in ["TCP: inuse\n", "TCP: inuse x\n"] {
            assert!(Fixture::new().file("proc/net/sockstat", bad).error("sockstat").contains("TCP"));
        }
    }
}
