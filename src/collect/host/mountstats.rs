//! NFS mounts, one by one. Source: kernel `fs/nfs/super.c` and `net/sunrpc/stats.c`,
//! `/proc/self/mountstats`; the server's address comes from the same mount in `/proc/self/mountinfo`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, parse};
use crate::model::{Batch, Kind, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "mountstats",
    on_by_default: false,
    help: "Bytes, events, transports and operations of each NFS mount from /proc/self/mountstats.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Mountstats {
            stats: host.paths.proc("self/mountstats"),
            info: host.paths.proc("self/mountinfo"),
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Mountstats {
    stats: PathBuf,
    info: PathBuf,
    files: Files,
}

type Named = (&'static str, &'static str);

/// Numbers of the line `bytes:`.
const BYTES: [Named; 8] = [
    ("node_mountstats_nfs_read_bytes_total", "Bytes read with read(2)."),
    ("node_mountstats_nfs_write_bytes_total", "Bytes written with write(2)."),
    ("node_mountstats_nfs_direct_read_bytes_total", "Bytes read with O_DIRECT."),
    ("node_mountstats_nfs_direct_write_bytes_total", "Bytes written with O_DIRECT."),
    ("node_mountstats_nfs_total_read_bytes_total", "Bytes read from the server."),
    ("node_mountstats_nfs_total_write_bytes_total", "Bytes written to the server."),
    ("node_mountstats_nfs_read_pages_total", "Pages read with mmap(2)."),
    ("node_mountstats_nfs_write_pages_total", "Pages written with mmap(2)."),
];

/// Numbers of the line `events:`; the one without a name counts waits for congestion.
const EVENTS: [Named; 27] = [
    ("node_mountstats_nfs_event_inode_revalidate_total", "Cached inode attributes revalidated."),
    ("node_mountstats_nfs_event_dnode_revalidate_total", "Cached directory entries revalidated."),
    ("node_mountstats_nfs_event_data_invalidate_total", "Inodes whose cached data was invalidated."),
    ("node_mountstats_nfs_event_attribute_invalidate_total", "Inodes whose cached attributes were invalidated."),
    ("node_mountstats_nfs_event_vfs_open_total", "Files and directories opened."),
    ("node_mountstats_nfs_event_vfs_lookup_total", "Names looked up."),
    ("node_mountstats_nfs_event_vfs_access_total", "Permissions checked."),
    ("node_mountstats_nfs_event_vfs_update_page_total", "Pages updated."),
    ("node_mountstats_nfs_event_vfs_read_page_total", "Pages read."),
    ("node_mountstats_nfs_event_vfs_read_pages_total", "Groups of pages read."),
    ("node_mountstats_nfs_event_vfs_write_page_total", "Pages written."),
    ("node_mountstats_nfs_event_vfs_write_pages_total", "Groups of pages written."),
    ("node_mountstats_nfs_event_vfs_getdents_total", "Directories read."),
    ("node_mountstats_nfs_event_vfs_setattr_total", "Attributes set."),
    ("node_mountstats_nfs_event_vfs_flush_total", "Pending writes flushed."),
    ("node_mountstats_nfs_event_vfs_fsync_total", "Files and directories synchronised."),
    ("node_mountstats_nfs_event_vfs_lock_total", "Locks taken."),
    ("node_mountstats_nfs_event_vfs_file_release_total", "Files closed."),
    ("", ""),
    ("node_mountstats_nfs_event_truncation_total", "Files truncated."),
    ("node_mountstats_nfs_event_write_extension_total", "Files grown by writing past their end."),
    ("node_mountstats_nfs_event_silly_rename_total", "Files removed while open."),
    ("node_mountstats_nfs_event_short_read_total", "Reads that returned less than asked."),
    ("node_mountstats_nfs_event_short_write_total", "Writes that took less than asked."),
    ("node_mountstats_nfs_event_jukebox_delay_total", "Delays by a server that had to fetch a file."),
    ("node_mountstats_nfs_event_pnfs_read_total", "Reads by pNFS."),
    ("node_mountstats_nfs_event_pnfs_write_total", "Writes by pNFS."),
];

/// Numbers of a line `xprt: tcp`; those without a name are the port, the connect time and the requests
/// in flight. UDP has no connect, connect time and idle time.
const TRANSPORT: [Named; 13] = [
    ("", ""),
    ("node_mountstats_nfs_transport_bind_total", "Times a port was bound."),
    ("node_mountstats_nfs_transport_connect_total", "Times a connection was made."),
    ("", ""),
    ("node_mountstats_nfs_transport_idle_time_seconds", "Seconds since the transport was last used."),
    ("node_mountstats_nfs_transport_sends_total", "Requests sent."),
    ("node_mountstats_nfs_transport_receives_total", "Answers received."),
    ("node_mountstats_nfs_transport_bad_transaction_ids_total", "Answers with an unknown transaction id."),
    ("", ""),
    ("node_mountstats_nfs_transport_backlog_queue_total", "Requests waiting for a slot, added up at each send."),
    ("node_mountstats_nfs_transport_maximum_rpc_slots", "Most slots ever used."),
    ("node_mountstats_nfs_transport_sending_queue_total", "Requests waiting to be sent, added up at each send."),
    ("node_mountstats_nfs_transport_pending_queue_total", "Requests waiting for an answer, added up at each send."),
];

/// Numbers of an operation's line, with what each is divided by.
const OPERATIONS: [(&str, &str, f64); 8] = [
    ("node_mountstats_nfs_operations_requests_total", "Requests of the operation.", 1.0),
    ("node_mountstats_nfs_operations_transmissions_total", "Times a request was sent.", 1.0),
    ("node_mountstats_nfs_operations_major_timeouts_total", "Major timeouts.", 1.0),
    ("node_mountstats_nfs_operations_sent_bytes_total", "Bytes sent, headers included.", 1.0),
    ("node_mountstats_nfs_operations_received_bytes_total", "Bytes received, headers included.", 1.0),
    ("node_mountstats_nfs_operations_queue_time_seconds_total", "Seconds requests waited to be sent.", 1000.0),
    ("node_mountstats_nfs_operations_response_time_seconds_total", "Seconds until the answers came.", 1000.0),
    ("node_mountstats_nfs_operations_request_time_seconds_total", "Seconds from queueing to completion.", 1000.0),
];

/// What a mount's block says.
#[derive(Default)]
struct Mount {
    export: String,
    mountpoint: String,
    is_nfs: bool,
    age: f64,
    bytes: Vec<f64>,
    events: Vec<f64>,
    transports: Vec<(String, Vec<f64>)>,
    operations: Vec<(String, Vec<f64>)>,
}

impl Collector for Mountstats {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let info = self.files.read(&self.info).map_err(|e| CollectError::reading(&self.info, e))?;
        let servers: Vec<_> = parse::lines(info).map(server_address).collect();
        let text = self.files.read(&self.stats).map_err(|e| CollectError::reading(&self.stats, e))?;
        let mounts = parse_mounts(text).map_err(|what| CollectError::parsing(&self.stats, what))?;
        let mut seen = BTreeSet::new();
        // Both files list the mounts in the same order.
        for (index, mount) in mounts.iter().enumerate().filter(|(_, m)| m.is_nfs) {
            let Some((protocol, _)) = mount.transports.first() else { continue };
            let server = servers.get(index).map_or("", String::as_str);
            let labels = [("export", mount.export.as_str()), ("mountaddr", server), ("protocol", protocol)];
            let with_point = with(&labels, "mountpoint", &mount.mountpoint);
            out.gauge("node_mountstats_nfs_mountpoint_info", "Where the export is mounted; always 1.", &with_point, 1.0);
            // Mounted twice, an export shares its counters.
            if seen.insert((&mount.export, protocol, server)) {
                expose(mount, &labels, out);
            }
        }
        Ok(())
    }
}

fn with<'a>(labels: &[(&'a str, &'a str); 3], name: &'a str, value: &'a str) -> [(&'a str, &'a str); 4] {
    let [a, b, c] = *labels;
    [a, b, c, (name, value)]
}

fn expose(mount: &Mount, labels: &[(&str, &str); 3], out: &mut Batch) {
    out.counter("node_mountstats_nfs_age_seconds_total", "Seconds since the mount.", labels, mount.age);
    let numbers = BYTES.iter().zip(&mount.bytes).chain(EVENTS.iter().zip(&mount.events));
    for ((family, help), value) in numbers.filter(|((family, _), _)| !family.is_empty()) {
        out.counter(family, help, labels, *value);
    }
    for (index, (_, numbers)) in mount.transports.iter().enumerate() {
        let mut digits = itoa::Buffer::new();
        let labels = with(labels, "transport", digits.format(index));
        for ((family, help), value) in TRANSPORT.iter().zip(numbers).filter(|((f, _), _)| !f.is_empty()) {
            let kind = if family.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
            let family = out.family(family, help, kind);
            out.sample(family, &labels, *value);
        }
    }
    for (operation, numbers) in &mount.operations {
        let labels = with(labels, "operation", operation);
        for ((family, help, divisor), value) in OPERATIONS.iter().zip(numbers) {
            out.counter(family, help, &labels, value / divisor);
        }
    }
}

/// `addr=` among the options of the file system: the last field of a mountinfo line.
fn server_address(line: &[u8]) -> String {
    let options = parse::fields(line).last().unwrap_or_default();
    let address = options.split(|b| *b == b',').find_map(|o| o.strip_prefix(b"addr="));
    valid_utf8(address.unwrap_or_default()).into_owned()
}

fn parse_mounts(text: &[u8]) -> Result<Vec<Mount>, String> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut in_operations = false;
    for line in parse::lines(text) {
        let fields: Vec<_> = parse::fields(line).collect();
        if let [b"device", export, b"mounted", b"on", mountpoint, b"with", b"fstype", kind, rest @ ..] =
            fields.as_slice()
        {
            in_operations = false;
            mounts.push(Mount {
                export: valid_utf8(export).into_owned(),
                mountpoint: valid_utf8(mountpoint).into_owned(),
                is_nfs: matches!(*kind, b"nfs" | b"nfs4")
                    && rest.first().is_some_and(|v| v.starts_with(b"statvers=")),
                ..Mount::default()
            });
            continue;
        }
        let Some(mount) = mounts.last_mut().filter(|m| m.is_nfs) else { continue };
        let [key, values @ ..] = fields.as_slice() else { continue };
        match *key {
            b"per-op" => in_operations = true,
            b"age:" => mount.age = numbers(line, values)?.first().copied().unwrap_or_default(),
            b"bytes:" => mount.bytes = numbers(line, values)?,
            b"events:" => mount.events = numbers(line, values)?,
            b"xprt:" => {
                let [protocol, values @ ..] = values else { continue };
                mount.transports.push((valid_utf8(protocol).into_owned(), transport(line, protocol, values)?));
            }
            operation if in_operations => {
                let Some(operation) = operation.strip_suffix(b":") else { continue };
                mount.operations.push((valid_utf8(operation).into_owned(), numbers(line, values)?));
            }
            _ => {}
        }
    }
    Ok(mounts)
}

/// The numbers of a transport in the order of [`TRANSPORT`].
fn transport(line: &[u8], protocol: &[u8], values: &[&[u8]]) -> Result<Vec<f64>, String> {
    let mut numbers = numbers(line, values)?;
    if protocol == b"udp" && numbers.len() >= 2 {
        numbers.splice(2..2, [0.0; 3]);
    }
    // Version 1.0 of the statistics ends before the slots; they then count 0.
    numbers.resize(TRANSPORT.len(), 0.0);
    Ok(numbers)
}

fn numbers(line: &[u8], values: &[&[u8]]) -> Result<Vec<f64>, String> {
    let numbers: Option<Vec<f64>> = values.iter().map(|v| parse::number(v)).collect();
    numbers.ok_or_else(|| format!("expected numbers in {:?}", String::from_utf8_lossy(line.trim_ascii())))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const STATS: &str = "device rootfs mounted on / with fstype rootfs
device 192.168.1.1:/srv mounted on /mnt/a with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.0,proto=tcp
\tage:\t13968
\tevents:\t52 226 0 0 1 13 398 0 0 331 0 47 0 0 77 0 0 77 0 0 0 0 0 0 0 5 6
\tbytes:\t1207640230 0 0 0 1210214218 0 295483 0
\tRPC iostats version: 1.0  p/v: 100003/4 (nfs)
\txprt:\ttcp 832 0 1 0 11 6428 6428 0 12154 0 24 26 5726
\tper-op statistics
\t        NULL: 0 0 0 0 0 0 0 0
\t        READ: 1298 1299 0 207680 1210292152 6 79386 79407
device 192.168.1.1:/srv mounted on /mnt/b with fstype nfs4 statvers=1.1
\tage:\t1
\txprt:\ttcp 832 0 1 0 11 6428 6428 0 12154 0 24 26 5726
device 10.0.0.2:/x mounted on /mnt/c with fstype nfs statvers=1.0
\tage:\t2
\txprt:\tudp 832 7 9 8 1 2 3
";
    const INFO: &str = "1 1 0:1 / / rw - rootfs none rw
2 1 0:2 / /mnt/a rw shared:1 - nfs4 192.168.1.1:/srv rw,vers=4.0,clientaddr=1.2.3.4,addr=192.168.1.1
3 1 0:3 / /mnt/b rw shared:1 - nfs4 192.168.1.1:/srv rw,addr=192.168.1.1
4 1 0:4 / /mnt/c rw - nfs 10.0.0.2:/x rw,addr=10.0.0.2
";

    fn fixture() -> Fixture {
        Fixture::new().files(&[("proc/self/mountstats", STATS), ("proc/self/mountinfo", INFO)])
    }

    #[test]
    fn golden() {
        let samples = fixture().samples("mountstats");
        let a = r#"export="192.168.1.1:/srv",mountaddr="192.168.1.1""#;
        let c = r#"export="10.0.0.2:/x",mountaddr="10.0.0.2""#;
        for line in [
            format!("node_mountstats_nfs_age_seconds_total{{{a},protocol=\"tcp\"}} 13968\n"),
            format!("node_mountstats_nfs_event_pnfs_write_total{{{a},protocol=\"tcp\"}} 6\n"),
            format!("node_mountstats_nfs_total_read_bytes_total{{{a},protocol=\"tcp\"}} 1210214218\n"),
            format!("node_mountstats_nfs_mountpoint_info{{{a},mountpoint=\"/mnt/a\",protocol=\"tcp\"}} 1\n"),
            format!("node_mountstats_nfs_mountpoint_info{{{a},mountpoint=\"/mnt/b\",protocol=\"tcp\"}} 1\n"),
            format!("node_mountstats_nfs_operations_request_time_seconds_total{{{a},operation=\"READ\",protocol=\"tcp\"}} 79.407\n"),
            format!("node_mountstats_nfs_transport_maximum_rpc_slots{{{a},protocol=\"tcp\",transport=\"0\"}} 24\n"),
            format!("node_mountstats_nfs_transport_idle_time_seconds{{{a},protocol=\"tcp\",transport=\"0\"}} 11\n"),
            format!("node_mountstats_nfs_transport_sends_total{{{c},protocol=\"udp\",transport=\"0\"}} 9\n"),
            format!("node_mountstats_nfs_transport_maximum_rpc_slots{{{c},protocol=\"udp\",transport=\"0\"}} 0\n"),
        ] {
            assert!(samples.contains(&line), "{line}\n{samples}");
        }
    }

    #[test]
    fn no_nfs_is_nothing_and_garbage_an_error() {
        let local = "device /dev/sda1 mounted on / with fstype ext4\n";
        fixture().file("proc/self/mountstats", local).expect("mountstats", "");
        let bad = "device a:/b mounted on /c with fstype nfs statvers=1.1\n\tbytes:\tmany\n";
        let error = fixture().file("proc/self/mountstats", bad).error("mountstats");
        assert!(error.contains("expected numbers in \"bytes:\\tmany\""), "{error}");
    }
}
