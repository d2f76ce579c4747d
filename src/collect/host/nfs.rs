//! NFS client calls. Source: kernel `net/sunrpc/stats.c`, `/proc/net/rpc/nfs`.

use std::path::PathBuf;

use crate::collect::nfs_rpc::{RpcFile, V2, V3, numbered};
use crate::collect::{CollectError, Collector, Files, Pass, Spec};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "nfs",
    on_by_default: true,
    help: "Calls of the NFS client from /proc/net/rpc/nfs.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Nfs { path: host.paths.proc("net/rpc/nfs"), files: Files::new(host.descriptors.clone()) }))
    },
};

struct Nfs {
    path: PathBuf,
    files: Files,
}

/// Client procedures of NFSv4 (kernel `fs/nfs/nfs4xdr.c`).
const V4: [&str; 59] = [
    "Null", "Read", "Write", "Commit", "Open", "OpenConfirm", "OpenNoattr", "OpenDowngrade", "Close", "Setattr",
    "FsInfo", "Renew", "SetClientID", "SetClientIDConfirm", "Lock", "Lockt", "Locku", "Access", "Getattr", "Lookup",
    "LookupRoot", "Remove", "Rename", "Link", "Symlink", "Create", "Pathconf", "StatFs", "ReadLink", "ReadDir",
    "ServerCaps", "DelegReturn", "GetACL", "SetACL", "FsLocations", "ReleaseLockowner", "Secinfo", "FsidPresent",
    "ExchangeID", "CreateSession", "DestroySession", "Sequence", "GetLeaseTime", "ReclaimComplete", "LayoutGet",
    "GetDeviceInfo", "LayoutCommit", "LayoutReturn", "SecinfoNoName", "TestStateID", "FreeStateID", "GetDeviceList",
    "BindConnToSession", "DestroyClientID", "Seek", "Allocate", "DeAllocate", "LayoutStats", "Clone",
];

impl Collector for Nfs {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let file = RpcFile::parse(&self.path, text)?;
        for (protocol, index) in [("udp", 1), ("tcp", 2)] {
            let help = "Packets sent and received by the NFS client.";
            out.counter("node_nfs_packets_total", help, &[("protocol", protocol)], file.number("net", index));
        }
        for (family, help, key, index) in [
            ("node_nfs_connections_total", "TCP connections of the NFS client.", "net", 3),
            ("node_nfs_rpcs_total", "Remote procedure calls made.", "rpc", 0),
            ("node_nfs_rpc_retransmissions_total", "Calls sent again.", "rpc", 1),
            ("node_nfs_rpc_authentication_refreshes_total", "Refreshes of credentials.", "rpc", 2),
        ] {
            out.counter(family, help, &[], file.number(key, index));
        }
        for (key, proto, methods) in
            [("proc2", "2", V2.as_slice()), ("proc3", "3", V3.as_slice()), ("proc4", "4", V4.as_slice())]
        {
            let help = "Procedures called by the NFS client.";
            file.requests("node_nfs_requests_total", help, key, proto, &numbered(methods), out);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    #[test]
    fn every_procedure_is_there_also_from_a_kernel_that_knows_fewer() {
        let text = "net 70 71 69 45\nrpc 1218785755 374636 1218815394\nproc2 18 1 2\nproc4 3 7 8 9\n";
        let samples = Fixture::new().file("proc/net/rpc/nfs", text).samples("nfs");
        assert_eq!(samples.lines().count(), 2 + 4 + 18 + 22 + 59, "{samples}");
        for line in [
            "node_nfs_connections_total 45\n",
            "node_nfs_packets_total{protocol=\"tcp\"} 69\n",
            "node_nfs_packets_total{protocol=\"udp\"} 71\n",
            "node_nfs_rpc_authentication_refreshes_total 1218815394\n",
            "node_nfs_requests_total{method=\"GetAttr\",proto=\"2\"} 2\n",
            "node_nfs_requests_total{method=\"Commit\",proto=\"3\"} 0\n",
            "node_nfs_requests_total{method=\"Write\",proto=\"4\"} 9\n",
            "node_nfs_requests_total{method=\"Clone\",proto=\"4\"} 0\n",
        ] {
            assert!(samples.contains(line), "{line}{samples}");
        }
    }

    #[test]
    fn garbage_and_absence() {
        let error = Fixture::new().file("proc/net/rpc/nfs", "rpc many\n").error("nfs");
        assert!(error.contains("after \"rpc\""), "{error}");
        assert!(Fixture::new().error("nfs").starts_with("no data"));
    }
}
