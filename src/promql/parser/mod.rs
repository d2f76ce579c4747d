//! PromQL's text into its tree: a Pratt parser, then the check of types.
//!
//! Invariants: never deeper than its limits, neither itself nor the trees that it makes, so that whoever walks a tree
//! may recurse; a tree that is handed out has passed the check. Of several errors the first is the one that Prometheus
//! prints: what is wrong with a part is found when the part ends, types are checked only where the syntax is right.
//!
//! Source: Prometheus documentation, "Querying basics" and "Operators", the experimental syntax of 3.x included.

mod check;
mod duration;
mod expression;
mod matching;
mod postfix;
#[cfg(test)]
mod properties_tests;
mod selector;
#[cfg(test)]
mod tests;

use super::ast::{Expr, Span};
use super::lexer::{Lexer, offset};
use super::parse_error::{LineColumn, ParseError, ParseErrors};
use super::token::{Token, TokenKind};
use crate::model::Matcher;

/// What an expression may contain, and how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregators that Prometheus has behind `promql-experimental-functions`.
    pub experimental_functions: bool,
    /// `[5m + step()]`, `offset (1m * 2)`
    pub duration_expressions: bool,
    /// `anchored`, `smoothed`
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right`
    pub binop_fill: bool,
    /// Most levels of a tree; a chain such as `a + b + c` has one for each operator.
    pub max_depth: usize,
    /// Longest text.
    pub max_length_bytes: usize,
}

/// Prometheus's own defaults: nothing experimental.
impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: false,
            extended_range_selectors: false,
            binop_fill: false,
            max_depth: 1_200,
            max_length_bytes: 256 << 10,
        }
    }
}

impl ParseOptions {
    /// Everything that is experimental switched on.
    pub fn all() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            binop_fill: true,
            ..Self::default()
        }
    }
}

/// How deep parentheses, arguments and signs may nest: what the parser itself recurses over.
const MAX_NESTING: usize = 200;

/// Errors that are kept.
const MAX_ERRORS: usize = 20;

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, as Prometheus words and places it.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseErrors> {
    let mut parser = Parser::new(text, *options);
    let parsed = parser.whole_expression();
    if let (Ok(Some(mut node)), true) = (parsed, parser.errors.is_empty()) {
        check::check(&mut node.expr, &mut parser);
        if parser.errors.is_empty() {
            return Ok(node.expr);
        }
    }
    Err(parser.into_errors())
}

/// Reads a selector alone, as in the API's `match[]`. Whether all of its matchers fit the empty text is not asked.
///
/// # Errors
/// What is wrong with it, as Prometheus words and places it.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseErrors> {
    let mut parser = Parser::new(text, ParseOptions::default());
    let selector = parser.whole_selector();
    match (selector, parser.errors.is_empty()) {
        (Ok(selector), true) => Ok(selector.matchers),
        _ => Err(parser.into_errors()),
    }
}

/// That it makes no sense to read on; why is among the errors.
#[derive(Debug)]
struct Stop;

type Parsed<T> = Result<T, Stop>;

/// An expression and how many levels it has.
#[derive(Debug)]
struct Node {
    expr: Expr,
    height: usize,
}

#[derive(Debug)]
struct Parser<'a> {
    text: &'a str,
    options: ParseOptions,
    lexer: Lexer<'a>,
    peeked: Option<Token<'a>>,
    errors: Vec<ParseError>,
    nesting: usize,
    regexes: usize,
    /// Within the parentheses of an aggregation; error texts say so.
    in_aggregation: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: ParseOptions) -> Self {
        Self {
            text,
            options,
            lexer: Lexer::new(text),
            peeked: None,
            errors: Vec::new(),
            nesting: 0,
            regexes: 0,
            in_aggregation: false,
        }
    }

    fn into_errors(mut self) -> ParseErrors {
        let place = LineColumn { line: 1, column: 1 };
        let none =
            ParseError { place, span: Span::default(), message: "no expression found in input".to_owned() };
        let first = if self.errors.is_empty() { none } else { self.errors.remove(0) };
        ParseErrors::new(first, self.errors)
    }

    fn check_length(&mut self) -> Parsed<()> {
        let limit = self.options.max_length_bytes.min(u32::MAX as usize);
        if self.text.len() > limit {
            let message = format!("expression of {} bytes is longer than {limit}", self.text.len());
            return self.stop(Span::default(), message);
        }
        Ok(())
    }

    /// `None` where there is nothing but space and comments.
    fn whole_expression(&mut self) -> Parsed<Option<Node>> {
        self.check_length()?;
        if self.peek()?.kind == TokenKind::Eof {
            return Ok(None);
        }
        let node = self.expression()?;
        self.expect_end()?;
        Ok(Some(node))
    }

    fn expect_end(&mut self) -> Parsed<()> {
        match self.peek()?.kind {
            TokenKind::Eof => Ok(()),
            _ => self.unexpected("", ""),
        }
    }

    // Tokens.

    fn peek(&mut self) -> Parsed<Token<'a>> {
        if let Some(token) = self.peeked {
            return Ok(token);
        }
        match self.lexer.next() {
            Ok(token) => Ok(*self.peeked.insert(token)),
            Err(error) => self.stop(Span { start: error.start, end: offset(self.text.len()) }, error.message),
        }
    }

    fn bump(&mut self) -> Parsed<Token<'a>> {
        let token = self.peek()?;
        self.peeked = None;
        Ok(token)
    }

    fn at(&mut self, kind: TokenKind) -> Parsed<bool> {
        Ok(self.peek()?.kind == kind)
    }

    fn accept(&mut self, kind: TokenKind) -> Parsed<Option<Token<'a>>> {
        if self.at(kind)? { self.bump().map(Some) } else { Ok(None) }
    }

    fn expect(&mut self, kind: TokenKind, context: &str, expected: &str) -> Parsed<Token<'a>> {
        match self.accept(kind)? {
            Some(token) => Ok(token),
            None => self.unexpected(context, expected),
        }
    }

    // Errors.

    fn error(&mut self, span: Span, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            let place = LineColumn::of(self.text, span.start);
            self.errors.push(ParseError { place, span, message: message.into() });
        }
    }

    fn stop<T>(&mut self, span: Span, message: impl Into<String>) -> Parsed<T> {
        self.error(span, message);
        Err(Stop)
    }

    /// The next token is not what may stand there.
    fn unexpected<T>(&mut self, context: &str, expected: &str) -> Parsed<T> {
        let token = self.peek()?;
        let mut message = format!("unexpected {}", token.description());
        if !context.is_empty() {
            message += &format!(" in {context}");
        }
        if !expected.is_empty() {
            message += &format!(", expected {expected}");
        }
        self.stop(token.span, message)
    }

    /// The same where an expression is read; the aggregation around it is named.
    fn unexpected_here<T>(&mut self) -> Parsed<T> {
        let context = if self.in_aggregation { "aggregation" } else { "" };
        self.unexpected(context, "")
    }

    // Depth.

    /// One level more than the highest of its parts.
    fn node(&mut self, expr: Expr, height_of_parts: usize) -> Parsed<Node> {
        let height = height_of_parts + 1;
        if height > self.options.max_depth {
            let message = format!("expression has more than {} levels", self.options.max_depth);
            return self.stop(expr.span(), message);
        }
        Ok(Node { expr, height })
    }

    /// Reads something that may contain itself.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == MAX_NESTING {
            let span = self.peek()?.span;
            return self.stop(span, format!("expression is nested deeper than {MAX_NESTING} levels"));
        }
        self.nesting += 1;
        let read = read(self);
        self.nesting -= 1;
        read
    }
}
