//! `outrigger check metrics`: an exposition from standard input, checked for syntax and conventions.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;

use super::{Outcome, complain, complain_lines};
use crate::expose::check_metrics;

pub(super) fn command() -> Command {
    Command::new("metrics")
        .about(
            "Check an exposition on standard input, as in: curl -s localhost:9780/metrics | outrigger check metrics",
        )
        .after_help(
            "Findings go to standard error. Status as promtool's: 0 nothing to mend, 1 no valid exposition, 3 findings",
        )
}

pub(super) fn run() -> Outcome {
    let mut messages = Vec::new();
    let status =
        check_metrics(std::io::stdin().lock(), &mut messages).context("cannot read standard input")?;
    let messages = String::from_utf8_lossy(&messages);
    match (status, messages.trim_end()) {
        (_, "") => {}
        (1, wrong) => complain(wrong),
        (_, findings) => complain_lines(findings),
    }
    Ok(ExitCode::from(status))
}
