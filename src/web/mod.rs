//! The HTTP face: listener, limits, TLS, authentication, `/metrics` and the management endpoints.
//!
//! Invariants: nothing a client does makes memory, threads or descriptors grow beyond [`Limits`];
//! nothing that can block or burn CPU (gathering, encoding, password hashing, reading certificates)
//! runs on an async thread; a route's name, never a client's text, becomes a label.
//!
//! Sources: Prometheus's management API, `promhttp`, node_exporter's handler, exporter-toolkit's web
//! configuration.

mod address;
mod api;
mod auth;
mod body;
mod config_file;
mod connection;
mod gate;
mod handshake;
mod inherited;
mod instrument;
mod limits;
mod listen;
mod origin;
mod pages;
mod push;
mod rate;
mod rule_pages;
mod scrape;
mod server;
mod state;
mod tls;
mod watched_stream;
mod write;

pub use address::{AddressError, ListenAddress};
pub use api::{Api, Facts, Forms, Status, shown_value, write_query_data};
pub use inherited::InheritedSockets;
pub use instrument::HttpMetrics;
pub use limits::Limits;
pub use listen::BoundAddress;
pub use push::PushApi;
pub use server::{Drained, Server, check_config_file};
pub use state::{Readiness, ReloadHandle, ReloadRequest, ReloadRequests, WebConfig, WebError, WebState};
pub use write::{WriteApi, WriteMetrics};
