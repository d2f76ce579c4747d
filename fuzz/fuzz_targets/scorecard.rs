//! Any text as a formula of a scorecard: read or refused with its place, never a panic.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use outrigger::config::{Document, Environment, Limits};
use outrigger::promql::ParseOptions;
use outrigger::scorecard::{Known, ScorecardSettings};

fuzz_target!(|formula: &str| {
    let quoted = formula.replace('\'', "''");
    let text = format!(
        "scorecard: {{pillars: {{a: {{target: 1, values: {{x: {{query: up}}, y: {{slo: '*'}}}}, formula: '{quoted}'}}}}}}"
    );
    let Ok(document) = Document::parse("o.yml", text, &Limits::default()) else { return };
    if let Ok(settings) = document.read(&Environment::off(), ScorecardSettings::read) {
        let known = Known { slos: Vec::new(), alerts: BTreeSet::new(), parse: &ParseOptions::default() };
        assert!(settings.card(&known).is_ok());
    }
});
