//! What a template computes with: the few of Go's types that templates of Prometheus and Alertmanager meet.
//!
//! Invariant: a value nests no deeper than [`Value::depth`] says, so that printing and dropping it need little stack.
//! A clone costs a reference count.
//!
//! Source: Go's `reflect` as `text/template` uses it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::function::Method;
use super::time::Time;

/// A value. Lists, maps and structs carry their Go type, which error texts name and methods belong to.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: Go's invalid value and untyped nil.
    Nil,
    /// A truth.
    Bool(bool),
    /// A whole number: Go's `int`.
    Int(i64),
    /// Go's `float64`.
    Float(f64),
    /// A text.
    String(Arc<str>),
    /// A text that its type calls more than a text, such as `template.HTML`.
    Named(&'static Type, Arc<str>),
    /// Values in order.
    List(List),
    /// Values by name, in order of the names.
    Map(Map),
    /// Values under the names of fields.
    Struct(Struct),
    /// An instant and how far its zone's clocks are ahead of UTC.
    Time(Time),
    /// Nanoseconds.
    Duration(i64),
    /// A number with a name: a month, a day of the week.
    Enum(&'static Type, i64, &'static str),
}

/// A Go type.
#[derive(Debug)]
pub struct Type {
    /// As Go prints it: `map[string]string`.
    pub name: &'static str,
    /// What a map answers for a key that it lacks.
    pub missing: Missing,
    /// What `.Name` calls.
    pub methods: &'static [Method],
}

/// What a map without the key answers: the zero value of its elements' type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The empty text.
    EmptyString,
    /// Nothing, which prints as `<no value>`: the elements may be of any type.
    Nothing,
    /// `.key` is nothing, `index` finds the empty text: texts, in a template that asks for no zero values.
    NothingOfTexts,
}

/// Go's `map[string]string`.
pub static STRING_MAP: Type = Type { name: "map[string]string", missing: Missing::EmptyString, methods: &[] };

/// Go's `map[string]interface {}`.
pub static ANY_MAP: Type = Type { name: "map[string]interface {}", missing: Missing::Nothing, methods: &[] };

/// Go's `[]string`.
pub static STRING_LIST: Type = Type { name: "[]string", missing: Missing::Nothing, methods: &[] };

/// Values in order.
#[derive(Clone, Debug)]
pub struct List {
    /// Its type.
    pub of: &'static Type,
    items: Arc<[Value]>,
    depth: usize,
}

/// Values by name.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its type.
    pub of: &'static Type,
    entries: Arc<BTreeMap<Arc<str>, Value>>,
    depth: usize,
}

/// Values of fields.
#[derive(Clone, Debug)]
pub struct Struct {
    /// Its type.
    pub of: &'static Type,
    fields: Arc<[(&'static str, Value)]>,
    depth: usize,
}

fn deepest<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    1 + values.map(Value::depth).max().unwrap_or(0)
}

impl List {
    /// Of values in order.
    pub fn new(of: &'static Type, items: impl Into<Arc<[Value]>>) -> Self {
        let items = items.into();
        Self { of, depth: deepest(items.iter()), items }
    }

    /// The values in order.
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Map {
    /// Of values by name.
    pub fn new(of: &'static Type, entries: BTreeMap<Arc<str>, Value>) -> Self {
        Self { of, depth: deepest(entries.values()), entries: Arc::new(entries) }
    }

    /// The values by name, in order.
    pub fn entries(&self) -> &BTreeMap<Arc<str>, Value> {
        &self.entries
    }

    /// The value of a key, or what the type has for one that is missing.
    pub fn get(&self, key: &str) -> Value {
        let missing = || match self.of.missing {
            Missing::EmptyString | Missing::NothingOfTexts => Value::from(""),
            Missing::Nothing => Value::Nil,
        };
        self.entries.get(key).cloned().unwrap_or_else(missing)
    }

    /// The same of a key that is written as a field.
    pub fn field(&self, key: &str) -> Value {
        let missing = || match self.of.missing {
            Missing::EmptyString => Value::from(""),
            Missing::Nothing | Missing::NothingOfTexts => Value::Nil,
        };
        self.entries.get(key).cloned().unwrap_or_else(missing)
    }
}

impl Struct {
    /// Of fields in the order of their type.
    pub fn new(of: &'static Type, fields: impl Into<Arc<[(&'static str, Value)]>>) -> Self {
        let fields = fields.into();
        Self { of, depth: deepest(fields.iter().map(|(_, value)| value)), fields }
    }

    /// The fields in order.
    pub fn fields(&self) -> &[(&'static str, Value)] {
        &self.fields
    }

    /// The value of a field; `None` where the type has no such field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(Arc::from(text))
    }
}

impl Value {
    /// Texts by name, as `map[string]string`.
    pub fn string_map<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let entries = entries.map(|(name, value)| (Arc::from(name), Self::from(value)));
        Self::Map(Map::new(&STRING_MAP, entries.collect()))
    }

    /// How deep it nests: 0 for what has no parts.
    pub fn depth(&self) -> usize {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            Self::Struct(object) => object.depth,
            _ => 0,
        }
    }

    /// What it costs a function to look at all of it, in steps.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::String(text) | Self::Named(_, text) => text.len() / 64,
            Self::List(list) => list.items.len(),
            Self::Map(map) => map.entries.len(),
            _ => 0,
        }
    }

    /// Whether `if` takes it for true: not empty, not zero, not nothing.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(truth) => *truth,
            Self::Int(number) | Self::Duration(number) | Self::Enum(_, number, _) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::String(text) | Self::Named(_, text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Struct(_) | Self::Time(_) => true,
        }
    }

    /// Its Go type's name; `<nil>` for nothing.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::Named(of, _) | Self::Enum(of, _, _) => of.name,
            Self::List(list) => list.of.name,
            Self::Map(map) => map.of.name,
            Self::Struct(object) => object.of.name,
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "*time.Duration",
        }
    }

    /// What `.Name` may call on it.
    pub(super) fn methods(&self) -> &'static [Method] {
        match self {
            Self::Named(of, _) | Self::Enum(of, _, _) => of.methods,
            Self::List(list) => list.of.methods,
            Self::Map(map) => map.of.methods,
            Self::Struct(object) => object.of.methods,
            Self::Time(_) => super::time::TIME_METHODS,
            Self::Duration(_) => super::time::DURATION_METHODS,
            _ => &[],
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Named(_, text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is a whole one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) | Self::Duration(number) | Self::Enum(_, number, _) => Some(*number),
            _ => None,
        }
    }
}
