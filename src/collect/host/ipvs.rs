//! IP virtual server: traffic and backends. Source: kernel `Documentation/networking/ipvs-sysctl.rst`,
//! `net/netfilter/ipvs/ip_vs_ctl.c`; `/proc/net/ip_vs_stats` and `/proc/net/ip_vs`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::collect::{BuildError, CollectError, Collector, Files, Flag, FlagKind, Pass, Spec, addresses, parse};
use crate::model::{Batch, Kind, valid_utf8};

/// Labels a backend can have, and the default of the flag.
const LABELS: &str = "local_address,local_port,remote_address,remote_port,proto,local_mark";

pub(super) static SPEC: Spec = Spec {
    name: "ipvs",
    on_by_default: true,
    help: "Traffic, connections and backends of the IP virtual server.",
    flags: &[Flag::new(
        "ipvs.backend-labels",
        FlagKind::Text(LABELS),
        "Labels of the backends, separated by commas; backends alike in them are added up.",
    )],
    build: |host, options| {
        Ok(Box::new(Ipvs {
            totals: host.paths.proc("net/ip_vs_stats"),
            backends: host.paths.proc("net/ip_vs"),
            labels: chosen_labels(options.text("ipvs.backend-labels"))?,
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Ipvs {
    totals: PathBuf,
    backends: PathBuf,
    labels: Vec<&'static str>,
    files: Files,
}

fn chosen_labels(text: &str) -> Result<Vec<&'static str>, BuildError> {
    let mut chosen = Vec::new();
    for label in text.split(',').filter(|label| !label.is_empty()) {
        let known = LABELS.split(',').find(|known| *known == label);
        let known = known.ok_or_else(|| BuildError {
            collector: "ipvs",
            what: format!("--collector.ipvs.backend-labels: unknown label {label:?}; known are {LABELS}"),
        })?;
        if !chosen.contains(&known) {
            chosen.push(known);
        }
    }
    Ok(chosen)
}

/// Columns of the totals: family, help.
const TOTALS: [(&str, &str); 5] = [
    ("node_ipvs_connections_total", "Connections made."),
    ("node_ipvs_incoming_packets_total", "Packets received."),
    ("node_ipvs_outgoing_packets_total", "Packets sent."),
    ("node_ipvs_incoming_bytes_total", "Bytes received."),
    ("node_ipvs_outgoing_bytes_total", "Bytes sent."),
];

/// Columns of a backend: family, help.
const BACKEND: [(&str, &str); 3] = [
    ("node_ipvs_backend_weight", "Weight of a backend."),
    ("node_ipvs_backend_connections_active", "Active connections of a backend."),
    ("node_ipvs_backend_connections_inactive", "Inactive connections of a backend."),
];

impl Collector for Ipvs {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let Self { totals, backends, labels, files } = self;
        let text = files.read(totals).map_err(|e| CollectError::reading(totals, e))?;
        let values = read_totals(text);
        let values = values.ok_or_else(|| CollectError::parsing(&*totals, "third line: 5 hexadecimal numbers expected"))?;
        for ((name, help), value) in TOTALS.iter().zip(values) {
            out.counter(name, help, &[], parse::value(value));
        }
        let text = files.read(backends).map_err(|e| CollectError::reading(backends, e))?;
        let sums = read_backends(text, labels).map_err(|what| CollectError::parsing(&*backends, what))?;
        let families = BACKEND.map(|(name, help)| out.family(name, help, Kind::Gauge));
        for (values, sum) in sums {
            let labels: Vec<_> = labels.iter().zip(&values).map(|(name, value)| (*name, value.as_str())).collect();
            for (family, value) in families.iter().zip(sum) {
                out.sample(*family, &labels, parse::value(value));
            }
        }
        Ok(())
    }
}

/// Two lines of titles, then a line of numbers.
fn read_totals(text: &[u8]) -> Option<[u64; TOTALS.len()]> {
    let mut fields = parse::fields(parse::lines(text).nth(2)?);
    let mut values = [0; TOTALS.len()];
    for value in &mut values {
        *value = parse::hexadecimal(fields.next()?)?;
    }
    fields.next().is_none().then_some(values)
}

#[derive(Default)]
struct Service {
    protocol: String,
    /// Empty for a service that is found by firewall mark.
    address: String,
    port: u16,
    mark: String,
}

/// Sums of weight, active and inactive connections by the values of `labels`.
fn read_backends(text: &[u8], labels: &[&str]) -> Result<BTreeMap<Vec<String>, [u64; BACKEND.len()]>, String> {
    let mut sums: BTreeMap<Vec<String>, [u64; BACKEND.len()]> = BTreeMap::new();
    let mut service = Service::default();
    for line in parse::lines(text) {
        let bad = || format!("line {:?}", String::from_utf8_lossy(line));
        let columns: Vec<_> = parse::fields(line).collect();
        match columns.as_slice() {
            [b"IP" | b"Prot", ..] | [_, b"RemoteAddress:Port", ..] => {}
            [protocol @ (b"TCP" | b"UDP" | b"SCTP"), local, ..] => {
                let (address, port) = address_and_port(local).ok_or_else(bad)?;
                let (protocol, address) = (valid_utf8(protocol).into_owned(), addresses::shown(address));
                service = Service { protocol, address, port, mark: String::new() };
            }
            [b"FWM", mark, ..] => {
                let mark = valid_utf8(mark).into_owned();
                service = Service { protocol: "FWM".to_owned(), mark, ..Service::default() };
            }
            [b"->", remote, _, weight, active, inactive, ..] => {
                let (address, port) = address_and_port(remote).ok_or_else(bad)?;
                let address = addresses::shown(address);
                let key = labels.iter().map(|label| label_value(label, &service, &address, port)).collect();
                for (sum, column) in sums.entry(key).or_default().iter_mut().zip([weight, active, inactive]) {
                    *sum = sum.wrapping_add(parse::unsigned(column).ok_or_else(bad)?);
                }
            }
            _ => {}
        }
    }
    Ok(sums)
}

fn label_value(label: &str, service: &Service, remote_address: &str, remote_port: u16) -> String {
    match label {
        "local_address" => service.address.clone(),
        "local_port" => service.port.to_string(),
        "remote_address" => remote_address.to_owned(),
        "remote_port" => remote_port.to_string(),
        "proto" => service.protocol.clone(),
        _ => service.mark.clone(),
    }
}

/// `C0A80016:0CEA`, or `[2620:0000:0000:0000:0000:0000:0000:0001]:0050`.
fn address_and_port(text: &[u8]) -> Option<(IpAddr, u16)> {
    let colon = memchr::memrchr(b':', text)?;
    let (address, port) = text.split_at_checked(colon)?;
    let port = u16::try_from(parse::hexadecimal(port.get(1..)?)?).ok()?;
    let address = match address.strip_prefix(b"[").and_then(|a| a.strip_suffix(b"]")) {
        Some(six) => IpAddr::V6(std::str::from_utf8(six).ok()?.parse::<Ipv6Addr>().ok()?),
        None if address.len() == 8 => {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(parse::hexadecimal(address)?).ok()?))
        }
        None => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const STATS: &str = "   Total Incoming Outgoing         Incoming         Outgoing\n   Conns  Packets  Packets            Bytes            Bytes\n\
        \x20 16AA370 E33656E5        0     51D8C8883AB3                0\n\n Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n       4     1FB3        0           1282A8                0\n";
    const BACKENDS: &str = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
        TCP  C0A80016:0CEA wlc\n  -> C0A85216:0CEA      Tunnel  100    248        2\n\
        TCP  [2620:0000:0000:0000:0000:0000:0000:0001]:0050 sh\n  -> [2620:0000:0000:0000:0000:0000:0000:0002]:0050      Route   1      0          0\n\
        FWM  10001000 wlc\n  -> C0A83215:0CEA      Route   0      0          2\n";

    fn fixture() -> Fixture {
        Fixture::new().file("proc/net/ip_vs_stats", STATS).file("proc/net/ip_vs", BACKENDS)
    }

    const TOTALS: &str = "node_ipvs_connections_total 23765872
        node_ipvs_incoming_packets_total 3811989221
        node_ipvs_outgoing_packets_total 0
        node_ipvs_incoming_bytes_total 89991519156915
        node_ipvs_outgoing_bytes_total 0
        ";

    #[test]
    fn golden() {
        let mut want = TOTALS.to_owned();
        for (local, remote, port, mark, proto, [weight, active, inactive]) in [
            ("192.168.0.22", "192.168.82.22", "3306", "", "TCP", [100, 248, 2]),
            ("2620::1", "2620::2", "80", "", "TCP", [1, 0, 0]),
            ("", "192.168.50.21", "3306", "10001000", "FWM", [0, 0, 2]),
        ] {
            let local_port = if local.is_empty() { "0" } else { port };
            let labels = format!(
                "local_address={local:?},local_mark={mark:?},local_port={local_port:?},proto={proto:?},remote_address={remote:?},remote_port={port:?}"
            );
            want += &format!(
                "node_ipvs_backend_weight{{{labels}}} {weight}\nnode_ipvs_backend_connections_active{{{labels}}} {active}\n\
                 node_ipvs_backend_connections_inactive{{{labels}}} {inactive}\n"
            );
        }
        fixture().expect("ipvs", &want);
    }

    #[test]
    fn fewer_labels_add_backends_up() {
        let want = format!(
            "{TOTALS}node_ipvs_backend_weight{{remote_port=\"3306\"}} 100
            node_ipvs_backend_weight{{remote_port=\"80\"}} 1
            node_ipvs_backend_connections_active{{remote_port=\"3306\"}} 248
            node_ipvs_backend_connections_active{{remote_port=\"80\"}} 0
            node_ipvs_backend_connections_inactive{{remote_port=\"3306\"}} 4
            node_ipvs_backend_connections_inactive{{remote_port=\"80\"}} 0"
        );
        fixture().option("ipvs.backend-labels", "remote_port").expect("ipvs", &want);
        let refused = fixture().option("ipvs.backend-labels", "remote_port,nope").refused("ipvs");
        assert!(refused.contains("unknown label \"nope\""), "{refused}");
    }

    #[test]
    fn absent_truncated_and_garbage() {
        assert!(Fixture::new().error("ipvs").contains("no data"));
        assert!(fixture().file("proc/net/ip_vs_stats", "a\nb\n1 2 3\n").error("ipvs").contains("5 hexadecimal"));
        for bad in ["TCP 1:2 rr\n", "TCP C0A80016:0CEA rr\n-> C0A80016:0CEA Route x 1 1\n", "-> [::1]:fffff Route 1 1 1"] {
            assert!(fixture().file("proc/net/ip_vs", bad).error("ipvs").contains("line"), "{bad}");
        }
    }
}
