//! Passwords and tokens: held, handed to who needs them, never printed.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::ByteSize;

use super::source::{ReadError, read_bounded};

/// Far above any password, token or key in PEM.
const LARGEST_SECRET_FILE: ByteSize = ByteSize::new(64 << 10);

/// A secret given inline or through a `*_file` companion. `Debug`, `Display` and `Serialize` print
/// `<secret>`, as Prometheus does.
///
/// A file is read at each use, so that a rotated secret needs no reload.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Origin);

#[derive(Clone, PartialEq, Eq)]
enum Origin {
    Inline(Box<str>),
    File(PathBuf),
}

/// Why the file of a secret gave none.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Unreadable, too large, or no regular file.
    #[error("secret file {path:?}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: ReadError,
    },
    /// Bytes that are no text.
    #[error("secret file {0:?} is not UTF-8")]
    NotUtf8(PathBuf),
}

impl Secret {
    /// A secret given in place.
    pub fn inline(text: impl Into<Box<str>>) -> Self {
        Self(Origin::Inline(text.into()))
    }

    /// A secret that a file holds.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Origin::File(path.into()))
    }

    /// The file that holds it, if it is not given in place.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Origin::Inline(_) => None,
            Origin::File(path) => Some(path),
        }
    }

    /// The secret itself; white space around a file's content is dropped, as in Prometheus.
    pub fn reveal(&self) -> Result<String, SecretError> {
        match &self.0 {
            Origin::Inline(text) => Ok(text.to_string()),
            Origin::File(path) => {
                let bytes = read_bounded(path, LARGEST_SECRET_FILE)
                    .map_err(|error| SecretError::Read { path: path.clone(), error })?;
                let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotUtf8(path.clone()))?;
                Ok(text.trim().to_owned())
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rendering_shows_a_secret() {
        let secret = Secret::inline("hunter2");
        assert_eq!(secret.reveal().unwrap(), "hunter2");
        let rendered = format!("{secret} {secret:?} {:?} {}", Some(&secret), serde_json::json!([secret]));
        assert_eq!(rendered, "<secret> <secret> Some(<secret>) [\"<secret>\"]");
    }

    #[test]
    fn a_file_is_read_at_each_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let secret = Secret::file(&path);
        assert!(matches!(secret.reveal(), Err(SecretError::Read { .. })));
        std::fs::write(&path, "first\n").unwrap();
        assert_eq!(secret.reveal().unwrap(), "first");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(secret.reveal().unwrap(), "second");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(matches!(secret.reveal(), Err(SecretError::NotUtf8(_))));
    }
}
