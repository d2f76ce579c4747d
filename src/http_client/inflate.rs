//! gzip, taken apart within a bound.

use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;

use super::error::{HttpError, Problem};

/// Inflates a body of gzip to the end of `into`; a result of `limit_bytes` or more is refused. Takes processor time:
/// for blocking threads.
///
/// # Errors
/// Not gzip, cut off, or too large.
pub fn inflate(compressed: &[u8], limit_bytes: usize, into: &mut Vec<u8>) -> Result<(), HttpError> {
    let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
    match MultiGzDecoder::new(compressed).take(limit).read_to_end(into) {
        Ok(bytes) if bytes >= limit_bytes => Err(HttpError::TooLarge),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(HttpError::Body(Problem::UnexpectedEof))
        }
        Err(_) => Err(HttpError::Body(Problem::Transport("gzip: invalid header or checksum".to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 10 << 20]);
        let mut out = Vec::new();
        assert!(matches!(inflate(&bomb, 1 << 20, &mut out), Err(HttpError::TooLarge)));
        assert!(out.len() <= 1 << 20);
        out.clear();
        let two = [gzip(b"ab"), gzip(b"cd")].concat();
        inflate(&two, 5, &mut out).unwrap();
        assert_eq!(out, b"abcd");
        assert!(matches!(inflate(&two, 4, &mut Vec::new()), Err(HttpError::TooLarge)));
        assert!(inflate(two.get(..20).unwrap(), 100, &mut Vec::new()).is_err());
        assert!(inflate(b"plain", 100, &mut Vec::new()).is_err());
    }
}
