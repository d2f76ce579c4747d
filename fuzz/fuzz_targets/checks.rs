//! Any bytes as certificates, kubeconfigs, modules of probes and answers to them: read or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| outrigger::checks::survives(bytes));
