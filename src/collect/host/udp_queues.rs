//! Bytes waiting in UDP sockets. Source: kernel `Documentation/networking/proc_net_tcp.rst` (same
//! columns), `/proc/net/udp` and `/proc/net/udp6`.
//!
//! For these the kernel walks a table of thousands of places, most of them empty. `/proc/net/sockstat` and `sockstat6`
//! say at once how many sockets there are; of none there is nothing to sum.

use std::path::{Path, PathBuf};

use rustix::fs::PROC_SUPER_MAGIC;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "udp_queues",
    on_by_default: true,
    help: "Bytes queued in UDP sockets.",
    flags: &[],
    build: |host, _| {
        // Of a kernel's own files one can tell what the other says.
        let is_procfs = rustix::fs::statfs(&host.paths.procfs).is_ok_and(|fs| fs.f_type == PROC_SUPER_MAGIC);
        let protocol = |version, line, table, count| Protocol {
            version,
            line,
            table: host.paths.proc(table),
            count: is_procfs.then(|| host.paths.proc(count)),
        };
        Ok(Box::new(UdpQueues {
            protocols: [
                protocol("v4", b"UDP:", "net/udp", "net/sockstat"),
                protocol("v6", b"UDP6:", "net/udp6", "net/sockstat6"),
            ],
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct UdpQueues {
    protocols: [Protocol; 2],
    files: Files,
}

struct Protocol {
    version: &'static str,
    table: PathBuf,
    /// The file that counts its sockets, and how the line begins.
    count: Option<PathBuf>,
    line: &'static [u8],
}

impl Protocol {
    /// Whether the kernel says that there are no sockets.
    fn has_none(&self, files: &mut Files) -> bool {
        let Some(text) = self.count.as_ref().and_then(|path| files.read_short_records(path).ok()) else { return false };
        none_in_use(text, self.line)
    }
}

/// Of `UDP: inuse 0 mem 0`, whether the number is 0.
fn none_in_use(sockstat: &[u8], line: &[u8]) -> bool {
    let mut fields = parse::lines(sockstat).map(parse::fields).filter_map(|mut fields| {
        (fields.next()? == line && fields.next()? == b"inuse").then(|| fields.next())?
    });
    fields.next() == Some(b"0")
}

impl Collector for UdpQueues {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let family = out.family("node_udp_queues", "Bytes allocated in the kernel for UDP datagrams.", Kind::Gauge);
        let mut found = false;
        for protocol in &self.protocols {
            let (version, path) = (protocol.version, &protocol.table);
            let (transmit, receive) = if protocol.has_none(&mut self.files) {
                (0, 0)
            } else {
                match self.files.read_short_records(path) {
                    Ok(text) => sums(path, text)?,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(CollectError::reading(path, e)),
                }
            };
            out.sample(family, &[("ip", version), ("queue", "tx")], parse::value(transmit));
            out.sample(family, &[("ip", version), ("queue", "rx")], parse::value(receive));
            found = true;
        }
        if found { Ok(()) } else { Err(CollectError::NoData("neither net/udp nor net/udp6".to_owned())) }
    }
}

/// Fifth column of each socket: `tx_queue:rx_queue`, hexadecimal.
fn sums(path: &Path, text: &[u8]) -> Result<(u64, u64), CollectError> {
    let mut sums = (0_u64, 0_u64);
    for line in parse::lines(text).skip(1) {
        let queues = parse::fields(line).nth(4).and_then(|column| {
            let (transmit, receive) = parse::split_once(column, b':')?;
            Some((parse::hexadecimal(transmit)?, parse::hexadecimal(receive)?))
        });
        let (transmit, receive) = queues.ok_or_else(|| {
            CollectError::parsing(path, format!("line {:?}", String::from_utf8_lossy(line)))
        })?;
        sums = (sums.0.wrapping_add(transmit), sums.1.wrapping_add(receive));
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn sockets_are_counted() {
        let sockstat = b"sockets: used 46\nTCP: inuse 4 orphan 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 3\n";
        assert!(none_in_use(sockstat, b"UDP:") && !none_in_use(sockstat, b"UDPLITE:"));
        for other in [&b"UDP: inuse 10 mem 0\n"[..], b"UDP: mem 0\n", b"UDP:\n", b"", b"UDP6: inuse 0\n"] {
            assert!(!none_in_use(other, b"UDP:"));
        }
    }

    #[test]
    fn a_socket_that_is_there_is_not_overlooked() {
        let host = crate::collect::Host::default();
        let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let protocol = Protocol {
            version: "v4",
            table: host.paths.proc("net/udp"),
            count: Some(host.paths.proc("net/sockstat")),
            line: b"UDP:",
        };
        assert!(!protocol.has_none(&mut Files::new(host.descriptors.clone())));
    }

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    const SOCKET: &str = "  0: 0100007F:1F90 00000000:0000 07 00000015:000000FF 00:00000000 00000000     0        0 2740 1 ffff 0\n";

    #[test]
    fn golden_with_and_without_ipv6() {
        let four = Fixture::new().file("proc/net/udp", format!("{HEADER}{SOCKET}{SOCKET}"));
        let want = r#"node_udp_queues{ip="v4",queue="rx"} 510
            node_udp_queues{ip="v4",queue="tx"} 42"#;
        four.expect("udp_queues", want);
        let both = four.file("proc/net/udp6", HEADER);
        both.expect("udp_queues", &format!("{want}\nnode_udp_queues{{ip=\"v6\",queue=\"rx\"}} 0\nnode_udp_queues{{ip=\"v6\",queue=\"tx\"}} 0"));
    }

    #[test]
    fn absent_truncated_and_garbage() {
        assert!(Fixture::new().error("udp_queues").contains("no data"));
        for bad in ["0: a b 07\n", "0: a b 07 1\n", "0: a b 07 x:1\n"] {
            let error = Fixture::new().file("proc/net/udp6", format!("{HEADER}{bad}")).error("udp_queues");
            assert!(error.contains("line"), "{error}");
        }
    }
}
