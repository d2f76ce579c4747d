//! How much one configuration file may cost.

use crate::model::ByteSize;

/// The budget of one file. Whatever exceeds it is an error that names the limit.
///
/// The defaults hold a rule file of some ten thousand rules and stop a hostile file within
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest file. Checked before anything is read, and again while reading.
    pub size: ByteSize,
    /// Deepest nesting of sequences and mappings, aliases followed.
    pub depth: usize,
    /// Most nodes (scalars, sequences, mappings), each alias counted as all that it stands for.
    pub nodes: usize,
    /// Most aliases (`*name`).
    pub aliases: usize,
    /// Most errors kept; the rest is only counted.
    pub errors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: ByteSize::new(8 << 20), depth: 64, nodes: 500_000, aliases: 10_000, errors: 100 }
    }
}
