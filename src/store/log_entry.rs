//! An entry of the log: for each block that a tick changes, a section.
//!
//! Bounds: nothing that is read is longer than the entry it is read from.

use super::block::{self, Block, MISSING, SLOTS};
use super::bytes::{Reader, put_f64, put_varint};
use super::head::Touched;

const TICKED: u64 = 1;
const SELECTED: u64 = 2;

/// Writes what a tick does to a block.
pub(super) fn put_section(entry: &mut Vec<u8>, block: &Block, touched: &Touched, ticked: bool, at_ms: i64) {
    put_varint(entry, u64::from(touched.block));
    put_varint(entry, if ticked { TICKED } else { 0 } | if block.selected { SELECTED } else { 0 });
    put_varint(entry, touched.assigned.len() as u64);
    for (slot, series) in &touched.assigned {
        put_varint(entry, u64::from(*slot));
        put_varint(entry, u64::from(*series));
    }
    put_varint(entry, touched.own.len() as u64);
    if ticked {
        put_values(entry, block, &touched.pending);
    }
    for (slot, own_ms, value) in &touched.own {
        put_varint(entry, u64::from(*slot));
        block::put_own_instant(entry, at_ms, *own_ms);
        put_f64(entry, *value);
    }
}

/// One bit a slot that says whether it changed, then the changed values.
fn put_values(entry: &mut Vec<u8>, block: &Block, values: &[u64]) {
    put_varint(entry, values.len() as u64);
    let changed = || block.slots.iter().zip(values).map(|(slot, value)| slot.last != *value);
    let mut bits = vec![0_u8; values.len().div_ceil(8)];
    for (at, _) in changed().enumerate().filter(|(_, changed)| *changed) {
        if let Some(byte) = bits.get_mut(at / 8) {
            *byte |= 1 << (at % 8);
        }
    }
    entry.extend_from_slice(&bits);
    for (slot, value) in block.slots.iter().zip(values).filter(|(slot, value)| slot.last != **value) {
        block::put_change(entry, slot.last, *value);
    }
}

/// The head of a section; values and samples stand behind it.
pub(super) struct Section<'a> {
    pub(super) block: u32,
    pub(super) selected: bool,
    pub(super) assigned: Vec<(u16, u32)>,
    /// Number of slots, and their bits.
    pub(super) changed: Option<(usize, &'a [u8])>,
    pub(super) own_count: usize,
    at_ms: i64,
}

/// `None` where it is damaged, as with all that is read here.
pub(super) fn read_section<'a>(reader: &mut Reader<'a>, at_ms: i64) -> Option<Section<'a>> {
    let block = reader.u32_varint()?;
    let flags = reader.varint()?;
    // Slots may be freed and given to others in the same tick, so there may be more than a block has.
    let count = reader.length(reader.rest().len())?;
    let slot = |reader: &mut Reader<'_>| u16::try_from(reader.length(SLOTS - 1)?).ok();
    let assigned: Option<Vec<(u16, u32)>> =
        (0..count).map(|_| Some((slot(reader)?, reader.u32_varint()?))).collect();
    let own_count = reader.length(reader.rest().len())?;
    let changed = match flags & TICKED != 0 {
        true => {
            let slots = reader.length(SLOTS)?;
            Some((slots, reader.take(slots.div_ceil(8))?))
        }
        false => None,
    };
    Some(Section { block, selected: flags & SELECTED != 0, assigned: assigned?, changed, own_count, at_ms })
}

impl Section<'_> {
    /// Reads over what stands behind the section's head. What a changed value was before does not matter for its
    /// length.
    pub(super) fn skip(&self, reader: &mut Reader<'_>) -> Option<()> {
        if let Some((slots, bits)) = self.changed {
            for _ in (0..slots).filter(|at| is_set(bits, *at)) {
                block::read_change(reader, 0)?;
            }
        }
        (0..self.own_count).try_for_each(|_| read_own(reader, self.at_ms).map(drop))
    }
}

fn is_set(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

/// The values of all slots, those included that did not change.
pub(super) fn read_values(
    reader: &mut Reader<'_>,
    block: &Block,
    (slots, bits): (usize, &[u8]),
) -> Option<Vec<u64>> {
    if slots > block.slots.len() {
        return None;
    }
    let slots = block.slots.iter().take(slots).enumerate();
    let values: Option<Vec<u64>> = slots
        .map(
            |(at, slot)| {
                if is_set(bits, at) { block::read_change(reader, slot.last) } else { Some(slot.last) }
            },
        )
        .collect();
    let mut values = values?;
    values.resize(block.slots.len(), MISSING);
    Some(values)
}

/// Slot, instant in milliseconds and value of a sample with an instant of its own.
pub(super) fn read_own(reader: &mut Reader<'_>, at_ms: i64) -> Option<(u16, i64, f64)> {
    let slot = u16::try_from(reader.length(SLOTS - 1)?).ok()?;
    Some((slot, at_ms.wrapping_add(reader.signed()?), reader.f64()?))
}
