//! Any text as a rule file: read or refused, never a panic; every mistake has a place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::rules::{FileOptions, duplicates_message, parse_file};

fuzz_target!(|text: &str| {
    match parse_file("fuzz.yml", text, &FileOptions::default()) {
        Ok(groups) => {
            let _ = duplicates_message(&groups);
            for rule in groups.iter().flat_map(|group| &group.rules) {
                assert!(!rule.name.is_empty() && rule.line > 0);
                let _ = rule.selectors();
            }
        }
        Err(errors) => assert!(errors.problems().iter().all(|problem| problem.line > 0 && problem.column > 0)),
    }
});
