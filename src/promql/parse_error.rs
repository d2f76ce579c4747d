//! What is wrong with an expression, and where.
//!
//! Invariant: there is at least one error; the first is the one that Prometheus would print.

use std::fmt;

use super::ast::Span;

/// A place in a text as people count: from 1, the column in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Byte within the line, from 1.
    pub column: usize,
}

impl LineColumn {
    /// The place of a byte offset; one behind the text counts as its end.
    pub fn of(text: &str, offset: u32) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let before = text.as_bytes().get(..offset).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = offset - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
        Self { line, column }
    }
}

/// As annotations print it: `1:5`.
impl fmt::Display for LineColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: parse error: {message}")]
pub struct ParseError {
    /// Line and column where it begins.
    pub place: LineColumn,
    /// The bytes it is about.
    pub span: Span,
    /// What is wrong, as Prometheus words it.
    pub message: String,
}

/// All that is wrong with an expression; prints its first error, as Prometheus does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{first}")]
pub struct ParseErrors {
    first: ParseError,
    others: Vec<ParseError>,
}

impl ParseErrors {
    pub(super) const fn new(first: ParseError, others: Vec<ParseError>) -> Self {
        Self { first, others }
    }

    /// The one that is printed.
    pub const fn first(&self) -> &ParseError {
        &self.first
    }

    /// All of them, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &ParseError> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The line of `text` on which the first error lies, and a caret below its column.
    pub fn snippet(&self, text: &str) -> String {
        let line = text.lines().nth(self.first.place.line - 1).unwrap_or_default();
        let before = line.get(..self.first.place.column - 1).unwrap_or(line);
        // Tabs stay, so that the caret keeps its place below them.
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{line}\n{indent}^")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_in_bytes() {
        let text = "a\n日b\n";
        let shown = |offset| LineColumn::of(text, offset).to_string();
        assert_eq!([0, 1, 2, 5, 6, 7, 99].map(shown), ["1:1", "1:2", "2:1", "2:4", "2:5", "3:1", "3:1"]);
    }
}
