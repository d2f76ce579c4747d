//! Any bytes as what the kernel says of a control group and a runtime of a container: read or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| outrigger::collect::container::survives(bytes));
