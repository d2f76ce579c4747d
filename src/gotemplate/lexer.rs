//! From text to tokens: what stands between `{{` and `}}`, and the text around it.
//!
//! Invariant: tokens are in order and lie within the text; the last is [`Kind::End`] or [`Kind::Error`].
//!
//! Source: Go's `text/template/parse`, `lex.go`, with its error texts.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text outside of actions, trimmed.
    Text,
    Left,
    Right,
    Space,
    Field,
    Variable,
    Identifier,
    Bool,
    Char,
    Number,
    Quoted,
    RawQuoted,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// Any other printable character of ASCII.
    Other,
    Dot,
    Nil,
    Block,
    Break,
    Continue,
    Define,
    Else,
    EndKeyword,
    If,
    Range,
    Template,
    With,
    /// The text is at its end.
    End,
    /// Nothing follows; the message is in [`Lexed::error`].
    Error,
}

impl Kind {
    pub(super) fn is_keyword(self) -> bool {
        matches!(
            self,
            Self::Dot
                | Self::Nil
                | Self::Block
                | Self::Break
                | Self::Continue
                | Self::Define
                | Self::Else
                | Self::EndKeyword
                | Self::If
                | Self::Range
                | Self::Template
                | Self::With
        )
    }
}

/// A token: bytes `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Counts from 1.
    pub(super) line: usize,
}

/// All tokens of a text.
pub(super) struct Lexed {
    pub(super) tokens: Vec<Token>,
    /// What the last token, an error, is about.
    pub(super) error: String,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];
const LEFT: &str = "{{";
const RIGHT: &str = "}}";

pub(super) fn lexed(text: &str) -> Lexed {
    let mut lexer = Lexer { text, start: 0, at: 0, line: 1, parens: 0, tokens: Vec::new() };
    let error = match lexer.all() {
        Ok(()) => {
            lexer.emit(Kind::End);
            String::new()
        }
        Err(error) => {
            lexer.emit(Kind::Error);
            error
        }
    };
    Lexed { tokens: lexer.tokens, error }
}

struct Lexer<'a> {
    text: &'a str,
    start: usize,
    at: usize,
    line: usize,
    parens: usize,
    tokens: Vec<Token>,
}

type Lexing = Result<(), String>;

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_while(&mut self, fits: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        let length = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += length;
        length
    }

    fn lines(&self, from: usize, to: usize) -> usize {
        self.text.get(from..to).unwrap_or_default().bytes().filter(|b| *b == b'\n').count()
    }

    fn emit(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, start: self.start, end: self.at, line: self.line });
        self.ignore();
    }

    /// Leaves out what was read since the last token.
    fn ignore(&mut self) {
        self.line += self.lines(self.start, self.at);
        self.start = self.at;
    }

    fn all(&mut self) -> Lexing {
        while self.outside()? {
            while self.inside()? {}
        }
        Ok(())
    }

    /// Text up to the next action, whose opening it takes; says whether there is one.
    fn outside(&mut self) -> Result<bool, String> {
        while self.text_and_opening() {
            if !self.rest().starts_with("/*") {
                // The opening's place is that of its braces.
                self.emit(Kind::Left);
                self.parens = 0;
                return Ok(true);
            }
            self.comment()?;
        }
        Ok(false)
    }

    fn text_and_opening(&mut self) -> bool {
        let Some(length) = self.rest().find(LEFT) else {
            self.at = self.text.len();
            if self.at > self.start {
                self.emit(Kind::Text);
            }
            return false;
        };
        let opening = self.at + length;
        self.at = opening + LEFT.len();
        let trims = self.trims_left();
        let before = self.text.get(self.start..opening).unwrap_or_default();
        let kept = if trims { before.trim_end_matches(SPACES).len() } else { before.len() };
        self.at = self.start + kept;
        if kept > 0 {
            self.emit(Kind::Text);
        }
        self.at = opening;
        self.ignore();
        self.at += LEFT.len() + if trims { 2 } else { 0 };
        true
    }

    /// Whether `- ` stands here.
    fn trims_left(&self) -> bool {
        self.rest().strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
    }

    /// Whether the action ends here; the second says that what follows is trimmed.
    fn right(&self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(RIGHT) {
            return Some(false);
        }
        let trimming = rest.strip_prefix(SPACES).and_then(|rest| rest.strip_prefix('-'));
        trimming.is_some_and(|rest| rest.starts_with(RIGHT)).then_some(true)
    }

    /// A comment and its end.
    fn comment(&mut self) -> Lexing {
        let length = self.rest().find("*/").ok_or("unclosed comment")?;
        self.at += length + 2;
        let Some(trims) = self.right() else {
            return Err("comment ends before closing delimiter".to_owned());
        };
        self.at += if trims { 2 } else { 0 } + RIGHT.len();
        if trims {
            self.skip_while(|c| SPACES.contains(&c));
        }
        self.ignore();
        Ok(())
    }

    /// One token of an action; says whether there are more.
    fn inside(&mut self) -> Result<bool, String> {
        if let Some(trims) = self.right() {
            if self.parens > 0 {
                return Err("unclosed left paren".to_owned());
            }
            self.at += if trims { 2 } else { 0 };
            self.ignore();
            self.at += RIGHT.len();
            self.emit(Kind::Right);
            if trims {
                self.skip_while(|c| SPACES.contains(&c));
                self.ignore();
            }
            return Ok(false);
        }
        match self.next() {
            None => return Err("unclosed action".to_owned()),
            Some(c) if SPACES.contains(&c) => self.spaces(),
            Some('=') => self.emit(Kind::Assign),
            Some(':') if self.next() == Some('=') => self.emit(Kind::Declare),
            Some(':') => return Err("expected :=".to_owned()),
            Some('|') => self.emit(Kind::Pipe),
            Some('"') => self.quoted('"', "unterminated quoted string", Kind::Quoted)?,
            Some('`') => {
                let length = self.rest().find('`').ok_or("unterminated raw quoted string")?;
                self.at += length + 1;
                self.emit(Kind::RawQuoted);
            }
            Some('\'') => self.quoted('\'', "unterminated character constant", Kind::Char)?,
            Some('$') => self.name(Kind::Variable)?,
            Some('.') if !self.peek().is_some_and(|c| c.is_ascii_digit()) => match self.at_terminator() {
                true => self.emit(Kind::Dot),
                false => self.name(Kind::Field)?,
            },
            Some(c @ ('.' | '+' | '-' | '0'..='9')) => {
                self.at -= c.len_utf8();
                self.number()?;
            }
            Some(c) if is_alphanumeric(c) => self.identifier()?,
            Some('(') => {
                self.parens += 1;
                self.emit(Kind::LeftParen);
            }
            Some(')') => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                self.emit(Kind::RightParen);
            }
            Some(c) if c.is_ascii_graphic() => self.emit(Kind::Other),
            Some(c) => return Err(format!("unrecognized character in action: {}", code_point(c))),
        }
        Ok(true)
    }

    /// The spaces from the last one read on, but for that of a trim marker.
    fn spaces(&mut self) {
        self.at = self.start;
        while self.peek().is_some_and(|c| SPACES.contains(&c)) && self.right().is_none() {
            self.at += 1;
        }
        // The marker's own space was all there is: the action ends.
        if self.at > self.start {
            self.emit(Kind::Space);
        }
    }

    fn quoted(&mut self, end: char, unterminated: &str, kind: Kind) -> Lexing {
        loop {
            match self.next() {
                Some('\\') if self.peek().is_some_and(|c| c != '\n') => {
                    self.next();
                }
                None | Some('\n' | '\\') => return Err(unterminated.to_owned()),
                Some(c) if c == end => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    fn name(&mut self, kind: Kind) -> Lexing {
        self.skip_while(is_alphanumeric);
        self.terminated()?;
        self.emit(kind);
        Ok(())
    }

    fn terminated(&self) -> Lexing {
        match self.peek() {
            Some(c) if !self.at_terminator() => Err(format!("bad character {}", code_point(c))),
            _ => Ok(()),
        }
    }

    fn at_terminator(&self) -> bool {
        let rest = self.rest();
        rest.is_empty()
            || rest.starts_with(SPACES)
            || rest.starts_with(['.', ',', '|', ':', ')', '('])
            || rest.starts_with(RIGHT)
    }

    fn identifier(&mut self) -> Lexing {
        self.skip_while(is_alphanumeric);
        self.terminated()?;
        let kind = match self.text.get(self.start..self.at).unwrap_or_default() {
            "block" => Kind::Block,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "define" => Kind::Define,
            "else" => Kind::Else,
            "end" => Kind::EndKeyword,
            "if" => Kind::If,
            "nil" => Kind::Nil,
            "range" => Kind::Range,
            "template" => Kind::Template,
            "with" => Kind::With,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.emit(kind);
        Ok(())
    }

    fn number(&mut self) -> Lexing {
        if self.rest().starts_with(['+', '-']) {
            self.at += 1;
        }
        let digits = match self.rest().as_bytes() {
            [b'0', b'x' | b'X', ..] => "0123456789abcdefABCDEF_",
            [b'0', b'o' | b'O', ..] => "01234567_",
            [b'0', b'b' | b'B', ..] => "01_",
            _ => "0123456789_",
        };
        if digits != "0123456789_" {
            self.at += 2;
        }
        self.skip_while(|c| digits.contains(c));
        if self.rest().starts_with('.') {
            self.at += 1;
            self.skip_while(|c| digits.contains(c));
        }
        let exponent: &[char] = match digits.len() {
            11 => &['e', 'E'],
            23 => &['p', 'P'],
            _ => &[],
        };
        if !exponent.is_empty() && self.rest().starts_with(exponent) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            self.skip_while(|c| c.is_ascii_digit() || c == '_');
        }
        if self.rest().starts_with('i') {
            self.at += 1;
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            let read = self.text.get(self.start..self.at).unwrap_or_default();
            return Err(format!("bad number syntax: {}", crate::model::Quoted(read)));
        }
        self.emit(Kind::Number);
        Ok(())
    }
}

pub(super) fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// As Go's `%#U` prints a character.
fn code_point(c: char) -> String {
    match super::escape::is_printable(c) {
        true => format!("U+{:04X} '{c}'", u32::from(c)),
        false => format!("U+{:04X}", u32::from(c)),
    }
}
