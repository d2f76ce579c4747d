//! Selectors: names, braces, matchers.

use std::sync::Arc;

use super::super::ast::{BinaryOp, Edges, Expr, Span, TimeShift, VectorSelector};
use super::super::literal;
use super::super::token::{Token, TokenKind};
use super::{Node, Parsed, Parser};
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// Regular expressions of one expression; each may take its time to compile.
const MAX_REGEXES: usize = 2_000;

const MATCHING: &str = "label matching";

impl<'a> Parser<'a> {
    pub(super) fn whole_selector(&mut self) -> Parsed<VectorSelector> {
        self.check_length()?;
        let token = self.peek()?;
        let name = if token.names_a_metric() { Some(self.bump()?) } else { None };
        if name.is_none() && token.kind != TokenKind::LeftBrace {
            return self.unexpected("", "");
        }
        let selector = self.vector_selector(name)?;
        self.expect_end()?;
        Ok(selector)
    }

    pub(super) fn selector(&mut self, name: Option<Token<'a>>) -> Parsed<Node> {
        let selector = self.vector_selector(name)?;
        self.node(Expr::VectorSelector(Arc::new(selector)), 0)
    }

    /// Matchers in the order written, that on the name before the braces behind them.
    fn vector_selector(&mut self, name: Option<Token<'a>>) -> Parsed<VectorSelector> {
        let (mut matchers, mut span) = (Vec::new(), name.map(|token| token.span));
        if let Some(left) = self.accept(TokenKind::LeftBrace)? {
            matchers = self.matchers()?;
            let right = self.bump()?;
            span = Some(Span { start: span.unwrap_or(left.span).start, end: right.span.end });
        }
        let name = name.map(|token| token.text.to_owned());
        matchers.extend(name.as_deref().map(|name| Matcher::equal(METRIC_NAME, name)));
        Ok(VectorSelector {
            name,
            matchers,
            time: TimeShift::default(),
            edges: Edges::Plain,
            span: span.unwrap_or_default(),
        })
    }

    /// Up to the right brace, which is next.
    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        let mut matchers = Vec::new();
        while !self.at(TokenKind::RightBrace)? {
            matchers.extend(self.matcher()?);
            if self.accept(TokenKind::Comma)?.is_none() && !self.at(TokenKind::RightBrace)? {
                return self.unexpected(MATCHING, "\",\" or \"}\"");
            }
        }
        Ok(matchers)
    }

    /// `None` where it is wrong, but what follows can be read.
    fn matcher(&mut self) -> Parsed<Option<Matcher>> {
        let label = self.peek()?;
        let name = match label.kind {
            TokenKind::Identifier => {
                self.bump()?;
                label.text.to_owned()
            }
            TokenKind::String => {
                self.bump()?;
                self.quoted_name(label)
            }
            _ => return self.unexpected(MATCHING, "identifier or \"}\""),
        };
        let op = match self.peek()?.kind {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            // The metric's name, in quotes.
            _ if label.kind == TokenKind::String => return Ok(Some(Matcher::equal(METRIC_NAME, name))),
            _ => return self.unexpected(MATCHING, "label matching operator"),
        };
        self.bump()?;
        let value = self.expect(TokenKind::String, MATCHING, "string")?;
        let span = Span { start: label.span.start, end: value.span.end };
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.regexes += 1;
            if self.regexes > MAX_REGEXES {
                return self
                    .stop(span, format!("expression has more than {MAX_REGEXES} regular expressions"));
            }
        }
        // No series has a value that is not UTF-8, so that what stands for it matters little.
        let value = String::from_utf8_lossy(&literal::unquoted(value.text)).into_owned();
        match Matcher::new(name, op, value) {
            Ok(matcher) => Ok(Some(matcher)),
            Err(error) => {
                self.error(span, error.to_string());
                Ok(None)
            }
        }
    }
}
