//! Any bytes as what a GPU's driver, the kernel and a file of counters say: read or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| outrigger::collect::gpu::survives(bytes));
