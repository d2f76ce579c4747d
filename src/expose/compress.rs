//! `Content-Encoding` of a response: which one the client wants, and the compression itself.
//!
//! Source: RFC 9110, section 12.5.3. The highest `q` wins. On equal `q`: identity where the client
//! names it, then zstd, then gzip - the cheaper for this machine first.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

/// How a response body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentEncoding {
    /// Not at all.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl ContentEncoding {
    /// The value of the `Content-Encoding` header; `None` where there should be none.
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Codings considered in one `Accept-Encoding` header; browsers send four.
const MAX_CODINGS: usize = 32;

/// The encoding to answer with. `accept_encoding` is the request's header, if it has one.
///
/// `*` alone means identity: who does not care gets what costs least.
pub fn negotiate_encoding(accept_encoding: Option<&str>) -> ContentEncoding {
    let header = accept_encoding.unwrap_or_default();
    let mut best = (ContentEncoding::Identity, 0.0);
    for offer in [ContentEncoding::Identity, ContentEncoding::Zstd, ContentEncoding::Gzip] {
        for (name, quality) in header.split(',').take(MAX_CODINGS).map(coding) {
            let matches = name.eq_ignore_ascii_case(offer.name())
                || (name == "*" && offer == ContentEncoding::Identity)
                || (name.eq_ignore_ascii_case("x-gzip") && offer == ContentEncoding::Gzip);
            if matches && quality > best.1 {
                best = (offer, quality);
            }
        }
    }
    best.0
}

fn coding(element: &str) -> (&str, f32) {
    let mut parts = element.split(';');
    let name = parts.next().unwrap_or_default().trim();
    let mut quality = 1.0;
    for parameter in parts {
        if let Some((key, value)) = parameter.split_once('=')
            && key.trim().eq_ignore_ascii_case("q")
        {
            quality = value.trim().parse::<f32>().ok().filter(|q| !q.is_nan()).unwrap_or(0.0);
        }
    }
    (name, quality)
}

/// Compresses bodies, one after the other. Its tables, a third of a megabyte, serve for all of them.
#[derive(Debug, Default)]
pub struct Compressor {
    gzip: Option<Compress>,
}

impl Compressor {
    /// Appends `body`, compressed, to `out`.
    ///
    /// The levels are the fast ones: on exposition text they save 90 % of the bytes for a fraction of
    /// the time of the defaults.
    ///
    /// # Errors
    /// The compressor failed.
    pub fn compress(&mut self, encoding: ContentEncoding, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match encoding {
            ContentEncoding::Identity => out.extend_from_slice(body),
            ContentEncoding::Gzip => self.gzip(body, out)?,
            // In one call, so that zstd knows the size and takes tables no larger than it needs.
            ContentEncoding::Zstd => out.extend_from_slice(&zstd::bulk::compress(body, 1)?),
        }
        Ok(())
    }

    fn gzip(&mut self, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let new = || Compress::new_gzip(Compression::fast(), WINDOW_BITS);
        let gzip = self.gzip.get_or_insert_with(new);
        gzip.reset();
        loop {
            out.reserve(ROOM_BYTES);
            let taken = usize::try_from(gzip.total_in()).unwrap_or(usize::MAX);
            let rest = body.get(taken..).unwrap_or_default();
            if gzip.compress_vec(rest, out, FlushCompress::Finish)? == Status::StreamEnd {
                return Ok(());
            }
        }
    }
}

/// Appends `body`, compressed, to `out`: a [`Compressor`] for one body.
///
/// # Errors
/// As [`Compressor::compress`].
pub fn compress(encoding: ContentEncoding, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    Compressor::default().compress(encoding, body, out)
}

/// The largest window that RFC 1952 has.
const WINDOW_BITS: u8 = 15;

/// Room made for each step of the compression; most bodies fit one.
const ROOM_BYTES: usize = 16 << 10;

/// Why a body could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// A coding that is not known.
    #[error("content encoding {0:?} is not supported; gzip, zstd and snappy are")]
    Unknown(String),
    /// Not what its coding says.
    #[error("the body is not valid {coding}: {source}")]
    Broken {
        /// The coding.
        coding: &'static str,
        /// What is wrong.
        source: io::Error,
    },
    /// More bytes than allowed, which is the number.
    #[error("the body is larger than {0} bytes when decompressed")]
    TooLarge(usize),
}

/// The body that `body` is under `Content-Encoding: coding`, of at most `limit` bytes.
///
/// `snappy` is the framing format, which is what streams of it are.
///
/// # Errors
/// See [`DecompressError`].
pub fn decompress(coding: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let coding = coding.trim();
    let (name, reader): (_, Box<dyn Read + '_>) = match coding.to_ascii_lowercase().as_str() {
        "" | "identity" => ("identity", Box::new(body)),
        "gzip" | "x-gzip" => ("gzip", Box::new(MultiGzDecoder::new(body))),
        "snappy" => ("snappy", Box::new(snap::read::FrameDecoder::new(body))),
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body);
            let decoder = decoder.map_err(|source| DecompressError::Broken { coding: "zstd", source })?;
            ("zstd", Box::new(decoder))
        }
        _ => return Err(DecompressError::Unknown(coding.chars().take(64).collect())),
    };
    let mut plain = Vec::new();
    let mut bounded = reader.take((limit as u64).saturating_add(1));
    bounded.read_to_end(&mut plain).map_err(|source| DecompressError::Broken { coding: name, source })?;
    if plain.len() > limit { Err(DecompressError::TooLarge(limit)) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn negotiation() {
        use ContentEncoding::{Gzip, Identity, Zstd};
        for (header, expected) in [
            ("", Identity),
            ("gzip", Gzip),
            ("GZIP", Gzip),
            ("x-gzip", Gzip),
            ("br, deflate", Identity),
            ("*", Identity),
            ("*;q=0.1, gzip;q=0.5", Gzip),
            ("gzip, zstd", Zstd),
            ("zstd;q=0.4, gzip;q=0.5", Gzip),
            ("gzip, deflate, br, zstd", Zstd),
            ("identity, gzip", Identity),
            ("identity;q=0.5, gzip", Gzip),
            ("gzip;q=0", Identity),
            ("gzip;q=nonsense", Identity),
            ("gzip;q=0, zstd;q=0.001", Zstd),
            (";;;=,,,", Identity),
        ] {
            assert_eq!(negotiate_encoding(Some(header)), expected, "{header}");
        }
        assert_eq!(negotiate_encoding(None), Identity);
    }

    #[test]
    fn compressed_bodies_read_back() {
        let mut compressor = Compressor::default();
        let body = b"node_load1 0.5\n".repeat(1_000);
        let encodings = [ContentEncoding::Identity, ContentEncoding::Gzip, ContentEncoding::Zstd];
        for encoding in encodings.into_iter().chain(encodings) {
            let mut packed = Vec::new();
            compressor.compress(encoding, &body, &mut packed).expect("memory is writable");
            let mut unpacked = Vec::new();
            assert!(decompress(encoding.name(), &packed, body.len()).unwrap() == body, "{encoding:?}");
            match encoding {
                ContentEncoding::Identity => unpacked.clone_from(&packed),
                ContentEncoding::Gzip => {
                    flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked).map(drop).expect("gzip")
                }
                ContentEncoding::Zstd => unpacked = zstd::stream::decode_all(&*packed).expect("zstd"),
            }
            assert!(unpacked == body, "{encoding:?}");
            assert!(encoding == ContentEncoding::Identity || packed.len() < body.len() / 20);
        }
    }

    #[test]
    fn bodies_are_decompressed_within_a_limit() {
        let mut snappy = Vec::new();
        snap::write::FrameEncoder::new(&mut snappy).write_all(b"a 1\n").unwrap();
        assert_eq!(decompress("Snappy", &snappy, 4).unwrap(), b"a 1\n");
        let mut bomb = Vec::new();
        compress(ContentEncoding::Gzip, &vec![0; 10 << 20], &mut bomb).unwrap();
        let mut cut = Vec::new();
        compress(ContentEncoding::Gzip, b"a 1\n", &mut cut).unwrap();
        cut.truncate(cut.len() - 1);
        for (coding, body, expected) in [
            ("gzip", &*bomb, "the body is larger than 1024 bytes when decompressed"),
            ("", &bomb, "the body is larger than 1024 bytes when decompressed"),
            ("gzip", b"a 1\n", "the body is not valid gzip: "),
            ("gzip", &cut, "the body is not valid gzip: "),
            ("zstd", b"a 1\n", "the body is not valid zstd: "),
            ("snappy", b"a 1\n", "the body is not valid snappy: "),
            ("br", b"", "content encoding \"br\" is not supported; gzip, zstd and snappy are"),
        ] {
            let error = decompress(coding, body, 1_024).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{coding}: {error}");
        }
    }

    #[test]
    fn what_hardly_shrinks_needs_more_room() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(10 * ROOM_BYTES)
        .collect();
        for body in [&noise[..], b""] {
            let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
            compress(ContentEncoding::Gzip, body, &mut packed).expect("memory is writable");
            flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked).expect("gzip");
            assert!(unpacked == body);
        }
    }
}
