//! One file, parsed: the way in.

use std::path::{Path, PathBuf};

use super::error::{Errors, Notes, single};
use super::expand::Environment;
use super::limits::Limits;
use super::reader::{Context, Section};
use super::source::{ReadError, Source, read_bounded};
use super::tree::{Content, Node, build};

/// A parsed file whose values have not been looked at yet.
#[derive(Debug)]
pub struct Document {
    source: Source,
    directory: PathBuf,
    root: Option<Node>,
    /// Mistakes that did not stop the parser.
    notes: Notes,
}

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error("{path}: {error}", path = .path.display())]
    Read {
        /// The file as the user named it.
        path: PathBuf,
        /// The reason.
        error: ReadError,
    },
    /// It was read and is wrong.
    #[error(transparent)]
    Content(#[from] Errors),
}

impl Document {
    /// Reads and parses a file. Relative paths in it are relative to its folder, as in Prometheus.
    pub fn load(path: &Path, limits: &Limits) -> Result<Self, LoadError> {
        let read = |error| LoadError::Read { path: path.to_owned(), error };
        let bytes = read_bounded(path, limits.size).map_err(read)?;
        let name = path.display().to_string();
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                return Err(not_utf8(name, error.as_bytes(), error.utf8_error().valid_up_to()).into());
            }
        };
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { directory, ..Self::parse(&name, text, limits)? })
    }

    /// Parses a text; `name` stands for the file name in errors.
    pub fn parse(name: &str, text: impl Into<String>, limits: &Limits) -> Result<Self, Errors> {
        let source = Source::new(name.to_owned(), text.into());
        if source.text.len() as u64 > limits.size.bytes() {
            return Err(single(&source, 0..0, format!("larger than {}", limits.size)));
        }
        let notes = Notes::new(limits.errors.max(1));
        let root = build(&source, limits, &notes)?;
        Ok(Self { source, directory: PathBuf::new(), root, notes })
    }

    /// Hands the top level to `read` and answers with its result, or with everything that is wrong:
    /// what the parser noted, what `read` noted, and each key that `read` did not take.
    pub fn read<T>(
        &self,
        environment: &Environment,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Result<T, Errors> {
        let context = Context {
            source: &self.source,
            directory: &self.directory,
            environment,
            notes: self.notes.clone(),
        };
        let entries = match self.root.as_ref().map(|root| (root, root.content())) {
            None => &[],
            Some((_, Content::Mapping(entries))) => entries.as_slice(),
            Some((root, _)) if root.is_null() => &[],
            Some((root, _)) => {
                context.notes.add(root.place(), "", || "expected keys and values at the top level".into());
                &[]
            }
        };
        let place = self.root.as_ref().map_or(0..0, Node::place);
        let value = {
            let mut section = Section::new(&context, String::new(), place, entries);
            read(&mut section)
        };
        match context.notes.into_errors(&self.source) {
            None => Ok(value),
            Some(errors) => Err(errors),
        }
    }
}

fn not_utf8(name: String, bytes: &[u8], valid_up_to: usize) -> Errors {
    let valid = bytes.get(..valid_up_to).unwrap_or_default();
    let source = Source::new(name, String::from_utf8_lossy(valid).into_owned());
    single(&source, valid_up_to..valid_up_to, "not UTF-8 from here on".to_owned())
}
