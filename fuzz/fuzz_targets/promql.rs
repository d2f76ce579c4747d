//! Any text as PromQL: read or refused, never a panic; what is read survives being printed and read again, on one line
//! and on several.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::promql::{ParseOptions, parse, parse_selector, pretty, to_json};

fuzz_target!(|text: &str| {
    let _ = parse_selector(text);
    // What is printed may be longer than what was read.
    let roomy = ParseOptions { max_length_bytes: 64 << 20, ..ParseOptions::all() };
    match parse(text, &ParseOptions::all()) {
        Ok(expr) => {
            for printed in [expr.to_string(), pretty(&expr)] {
                let again = parse(&printed, &roomy);
                assert!(again.is_ok_and(|again| again.same_as(&expr)), "{printed}");
            }
            let _ = to_json(&expr);
        }
        Err(errors) => {
            assert!(errors.iter().all(|error| error.span.end as usize <= text.len()));
            let _ = errors.snippet(text);
        }
    }
});
