//! Integration tests: the library used as a whole, over real sockets and files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic on what it did not foresee"
)]

mod cli;
mod drawings;
mod gpu;
mod program;
mod store_crash;
mod web;
