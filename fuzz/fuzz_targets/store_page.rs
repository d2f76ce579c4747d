//! Any bytes as a page of history and as its digest, as if their checksum were right: read or refused, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| outrigger::store::fuzz_page(bytes));
