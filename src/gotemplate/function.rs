//! What templates can call: signatures of functions and methods, and who answers.
//!
//! Source: Go's `text/template`, `exec.go`: arguments are checked against the parameters before the call.

use super::value::{Type, Value};

/// The type of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Param {
    /// Anything, nothing included.
    Any,
    /// A text.
    String,
    /// A `float64`; a number in the template becomes one.
    Float,
    /// An `int`.
    Int,
    /// An instant.
    Time,
    /// A `time.Duration`.
    Duration,
    /// A list, map, struct or named text of this very type; nil is taken, too, and arrives as [`Value::Nil`].
    Of(&'static Type),
}

impl Param {
    /// As Go names the type.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::String => "string",
            Self::Float => "float64",
            Self::Int => "int",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::Of(of) => of.name,
        }
    }

    pub(super) fn takes_nil(self) -> bool {
        matches!(self, Self::Any | Self::Of(_))
    }

    pub(super) fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::String, Value::String(_))
            | (Self::Float, Value::Float(_))
            | (Self::Int, Value::Int(_))
            | (Self::Time, Value::Time(_))
            | (Self::Duration, Value::Duration(_)) => true,
            (Self::Of(of), Value::Named(own, _)) => std::ptr::eq(of, *own),
            (Self::Of(of), Value::List(list)) => std::ptr::eq(of, list.of),
            (Self::Of(of), Value::Map(map)) => std::ptr::eq(of, map.of),
            (Self::Of(of), Value::Struct(object)) => std::ptr::eq(of, object.of),
            _ => false,
        }
    }
}

/// A function's name and parameters.
#[derive(Debug)]
pub struct Function {
    /// As templates write it.
    pub name: &'static str,
    /// Those that each call gives.
    pub params: &'static [Param],
    /// The type of the further ones, if any number may follow.
    pub rest: Option<Param>,
}

/// A method of a [`Type`]: `.Name` with arguments behind it.
#[derive(Debug)]
pub struct Method {
    /// Its name and parameters.
    pub function: Function,
    /// From the value and the arguments, which fit the parameters, to the result.
    pub body: fn(&Value, &[Value]) -> Result<Value, String>,
}

/// The functions beyond Go's own, and who answers their calls.
pub trait Functions {
    /// Calls one of the functions that the template was read with. The arguments fit its parameters.
    ///
    /// # Errors
    /// The call failed; the text stands behind `error calling NAME: ` in the template's error.
    fn call(&self, name: &'static str, args: &[Value]) -> Result<Value, String>;
}

/// No functions beyond Go's own.
impl Functions for () {
    fn call(&self, name: &'static str, _: &[Value]) -> Result<Value, String> {
        Err(format!("{name:?} is not a defined function"))
    }
}
