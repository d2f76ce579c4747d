//! `outrigger run`: serve until told to stop.

use std::process::ExitCode;

use clap::ArgMatches;

use super::{Outcome, flags};
use crate::app;

pub(super) fn run(matches: &ArgMatches) -> Outcome {
    match app::run(flags::invocation(matches))? {
        app::Ended::Drained => Ok(ExitCode::SUCCESS),
        app::Ended::Cut => Ok(ExitCode::FAILURE),
    }
}
