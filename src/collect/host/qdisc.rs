//! Queueing disciplines of network devices. Source: rtnetlink's RTM_GETQDISC
//! (`include/uapi/linux/pkt_sched.h`, `gen_stats.h`); it describes the network namespace we run in.
//!
//! With `--collector.qdisc.fixtures` the file `results.json` of that directory is read instead: an
//! array of objects with the members of [`Discipline`], as node_exporter's tests have it.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::collect::case_insensitive::Members;
use crate::collect::netlink::{Attributes, Netlink, Protocol, u32_at, u64_at};
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, NameFilter, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "qdisc",
    on_by_default: false,
    help: "Traffic, drops and length of queueing disciplines.",
    flags: &[
        Flag::new("qdisc.fixtures", FlagKind::Text(""), "Directory with a results.json to read instead of the kernel."),
        Flag::new("qdisc.device-include", FlagKind::Regex(""), "Devices to include; not with device-exclude."),
        Flag::new("qdisc.device-exclude", FlagKind::Regex(""), "Devices to exclude; not with device-include."),
        Flag::former_regex("qdisk.device-include"),
        Flag::former_regex("qdisk.device-exclude"),
    ],
    build: |host, options| {
        let fixtures = options.text("qdisc.fixtures");
        Ok(Box::new(QDisc {
            fixture: (!fixtures.is_empty()).then(|| PathBuf::from(fixtures).join("results.json")),
            filter: NameFilter::with_former(
                "qdisc",
                options,
                ("qdisc.device-include", "qdisc.device-exclude"),
                ("qdisk.device-include", "qdisk.device-exclude"),
            )?,
            socket: Netlink::new(Protocol::Route),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct QDisc {
    fixture: Option<PathBuf>,
    filter: NameFilter,
    socket: Netlink,
    files: Files,
}

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
/// Bytes of `struct tcmsg`.
const HEADER_BYTES: usize = 20;
const TC_H_ROOT: u32 = u32::MAX;
const TCA_KIND: u16 = 1;
const TCA_STATS: u16 = 3;
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;

/// What is told of a discipline at the root of a device.
#[derive(Debug, Default, PartialEq, Eq)]
struct Discipline {
    kind: String,
    bytes: u64,
    packets: u64,
    drops: u64,
    requeues: u64,
    overlimits: u64,
    length: u64,
    backlog: u64,
}

impl Collector for QDisc {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let disciplines = match &self.fixture {
            Some(path) => {
                let text = self.files.read_once(path).map_err(|e| CollectError::reading(path, e))?;
                let value = serde_json::from_slice(text).map_err(|e| CollectError::parsing(path, e.to_string()))?;
                from_json(&value)
            }
            None => self.read_kernel(pass.deadline)?,
        };
        for (device, discipline) in disciplines.iter().filter(|(device, _)| self.filter.passes(device)) {
            samples(device, discipline, out);
        }
        Ok(())
    }
}

fn samples(device: &str, discipline: &Discipline, out: &mut Batch) {
    let labels = [("device", device), ("kind", discipline.kind.as_str())];
    for (name, help, kind, value) in [
        ("node_qdisc_bytes_total", "Bytes sent.", Kind::Counter, discipline.bytes),
        ("node_qdisc_packets_total", "Packets sent.", Kind::Counter, discipline.packets),
        ("node_qdisc_drops_total", "Packets dropped.", Kind::Counter, discipline.drops),
        ("node_qdisc_requeues_total", "Packets queued again.", Kind::Counter, discipline.requeues),
        ("node_qdisc_overlimits_total", "Packets over the limit.", Kind::Counter, discipline.overlimits),
        ("node_qdisc_current_queue_length", "Packets in the queue now.", Kind::Gauge, discipline.length),
        ("node_qdisc_backlog", "Bytes in the queue now.", Kind::Gauge, discipline.backlog),
    ] {
        let family = out.family(name, help, kind);
        out.sample(family, &labels, parse::value(value));
    }
}

impl QDisc {
    fn read_kernel(&mut self, deadline: Instant) -> Result<Vec<(String, Discipline)>, CollectError> {
        let mut found = Vec::new();
        self.socket.dump(RTM_GETQDISC, &[0; HEADER_BYTES], deadline, |kind, payload| {
            if kind == RTM_NEWQDISC {
                found.extend(from_message(payload));
            }
        })?;
        // A device that is gone by now has no discipline either.
        let named = |(index, discipline)| Some((self.socket.interface_name(index)?, discipline));
        Ok(found.into_iter().filter_map(named).collect())
    }
}

/// Index of the device, and its discipline; `None` for those that are not at the root.
fn from_message(payload: &[u8]) -> Option<(u32, Discipline)> {
    let (index, parent) = (u32_at(payload, 4)?, u32_at(payload, 12)?);
    if parent != TC_H_ROOT && parent != 0 {
        return None;
    }
    let attributes = Attributes::after(payload, HEADER_BYTES);
    let kind = valid_utf8(attributes.text(TCA_KIND).unwrap_or_default()).into_owned();
    let word = |bytes: Option<&[u8]>, at| bytes.and_then(|b| u32_at(b, at)).map_or(0, u64::from);
    let discipline = if attributes.get(TCA_STATS2).is_some() {
        let statistics = attributes.nested(TCA_STATS2);
        let (basic, queue) = (statistics.get(TCA_STATS_BASIC), statistics.get(TCA_STATS_QUEUE));
        Discipline {
            kind,
            bytes: basic.and_then(|b| u64_at(b, 0)).unwrap_or_default(),
            packets: word(basic, 8),
            length: word(queue, 0),
            backlog: word(queue, 4),
            drops: word(queue, 8),
            requeues: word(queue, 12),
            overlimits: word(queue, 16),
        }
    } else {
        // struct tc_stats of old kernels.
        let old = attributes.get(TCA_STATS);
        Discipline {
            kind,
            bytes: old.and_then(|b| u64_at(b, 0)).unwrap_or_default(),
            packets: word(old, 8),
            drops: word(old, 12),
            overlimits: word(old, 16),
            length: word(old, 28),
            backlog: word(old, 32),
            requeues: 0,
        }
    };
    Some((index, discipline))
}

fn from_json(value: &Value) -> Vec<(String, Discipline)> {
    let roots = Members::of_array(value).filter(|entry| entry.unsigned("Parent") == 0);
    roots
        .map(|entry| {
            let discipline = Discipline {
                kind: entry.text("Kind").to_owned(),
                bytes: entry.unsigned("Bytes"),
                packets: entry.unsigned("Packets"),
                drops: entry.unsigned("Drops"),
                requeues: entry.unsigned("Requeues"),
                overlimits: entry.unsigned("Overlimits"),
                length: entry.unsigned("Qlen"),
                backlog: entry.unsigned("Backlog"),
            };
            (entry.text("IfaceName").to_owned(), discipline)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;
    use crate::collect::netlink::push_attribute;

    const RESULTS: &str = r#"[
        {"IfaceName": "wlan0", "Bytes": 42, "Packets": 41, "Requeues": 1, "Kind": "fq", "Drops": 2, "Qlen": 3, "Backlog": 4, "Overlimits": 5},
        {"IfaceName": "wlan0", "Parent": 65537, "Kind": "fq_codel"},
        {"IfaceName": "eth0", "Bytes": 83, "Kind": "pfifo_fast"},
        {"IfaceName": "lo", "Kind": "noqueue"}]"#;

    fn fixture() -> Fixture {
        let fixture = Fixture::new().file("qdisc/results.json", RESULTS);
        let directory = fixture.path().join("qdisc");
        fixture.option("qdisc.fixtures", directory.to_str().unwrap())
    }

    #[test]
    fn golden_of_a_file() {
        fixture().option("qdisk.device-include", "wlan0").expect(
            "qdisc",
            r#"node_qdisc_backlog{device="wlan0",kind="fq"} 4
            node_qdisc_bytes_total{device="wlan0",kind="fq"} 42
            node_qdisc_current_queue_length{device="wlan0",kind="fq"} 3
            node_qdisc_drops_total{device="wlan0",kind="fq"} 2
            node_qdisc_overlimits_total{device="wlan0",kind="fq"} 5
            node_qdisc_packets_total{device="wlan0",kind="fq"} 41
            node_qdisc_requeues_total{device="wlan0",kind="fq"} 1"#,
        );
        assert_eq!(fixture().option("qdisc.device-exclude", "lo").samples("qdisc").lines().count(), 14);
        assert!(fixture().file("qdisc/results.json", "[{").error("qdisc").contains("results.json"));
    }

    #[test]
    fn messages_of_new_and_old_kernels() {
        let mut statistics = Vec::new();
        push_attribute(&mut statistics, TCA_STATS_BASIC, &[[1, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]].concat());
        let words: Vec<u8> = [3_u32, 4, 5, 6, 7].iter().flat_map(|w| w.to_le_bytes()).collect();
        push_attribute(&mut statistics, TCA_STATS_QUEUE, &words);
        let mut payload = vec![0; HEADER_BYTES];
        payload[4] = 9;
        payload[12..16].fill(0xff);
        push_attribute(&mut payload, TCA_KIND, b"fq\0");
        push_attribute(&mut payload, TCA_STATS2, &statistics);
        let (index, got) = from_message(&payload).unwrap();
        assert_eq!((index, got.kind.as_str()), (9, "fq"));
        #[cfg(target_endian = "little")]
        assert_eq!((got.bytes, got.packets, got.length, got.backlog, got.drops, got.requeues, got.overlimits), (1, 2, 3, 4, 5, 6, 7));
        payload[12] = 0xf1;
        assert_eq!(from_message(&payload), None, "the ingress discipline is not the root");
        assert_eq!(from_message(&payload[..10]), None);
    }

    #[test]
    fn the_kernel_answers() {
        let text = Fixture::new().samples("qdisc");
        assert!(text.lines().all(|l| l.starts_with("node_qdisc_")), "{text}");
    }
}
