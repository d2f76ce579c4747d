//! Any bytes as the body of a remote write, compressed or not, in both versions: read or refused, never a panic, and
//! what it unfolds to stays within its bound.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| outrigger::remote_write::receive::fuzz(bytes));
