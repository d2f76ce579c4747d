//! Any text as a file of objectives: read or refused, never a panic; what is read gives rules that are PromQL, an
//! outage that can be played through, and a ledger.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use outrigger::promql::{ParseOptions, parse};
use outrigger::slo::{
    FileOptions, GenerateOptions, Ledger, Outage, generate, parse_file, simulate, to_rule_file,
};

fuzz_target!(|text: &str| {
    let options = GenerateOptions { version: "fuzz".to_owned() };
    // What is generated may be longer than what was read.
    let roomy = ParseOptions { max_length_bytes: 64 << 20, ..ParseOptions::default() };
    match parse_file("fuzz.yml", text, &FileOptions::default()) {
        Ok(file) => {
            for slo in &file.slos {
                let groups = generate(slo, &options);
                for rule in groups.iter().flat_map(|group| &group.rules) {
                    assert!(parse(&rule.expr, &roomy).is_ok(), "{}", rule.expr);
                }
                let _ = to_rule_file(&groups);
                let _ = simulate(slo, &Outage { error_rate: 0.01, lasts: Some(Duration::from_secs(60)) });
                let _ = Ledger::new(slo);
            }
        }
        Err(errors) => assert!(!errors.problems().is_empty()),
    }
});
