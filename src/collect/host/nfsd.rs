//! NFS server calls. Source: kernel `fs/nfsd/stats.c`, `/proc/net/rpc/nfsd`.

use std::path::PathBuf;

use crate::collect::nfs_rpc::{RpcFile, V2, V3, numbered};
use crate::collect::{CollectError, Collector, Files, Pass, Spec};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "nfsd",
    on_by_default: true,
    help: "Calls served by the NFS server from /proc/net/rpc/nfsd.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Nfsd {
            path: host.paths.proc("net/rpc/nfsd"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Nfsd {
    path: PathBuf,
    files: Files,
}

/// Operations of NFSv4 (RFC 7530), by number, as far as they are exposed. After `SetAttr` (34) the
/// RFC has 35 and 36 for setting the client id; node_exporter counts on without them, so the last
/// three carry what it shows under these names.
const V4_OPERATIONS: [(usize, &str); 33] = [
    (3, "Access"),
    (4, "Close"),
    (5, "Commit"),
    (6, "Create"),
    (7, "DelegPurge"),
    (8, "DelegReturn"),
    (9, "GetAttr"),
    (10, "GetFH"),
    (11, "Link"),
    (12, "Lock"),
    (13, "Lockt"),
    (14, "Locku"),
    (15, "Lookup"),
    (16, "LookupRoot"),
    (17, "Nverify"),
    (18, "Open"),
    (19, "OpenAttr"),
    (20, "OpenConfirm"),
    (21, "OpenDgrd"),
    (22, "PutFH"),
    (25, "Read"),
    (26, "ReadDir"),
    (27, "ReadLink"),
    (28, "Remove"),
    (29, "Rename"),
    (30, "Renew"),
    (31, "RestoreFH"),
    (32, "SaveFH"),
    (33, "SecInfo"),
    (34, "SetAttr"),
    (35, "Verify"),
    (36, "Write"),
    (37, "RelLockOwner"),
];

/// Family, help, type, line and position.
const NUMBERS: [(&str, &str, Kind, &str, usize); 11] = [
    ("node_nfsd_reply_cache_hits_total", "Replies found in the cache.", Kind::Counter, "rc", 0),
    ("node_nfsd_reply_cache_misses_total", "Operations that needed caching.", Kind::Counter, "rc", 1),
    ("node_nfsd_reply_cache_nocache_total", "Operations that needed no caching.", Kind::Counter, "rc", 2),
    ("node_nfsd_file_handles_stale_total", "Stale file handles.", Kind::Counter, "fh", 0),
    ("node_nfsd_disk_bytes_read_total", "Bytes read.", Kind::Counter, "io", 0),
    ("node_nfsd_disk_bytes_written_total", "Bytes written.", Kind::Counter, "io", 1),
    ("node_nfsd_server_threads", "Threads of the server.", Kind::Gauge, "th", 0),
    ("node_nfsd_read_ahead_cache_size_blocks", "Size of the read-ahead cache.", Kind::Gauge, "ra", 0),
    ("node_nfsd_read_ahead_cache_not_found_total", "Read-ahead cache misses.", Kind::Counter, "ra", 11),
    ("node_nfsd_connections_total", "TCP connections.", Kind::Counter, "net", 3),
    ("node_nfsd_server_rpcs_total", "Remote procedure calls received.", Kind::Counter, "rpc", 0),
];

const REQUESTS: &str = "node_nfsd_requests_total";
const REQUESTS_HELP: &str = "Procedures and operations served by the NFS server.";

impl Collector for Nfsd {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let file = RpcFile::parse(&self.path, text)?;
        for (family, help, kind, key, index) in NUMBERS {
            let family = out.family(family, help, kind);
            out.sample(family, &[], file.number(key, index));
        }
        for (proto, index) in [("udp", 1), ("tcp", 2)] {
            let help = "Packets received and sent by the NFS server.";
            out.counter("node_nfsd_packets_total", help, &[("proto", proto)], file.number("net", index));
        }
        for (error, index) in [("fmt", 2), ("auth", 3), ("cInt", 4)] {
            let help = "Calls refused, by reason.";
            out.counter("node_nfsd_rpc_errors_total", help, &[("error", error)], file.number("rpc", index));
        }
        for (key, proto, methods) in [("proc2", "2", V2.as_slice()), ("proc3", "3", V3.as_slice())] {
            // The null procedure is only a ping and not exposed.
            let methods = numbered(methods);
            let methods = methods.get(1..).unwrap_or_default();
            file.requests(REQUESTS, REQUESTS_HELP, key, proto, methods, out);
        }
        file.requests(REQUESTS, REQUESTS_HELP, "proc4ops", "4", &V4_OPERATIONS, out);
        let labels = [("method", "WdelegGetattr"), ("proto", "4")];
        out.counter(REQUESTS, REQUESTS_HELP, &labels, file.number("wdeleg_getattr", 0));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn golden() {
        let text = "rc 0 6 18622\nfh 5 0 0 0 0\nio 157286400 72864\nth 8 0 0.000 0.000\n\
            ra 32 0 0 0 0 0 0 0 0 0 0 9\nnet 18628 1 18628 6\nrpc 18628 3 1 2 4\n\
            proc3 22 2 112 0\nproc4 2 2 10853\nproc4ops 72 0 0 0 1098 2\nwdeleg_getattr 16\n";
        let samples = Fixture::new().file("proc/net/rpc/nfsd", text).samples("nfsd");
        assert_eq!(samples.lines().count(), 11 + 2 + 3 + 17 + 21 + 34, "{samples}");
        for line in [
            "node_nfsd_read_ahead_cache_not_found_total 9\n",
            "node_nfsd_reply_cache_nocache_total 18622\n",
            "node_nfsd_packets_total{proto=\"tcp\"} 18628\n",
            "node_nfsd_rpc_errors_total{error=\"cInt\"} 4\n",
            "node_nfsd_requests_total{method=\"GetAttr\",proto=\"3\"} 112\n",
            "node_nfsd_requests_total{method=\"Access\",proto=\"4\"} 1098\n",
            "node_nfsd_requests_total{method=\"Close\",proto=\"4\"} 2\n",
            "node_nfsd_requests_total{method=\"WdelegGetattr\",proto=\"4\"} 16\n",
            "node_nfsd_server_threads 8\n",
        ] {
            assert!(samples.contains(line), "{line}{samples}");
        }
    }
}
