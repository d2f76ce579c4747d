//! The body of an answer: counted as it comes, inflated, and of one that is looked at the beginning kept.
//!
//! Bounds: at most [`MOST_KEPT`] bytes are kept, and [`MOST_KEPT_BY_ALL`] of all bodies at a time. Pieces are inflated on threads
//! that may block; none waits for the next piece there.
//!
//! Source: blackbox_exporter's documentation of `http_probe`, `compression` and `body_size_limit`.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brotli_decompressor::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::http_request::transport_text;
use super::module::Compression;
use crate::tasks;

/// Most of a body that is looked at.
pub(super) const MOST_KEPT: usize = 4 << 20;

/// Most of all bodies that are looked at in the same moment. Hundreds of probes run at once, and what hangs in the middle
/// of a long body stays until its deadline.
const MOST_KEPT_BY_ALL: usize = 32 << 20;

/// What is kept grows by this.
const UNIT: usize = 64 << 10;

pub(super) static UNITS: Semaphore = Semaphore::const_new(MOST_KEPT_BY_ALL / UNIT);

/// Bytes that a decompressor works with.
const PIECE: usize = 16 << 10;

/// Why there is no more of a body.
const LATE: &str = "no answer within the timeout: the body has not ended";

/// What is wanted of a body.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) compression: Compression,
    /// Whether its beginning is kept.
    pub(super) looks: bool,
    /// Most bytes, inflated.
    pub(super) most: u64,
    /// When it is to have ended.
    pub(super) deadline: Instant,
    /// What is left of the room for all bodies.
    pub(super) units: &'static Semaphore,
}

/// What came of it until it ended, or until it failed.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Length in bytes, inflated.
    pub(super) length: u64,
    pub(super) kept: Vec<u8>,
    pub(super) failure: Option<String>,
    /// The part of the room for all that what is kept takes.
    units: Option<SemaphorePermit<'static>>,
}

/// Reads to the end, or as far as the time allows.
pub(super) async fn take(mut body: Incoming, wanted: Wanted) -> Taken {
    let taken = Arc::<Mutex<Taken>>::default();
    let mut decoder = Decoder::new(wanted, Sink { taken: Arc::clone(&taken), wanted });
    let failure = loop {
        let data = match timeout_at(wanted.deadline, body.frame()).await {
            Err(_) => break Some(LATE.to_owned()),
            Ok(Some(Err(error))) => break Some(transport_text(&error)),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Some(data),
                Err(_trailers) => continue,
            },
            Ok(None) => None,
        };
        let is_end = data.is_none();
        let result = match decoder {
            Decoder::Plain(mut sink) => {
                let result = data.map_or(Ok(()), |data| sink.write_all(&data));
                decoder = Decoder::Plain(sink);
                result.map_err(|error| error.to_string())
            }
            packed => {
                let inflating = tasks::blocking(move || packed.push(data));
                let (back, result) = match inflating.await {
                    Ok(done) => done,
                    Err(error) => return Taken::nothing(&error.to_string()),
                };
                decoder = back;
                result
            }
        };
        match result {
            Err(why) => break Some(why),
            Ok(()) if is_end => break None,
            Ok(()) => {}
        }
    };
    let mut taken = std::mem::take(&mut *lock(&taken));
    // Why no more was taken says more than what that was to the decompressor.
    taken.failure = taken.failure.or(failure);
    taken
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taken {
    /// Nothing, for a reason.
    pub(super) fn nothing(why: &str) -> Self {
        Self { failure: Some(why.to_owned()), ..Self::default() }
    }

    /// Whether there is room for more.
    fn add(&mut self, data: &[u8], wanted: Wanted) -> bool {
        if wanted.looks {
            let room = MOST_KEPT - self.kept.len();
            self.keep(data.get(..room).unwrap_or(data), wanted.units);
        }
        self.length = self.length.saturating_add(data.len() as u64);
        if self.length > wanted.most {
            self.length = wanted.most;
            self.failure = Some(format!("a body of more than {} bytes; see body_size_limit", wanted.most));
        }
        self.failure.is_none()
    }

    fn keep(&mut self, data: &[u8], all: &'static Semaphore) {
        let has = self.units.as_ref().map_or(0, SemaphorePermit::num_permits);
        let needs = (self.kept.len() + data.len()).div_ceil(UNIT);
        if let Some(more) = u32::try_from(needs.saturating_sub(has)).ok().filter(|more| *more > 0) {
            let Ok(more) = all.try_acquire_many(more) else {
                self.failure = Some(format!("bodies of other probes take all of {MOST_KEPT_BY_ALL} bytes"));
                return;
            };
            match &mut self.units {
                Some(units) => units.merge(more),
                none => *none = Some(more),
            }
            self.kept.reserve_exact(needs * UNIT - self.kept.len());
        }
        self.kept.extend_from_slice(data);
    }
}

/// Where the bytes go in the end.
struct Sink {
    taken: Arc<Mutex<Taken>>,
    wanted: Wanted,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match lock(&self.taken).add(data, self.wanted) {
            true => Ok(data.len()),
            false => Err(io::Error::other("no room")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    Plain(Sink),
    Gzip(Box<MultiGzDecoder<Sink>>),
    Deflate(Box<Inflater>),
    Brotli(Box<DecompressorWriter<Sink>>),
}

impl Decoder {
    fn new(wanted: Wanted, sink: Sink) -> Self {
        match wanted.compression {
            Compression::None => Self::Plain(sink),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Compression::Deflate => {
                Self::Deflate(Box::new(Inflater { state: Decompress::new(false), is_over: false, sink }))
            }
            Compression::Brotli => Self::Brotli(Box::new(DecompressorWriter::new(sink, PIECE))),
        }
    }

    /// Takes a piece apart; `None` is the end. Takes processor time: for blocking threads.
    fn push(mut self, data: Option<Bytes>) -> (Self, Result<(), String>) {
        let wrong = match &self {
            Self::Plain(_) | Self::Gzip(_) => "gzip: invalid header or checksum",
            Self::Deflate(_) => "flate: corrupt input",
            Self::Brotli(_) => "brotli: corrupt input",
        };
        let result = match (&mut self, &data) {
            (Self::Plain(sink), Some(data)) => sink.write_all(data),
            (Self::Gzip(gzip), Some(data)) => gzip.write_all(data),
            (Self::Deflate(inflater), Some(data)) => inflater.push(data),
            (Self::Brotli(brotli), Some(data)) => brotli.write_all(data),
            (Self::Plain(_), None) => Ok(()),
            (Self::Gzip(gzip), None) => gzip.try_finish(),
            (Self::Deflate(inflater), None) => match inflater.is_over {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            },
            (Self::Brotli(brotli), None) => brotli.close(),
        };
        let why = if data.is_some() { wrong } else { "unexpected EOF, or a wrong checksum" };
        (self, result.map_err(|_| why.to_owned()))
    }
}

/// deflate without a header (RFC 1951), of which the end is known.
struct Inflater {
    state: Decompress,
    is_over: bool,
    sink: Sink,
}

impl Inflater {
    /// What follows the end is left out, as in Go.
    fn push(&mut self, mut data: &[u8]) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        while !self.is_over {
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(data, &mut piece, FlushDecompress::None)?;
            let read = usize::try_from(self.state.total_in() - read).unwrap_or(data.len());
            let written = usize::try_from(self.state.total_out() - written).unwrap_or(PIECE);
            data = data.get(read..).unwrap_or_default();
            self.sink.write_all(piece.get(..written).unwrap_or_default())?;
            self.is_over = status == Status::StreamEnd;
            if read == 0 && written == 0 {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of this many bytes, and why no more.
    fn kept(length: usize, units: &'static Semaphore) -> Taken {
        let wanted = Wanted {
            units,
            compression: Compression::None,
            looks: true,
            most: u64::MAX,
            deadline: Instant::now(),
        };
        let mut taken = Taken::default();
        vec![7; length].chunks(100_000).all(|data| taken.add(data, wanted));
        taken
    }

    #[test]
    fn bodies_together_are_bounded_and_leave_their_room() {
        let units = Box::leak(Box::new(Semaphore::new(MOST_KEPT_BY_ALL / UNIT)));
        let one = kept(MOST_KEPT + 1, units);
        assert_eq!((one.kept.len(), one.length, one.failure.as_deref()), (MOST_KEPT, 4_194_305, None));
        assert_eq!(one.units.as_ref().unwrap().num_permits(), MOST_KEPT / UNIT);
        let many: Vec<Taken> = (0..100).map(|_| kept(MOST_KEPT, units)).collect();
        let held: usize = many.iter().map(|taken| taken.kept.capacity()).sum();
        assert!(held <= MOST_KEPT_BY_ALL, "{held}");
        let full = many.iter().find_map(|taken| taken.failure.clone()).unwrap();
        assert_eq!(full, "bodies of other probes take all of 33554432 bytes");
        drop((one, many));
        assert_eq!(kept(MOST_KEPT, units).failure, None);
    }
}
