//! The database without a file: its bytes in memory, but for those that were never anything but zero.
//!
//! redb lays out a megabyte for a start and fills a few pages of it. One vector, as redb's own backend is, would hold all
//! of that, and while it grows twice as much.
//!
//! Invariant: read as written, zero elsewhere; a piece is allocated when something else than zero is written to it.

use std::io;
use std::sync::{PoisonError, RwLock};

use redb::StorageBackend;

/// A page of redb's.
const PIECE_BYTES: usize = 4096;

type Piece = Box<[u8; PIECE_BYTES]>;

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Memory(RwLock<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    length: u64,
    pieces: Vec<Option<Piece>>,
}

/// Where a stretch of bytes lies: piece, place in it, and how many bytes, one piece after the other.
fn stretches(offset: u64, bytes: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let (mut at, mut left) = (offset, bytes);
    std::iter::from_fn(move || {
        let piece = usize::try_from(at / PIECE_BYTES as u64).ok()?;
        let place = usize::try_from(at % PIECE_BYTES as u64).ok()?;
        let here = left.min(PIECE_BYTES - place);
        at += here as u64;
        left -= here;
        (here > 0).then_some((piece, place, here))
    })
}

impl Pieces {
    fn check(&self, offset: u64, bytes: usize) -> io::Result<()> {
        let end = offset.checked_add(bytes as u64);
        end.filter(|end| *end <= self.length).map(drop).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write(&mut self, offset: u64, mut data: &[u8]) {
        for (piece, place, bytes) in stretches(offset, data.len()) {
            let (here, rest) = data.split_at_checked(bytes).unwrap_or_default();
            data = rest;
            let Some(piece) = self.pieces.get_mut(piece) else { continue };
            if piece.is_none() && here.iter().all(|byte| *byte == 0) {
                continue;
            }
            let piece = piece.get_or_insert_with(|| Box::new([0; PIECE_BYTES]));
            if let Some(into) = piece.get_mut(place..place + bytes) {
                into.copy_from_slice(here);
            }
        }
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        let pieces = usize::try_from(length.div_ceil(PIECE_BYTES as u64));
        self.pieces.resize_with(pieces.map_err(|_| io::ErrorKind::OutOfMemory)?, || None);
        if length < self.length
            && let Ok(kept) = usize::try_from(length % PIECE_BYTES as u64)
            && kept > 0
            && let Some(Some(last)) = self.pieces.last_mut()
            && let Some(gone) = last.get_mut(kept..)
        {
            gone.fill(0);
        }
        self.length = length;
        Ok(())
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).length)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let pieces = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pieces.check(offset, out.len())?;
        for (piece, place, bytes) in stretches(offset, out.len()) {
            let Some((into, rest)) = out.split_at_mut_checked(bytes) else { break };
            match pieces.pieces.get(piece).and_then(|p| p.as_ref()?.get(place..place + bytes)) {
                Some(from) => into.copy_from_slice(from),
                None => into.fill(0),
            }
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).set_length(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut pieces = self.0.write().unwrap_or_else(PoisonError::into_inner);
        pieces.check(offset, data.len())?;
        pieces.write(offset, data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Length(u64),
        Write(u64, usize, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let longest = 5 * PIECE_BYTES as u64;
        prop_oneof![
            1 => (0..longest).prop_map(Step::Length),
            3 => (0..longest, 0..2 * PIECE_BYTES, 0..3_u8).prop_map(|(at, n, byte)| Step::Write(at, n, byte)),
        ]
    }

    proptest! {
        #[test]
        fn it_is_as_one_vector(steps in proptest::collection::vec(step(), 0..30)) {
            let (memory, mut vector) = (Memory::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Length(length) => {
                        memory.set_len(length).unwrap();
                        vector.resize(usize::try_from(length).unwrap(), 0);
                    }
                    Step::Write(at, bytes, byte) => {
                        let place = usize::try_from(at).unwrap();
                        let inside = place + bytes <= vector.len();
                        prop_assert_eq!(memory.write(at, &vec![byte; bytes]).is_ok(), inside);
                        if inside {
                            vector[place..place + bytes].fill(byte);
                        }
                    }
                }
                prop_assert_eq!(memory.len().unwrap(), vector.len() as u64);
                let mut read = vec![9; vector.len()];
                memory.read(0, &mut read).unwrap();
                prop_assert!(read == vector);
                prop_assert!(memory.read(1, &mut read).is_err() || vector.is_empty());
            }
        }
    }

    #[test]
    fn what_is_zero_takes_no_memory() {
        let memory = Memory::default();
        memory.set_len(1 << 30).unwrap();
        memory.write(0, &[0; 3 * PIECE_BYTES]).unwrap();
        memory.write((1 << 30) - 1, &[7]).unwrap();
        let pieces = memory.0.read().unwrap();
        assert_eq!(pieces.pieces.iter().filter(|piece| piece.is_some()).count(), 1);
    }
}
