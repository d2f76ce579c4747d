//! The body of an answer: counted as it comes, inflated, and of one that is looked at the beginning kept.
//!
//! Bounds: at most [`MOST_KEPT`] bytes are kept; taking a body apart is done on a thread that may block, piece by piece.
//!
//! Source: blackbox_exporter's documentation of `http_probe`, `compression` and `body_size_limit`.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use flate2::read::{DeflateDecoder, MultiGzDecoder};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc::{Receiver, channel};

use super::http_request::transport_text;
use super::module::Compression;
use crate::tasks;

/// Most of a body that is looked at.
pub(super) const MOST_KEPT: usize = 4 << 20;

/// Pieces that came and are not yet taken apart.
const PIECES: usize = 4;

/// Bytes that a decompressor works with.
const PIECE: usize = 16 << 10;

/// What is wanted of a body.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) compression: Compression,
    /// Whether its beginning is kept.
    pub(super) looks: bool,
    /// Most bytes, inflated.
    pub(super) most: u64,
}

/// What came of it until it ended, or until it failed.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Length in bytes, inflated.
    pub(super) length: u64,
    pub(super) kept: Vec<u8>,
    pub(super) failure: Option<String>,
}

/// Reads to the end.
pub(super) async fn take(mut body: Incoming, wanted: Wanted) -> Taken {
    if wanted.compression == Compression::None {
        let mut taken = Taken::default();
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    taken.failure = Some(transport_text(&error));
                    break;
                }
            };
            if !frame.data_ref().is_none_or(|data| taken.add(data, wanted)) {
                break;
            }
        }
        return taken;
    }
    let (pieces, coming) = channel(PIECES);
    let taking = tasks::blocking(move || inflate(coming, wanted));
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

fn inflate(coming: Receiver<Bytes>, wanted: Wanted) -> Taken {
    let pieces = Pieces { coming, piece: Bytes::new() };
    match wanted.compression {
        Compression::None => read_all(pieces, wanted, ""),
        Compression::Gzip => {
            read_all(MultiGzDecoder::new(pieces), wanted, "gzip: invalid header or checksum")
        }
        Compression::Deflate => read_all(DeflateDecoder::new(pieces), wanted, "flate: corrupt input"),
        Compression::Brotli => {
            read_all(brotli_decompressor::Decompressor::new(pieces, PIECE), wanted, "brotli: corrupt input")
        }
    }
}

fn read_all(mut reader: impl Read, wanted: Wanted, wrong: &str) -> Taken {
    let (mut taken, mut piece) = (Taken::default(), vec![0; PIECE]);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                if !taken.add(piece.get(..length).unwrap_or_default(), wanted) {
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
