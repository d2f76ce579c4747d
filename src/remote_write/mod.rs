//! Remote write: samples handed on to Prometheus, Mimir or whoever takes them, and taken from others.
//!
//! What is sent comes out of the store's [`Outbox`](crate::store::Outbox), written with each tick: the queue of a
//! receiver is nothing but a place in it, committed after each window that was sent. So a queue survives a restart, a
//! kill and a receiver that is dead for days, and its memory is what is in flight.
//!
//! Invariants: a sample that was acknowledged to a source is sent, or counted under the reason why not; in normal
//! operation once, after a kill at least once; in order within a series. What waits is bounded by size and age.
//!
//! Sources: Prometheus's Remote-Write specifications 1.0 and 2.0; its configuration documentation, `<remote_write>`.

mod feed;
mod manager;
mod message;
mod metrics;
pub mod receive;
mod send;
mod settings;
#[cfg(test)]
mod tests;
mod worker;

pub use manager::{RemoteWrites, RemoteWritesConfig};
pub use message::{Metadata, MetadataMap, Protocol, TimeSeries, compress, encode, encode_metadata};
pub use metrics::RemoteWriteMetrics;
pub use settings::{MetadataSettings, QueueSettings, RemoteSettings};
pub use worker::{Clock, MetadataSource};
