//! How ticks are applied again from the log.
//!
//! Invariants: applying a log entry to the state before it gives the state after the tick that wrote it; nothing is
//! applied that rests on an entry which is damaged or missing.

use super::block::{Block, FREE, TICKS};
use super::bytes::Reader;
use super::head::{Head, mark_stale};
use super::log_entry::{read_own, read_section, read_values};
use super::series::{Home, SeriesTable};

impl Head {
    /// Applies a log entry; false where it is damaged - `None`: so that nothing can be told of it - or rests on one that
    /// was. Such a one may have given slots to other series, and later entries say only what changed since, so what they
    /// say of the source's blocks is left out, rather than told of the wrong series, or wrong.
    pub(super) fn replay(&mut self, source: u32, seq: u64, entry: Option<&[u8]>) -> bool {
        let last = self.sources.get(&source).and_then(|record| record.replayed);
        let Some(entry) = entry else {
            // If its key is damaged, too, it is another's; that one has a gap.
            if last.is_none_or(|last| seq == last.saturating_add(1)) {
                self.lose_entry(source, seq);
            }
            return false;
        };
        self.load_nameless(source);
        if last.is_some_and(|last| seq > last.saturating_add(1)) {
            self.lose_entry(source, seq - 1);
        }
        let whole = self.replay_entry(source, seq, entry);
        if let Some(record) = self.sources.get_mut(&source) {
            record.logged += entry.len() as u64;
            record.replayed = Some(seq);
        }
        if whole.is_none() {
            self.lose_entry(source, seq);
        }
        whole == Some(Replayed::Applied)
    }

    /// What a log entry said is lost. A block that was written into pages after it does not rest on it.
    fn lose_entry(&mut self, source: u32, seq: u64) {
        if let Some(record) = self.sources.get_mut(&source) {
            record.seq = record.seq.max(seq);
            record.replayed = Some(seq);
        }
        self.retire_blocks(source, seq);
    }

    fn replay_entry(&mut self, source: u32, seq: u64, entry: &[u8]) -> Option<Replayed> {
        let mut reader = Reader::new(entry);
        let at_ms = reader.signed()?;
        if let Some(record) = self.sources.get_mut(&source) {
            record.seq = record.seq.max(seq);
            record.last_at_ms = record.last_at_ms.max(at_ms);
        }
        let mut entry = Replayed::Applied;
        while !reader.is_empty() {
            if self.replay_section(source, seq, at_ms, &mut reader)? == Replayed::LeftOut {
                entry = Replayed::LeftOut;
            }
        }
        Some(entry)
    }

    /// `None` where it is damaged.
    fn replay_section(
        &mut self,
        source: u32,
        seq: u64,
        at_ms: i64,
        reader: &mut Reader<'_>,
    ) -> Option<Replayed> {
        let begun = reader.rest().len();
        let section = read_section(reader, at_ms)?;
        let id = section.block;
        self.next_block = self.next_block.max(id.saturating_add(1));
        let record = self.sources.get_mut(&source)?;
        if section.changed.is_some() {
            record.clock_ms = record.clock_ms.max(at_ms);
        }
        let logged = record.logged;
        let block = self.blocks.entry(id).or_insert_with(|| {
            record.blocks.push(id);
            Block::new(source, section.selected, TICKS)
        });
        if seq <= block.sealed_seq {
            return section.skip(reader).map(|()| Replayed::Applied);
        }
        if block.retired {
            // Its row will say that this entry is dealt with: it must not be applied after another restart.
            block.last_seq = seq;
            return section.skip(reader).map(|()| Replayed::LeftOut);
        }
        assign(&mut self.series, id, block, &section.assigned);
        if let Some(changed) = section.changed {
            let values = read_values(reader, block, changed)?;
            mark_stale(&mut self.series, block, &values, at_ms);
            if block.ticks.last().is_none_or(|last| *last < at_ms) {
                block.push_tick(at_ms, &values);
            }
        }
        for _ in 0..section.own_count {
            let (slot, own_ms, value) = read_own(reader, at_ms)?;
            block.push_own(slot, own_ms, value);
            let series = block.slots.get(usize::from(slot)).map_or(FREE, |slot| slot.series);
            if let Some(series) = self.series.get_mut(series) {
                series.note_last(own_ms, value.to_bits());
            }
        }
        block.note_logged(seq, at_ms, logged, begun - reader.rest().len());
        if block.is_due() && !self.due.contains(&id) {
            self.due.push(id);
        }
        Some(Replayed::Applied)
    }
}

/// Gives slots to series as an entry says.
fn assign(table: &mut SeriesTable, id: u32, block: &mut Block, assigned: &[(u16, u32)]) {
    for (slot, series) in assigned {
        let before = block.slots.get(usize::from(*slot)).map_or(FREE, |slot| slot.series);
        if let Some(before) = table.get_mut(before) {
            before.move_out(id);
        }
        block.assign_at(usize::from(*slot), *series);
        let home = Home { block: id, slot: *slot };
        if let Some(series) = table.get_mut(*series) {
            series.move_in(home);
        } else if *series != FREE {
            // Its row is lost; the number stays taken.
            table.start_at(series.saturating_add(1));
        }
    }
}

/// What came of a log entry, or of a part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replayed {
    Applied,
    /// It rests on what is damaged.
    LeftOut,
}

#[cfg(test)]
mod tests {
    use super::super::disk::Batch;
    use super::*;
    use crate::model::{Labels, Row, Timestamp};

    #[test]
    fn behind_a_damaged_entry_nothing_is_told_of_the_wrong_series() {
        let row = |name: &str, value| {
            let labels = Labels::from_pairs([("__name__", name)]);
            Row { labels, value, timestamp: None }
        };
        let (mut written, mut batch) = (Head::new(10, 0), Batch::default());
        let source = written.source("a", &mut batch);
        for (ms, rows) in
            [(1, vec![row("x", 1.0)]), (2, vec![row("x", 2.0), row("y", 3.0)]), (3, vec![row("y", 4.0)])]
        {
            written.apply(source, Timestamp::from_millis(ms), &rows, true, &mut batch);
        }
        let mut read = Head::new(10, 0);
        read.load_source(source, "a");
        for (id, row) in &batch.series {
            assert!(read.series.load(*id, row.as_deref().unwrap()));
        }
        let entries: Vec<(u64, &[u8])> = batch.wal.iter().map(|((_, seq), entry)| (*seq, &**entry)).collect();
        let [(first, whole), (second, cut), (third, after)] = entries[..] else { panic!("{entries:?}") };
        assert!(read.replay(source, first, Some(whole)));
        assert!(!read.replay(source, second, Some(&cut[..cut.len() - 1])));
        assert!(!read.replay(source, third, Some(after)), "its slots may be others'");
        let samples = |head: &Head| head.blocks.values().map(|block| block.ticks.clone()).collect::<Vec<_>>();
        assert_eq!((samples(&written), samples(&read)), (vec![vec![1, 2, 3]], vec![vec![1]]));
        let mut batch = Batch::default();
        let done = read.apply(source, Timestamp::from_millis(9), &[row("y", 5.0)], true, &mut batch);
        assert_eq!(
            (done.added, samples(&read)),
            (1, vec![vec![1], vec![9]]),
            "history goes on in a block of its own"
        );
    }
}
