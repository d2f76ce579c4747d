//! History: series, their samples, and tables of state, in one file that survives `kill -9`.
//!
//! A [`Source`] hands in what it has at one instant, a *tick*. The tick goes into tails in memory ([`block`], [`tail`]) and,
//! as one log entry that holds only what has changed, into the file; when 240 ticks are there, the tail is packed into
//! pages ([`page`], [`column`]) and its log entries are deleted in the same transaction. Every page has a digest
//! ([`summary`]) that answers for its samples where it can.
//!
//! Invariants: what was acknowledged survives a kill at any moment; samples of a series rise in time; whatever is
//! damaged is noticed by a checksum, counted, and costs only itself; nothing grows beyond its limit; `now` comes from
//! the caller.
//!
//! Sources: redb's design document for what a commit promises; pco's for how numbers are packed; Prometheus's
//! documentation for staleness, out-of-order samples and what `/api/v1/status/tsdb` counts.

mod admin;
mod block;
mod bytes;
mod column;
mod config;
mod disk;
mod engine;
mod error;
mod head;
mod index;
mod load;
mod lock;
mod log_entry;
mod maintain;
mod memory;
mod open_pages;
mod outbox;
mod page;
mod query;
mod replay;
mod seal;
mod series;
mod source;
mod state;
mod stats;
mod summary;
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vault;
mod view;

pub use admin::Deleted;
pub use config::{EncryptionKey, StoreConfig};
pub use engine::Store;
pub use error::StoreError;
pub use head::Appended;
pub use maintain::Maintained;
pub use outbox::{Outbox, OutboxEntry, OutboxMark, OutboxSample};
#[doc(hidden)]
pub use page::fuzz_page;
pub use source::Source;
pub use state::{StateOp, StateTable};
pub use stats::{Cardinality, StoreStats};
