//! Bytes to tokens, with a state that says what may come next.
//!
//! Invariant: a token never reaches beyond the input; the line feed that a last line may lack is supplied.

use std::ops::Range;

use memchr::{memchr, memchr2};

/// A token's kind, with Prometheus's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    Linebreak,
    Help,
    Type,
    Unit,
    EofWord,
    Text,
    Comment,
    MetricName,
    QuotedString,
    BraceOpen,
    BraceClose,
    LabelName,
    LabelValue,
    Comma,
    Equal,
    Timestamp,
    Value,
    /// ` # {` after a sample of OpenMetrics.
    ExemplarOpen,
}

impl Token {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Eof => "EOF",
            Self::Linebreak => "LINEBREAK",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Unit => "UNIT",
            Self::EofWord => "EOFWORD",
            Self::Text => "TEXT",
            Self::Comment | Self::ExemplarOpen => "COMMENT",
            Self::MetricName => "MNAME",
            Self::QuotedString => "QSTRING",
            Self::BraceOpen => "BOPEN",
            Self::BraceClose => "BCLOSE",
            Self::LabelName => "LNAME",
            Self::LabelValue => "LVALUE",
            Self::Comma => "COMMA",
            Self::Equal => "EQUAL",
            Self::Timestamp => "TIMESTAMP",
            Self::Value => "VALUE",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Init,
    MetadataName,
    MetadataText,
    Labels,
    LabelValue,
    Value,
    /// After the value.
    Timestamp,
    ExemplarValue,
}

#[derive(Debug)]
pub(super) struct Lexer<'i> {
    input: &'i [u8],
    open_metrics: bool,
    pub(super) state: State,
    /// Where the last token begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) at: usize,
    /// Whether the line feed at the end has been supplied.
    ended: bool,
}

impl<'i> Lexer<'i> {
    pub(super) const fn new(input: &'i [u8], open_metrics: bool) -> Self {
        Self { input, open_metrics, state: State::Init, start: 0, at: 0, ended: false }
    }

    pub(super) const fn len(&self) -> usize {
        self.input.len()
    }

    pub(super) fn slice(&self, range: Range<usize>) -> &'i [u8] {
        self.input.get(range).unwrap_or_default()
    }

    /// Where the last token is.
    pub(super) const fn current(&self) -> Range<usize> {
        self.start..self.at
    }

    fn rest(&self) -> &'i [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Token {
        if !self.open_metrics && self.state != State::MetadataText {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
        self.start = self.at;
        match self.state {
            State::Init => self.init(),
            State::MetadataName => self.metadata_name(),
            State::MetadataText => self.metadata_text(),
            State::Labels => self.labels(),
            State::LabelValue => self.quoted(Token::LabelValue, State::Labels),
            State::Value => self.value(),
            State::Timestamp => self.after_value(),
            State::ExemplarValue => self.spaced(Token::Value, State::Timestamp),
        }
    }

    fn take(&mut self, bytes: usize, token: Token, next: State) -> Token {
        self.at += bytes;
        self.state = next;
        token
    }

    fn init(&mut self) -> Token {
        match self.peek() {
            None => self.end(),
            Some(b'\n') => self.take(1, Token::Linebreak, State::Init),
            Some(b'{') => self.take(1, Token::BraceOpen, State::Labels),
            Some(b'#') if self.open_metrics => self.open_metrics_comment(),
            Some(b'#') => self.text_comment(),
            Some(byte) if is_name(byte, true, true) => self.name(true, Token::MetricName, State::Value),
            Some(_) => Token::Invalid,
        }
    }

    /// The end, once the last line has been ended.
    fn end(&mut self) -> Token {
        let missing = !self.open_metrics && !self.ended && self.state != State::Init;
        self.ended = true;
        match missing {
            true => self.take(0, Token::Linebreak, State::Init),
            false => Token::Eof,
        }
    }

    fn text_comment(&mut self) -> Token {
        let rest = self.rest();
        let after = rest.get(1..).unwrap_or_default();
        let blanks = count_blanks(after);
        let words = after.get(blanks..).unwrap_or_default();
        for (word, token) in [(b"HELP".as_slice(), Token::Help), (b"TYPE".as_slice(), Token::Type)] {
            if let Some(rest) = words.strip_prefix(word)
                && blanks > 0
                && count_blanks(rest) > 0
            {
                return self.take(1 + blanks + word.len() + count_blanks(rest), token, State::MetadataName);
            }
        }
        let length = memchr(b'\n', rest).unwrap_or(rest.len());
        self.take(length, Token::Comment, State::Timestamp)
    }

    fn open_metrics_comment(&mut self) -> Token {
        let rest = self.rest();
        let words =
            [(b"# HELP ".as_slice(), Token::Help), (b"# TYPE ", Token::Type), (b"# UNIT ", Token::Unit)];
        if let Some((word, token)) = words.into_iter().find(|(word, _)| rest.starts_with(word)) {
            return self.take(word.len(), token, State::MetadataName);
        }
        match rest.strip_prefix(b"# EOF") {
            Some(tail) => {
                self.take(5 + usize::from(tail.first() == Some(&b'\n')), Token::EofWord, State::Init)
            }
            None => Token::Invalid,
        }
    }

    fn metadata_name(&mut self) -> Token {
        match self.peek() {
            Some(b'"') => self.quoted(Token::MetricName, State::MetadataText),
            Some(byte) if is_name(byte, true, true) => {
                self.name(true, Token::MetricName, State::MetadataText)
            }
            _ => Token::Invalid,
        }
    }

    /// The rest of the line, the blank before it included.
    fn metadata_text(&mut self) -> Token {
        if self.open_metrics && self.peek() != Some(b' ') {
            return Token::Invalid;
        }
        let length = memchr(b'\n', self.rest()).unwrap_or(self.rest().len());
        self.take(length, Token::Text, State::Timestamp)
    }

    fn labels(&mut self) -> Token {
        match self.peek() {
            Some(b'}') => self.take(1, Token::BraceClose, State::Value),
            Some(b',') => self.take(1, Token::Comma, State::Labels),
            Some(b'=') => self.take(1, Token::Equal, State::LabelValue),
            Some(b'"') => self.quoted(Token::QuotedString, State::Labels),
            Some(byte) if is_name(byte, true, false) => self.name(false, Token::LabelName, State::Labels),
            _ => Token::Invalid,
        }
    }

    fn value(&mut self) -> Token {
        match self.peek() {
            Some(b'{') => self.take(1, Token::BraceOpen, State::Labels),
            _ if self.open_metrics => self.spaced(Token::Value, State::Timestamp),
            _ => {
                let rest = self.rest();
                let length =
                    rest.iter().position(|b| matches!(b, b'{' | b' ' | b'\t' | b'\n')).unwrap_or(rest.len());
                match length {
                    0 => Token::Invalid,
                    length => self.take(length, Token::Value, State::Timestamp),
                }
            }
        }
    }

    fn after_value(&mut self) -> Token {
        match self.peek() {
            None => self.end(),
            Some(b'\n') => self.take(1, Token::Linebreak, State::Init),
            Some(_) if self.open_metrics && self.rest().starts_with(b" # {") => {
                self.take(4, Token::ExemplarOpen, State::Labels)
            }
            Some(_) if self.open_metrics => self.spaced(Token::Timestamp, State::Timestamp),
            Some(byte) if byte.is_ascii_digit() => {
                let digits = self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
                self.take(digits, Token::Timestamp, State::Timestamp)
            }
            Some(_) => Token::Invalid,
        }
    }

    /// OpenMetrics: one space and what follows it.
    fn spaced(&mut self, token: Token, next: State) -> Token {
        let Some(rest) = self.rest().strip_prefix(b" ") else { return Token::Invalid };
        match memchr2(b' ', b'\n', rest).unwrap_or(rest.len()) {
            0 => Token::Invalid,
            length => self.take(1 + length, token, next),
        }
    }

    fn name(&mut self, colons: bool, token: Token, next: State) -> Token {
        let length = self.rest().iter().take_while(|b| is_name(**b, false, colons)).count();
        self.take(length, token, next)
    }

    fn quoted(&mut self, token: Token, next: State) -> Token {
        let Some(inner) = self.rest().strip_prefix(b"\"") else { return Token::Invalid };
        let mut length = 0;
        loop {
            let tail = inner.get(length..).unwrap_or_default();
            match memchr2(b'"', b'\\', tail) {
                None => return Token::Invalid,
                Some(found) if tail.get(found) == Some(&b'"') => {
                    return self.take(length + found + 2, token, next);
                }
                Some(found) => length += found + 2,
            }
        }
    }
}

const fn is_name(byte: u8, first: bool, colons: bool) -> bool {
    byte.is_ascii_alphabetic()
        || byte == b'_'
        || (byte == b':' && colons)
        || (byte.is_ascii_digit() && !first)
}

fn count_blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}
