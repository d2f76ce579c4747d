//! Software RAID arrays. Sources: kernel `Documentation/admin-guide/md.rst` (sysfs) and
//! `drivers/md/md.c` (`/proc/mdstat`).

use std::path::PathBuf;

use crate::collect::{CollectError, Collector, Files, Pass, Spec, Tree, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "mdadm",
    on_by_default: true,
    help: "Software RAID: disks, state and synchronisation from /proc/mdstat and sysfs.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Mdadm {
            path: host.paths.proc("mdstat"),
            mdstat: Files::new(host.descriptors.clone()),
            block: Tree::new(host.paths.sys("block"), host.descriptors.clone()),
        }))
    },
};

struct Mdadm {
    path: PathBuf,
    mdstat: Files,
    block: Tree,
}

/// State as this module names it, and as the label `state` does.
const STATES: [(State, &str); 5] = [
    (State::Active, "active"),
    (State::Check, "check"),
    (State::Inactive, "inactive"),
    (State::Recovering, "recovering"),
    (State::Resync, "resync"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Check,
    Inactive,
    Recovering,
    Resync,
    /// Reshaping, broken: none of those that are exposed.
    Other,
}

/// One array of `/proc/mdstat`.
#[derive(Debug, PartialEq)]
struct Array<'a> {
    name: &'a [u8],
    state: State,
    active: u64,
    required: u64,
    failed: usize,
    spare: usize,
    blocks: u64,
    blocks_synced: u64,
}

impl Collector for Mdadm {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.mdstat.read(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        let mut rest = text;
        while let Some((line, below)) = next_line(rest) {
            rest = below;
            if is_array(line) {
                let array = array(line, below).map_err(|what| CollectError::parsing(&self.path, what))?;
                write(out, &array);
            }
        }
        self.collect_sysfs(out)
    }
}

impl Mdadm {
    fn collect_sysfs(&mut self, out: &mut Batch) -> Result<(), CollectError> {
        self.block.begin_pass();
        for device in self.block.names_if_any(&[], |name| name.starts_with("md"))? {
            let Some(level) = self.block.optional(&[&device, "md", "level"])? else { continue };
            let redundant = matches!(level, b"raid1" | b"raid4" | b"raid5" | b"raid6" | b"raid10");
            let disks = self.block.unsigned(&[&device, "md", "raid_disks"])?;
            let degraded = if redundant { self.block.unsigned(&[&device, "md", "degraded"])? } else { 0 };
            let labels = [("device", &*device)];
            out.gauge("node_md_raid_disks", "Disks the array is made for.", &labels, parse::value(disks));
            out.gauge("node_md_degraded", "Disks the array lacks.", &labels, parse::value(degraded));
        }
        Ok(())
    }
}

fn next_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    Some((text.get(..end)?, text.get(end + 1..).unwrap_or_default()))
}

/// Arrays start in the first column, and so do two lines that are none.
fn is_array(line: &[u8]) -> bool {
    line.first().is_some_and(|b| !b.is_ascii_whitespace())
        && !line.starts_with(b"unused")
        && !line.starts_with(b"Personalities")
}

/// `md0 : active raid1 sdb1[1] sda1[0](F)`, then `248896 blocks [2/1] [U_]`, perhaps a line on the
/// bitmap, perhaps one on what is under way.
fn array<'a>(line: &'a [u8], below: &[u8]) -> Result<Array<'a>, &'static str> {
    let mut fields = parse::fields(line);
    let (Some(name), Some(_), Some(state)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("expected `name : state ...`");
    };
    let mut below = parse::lines(below);
    let status = below.next().unwrap_or_default();
    let blocks = parse::fields(status).next().and_then(parse::unsigned).ok_or("expected a number of blocks")?;
    let (required, active) = if contains(line, b"raid0") || contains(line, b"linear") {
        // No redundancy: only disks have a number in brackets.
        let disks = line.iter().filter(|b| **b == b'[').count() as u64;
        (disks, disks)
    } else if contains(line, b"inactive") {
        (0, 0)
    } else {
        disks(status).ok_or("expected `[total/active] [UU_]`")?
    };
    let mut progress = below.next().unwrap_or_default();
    if contains(progress, b"bitmap") {
        progress = below.next().unwrap_or_default();
    }
    let (state, blocks_synced) = under_way(progress, state, blocks)?;
    let count = |mark: &[u8]| memchr::memmem::find_iter(line, mark).count();
    Ok(Array { name, state, active, required, failed: count(b"(F)"), spare: count(b"(S)"), blocks, blocks_synced })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Required and active disks: `[2/1]`, which is followed by ` [U_]`.
fn disks(status: &[u8]) -> Option<(u64, u64)> {
    let fields = parse::fields(status).filter_map(|f| f.strip_prefix(b"[")?.strip_suffix(b"]"));
    fields.filter_map(|f| parse::split_once(f, b'/')).find_map(|(required, active)| {
        Some((parse::unsigned(required)?, parse::unsigned(active)?))
    })
}

/// The state with what is under way, and the blocks that are in sync.
fn under_way(line: &[u8], state: &[u8], blocks: u64) -> Result<(State, u64), &'static str> {
    let state = if contains(line, b"recovery") {
        State::Recovering
    } else if contains(line, b"reshape") {
        State::Other
    } else if contains(line, b"check") {
        State::Check
    } else if contains(line, b"resync") {
        State::Resync
    } else {
        let state = match state {
            b"active" => State::Active,
            b"inactive" => State::Inactive,
            _ => State::Other,
        };
        return Ok((state, blocks));
    };
    if contains(line, b"PENDING") || contains(line, b"DELAYED") {
        return Ok((state, 0));
    }
    let synced = memchr::memchr(b'(', line).and_then(|at| line.get(at + 1..));
    let synced = synced.and_then(|rest| parse::split_once(rest, b'/')).and_then(|(n, _)| parse::unsigned(n));
    Ok((state, synced.ok_or("expected `(synced/total)`")?))
}

fn write(out: &mut Batch, array: &Array<'_>) {
    let name = valid_utf8(array.name);
    let labels = [("device", &*name)];
    let disks = "Disks of the array by state.";
    for (state, count) in
        [("active", array.active), ("failed", array.failed as u64), ("spare", array.spare as u64)]
    {
        out.gauge("node_md_disks", disks, &[("device", &name), ("state", state)], parse::value(count));
    }
    for (state, label) in STATES {
        let is = f64::from(u8::from(array.state == state));
        out.gauge("node_md_state", "The array's state: 1 for the one it is in.", &[("device", &name), ("state", label)], is);
    }
    for (family, help, count) in [
        ("node_md_disks_required", "Disks the array needs to be complete.", array.required),
        ("node_md_blocks", "Blocks of 1 KiB of the array.", array.blocks),
        ("node_md_blocks_synced", "Blocks of 1 KiB that are in sync.", array.blocks_synced),
    ] {
        out.gauge(family, help, &labels, parse::value(count));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    const MDSTAT: &str = "Personalities : [raid1] [raid6] [raid5] [raid0]\n\
        md0 : active raid1 sdb1[1] sda1[0](F) sdc1[2](S)\n      248896 blocks [2/1] [U_]\n      bitmap: 0/1 pages\n      \
        [=>...]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec\n\n\
        unused devices: <none>\n";

    #[test]
    fn golden() {
        Fixture::new()
            .files(&[
                ("proc/mdstat", MDSTAT),
                ("sys/block/md0/md/level", "raid1\n"),
                ("sys/block/md0/md/raid_disks", "2\n"),
                ("sys/block/md0/md/degraded", "1\n"),
                ("sys/block/md4/md/level", "raid0\n"),
                ("sys/block/md4/md/raid_disks", "3\n"),
                ("sys/block/mdless/size", "1\n"),
                ("sys/block/sda/size", "1\n"),
            ])
            .expect(
                "mdadm",
                r#"node_md_blocks_synced{device="md0"} 16775552
                node_md_blocks{device="md0"} 248896
                node_md_degraded{device="md0"} 1
                node_md_degraded{device="md4"} 0
                node_md_disks_required{device="md0"} 2
                node_md_disks{device="md0",state="active"} 1
                node_md_disks{device="md0",state="failed"} 1
                node_md_disks{device="md0",state="spare"} 1
                node_md_raid_disks{device="md0"} 2
                node_md_raid_disks{device="md4"} 3
                node_md_state{device="md0",state="active"} 0
                node_md_state{device="md0",state="check"} 0
                node_md_state{device="md0",state="inactive"} 0
                node_md_state{device="md0",state="recovering"} 1
                node_md_state{device="md0",state="resync"} 0"#,
            );
    }

    #[test]
    fn arrays_of_all_kinds() {
        for (text, state, required, active, synced) in [
            ("md3 : active raid6 sda1[8] sdh1[7]\n 58 blocks super 1.2 level 6, 64k chunk, algorithm 2 [8/7] [U_UUUUUU]\n", State::Active, 8, 7, 58),
            ("md1 : active (auto-read-only) raid1 sda1[0] sdb1[1]\n 58 blocks super 1.2 [2/2] [UU]\n   resync=PENDING\n", State::Resync, 2, 2, 0),
            ("md8 : active raid1 sdb1[1] sda1[0]\n 58 blocks [2/2] [UU]\n   resync=DELAYED\n", State::Resync, 2, 2, 0),
            ("md9 : active raid1 sdb1[1] sda1[0]\n 58 blocks [2/2] [UU]\n  [>] check = 1.2% (7/58) finish=1min speed=1K/sec\n", State::Check, 2, 2, 7),
            ("md5 : active raid5 sdb1[1] sda1[0]\n 58 blocks [2/2] [UU]\n  [>] reshape = 1.2% (7/58) finish=1min speed=1K/sec\n", State::Other, 2, 2, 7),
            ("md4 : inactive raid1 sda3[0](F) sdb3[1](S)\n 58 blocks [2/2] [UU]\n", State::Inactive, 0, 0, 58),
            ("md127 : inactive sda[1](S) sdb[0](S)\n 58 blocks super external:imsm\n", State::Inactive, 0, 0, 58),
            ("md7 : active raid0 sdb1[0] sdd1[2] sdc1[1]\n 58 blocks super 1.2 512k chunks\n", State::Active, 3, 3, 58),
            ("md2 : active linear sdb1[0] sdd1[2]\n 58 blocks super 1.2 0k rounding\n", State::Active, 2, 2, 58),
        ] {
            let (line, below) = next_line(text.as_bytes()).unwrap();
            let a = array(line, below).unwrap();
            assert_eq!((a.state, a.required, a.active, a.blocks, a.blocks_synced), (state, required, active, 58, synced), "{text}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_read_or_refused() {
        for end in 0..=MDSTAT.len() {
            let fixture = Fixture::new().file("proc/mdstat", &MDSTAT[..end]);
            let result = super::super::testing::run(&mut *fixture.collector("mdadm")).1;
            assert!(result.is_ok() || result.is_err_and(|e| e.to_string().contains("expected")), "{end}");
        }
    }

    #[test]
    fn absent_empty_and_garbage() {
        assert!(Fixture::new().error("mdadm").contains("no data"));
        Fixture::new().file("proc/mdstat", "Personalities : \nunused devices: <none>\n").expect("mdadm", "");
        for bad in ["md0\n", "md0 : active raid1 a[0]\n", "md0 : active raid1 a[0]\n x blocks\n", "md0 : active raid1 a[0]\n 5 blocks\n"] {
            assert!(Fixture::new().file("proc/mdstat", bad).error("mdadm").contains("expected"), "{bad}");
        }
    }
}
