//! What stands behind an expression and changes where it looks: ranges, subqueries, `offset`, `@`, `anchored`.

use std::sync::Arc;

use super::super::ast::{
    At, DurationExpr, DurationKind, Edges, Expr, MatrixSelector, Span, Subquery, TimeShift, UnaryOp,
};
use super::super::token::{Keyword, TokenKind};
use super::expression::sign;
use super::{Node, Parsed, Parser};

const NOT_SHIFTABLE: &str =
    "modifier must be preceded by an instant vector selector or range vector selector or a subquery";

/// Prometheus counts time in milliseconds, 64 bits of them; this bounds the seconds written.
const TIMESTAMP_LIMIT: f64 = i64::MAX as f64;

impl Parser<'_> {
    pub(super) fn with_postfixes(&mut self) -> Parsed<Node> {
        let mut node = self.primary()?;
        loop {
            node = match self.peek()?.kind {
                TokenKind::LeftBracket => self.range_or_subquery(node)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(node)?,
                TokenKind::At => self.at_modifier(node)?,
                TokenKind::Keyword(Keyword::Anchored) => self.edges(node, Edges::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.edges(node, Edges::Smoothed)?,
                _ => return Ok(node),
            };
        }
    }

    fn range_or_subquery(&mut self, node: Node) -> Parsed<Node> {
        let left = self.bump()?;
        let range =
            self.positive_duration("subquery or range selector", "number, duration, step(), or range()")?;
        let start = node.expr.span().start;
        if self.accept(TokenKind::Colon)?.is_some() {
            let step = match self.at(TokenKind::RightBracket)? {
                true => None,
                false => {
                    let expected = "number, duration, step(), range(), or \"]\"";
                    Some(self.positive_duration("subquery selector", expected)?)
                }
            };
            let right = self.expect(TokenKind::RightBracket, "subquery selector", "\"]\"")?;
            let span = Span { start, end: right.span.end };
            let subquery = Subquery { expr: node.expr, range, step, time: TimeShift::default(), span };
            return self.node(Expr::Subquery(Box::new(subquery)), node.height);
        }
        let right = self.expect(TokenKind::RightBracket, "subquery or range", "\":\" or \"]\"")?;
        let span = Span { start, end: right.span.end };
        let wrong = match node.expr {
            Expr::VectorSelector(selector) => {
                let wrong = match (&selector.time.offset, selector.time.at) {
                    (Some(_), _) => Some("no offset modifiers allowed before range"),
                    (None, Some(At::Instant(_))) => Some("no @ modifiers allowed before range"),
                    // Prometheus lets `@ start()` pass, as if it stood behind the range.
                    (None, None | Some(At::Start | At::End)) => None,
                };
                if wrong.is_none() {
                    let selector = Arc::unwrap_or_clone(selector);
                    let matrix = MatrixSelector { selector, range, span };
                    return self.node(Expr::MatrixSelector(Arc::new(matrix)), 0);
                }
                wrong
            }
            _ => Some("ranges only allowed for vector selectors"),
        };
        self.error(Span { start: left.span.start, end: right.span.end }, wrong.unwrap_or_default());
        Ok(super::expression::placeholder(span, node.height))
    }

    fn offset(&mut self, mut node: Node) -> Parsed<Node> {
        self.bump()?;
        let offset = self.offset_duration()?;
        let (span, end) = (node.expr.span(), offset.span.end);
        match shift(&mut node.expr, end) {
            None => self.error(span, format!("offset {NOT_SHIFTABLE}")),
            Some(time) if time.offset.is_some() => self.error(span, "offset may not be set multiple times"),
            // None at all, and printed so.
            Some(_) if offset.kind == DurationKind::Literal(0) => {}
            Some(time) => time.offset = Some(offset),
        }
        Ok(node)
    }

    fn at_modifier(&mut self, mut node: Node) -> Parsed<Node> {
        self.bump()?;
        let span = node.expr.span();
        let (at, end) = self.at_instant(span)?;
        match shift(&mut node.expr, end) {
            None => self.error(span, format!("@ {NOT_SHIFTABLE}")),
            Some(time) if time.at.is_some() => {
                self.error(span, "@ <timestamp> may not be set multiple times");
            }
            Some(time) => time.at = Some(at),
        }
        Ok(node)
    }

    fn at_instant(&mut self, span: Span) -> Parsed<(At, u32)> {
        const EXPECTED: (&str, &str) = ("@", "timestamp");
        if let TokenKind::Keyword(keyword @ (Keyword::Start | Keyword::End)) = self.peek()?.kind {
            self.bump()?;
            self.expect(TokenKind::LeftParen, EXPECTED.0, EXPECTED.1)?;
            let right = self.expect(TokenKind::RightParen, EXPECTED.0, EXPECTED.1)?;
            return Ok((if keyword == Keyword::Start { At::Start } else { At::End }, right.span.end));
        }
        let sign = sign(self.peek()?.kind);
        if sign.is_some() {
            self.bump()?;
        }
        // A duration is its seconds since the epoch.
        if !self.at(TokenKind::Number)? && !self.at(TokenKind::Duration)? {
            return self.unexpected(EXPECTED.0, EXPECTED.1);
        }
        let number = self.number()?;
        let seconds = if sign == Some(UnaryOp::Minus) { -number.value } else { number.value };
        if seconds.is_nan() || seconds.abs() >= TIMESTAMP_LIMIT {
            let shown = match seconds {
                s if s.is_nan() => "NaN".to_owned(),
                s if s.is_infinite() => if s > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
                s => format!("{s:.6}"),
            };
            self.error(span, format!("timestamp out of bounds for @ modifier: {shown}"));
        }
        Ok((At::Instant((seconds * 1e3).round() as i64), number.span.end))
    }

    fn edges(&mut self, mut node: Node, edges: Edges) -> Parsed<Node> {
        let token = self.bump()?;
        let (name, span) = (if edges == Edges::Anchored { "anchored" } else { "smoothed" }, node.expr.span());
        if !self.options.extended_range_selectors {
            self.error(span, format!("{name} modifier is experimental and not enabled"));
            return Ok(node);
        }
        let (kept, end) = match &mut node.expr {
            Expr::VectorSelector(selector) => {
                let selector = Arc::make_mut(selector);
                (&mut selector.edges, &mut selector.span.end)
            }
            Expr::MatrixSelector(matrix) => {
                let matrix = Arc::make_mut(matrix);
                (&mut matrix.selector.edges, &mut matrix.span.end)
            }
            Expr::Subquery(_) => {
                self.error(span, format!("{name} modifier is not supported for subqueries"));
                return Ok(node);
            }
            _ => {
                self.error(span, format!("{name} modifier not implemented"));
                return Ok(node);
            }
        };
        if *kept != Edges::Plain && *kept != edges {
            self.error(span, "anchored and smoothed modifiers cannot be used together");
            return Ok(node);
        }
        *kept = edges;
        *end = token.span.end;
        Ok(node)
    }

    fn positive_duration(&mut self, context: &'static str, expected: &'static str) -> Parsed<DurationExpr> {
        let duration = self.duration(context, expected)?;
        if let DurationKind::Literal(..=0) = duration.kind {
            self.error(duration.span, "duration must be greater than 0");
        }
        Ok(duration)
    }
}

/// The time of what can be shifted, whose end moves behind the modifier.
fn shift(expr: &mut Expr, modifier_end: u32) -> Option<&mut TimeShift> {
    let (time, end) = match expr {
        Expr::VectorSelector(selector) => {
            let selector = Arc::make_mut(selector);
            (&mut selector.time, &mut selector.span.end)
        }
        Expr::MatrixSelector(matrix) => {
            let matrix = Arc::make_mut(matrix);
            (&mut matrix.selector.time, &mut matrix.span.end)
        }
        Expr::Subquery(subquery) => (&mut subquery.time, &mut subquery.span.end),
        _ => return None,
    };
    *end = modifier_end;
    Some(time)
}
