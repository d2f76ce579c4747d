//! Counters of the network protocols. Sources: kernel `Documentation/networking/snmp_counter.rst`;
//! `/proc/net/netstat`, `/proc/net/snmp` and `/proc/net/snmp6`.
//!
//! The first two files come in pairs of lines, names and values. Names seldom change, so what they
//! select is kept between passes beside the line they were read from.

use std::path::{Path, PathBuf};

use regex::Regex;
use rustc_hash::FxHashMap;

use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

const DEFAULT_FIELDS: &str = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|\
Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|\
Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";

pub(super) static SPEC: Spec = Spec {
    name: "netstat",
    on_by_default: true,
    help: "Counters of IP, ICMP, TCP and UDP.",
    flags: &[Flag::new("netstat.fields", FlagKind::Regex(DEFAULT_FIELDS), "Fields to expose, as Protocol_Name.")],
    build: |host, options| {
        Ok(Box::new(NetStat {
            pairs: [host.paths.proc("net/netstat"), host.paths.proc("net/snmp")]
                .map(|path| Pairs { path, headers: Vec::new() }),
            snmp6: host.paths.proc("net/snmp6"),
            snmp6_names: FxHashMap::default(),
            fields: options.regex("netstat.fields"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

/// Names remembered of `/proc/net/snmp6`; the kernel has about a hundred.
const KEPT_NAMES: usize = 4_096;

struct NetStat {
    pairs: [Pairs; 2],
    snmp6: PathBuf,
    /// Family of a name in the file; `None` for those not exposed.
    snmp6_names: FxHashMap<Box<[u8]>, Option<String>>,
    fields: Option<Regex>,
    files: Files,
}

struct Pairs {
    path: PathBuf,
    headers: Vec<Header>,
}

/// A line of names and the family of each column; `None` for those not exposed.
struct Header {
    line: Vec<u8>,
    families: Vec<Option<String>>,
}

const HELP: &str = "Protocol counter of the kernel's SNMP tables.";

impl Collector for NetStat {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let Self { pairs, snmp6, snmp6_names, fields, files } = self;
        for Pairs { path, headers } in pairs {
            let text = files.read_one_record(path).map_err(|e| CollectError::reading(path, e))?;
            read_pairs(path, headers, text, fields.as_ref(), out)?;
        }
        match files.read_one_record(snmp6) {
            Ok(text) => read_snmp6(snmp6, snmp6_names, text, fields.as_ref(), out),
            // A kernel without IPv6.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(CollectError::reading(snmp6, e)),
        }
    }
}

fn family(key: &str, fields: Option<&Regex>) -> Option<String> {
    fields.is_none_or(|r| r.is_match(key)).then(|| format!("node_netstat_{key}"))
}

fn push(path: &Path, name: &str, value: &[u8], out: &mut Batch) -> Result<(), CollectError> {
    let value = parse::number(value).ok_or_else(|| {
        CollectError::parsing(path, format!("{name}: value {:?}", String::from_utf8_lossy(value)))
    })?;
    let family = out.family(name, HELP, Kind::Untyped);
    out.sample(family, &[], value);
    Ok(())
}

fn read_pairs(
    path: &Path,
    headers: &mut Vec<Header>,
    text: &[u8],
    fields: Option<&Regex>,
    out: &mut Batch,
) -> Result<(), CollectError> {
    let mut lines = parse::lines(text);
    let mut at = 0;
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if headers.get(at).is_none_or(|h| h.line != names) {
            headers.truncate(at);
            headers.push(read_header(path, names, fields)?);
        }
        let Some(header) = headers.get(at) else { continue };
        let mut values = parse::fields(values).skip(1);
        for family in &header.families {
            let value = values.next();
            let (Some(name), Some(value)) = (family, value) else {
                if value.is_none() {
                    return Err(mismatch(path, names));
                }
                continue;
            };
            push(path, name, value, out)?;
        }
        if values.next().is_some() {
            return Err(mismatch(path, names));
        }
        at += 1;
    }
    Ok(())
}

fn mismatch(path: &Path, names: &[u8]) -> CollectError {
    let protocol = String::from_utf8_lossy(names.split(|b| *b == b':').next().unwrap_or_default());
    CollectError::parsing(path, format!("{protocol}: not as many values as names"))
}

fn read_header(path: &Path, line: &[u8], fields: Option<&Regex>) -> Result<Header, CollectError> {
    let bad = || CollectError::parsing(path, format!("names expected: {:?}", String::from_utf8_lossy(line)));
    let (protocol, names) = parse::split_once(line, b':').ok_or_else(bad)?;
    let protocol = valid_utf8(protocol);
    let families = parse::fields(names)
        .map(|name| family(&format!("{protocol}_{}", valid_utf8(name)), fields))
        .collect();
    Ok(Header { line: line.to_vec(), families })
}

/// `Ip6InReceives 7`: the protocol ends at the 6; lines without one are left out.
fn read_snmp6(
    path: &Path,
    names: &mut FxHashMap<Box<[u8]>, Option<String>>,
    text: &[u8],
    fields: Option<&Regex>,
    out: &mut Batch,
) -> Result<(), CollectError> {
    if names.len() > KEPT_NAMES {
        names.clear();
    }
    for line in parse::lines(text) {
        let mut columns = parse::fields(line);
        let (Some(name), Some(value)) = (columns.next(), columns.next()) else { continue };
        if !names.contains_key(name) {
            let shown = valid_utf8(name);
            let found = shown.split_once('6').and_then(|(protocol, rest)| family(&format!("{protocol}6_{rest}"), fields));
            names.insert(name.into(), found);
        }
        if let Some(Some(name)) = names.get(name) {
            push(path, name, value, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const NETSTAT: &str = "TcpExt: SyncookiesSent TW ListenDrops\nTcpExt: 1 2 3\nIpExt: InOctets OutOctets\nIpExt: 18446744073709551615 5\n";
    const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn CurrEstab InErrs\nTcp: -1 7 0\n";
    const SNMP6: &str = "Ip6InOctets                     \t460\nUdp6InErrors \t1\nUdpLite6InErrors 2\nIp6OutNoRoutes 3\nodd\nNoSix 1\n";

    fn fixture() -> Fixture {
        Fixture::new().files(&[("proc/net/netstat", NETSTAT), ("proc/net/snmp", SNMP)])
    }

    const WANT: &str = "node_netstat_TcpExt_SyncookiesSent 1
        node_netstat_TcpExt_ListenDrops 3
        node_netstat_IpExt_InOctets 18446744073709552000
        node_netstat_IpExt_OutOctets 5
        node_netstat_Ip_Forwarding 1
        node_netstat_Tcp_CurrEstab 7
        node_netstat_Tcp_InErrs 0";

    #[test]
    fn golden() {
        let more = "\nnode_netstat_Ip6_InOctets 460\nnode_netstat_Udp6_InErrors 1\nnode_netstat_UdpLite6_InErrors 2";
        fixture().file("proc/net/snmp6", SNMP6).expect("netstat", &format!("{WANT}{more}"));
    }

    #[test]
    fn without_ipv6_and_with_other_fields() {
        fixture().expect("netstat", WANT);
        fixture().option("netstat.fields", "MaxConn|TW").expect("netstat", "node_netstat_TcpExt_TW 2\nnode_netstat_Tcp_MaxConn -1");
    }

    #[test]
    fn missing_truncated_and_garbage_are_errors() {
        for (bad, want) in [
            ("Ip: A B\nIp: 1\n", "not as many"),
            ("Ip: A\nIp: 1 2\n", "not as many"),
            ("Ip A\nIp 1\n", "names expected"),
            ("Udp: InErrors\nUdp: x\n", "value"),
        ] {
            let error = fixture().file("proc/net/snmp", bad).error("netstat");
            assert!(error.contains(want), "{error}");
        }
        assert!(Fixture::new().error("netstat").contains("net/netstat"));
    }
}
