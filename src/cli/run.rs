//! `outrigger run`: serve until told to stop.

use std::process::ExitCode;

use clap::ArgMatches;

use super::{Outcome, complain_lines, flags};
use crate::app;

pub(super) fn run(matches: ArgMatches) -> Outcome {
    let invocation = flags::invocation(&matches);
    // The program goes on for long, and what was parsed of the command line takes more room than what it says.
    drop(matches);
    let called = invocation.clone();
    match app::run(invocation) {
        Ok(app::Ended::Drained) => Ok(ExitCode::SUCCESS),
        Ok(app::Ended::Cut) => Ok(ExitCode::FAILURE),
        Err(error) => {
            let error = anyhow::Error::from(error);
            match app::log::start_error(called.settings_that_fit().log, &format!("{error:#}")) {
                Some(line) => {
                    complain_lines(line.trim_end());
                    Ok(ExitCode::FAILURE)
                }
                None => Err(error),
            }
        }
    }
}
