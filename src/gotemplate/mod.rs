//! Go's `text/template`: the language in which Prometheus's rules and Alertmanager's messages are written.
//!
//! A [`Template`] is read once, with the functions that it may call, and expanded with a [`Value`] as often as wanted.
//! Error texts are Go's. What Go has and this has not: complex numbers, functions as values, other delimiters.
//!
//! Invariant: no IO, no clock. Reading and expanding are bounded ([`Limits`]): a template that explodes is an error.
//!
//! Source: the documentation of Go's packages `text/template`, `fmt`, `strconv` and `time`, and their behaviour.

mod builtin;
mod call;
mod escape;
mod exec;
mod float;
mod function;
mod lexer;
mod node;
mod number;
mod parser;
mod print;
#[cfg(test)]
mod tests;
mod time;
mod unquote;
mod value;

use std::sync::Arc;

pub use escape::url_query;
pub use float::{format_float, parse_float};
pub use function::{Function, Functions, Method, Param};
pub use time::Time;
pub use value::{ANY_MAP, List, Map, Missing, STRING_LIST, STRING_MAP, Struct, Type, Value};

use print::Printer;

/// The longest text of a template. Whole files of message templates are below 100 kB.
const LONGEST_TEXT_BYTES: usize = 1 << 20;

/// A template that has been read.
#[derive(Debug)]
pub struct Template {
    name: Arc<str>,
    text: Arc<str>,
    root: node::Nodes,
    trees: parser::Trees,
}

/// How much an expansion may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the result.
    pub output_bytes: usize,
    /// Parts of the template that are run, each as often as it is.
    pub steps: usize,
    /// Lists of parts and pipelines within each other, templates that call templates included. Each costs stack.
    pub depth: usize,
    /// Bytes of all texts that functions make on the way.
    pub made_bytes: usize,
}

/// Far above what messages need, and below a second and a few megabytes.
impl Default for Limits {
    fn default() -> Self {
        Self { output_bytes: 1 << 20, steps: 1_000_000, depth: 200, made_bytes: 4 << 20 }
    }
}

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl Template {
    /// Reads a template that may call Go's own functions and those given.
    ///
    /// # Errors
    /// `template: NAME:LINE: ...`, as Go words it.
    pub fn parse(name: &str, text: &str, functions: &'static [Function]) -> Result<Self, TemplateError> {
        if text.len() > LONGEST_TEXT_BYTES {
            let why = format!("template: {name}:1: longer than {LONGEST_TEXT_BYTES} bytes");
            return Err(TemplateError(why));
        }
        let (root, trees) = parser::parsed(name, text, functions).map_err(TemplateError)?;
        Ok(Self { name: Arc::from(name), text: Arc::from(text), root, trees })
    }

    /// Expands the template with a value as its dot.
    ///
    /// # Errors
    /// `template: NAME:LINE:COLUMN: executing "NAME" at <...>: ...`, as Go words it; or a limit was reached.
    pub fn expand(&self, data: &Value, functions: &dyn Functions, limits: Limits) -> Result<String, String> {
        exec::run(self, data, functions, limits)
    }
}

/// Values as Go's `Sprintf` prints them, cut behind a number of bytes.
pub fn sprintf(format: &str, args: &[Value], limit_bytes: usize) -> String {
    let mut printer = Printer::new(String::new(), limit_bytes);
    printer.printf(format, args);
    printer.out
}
