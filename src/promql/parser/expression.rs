//! Operators, parentheses, calls, aggregations, literals.

use super::super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, NumberLiteral, Paren, Span, StringLiteral, Unary,
    UnaryOp,
};
use super::super::functions::function;
use super::super::literal;
use super::super::token::{Keyword, Token, TokenKind};
use super::{Node, Parsed, Parser};
use crate::model::Quoted;

/// How tightly operators bind; a sign binds as `*` does.
pub(super) const LOOSEST: u8 = 1;
pub(super) const SIGN: u8 = 5;
const POWER: u8 = 6;

pub(super) const fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => LOOSEST,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterEqual
        | BinaryOp::LessEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => SIGN,
        BinaryOp::Pow => POWER,
    }
}

/// How tightly what stands to the right of an operator must hold together.
pub(super) const fn right_precedence(op: BinaryOp) -> u8 {
    match op {
        // From the right: `2 ^ 3 ^ 2` is `2 ^ (3 ^ 2)`.
        BinaryOp::Pow => POWER,
        op => precedence(op) + 1,
    }
}

pub(super) const fn sign(kind: TokenKind) -> Option<UnaryOp> {
    match kind {
        TokenKind::Operator(BinaryOp::Add) => Some(UnaryOp::Plus),
        TokenKind::Operator(BinaryOp::Sub) => Some(UnaryOp::Minus),
        _ => None,
    }
}

impl<'a> Parser<'a> {
    pub(super) fn expression(&mut self) -> Parsed<Node> {
        self.operators(LOOSEST)
    }

    fn operators(&mut self, loosest: u8) -> Parsed<Node> {
        let mut left = self.nested(Self::signed)?;
        while let TokenKind::Operator(op) = self.peek()?.kind
            && precedence(op) >= loosest
        {
            let op_span = self.bump()?.span;
            let (return_bool, matching) = self.binary_modifiers()?;
            let right = self.nested(|parser| parser.operators(right_precedence(op)))?;
            let height = left.height.max(right.height);
            let span = Span { start: left.expr.span().start, end: right.expr.span().end };
            let binary =
                Binary { op, left: left.expr, right: right.expr, return_bool, matching, span, op_span };
            left = self.node(Expr::Binary(Box::new(binary)), height)?;
        }
        Ok(left)
    }

    fn signed(&mut self) -> Parsed<Node> {
        let token = self.peek()?;
        let Some(op) = sign(token.kind) else { return self.with_postfixes() };
        self.bump()?;
        let inner = self.operators(SIGN + 1)?;
        let span = Span { start: token.span.start, end: inner.expr.span().end };
        if let Expr::Number(number) = inner.expr {
            let value = if op == UnaryOp::Minus { negated(number.value) } else { number.value };
            return Ok(Node { expr: Expr::Number(NumberLiteral { value, span, ..number }), ..inner });
        }
        self.node(Expr::Unary(Box::new(Unary { op, expr: inner.expr, span })), inner.height)
    }

    pub(super) fn primary(&mut self) -> Parsed<Node> {
        let token = self.peek()?;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let expr = Expr::Number(self.number()?);
                self.node(expr, 0)
            }
            TokenKind::String => {
                self.bump()?;
                let expr = Expr::String(string_literal(token));
                self.node(expr, 0)
            }
            TokenKind::LeftParen => self.paren(),
            TokenKind::LeftBrace => self.selector(None),
            TokenKind::Aggregator(op) => {
                self.bump()?;
                match self.peek()?.kind {
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregation(op, token)
                    }
                    _ => self.selector(Some(token)),
                }
            }
            _ if token.names_a_metric() => {
                self.bump()?;
                let may_be_called = matches!(
                    token.kind,
                    TokenKind::Identifier
                        | TokenKind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range)
                );
                if may_be_called && self.at(TokenKind::LeftParen)? {
                    return self.call(token);
                }
                self.selector(Some(token))
            }
            _ => self.unexpected_here(),
        }
    }

    fn paren(&mut self) -> Parsed<Node> {
        let left = self.bump()?;
        let inner = self.expression()?;
        let Some(right) = self.accept(TokenKind::RightParen)? else { return self.unexpected_here() };
        let span = Span { start: left.span.start, end: right.span.end };
        self.node(Expr::Paren(Box::new(Paren { expr: inner.expr, span })), inner.height)
    }

    /// A number, or a duration in seconds.
    pub(super) fn number(&mut self) -> Parsed<NumberLiteral> {
        let token = self.bump()?;
        let is_duration = token.kind == TokenKind::Duration;
        let value = if is_duration {
            literal::duration_ms(token.text).map(|ms| ms as f64 / 1e3)
        } else {
            literal::number(token.text).map_err(|why| format!("error parsing number: {why}"))
        };
        let value = value.unwrap_or_else(|message| {
            self.error(token.span, message);
            0.0
        });
        Ok(NumberLiteral { value, is_duration, span: token.span })
    }

    fn call(&mut self, name: Token<'a>) -> Parsed<Node> {
        let (args, height, end) = self.arguments()?;
        let span = Span { start: name.span.start, end };
        let Some(function) = function(name.text) else {
            self.error(name.span, format!("unknown function with name {}", Quoted(name.text)));
            return Ok(placeholder(span, height));
        };
        if function.experimental && !self.options.experimental_functions {
            self.error(name.span, format!("function {} is not enabled", Quoted(name.text)));
        }
        self.node(Expr::Call(Call { function, args, span }), height)
    }

    /// What is in parentheses, how high the highest is, and where the parentheses end.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, usize, u32)> {
        self.bump()?;
        let (mut args, mut height) = (Vec::new(), 0);
        while !self.at(TokenKind::RightParen)? {
            let arg = self.expression()?;
            height = height.max(arg.height);
            args.push(arg.expr);
            let Some(comma) = self.accept(TokenKind::Comma)? else { break };
            if !begins_expression(self.peek()?) {
                return self.stop(comma.span, "trailing commas not allowed in function call args");
            }
        }
        match self.accept(TokenKind::RightParen)? {
            Some(right) => Ok((args, height, right.span.end)),
            None => self.unexpected_here(),
        }
    }

    fn aggregation(&mut self, op: AggregateOp, name: Token<'a>) -> Parsed<Node> {
        let mut modifier = self.grouping()?;
        if !self.at(TokenKind::LeftParen)? {
            return self.unexpected("aggregation", "");
        }
        let outer = std::mem::replace(&mut self.in_aggregation, true);
        let (mut args, height, mut end) = self.arguments()?;
        self.in_aggregation = outer;
        if modifier.is_none() {
            modifier = self.grouping()?;
            end = modifier.as_ref().map_or(end, |m| m.end);
        }
        let span = Span { start: name.span.start, end };
        let wanted = 1 + usize::from(op.parameter().is_some());
        if args.is_empty() {
            self.error(span, "no arguments for aggregate expression provided");
        } else if op.is_experimental() && !self.options.experimental_functions {
            let flag = "--enable-feature=promql-experimental-functions";
            let message = format!("{}() is experimental and must be enabled with {flag}", op.as_str());
            self.error(span, message);
        } else if args.len() != wanted {
            let given = args.len();
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"
            );
            self.error(span, message);
        }
        let Some(expr) = args.pop() else { return Ok(placeholder(span, height)) };
        let parameter = op.parameter().and_then(|_| args.pop());
        let (grouping, without) = modifier.map_or((Vec::new(), false), |m| (m.labels, m.without));
        let aggregate = Aggregate { op, expr, parameter, grouping, without, span };
        self.node(Expr::Aggregate(Box::new(aggregate)), height)
    }
}

pub(super) fn begins_expression(token: Token<'_>) -> bool {
    use TokenKind::{Duration, LeftBrace, LeftParen, Number, String};
    matches!(token.kind, Number | Duration | String | LeftParen | LeftBrace)
        || sign(token.kind).is_some()
        || token.names_a_metric()
}

/// Stands for what is wrong, in trees that are not handed out.
pub(super) fn placeholder(span: Span, height: usize) -> Node {
    let number = NumberLiteral { value: 0.0, is_duration: false, span };
    Node { expr: Expr::Number(number), height }
}

pub(super) fn negated(value: f64) -> f64 {
    if value.is_nan() { value } else { -value }
}

fn string_literal(token: Token<'_>) -> StringLiteral {
    let bytes = literal::unquoted(token.text);
    match String::from_utf8(bytes) {
        Ok(value) => StringLiteral { value, not_utf8: None, span: token.span },
        Err(error) => StringLiteral {
            value: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            not_utf8: Some(error.into_bytes()),
            span: token.span,
        },
    }
}
