//! Any text as `outrigger.yml` and as a generic document: read or refused, never a panic, and no error
//! shows a password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::app::settings;
use outrigger::config::{Document, Environment, Limits};

fuzz_target!(|text: &str| {
    let environment = Environment::fixed([("NAME", "ZZhunter2ZZ"), ("EMPTY", "")]);
    match Document::parse("fuzz.yml", text, &Limits::default()) {
        Ok(document) => {
            if let Err(errors) = settings::read(&document, &environment) {
                let shown = errors.to_string();
                assert!(!shown.contains("ZZhunter2ZZ") || text.contains("ZZhunter2ZZ"), "{shown}");
                assert!(errors.problems().iter().all(|problem| problem.line > 0 && problem.column > 0));
            }
        }
        Err(errors) => assert!(!errors.problems().is_empty()),
    }
});
