//! Outrigger: metrics, history, alerts and SLOs beside one workload, in Prometheus's own formats.
//!
//! The library holds everything; `src/main.rs` only calls [`cli::main`]. Each module below is one
//! room of the house and uses only the rooms above it (see `ARCHITECTURE.md`; `tests/tidy.rs`
//! enforces the table).

pub mod app;
pub mod checks;
pub mod cli;
pub mod collect;
pub mod config;
pub mod events;
pub mod expose;
pub mod gotemplate;
pub mod http_client;
pub mod model;
pub mod notify;
pub mod promql;
pub mod remote_write;
pub mod rules;
pub mod scorecard;
pub mod scrape;
pub mod slo;
pub mod store;
pub mod tasks;
pub mod web;
pub mod wire;
