//! A template at work: from a value to text.
//!
//! Invariant: every step, byte and level of nesting is counted against [`Limits`]; what explodes is an error.
//!
//! Source: Go's `text/template`, `exec.go`, with its error texts: what is at fault and where it stands.

use std::fmt::Display;
use std::sync::Arc;

use super::function::Functions;
use super::node::{Branch, Command, Node, NodeKind, Operand, OperandKind, Pipe};
use super::print::Printer;
use super::value::Value;
use super::{Limits, Template};

/// The part of a template that is at work.
#[derive(Clone, Copy)]
pub(super) enum At<'t> {
    Node(&'t Node),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
}

impl At<'_> {
    fn place(&self) -> usize {
        match self {
            At::Node(node) => node.at,
            At::Pipe(pipe) => pipe.at,
            At::Command(command) => command.at,
            At::Operand(operand) => operand.at,
        }
    }

    fn shown(&self) -> String {
        match self {
            At::Node(node) => node.to_string(),
            At::Pipe(pipe) => pipe.to_string(),
            At::Command(command) => command.to_string(),
            At::Operand(operand) => operand.to_string(),
        }
    }
}

/// What follows a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One expansion.
pub(super) struct Run<'t> {
    template: &'t Template,
    pub(super) functions: &'t dyn Functions,
    limits: Limits,
    out: String,
    /// The innermost last; the first is `$`.
    variables: Vec<(Arc<str>, Value)>,
    /// Of the template that is at work.
    name: &'t str,
    pub(super) at: Option<At<'t>>,
    steps: usize,
    depth: usize,
    /// Bytes of texts that calls made.
    made_bytes: usize,
}

/// Values nest no deeper than this. Prometheus's and Alertmanager's data do to 5 or so; `args` can add to it.
const MOST_VALUE_DEPTH: usize = 64;

pub(super) fn run(
    template: &Template,
    data: &Value,
    functions: &dyn Functions,
    limits: Limits,
) -> Result<String, String> {
    let mut run = Run {
        template,
        functions,
        limits,
        out: String::new(),
        variables: vec![(Arc::from("$"), data.clone())],
        name: &template.name,
        at: None,
        steps: 0,
        depth: 0,
        made_bytes: 0,
    };
    run.nodes(data, &template.root)?;
    Ok(run.out)
}

impl<'t> Run<'t> {
    /// An error at the part that is at work, in Go's form.
    pub(super) fn error<T>(&self, why: impl Display) -> Result<T, String> {
        let (template, name) = (&self.template.name, crate::model::Quoted(self.name));
        let Some(at) = self.at else { return Err(format!("template: {template}: {why}")) };
        let before = self.template.text.get(..at.place()).unwrap_or_default();
        let line = 1 + before.bytes().filter(|b| *b == b'\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        /// Of the part at fault, which may be nearly all of the template.
        const MOST_CHARS: usize = 1_000;
        let mut shown = at.shown();
        if shown.len() > MOST_CHARS {
            shown = shown.chars().take(MOST_CHARS).chain("...".chars()).collect();
        }
        Err(format!("template: {template}:{line}:{column}: executing {name} at <{shown}>: {why}"))
    }

    fn step(&mut self) -> Result<(), String> {
        self.spend(1)
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), String> {
        self.steps += steps;
        match self.steps > self.limits.steps {
            true => self.error(format_args!("more than {} steps", self.limits.steps)),
            false => Ok(()),
        }
    }

    fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth >= self.limits.depth {
            return self.error(format_args!("exceeded maximum template depth ({})", self.limits.depth));
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    pub(super) fn made_bytes_left(&self) -> usize {
        self.limits.made_bytes.saturating_sub(self.made_bytes)
    }

    /// A call's result, counted.
    pub(super) fn within_bounds(&mut self, value: Value) -> Result<Value, String> {
        if value.depth() > MOST_VALUE_DEPTH {
            return self.error(format_args!("a value nests deeper than {MOST_VALUE_DEPTH} levels"));
        }
        self.made_bytes += value.as_str().map_or(0, str::len);
        if self.made_bytes > self.limits.made_bytes {
            return self.error(format_args!("texts of more than {} bytes made", self.limits.made_bytes));
        }
        Ok(value)
    }

    fn wrote(&self) -> Result<(), String> {
        match self.out.len() > self.limits.output_bytes {
            true => self.error(format_args!("output of more than {} bytes", self.limits.output_bytes)),
            false => Ok(()),
        }
    }

    // Nodes.

    fn nodes(&mut self, dot: &Value, nodes: &'t [Node]) -> Result<Flow, String> {
        self.deeper(|run| {
            for node in nodes {
                let flow = run.node(dot, node)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Result<Flow, String> {
        self.at = Some(At::Node(node));
        self.step()?;
        match &node.kind {
            NodeKind::Text(text) => {
                self.out.push_str(text);
                self.wrote()?;
            }
            NodeKind::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.at = Some(At::Node(node));
                    self.print(&value)?;
                }
            }
            NodeKind::If(branch) => return self.condition(dot, branch, false),
            NodeKind::With(branch) => return self.condition(dot, branch, true),
            NodeKind::Range(branch) => return self.range(dot, branch, node),
            NodeKind::Template { name, pipe } => self.template(dot, name, pipe.as_ref())?,
            NodeKind::Break => return Ok(Flow::Break),
            NodeKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Nil => self.out.push_str("<no value>"),
            value => {
                let mut printer = Printer::new(std::mem::take(&mut self.out), self.limits.output_bytes);
                printer.print(value);
                self.out = printer.out;
            }
        }
        self.wrote()
    }

    fn condition(&mut self, dot: &Value, branch: &'t Branch, is_with: bool) -> Result<Flow, String> {
        let known = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = match (value.is_true(), &branch.otherwise) {
            (true, _) if is_with => self.nodes(&value, &branch.then)?,
            (true, _) => self.nodes(dot, &branch.then)?,
            (false, Some(otherwise)) => self.nodes(dot, otherwise)?,
            (false, None) => Flow::Next,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch, node: &'t Node) -> Result<Flow, String> {
        let known = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let mut ran = false;
        match &value {
            Value::Nil => {}
            Value::List(list) => {
                for (i, item) in list.items().iter().enumerate() {
                    ran = true;
                    let index = Value::Int(i64::try_from(i).unwrap_or(i64::MAX));
                    if self.iteration(index, item, branch, node)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in map.entries() {
                    ran = true;
                    let key = Value::String(Arc::clone(key));
                    if self.iteration(key, item, branch, node)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(_) | Value::Duration(_) | Value::Enum(..) if branch.pipe.variables.len() > 1 => {
                let shown = self.shown(&value);
                return self.error(format_args!("can't use {shown} to iterate over more than one variable"));
            }
            Value::Int(count) | Value::Duration(count) | Value::Enum(_, count, _) => {
                for i in 0..*count {
                    ran = true;
                    if self.iteration(Value::Nil, &Value::Int(i), branch, node)? == Flow::Break {
                        break;
                    }
                }
            }
            other => {
                let shown = self.shown(other);
                return self.error(format_args!("range can't iterate over {shown}"));
            }
        }
        let flow = match &branch.otherwise {
            Some(otherwise) if !ran => self.nodes(dot, otherwise)?,
            _ => Flow::Next,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn shown(&self, value: &Value) -> String {
        /// Of a value in a message.
        const MOST_BYTES: usize = 1_000;
        let mut printer = Printer::new(String::new(), MOST_BYTES);
        printer.print(value);
        printer.out
    }

    fn iteration(
        &mut self,
        index: Value,
        item: &Value,
        branch: &'t Branch,
        node: &'t Node,
    ) -> Result<Flow, String> {
        self.at = Some(At::Node(node));
        self.step()?;
        let known = self.variables.len();
        let values = match branch.pipe.variables.len() {
            0 => vec![],
            1 => vec![item.clone()],
            _ => vec![index, item.clone()],
        };
        if branch.pipe.assigns {
            for (name, value) in branch.pipe.variables.iter().zip(values) {
                self.assign(name, value)?;
            }
        } else {
            // The pipeline has declared them as the last ones.
            let first = known.saturating_sub(values.len());
            for ((_, kept), value) in self.variables.iter_mut().skip(first).zip(values) {
                *kept = value;
            }
        }
        let flow = self.nodes(item, &branch.then)?;
        self.variables.truncate(known);
        Ok(flow)
    }

    fn template(&mut self, dot: &Value, name: &'t str, pipe: Option<&'t Pipe>) -> Result<(), String> {
        let template = self.template;
        let nodes = match template.trees.get(name) {
            Some(nodes) => nodes,
            None if *name == *template.name => &template.root,
            None => {
                let name = crate::model::Quoted(name);
                return self.error(format_args!("template {name} not defined"));
            }
        };
        let value = match pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Nil,
        };
        // No variable of the caller is known there.
        let inner = vec![(Arc::from("$"), value.clone())];
        let outer = std::mem::replace(&mut self.variables, inner);
        let outer_name = std::mem::replace(&mut self.name, name);
        self.nodes(&value, nodes)?;
        self.variables = outer;
        self.name = outer_name;
        Ok(())
    }

    // Pipelines.

    pub(super) fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value, String> {
        self.at = Some(At::Pipe(pipe));
        let value = self.deeper(|run| {
            let mut value = None;
            for command in &pipe.commands {
                value = Some(run.command(dot, command, value)?);
            }
            Ok(value.unwrap_or(Value::Nil))
        })?;
        for name in &pipe.variables {
            match pipe.assigns {
                true => self.assign(name, value.clone())?,
                false => self.variables.push((Arc::clone(name), value.clone())),
            }
        }
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), String> {
        match self.variables.iter_mut().rev().find(|(known, _)| **known == *name) {
            Some((_, kept)) => {
                *kept = value;
                Ok(())
            }
            None => self.error(format_args!("undefined variable: {name}")),
        }
    }

    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Result<Value, String> {
        self.step()?;
        let operands = command.operands.as_slice();
        let Some(first) = operands.first() else { return Ok(Value::Nil) };
        match &first.kind {
            OperandKind::Field(_) | OperandKind::Chain(..) | OperandKind::Variable(..) => {
                return self.path(dot, first, operands, last);
            }
            OperandKind::Function(callee) => {
                self.at = Some(At::Operand(first));
                return self.call(dot, *callee, At::Command(command), operands, last);
            }
            OperandKind::Pipe(pipe) => {
                self.no_arguments(operands, last.as_ref())?;
                return self.pipe(dot, pipe);
            }
            _ => {}
        }
        self.at = Some(At::Operand(first));
        self.no_arguments(operands, last.as_ref())?;
        match &first.kind {
            OperandKind::Bool(truth) => Ok(Value::Bool(*truth)),
            OperandKind::Number(number) => self.constant(number),
            OperandKind::String(text, _) => Ok(Value::String(Arc::clone(text))),
            OperandKind::Nil => self.error("nil is not a command"),
            _ => Ok(dot.clone()),
        }
    }

    fn no_arguments(&self, operands: &[Operand], last: Option<&Value>) -> Result<(), String> {
        match operands {
            [first, ..] if operands.len() > 1 || last.is_some() => {
                self.error(format_args!("can't give argument to non-function {first}"))
            }
            _ => Ok(()),
        }
    }

    /// The value at the end of a chain of names: `.a.b`, `$x.a`, `(pipeline).a`.
    pub(super) fn path(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        operands: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        self.at = Some(At::Operand(operand));
        let (mut value, names) = match &operand.kind {
            OperandKind::Field(names) => (dot.clone(), names),
            OperandKind::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let Some(value) = known.map(|(_, value)| value.clone()) else {
                    return self.error(format_args!("undefined variable: {name}"));
                };
                if names.is_empty() {
                    self.no_arguments(operands, last.as_ref())?;
                }
                (value, names)
            }
            OperandKind::Chain(inner, names) => {
                if matches!(inner.kind, OperandKind::Nil) {
                    return self.error(format_args!("indirection through explicit nil in {operand}"));
                }
                (self.argument(dot, None, inner)?, names)
            }
            _ => return self.argument(dot, None, operand),
        };
        let mut is_boxed = false;
        let (mut operands, mut last) = (operands, last);
        for (i, name) in names.iter().enumerate() {
            let is_end = i + 1 == names.len();
            let given = if is_end { std::mem::take(&mut operands) } else { &[] };
            let piped = if is_end { last.take() } else { None };
            let boxed = is_boxed;
            is_boxed = holds_anything(&value);
            value = self.field(dot, &value, boxed, name, (operand, given, piped))?;
        }
        Ok(value)
    }

    /// A method, field or entry of a value. `boxed`: Go knows the value's type only as `interface {}`.
    fn field(
        &mut self,
        dot: &Value,
        value: &Value,
        boxed: bool,
        name: &str,
        (operand, operands, last): (&'t Operand, &'t [Operand], Option<Value>),
    ) -> Result<Value, String> {
        if matches!(value, Value::Nil) {
            return match boxed {
                true => self.error(format_args!("nil pointer evaluating interface {{}}.{name}")),
                false => Ok(Value::Nil),
            };
        }
        if let Some(method) = value.methods().iter().find(|method| method.function.name == name) {
            return self.call_method(dot, method, value, At::Operand(operand), operands, last);
        }
        let has_arguments = operands.len() > 1 || last.is_some();
        match value {
            Value::Struct(object) => {
                if let Some(field) = object.get(name) {
                    return match has_arguments {
                        true => {
                            self.error(format_args!("{name} has arguments but cannot be invoked as function"))
                        }
                        false => Ok(field.clone()),
                    };
                }
            }
            Value::Map(map) => {
                return match has_arguments {
                    true => self.error(format_args!("{name} is not a method but has arguments")),
                    false => Ok(map.field(name)),
                };
            }
            _ => {}
        }
        let type_name = if boxed { "interface {}" } else { value.type_name() };
        self.error(format_args!("can't evaluate field {name} in type {type_name}"))
    }
}

/// Whether the entries of a value are `interface {}` to Go.
fn holds_anything(value: &Value) -> bool {
    match value {
        Value::Map(map) => map.of.missing == super::Missing::Nothing,
        _ => false,
    }
}
