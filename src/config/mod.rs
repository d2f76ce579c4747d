//! Configuration files: YAML in, checked values or *all* its errors out.
//!
//! A file becomes a [`Document`]: a tree in which every node knows its place. A module reads its own
//! section of that tree through [`Section`] and [`Value`]; each mistake is noted where it stands and
//! reading goes on, so that [`Document::read`] answers with a result or with every error at once, each
//! as `file:line:col: path.to.key: message` with the source line and a caret.
//!
//! Invariants: a hostile file is refused before it costs anything ([`Limits`]); a key that nobody asked
//! for is an error; a value taken as a [`Secret`] is printed nowhere, not even in the source line of an
//! error about its neighbour. Nothing here knows what the keys mean.
//!
//! Source: YAML 1.2.2; booleans also as YAML 1.1 writes them (`yes`, `off`), because Prometheus's
//! parser accepts those. The parser below is `granit-parser`, the event parser of serde-saphyr: events
//! carry the place, the quoting and the anchors of each node, which a serde data model drops.

mod document;
mod error;
mod expand;
mod limits;
mod patterns;
mod reader;
mod relabel;
mod secret;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod watched_files;

pub use document::{Document, LoadError};
pub use error::{Errors, Problem};
pub use expand::Environment;
pub use limits::{Documents, Limits};
pub use patterns::{files_of, read_file_patterns};
pub use reader::{Field, Section};
pub use relabel::{read_labels, read_relabel_rules};
pub use secret::{Secret, SecretError};
pub use source::{ReadError, read_bounded};
pub use suggest::closest;
pub use value::Value;
pub use watched_files::WatchedFiles;
