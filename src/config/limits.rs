//! How much one configuration file may cost.

use crate::model::ByteSize;

/// The budget of one file. Whatever exceeds it is an error that names the limit.
///
/// The defaults hold some ten thousand rules. A hostile file is mostly refused within a millisecond;
/// the worst that fits the limits costs about a tenth of a second.
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
    /// How many documents (`---`) it may hold.
    pub documents: Documents,
}

/// How many documents (`---`) a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Documents {
    /// One; a second one is an error.
    One,
    /// What comes after the first is not looked at, as Prometheus reads rule files.
    First,
    /// As many as the limit of nodes allows.
    Any,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size: ByteSize::new(4 << 20),
            depth: 64,
            nodes: 100_000,
            aliases: 10_000,
            errors: 100,
            documents: Documents::One,
        }
    }
}
