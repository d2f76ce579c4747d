//! The functions that every template has.
//!
//! Source: Go's `text/template`, `funcs.go`, with its error texts.

use std::cmp::Ordering;
use std::sync::Arc;

use super::escape;
use super::function::{Function, Param};
use super::print::Printer;
use super::value::{List, Map, Value};

/// A function that every template has.
#[derive(Debug)]
pub(super) struct Builtin {
    pub(super) function: Function,
    /// From the arguments, and the most bytes that a text may have, to the result.
    pub(super) body: fn(&[Value], usize) -> Result<Value, String>,
}

const fn builtin(
    name: &'static str,
    params: &'static [Param],
    rest: Option<Param>,
    body: fn(&[Value], usize) -> Result<Value, String>,
) -> Builtin {
    Builtin { function: Function { name, params, rest }, body }
}

const ANY: Param = Param::Any;

/// All of them. `and` and `or` are run by whoever evaluates their arguments: not all may be evaluated.
pub(super) static BUILTINS: &[Builtin] = &[
    builtin("and", &[ANY], Some(ANY), |args, _| Ok(last(args))),
    builtin("call", &[ANY], Some(ANY), |args, _| call(args)),
    builtin("eq", &[ANY], Some(ANY), |args, _| equal(args).map(Value::Bool)),
    builtin("ge", &[ANY, ANY], None, |args, _| Ok(Value::Bool(!less(args)?))),
    builtin("gt", &[ANY, ANY], None, |args, _| Ok(Value::Bool(!(less(args)? || equal(args)?)))),
    builtin("html", &[], Some(ANY), |args, limit| Ok(escape::html(&joined(args, limit)).into())),
    builtin("index", &[ANY], Some(ANY), |args, _| index(args)),
    builtin("js", &[], Some(ANY), |args, limit| Ok(escape::js(&joined(args, limit)).into())),
    builtin("le", &[ANY, ANY], None, |args, _| Ok(Value::Bool(less(args)? || equal(args)?))),
    builtin("len", &[ANY], None, |args, _| len(args)),
    builtin("lt", &[ANY, ANY], None, |args, _| less(args).map(Value::Bool)),
    builtin("ne", &[ANY, ANY], None, |args, _| equal(args).map(|equal| Value::Bool(!equal))),
    builtin("not", &[ANY], None, |args, _| Ok(Value::Bool(!args.iter().any(Value::is_true)))),
    builtin("or", &[ANY], Some(ANY), |args, _| Ok(last(args))),
    builtin("print", &[], Some(ANY), |args, limit| Ok(printed(limit, |p| p.print_all(args)))),
    builtin("printf", &[Param::String], Some(ANY), |args, limit| {
        let (format, args) = args.split_first().ok_or("no format")?;
        Ok(printed(limit, |p| p.printf(format.as_str().unwrap_or_default(), args)))
    }),
    builtin("println", &[], Some(ANY), |args, limit| Ok(printed(limit, |p| p.print_line(args)))),
    builtin("slice", &[ANY], Some(ANY), |args, _| slice(args)),
    builtin("urlquery", &[], Some(ANY), |args, limit| Ok(escape::url_query(&joined(args, limit)).into())),
];

fn last(args: &[Value]) -> Value {
    args.last().cloned().unwrap_or(Value::Nil)
}

fn printed(limit: usize, print: impl FnOnce(&mut Printer)) -> Value {
    let mut printer = Printer::new(String::new(), limit);
    print(&mut printer);
    printer.out.into()
}

/// The arguments as one text.
fn joined(args: &[Value], limit: usize) -> Arc<str> {
    match args {
        [Value::String(text)] => Arc::clone(text),
        _ => {
            let mut printer = Printer::new(String::new(), limit);
            // What is nothing prints as it does outside of calls.
            let nothing = Value::from("<no value>");
            let args: Vec<Value> = args
                .iter()
                .map(|arg| if matches!(arg, Value::Nil) { nothing.clone() } else { arg.clone() })
                .collect();
            printer.print_all(&args);
            Arc::from(printer.out)
        }
    }
}

fn call(args: &[Value]) -> Result<Value, String> {
    match args.first() {
        None | Some(Value::Nil) => Err("call of nil".to_owned()),
        // No value is a function.
        Some(other) => Err(format!("non-function of type {}", other.type_name())),
    }
}

/// The type's name without the pointer that Go follows first.
fn dereferenced(value: &Value) -> &'static str {
    value.type_name().trim_start_matches('*')
}

fn len(args: &[Value]) -> Result<Value, String> {
    let length = match args.first() {
        Some(Value::String(text) | Value::Named(_, text)) => text.len(),
        Some(Value::List(list)) => list.items().len(),
        Some(Value::Map(map)) => map.entries().len(),
        None | Some(Value::Nil) => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        Some(other) => return Err(format!("len of type {}", dereferenced(other))),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// An index into what has a length; the length itself is let through.
fn place(index: &Value, length: usize) -> Result<usize, String> {
    let number = match index {
        Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        index => index
            .as_int()
            .ok_or_else(|| format!("cannot index slice/array with type {}", index.type_name()))?,
    };
    usize::try_from(number)
        .ok()
        .filter(|at| *at <= length)
        .ok_or_else(|| format!("index out of range: {number}"))
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (item, indexes) = args.split_first().ok_or("index of untyped nil")?;
    if matches!(item, Value::Nil) {
        return Err("index of untyped nil".to_owned());
    }
    let mut item = item.clone();
    for index in indexes {
        item = match &item {
            Value::String(text) | Value::Named(_, text) => {
                let byte = text.as_bytes().get(place(index, text.len())?);
                let byte = byte.ok_or("reflect: string index out of range")?;
                Value::Int(i64::from(*byte))
            }
            Value::List(list) => {
                let found = list.items().get(place(index, list.items().len())?);
                found.cloned().ok_or("reflect: slice index out of range")?
            }
            Value::Map(map) => entry(map, index)?,
            Value::Nil => return Err("index of nil pointer".to_owned()),
            other => return Err(format!("can't index item of type {}", dereferenced(other))),
        };
    }
    Ok(item)
}

fn entry(map: &Map, key: &Value) -> Result<Value, String> {
    match key {
        Value::String(key) => Ok(map.get(key)),
        Value::Nil => Err("value is nil; should be of type string".to_owned()),
        other => Err(format!("value has type {}; should be string", other.type_name())),
    }
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let (item, indexes) = args.split_first().ok_or("slice of untyped nil")?;
    if matches!(item, Value::Nil) {
        return Err("slice of untyped nil".to_owned());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let length = match item {
        Value::String(_) | Value::Named(..) if indexes.len() == 3 => {
            return Err("cannot 3-index slice a string".to_owned());
        }
        Value::String(text) | Value::Named(_, text) => text.len(),
        Value::List(list) => list.items().len(),
        other => return Err(format!("can't slice item of type {}", dereferenced(other))),
    };
    let places = indexes.iter().map(|index| place(index, length)).collect::<Result<Vec<_>, _>>()?;
    let from = places.first().copied().unwrap_or(0);
    let to = places.get(1).copied().unwrap_or(length);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if let Some(most) = places.get(2).filter(|most| to > **most) {
        return Err(format!("invalid slice index: {to} > {most}"));
    }
    match item {
        Value::List(list) => {
            let items = list.items().get(from..to).unwrap_or_default();
            Ok(Value::List(List::new(list.of, items.to_vec())))
        }
        item => {
            let bytes = item.as_str().unwrap_or_default().as_bytes().get(from..to).unwrap_or_default();
            // A cut through a character leaves bytes that are no text.
            Ok(Value::from(crate::model::valid_utf8(bytes).as_ref()))
        }
    }
}

/// Kinds of values that compare with their own kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basic {
    Bool,
    Int,
    Float,
    String,
    Other,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) | Value::Duration(_) | Value::Enum(..) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::String(_) | Value::Named(..) => Basic::String,
        _ => Basic::Other,
    }
}

/// Whether the first is equal to any of the others.
fn equal(args: &[Value]) -> Result<bool, String> {
    let (first, others) = args.split_first().ok_or("missing argument for comparison")?;
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if equal_to(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal_to(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        _ if basic(one) != basic(other) => Err("incompatible types for comparison".to_owned()),
        (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
        (Value::Float(one), Value::Float(other)) => Ok(one == other),
        (Value::Time(one), Value::Time(other)) => Ok(one == other),
        (Value::List(_) | Value::Map(_) | Value::Struct(_), _)
        | (_, Value::List(_) | Value::Map(_) | Value::Struct(_)) => Err(not_comparable(one, other)),
        _ => match (one.as_int(), other.as_int()) {
            (Some(one), Some(other)) => Ok(one == other),
            _ => Ok(one.as_str() == other.as_str()),
        },
    }
}

fn not_comparable(one: &Value, other: &Value) -> String {
    /// Of each value in the message.
    const MOST_BYTES: usize = 1_000;
    let shown = |value: &Value| {
        let mut printer = Printer::new(String::new(), MOST_BYTES);
        printer.print(value);
        printer.out
    };
    let (one_type, other_type) = (one.type_name(), other.type_name());
    format!("non-comparable types {}: {one_type}, {other_type}: {}", shown(one), shown(other))
}

/// Whether the first of two is less than the second.
fn less(args: &[Value]) -> Result<bool, String> {
    let [one, other] = args else { return Err("missing argument for comparison".to_owned()) };
    if basic(one) == Basic::Other || basic(other) == Basic::Other {
        return Err("invalid type for comparison".to_owned());
    }
    if basic(one) != basic(other) {
        return Err("incompatible types for comparison".to_owned());
    }
    match (one, other) {
        (Value::Bool(_), _) => Err("invalid type for comparison".to_owned()),
        (Value::Float(one), Value::Float(other)) => Ok(one < other),
        _ => match (one.as_int(), other.as_int()) {
            (Some(one), Some(other)) => Ok(one < other),
            _ => Ok(one.as_str().cmp(&other.as_str()) == Ordering::Less),
        },
    }
}
