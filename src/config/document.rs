//! One file, parsed: the way in.

use std::path::{Path, PathBuf};

use super::error::{Errors, Notes, single};
use super::expand::Environment;
use super::limits::Limits;
use super::reader::{Context, Section};
use super::source::{ReadError, Source, read_bounded};
use super::tree::{Content, Node, build};
use super::value::Value;

/// A parsed file whose values have not been looked at yet.
#[derive(Debug)]
pub struct Document {
    source: Source,
    directory: PathBuf,
    /// The top of each YAML document in it; at most one, unless it was read as a stream.
    roots: Vec<Node>,
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

impl LoadError {
    /// As [`Errors::without_lines`].
    #[must_use]
    pub fn without_lines(self) -> Self {
        match self {
            Self::Content(errors) => Self::Content(errors.without_lines()),
            read @ Self::Read { .. } => read,
        }
    }
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
        let roots = build(&source, limits, &notes)?;
        Ok(Self { source, directory: PathBuf::new(), roots, notes })
    }

    /// Hands the top level to `read` and answers with its result, or with everything that is wrong:
    /// what the parser noted, what `read` noted, and each key that `read` did not take.
    pub fn read<T>(
        &self,
        environment: &Environment,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Result<T, Errors> {
        self.read_and_show(environment, read).map(|(value, _)| value)
    }

    /// The same, and beside the result the file's text as it may be shown to anybody: without the values that were
    /// taken as secrets, without credentials in URLs, without comments that have a line of their own.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_and_show<T>(
        &self,
        environment: &Environment,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Result<(T, String), Errors> {
        let context = self.context(environment);
        let value = self.read_top(&context, read);
        let shown = context.notes.finish(&self.source)?;
        Ok((value, shown))
    }

    /// As [`Self::read`], for who can do with a part: what is wrong is as if it were not there, and is not told.
    pub fn read_what_fits<T>(
        &self,
        environment: &Environment,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        self.read_top(&self.context(environment), read)
    }

    fn read_top<T>(&self, context: &Context<'_>, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let entries = match self.roots.first().map(|root| (root, root.content())) {
            None => &[],
            Some((_, Content::Mapping(entries))) => entries.as_slice(),
            Some((root, _)) if root.is_null() => &[],
            Some((root, _)) => {
                context.notes.add(root.place(), "", || "expected keys and values at the top level".into());
                &[]
            }
        };
        let place = self.roots.first().map_or(0..0, Node::place);
        let mut section = Section::new(context, String::new(), place, entries);
        read(&mut section)
    }

    /// As [`Self::read`], for files whose top level need not be keys and values. `None` stands for an empty file.
    pub fn read_value<T>(
        &self,
        environment: &Environment,
        read: impl FnOnce(Option<Value<'_>>) -> T,
    ) -> Result<T, Errors> {
        let context = self.context(environment);
        let root = self.roots.first().filter(|root| !root.is_null());
        let value = read(root.map(|node| Value { context: &context, path: String::new(), node }));
        context.notes.finish(&self.source).map(|_| value)
    }

    /// As [`Self::read`], of all documents of a stream; empty ones are left out.
    ///
    /// # Errors
    /// As [`Self::read`], for all documents together.
    pub fn read_stream<T>(
        &self,
        environment: &Environment,
        read: impl FnOnce(Vec<Value<'_>>) -> T,
    ) -> Result<T, Errors> {
        let context = self.context(environment);
        let roots = self.roots.iter().filter(|root| !root.is_null());
        let value = |node| Value { context: &context, path: String::new(), node };
        let value = read(roots.map(value).collect());
        context.notes.finish(&self.source).map(|_| value)
    }

    fn context<'d>(&'d self, environment: &'d Environment) -> Context<'d> {
        Context { source: &self.source, directory: &self.directory, environment, notes: self.notes.clone() }
    }
}

fn not_utf8(name: String, bytes: &[u8], valid_up_to: usize) -> Errors {
    let valid = bytes.get(..valid_up_to).unwrap_or_default();
    let source = Source::new(name, String::from_utf8_lossy(valid).into_owned());
    single(&source, valid_up_to..valid_up_to, "not UTF-8 from here on".to_owned())
}
