//! Slots in the store's state table: keys, values, and what is too old.
//!
//! A key is a JSON list - the objective's id, what its queries are, its labels - and eight bytes of the chunk's number,
//! big-endian. A value is a chunk as [`Slots`] encodes it. An objective whose queries change begins anew under another
//! key, because what they count is not the same; one that changes back finds what it had.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::period::LONGEST_PERIOD;
use super::super::slots::Slots;
use crate::model::{Labels, Timestamp};
use crate::store::{StateOp, StateTable, StoreError};

/// Name of the table in the store.
pub(super) const TABLE: &str = "slos";

/// How long slots are kept that no objective reads: a calendar's longest period can begin that long ago.
const KEPT: Duration = Duration::from_secs(LONGEST_PERIOD.as_secs() + 35 * 86_400);

/// Slots of one set of labels, chunk by chunk.
type Chunks = Vec<(i64, Vec<u8>)>;

/// What the table holds, by id and queries.
#[derive(Debug, Default)]
pub(super) struct Saved(BTreeMap<(String, String), Vec<(Labels, Chunks)>>);

/// Everything of a key but the chunk.
pub(super) fn prefix(id: &str, queries: &str, labels: &Labels) -> Vec<u8> {
    let pairs: BTreeMap<&str, &str> = labels.iter().collect();
    // Maps and texts always serialize.
    serde_json::to_vec(&(id, queries, pairs)).unwrap_or_default()
}

/// The key of a chunk.
pub(super) fn key(prefix: &[u8], chunk: i64) -> Vec<u8> {
    [prefix, &chunk.to_be_bytes()].concat()
}

fn parse(key: &[u8]) -> Option<((String, String), Labels, i64)> {
    let (prefix, chunk) = key.split_last_chunk::<8>()?;
    let (id, queries, pairs): (String, String, BTreeMap<String, String>) =
        serde_json::from_slice(prefix).ok()?;
    Some(((id, queries), Labels::from_pairs(pairs), i64::from_be_bytes(*chunk)))
}

/// When a chunk of slots ends; `None`: the value is none.
fn end_of(chunk: i64, value: &[u8]) -> Option<Timestamp> {
    let seconds = value.get(1..5)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))?;
    let slots = Slots::new(Duration::from_secs(seconds.into()), 1);
    Some(slots.chunk_end(chunk))
}

impl Saved {
    /// Reads the table, and takes out of it what no period can reach any more and what cannot be read.
    pub(super) fn read(table: &StateTable, now: Timestamp) -> Result<Self, StoreError> {
        let (mut saved, mut old) = (Self::default(), Vec::new());
        table.range(&[], |key, value| {
            let fresh = |chunk| end_of(chunk, value).is_some_and(|end| now.since(end) <= KEPT);
            match parse(key) {
                Some((name, labels, chunk)) if fresh(chunk) => saved.add(name, labels, chunk, value),
                _ => old.push(StateOp::Delete(key.to_vec())),
            }
            true
        })?;
        if !old.is_empty() {
            table.apply(old)?;
        }
        Ok(saved)
    }

    fn add(&mut self, name: (String, String), labels: Labels, chunk: i64, value: &[u8]) {
        let groups = self.0.entry(name).or_default();
        let chunk = (chunk, value.to_vec());
        // Keys of one set of labels stand side by side.
        match groups.last_mut().filter(|(last, _)| *last == labels) {
            Some((_, chunks)) => chunks.push(chunk),
            None => groups.push((labels, vec![chunk])),
        }
    }

    /// Takes out the slots of an objective.
    pub(super) fn take(&mut self, id: &str, queries: &str) -> Vec<(Labels, Chunks)> {
        self.0.remove(&(id.to_owned(), queries.to_owned())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_others_are_none() {
        let labels = Labels::from_pairs([("zone", "a\"\n"), ("", "x")]);
        let key = key(&prefix("s-a", "0f", &labels), -3);
        assert_eq!(parse(&key), Some((("s-a".to_owned(), "0f".to_owned()), labels, -3)));
        for key in [&b""[..], b"[]", b"12345678", b"[\"a\"]12345678"] {
            assert_eq!(parse(key), None);
        }
        assert_eq!(end_of(1, &[]), None);
        assert_eq!(end_of(1, &[1, 44, 1, 0, 0]), Some(Timestamp::from_millis(2 * 288 * 300_000)));
        assert_eq!(end_of(i64::MAX, &[1, 255, 255, 255, 255]), Some(Timestamp::from_millis(i64::MAX)));
    }
}
