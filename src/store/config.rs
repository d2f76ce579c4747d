//! What a store is told when it is opened.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How much a store keeps, where, and within which bounds.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The folder of the file and its lock; `None`: memory only.
    pub path: Option<PathBuf>,
    /// How long every series is kept.
    pub retention: Duration,
    /// How long the series named by [`Store::set_selected`](super::Store::set_selected) are kept.
    pub retention_selected: Duration,
    /// Most bytes of history; the oldest goes first, state tables never. 0: no limit.
    pub max_size_bytes: u64,
    /// Memory for what was read from the file.
    pub cache_bytes: usize,
    /// Most series; samples of further ones are refused and counted.
    pub max_series: usize,
    /// How far the clock may jump back before history is continued from there; samples within are refused as out
    /// of order until the clock has caught up.
    pub clock_jump: Duration,
    /// How long a commit waits for the ticks of other sources, to share its `fsync` with them.
    pub commit_linger: Duration,
    /// Free bytes of the file system below which ingestion pauses.
    pub min_free_bytes: u64,
    /// Whether a file that is damaged as a whole is moved aside and a fresh one begun; else opening it is an error.
    pub replace_damaged: bool,
    /// Encrypts whatever is written.
    pub encryption_key: Option<EncryptionKey>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3_600);
        Self {
            path: None,
            retention: 24 * HOUR,
            retention_selected: 35 * 24 * HOUR,
            max_size_bytes: 0,
            cache_bytes: 4 << 20,
            max_series: 1_000_000,
            clock_jump: Duration::from_secs(300),
            commit_linger: Duration::ZERO,
            min_free_bytes: 16 << 20,
            replace_damaged: true,
            encryption_key: None,
        }
    }
}

/// 256 bits for ChaCha20-Poly1305. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey([u8; 32]);

impl EncryptionKey {
    /// From exactly 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From what a key file holds: 32 bytes, or 64 hexadecimal digits and perhaps a line's end.
    pub fn from_file_bytes(bytes: &[u8]) -> Option<Self> {
        if let Ok(key) = bytes.try_into() {
            return Some(Self(key));
        }
        let digits = std::str::from_utf8(bytes.trim_ascii_end()).ok().filter(|d| d.len() == 64)?;
        let mut key = [0; 32];
        for (at, byte) in key.iter_mut().enumerate() {
            let pair = digits.get(2 * at..2 * at + 2)?;
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        Some(Self(key))
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(<secret>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes_or_digits() {
        let key = Some(EncryptionKey::new([0xa5; 32]));
        assert_eq!(EncryptionKey::from_file_bytes(&[0xa5; 32]), key);
        assert_eq!(EncryptionKey::from_file_bytes(format!("{}\n", "a5".repeat(32)).as_bytes()), key);
        for bad in ["", "a5", &"zz".repeat(32), &"+5".repeat(32), &"a5".repeat(33)] {
            assert_eq!(EncryptionKey::from_file_bytes(bad.as_bytes()), None, "{bad}");
        }
        assert!(!format!("{key:?}").contains("165"));
    }
}
