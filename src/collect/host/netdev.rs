//! Traffic of network devices. Sources: rtnetlink (`include/uapi/linux/if_link.h`), or `/proc/net/dev`
//! with `--no-collector.netdev.netlink`.
//!
//! rtnetlink always describes the network namespace we run in, whatever `--path.procfs` says. The
//! two sources count alike: without `--collector.netdev.enable-detailed-metrics` the detailed error
//! counters are summed as `/proc/net/dev` sums them (`net/core/net-procfs.c`).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use crate::collect::addresses::{self, Address};
use crate::collect::links::{COUNTER_NAMES, LinkCounters};
use crate::collect::netlink::{Netlink, Protocol};
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, Host, NameFilter, Pass, Spec, parse};
use crate::model::{Batch, FamilyId, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "netdev",
    on_by_default: true,
    help: "Bytes, packets and errors of network devices.",
    flags: &[
        Flag::new("netdev.device-include", FlagKind::Regex(""), "Devices to include; not with device-exclude."),
        Flag::new("netdev.device-exclude", FlagKind::Regex(""), "Devices to exclude; not with device-include."),
        Flag::former_regex("netdev.device-whitelist"),
        Flag::former_regex("netdev.device-blacklist"),
        Flag::new("netdev.address-info", FlagKind::Switch(false), "Expose the addresses of every device."),
        Flag::new(
            "netdev.enable-detailed-metrics",
            FlagKind::Switch(false),
            "Expose the kernel's own counters under their own names instead of sums.",
        ),
        Flag::new("netdev.netlink", FlagKind::Switch(true), "Read rtnetlink instead of /proc/net/dev."),
        Flag::new("netdev.label-ifalias", FlagKind::Switch(false), "Add a device's alias as label ifalias."),
    ],
    build: |host, options| {
        Ok(Box::new(NetDev {
            procfs: (!options.switch("netdev.netlink")).then(|| host.paths.proc("net/dev")),
            detailed: options.switch("netdev.enable-detailed-metrics"),
            alias_of: options.switch("netdev.label-ifalias").then(|| host.paths.sys("class/net")),
            addresses: options.switch("netdev.address-info"),
            filter: NameFilter::with_former(
                "netdev",
                options,
                ("netdev.device-include", "netdev.device-exclude"),
                ("netdev.device-whitelist", "netdev.device-blacklist"),
            )?,
            host: host.clone(),
            socket: Netlink::new(Protocol::Route),
            files: Files::new(host.descriptors.clone()),
            aliases: Files::new(host.descriptors.clone()),
            names: Names::default(),
        }))
    },
};

struct NetDev {
    procfs: Option<PathBuf>,
    detailed: bool,
    alias_of: Option<PathBuf>,
    addresses: bool,
    filter: NameFilter,
    host: Host,
    socket: Netlink,
    files: Files,
    aliases: Files,
    names: Names,
}

/// Sums of rtnetlink counters, by their places in [`LinkCounters`].
const SUMMED: [(&str, &[usize]); 17] = [
    ("receive_packets", &[0]),
    ("transmit_packets", &[1]),
    ("receive_bytes", &[2]),
    ("transmit_bytes", &[3]),
    ("receive_errs", &[4]),
    ("transmit_errs", &[5]),
    ("receive_drop", &[6, 15]),
    ("transmit_drop", &[7]),
    ("receive_multicast", &[8]),
    ("transmit_colls", &[9]),
    ("receive_frame", &[13, 10, 11, 12]),
    ("receive_fifo", &[14]),
    ("transmit_carrier", &[17, 16, 19, 20]),
    ("transmit_fifo", &[18]),
    ("receive_compressed", &[21]),
    ("transmit_compressed", &[22]),
    ("receive_nohandler", &[23]),
];

/// Columns of `/proc/net/dev`: name, and name with detailed metrics.
const COLUMNS: [(&str, &str); 16] = [
    ("receive_bytes", "receive_bytes"),
    ("receive_packets", "receive_packets"),
    ("receive_errs", "receive_errors"),
    ("receive_drop", "receive_dropped"),
    ("receive_fifo", "receive_fifo"),
    ("receive_frame", "receive_frame"),
    ("receive_compressed", "receive_compressed"),
    ("receive_multicast", "receive_multicast"),
    ("transmit_bytes", "transmit_bytes"),
    ("transmit_packets", "transmit_packets"),
    ("transmit_errs", "transmit_errors"),
    ("transmit_drop", "transmit_dropped"),
    ("transmit_fifo", "transmit_fifo"),
    ("transmit_colls", "transmit_colls"),
    ("transmit_carrier", "transmit_carrier"),
    ("transmit_compressed", "transmit_compressed"),
];

/// Names and helps of the families, written once.
#[derive(Default)]
struct Names(Vec<(String, String)>);

impl Names {
    fn families(&mut self, counters: impl Iterator<Item = &'static str>, out: &mut Batch) -> Vec<FamilyId> {
        if self.0.is_empty() {
            self.0.extend(counters.map(|counter| {
                let (direction, what) = counter.split_once('_').unwrap_or(("", counter));
                let help = format!("Network device counter {what}, direction {direction}.");
                (format!("node_network_{counter}_total"), help)
            }));
        }
        self.0.iter().map(|(name, help)| out.family(name, help, Kind::Counter)).collect()
    }
}

impl Collector for NetDev {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.aliases.begin_pass();
        match self.procfs.take() {
            Some(path) => {
                let result = self.read_procfs(&path, out);
                self.procfs = Some(path);
                result?;
            }
            None => self.read_netlink(pass, out)?,
        }
        if self.addresses { self.address_info(pass.deadline, out) } else { Ok(()) }
    }
}

impl NetDev {
    fn read_netlink(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let families = if self.detailed {
            self.names.families(COUNTER_NAMES.into_iter(), out)
        } else {
            self.names.families(SUMMED.iter().map(|(name, _)| *name), out)
        };
        let (filter, alias_of, aliases) = (&self.filter, &self.alias_of, &mut self.aliases);
        let mut table = self.host.links();
        table.refresh(pass)?;
        for link in table.links() {
            let name = valid_utf8(link.name);
            let Some(counters) = link.counters().filter(|_| filter.passes(&name)) else { continue };
            let alias = alias_of.as_ref().and_then(|below| alias(aliases, below, &name));
            if self.detailed {
                push(out, &families, &name, alias.as_deref(), counters.into_iter());
            } else {
                push(out, &families, &name, alias.as_deref(), summed(&counters));
            }
        }
        Ok(())
    }

    fn read_procfs(&mut self, path: &std::path::Path, out: &mut Batch) -> Result<(), CollectError> {
        let detailed = self.detailed;
        let columns = COLUMNS.iter().map(|(sum, detail)| if detailed { *detail } else { *sum });
        let families = self.names.families(columns, out);
        let text = self.files.read(path).map_err(|e| CollectError::reading(path, e))?;
        for line in parse::lines(text).skip(2) {
            let bad = || CollectError::parsing(path, format!("line {:?}", String::from_utf8_lossy(line)));
            // A name may hold a colon (an alias interface); the counters do not.
            let colon = memchr::memrchr(b':', line).ok_or_else(bad)?;
            let (name, counters) = line.split_at_checked(colon).ok_or_else(bad)?;
            let name = valid_utf8(name.trim_ascii());
            if name.is_empty() {
                return Err(bad());
            }
            if !self.filter.passes(&name) {
                continue;
            }
            let mut values = [0; COLUMNS.len()];
            let mut fields = parse::fields(counters.get(1..).unwrap_or_default());
            for value in &mut values {
                *value = fields.next().and_then(parse::unsigned).ok_or_else(bad)?;
            }
            let alias = self.alias_of.as_ref().and_then(|below| alias(&mut self.aliases, below, &name));
            push(out, &families, &name, alias.as_deref(), values.into_iter());
        }
        Ok(())
    }

    fn address_info(&mut self, deadline: Instant, out: &mut Batch) -> Result<(), CollectError> {
        let family =
            out.family("node_network_address_info", "Address of a network device; always 1.", Kind::Gauge);
        let mut found = Vec::new();
        addresses::for_each(&mut self.socket, deadline, |address| found.push(address))?;
        for Address { index, ip, prefix_bits } in found {
            let Some(device) = self.socket.interface_name(index) else { continue };
            let (address, prefix) = (addresses::shown(ip), prefix_bits.to_string());
            let labels =
                [("address", &*address), ("device", &device), ("netmask", &prefix), ("scope", scope(ip))];
            out.sample(family, &labels, 1.0);
        }
        Ok(())
    }
}

fn push(
    out: &mut Batch,
    families: &[FamilyId],
    device: &str,
    alias: Option<&str>,
    values: impl Iterator<Item = u64>,
) {
    let labels = [("device", device), ("ifalias", alias.unwrap_or_default())];
    let labels = if alias.is_some() { &labels[..] } else { &labels[..1] };
    for (family, value) in families.iter().zip(values) {
        out.sample(*family, labels, parse::value(value));
    }
}

fn summed(counters: &LinkCounters) -> impl Iterator<Item = u64> {
    SUMMED.iter().map(|(_, parts)| {
        parts.iter().filter_map(|at| counters.get(*at)).fold(0, |sum: u64, n| sum.wrapping_add(*n))
    })
}

/// The alias that sysfs shows; `None` where sysfs does not know the device.
fn alias(files: &mut Files, below: &std::path::Path, device: &str) -> Option<String> {
    let device = below.join(device);
    match files.attribute(&device.join("ifalias")) {
        Ok(alias) => Some(valid_utf8(alias).into_owned()),
        Err(_) => device.is_dir().then(String::new),
    }
}

/// How far an address reaches, in node_exporter's words: loopback counts as link-local.
fn scope(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() || ip.octets().starts_with(&[224, 0, 0]) => {
            "link-local"
        }
        IpAddr::V4(ip) if ip.is_broadcast() || ip.is_unspecified() || ip.is_multicast() => "",
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unicast_link_local() => "link-local",
        IpAddr::V6(ip) if ip.is_multicast() => match ip.octets().get(1).map(|flags| flags & 0x0f) {
            Some(1) => "interface-local",
            Some(2) => "link-local",
            _ => "",
        },
        IpAddr::V6(ip) if ip.is_unspecified() => "",
        _ => "global",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
        \x20   lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
        eth0:0:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
        we\u{ff}ird: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    fn procfs() -> Fixture {
        Fixture::new().file("proc/net/dev", DEV).option("netdev.netlink", "false")
    }

    #[test]
    fn golden_of_procfs() {
        procfs().option("netdev.device-include", "^lo$").expect(
            "netdev",
            r#"node_network_receive_bytes_total{device="lo"} 1
            node_network_receive_packets_total{device="lo"} 2
            node_network_receive_errs_total{device="lo"} 3
            node_network_receive_drop_total{device="lo"} 4
            node_network_receive_fifo_total{device="lo"} 5
            node_network_receive_frame_total{device="lo"} 6
            node_network_receive_compressed_total{device="lo"} 7
            node_network_receive_multicast_total{device="lo"} 8
            node_network_transmit_bytes_total{device="lo"} 9
            node_network_transmit_packets_total{device="lo"} 10
            node_network_transmit_errs_total{device="lo"} 11
            node_network_transmit_drop_total{device="lo"} 12
            node_network_transmit_fifo_total{device="lo"} 13
            node_network_transmit_colls_total{device="lo"} 14
            node_network_transmit_carrier_total{device="lo"} 15
            node_network_transmit_compressed_total{device="lo"} 16"#,
        );
    }

    #[test]
    fn names_with_colons_former_flags_aliases_and_detail() {
        let text = procfs()
            .option("netdev.device-blacklist", "^lo$")
            .option("netdev.label-ifalias", "true")
            .option("netdev.enable-detailed-metrics", "true")
            .file("sys/class/net/eth0:0/ifalias", "to the \"lab\"\n")
            .samples("netdev");
        assert!(!text.contains("device=\"lo\""), "{text}");
        let first = r#"node_network_receive_bytes_total{device="eth0:0",ifalias="to the \"lab\""} 18446744073709552000"#;
        assert!(text.contains(first), "{text}");
        assert!(text.contains("node_network_receive_errors_total{device=\"we"), "{text}");
    }

    #[test]
    fn truncated_and_garbage_are_errors() {
        for bad in ["a\nb\nlo 1 2\n", "a\nb\nlo: 1 2\n", "a\nb\n : 1\n", "a\nb\nlo: x 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"] {
            let error =
                Fixture::new().file("proc/net/dev", bad).option("netdev.netlink", "false").error("netdev");
            assert!(error.contains("line"), "{error}");
        }
    }

    #[test]
    fn both_filters_or_both_spellings_are_refused() {
        for (one, other) in [
            ("netdev.device-include", "netdev.device-exclude"),
            ("netdev.device-include", "netdev.device-whitelist"),
            ("netdev.device-whitelist", "netdev.device-blacklist"),
        ] {
            let fixture = Fixture::new().option(one, "a").option(other, "b");
            assert!(fixture.refused("netdev").contains("--collector.netdev.device-"), "{one} {other}");
        }
    }

    #[test]
    fn netlink_sums_as_procfs_does() {
        let mut counters = LinkCounters::default();
        for (at, counter) in counters.iter_mut().enumerate() {
            *counter = 1 << at;
        }
        let all: u64 = summed(&counters).sum();
        assert_eq!(all, (1 << 24) - 1, "each counter in one sum");
        let live = Fixture::new().option("netdev.device-include", "^lo$").option("netdev.address-info", "true");
        let text = live.samples("netdev");
        assert_eq!(text.lines().filter(|l| l.ends_with(" 1") || l.contains("_total{")).count(), text.lines().count());
        assert!(text.contains("node_network_receive_nohandler_total{device=\"lo\"} "), "{text}");
        let address = r#"node_network_address_info{address="127.0.0.1",device="lo",netmask="8",scope="link-local"} 1"#;
        assert!(text.contains(address), "{text}");
    }

    #[test]
    fn scopes() {
        for (ip, want) in [
            ("127.0.0.1", "link-local"),
            ("169.254.1.1", "link-local"),
            ("10.0.0.1", "global"),
            ("255.255.255.255", ""),
            ("fe80::1", "link-local"),
            ("ff01::1", "interface-local"),
            ("2001:db8::1", "global"),
            ("::1", "link-local"),
        ] {
            assert_eq!(scope(ip.parse().unwrap()), want, "{ip}");
        }
    }
}
