//! From tokens to trees: one for the text itself, one for each `define` and `block`.
//!
//! Invariant: nesting is bounded by [`MOST_NESTING`], so that neither reading nor running needs much stack.
//!
//! Source: Go's `text/template/parse`, `parse.go`, with its error texts.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::Callee;
use super::function::Function;
use super::lexer::{Kind, Lexed, Token, lexed};
use super::node::{Branch, Command, Node, NodeKind, Nodes, Operand, OperandKind, Pipe};
use super::number;
use super::unquote::unquoted;

/// Actions and parentheses within each other. Nobody writes that many; each costs stack.
const MOST_NESTING: usize = 100;

/// Variables that are known at one place. Each use looks through them.
const MOST_VARIABLES: usize = 1_000;

/// The trees of a text, by name.
pub(super) type Trees = HashMap<Arc<str>, Nodes>;

/// Reads a text.
///
/// # Errors
/// In Go's words: `template: NAME:LINE: ...`.
pub(super) fn parsed(
    name: &str,
    text: &str,
    functions: &'static [Function],
) -> Result<(Nodes, Trees), String> {
    let Lexed { tokens, error } = lexed(text);
    let mut parser = Parser {
        name,
        text,
        tokens,
        lexing_error: error,
        next: 0,
        functions,
        variables: vec![Arc::from("$")],
        trees: Trees::new(),
        action_line: 0,
        ranges: 0,
        nesting: 0,
    };
    parser.all().map(|root| (root, parser.trees))
}

struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    tokens: Vec<Token>,
    lexing_error: String,
    /// Of the token that is read next.
    next: usize,
    functions: &'static [Function],
    /// Those that are known here, the innermost last.
    variables: Vec<Arc<str>>,
    trees: Trees,
    /// Where the action that is being read began; 0 outside of actions.
    action_line: usize,
    ranges: usize,
    nesting: usize,
}

type Parsed<T> = Result<T, String>;

/// What a list of nodes ends with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    End,
    Else,
}

impl Closing {
    const fn shown(self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

enum Item {
    Node(Node),
    Closing(Closing),
}

impl<'a> Parser<'a> {
    // Tokens.

    fn peek(&self) -> Token {
        // The last token is never passed.
        let last = self.tokens.len().saturating_sub(1);
        let end = Token { kind: Kind::End, start: self.text.len(), end: self.text.len(), line: 1 };
        self.tokens.get(self.next.min(last)).copied().unwrap_or(end)
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn peek_behind_spaces(&mut self) -> Token {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_behind_spaces(&mut self) -> Token {
        self.peek_behind_spaces();
        self.take()
    }

    fn written(&self, token: Token) -> &'a str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn error<T>(&self, why: impl std::fmt::Display) -> Parsed<T> {
        let last = self.tokens.len().saturating_sub(1);
        let line = self.tokens.get(self.next.saturating_sub(1).min(last)).map_or(1, |token| token.line);
        Err(format!("template: {}:{line}: {why}", self.name))
    }

    fn unexpected<T>(&self, token: Token, context: &str) -> Parsed<T> {
        if token.kind != Kind::Error {
            return self.error(format_args!("unexpected {} in {context}", self.shown(token)));
        }
        let mut started = String::new();
        if self.action_line != 0 && self.action_line != token.line {
            started = format!(" in action started at {}:{}", self.name, self.action_line);
            if self.lexing_error.ends_with(" action") {
                started = started.replacen(" in action", "", 1);
            }
        }
        self.error(format_args!("{}{started}", self.lexing_error))
    }

    fn shown(&self, token: Token) -> String {
        let text = self.written(token);
        match token.kind {
            Kind::End => "EOF".to_owned(),
            kind if kind.is_keyword() => format!("<{text}>"),
            _ if text.len() > 10 => {
                let head: String = text.chars().take(10).collect();
                format!("{}...", crate::model::Quoted(&head))
            }
            _ => crate::model::Quoted(text).to_string(),
        }
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token> {
        let token = self.take_behind_spaces();
        if token.kind == kind { Ok(token) } else { self.unexpected(token, context) }
    }

    /// One level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= MOST_NESTING {
            return self.error(format_args!("nested deeper than {MOST_NESTING} levels"));
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        result
    }

    // Lists of nodes.

    fn all(&mut self) -> Parsed<Nodes> {
        let mut root = Nodes::new();
        while self.peek().kind != Kind::End {
            if self.peek().kind == Kind::Left {
                let opening = self.next;
                self.next += 1;
                if self.take_behind_spaces().kind == Kind::Define {
                    self.definition()?;
                    continue;
                }
                self.next = opening;
            }
            match self.text_or_action()? {
                Item::Node(node) => root.push(node),
                Item::Closing(closing) => {
                    return self.error(format_args!("unexpected {}", closing.shown()));
                }
            }
        }
        Ok(root)
    }

    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let token = self.take_behind_spaces();
        let name = self.template_name(token, CONTEXT)?;
        self.expect(Kind::Right, CONTEXT)?;
        self.tree(&name, CONTEXT)
    }

    /// Reads and keeps the tree of a `define` or `block`; it sees no variables but `$`.
    fn tree(&mut self, name: &Arc<str>, context: &str) -> Parsed<()> {
        let outer = std::mem::replace(&mut self.variables, vec![Arc::from("$")]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, closing) = self.nodes()?;
        self.variables = outer;
        self.ranges = ranges;
        if closing != Closing::End {
            return self.error(format_args!("unexpected {} in {context}", closing.shown()));
        }
        match self.trees.get(name) {
            Some(kept) if !is_empty(kept) => {
                if is_empty(&nodes) {
                    return Ok(());
                }
                let name = crate::model::Quoted(name);
                return self.error(format_args!("template: multiple definition of template {name}"));
            }
            _ => {}
        }
        self.trees.insert(Arc::clone(name), nodes);
        Ok(())
    }

    fn nodes(&mut self) -> Parsed<(Nodes, Closing)> {
        let mut nodes = Nodes::new();
        while self.peek_behind_spaces().kind != Kind::End {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::Closing(closing) => return Ok((nodes, closing)),
            }
        }
        self.error("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.take_behind_spaces();
        match token.kind {
            Kind::Text => {
                let text = Arc::from(self.written(token));
                Ok(Item::Node(Node { at: token.start, kind: NodeKind::Text(text) }))
            }
            Kind::Left => {
                self.action_line = token.line;
                let action = self.nested(Self::action)?;
                self.action_line = 0;
                Ok(action)
            }
            _ => self.unexpected(token, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.peek_behind_spaces();
        let at = token.start;
        self.next += 1;
        let kind = match token.kind {
            Kind::Block => return self.block(),
            Kind::Break => self.jump("{{break}}", NodeKind::Break)?,
            Kind::Continue => self.jump("{{continue}}", NodeKind::Continue)?,
            Kind::Else => {
                // `{{else if` and `{{else with` go on as if they were actions of their own.
                if !matches!(self.peek_behind_spaces().kind, Kind::If | Kind::With) {
                    self.expect(Kind::Right, "else")?;
                }
                return Ok(Item::Closing(Closing::Else));
            }
            Kind::EndKeyword => {
                self.expect(Kind::Right, "end")?;
                return Ok(Item::Closing(Closing::End));
            }
            Kind::If => NodeKind::If(self.branch("if")?),
            Kind::Range => NodeKind::Range(self.branch("range")?),
            Kind::With => NodeKind::With(self.branch("with")?),
            Kind::Template => return self.template(),
            _ => {
                self.next -= 1;
                NodeKind::Action(self.pipe("command", Kind::Right)?)
            }
        };
        Ok(Item::Node(Node { at, kind }))
    }

    fn jump(&mut self, name: &str, kind: NodeKind) -> Parsed<NodeKind> {
        let token = self.take_behind_spaces();
        if token.kind != Kind::Right {
            return self.unexpected(token, name);
        }
        if self.ranges == 0 {
            return self.error(format_args!("{name} outside {{{{range}}}}"));
        }
        Ok(kind)
    }

    fn branch(&mut self, keyword: &'static str) -> Parsed<Branch> {
        let known = self.variables.len();
        let pipe = self.pipe(keyword, Kind::Right)?;
        let in_range = usize::from(keyword == "range");
        self.ranges += in_range;
        let (then, closing) = self.nodes()?;
        self.ranges -= in_range;
        let otherwise = match closing {
            Closing::End => None,
            Closing::Else => Some(self.otherwise(keyword)?),
        };
        self.variables.truncate(known);
        Ok(Branch { pipe, then, otherwise })
    }

    fn otherwise(&mut self, keyword: &'static str) -> Parsed<Nodes> {
        let token = self.peek();
        let wrap = match (keyword, token.kind) {
            ("if", Kind::If) => NodeKind::If,
            ("with", Kind::With) => NodeKind::With,
            _ => {
                let (nodes, closing) = self.nodes()?;
                if closing != Closing::End {
                    return self.error(format_args!("expected end; found {}", closing.shown()));
                }
                return Ok(nodes);
            }
        };
        self.next += 1;
        let branch = self.nested(|parser| parser.branch(keyword))?;
        Ok(vec![Node { at: token.start, kind: wrap(branch) }])
    }

    fn block(&mut self) -> Parsed<Item> {
        const CONTEXT: &str = "block clause";
        let token = self.take_behind_spaces();
        let name = self.template_name(token, CONTEXT)?;
        let pipe = self.pipe(CONTEXT, Kind::Right)?;
        self.tree(&name, CONTEXT)?;
        Ok(Item::Node(Node { at: token.start, kind: NodeKind::Template { name, pipe: Some(pipe) } }))
    }

    fn template(&mut self) -> Parsed<Item> {
        const CONTEXT: &str = "template clause";
        let token = self.take_behind_spaces();
        let name = self.template_name(token, CONTEXT)?;
        let pipe = match self.peek_behind_spaces().kind {
            Kind::Right => {
                self.next += 1;
                None
            }
            _ => Some(self.pipe(CONTEXT, Kind::Right)?),
        };
        Ok(Item::Node(Node { at: token.start, kind: NodeKind::Template { name, pipe } }))
    }

    fn template_name(&self, token: Token, context: &str) -> Parsed<Arc<str>> {
        match token.kind {
            Kind::Quoted | Kind::RawQuoted => self.unquoted(token),
            _ => self.unexpected(token, context),
        }
    }

    fn unquoted(&self, token: Token) -> Parsed<Arc<str>> {
        match unquoted(self.written(token)) {
            Some(text) => Ok(Arc::from(text)),
            None => self.error("invalid syntax"),
        }
    }

    // Pipelines.

    fn pipe(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let at = self.peek_behind_spaces().start;
        let mut pipe = Pipe { at, assigns: false, variables: Vec::new(), commands: Vec::new() };
        while self.declaration(&mut pipe, context)? {}
        loop {
            let token = self.peek_behind_spaces();
            match token.kind {
                kind if kind == end => {
                    self.next += 1;
                    return self.checked(pipe, context);
                }
                Kind::Bool
                | Kind::Char
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawQuoted
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen => {
                    let command = self.nested(Self::command)?;
                    pipe.commands.push(command);
                }
                _ => {
                    self.next += 1;
                    return self.unexpected(token, context);
                }
            }
        }
    }

    /// `$x :=`, `$x =`, or `$i,` of a range; says whether another may follow.
    fn declaration(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<bool> {
        let variable = self.peek_behind_spaces();
        if variable.kind != Kind::Variable {
            return Ok(false);
        }
        if self.variables.len() >= MOST_VARIABLES {
            return self.error(format_args!("more than {MOST_VARIABLES} variables"));
        }
        let before = self.next;
        self.next += 1;
        let next = self.peek_behind_spaces();
        let name: Arc<str> = Arc::from(self.written(variable));
        match next.kind {
            Kind::Assign | Kind::Declare => {
                self.next += 1;
                pipe.assigns = next.kind == Kind::Assign;
                pipe.variables.push(Arc::clone(&name));
                self.variables.push(name);
                Ok(false)
            }
            Kind::Other if self.written(next) == "," => {
                self.next += 1;
                pipe.variables.push(Arc::clone(&name));
                self.variables.push(name);
                if context != "range" || pipe.variables.len() >= 2 {
                    return self.error(format_args!("too many declarations in {context}"));
                }
                match self.peek_behind_spaces().kind {
                    Kind::Variable | Kind::Right | Kind::RightParen => Ok(true),
                    _ => self.error("range can only initialize variables"),
                }
            }
            _ => {
                self.next = before;
                Ok(false)
            }
        }
    }

    fn checked(&self, pipe: Pipe, context: &str) -> Parsed<Pipe> {
        if pipe.commands.is_empty() {
            return self.error(format_args!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            if command.operands.first().is_some_and(|operand| {
                matches!(
                    operand.kind,
                    OperandKind::Bool(_)
                        | OperandKind::Dot
                        | OperandKind::Nil
                        | OperandKind::Number(_)
                        | OperandKind::String(..)
                )
            }) {
                return self.error(format_args!("non executable command in pipeline stage {}", i + 1));
            }
        }
        Ok(pipe)
    }

    fn command(&mut self) -> Parsed<Command> {
        let at = self.peek_behind_spaces().start;
        let mut command = Command { at, operands: Vec::new() };
        loop {
            self.peek_behind_spaces();
            command.operands.extend(self.operand()?);
            let token = self.take();
            match token.kind {
                Kind::Space => continue,
                Kind::Right | Kind::RightParen => self.next -= 1,
                Kind::Pipe => {}
                _ => return self.unexpected(token, "operand"),
            }
            break;
        }
        if command.operands.is_empty() { self.error("empty command") } else { Ok(command) }
    }

    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let at = self.peek().start;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            let token = self.take();
            names.push(self.field_name(token));
        }
        if names.is_empty() {
            return Ok(Some(operand));
        }
        match &mut operand.kind {
            OperandKind::Field(fields) | OperandKind::Variable(_, fields) => {
                fields.append(&mut names);
                operand.at = at;
            }
            OperandKind::Bool(_)
            | OperandKind::String(..)
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot => {
                let term = operand.to_string();
                return self.error(format_args!("unexpected . after term {}", crate::model::Quoted(&term)));
            }
            _ => operand = Operand { at, kind: OperandKind::Chain(Box::new(operand), names) },
        }
        Ok(Some(operand))
    }

    fn field_name(&self, token: Token) -> Arc<str> {
        Arc::from(self.written(token).trim_start_matches('.'))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.peek_behind_spaces();
        let written = self.written(token);
        self.next += 1;
        let kind = match token.kind {
            Kind::Identifier => match Callee::named(written, self.functions) {
                Some(callee) => OperandKind::Function(callee),
                None => {
                    let name = crate::model::Quoted(written);
                    return self.error(format_args!("function {name} not defined"));
                }
            },
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Bool => OperandKind::Bool(written == "true"),
            Kind::Variable if self.variables.iter().any(|known| **known == *written) => {
                OperandKind::Variable(Arc::from(written), Vec::new())
            }
            Kind::Variable => {
                let name = crate::model::Quoted(written);
                return self.error(format_args!("undefined variable {name}"));
            }
            Kind::Field => OperandKind::Field(vec![self.field_name(token)]),
            Kind::Char => self.number(number::character(written))?,
            Kind::Number => self.number(number::parsed(written))?,
            Kind::LeftParen => OperandKind::Pipe(
                self.nested(|parser| parser.pipe("parenthesized pipeline", Kind::RightParen))?,
            ),
            Kind::Quoted | Kind::RawQuoted => OperandKind::String(self.unquoted(token)?, Arc::from(written)),
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: token.start, kind }))
    }

    fn number(&self, number: Result<super::node::Number, String>) -> Parsed<OperandKind> {
        match number {
            Ok(number) => Ok(OperandKind::Number(number)),
            Err(why) => self.error(why),
        }
    }
}

/// Whether nodes are nothing but spaces: such a tree gives way to any other.
fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(&node.kind, NodeKind::Text(text) if text.trim().is_empty()))
}
