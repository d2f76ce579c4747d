//! What may stand between an operator and its right side, and the labels of groups.

use super::super::ast::{Cardinality, UnaryOp, VectorMatching};
use super::super::literal;
use super::super::token::{Keyword, Token, TokenKind};
use super::expression::{begins_expression, negated, sign};
use super::{Parsed, Parser};
use crate::model::Quoted;

/// `by (...)`, `without (...)`
pub(super) struct Grouping {
    pub(super) labels: Vec<String>,
    pub(super) without: bool,
    /// Behind the parenthesis.
    pub(super) end: u32,
}

const GROUPING: &str = "grouping opts";

impl Parser<'_> {
    pub(super) fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = match self.peek()?.kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.bump()?;
        let (labels, end) = self.grouping_labels()?;
        Ok(Some(Grouping { labels, without, end }))
    }

    fn grouping_labels(&mut self) -> Parsed<(Vec<String>, u32)> {
        self.expect(TokenKind::LeftParen, GROUPING, "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if let Some(right) = self.accept(TokenKind::RightParen)? {
                return Ok((labels, right.span.end));
            }
            labels.push(self.grouping_label()?);
            if self.accept(TokenKind::Comma)?.is_none() && !self.at(TokenKind::RightParen)? {
                return self.unexpected(GROUPING, "\",\" or \")\"");
            }
        }
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let token = self.peek()?;
        if token.names_a_label() {
            self.bump()?;
            return Ok(token.text.to_owned());
        }
        if token.kind != TokenKind::String {
            return self.unexpected(GROUPING, "label");
        }
        self.bump()?;
        let label = self.quoted_name(token);
        if label.is_empty() {
            self.error(token.span, format!("invalid label name for grouping: {}", Quoted(&label)));
        }
        Ok(label)
    }

    /// A name in quotes. Any UTF-8 text can be one.
    pub(super) fn quoted_name(&mut self, token: Token<'_>) -> String {
        let bytes = literal::unquoted(token.text);
        let valid = String::from_utf8(bytes);
        valid.unwrap_or_else(|error| {
            self.error(token.span, format!("invalid label name {}", token.text));
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    }

    /// `bool`, and how series find each other. The latter is there even where it is the default; the check takes it
    /// away where the sides are not both vectors.
    pub(super) fn binary_modifiers(&mut self) -> Parsed<(bool, Option<VectorMatching>)> {
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool))?.is_some();
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek()?.kind {
            self.bump()?;
            (matching.labels, _) = self.grouping_labels()?;
            matching.on = keyword == Keyword::On;
            if let TokenKind::Keyword(keyword @ (Keyword::GroupLeft | Keyword::GroupRight)) =
                self.peek()?.kind
            {
                self.bump()?;
                matching.cardinality = match keyword {
                    Keyword::GroupLeft => Cardinality::ManyToOne,
                    _ => Cardinality::OneToMany,
                };
                if self.at(TokenKind::LeftParen)? {
                    (matching.include, _) = self.grouping_labels()?;
                } else if !begins_expression(self.peek()?) {
                    return self.unexpected(GROUPING, "\"(\"");
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok((return_bool, Some(matching)))
    }

    /// A metric may be called `fill`; the modifier has its parenthesis directly behind.
    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        while let token = self.peek()?
            && let TokenKind::Keyword(keyword @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)) =
                token.kind
            && self.lexer.comes_left_paren()
        {
            self.bump()?;
            if !self.options.binop_fill {
                let message = "binop fill modifiers are experimental and not enabled";
                self.error(token.span, message);
            }
            let value = self.fill_value()?;
            let (left, right) = (keyword != Keyword::FillRight, keyword != Keyword::FillLeft);
            if (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some()) {
                self.error(token.span, "fill value may not be set multiple times");
            }
            matching.fill_left = if left { Some(value) } else { matching.fill_left };
            matching.fill_right = if right { Some(value) } else { matching.fill_right };
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        const CONTEXT: &str = "fill modifier";
        self.bump()?;
        let sign = sign(self.peek()?.kind);
        if sign.is_some() {
            self.bump()?;
        }
        if !matches!(self.peek()?.kind, TokenKind::Number | TokenKind::Duration) {
            return self.unexpected(CONTEXT, "number");
        }
        let value = self.number()?.value;
        self.expect(TokenKind::RightParen, CONTEXT, "\")\"")?;
        Ok(if sign == Some(UnaryOp::Minus) { negated(value) } else { value })
    }
}
