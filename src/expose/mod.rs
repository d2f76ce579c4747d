//! The exposition formats of Prometheus: text 0.0.4 and OpenMetrics 1.0, written and read; protobuf, read.
//!
//! [`encode`] writes a [`Snapshot`](crate::model::Snapshot) as the format that [`negotiate`] chose
//! from a request's `Accept` header; [`parse`] reads either back into a batch. All of it works on bytes in memory: no IO, no clock.
//!
//! Sources: Prometheus's "Exposition formats" and "Escaping schemes" pages, the OpenMetrics 1.0
//! specification, and the behaviour of Go's client library, whose readers are the ones to please.

mod compress;
mod encode;
mod format;
mod lint;
mod name;
mod number;
mod parse;
mod protobuf;
mod scan;
mod template;

pub use compress::{Compressor, ContentEncoding, DecompressError, compress, decompress, negotiate_encoding};
pub use encode::encode;
pub use format::{Escaping, Format, Syntax, is_delimited_protobuf, negotiate};
pub use lint::{LintProblem, check_metrics, lint};
pub use number::{push_float, push_open_metrics_float};
pub use parse::{Limits, ParseError, ParseStats, Problem, parse};
pub use protobuf::{ProtobufError, ProtobufProblem, parse_protobuf};
pub use scan::{Entry, ScanError, Scanner, spelled_bound};
pub use template::Template;
