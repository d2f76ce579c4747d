//! Any bytes as OpenMetrics: never a panic, and what is accepted survives being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::expose::Syntax;

#[path = "survives.rs"]
mod survives;

fuzz_target!(|bytes: &[u8]| survives::survives(bytes, Syntax::OpenMetrics100));
