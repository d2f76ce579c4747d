//! Any bytes as files of a process and as process-exporter's configuration: read or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| outrigger::collect::process::survives(bytes));
