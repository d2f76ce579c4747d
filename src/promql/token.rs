//! Tokens of PromQL, and how error texts name them.
//!
//! Invariant: a word is a keyword whatever its case; where Prometheus takes one for a metric or a label, so does the
//! parser, not the lexer.
//!
//! Source: Prometheus documentation, "Querying basics" and "Operators"; the names in error texts are those that
//! Prometheus prints.

use super::ast::{AggregateOp, BinaryOp, Span};
use crate::model::Quoted;

/// One token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    /// As it is written, quotes included.
    pub(super) text: &'a str,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Eof,
    Identifier,
    /// An identifier with a colon.
    MetricIdentifier,
    String,
    Number,
    Duration,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    At,
    /// Between two expressions; `!=` of matchers too.
    Operator(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning, but operators and aggregators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Anchored,
    Smoothed,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Bool,
    Fill,
    FillLeft,
    FillRight,
    Start,
    End,
    Step,
    Range,
}

const KEYWORDS: [(&str, TokenKind); 23] = [
    ("and", TokenKind::Operator(BinaryOp::And)),
    ("or", TokenKind::Operator(BinaryOp::Or)),
    ("unless", TokenKind::Operator(BinaryOp::Unless)),
    ("atan2", TokenKind::Operator(BinaryOp::Atan2)),
    ("offset", TokenKind::Keyword(Keyword::Offset)),
    ("anchored", TokenKind::Keyword(Keyword::Anchored)),
    ("smoothed", TokenKind::Keyword(Keyword::Smoothed)),
    ("by", TokenKind::Keyword(Keyword::By)),
    ("without", TokenKind::Keyword(Keyword::Without)),
    ("on", TokenKind::Keyword(Keyword::On)),
    ("ignoring", TokenKind::Keyword(Keyword::Ignoring)),
    ("group_left", TokenKind::Keyword(Keyword::GroupLeft)),
    ("group_right", TokenKind::Keyword(Keyword::GroupRight)),
    ("bool", TokenKind::Keyword(Keyword::Bool)),
    ("fill", TokenKind::Keyword(Keyword::Fill)),
    ("fill_left", TokenKind::Keyword(Keyword::FillLeft)),
    ("fill_right", TokenKind::Keyword(Keyword::FillRight)),
    ("start", TokenKind::Keyword(Keyword::Start)),
    ("end", TokenKind::Keyword(Keyword::End)),
    ("step", TokenKind::Keyword(Keyword::Step)),
    ("range", TokenKind::Keyword(Keyword::Range)),
    ("inf", TokenKind::Number),
    ("nan", TokenKind::Number),
];

/// No keyword is longer; what is need not be compared.
const LONGEST_KEYWORD: usize = 12;

/// What a word is.
pub(super) fn word_kind(word: &str) -> TokenKind {
    let keyword = || {
        let named = |name: &&str| name.eq_ignore_ascii_case(word);
        let aggregator = AggregateOp::NAMES.iter().find(|(name, _)| named(name));
        let keyword = KEYWORDS.iter().find(|(name, _)| named(name));
        aggregator.map(|(_, op)| TokenKind::Aggregator(*op)).or(keyword.map(|(_, kind)| *kind))
    };
    let found = if word.len() <= LONGEST_KEYWORD { keyword() } else { None };
    found.unwrap_or(match word.contains(':') {
        true => TokenKind::MetricIdentifier,
        false => TokenKind::Identifier,
    })
}

impl Token<'_> {
    /// As "unexpected ..." names it.
    pub(super) fn description(&self) -> String {
        match self.kind {
            TokenKind::Eof => "end of input".to_owned(),
            TokenKind::Identifier => format!("identifier {}", Quoted(self.text)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", Quoted(self.text)),
            TokenKind::String => format!("string {}", self.shortened()),
            TokenKind::Number => format!("number {}", self.shortened()),
            TokenKind::Duration => format!("duration {}", self.shortened()),
            TokenKind::Operator(_) | TokenKind::EqualRegex | TokenKind::NotEqualRegex | TokenKind::At => {
                format!("<op:{}>", self.text)
            }
            TokenKind::Aggregator(_) => format!("<aggr:{}>", self.text),
            // Prometheus has these apart from its keywords.
            TokenKind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range) => {
                Quoted(self.text).to_string()
            }
            TokenKind::Keyword(_) => format!("<{}>", self.text),
            _ => Quoted(self.text).to_string(),
        }
    }

    fn shortened(&self) -> String {
        match self.text.char_indices().nth(10).and_then(|(at, _)| self.text.get(..at)) {
            Some(head) if self.text.len() > 10 => format!("{}...", Quoted(head)),
            _ => Quoted(self.text).to_string(),
        }
    }

    /// Whether the word may stand where a metric's name is expected.
    pub(super) const fn names_a_metric(&self) -> bool {
        match self.kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregator(_) => true,
            TokenKind::Operator(op) => op.is_set(),
            TokenKind::Keyword(keyword) => !matches!(
                keyword,
                Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight | Keyword::Bool
            ),
            _ => false,
        }
    }

    /// Whether the word may stand where a label's name is expected, in `by (...)` and its like.
    pub(super) const fn names_a_label(&self) -> bool {
        match self.kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregator(_) => true,
            TokenKind::Operator(op) => op.is_set() || matches!(op, BinaryOp::Atan2),
            TokenKind::Keyword(keyword) => !matches!(keyword, Keyword::Without),
            _ => false,
        }
    }
}
