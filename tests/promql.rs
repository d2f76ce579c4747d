//! PromQL from outside: every file of `tests/promql/` is a topic, with its data, its queries and what they must give.
//!
//! Each instant query runs many times over (see the runner); none may be skipped here.

use std::fs;
use std::path::Path;

use outrigger::promql::test_file::{Outcome, TestFile, run};

#[test]
fn every_topic_gives_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut passed = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let report = run(&TestFile::parse(&fs::read_to_string(&path).expect("a file")));
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        failures.extend(report.errors.iter().map(|error| format!("{file}:{error}")));
        for (line, expression, outcome) in &report.evals {
            match outcome {
                Outcome::Passed => passed += 1,
                other => failures.push(format!("{file}:{line}: {expression}\n  {other:?}")),
            }
        }
        assert!(!report.evals.is_empty(), "{file} asks nothing");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(passed > 100, "only {passed} queries");
}
