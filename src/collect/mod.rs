//! The machine's own metrics: collectors, their registry, and the engine that runs them.
//!
//! A [`Collector`] reads one subject (`/proc/stat`, the block devices) into a [`Batch`]; a [`Spec`]
//! is its row in the registry: name, default, flags, constructor. The [`Engine`] runs a pass over
//! the enabled ones under a deadline and hands out a [`Snapshot`](crate::model::Snapshot).
//!
//! Invariants: nothing here knows HTTP; nothing here reads the wall clock (a pass is told its
//! instant); one collector's failure, hang or panic costs only its own families.

mod addresses;
mod announcements;
mod case_insensitive;
pub mod container;
mod container_names;
mod dbus;
mod devices;
mod directory;
mod engine;
mod error;
mod field_names;
mod files;
mod generic_netlink;
pub mod gpu;
mod handed;
pub mod host;
mod host_paths;
mod kept_file;
mod links;
mod netlink;
mod nfs_rpc;
mod numbered;
mod os;
pub mod own;
pub mod parse;
mod prober;
pub mod process;
mod shared_file;
mod slot;
mod spec;
mod tree;
mod workers;

use std::time::Instant;

pub use engine::{Engine, EngineConfig, Selection};
pub use error::{BuildError, CollectError, OptionError};
pub use files::{DescriptorBudget, Files};
pub use handed::{Handed, WriteResults};
pub use host_paths::{Host, HostPaths};
pub use os::{release_freed_memory, release_unused_text, share_arenas};
pub use own::{BuildInfo, EngineStats, Own};
pub use spec::{Build, Flag, FlagKind, NameFilter, Options, Spec, specs};
pub use tree::Tree;

use crate::model::{Batch, Timestamp};

/// What a collector is told about the pass it runs in.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The instant the pass stands for.
    pub now: Timestamp,
    /// After this the result is no longer waited for; work that can be cut short should be.
    pub deadline: Instant,
}

/// Reads one subject of the machine.
///
/// A collector lives as long as the engine and is never run twice at once, so it keeps its files
/// open, its buffers, and what it must remember between passes. It may block: the engine leaves a
/// collector that misses its deadline behind and starts it again only after it has returned.
pub trait Collector: Send {
    /// Reads once. What was written to `out` before an error is kept and exposed.
    ///
    /// # Errors
    /// [`CollectError::NoData`] where the subject does not exist on this machine; the other
    /// variants where reading it failed.
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError>;
}
