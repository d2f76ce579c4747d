//! Bytes as others froze them: protobuf fields, messages of the DNS, DER.
//!
//! Invariant: no input makes a reader panic, loop or grow beyond what its module says.

pub(crate) mod der;
pub(crate) mod dns;
pub mod protobuf;
