//! A template as a tree, and each part as Go prints it in its errors.
//!
//! Invariant: [`Node::at`] and its like are places in the text that was read; nesting is bounded by the parser.
//!
//! Source: Go's `text/template/parse`, `node.go`.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use super::call::Callee;

/// A part that yields text.
#[derive(Debug)]
pub(super) struct Node {
    /// Byte offset in the text.
    pub(super) at: usize,
    pub(super) kind: NodeKind,
}

pub(super) type Nodes = Vec<Node>;

#[derive(Debug)]
pub(super) enum NodeKind {
    Text(Arc<str>),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { name: Arc<str>, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// A condition and what depends on it.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) then: Nodes,
    pub(super) otherwise: Option<Nodes>,
}

/// Commands, each of which gets the result of the one before; the last result may go into variables.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) assigns: bool,
    pub(super) variables: Vec<Arc<str>>,
    pub(super) commands: Vec<Command>,
}

/// A function or value, and arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) kind: OperandKind,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    /// The value, and as it is written.
    String(Arc<str>, Arc<str>),
    Field(Vec<Arc<str>>),
    /// The name and the fields behind it.
    Variable(Arc<str>, Vec<Arc<str>>),
    Function(Callee),
    Chain(Box<Operand>, Vec<Arc<str>>),
    Pipe(Pipe),
}

/// A number has no type until it is used.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) text: Arc<str>,
    pub(super) int: Option<i64>,
    pub(super) float: Option<f64>,
    /// It is written with a point or an exponent.
    pub(super) is_float: bool,
}

fn fields(f: &mut Formatter<'_>, names: &[Arc<str>]) -> fmt::Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(truth) => write!(f, "{truth}"),
            OperandKind::Number(number) => f.write_str(&number.text),
            OperandKind::String(_, written) => f.write_str(written),
            OperandKind::Field(names) => fields(f, names),
            OperandKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            OperandKind::Function(callee) => f.write_str(callee.name()),
            OperandKind::Chain(operand, names) => {
                match &operand.kind {
                    OperandKind::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => write!(f, "{operand}")?,
                }
                fields(f, names)
            }
            OperandKind::Pipe(pipe) => write!(f, "{pipe}"),
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, operand) in self.operands.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " " })?;
            match &operand.kind {
                OperandKind::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => write!(f, "{operand}")?,
            }
        }
        Ok(())
    }
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, name) in self.variables.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        if !self.variables.is_empty() {
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

fn nodes(f: &mut Formatter<'_>, nodes: &[Node]) -> fmt::Result {
    nodes.iter().try_for_each(|node| write!(f, "{node}"))
}

fn branch(f: &mut Formatter<'_>, keyword: &str, branch: &Branch) -> fmt::Result {
    write!(f, "{{{{{keyword} {}}}}}", branch.pipe)?;
    nodes(f, &branch.then)?;
    if let Some(otherwise) = &branch.otherwise {
        f.write_str("{{else}}")?;
        nodes(f, otherwise)?;
    }
    f.write_str("{{end}}")
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::Text(text) => f.write_str(text),
            NodeKind::Action(pipe) => write!(f, "{{{{{pipe}}}}}"),
            NodeKind::If(parts) => branch(f, "if", parts),
            NodeKind::With(parts) => branch(f, "with", parts),
            NodeKind::Range(parts) => branch(f, "range", parts),
            NodeKind::Template { name, pipe: None } => {
                write!(f, "{{{{template {}}}}}", crate::model::Quoted(name))
            }
            NodeKind::Template { name, pipe: Some(pipe) } => {
                write!(f, "{{{{template {} {pipe}}}}}", crate::model::Quoted(name))
            }
            NodeKind::Break => f.write_str("{{break}}"),
            NodeKind::Continue => f.write_str("{{continue}}"),
        }
    }
}
