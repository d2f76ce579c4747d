//! Any bytes as text 0.0.4: never a panic, and what is accepted survives being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::expose::{Syntax, lint};

#[path = "survives.rs"]
mod survives;

fuzz_target!(|bytes: &[u8]| {
    survives::survives(bytes, Syntax::Text004);
    let _ = lint(bytes);
});
