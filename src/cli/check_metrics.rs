//! `outrigger check metrics`: an exposition from standard input, checked for syntax and conventions.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Command;

use super::lint::lint;
use super::{Outcome, complain, print};
use crate::expose::{Limits, Syntax, parse};
use crate::model::Batch;

/// Far more than any exporter gives.
const LARGEST_EXPOSITION_BYTES: u64 = 256 << 20;

pub(super) fn command() -> Command {
    Command::new("metrics").about(
        "Check an exposition on standard input, as in: curl -s localhost:9780/metrics | outrigger check metrics",
    )
}

pub(super) fn run() -> Outcome {
    let mut input = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin.take(LARGEST_EXPOSITION_BYTES + 1).read_to_end(&mut input).context("cannot read standard input")?;
    if input.len() as u64 > LARGEST_EXPOSITION_BYTES {
        bail!("more than {} MiB on standard input", LARGEST_EXPOSITION_BYTES >> 20);
    }
    let mut batch = Batch::new();
    if let Err(error) = parse(&input, syntax_of(&input), Limits::default(), &mut batch) {
        bail!("<stdin>:{error}");
    }
    let faults = lint(&batch);
    if faults.is_empty() {
        return print(&format!("SUCCESS: {} samples, nothing to mend\n", batch.len()));
    }
    let lines: String = faults.iter().map(|fault| format!("{} {}\n", fault.metric, fault.text)).collect();
    print(&lines)?;
    complain(&format!("{} faults", faults.len()));
    Ok(ExitCode::FAILURE)
}

/// Only OpenMetrics has an end mark.
fn syntax_of(input: &[u8]) -> Syntax {
    let text = input.strip_suffix(b"\n").unwrap_or(input);
    let ends = text.ends_with(b"\n# EOF") || text == b"# EOF";
    // Quoted names are legal in no older text format, so allowing them misreads nothing.
    if ends { Syntax::OpenMetrics100 } else { Syntax::Text100 }
}
