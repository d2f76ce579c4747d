//! From raw tails to pages: what a block has is packed, written, and only then forgotten in memory.
//!
//! Invariant: at every instant each sample is in a tail, in a page, or - between the commit and forgetting - in both;
//! a reader that sees both sees the same sample twice, never none.

use super::block::{Block, FREE, Logged, MISSING, NOBODY, SealedExtent, Slot, Tail};
use super::bytes::{Reader, put_signed, put_varint};
use super::disk::{Batch, PageKey};
use super::head::Head;
use super::page::{self, Column};
use super::vault;

/// Bytes of a value that just fills two pages of the file, beside what redb puts around it.
const PAGE_BYTES: usize = 8_192 - 4 - 4 - 16 - vault::OVERHEAD;

/// Most samples with instants of their own in one column.
const OWN_CHUNK: usize = 480;

/// A block's samples on their way into pages.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) block: u32,
    pub(super) samples: u64,
    pub(super) bytes: u64,
    pub(super) pages: u32,
    extent: SealedExtent,
    seq: u64,
    /// What the block has logged from now on.
    left: Logged,
    /// The bytes of its own that it had logged by now.
    logged_bytes: u64,
    last_ms: i64,
    longest_page_ms: i64,
}

/// Packs what a block has into pages of a batch.
pub(super) fn seal(head: &Head, id: u32, batch: &mut Batch) -> Option<Seal> {
    // Of one whose row is lost there is nothing to write.
    let block = head.blocks.get(&id).filter(|block| block.source != NOBODY)?;
    let (since_ms, from) =
        head.sources.get(&block.source).map_or((i64::MAX, u64::MAX), |s| (s.last_at_ms, s.logged));
    let mut sealed = Seal {
        block: id,
        samples: 0,
        bytes: 0,
        pages: 0,
        extent: block.extent(),
        seq: block.last_seq,
        left: Logged { since_ms, from, bytes: 0 },
        logged_bytes: block.logged.bytes,
        last_ms: block.sealed_ms,
        longest_page_ms: block.longest_page_ms,
    };
    for page in page::seal(&block.ticks, &columns(block), PAGE_BYTES) {
        let key: PageKey = (id, page.first_ms, block.next_page.wrapping_add(sealed.pages));
        sealed.pages += 1;
        sealed.samples += page.samples;
        sealed.bytes += (page.page.len() + page.digest.len()) as u64;
        sealed.last_ms = sealed.last_ms.max(page.last_ms);
        sealed.longest_page_ms = sealed.longest_page_ms.max(page.last_ms.saturating_sub(page.first_ms));
        batch.pages.push((key, page.page, page.digest));
    }
    batch.blocks.push((id, Some(sealed.row(block))));
    Some(sealed)
}

/// Columns of all series; of one with many samples at instants of its own, the first part, then - behind all others -
/// the second, and so on: no page has a series twice.
fn columns(block: &Block) -> Vec<Column<'_>> {
    let mut columns = Vec::with_capacity(block.slots.len());
    let mut rounds: Vec<Vec<Column<'_>>> = Vec::new();
    for slot in block.slots.iter().filter(|slot| slot.series != FREE) {
        match (&slot.tail, block.column(slot)) {
            (Tail::Own(own), _) => {
                let chunks = own.instants.chunks(OWN_CHUNK).zip(own.values.chunks(OWN_CHUNK));
                for (round, (instants, values)) in chunks.enumerate() {
                    let column =
                        Column { series: slot.series, own_instants: Some(instants), values: values.to_vec() };
                    rounds.extend((rounds.len() <= round).then(Vec::new));
                    if let Some(columns) = rounds.get_mut(round) {
                        columns.push(column);
                    }
                }
            }
            (_, Some(values)) => columns.push(Column { series: slot.series, own_instants: None, values }),
            (_, None) => {}
        }
    }
    columns.extend(rounds.into_iter().flatten());
    columns
}

impl Seal {
    /// The block's row as it is when these samples are in pages.
    fn row(&self, block: &Block) -> Vec<u8> {
        let mut row = Vec::with_capacity(block.slots.len() * 11 + 40);
        put_varint(&mut row, u64::from(block.source));
        put_varint(&mut row, u64::from(block.selected));
        put_varint(&mut row, u64::from(block.next_page.wrapping_add(self.pages)));
        put_varint(&mut row, self.seq);
        put_signed(&mut row, self.last_ms);
        put_signed(&mut row, self.longest_page_ms);
        put_varint(&mut row, block.slots.len() as u64);
        for slot in &block.slots {
            put_varint(&mut row, u64::from(slot.series.wrapping_add(1)));
            super::block::put_change(&mut row, MISSING, slot.last);
        }
        row
    }

    /// Forgets in memory what is now in pages, and frees the places of series that have ended.
    pub(super) fn finish(&self, head: &mut Head) {
        let Some(block) = head.blocks.get_mut(&self.block) else { return };
        block.drop_sealed(&self.extent);
        block.next_page = block.next_page.wrapping_add(self.pages);
        block.sealed_seq = block.sealed_seq.max(self.seq);
        // What came meanwhile stays.
        let bytes = block.logged.bytes.saturating_sub(self.logged_bytes);
        block.logged = Logged { bytes, ..self.left };
        block.sealed_ms = self.last_ms;
        block.longest_page_ms = self.longest_page_ms;
        let selected = block.selected;
        let series = &head.series;
        let freed = block
            .free_idle(|id, alive| !alive || series.get(id).is_none_or(|series| series.selected != selected));
        for id in freed {
            if let Some(series) = head.series.get_mut(id) {
                series.move_out(self.block);
            }
        }
    }
}

/// The last log entry of a source that is in pages as a whole, if these blocks are sealed.
pub(super) fn log_done(head: &Head, source: u32, seals: &[Seal]) -> Option<u64> {
    let record = head.sources.get(&source)?;
    let sealed_to = |id: &u32| {
        let block = head.blocks.get(id)?;
        let sealed = seals.iter().find(|s| s.block == *id).map_or(block.sealed_seq, |s| s.seq);
        (sealed < block.last_seq).then_some(sealed)
    };
    let open = record.blocks.iter().filter_map(sealed_to).min();
    let newest = || record.blocks.iter().filter_map(|id| head.blocks.get(id)).map(|b| b.last_seq).max();
    open.or_else(newest)
}

/// A block from its row; `None` where that is damaged.
pub(super) fn block_from_row(row: &[u8]) -> Option<Block> {
    let mut reader = Reader::new(row);
    let source = reader.u32_varint()?;
    let selected = reader.varint()? != 0;
    let mut block = Block::new(source, selected, super::block::TICKS);
    block.next_page = reader.u32_varint()?;
    block.sealed_seq = reader.varint()?;
    block.last_seq = block.sealed_seq;
    block.sealed_ms = reader.signed()?;
    block.longest_page_ms = reader.signed()?;
    for at in 0..reader.length(super::block::SLOTS)? {
        let series = u32::try_from(reader.varint()?).ok()?.wrapping_sub(1);
        block.assign_at(at, series);
        let last = super::block::read_change(&mut reader, MISSING)?;
        if let Some(Slot { last: place, .. }) = block.slots.get_mut(at) {
            *place = last;
        }
    }
    Some(block)
}
