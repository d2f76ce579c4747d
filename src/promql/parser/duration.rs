//! Durations in brackets and behind `offset`: literals, and expressions that the query's step and range decide.

use super::super::ast::{AggregateOp, BinaryOp, DurationExpr, DurationKind, Span, UnaryOp};
use super::super::token::{Keyword, TokenKind};
use super::expression::{LOOSEST, SIGN, negated, precedence, right_precedence, sign};
use super::{Parsed, Parser};

/// What an error says that stops in the midst of a duration: the place, and what could stand there.
type Expected = (&'static str, &'static str);

/// Parts of one duration.
const MAX_PARTS: usize = 100;

/// Seconds that fit 64 bits of nanoseconds.
const LONGEST_SECONDS: f64 = 9_223_372_036.854_776;

/// What may stand in a duration, as yet without a unit that is known to matter.
struct Reader<'p, 'a> {
    parser: &'p mut Parser<'a>,
    expected: Expected,
    parts: usize,
}

impl<'a> Parser<'a> {
    /// A duration in brackets.
    pub(super) fn duration(&mut self, context: &'static str, expected: &'static str) -> Parsed<DurationExpr> {
        let mut reader = Reader { parser: self, expected: (context, expected), parts: 0 };
        reader.operators(LOOSEST).map(settled)
    }

    /// A duration behind `offset`, where an operator would be one of the expression around it: only parentheses hold
    /// a longer one together.
    pub(super) fn offset_duration(&mut self) -> Parsed<DurationExpr> {
        let expected = ("offset", "number, duration, step(), or range()");
        let mut reader = Reader { parser: self, expected, parts: 0 };
        let token = reader.parser.peek()?;
        let Some(op) = sign(token.kind) else { return reader.primary().map(settled) };
        reader.parser.bump()?;
        let inner = reader.primary()?;
        Ok(settled(signed(op, inner, token.span.start)))
    }
}

impl Reader<'_, '_> {
    fn operators(&mut self, loosest: u8) -> Parsed<DurationExpr> {
        let token = self.parser.peek()?;
        let mut left = match sign(token.kind) {
            Some(op) => {
                self.count_part()?;
                self.parser.bump()?;
                let inner = self.operators(SIGN + 1)?;
                signed(op, inner, token.span.start)
            }
            None => self.primary()?,
        };
        while let token = self.parser.peek()?
            && let TokenKind::Operator(op) = token.kind
            && is_arithmetic(op)
            && precedence(op) >= loosest
        {
            self.count_part()?;
            self.parser.bump()?;
            let right = self.operators(right_precedence(op))?;
            self.must_be_enabled(left.span);
            let is_zero = matches!(right.kind, DurationKind::Literal(0) | DurationKind::Number(0.0));
            match op {
                BinaryOp::Div if is_zero => self.parser.error(token.span, "division by zero"),
                BinaryOp::Mod if is_zero => self.parser.error(token.span, "modulo by zero"),
                _ => {}
            }
            let span = Span { start: left.span.start, end: right.span.end };
            left = DurationExpr { kind: DurationKind::Binary(op, Box::new(left), Box::new(right)), span };
        }
        Ok(left)
    }

    fn primary(&mut self) -> Parsed<DurationExpr> {
        self.count_part()?;
        let token = self.parser.peek()?;
        let kind = match token.kind {
            TokenKind::Number | TokenKind::Duration => return self.literal(),
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.parser.bump()?;
                self.expect(TokenKind::LeftParen)?;
                if keyword == Keyword::Step { DurationKind::Step } else { DurationKind::Range }
            }
            TokenKind::Aggregator(op @ (AggregateOp::Min | AggregateOp::Max)) => {
                self.parser.bump()?;
                self.expect(TokenKind::LeftParen)?;
                let left = Box::new(self.operators(LOOSEST)?);
                self.expect(TokenKind::Comma)?;
                let right = Box::new(self.operators(LOOSEST)?);
                if op == AggregateOp::Min {
                    DurationKind::Min(left, right)
                } else {
                    DurationKind::Max(left, right)
                }
            }
            TokenKind::LeftParen => {
                self.parser.bump()?;
                DurationKind::Paren(Box::new(self.operators(LOOSEST)?))
            }
            _ => return self.unexpected(),
        };
        let end = self.expect(TokenKind::RightParen)?;
        let span = Span { start: token.span.start, end };
        self.must_be_enabled(span);
        Ok(match kind {
            // Parentheses that hold nothing together are not kept; a sign needs them before `^`.
            DurationKind::Paren(inner) if !needs_parens(&inner.kind) => DurationExpr { span, ..*inner },
            kind => DurationExpr { kind, span },
        })
    }

    fn literal(&mut self) -> Parsed<DurationExpr> {
        let number = self.parser.number()?;
        if number.value.is_nan() || number.value.abs() > LONGEST_SECONDS {
            self.parser.error(number.span, "duration out of range");
        }
        let kind = match number.is_duration {
            true => DurationKind::Literal(milliseconds(number.value)),
            false => DurationKind::Number(number.value),
        };
        Ok(DurationExpr { kind, span: number.span })
    }

    fn must_be_enabled(&mut self, span: Span) {
        if !self.parser.options.duration_expressions {
            self.parser.error(span, "experimental duration expression is not enabled");
        }
    }

    fn expect(&mut self, kind: TokenKind) -> Parsed<u32> {
        match self.parser.accept(kind)? {
            Some(token) => Ok(token.span.end),
            None => self.unexpected(),
        }
    }

    fn unexpected<T>(&mut self) -> Parsed<T> {
        self.parser.unexpected(self.expected.0, self.expected.1)
    }

    fn count_part(&mut self) -> Parsed<()> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            let span = self.parser.peek()?.span;
            return self.parser.stop(span, format!("duration has more than {MAX_PARTS} parts"));
        }
        Ok(())
    }
}

const fn is_arithmetic(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Mul | Div | Mod | Pow)
}

fn needs_parens(kind: &DurationKind) -> bool {
    match kind {
        DurationKind::Literal(ms) => *ms < 0,
        DurationKind::Number(value) => value.is_sign_negative(),
        DurationKind::Paren(_) => false,
        _ => true,
    }
}

fn signed(op: UnaryOp, inner: DurationExpr, start: u32) -> DurationExpr {
    let span = Span { start, end: inner.span.end };
    let kind = match (op, inner.kind) {
        (UnaryOp::Plus, kind) => kind,
        (UnaryOp::Minus, DurationKind::Literal(ms)) => DurationKind::Literal(-ms),
        (UnaryOp::Minus, DurationKind::Number(value)) => DurationKind::Number(negated(value)),
        (UnaryOp::Minus, kind) => DurationKind::Unary(op, Box::new(DurationExpr { kind, span: inner.span })),
    };
    DurationExpr { kind, span }
}

/// A plain number that stands alone counts seconds, and is printed as a duration.
fn settled(duration: DurationExpr) -> DurationExpr {
    let span = duration.span;
    match duration.kind {
        DurationKind::Number(seconds) => {
            DurationExpr { kind: DurationKind::Literal(milliseconds(seconds)), span }
        }
        DurationKind::Paren(inner)
            if matches!(inner.kind, DurationKind::Literal(_) | DurationKind::Number(_)) =>
        {
            DurationExpr { span, ..settled(*inner) }
        }
        kind => DurationExpr { kind, span },
    }
}

/// Whole milliseconds; what is less than one is one, so that it stays more than nothing.
fn milliseconds(seconds: f64) -> i64 {
    match (seconds * 1e3).round() as i64 {
        0 if seconds > 0.0 => 1,
        0 if seconds < 0.0 => -1,
        ms => ms,
    }
}
