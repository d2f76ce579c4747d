//! Calls of functions and methods: the arguments are counted and fitted to the parameters.
//!
//! Source: Go's `text/template`, `exec.go`: `evalCall`, `evalArg`, `validateType`.

use super::builtin::{BUILTINS, Builtin};
use super::exec::{At, Run};
use super::function::{Function, Method, Param};
use super::node::{Number, Operand, OperandKind};
use super::value::Value;

/// What a name in a template calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callee {
    /// Every template has it.
    Builtin(&'static Builtin),
    /// The template was read with it.
    Given(&'static Function),
}

impl Callee {
    /// The function of a name; those given come first.
    pub(super) fn named(name: &str, given: &'static [Function]) -> Option<Self> {
        let given = given.iter().find(|function| function.name == name).map(Self::Given);
        given.or_else(|| BUILTINS.iter().find(|b| b.function.name == name).map(Self::Builtin))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Builtin(builtin) => builtin.function.name,
            Self::Given(function) => function.name,
        }
    }
}

/// What is called, and on what.
enum Target<'v> {
    Callee(Callee),
    Method(&'static Method, &'v Value),
}

impl Target<'_> {
    fn function(&self) -> &'static Function {
        match self {
            Self::Callee(Callee::Builtin(builtin)) => &builtin.function,
            Self::Callee(Callee::Given(function)) => function,
            Self::Method(method, _) => &method.function,
        }
    }
}

impl<'t> Run<'t> {
    /// Calls a function. The first operand is its name; `last` comes from the pipeline.
    pub(super) fn call(
        &mut self,
        dot: &Value,
        callee: Callee,
        at: At<'t>,
        operands: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let rest = operands.get(1..).unwrap_or_default();
        if let "and" | "or" = callee.name()
            && matches!(callee, Callee::Builtin(_))
        {
            return self.short_circuit(dot, callee.name() == "or", rest, last);
        }
        self.call_target(dot, &Target::Callee(callee), at, rest, last)
    }

    /// Calls a method of a value.
    pub(super) fn call_method(
        &mut self,
        dot: &Value,
        method: &'static Method,
        receiver: &Value,
        at: At<'t>,
        operands: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let rest = operands.get(1..).unwrap_or_default();
        self.call_target(dot, &Target::Method(method, receiver), at, rest, last)
    }

    /// `and` and `or` evaluate only what decides.
    fn short_circuit(
        &mut self,
        dot: &Value,
        is_or: bool,
        operands: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        if operands.is_empty() && last.is_none() {
            let name = if is_or { "or" } else { "and" };
            return self.error(format_args!("wrong number of args for {name}: want at least 1 got 0"));
        }
        let mut value = Value::Nil;
        for operand in operands {
            value = self.argument(dot, Some(Param::Any), operand)?;
            if value.is_true() == is_or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn call_target(
        &mut self,
        dot: &Value,
        target: &Target<'_>,
        at: At<'t>,
        operands: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let function = target.function();
        let (name, given) = (function.name, operands.len() + usize::from(last.is_some()));
        match function.rest {
            Some(_) if given < function.params.len() => {
                let (want, got) = (function.params.len(), operands.len());
                return self
                    .error(format_args!("wrong number of args for {name}: want at least {want} got {got}"));
            }
            None if given != function.params.len() => {
                let want = function.params.len();
                return self.error(format_args!("wrong number of args for {name}: want {want} got {given}"));
            }
            _ => {}
        }
        let param = |i: usize| function.params.get(i).copied().or(function.rest);
        let mut args = Vec::with_capacity(given);
        for (i, operand) in operands.iter().enumerate() {
            args.push(self.argument(dot, param(i), operand)?);
        }
        if let Some(last) = last {
            args.push(self.fitting(last, param(operands.len()))?);
        }
        self.spend(args.iter().map(Value::weight).sum())?;
        let limit = self.made_bytes_left();
        let result = match target {
            Target::Callee(Callee::Builtin(builtin)) => (builtin.body)(&args, limit),
            Target::Callee(Callee::Given(function)) => self.functions.call(function.name, &args),
            Target::Method(method, receiver) => (method.body)(receiver, &args),
        };
        match result {
            Ok(value) => self.within_bounds(value),
            Err(why) => {
                self.at = Some(at);
                self.error(format_args!("error calling {name}: {why}"))
            }
        }
    }

    /// An operand as the argument of a parameter; without one, as it is.
    pub(super) fn argument(
        &mut self,
        dot: &Value,
        param: Option<Param>,
        operand: &'t Operand,
    ) -> Result<Value, String> {
        self.at = Some(At::Operand(operand));
        let value = match &operand.kind {
            OperandKind::Nil => match param {
                Some(param) if param.takes_nil() => return Ok(Value::Nil),
                None => return Ok(Value::Nil),
                Some(param) => return self.error(format_args!("cannot assign nil to {}", param.name())),
            },
            OperandKind::Number(number) => return self.number(number, param, operand),
            OperandKind::String(text, _) => match param {
                None | Some(Param::Any | Param::String) => return Ok(Value::String(text.clone())),
                Some(param) => return self.unfit(param, operand),
            },
            OperandKind::Bool(truth) => match param {
                None | Some(Param::Any) => return Ok(Value::Bool(*truth)),
                Some(param) => return self.unfit(param, operand),
            },
            OperandKind::Dot => dot.clone(),
            OperandKind::Pipe(pipe) => self.pipe(dot, pipe)?,
            OperandKind::Function(callee) => self.call(dot, *callee, At::Operand(operand), &[], None)?,
            OperandKind::Field(_) | OperandKind::Variable(..) | OperandKind::Chain(..) => {
                self.path(dot, operand, &[], None)?
            }
        };
        self.fitting(value, param)
    }

    fn number(
        &mut self,
        number: &Number,
        param: Option<Param>,
        operand: &'t Operand,
    ) -> Result<Value, String> {
        match param {
            None | Some(Param::Any) => self.constant(number),
            Some(Param::Float) => match number.float {
                Some(value) => Ok(Value::Float(value)),
                None => self.error(format_args!("expected float; found {}", number.text)),
            },
            Some(Param::Int) => match number.int {
                Some(value) => Ok(Value::Int(value)),
                None => self.error(format_args!("expected integer; found {}", number.text)),
            },
            Some(Param::Duration) => match number.int {
                Some(value) => Ok(Value::Duration(value)),
                None => self.error(format_args!("expected integer; found {}", number.text)),
            },
            Some(param) => self.unfit(param, operand),
        }
    }

    /// A number where any type will do.
    pub(super) fn constant(&self, number: &Number) -> Result<Value, String> {
        match (number.is_float, number.float, number.int) {
            (true, Some(value), _) => Ok(Value::Float(value)),
            (_, _, Some(value)) => Ok(Value::Int(value)),
            _ => self.error(format_args!("{} overflows int", number.text)),
        }
    }

    /// A constant of the wrong type.
    fn unfit(&self, param: Param, operand: &Operand) -> Result<Value, String> {
        match param {
            Param::String => self.error(format_args!("expected string; found {operand}")),
            Param::Float => self.error(format_args!("expected float; found {operand}")),
            Param::Int | Param::Duration => self.error(format_args!("expected integer; found {operand}")),
            param => self.error(format_args!("can't handle {operand} for arg of type {}", param.name())),
        }
    }

    /// A value that is known to fit a parameter.
    fn fitting(&self, value: Value, param: Option<Param>) -> Result<Value, String> {
        let Some(param) = param else { return Ok(value) };
        match &value {
            Value::Nil if param.takes_nil() => Ok(value),
            Value::Nil => self.error(format_args!("invalid value; expected {}", param.name())),
            _ if param.takes(&value) => Ok(value),
            _ => {
                let (expected, got) = (param.name(), value.type_name());
                self.error(format_args!("wrong type for value; expected {expected}; got {got}"))
            }
        }
    }
}
