//! The body of an answer: counted as it comes, inflated, and of one that is looked at the beginning kept.
//!
//! Bounds: at most [`MOST_KEPT`] bytes are kept; taking a body apart is done on a thread that may block, piece by piece.
//!
//! Source: blackbox_exporter's documentation of `http_probe`, `compression` and `body_size_limit`.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};
use flate2::read::{DeflateDecoder, MultiGzDecoder};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, timeout_at};

use super::http_request::transport_text;
use super::module::Compression;
use crate::tasks;

/// Most of a body that is looked at.
pub(super) const MOST_KEPT: usize = 4 << 20;

/// Pieces that came and are not yet taken apart.
const PIECES: usize = 4;

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
}

/// What came of it until it ended, or until it failed.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Length in bytes, inflated.
    pub(super) length: u64,
    pub(super) kept: Vec<u8>,
    pub(super) failure: Option<String>,
}

/// Reads to the end, or as far as the time allows: the caller's ends at the same instant, and so nothing here waits after
/// that.
pub(super) async fn take(body: Incoming, wanted: Wanted) -> Taken {
    if wanted.compression != Compression::None {
        let count = Arc::<AtomicU64>::default();
        let inflated = timeout_at(wanted.deadline, take_inflated(body, wanted, Arc::clone(&count))).await;
        return inflated.unwrap_or_else(|_| Taken {
            length: count.load(Ordering::Relaxed),
            failure: Some(LATE.to_owned()),
            ..Taken::default()
        });
    }
    let mut taken = Taken::default();
    let ended = timeout_at(wanted.deadline, take_plain(body, wanted, &mut taken)).await;
    if ended.is_err() {
        taken.failure = Some(LATE.to_owned());
    }
    taken
}

async fn take_plain(mut body: Incoming, wanted: Wanted, taken: &mut Taken) {
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                taken.failure = Some(transport_text(&error));
                return;
            }
        };
        if !frame.data_ref().is_none_or(|data| taken.add(data, wanted)) {
            return;
        }
    }
}

/// `count`: how many bytes came out so far.
async fn take_inflated(mut body: Incoming, wanted: Wanted, count: Arc<AtomicU64>) -> Taken {
    let (pieces, coming) = channel(PIECES);
    let taking = tasks::blocking(move || inflate(coming, wanted, &count));
    let mut broken = None;
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => {
                if pieces.send(data).await.is_err() {
                    break;
                }
            }
            Ok(Err(_trailers)) => {}
            Err(error) => {
                broken = Some(transport_text(&error));
                break;
            }
        }
    }
    drop(pieces);
    let mut taken =
        taking.await.unwrap_or_else(|error| Taken { failure: Some(error.to_string()), ..Taken::default() });
    if broken.is_some() {
        taken.failure = broken;
    }
    taken
}

impl Taken {
    /// Whether there is room for more.
    fn add(&mut self, data: &[u8], wanted: Wanted) -> bool {
        if wanted.looks {
            let room = MOST_KEPT - self.kept.len();
            self.kept.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        self.length = self.length.saturating_add(data.len() as u64);
        if self.length > wanted.most {
            self.length = wanted.most;
            self.failure = Some(format!("a body of more than {} bytes; see body_size_limit", wanted.most));
        }
        self.failure.is_none()
    }
}

/// Pieces as they come; ends where nobody sends any more.
struct Pieces {
    coming: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.coming.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.piece.len());
        self.piece.copy_to_slice(into.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

fn inflate(coming: Receiver<Bytes>, wanted: Wanted, count: &AtomicU64) -> Taken {
    let pieces = Pieces { coming, piece: Bytes::new() };
    let (mut reader, wrong): (Box<dyn Read>, _) = match wanted.compression {
        Compression::None => (Box::new(pieces), ""),
        Compression::Gzip => (Box::new(MultiGzDecoder::new(pieces)), "gzip: invalid header or checksum"),
        Compression::Deflate => (Box::new(DeflateDecoder::new(pieces)), "flate: corrupt input"),
        Compression::Brotli => {
            (Box::new(brotli_decompressor::Decompressor::new(pieces, PIECE)), "brotli: corrupt input")
        }
    };
    let (mut taken, mut piece) = (Taken::default(), vec![0; PIECE]);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                let more = taken.add(piece.get(..length).unwrap_or_default(), wanted);
                count.store(taken.length, Ordering::Relaxed);
                if !more {
                    break;
                }
            }
            Err(error) => {
                let cut = error.kind() == io::ErrorKind::UnexpectedEof;
                taken.failure = Some(if cut { "unexpected EOF" } else { wrong }.to_owned());
                break;
            }
        }
    }
    taken
}
