//! What can go wrong between a flag and a sample.

use std::io;
use std::path::{Path, PathBuf};

/// Why a collector gave no or not all families in one pass.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The machine does not have what the collector reads: expected, logged at debug level only.
    #[error("no data: {0}")]
    NoData(String),
    /// A file or directory could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file does not have the expected shape.
    #[error("cannot parse {}: {what}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// Anything else: a socket, a system call, a peer.
    #[error("{0}")]
    Other(String),
}

impl CollectError {
    /// An IO error at `path`; a missing file counts as [`Self::NoData`].
    pub fn reading(path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            // Without `format!`: made in each pass, seldom shown.
            let mut what = path.to_string_lossy().into_owned();
            what.push_str(" does not exist");
            Self::NoData(what)
        } else {
            Self::Io { path: path.to_path_buf(), source }
        }
    }

    /// `path` is not what it should be.
    pub fn parsing(path: &Path, what: impl Into<String>) -> Self {
        Self::Parse { path: path.to_path_buf(), what: what.into() }
    }
}

/// Why a collector could not be made from its options.
#[derive(Debug, thiserror::Error)]
#[error("collector {collector}: {what}")]
pub struct BuildError {
    /// The collector's name.
    pub collector: &'static str,
    /// What is wrong and what to do.
    pub what: String,
}

/// Why an option could not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No collector has such a flag.
    #[error("unknown option {0:?}")]
    Unknown(String),
    /// The value does not fit the flag.
    #[error("invalid value {value:?} for {flag}: {why}")]
    Invalid {
        /// The flag, without the `collector.` prefix.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}
