//! A position within one line, and the tokens both formats share.
//!
//! Invariant: a cursor never leaves its line and stops only between characters, because every byte it
//! looks for is ASCII.

use std::borrow::Cow;

use memchr::memchr2;

use super::Problem;
use crate::expose::name::NameOf;

/// A problem and the byte of the line at which it was met.
pub(super) struct Stop {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

pub(super) type Step<T> = Result<T, Stop>;

/// Which escape sequences a quoted text or a help may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Text 0.0.4: `\\`, `\n` and, within quotes, `\"`; any other is an error.
    Strict,
    /// OpenMetrics: a backslash before any other character stands for itself.
    Lenient,
}

#[derive(Clone, Copy)]
pub(super) struct Cursor<'i> {
    line: &'i str,
    at: usize,
}

impl<'i> Cursor<'i> {
    pub(super) const fn new(line: &'i str) -> Self {
        Self { line, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &'i str {
        self.line.get(self.at..).unwrap_or_default()
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at >= self.line.len()
    }

    pub(super) fn stop<T>(&self, problem: Problem) -> Step<T> {
        Err(Stop { at: self.at, problem })
    }

    /// Steps over `byte` if it comes next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, byte: u8, wanted: &'static str) -> Step<()> {
        if self.eat(byte) { Ok(()) } else { self.stop(Problem::Expected(wanted)) }
    }

    /// Steps over blanks; returns whether there were any.
    pub(super) fn skip_blanks(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.at > start
    }

    /// Everything up to the next blank.
    pub(super) fn token(&mut self) -> &'i str {
        let rest = self.rest();
        let length = memchr2(b' ', b'\t', rest.as_bytes()).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// A classic name, without quotes.
    pub(super) fn bare_name(&mut self, of: NameOf) -> Step<&'i str> {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !of.continues(b)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        if !of.is_classic(name) {
            let wanted = if of == NameOf::Metric { "a metric name" } else { "a label name" };
            return self.stop(Problem::Expected(wanted));
        }
        self.at += end;
        Ok(name)
    }

    /// A name as HELP and TYPE have it: classic, or anything in quotes.
    pub(super) fn name(&mut self, of: NameOf, escapes: Escapes) -> Step<Cow<'i, str>> {
        if self.peek() == Some(b'"') {
            self.quoted_name(escapes)
        } else {
            self.bare_name(of).map(Cow::Borrowed)
        }
    }

    /// A name in quotes; not empty.
    pub(super) fn quoted_name(&mut self, escapes: Escapes) -> Step<Cow<'i, str>> {
        let start = *self;
        let name = self.quoted(escapes)?;
        if name.is_empty() { start.stop(Problem::EmptyName) } else { Ok(name) }
    }

    /// A text in quotes, unescaped.
    pub(super) fn quoted(&mut self, escapes: Escapes) -> Step<Cow<'i, str>> {
        let start = *self;
        self.expect(b'"', "'\"'")?;
        let mut owned: Option<String> = None;
        loop {
            let rest = self.rest();
            let Some(length) = memchr2(b'"', b'\\', rest.as_bytes()) else {
                return start.stop(Problem::UnclosedQuote);
            };
            let plain = rest.get(..length).unwrap_or_default();
            self.at += length;
            if self.eat(b'"') {
                return Ok(match owned {
                    None => Cow::Borrowed(plain),
                    Some(text) => Cow::Owned(text + plain),
                });
            }
            let text = owned.get_or_insert_default();
            text.push_str(plain);
            text.push_str(self.escape(escapes, true)?);
        }
    }

    /// The rest of the line, unescaped.
    pub(super) fn help(&mut self, escapes: Escapes) -> Step<Cow<'i, str>> {
        if memchr::memchr(b'\\', self.rest().as_bytes()).is_none() {
            return Ok(Cow::Borrowed(self.rest()));
        }
        let mut text = String::with_capacity(self.rest().len());
        while let Some(length) = memchr::memchr(b'\\', self.rest().as_bytes()) {
            text.push_str(self.rest().get(..length).unwrap_or_default());
            self.at += length;
            text.push_str(self.escape(escapes, escapes == Escapes::Lenient)?);
        }
        text.push_str(self.rest());
        Ok(Cow::Owned(text))
    }

    /// What the escape sequence at the cursor, a backslash, stands for.
    fn escape(&mut self, escapes: Escapes, quotes: bool) -> Step<&'static str> {
        let plain = match self.line.as_bytes().get(self.at + 1) {
            Some(b'\\') => "\\",
            Some(b'n') => "\n",
            Some(b'"') if quotes => "\"",
            _ if escapes == Escapes::Lenient => {
                self.at += 1;
                return Ok("\\");
            }
            _ => return self.stop(Problem::InvalidEscape),
        };
        self.at += 2;
        Ok(plain)
    }
}
