//! PromQL's text into tokens, one at a time.
//!
//! Invariant: what a character means depends on what is open - braces, or brackets with their durations - and only
//! the lexer keeps track of that. After an error it is not asked again.
//!
//! Source: the lexical rules of Prometheus 3, its error texts included.

use super::ast::{AggregateOp, BinaryOp, Span};
use super::token::{Keyword, Token, TokenKind, word_kind};

/// What no token begins with, or what breaks off.
#[derive(Debug, PartialEq)]
pub(super) struct LexError {
    /// Where the error is reported, to the end of the text.
    pub(super) start: u32,
    pub(super) message: String,
}

type Lexed<'a> = Result<Token<'a>, LexError>;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    input: &'a str,
    /// Where the current token begins.
    start: usize,
    position: usize,
    open_parens: usize,
    brace_open: bool,
    bracket_open: bool,
    /// Within brackets: whether a duration, and the colon behind it, were there.
    got_duration: bool,
    got_colon: bool,
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

const fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

const fn is_word(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(input: &'a str) -> Self {
        Self {
            input,
            start: 0,
            position: 0,
            open_parens: 0,
            brace_open: false,
            bracket_open: false,
            got_duration: false,
            got_colon: false,
        }
    }

    /// The next token; [`TokenKind::Eof`] again and again at the end.
    pub(super) fn next(&mut self) -> Lexed<'a> {
        self.skip_space_and_comments();
        if self.brace_open {
            self.in_braces()
        } else if self.bracket_open {
            self.in_brackets()
        } else {
            self.in_the_open()
        }
    }

    /// Whether the next token will be `(`.
    pub(super) fn comes_left_paren(&self) -> bool {
        let rest = self.input.get(self.position..).unwrap_or_default();
        rest.trim_start_matches(is_space).starts_with('(')
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            match self.peek() {
                Some(c) if is_space(c) => self.accept_run(is_space),
                Some('#') => self.accept_run(|c| c != '\n' && c != '\r'),
                _ => break,
            }
        }
        self.start = self.position;
    }

    fn in_the_open(&mut self) -> Lexed<'a> {
        let Some(c) = self.bump() else { return self.end() };
        match c {
            ',' => self.token(TokenKind::Comma),
            '*' | '/' | '%' | '+' | '-' | '^' => self.arithmetic(c),
            '=' => match self.peek() {
                Some('=') => self.longer(TokenKind::Operator(BinaryOp::Equal)),
                Some(next @ '~') => self.error(format!("unexpected character after '=': {}", quoted(next))),
                _ => self.token(TokenKind::Equal),
            },
            '!' => match self.bump() {
                Some('=') => self.token(TokenKind::Operator(BinaryOp::NotEqual)),
                next => self.error(format!("unexpected character after '!': {}", quoted_or_end(next))),
            },
            '<' => self.comparison(BinaryOp::Less, BinaryOp::LessEqual, BinaryOp::TrimUpper),
            '>' => self.comparison(BinaryOp::Greater, BinaryOp::GreaterEqual, BinaryOp::TrimLower),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration(),
            '0'..='9' => self.number_or_duration(),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '(' => self.left_paren(),
            ')' => self.right_paren(),
            '{' => {
                self.brace_open = true;
                self.token(TokenKind::LeftBrace)
            }
            '[' => {
                self.bracket_open = true;
                self.got_duration = false;
                self.got_colon = false;
                self.token(TokenKind::LeftBracket)
            }
            ']' => self.error("unexpected right bracket ']'".to_owned()),
            '@' => self.token(TokenKind::At),
            c if is_alpha(c) || c == ':' => {
                self.accept_run(|c| is_word(c) || c == ':');
                self.token(word_kind(self.text()))
            }
            c => self.error(format!("unexpected character: {}", quoted(c))),
        }
    }

    fn end(&mut self) -> Lexed<'a> {
        match self.open_parens {
            0 => self.token(TokenKind::Eof),
            _ => self.error("unclosed left parenthesis".to_owned()),
        }
    }

    fn in_braces(&mut self) -> Lexed<'a> {
        let Some(c) = self.bump() else {
            return self.error("unexpected end of input inside braces".to_owned());
        };
        match c {
            ',' => self.token(TokenKind::Comma),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '=' if self.peek() == Some('~') => self.longer(TokenKind::EqualRegex),
            '=' => self.token(TokenKind::Equal),
            '!' => match self.bump() {
                Some('~') => self.token(TokenKind::NotEqualRegex),
                Some('=') => self.token(TokenKind::Operator(BinaryOp::NotEqual)),
                next => self
                    .error(format!("unexpected character after '!' inside braces: {}", quoted_or_end(next))),
            },
            '{' => self.error("unexpected left brace '{'".to_owned()),
            '}' => {
                self.brace_open = false;
                self.token(TokenKind::RightBrace)
            }
            c if is_alpha(c) => {
                self.accept_run(is_word);
                self.token(TokenKind::Identifier)
            }
            c => self.error(format!("unexpected character inside braces: {}", quoted(c))),
        }
    }

    fn in_brackets(&mut self) -> Lexed<'a> {
        let Some(c) = self.bump() else {
            return self.error("unexpected end of input in duration expression".to_owned());
        };
        match c {
            ']' => {
                self.bracket_open = false;
                self.token(TokenKind::RightBracket)
            }
            ':' => self.colon(),
            '(' => self.left_paren(),
            ')' => self.right_paren(),
            ',' => self.token(TokenKind::Comma),
            '*' | '/' | '%' | '+' | '-' | '^' => self.arithmetic(c),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration(),
            '0'..='9' => self.number_or_duration(),
            _ => self.duration_word(c),
        }
    }

    fn colon(&mut self) -> Lexed<'a> {
        let colon = self.token(TokenKind::Colon);
        if !self.got_duration {
            return self.error_behind("unexpected colon before duration in duration expression".to_owned());
        }
        if self.got_colon {
            return self.error_behind("unexpected repeated colon in duration expression".to_owned());
        }
        self.got_colon = true;
        colon
    }

    fn duration_word(&mut self, first: char) -> Lexed<'a> {
        if is_alpha(first) {
            self.accept_run(is_word);
            let kind = word_kind(self.text());
            if let TokenKind::Keyword(Keyword::Step | Keyword::Range)
            | TokenKind::Aggregator(AggregateOp::Min | AggregateOp::Max) = kind
            {
                self.got_duration = true;
                return self.token(kind);
            }
        }
        self.error(format!("unexpected character in duration expression: {}", quoted(first)))
    }

    fn left_paren(&mut self) -> Lexed<'a> {
        self.open_parens += 1;
        self.token(TokenKind::LeftParen)
    }

    fn right_paren(&mut self) -> Lexed<'a> {
        match self.open_parens.checked_sub(1) {
            Some(open) => self.open_parens = open,
            // Prometheus reports it behind the parenthesis.
            None => return self.error_behind("unexpected right parenthesis ')'".to_owned()),
        }
        self.token(TokenKind::RightParen)
    }

    fn arithmetic(&mut self, c: char) -> Lexed<'a> {
        let op = match c {
            '*' => BinaryOp::Mul,
            '/' => BinaryOp::Div,
            '%' => BinaryOp::Mod,
            '+' => BinaryOp::Add,
            '-' => BinaryOp::Sub,
            _ => BinaryOp::Pow,
        };
        self.token(TokenKind::Operator(op))
    }

    fn comparison(&mut self, alone: BinaryOp, with_equal: BinaryOp, with_slash: BinaryOp) -> Lexed<'a> {
        match self.peek() {
            Some('=') => self.longer(TokenKind::Operator(with_equal)),
            Some('/') => self.longer(TokenKind::Operator(with_slash)),
            _ => self.token(TokenKind::Operator(alone)),
        }
    }

    fn number_or_duration(&mut self) -> Lexed<'a> {
        self.position = self.start;
        self.got_duration = true;
        if self.accept_number() {
            return self.token(TokenKind::Number);
        }
        if self.accept_rest_of_duration() {
            return self.token(TokenKind::Duration);
        }
        let text = self.text();
        self.error(format!("bad number or duration syntax: {text:?}"))
    }

    /// What looks like a number, whether or not it is one. What may follow what is looser than a number's grammar;
    /// the parser finds out.
    fn accept_number(&mut self) -> bool {
        let is_hexadecimal = self.accept(|c| c == '0') && self.accept(|c| matches!(c, 'x' | 'X'));
        let is_digit = move |c: char| c.is_ascii_digit() || (is_hexadecimal && c.is_ascii_hexdigit());
        let (mut got_dot, mut got_exponent) = (false, is_hexadecimal);
        loop {
            self.accept_run(is_digit);
            match self.peek() {
                Some('.') => {
                    self.bump();
                    if got_dot || is_hexadecimal || self.accept(|c| matches!(c, '_' | '.')) {
                        return false;
                    }
                    got_dot = true;
                }
                Some('e' | 'E') if got_exponent => {
                    self.bump();
                    return false;
                }
                Some('e' | 'E') => {
                    self.bump();
                    got_exponent = true;
                    self.accept(|c| matches!(c, '+' | '-'));
                    if self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                        return false;
                    }
                }
                Some('_') => {
                    self.bump();
                    if self.accept(|c| matches!(c, '.' | '_')) || self.peek().is_none() {
                        return false;
                    }
                }
                next => return !next.is_some_and(is_word),
            }
        }
    }

    /// The unit behind the first number, and more numbers with units. Which follow which, the parser finds out.
    fn accept_rest_of_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.accept_run(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        // Prometheus shows the character that is one too many.
        !self.accept(is_word)
    }

    fn string(&mut self, quote: char) -> Lexed<'a> {
        loop {
            match self.bump() {
                Some('\\') => self.escape(quote)?,
                None | Some('\n') => return self.error("unterminated quoted string".to_owned()),
                Some(c) if c == quote => return self.token(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Lexed<'a> {
        loop {
            match self.bump() {
                None => return self.error("unterminated raw string".to_owned()),
                Some('`') => return self.token(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<(), LexError> {
        let (count, base, most) = match self.bump() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.position -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, u32::from(char::MAX)),
            Some('U') => (8, 16, u32::from(char::MAX)),
            None => return self.error("escape sequence not terminated".to_owned()),
            Some(c) => return self.error(format!("unknown escape sequence {}", unicode(c))),
        };
        let mut value = 0_u32;
        for _ in 0..count {
            let c = self.bump();
            let Some(digit) = c.and_then(|c| c.to_digit(base)) else {
                return self.error(match c {
                    Some(c) => format!("illegal character {} in escape sequence", unicode(c)),
                    None => "escape sequence not terminated".to_owned(),
                });
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > most || (0xD800..0xE000).contains(&value) {
            return self.error("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }

    // What the rules are made of.

    fn peek(&self) -> Option<char> {
        self.input.get(self.position..)?.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, fits: impl Fn(char) -> bool) -> bool {
        let found = self.peek().filter(|c| fits(*c));
        self.position += found.map_or(0, char::len_utf8);
        found.is_some()
    }

    fn accept_run(&mut self, fits: impl Fn(char) -> bool) {
        let rest = self.input.get(self.position..).unwrap_or_default();
        self.position += rest.find(|c| !fits(c)).unwrap_or(rest.len());
    }

    fn text(&self) -> &'a str {
        self.input.get(self.start..self.position).unwrap_or_default()
    }

    fn token(&mut self, kind: TokenKind) -> Lexed<'a> {
        Ok(Token {
            kind,
            text: self.text(),
            span: Span { start: offset(self.start), end: offset(self.position) },
        })
    }

    /// A token that takes one more character.
    fn longer(&mut self, kind: TokenKind) -> Lexed<'a> {
        self.bump();
        self.token(kind)
    }

    fn error<T>(&self, message: String) -> Result<T, LexError> {
        Err(LexError { start: offset(self.start), message })
    }

    fn error_behind<T>(&self, message: String) -> Result<T, LexError> {
        Err(LexError { start: offset(self.position), message })
    }
}

/// Texts are shorter than this holds; see `ParseOptions::max_length_bytes`.
pub(super) fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A character as Go's `%q` writes it.
fn quoted(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => format!("'{}'", crate::model::Quoted(&c.to_string()).to_string().trim_matches('"')),
    }
}

/// Go's lexer reads -1 behind the text, which `%q` shows as the replacement character.
fn quoted_or_end(c: Option<char>) -> String {
    quoted(c.unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// A character as Go's `%#U` writes it.
fn unicode(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if c.is_control() { code } else { format!("{code} '{c}'") }
}
