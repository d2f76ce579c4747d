//! Every value that is written carries the proof that it is what was written at that place: a checksum, or - with a
//! key - encryption and its tag.
//!
//! Invariant: what [`Vault::open`] answers is what [`Vault::seal`] was given for the same table and row.
//!
//! Without a key: CRC-32 of table, row and value (4 bytes), value. With one: ChaCha20-Poly1305 with a random nonce a value (RFC 8439); a store writes far fewer than the 2^32 values for which
//! random nonces of 96 bits are fit. The table and key of a row are authenticated with it, so rows cannot be
//! exchanged. Keys of rows are not encrypted: numbers of series and blocks, instants, and the keys of state tables.
//! Shape then: nonce (12 bytes), ciphertext, tag (16 bytes).

use std::borrow::Cow;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use super::config::EncryptionKey;
use super::disk::DiskError;

/// Bytes that a value grows by.
pub(super) const OVERHEAD: usize = NONCE_LEN + 16;

/// Encrypts and decrypts values, or hands them through where there is no key.
pub(super) struct Vault(Option<(LessSafeKey, SystemRandom)>);

impl Vault {
    pub(super) fn new(key: Option<&EncryptionKey>) -> Self {
        let key = key.and_then(|key| UnboundKey::new(&CHACHA20_POLY1305, key.bytes()).ok());
        Self(key.map(|key| (LessSafeKey::new(key), SystemRandom::new())))
    }

    pub(super) const fn is_locked(&self) -> bool {
        self.0.is_some()
    }

    /// The value as it is written at a place.
    pub(super) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, DiskError> {
        let Some((key, random)) = &self.0 else {
            return Ok([checksum(place, plain).as_slice(), plain].concat());
        };
        let failed = |_| DiskError::Io("encryption failed".to_owned());
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce).map_err(failed)?;
        let mut body = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
            .map_err(failed)?;
        Ok([nonce.as_slice(), &body].concat())
    }

    /// What was written at a place; `None` where it is not that.
    pub(super) fn open<'a>(&self, place: &[u8], sealed: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some((key, _)) = &self.0 else {
            let (sum, plain) = sealed.split_first_chunk::<4>()?;
            return (*sum == checksum(place, plain)).then_some(Cow::Borrowed(plain));
        };
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::from(place), &mut body).ok()?.len();
        body.truncate(length);
        Some(Cow::Owned(body))
    }
}

fn checksum(place: &[u8], plain: &[u8]) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(place);
    sum.update(plain);
    sum.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_with_its_key_and_at_its_place() {
        let vault = Vault::new(Some(&EncryptionKey::new([7; 32])));
        let sealed = vault.seal(b"place", b"secret").expect("sealed");
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(vault.open(b"place", &sealed).as_deref(), Some(b"secret".as_slice()));
        assert_eq!(vault.open(b"other", &sealed), None);
        assert_eq!(Vault::new(Some(&EncryptionKey::new([8; 32]))).open(b"place", &sealed), None);
        assert_eq!(vault.open(b"place", b"short"), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for vault in [Vault::new(None), Vault::new(Some(&EncryptionKey::new([7; 32])))] {
            let sealed = vault.seal(b"place", b"value").expect("sealed");
            assert_eq!(vault.open(b"place", &sealed).as_deref(), Some(b"value".as_slice()));
            assert_eq!(vault.open(b"other", &sealed), None);
            for at in 0..sealed.len() * 8 {
                let mut bad = sealed.clone();
                bad[at / 8] ^= 1 << (at % 8);
                assert_eq!(vault.open(b"place", &bad), None);
            }
        }
    }
}
