//! Why a store refuses.

use std::path::PathBuf;

/// Why a store cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{path}: in use by another process{}", pid.map(|p| format!(" (pid {p})")).unwrap_or_default())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// Who holds it, where it says so.
        pid: Option<u32>,
    },
    /// Written by a later version.
    #[error("{path}: written in format {found} by a newer version; this one reads up to {known}")]
    NewerFormat {
        /// The store's file.
        path: PathBuf,
        /// The format it is in.
        found: u64,
        /// The last one known here.
        known: u64,
    },
    /// The key does not open what is there.
    #[error("{path}: the encryption key is not the one this store was written with")]
    WrongKey {
        /// The store's file.
        path: PathBuf,
    },
    /// It is encrypted and there is no key.
    #[error("{path}: the store is encrypted; give its key (storage.encryption_key_file)")]
    KeyNeeded {
        /// The store's file.
        path: PathBuf,
    },
    /// It is not encrypted and there is a key.
    #[error(
        "{path}: the store is not encrypted; move it through `tsdb dump` and `tsdb import` into a new folder"
    )]
    NotEncrypted {
        /// The store's file.
        path: PathBuf,
    },
    /// A file cannot be made, read or renamed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Nothing can be written at present; what was taken before is kept and served. Try again with the next tick.
    #[error("ingestion is paused: {0}")]
    Paused(String),
    /// The file does not make sense.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
