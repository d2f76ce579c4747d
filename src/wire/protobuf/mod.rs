//! Protocol Buffers' wire format: the fields of a message, read and written one after the other.
//!
//! Two small schemas are spoken here, both frozen by others (Prometheus's exposition and its remote write), and
//! both want control that generated types do not give: texts borrowed instead of copied, a bound on what one
//! message may unfold to, a place for every error. Hence no generated code.
//!
//! Invariants: no input makes the reader panic, allocate or look at a byte twice; what the writer writes, the
//! reader reads. Groups (wire types 3 and 4) are refused: neither schema, nor any of this century, has them.
//!
//! Source: the "Encoding" page of the Protocol Buffers documentation.

mod reader;
mod writer;

pub use reader::{Field, Packed, Reader, WireError, WireProblem};
pub use writer::Writer;
