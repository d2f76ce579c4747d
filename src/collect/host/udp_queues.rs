//! Bytes waiting in UDP sockets. Source: kernel `Documentation/networking/proc_net_tcp.rst` (same
//! columns), `/proc/net/udp` and `/proc/net/udp6`.

use std::path::{Path, PathBuf};

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "udp_queues",
    on_by_default: true,
    help: "Bytes queued in UDP sockets.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(UdpQueues {
            paths: [("v4", host.paths.proc("net/udp")), ("v6", host.paths.proc("net/udp6"))],
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct UdpQueues {
    paths: [(&'static str, PathBuf); 2],
    files: Files,
}

impl Collector for UdpQueues {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let family = out.family("node_udp_queues", "Bytes allocated in the kernel for UDP datagrams.", Kind::Gauge);
        let mut found = false;
        for (version, path) in &self.paths {
            let text = match self.files.read_short_records(path) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(CollectError::reading(path, e)),
            };
            let (transmit, receive) = sums(path, text)?;
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
