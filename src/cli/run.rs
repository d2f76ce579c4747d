//! `outrigger run`: serve until told to stop.

use std::process::ExitCode;

use clap::ArgMatches;

use super::{Outcome, flags};
use crate::app;

pub(super) fn run(matches: ArgMatches) -> Outcome {
    let invocation = flags::invocation(&matches);
    // The program goes on for long, and what was parsed of the command line takes more room than what it says.
    drop(matches);
    match app::run(invocation)? {
        app::Ended::Drained => Ok(ExitCode::SUCCESS),
        app::Ended::Cut => Ok(ExitCode::FAILURE),
    }
}
