//! PromQL: read, printed, evaluated over anything that is [`Queryable`](crate::model::Queryable).
//!
//! Invariant: no IO, no clock; the instants of a query are its arguments. Depth, length, samples and time of a query
//! are bounded.

mod annotations;
pub mod ast;
mod engine;
mod eval;
pub mod functions;
mod json;
mod lexer;
mod literal;
mod memory;
mod parse_error;
mod parser;
mod pretty;
mod printer;
pub mod test_file;
mod token;
mod value;
mod walk;

pub use annotations::{Annotation, Annotations, ForcedMonotonicity, Severity};
pub use engine::{
    Cancel, Engine, EngineOptions, EngineStats, QueryError, QueryOptions, QueryResult, QueryStats,
};
pub use functions::{FUNCTIONS, Function, Variadic, function};
pub use json::to_json;
pub use memory::{Memory, OutOfOrder};
pub use parse_error::{LineColumn, ParseError, ParseErrors};
pub use parser::{ParseOptions, parse, parse_selector};
pub use pretty::pretty;
pub use printer::QuotedBytes;
pub use value::{Series, Value, VectorSample};
